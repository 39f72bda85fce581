//! Exact decimals from text and from floating point. Nothing is ever rounded: a value that needs more places than the column has is
//! refused, since it is money and rounding it would be a loss that no later check can see. What floating point adds by itself, far below
//! the smallest unit, is no part of the value: it is taken off, and counted.

/// Why a value doesn't become a decimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DecimalFault {
    /// The text isn't a number.
    NotANumber,
    /// It has digits beyond the column's scale.
    TooManyPlaces,
    /// It has more digits than the column's precision.
    TooLarge,
}

impl DecimalFault {
    /// The fault in words, about a value shown as `shown`.
    pub(crate) fn message(self, shown: &str, precision: u8, scale: i8) -> String {
        match self {
            Self::NotANumber => format!("{shown} is not a number"),
            Self::TooManyPlaces => format!("{shown} has more than {scale} decimal places, and money is never rounded"),
            Self::TooLarge => format!("{shown} does not fit in decimal({precision},{scale})"),
        }
    }
}

/// Reads a number such as `-12.50`, `.5`, `1e3` as an integer of `10^-scale`.
pub(crate) fn parse(text: &str, precision: u8, scale: i8) -> Result<i128, DecimalFault> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let exponent_at = digits.iter().position(|byte| matches!(byte, b'e' | b'E'));
    let (mantissa, exponent) = match exponent_at {
        Some(at) => (digits.get(..at).unwrap_or_default(), parse_exponent(digits.get(at + 1..).unwrap_or_default())?),
        None => (digits, 0),
    };
    let (magnitude, places, any) = parse_mantissa(mantissa)?;
    if !any {
        return Err(DecimalFault::NotANumber);
    }
    let scaled = shift(magnitude, exponent.saturating_sub(places).saturating_add(i32::from(scale)))?;
    fit(if negative { -scaled } else { scaled }, precision)
}

/// The mantissa as integer × 10^-places, and whether it has a digit. Zeros at the end cost no digits of the integer, so that
/// `1.000…0` with any number of zeros reads well.
fn parse_mantissa(mantissa: &[u8]) -> Result<(i128, i32, bool), DecimalFault> {
    let (mut magnitude, mut zeros, mut places, mut any, mut after_point) = (0_i128, 0_u32, 0_i32, false, false);
    for byte in mantissa {
        match byte {
            b'0'..=b'9' => {
                any = true;
                places = places.saturating_add(i32::from(after_point));
                if *byte == b'0' {
                    zeros += u32::from(magnitude != 0);
                } else {
                    magnitude = 10_i128
                        .checked_pow(zeros + 1)
                        .and_then(|power| magnitude.checked_mul(power))
                        .and_then(|shifted| shifted.checked_add(i128::from(byte - b'0')))
                        .ok_or(if after_point { DecimalFault::TooManyPlaces } else { DecimalFault::TooLarge })?;
                    zeros = 0;
                }
            }
            b'.' if !after_point => after_point = true,
            _ => return Err(DecimalFault::NotANumber),
        }
    }
    Ok((magnitude, places.saturating_sub(i32::try_from(zeros).unwrap_or(i32::MAX)), any))
}

fn parse_exponent(text: &[u8]) -> Result<i32, DecimalFault> {
    let text = std::str::from_utf8(text).map_err(|_| DecimalFault::NotANumber)?;
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DecimalFault::NotANumber);
    }
    // An exponent beyond i32 overflows or vanishes all the same.
    Ok(text.parse().unwrap_or(if text.starts_with('-') { i32::MIN / 2 } else { i32::MAX / 2 }))
}

/// `value` × 10^`by`, if that is exact.
fn shift(value: i128, by: i32) -> Result<i128, DecimalFault> {
    if value == 0 {
        return Ok(0);
    }
    let power = 10_i128.checked_pow(by.unsigned_abs());
    if by >= 0 {
        power.and_then(|power| value.checked_mul(power)).ok_or(DecimalFault::TooLarge)
    } else {
        match power {
            Some(power) if value % power == 0 => Ok(value / power),
            _ => Err(DecimalFault::TooManyPlaces),
        }
    }
}

fn fit(value: i128, precision: u8) -> Result<i128, DecimalFault> {
    let fits = 10_u128.checked_pow(u32::from(precision)).is_none_or(|bound| value.unsigned_abs() < bound);
    if fits { Ok(value) } else { Err(DecimalFault::TooLarge) }
}

/// Moves an exact decimal to another precision and scale.
pub(crate) fn rescale(value: i128, from_scale: i8, precision: u8, scale: i8) -> Result<i128, DecimalFault> {
    fit(shift(value, i32::from(scale) - i32::from(from_scale))?, precision)
}

