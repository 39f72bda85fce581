//! Values of expected and actual rows, compared by what they mean and not by how they are written.

use std::cmp::Ordering;
use std::fmt;

use arrow_schema::{DataType, TimeUnit};
use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat};

use crate::tree::{Node, Value};
use crate::types;

/// How far apart two floating-point numbers may be, relative to the greater, and still be equal: sums depend on the order of rows.
const DOUBLE_TOLERANCE: f64 = 1e-9;

/// A value of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// SQL's NULL.
    Null,
    /// A truth value.
    Boolean(bool),
    /// A whole number or a decimal: digits and how many of them stand after the point.
    Number {
        /// All digits.
        unscaled: i128,
        /// Digits after the point.
        scale: u32,
    },
    /// A floating-point number.
    Double(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
    /// Microseconds since 1970, UTC.
    Timestamp(i64),
    /// Days since 1970.
    Date(i32),
    /// A list.
    List(Vec<Cell>),
}

impl Cell {
    /// A whole number.
    pub fn integer(value: impl Into<i128>) -> Self {
        Self::Number { unscaled: value.into(), scale: 0 }
    }

    /// Whether both mean the same: `5.0` is `5.00`, a timestamp is an instant, and doubles may differ in their last digits.
    pub fn matches(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Double(a), b) | (b, Self::Double(a)) => b.as_double().is_some_and(|b| nearly(*a, b)),
            (Self::Number { .. }, Self::Number { .. }) => self.order(other) == Ordering::Equal,
            (Self::List(a), Self::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.matches(b)),
            _ => self == other,
        }
    }

    /// A total order for showing rows: NULL first, then by value.
    pub fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number { unscaled: a, scale: s }, Self::Number { unscaled: b, scale: t }) => {
                let scale = *s.max(t);
                let raised =
                    |value: i128, by: u32| 10_i128.checked_pow(by).and_then(|factor| value.checked_mul(factor));
                match (raised(*a, scale - s), raised(*b, scale - t)) {
                    (Some(a), Some(b)) => a.cmp(&b),
                    _ => self.as_double().unwrap_or(0.0).total_cmp(&other.as_double().unwrap_or(0.0)),
                }
            }
            (Self::Boolean(a), Self::Boolean(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Binary(a), Self::Binary(b)) => a.cmp(b),
            (Self::Timestamp(a), Self::Timestamp(b)) => a.cmp(b),
            (Self::Date(a), Self::Date(b)) => a.cmp(b),
            (Self::List(a), Self::List(b)) => {
                let differing = a.iter().zip(b).map(|(a, b)| a.order(b)).find(|order| order.is_ne());
                differing.unwrap_or_else(|| a.len().cmp(&b.len()))
            }
            _ => match (self.as_double(), other.as_double()) {
                (Some(a), Some(b)) => a.total_cmp(&b),
                _ => self.rank().cmp(&other.rank()),
            },
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Boolean(_) => 1,
            Self::Number { .. } | Self::Double(_) => 2,
            Self::Text(_) => 3,
            Self::Binary(_) => 4,
            Self::Date(_) => 5,
            Self::Timestamp(_) => 6,
            Self::List(_) => 7,
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "compared with a tolerance far above the loss")]
    fn as_double(&self) -> Option<f64> {
        match self {
            Self::Double(value) => Some(*value),
            Self::Number { unscaled, scale } => {
                Some(*unscaled as f64 / 10_f64.powi(i32::try_from(*scale).unwrap_or(i32::MAX)))
            }
            _ => None,
        }
    }

    /// As it would be written in a test file: text only in quotes where YAML would read something else.
    pub fn to_yaml(&self) -> String {
        match self {
            Self::Null => "null".into(),
            Self::Text(text) if is_plain(text) => text.clone(),
            Self::Text(text) => quoted(text),
            // A decimal's places would be lost on readers that take it for a floating-point number.
            Self::Number { scale, .. } if *scale > 0 => format!("\"{self}\""),
            Self::List(items) => {
                format!("[{}]", items.iter().map(Self::to_yaml).collect::<Vec<_>>().join(", "))
            }
            other => other.to_string(),
        }
    }

    /// As JSON: decimals, dates and times as text, so that nothing is lost.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Boolean(value) => (*value).into(),
            Self::Number { unscaled, scale: 0 } => match i64::try_from(*unscaled) {
                Ok(value) => value.into(),
                Err(_) => unscaled.to_string().into(),
            },
            Self::Double(value) if value.is_finite() => (*value).into(),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            other => other.to_string().into(),
        }
    }

    /// The value that a test file writes for a column of this type.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(node: &Node, data_type: &DataType) -> Result<Self, String> {
        let text = match &node.value {
            Value::Null => return Ok(Self::Null),
            Value::Scalar(text) => text,
            Value::Sequence(items) => {
                let DataType::List(field) = data_type else {
                    return Err(format!("the column is {}, and this is a list", types::name(data_type)));
                };
                let items: Result<Vec<Self>, String> =
                    items.iter().map(|item| Self::read(item, field.data_type())).collect();
                return items.map(Self::List);
            }
            Value::Mapping(_) => {
                return Err(format!("the column is {}, and this is a mapping", types::name(data_type)));
            }
        };
        let wrong = || format!("`{text}` is no {}", types::name(data_type));
        match data_type {
            DataType::Boolean => match text.as_str() {
                "true" => Ok(Self::Boolean(true)),
                "false" => Ok(Self::Boolean(false)),
                _ => Err(wrong()),
            },
            DataType::Int32 | DataType::Int64 => text.trim().parse::<i64>().map(Self::integer).map_err(|_| wrong()),
            DataType::Decimal128(..) => decimal(text).ok_or_else(wrong),
            DataType::Float32 | DataType::Float64 => double(text).map(Self::Double).ok_or_else(wrong),
            DataType::Utf8 => Ok(Self::Text(text.clone())),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                let help = "; write it as 2026-01-31T23:59:59.123Z";
                timestamp(text).map(Self::Timestamp).ok_or_else(|| wrong() + help)
            }
            DataType::Date32 => date(text).map(Self::Date).ok_or_else(|| wrong() + "; write it as 2026-01-31"),
            DataType::Binary => bytes(text).map(Self::Binary).ok_or_else(|| wrong() + "; write the bytes as 0x0aff"),
            DataType::List(_) => Err(format!("`{text}` is a single value, and the column is a list")),
            other => Err(format!("a column of type {other} can't be compared")),
        }
    }
}

