//! The groups of one window with their state.

use hashbrown::HashTable;
use model::Version;

use super::groups::BatchGroups;
use crate::accumulator::Accumulator;
use crate::error::Cause;
use crate::keys::Keys;

/// Keys numbered from 0 in the order in which they come.
#[derive(Debug, Default)]
pub(super) struct KeyTable {
    index: HashTable<u32>,
    hashes: Vec<u64>,
    /// All keys, one after another.
    data: Vec<u8>,
    /// End of each key in `data`.
    ends: Vec<usize>,
    /// The number of the NULL key, which isn't in the index.
    null: Option<u32>,
}

impl KeyTable {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    fn slice<'a>(data: &'a [u8], ends: &[usize], group: u32) -> Option<&'a [u8]> {
        let at = group as usize;
        let begin = at.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
        data.get(begin..*ends.get(at)?)
    }

    /// The key of a group; `None` is the NULL of a single text column.
    pub(super) fn get(&self, group: u32) -> Option<&[u8]> {
        if self.null == Some(group) { None } else { Self::slice(&self.data, &self.ends, group) }
    }

    pub(super) fn find(&self, hash: u64, key: Option<&[u8]>) -> Option<u32> {
        let Some(key) = key else { return self.null };
        let Self { index, hashes, data, ends, .. } = self;
        let same = |group: &u32| hashes[*group as usize] == hash && Self::slice(data, ends, *group) == Some(key);
        index.find(hash, same).copied()
    }

    /// The group of a key, a new one if it wasn't there.
    pub(super) fn find_or_insert(&mut self, hash: u64, key: Option<&[u8]>) -> Result<u32, Cause> {
        if let Some(group) = self.find(hash, key) {
            return Ok(group);
        }
        let group = u32::try_from(self.len()).map_err(|_| Cause::Internal("a window has 4294967295 groups".into()))?;
        match key {
            None => self.null = Some(group),
            Some(key) => {
                self.data.extend_from_slice(key);
                let hashes = &self.hashes;
                // The new group's own hash is pushed below; the table asks for it only after it has grown once more.
                self.index.insert_unique(hash, group, |other| hashes.get(*other as usize).copied().unwrap_or(hash));
            }
        }
        self.hashes.push(hash);
        self.ends.push(self.data.len());
        Ok(group)
    }

    pub(super) fn bytes(&self) -> usize {
        self.index.allocation_size()
            + self.hashes.capacity() * size_of::<u64>()
            + self.data.capacity()
            + self.ends.capacity() * size_of::<usize>()
    }
}

/// One window: its groups, their aggregates, and what of them has been published.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) keys: KeyTable,
    pub(super) accumulators: Vec<Box<dyn Accumulator>>,
    /// Rows folded into each group.
    pub(super) rows: Vec<u64>,
    /// Rows of each group when it was last published, or found not to pass HAVING.
    pub(super) settled: Vec<u64>,
    /// Whether a published row of the group stands.
    pub(super) is_visible: Vec<bool>,
    /// Groups with `rows > settled`, each once.
    pub(super) changed: Vec<u32>,
    /// Groups that HAVING refused during a replay and that may have been published before it.
    pub(super) doubtful: Vec<u32>,
    /// Bytes at the last count.
    pub(super) counted_bytes: usize,
}

/// Bytes that a group takes besides its key and aggregates, with the hash table's share.
const GROUP_BYTES: usize = 8 + 8 + 8 + 8 + 1 + 4 + 8;

/// What one further group costs at most: vectors double as they grow.
pub(crate) fn group_bytes_max(key_bytes: usize, accumulators: &[Box<dyn Accumulator>]) -> usize {
    2 * (GROUP_BYTES + key_bytes + accumulators.iter().map(|each| each.group_bytes()).sum::<usize>())
}

impl Window {
    pub(super) fn new(accumulators: Vec<Box<dyn Accumulator>>) -> Self {
        Self {
            keys: KeyTable::default(),
            accumulators,
            rows: Vec::new(),
            settled: Vec::new(),
            is_visible: Vec::new(),
            changed: Vec::new(),
            doubtful: Vec::new(),
            counted_bytes: 0,
        }
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
        self.rows.resize(count, 0);
        self.settled.resize(count, 0);
        self.is_visible.resize(count, false);
        for (member, group) in members.iter().zip(into.iter()) {
            let at = *group as usize;
            if self.rows[at] == self.settled[at] {
                self.changed.push(*group);
            }
            self.rows[at] += groups.rows(*member);
        }
        for (accumulator, partial) in self.accumulators.iter_mut().zip(partials) {
            accumulator.resize(count);
            accumulator.merge(partial.as_ref(), members, into)?;
        }
        Ok(())
    }

    /// Once all rows of before are there again, groups in doubt count as published, so that the next emission deletes those that HAVING
    /// still refuses: they have more rows now than when it let them through.
    pub(super) fn settle_doubts(&mut self) {
        self.doubtful.sort_unstable();
        self.doubtful.dedup();
        for group in std::mem::take(&mut self.doubtful) {
            let at = group as usize;
            if self.is_visible[at] {
                continue;
            }
            self.is_visible[at] = true;
            if self.rows[at] == self.settled[at] {
                self.changed.push(group);
            }
        }
    }

    /// All groups.
    pub(super) fn all(&self) -> Vec<u32> {
        (0..self.keys.len()).filter_map(|group| u32::try_from(group).ok()).collect()
    }

    /// The version of a group's present content.
    pub(super) fn version(&self, group: u32, generation: u32, is_final: bool) -> Version {
        Version { generation, rows: self.rows[group as usize], is_final }
    }

    /// Counts the bytes held and remembers them.
    pub(super) fn count_bytes(&mut self) -> usize {
        let aggregates: usize = self.accumulators.iter().map(|each| size_of_val(each.as_ref()) + each.bytes()).sum();
        self.counted_bytes = size_of::<Self>()
            + self.keys.bytes()
            + aggregates
            + (self.rows.capacity() + self.settled.capacity()) * size_of::<u64>()
            + self.is_visible.capacity()
            + (self.changed.capacity() + self.doubtful.capacity()) * size_of::<u32>();
        self.counted_bytes
    }
}
