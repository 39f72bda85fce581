//! The ids accepted lately: exact, bounded in event time, in memory and on the disk.
//!
//! The newest lie in memory. Over the cap the oldest of them go to the disk as a sorted run, of which memory keeps 16 bits of each
//! hash, so that an id that is new is nearly always told from memory alone. When these bits have no room either, each look-up reads: slower,
//! and as exact. A run leaves when all of it is past the bound.
//!
//! What a look-up finds depends on the records accepted and on the horizon, never on where an id lies or when it leaves.

mod memory;

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use hashbrown::DefaultHashBuilder;
use model::BytesColumn;
use siphasher::sip128::{Hasher128 as _, SipHasher13};
use state::spill::{Run, RunWriter, SpillError, SpillResult};

use crate::ids::Ids;
use crate::options::DuplicateRules;
use memory::{Kept, Memory};

/// What goes to the disk at a time, as a part of the cap on memory.
const SPILLS_PER_CAP: usize = 4;
/// With a disk so large that it would take more runs than this, each is larger.
const RUNS_MAX: u64 = 128;

/// What a look-up finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// No record with this id within the bound.
    Nothing,
    /// One with the same content.
    Same {
        /// Its raw offset.
        first_offset: i64,
    },
    /// One or more, all with other content.
    Other {
        /// Raw offset of the first.
        first_offset: i64,
    },
}

/// Where an accepted record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) raw_offset: i64,
    pub(crate) validated_offset: i64,
}

/// A record on the disk with the id of a row of the block.
#[derive(Debug, Clone, Copy)]
struct Hit {
    row: u32,
    content: u128,
    event_time_us: i64,
    raw_offset: i64,
}

/// Records that went to the disk together.
#[derive(Debug)]
struct Spilled {
    run: Run,
    greatest_event_time_us: i64,
    first_validated_offset: i64,
}

/// How much there is, for people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DuplicatesMetrics {
    /// Ids in memory.
    pub memory_ids: usize,
    /// Ids on the disk.
    pub disk_ids: usize,
    /// Bytes of memory, about.
    pub memory_bytes: usize,
    /// Bytes of disk.
    pub disk_bytes: u64,
}

/// The ids accepted within the bound.
#[derive(Debug)]
pub(crate) struct Duplicates {
    rules: DuplicateRules,
    within_us: u64,
    /// Keys of the content hash, drawn by each process anew: contents are only compared within one, and nobody can aim at a collision.
    content_keys: (u64, u64),
    hasher: DefaultHashBuilder,
    memory: Memory,
    /// Oldest first.
    spilled: VecDeque<Spilled>,
    /// Of the block that was looked up last, by row.
    hashes: Vec<u64>,
    contents: Vec<u128>,
    hits: Vec<Hit>,
    wanted: Vec<(u64, u32)>,
    read_buffer: Vec<u8>,
}

impl Duplicates {
    pub(crate) fn new(mut rules: DuplicateRules) -> Self {
        rules.memory_bytes_max = rules.memory_bytes_max.min(memory::BYTES_MAX);
        Self {
            within_us: u64::try_from(rules.within.as_micros()).unwrap_or(u64::MAX),
            content_keys: (RandomState::new().hash_one(0), RandomState::new().hash_one(1)),
            hasher: DefaultHashBuilder::default(),
            memory: Memory::new(rules.memory_bytes_max),
            rules,
            spilled: VecDeque::new(),
            hashes: Vec::new(),
            contents: Vec::new(),
            hits: Vec::new(),
            wanted: Vec::new(),
            read_buffer: Vec::new(),
        }
    }

    /// Takes up the rows of a block, so that they can be inserted.
    pub(crate) fn take_up(&mut self, ids: &Ids, payloads: &BytesColumn) {
        self.hits.clear();
        self.hashes.clear();
        self.hashes.extend((0..ids.len()).map(|row| self.hasher.hash_one(ids.get(row))));
        self.contents.clear();
        let (first, second) = self.content_keys;
        self.contents.extend((0..ids.len()).map(|row| {
            let mut hasher = SipHasher13::new_with_keys(first, second);
            hasher.write(payloads.get(row).unwrap_or_default());
            hasher.finish128().as_u128()
        }));
    }

