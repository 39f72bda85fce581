//! `count(*)` and `count(x)`.

use std::any::Any;
use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, Int64Array};
use state::{CodecError, SnapshotReader, SnapshotWriter};

use super::{Accumulator, Input, check_groups, same};
use crate::error::Cause;
use crate::growth;

/// Counts rows, or rows whose argument isn't NULL.
#[derive(Debug, Default)]
pub(super) struct Count {
    counts: Vec<i64>,
}

impl Accumulator for Count {
    fn resize(&mut self, groups: usize) {
        growth::resize(&mut self.counts, groups, 0);
    }

    fn update(&mut self, input: &Input<'_>, groups: &[u32]) -> Result<(), Cause> {
        match input.argument.and_then(|argument| argument.logical_nulls()).filter(|nulls| nulls.null_count() > 0) {
            None => groups.iter().for_each(|group| self.counts[*group as usize] += 1),
            Some(nulls) => {
                for (group, valid) in groups.iter().zip(nulls.iter()) {
                    self.counts[*group as usize] += i64::from(valid);
                }
            }
        }
        Ok(())
    }

    fn merge(&mut self, other: &dyn Accumulator, from: &[u32], into: &[u32]) -> Result<(), Cause> {
        let other: &Self = same(other)?;
        for (from, into) in from.iter().zip(into) {
            self.counts[*into as usize] += other.counts[*from as usize];
        }
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef, Cause> {
        Ok(Arc::new(groups.iter().map(|group| self.counts[*group as usize]).collect::<Int64Array>()))
    }

    fn save(&self, writer: &mut SnapshotWriter) -> Result<(), CodecError> {
        writer.i64s(&self.counts);
        Ok(())
    }

    fn load(&mut self, reader: &mut SnapshotReader<'_>, groups: usize) -> Result<(), CodecError> {
        self.counts = reader.i64s()?;
        check_groups(self.counts.len(), groups)
    }

    fn bytes(&self) -> usize {
        self.counts.capacity() * size_of::<i64>()
    }

    fn group_bytes(&self) -> usize {
        size_of::<i64>()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
