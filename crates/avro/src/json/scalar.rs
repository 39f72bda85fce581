//! Single values between JSON and Avro: numbers, decimals, dates and times.

use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, SecondsFormat};
use serde_json::Value;

use crate::arrow::Unit;
use crate::values;

/// Digits that a 64-bit float surely keeps.
const FLOAT_DIGITS: usize = 15;

/// What kind of JSON a value is, for messages.
pub(super) fn found(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => format!("the boolean {flag}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text `{}`", text.chars().take(40).collect::<String>()),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

pub(super) fn expected<T>(what: &str, value: &Value) -> Result<T, String> {
    Err(format!("expected {what}, found {}", found(value)))
}

/// An integer; `5.0` is one too.
pub(super) fn integer(value: &Value, what: &str) -> Result<i64, String> {
    let Value::Number(number) = value else { return expected(what, value) };
    if let Some(integer) = number.as_i64() {
        return Ok(integer);
    }
    match number.as_f64() {
        // Up to 2^53 a float is exactly the integer that was written.
        #[allow(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0 => {
            Ok(float as i64)
        }
        _ => Err(format!("{number} is no {what}, or too large for one")),
    }
}

pub(super) fn int(value: &Value, what: &str) -> Result<i32, String> {
    let long = integer(value, what)?;
    i32::try_from(long).map_err(|_| format!("{long} is too large for a 32-bit {what}"))
}

/// The unscaled integer of a decimal given as text or as a number that JSON kept exactly.
pub(super) fn decimal(value: &Value, precision: u32, scale: u32) -> Result<i128, String> {
    match value {
        Value::String(text) => values::parse_decimal(text.trim(), precision, scale),
        Value::Number(number) => {
            let text = number.to_string();
            let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
            let mantissa = if number.is_f64() { mantissa.strip_suffix(".0").unwrap_or(mantissa) } else { mantissa };
            let digits = mantissa.bytes().filter(u8::is_ascii_digit).skip_while(|digit| *digit == b'0').count();
            if number.is_f64() && digits > FLOAT_DIGITS {
                return Err(format!("the number {number} may have lost digits on its way; write decimals as text"));
            }
            values::parse_decimal(&text, precision, scale)
        }
        other => expected("a decimal as text or number", other),
    }
}

/// Microseconds since 1970: text in ISO 8601 (without a zone it is UTC), or an integer in the field's own unit.
pub(super) fn timestamp(value: &Value, unit: Unit) -> Result<i64, String> {
    let micros = match value {
        Value::String(text) => parse_timestamp(text.trim())?,
        other => {
            let integer = integer(other, "timestamp (ISO 8601, or an integer)")?;
            let factor = if unit == Unit::Millis { 1_000 } else { 1 };
            integer.checked_mul(factor).ok_or_else(|| format!("{integer} is beyond any timestamp"))?
        }
    };
    if unit == Unit::Millis && micros % 1_000 != 0 {
        return Err("a timestamp with microseconds, where the schema has milliseconds".to_owned());
    }
    values::check_timestamp(micros).map_err(std::borrow::Cow::into_owned)
}

fn parse_timestamp(text: &str) -> Result<i64, String> {
    let wrong = || format!("`{text}` is no timestamp; write it as 2026-01-31T23:59:59.123Z");
    let zoned =
        DateTime::parse_from_rfc3339(text).or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%#z"));
    let (micros, nanos) = match zoned {
        Ok(time) => (time.timestamp_micros(), time.timestamp_subsec_nanos()),
        Err(_) => {
            let local = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]
                .iter()
                .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
                .or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().and_then(|date| date.and_hms_opt(0, 0, 0)))
                .ok_or_else(wrong)?
                .and_utc();
            (local.timestamp_micros(), local.timestamp_subsec_nanos())
        }
    };
    if nanos % 1_000 != 0 {
        return Err(format!("`{text}` is finer than microseconds"));
    }
    Ok(micros)
}

/// Days since 1970: text as `2026-01-31`, or an integer.
pub(super) fn date(value: &Value) -> Result<i32, String> {
    let days = match value {
        Value::String(text) => {
            let date = NaiveDate::parse_from_str(text.trim(), "%Y-%m-%d")
                .map_err(|_| format!("`{text}` is no date; write it as 2026-01-31"))?;
            i32::try_from(date.signed_duration_since(NaiveDate::default()).num_days())
                .map_err(|_| format!("`{text}` is beyond any date"))?
        }
        other => int(other, "date (2026-01-31, or days since 1970)")?,
    };
    values::check_date(days).map_err(std::borrow::Cow::into_owned)
}

/// A timestamp as text, or as its number where it is beyond the calendar.
pub(super) fn show_timestamp(micros: i64) -> Value {
    match DateTime::from_timestamp_micros(micros) {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true).into(),
        None => micros.into(),
    }
}

/// A date as text, or as its number where it is beyond the calendar.
pub(super) fn show_date(days: i32) -> Value {
    let epoch = NaiveDate::default();
    let distance = Days::new(u64::from(days.unsigned_abs()));
    let date = if days < 0 { epoch.checked_sub_days(distance) } else { epoch.checked_add_days(distance) };
    date.map_or_else(|| days.into(), |date| date.to_string().into())
}
