//! The process stage: validated records and progress in, results out.
//!
//! | file | does |
//! | --- | --- |
//! | `input` | reads validated records: continuity, decoding |
//! | `watermarks` | applies a partition's watermark once its records have been read |
//! | `queries` | the operators with the positions that each has taken |
//! | `checkpoint` | positions and operator states out and in |

mod checkpoint;
mod input;
mod queries;
mod watermarks;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kafka::{Reader, ReaderOptions, Start, Writer, WriterOptions};
use model::{Epoch, Progress, RecordBlock, TopicPartition};
use process::ReferenceData;
use state::SnapshotStore;

use crate::error::{Error, Result};
use crate::run::context::Context;
use crate::run::results::ResultTopic;
use crate::run::status::Drained;
use crate::run::topics::StreamTopics;
use input::StreamInput;
use queries::QueryRun;
use watermarks::Watermarks;

pub(crate) const NAME: &str = "process";
const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause between two emissions, in multiples of what the last one took, if that is longer than the batch interval.
const EMIT_PAUSE: u32 = 4;
/// Longest such pause.
const EMIT_EVERY_MAX: Duration = Duration::from_secs(1);

/// A stream that queries read.
#[derive(Debug, Clone)]
pub(crate) struct ProcessStream {
    pub(crate) name: String,
    pub(crate) topics: StreamTopics,
    pub(crate) schema: avro::Schema,
}

/// What the stage needs to know of its project.
#[derive(Debug, Clone)]
pub(crate) struct ProcessStage {
    pub(crate) context: Context,
    pub(crate) pipeline: String,
    pub(crate) streams: Vec<ProcessStream>,
    pub(crate) results: Vec<ResultTopic>,
    pub(crate) references: BTreeMap<String, Arc<ReferenceData>>,
    pub(crate) snapshots: Arc<SnapshotStore>,
    pub(crate) batch_interval: Duration,
    pub(crate) checkpoint_interval: Duration,
    pub(crate) state_bytes_max: usize,
}

/// One epoch of the stage.
struct Session<'a> {
    stage: &'a ProcessStage,
    epoch: Epoch,
    sequence: u64,
    reader: Reader,
    writer: Writer,
    inputs: Vec<StreamInput>,
    watermarks: Watermarks,
    queries: Vec<QueryRun>,
    has_changed: bool,
    emitted_at: Duration,
    /// Least time from one emission to the next.
    emit_every: Duration,
    /// Positions up to which results were sent and aren't known to be acknowledged yet.
    unacknowledged: Option<Vec<(TopicPartition, i64)>>,
    saved_at: Duration,
    is_saved: bool,
}

impl ProcessStage {
    /// Runs one epoch: claims it, restores the newest snapshot, and processes until the stop switch is thrown.
    pub(crate) fn run_epoch(&self) -> Result<()> {
        let mut session = Session::open(self)?;
        while !self.context.stop.is_set() {
            session.step()?;
            self.context.status.step(NAME);
        }
        session.emit()?;
        session.save()
    }
}

impl<'a> Session<'a> {
    fn open(stage: &'a ProcessStage) -> Result<Self> {
        let epoch = stage.snapshots.claim_epoch(NAME)?;
        let mut queries = Vec::with_capacity(stage.results.len());
        for result in &stage.results {
            queries.push(QueryRun::new(stage, result)?);
        }
        let sequence = checkpoint::restore(stage, &mut queries)?;
        let mut inputs = Vec::with_capacity(stage.streams.len());
        let mut assignment = Vec::new();
        let mut watermarks = Watermarks::default();
        for stream in &stage.streams {
            let input = StreamInput::new(stream, &queries)?;
            assignment.extend(input.assignment());
            watermarks.add_stream(&stream.name, stream.topics.partitions);
            assignment.push((TopicPartition::new(stream.topics.progress.as_str(), 0), Start::Beginning));
            inputs.push(input);
        }
        let options = ReaderOptions { fetch_wait_ms: 100, ..ReaderOptions::default() };
        let mut reader = Reader::new(&stage.context.connection, &options)?;
        check_starts(&reader, &assignment)?;
        reader.assign(&assignment)?;
        let options = WriterOptions { linger_ms: 1, ..WriterOptions::default() };
        let writer = Writer::new(&stage.context.connection, &options)?;
        let now = stage.context.clock.elapsed();
        let taken: Vec<(TopicPartition, i64)> = inputs.iter().flat_map(StreamInput::topic_positions).collect();
        stage.context.status.set_published(&taken, &BTreeMap::new());
        tracing::info!(%epoch, queries = queries.len(), "the process stage starts");
        Ok(Self {
            stage,
            epoch,
            sequence,
            reader,
            writer,
            inputs,
            watermarks,
            queries,
            has_changed: false,
            emitted_at: now,
            emit_every: stage.batch_interval,
            unacknowledged: None,
            saved_at: now,
            is_saved: true,
        })
    }

    fn step(&mut self) -> Result<()> {
        let clock = self.stage.context.clock.clone();
        let since_emit = clock.elapsed().saturating_sub(self.emitted_at);
        let wait = self.emit_every.saturating_sub(since_emit).max(Duration::from_millis(1));
        let wait = if self.has_changed { wait } else { wait.max(Duration::from_millis(20)) };
        for block in self.reader.poll(model::limits::BATCH_RECORDS_MAX, wait)? {
            self.take(&block)?;
        }
        let outage = self.reader.outage().map(|outage| format!("waiting for kafka: {outage}"));
        self.stage.context.status.set_trouble(NAME, outage);
        self.apply_watermarks()?;
        if self.has_changed && clock.elapsed().saturating_sub(self.emitted_at) >= self.emit_every {
            self.emit()?;
        }
        self.note_acknowledged()?;
        self.drain_if_wanted()?;
        if !self.is_saved && clock.elapsed().saturating_sub(self.saved_at) >= self.stage.checkpoint_interval {
            self.emit()?;
            self.save()?;
        }
        Ok(())
    }

