//! Literals, types by name, intervals.

use std::ops::Range;

use arrow_schema::DataType;
use datafusion_common::ScalarValue;
use sqlparser::ast::{self, ExactNumberInfo, Expr, Interval, TypedString, Value, ValueWithSpan};

use super::{Binder, Bound, coerce};
use crate::interval::{self, DurationError};
use crate::typed::Typed;
use crate::types::{self, PRECISION_MAX};

impl Binder<'_> {
    pub(super) fn literal(&mut self, value: &ValueWithSpan, span: &Range<usize>) -> Bound {
        match &value.value {
            Value::Number(digits, long) => self.number(digits, *long, span),
            Value::SingleQuotedString(text) => Ok(Typed::literal(ScalarValue::Utf8(Some(text.clone())), span.clone())),
            Value::Boolean(value) => Ok(Typed::literal(ScalarValue::Boolean(Some(*value)), span.clone())),
            Value::Null => Ok(Typed::literal(ScalarValue::Null, span.clone())),
            Value::Placeholder(_) => self.report(
                span.clone(),
                "a query has no parameters",
                "write the value, or keep it in a reference table",
            ),
            _ => {
                self.report(span.clone(), "this kind of literal isn't supported", "write text in single quotes: 'text'")
            }
        }
    }

    /// A number as Spark reads it: int, bigint, decimal; with an exponent double.
    pub(super) fn number(&mut self, digits: &str, long: bool, span: &Range<usize>) -> Bound {
        let literal = |value| Ok(Typed::literal(value, span.clone()));
        if long {
            return match digits.parse() {
                Ok(value) => literal(ScalarValue::Int64(Some(value))),
                Err(_) => self.report(span.clone(), "the number doesn't fit a bigint", "write a decimal: remove the L"),
            };
        }
        if digits.contains(['e', 'E']) {
            return match crate::kernel::number_text::parse_double(digits) {
                Some(value) => literal(ScalarValue::Float64(Some(value))),
                None => self.report(span.clone(), format!("`{digits}` isn't a number"), "write digits"),
            };
        }
        if !digits.contains('.') {
            if let Ok(value) = digits.parse() {
                return literal(ScalarValue::Int32(Some(value)));
            }
            if let Ok(value) = digits.parse() {
                return literal(ScalarValue::Int64(Some(value)));
            }
        }
        let scale = digits.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        let parsed = i8::try_from(scale)
            .ok()
            .filter(|scale| scale.unsigned_abs() <= PRECISION_MAX)
            .and_then(|scale| Some((crate::kernel::number_text::parse_decimal(digits, PRECISION_MAX, scale)?, scale)));
        match parsed {
            Some((value, scale)) => {
                let (precision, scale) = types::literal_decimal(value, scale);
                literal(ScalarValue::Decimal128(Some(value), precision, scale))
            }
            None => self.report(span.clone(), "a decimal has at most 38 digits", "write fewer digits"),
        }
    }

    /// `DATE '2026-01-31'` and `TIMESTAMP '2026-01-31 12:00:00'`.
    pub(super) fn typed_string(&mut self, typed: &TypedString, span: &Range<usize>) -> Bound {
        let to = self.type_name(&typed.data_type, span)?;
        let Value::SingleQuotedString(text) = &typed.value.value else {
            return self.report(span.clone(), "a date or time is written in quotes", "such as DATE '2026-01-31'");
        };
        if !types::is_time(&to) {
            return self.report(span.clone(), "only dates and timestamps are written that way", "use CAST('…' AS …)");
        }
        self.time_literal(text, &to, span)
    }

    /// A date or timestamp from text that the query holds; text that isn't one is refused instead of being NULL.
    pub(super) fn time_literal(&mut self, text: &str, to: &DataType, span: &Range<usize>) -> Bound {
        let value = coerce(Typed::literal(ScalarValue::Utf8(Some(text.to_owned())), span.clone()), to);
        if value.as_literal().is_some_and(ScalarValue::is_null) {
            let (kind, example) = match to {
                DataType::Date32 => ("date", "2026-01-31"),
                _ => ("timestamp", "2026-01-31 12:00:00"),
            };
            return self.report(
                span.clone(),
                format!("'{text}' isn't a {kind}"),
                format!("write it as '{example}', in UTC"),
            );
        }
        Ok(value)
    }

    /// A type of CAST.
    pub(super) fn type_name(&mut self, name: &ast::DataType, span: &Range<usize>) -> Bound<DataType> {
        use ast::DataType as Sql;
        let decimal = |info: &ExactNumberInfo| match *info {
            ExactNumberInfo::None => Some((10, 0)),
            ExactNumberInfo::Precision(precision) => Some((precision, 0)),
            ExactNumberInfo::PrecisionAndScale(precision, scale) => Some((precision, scale)),
        };
        Ok(match name {
            Sql::Boolean | Sql::Bool => DataType::Boolean,
            Sql::Int(None) | Sql::Integer(None) => DataType::Int32,
            Sql::BigInt(None) => DataType::Int64,
            Sql::Double(ExactNumberInfo::None) | Sql::DoublePrecision => DataType::Float64,
            Sql::String(None) => DataType::Utf8,
            Sql::Binary(None) => DataType::Binary,
            Sql::Date => DataType::Date32,
            Sql::Timestamp(None, ast::TimezoneInfo::None) => types::timestamp(),
            Sql::Decimal(info) | Sql::Numeric(info) | Sql::Dec(info) => {
                let shape = decimal(info).and_then(|(precision, scale)| {
                    let (precision, scale) = (u8::try_from(precision).ok()?, i8::try_from(scale).ok()?);
                    let right =
                        (1..=PRECISION_MAX).contains(&precision) && scale >= 0 && scale.unsigned_abs() <= precision;
                    right.then_some(DataType::Decimal128(precision, scale))
                });
                match shape {
                    Some(decimal) => decimal,
                    None => {
                        let message = "a decimal has 1 to 38 digits, of which not more stand after the point";
                        return self.report(span.clone(), message, "such as DECIMAL(10, 2)");
                    }
                }
            }
            Sql::Varchar(_) | Sql::Char(_) | Sql::Text | Sql::Nvarchar(_) | Sql::Character(_) => {
                return self.report(
                    span.clone(),
                    format!("the type {name} isn't supported"),
                    "write STRING, Spark's type of text",
                );
            }
            Sql::TinyInt(_) | Sql::SmallInt(_) => {
                return self.report(span.clone(), format!("the type {name} isn't supported"), "write INT");
            }
            Sql::Float(_) | Sql::Real => {
                return self.report(
                    span.clone(),
                    format!("the type {name} isn't supported, since engines differ in its rounding"),
                    "write DOUBLE, or DECIMAL(p, s) for money",
                );
            }
            _ => {
                let types = "BOOLEAN, INT, BIGINT, DOUBLE, DECIMAL(p, s), STRING, BINARY, DATE and TIMESTAMP";
                return self.report(
                    span.clone(),
                    format!("the type {name} isn't supported"),
                    format!("the types are {types}"),
                );
            }
        })
    }

    /// Microseconds of an interval literal.
    pub(crate) fn interval_us(&mut self, interval: &Interval, span: &Range<usize>) -> Bound<i64> {
        let text = match &*interval.value {
            Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => text.clone(),
            Expr::Value(ValueWithSpan { value: Value::Number(digits, _), .. }) => digits.clone(),
            _ => {
                return self.report(span.clone(), "an interval is a literal", "such as INTERVAL '5 minutes'");
            }
        };
        if interval.last_field.is_some() || interval.leading_precision.is_some() {
            return self.report(
                span.clone(),
                "this form of interval isn't supported",
                "such as INTERVAL '1 hour 30 minutes'",
            );
        }
        let parsed = match &interval.leading_field {
            Some(unit) => interval::unit_us(&unit.to_string()).and_then(|unit| interval::scaled_us(text.trim(), unit)),
            None => interval::parse_us(&text),
        };
        parsed.or_else(|error| self.duration_error(&text, &error, span))
    }

    /// Reports a text that isn't a duration.
    pub(super) fn duration_error<T>(&mut self, text: &str, error: &DurationError, span: &Range<usize>) -> Bound<T> {
        let help = match error {
            DurationError::Unit(word) => match crate::diagnostic::nearest(word, interval::unit_names()) {
                Some(near) => format!("did you mean `{near}s`?"),
                None => {
                    "write the unit out: microseconds, milliseconds, seconds, minutes, hours, days or weeks".to_owned()
                }
            },
            DurationError::Calendar => "write days or weeks".to_owned(),
            _ => "write a number and a unit, such as '10 seconds' or '1 hour 30 minutes'".to_owned(),
        };
        self.report(span.clone(), format!("'{text}' isn't a duration: {error}"), help)
    }
}
