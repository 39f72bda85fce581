//! Validated records of a stream as rows: continuity, decoding of the columns that queries read.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::RecordBatch;
use avro::Decoder;
use kafka::Start;
use model::provenance::Continuity;
use model::{BytesColumn, Provenance, RecordBlock, Schemas, TopicPartition};

use super::ProcessStream;
use super::queries::{QueryRun, Taken};
use crate::error::{Error, Result};
use crate::run::decode::decode_own;

/// Who alone may write to validated topics.
const WRITER: &str = "validation";

/// Rows of one partition that follow the ones before without a break.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) partition: i32,
    pub(crate) batch: RecordBatch,
    /// Validated offset of each row.
    pub(crate) offsets: Vec<i64>,
    /// Raw offset of each row.
    pub(crate) raw_offsets: Vec<i64>,
    /// Validated offset after the block.
    pub(crate) next_offset: i64,
    /// Raw offset of the last row; of the one before if there is no row.
    pub(crate) last_raw_offset: i64,
}

/// The reading side of one stream.
#[derive(Debug)]
pub(crate) struct StreamInput {
    stream: String,
    topic: Arc<str>,
    decoder: Decoder,
    taken: Vec<Taken>,
}

impl StreamInput {
    /// Starts where the query that has taken least stands.
    pub(crate) fn new(stream: &ProcessStream, queries: &[QueryRun]) -> Result<Self> {
        let columns: BTreeSet<&str> =
            queries.iter().flat_map(|query| query.result.query.columns_of(&stream.name)).collect();
        let partitions = usize::try_from(stream.topics.partitions).unwrap_or(0);
        let taken = (0..partitions)
            .map(|partition| {
                let taken = queries.iter().filter_map(|query| query.taken(&stream.name)?.get(partition)).copied();
                taken.min_by_key(|taken| taken.next_offset).unwrap_or(Taken::NOTHING)
            })
            .collect();
        Self::of(stream, columns.into_iter().map(str::to_owned).collect(), taken)
    }

    /// Starts where it is said for each partition, and decodes these columns.
    pub(crate) fn of(stream: &ProcessStream, columns: Vec<String>, taken: Vec<Taken>) -> Result<Self> {
        let decoder = Decoder::new(&stream.schema, Some(&columns), avro::Limits::default())
            .map_err(|error| Error::Internal(format!("stream {}: {error}", stream.name)))?;
        Ok(Self { stream: stream.name.clone(), topic: stream.topics.validated.as_str().into(), decoder, taken })
    }

    pub(crate) fn stream(&self) -> &str {
        &self.stream
    }

    pub(crate) fn reads(&self, topic: &str) -> bool {
        &*self.topic == topic
    }

    /// Where to read each partition from.
    pub(crate) fn assignment(&self) -> Vec<(TopicPartition, Start)> {
        self.topic_positions().map(|(partition, offset)| (partition, Start::Offset(offset))).collect()
    }

    /// Next validated offset of each partition.
    pub(crate) fn positions(&self) -> Vec<i64> {
        self.taken.iter().map(|taken| taken.next_offset).collect()
    }

    /// Next validated offset of a partition.
    pub(crate) fn position(&self, partition: i32) -> Option<i64> {
        usize::try_from(partition).ok().and_then(|index| self.taken.get(index)).map(|taken| taken.next_offset)
    }

    pub(crate) fn topic_positions(&self) -> impl Iterator<Item = (TopicPartition, i64)> + '_ {
        (0..)
            .zip(&self.taken)
            .map(|(number, taken)| (TopicPartition::new(self.topic.clone(), number), taken.next_offset))
    }

    /// Decodes a block. Repeats are left out.
    ///
    /// # Errors
    /// `Position` when records are missing, or one isn't what validation writes: then nothing of it can be trusted.
    pub(crate) fn decode(&mut self, block: &RecordBlock, schemas: &dyn Schemas) -> Result<Rows> {
        let index = usize::try_from(block.partition).unwrap_or(usize::MAX);
        let Some(mut taken) = self.taken.get(index).copied() else {
            return Err(Error::Internal(format!("{}[{}] is not known", block.topic, block.partition)));
        };
        let mut offsets = Vec::with_capacity(block.len());
        let mut raw_offsets = Vec::with_capacity(block.len());
        let mut repeats = BTreeSet::new();
        for (row, &offset) in block.offsets.iter().enumerate() {
            let broken = |reason: String| {
                Error::Position(format!("{}[{}] at offset {offset}: {reason}", block.topic, block.partition))
            };
            let provenance = Provenance::from_headers(block.headers(row)).ok_or_else(|| {
                broken(format!("the headers with the raw offsets are missing; only {WRITER} may write here"))
            })?;
            // A log may begin later than with its first record: retention removes the oldest.
            let is_first = taken.last_raw_offset == -1 && raw_offsets.is_empty();
            match provenance.follows(taken.last_raw_offset) {
                Continuity::Repeat => {
                    repeats.insert(row);
                    continue;
                }
                Continuity::Break if !is_first => {
                    return Err(broken(format!(
                        "it follows raw offset {}, but the last one taken is {}: records are missing",
                        provenance.previous_raw_offset, taken.last_raw_offset
                    )));
                }
                Continuity::Next | Continuity::Break => {}
            }
            taken.last_raw_offset = provenance.raw_offset;
            offsets.push(offset);
            raw_offsets.push(provenance.raw_offset);
        }
        taken.next_offset = block.next_offset().unwrap_or(taken.next_offset);
        let look_up = |id| schemas.by_id(id);
        let batch = if repeats.is_empty() {
            decode_own(&mut self.decoder, &block.values, block, look_up, WRITER)?
        } else {
            let mut kept = BytesColumn::with_capacity(offsets.len(), block.values.byte_len());
            for (row, value) in block.values.iter().enumerate() {
                if !repeats.contains(&row) {
                    kept.push(value);
                }
            }
            decode_own(&mut self.decoder, &kept, block, look_up, WRITER)?
        };
        if let Some(slot) = self.taken.get_mut(index) {
            *slot = taken;
        }
        Ok(Rows {
            partition: block.partition,
            batch,
            offsets,
            raw_offsets,
            next_offset: taken.next_offset,
            last_raw_offset: taken.last_raw_offset,
        })
    }
}
