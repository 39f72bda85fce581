//! The windows of a stretch of time, one after the other.

use super::super::plan::Plan;
use super::combiner::{Combiner, Source};
use super::table::Combined;
use crate::error::Cause;

/// Where it stands.
#[derive(Debug)]
pub(super) struct Walk {
    combiner: Combiner,
    /// Windows that start before it are done.
    from_us: i64,
    /// The key that the next window goes on with.
    next_key: u32,
}

impl Walk {
    /// Begins with windows that start here or later.
    pub(super) fn new(plan: &Plan, from_us: i64) -> Result<Self, Cause> {
        Ok(Self { combiner: Combiner::new(plan)?, from_us, next_key: 0 })
    }

    /// Adds groups of windows that start before `until_us` to those that are to be published, until there are `groups_max`. Whether that was all.
    pub(super) fn fill(
        &mut self,
        until_us: i64,
        only_changed: bool,
        groups_max: usize,
        source: Source<'_>,
        out: &mut Combined,
    ) -> Result<bool, Cause> {
        while let Some((pane_us, _)) = source.panes.range(self.from_us..).next() {
            // Windows before those that hold the first pane have no rows.
            let start_us = source.windows.first_holding_from(*pane_us, self.from_us);
            if start_us >= until_us {
                break;
            }
            if out.len() >= groups_max {
                return Ok(false);
            }
            self.combiner.move_to(start_us, source)?;
            let room = groups_max - out.len();
            match self.combiner.take(start_us, self.next_key, only_changed, room, out)? {
                Some(next_key) => (self.from_us, self.next_key) = (start_us, next_key),
                None => (self.from_us, self.next_key) = (start_us.saturating_add(source.windows.slide_us()), 0),
            }
        }
        self.from_us = self.from_us.max(until_us);
        Ok(true)
    }

    pub(super) fn bytes(&self) -> usize {
        self.combiner.bytes()
    }
}
