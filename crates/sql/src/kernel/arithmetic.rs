//! `+ - * / % div` and sign on numbers of one type: integers wrap around, a division by zero gives NULL.

use std::sync::Arc;

use arrow_array::types::{Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{ArrayRef, ArrowPrimitiveType};
use arrow_schema::DataType;
use datafusion_common::{DataFusionError, Result};

use super::{Kernel, Operands, collect, decimal, map1, map2};
use crate::types::DecimalOperation;

pub(crate) const ADD: Kernel = Kernel::operator("+", |operands, to| match to {
    DataType::Int32 => pairs::<Int32Type>(operands, i32::wrapping_add),
    DataType::Int64 => pairs::<Int64Type>(operands, i64::wrapping_add),
    DataType::Float64 => pairs::<Float64Type>(operands, |a, b| a + b),
    DataType::Decimal128(..) => decimal::compute(DecimalOperation::Add, operands, to),
    DataType::Timestamp(..) => shift(operands, to, i64::saturating_add),
    _ => wrong(to),
});

pub(crate) const SUBTRACT: Kernel = Kernel::operator("-", |operands, to| match to {
    DataType::Int32 => pairs::<Int32Type>(operands, i32::wrapping_sub),
    DataType::Int64 => pairs::<Int64Type>(operands, i64::wrapping_sub),
    DataType::Float64 => pairs::<Float64Type>(operands, |a, b| a - b),
    DataType::Decimal128(..) => decimal::compute(DecimalOperation::Subtract, operands, to),
    DataType::Timestamp(..) => shift(operands, to, i64::saturating_sub),
    _ => wrong(to),
});

pub(crate) const MULTIPLY: Kernel = Kernel::operator("*", |operands, to| match to {
    DataType::Int32 => pairs::<Int32Type>(operands, i32::wrapping_mul),
    DataType::Int64 => pairs::<Int64Type>(operands, i64::wrapping_mul),
    DataType::Float64 => pairs::<Float64Type>(operands, |a, b| a * b),
    DataType::Decimal128(..) => decimal::compute(DecimalOperation::Multiply, operands, to),
    _ => wrong(to),
});

pub(crate) const DIVIDE: Kernel = Kernel::operator("/", |operands, to| match to {
    DataType::Float64 => nonzero::<Float64Type>(operands, |a, b| a / b),
    DataType::Decimal128(..) => decimal::compute(DecimalOperation::Divide, operands, to),
    _ => wrong(to),
});

/// The sign is the dividend's, as in Java.
pub(crate) const REMAINDER: Kernel = Kernel::operator("%", |operands, to| match to {
    DataType::Int32 => nonzero::<Int32Type>(operands, i32::wrapping_rem),
    DataType::Int64 => nonzero::<Int64Type>(operands, i64::wrapping_rem),
    DataType::Float64 => nonzero::<Float64Type>(operands, |a, b| a % b),
    DataType::Decimal128(..) => decimal::compute(DecimalOperation::Remainder, operands, to),
    _ => wrong(to),
});

/// On bigints.
pub(crate) const WHOLE_DIVIDE: Kernel =
    Kernel::operator("div", |operands, _| nonzero::<Int64Type>(operands, i64::wrapping_div));

pub(crate) const NEGATE: Kernel = Kernel::operator("-", |operands, to| match to {
    DataType::Int32 => each::<Int32Type>(operands, i32::wrapping_neg),
    DataType::Int64 => each::<Int64Type>(operands, i64::wrapping_neg),
    DataType::Float64 => each::<Float64Type>(operands, |a| -a),
    DataType::Decimal128(..) => decimals(operands, to, i128::wrapping_neg),
    _ => wrong(to),
});

pub(crate) const ABSOLUTE: Kernel = Kernel::function("abs", |operands, to| match to {
    DataType::Int32 => each::<Int32Type>(operands, i32::wrapping_abs),
    DataType::Int64 => each::<Int64Type>(operands, i64::wrapping_abs),
    DataType::Float64 => each::<Float64Type>(operands, f64::abs),
    DataType::Decimal128(..) => decimals(operands, to, i128::wrapping_abs),
    _ => wrong(to),
});

fn wrong(to: &DataType) -> Result<ArrayRef> {
    Err(DataFusionError::Internal(format!("there is no such arithmetic on {to}")))
}

fn pairs<T: ArrowPrimitiveType>(
    operands: &Operands,
    operation: impl Fn(T::Native, T::Native) -> T::Native,
) -> Result<ArrayRef> {
    Ok(Arc::new(map2::<T, T, T>(operands.rows, &operands.numbers(0)?, &operands.numbers(1)?, operation)))
}

fn each<T: ArrowPrimitiveType>(operands: &Operands, operation: impl Fn(T::Native) -> T::Native) -> Result<ArrayRef> {
    Ok(Arc::new(map1::<T, T>(operands.rows, &operands.numbers(0)?, operation)))
}

fn decimals(operands: &Operands, to: &DataType, operation: fn(i128) -> i128) -> Result<ArrayRef> {
    let array = map1::<Decimal128Type, Decimal128Type>(operands.rows, &operands.numbers(0)?, operation);
    Ok(decimal::finish(array, to))
}

fn nonzero<T: ArrowPrimitiveType>(
    operands: &Operands,
    operation: impl Fn(T::Native, T::Native) -> T::Native,
) -> Result<ArrayRef> {
    let (a, b) = (operands.numbers::<T>(0)?, operands.numbers::<T>(1)?);
    let divided = |row| {
        let (a, b) = (a.get(row)?, b.get(row)?);
        (b != T::Native::default()).then(|| operation(a, b))
    };
    Ok(Arc::new(collect::<T>(operands.rows, divided)))
}

/// A timestamp moved by microseconds; it stays within what a timestamp can hold.
fn shift(operands: &Operands, to: &DataType, operation: impl Fn(i64, i64) -> i64) -> Result<ArrayRef> {
    let array = map2::<TimestampMicrosecondType, Int64Type, TimestampMicrosecondType>(
        operands.rows,
        &operands.numbers(0)?,
        &operands.numbers(1)?,
        operation,
    );
    Ok(Arc::new(array.with_data_type(to.clone())))
}
