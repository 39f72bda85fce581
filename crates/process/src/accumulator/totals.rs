//! `sum` and `avg`: a total and a count of each group.

use std::any::Any;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{ArrowPrimitiveType, Decimal128Type, Float64Type, Int64Type};
use arrow_array::{Array as _, ArrayRef, Decimal128Array, Float64Array, Int64Array};
use arrow_buffer::i256;
use arrow_schema::DataType;
use state::{CodecError, SnapshotReader, SnapshotWriter};

use super::{Accumulator, Input, check_groups, mismatch, same};
use crate::error::Cause;
use crate::growth;

/// How values of one type add up.
pub(super) trait Addition: Debug + Send + 'static {
    /// Arrow type of the values.
    type Source: ArrowPrimitiveType;
    /// The total.
    type Total: Total;
    fn widen(value: <Self::Source as ArrowPrimitiveType>::Native) -> Self::Total;
    /// `None` if the total doesn't fit.
    fn add(a: Self::Total, b: Self::Total) -> Option<Self::Total>;
    fn save(totals: &[Self::Total], writer: &mut SnapshotWriter);
    fn load(reader: &mut SnapshotReader<'_>) -> Result<Vec<Self::Total>, CodecError>;
}

/// Whole numbers, wrapping around as Spark's do with ANSI mode off.
#[derive(Debug)]
struct Wrapping;
/// Whole numbers, exactly: what an average divides.
#[derive(Debug)]
struct Wide;
/// Decimals, exactly.
#[derive(Debug)]
struct Exact;
/// Floating-point numbers, in the order in which they come.
#[derive(Debug)]
struct Rounded;

/// A total, and how a group holds it: aligned to 8 bytes at most, so that no room is lost beside it.
pub(super) trait Total: Copy + Default + Debug + Send + Sync + 'static {
    type Held: Copy + Default + Debug + Send + Sync;
    fn hold(self) -> Self::Held;
    fn of(held: Self::Held) -> Self;
}

macro_rules! held_as_it_is {
    ($($type:ty),*) => {$(
        impl Total for $type {
            type Held = Self;

            #[inline]
            fn hold(self) -> Self {
                self
            }

            #[inline]
            fn of(held: Self) -> Self {
                held
            }
        }
    )*};
}

held_as_it_is!(i64, f64);

impl Total for i128 {
    /// The low and the high half.
    type Held = (u64, i64);

    #[inline]
    fn hold(self) -> (u64, i64) {
        (self as u64, (self >> 64) as i64)
    }

    #[inline]
    fn of((low, high): (u64, i64)) -> Self {
        (Self::from(high) << 64) | Self::from(low)
    }
}

macro_rules! addition {
    ($name:ty, $source:ty => $total:ty, $many:ident, $widen:expr, $add:expr) => {
        impl Addition for $name {
            type Source = $source;
            type Total = $total;

            #[inline]
            fn widen(value: <$source as ArrowPrimitiveType>::Native) -> $total {
                $widen(value)
            }

            #[inline]
            fn add(a: $total, b: $total) -> Option<$total> {
                $add(a, b)
            }

            fn save(totals: &[$total], writer: &mut SnapshotWriter) {
                writer.$many(totals);
            }

            fn load(reader: &mut SnapshotReader<'_>) -> Result<Vec<$total>, CodecError> {
                reader.$many()
            }
        }
    };
}

addition!(Wrapping, Int64Type => i64, i64s, std::convert::identity, |a: i64, b| Some(a.wrapping_add(b)));
addition!(Wide, Int64Type => i128, i128s, i128::from, i128::checked_add);
addition!(Exact, Decimal128Type => i128, i128s, std::convert::identity, i128::checked_add);
addition!(Rounded, Float64Type => f64, f64s, std::convert::identity, |a: f64, b| Some(a + b));

/// A group's total.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cell<T: Total> {
    total: T::Held,
    /// Values that aren't NULL. Negative from the moment the total overflows: then the result is NULL for good.
    values: i64,
}

const OVERFLOWED: i64 = i64::MIN;

/// Makes results of chosen groups, from the type of the values to the type of the result.
type Finish<T> = fn(&[Cell<T>], &[u32], &DataType, &DataType) -> Result<ArrayRef, Cause>;

/// Totals of groups, and what is made of them.
struct Totals<A: Addition> {
    cells: Vec<Cell<A::Total>>,
    source: DataType,
    finish: Finish<A::Total>,
    result: DataType,
    addition: PhantomData<fn() -> A>,
}

impl<A: Addition> Debug for Totals<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Totals")
            .field("source", &self.source)
            .field("result", &self.result)
            .field("cells", &self.cells)
            .finish()
    }
}