fn nearly(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= DOUBLE_TOLERANCE * a.abs().max(b.abs())
}

fn decimal(text: &str) -> Option<Cell> {
    let text = text.trim();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let (whole, places) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{places}");
    if whole.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let unscaled = all.parse::<i128>().ok()?.checked_mul(sign)?;
    Some(Cell::Number { unscaled, scale: u32::try_from(places.len()).ok()? })
}

fn double(text: &str) -> Option<f64> {
    match text.trim() {
        "NaN" | ".nan" | ".NaN" => Some(f64::NAN),
        "Infinity" | ".inf" => Some(f64::INFINITY),
        "-Infinity" | "-.inf" => Some(f64::NEG_INFINITY),
        number => number.parse().ok().filter(|value: &f64| value.is_finite()),
    }
}

/// Microseconds since 1970; without a zone it is UTC.
pub(crate) fn timestamp(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_micros());
    }
    let formats = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];
    let local = formats.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    let midnight = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
    Some(local.or_else(midnight)?.and_utc().timestamp_micros())
}

fn date(text: &str) -> Option<i32> {
    let date = NaiveDate::parse_from_str(text.trim(), "%Y-%m-%d").ok()?;
    i32::try_from(date.signed_duration_since(NaiveDate::default()).num_days()).ok()
}

/// Bytes written as hexadecimal digits, with `0x` before them or not, and with spaces where one likes.
pub(crate) fn bytes(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    let digits: String = text.strip_prefix("0x").unwrap_or(text).chars().filter(|c| !c.is_whitespace()).collect();
    if !digits.len().is_multiple_of(2) || !digits.is_ascii() {
        return None;
    }
    digits.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// Text that YAML reads as this text without quotes, also within `{}` and `[]`.
fn is_plain(text: &str) -> bool {
    let safe = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ' ');
    let starts = text.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_');
    let is_word = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"].contains(&text.to_lowercase().as_str());
    starts && !is_word && !text.ends_with(' ') && text.chars().all(safe)
}

fn quoted(text: &str) -> String {
    // JSON's quoted text is YAML too.
    serde_json::Value::from(text).to_string()
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Boolean(value) => value.fmt(f),
            Self::Number { unscaled, scale: 0 } => unscaled.fmt(f),
            Self::Number { unscaled, scale } => {
                let places = usize::try_from(*scale).unwrap_or(0);
                let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = places + 1);
                let (whole, fraction) = digits.split_at(digits.len() - places);
                write!(f, "{}{whole}.{fraction}", if *unscaled < 0 { "-" } else { "" })
            }
            Self::Double(value) => value.fmt(f),
            Self::Text(text) => f.write_str(text),
            Self::Binary(bytes) => {
                f.write_str("0x")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Self::Timestamp(us) => match DateTime::from_timestamp_micros(*us) {
                Some(time) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
                None => us.fmt(f),
            },
            Self::Date(days) => match DateTime::from_timestamp(i64::from(*days) * 86_400, 0) {
                Some(time) => time.date_naive().fmt(f),
                None => days.fmt(f),
            },
            Self::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared_by_what_they_mean() {
        let number = |text| decimal(text).unwrap();
        assert!(number("5.00").matches(&number("5")));
        assert!(number("-0.50").matches(&number("-0.5")));
        assert!(!number("5.01").matches(&number("5")));
        assert!(Cell::Double(0.1 + 0.2).matches(&number("0.3")));
        assert!(Cell::Double(f64::NAN).matches(&Cell::Double(f64::NAN)));
        assert!(!Cell::Null.matches(&Cell::integer(0)));
        assert_eq!(timestamp("2026-01-01T00:00:01Z"), timestamp("2026-01-01T01:00:01+01:00"));
        assert_eq!(timestamp("2026-01-01"), timestamp("2026-01-01 00:00"));
        assert_eq!(bytes("0x00 ff"), Some(vec![0, 255]));
        assert_eq!(bytes("0xf"), None);
    }

    #[test]
    fn shown_values_read_back_as_themselves() {
        let cells = [
            (Cell::Null, DataType::Utf8),
            (Cell::Text("null".into()), DataType::Utf8),
            (Cell::Text("a: b # c".into()), DataType::Utf8),
            (Cell::Text(String::new()), DataType::Utf8),
            (Cell::Text("007".into()), DataType::Utf8),
            (Cell::Number { unscaled: -5, scale: 2 }, DataType::Decimal128(10, 2)),
            (Cell::Double(1.5e300), DataType::Float64),
            (Cell::Timestamp(-1), model::infer::timestamp_type()),
            (Cell::Date(-1), DataType::Date32),
            (Cell::Binary(vec![0, 255]), DataType::Binary),
        ];
        for (cell, data_type) in cells {
            let yaml = format!("[{}]", cell.to_yaml());
            let node = crate::tree::parse(0, &yaml).unwrap();
            let node = node.find(&["0"]).unwrap();
            assert_eq!(Cell::read(node, &data_type), Ok(cell), "{yaml}");
        }
    }
}
