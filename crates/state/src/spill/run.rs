//! A run: entries in the order of their hashes, in checksummed blocks of a file without a name.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::error::{SpillError, SpillResult};
use super::fingerprints::Fingerprints;

/// A block is closed once it has so many bytes. A search reads a block at a time.
const BLOCK_BYTES: usize = 4 * 1024;
/// Bytes gathered for one write.
const WRITE_BYTES: usize = 256 * 1024;
/// Bytes before an entry: its hash and its length.
const ENTRY_HEADER_BYTES: usize = 12;

/// Where a block lies. Kept in memory, so that what a file says of itself is never believed.
#[derive(Debug, Clone, Copy)]
struct Block {
    first_hash: u64,
    offset: u64,
    len: u32,
    checksum: u32,
}

/// Writes a run.
#[derive(Debug)]
pub struct RunWriter {
    directory: PathBuf,
    file: File,
    /// Bytes that aren't in the file yet; the last block of them is open.
    buffer: Vec<u8>,
    /// Start of the open block in `buffer`.
    block_start: usize,
    written: u64,
    blocks: Vec<Block>,
    hashes: Vec<u64>,
}

impl RunWriter {
    /// A run in `directory`, which is made if it isn't there; `entries` is about how many there will be.
    ///
    /// # Errors
    /// `Disk`.
    pub fn create(directory: &Path, entries: usize) -> SpillResult<Self> {
        let failed = |action, source| SpillError::Disk { action, directory: directory.to_owned(), source };
        std::fs::create_dir_all(directory).map_err(|error| failed("make", error))?;
        let file = tempfile::tempfile_in(directory).map_err(|error| failed("make", error))?;
        Ok(Self {
            directory: directory.to_owned(),
            file,
            buffer: Vec::with_capacity(WRITE_BYTES + BLOCK_BYTES),
            block_start: 0,
            written: 0,
            blocks: Vec::new(),
            hashes: Vec::with_capacity(entries),
        })
    }

    /// Appends an entry; hashes ascend, and may repeat.
    ///
    /// # Errors
    /// `Disk`; `Order` when `hash` is below the last one.
    pub fn push(&mut self, hash: u64, entry: &[u8]) -> SpillResult<()> {
        if let Some(&last) = self.hashes.last().filter(|&&last| last > hash) {
            return Err(SpillError::Order { hash, last });
        }
        let len = u32::try_from(entry.len()).map_err(|_| self.too_large())?;
        if self.buffer.len() == self.block_start {
            let offset = self.written + self.block_start as u64;
            self.blocks.push(Block { first_hash: hash, offset, len: 0, checksum: 0 });
        }
        self.buffer.extend_from_slice(&hash.to_le_bytes());
        self.buffer.extend_from_slice(&len.to_le_bytes());
        self.buffer.extend_from_slice(entry);
        self.hashes.push(hash);
        if self.buffer.len() - self.block_start >= BLOCK_BYTES {
            self.close_block()?;
        }
        Ok(())
    }

    /// The run, complete.
    ///
    /// # Errors
    /// `Disk`.
    pub fn finish(mut self) -> SpillResult<Run> {
        self.close_block()?;
        self.flush()?;
        self.blocks.shrink_to_fit();
        Ok(Run {
            fingerprints: Fingerprints::of(&self.hashes),
            directory: self.directory,
            file: self.file,
            blocks: self.blocks,
            entries: self.hashes.len(),
            disk_bytes: self.written,
        })
    }

    fn close_block(&mut self) -> SpillResult<()> {
        let open = self.buffer.get(self.block_start..).unwrap_or_default();
        if let Some(block) = self.blocks.last_mut().filter(|_| !open.is_empty()) {
            block.len = open.len() as u32;
            block.checksum = crc32fast::hash(open);
        }
        self.block_start = self.buffer.len();
        if self.buffer.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> SpillResult<()> {
        let written = self.file.write_all(&self.buffer);
        written.map_err(|source| self.disk("write", source))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        self.block_start = 0;
        Ok(())
    }

    fn too_large(&self) -> SpillError {
        self.disk("write", std::io::Error::new(std::io::ErrorKind::InvalidInput, "an entry has 4 GiB or more"))
    }

    fn disk(&self, action: &'static str, source: std::io::Error) -> SpillError {
        SpillError::Disk { action, directory: self.directory.clone(), source }
    }
}

/// Entries on the disk. Its file goes with it.
#[derive(Debug)]
pub struct Run {
    directory: PathBuf,
    file: File,
    blocks: Vec<Block>,
    /// `None` after [`Run::forget_fingerprints`]: then each search reads.
    fingerprints: Option<Fingerprints>,
    entries: usize,
    disk_bytes: u64,
}

impl Run {
    /// Gives `take` each entry that is under a wanted hash, with the number that came with the hash. `wanted` is in ascending order.
    /// `buffer` is for the blocks that are read; its content means nothing.
    ///
    /// # Errors
    /// `Disk`; `Damaged` when a block isn't what was written.
    pub fn search(
        &self,
        wanted: &[(u64, u32)],
        buffer: &mut Vec<u8>,
        mut take: impl FnMut(u32, &[u8]),
    ) -> SpillResult<()> {
        let mut loaded = None;
        for &(hash, number) in wanted {
            if self.fingerprints.as_ref().is_some_and(|filter| !filter.may_contain(hash)) {
                continue;
            }
            // Entries under one hash may begin in the block before the first that starts with it.
            let first = self.blocks.partition_point(|block| block.first_hash < hash).saturating_sub(1);
            let rest = self.blocks.get(first..).unwrap_or_default();
            for (index, block) in (first..).zip(rest.iter().take_while(|block| block.first_hash <= hash)) {
                if loaded != Some(index) {
                    self.read(block, buffer)?;
                    loaded = Some(index);
                }
                entries(buffer).take_while(|&(found, _)| found <= hash).filter(|&(found, _)| found == hash).for_each(
                    |(_, entry)| {
                        take(number, entry);
                    },
                );
            }
        }
        Ok(())
    }

