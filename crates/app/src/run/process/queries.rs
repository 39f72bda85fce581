//! A query's operator with the positions that it has taken.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::{Schemas, TopicPartition};
use process::{Emission, OperatorOptions, QueryOperator, Source};

use super::engine::ProcessPlan;
use super::input::Rows;
use super::references::Versions;
use crate::error::{Error, Result};
use crate::run::positions::Stand;
use crate::run::results::{Publisher, ResultTopic, Shown};
use crate::run::sink::RecordSink;
use crate::run::status::ShownRow;

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

/// A stream that a query reads, as far as it has been taken.
#[derive(Debug, Clone)]
pub(crate) struct QueryInput {
    pub(crate) stream: String,
    /// Per partition.
    pub(crate) taken: Vec<Taken>,
    pub(crate) watermark_us: Option<i64>,
}

/// A query while it runs.
#[derive(Debug)]
pub(crate) struct QueryRun {
    pub(crate) operator: QueryOperator,
    /// In the order in which the query names its streams.
    pub(crate) inputs: Vec<QueryInput>,
    /// Whether it goes on from a snapshot.
    pub(crate) is_restored: bool,
    pub(crate) result: ResultTopic,
    /// The query with its generation, as the log of reference versions names it.
    pub(crate) key: String,
    /// What its rows are joined with; `None` where tables never change, as in a project's tests.
    pub(crate) versions: Option<Arc<Versions>>,
    /// Row-by-row results that were joined with earlier versions than those in use now.
    joined_before: Vec<(String, Emission)>,
    publisher: Publisher,
    shown: Shown,
}

impl QueryRun {
    pub(crate) fn new(plan: &ProcessPlan, schemas: &dyn Schemas, result: &ResultTopic) -> Result<Self> {
        let options = OperatorOptions {
            generation: result.generation,
            state_bytes_max: plan.state_bytes_max,
            spill: plan.spill.clone(),
            parts_from_groups: plan.parts_from_groups,
        };
        let operator = QueryOperator::new(result.query.clone(), &plan.references, options)?;
        let mut inputs = Vec::new();
        for name in result.query.streams() {
            let stream = plan.streams.iter().find(|stream| stream.name == name);
            let stream =
                stream.ok_or_else(|| Error::Internal(format!("query {} reads no stream", result.query.name)))?;
            let partitions = usize::try_from(stream.topics.partitions).unwrap_or(0);
            let taken = vec![Taken::NOTHING; partitions];
            inputs.push(QueryInput { stream: name.to_owned(), taken, watermark_us: None });
        }
        let publisher = result.publisher(schemas)?;
        Ok(Self {
            operator,
            inputs,
            is_restored: false,
            result: result.clone(),
            key: format!("{} g{}", result.query.name, result.generation),
            versions: None,
            joined_before: Vec::new(),
            publisher,
            shown: Shown::default(),
        })
    }

    /// Settles where it reads from in the partitions of a stream with these offsets: a query that is new begins with the first record that is
    /// there.
    ///
    /// # Errors
    /// `Position` when it stands outside of a log.
    pub(crate) fn begin(
        &mut self,
        stream: &str,
        stand: &Stand<'_>,
        ranges: &[(TopicPartition, (i64, i64))],
    ) -> Result<()> {
        let Some(input) = self.inputs.iter_mut().find(|input| input.stream == stream) else { return Ok(()) };
        for (taken, (partition, range)) in input.taken.iter_mut().zip(ranges) {
            let from = if self.is_restored { stand.start(partition, taken.next_offset, *range)? } else { range.0 };
            if from != taken.next_offset {
                // What follows a gap doesn't follow what was taken last.
                *taken = Taken { next_offset: from, last_raw_offset: -1 };
            }
        }
        Ok(())
    }

    /// How far it has taken the partitions of a stream; `None` if it doesn't read that stream.
    pub(crate) fn taken(&self, stream: &str) -> Option<&[Taken]> {
        self.inputs.iter().find(|input| input.stream == stream).map(|input| input.taken.as_slice())
    }

    /// Next validated offset of each partition of each stream, stream after stream: so are partitions numbered in the log of versions.
    pub(crate) fn positions(&self) -> Vec<i64> {
        self.inputs.iter().flat_map(|input| &input.taken).map(|taken| taken.next_offset).collect()
    }

    /// The query's time: the least watermark of its streams, `None` while one has none.
    pub(crate) fn watermark_us(&self) -> Option<i64> {
        self.inputs.iter().map(|input| input.watermark_us).min().flatten()
    }

