//! The rows of one side that wait for partners.

use std::collections::{BTreeSet, HashMap};

use arrow_array::RecordBatch;

/// A row that is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    pub(super) time_us: i64,
    pub(super) at: At,
    /// Whether it has had a partner.
    pub(super) is_matched: bool,
}

/// Where a row lies: in which of the kept batches, and in which row of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At {
    pub(super) batch: u32,
    pub(super) row: u32,
}

/// Bytes that a row takes besides its columns and key, with the share of trees and tables.
pub(crate) const ROW_BYTES: usize =
    size_of::<Option<(Kept, Box<[u8]>)>>() + size_of::<Box<[u8]>>() + 3 * size_of::<(i64, u32)>() + size_of::<u32>();

/// One side's rows by key and by time.
#[derive(Debug, Default)]
pub(super) struct Side {
    /// Batches with the number of their rows that are kept; `None` for a number that is free.
    batches: Vec<Option<(RecordBatch, usize)>>,
    free_batches: Vec<u32>,
    rows: Vec<Option<(Kept, Box<[u8]>)>>,
    free_rows: Vec<u32>,
    /// Rows of each key, ascending by time.
    of_key: HashMap<Box<[u8]>, Vec<(i64, u32)>>,
    by_time: BTreeSet<(i64, u32)>,
    batch_bytes: usize,
    key_bytes: usize,
}

/// Puts a value into a free slot, or a new one; gives the slot's number.
fn put<T>(slots: &mut Vec<T>, free: &mut Vec<u32>, value: T) -> u32 {
    match free.pop() {
        Some(number) => {
            slots[number as usize] = value;
            number
        }
        None => {
            slots.push(value);
            u32::try_from(slots.len() - 1).unwrap_or(u32::MAX)
        }
    }
}

impl Side {
    /// Keeps a batch; its rows are added one by one.
    pub(super) fn keep_batch(&mut self, batch: &RecordBatch) -> u32 {
        self.batch_bytes += batch.get_array_memory_size();
        let kept = Some((batch.clone(), 0));
        // A batch has at least one row, and rows are numbered in 32 bits.
        put(&mut self.batches, &mut self.free_batches, kept)
    }

    /// Lets a batch go of which no row was kept.
    pub(super) fn drop_if_unused(&mut self, number: u32) {
        let slot = &mut self.batches[number as usize];
        if let Some((batch, 0)) = slot {
            self.batch_bytes -= batch.get_array_memory_size();
            *slot = None;
            self.free_batches.push(number);
        }
    }

    pub(super) fn batch(&self, number: u32) -> Option<&RecordBatch> {
        self.batches.get(number as usize)?.as_ref().map(|(batch, _)| batch)
    }

    /// Keeps a row of a kept batch.
    pub(super) fn insert(&mut self, key: &[u8], kept: Kept) {
        if let Some(Some((_, rows))) = self.batches.get_mut(kept.at.batch as usize) {
            *rows += 1;
        }
        self.key_bytes += key.len();
        let slot = Some((kept, Box::from(key)));
        let number = put(&mut self.rows, &mut self.free_rows, slot);
        let entry = (kept.time_us, number);
        self.by_time.insert(entry);
        match self.of_key.get_mut(key) {
            Some(rows) => {
                let at = rows.partition_point(|other| *other < entry);
                rows.insert(at, entry);
            }
            None => {
                self.of_key.insert(Box::from(key), vec![entry]);
            }
        }
    }

    /// The rows with a key whose times lie within bounds, both included.
    pub(super) fn partners(&self, key: &[u8], from_us: i64, to_us: i64) -> impl Iterator<Item = u32> {
        let rows = self.of_key.get(key).map_or(&[][..], Vec::as_slice);
        let begin = rows.partition_point(|(time_us, _)| *time_us < from_us);
        rows.get(begin..)
            .unwrap_or_default()
            .iter()
            .take_while(move |(time_us, _)| *time_us <= to_us)
            .map(|(_, row)| *row)
    }

    pub(super) fn row(&self, number: u32) -> Option<&Kept> {
        self.rows.get(number as usize)?.as_ref().map(|(kept, _)| kept)
    }

    pub(super) fn mark_matched(&mut self, number: u32) {
        if let Some(Some((kept, _))) = self.rows.get_mut(number as usize) {
            kept.is_matched = true;
        }
    }

    /// Takes out the rows with times below a bound. Their batches stay until [`release`](Self::release).
    pub(super) fn take_before(&mut self, time_us: i64) -> Vec<Kept> {
        let mut taken = Vec::new();
        while let Some((first_us, number)) = self.by_time.first().copied().filter(|(first_us, _)| *first_us < time_us) {
            self.by_time.pop_first();
            let Some((kept, key)) = self.rows.get_mut(number as usize).and_then(Option::take) else { continue };
            self.free_rows.push(number);
            self.key_bytes -= key.len();
            if let Some(rows) = self.of_key.get_mut(&key) {
                if let Ok(at) = rows.binary_search(&(first_us, number)) {
                    rows.remove(at);
                }
                if rows.is_empty() {
                    self.of_key.remove(&key);
                }
            }
            taken.push(kept);
        }
        taken
    }

    /// Lets go of the batches of rows that were taken out.
    pub(super) fn release(&mut self, taken: &[Kept]) {
        for kept in taken {
            if let Some(Some((_, rows))) = self.batches.get_mut(kept.at.batch as usize) {
                *rows -= 1;
            }
            self.drop_if_unused(kept.at.batch);
        }
    }

    /// All rows by time.
    pub(super) fn all(&self) -> impl Iterator<Item = &Kept> {
        self.by_time.iter().filter_map(|(_, number)| self.row(*number))
    }

    pub(super) fn bytes(&self) -> usize {
        self.batch_bytes + 2 * self.key_bytes + self.rows.len() * ROW_BYTES
    }
}
