//! Keys that were written at one time, in the order of their hashes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use state::SnapshotWriter;
use state::spill::{Blob, BlobFile, BlobWriter, Fingerprints};

use super::chunk::{Chunk, Entry};
use super::merge::Merge;
use crate::error::Cause;
use crate::options::Spill;

/// Keys that are written together at most, and read together when one of them is wanted.
const CHUNK_KEYS_MAX: usize = 128;
/// Bytes that a chunk should have.
const CHUNK_BYTES: usize = 8 * 1024;
/// What comes due is brought back this share of a run's time ahead: its chunks are then read about as often, and not for each of their keys.
const AHEAD_SHARE: u64 = 16;

/// Chunks whose keys are in one part of a snapshot.
const PART_CHUNKS: usize = 256;

/// Where a few keys lie.
#[derive(Debug)]
struct Place {
    first_hash: u64,
    blob: Blob,
    /// Number of its first key within the run.
    first: usize,
}

/// Keys on the disk, in a file of their own.
#[derive(Debug)]
pub(super) struct Run {
    file: BlobFile,
    places: Vec<Place>,
    /// `None` where memory is short: then each search reads.
    fingerprints: Option<Fingerprints>,
    /// A bit for each key: whether it was brought back.
    taken: Vec<u64>,
    keys: usize,
    live: usize,
    /// Chunks by the first time at which something of theirs is due.
    due: BinaryHeap<Reverse<(i64, u32)>>,
    ahead_us: i64,
    /// Chunks that may have marked keys, with all of these marks.
    marked: Vec<(u32, u8)>,
    /// Names of the parts of snapshots that have its keys, also those that were brought back since, in order. Empty before the first snapshot.
    parts: Vec<String>,
}

/// Room for a chunk that is read.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    chunk: Chunk,
    buffer: Vec<u8>,
}

impl Run {
    /// Writes all that a merge gives.
    pub(super) fn write(merge: &mut Merge<'_>, spill: &Spill) -> Result<Self, Cause> {
        let mut writer = BlobWriter::create(&spill.directory)?;
        let (mut chunk, mut buffer) = (Chunk::default(), Vec::new());
        let (mut places, mut hashes) = (Vec::new(), Vec::<u64>::new());
        let (mut due, mut marked) = (BinaryHeap::new(), Vec::new());
        let (mut first_us, mut last_us) = (i64::MAX, i64::MIN);
        loop {
            merge.fill(CHUNK_KEYS_MAX, CHUNK_BYTES, &mut chunk)?;
            let Some(first_hash) = chunk.hashes.first().copied() else { break };
            let mut values = SnapshotWriter::values(std::mem::take(&mut buffer));
            chunk.save(&mut values);
            buffer = values.finish();
            let number = u32::try_from(places.len()).map_err(|_| Cause::Internal("a run of 2^32 chunks".into()))?;
            places.push(Place { first_hash, blob: writer.append(&buffer)?, first: hashes.len() });
            hashes.extend_from_slice(&chunk.hashes);
            let times = || chunk.entries().map(|entry| entry.due_us).filter(|due_us| *due_us != i64::MAX);
            if let Some(least_us) = times().min() {
                due.push(Reverse((least_us, number)));
                first_us = first_us.min(least_us);
            }
            last_us = last_us.max(times().max().unwrap_or(i64::MIN));
            let marks = chunk.entries().fold(0, |all, entry| all | entry.marks);
            if marks != 0 {
                marked.push((number, marks));
            }
        }
        places.shrink_to_fit();
        let span_us = if first_us < last_us { last_us.abs_diff(first_us) } else { 0 };
        Ok(Self {
            file: writer.finish()?,
            places,
            fingerprints: Fingerprints::of(&hashes),
            taken: vec![0; hashes.len().div_ceil(64)],
            keys: hashes.len(),
            live: hashes.len(),
            due,
            ahead_us: i64::try_from(span_us / AHEAD_SHARE).unwrap_or(i64::MAX),
            marked,
            parts: Vec::new(),
        })
    }

