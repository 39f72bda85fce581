//! The text of a record's key.
//!
//! A raw record's Kafka key is the UTF-8 text of the stream's key column (`docs/records.md`). Every door writes it here, so that a value
//! has one text and so one partition, whichever door it came through:
//!
//! | type | text |
//! | --- | --- |
//! | text | itself |
//! | integer | decimal digits, with a minus if negative |
//! | decimal | digits with all places of the column's scale: `5.00` |
//! | boolean | `true`, `false` |
//! | date | `2026-01-31` |
//! | timestamp | `2026-01-31T10:00:00.000000Z`, always six places |
//! | double | the shortest text that reads back as the same number |
//! | bytes | themselves |

use std::io::Write as _;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{
    Array, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int32Array, Int64Array,
    StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, TimeUnit};

/// A column, seen as the texts of keys.
#[derive(Debug)]
pub struct KeyColumn<'a>(Values<'a>);

#[derive(Debug)]
enum Values<'a> {
    Utf8(&'a StringArray),
    Binary(&'a BinaryArray),
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    Float32(&'a Float32Array),
    Float64(&'a Float64Array),
    Boolean(&'a BooleanArray),
    Decimal(&'a Decimal128Array, usize),
    Timestamp(&'a TimestampMicrosecondArray),
    Date(&'a Date32Array),
}

impl<'a> KeyColumn<'a> {
    /// Sees `array` as keys; `None` if its type can't be a key (lists, maps, structures).
    pub fn new(array: &'a dyn Array) -> Option<Self> {
        Some(Self(match array.data_type() {
            DataType::Utf8 => Values::Utf8(array.as_string_opt()?),
            DataType::Binary => Values::Binary(array.as_binary_opt()?),
            DataType::Int32 => Values::Int32(array.as_primitive_opt::<Int32Type>()?),
            DataType::Int64 => Values::Int64(array.as_primitive_opt::<Int64Type>()?),
            DataType::Float32 => Values::Float32(array.as_primitive_opt::<Float32Type>()?),
            DataType::Float64 => Values::Float64(array.as_primitive_opt::<Float64Type>()?),
            DataType::Boolean => Values::Boolean(array.as_boolean_opt()?),
            DataType::Decimal128(_, scale) => {
                Values::Decimal(array.as_primitive_opt::<Decimal128Type>()?, usize::try_from(*scale).ok()?)
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Values::Timestamp(array.as_primitive_opt::<TimestampMicrosecondType>()?)
            }
            DataType::Date32 => Values::Date(array.as_primitive_opt::<Date32Type>()?),
            _ => return None,
        }))
    }

    /// Appends the text of row `row` to `out`. Returns false, and appends nothing, if the value is NULL or the row doesn't exist.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) -> bool {
        let array: &dyn Array = match &self.0 {
            Values::Utf8(array) => *array,
            Values::Binary(array) => *array,
            Values::Int32(array) => *array,
            Values::Int64(array) => *array,
            Values::Float32(array) => *array,
            Values::Float64(array) => *array,
            Values::Boolean(array) => *array,
            Values::Decimal(array, _) => *array,
            Values::Timestamp(array) => *array,
            Values::Date(array) => *array,
        };
        if row >= array.len() || array.is_null(row) {
            return false;
        }
        // Writing to a Vec can't fail.
        let written = match &self.0 {
            Values::Utf8(array) => out.write_all(array.value(row).as_bytes()),
            Values::Binary(array) => out.write_all(array.value(row)),
            Values::Int32(array) => write!(out, "{}", array.value(row)),
            Values::Int64(array) => write!(out, "{}", array.value(row)),
            Values::Float32(array) => write!(out, "{}", array.value(row)),
            Values::Float64(array) => write!(out, "{}", array.value(row)),
            Values::Boolean(array) => write!(out, "{}", array.value(row)),
            Values::Decimal(array, scale) => write_decimal(array.value(row), *scale, out),
            Values::Timestamp(array) => write_timestamp(array.value(row), out),
            Values::Date(array) => write_date(i64::from(array.value(row)), out),
        };
        written.is_ok()
    }
}

/// The key of one row as text; `None` if it is NULL or its type can't be a key. For many rows take [`KeyColumn`], which allocates nothing.
/// Bytes that aren't UTF-8 are shown with replacement characters.
pub fn key_text(array: &dyn Array, row: usize) -> Option<String> {
    let mut text = Vec::new();
    KeyColumn::new(array)?
        .write(row, &mut text)
        .then(|| String::from_utf8(text).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

fn write_decimal(unscaled: i128, scale: usize, out: &mut Vec<u8>) -> std::io::Result<()> {
    if scale == 0 {
        return write!(out, "{unscaled}");
    }
    if unscaled < 0 {
        out.push(b'-');
    }
    // At least one digit stands before the point, which asks for leading zeros below 1.
    let start = out.len();
    write!(out, "{:01$}", unscaled.unsigned_abs(), scale + 1)?;
    let point = out.len().saturating_sub(scale).max(start);
    out.insert(point, b'.');
    Ok(())
}

fn write_date(days: i64, out: &mut Vec<u8>) -> std::io::Result<()> {
    match days.checked_mul(86_400).and_then(|seconds| chrono::DateTime::from_timestamp(seconds, 0)) {
        Some(time) => write!(out, "{}", time.date_naive()),
        None => write!(out, "{days}"),
    }
}

fn write_timestamp(microseconds: i64, out: &mut Vec<u8>) -> std::io::Result<()> {
    match chrono::DateTime::from_timestamp_micros(microseconds) {
        Some(time) => write!(out, "{}", time.format("%Y-%m-%dT%H:%M:%S%.6fZ")),
        None => write!(out, "{microseconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_type_has_its_text() {
        let decimals = Decimal128Array::from(vec![Some(500), Some(-5), Some(0), None]);
        let decimals = decimals.with_precision_and_scale(10, 2).unwrap();
        let texts: Vec<_> = (0..4).map(|row| key_text(&decimals, row)).collect();
        assert_eq!(texts, [Some("5.00".into()), Some("-0.05".into()), Some("0.00".into()), None]);
        assert_eq!(key_text(&Int64Array::from(vec![-7]), 0).as_deref(), Some("-7"));
        assert_eq!(key_text(&Float64Array::from(vec![0.1]), 0).as_deref(), Some("0.1"));
        assert_eq!(key_text(&BooleanArray::from(vec![true]), 0).as_deref(), Some("true"));
        assert_eq!(key_text(&Date32Array::from(vec![20_484]), 0).as_deref(), Some("2026-01-31"));
        let time = TimestampMicrosecondArray::from(vec![-1]).with_timezone("UTC");
        assert_eq!(key_text(&time, 0).as_deref(), Some("1969-12-31T23:59:59.999999Z"));
        assert_eq!(key_text(&StringArray::from(vec!["ä"]), 0).as_deref(), Some("ä"));
        assert_eq!(key_text(&StringArray::from(vec!["a"]), 1), None);
    }

    proptest! {
        #[test]
        fn a_decimals_text_reads_back(unscaled in -(10_i128.pow(38) - 1)..10_i128.pow(38), scale in 0_i8..38) {
            let array = Decimal128Array::from(vec![unscaled]).with_precision_and_scale(38, scale).unwrap();
            let text = key_text(&array, 0).unwrap();
            prop_assert_eq!(crate::coerce::decimal::parse(&text, 38, scale), Ok(unscaled));
        }
    }
}
