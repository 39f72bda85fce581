//! Snapshots of keys on the disk, in parts.
//!
//! A run never changes, so its keys are kept in parts once, and each snapshot says which of them have been brought back since. A snapshot then
//! writes what is new on the disk and what is in memory.

use state::{PartStore, SnapshotReader, SnapshotWriter};

use super::chunk::Chunk;
use super::run::is_set;
use super::store::ColdKeys;
use crate::error::Cause;

/// What a snapshot says of a part.
#[derive(Debug)]
pub(crate) struct Part {
    taken: Vec<u64>,
}

impl Part {
    /// Whether the key at a place of the part isn't in it any more.
    pub(crate) fn is_taken(&self, at: usize) -> bool {
        is_set(&self.taken, at)
    }
}

impl ColdKeys {
    /// Keeps the keys that aren't in a part yet. `write` makes the bytes of one.
    pub(crate) fn keep_parts(
        &mut self,
        parts: &dyn PartStore,
        mut write: impl FnMut(&Chunk, &mut SnapshotWriter) -> Result<(), Cause>,
    ) -> Result<(), Cause> {
        let mut keep = |chunk: &Chunk| {
            let mut part = SnapshotWriter::values(Vec::new());
            write(chunk, &mut part)?;
            Ok(parts.keep(&part.finish())?)
        };
        for run in &mut self.runs {
            run.keep_parts(&mut self.scratch, &mut keep)?;
        }
        Ok(())
    }

    /// Each part that has its keys, with the places of those that were brought back, as bits.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&str, Vec<u64>)> {
        self.runs.iter().flat_map(|run| run.parts())
    }

    /// Has the next snapshot name no part of those before.
    pub(crate) fn forget_parts(&mut self) {
        self.runs.iter_mut().for_each(super::run::Run::forget_parts);
    }
}

/// Writes the names of parts, each with the places of keys that aren't in it any more, as bits.
pub(crate) fn write_parts<'a>(writer: &mut SnapshotWriter, parts: impl Iterator<Item = (&'a str, Vec<u64>)>) {
    let all: Vec<(&str, Vec<u64>)> = parts.collect();
    writer.u64(all.len() as u64);
    for (name, taken) in all {
        writer.text(name);
        writer.u64s(&taken);
    }
}

/// Reads the parts that a snapshot names, one by one.
pub(crate) fn read_parts(
    reader: &mut SnapshotReader<'_>,
    parts: Option<&dyn PartStore>,
    mut take: impl FnMut(&Part, &[u8]) -> Result<(), Cause>,
) -> Result<(), Cause> {
    let missing = || Cause::Internal("its snapshot has parts, and nothing that keeps them".into());
    for _ in 0..reader.count(2 * size_of::<u64>())? {
        let name = reader.text()?;
        let part = Part { taken: reader.u64s()? };
        take(&part, &parts.ok_or_else(missing)?.part(name)?)?;
    }
    Ok(())
}