    /// Reads a chunk by its number; false if there is none.
    pub(super) fn load(&self, index: usize, chunk: &mut Chunk, buffer: &mut Vec<u8>) -> Result<bool, Cause> {
        let Some(place) = self.places.get(index) else { return Ok(false) };
        self.file.read(&place.blob, buffer)?;
        chunk.load(buffer)?;
        Ok(true)
    }

    fn number(&self, chunk: usize, at: usize) -> usize {
        self.places.get(chunk).map_or(0, |place| place.first) + at
    }

    /// Whether a key of a chunk was brought back.
    pub(super) fn is_taken(&self, chunk: usize, at: usize) -> bool {
        is_set(&self.taken, self.number(chunk, at))
    }

    fn take(&mut self, chunk: usize, at: usize) {
        let number = self.number(chunk, at);
        set(&mut self.taken, number);
        self.live -= 1;
    }

    /// Looks keys up and crosses out what is found. `wanted` has the hash and the number of each, ascending by hash, and `key` gives the key
    /// behind a number. What is found is handed over, and leaves `wanted`.
    pub(super) fn search<'k>(
        &mut self,
        wanted: &mut Vec<(u64, u32)>,
        key: impl Fn(u32) -> Option<&'k [u8]>,
        scratch: &mut Scratch,
        found: &mut dyn FnMut(Entry<'_>) -> Result<(), Cause>,
    ) -> Result<(), Cause> {
        let (mut loaded, mut missing) = (None, Vec::with_capacity(wanted.len()));
        for (hash, number) in wanted.drain(..) {
            if self.fingerprints.as_ref().is_some_and(|filter| !filter.may_contain(hash)) {
                missing.push((hash, number));
                continue;
            }
            // Keys under one hash may begin in the chunk before the first that starts with it.
            let first = self.places.partition_point(|place| place.first_hash < hash).saturating_sub(1);
            let rest = self.places.get(first..).unwrap_or_default();
            let chunks = rest.iter().take_while(|place| place.first_hash <= hash).count();
            let mut place = None;
            for index in first..first + chunks {
                if loaded != Some(index) {
                    self.load(index, &mut scratch.chunk, &mut scratch.buffer)?;
                    loaded = Some(index);
                }
                let hashes = &scratch.chunk.hashes;
                let from = hashes.partition_point(|other| *other < hash);
                let under = hashes.iter().skip(from).take_while(|other| **other == hash).count();
                let is_same = |at: &usize| scratch.chunk.get(*at).is_some_and(|entry| entry.key == key(number));
                place =
                    (from..from + under).filter(|at| !self.is_taken(index, *at)).find(is_same).map(|at| (index, at));
                if place.is_some() {
                    break;
                }
            }
            match place {
                Some((index, at)) => {
                    self.take(index, at);
                    scratch.chunk.get(at).map_or(Ok(()), &mut *found)?;
                }
                None => missing.push((hash, number)),
            }
        }
        *wanted = missing;
        Ok(())
    }

    /// A time before which nothing is due.
    pub(super) fn first_due_us(&self) -> Option<i64> {
        self.due.peek().map(|Reverse((due_us, _))| *due_us)
    }

