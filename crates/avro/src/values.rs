//! The meaning of single values: decimals, timestamps, dates, text, uuids. Decoding, encoding and JSON share it.

use std::borrow::Cow;

/// 0001-01-01T00:00:00Z in microseconds since 1970.
pub(crate) const TIMESTAMP_US_MIN: i64 = -62_135_596_800_000_000;
/// 9999-12-31T23:59:59.999999Z in microseconds since 1970.
pub(crate) const TIMESTAMP_US_MAX: i64 = 253_402_300_799_999_999;
/// 0001-01-01 in days since 1970.
pub(crate) const DATE_MIN: i32 = -719_162;
/// 9999-12-31 in days since 1970.
pub(crate) const DATE_MAX: i32 = 2_932_896;

/// Why a value can't be used.
pub(crate) type Reason = Cow<'static, str>;

/// The integer of a big-endian two's complement number; `None` if it is empty or needs more than 128 bits.
#[inline]
pub(crate) fn unscaled(bytes: &[u8]) -> Option<i128> {
    let (first, _) = bytes.split_first()?;
    let fill = if first & 0x80 == 0 { 0 } else { 0xff };
    let (sign, digits) = bytes.split_at(bytes.len().saturating_sub(16));
    let mut wide = [fill; 16];
    wide.get_mut(16 - digits.len()..)?.copy_from_slice(digits);
    let value = i128::from_be_bytes(wide);
    // What was cut off must be nothing but the sign.
    (sign.iter().all(|byte| *byte == fill) && (value < 0) == (fill != 0)).then_some(value)
}

/// The shortest big-endian two's complement form of an integer: the bytes from the returned index on.
#[inline]
pub(crate) fn shortest(value: i128) -> ([u8; 16], usize) {
    let bytes = value.to_be_bytes();
    let fill = if value < 0 { !value } else { value };
    let bits = 128 - fill.leading_zeros() as usize + 1;
    (bytes, 16 - bits.div_ceil(8))
}

/// The greatest unscaled value of a precision, at most 38 digits.
pub(crate) fn decimal_max(precision: u32) -> i128 {
    10_i128.checked_pow(precision).map_or(i128::MAX, |power| power - 1)
}

#[cold]
pub(crate) fn beyond_precision(max: i128) -> Reason {
    format!("a decimal beyond its precision of {} digits", max.checked_ilog10().unwrap_or(0) + 1).into()
}

/// Whether a timestamp is in the years 1 to 9999, which every system downstream can hold.
#[inline]
pub(crate) fn check_timestamp(micros: i64) -> Result<i64, Reason> {
    if (TIMESTAMP_US_MIN..=TIMESTAMP_US_MAX).contains(&micros) {
        Ok(micros)
    } else {
        Err(format!("a timestamp of {micros} µs, outside the years 1 to 9999").into())
    }
}

/// Whether a date is in the years 1 to 9999.
#[inline]
pub(crate) fn check_date(days: i32) -> Result<i32, Reason> {
    if (DATE_MIN..=DATE_MAX).contains(&days) {
        Ok(days)
    } else {
        Err(format!("a date of {days} days, outside the years 1 to 9999").into())
    }
}

/// Whether a floating-point number is one.
#[inline]
pub(crate) fn check_number(value: f64) -> Result<f64, Reason> {
    if value.is_finite() { Ok(value) } else { Err(format!("{value} is not a number that can be computed with").into()) }
}

pub(crate) const NUL_IN_TEXT: &str = "the text holds a NUL character, which PostgreSQL can't store";

/// A uuid of 16 bytes as text.
pub(crate) fn uuid_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('?'));
        }
    }
    text
}

/// The 16 bytes of a uuid's text, with or without hyphens.
pub(crate) fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    let mut digits = text.bytes().filter(|byte| *byte != b'-').map(|byte| char::from(byte).to_digit(16));
    for byte in &mut bytes {
        *byte = u8::try_from(digits.next()?? * 16 + digits.next()??).ok()?;
    }
    digits.next().is_none().then_some(bytes)
}