    fn read(&self, block: &Block, buffer: &mut Vec<u8>) -> SpillResult<()> {
        buffer.resize(block.len as usize, 0);
        self.file.read_exact_at(buffer, block.offset).map_err(|source| SpillError::Disk {
            action: "read",
            directory: self.directory.clone(),
            source,
        })?;
        if crc32fast::hash(buffer) == block.checksum {
            return Ok(());
        }
        Err(SpillError::Damaged { directory: self.directory.clone(), offset: block.offset })
    }

    /// Gives up the memory that tells most searches apart from the disk. The run stays right, and each search of it reads.
    pub fn forget_fingerprints(&mut self) {
        self.fingerprints = None;
    }

    /// Whether most searches for what isn't there are answered from memory.
    pub fn has_fingerprints(&self) -> bool {
        self.fingerprints.is_some()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<Block>() + self.fingerprints.as_ref().map_or(0, Fingerprints::memory_bytes)
    }

    /// Bytes of disk.
    pub fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }
}

/// The entries of a block with their hashes.
fn entries(mut block: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    std::iter::from_fn(move || {
        let (hash, rest) = block.split_first_chunk::<8>()?;
        let (len, rest) = rest.split_first_chunk::<{ ENTRY_HEADER_BYTES - 8 }>()?;
        let (entry, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        block = rest;
        Some((u64::from_le_bytes(*hash), entry))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::{Classified as _, Retry};
    use proptest::prelude::*;

    use super::*;

    type Entries = BTreeMap<u64, Vec<Vec<u8>>>;

    fn written(directory: &Path, entries: &Entries) -> Run {
        let mut writer = RunWriter::create(directory, 0).unwrap();
        for (&hash, under) in entries {
            under.iter().for_each(|entry| writer.push(hash, entry).unwrap());
        }
        writer.finish().unwrap()
    }

    fn search(run: &Run, hashes: impl IntoIterator<Item = u64>) -> SpillResult<Entries> {
        let wanted: Vec<(u64, u32)> = hashes.into_iter().zip(0..).collect();
        let mut found = Entries::new();
        run.search(&wanted, &mut Vec::new(), |number, entry| {
            found.entry(wanted[number as usize].0).or_default().push(entry.to_vec());
        })?;
        Ok(found)
    }

    proptest! {
        /// Hashes of few values, so that one spans blocks; entries of all sizes, so that one is larger than a block.
        #[test]
        fn what_was_written_is_found_with_fingerprints_and_without(
            written_entries in prop::collection::vec((0_u64..40, 0_usize..3_000), 0..60),
            spread in prop::sample::select(vec![1_u64, u64::MAX / 40]),
        ) {
            let directory = tempfile::tempdir().unwrap();
            let mut expected = Entries::new();
            for (number, (hash, len)) in written_entries.into_iter().enumerate() {
                expected.entry(hash * spread).or_default().push(vec![number as u8; len]);
            }
            let mut run = written(directory.path(), &expected);
            prop_assert_eq!(run.len(), expected.values().map(Vec::len).sum::<usize>());
            prop_assert_eq!(&search(&run, (0..41).map(|hash| hash * spread)).unwrap(), &expected);
            run.forget_fingerprints();
            prop_assert_eq!(&search(&run, (0..41).map(|hash| hash * spread)).unwrap(), &expected);
        }
    }

    #[test]
    fn the_directory_stays_empty() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("a/b");
        let run = written(&inner, &Entries::from([(7, vec![b"entry".to_vec()])]));
        assert_eq!(std::fs::read_dir(&inner).unwrap().count(), 0);
        assert_eq!(search(&run, [7]).unwrap().len(), 1);
    }

    #[test]
    fn a_flipped_bit_is_seen_and_names_the_place() {
        let directory = tempfile::tempdir().unwrap();
        let entries: Entries = (0..1_000).map(|hash| (hash, vec![vec![1; 100]])).collect();
        let run = written(directory.path(), &entries);
        let at = run.blocks[3].offset + 50;
        let mut byte = [0];
        run.file.read_exact_at(&mut byte, at).unwrap();
        run.file.write_all_at(&[byte[0] ^ 4], at).unwrap();
        assert!(search(&run, [run.blocks[2].first_hash]).is_ok());
        let error = search(&run, [run.blocks[3].first_hash + 1]).unwrap_err();
        assert!(error.to_string().contains(&format!("damaged at byte {}", run.blocks[3].offset)), "{error}");
        assert_eq!(error.retry(), Retry::Backoff);
    }

    #[test]
    fn hashes_out_of_order_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = RunWriter::create(directory.path(), 2).unwrap();
        writer.push(5, b"").unwrap();
        assert!(matches!(writer.push(4, b""), Err(SpillError::Order { hash: 4, last: 5 })));
    }

    #[test]
    fn a_directory_that_cannot_be_is_an_outage_that_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = RunWriter::create(&file.path().join("spill"), 0).unwrap_err();
        assert!(error.to_string().contains(&file.path().display().to_string()), "{error}");
        assert_eq!(error.retry(), Retry::Backoff);
    }
}
