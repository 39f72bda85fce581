//! The ids accepted lately: exact, bounded in event time and in bytes.
//!
//! Ids lie one after the other in chunks of memory, so that a record costs no allocation of its own. Entries leave from the front once
//! they are older than the bound; one that is behind a younger one stays a little longer, and look-ups compare times themselves.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use hashbrown::{DefaultHashBuilder, HashTable};
use siphasher::sip128::{Hasher128 as _, SipHasher13};

const CHUNK_BYTES: usize = 1024 * 1024;

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
    /// One with other content.
    Other {
        /// Its raw offset.
        first_offset: i64,
    },
}

/// Where an accepted record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) raw_offset: i64,
    pub(crate) validated_offset: i64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u64,
    content: u128,
    event_time_us: i64,
    raw_offset: i64,
    validated_offset: i64,
    /// Start of the id in the stream of all ids ever kept.
    id_start: u64,
    id_len: u32,
}

#[derive(Debug)]
struct Chunk {
    start: u64,
    bytes: Vec<u8>,
}

/// The ids accepted within the bound.
#[derive(Debug)]
pub(crate) struct Duplicates {
    within_us: i64,
    /// Keys of the content hash, drawn by each process anew: contents are only compared within one, and nobody can aim at a collision.
    content_keys: (u64, u64),
    hasher: DefaultHashBuilder,
    /// Sequence numbers of entries by hash of their id; the newest entry of an id is the one found.
    table: HashTable<u64>,
    entries: VecDeque<Entry>,
    /// Sequence number of the front entry.
    first_sequence: u64,
    chunks: VecDeque<Chunk>,
    id_end: u64,
}

impl Duplicates {
    pub(crate) fn new(within_us: i64) -> Self {
        Self {
            within_us,
            content_keys: (RandomState::new().hash_one(0), RandomState::new().hash_one(1)),
            hasher: DefaultHashBuilder::default(),
            table: HashTable::new(),
            entries: VecDeque::new(),
            first_sequence: 0,
            chunks: VecDeque::new(),
            id_end: 0,
        }
    }

    /// Hash of a payload, to tell a repeat from another record with the same id.
    pub(crate) fn content_hash(&self, payload: &[u8]) -> u128 {
        let (first, second) = self.content_keys;
        let mut hasher = SipHasher13::new_with_keys(first, second);
        hasher.write(payload);
        hasher.finish128().as_u128()
    }

    /// Looks an id up.
    pub(crate) fn find(&self, id: &[u8], content: u128, event_time_us: i64) -> Found {
        let hash = self.hash(id);
        let found = self.table.find(hash, |&sequence| self.id_of(sequence) == Some(id));
        let Some(entry) = found.and_then(|&sequence| self.entry(sequence)) else { return Found::Nothing };
        if event_time_us.abs_diff(entry.event_time_us) > self.within_us.unsigned_abs() {
            Found::Nothing
        } else if entry.content == content {
            Found::Same { first_offset: entry.raw_offset }
        } else {
            Found::Other { first_offset: entry.raw_offset }
        }
    }

    /// Keeps the id of an accepted record; a later look-up finds it instead of an older one with this id.
    pub(crate) fn insert(&mut self, id: &[u8], content: u128, event_time_us: i64, at: At) {
        let At { raw_offset, validated_offset } = at;
        let hash = self.hash(id);
        let sequence = self.first_sequence + self.entries.len() as u64;
        let id_start = self.append(id);
        let (entries, chunks, first) = (&self.entries, &self.chunks, self.first_sequence);
        let is_same = |&other: &u64| id_at(entries, chunks, first, other) == Some(id);
        if let Some(slot) = self.table.find_mut(hash, is_same) {
            *slot = sequence;
        } else {
            let rehash = |&other: &u64| {
                // The new entry isn't in `entries` yet; all others are.
                entry_at(entries, first, other).map_or(hash, |entry| entry.hash)
            };
            self.table.insert_unique(hash, sequence, rehash);
        }
        let id_len = u32::try_from(id.len()).unwrap_or(u32::MAX);
        self.entries.push_back(Entry { hash, content, event_time_us, raw_offset, validated_offset, id_start, id_len });
    }

    /// Forgets what is older than the bound before `greatest_us`, the greatest event time so far.
    pub(crate) fn expire(&mut self, greatest_us: i64) {
        let horizon_us = greatest_us.saturating_sub(self.within_us);
        while let Some(&entry) = self.entries.front().filter(|entry| entry.event_time_us < horizon_us) {
            let sequence = self.first_sequence;
            if let Ok(slot) = self.table.find_entry(entry.hash, |&other| other == sequence) {
                slot.remove();
            }
            self.entries.pop_front();
            self.first_sequence += 1;
        }
        let needed_from = self.entries.front().map_or(self.id_end, |entry| entry.id_start);
        while self.chunks.len() > 1
            && self.chunks.front().is_some_and(|chunk| chunk.start + chunk.bytes.len() as u64 <= needed_from)
        {
            self.chunks.pop_front();
        }
    }

