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
//! | `adopt` | takes over what a stage of its own has filled |
//! | `takeover` | when a new generation has caught up, and when the one before it ends |

mod adopt;
pub(crate) mod checkpoint;
mod engine;
pub(crate) mod input;
pub(crate) mod queries;
mod references;
mod takeover;
mod watermarks;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kafka::{Admin, Reader, ReaderOptions, Start, Writer, WriterOptions};
use model::{Epoch, TopicPartition};
use state::{Snapshot, SnapshotStore};

use crate::error::Result;
use crate::run::context::{Context, outage};
use crate::run::generations::{Generations, Role};
use crate::run::parts::{self, Kept, parts_of};
use crate::run::positions::{self, Stand};
use crate::run::progress;
use crate::run::references::Feed;
use crate::run::results::ResultTopic;
use crate::run::sharing::{Share, Sharing};
use crate::run::status::Drained;
use crate::run::topics::StreamTopics;
use crate::run::turn::{Turn, full_words};
use adopt::Adopted;
pub(crate) use engine::{Engine, ProcessPlan};
use input::StreamInput;
use references::References;
use takeover::Takeover;

pub(crate) const NAME: &str = "process";
const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause between two emissions, in multiples of what the last one took, if that is longer than the batch interval.
const EMIT_PAUSE: u32 = 4;
/// Longest such pause.
const EMIT_EVERY_MAX: Duration = Duration::from_secs(1);
/// Bytes fetched ahead for a generation that fills: several may do so at once.
const FILL_QUEUED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The stage that fills a generation.
fn filler(result: &ResultTopic) -> String {
    format!("fill_{}", result.name())
}

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
    /// [`NAME`], or that of a generation that fills.
    pub(crate) name: String,
    /// Without reference tables: those that queries join come from `references`.
    pub(crate) plan: Arc<ProcessPlan>,
    pub(crate) references: BTreeMap<String, Arc<Feed>>,
    pub(crate) generations: Generations,
    pub(crate) snapshots: Arc<SnapshotStore>,
    pub(crate) batch_interval: Duration,
    pub(crate) checkpoint_interval: Duration,
    /// The consumer group of the processes of which one does it; without it this one does.
    pub(crate) group: Option<String>,
    /// Whether the positions of its streams are those that others wait for: no other stage reads them ahead of it.
    pub(crate) leads: bool,
    /// Whether to go on where records were deleted before they were processed.
    pub(crate) accepts_loss: bool,
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
    takeover: Option<Takeover>,
    adopted: Adopted,
    kept: Kept,
    emitted_at: Duration,
    /// Least time from one emission to the next.
    emit_every: Duration,
    /// Positions up to which results were sent and aren't known to be acknowledged yet.
    unacknowledged: Option<Vec<(TopicPartition, i64)>>,
    saved_at: Duration,
}

impl ProcessStage {
    /// One stage for these results, and one for each generation that fills: it reads from the beginning, and the others must not wait for it.
    pub(crate) fn split(self) -> Vec<Self> {
        let (filling, others): (Vec<_>, Vec<_>) =
            self.plan.results.iter().cloned().partition(|result| result.role == Role::Filling);
        let is_read_by_others = |stream: &str| others.iter().any(|other| other.query.reads(stream));
        let leads = |result: &ResultTopic| !result.query.streams().into_iter().any(is_read_by_others);
        let filling: Vec<_> =
            filling.into_iter().map(|result| (filler(&result), leads(&result), vec![result])).collect();
        std::iter::once((NAME.to_owned(), true, others))
            .filter(|(_, _, results)| !results.is_empty())
            .chain(filling)
            .map(|(name, leads, results)| {
                let is_read = |stream: &&ProcessStream| results.iter().any(|result| result.query.reads(&stream.name));
                let streams = self.plan.streams.iter().filter(is_read).cloned().collect();
                let joins = |table: &String| {
                    results.iter().flat_map(|result| result.query.references()).any(|joined| joined == table)
                };
                let references = self.references.iter().filter(|(table, _)| joins(table));
                let references = references.map(|(table, feed)| (table.clone(), feed.clone())).collect();
                let plan = Arc::new(ProcessPlan { streams, results, ..(*self.plan).clone() });
                Self { name, leads, plan, references, ..self.clone() }
            })
            .collect()
    }

    /// One process does it all, since rows of one group are in several partitions; others stand by.
    pub(crate) fn sharing(&self) -> Sharing {
        let group = self.group.as_ref().map(|group| match self.name == NAME {
            true => group.clone(),
            false => format!("{group}-{}", self.name),
        });
        Sharing::led(group, self.plan.streams.first().map(|stream| &stream.topics))
    }

