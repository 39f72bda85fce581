//! Mathematical functions.

use std::sync::Arc;

use arrow_array::types::{Decimal128Type, Float64Type, Int32Type, Int64Type};
use arrow_array::{ArrayRef, PrimitiveArray};
use arrow_schema::DataType;
use datafusion_common::{DataFusionError, Result};

use super::decimal::{Rounding, finish, round_value, shape};
use super::number_text::double_to_decimal;
use super::{Kernel, Operands, collect, map1, map2};

/// `round(number, digits)`, half up (away from zero); the digits are a literal.
pub(crate) const ROUND: Kernel = Kernel::function("round", |operands, to| {
    let digits = operands.numbers::<Int32Type>(1)?.get(0).unwrap_or(0);
    match to {
        DataType::Decimal128(..) => decimal(operands, to, digits, Rounding::HalfUp),
        DataType::Float64 => {
            Ok(Arc::new(map1::<Float64Type, Float64Type>(operands.rows, &operands.numbers(0)?, |value| {
                round_double(value, digits)
            })))
        }
        DataType::Int32 => Ok(Arc::new(map1::<Int32Type, Int32Type>(operands.rows, &operands.numbers(0)?, |value| {
            round_integer(i128::from(value), digits) as i32
        }))),
        _ => Ok(Arc::new(map1::<Int64Type, Int64Type>(operands.rows, &operands.numbers(0)?, |value| {
            round_integer(i128::from(value), digits) as i64
        }))),
    }
});

/// A whole number rounded to tens, hundreds and so on; the caller cuts to its width, as Java does.
fn round_integer(value: i128, digits: i32) -> i128 {
    round_value(value, 0, digits.min(0), Rounding::HalfUp, (38, 0)).unwrap_or(0)
}

/// Rounds the shortest decimal form of the double, as Spark does.
fn round_double(value: f64, digits: i32) -> f64 {
    if !value.is_finite() || !(-300..=300).contains(&digits) {
        return value;
    }
    let scale = i8::try_from(digits.clamp(0, 37)).unwrap_or(0);
    let exact = double_to_decimal(value, 38, scale);
    let rounded =
        exact.and_then(|value| round_value(value, i32::from(scale), digits, Rounding::HalfUp, (38, i32::from(scale))));
    match rounded {
        // A number of more digits than that has none after the point.
        None => value,
        Some(rounded) => {
            let number = super::number_text::decimal_to_double(rounded, scale);
            if number == 0.0 && value.is_sign_negative() { 0.0 } else { number }
        }
    }
}

pub(crate) const FLOOR: Kernel =
    Kernel::function("floor", |operands, to| whole(operands, to, f64::floor, Rounding::Floor));

pub(crate) const CEILING: Kernel =
    Kernel::function("ceil", |operands, to| whole(operands, to, f64::ceil, Rounding::Ceiling));

fn whole(operands: &Operands, to: &DataType, double: fn(f64) -> f64, rounding: Rounding) -> Result<ArrayRef> {
    match operands.data_type(0)? {
        DataType::Decimal128(..) => decimal(operands, to, 0, rounding),
        // Java's conversion: NaN is 0, what doesn't fit is the nearest bigint, as Rust's.
        DataType::Float64 => {
            Ok(Arc::new(map1::<Float64Type, Int64Type>(operands.rows, &operands.numbers(0)?, |value| {
                double(value) as i64
            })))
        }
        DataType::Int64 => operands.expanded(0),
        other => Err(DataFusionError::Internal(format!("{other} can't be rounded"))),
    }
}

fn decimal(operands: &Operands, to: &DataType, digits: i32, rounding: Rounding) -> Result<ArrayRef> {
    let (_, from) = shape(operands.data_type(0)?)?;
    let target = shape(to)?;
    let a = operands.numbers::<Decimal128Type>(0)?;
    let rounded: PrimitiveArray<Decimal128Type> =
        collect(operands.rows, |row| round_value(a.get(row)?, from, digits, rounding, target));
    Ok(finish(rounded, to))
}

/// -1.0, 0.0 or 1.0.
pub(crate) const SIGN: Kernel = Kernel::function("sign", |operands, _| {
    doubles(operands, |value| if value == 0.0 || value.is_nan() { value } else { value.signum() })
});

/// NaN for negative numbers.
pub(crate) const SQUARE_ROOT: Kernel = Kernel::function("sqrt", |operands, _| doubles(operands, f64::sqrt));

pub(crate) const EXPONENTIAL: Kernel = Kernel::function("exp", |operands, _| doubles(operands, f64::exp));

/// NULL for what isn't positive, as in Spark.
pub(crate) const LOGARITHM: Kernel = Kernel::function("ln", |operands, _| positive(operands, f64::ln));

pub(crate) const LOGARITHM_10: Kernel = Kernel::function("log10", |operands, _| positive(operands, f64::log10));

pub(crate) const POWER: Kernel = Kernel::function("power", |operands, _| {
    Ok(Arc::new(map2::<Float64Type, Float64Type, Float64Type>(
        operands.rows,
        &operands.numbers(0)?,
        &operands.numbers(1)?,
        power,
    )))
});

/// Java's `StrictMath.pow`: C's gives 1 for some of what is no number there.
fn power(base: f64, exponent: f64) -> f64 {
    if exponent.is_nan() || (base.abs() == 1.0 && exponent.is_infinite()) { f64::NAN } else { base.powf(exponent) }
}

fn doubles(operands: &Operands, function: fn(f64) -> f64) -> Result<ArrayRef> {
    Ok(Arc::new(map1::<Float64Type, Float64Type>(operands.rows, &operands.numbers(0)?, function)))
}

fn positive(operands: &Operands, function: fn(f64) -> f64) -> Result<ArrayRef> {
    let a = operands.numbers::<Float64Type>(0)?;
    let of = |row| a.get(row).filter(|value| *value > 0.0 || value.is_nan()).map(function);
    Ok(Arc::new(collect::<Float64Type>(operands.rows, of)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_rounded_from_their_decimal_form() {
        assert_eq!(round_double(2.5, 0), 3.0);
        assert_eq!(round_double(-2.5, 0), -3.0);
        assert_eq!(round_double(1.005, 2), 1.01);
        assert_eq!(round_double(1234.5, -2), 1200.0);
        assert_eq!(round_double(1e300, 2), 1e300);
        assert_eq!(round_double(1e-300, 2), 0.0);
        assert!(round_double(f64::NAN, 2).is_nan());
    }

    #[test]
    fn integers_are_rounded_before_the_point_only() {
        assert_eq!(round_integer(1_250, -2), 1_300);
        assert_eq!(round_integer(-1_250, -2), -1_300);
        assert_eq!(round_integer(1_250, 2), 1_250);
        assert_eq!(round_integer(5, -40), 0);
    }
}
