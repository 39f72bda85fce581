//! Arithmetic on decimals, exact to the last digit: results are rounded half up once, and what doesn't fit becomes NULL.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::types::{Decimal128Type, Int32Type};
use arrow_array::{ArrayRef, PrimitiveArray};
use arrow_buffer::i256;
use arrow_schema::DataType;
use datafusion_common::{DataFusionError, Result};

use super::number_text::{divide_half_up, fits, power_of_ten, rescale};
use super::{Numbers, Operands, collect, map1, map2};
use crate::types::{DecimalOperation, PRECISION_MAX};

type Decimals<'a> = Numbers<'a, Decimal128Type>;

/// Precision and scale of a decimal type.
pub(crate) fn shape(data_type: &DataType) -> Result<(u8, i32)> {
    match data_type {
        DataType::Decimal128(precision, scale) => Ok((*precision, i32::from(*scale))),
        other => Err(DataFusionError::Internal(format!("{other} isn't a decimal type"))),
    }
}

/// An array of a decimal type.
pub(crate) fn finish(array: PrimitiveArray<Decimal128Type>, to: &DataType) -> ArrayRef {
    Arc::new(array.with_data_type(to.clone()))
}

/// `10^exponent` for exponents of either sign, those below zero counting as zero.
fn ten(exponent: i32) -> i128 {
    power_of_ten(u32::try_from(exponent).unwrap_or(0))
}

/// `operation` of two decimal columns with a result of type `to`, as [`crate::types::decimal_result`] gives it.
pub(crate) fn compute(operation: DecimalOperation, operands: &Operands, to: &DataType) -> Result<ArrayRef> {
    let (p1, s1) = shape(operands.data_type(0)?)?;
    let (p2, s2) = shape(operands.data_type(1)?)?;
    let (precision, scale) = shape(to)?;
    let (a, b): (Decimals<'_>, Decimals<'_>) = (operands.numbers(0)?, operands.numbers(1)?);
    let rows = operands.rows;
    let cut = crate::types::decimal_result(operation, narrow(p1, s1), narrow(p2, s2)).cut;
    let common = s1.max(s2);
    let (f1, f2) = (ten(common - s1), ten(common - s2));
    Ok(finish(
        match operation {
            // Nothing can overflow: loops without branches.
            DecimalOperation::Add if !cut => {
                map2(rows, &a, &b, |a, b| a.wrapping_mul(f1).wrapping_add(b.wrapping_mul(f2)))
            }
            DecimalOperation::Subtract if !cut => {
                map2(rows, &a, &b, |a, b| a.wrapping_mul(f1).wrapping_sub(b.wrapping_mul(f2)))
            }
            DecimalOperation::Multiply if !cut => map2(rows, &a, &b, i128::wrapping_mul),
            DecimalOperation::Add => checked(rows, &a, &b, |a, b| add(a, f1, b, f2, common, scale, precision)),
            DecimalOperation::Subtract => {
                checked(rows, &a, &b, |a, b| add(a, f1, b.wrapping_neg(), f2, common, scale, precision))
            }
            DecimalOperation::Multiply => checked(rows, &a, &b, |a, b| multiply(a, b, s1 + s2, scale, precision)),
            DecimalOperation::Divide => {
                checked(rows, &a, &b, |a, b| divide(a, b, scale + s2 - s1).filter(|value| fits(*value, precision)))
            }
            DecimalOperation::Remainder => checked(rows, &a, &b, |a, b| remainder(a, f1, b, f2)),
        },
        to,
    ))
}

fn narrow(precision: u8, scale: i32) -> (u8, i8) {
    (precision, i8::try_from(scale).unwrap_or(0))
}

fn checked(
    rows: usize,
    a: &Decimals<'_>,
    b: &Decimals<'_>,
    operation: impl Fn(i128, i128) -> Option<i128>,
) -> PrimitiveArray<Decimal128Type> {
    collect(rows, |row| operation(a.get(row)?, b.get(row)?))
}