/// A decimal, and whether the noise of floating point was taken off to get it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) value: i128,
    pub(crate) noisy: bool,
}

/// Below this an integer of `10^-scale` has at most 15 digits, and a decimal of 15 digits survives the way through a double.
const EXACT_BELOW: f64 = 1e15;

/// Reads a double that stands for a decimal, as money in Parquet files of other tools often does.
///
/// The decimal that is meant is the shortest one which reads back as this very double, as all tools print it: 3.49 is stored as
/// 3.49000000000000021…, and 3.49 is meant. If it fits the scale it is taken, exactly. Sums and differences in floating point leave
/// traces, such as 0.30000000000000004 for 0.3 or 1.776357e-15 for nothing; they are noise and are taken off, as [`near`] says. Anything
/// else has more places than the column and is refused.
pub(crate) fn from_f64(value: f64, precision: u8, scale: i8) -> Result<Taken, DecimalFault> {
    if !value.is_finite() {
        return Err(DecimalFault::NotANumber);
    }
    if let Some(power) = power_of_ten(scale) {
        let scaled = (value * power).round_ties_even();
        // Both are exact here, and IEEE 754 division is correctly rounded: equality says that `value` is the double nearest to it.
        if scaled.abs() < EXACT_BELOW && scaled / power == value {
            #[allow(clippy::cast_possible_truncation, reason = "whole and below 10^15")]
            return fit(scaled as i128, precision).map(|value| Taken { value, noisy: false });
        }
    }
    parse_or_near(&format!("{value:e}"), value, precision, scale)
}

/// As [`from_f64`], with the shortest decimal that reads back as this single.
pub(crate) fn from_f32(value: f32, precision: u8, scale: i8) -> Result<Taken, DecimalFault> {
    if !value.is_finite() {
        return Err(DecimalFault::NotANumber);
    }
    parse_or_near(&format!("{value:e}"), f64::from(value), precision, scale)
}

/// Reads a number in text: exactly, or without the noise of the floating point that it was printed from, so that a value has one
/// meaning in all formats.
pub(crate) fn from_text(text: &str, precision: u8, scale: i8) -> Result<Taken, DecimalFault> {
    match parse(text, precision, scale) {
        Ok(value) => Ok(Taken { value, noisy: false }),
        Err(DecimalFault::TooManyPlaces) => match text.parse::<f64>() {
            Ok(value) => near(value, precision, scale).ok_or(DecimalFault::TooManyPlaces),
            Err(_) => Err(DecimalFault::TooManyPlaces),
        },
        Err(fault) => Err(fault),
    }
}

fn parse_or_near(text: &str, value: f64, precision: u8, scale: i8) -> Result<Taken, DecimalFault> {
    match parse(text, precision, scale) {
        Ok(value) => Ok(Taken { value, noisy: false }),
        Err(DecimalFault::TooManyPlaces) => near(value, precision, scale).ok_or(DecimalFault::TooManyPlaces),
        Err(fault) => Err(fault),
    }
}

/// The decimal of this scale that `value` lies next to, if what is between them can only be noise: a ten-millionth of the smallest unit
/// (for cents, 0.000000001), or four roundings of a double this large, and never more than a millionth of the unit.
fn near(value: f64, precision: u8, scale: i8) -> Option<Taken> {
    const NOISE_MIN: f64 = 1e-7;
    const NOISE_MAX: f64 = 1e-6;
    let scaled = value * power_of_ten(scale)?;
    let whole = scaled.round_ties_even();
    let noise = (4.0 * f64::EPSILON * scaled.abs()).clamp(NOISE_MIN, NOISE_MAX);
    if (scaled - whole).abs() > noise || whole.abs() >= EXACT_BELOW {
        return None;
    }
    #[allow(clippy::cast_possible_truncation, reason = "whole and below 10^15")]
    fit(whole as i128, precision).ok().map(|value| Taken { value, noisy: true })
}

fn power_of_ten(scale: i8) -> Option<f64> {
    POWERS_OF_TEN.get(usize::try_from(scale).ok()?).copied()
}

