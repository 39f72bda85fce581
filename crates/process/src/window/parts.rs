//! Snapshots in parts: what has changed since the last one, and a share of all groups anew, so that no snapshot holds everything and the parts
//! needed are few.
//!
//! Each snapshot adds parts with the groups that aren't in earlier ones as they are now, and with all groups whose hashes are in one of
//! [`SHARES`] shares, another one each time. After so many snapshots every group has come anew, so older parts are needed no more. Of a group
//! that is in several parts, the newest counts.

use state::{PartStore, SnapshotReader, SnapshotWriter};

use super::aggregation::WindowAggregation;
use super::plan::Plan;
use super::snapshot::{load_groups, save_groups};
use super::spill::{Chunk, Merge, SHARES, Scratch, recall, share_of};
use super::table::{Groups, flag};
use crate::error::Cause;

/// Groups that are gone through at a time.
const PIECE_GROUPS: usize = 16_384;
/// Groups of a part, about.
const PART_GROUPS: usize = 65_536;

/// The parts that the last snapshot named.
#[derive(Debug, Default)]
pub(super) struct SavedParts {
    /// Those of each snapshot, the oldest first. What was restored counts as one.
    snapshots: Vec<Vec<String>>,
    /// The share that the next snapshot has anew.
    next_share: u64,
}

impl SavedParts {
    /// Of a snapshot that was restored, the oldest first.
    pub(super) fn restored(names: Vec<String>) -> Self {
        Self { snapshots: if names.is_empty() { Vec::new() } else { vec![names] }, next_share: 0 }
    }

    /// Their names, the oldest first.
    pub(super) fn names(&self) -> impl DoubleEndedIterator<Item = &String> {
        self.snapshots.iter().flatten()
    }

    fn add(&mut self, names: Vec<String>) {
        self.snapshots.push(names);
        if self.snapshots.len() as u64 > SHARES {
            self.snapshots.remove(0);
        }
        self.next_share = (self.next_share + 1) % SHARES;
    }
}

/// Gathers groups into parts.
struct PartWriter<'a> {
    parts: &'a dyn PartStore,
    writer: SnapshotWriter,
    groups: usize,
    names: Vec<String>,
}

impl PartWriter<'_> {
    fn add(&mut self, plan: &Plan, start_us: i64, groups: Groups<'_>) -> Result<(), Cause> {
        self.writer.bool(true);
        self.writer.i64(start_us);
        save_groups(plan, groups, &mut self.writer)?;
        self.groups += groups.rows.len();
        if self.groups >= PART_GROUPS { self.keep() } else { Ok(()) }
    }

    fn keep(&mut self) -> Result<(), Cause> {
        if self.groups == 0 {
            return Ok(());
        }
        self.writer.bool(false);
        let bytes = std::mem::replace(&mut self.writer, SnapshotWriter::values(Vec::new())).finish();
        self.names.push(self.parts.keep(&bytes)?);
        self.groups = 0;
        Ok(())
    }
}

impl WindowAggregation {
    /// Adds the parts that the snapshot needs beside those that are there.
    pub(super) fn save_parts(&mut self, parts: &dyn PartStore) -> Result<(), Cause> {
        let (is_first, share) = (self.saved.snapshots.is_empty(), self.saved.next_share);
        let is_needed = |flags: u8, hash: u64| is_first || flags & flag::UNSAVED != 0 || share_of(hash) == share;
        let needed = |groups: Groups<'_>| -> Vec<u32> {
            let all = (0_u32..).zip(groups.flags.iter().zip(&groups.keys.hashes));
            all.filter(|(_, (flags, hash))| is_needed(**flags, **hash)).map(|(number, _)| number).collect()
        };
        let plan = &self.plan;
        let writer = SnapshotWriter::values(Vec::new());
        let mut out = PartWriter { parts, writer, groups: 0, names: Vec::new() };
        let (mut chunk, mut picked) = (Chunk::new(plan.accumulators()?), Chunk::new(plan.accumulators()?));
        for (start_us, window) in &self.windows {
            for numbers in needed(window.groups()).chunks(PIECE_GROUPS) {
                picked.fill(window.groups(), numbers)?;
                out.add(plan, *start_us, picked.groups())?;
            }
            let mut merge = Merge::shadowed_by(&window.keys);
            for run in window.runs.iter().rev() {
                let share = (!is_first).then_some(share);
                merge.needed_of_run(run, share, Chunk::new(plan.accumulators()?))?;
            }
            loop {
                merge.fill(PIECE_GROUPS, &mut chunk)?;
                if chunk.len() == 0 {
                    break;
                }
                picked.fill(chunk.groups(), &needed(chunk.groups()))?;
                if picked.len() > 0 {
                    out.add(plan, *start_us, picked.groups())?;
                }
            }
        }
        out.keep()?;
        let names = out.names;
        for window in self.windows.values_mut() {
            window.flags.iter_mut().for_each(|flags| *flags &= !flag::UNSAVED);
            window.runs.iter_mut().for_each(|run| run.set_saved());
        }
        self.saved.add(names);
        Ok(())
    }

    /// Brings the groups of a part to the windows that are there, but those that a newer part has brought.
    pub(super) fn load_part(&mut self, bytes: &[u8], version: u32) -> Result<(), Cause> {
        let mut reader = SnapshotReader::values(bytes);
        let mut scratch = Scratch::new(Chunk::new(self.plan.accumulators()?));
        while reader.bool()? {
            let start_us = reader.i64()?;
            let piece = load_groups(&self.plan, &mut reader, version)?;
            // Without its window the piece is of one that has ended.
            let Some(window) = self.windows.get_mut(&start_us) else { continue };
            let numbers = recall::absent(window, &piece, &window.runs, |_| true, &mut scratch)?;
            window.adopt(piece.groups(), &numbers)?;
            let before = window.counted_bytes;
            self.window_bytes = self.window_bytes + window.count_bytes() - before;
            self.make_room()?;
        }
        Ok(reader.finish()?)
    }
}
