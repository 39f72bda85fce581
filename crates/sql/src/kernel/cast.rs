//! Casts with the meaning of Spark's CAST (ANSI mode off): what can't be converted becomes NULL, integers wrap around.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array as _, ArrayRef, ArrowPrimitiveType, BooleanArray, PrimitiveArray, new_null_array};
use arrow_schema::DataType;
use datafusion_common::{DataFusionError, Result};

use super::decimal::{finish, shape};
use super::number_text::{self, fits, power_of_ten};
use super::time_text::{self, DAY_US};
use super::{Operands, collect, map1};

const SECOND_US: i64 = 1_000_000;

/// Whether there is a cast between two types, and if so whether it can turn a value into NULL.
pub(crate) fn fallible(from: &DataType, to: &DataType) -> Option<bool> {
    use DataType::{Binary, Boolean, Date32, Decimal128, Float64, Int32, Int64, Null, Timestamp, Utf8};
    Some(match (from, to) {
        (from, to) if from == to => false,
        (Null, _) => true,
        (DataType::Float32, Float64) => false,
        (Utf8, Boolean | Int32 | Int64 | Float64 | Decimal128(..) | Date32 | Timestamp(..)) => true,
        (Boolean | Int32 | Int64 | Float64 | Decimal128(..) | Date32 | Timestamp(..), Utf8) | (Utf8, Binary) => false,
        (Boolean | Int32 | Int64 | Float64, Boolean | Int32 | Int64 | Float64)
        | (Decimal128(..), Boolean | Int32 | Int64 | Float64)
        | (Date32, Timestamp(..))
        | (Timestamp(..), Date32 | Int64 | Float64)
        | (Int32 | Int64, Timestamp(..)) => false,
        (Boolean, Decimal128(precision, scale)) => i32::from(*precision) <= i32::from(*scale),
        (Int32 | Int64 | Decimal128(..), Decimal128(precision, scale)) => {
            let (from_precision, from_scale) = crate::types::as_decimal(from)?;
            let rounds = from_scale > *scale;
            i32::from(*precision) - i32::from(*scale)
                < i32::from(from_precision) - i32::from(from_scale) + i32::from(rounds)
        }
        (Float64, Decimal128(..) | Timestamp(..)) => true,
        _ => return None,
    })
}

/// Casts the operand to a type.
pub(crate) fn cast(operands: &Operands, to: &DataType) -> Result<ArrayRef> {
    let from = operands.data_type(0)?;
    match (from, to) {
        (from, to) if from == to => operands.expanded(0),
        (DataType::Null, to) => Ok(new_null_array(to, operands.rows)),
        (_, DataType::Utf8) => to_text(operands),
        (DataType::Utf8, to) => from_text(operands, to),
        (_, DataType::Decimal128(..)) => to_decimal(operands, to),
        (DataType::Boolean, to) => from_boolean(operands, to),
        (DataType::Decimal128(..), to) => from_decimal(operands, to),
        (from, to) => between_primitives(operands, from, to),
    }
}

fn refused(from: &DataType, to: &DataType) -> DataFusionError {
    DataFusionError::Internal(format!("there is no cast from {from} to {to}"))
}

fn each<A: ArrowPrimitiveType, O: ArrowPrimitiveType>(
    operands: &Operands,
    to: &DataType,
    map: impl Fn(A::Native) -> O::Native,
) -> Result<ArrayRef> {
    Ok(Arc::new(map1::<A, O>(operands.rows, &operands.numbers(0)?, map).with_data_type(to.clone())))
}

fn each_optional<A: ArrowPrimitiveType, O: ArrowPrimitiveType>(
    operands: &Operands,
    to: &DataType,
    map: impl Fn(A::Native) -> Option<O::Native>,
) -> Result<ArrayRef> {
    let values = operands.numbers::<A>(0)?;
    let array: PrimitiveArray<O> = collect(operands.rows, |row| values.get(row).and_then(&map));
    Ok(Arc::new(array.with_data_type(to.clone())))
}

fn truths<A: ArrowPrimitiveType>(operands: &Operands, is_true: impl Fn(A::Native) -> bool) -> Result<ArrayRef> {
    let values = operands.numbers::<A>(0)?;
    let array: BooleanArray = (0..operands.rows).map(|row| values.get(row).map(&is_true)).collect();
    Ok(Arc::new(array))
}

