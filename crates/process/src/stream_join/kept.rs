//! Keys in memory, with the rows of both sides, in parts of snapshots.

use std::collections::HashMap;

use state::{PartStore, SnapshotWriter};

use super::join::{Input, StreamJoin, gather};
use super::side::Kept;
use crate::cold::{InPart, KeptKeys};
use crate::error::Cause;

/// Keys and rows of a part at most; one key may come with more.
const PART_KEYS: usize = 32_768;
const PART_ROWS: usize = 65_536;

/// The parts of snapshots that have keys which are in memory.
#[derive(Debug, Default)]
pub(super) struct InParts {
    parts: KeptKeys,
    /// Where each key is that hasn't changed since it was written.
    places: HashMap<Box<[u8]>, InPart>,
    key_bytes: usize,
}

impl InParts {
    /// Notes that a key changes or goes: from here on it is in no part.
    pub(super) fn cross_out(&mut self, key: &[u8]) {
        if let Some(at) = self.places.remove(key) {
            self.key_bytes -= key.len();
            self.parts.cross_out(at);
        }
    }

    /// Lets all parts go.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Each part with the places of keys that are crossed out, as bits.
    pub(super) fn parts(&self) -> impl Iterator<Item = (&str, Vec<u64>)> {
        self.parts.parts()
    }

    pub(super) fn bytes(&self) -> usize {
        self.places.len() * 2 * size_of::<(Box<[u8]>, InPart)>() + self.key_bytes
    }
}

impl StreamJoin {
    /// Has snapshots keep rows in parts if there are so many in memory.
    pub(crate) fn parts_from(&mut self, rows: usize) {
        self.parts_from = rows;
    }

    /// Keeps the keys in memory that are in no part in parts of their own.
    pub(super) fn keep_memory(&mut self, parts: &dyn PartStore) -> Result<(), Cause> {
        let Self { left, right, in_parts, .. } = self;
        let InParts { parts: kept, places, key_bytes } = in_parts;
        let of_right = right.side.keys().filter(|(key, _)| !left.side.has_key(key));
        let keys: Vec<&[u8]> = left.side.keys().chain(of_right).map(|(key, _)| key).collect();
        let last: Vec<Option<InPart>> = keys.iter().map(|key| places.get(*key).copied()).collect();
        let going = kept.unkept((0..).zip(last.iter().copied()));
        let going: Vec<&[u8]> = going.iter().filter_map(|number| keys.get(*number as usize)).copied().collect();
        let mut going = going.as_slice();
        while !going.is_empty() {
            let mut rows = 0;
            let fits = |key: &&&[u8]| {
                let has_room = rows < PART_ROWS;
                rows += left.side.of_key(key).count() + right.side.of_key(key).count();
                has_room
            };
            let (part, rest) = going.split_at(going.iter().take(PART_KEYS).take_while(fits).count());
            let mut bytes = SnapshotWriter::values(Vec::new());
            save_part(part, left, &mut bytes)?;
            save_part(part, right, &mut bytes)?;
            let name = parts.keep(&bytes.finish())?;
            for (key, at) in part.iter().zip(kept.add(name, part.len(), !rest.is_empty())) {
                if places.insert(Box::from(*key), at).is_none() {
                    *key_bytes += key.len();
                }
            }
            going = rest;
        }
        places.shrink_to(2 * places.len());
        Ok(())
    }
}

/// Writes the rows of one side, each with the place of its key among these.
fn save_part(keys: &[&[u8]], input: &Input, writer: &mut SnapshotWriter) -> Result<(), Cause> {
    let (mut kept, mut of_key) = (Vec::<&Kept>::new(), Vec::new());
    for (at, key) in (0_u64..).zip(keys) {
        kept.extend(input.side.of_key(key));
        of_key.resize(kept.len(), at);
    }
    writer.u64s(&of_key);
    writer.bools(&kept.iter().map(|kept| kept.is_matched).collect::<Vec<_>>());
    writer.u64s(&kept.iter().map(|kept| kept.number).collect::<Vec<_>>());
    for column in gather(&input.side, &input.schema, kept.iter().map(|kept| Some(kept.at)))? {
        writer.column(&column)?;
    }
    Ok(())
}
