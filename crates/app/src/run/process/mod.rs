//! The process stage: validated records and progress in, results out.
//!
//! | file | does |
//! | --- | --- |
//! | `engine` | the stage without its peers: what a test drives too |
//! | `input` | reads validated records: continuity, decoding |
//! | `watermarks` | applies a partition's watermark once its records have been read |
//! | `queries` | the operators with the positions that each has taken |
//! | `references` | which version of each reference table a row is joined with |
//! | `checkpoint` | positions and operator states out and in |

mod checkpoint;
mod engine;
pub(crate) mod input;
pub(crate) mod queries;
mod references;
mod watermarks;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kafka::{Reader, ReaderOptions, Start, Writer, WriterOptions};
use model::{Epoch, TopicPartition};
use state::SnapshotStore;

use crate::error::{Error, Result};
use crate::run::context::Context;
use crate::run::references::Feed;
use crate::run::status::Drained;
use crate::run::topics::StreamTopics;
pub(crate) use engine::{Engine, ProcessPlan};
use input::StreamInput;
use references::References;

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
    /// Without reference tables: those that queries join come from `references`.
    pub(crate) plan: Arc<ProcessPlan>,
    pub(crate) references: BTreeMap<String, Arc<Feed>>,
    pub(crate) snapshots: Arc<SnapshotStore>,
    pub(crate) batch_interval: Duration,
    pub(crate) checkpoint_interval: Duration,
}

/// One epoch of the stage.
struct Session<'a> {
    stage: &'a ProcessStage,
    epoch: Epoch,
    sequence: u64,
    reader: Reader,
    writer: Writer,
    engine: Engine,
    references: References,
    emitted_at: Duration,
    /// Least time from one emission to the next.
    emit_every: Duration,
    /// Positions up to which results were sent and aren't known to be acknowledged yet.
    unacknowledged: Option<Vec<(TopicPartition, i64)>>,
    saved_at: Duration,
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
        session.save()?;
        session.references.stopped(self, &session.engine.queries)
    }
}

impl<'a> Session<'a> {
    fn open(stage: &'a ProcessStage) -> Result<Self> {
        let epoch = stage.snapshots.claim_epoch(NAME)?;
        let snapshot = stage.snapshots.load(NAME)?;
        for skipped in snapshot.iter().flat_map(|snapshot| &snapshot.skipped) {
            tracing::warn!(%skipped, "a snapshot can't be used; the one before it is taken and the rest is replayed");
        }
        let bytes = snapshot.as_ref().map(|snapshot| snapshot.bytes.as_slice());
        let mut references = References::open(stage, epoch)?;
        let plan = ProcessPlan { references: references.newest(), ..ProcessPlan::clone(&stage.plan) };
        let mut engine = Engine::open(Arc::new(plan), stage.context.schemas.clone(), bytes)?;
        let sequence = snapshot.as_ref().map_or(0, |snapshot| snapshot.sequence);
        let mut assignment: Vec<_> = engine.inputs.iter().flat_map(StreamInput::assignment).collect();
        for stream in &stage.plan.streams {
            assignment.push((TopicPartition::new(stream.topics.progress.as_str(), 0), Start::Beginning));
        }
        let options = ReaderOptions { fetch_wait_ms: 100, ..ReaderOptions::default() };
        let mut reader = Reader::new(&stage.context.connection, &options)?;
        check_starts(&reader, &assignment)?;
        references.begin(stage, &mut engine.queries, |stream| validated_ends(stage, &reader, stream))?;
        reader.assign(&assignment)?;
        let options = WriterOptions { linger_ms: 1, ..WriterOptions::default() };
        let writer = Writer::new(&stage.context.connection, &options)?;
        let now = stage.context.clock.elapsed();
        let taken: Vec<(TopicPartition, i64)> = engine.positions().collect();
        stage.context.status.set_published(&taken, &BTreeMap::new());
        tracing::info!(%epoch, queries = engine.queries.len(), "the process stage starts");
        Ok(Self {
            stage,
            epoch,
            sequence,
            reader,
            writer,
            engine,
            references,
            emitted_at: now,
            emit_every: stage.batch_interval,
            unacknowledged: None,
            saved_at: now,
        })
    }

