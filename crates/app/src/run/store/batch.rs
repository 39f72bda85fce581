//! What one transaction holds.

use std::collections::BTreeMap;

use model::{Progress, RecordBlock, TopicId, TopicPartition};
use store::{PositionMove, RejectedRow, StoreBatch, Upserts};

use crate::error::{Error, Result};
use crate::run::progress;

/// Gathers blocks.
#[derive(Debug, Default)]
pub(crate) struct BatchBuilder {
    batch: StoreBatch,
    records: usize,
    bytes: usize,
    ends: BTreeMap<TopicPartition, i64>,
    /// The last progress of each partition; earlier ones in the same batch are of no interest.
    progress: BTreeMap<(String, i32), Progress>,
}

impl BatchBuilder {
    /// Whether it holds nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Whether it holds more than progress.
    pub(crate) fn has_rows(&self) -> bool {
        !self.batch.tables.is_empty() || !self.batch.rejected.is_empty()
    }

    /// How many records more it should get, of `records_max` in all; none if it has many bytes.
    pub(crate) fn room(&self, records_max: usize) -> usize {
        if self.bytes >= model::limits::BATCH_BYTES_MAX { 0 } else { records_max.saturating_sub(self.records) }
    }

    /// Notes that a partition's position moves to the end of the block.
    pub(crate) fn moved(&mut self, block: &RecordBlock) {
        self.records += block.len();
        self.bytes += block.byte_len();
        if let Some(next) = block.next_offset() {
            self.ends.insert(TopicPartition::new(block.topic.clone(), block.partition), next);
        }
    }

    pub(crate) fn rows(&mut self, table: &str, upserts: Upserts) {
        self.batch.tables.push((table.to_owned(), upserts));
    }

    pub(crate) fn rejected(&mut self, rows: Vec<RejectedRow>) {
        self.batch.rejected.extend(rows);
    }

    pub(crate) fn progress(&mut self, stream: &str, block: &RecordBlock) -> Result<()> {
        for progress in progress::parse(block) {
            let progress = progress?;
            self.progress.insert((stream.to_owned(), progress.partition), progress);
        }
        Ok(())
    }

    /// The batch, with `positions` moved to its end.
    pub(crate) fn finish(
        self,
        positions: &mut BTreeMap<TopicPartition, i64>,
        topic_ids: &BTreeMap<String, TopicId>,
    ) -> Result<StoreBatch> {
        let mut batch = self.batch;
        batch.progress = self.progress.into_iter().map(|((stream, _), progress)| (stream, progress)).collect();
        for (partition, to) in self.ends {
            let position = positions
                .get_mut(&partition)
                .ok_or_else(|| Error::Internal(format!("{partition} was read without a position")))?;
            let from = std::mem::replace(position, to);
            let topic_id = topic_ids.get(&*partition.topic).cloned();
            batch.positions.push(PositionMove { partition, topic_id, from, to });
        }
        Ok(batch)
    }
}
