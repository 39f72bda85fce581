//! Spark's types and how they combine: names, common types, and the result types of decimal arithmetic.
//!
//! The decimal rules are those of Spark's `DecimalPrecision` and `DecimalType.adjustPrecisionScale` with
//! `spark.sql.decimalOperations.allowPrecisionLoss=true`, the default.

use std::sync::Arc;

use arrow_schema::{DataType, TimeUnit};

/// Greatest precision of a decimal.
pub(crate) const PRECISION_MAX: u8 = 38;
/// Digits after the point that a decimal result keeps when its precision has to be cut.
const SCALE_KEPT_MIN: i32 = 6;

/// The one timestamp type: microseconds, UTC.
pub(crate) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC")))
}

/// Whether values of the type can take part in expressions.
pub(crate) fn supported(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
            | DataType::Int32
            | DataType::Int64
            | DataType::Float64
            | DataType::Utf8
            | DataType::Binary
            | DataType::Date32
    ) || matches!(data_type, DataType::Decimal128(_, scale) if *scale >= 0)
        || *data_type == timestamp()
}

/// Name in Spark SQL; Arrow's name for types that queries can't use.
pub(crate) fn name(data_type: &DataType) -> String {
    match data_type {
        DataType::Null => "void".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int32 => "int".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Utf8 => "string".to_owned(),
        DataType::Binary => "binary".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        other if *other == timestamp() => "timestamp".to_owned(),
        DataType::List(item) => format!("array<{}>", name(item.data_type())),
        other => other.to_string(),
    }
}

pub(crate) fn is_integer(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Int32 | DataType::Int64)
}

pub(crate) fn is_numeric(data_type: &DataType) -> bool {
    is_integer(data_type) || matches!(data_type, DataType::Float64 | DataType::Decimal128(..))
}

pub(crate) fn is_time(data_type: &DataType) -> bool {
    *data_type == DataType::Date32 || *data_type == timestamp()
}

/// Precision and scale of the decimal that holds all values of an integer or decimal type.
pub(crate) fn as_decimal(data_type: &DataType) -> Option<(u8, i8)> {
    match data_type {
        DataType::Int32 => Some((10, 0)),
        DataType::Int64 => Some((20, 0)),
        DataType::Decimal128(precision, scale) => Some((*precision, *scale)),
        _ => None,
    }
}

/// Precision and scale that a decimal literal with this unscaled value has in Spark.
pub(crate) fn literal_decimal(unscaled: i128, scale: i8) -> (u8, i8) {
    let digits = u8::try_from(unscaled.unsigned_abs().checked_ilog10().unwrap_or(0) + 1).unwrap_or(PRECISION_MAX);
    (digits.max(scale.unsigned_abs()), scale)
}

/// Arithmetic on decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DecimalOperation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// Result type of decimal arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DecimalResult {
    pub(crate) precision: u8,
    pub(crate) scale: i8,
    /// Whether the precision was cut to 38, so that a result may not fit.
    pub(crate) cut: bool,
}

/// Result type of `left operation right`.
pub(crate) fn decimal_result(operation: DecimalOperation, left: (u8, i8), right: (u8, i8)) -> DecimalResult {
    let (p1, s1) = (i32::from(left.0), i32::from(left.1));
    let (p2, s2) = (i32::from(right.0), i32::from(right.1));
    let (precision, scale) = match operation {
        DecimalOperation::Add | DecimalOperation::Subtract => {
            let scale = s1.max(s2);
            ((p1 - s1).max(p2 - s2) + scale + 1, scale)
        }
        DecimalOperation::Multiply => (p1 + p2 + 1, s1 + s2),
        DecimalOperation::Divide => {
            let scale = SCALE_KEPT_MIN.max(s1 + p2 + 1);
            (p1 - s1 + s2 + scale, scale)
        }
        DecimalOperation::Remainder => {
            let scale = s1.max(s2);
            ((p1 - s1).min(p2 - s2) + scale, scale)
        }
    };
    adjust(precision, scale)
}

/// Spark's `adjustPrecisionScale`: digits before the point are kept, of those after it at least six.
fn adjust(precision: i32, scale: i32) -> DecimalResult {
    let most = i32::from(PRECISION_MAX);
    let cut = precision > most;
    let (precision, scale) = if cut {
        let whole_digits = precision - scale;
        (most, (most - whole_digits).max(scale.min(SCALE_KEPT_MIN)))
    } else {
        (precision.max(1), scale)
    };
    DecimalResult {
        precision: u8::try_from(precision).unwrap_or(PRECISION_MAX),
        scale: i8::try_from(scale).unwrap_or(0),
        cut,
    }
}