    fn take(&mut self, block: &RecordBlock) -> Result<()> {
        if let Some(index) = self.inputs.iter().position(|input| input.reads(&block.topic)) {
            let Some(input) = self.inputs.get_mut(index) else { return Ok(()) };
            let rows = input.decode(block, &*self.stage.context.schemas)?;
            for query in self.queries.iter_mut().filter(|query| query.stream() == input.stream()) {
                query.push(&rows)?;
            }
            self.has_changed = true;
            self.is_saved = false;
            return Ok(());
        }
        let stream = self.stage.streams.iter().find(|stream| *stream.topics.progress == *block.topic);
        if let Some(stream) = stream {
            for value in block.values.iter().flatten() {
                let progress = Progress::from_json(value)
                    .map_err(|error| Error::Position(format!("{} holds something else: {error}", block.topic)))?;
                self.watermarks.announce(&stream.name, &progress);
            }
        }
        Ok(())
    }

    fn apply_watermarks(&mut self) -> Result<()> {
        for input in &self.inputs {
            let Some(watermark_us) = self.watermarks.apply(input.stream(), &input.positions()) else { continue };
            for query in self.queries.iter_mut().filter(|query| query.stream() == input.stream()) {
                if query.advance(watermark_us, &input.positions())? {
                    self.has_changed = true;
                    self.is_saved = false;
                }
            }
        }
        Ok(())
    }

    /// Publishes what changed, once the emission before is acknowledged: one at most is on its way.
    fn emit(&mut self) -> Result<()> {
        let started = self.stage.context.clock.elapsed();
        self.acknowledge()?;
        let mut has_sent = false;
        for query in &mut self.queries {
            has_sent |= query.emit(&self.writer)?;
        }
        self.has_published(has_sent);
        // Under load, windows are published less often rather than at the cost of reading.
        let cost = self.emitted_at.saturating_sub(started);
        self.emit_every =
            (cost * EMIT_PAUSE).clamp(self.stage.batch_interval, EMIT_EVERY_MAX.max(self.stage.batch_interval));
        Ok(())
    }

    fn has_published(&mut self, has_sent: bool) {
        self.has_changed = false;
        self.emitted_at = self.stage.context.clock.elapsed();
        let positions: Vec<(TopicPartition, i64)> = self.inputs.iter().flat_map(StreamInput::topic_positions).collect();
        let status = &self.stage.context.status;
        if has_sent {
            self.unacknowledged = Some(positions);
        } else {
            status.set_published(&positions, &BTreeMap::new());
        }
        for query in &mut self.queries {
            let latest = query.take_latest(self.emitted_at);
            status.set_query(&query.result.query.name, query.operator.metrics(), latest);
        }
    }

    /// Tells the status of acknowledgements that have come in.
    fn note_acknowledged(&mut self) -> Result<()> {
        self.writer.poll()?;
        if self.unacknowledged.is_some() && self.writer.outstanding() == 0 {
            self.acknowledge()?;
        }
        Ok(())
    }

    /// Waits until everything sent is acknowledged.
    fn acknowledge(&mut self) -> Result<()> {
        let Some(positions) = self.unacknowledged.take() else { return Ok(()) };
        let ends = self.writer.flush(FLUSH_TIMEOUT)?;
        self.stage.context.status.set_published(&positions, &ends);
        Ok(())
    }

    /// Publishes every window's content, also of windows still open, once all records that the drain names are taken.
    fn drain_if_wanted(&mut self) -> Result<()> {
        let Some(up_to) = self.stage.context.status.drain_wanted() else { return Ok(()) };
        let positions: BTreeMap<TopicPartition, i64> =
            self.inputs.iter().flat_map(StreamInput::topic_positions).collect();
        let is_reached =
            up_to.iter().all(|(partition, &offset)| positions.get(partition).is_some_and(|&at| at >= offset));
        if !is_reached {
            return Ok(());
        }
        self.acknowledge()?;
        let mut has_sent = false;
        for query in &mut self.queries {
            has_sent |= query.drain(&self.writer)?;
        }
        self.has_published(has_sent);
        self.save()?;
        self.stage.context.status.set_drained(Drained { up_to });
        Ok(())
    }

    /// Saves a snapshot, once everything published is acknowledged: the positions in it say that it is.
    fn save(&mut self) -> Result<()> {
        self.acknowledge()?;
        self.sequence += 1;
        let bytes = checkpoint::write(self.stage, &mut self.queries)?;
        self.stage.snapshots.save(NAME, self.epoch, self.sequence, &bytes)?;
        self.saved_at = self.stage.context.clock.elapsed();
        self.is_saved = true;
        Ok(())
    }
}

/// A position below the start of the log means that records are gone which were never processed.
fn check_starts(reader: &Reader, assignment: &[(TopicPartition, Start)]) -> Result<()> {
    for (partition, start) in assignment {
        let Start::Offset(offset) = *start else { continue };
        let (first, end) = reader.range(partition)?;
        // A query that has taken nothing yet begins with whatever is there.
        if offset != 0 && !(first..=end).contains(&offset) {
            return Err(Error::Position(format!(
                "{partition} holds offsets {first} to {end}, but processing stands at {offset}: records were deleted before they were \
                 processed, or the topic was made anew"
            )));
        }
    }
    Ok(())
}
