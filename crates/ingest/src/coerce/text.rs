//! Single values, from text and from JSON, appended to a column.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder, Float64Builder, Int32Builder,
    Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow_schema::{DataType, Field};
use model::infer;

use super::{Target, decimal, shown};

/// A column that grows by one value at a time. After an error the row holds NULL in it, so that columns stay of one length.
#[derive(Debug)]
pub(crate) struct ColumnBuilder {
    values: Values,
    nullable: bool,
    noisy: usize,
}

#[derive(Debug)]
enum Values {
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Boolean(BooleanBuilder),
    Utf8(StringBuilder),
    Binary(BinaryBuilder),
    Decimal(Decimal128Builder, u8, i8),
    Timestamp(TimestampMicrosecondBuilder),
    Date(Date32Builder),
}

/// What is wrong with a value, for people.
pub(crate) type ValueFault = String;

impl ColumnBuilder {
    /// A builder for a column; `None` if its type can't be filled from a file.
    pub(crate) fn new(field: &Field, rows: usize) -> Option<Self> {
        let values = match Target::of(field.data_type())? {
            Target::Int32 => Values::Int32(Int32Builder::with_capacity(rows)),
            Target::Int64 => Values::Int64(Int64Builder::with_capacity(rows)),
            Target::Float32 => Values::Float32(Float32Builder::with_capacity(rows)),
            Target::Float64 => Values::Float64(Float64Builder::with_capacity(rows)),
            Target::Boolean => Values::Boolean(BooleanBuilder::with_capacity(rows)),
            Target::Utf8 => Values::Utf8(StringBuilder::with_capacity(rows, rows * 12)),
            Target::Binary => Values::Binary(BinaryBuilder::with_capacity(rows, rows * 12)),
            Target::Decimal { precision, scale } => {
                let builder = Decimal128Builder::with_capacity(rows).with_precision_and_scale(precision, scale).ok()?;
                Values::Decimal(builder, precision, scale)
            }
            Target::Timestamp => {
                let DataType::Timestamp(_, zone) = field.data_type() else { return None };
                Values::Timestamp(TimestampMicrosecondBuilder::with_capacity(rows).with_timezone_opt(zone.clone()))
            }
            Target::Date => Values::Date(Date32Builder::with_capacity(rows)),
        };
        Some(Self { values, nullable: field.is_nullable(), noisy: 0 })
    }

    /// Appends the value that a CSV field writes. An empty field is NULL where the column allows it, and otherwise the empty text of a
    /// text column.
    pub(crate) fn append_text(&mut self, text: &str) -> Result<(), ValueFault> {
        if text.is_empty() && (self.nullable || !matches!(self.values, Values::Utf8(_) | Values::Binary(_))) {
            return self.append_null();
        }
        self.append_value(text)
    }

    /// Appends the value of a JSON text: one scalar, written as `serde_json` delimits it.
    pub(crate) fn append_json(&mut self, raw: &str) -> Result<(), ValueFault> {
        match raw.as_bytes() {
            [b'n', ..] => self.append_null(),
            [b'"', ..] => match unquote(raw) {
                Some(text) if matches!(self.values, Values::Binary(_)) => self.append_code_points(&text),
                Some(text) => self.append_value(&text),
                None => self.append_fault(format!("{} is not a JSON string", shown(raw))),
            },
            [b'{' | b'[', ..] => {
                self.append_fault(format!("{} is nested, and the column holds a single value", shown(raw)))
            }
            _ => self.append_value(raw),
        }
    }

    /// Appends bytes that JSON writes as Avro does: the characters U+0000 to U+00FF stand for the bytes.
    fn append_code_points(&mut self, text: &str) -> Result<(), ValueFault> {
        let bytes: Option<Vec<u8>> = text.chars().map(|character| u8::try_from(character).ok()).collect();
        match (&mut self.values, bytes) {
            (Values::Binary(builder), Some(bytes)) => {
                builder.append_value(bytes);
                Ok(())
            }
            _ => self.append_fault(format!("{} has characters above U+00FF, which stand for no byte", shown(text))),
        }
    }

    /// Appends NULL, which is a fault in a column that doesn't allow it.
    pub(crate) fn append_null(&mut self) -> Result<(), ValueFault> {
        self.push_null();
        if self.nullable { Ok(()) } else { Err(NULL_FAULT.into()) }
    }

    fn push_null(&mut self) {
        match &mut self.values {
            Values::Int32(builder) => builder.append_null(),
            Values::Int64(builder) => builder.append_null(),
            Values::Float32(builder) => builder.append_null(),
            Values::Float64(builder) => builder.append_null(),
            Values::Boolean(builder) => builder.append_null(),
            Values::Utf8(builder) => builder.append_null(),
            Values::Binary(builder) => builder.append_null(),
            Values::Decimal(builder, ..) => builder.append_null(),
            Values::Timestamp(builder) => builder.append_null(),
            Values::Date(builder) => builder.append_null(),
        }
    }