    /// Takes up the rows of a block, and reads what the disk has of their ids.
    ///
    /// # Errors
    /// Those of reading; nothing has changed then.
    pub(crate) fn look_up(&mut self, ids: &Ids, payloads: &BytesColumn) -> SpillResult<()> {
        self.take_up(ids, payloads);
        if self.spilled.is_empty() {
            return Ok(());
        }
        self.wanted.clear();
        self.wanted.extend(self.hashes.iter().copied().zip(0..));
        self.wanted.sort_unstable();
        let hits = &mut self.hits;
        for spilled in &self.spilled {
            spilled.run.search(&self.wanted, &mut self.read_buffer, |row, entry| {
                let kept = Kept::read(entry).filter(|kept| kept.id == ids.get(row as usize));
                hits.extend(kept.map(|Kept { content, event_time_us, raw_offset, .. }| Hit {
                    row,
                    content,
                    event_time_us,
                    raw_offset,
                }));
            })?;
        }
        hits.sort_unstable_by_key(|hit| (hit.row, hit.raw_offset));
        Ok(())
    }

    /// What there is of the id of a row that was looked up, as far as it isn't before `horizon_us`.
    pub(crate) fn find(&self, row: usize, id: &[u8], event_time_us: i64, horizon_us: i64) -> Found {
        let (Some(&hash), Some(&content)) = (self.hashes.get(row), self.contents.get(row)) else {
            return Found::Nothing;
        };
        // Of several records with this id, one with the same content decides; of those, the first.
        let (mut same, mut other): (Option<i64>, Option<i64>) = (None, None);
        let mut see = |kept_content: u128, kept_time_us: i64, raw_offset: i64| {
            if kept_time_us >= horizon_us && kept_time_us.abs_diff(event_time_us) <= self.within_us {
                let first = if kept_content == content { &mut same } else { &mut other };
                *first = Some(first.map_or(raw_offset, |first| first.min(raw_offset)));
            }
        };
        for kept in self.memory.find(hash, id) {
            see(kept.content, kept.event_time_us, kept.raw_offset);
        }
        let first = self.hits.partition_point(|hit| (hit.row as usize) < row);
        for hit in self.hits.iter().skip(first).take_while(|hit| hit.row as usize == row) {
            see(hit.content, hit.event_time_us, hit.raw_offset);
        }
        match (same, other) {
            (Some(first_offset), _) => Found::Same { first_offset },
            (None, Some(first_offset)) => Found::Other { first_offset },
            (None, None) => Found::Nothing,
        }
    }

    /// Keeps the id of an accepted record: a row of the block that was taken up.
    pub(crate) fn insert(&mut self, row: usize, id: &[u8], event_time_us: i64, at: At) {
        if let (Some(&hash), Some(&content)) = (self.hashes.get(row), self.contents.get(row)) {
            let kept = Kept { content, event_time_us, raw_offset: at.raw_offset, id };
            self.memory.insert(hash, at.validated_offset, &kept);
        }
    }

    /// Forgets what is before the horizon. One that is behind a younger one stays a little longer; look-ups don't find it.
    pub(crate) fn expire(&mut self, horizon_us: i64) {
        while self.spilled.front().is_some_and(|spilled| spilled.greatest_event_time_us < horizon_us) {
            self.spilled.pop_front();
        }
        let is_past = |memory: &Memory| {
            let front = memory.front().and_then(|entry| Kept::read(entry.kept));
            front.is_some_and(|kept| kept.event_time_us < horizon_us)
        };
        while is_past(&self.memory) {
            self.memory.pop_front();
        }
    }

