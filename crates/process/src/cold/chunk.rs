//! What there is of a few keys, as lists and as bytes.
//!
//! The bytes mean something to this process alone: keys and hashes are as the codec made them.

use state::{CodecError, SnapshotReader, SnapshotWriter};

use crate::error::Cause;

/// Keys and bytes of a part of a snapshot at most; one key may come with more.
const PART_KEYS: usize = 32_768;
const PART_BYTES: usize = 4 * 1024 * 1024;

/// What there is of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) hash: u64,
    /// `None` is the NULL of a single text column.
    pub(crate) key: Option<&'a [u8]>,
    /// Something is due of it once the watermark is above this time, microseconds since 1970.
    pub(crate) due_us: i64,
    /// Bits by which it is found whatever its time.
    pub(crate) marks: u8,
    /// Its state, as the operator writes it.
    pub(crate) value: &'a [u8],
}

/// A few keys.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(super) hashes: Vec<u64>,
    dues_us: Vec<i64>,
    marks: Vec<u8>,
    /// All keys, then all values: each ends where the next begins.
    keys: Vec<u8>,
    key_ends: Vec<u64>,
    null: Option<u64>,
    values: Vec<u8>,
    value_ends: Vec<u64>,
}

impl Chunk {
    pub(crate) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Bytes of keys and values.
    pub(super) fn byte_len(&self) -> usize {
        self.keys.len() + self.values.len() + self.len() * 40
    }

    /// Whether it has what a part of a snapshot may have.
    pub(crate) fn is_full_part(&self) -> bool {
        self.len() >= PART_KEYS || self.byte_len() >= PART_BYTES
    }

    pub(crate) fn clear(&mut self) {
        self.hashes.clear();
        self.dues_us.clear();
        self.marks.clear();
        self.keys.clear();
        self.key_ends.clear();
        self.null = None;
        self.values.clear();
        self.value_ends.clear();
    }

    /// Appends what there is of a key.
    pub(crate) fn push(&mut self, entry: Entry<'_>) {
        match entry.key {
            Some(key) => self.keys.extend_from_slice(key),
            None => self.null = Some(self.len() as u64),
        }
        self.hashes.push(entry.hash);
        self.dues_us.push(entry.due_us);
        self.marks.push(entry.marks);
        self.key_ends.push(self.keys.len() as u64);
        self.values.extend_from_slice(entry.value);
        self.value_ends.push(self.values.len() as u64);
    }

    pub(crate) fn get(&self, index: usize) -> Option<Entry<'_>> {
        let key = if self.null == Some(index as u64) { None } else { Some(part(&self.keys, &self.key_ends, index)?) };
        Some(Entry {
            hash: *self.hashes.get(index)?,
            key,
            due_us: *self.dues_us.get(index)?,
            marks: *self.marks.get(index)?,
            value: part(&self.values, &self.value_ends, index)?,
        })
    }

    /// All of them.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    pub(super) fn save(&self, writer: &mut SnapshotWriter) {
        writer.u64s(&self.hashes);
        writer.i64s(&self.dues_us);
        writer.bytes(&self.marks);
        writer.bytes(&self.keys);
        writer.u64s(&self.key_ends);
        writer.bool(self.null.is_some());
        writer.u64(self.null.unwrap_or(0));
        writer.bytes(&self.values);
        writer.u64s(&self.value_ends);
    }

    /// Replaces the content by what [`save`](Self::save) has written.
    pub(super) fn load(&mut self, bytes: &[u8]) -> Result<(), Cause> {
        let mut reader = SnapshotReader::values(bytes);
        (self.hashes, self.dues_us, self.marks) = (reader.u64s()?, reader.i64s()?, reader.bytes()?.to_vec());
        self.keys.clear();
        self.keys.extend_from_slice(reader.bytes()?);
        self.key_ends = reader.u64s()?;
        let (has_null, null) = (reader.bool()?, reader.u64()?);
        self.null = has_null.then_some(null);
        self.values.clear();
        self.values.extend_from_slice(reader.bytes()?);
        self.value_ends = reader.u64s()?;
        let lengths = [self.dues_us.len(), self.marks.len(), self.key_ends.len(), self.value_ends.len()];
        if lengths.iter().any(|length| *length != self.hashes.len()) {
            let reason = "its lists differ in length".into();
            return Err(CodecError::Invalid { what: "spilled keys", reason }.into());
        }
        Ok(reader.finish()?)
    }
}

/// What lies between two ends.
fn part<'a>(bytes: &'a [u8], ends: &[u64], index: usize) -> Option<&'a [u8]> {
    let begin = index.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
    bytes.get(usize::try_from(begin).ok()?..usize::try_from(*ends.get(index)?).ok()?)
}
