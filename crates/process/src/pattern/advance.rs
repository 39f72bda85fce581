//! Time: rows that the watermark passes go to their keys, and each key is brought as far as they allow.

use std::cmp::Reverse;

use super::key::Next;
use super::operator::{PatternOperator, PendingRow};
use super::store::{Place, RowStore};
use super::table::KeyTable;
use crate::error::Cause;

impl PatternOperator {
    /// Matches the rows below the watermark, and looks at the keys whose time has come.
    pub(super) fn pass(&mut self, watermark_us: i64) -> Result<(), Cause> {
        self.watermark_us = Some(watermark_us);
        self.pending.sort_by_key(|row| (row.time_us, row.offset));
        let passed = self.pending.partition_point(|row| row.time_us < watermark_us);
        let passed: Vec<PendingRow> = self.pending.drain(..passed).collect();
        let reaches_back = *self.pattern.reach().start() < 0;
        for row in passed {
            let Some(key) = self.keys.get_mut(row.key) else { continue };
            key.pending -= 1;
            // Most rows of most patterns begin nothing.
            if key.rows.is_empty() && row.may_be & self.begins == 0 && !reaches_back {
                self.store.release(row.place);
                if key.is_empty() && !key.is_queued {
                    self.keys.remove(row.key);
                }
                continue;
            }
            key.rows.push_back(row.as_row());
            self.enqueue(row.key);
        }
        while let Some(Reverse((time_us, number))) = self.wakes.peek().copied() {
            if time_us >= watermark_us {
                break;
            }
            self.wakes.pop();
            let slot = self.keys.get_mut(number);
            if let Some(key) = slot.filter(|key| key.wakes_at_us == Some(time_us)) {
                key.wakes_at_us = None;
                self.enqueue(number);
            }
        }
        self.work(watermark_us)?;
        if self.store.is_sparse() { self.compact() } else { Ok(()) }
    }

    fn enqueue(&mut self, number: u32) {
        if let Some(key) = self.keys.get_mut(number).filter(|key| !key.is_queued) {
            key.is_queued = true;
            self.queue.push(number);
        }
    }

    /// Works off the keys that have rows or times to look at, a row of each at a time, so that conditions are computed for many at once.
    fn work(&mut self, watermark_us: i64) -> Result<(), Cause> {
        let visited = std::mem::take(&mut self.queue);
        let mut busy = visited.clone();
        while !busy.is_empty() {
            let mut steps: Vec<(u32, u64)> = Vec::new();
            for number in std::mem::take(&mut busy) {
                if let Some(row) = self.next_row(number, watermark_us) {
                    steps.push((number, row));
                    busy.push(number);
                }
            }
            let verdicts = self.verdicts(&steps)?;
            for ((number, row), verdicts) in steps.into_iter().zip(verdicts) {
                self.take_row(number, row, &verdicts)?;
            }
        }
        self.publish_decided(&visited, watermark_us)?;
        for number in visited {
            self.leave(number, watermark_us);
        }
        Ok(())
    }

    /// The row that a key's attempts take next; what is over is resolved on the way.
    fn next_row(&mut self, number: u32, watermark_us: i64) -> Option<u64> {
        let key = self.keys.get_mut(number)?;
        loop {
            match key.next(&self.pattern, self.side_by_side, watermark_us) {
                Next::Wait => return None,
                Next::Take(row) => return Some(row),
                Next::Resolve(at) => key.resolve(at, &self.pattern, self.side_by_side, self.pattern.counts_matches()),
            }
        }
    }

    /// Computes the results of matches of these keys whose measures are known by now.
    fn publish_decided(&mut self, visited: &[u32], watermark_us: i64) -> Result<(), Cause> {
        let (within_us, ahead) = (self.pattern.within_us, self.pattern.reach_ahead_measured());
        let mut ready = Vec::new();
        for number in visited {
            let Some(key) = self.keys.get_mut(*number) else { continue };
            while let Some(first) = key.decided.front() {
                let last = first.start + first.path.len() as u64 - 1;
                if ahead > 0 && !key.sees_ahead(last, ahead, within_us, watermark_us) {
                    break;
                }
                ready.extend(key.decided.pop_front().map(|decided| (*number, decided)));
            }
        }
        if ready.is_empty() {
            return Ok(());
        }
        self.metrics.matches += ready.len() as u64;
        let finished = super::matches::finish(self, &ready)?;
        self.waiting.extend(finished);
        Ok(())
    }

    /// Lets go of what a key no longer needs.
    pub(super) fn leave(&mut self, number: u32, watermark_us: i64) {
        let Some(key) = self.keys.get_mut(number) else { return };
        key.is_queued = false;
        let store = &mut self.store;
        key.take_unneeded(&self.pattern, watermark_us, |place| store.release(place));
        if key.is_empty() {
            self.keys.remove(number);
            return;
        }
        let wakes_at_us = key.wakes_at(&self.pattern, watermark_us);
        if let Some(time_us) = wakes_at_us.filter(|time_us| key.wakes_at_us.is_none_or(|known| *time_us < known)) {
            key.wakes_at_us = Some(time_us);
            self.wakes.push(Reverse((time_us, number)));
        }
        self.keys.measure(number);
    }

    /// Copies the rows that are needed into a segment of their own.
    pub(super) fn compact(&mut self) -> Result<(), Cause> {
        let places: Vec<Place> = live_places(&self.keys, &self.pending).collect();
        let columns = self.store.columns_of(&places)?;
        self.store.clear();
        let segment = self.store.add_columns(columns, places.len())?;
        let mut next = 0;
        let mut place = || {
            next += 1;
            RowStore::place(segment, next - 1)
        };
        self.keys.iter_mut().flat_map(|key| &mut key.rows).for_each(|row| row.place = place());
        self.pending.iter_mut().for_each(|row| row.place = place());
        if places.is_empty() {
            self.store.clear();
        }
        Ok(())
    }
}

/// Places of all rows that are held: those of keys, then those that wait for the watermark.
pub(super) fn live_places<'a>(keys: &'a KeyTable, pending: &'a [PendingRow]) -> impl Iterator<Item = Place> + 'a {
    let rows = keys.iter().flat_map(|key| &key.rows).map(|row| row.place);
    rows.chain(pending.iter().map(|row| row.place))
}
