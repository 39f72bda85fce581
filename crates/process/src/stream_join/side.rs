//! The rows of one side that wait for partners.

use std::collections::{BTreeSet, HashMap};

use arrow_array::RecordBatch;

use crate::error::Cause;

/// A row that is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    pub(super) time_us: i64,
    /// Its number in the order of arrival.
    pub(super) number: u64,
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

/// A row's time, its number in the order of arrival, and its slot.
type Entry = (i64, u64, u32);

/// The rows of one key.
#[derive(Debug)]
pub(super) struct OfKey {
    pub(super) hash: u64,
    /// Whether rows have come since keys were last moved to the disk.
    pub(super) is_hot: bool,
    /// Ascending.
    entries: Vec<Entry>,
}

/// Bytes that a row takes besides its columns and key, with the share of trees and tables.
pub(crate) const ROW_BYTES: usize = size_of::<Option<(Kept, Box<[u8]>)>>()
    + size_of::<Box<[u8]>>()
    + size_of::<OfKey>()
    + 3 * size_of::<Entry>()
    + size_of::<u32>();

/// One side's rows by key and by time.
#[derive(Debug, Default)]
pub(super) struct Side {
    /// Batches with the number of their rows that are kept; `None` for a number that is free.
    batches: Vec<Option<(RecordBatch, usize)>>,
    free_batches: Vec<u32>,
    rows: Vec<Option<(Kept, Box<[u8]>)>>,
    free_rows: Vec<u32>,
    of_key: HashMap<Box<[u8]>, OfKey>,
    by_time: BTreeSet<Entry>,
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
    pub(super) fn insert(&mut self, hash: u64, key: &[u8], kept: Kept) {
        if let Some(Some((_, rows))) = self.batches.get_mut(kept.at.batch as usize) {
            *rows += 1;
        }
        self.key_bytes += key.len();
        let slot = Some((kept, Box::from(key)));
        let slot = put(&mut self.rows, &mut self.free_rows, slot);
        let entry = (kept.time_us, kept.number, slot);
        self.by_time.insert(entry);
        match self.of_key.get_mut(key) {
            Some(of_key) => {
                let at = of_key.entries.partition_point(|other| *other < entry);
                of_key.entries.insert(at, entry);
                of_key.is_hot = true;
            }
            None => {
                self.of_key.insert(Box::from(key), OfKey { hash, is_hot: true, entries: vec![entry] });
            }
        }
    }

    /// The rows with a key whose times lie within bounds, both included, by time and arrival.
    pub(super) fn partners(&self, key: &[u8], from_us: i64, to_us: i64) -> impl Iterator<Item = u32> {
        let rows = self.of_key.get(key).map_or(&[][..], |of_key| of_key.entries.as_slice());
        let begin = rows.partition_point(|(time_us, ..)| *time_us < from_us);
        rows.get(begin..)
            .unwrap_or_default()
            .iter()
            .take_while(move |(time_us, ..)| *time_us <= to_us)
            .map(|(.., row)| *row)
    }

    pub(super) fn row(&self, slot: u32) -> Option<&Kept> {
        self.rows.get(slot as usize)?.as_ref().map(|(kept, _)| kept)
    }

    pub(super) fn mark_matched(&mut self, slot: u32) {
        if let Some(Some((kept, _))) = self.rows.get_mut(slot as usize) {
            kept.is_matched = true;
        }
    }

    /// Time of the first row.
    pub(super) fn first_us(&self) -> Option<i64> {
        self.by_time.first().map(|(time_us, ..)| *time_us)
    }

    /// Takes out the rows with times below a bound, and tells the key of each. Their batches stay until [`release`](Self::release).
    pub(super) fn take_before(&mut self, time_us: i64, gone: &mut dyn FnMut(&[u8])) -> Vec<Kept> {
        let mut taken = Vec::new();
        while let Some(entry) = self.by_time.pop_first() {
            if entry.0 >= time_us {
                self.by_time.insert(entry);
                break;
            }
            let (.., slot) = entry;
            let Some((kept, key)) = self.rows.get_mut(slot as usize).and_then(Option::take) else { continue };
            self.free_rows.push(slot);
            self.key_bytes -= key.len();
            gone(&key);
            if let Some(of_key) = self.of_key.get_mut(&key) {
                if let Ok(at) = of_key.entries.binary_search(&entry) {
                    of_key.entries.remove(at);
                }
                if of_key.entries.is_empty() {
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

    /// All keys with their rows.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&[u8], &OfKey)> {
        self.of_key.iter().map(|(key, of_key)| (&**key, of_key))
    }

    pub(super) fn has_key(&self, key: &[u8]) -> bool {
        self.of_key.contains_key(key)
    }

    /// The rows of a key, ascending by time and arrival.
    pub(super) fn of_key(&self, key: &[u8]) -> impl Iterator<Item = &Kept> {
        let entries = self.of_key.get(key).map_or(&[][..], |of_key| of_key.entries.as_slice());
        entries.iter().filter_map(|(.., slot)| self.row(*slot))
    }

    /// Keeps the rows of these keys alone. `copy` makes a batch of the rows at these places.
    pub(super) fn keep(
        &mut self,
        stays: impl Fn(&[u8]) -> bool,
        copy: impl FnOnce(&Self, &[At]) -> Result<RecordBatch, Cause>,
    ) -> Result<(), Cause> {
        let kept: Vec<&(Kept, Box<[u8]>)> = self.rows.iter().flatten().filter(|(_, key)| stays(key)).collect();
        let mut fresh = Self::default();
        if !kept.is_empty() {
            let batch = fresh.keep_batch(&copy(self, &kept.iter().map(|(kept, _)| kept.at).collect::<Vec<_>>())?);
            for (row, (kept, key)) in (0_u32..).zip(kept) {
                let hash = self.of_key.get(key).map_or(0, |of_key| of_key.hash);
                fresh.insert(hash, key, Kept { at: At { batch, row }, ..*kept });
            }
            // Who stays has to earn it anew.
            fresh.of_key.values_mut().for_each(|of_key| of_key.is_hot = false);
        }
        *self = fresh;
        Ok(())
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.by_time.len()
    }

    /// All rows by time and arrival.
    pub(super) fn all(&self) -> impl Iterator<Item = &Kept> {
        self.by_time.iter().filter_map(|(.., slot)| self.row(*slot))
    }

    pub(super) fn bytes(&self) -> usize {
        self.batch_bytes + 2 * self.key_bytes + self.rows.len() * ROW_BYTES
    }
}
