//! The groups of one window that were written at one time, in the order of their hashes.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use state::SnapshotWriter;
use state::spill::{Blob, BlobFile, BlobWriter, Fingerprints, SpillError};

use super::chunk::Chunk;
use super::merge::Merge;
use crate::error::Cause;
use crate::window::table::{flag, without_doubt};

/// Groups that are written together at most, and read together when one of them is wanted.
const CHUNK_GROUPS_MAX: usize = 128;
/// Bytes that a chunk should have.
const CHUNK_BYTES: usize = 8 * 1024;

/// Where a few groups lie.
#[derive(Debug, Clone)]
struct Place {
    first_hash: u64,
    blob: Blob,
    /// All that is true of one of its groups.
    flags: u8,
}

/// Groups on the disk. Several runs are in one file, which goes with the last of them.
#[derive(Debug, Clone)]
pub(in crate::window) struct ColdRun {
    file: Arc<BlobFile>,
    places: Vec<Place>,
    /// `None` where memory is short: then each search reads.
    fingerprints: Option<Fingerprints>,
    groups: usize,
    /// Whether doubts about its groups count as published rows.
    has_settled_doubts: bool,
    /// Whether what had changed in its groups has been published.
    has_settled_changes: bool,
    /// Whether its groups are in parts of a snapshot as they are here.
    is_saved: bool,
}

/// A run whose file isn't complete.
#[derive(Debug)]
pub(super) struct NewRun {
    places: Vec<Place>,
    hashes: Vec<u64>,
}

impl NewRun {
    /// Writes all that a merge gives. `chunk` and `buffer` are scratch space.
    pub(super) fn write(
        merge: &mut Merge<'_>,
        writer: &mut BlobWriter,
        chunk: &mut Chunk,
        buffer: &mut Vec<u8>,
    ) -> Result<Self, Cause> {
        let mut run = Self { places: Vec::new(), hashes: Vec::new() };
        let mut limit = CHUNK_GROUPS_MAX / 4;
        loop {
            merge.fill(limit, chunk)?;
            let Some(first_hash) = chunk.keys.hashes.first().copied() else { return Ok(run) };
            chunk.flags.iter_mut().for_each(|flags| *flags &= !flag::HOT);
            let mut values = SnapshotWriter::values(std::mem::take(buffer));
            chunk.save(&mut values)?;
            *buffer = values.finish();
            let flags = chunk.flags.iter().fold(0, |all, flags| all | flags);
            run.places.push(Place { first_hash, blob: writer.append(buffer)?, flags });
            run.hashes.extend_from_slice(&chunk.keys.hashes);
            let wanted = chunk.len() * CHUNK_BYTES / buffer.len().max(1);
            limit = wanted.clamp(1, CHUNK_GROUPS_MAX);
        }
    }

    /// The run in its file, which is complete.
    pub(super) fn within(mut self, file: &Arc<BlobFile>) -> ColdRun {
        self.places.shrink_to_fit();
        ColdRun {
            file: Arc::clone(file),
            places: self.places,
            fingerprints: Fingerprints::of(&self.hashes),
            groups: self.hashes.len(),
            has_settled_doubts: false,
            has_settled_changes: false,
            is_saved: false,
        }
    }
}