    /// Runs one epoch: claims it, restores the newest snapshot, and processes until the stop switch is thrown.
    pub(crate) fn run_epoch(&self, share: &mut Share) -> Result<()> {
        share.run(|_, share| {
            let mut session = Session::open(self)?;
            while !self.context.stop.is_set() && !share.has_changed()? {
                session.step()?;
                self.context.status.step(&self.name);
            }
            session.emit()?;
            session.save()?;
            session.references.stopped(&session.engine.queries)
        })
    }

    fn stand(&self) -> Stand<'_> {
        Stand { stage: &self.name, done: "processed", accepts_loss: self.accepts_loss }
    }

    /// The newest good snapshot of a stage of this pipeline.
    fn newest(&self, stage: &str) -> Result<Option<Snapshot>> {
        parts::newest(&self.snapshots, stage, (stage, &self.plan.pipeline))
    }
}

impl<'a> Session<'a> {
    fn open(stage: &'a ProcessStage) -> Result<Self> {
        let epoch = stage.snapshots.claim_epoch(&stage.name)?;
        let validated = stage.plan.streams.iter().map(|stream| stream.topics.validated.as_str());
        let topic_ids = positions::topic_ids(&Admin::new(&stage.context.connection)?, validated)?;
        let mut references = References::open(&stage.snapshots, &stage.name, &stage.references, epoch)?;
        let plan = ProcessPlan { references: references.newest(), ..ProcessPlan::clone(&stage.plan) };
        let mut engine = Engine::new(Arc::new(plan), stage.context.schemas.clone(), &stage.name, topic_ids)?;
        let snapshot = stage.newest(&stage.name)?;
        if let Some(snapshot) = &snapshot {
            engine.restore(&stage.name, &snapshot.bytes, &parts_of(&stage.snapshots, &stage.name))?;
        }
        let sequence = snapshot.as_ref().map_or(0, |snapshot| snapshot.sequence);
        let adopted = Adopted::take(stage, &mut engine, &mut references)?;
        let mut options = ReaderOptions { fetch_wait_ms: 100, ..ReaderOptions::default() };
        if stage.name != NAME {
            options.queued_bytes_max = FILL_QUEUED_BYTES_MAX;
        }
        let mut reader = Reader::new(&stage.context.connection, &options)?;
        let (mut ends, mut read_before) = (BTreeMap::new(), BTreeMap::new());
        for stream in &stage.plan.streams {
            let ranges = ranges(&reader, stream)?;
            for query in &mut engine.queries {
                query.begin(&stream.name, &stage.stand(), &ranges)?;
            }
            ends.insert(stream.name.clone(), ranges.iter().map(|(_, (_, end))| *end).collect());
            read_before.extend(ranges.into_iter().map(|(partition, (_, end))| (partition, end)));
        }
        references.begin(&mut engine.queries, &ends)?;
        engine.begin()?;
        // Before the first epoch nothing was published.
        if epoch != Epoch::default().next() || !adopted.is_empty() {
            engine.replay_up_to(read_before);
        }
        let mut assignment: Vec<_> = engine.inputs.iter().flat_map(StreamInput::assignment).collect();
        for (stream, input) in stage.plan.streams.iter().zip(&engine.inputs) {
            let progress = TopicPartition::new(stream.topics.progress.as_str(), 0);
            assignment.push((progress, progress_start(stage, &reader, stream, input, &engine.queries)?));
        }
        reader.assign(&assignment)?;
        let options = WriterOptions { linger_ms: 1, ..WriterOptions::default() };
        let writer = Writer::new(&stage.context.connection, &options)?;
        let takeover = Takeover::new(stage, &reader)?;
        // Where a new query begins is saved soon, too: from then on nothing before its position may be missing.
        engine.is_saved = engine.queries.iter().all(|query| query.is_restored) && adopted.is_empty();
        let now = stage.context.clock.elapsed();
        let taken: Vec<(TopicPartition, i64)> = engine.positions().collect();
        if stage.leads {
            stage.context.status.set_published(&taken, &BTreeMap::new());
        }
        tracing::info!(%epoch, stage = %stage.name, queries = engine.queries.len(), "the process stage starts");
        Ok(Self {
            stage,
            epoch,
            sequence,
            reader,
            writer,
            engine,
            references,
            takeover,
            adopted,
            kept: Kept::default(),
            emitted_at: now,
            emit_every: stage.batch_interval,
            unacknowledged: None,
            saved_at: now,
        })
    }

    fn step(&mut self) -> Result<()> {
        self.references.take_changes(&mut self.engine.queries)?;
        let clock = self.stage.context.clock.clone();
        let since_emit = clock.elapsed().saturating_sub(self.emitted_at);
        let wait = self.emit_every.saturating_sub(since_emit).max(Duration::from_millis(1));
        let wait = if self.engine.has_changed { wait } else { wait.max(Duration::from_millis(20)) };
        if self.engine.full().is_some() {
            self.make_room()?;
        } else {
            for block in self.reader.poll(model::limits::BATCH_RECORDS_MAX, wait)? {
                self.engine.take(&block)?;
                if let Some(takeover) = &mut self.takeover {
                    takeover.read(&block);
                }
            }
        }
        let trouble = self.engine.full().map(full_words).or_else(|| outage(&self.reader));
        self.stage.context.status.set_trouble(&self.stage.name, trouble);
        self.engine.apply_watermarks()?;
        if self.engine.has_changed && clock.elapsed().saturating_sub(self.emitted_at) >= self.emit_every {
            self.emit()?;
        }
        self.note_acknowledged()?;
        self.drain_if_wanted()?;
        self.end_step()
    }

