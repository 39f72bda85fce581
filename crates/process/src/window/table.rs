//! The groups of one window with their state.

use model::Version;

use super::groups::BatchGroups;
use super::key_table::{KeyList, KeyTable};
use super::spill::{Chunk, ColdRun};
use crate::accumulator::Accumulator;
use crate::error::Cause;
use crate::growth::{self, SLACK_HALVES};
use crate::keys::Keys;

/// What there is to know of a group besides its content, as bits of a byte.
pub(super) mod flag {
    /// A published row of the group stands.
    pub(in crate::window) const VISIBLE: u8 = 1;
    /// The group has rows that it hadn't when it was last published, or found not to pass HAVING.
    pub(in crate::window) const CHANGED: u8 = 2;
    /// HAVING refused the group during a replay, and it may have been published before that.
    pub(in crate::window) const DOUBTFUL: u8 = 4;
    /// Rows have come since groups were last moved to the disk.
    pub(in crate::window) const HOT: u8 = 8;
    /// The group isn't in a part of a snapshot as it is now.
    pub(in crate::window) const UNSAVED: u8 = 16;
}

/// One window: its groups, their aggregates, and what of them has been published. A group is in memory or on the disk: one that rows come
/// for is brought back, and what the disk still has of it counts no more.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) keys: KeyTable,
    pub(super) accumulators: Vec<Box<dyn Accumulator>>,
    /// Rows folded into each group.
    pub(super) rows: Vec<u64>,
    /// See [`flag`].
    pub(super) flags: Vec<u8>,
    /// Groups that are [`flag::CHANGED`], each once.
    pub(super) changed: Vec<u32>,
    /// What went to the disk, the oldest first.
    pub(super) runs: Vec<ColdRun>,
    /// Groups that are on the disk and not in memory.
    pub(super) cold_groups: usize,
    /// Groups that have been published as final, where that takes several emissions.
    pub(super) closed: usize,
    /// Bytes at the last count.
    pub(super) counted_bytes: usize,
}

/// Groups in any place, to be copied from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Groups<'a> {
    pub(super) keys: &'a KeyList,
    pub(super) rows: &'a [u64],
    pub(super) flags: &'a [u8],
    pub(super) accumulators: &'a [Box<dyn Accumulator>],
}

/// Bytes that a group takes besides its key and aggregates, with the hash table's share.
const GROUP_BYTES: usize = 8 + 8 + 8 + 1 + 4 + 10;

/// What one further group costs at most.
pub(crate) fn group_bytes_max(key_bytes: usize, accumulators: &[Box<dyn Accumulator>]) -> usize {
    let held = GROUP_BYTES + key_bytes + accumulators.iter().map(|each| each.group_bytes()).sum::<usize>();
    held * SLACK_HALVES / 2
}

impl Window {
    pub(super) fn new(accumulators: Vec<Box<dyn Accumulator>>) -> Self {
        Self {
            keys: KeyTable::default(),
            accumulators,
            rows: Vec::new(),
            flags: Vec::new(),
            changed: Vec::new(),
            runs: Vec::new(),
            cold_groups: 0,
            closed: 0,
            counted_bytes: 0,
        }
    }

    /// Groups to be published. They aren't found by their keys.
    pub(super) fn of(chunk: Chunk) -> Self {
        let Chunk { keys, rows, flags, accumulators } = chunk;
        Self { keys: KeyTable::of(keys), rows, flags, ..Self::new(accumulators) }
    }

    /// Folds `members`, groups of a batch, into this window. `into` is scratch space.
    pub(super) fn fold(
        &mut self,
        keys: &Keys,
        groups: &BatchGroups,
        members: &[u32],
        partials: &[Box<dyn Accumulator>],
        into: &mut Vec<u32>,
    ) -> Result<(), Cause> {
        into.clear();
        for member in members {
            let row = groups.first_row(*member);
            into.push(self.keys.find_or_insert(keys.hashes[row], keys.get(row))?);
        }
        let count = self.keys.len();
        growth::resize(&mut self.rows, count, 0);
        growth::resize(&mut self.flags, count, 0);
        for (member, group) in members.iter().zip(into.iter()) {
            let at = *group as usize;
            if self.flags[at] & flag::CHANGED == 0 {
                growth::reserve(&mut self.changed, 1);
                self.changed.push(*group);
            }
            self.flags[at] |= flag::CHANGED | flag::HOT | flag::UNSAVED;
            self.rows[at] += groups.rows(*member);
        }
        for (accumulator, partial) in self.accumulators.iter_mut().zip(partials) {
            accumulator.resize(count);
            accumulator.merge(partial.as_ref(), members, into)?;
        }
        Ok(())
    }

