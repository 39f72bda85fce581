//! `stddev` and `variance`: count, mean and the sum of squared distances from it, merged as in Chan, Golub and LeVeque (1979).

use std::any::Any;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::Float64Type;
use arrow_array::{Array as _, ArrayRef, Float64Array};
use arrow_schema::DataType;
use state::{CodecError, SnapshotReader, SnapshotWriter};

use super::{Accumulator, Input, check_groups, mismatch, same};
use crate::error::Cause;
use crate::growth;

/// What is made of the moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Result {
    StddevSamp,
    StddevPop,
    VarSamp,
    VarPop,
}

/// Moments of a column of doubles.
pub(super) fn moments(data_type: &DataType, result: Result) -> std::result::Result<Box<dyn Accumulator>, Cause> {
    if data_type != &DataType::Float64 {
        return Err(Cause::Plan(format!("a standard deviation of {data_type}")));
    }
    Ok(Box::new(Moments { cells: Vec::new(), result }))
}

#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    count: u64,
    mean: f64,
    /// Sum of squared distances from the mean.
    squares: f64,
}

impl Cell {
    fn add(&mut self, value: f64) {
        self.count += 1;
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (value - self.mean);
    }

    fn merge(&mut self, other: Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = other;
            return;
        }
        let (mine, theirs) = (self.count as f64, other.count as f64);
        let distance = other.mean - self.mean;
        self.count += other.count;
        self.mean += distance * theirs / (mine + theirs);
        self.squares += other.squares + distance * distance * mine * theirs / (mine + theirs);
    }

    fn result(self, result: Result) -> Option<f64> {
        let of_sample = matches!(result, Result::StddevSamp | Result::VarSamp);
        let freedom = self.count.checked_sub(u64::from(of_sample)).filter(|freedom| *freedom > 0)?;
        let variance = self.squares / freedom as f64;
        match result {
            Result::StddevSamp | Result::StddevPop => Some(variance.sqrt()),
            Result::VarSamp | Result::VarPop => Some(variance),
        }
    }
}

#[derive(Debug)]
struct Moments {
    cells: Vec<Cell>,
    result: Result,
}

impl Accumulator for Moments {
    fn resize(&mut self, groups: usize) {
        growth::resize(&mut self.cells, groups, Cell::default());
    }

    fn update(&mut self, input: &Input<'_>, groups: &[u32]) -> std::result::Result<(), Cause> {
        let argument = input.required()?;
        let column = argument
            .as_primitive_opt::<Float64Type>()
            .ok_or_else(|| mismatch(&DataType::Float64, argument.data_type()))?;
        match column.nulls().filter(|nulls| nulls.null_count() > 0) {
            None => {
                for (value, group) in column.values().iter().zip(groups) {
                    self.cells[*group as usize].add(*value);
                }
            }
            Some(nulls) => {
                for ((value, group), valid) in column.values().iter().zip(groups).zip(nulls.iter()) {
                    if valid {
                        self.cells[*group as usize].add(*value);
                    }
                }
            }
        }
        Ok(())
    }

    fn merge(&mut self, other: &dyn Accumulator, from: &[u32], into: &[u32]) -> std::result::Result<(), Cause> {
        let other: &Self = same(other)?;
        for (from, into) in from.iter().zip(into) {
            self.cells[*into as usize].merge(other.cells[*from as usize]);
        }
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> std::result::Result<ArrayRef, Cause> {
        let values = groups.iter().map(|group| self.cells[*group as usize].result(self.result));
        Ok(Arc::new(values.collect::<Float64Array>()))
    }

    fn save(&self, writer: &mut SnapshotWriter) -> std::result::Result<(), CodecError> {
        writer.u64s(&self.cells.iter().map(|cell| cell.count).collect::<Vec<_>>());
        writer.f64s(&self.cells.iter().map(|cell| cell.mean).collect::<Vec<_>>());
        writer.f64s(&self.cells.iter().map(|cell| cell.squares).collect::<Vec<_>>());
        Ok(())
    }

    fn load(&mut self, reader: &mut SnapshotReader<'_>, groups: usize) -> std::result::Result<(), CodecError> {
        let (counts, means, squares) = (reader.u64s()?, reader.f64s()?, reader.f64s()?);
        check_groups(counts.len(), groups)?;
        check_groups(means.len(), groups)?;
        check_groups(squares.len(), groups)?;
        let cell = |((count, mean), squares)| Cell { count, mean, squares };
        self.cells = counts.into_iter().zip(means).zip(squares).map(cell).collect();
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.cells.capacity() * size_of::<Cell>()
    }

    fn group_bytes(&self) -> usize {
        size_of::<Cell>()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