fn between_primitives(operands: &Operands, from: &DataType, to: &DataType) -> Result<ArrayRef> {
    use DataType::{Boolean, Date32, Float64, Int32, Int64, Timestamp};
    type Time = TimestampMicrosecondType;
    match (from, to) {
        (DataType::Float32, Float64) => each::<Float32Type, Float64Type>(operands, to, f64::from),
        (Int32, Int64) => each::<Int32Type, Int64Type>(operands, to, i64::from),
        (Int32, Float64) => each::<Int32Type, Float64Type>(operands, to, f64::from),
        (Int32, Boolean) => truths::<Int32Type>(operands, |value| value != 0),
        (Int32, Timestamp(..)) => each::<Int32Type, Time>(operands, to, |value| i64::from(value) * SECOND_US),
        // The low bits, as Java's conversion.
        (Int64, Int32) => each::<Int64Type, Int32Type>(operands, to, |value| value as i32),
        (Int64, Float64) => each::<Int64Type, Float64Type>(operands, to, |value| value as f64),
        (Int64, Boolean) => truths::<Int64Type>(operands, |value| value != 0),
        (Int64, Timestamp(..)) => each::<Int64Type, Time>(operands, to, |value| value.saturating_mul(SECOND_US)),
        // NaN is 0 and what doesn't fit is the nearest, as in Java and in Rust.
        (Float64, Int32) => each::<Float64Type, Int32Type>(operands, to, |value| value as i32),
        (Float64, Int64) => each::<Float64Type, Int64Type>(operands, to, |value| value as i64),
        (Float64, Boolean) => truths::<Float64Type>(operands, |value| value != 0.0),
        (Float64, Timestamp(..)) => each_optional::<Float64Type, Time>(operands, to, |value| {
            value.is_finite().then_some((value * SECOND_US as f64) as i64)
        }),
        (Date32, Timestamp(..)) => each::<Date32Type, Time>(operands, to, |day| i64::from(day).wrapping_mul(DAY_US)),
        (Timestamp(..), Date32) => each::<Time, Date32Type>(operands, to, |us| time_text::split(us).0),
        (Timestamp(..), Int64) => each::<Time, Int64Type>(operands, to, |us| us.div_euclid(SECOND_US)),
        (Timestamp(..), Float64) => each::<Time, Float64Type>(operands, to, |us| us as f64 / SECOND_US as f64),
        (from, to) => Err(refused(from, to)),
    }
}

fn from_boolean(operands: &Operands, to: &DataType) -> Result<ArrayRef> {
    let values = operands.booleans(0)?;
    let bits = |row: usize| values.is_valid(row).then(|| values.value(row));
    Ok(match to {
        DataType::Int32 => Arc::new(collect::<Int32Type>(operands.rows, |row| bits(row).map(i32::from))),
        DataType::Int64 => Arc::new(collect::<Int64Type>(operands.rows, |row| bits(row).map(i64::from))),
        DataType::Float64 => {
            Arc::new(collect::<Float64Type>(operands.rows, |row| bits(row).map(|bit| f64::from(u8::from(bit)))))
        }
        to => return Err(refused(&DataType::Boolean, to)),
    })
}

fn from_decimal(operands: &Operands, to: &DataType) -> Result<ArrayRef> {
    let (_, scale) = shape(operands.data_type(0)?)?;
    let unit = power_of_ten(scale.unsigned_abs());
    let scale = i8::try_from(scale).unwrap_or(0);
    match to {
        // The low bits of the whole part, as Java's `BigDecimal.longValue`.
        DataType::Int32 => each::<Decimal128Type, Int32Type>(operands, to, |value| (value / unit) as i32),
        DataType::Int64 => each::<Decimal128Type, Int64Type>(operands, to, |value| (value / unit) as i64),
        DataType::Float64 => {
            each::<Decimal128Type, Float64Type>(operands, to, |value| number_text::decimal_to_double(value, scale))
        }
        DataType::Boolean => truths::<Decimal128Type>(operands, |value| value != 0),
        to => Err(refused(operands.data_type(0)?, to)),
    }
}

