//! A few groups of a window, as columns and as bytes.
//!
//! The bytes mean something to this process alone: keys and hashes are as the codec made them.

use state::{CodecError, SnapshotReader, SnapshotWriter};

use crate::accumulator::Accumulator;
use crate::error::Cause;
use crate::window::key_table::KeyList;
use crate::window::table::Groups;

/// Groups without an index.
#[derive(Debug)]
pub(in crate::window) struct Chunk {
    pub(in crate::window) keys: KeyList,
    pub(in crate::window) rows: Vec<u64>,
    pub(in crate::window) flags: Vec<u8>,
    pub(in crate::window) accumulators: Vec<Box<dyn Accumulator>>,
}

impl Chunk {
    /// No groups yet.
    pub(in crate::window) fn new(accumulators: Vec<Box<dyn Accumulator>>) -> Self {
        Self { keys: KeyList::default(), rows: Vec::new(), flags: Vec::new(), accumulators }
    }

    pub(in crate::window) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(in crate::window) fn clear(&mut self) {
        self.keys.clear();
        self.rows.clear();
        self.flags.clear();
        self.accumulators.iter_mut().for_each(|accumulator| accumulator.resize(0));
    }

    pub(in crate::window) fn groups(&self) -> Groups<'_> {
        Groups { keys: &self.keys, rows: &self.rows, flags: &self.flags, accumulators: &self.accumulators }
    }

    /// Appends a group without its aggregates, which [`merge`](Self::merge) brings; gives its number.
    pub(super) fn push(&mut self, from: Groups<'_>, number: u32) -> Result<u32, Cause> {
        let at = number as usize;
        self.rows.push(from.rows[at]);
        self.flags.push(from.flags[at]);
        self.keys.push(from.keys.hashes[at], from.keys.get(number))
    }

    /// Brings the aggregates of groups that were appended.
    pub(super) fn merge(&mut self, from: Groups<'_>, numbers: &[u32], into: &[u32]) -> Result<(), Cause> {
        for (accumulator, from) in self.accumulators.iter_mut().zip(from.accumulators) {
            accumulator.resize(self.keys.len());
            accumulator.merge(from.as_ref(), numbers, into)?;
        }
        Ok(())
    }

    /// Replaces the content by these groups.
    pub(in crate::window) fn fill(&mut self, from: Groups<'_>, numbers: &[u32]) -> Result<(), Cause> {
        self.clear();
        let into: Vec<u32> = numbers.iter().map(|number| self.push(from, *number)).collect::<Result<_, _>>()?;
        self.merge(from, numbers, &into)
    }

    pub(super) fn save(&self, writer: &mut SnapshotWriter) -> Result<(), Cause> {
        writer.u64s(&self.keys.hashes);
        writer.bytes(&self.keys.data);
        writer.u64s(&self.keys.ends.iter().map(|end| *end as u64).collect::<Vec<_>>());
        writer.optional_i64(self.keys.null.map(i64::from));
        writer.u64s(&self.rows);
        writer.bytes(&self.flags);
        for accumulator in &self.accumulators {
            accumulator.save(writer)?;
        }
        Ok(())
    }

    /// Replaces the content by what [`save`](Self::save) has written.
    pub(super) fn load(&mut self, bytes: &[u8]) -> Result<(), Cause> {
        let mut reader = SnapshotReader::values(bytes);
        self.keys.hashes = reader.u64s()?;
        let data = reader.bytes()?;
        self.keys.data.clear();
        self.keys.data.extend_from_slice(data);
        self.keys.ends.clear();
        self.keys.ends.extend(reader.u64s()?.into_iter().map(|end| end as usize));
        self.keys.null = reader.optional_i64()?.and_then(|number| u32::try_from(number).ok());
        self.rows = reader.u64s()?;
        let flags = reader.bytes()?;
        self.flags.clear();
        self.flags.extend_from_slice(flags);
        let groups = self.keys.len();
        if [self.keys.hashes.len(), self.rows.len(), self.flags.len()].iter().any(|len| *len != groups) {
            let reason = "its lists differ in length".into();
            return Err(CodecError::Invalid { what: "spilled groups", reason }.into());
        }
        for accumulator in &mut self.accumulators {
            accumulator.load(&mut reader, groups)?;
        }
        Ok(reader.finish()?)
    }
}