/// `value * 10^-from` rounded half up to `10^-to` if it then fits.
fn shrink(value: i256, from: i32, to: i32, precision: u8) -> Option<i128> {
    // A product may have 76 digits after the point, so this can exceed an i128.
    let divisor = i256::from_i128(10).checked_pow(u32::try_from(from - to).ok()?)?;
    let (quotient, rest) = (value.checked_div(divisor)?, value.checked_rem(divisor)?);
    let doubled = rest.wrapping_abs().checked_mul(i256::from_i128(2))?;
    let sign = if value.is_negative() { i256::MINUS_ONE } else { i256::ONE };
    let rounded = if doubled >= divisor { quotient.checked_add(sign)? } else { quotient };
    rounded.to_i128().filter(|value| fits(*value, precision))
}

fn add(a: i128, f1: i128, b: i128, f2: i128, common: i32, scale: i32, precision: u8) -> Option<i128> {
    let narrow = a.checked_mul(f1).zip(b.checked_mul(f2)).and_then(|(a, b)| a.checked_add(b));
    match narrow {
        Some(sum) => rescale(sum, common, scale).filter(|value| fits(*value, precision)),
        None => {
            let wide = |value, factor| i256::from_i128(value).checked_mul(i256::from_i128(factor));
            shrink(wide(a, f1)?.checked_add(wide(b, f2)?)?, common, scale, precision)
        }
    }
}

fn multiply(a: i128, b: i128, exact: i32, scale: i32, precision: u8) -> Option<i128> {
    match a.checked_mul(b) {
        Some(product) => rescale(product, exact, scale).filter(|value| fits(*value, precision)),
        None => shrink(i256::from_i128(a).checked_mul(i256::from_i128(b))?, exact, scale, precision),
    }
}

/// `a * 10^shift / b`, half up; `None` for `b == 0` or more than 38 digits.
pub(crate) fn divide(a: i128, b: i128, shift: i32) -> Option<i128> {
    if b == 0 {
        return None;
    }
    // Signs are moved to the numerator; decimals are far from i128's ends.
    let (a, b) = if b < 0 { (a.wrapping_neg(), b.wrapping_neg()) } else { (a, b) };
    if shift < 0 {
        return match b.checked_mul(ten(-shift)) {
            Some(divisor) => Some(divide_half_up(a, divisor)),
            // The divisor has more digits than twice any numerator.
            None => shrink_by(a, i256::from_i128(b).checked_mul(i256::from_i128(ten(-shift)))?),
        };
    }
    match 10_i128.checked_pow(shift.unsigned_abs()).and_then(|factor| a.checked_mul(factor)) {
        Some(numerator) => Some(divide_half_up(numerator, b)),
        None => long_divide(a, b, shift),
    }
}

fn shrink_by(a: i128, divisor: i256) -> Option<i128> {
    let doubled = i256::from_i128(a).wrapping_abs().checked_mul(i256::from_i128(2))?;
    Some(if doubled >= divisor { a.signum() } else { 0 })
}

/// Division digit by digit, for numerators beyond 38 digits.
fn long_divide(a: i128, b: i128, shift: i32) -> Option<i128> {
    let sign = a.signum();
    let (mut quotient, mut rest) = ((a / b).abs(), i256::from_i128((a % b).abs()));
    let divisor = i256::from_i128(b);
    let ten = i256::from_i128(10);
    for _ in 0..shift {
        let next = rest.checked_mul(ten)?;
        let digit = next.checked_div(divisor)?.to_i128()?;
        quotient = quotient.checked_mul(10)?.checked_add(digit)?;
        rest = next.checked_rem(divisor)?;
    }
    let round_up = rest.checked_mul(i256::from_i128(2))? >= divisor;
    Some((quotient + i128::from(round_up)) * sign)
}

fn remainder(a: i128, f1: i128, b: i128, f2: i128) -> Option<i128> {
    if b == 0 {
        return None;
    }
    match (a.checked_mul(f1), b.checked_mul(f2)) {
        (Some(a), Some(b)) => Some(a.wrapping_rem(b)),
        _ => {
            let wide = |value, factor| i256::from_i128(value).checked_mul(i256::from_i128(factor));
            wide(a, f1)?.checked_rem(wide(b, f2)?)?.to_i128()
        }
    }
}