    /// Brings the memory back under its cap: the oldest ids go to the disk.
    ///
    /// # Errors
    /// Those of writing, and `Full` when the disk has reached its cap, or there is none. Nothing is lost: call again.
    pub(crate) fn make_room(&mut self) -> Result<(), RoomError> {
        let cap = self.rules.memory_bytes_max;
        while self.metrics().memory_bytes > cap {
            if self.memory.bytes() > cap / 2 && self.memory.len() > 0 {
                self.spill()?;
            } else if let Some(oldest) = self.spilled.iter_mut().find(|spilled| spilled.run.has_fingerprints()) {
                tracing::warn!(
                    bytes_max = cap,
                    "what memory keeps of the ids on the disk is over its cap: looking for duplicates reads the disk more often"
                );
                oldest.run.forget_fingerprints();
            } else if self.memory.len() > 0 {
                self.spill()?;
            } else {
                return Err(RoomError::Full);
            }
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<(), RoomError> {
        let Some(disk) = &self.rules.disk else { return Err(RoomError::Full) };
        let wanted = (self.rules.memory_bytes_max / SPILLS_PER_CAP)
            .max(usize::try_from(disk.bytes_max / RUNS_MAX).unwrap_or(usize::MAX).min(self.memory.bytes() / 2));
        if self.metrics().disk_bytes + wanted as u64 > disk.bytes_max {
            return Err(RoomError::Full);
        }
        let mut greatest_event_time_us = i64::MIN;
        let mut first_validated_offset = i64::MAX;
        let mut places = Vec::new();
        for (place, entry) in self.memory.oldest(wanted) {
            places.push((entry.hash, place));
            first_validated_offset = first_validated_offset.min(entry.validated_offset);
            let time = Kept::read(entry.kept).map_or(i64::MAX, |kept| kept.event_time_us);
            greatest_event_time_us = greatest_event_time_us.max(time);
        }
        places.sort_unstable();
        let mut writer = RunWriter::create(&disk.directory, places.len())?;
        for &(hash, place) in &places {
            writer.push(hash, self.memory.at(place).map_or(&[], |entry| entry.kept))?;
        }
        let run = writer.finish()?;
        for _ in &places {
            self.memory.pop_front();
        }
        tracing::debug!(ids = run.len(), bytes = run.disk_bytes(), directory = %disk.directory.display(), "ids went to the disk");
        self.spilled.push_back(Spilled { run, greatest_event_time_us, first_validated_offset });
        Ok(())
    }

    /// Validated offset from which on all ids kept are found again after a restart.
    pub(crate) fn oldest_validated_offset(&self) -> Option<i64> {
        let spilled = self.spilled.iter().map(|spilled| spilled.first_validated_offset).min();
        spilled.or_else(|| self.memory.front().map(|entry| entry.validated_offset))
    }

    /// Most bytes of memory and of disk.
    pub(crate) fn caps(&self) -> (usize, u64) {
        (self.rules.memory_bytes_max, self.rules.disk.as_ref().map_or(0, |disk| disk.bytes_max))
    }

    pub(crate) fn metrics(&self) -> DuplicatesMetrics {
        let mut metrics = DuplicatesMetrics {
            memory_ids: self.memory.len(),
            memory_bytes: self.memory.bytes(),
            ..DuplicatesMetrics::default()
        };
        for Spilled { run, .. } in &self.spilled {
            metrics.disk_ids += run.len();
            metrics.memory_bytes += run.memory_bytes();
            metrics.disk_bytes += run.disk_bytes();
        }
        metrics
    }
}

/// Why there is no room for further ids.
#[derive(Debug)]
pub(crate) enum RoomError {
    /// Memory and disk have reached their caps.
    Full,
    /// The disk refuses.
    Spill(SpillError),
}

impl From<SpillError> for RoomError {
    fn from(error: SpillError) -> Self {
        Self::Spill(error)
    }
}

#[cfg(test)]
mod tests;