    /// Takes groups as they are, having none; `None` if one occurs twice.
    pub(super) fn begin_with(&mut self, chunk: Chunk) -> Option<()> {
        let Chunk { keys, rows, flags, accumulators } = chunk;
        let is_changed = |(_, flags): &(u32, &u8)| **flags & flag::CHANGED != 0;
        self.changed = (0_u32..).zip(&flags).filter(is_changed).map(|(group, _)| group).collect();
        self.keys = KeyTable::indexed(keys)?;
        (self.rows, self.flags, self.accumulators) = (rows, flags, accumulators);
        Some(())
    }

    /// Copies groups in that aren't there.
    pub(super) fn adopt(&mut self, from: Groups<'_>, numbers: &[u32]) -> Result<(), Cause> {
        let mut into = Vec::with_capacity(numbers.len());
        growth::reserve(&mut self.rows, numbers.len());
        growth::reserve(&mut self.flags, numbers.len());
        for number in numbers {
            let at = *number as usize;
            let group = self.keys.insert(from.keys.hashes[at], from.keys.get(*number))?;
            self.rows.push(from.rows[at]);
            self.flags.push(from.flags[at]);
            if from.flags[at] & flag::CHANGED != 0 {
                self.changed.push(group);
            }
            into.push(group);
        }
        for (accumulator, from) in self.accumulators.iter_mut().zip(from.accumulators) {
            accumulator.resize(self.keys.len());
            accumulator.merge(from.as_ref(), numbers, &into)?;
        }
        Ok(())
    }

    /// A copy of it, made with accumulators that are empty. What is on the disk is shared.
    pub(super) fn copy(&self, accumulators: Vec<Box<dyn Accumulator>>) -> Result<Self, Cause> {
        let (runs, cold_groups, closed) = (self.runs.clone(), self.cold_groups, self.closed);
        let mut copy = Self { runs, cold_groups, closed, ..Self::new(accumulators) };
        copy.adopt(self.groups(), &self.all())?;
        Ok(copy)
    }

    /// Its groups in memory.
    pub(super) fn groups(&self) -> Groups<'_> {
        Groups { keys: &self.keys.list, rows: &self.rows, flags: &self.flags, accumulators: &self.accumulators }
    }

    /// Once all rows of before are there again, groups in doubt count as published, so that the next emission deletes those that HAVING
    /// still refuses: they have more rows now than when it let them through.
    pub(super) fn settle_doubts(&mut self) {
        for (group, flags) in (0_u32..).zip(&mut self.flags) {
            let before = *flags;
            *flags = without_doubt(before);
            if *flags & !before & flag::CHANGED != 0 {
                self.changed.push(group);
            }
        }
        self.runs.iter_mut().for_each(ColdRun::settle_doubts);
    }

    /// All groups in memory.
    pub(super) fn all(&self) -> Vec<u32> {
        (0..self.keys.len()).filter_map(|group| u32::try_from(group).ok()).collect()
    }

    /// The version of a group's present content.
    pub(super) fn version(&self, group: u32, generation: u32, is_final: bool) -> Version {
        Version { generation, rows: self.rows[group as usize], is_final }
    }

    /// Groups, wherever they are.
    pub(super) fn len(&self) -> usize {
        self.keys.len() + self.cold_groups
    }

    /// Counts the bytes held in memory and remembers them.
    pub(super) fn count_bytes(&mut self) -> usize {
        let aggregates: usize = self.accumulators.iter().map(|each| size_of_val(each.as_ref()) + each.bytes()).sum();
        self.counted_bytes = size_of::<Self>()
            + self.keys.bytes()
            + aggregates
            + self.rows.capacity() * size_of::<u64>()
            + self.flags.capacity()
            + self.changed.capacity() * size_of::<u32>()
            + self.runs.iter().map(ColdRun::memory_bytes).sum::<usize>();
        self.counted_bytes
    }
}

/// A group's flags once doubts about it count as a published row.
pub(super) fn without_doubt(flags: u8) -> u8 {
    match flags & (flag::DOUBTFUL | flag::VISIBLE) {
        flag::DOUBTFUL => (flags & !flag::DOUBTFUL) | flag::VISIBLE | flag::CHANGED | flag::UNSAVED,
        0 | flag::VISIBLE => flags,
        _ => (flags & !flag::DOUBTFUL) | flag::UNSAVED,
    }
}
