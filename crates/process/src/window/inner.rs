//! The groups of inner windows as rows of outer ones.
//!
//! They come window by window in the order of their keys' hashes, also those in memory: sums of doubles then don't depend on what was on the
//! disk.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};

use super::aggregation::WindowAggregation;
use super::emit::GROUPS_MAX;
use super::spill::{Chunk, Closing, Merge};
use super::table::Groups;
use crate::error::Cause;

/// Groups as rows, with the accepted rows behind each.
pub(super) type GroupRows = (RecordBatch, Vec<u64>);

impl WindowAggregation {
    /// Takes out the next groups of windows that are closed; none at the end.
    pub(super) fn take_closed(&mut self) -> Result<Option<GroupRows>, Cause> {
        loop {
            if let Some(closing) = &mut self.closing {
                let start_us = closing.start_us;
                if let Some(window) = closing.next(&self.plan, GROUPS_MAX)? {
                    return Ok(Some(self.as_rows(start_us, window.groups())?));
                }
                self.closing = None;
            }
            let first =
                self.windows.first_entry().filter(|first| self.assign.is_closed(*first.key(), self.watermark_us));
            let Some((start_us, window)) = first.map(|first| first.remove_entry()) else { return Ok(None) };
            self.window_bytes -= window.counted_bytes;
            self.closing = Some(Closing::of(start_us, window, &self.plan)?);
        }
    }

    /// Gives the groups of all windows as they are now; whether there are any.
    pub(super) fn give_open(&self, mut take: impl FnMut(&GroupRows) -> Result<(), Cause>) -> Result<bool, Cause> {
        let mut chunk = Chunk::new(self.plan.accumulators()?);
        for (start_us, window) in &self.windows {
            let mut merge = Merge::shadowed_by(&window.keys);
            merge.memory(window, window.all(), Chunk::new(self.plan.accumulators()?))?;
            for run in window.runs.iter().rev() {
                merge.run(run, Chunk::new(self.plan.accumulators()?))?;
            }
            loop {
                merge.fill(GROUPS_MAX, &mut chunk)?;
                if chunk.len() == 0 {
                    break;
                }
                take(&self.as_rows(*start_us, chunk.groups())?)?;
            }
        }
        Ok(!self.windows.is_empty())
    }

    fn as_rows(&self, start_us: i64, groups: Groups<'_>) -> Result<GroupRows, Cause> {
        let (plan, count) = (&self.plan, groups.rows.len());
        let end_us = self.assign.end(start_us).unwrap_or(i64::MAX);
        let mut columns: Vec<ArrayRef> =
            vec![plan.time_column(0, vec![start_us; count]), plan.time_column(1, vec![end_us; count])];
        let numbers: Vec<u32> = (0_u32..).take(count).collect();
        columns.extend(plan.codec.decode(numbers.iter().map(|number| groups.keys.get(*number)))?);
        for accumulator in groups.accumulators {
            columns.push(accumulator.evaluate(&numbers)?);
        }
        Ok((RecordBatch::try_new(Arc::clone(&plan.grouped_schema), columns)?, groups.rows.to_vec()))
    }
}