fn to_decimal(operands: &Operands, to: &DataType) -> Result<ArrayRef> {
    let (precision, scale) = shape(to)?;
    let unit = power_of_ten(scale.unsigned_abs());
    let narrow_scale = i8::try_from(scale).unwrap_or(0);
    let whole = |value: i128| value.checked_mul(unit).filter(|value| fits(*value, precision));
    let array: PrimitiveArray<Decimal128Type> = match operands.data_type(0)? {
        DataType::Decimal128(..) => return super::decimal::resize(operands, to),
        DataType::Int32 => {
            let values = operands.numbers::<Int32Type>(0)?;
            collect(operands.rows, |row| whole(i128::from(values.get(row)?)))
        }
        DataType::Int64 => {
            let values = operands.numbers::<Int64Type>(0)?;
            collect(operands.rows, |row| whole(i128::from(values.get(row)?)))
        }
        DataType::Float64 => {
            let values = operands.numbers::<Float64Type>(0)?;
            collect(operands.rows, |row| number_text::double_to_decimal(values.get(row)?, precision, narrow_scale))
        }
        DataType::Boolean => {
            let values = operands.booleans(0)?;
            collect(operands.rows, |row| values.is_valid(row).then(|| whole(i128::from(values.value(row))))?)
        }
        from => return Err(refused(from, to)),
    };
    Ok(finish(array, to))
}

fn from_text(operands: &Operands, to: &DataType) -> Result<ArrayRef> {
    let texts = operands.texts(0)?;
    let rows = operands.rows;
    let read_small = |row| i32::try_from(number_text::parse_integer(texts.get(row)?)?).ok();
    Ok(match to {
        DataType::Boolean => {
            let array: BooleanArray = (0..rows).map(|row| texts.get(row).and_then(parse_boolean)).collect();
            Arc::new(array)
        }
        DataType::Int32 => Arc::new(collect::<Int32Type>(rows, read_small)),
        DataType::Int64 => Arc::new(collect::<Int64Type>(rows, |row| number_text::parse_integer(texts.get(row)?))),
        DataType::Float64 => Arc::new(collect::<Float64Type>(rows, |row| number_text::parse_double(texts.get(row)?))),
        DataType::Decimal128(precision, scale) => {
            finish(collect(rows, |row| number_text::parse_decimal(texts.get(row)?, *precision, *scale)), to)
        }
        DataType::Date32 => Arc::new(collect::<Date32Type>(rows, |row| time_text::parse_date(texts.get(row)?))),
        DataType::Timestamp(..) => {
            let array: PrimitiveArray<TimestampMicrosecondType> =
                collect(rows, |row| time_text::parse_timestamp(texts.get(row)?));
            Arc::new(array.with_data_type(to.clone()))
        }
        DataType::Binary => {
            let values: Vec<Option<&[u8]>> = (0..rows).map(|row| texts.get(row).map(str::as_bytes)).collect();
            Arc::new(arrow_array::BinaryArray::from(values))
        }
        to => return Err(refused(&DataType::Utf8, to)),
    })
}

fn parse_boolean(text: &str) -> Option<bool> {
    match number_text::trim(text).to_ascii_lowercase().as_str() {
        "t" | "true" | "y" | "yes" | "1" => Some(true),
        "f" | "false" | "n" | "no" | "0" => Some(false),
        _ => None,
    }
}

fn to_text(operands: &Operands) -> Result<ArrayRef> {
    let array = operands.expanded(0)?;
    let mut out = StringBuilder::with_capacity(operands.rows, operands.rows * 8);
    macro_rules! write {
        ($kind:ty, $text:expr) => {
            for value in array.as_primitive::<$kind>() {
                out.append_option(value.map($text));
            }
        };
    }
    match array.data_type() {
        DataType::Boolean => {
            for value in array.as_boolean() {
                out.append_option(value.map(|value| if value { "true" } else { "false" }));
            }
        }
        DataType::Int32 => write!(Int32Type, |value| value.to_string()),
        DataType::Int64 => write!(Int64Type, |value| value.to_string()),
        DataType::Float64 => write!(Float64Type, number_text::double),
        DataType::Decimal128(_, scale) => write!(Decimal128Type, |value| number_text::decimal_java(value, *scale)),
        DataType::Date32 => write!(Date32Type, time_text::date),
        DataType::Timestamp(..) => write!(TimestampMicrosecondType, time_text::timestamp),
        from => return Err(refused(from, &DataType::Utf8)),
    }
    Ok(Arc::new(out.finish()))
}
