//! Rows of a batch in: filtered, judged on their own, and held until the watermark passes them.

use arrow_array::cast::AsArray as _;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array as _, RecordBatch};
use sql::VariableSet;

use super::key::KeyState;
use super::operator::{PatternOperator, PendingRow};
use super::store::RowStore;
use crate::error::Cause;
use crate::rows::{keep, truths};

impl PatternOperator {
    /// Takes the rows of a batch that the filter keeps.
    pub(super) fn take(&mut self, batch: &RecordBatch, raw_offsets: &[i64]) -> Result<(), Cause> {
        if raw_offsets.len() != batch.num_rows() {
            let (offsets, rows) = (raw_offsets.len(), batch.num_rows());
            return Err(Cause::Batch(format!("it has {rows} rows and {offsets} raw offsets")));
        }
        self.make_room()?;
        let (bytes, bytes_max) = (self.state_bytes(), self.options.state_bytes_max);
        if bytes > bytes_max {
            return Err(Cause::StateFull { bytes, bytes_max });
        }
        self.metrics.rows_in += batch.num_rows() as u64;
        let (batch, kept) = match self.query.branches.first().and_then(|branch| branch.filter.as_ref()) {
            None => (batch.clone(), None),
            Some(filter) => {
                let mask = truths(&filter.evaluate(batch)?);
                self.metrics.rows_filtered += (batch.num_rows() - mask.true_count()) as u64;
                (keep(batch, &mask)?, Some(mask))
            }
        };
        let offsets =
            raw_offsets.iter().enumerate().filter(|(row, _)| kept.as_ref().is_none_or(|kept| kept.value(*row)));
        let offsets: Vec<i64> = offsets.map(|(_, offset)| *offset).collect();
        if offsets.is_empty() {
            return Ok(());
        }
        let may_be = self.judge_rows(&batch)?;
        let times = batch.column_by_name(&self.pattern.event_time);
        let times = times.and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
        let times = times.ok_or_else(|| Cause::Batch("it has no event times".into()))?.clone();
        let columns = self.pattern.partition_by.iter().map(|name| {
            batch.column_by_name(name).cloned().ok_or_else(|| Cause::Batch(format!("it has no column {name}")))
        });
        let columns = columns.collect::<Result<Vec<_>, Cause>>()?;
        self.codec.encode(&columns, batch.num_rows(), &mut self.batch_keys)?;
        self.recall_keys()?;
        let segment = self.store.add(&batch)?;
        for (row, (offset, may_be)) in offsets.into_iter().zip(may_be).enumerate() {
            let place = RowStore::place(segment, row);
            if times.is_null(row) {
                self.metrics.rows_without_time += 1;
                self.store.release(place);
                continue;
            }
            let time_us = times.value(row);
            if let Some(watermark_us) = self.watermark_us.filter(|watermark_us| time_us < *watermark_us) {
                let partition = self.options.partition;
                return Err(Cause::Passed { partition, offset, time_us, watermark_us });
            }
            let key = self.key_of(row);
            self.pending.push(PendingRow { time_us, offset, key, may_be, place });
        }
        self.batch_keys.release();
        Ok(())
    }

    /// For each row the variables whose condition on the row alone is true.
    fn judge_rows(&self, batch: &RecordBatch) -> Result<Vec<VariableSet>, Cause> {
        let mut sets = vec![0; batch.num_rows()];
        for (number, variable) in self.pattern.variables.iter().enumerate() {
            let bit: VariableSet = 1 << number;
            match &variable.row_condition {
                None => sets.iter_mut().for_each(|set| *set |= bit),
                Some(condition) => {
                    let values = truths(&condition.evaluate(batch)?);
                    sets.iter_mut()
                        .zip(values.values().iter())
                        .filter(|(_, value)| *value)
                        .for_each(|(set, _)| *set |= bit);
                }
            }
        }
        Ok(sets)
    }

    /// The key of a row of the present batch, which has one row more to come.
    fn key_of(&mut self, row: usize) -> u32 {
        let (hash, bytes) = (self.batch_keys.hashes.get(row).copied().unwrap_or(0), self.batch_keys.get(row));
        let number = match self.keys.find(hash, bytes) {
            Some(number) => number,
            None => self.keys.insert(KeyState { key: bytes.map(<[u8]>::to_vec), hash, ..KeyState::default() }),
        };
        if let Some(key) = self.keys.get_mut(number) {
            key.pending += 1;
            key.is_hot = true;
        }
        number
    }
}