impl ColdRun {
    /// Looks groups up. `wanted` has the hash and the number of each, ascending by hash, and `key` gives the key behind a number. What is
    /// found goes to `take` chunk by chunk, as numbers in the chunk and numbers wanted.
    pub(in crate::window) fn search<'k>(
        &self,
        wanted: &[(u64, u32)],
        key: impl Fn(u32) -> Option<&'k [u8]>,
        scratch: &mut Scratch,
        mut take: impl FnMut(&Chunk, &[u32], &[u32]) -> Result<(), Cause>,
    ) -> Result<(), Cause> {
        let (mut loaded, mut found, mut numbers) = (None, Vec::new(), Vec::new());
        for (hash, number) in wanted {
            if self.fingerprints.as_ref().is_some_and(|filter| !filter.may_contain(*hash)) {
                continue;
            }
            // Groups under one hash may begin in the chunk before the first that starts with it.
            let first = self.places.partition_point(|place| place.first_hash < *hash).saturating_sub(1);
            let rest = self.places.get(first..).unwrap_or_default();
            for index in (first..).take(rest.iter().take_while(|place| place.first_hash <= *hash).count()) {
                if loaded != Some(index) {
                    if !found.is_empty() {
                        take(&scratch.chunk, &found, &numbers)?;
                        (found, numbers) = (Vec::new(), Vec::new());
                    }
                    self.load(index, scratch)?;
                    loaded = Some(index);
                }
                let keys = &scratch.chunk.keys;
                let from = keys.hashes.partition_point(|other| other < hash);
                let under = keys.hashes.iter().skip(from).take_while(|other| *other == hash).count();
                let same = (from..from + under).filter_map(|at| u32::try_from(at).ok());
                if let Some(at) = same.into_iter().find(|at| keys.get(*at) == key(*number)) {
                    found.push(at);
                    numbers.push(*number);
                    break;
                }
            }
        }
        if found.is_empty() { Ok(()) } else { take(&scratch.chunk, &found, &numbers) }
    }

    /// Whether there is a chunk of this number.
    pub(super) fn has(&self, index: usize) -> bool {
        index < self.places.len()
    }

    /// Reads a chunk by its number; false if there is none.
    pub(super) fn load(&self, index: usize, scratch: &mut Scratch) -> Result<bool, Cause> {
        let Some(place) = self.places.get(index) else { return Ok(false) };
        self.file.read(&place.blob, &mut scratch.buffer)?;
        scratch.chunk.load(&scratch.buffer)?;
        if self.is_saved {
            scratch.chunk.flags.iter_mut().for_each(|flags| *flags &= !flag::UNSAVED);
        }
        if self.has_settled_changes {
            let changed = scratch.chunk.flags.iter_mut().filter(|flags| **flags & flag::CHANGED != 0);
            changed.for_each(|flags| *flags = (*flags & !flag::CHANGED) | flag::UNSAVED);
        }
        if self.has_settled_doubts {
            scratch.chunk.flags.iter_mut().for_each(|flags| *flags = without_doubt(*flags));
        }
        Ok(true)
    }

    /// Reads the next chunk from `index` on that may have a changed group in it; gives its number.
    pub(in crate::window) fn load_changed(&self, index: usize, scratch: &mut Scratch) -> Result<Option<usize>, Cause> {
        let rest = self.places.iter().enumerate().skip(index);
        let Some((at, _)) = rest.into_iter().find(|(_, place)| place.flags & flag::CHANGED != 0) else {
            return Ok(None);
        };
        self.load(at, scratch)?;
        Ok(Some(at))
    }

    /// Notes that changed groups of a chunk have gone to memory, or count no more.
    pub(in crate::window) fn has_no_changes(&mut self, index: usize) {
        if let Some(place) = self.places.get_mut(index) {
            place.flags &= !flag::CHANGED;
        }
    }

    /// Whether there may be groups with changes that haven't been published.
    pub(in crate::window) fn may_have_changes(&self) -> bool {
        self.places.iter().any(|place| place.flags & flag::CHANGED != 0)
    }

    /// Notes that what has changed in its groups has been published.
    pub(in crate::window) fn settle_changes(&mut self) {
        for place in self.places.iter_mut().filter(|place| place.flags & flag::CHANGED != 0) {
            self.has_settled_changes = true;
            place.flags = (place.flags & !flag::CHANGED) | flag::UNSAVED;
        }
    }

    /// Numbers of the chunks that may have groups with these hashes.
    pub(super) fn chunks_of(&self, hashes: &RangeInclusive<u64>) -> Range<usize> {
        // Groups under one hash may begin in the chunk before the first that starts with it.
        let first = self.places.partition_point(|place| place.first_hash < *hashes.start()).saturating_sub(1);
        first..self.places.partition_point(|place| place.first_hash <= *hashes.end())
    }

    /// Has doubts about groups count as published rows.
    pub(in crate::window) fn settle_doubts(&mut self) {
        self.has_settled_doubts = true;
        for place in self.places.iter_mut().filter(|place| place.flags & flag::DOUBTFUL != 0) {
            place.flags |= flag::CHANGED | flag::UNSAVED;
        }
    }

    /// Notes that its groups are in parts of a snapshot.
    pub(in crate::window) fn set_saved(&mut self) {
        self.is_saved = true;
        let stays = if self.has_settled_doubts { flag::DOUBTFUL } else { 0 };
        for place in self.places.iter_mut().filter(|place| place.flags & stays == 0) {
            place.flags &= !flag::UNSAVED;
        }
    }

    /// Whether a chunk may have groups that a part of a snapshot needs: those that aren't saved, or that are in this share of all hashes.
    pub(super) fn may_need(&self, index: usize, share: u64) -> bool {
        let hash = |index: usize| self.places.get(index).map(|place| share_of(place.first_hash));
        let within = hash(index) <= Some(share) && hash(index + 1).is_none_or(|next| next >= share);
        within || self.places.get(index).is_some_and(|place| place.flags & flag::UNSAVED != 0)
    }

    /// Gives up the memory that tells most searches apart from the disk.
    pub(super) fn forget_fingerprints(&mut self) {
        self.fingerprints = None;
    }

    /// Groups, also those whose content is newer elsewhere.
    pub(super) fn len(&self) -> usize {
        self.groups
    }

    pub(super) fn file(&self) -> &Arc<BlobFile> {
        &self.file
    }

    pub(in crate::window) fn memory_bytes(&self) -> usize {
        self.places.capacity() * size_of::<Place>() + self.fingerprints.as_ref().map_or(0, Fingerprints::memory_bytes)
    }
}

/// Shares that hashes are divided into: a snapshot writes all groups of one share anew.
pub(in crate::window) const SHARES: u64 = 16;

/// The share that a hash is in. Greater hashes are in later ones.
pub(in crate::window) fn share_of(hash: u64) -> u64 {
    hash / (u64::MAX / SHARES + 1)
}

/// Room for a chunk that is read.
#[derive(Debug)]
pub(in crate::window) struct Scratch {
    pub(in crate::window) chunk: Chunk,
    buffer: Vec<u8>,
}

impl Scratch {
    pub(in crate::window) fn new(chunk: Chunk) -> Self {
        Self { chunk, buffer: Vec::new() }
    }
}

impl From<SpillError> for Cause {
    fn from(error: SpillError) -> Self {
        Self::Spill(error)
    }
}