/// Powers of ten that a double holds exactly, as far as they are of use with [`EXACT_BELOW`].
const POWERS_OF_TEN: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_are_read_exactly_or_refused() {
        use DecimalFault::{NotANumber, TooLarge, TooManyPlaces};
        for (text, expected) in [
            ("12.50", Ok(1250)),
            ("-.5", Ok(-50)),
            ("+3", Ok(300)),
            ("3.", Ok(300)),
            ("1e3", Ok(100_000)),
            ("125E-2", Ok(125)),
            ("0.000", Ok(0)),
            ("0e999999999999", Ok(0)),
            ("1.500000000000000000000000000000000000000000000000", Ok(150)),
            ("99999999.99", Ok(9_999_999_999)),
            ("100000000.00", Err(TooLarge)),
            ("1e99999999999", Err(TooLarge)),
            ("1e-99999999999", Err(TooManyPlaces)),
            ("0.001", Err(TooManyPlaces)),
            ("170141183460469231731687303715884105728", Err(TooLarge)),
            ("", Err(NotANumber)),
            ("-", Err(NotANumber)),
            (".", Err(NotANumber)),
            ("1,000", Err(NotANumber)),
            ("1.2.3", Err(NotANumber)),
            ("1e", Err(NotANumber)),
            ("1e+-3", Err(NotANumber)),
            ("NaN", Err(NotANumber)),
            ("12 ", Err(NotANumber)),
        ] {
            assert_eq!(parse(text, 10, 2), expected, "{text}");
        }
        assert_eq!(parse(&"9".repeat(38), 38, 0), Ok(10_i128.pow(38) - 1));
    }

    fn exact(value: i128) -> Result<Taken, DecimalFault> {
        Ok(Taken { value, noisy: false })
    }

    #[test]
    fn doubles_are_taken_for_what_they_mean() {
        use DecimalFault::{NotANumber, TooLarge, TooManyPlaces};
        assert_eq!(from_f64(3.49, 10, 2), exact(349));
        assert_eq!(from_f64(-0.0, 10, 2), exact(0));
        assert_eq!(from_f64(0.005, 10, 2), Err(TooManyPlaces));
        assert_eq!(from_f64(2.4999, 10, 2), Err(TooManyPlaces));
        assert_eq!(from_f64(0.000_000_01, 10, 2), Err(TooManyPlaces));
        assert_eq!(from_f64(f64::NAN, 10, 2), Err(NotANumber));
        assert_eq!(from_f64(f64::INFINITY, 38, 2), Err(NotANumber));
        assert_eq!(from_f64(1e300, 38, 2), Err(TooLarge));
        assert_eq!(from_f64(1e20, 38, 2), exact(10_i128.pow(22)));
        assert_eq!(from_f32(3.49, 10, 2), exact(349));
        assert_eq!(rescale(12_300, 4, 10, 2), Ok(123));
        assert_eq!(rescale(12_345, 4, 10, 2), Err(TooManyPlaces));
        assert_eq!(rescale(123, 0, 4, 2), Err(TooLarge));
    }

    #[test]
    fn the_noise_of_floating_point_is_taken_off() {
        let noisy = |value| Ok(Taken { value, noisy: true });
        assert_eq!(from_f64(0.1 + 0.2, 10, 2), noisy(30));
        assert_eq!(from_f64(1.776_357e-15, 10, 2), noisy(0));
        assert_eq!(from_f64(-1.387_78e-16, 10, 2), noisy(0));
        assert_eq!(from_text("0.30000000000000004", 10, 2), noisy(30));
        assert_eq!(from_text("4.440892e-16", 10, 2), noisy(0));
        assert_eq!(from_text("0.30", 10, 2), exact(30));
        assert_eq!(from_text("2.505", 10, 2), Err(DecimalFault::TooManyPlaces));
    }

    proptest! {
        #[test]
        fn a_decimal_survives_a_double(unscaled in -999_999_999_999_999_i64..1_000_000_000_000_000, scale in 0_i8..10) {
            #[allow(clippy::cast_precision_loss)]
            let value = unscaled as f64 / 10_f64.powi(i32::from(scale));
            prop_assert_eq!(from_f64(value, 38, scale), exact(i128::from(unscaled)));
        }

        #[test]
        fn a_decimal_survives_a_sum_in_doubles(left in -99_999_999_i32..100_000_000, right in -99_999_999_i32..100_000_000) {
            let sum = f64::from(left) / 100.0 + f64::from(right) / 100.0;
            prop_assert_eq!(from_f64(sum, 38, 2).map(|taken| taken.value), Ok(i128::from(left) + i128::from(right)));
        }

        #[test]
        fn doubles_agree_with_their_own_text(value: f64, scale in 0_i8..16) {
            let text = from_text(&format!("{value}"), 38, scale);
            prop_assert_eq!(from_f64(value, 38, scale).ok(), value.is_finite().then_some(text.ok()).flatten());
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[-+.0-9eE]{0,50}") {
            let _result = parse(&text, 38, 9);
        }
    }
}