    fn step(&mut self) -> Result<()> {
        self.references.take_changes(self.stage, &mut self.engine.queries)?;
        let clock = self.stage.context.clock.clone();
        let since_emit = clock.elapsed().saturating_sub(self.emitted_at);
        let wait = self.emit_every.saturating_sub(since_emit).max(Duration::from_millis(1));
        let wait = if self.engine.has_changed { wait } else { wait.max(Duration::from_millis(20)) };
        for block in self.reader.poll(model::limits::BATCH_RECORDS_MAX, wait)? {
            self.engine.take(&block)?;
        }
        let outage = self.reader.outage().map(|outage| format!("waiting for kafka: {outage}"));
        self.stage.context.status.set_trouble(NAME, outage);
        self.engine.apply_watermarks()?;
        if self.engine.has_changed && clock.elapsed().saturating_sub(self.emitted_at) >= self.emit_every {
            self.emit()?;
        }
        self.note_acknowledged()?;
        self.drain_if_wanted()?;
        if !self.engine.is_saved && clock.elapsed().saturating_sub(self.saved_at) >= self.stage.checkpoint_interval {
            self.emit()?;
            self.save()?;
        }
        Ok(())
    }

    /// Publishes what changed, once the emission before is acknowledged: one at most is on its way.
    fn emit(&mut self) -> Result<()> {
        let started = self.stage.context.clock.elapsed();
        self.acknowledge()?;
        let has_sent = self.engine.emit(&self.writer)?;
        self.has_published(has_sent);
        // Under load, windows are published less often rather than at the cost of reading.
        let cost = self.emitted_at.saturating_sub(started);
        self.emit_every =
            (cost * EMIT_PAUSE).clamp(self.stage.batch_interval, EMIT_EVERY_MAX.max(self.stage.batch_interval));
        Ok(())
    }

    fn has_published(&mut self, has_sent: bool) {
        self.emitted_at = self.stage.context.clock.elapsed();
        let positions: Vec<(TopicPartition, i64)> = self.engine.positions().collect();
        let status = &self.stage.context.status;
        if has_sent {
            self.unacknowledged = Some(positions);
        } else {
            status.set_published(&positions, &BTreeMap::new());
        }
        for query in &mut self.engine.queries {
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
        let Some(up_to) = self.stage.context.status.drain_wanted(NAME) else { return Ok(()) };
        let positions: BTreeMap<TopicPartition, i64> = self.engine.positions().collect();
        let is_reached =
            up_to.iter().all(|(partition, &offset)| positions.get(partition).is_some_and(|&at| at >= offset));
        if !is_reached {
            return Ok(());
        }
        self.acknowledge()?;
        let has_sent = self.engine.drain(&self.writer)?;
        self.has_published(has_sent);
        self.save()?;
        self.stage.context.status.set_drained(NAME, Drained { up_to });
        Ok(())
    }

    /// Saves a snapshot, once everything published is acknowledged: the positions in it say that it is.
    fn save(&mut self) -> Result<()> {
        self.acknowledge()?;
        self.sequence += 1;
        let bytes = self.engine.snapshot()?;
        self.stage.snapshots.save(NAME, self.epoch, self.sequence, &bytes)?;
        self.references.saved(&self.engine.queries);
        self.saved_at = self.stage.context.clock.elapsed();
        self.engine.is_saved = true;
        Ok(())
    }
}

/// A position below the start of the log means that records are gone which were never processed.
pub(crate) fn check_starts(reader: &Reader, assignment: &[(TopicPartition, Start)]) -> Result<()> {
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

/// The next offset of each validated partition of a stream.
fn validated_ends(stage: &ProcessStage, reader: &Reader, stream: &str) -> Result<Vec<i64>> {
    let Some(stream) = stage.plan.streams.iter().find(|known| known.name == stream) else { return Ok(Vec::new()) };
    let partition = |number| TopicPartition::new(stream.topics.validated.as_str(), number);
    (0..stream.topics.partitions).map(|number| Ok(reader.range(&partition(number))?.1)).collect()
}
