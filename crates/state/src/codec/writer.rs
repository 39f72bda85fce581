//! Writing a snapshot's content.

use super::{FORMAT, MAGIC};

/// Appends values to a snapshot. Values carry no names: the reader takes them in the same order.
#[derive(Debug)]
pub struct SnapshotWriter {
    pub(super) out: Vec<u8>,
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $one:ident, $many:ident: $type:ty;)*) => {$(
        $(#[$doc])*
        pub fn $one(&mut self, value: $type) {
            self.out.extend_from_slice(&value.to_le_bytes());
        }

        /// Appends a list of them with its length.
        pub fn $many(&mut self, values: &[$type]) {
            self.u64(values.len() as u64);
            self.out.reserve(std::mem::size_of_val(values));
            for value in values {
                self.out.extend_from_slice(&value.to_le_bytes());
            }
        }
    )*};
}

impl SnapshotWriter {
    /// Begins a snapshot of `owner` (a stage's name) under its `fingerprint` (such as the pipeline's name).
    pub fn new(owner: &str, fingerprint: &str) -> Self {
        let mut writer = Self { out: Vec::with_capacity(4096) };
        writer.out.extend_from_slice(MAGIC);
        writer.out.push(FORMAT);
        writer.text(owner);
        writer.text(fingerprint);
        writer
    }

    /// Begins values alone, for who keeps a checksum of them; `buffer` is used again.
    pub fn values(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Self { out: buffer }
    }

    numbers! {
        /// Appends a 32-bit number.
        u32, u32s: u32;
        /// Appends a 64-bit number.
        u64, u64s: u64;
        /// Appends a signed 32-bit number.
        i32, i32s: i32;
        /// Appends a signed 64-bit number.
        i64, i64s: i64;
        /// Appends a signed 128-bit number.
        i128, i128s: i128;
        /// Appends a floating-point number, bit by bit.
        f64, f64s: f64;
    }

    /// Appends a truth value.
    pub fn bool(&mut self, value: bool) {
        self.out.push(u8::from(value));
    }

    /// Appends truth values, a byte each.
    pub fn bools(&mut self, values: &[bool]) {
        self.u64(values.len() as u64);
        self.out.extend(values.iter().map(|value| u8::from(*value)));
    }

    /// Appends a number or its absence.
    pub fn optional_i64(&mut self, value: Option<i64>) {
        self.bool(value.is_some());
        self.i64(value.unwrap_or_default());
    }

    /// Appends bytes with their length.
    pub fn bytes(&mut self, value: &[u8]) {
        self.u64(value.len() as u64);
        self.out.extend_from_slice(value);
    }

    /// Appends text with its length.
    pub fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    /// Appends a section: a part with a name, a layout version and a fingerprint of its own, whose end the reader checks.
    ///
    /// # Errors
    /// Those of `write`; what was appended before stays, so a failed snapshot is to be dropped.
    pub fn section<T, E>(
        &mut self,
        name: &str,
        version: u32,
        fingerprint: &str,
        write: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.text(name);
        self.u32(version);
        self.text(fingerprint);
        let length_at = self.out.len();
        self.u64(0);
        let begin = self.out.len();
        let written = write(self)?;
        let length = (self.out.len() - begin) as u64;
        if let Some(place) = self.out.get_mut(length_at..begin) {
            place.copy_from_slice(&length.to_le_bytes());
        }
        Ok(written)
    }

    /// Bytes written so far.
    pub fn byte_len(&self) -> usize {
        self.out.len()
    }

    /// Ends the snapshot.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }
}
