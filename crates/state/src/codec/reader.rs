//! Reading a snapshot's content.

use super::{CodecError, FORMAT, MAGIC};

type Result<T> = std::result::Result<T, CodecError>;

/// Takes values from a snapshot in the order in which they were written. No length is believed before the bytes are seen to be there.
#[derive(Debug, Clone)]
pub struct SnapshotReader<'a> {
    pub(super) rest: &'a [u8],
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $one:ident, $many:ident: $type:ty;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// When the bytes end before.
        pub fn $one(&mut self) -> Result<$type> {
            Ok(<$type>::from_le_bytes(self.array(stringify!($one))?))
        }

        /// Takes a list of them.
        ///
        /// # Errors
        /// When the bytes end before.
        pub fn $many(&mut self) -> Result<Vec<$type>> {
            let width = size_of::<$type>();
            let bytes = self.take_counted(stringify!($many), width)?;
            Ok(bytes
                .chunks_exact(width)
                .map(|chunk| chunk.try_into().map(<$type>::from_le_bytes).unwrap_or_default())
                .collect())
        }
    )*};
}

impl<'a> SnapshotReader<'a> {
    /// Opens values that [`SnapshotWriter::values`](super::SnapshotWriter::values) began.
    pub fn values(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Opens a snapshot of `owner` under `fingerprint`.
    ///
    /// # Errors
    /// [`CodecError::NotASnapshot`], [`CodecError::Newer`], [`CodecError::Foreign`], [`CodecError::CutOff`].
    pub fn open(bytes: &'a [u8], owner: &str, fingerprint: &str) -> Result<Self> {
        let mut reader = Self { rest: bytes };
        if reader.take("header", MAGIC.len() as u64).map_err(|_| CodecError::NotASnapshot)? != MAGIC {
            return Err(CodecError::NotASnapshot);
        }
        let [format] = reader.array("header")?;
        if format != FORMAT {
            return Err(CodecError::Newer {
                what: "the snapshot".into(),
                found: u32::from(format),
                known: u32::from(FORMAT),
            });
        }
        for expected in [owner, fingerprint] {
            let found = reader.text()?;
            if found != expected {
                return Err(CodecError::Foreign {
                    what: "the snapshot".into(),
                    expected: expected.to_owned(),
                    found: found.to_owned(),
                });
            }
        }
        Ok(reader)
    }

    numbers! {
        /// Takes a 32-bit number.
        u32, u32s: u32;
        /// Takes a 64-bit number.
        u64, u64s: u64;
        /// Takes a signed 32-bit number.
        i32, i32s: i32;
        /// Takes a signed 64-bit number.
        i64, i64s: i64;
        /// Takes a signed 128-bit number.
        i128, i128s: i128;
        /// Takes a floating-point number.
        f64, f64s: f64;
    }

    /// Takes a truth value.
    ///
    /// # Errors
    /// When the bytes end before, or it is neither true nor false.
    pub fn bool(&mut self) -> Result<bool> {
        let [byte] = self.array("truth value")?;
        truth(byte)
    }

    /// Takes truth values.
    ///
    /// # Errors
    /// When the bytes end before, or one is neither true nor false.
    pub fn bools(&mut self) -> Result<Vec<bool>> {
        self.take_counted("truth values", 1)?.iter().map(|byte| truth(*byte)).collect()
    }

    /// Takes a number or its absence.
    ///
    /// # Errors
    /// When the bytes end before.
    pub fn optional_i64(&mut self) -> Result<Option<i64>> {
        let there = self.bool()?;
        let value = self.i64()?;
        Ok(there.then_some(value))
    }

    /// Takes bytes.
    ///
    /// # Errors
    /// When the bytes end before.
    pub fn bytes(&mut self) -> Result<&'a [u8]> {
        self.take_counted("bytes", 1)
    }

