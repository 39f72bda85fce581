//! Windows put together from panes, one after the other.
//!
//! Time is cut into blocks as long as a window. A window is then the end of one block and the beginning of the next (van Herk, "A fast
//! algorithm for local minimum and maximum filters", 1992). Ends are made once per block, from its last pane back to its first, and
//! stacked so that the one that is needed next lies on top; the beginning grows pane by pane. Each group of a pane is merged
//! three times, and each result twice, however many panes a window has. What is merged in which order follows from time alone,
//! so that sums of doubles are the same after a restart.

use std::collections::BTreeMap;

use super::super::assign::Windows;
use super::super::key_table::KeyTable;
use super::super::plan::Plan;
use super::super::table::{Window, flag};
use super::table::{Combined, Table};
use crate::error::Cause;
use crate::growth;

/// No entry.
const NONE: u32 = u32::MAX;

/// What windows are put together from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) windows: &'a Windows,
    /// Panes by their starts.
    pub(super) panes: &'a BTreeMap<i64, Window>,
    pub(super) plan: &'a Plan,
}

/// The present window of all keys.
#[derive(Debug)]
pub(super) struct Combiner {
    /// Keys of the present block and of what there is of the next one.
    keys: KeyTable,
    block_end_us: Option<i64>,
    ends: Ends,
    /// By key, the entry of `ends` that has the end of the block; [`NONE`] without one.
    top: Vec<u32>,
    /// By key, the beginning of the next block.
    beginning: Table,
    /// Panes before it are in the block or in the beginning.
    until_us: i64,
    /// By key, the last pane that has rows which haven't been published.
    changed_us: Vec<i64>,
    /// Key of each group of the present pane.
    numbers: Vec<u32>,
    /// Numbers from 0 on.
    ascending: Vec<u32>,
}

impl Combiner {
    pub(super) fn new(plan: &Plan) -> Result<Self, Cause> {
        Ok(Self {
            keys: KeyTable::default(),
            block_end_us: None,
            ends: Ends::new(plan)?,
            top: Vec::new(),
            beginning: Table::new(plan)?,
            until_us: i64::MIN,
            changed_us: Vec::new(),
            numbers: Vec::new(),
            ascending: Vec::new(),
        })
    }

    /// Goes on to the window that starts here, which isn't before the present one. Of the panes of all windows so far, none has changed.
    pub(super) fn move_to(&mut self, start_us: i64, source: Source<'_>) -> Result<(), Cause> {
        let block_end_us = source.windows.block_end(start_us);
        if self.block_end_us == Some(block_end_us) {
            self.ends.pop_before(start_us, &mut self.top);
        } else {
            self.begin_block(start_us, block_end_us, source)?;
        }
        let end_us = source.windows.end(start_us).unwrap_or(i64::MAX).max(self.until_us);
        for (pane_us, pane) in source.panes.range(self.until_us..end_us) {
            self.number(*pane_us, pane)?;
            self.beginning.resize(self.keys.len());
            let all = self.ascending.get(..self.numbers.len()).unwrap_or_default();
            self.beginning.merge(&pane.accumulators, &pane.rows, all, &self.numbers)?;
        }
        self.until_us = end_us;
        Ok(())
    }

    /// Makes the ends of a block from a window's start on.
    fn begin_block(&mut self, start_us: i64, block_end_us: i64, source: Source<'_>) -> Result<(), Cause> {
        self.keys = KeyTable::default();
        self.ends.clear();
        self.top.clear();
        self.beginning.resize(0);
        self.changed_us.clear();
        let mut end = Table::new(source.plan)?;
        for (pane_us, pane) in source.panes.range(start_us..block_end_us).rev() {
            self.number(*pane_us, pane)?;
            end.resize(self.keys.len());
            let all = self.ascending.get(..self.numbers.len()).unwrap_or_default();
            end.merge(&pane.accumulators, &pane.rows, all, &self.numbers)?;
            self.ends.push(*pane_us, &end, &self.numbers, &mut self.top)?;
        }
        (self.block_end_us, self.until_us) = (Some(block_end_us), block_end_us);
        Ok(())
    }

    /// Finds the keys of a pane's groups, and notes which have changed.
    fn number(&mut self, pane_us: i64, pane: &Window) -> Result<(), Cause> {
        self.numbers.clear();
        let groups = pane.groups();
        for ((group, hash), flags) in (0_u32..).zip(&groups.keys.hashes).zip(groups.flags) {
            let number = self.keys.find_or_insert(*hash, groups.keys.get(group))?;
            self.numbers.push(number);
            let at = number as usize;
            if at == self.top.len() {
                growth::resize(&mut self.top, at + 1, NONE);
                growth::resize(&mut self.changed_us, at + 1, i64::MIN);
            }
            if flags & flag::CHANGED != 0 {
                self.changed_us[at] = self.changed_us[at].max(pane_us);
            }
        }
        let known = self.ascending.len();
        self.ascending.extend((known..self.numbers.len()).filter_map(|number| u32::try_from(number).ok()));
        Ok(())
    }

