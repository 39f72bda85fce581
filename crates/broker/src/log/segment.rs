//! One segment file and its sparse index in memory.

use std::fs::File;
use std::sync::Arc;

use super::batch::BatchHeader;

/// One index entry per so many bytes of the log. A look-up scans at most this much, and the index takes 0.15 % of the log.
const INDEX_INTERVAL_BYTES: u64 = 16 * 1024;

/// A batch's place, for finding batches near it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    /// Base offset of the batch.
    pub(crate) offset: i64,
    /// Where the batch begins in the file.
    pub(crate) position: u64,
    /// Greatest timestamp of all batches of the segment before this one; `i64::MIN` for none.
    pub(crate) timestamp_before: i64,
}

/// A segment: a file of record batches, in offset order.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) base_offset: i64,
    pub(crate) file: Arc<File>,
    /// Bytes of whole batches in the file.
    pub(crate) size: u64,
    /// Offset after the last record.
    pub(crate) next_offset: i64,
    /// Greatest timestamp of a batch; `i64::MIN` for none.
    pub(crate) max_timestamp: i64,
    /// Where the batch with the greatest timestamp begins.
    pub(crate) max_timestamp_position: u64,
    pub(crate) index: Vec<IndexEntry>,
}

impl Segment {
    /// An empty segment.
    pub(crate) fn new(base_offset: i64, file: Arc<File>) -> Self {
        Self {
            base_offset,
            file,
            size: 0,
            next_offset: base_offset,
            max_timestamp: i64::MIN,
            max_timestamp_position: 0,
            index: Vec::new(),
        }
    }

    /// Takes note of the batch that now stands at the end of the file.
    pub(crate) fn note(&mut self, header: &BatchHeader) {
        let due = self.index.last().is_none_or(|last| self.size - last.position >= INDEX_INTERVAL_BYTES);
        if due {
            self.index.push(IndexEntry {
                offset: header.base_offset,
                position: self.size,
                timestamp_before: self.max_timestamp,
            });
        }
        if header.max_timestamp > self.max_timestamp {
            self.max_timestamp = header.max_timestamp;
            self.max_timestamp_position = self.size;
        }
        self.size += header.size as u64;
        self.next_offset = header.next_offset();
    }

    /// A position at or before the batch that holds `offset`.
    pub(crate) fn position_before(&self, offset: i64) -> u64 {
        let after = self.index.partition_point(|entry| entry.offset <= offset);
        after.checked_sub(1).and_then(|at| self.index.get(at)).map_or(0, |entry| entry.position)
    }

    /// A position at or before the first batch with a timestamp of at least `timestamp`.
    pub(crate) fn position_before_time(&self, timestamp: i64) -> u64 {
        let after = self.index.partition_point(|entry| entry.timestamp_before < timestamp);
        after.checked_sub(1).and_then(|at| self.index.get(at)).map_or(0, |entry| entry.position)
    }
}

/// Name of the file of the segment that begins at `base_offset`, as Apache Kafka names it, so that its tools can read it.
pub(crate) fn file_name(base_offset: i64) -> String {
    format!("{base_offset:020}.log")
}

/// The base offset in a segment file's name.
pub(crate) fn base_offset_of(file_name: &str) -> Option<i64> {
    let digits = file_name.strip_suffix(".log")?;
    if digits.len() == 20 { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::batch::testing::batch;

    #[test]
    fn look_ups_land_at_or_before_the_batch() {
        let mut segment = Segment::new(100, Arc::new(tempfile::tempfile().unwrap()));
        let mut places = Vec::new();
        for number in 0..200 {
            let bytes = batch(5, 1_000 + i64::from(number), &[0; 900], None);
            let mut header = BatchHeader::parse(&bytes).unwrap();
            header.base_offset = segment.next_offset;
            places.push((header.base_offset, segment.size, header.max_timestamp));
            segment.note(&header);
        }
        assert!(segment.index.len() > 5 && segment.index.len() < 20);
        for (offset, position, timestamp) in places {
            for found in [
                segment.position_before(offset),
                segment.position_before(offset + 4),
                segment.position_before_time(timestamp),
            ] {
                assert!(found <= position && position - found <= INDEX_INTERVAL_BYTES);
            }
        }
    }

    #[test]
    fn names_round_trip() {
        assert_eq!(base_offset_of(&file_name(1_234)), Some(1_234));
        assert_eq!(base_offset_of("1.log"), None);
        assert_eq!(base_offset_of("00000000000000000001.index"), None);
    }
}
