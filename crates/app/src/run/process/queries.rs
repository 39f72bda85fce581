//! A query's operator with the positions that it has taken.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{RecordBatch, UInt64Array};
use arrow_select::take::take_record_batch;
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

/// There was no room for all rows of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Full {
    /// What has no room, and what to do about it.
    pub(crate) words: String,
    /// Whether some of the rows were taken.
    pub(crate) has_taken: bool,
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

    /// Takes the rows of a stream that it hasn't taken yet; none if it doesn't read that stream. Of rows that don't all fit, such as those of a join
    /// whose pairs would be too many at once, as many are taken as do, and the block may be given again for the rest.
    ///
    /// # Errors
    /// Those of the operator, but for want of room.
    pub(crate) fn push(&mut self, stream: &str, rows: &Rows) -> Result<Option<Full>> {
        let Some(at) = self.inputs.iter().position(|input| input.stream == stream) else { return Ok(None) };
        let before: usize = self.inputs.iter().take(at).map(|input| input.taken.len()).sum();
        let index = usize::try_from(rows.partition).unwrap_or(usize::MAX);
        let Some(taken) = self.inputs.get(at).and_then(|input| input.taken.get(index)).copied() else {
            return Err(Error::Internal(format!("partition {} of {stream} is not known", rows.partition)));
        };
        if rows.next_offset <= taken.next_offset {
            return Ok(None);
        }
        let number = i32::try_from(before + index).unwrap_or(i32::MAX);
        let first = rows.offsets.partition_point(|&offset| offset < taken.next_offset);
        let mut from = first;
        while let Some(&offset) = rows.offsets.get(from) {
            let change = self.select_versions(number, offset)?;
            let until = change.map_or(rows.offsets.len(), |change| rows.offsets.partition_point(|&at| at < change));
            let until = match self.push_some(stream, rows, from, until)? {
                Ok(until) => until,
                Err(words) => return Ok(Some(Full { words, has_taken: from > first })),
            };
            let last = until.checked_sub(1).and_then(|last| rows.raw_offsets.get(last));
            if let (Some(&next_offset), Some(&last_raw_offset)) = (rows.offsets.get(until), last) {
                self.set_taken(at, index, Taken { next_offset, last_raw_offset });
            }
            from = until;
        }
        self.set_taken(at, index, Taken { next_offset: rows.next_offset, last_raw_offset: rows.last_raw_offset });
        Ok(None)
    }

    /// Gives the operator these rows of a block, or the first half of them, and so on, as there is room; gives the end of those taken, or why none
    /// was.
    fn push_some(
        &mut self,
        stream: &str,
        rows: &Rows,
        from: usize,
        mut until: usize,
    ) -> Result<std::result::Result<usize, String>> {
        let mut batch = rows.batch.slice(from, until - from);
        loop {
            let raw_offsets = rows.raw_offsets.get(from..until).unwrap_or_default();
            match self.operator.push(&batch, &Source { stream, partition: rows.partition, raw_offsets }) {
                Ok(()) => return Ok(Ok(until)),
                Err(error) if !error.is_full() => return Err(error.into()),
                Err(error) if until - from <= 1 => return Ok(Err(error.to_string())),
                Err(_) => until = from + (until - from) / 2,
            }
            // A slice would count, and keep in memory, what the whole block does.
            batch = copied(&rows.batch, from, until)?;
        }
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

/// Rows of a batch in memory of their own.
fn copied(batch: &RecordBatch, from: usize, until: usize) -> Result<RecordBatch> {
    let rows = UInt64Array::from_iter_values(from as u64..until as u64);
    take_record_batch(batch, &rows).map_err(|error| Error::Internal(format!("copying rows of a block: {error}")))
}

/// Versions of reference tables as results carry them: `name=number`, with commas.
fn shown(versions: &BTreeMap<String, u64>) -> String {
    let shown: Vec<String> = versions.iter().map(|(table, version)| format!("{table}={version}")).collect();
    shown.join(",")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use arrow_array::{ArrayRef, StringArray, TimestampMicrosecondArray};
    use arrow_schema::{DataType, Field, Schema, TimeUnit};

    use super::*;
    use crate::harness::{MemoryLog, MemorySchemas};
    use crate::run::generations::{Role, Run};
    use crate::run::process::ProcessStream;
    use crate::run::topics::StreamTopics;

    const ROWS: i64 = 300;
    const PAIRS: &str =
        "SELECT s.id, t.id AS other FROM s JOIN t ON t.k = s.k AND t.at BETWEEN s.at AND s.at + INTERVAL '1 minute'";

    fn schema() -> Arc<Schema> {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let text = |name: &str| Field::new(name, DataType::Utf8, false);
        Arc::new(Schema::new(vec![text("id"), text("k"), Field::new("at", time, false)]))
    }

    fn query(state_bytes_max: usize) -> QueryRun {
        let columns = schema();
        let mut catalog = sql::Catalog::default();
        for name in ["s", "t"] {
            let stream = sql::StreamTable { schema: columns.clone(), event_time: "at".into(), key: "k".into() };
            catalog.streams.insert(name.into(), stream);
        }
        let query = Arc::new(sql::compile("q", PAIRS, &catalog).unwrap());
        let result = ResultTopic::of("", Run { query, number: 1, role: Role::Shown, added: Vec::new() }, 1).unwrap();
        let stream = |name: &str| ProcessStream {
            name: name.into(),
            topics: StreamTopics::of("", name, 1),
            schema: avro::schema_for(name, "t", None, &columns).unwrap(),
        };
        let plan = ProcessPlan {
            pipeline: "p".into(),
            streams: ["s", "t"].map(stream).into(),
            results: vec![result.clone()],
            references: BTreeMap::new(),
            state_bytes_max,
            spill: None,
            parts_from_groups: usize::MAX,
        };
        QueryRun::new(&plan, &MemorySchemas::default(), &result).unwrap()
    }

    /// Rows of one key and one time.
    fn block(stream: &str) -> Rows {
        let ids: Vec<String> = (0..ROWS).map(|row| format!("{stream}{row}")).collect();
        let keys = vec!["k"; ids.len()];
        let times = TimestampMicrosecondArray::from(vec![0; ids.len()]).with_timezone("UTC");
        let columns: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from(ids)), Arc::new(StringArray::from(keys)), Arc::new(times)];
        Rows {
            partition: 0,
            batch: RecordBatch::try_new(schema(), columns).unwrap(),
            offsets: (0..ROWS).collect(),
            raw_offsets: (0..ROWS).map(|offset| offset * 2).collect(),
            next_offset: ROWS,
            last_raw_offset: (ROWS - 1) * 2,
        }
    }

    /// The keys of all results, and in how many steps the second block was taken.
    fn pairs(query: &mut QueryRun) -> (BTreeSet<Vec<u8>>, usize) {
        let (log, mut steps) = (MemoryLog::default(), 1);
        assert_eq!(query.push("s", &block("s")).unwrap(), None);
        let rows = block("t");
        while let Some(full) = query.push("t", &rows).unwrap() {
            assert!(full.has_taken, "{}", full.words);
            let taken = query.taken("t").unwrap()[0];
            assert_eq!(taken.last_raw_offset, (taken.next_offset - 1) * 2);
            query.emit(&log).unwrap();
            steps += 1;
        }
        assert_eq!(query.taken("t").unwrap()[0], Taken { next_offset: ROWS, last_raw_offset: (ROWS - 1) * 2 });
        query.emit(&log).unwrap();
        let topic = TopicPartition::new("q", 0);
        let written = log.read(&topic, 0, log.end(&topic));
        let keys: BTreeSet<Vec<u8>> = (0..written.len()).map(|row| written.keys.get(row).unwrap().to_vec()).collect();
        assert_eq!(keys.len(), written.len(), "each pair once");
        (keys, steps)
    }

    #[test]
    fn a_block_whose_pairs_do_not_fit_is_taken_in_steps() {
        let (expected, steps) = pairs(&mut query(1 << 30));
        assert_eq!((expected.len(), steps), (90_000, 1));
        let (found, steps) = pairs(&mut query(1 << 20));
        assert!(steps > 3, "in {steps} steps");
        assert!(found == expected);
    }
}