/// -1, 0 or 1 for less, equal or greater, exact also where a common type would have more than 38 digits.
pub(crate) fn order(operands: &Operands, _: &DataType) -> Result<ArrayRef> {
    let (_, s1) = shape(operands.data_type(0)?)?;
    let (_, s2) = shape(operands.data_type(1)?)?;
    let (a, b) = (operands.numbers::<Decimal128Type>(0)?, operands.numbers::<Decimal128Type>(1)?);
    let common = s1.max(s2);
    let (f1, f2) = (i256::from_i128(ten(common - s1)), i256::from_i128(ten(common - s2)));
    // 76 digits fit.
    let wide = |value, factor| i256::from_i128(value).wrapping_mul(factor);
    let array: PrimitiveArray<Int32Type> = map2(operands.rows, &a, &b, |a, b| match wide(a, f1).cmp(&wide(b, f2)) {
        Ordering::Less => -1,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    });
    Ok(Arc::new(array))
}

/// Another precision and scale, half up; NULL where it doesn't fit.
pub(crate) fn resize(operands: &Operands, to: &DataType) -> Result<ArrayRef> {
    let (p1, s1) = shape(operands.data_type(0)?)?;
    let (precision, scale) = shape(to)?;
    let a = operands.numbers::<Decimal128Type>(0)?;
    if scale >= s1 && i32::from(precision) - scale >= i32::from(p1) - s1 {
        let factor = ten(scale - s1);
        return Ok(finish(map1(operands.rows, &a, |a| a.wrapping_mul(factor)), to));
    }
    let resized = |row| rescale(a.get(row)?, s1, scale).filter(|value| fits(*value, precision));
    Ok(finish(collect(operands.rows, resized), to))
}

/// Which way to round to a whole number of units.
#[derive(Clone, Copy)]
pub(crate) enum Rounding {
    HalfUp,
    Floor,
    Ceiling,
}

/// A decimal rounded to `digits` after the point (before it, if negative), as the type `to`; `None` where it doesn't fit.
pub(crate) fn round_value(value: i128, from: i32, digits: i32, rounding: Rounding, to: (u8, i32)) -> Option<i128> {
    let kept = digits.min(from);
    let rounded = match (10_i128.checked_pow((from - kept).unsigned_abs()), rounding) {
        (Some(unit), Rounding::HalfUp) => divide_half_up(value, unit),
        (Some(unit), Rounding::Floor) => value.div_euclid(unit),
        (Some(unit), Rounding::Ceiling) => -(-value).div_euclid(unit),
        // A unit beyond all digits.
        (None, _) => 0,
    };
    // Back from units of 10^-kept to those of the type.
    rescale(rounded, kept, to.1).filter(|value| fits(*value, to.0.min(PRECISION_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn division_beyond_38_digits() {
        let most = power_of_ten(38) - 1;
        assert_eq!(divide(most, most, 0), Some(1));
        assert_eq!(divide(most, power_of_ten(37), 37), Some(most));
        assert_eq!(divide(1, 3, 6), Some(333_333));
        assert_eq!(divide(2, -3, 6), Some(-666_667));
        assert_eq!(divide(-2, 3, 44), None);
        assert_eq!(divide(most, 1, 6), None);
        assert_eq!(divide(1, most, 38), Some(1));
        assert_eq!(divide(1, 0, 6), None);
        assert_eq!(divide(5, 1, -1), Some(1));
        assert_eq!(divide(4, 1, -1), Some(0));
        assert_eq!(divide(4, most, -30), Some(0));
    }

    #[test]
    fn products_of_many_digits_after_the_point() {
        let third = (power_of_ten(38) - 1) / 3;
        assert_eq!(multiply(third, third, 76, 6, 38), Some(111_111));
        assert_eq!(multiply(power_of_ten(30), -power_of_ten(10), 48, 9, 38), Some(-10));
        assert_eq!(multiply(third, third, 10, 6, 38), None);
    }

    #[test]
    fn rounding_before_and_after_the_point() {
        assert_eq!(round_value(12_345, 2, 1, Rounding::HalfUp, (5, 1)), Some(1_235));
        assert_eq!(round_value(12_345, 2, -1, Rounding::HalfUp, (4, 0)), Some(120));
        assert_eq!(round_value(-12_345, 2, 0, Rounding::Floor, (4, 0)), Some(-124));
        assert_eq!(round_value(-12_345, 2, 0, Rounding::Ceiling, (4, 0)), Some(-123));
        assert_eq!(round_value(12_345, 2, 4, Rounding::HalfUp, (5, 2)), Some(12_345));
    }
}
