//! Numbers as text and back, as Java's `Double.toString`, `BigDecimal.toString` and Spark's casts do it.

use crate::types::PRECISION_MAX;

/// `10^exponent`, for exponents up to 38.
pub(crate) fn power_of_ten(exponent: u32) -> i128 {
    10_i128.checked_pow(exponent).unwrap_or(i128::MAX)
}

/// Whether an unscaled value has at most `precision` digits.
#[inline]
pub(crate) fn fits(unscaled: i128, precision: u8) -> bool {
    precision >= 39 || unscaled.unsigned_abs() < power_of_ten(u32::from(precision)).unsigned_abs()
}

/// `numerator / denominator` rounded half away from zero. `denominator` must be positive.
#[inline]
pub(crate) fn divide_half_up(numerator: i128, denominator: i128) -> i128 {
    let (quotient, remainder) = (numerator.wrapping_div(denominator), numerator.wrapping_rem(denominator));
    if remainder.unsigned_abs() * 2 >= denominator.unsigned_abs() { quotient + numerator.signum() } else { quotient }
}

/// `value * 10^-from` as a multiple of `10^-to`, half up; `None` when it has more than 38 digits.
#[inline]
pub(crate) fn rescale(value: i128, from: i32, to: i32) -> Option<i128> {
    let by = to - from;
    if by == 0 || value == 0 {
        Some(value)
    } else if by > 0 {
        let scaled = value.checked_mul(10_i128.checked_pow(by.unsigned_abs())?)?;
        fits(scaled, PRECISION_MAX).then_some(scaled)
    } else {
        // More digits away than a decimal has leave nothing, not even to round up.
        Some(10_i128.checked_pow(by.unsigned_abs()).map_or(0, |divisor| divide_half_up(value, divisor)))
    }
}

/// A decimal with all digits after the point: `-0.05`.
pub(crate) fn decimal_plain(unscaled: i128, scale: i8) -> String {
    let digits = unscaled.unsigned_abs().to_string();
    let sign = if unscaled < 0 { "-" } else { "" };
    let scale = usize::from(scale.unsigned_abs());
    if scale == 0 {
        return format!("{sign}{digits}");
    }
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

/// A decimal as Java's `BigDecimal.toString`: scientific when the first digit is more than six places after the point.
pub(crate) fn decimal_java(unscaled: i128, scale: i8) -> String {
    let digits = unscaled.unsigned_abs().to_string();
    let exponent = i64::try_from(digits.len()).unwrap_or(0) - 1 - i64::from(scale);
    if exponent >= -6 {
        return decimal_plain(unscaled, scale);
    }
    let sign = if unscaled < 0 { "-" } else { "" };
    let (first, rest) = digits.split_at(1);
    if rest.is_empty() { format!("{sign}{first}E{exponent}") } else { format!("{sign}{first}.{rest}E{exponent}") }
}

/// A double as Java's `Double.toString`: `1.0`, `1.0E10`, `NaN`, `Infinity`.
pub(crate) fn double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let magnitude = value.abs();
    if magnitude == 0.0 || (1e-3..1e7).contains(&magnitude) {
        let plain = format!("{value}");
        return if plain.contains('.') { plain } else { format!("{plain}.0") };
    }
    let scientific = format!("{value:E}");
    match scientific.split_once('E') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0E{exponent}"),
        _ => scientific,
    }
}

/// Spark trims these from both ends before a cast: white space and control characters.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ' || c == '\u{7f}')
}

/// Reads a whole number as Spark's cast does: a fraction is cut off, anything else than digits gives `None`.
pub(crate) fn parse_integer(text: &str) -> Option<i64> {
    let text = trim(text);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if digits.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut value: i64 = 0;
    for byte in whole.bytes() {
        let digit = i64::from(char::from(byte).to_digit(10)?);
        // Summed up as a negative number, which reaches one further.
        value = value.checked_mul(10)?.checked_sub(digit)?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

/// Reads a decimal as Java's `BigDecimal` does (digits, one point, an exponent), then rounds it half up to `scale`; `None` if it isn't
/// a number or doesn't fit `precision`.
pub(crate) fn parse_decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let text = trim(text);
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (text.get(..at)?, text.get(at + 1..)?.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, digits) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    // The digit at position 0 counts ones; those beyond the scale only decide the rounding.
    let point = i64::try_from(whole.len()).ok()? + i64::from(exponent);
    let kept = point + i64::from(scale);
    let mut value: i128 = 0;
    let mut round_up = false;
    let mut count: i64 = 0;
    for (position, byte) in whole.bytes().chain(fraction.bytes()).enumerate() {
        let digit = i128::from(char::from(byte).to_digit(10)?);
        let position = i64::try_from(position).ok()?;
        count = position + 1;
        if position < kept {
            value = value.checked_mul(10)?.checked_add(digit)?;
        } else if position == kept {
            round_up = digit >= 5;
        }
    }
    let missing = (kept - count).max(0);
    if value != 0 && missing > 0 {
        value = value.checked_mul(10_i128.checked_pow(u32::try_from(missing).ok()?)?)?;
    }
    value += i128::from(round_up);
    fits(value, precision).then_some(if negative { -value } else { value })
}

/// Reads a double as Spark's cast does: Java's syntax, plus `inf`, `infinity` and `nan` in any case.
pub(crate) fn parse_double(text: &str) -> Option<f64> {
    let text = trim(text);
    let bare = text.trim_start_matches(['+', '-']);
    if text.len() - bare.len() > 1 {
        return None;
    }
    match bare.to_ascii_lowercase().as_str() {
        "inf" | "infinity" => return Some(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY }),
        "nan" => return (bare.len() == text.len()).then_some(f64::NAN),
        _ => {}
    }
    let last_is_digit_before = |number: &str| number.ends_with(|c: char| c.is_ascii_digit() || c == '.');
    let number = match text.strip_suffix(['d', 'D', 'f', 'F']) {
        Some(number) if last_is_digit_before(number) => number,
        _ => text,
    };
    if !number.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    number.parse().ok()
}

