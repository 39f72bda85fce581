//! A run: entries in the order of their hashes, in checksummed blocks of a file without a name.

use std::path::Path;

use super::blobs::{Blob, BlobFile, BlobWriter};
use super::error::{SpillError, SpillResult};
use super::fingerprints::Fingerprints;

/// A block is closed once it has so many bytes. A search reads a block at a time.
const BLOCK_BYTES: usize = 4 * 1024;
/// Bytes before an entry: its hash and its length.
const ENTRY_HEADER_BYTES: usize = 12;

/// Where a block lies.
#[derive(Debug, Clone, Copy)]
struct Block {
    first_hash: u64,
    blob: Blob,
}

/// Writes a run.
#[derive(Debug)]
pub struct RunWriter {
    file: BlobWriter,
    /// The open block, and the hash of its first entry.
    open: Vec<u8>,
    first_hash: u64,
    blocks: Vec<Block>,
    hashes: Vec<u64>,
}

impl RunWriter {
    /// A run in `directory`, which is made if it isn't there; `entries` is about how many there will be.
    ///
    /// # Errors
    /// `Disk`.
    pub fn create(directory: &Path, entries: usize) -> SpillResult<Self> {
        let file = BlobWriter::create(directory)?;
        Ok(Self {
            file,
            open: Vec::with_capacity(2 * BLOCK_BYTES),
            first_hash: 0,
            blocks: Vec::new(),
            hashes: Vec::with_capacity(entries),
        })
    }

    /// Appends an entry; hashes ascend, and may repeat.
    ///
    /// # Errors
    /// `Disk`, also for an entry of 4 GiB or more; `Order` when `hash` is below the last one.
    pub fn push(&mut self, hash: u64, entry: &[u8]) -> SpillResult<()> {
        if let Some(&last) = self.hashes.last().filter(|&&last| last > hash) {
            return Err(SpillError::Order { hash, last });
        }
        if self.open.is_empty() {
            self.first_hash = hash;
        }
        // A longer entry is refused with its block.
        let len = u32::try_from(entry.len()).unwrap_or(u32::MAX);
        self.open.extend_from_slice(&hash.to_le_bytes());
        self.open.extend_from_slice(&len.to_le_bytes());
        self.open.extend_from_slice(entry);
        self.hashes.push(hash);
        if self.open.len() >= BLOCK_BYTES { self.close_block() } else { Ok(()) }
    }

    /// The run, complete.
    ///
    /// # Errors
    /// `Disk`.
    pub fn finish(mut self) -> SpillResult<Run> {
        if !self.open.is_empty() {
            self.close_block()?;
        }
        self.blocks.shrink_to_fit();
        Ok(Run {
            fingerprints: Fingerprints::of(&self.hashes),
            file: self.file.finish()?,
            blocks: self.blocks,
            entries: self.hashes.len(),
        })
    }

    fn close_block(&mut self) -> SpillResult<()> {
        let blob = self.file.append(&self.open)?;
        self.blocks.push(Block { first_hash: self.first_hash, blob });
        self.open.clear();
        Ok(())
    }
}

/// Entries on the disk. Its file goes with it.
#[derive(Debug)]
pub struct Run {
    file: BlobFile,
    blocks: Vec<Block>,
    /// `None` after [`Run::forget_fingerprints`]: then each search reads.
    fingerprints: Option<Fingerprints>,
    entries: usize,
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
                    self.file.read(&block.blob, buffer)?;
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
        self.file.disk_bytes()
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
        let offset = run.blocks[3].blob.offset;
        run.file.flip(offset + 50, 4);
        assert!(search(&run, [run.blocks[2].first_hash]).is_ok());
        let error = search(&run, [run.blocks[3].first_hash + 1]).unwrap_err();
        assert!(error.to_string().contains(&format!("damaged at byte {offset}")), "{error}");
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