    /// Appends NULL in the place of a value that can't be had, and gives the fault back.
    pub(crate) fn append_fault(&mut self, fault: ValueFault) -> Result<(), ValueFault> {
        self.push_null();
        Err(fault)
    }

    fn append_value(&mut self, text: &str) -> Result<(), ValueFault> {
        let appended = match &mut self.values {
            Values::Utf8(builder) => {
                builder.append_value(text);
                Ok(())
            }
            Values::Binary(builder) => {
                builder.append_value(text.as_bytes());
                Ok(())
            }
            Values::Int32(builder) => int(text)
                .and_then(|value| i32::try_from(value).map_err(|_| format!("{} does not fit in an int", shown(text))))
                .map(|value| builder.append_value(value)),
            Values::Int64(builder) => int(text).map(|value| builder.append_value(value)),
            Values::Float32(builder) => float32(text).map(|value| builder.append_value(value)),
            Values::Float64(builder) => float64(text).map(|value| builder.append_value(value)),
            Values::Boolean(builder) => boolean(text).map(|value| builder.append_value(value)),
            Values::Decimal(builder, precision, scale) => parse_decimal(text, *precision, *scale).map(|taken| {
                builder.append_value(taken.value);
                self.noisy += usize::from(taken.noisy);
            }),
            Values::Timestamp(builder) => timestamp_us(text).map(|value| builder.append_value(value)),
            Values::Date(builder) => date(text).map(|value| builder.append_value(value)),
        };
        appended.or_else(|fault| self.append_fault(fault))
    }

    /// How many decimals had the noise of floating point taken off since this was asked last.
    pub(crate) fn take_noisy(&mut self) -> usize {
        std::mem::take(&mut self.noisy)
    }

    /// The column, and an empty builder again.
    pub(crate) fn finish(&mut self) -> ArrayRef {
        match &mut self.values {
            Values::Int32(builder) => Arc::new(builder.finish()),
            Values::Int64(builder) => Arc::new(builder.finish()),
            Values::Float32(builder) => Arc::new(builder.finish()),
            Values::Float64(builder) => Arc::new(builder.finish()),
            Values::Boolean(builder) => Arc::new(builder.finish()),
            Values::Utf8(builder) => Arc::new(builder.finish()),
            Values::Binary(builder) => Arc::new(builder.finish()),
            Values::Decimal(builder, precision, scale) => {
                let column = builder.finish();
                // `finish` forgets the type: give it to the builder again. It was valid when the builder was made.
                if let Ok(fresh) = Decimal128Builder::new().with_precision_and_scale(*precision, *scale) {
                    *builder = fresh;
                }
                Arc::new(column)
            }
            Values::Timestamp(builder) => Arc::new(builder.finish()),
            Values::Date(builder) => Arc::new(builder.finish()),
        }
    }
}

/// The fault of NULL in a column that doesn't allow it.
pub(crate) const NULL_FAULT: &str = "it is empty or NULL, and the column does not allow that";

/// The text of a JSON string; borrowed if it has no escapes.
pub(crate) fn unquote(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(raw).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

/// A whole number, also if it is written `5.0` or `5e3`, as tools do that know only floating point.
pub(crate) fn int(text: &str) -> Result<i64, ValueFault> {
    let text = text.trim();
    if let Ok(value) = text.parse() {
        return Ok(value);
    }
    match decimal::parse(text, 38, 0) {
        Ok(value) => i64::try_from(value).map_err(|_| format!("{} does not fit in a long", shown(text))),
        Err(decimal::DecimalFault::TooLarge) => Err(format!("{} does not fit in a long", shown(text))),
        Err(_) => Err(format!("{} is not a whole number", shown(text))),
    }
}

/// A finite number in floating point.
pub(crate) fn float64(text: &str) -> Result<f64, ValueFault> {
    match text.trim().parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) => Err(format!("{} is not a finite number", shown(text))),
        Err(_) => Err(format!("{} is not a number", shown(text))),
    }
}

fn float32(text: &str) -> Result<f32, ValueFault> {
    match text.trim().parse::<f32>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) => Err(format!("{} is not a finite number of single precision", shown(text))),
        Err(_) => Err(format!("{} is not a number", shown(text))),
    }
}

/// A truth value, as CSV files of common tools write it.
pub(crate) fn boolean(text: &str) -> Result<bool, ValueFault> {
    let text = text.trim();
    if let Some(value) = infer::boolean(text) {
        return Ok(value);
    }
    match text {
        "1" | "t" | "T" => Ok(true),
        "0" | "f" | "F" => Ok(false),
        _ if text.eq_ignore_ascii_case("yes") => Ok(true),
        _ if text.eq_ignore_ascii_case("no") => Ok(false),
        _ => Err(format!("{} is not a truth value; write true or false", shown(text))),
    }
}

/// A decimal as an integer of `10^-scale`.
pub(crate) fn parse_decimal(text: &str, precision: u8, scale: i8) -> Result<decimal::Taken, ValueFault> {
    decimal::from_text(text.trim(), precision, scale).map_err(|fault| fault.message(&shown(text), precision, scale))
}