    fn has_published(&mut self, has_sent: bool) {
        self.emitted_at = self.stage.context.clock.elapsed();
        let positions: Vec<(TopicPartition, i64)> = self.engine.positions().collect();
        let status = &self.stage.context.status;
        if has_sent {
            self.unacknowledged = Some(positions);
        } else if self.stage.leads {
            status.set_published(&positions, &BTreeMap::new());
        }
        for query in &mut self.engine.queries {
            let latest = query.take_latest(self.emitted_at);
            status.set_query(&query.result.name(), query.operator.metrics(), latest);
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
        if self.stage.leads {
            self.stage.context.status.set_published(&positions, &ends);
        }
        Ok(())
    }

    /// Publishes every window's content, also of windows still open, once all records that the drain names are taken, with the watermarks that
    /// go with them: so a window that is over is published as such.
    fn drain_if_wanted(&mut self) -> Result<()> {
        let Some(up_to) = self.stage.context.status.drain_wanted(&self.stage.name) else { return Ok(()) };
        if !up_to.iter().all(|(partition, &offset)| self.engine.has_settled(partition, offset)) {
            return Ok(());
        }
        self.acknowledge()?;
        let has_sent = self.engine.drain(&self.writer)?;
        self.has_published(has_sent);
        self.save()?;
        self.stage.context.status.set_drained(&self.stage.name, Drained { up_to });
        Ok(())
    }
}

impl Turn for Session<'_> {
    fn context(&self) -> &Context {
        &self.stage.context
    }

    fn full(&self) -> Option<&str> {
        self.engine.full()
    }

    fn hand_over(&mut self) -> Result<()> {
        self.engine.hand_over()
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

    /// Saves a snapshot, once everything published is acknowledged: the positions in it say that it is.
    fn save(&mut self) -> Result<()> {
        self.acknowledge()?;
        self.sequence += 1;
        let (snapshots, owner) = (&*self.stage.snapshots, self.stage.name.as_str());
        let bytes = self.engine.snapshot(&parts_of(snapshots, owner))?;
        let names = self.engine.part_names();
        self.kept.save(snapshots, (owner, self.epoch, self.sequence), &bytes, names)?;
        self.references.saved(&self.engine.queries);
        self.adopted.saved(&self.stage.snapshots)?;
        self.saved_at = self.stage.context.clock.elapsed();
        self.engine.is_saved = true;
        Ok(())
    }

    fn save_due(&mut self) -> Result<()> {
        let since = self.stage.context.clock.elapsed().saturating_sub(self.saved_at);
        if self.engine.is_saved || since < self.stage.checkpoint_interval {
            return Ok(());
        }
        self.emit()?;
        self.save()
    }

    fn has_caught_up(&self) -> bool {
        self.takeover.as_ref().is_some_and(|takeover| takeover.is_due(self.stage, &self.engine))
    }

    fn announce(&mut self) -> Result<()> {
        let Some(takeover) = &mut self.takeover else { return Ok(()) };
        takeover.announce(self.stage, &self.engine, &self.reader)
    }

    fn retire(&mut self) -> Result<()> {
        let Some(takeover) = &mut self.takeover else { return Ok(()) };
        if takeover.retire(self.stage, &mut self.engine.queries)? {
            self.engine.is_saved = false;
        }
        Ok(())
    }
}

/// The offsets that each validated partition of a stream holds.
fn ranges(reader: &Reader, stream: &ProcessStream) -> Result<Vec<(TopicPartition, (i64, i64))>> {
    let range = |number| {
        let partition = TopicPartition::new(stream.topics.validated.as_str(), number);
        let range = reader.range(&partition)?;
        Ok((partition, range))
    };
    (0..stream.topics.partitions).map(range).collect()
}

/// Where to begin with a stream's progress: a query that goes on needs the watermarks from its position on, a new one all there are.
fn progress_start(
    stage: &ProcessStage,
    reader: &Reader,
    stream: &ProcessStream,
    input: &StreamInput,
    queries: &[queries::QueryRun],
) -> Result<Start> {
    if queries.iter().any(|query| query.taken(&stream.name).is_some() && !query.is_restored) {
        return Ok(Start::Beginning);
    }
    let context = &stage.context;
    let topic = &stream.topics.progress;
    Ok(Start::Offset(progress::start_for(&context.connection, reader, topic, &input.positions(), &context.stop)?))
}
