//! A file without a name that holds checksummed pieces: written once, one after another, and read each by itself.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::error::{SpillError, SpillResult};

/// Bytes gathered for one write.
const WRITE_BYTES: usize = 256 * 1024;

/// Where a piece lies. Kept in memory, so that what a file says of itself is never believed.
#[derive(Debug, Clone, Copy)]
pub struct Blob {
    pub(super) offset: u64,
    len: u32,
    checksum: u32,
}

/// Writes a file of pieces.
#[derive(Debug)]
pub struct BlobWriter {
    directory: PathBuf,
    file: File,
    /// Bytes that aren't in the file yet.
    buffer: Vec<u8>,
    /// Bytes that are.
    written: u64,
}

impl BlobWriter {
    /// A file in `directory`, which is made if it isn't there.
    ///
    /// # Errors
    /// `Disk`.
    pub fn create(directory: &Path) -> SpillResult<Self> {
        let failed = |action, source| SpillError::Disk { action, directory: directory.to_owned(), source };
        std::fs::create_dir_all(directory).map_err(|error| failed("make", error))?;
        let file = tempfile::tempfile_in(directory).map_err(|error| failed("make", error))?;
        Ok(Self { directory: directory.to_owned(), file, buffer: Vec::new(), written: 0 })
    }

    /// Appends a piece.
    ///
    /// # Errors
    /// `Disk`, also for a piece of 4 GiB or more.
    pub fn append(&mut self, bytes: &[u8]) -> SpillResult<Blob> {
        let too_large = || std::io::Error::new(std::io::ErrorKind::InvalidInput, "a piece has 4 GiB or more");
        let len = u32::try_from(bytes.len()).map_err(|_| self.disk("write", too_large()))?;
        let blob = Blob { offset: self.written + self.buffer.len() as u64, len, checksum: crc32fast::hash(bytes) };
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(blob)
    }

    /// The file, complete.
    ///
    /// # Errors
    /// `Disk`.
    pub fn finish(mut self) -> SpillResult<BlobFile> {
        self.flush()?;
        Ok(BlobFile { directory: self.directory, file: self.file, disk_bytes: self.written })
    }

    fn flush(&mut self) -> SpillResult<()> {
        let written = self.file.write_all(&self.buffer);
        written.map_err(|source| self.disk("write", source))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn disk(&self, action: &'static str, source: std::io::Error) -> SpillError {
        SpillError::Disk { action, directory: self.directory.clone(), source }
    }
}

/// Pieces on the disk. The file goes with this.
#[derive(Debug)]
pub struct BlobFile {
    directory: PathBuf,
    file: File,
    disk_bytes: u64,
}

impl BlobFile {
    /// Reads a piece of this file; what `buffer` held before is gone.
    ///
    /// # Errors
    /// `Disk`; `Damaged` when it isn't what was written.
    pub fn read(&self, blob: &Blob, buffer: &mut Vec<u8>) -> SpillResult<()> {
        buffer.resize(blob.len as usize, 0);
        self.file.read_exact_at(buffer, blob.offset).map_err(|source| SpillError::Disk {
            action: "read",
            directory: self.directory.clone(),
            source,
        })?;
        if crc32fast::hash(buffer) == blob.checksum {
            return Ok(());
        }
        Err(SpillError::Damaged { directory: self.directory.clone(), offset: blob.offset })
    }

    /// Bytes of disk.
    pub fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }

    #[cfg(test)]
    pub(super) fn flip(&self, offset: u64, bits: u8) {
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, offset).unwrap();
        self.file.write_all_at(&[byte[0] ^ bits], offset).unwrap();
    }
}