    /// Hands over the keys of one chunk of which something is due below a time, with those that are due soon after, and crosses them out; false
    /// if there is none.
    pub(super) fn take_due(
        &mut self,
        below_us: i64,
        scratch: &mut Scratch,
        found: &mut dyn FnMut(Entry<'_>) -> Result<(), Cause>,
    ) -> Result<bool, Cause> {
        let Some(Reverse((_, chunk))) = self.due.peek().copied().filter(|Reverse((due_us, _))| *due_us < below_us)
        else {
            return Ok(false);
        };
        self.due.pop();
        let ahead_us = below_us.saturating_add(self.ahead_us);
        self.take_of(chunk, scratch, |entry| entry.due_us < below_us || entry.due_us < ahead_us, found)?;
        let index = chunk as usize;
        let left = scratch.chunk.entries().enumerate().filter(|(at, _)| !self.is_taken(index, *at));
        let next_us = left.map(|(_, entry)| entry.due_us).filter(|due_us| *due_us != i64::MAX).min();
        self.due.extend(next_us.map(|due_us| Reverse((due_us, chunk))));
        Ok(true)
    }

    /// Hands over the keys of one chunk that have one of these marks, and crosses them out; false if there is none.
    pub(super) fn take_marked(
        &mut self,
        marks: u8,
        scratch: &mut Scratch,
        found: &mut dyn FnMut(Entry<'_>) -> Result<(), Cause>,
    ) -> Result<bool, Cause> {
        let at = self.marked.iter().rposition(|(_, of_chunk)| of_chunk & marks != 0);
        let Some((chunk, of_chunk)) = at.map(|at| self.marked.swap_remove(at)) else { return Ok(false) };
        if of_chunk & !marks != 0 {
            self.marked.push((chunk, of_chunk & !marks));
        }
        self.take_of(chunk, scratch, |entry| entry.marks & marks != 0, found)?;
        Ok(true)
    }

    fn take_of(
        &mut self,
        chunk: u32,
        scratch: &mut Scratch,
        is_wanted: impl Fn(&Entry<'_>) -> bool,
        found: &mut dyn FnMut(Entry<'_>) -> Result<(), Cause>,
    ) -> Result<(), Cause> {
        let index = chunk as usize;
        self.load(index, &mut scratch.chunk, &mut scratch.buffer)?;
        for (at, entry) in scratch.chunk.entries().enumerate() {
            if !self.is_taken(index, at) && is_wanted(&entry) {
                self.take(index, at);
                found(entry)?;
            }
        }
        Ok(())
    }

    /// Keeps its keys in parts, if they aren't: `keep` gives the name of one. What was brought back is in them too.
    pub(super) fn keep_parts(
        &mut self,
        scratch: &mut Scratch,
        keep: &mut dyn FnMut(&Chunk) -> Result<String, Cause>,
    ) -> Result<(), Cause> {
        let mut part = Chunk::default();
        for first in (self.parts.len() * PART_CHUNKS..self.places.len()).step_by(PART_CHUNKS) {
            part.clear();
            for index in first..self.places.len().min(first + PART_CHUNKS) {
                self.load(index, &mut scratch.chunk, &mut scratch.buffer)?;
                scratch.chunk.entries().for_each(|entry| part.push(entry));
            }
            self.parts.push(keep(&part)?);
        }
        Ok(())
    }

    /// Each part with the places of its keys that were brought back, as bits.
    pub(super) fn parts(&self) -> impl Iterator<Item = (&str, Vec<u64>)> {
        self.parts.iter().enumerate().map(|(number, name)| {
            let first = |chunk: usize| self.places.get(chunk).map_or(self.keys, |place| place.first);
            let (from, to) = (first(number * PART_CHUNKS), first((number + 1) * PART_CHUNKS));
            let mut taken = vec![0; (to - from).div_ceil(64)];
            for at in (from..to).filter(|at| is_set(&self.taken, *at)) {
                set(&mut taken, at - from);
            }
            (name.as_str(), taken)
        })
    }

    /// Has the next snapshot name no part of those before.
    pub(super) fn forget_parts(&mut self) {
        self.parts.clear();
    }

    /// Gives up the memory that tells most searches apart from the disk.
    pub(super) fn forget_fingerprints(&mut self) {
        self.fingerprints = None;
    }

    /// Keys that weren't brought back.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// Whether most of its keys were brought back.
    pub(super) fn is_sparse(&self) -> bool {
        2 * self.live < self.keys
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.places.capacity() * size_of::<Place>()
            + self.fingerprints.as_ref().map_or(0, Fingerprints::memory_bytes)
            + self.taken.capacity() * size_of::<u64>()
            + self.due.capacity() * size_of::<(i64, u32)>()
            + self.marked.capacity() * size_of::<(u32, u8)>()
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        self.file.disk_bytes()
    }
}

/// Whether a bit is set.
pub(super) fn is_set(bits: &[u64], at: usize) -> bool {
    bits.get(at / 64).is_some_and(|bits| bits >> (at % 64) & 1 == 1)
}

/// Sets a bit.
pub(super) fn set(bits: &mut [u64], at: usize) {
    if let Some(bits) = bits.get_mut(at / 64) {
        *bits |= 1 << (at % 64);
    }
}