/// The decimal that holds all values of both; `None` when that takes more than 38 digits.
pub(crate) fn wider_decimal(left: (u8, i8), right: (u8, i8)) -> Option<(u8, i8)> {
    let scale = left.1.max(right.1);
    let whole = |(precision, scale): (u8, i8)| i32::from(precision) - i32::from(scale);
    let precision = whole(left).max(whole(right)) + i32::from(scale);
    let precision = u8::try_from(precision).ok().filter(|precision| *precision <= PRECISION_MAX)?;
    Some((precision.max(1), scale))
}

/// Why two types have no common type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoCommonType {
    /// They are of different kinds, such as text and a number.
    Kinds,
    /// It would be a decimal of more than 38 digits.
    Digits,
}

/// The type that branches of CASE, arguments of coalesce and the like share. Spark would also turn a number into text here; that is
/// left to an explicit cast.
pub(crate) fn common(left: &DataType, right: &DataType) -> Result<DataType, NoCommonType> {
    use DataType::{Date32, Decimal128, Float64, Int32, Int64, Null};
    match (left, right) {
        (left, right) if left == right => Ok(left.clone()),
        (Null, other) | (other, Null) => Ok(other.clone()),
        (Int32, Int64) | (Int64, Int32) => Ok(Int64),
        (Float64, other) | (other, Float64) if is_numeric(other) => Ok(Float64),
        (left, right) if is_numeric(left) && is_numeric(right) => match (as_decimal(left), as_decimal(right)) {
            (Some(left), Some(right)) => wider_decimal(left, right)
                .map(|(precision, scale)| Decimal128(precision, scale))
                .ok_or(NoCommonType::Digits),
            _ => Err(NoCommonType::Kinds),
        },
        (Date32, other) | (other, Date32) if *other == timestamp() => Ok(timestamp()),
        _ => Err(NoCommonType::Kinds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of Spark's documentation and of `DecimalPrecisionSuite`.
    #[test]
    fn decimal_results_are_sparks() {
        use DecimalOperation::{Add, Divide, Multiply, Remainder, Subtract};
        let cases = [
            (Add, (10, 2), (10, 2), (11, 2)),
            (Add, (10, 2), (1, 0), (11, 2)),
            (Subtract, (5, 2), (10, 4), (11, 4)),
            (Add, (38, 10), (38, 10), (38, 9)),
            (Add, (38, 0), (38, 38), (38, 6)),
            (Add, (38, 4), (20, 0), (38, 4)),
            (Multiply, (10, 2), (10, 2), (21, 4)),
            (Multiply, (38, 10), (38, 10), (38, 6)),
            (Multiply, (20, 2), (18, 4), (38, 6)),
            (Multiply, (38, 0), (38, 0), (38, 0)),
            (Divide, (10, 2), (10, 2), (23, 13)),
            (Divide, (10, 2), (3, 0), (14, 6)),
            (Divide, (20, 2), (20, 0), (38, 20)),
            (Divide, (38, 18), (38, 18), (38, 6)),
            (Divide, (1, 0), (3, 0), (7, 6)),
            (Remainder, (10, 2), (5, 3), (5, 3)),
            (Remainder, (38, 2), (38, 20), (38, 20)),
        ];
        for (operation, left, right, expected) in cases {
            let result = decimal_result(operation, left, right);
            assert_eq!((result.precision, result.scale), expected, "{operation:?} {left:?} {right:?}");
        }
    }

    #[test]
    fn literals_have_as_many_digits_as_are_written() {
        assert_eq!(literal_decimal(150, 2), (3, 2));
        assert_eq!(literal_decimal(5, 2), (2, 2));
        assert_eq!(literal_decimal(0, 0), (1, 0));
        assert_eq!(literal_decimal(-100, 0), (3, 0));
    }

    #[test]
    fn common_types() {
        use DataType::{Boolean, Date32, Decimal128, Float64, Int32, Int64, Null, Utf8};
        assert_eq!(common(&Int32, &Int64), Ok(Int64));
        assert_eq!(common(&Int32, &Decimal128(10, 2)), Ok(Decimal128(12, 2)));
        assert_eq!(common(&Decimal128(10, 2), &Decimal128(10, 4)), Ok(Decimal128(12, 4)));
        assert_eq!(common(&Decimal128(38, 0), &Decimal128(38, 2)), Err(NoCommonType::Digits));
        assert_eq!(common(&Decimal128(38, 0), &Float64), Ok(Float64));
        assert_eq!(common(&Null, &Utf8), Ok(Utf8));
        assert_eq!(common(&Date32, &timestamp()), Ok(timestamp()));
        assert_eq!(common(&Utf8, &Int32), Err(NoCommonType::Kinds));
        assert_eq!(common(&Boolean, &Int32), Err(NoCommonType::Kinds));
    }
}