    /// Number of ids kept.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Validated offset of the oldest id kept: a restart needs the accepted records from there on.
    pub(crate) fn oldest_validated_offset(&self) -> Option<i64> {
        self.entries.front().map(|entry| entry.validated_offset)
    }

    /// Bytes of memory, about.
    pub(crate) fn bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes.capacity()).sum::<usize>()
            + self.entries.capacity() * size_of::<Entry>()
            + self.table.capacity() * (size_of::<u64>() + 1)
    }

    fn hash(&self, id: &[u8]) -> u64 {
        self.hasher.hash_one(id)
    }

    fn entry(&self, sequence: u64) -> Option<&Entry> {
        entry_at(&self.entries, self.first_sequence, sequence)
    }

    fn id_of(&self, sequence: u64) -> Option<&[u8]> {
        id_at(&self.entries, &self.chunks, self.first_sequence, sequence)
    }

    /// Appends an id to the chunks; it never spans two.
    fn append(&mut self, id: &[u8]) -> u64 {
        let has_room = self.chunks.back().is_some_and(|chunk| chunk.bytes.capacity() - chunk.bytes.len() >= id.len());
        if !has_room {
            let bytes = Vec::with_capacity(CHUNK_BYTES.max(id.len()));
            self.chunks.push_back(Chunk { start: self.id_end, bytes });
        }
        let start = self.id_end;
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.bytes.extend_from_slice(id);
        }
        self.id_end += id.len() as u64;
        start
    }
}

fn entry_at(entries: &VecDeque<Entry>, first_sequence: u64, sequence: u64) -> Option<&Entry> {
    let index = usize::try_from(sequence.checked_sub(first_sequence)?).ok()?;
    entries.get(index)
}

fn id_at<'a>(
    entries: &VecDeque<Entry>,
    chunks: &'a VecDeque<Chunk>,
    first_sequence: u64,
    sequence: u64,
) -> Option<&'a [u8]> {
    let entry = entry_at(entries, first_sequence, sequence)?;
    let index = chunks.partition_point(|chunk| chunk.start <= entry.id_start).checked_sub(1)?;
    let chunk = chunks.get(index)?;
    let start = usize::try_from(entry.id_start - chunk.start).ok()?;
    chunk.bytes.get(start..start + entry.id_len as usize)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn at(offset: i64) -> At {
        At { raw_offset: offset, validated_offset: offset }
    }

    #[test]
    fn a_repeat_is_the_same_and_a_changed_one_is_other() {
        let mut ids = Duplicates::new(100);
        ids.insert(b"a", 1, 1_000, at(7));
        assert_eq!(ids.find(b"a", 1, 1_000), Found::Same { first_offset: 7 });
        assert_eq!(ids.find(b"a", 2, 1_050), Found::Other { first_offset: 7 });
        assert_eq!(ids.find(b"a", 1, 1_101), Found::Nothing);
        assert_eq!(ids.find(b"b", 1, 1_000), Found::Nothing);
        ids.expire(1_101);
        assert_eq!((ids.len(), ids.find(b"a", 1, 1_000)), (0, Found::Nothing));
    }

    #[test]
    fn memory_is_given_back() {
        let mut ids = Duplicates::new(1_000);
        for offset in 0..200_000_i64 {
            ids.insert(format!("transaction-{offset:020}").as_bytes(), 0, offset, at(offset));
            ids.expire(offset);
        }
        assert_eq!(ids.len(), 1_001);
        assert!(ids.chunks.len() <= 2, "{} chunks", ids.chunks.len());
        assert_eq!(ids.oldest_validated_offset(), Some(198_999));
    }

    proptest! {
        /// Against a map that keeps everything: what is within the bound is found, and nothing else is.
        #[test]
        fn finds_what_a_naive_map_finds(records in prop::collection::vec((0u8..20, 0i64..400, 0u8..3), 1..300)) {
            let mut ids = Duplicates::new(50);
            let mut naive: HashMap<Vec<u8>, (u128, i64, i64)> = HashMap::new();
            let mut greatest = i64::MIN;
            for (offset, (id, jitter, content)) in records.into_iter().enumerate() {
                let (offset, id, content) = (offset as i64, vec![id; 1 + id as usize % 3], u128::from(content));
                let time = offset * 5 + jitter / 10;
                let expected = match naive.get(&id) {
                    Some((kept, at, first)) if time.abs_diff(*at) <= 50 => {
                        if *kept == content { Found::Same { first_offset: *first } } else { Found::Other { first_offset: *first } }
                    }
                    _ => Found::Nothing,
                };
                prop_assert_eq!(ids.find(&id, content, time), expected);
                if expected == Found::Nothing {
                    ids.insert(&id, content, time, at(offset));
                    naive.insert(id, (content, time, offset));
                    greatest = greatest.max(time);
                    // The bound is kept wide enough here that no expired entry could still be asked for.
                    ids.expire(greatest - 100);
                }
            }
        }
    }
}