/// Column types that hold whole numbers.
fn is_whole(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64)
}

/// `sum` of a column of type `source`; `None` if there is none with this result.
pub(super) fn sum(source: &DataType, result: &DataType) -> Option<Box<dyn Accumulator>> {
    match (source, result) {
        (whole, DataType::Int64) if is_whole(whole) => {
            Some(totals::<Wrapping>(DataType::Int64, finish_sum_whole, result))
        }
        (DataType::Decimal128(_, scale), DataType::Decimal128(_, to)) if scale == to => {
            Some(totals::<Exact>(source.clone(), finish_sum_decimal, result))
        }
        (DataType::Float32 | DataType::Float64, DataType::Float64) => {
            Some(totals::<Rounded>(DataType::Float64, finish_sum_float, result))
        }
        _ => None,
    }
}

/// `avg` of a column of type `source`; `None` if there is none with this result.
pub(super) fn average(source: &DataType, result: &DataType) -> Option<Box<dyn Accumulator>> {
    match (source, result) {
        (whole, DataType::Float64) if is_whole(whole) => {
            Some(totals::<Wide>(DataType::Int64, finish_average_whole, result))
        }
        (DataType::Decimal128(_, from), DataType::Decimal128(_, to)) if from <= to => {
            Some(totals::<Exact>(source.clone(), finish_average_decimal, result))
        }
        (DataType::Float32 | DataType::Float64, DataType::Float64) => {
            Some(totals::<Rounded>(DataType::Float64, finish_average_float, result))
        }
        _ => None,
    }
}

fn totals<A: Addition>(source: DataType, finish: Finish<A::Total>, result: &DataType) -> Box<dyn Accumulator> {
    Box::new(Totals::<A> { cells: Vec::new(), source, finish, result: result.clone(), addition: PhantomData })
}

fn fold<A: Addition>(cell: &mut Cell<A::Total>, total: A::Total, values: i64) {
    if cell.values < 0 {
        return;
    }
    match A::add(A::Total::of(cell.total), total) {
        Some(total) if values >= 0 => *cell = Cell { total: total.hold(), values: cell.values + values },
        _ => cell.values = OVERFLOWED,
    }
}

impl<A: Addition> Accumulator for Totals<A> {
    fn resize(&mut self, groups: usize) {
        growth::resize(&mut self.cells, groups, Cell::default());
    }

    fn update(&mut self, input: &Input<'_>, groups: &[u32]) -> Result<(), Cause> {
        let argument = input.required()?;
        let cast;
        let column = if argument.data_type() == &self.source {
            argument
        } else {
            cast = arrow_cast::cast(argument, &self.source)?;
            &cast
        };
        let column =
            column.as_primitive_opt::<A::Source>().ok_or_else(|| mismatch(&self.source, column.data_type()))?;
        match column.nulls().filter(|nulls| nulls.null_count() > 0) {
            None => {
                for (value, group) in column.values().iter().zip(groups) {
                    fold::<A>(&mut self.cells[*group as usize], A::widen(*value), 1);
                }
            }
            Some(nulls) => {
                for ((value, group), valid) in column.values().iter().zip(groups).zip(nulls.iter()) {
                    if valid {
                        fold::<A>(&mut self.cells[*group as usize], A::widen(*value), 1);
                    }
                }
            }
        }
        Ok(())
    }