    /// Takes text.
    ///
    /// # Errors
    /// When the bytes end before, or aren't UTF-8.
    pub fn text(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?)
            .map_err(|error| CodecError::Invalid { what: "text", reason: error.to_string() })
    }

    /// Takes a count of things that each need `bytes_min` bytes or more, so that a loop over it can reserve room.
    ///
    /// # Errors
    /// When that many can't be there.
    pub fn count(&mut self, bytes_min: usize) -> Result<usize> {
        let count = self.u64()?;
        let needed = count.saturating_mul(bytes_min.max(1) as u64);
        if needed > self.rest.len() as u64 {
            return Err(CodecError::CutOff { what: "list", needed, left: self.rest.len() as u64 });
        }
        usize::try_from(count)
            .map_err(|_| CodecError::Invalid { what: "count", reason: format!("{count} is too many") })
    }

    /// Takes a section: `read` gets its values and its version, which is `version_max` at most, and must take all of them.
    ///
    /// # Errors
    /// [`CodecError::Foreign`] for another name or fingerprint, [`CodecError::Newer`], [`CodecError::Leftover`], and those of `read`.
    pub fn section<T, E: From<CodecError>>(
        &mut self,
        name: &str,
        version_max: u32,
        fingerprint: &str,
        read: impl FnOnce(&mut SnapshotReader<'a>, u32) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let what = || format!("section {name:?}");
        let foreign = |expected: &str, found: &str| CodecError::Foreign {
            what: what(),
            expected: expected.to_owned(),
            found: found.to_owned(),
        };
        let found_name = self.text()?;
        if found_name != name {
            return Err(foreign(name, found_name).into());
        }
        let found = self.u32()?;
        if found > version_max {
            return Err(CodecError::Newer { what: what(), found, known: version_max }.into());
        }
        let found_fingerprint = self.text()?;
        if found_fingerprint != fingerprint {
            return Err(foreign(fingerprint, found_fingerprint).into());
        }
        let mut inner = SnapshotReader { rest: self.bytes()? };
        let value = read(&mut inner, found)?;
        inner.end(what)?;
        Ok(value)
    }

    /// The name of the section that comes next, which stays where it is; `None` at the end.
    ///
    /// # Errors
    /// When what comes next can't be a section.
    pub fn next_section(&self) -> Result<Option<&'a str>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        SnapshotReader { rest: self.rest }.text().map(Some)
    }

    /// Passes over the section that comes next, such as that of a query which is no longer in the project.
    ///
    /// # Errors
    /// When what comes next isn't a whole section.
    pub fn skip_section(&mut self) -> Result<()> {
        self.text()?;
        self.u32()?;
        self.text()?;
        self.bytes()?;
        Ok(())
    }

    /// Checks that all values were taken.
    ///
    /// # Errors
    /// [`CodecError::Leftover`].
    pub fn finish(self) -> Result<()> {
        self.end(|| "the snapshot".into())
    }

    /// Bytes that are left, of the snapshot or of the section being read.
    pub fn byte_len(&self) -> usize {
        self.rest.len()
    }

    fn end(&self, what: impl FnOnce() -> String) -> Result<()> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(CodecError::Leftover { what: what(), left: left as u64 }),
        }
    }

    fn take(&mut self, what: &'static str, needed: u64) -> Result<&'a [u8]> {
        let cut_off = CodecError::CutOff { what, needed, left: self.rest.len() as u64 };
        let Ok(length) = usize::try_from(needed) else { return Err(cut_off) };
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(cut_off)?;
        self.rest = rest;
        Ok(taken)
    }

    fn take_counted(&mut self, what: &'static str, width: usize) -> Result<&'a [u8]> {
        let count = self.u64()?;
        self.take(what, count.saturating_mul(width as u64))
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N]> {
        let left = self.rest.len() as u64;
        self.take(what, N as u64)?.try_into().map_err(|_| CodecError::CutOff { what, needed: N as u64, left })
    }
}

fn truth(byte: u8) -> Result<bool> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(CodecError::Invalid { what: "truth value", reason: format!("byte {other} is neither 0 nor 1") }),
    }
}