    /// Takes the rows of a stream that it hasn't taken yet; none if it doesn't read that stream. After an error for want of room, what was
    /// taken stays so, and the rows may be given again.
    pub(crate) fn push(&mut self, stream: &str, rows: &Rows) -> Result<()> {
        let Some(at) = self.inputs.iter().position(|input| input.stream == stream) else { return Ok(()) };
        let before: usize = self.inputs.iter().take(at).map(|input| input.taken.len()).sum();
        let index = usize::try_from(rows.partition).unwrap_or(usize::MAX);
        let Some(taken) = self.inputs.get(at).and_then(|input| input.taken.get(index)).copied() else {
            return Err(Error::Internal(format!("partition {} of {stream} is not known", rows.partition)));
        };
        if rows.next_offset <= taken.next_offset {
            return Ok(());
        }
        let number = i32::try_from(before + index).unwrap_or(i32::MAX);
        let mut from = rows.offsets.partition_point(|&offset| offset < taken.next_offset);
        while let Some(&offset) = rows.offsets.get(from) {
            let change = self.select_versions(number, offset)?;
            let until = change.map_or(rows.offsets.len(), |change| rows.offsets.partition_point(|&at| at < change));
            let raw_offsets = rows.raw_offsets.get(from..until).unwrap_or_default();
            let batch = rows.batch.slice(from, until - from);
            self.operator.push(&batch, &Source { stream, partition: rows.partition, raw_offsets })?;
            from = until;
            if let (Some(&next_offset), Some(&last_raw_offset)) = (rows.offsets.get(until), raw_offsets.last()) {
                self.set_taken(at, index, Taken { next_offset, last_raw_offset });
            }
        }
        self.set_taken(at, index, Taken { next_offset: rows.next_offset, last_raw_offset: rows.last_raw_offset });
        Ok(())
    }

    fn set_taken(&mut self, input: usize, partition: usize, to: Taken) {
        if let Some(taken) = self.inputs.get_mut(input).and_then(|input| input.taken.get_mut(partition)) {
            *taken = to;
        }
    }

    /// Brings the versions of the joined tables to those of a row, whose partition is numbered as in [`Self::positions`]. Gives the offset up
    /// to which they apply, if there is one.
    fn select_versions(&mut self, partition: i32, offset: i64) -> Result<Option<i64>> {
        let query = Arc::clone(&self.result.query);
        let Some(versions) = self.versions.clone().filter(|_| query.references().next().is_some()) else {
            return Ok(None);
        };
        let in_use = self.operator.reference_versions();
        for (table, version) in &in_use {
            let data = versions.of_row(&self.key, table, partition, offset)?;
            if data.version() == *version {
                continue;
            }
            // Results tell which versions they were joined with.
            if query.aggregate.is_none() && in_use == self.operator.reference_versions() {
                let emission = self.operator.emit()?;
                if !emission.is_empty() {
                    self.joined_before.push((shown(&in_use), emission));
                }
            }
            self.operator.replace_reference(data)?;
        }
        Ok(versions.next_change(&self.key, partition, offset))
    }

    /// Notes the watermark of a stream and moves the query's time; true if that changed anything. A query that fills from the beginning
    /// waits until it has taken what the watermark covers.
    pub(crate) fn advance(&mut self, stream: &str, watermark_us: i64, read: &[i64]) -> Result<bool> {
        let before = self.watermark_us();
        let Some(input) = self.inputs.iter_mut().find(|input| input.stream == stream) else { return Ok(false) };
        let is_behind = input.taken.iter().zip(read).any(|(taken, &read)| taken.next_offset < read);
        if is_behind || input.watermark_us >= Some(watermark_us) {
            return Ok(false);
        }
        input.watermark_us = Some(watermark_us);
        match self.watermark_us() {
            Some(watermark_us) if before < Some(watermark_us) => {
                self.operator.advance(watermark_us)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Queues what changed since the last emission; true if there was something.
    pub(crate) fn emit(&mut self, writer: &impl RecordSink) -> Result<bool> {
        self.publish_all(writer, QueryOperator::emit)
    }

    /// As [`QueryRun::emit`], with the present content of windows that are still open.
    pub(crate) fn drain(&mut self, writer: &impl RecordSink) -> Result<bool> {
        self.publish_all(writer, QueryOperator::drain)
    }

    /// Publishes all that there is, a part at a time.
    fn publish_all(
        &mut self,
        writer: &impl RecordSink,
        next: fn(&mut QueryOperator) -> process::Result<Emission>,
    ) -> Result<bool> {
        let mut has_sent = false;
        loop {
            let emission = next(&mut self.operator)?;
            has_sent |= self.publish(writer, &emission)?;
            if emission.is_empty() {
                return Ok(has_sent);
            }
        }
    }

    fn publish(&mut self, writer: &impl RecordSink, emission: &Emission) -> Result<bool> {
        let mut has_sent = false;
        for (versions, emission) in std::mem::take(&mut self.joined_before) {
            has_sent |= self.send(writer, &versions, &emission)?;
        }
        if emission.is_empty() {
            return Ok(has_sent);
        }
        let versions = shown(&self.operator.reference_versions());
        self.send(writer, &versions, emission)
    }

    fn send(&mut self, writer: &impl RecordSink, versions: &str, emission: &Emission) -> Result<bool> {
        self.publisher.publish(writer, emission, versions)?;
        self.shown.note(emission);
        Ok(true)
    }

    /// The newest result rows as text, a few times a second; `None` if they are as they were, or it is too soon.
    pub(crate) fn take_latest(&mut self, now: Duration) -> Option<Vec<ShownRow>> {
        self.shown.take(now, &self.result.query.identity)
    }
}

/// Versions of reference tables as results carry them: `name=number`, with commas.
fn shown(versions: &BTreeMap<String, u64>) -> String {
    let shown: Vec<String> = versions.iter().map(|(table, version)| format!("{table}={version}")).collect();
    shown.join(",")
}
