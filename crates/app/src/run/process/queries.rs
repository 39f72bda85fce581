//! A query's operator with the positions that it has taken.

use kafka::Writer;
use process::{Emission, OperatorOptions, QueryOperator, Source};

use super::ProcessStage;
use super::input::Rows;
use crate::error::{Error, Result};
use crate::run::results::{Publisher, ResultTopic};

/// Up to where a query has taken a partition of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Next validated offset.
    pub(crate) next_offset: i64,
    /// Raw offset of the last record taken; -1 before the first.
    pub(crate) last_raw_offset: i64,
}

impl Taken {
    pub(crate) const NOTHING: Self = Self { next_offset: 0, last_raw_offset: -1 };
}

/// A query while it runs.
#[derive(Debug)]
pub(crate) struct QueryRun {
    pub(crate) operator: QueryOperator,
    pub(crate) taken: Vec<Taken>,
    pub(crate) watermark_us: Option<i64>,
    pub(crate) result: ResultTopic,
    publisher: Publisher,
}

impl QueryRun {
    pub(crate) fn new(stage: &ProcessStage, result: &ResultTopic) -> Result<Self> {
        let options = OperatorOptions { generation: result.generation, state_bytes_max: stage.state_bytes_max };
        let operator = QueryOperator::new(result.query.clone(), &stage.references, options)?;
        let stream = stage.streams.iter().find(|stream| stream.name == result.query.stream);
        let stream = stream.ok_or_else(|| Error::Internal(format!("query {} reads no stream", result.query.name)))?;
        let partitions = usize::try_from(stream.topics.partitions).unwrap_or(0);
        let publisher = result.publisher(&*stage.context.schemas)?;
        let taken = vec![Taken::NOTHING; partitions];
        Ok(Self { operator, taken, watermark_us: None, result: result.clone(), publisher })
    }

    pub(crate) fn stream(&self) -> &str {
        &self.result.query.stream
    }

    /// Takes the rows that it hasn't taken yet.
    pub(crate) fn push(&mut self, rows: &Rows) -> Result<()> {
        let index = usize::try_from(rows.partition).unwrap_or(usize::MAX);
        let Some(taken) = self.taken.get_mut(index) else {
            return Err(Error::Internal(format!("partition {} of {} is not known", rows.partition, self.result.query.stream)));
        };
        if rows.next_offset <= taken.next_offset {
            return Ok(());
        }
        let first_new = rows.offsets.partition_point(|&offset| offset < taken.next_offset);
        let count = rows.offsets.len() - first_new;
        if count > 0 {
            let batch = rows.batch.slice(first_new, count);
            let raw_offsets = rows.raw_offsets.get(first_new..).unwrap_or_default();
            self.operator.push(&batch, &Source { partition: rows.partition, raw_offsets })?;
        }
        *taken = Taken { next_offset: rows.next_offset, last_raw_offset: rows.last_raw_offset };
        Ok(())
    }

    /// Moves the query's time; true if that changed anything. A query that fills from the beginning waits until it has taken what the
    /// watermark covers.
    pub(crate) fn advance(&mut self, watermark_us: i64, read: &[i64]) -> Result<bool> {
        let is_behind = self.taken.iter().zip(read).any(|(taken, &read)| taken.next_offset < read);
        if is_behind || self.watermark_us >= Some(watermark_us) {
            return Ok(false);
        }
        self.operator.advance(watermark_us)?;
        self.watermark_us = Some(watermark_us);
        Ok(true)
    }

    /// Queues what changed since the last emission; true if there was something.
    pub(crate) fn emit(&mut self, writer: &Writer) -> Result<bool> {
        let emission = self.operator.emit()?;
        self.publish(writer, &emission)
    }

    /// As [`QueryRun::emit`], with the present content of windows that are still open.
    pub(crate) fn drain(&mut self, writer: &Writer) -> Result<bool> {
        let emission = self.operator.drain()?;
        self.publish(writer, &emission)
    }

    fn publish(&mut self, writer: &Writer, emission: &Emission) -> Result<bool> {
        if emission.is_empty() {
            return Ok(false);
        }
        self.publisher.publish(writer, emission)?;
        Ok(true)
    }
}