/// A decimal as text with its scale.
pub(crate) fn decimal_text(value: i128, scale: u32) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let digits = value.unsigned_abs().to_string();
    let scale = scale as usize;
    if scale == 0 {
        return format!("{sign}{digits}");
    }
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

/// Reads a decimal's text (`-12.5`, `1e3`) as an unscaled integer of the scale; nothing is rounded.
pub(crate) fn parse_decimal(text: &str, precision: u32, scale: u32) -> Result<i128, String> {
    let wrong = || format!("`{text}` is not a decimal number");
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| wrong())?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits: String = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let too_long = || format!("{text} has more than {precision} digits");
    // Digits after the last one of the scale; negative ones are missing.
    let surplus = i64::try_from(fraction.len()).unwrap_or(i64::MAX) - i64::from(exponent) - i64::from(scale);
    let trimmed = digits.trim_start_matches('0');
    if trimmed.is_empty() {
        return Ok(0);
    }
    digits = trimmed.to_owned();
    if surplus > 0 {
        let keep = digits.len().saturating_sub(usize::try_from(surplus).unwrap_or(usize::MAX));
        if digits.split_off(keep).bytes().any(|byte| byte != b'0') || keep == 0 {
            return Err(format!("{text} has more than {scale} digits after the point"));
        }
    } else {
        let missing = usize::try_from(-surplus).unwrap_or(usize::MAX);
        if missing > 38 {
            return Err(too_long());
        }
        digits.extend(std::iter::repeat_n('0', missing));
    }
    let value: i128 = digits.parse().map_err(|_| too_long())?;
    if value > decimal_max(precision) { Err(too_long()) } else { Ok(sign * value) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimals_are_read_exactly_or_refused() {
        let read = |text| parse_decimal(text, 6, 2);
        for (text, expected) in [
            ("5", 500),
            ("5.00", 500),
            ("-0.05", -5),
            (".5", 50),
            ("+12.3400", 1234),
            ("1e3", 100_000),
            ("123e-1", 1230),
            ("0.0000", 0),
            ("9999.99", 999_999),
        ] {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
        for text in
            ["", "-", ".", "1.234", "10000", "1e9", "1e99999999999", "1,5", "NaN", "0x1", "1e-3", "--1", "5.001"]
        {
            assert!(read(text).is_err(), "{text}");
        }
        assert_eq!(decimal_text(-5, 2), "-0.05");
        assert_eq!(decimal_text(1234, 2), "12.34");
        assert_eq!(decimal_text(7, 0), "7");
    }

    #[test]
    fn integers_of_any_length() {
        assert_eq!(unscaled(&[]), None);
        assert_eq!(unscaled(&[0xff; 40]), Some(-1));
        assert_eq!(unscaled(&[0; 17]), Some(0));
        let mut wide = [0; 17];
        wide[1] = 0x80;
        assert_eq!(unscaled(&wide), None, "2^127 doesn't fit");
        wide[0] = 1;
        assert_eq!(unscaled(&wide), None);
    }

    proptest! {
        #[test]
        fn integers_are_read_as_written(value in any::<i128>(), shift in 0_u32..127, padding in 0_usize..20) {
            let value = value >> shift;
            let (bytes, start) = shortest(value);
            prop_assert_eq!(unscaled(&bytes[start..]), Some(value));
            if start < 15 {
                prop_assert_ne!(unscaled(&bytes[start + 1..]), Some(value), "no shorter form");
            }
            let fill = if value < 0 { 0xff } else { 0 };
            let padded: Vec<u8> = std::iter::repeat_n(fill, padding).chain(bytes[start..].iter().copied()).collect();
            prop_assert_eq!(unscaled(&padded), Some(value));
        }

        #[test]
        fn decimals_are_printed_as_read(value in -999_999_999_i128..1_000_000_000, scale in 0_u32..9) {
            prop_assert_eq!(parse_decimal(&decimal_text(value, scale), 9, scale), Ok(value));
        }

        #[test]
        fn uuids_are_printed_as_read(bytes in any::<[u8; 16]>()) {
            prop_assert_eq!(uuid_bytes(&uuid_text(&bytes)), Some(bytes));
        }
    }
}