/// A decimal as the nearest double.
pub(crate) fn decimal_to_double(unscaled: i128, scale: i8) -> f64 {
    const EXACT_MAX: u128 = 1 << 53;
    let exponent = scale.unsigned_abs();
    if unscaled.unsigned_abs() <= EXACT_MAX && exponent <= 22 {
        // Both operands are exact, so the one rounding is that of the division.
        #[allow(clippy::cast_precision_loss, reason = "exact below 2^53 and 10^22")]
        return unscaled as f64 / power_of_ten(u32::from(exponent)) as f64;
    }
    decimal_plain(unscaled, scale).parse().unwrap_or(f64::NAN)
}

/// A double as a decimal, half up from its shortest decimal form, as Scala's `BigDecimal(double)`; `None` if it isn't finite or
/// doesn't fit.
pub(crate) fn double_to_decimal(value: f64, precision: u8, scale: i8) -> Option<i128> {
    if value.is_finite() { parse_decimal(&format!("{value:e}"), precision, scale) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_look_as_in_java() {
        let cases = [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (-0.0, "-0.0"),
            (1e7, "1.0E7"),
            (9_999_999.0, "9999999.0"),
            (1.5e-5, "1.5E-5"),
            (0.001, "0.001"),
            (123_456_789.125, "1.23456789125E8"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::MIN_POSITIVE, "2.2250738585072014E-308"),
        ];
        for (value, expected) in cases {
            assert_eq!(double(value), expected);
        }
    }

    #[test]
    fn decimals_look_as_in_java() {
        assert_eq!(decimal_java(-5, 2), "-0.05");
        assert_eq!(decimal_java(0, 2), "0.00");
        assert_eq!(decimal_java(1, 7), "1E-7");
        assert_eq!(decimal_java(123, 10), "1.23E-8");
        assert_eq!(decimal_java(0, 8), "0E-8");
        assert_eq!(decimal_java(12_345, 0), "12345");
    }

    #[test]
    fn integers_from_text() {
        assert_eq!(parse_integer(" 12 "), Some(12));
        assert_eq!(parse_integer("12.9"), Some(12));
        assert_eq!(parse_integer("-.5"), Some(0));
        assert_eq!(parse_integer("+7"), Some(7));
        assert_eq!(parse_integer("9223372036854775807"), Some(i64::MAX));
        assert_eq!(parse_integer("-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse_integer("9223372036854775808"), None);
        for wrong in ["", " ", "-", "1e3", "1 2", "12.x", "abc", "١"] {
            assert_eq!(parse_integer(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn decimals_from_text() {
        assert_eq!(parse_decimal("1.005", 10, 2), Some(101));
        assert_eq!(parse_decimal("-1.005", 10, 2), Some(-101));
        assert_eq!(parse_decimal("1.0049999", 10, 2), Some(100));
        assert_eq!(parse_decimal("1e3", 10, 2), Some(100_000));
        assert_eq!(parse_decimal("12e-3", 10, 2), Some(1));
        assert_eq!(parse_decimal("0.005", 10, 2), Some(1));
        assert_eq!(parse_decimal("0.0005", 10, 2), Some(0));
        assert_eq!(parse_decimal("6e-3", 10, 2), Some(1));
        assert_eq!(parse_decimal("99999999.995", 10, 2), None);
        assert_eq!(parse_decimal("1e999999999", 10, 2), None);
        assert_eq!(parse_decimal("0e999999999", 10, 2), Some(0));
        for wrong in ["", ".", "-", "1.2.3", "abc", "1e", "--1"] {
            assert_eq!(parse_decimal(wrong, 10, 2), None, "{wrong}");
        }
    }

    #[test]
    fn doubles_from_text() {
        assert_eq!(parse_double(" 1.5e3 "), Some(1500.0));
        assert_eq!(parse_double("1.5d"), Some(1.5));
        assert_eq!(parse_double("-Infinity"), Some(f64::NEG_INFINITY));
        assert!(parse_double("NaN").is_some_and(f64::is_nan));
        for wrong in ["", "d", "1.5x", "++1", "e5", "infd"] {
            assert_eq!(parse_double(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn half_is_rounded_away_from_zero() {
        assert_eq!(rescale(125, 2, 1), Some(13));
        assert_eq!(rescale(-125, 2, 1), Some(-13));
        assert_eq!(rescale(124, 2, 1), Some(12));
        assert_eq!(rescale(1, 0, 38), None);
        assert_eq!(rescale(i128::MAX, 40, 0), Some(0));
        assert_eq!(divide_half_up(power_of_ten(38) - 1, power_of_ten(38)), 1);
    }
}