    fn merge(&mut self, other: &dyn Accumulator, from: &[u32], into: &[u32]) -> Result<(), Cause> {
        let other: &Self = same(other)?;
        for (from, into) in from.iter().zip(into) {
            let partial = other.cells[*from as usize];
            // A group without values adds nothing, not even +0.0 to -0.0.
            if partial.values != 0 {
                fold::<A>(&mut self.cells[*into as usize], A::Total::of(partial.total), partial.values);
            }
        }
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef, Cause> {
        (self.finish)(&self.cells, groups, &self.source, &self.result)
    }

    fn save(&self, writer: &mut SnapshotWriter) -> Result<(), CodecError> {
        A::save(&self.cells.iter().map(|cell| A::Total::of(cell.total)).collect::<Vec<_>>(), writer);
        writer.i64s(&self.cells.iter().map(|cell| cell.values).collect::<Vec<_>>());
        Ok(())
    }

    fn load(&mut self, reader: &mut SnapshotReader<'_>, groups: usize) -> Result<(), CodecError> {
        let (totals, values) = (A::load(reader)?, reader.i64s()?);
        check_groups(totals.len(), groups)?;
        check_groups(values.len(), groups)?;
        self.cells =
            totals.into_iter().zip(values).map(|(total, values)| Cell { total: total.hold(), values }).collect();
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.cells.capacity() * size_of::<Cell<A::Total>>()
    }

    fn group_bytes(&self) -> usize {
        size_of::<Cell<A::Total>>()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn chosen<'a, T: Total>(cells: &'a [Cell<T>], groups: &'a [u32]) -> impl Iterator<Item = Option<(T, i64)>> + 'a {
    groups.iter().map(|group| {
        let cell = cells[*group as usize];
        (cell.values > 0).then(|| (T::of(cell.total), cell.values))
    })
}

fn finish_sum_whole(cells: &[Cell<i64>], groups: &[u32], _: &DataType, _: &DataType) -> Result<ArrayRef, Cause> {
    Ok(Arc::new(chosen(cells, groups).map(|cell| Some(cell?.0)).collect::<Int64Array>()))
}

fn finish_sum_float(cells: &[Cell<f64>], groups: &[u32], _: &DataType, _: &DataType) -> Result<ArrayRef, Cause> {
    Ok(Arc::new(chosen(cells, groups).map(|cell| Some(cell?.0)).collect::<Float64Array>()))
}

fn finish_average_float(cells: &[Cell<f64>], groups: &[u32], _: &DataType, _: &DataType) -> Result<ArrayRef, Cause> {
    let average = |(total, values): (f64, i64)| total / values as f64;
    Ok(Arc::new(chosen(cells, groups).map(|cell| cell.map(average)).collect::<Float64Array>()))
}

fn finish_average_whole(cells: &[Cell<i128>], groups: &[u32], _: &DataType, _: &DataType) -> Result<ArrayRef, Cause> {
    let average = |(total, values): (i128, i64)| total as f64 / values as f64;
    Ok(Arc::new(chosen(cells, groups).map(|cell| cell.map(average)).collect::<Float64Array>()))
}

fn finish_sum_decimal(
    cells: &[Cell<i128>],
    groups: &[u32],
    _: &DataType,
    result: &DataType,
) -> Result<ArrayRef, Cause> {
    let (precision, scale) = decimal(result)?;
    let sums = chosen(cells, groups).map(|cell| cell.and_then(|(total, _)| fits(total, precision)));
    Ok(Arc::new(sums.collect::<Decimal128Array>().with_precision_and_scale(precision, scale)?))
}

fn finish_average_decimal(
    cells: &[Cell<i128>],
    groups: &[u32],
    source: &DataType,
    result: &DataType,
) -> Result<ArrayRef, Cause> {
    let (source_precision, source_scale) = decimal(source)?;
    let (precision, scale) = decimal(result)?;
    // Spark sums into ten more digits and gives NULL where those don't do.
    let sum_precision = source_precision.saturating_add(10).min(38);
    let widen_by = u32::try_from(scale - source_scale).unwrap_or(0);
    let factor = i256::from_i128(10i128.checked_pow(widen_by).unwrap_or(1));
    let average = |(total, values): (i128, i64)| {
        let total = i256::from_i128(fits(total, sum_precision)?).checked_mul(factor)?;
        fits(divide_half_up(total, values)?, precision)
    };
    let averages = chosen(cells, groups).map(|cell| cell.and_then(average));
    Ok(Arc::new(averages.collect::<Decimal128Array>().with_precision_and_scale(precision, scale)?))
}

fn decimal(data_type: &DataType) -> Result<(u8, i8), Cause> {
    match data_type {
        DataType::Decimal128(precision, scale) => Ok((*precision, *scale)),
        other => Err(mismatch(&DataType::Decimal128(38, 0), other)),
    }
}

/// The value if it has `precision` digits at most.
fn fits(value: i128, precision: u8) -> Option<i128> {
    let limit = 10u128.checked_pow(u32::from(precision))?;
    (value.unsigned_abs() < limit).then_some(value)
}

/// `total / values`, halves away from zero.
fn divide_half_up(total: i256, values: i64) -> Option<i128> {
    let divisor = i256::from_i128(i128::from(values));
    let quotient = total.checked_div(divisor)?;
    let rest = total.checked_rem(divisor)?;
    let quotient = quotient.to_i128()?;
    // `rest` is smaller than `values`, so twice it fits.
    let twice = rest.to_i128()?.checked_mul(2)?;
    match (twice.unsigned_abs() >= u128::from(values.unsigned_abs()), twice < 0) {
        (false, _) => Some(quotient),
        (true, false) => quotient.checked_add(1),
        (true, true) => quotient.checked_sub(1),
    }
}
