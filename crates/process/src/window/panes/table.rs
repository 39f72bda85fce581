//! Aggregates of numbered groups.

use super::super::plan::Plan;
use crate::accumulator::Accumulator;
use crate::error::Cause;
use crate::growth;

/// Groups by their numbers alone.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) accumulators: Vec<Box<dyn Accumulator>>,
    /// Accepted rows behind each group.
    pub(super) rows: Vec<u64>,
}

impl Table {
    pub(super) fn new(plan: &Plan) -> Result<Self, Cause> {
        Ok(Self { accumulators: plan.accumulators()?, rows: Vec::new() })
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Sets the number of groups: new ones are empty, those beyond it are dropped.
    pub(super) fn resize(&mut self, groups: usize) {
        growth::resize(&mut self.rows, groups, 0);
        self.accumulators.iter_mut().for_each(|accumulator| accumulator.resize(groups));
    }

    /// Folds group `from[i]` of others into group `into[i]`.
    pub(super) fn merge(
        &mut self,
        accumulators: &[Box<dyn Accumulator>],
        rows: &[u64],
        from: &[u32],
        into: &[u32],
    ) -> Result<(), Cause> {
        for (from, into) in from.iter().zip(into) {
            self.rows[*into as usize] += rows[*from as usize];
        }
        for (mine, theirs) in self.accumulators.iter_mut().zip(accumulators) {
            mine.merge(theirs.as_ref(), from, into)?;
        }
        Ok(())
    }

    pub(super) fn bytes(&self) -> usize {
        let aggregates: usize = self.accumulators.iter().map(|each| size_of_val(each.as_ref()) + each.bytes()).sum();
        aggregates + self.rows.capacity() * size_of::<u64>()
    }
}

/// Groups of windows that are to be published.
#[derive(Debug)]
pub(super) struct Combined {
    /// Start of each group's window.
    pub(super) starts_us: Vec<i64>,
    pub(super) keys: KeyBytes,
    pub(super) table: Table,
    /// Groups at the beginning whose windows are over.
    pub(super) finals: usize,
}

impl Combined {
    pub(super) fn new(plan: &Plan) -> Result<Self, Cause> {
        Ok(Self { starts_us: Vec::new(), keys: KeyBytes::default(), table: Table::new(plan)?, finals: 0 })
    }

    pub(super) fn len(&self) -> usize {
        self.starts_us.len()
    }

    /// Adds a group without its content; gives its number.
    pub(super) fn push(&mut self, start_us: i64, key: Option<&[u8]>) -> Result<u32, Cause> {
        let number = u32::try_from(self.len()).map_err(|_| Cause::Internal("an emission of 4294967295 rows".into()))?;
        self.starts_us.push(start_us);
        self.keys.push(key);
        Ok(number)
    }
}

/// Keys one after another; each may occur several times, also NULL.
#[derive(Debug, Default)]
pub(super) struct KeyBytes {
    data: Vec<u8>,
    /// Where each key ends; `None` for NULL.
    ends: Vec<Option<usize>>,
}

impl KeyBytes {
    fn push(&mut self, key: Option<&[u8]>) {
        self.data.extend_from_slice(key.unwrap_or_default());
        self.ends.push(key.map(|_| self.data.len()));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Option<&[u8]>> {
        self.ends.iter().scan(0, |begin, end| {
            let from = *begin;
            *begin = end.unwrap_or(from);
            Some(end.and_then(|end| self.data.get(from..end)))
        })
    }
}