    /// Adds groups of the present window to those that are to be published, in the order of their keys' numbers from `next_key` on and
    /// `room` of them at most. Gives the key to go on with; `None` if there is none.
    pub(super) fn take(
        &self,
        start_us: i64,
        next_key: u32,
        only_changed: bool,
        room: usize,
        out: &mut Combined,
    ) -> Result<Option<u32>, Cause> {
        let (mut of_end, mut after_end, mut of_beginning, mut after_beginning) =
            <(Vec<_>, Vec<_>, Vec<_>, Vec<_>)>::default();
        let (mut left, mut next) = (room, None);
        for key in next_key..u32::try_from(self.keys.len()).unwrap_or(NONE) {
            let at = key as usize;
            let top = self.top[at];
            let has_begun = self.beginning.rows.get(at).is_some_and(|rows| *rows > 0);
            if (top == NONE && !has_begun) || (only_changed && self.changed_us[at] < start_us) {
                continue;
            }
            if left == 0 {
                next = Some(key);
                break;
            }
            left -= 1;
            let into = out.push(start_us, self.keys.get(key))?;
            if top != NONE {
                of_end.push(top);
                after_end.push(into);
            }
            if has_begun {
                of_beginning.push(key);
                after_beginning.push(into);
            }
        }
        out.table.resize(out.len());
        let (ends, beginning) = (&self.ends.table, &self.beginning);
        out.table.merge(&ends.accumulators, &ends.rows, &of_end, &after_end)?;
        out.table.merge(&beginning.accumulators, &beginning.rows, &of_beginning, &after_beginning)?;
        Ok(next)
    }

    pub(super) fn bytes(&self) -> usize {
        let numbers = self.top.capacity() + self.numbers.capacity() + self.ascending.capacity();
        self.keys.bytes()
            + self.ends.bytes()
            + self.beginning.bytes()
            + numbers * size_of::<u32>()
            + self.changed_us.capacity() * size_of::<i64>()
    }
}

/// The ends of a block from each pane on, for the keys that the pane has: the first pane's lie on top.
#[derive(Debug)]
struct Ends {
    table: Table,
    /// Key of each entry.
    keys: Vec<u32>,
    /// The key's entry for a later pane.
    below: Vec<u32>,
    /// Panes, and their first entries.
    panes: Vec<(i64, usize)>,
}

impl Ends {
    fn new(plan: &Plan) -> Result<Self, Cause> {
        Ok(Self { table: Table::new(plan)?, keys: Vec::new(), below: Vec::new(), panes: Vec::new() })
    }

    fn clear(&mut self) {
        self.table.resize(0);
        self.keys.clear();
        self.below.clear();
        self.panes.clear();
    }

    /// Adds the ends from a pane on, which `end` has by key, of the keys that the pane has.
    fn push(&mut self, pane_us: i64, end: &Table, keys: &[u32], top: &mut [u32]) -> Result<(), Cause> {
        let first = self.table.len();
        self.table.resize(first + keys.len());
        let full = || Cause::Internal("a window has 4294967295 groups in its panes".into());
        let last = u32::try_from(self.table.len()).ok().filter(|last| *last < NONE).ok_or_else(full)?;
        let into: Vec<u32> = (0..last).skip(first).collect();
        self.table.merge(&end.accumulators, &end.rows, keys, &into)?;
        growth::reserve(&mut self.keys, keys.len());
        growth::reserve(&mut self.below, keys.len());
        for (key, entry) in keys.iter().zip(into) {
            self.keys.push(*key);
            self.below.push(std::mem::replace(&mut top[*key as usize], entry));
        }
        self.panes.push((pane_us, first));
        Ok(())
    }

    /// Drops the ends from panes before this one on.
    fn pop_before(&mut self, start_us: i64, top: &mut [u32]) {
        while let Some((_, first)) = self.panes.pop_if(|(pane_us, _)| *pane_us < start_us) {
            for (key, below) in self.keys.drain(first..).zip(self.below.drain(first..)) {
                top[key as usize] = below;
            }
            self.table.resize(first);
        }
    }

    fn bytes(&self) -> usize {
        self.table.bytes()
            + (self.keys.capacity() + self.below.capacity()) * size_of::<u32>()
            + self.panes.capacity() * size_of::<(i64, usize)>()
    }
}
