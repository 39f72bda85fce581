//! What a drain has published of open windows. HAVING may refuse it later, and then it is deleted.

use std::collections::{BTreeMap, BTreeSet};

use state::{CodecError, SnapshotReader, SnapshotWriter};

use super::super::plan::Plan;
use crate::error::Cause;

/// Bytes that a key takes besides its own.
const KEY_BYTES: usize = 48;

/// Keys whose results stand, by the start of their windows.
#[derive(Debug, Default)]
pub(super) struct Shown {
    windows: BTreeMap<i64, BTreeSet<Option<Box<[u8]>>>>,
    bytes: usize,
}

fn bytes_of(key: &Option<Box<[u8]>>) -> usize {
    KEY_BYTES + key.as_ref().map_or(0, |key| key.len())
}

impl Shown {
    pub(super) fn add(&mut self, start_us: i64, key: Option<&[u8]>) {
        let key: Option<Box<[u8]>> = key.map(Into::into);
        let bytes = bytes_of(&key);
        if self.windows.entry(start_us).or_default().insert(key) {
            self.bytes += bytes;
        }
    }

    /// Forgets a result; whether it stood.
    pub(super) fn remove(&mut self, start_us: i64, key: Option<&[u8]>) -> bool {
        let Some(keys) = self.windows.get_mut(&start_us) else { return false };
        let key: Option<Box<[u8]>> = key.map(Into::into);
        let was_there = keys.remove(&key);
        if was_there {
            self.bytes -= bytes_of(&key);
        }
        was_there
    }

    /// Forgets windows that start before this.
    pub(super) fn drop_before(&mut self, start_us: i64) {
        while let Some(first) = self.windows.first_entry().filter(|first| *first.key() < start_us) {
            self.bytes -= first.remove().iter().map(bytes_of).sum::<usize>();
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn save(&self, plan: &Plan, writer: &mut SnapshotWriter) -> Result<(), Cause> {
        writer.u64(self.windows.len() as u64);
        for (start_us, keys) in &self.windows {
            writer.i64(*start_us);
            writer.u64(keys.len() as u64);
            for column in plan.codec.decode(keys.iter().map(Option::as_deref))? {
                writer.column(&column)?;
            }
        }
        Ok(())
    }

    pub(super) fn load(plan: &Plan, reader: &mut SnapshotReader<'_>) -> Result<Self, Cause> {
        let mut shown = Self::default();
        for _ in 0..reader.count(2 * size_of::<u64>())? {
            let start_us = reader.i64()?;
            let invalid = |reason: String| CodecError::Invalid { what: "published windows", reason };
            let count = usize::try_from(reader.u64()?).map_err(|error| invalid(error.to_string()))?;
            let columns: Result<Vec<_>, CodecError> =
                plan.codec.types().iter().map(|kind| reader.column(kind)).collect();
            let mut keys = plan.codec.keys();
            plan.codec.encode(&columns?, count, &mut keys).map_err(|error| invalid(error.to_string()))?;
            (0..count).for_each(|row| shown.add(start_us, keys.get(row)));
        }
        Ok(shown)
    }
}