/// A point in time: ISO 8601, a date (its midnight in UTC), or a whole number of microseconds since 1970.
pub(crate) fn timestamp_us(text: &str) -> Result<i64, ValueFault> {
    let text = text.trim();
    infer::timestamp_us(text)
        .or_else(|| infer::date(text).map(|days| i64::from(days) * MICROSECONDS_PER_DAY))
        .or_else(|| text.parse().ok())
        .ok_or_else(|| {
            format!(
                "{} is not a time; write it as 2026-01-31T10:00:00Z, or as whole microseconds since 1970",
                shown(text)
            )
        })
}

pub(crate) const MICROSECONDS_PER_DAY: i64 = 86_400_000_000;

/// A date as days since 1970.
pub(crate) fn date(text: &str) -> Result<i32, ValueFault> {
    let text = text.trim();
    infer::date(text).ok_or_else(|| format!("{} is not a date; write it as 2026-01-31", shown(text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Decimal128Type, TimestampMicrosecondType};

    fn builder(data_type: DataType, nullable: bool) -> ColumnBuilder {
        ColumnBuilder::new(&Field::new("c", data_type, nullable), 4).unwrap()
    }

    #[test]
    fn a_fault_leaves_null_and_the_column_goes_on() {
        let mut column = builder(DataType::Decimal128(10, 2), false);
        assert_eq!(column.append_text(" 1.5 "), Ok(()));
        assert!(column.append_text("1.005").unwrap_err().contains("more than 2 decimal places"));
        assert_eq!(column.append_text("").unwrap_err(), NULL_FAULT);
        assert_eq!(column.append_json("\"2.00\""), Ok(()));
        assert_eq!(
            column.append_json("12345678901234.5").unwrap_err(),
            "\"12345678901234.5\" does not fit in decimal(10,2)"
        );
        let array = column.finish();
        let values: Vec<_> = array.as_primitive::<Decimal128Type>().iter().collect();
        assert_eq!(values, [Some(150), None, None, Some(200), None]);
        assert_eq!(column.append_text("3"), Ok(()));
        assert_eq!(column.finish().data_type(), &DataType::Decimal128(10, 2), "the type outlives finish");
    }

    #[test]
    fn empty_text_is_null_only_where_null_may_be() {
        let mut optional = builder(DataType::Utf8, true);
        assert_eq!((optional.append_text(""), optional.append_json("\"\"")), (Ok(()), Ok(())));
        let array = optional.finish();
        assert!(array.is_null(0) && array.is_valid(1));
        let mut required = builder(DataType::Utf8, false);
        assert_eq!(required.append_text(""), Ok(()));
        assert_eq!(required.append_json("null").unwrap_err(), NULL_FAULT);
    }

    #[test]
    fn json_scalars_are_taken_exactly() {
        let mut text = builder(DataType::Utf8, true);
        for raw in ["\"a\\u00e4\\n\"", "42", "true"] {
            assert_eq!(text.append_json(raw), Ok(()));
        }
        assert!(text.append_json("{\"a\":1}").unwrap_err().contains("nested"));
        assert_eq!(text.finish().as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["aä\n", "42", "true"]);
        let mut decimals = builder(DataType::Decimal128(38, 10), true);
        assert_eq!(decimals.append_json("1234567890123456789012345678.0123456789"), Ok(()));
        assert_eq!(
            decimals.finish().as_primitive::<Decimal128Type>().value(0),
            12_345_678_901_234_567_890_123_456_780_123_456_789
        );
        assert_eq!(int("5.0"), Ok(5));
        assert!(int("5.5").is_err() && int("9223372036854775808").is_err() && float64("NaN").is_err());
        assert!(float64("1e999").is_err());
    }

    #[test]
    fn bytes_are_characters_in_json_and_utf_8_in_csv() {
        let mut bytes = builder(DataType::Binary, false);
        assert_eq!((bytes.append_json("\"\\u00ffa\""), bytes.append_text("ä")), (Ok(()), Ok(())));
        assert!(bytes.append_json("\"€\"").unwrap_err().contains("above U+00FF"));
        let array = bytes.finish();
        assert_eq!(
            (array.as_binary::<i32>().value(0), array.as_binary::<i32>().value(1)),
            (&b"\xffa"[..], "ä".as_bytes())
        );
    }

    #[test]
    fn times_come_in_three_forms() {
        let mut times = builder(infer::timestamp_type(), false);
        for raw in ["\"1970-01-01T00:00:01Z\"", "\"1970-01-02\"", "-5"] {
            assert_eq!(times.append_json(raw), Ok(()));
        }
        assert!(times.append_json("1.5").unwrap_err().contains("is not a time"));
        let array = times.finish();
        assert_eq!(array.data_type(), &infer::timestamp_type());
        assert_eq!(
            array.as_primitive::<TimestampMicrosecondType>().values()[..3],
            [1_000_000, MICROSECONDS_PER_DAY, -5]
        );
    }
}
