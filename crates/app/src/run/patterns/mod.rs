//! The patterns stage: validated records and progress in, matches out.
//!
//! It runs beside the process stage, in every deployment. Each partition of a stream is on its own: operators, watermark, position, epoch and
//! snapshots. So several processes may share the partitions through a consumer group, and take over each other's state.
//!
//! | file | does |
//! | --- | --- |
//! | `plan` | what is matched: patterns, streams, partitions |
//! | `engine` | the stage without its peers: what a test drives too |
//! | `partition` | the operators of one partition with their positions and its watermark |
//! | `checkpoint` | positions and operator states of a partition out and in |
//! | `due` | when which partition's snapshot is due |
//! | `takeover` | when a new generation has caught up, and when the one before it ends |
//! | `limits` | the record of what patterns gave up: topic, table, rows |

mod checkpoint;
mod due;
mod engine;
mod limits;
mod partition;
mod plan;
mod takeover;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kafka::{Admin, Reader, ReaderOptions, Start, Writer, WriterOptions};
use model::{Epoch, TopicPartition};
use state::{OwnedParts, SnapshotStore};

use crate::error::Result;
use crate::run::context::{Context, outage};
use crate::run::generations::{Generations, Role};
use crate::run::parts::{self, Kept, parts_of};
use crate::run::positions::{self, Stand};
use crate::run::process::ProcessStream;
use crate::run::progress;
use crate::run::results::ResultTopic;
use crate::run::sharing::{Share, Sharing};
use crate::run::status::Drained;
use crate::run::turn::{Turn, full_words};
pub(crate) use engine::PatternEngine;
pub(crate) use plan::{PartitionId, PatternPlan};
use takeover::Takeover;

pub(crate) const NAME: &str = "patterns";
const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);

/// What the stage needs to know of its project.
#[derive(Debug, Clone)]
pub(crate) struct PatternsStage {
    pub(crate) context: Context,
    /// [`NAME`], or that of a generation that fills.
    pub(crate) name: String,
    pub(crate) plan: Arc<PatternPlan>,
    pub(crate) generations: Generations,
    pub(crate) snapshots: Arc<SnapshotStore>,
    pub(crate) batch_interval: Duration,
    pub(crate) checkpoint_interval: Duration,
    /// The consumer group through which processes share the partitions; without it this one takes them all.
    pub(crate) group: Option<String>,
    /// Whether the positions of its streams are those that others wait for: no other stage of patterns reads them ahead of it.
    pub(crate) leads: bool,
    /// Whether to go on where records were deleted before they were matched.
    pub(crate) accepts_loss: bool,
}

/// The stage that fills a generation.
fn filler(result: &ResultTopic) -> String {
    format!("fill_{}", result.name())
}

/// Snapshots that must hold what was taken over before it is removed where it was: as many as are kept.
const SNAPSHOTS: u32 = 2;

/// A partition that this process has.
#[derive(Debug)]
struct Claim {
    epoch: Epoch,
    /// Number of the last snapshot.
    sequence: u64,
    /// Snapshots saved in this epoch.
    saved: u32,
    /// When the last one was.
    saved_at: Duration,
    /// Their parts.
    kept: Kept,
    /// Under which names there are states of patterns that stages of their own have filled.
    filled: Vec<String>,
}

/// A snapshot's bytes, and where its parts are.
type Saved<'a> = (Vec<u8>, OwnedParts<'a>);

/// One epoch of the stage.
struct Session<'a> {
    stage: &'a PatternsStage,
    claims: BTreeMap<PartitionId, Claim>,
    reader: Reader,
    writer: Writer,
    engine: PatternEngine,
    takeover: Option<Takeover>,
    emitted_at: Duration,
    /// When a snapshot of any partition was saved.
    saved_at: Duration,
}

impl PatternsStage {
    /// One stage for these patterns, and one for each generation that fills: it reads from the beginning, and the others must not wait for it.
    pub(crate) fn split(self) -> Vec<Self> {
        let (filling, others): (Vec<_>, Vec<_>) =
            self.plan.results.iter().cloned().partition(|result| result.role == Role::Filling);
        let is_read_by_others = |stream: &str| others.iter().any(|other| other.query.reads(stream));
        let leads = |result: &ResultTopic| !result.query.streams().into_iter().any(is_read_by_others);
        let filling: Vec<_> =
            filling.into_iter().map(|result| (filler(&result), leads(&result), vec![result])).collect();
        let all = std::iter::once((NAME.to_owned(), true, others)).chain(filling);
        let stage = |(name, leads, results): (String, bool, Vec<ResultTopic>)| {
            let is_read = |stream: &&ProcessStream| results.iter().any(|result| result.query.reads(&stream.name));
            let streams = self.plan.streams.iter().filter(is_read).cloned().collect();
            let group = self.group.as_ref().map(|group| match name == NAME {
                true => group.clone(),
                false => format!("{group}-{name}"),
            });
            let plan = Arc::new(PatternPlan { streams, results, ..(*self.plan).clone() });
            Self { name, plan, group, leads, ..self.clone() }
        };
        all.filter(|(.., results)| !results.is_empty()).map(stage).collect()
    }

    /// Whether it fills a generation.
    fn is_filler(&self) -> bool {
        self.name != NAME
    }

    fn stand(&self) -> Stand<'_> {
        Stand { stage: &self.name, done: "matched", accepts_loss: self.accepts_loss }
    }

    /// What it has to share: partitions; what fills a generation is done by one process.
    pub(crate) fn sharing(&self) -> Sharing {
        let group = self.group.clone();
        match self.is_filler() {
            true => Sharing::led(group, self.plan.streams.first().map(|stream| &stream.topics)),
            false => {
                Sharing::partitions(group, self.plan.partitions().into_iter().filter_map(|id| self.plan.validated(id)))
            }
        }
    }

    /// Runs one epoch: claims the partitions that are this process's, restores their newest snapshots, and matches until the stop switch is
    /// thrown. When the group gives it other partitions, it does so again with those.
    pub(crate) fn run_epoch(&self, share: &mut Share) -> Result<()> {
        share.run(|own, share| {
            let mut session = Session::open(self, &self.ids(own))?;
            while !self.context.stop.is_set() && !share.has_changed()? {
                session.step()?;
                self.context.status.step(&self.name);
            }
            session.emit()?;
            session.save()
        })
    }

    /// What to work on, given what is this process's.
    fn ids(&self, own: &BTreeSet<TopicPartition>) -> Vec<PartitionId> {
        let is_own = |id: &PartitionId| self.plan.validated(*id).is_some_and(|partition| own.contains(&partition));
        self.plan.partitions().into_iter().filter(|id| self.is_filler() || is_own(id)).collect()
    }

    /// Claims a partition. Gives the snapshots to go on from: its own, and what the patterns that aren't in it were filled with by stages of
    /// their own.
    fn claim(&self, id: PartitionId) -> Result<(Claim, Vec<Saved<'_>>)> {
        let owner = self.plan.owner(&self.name, id);
        let epoch = self.snapshots.claim_epoch(&owner)?;
        let (kept, saved_at) = (Kept::default(), self.context.clock.elapsed());
        let mut claim = Claim { epoch, sequence: 0, saved: 0, saved_at, kept, filled: Vec::new() };
        let mut snapshots = Vec::new();
        let fillers = self.plan.results.iter().filter(|_| !self.is_filler()).map(filler);
        let fillers: Vec<String> = fillers.map(|filler| self.plan.owner(&filler, id)).collect();
        for (at, owner) in std::iter::once(owner).chain(fillers).enumerate() {
            let newest = parts::newest(&self.snapshots, &owner, (NAME, &self.plan.pipeline))?;
            let Some(snapshot) = newest else { continue };
            let parts = parts_of(&self.snapshots, &owner);
            match at {
                0 => claim.sequence = snapshot.sequence,
                _ => claim.filled.push(owner),
            }
            snapshots.push((snapshot.bytes, parts));
        }
        Ok((claim, snapshots))
    }
}

impl<'a> Session<'a> {
    fn open(stage: &'a PatternsStage, ids: &[PartitionId]) -> Result<Self> {
        let connection = &stage.context.connection;
        let validated = stage.plan.streams.iter().map(|stream| stream.topics.validated.as_str());
        let topic_ids = positions::topic_ids(&Admin::new(connection)?, validated)?;
        let mut claims = BTreeMap::new();
        let schemas = stage.context.schemas.clone();
        let mut engine = PatternEngine::open(stage.plan.clone(), schemas, topic_ids, ids, |id| {
            let (claim, snapshots) = stage.claim(id)?;
            claims.insert(id, claim);
            Ok(snapshots)
        })?;
        let options = ReaderOptions { fetch_wait_ms: 100, ..ReaderOptions::default() };
        let mut reader = Reader::new(connection, &options)?;
        engine.check(&stage.stand(), |partition| Ok(reader.range(partition)?))?;
        engine.begin()?;
        let mut assignment = engine.assignment();
        for (topic, known) in engine.progress_read() {
            let start = match known {
                Some(positions) => {
                    Start::Offset(progress::start_for(connection, &reader, topic, &positions, &stage.context.stop)?)
                }
                None => Start::Beginning,
            };
            assignment.push((TopicPartition::new(topic, 0), start));
        }
        reader.assign(&assignment)?;
        let options = WriterOptions { linger_ms: 1, ..WriterOptions::default() };
        let writer = Writer::new(connection, &options)?;
        let takeover = Takeover::new(stage, &engine, &reader)?;
        let now = stage.context.clock.elapsed();
        let (name, patterns, partitions) = (&stage.name, stage.plan.results.len(), ids.len());
        tracing::info!(stage = %name, patterns, partitions, "the patterns stage starts");
        let session = Self { stage, claims, reader, writer, engine, takeover, emitted_at: now, saved_at: now };
        session.note_matched();
        Ok(session)
    }

    fn note_matched(&self) {
        if self.stage.leads {
            self.stage.context.status.set_matched(self.engine.positions());
        }
    }

    fn step(&mut self) -> Result<()> {
        let clock = self.stage.context.clock.clone();
        let since_emit = clock.elapsed().saturating_sub(self.emitted_at);
        let wait = self.stage.batch_interval.saturating_sub(since_emit).max(Duration::from_millis(1));
        let wait = if self.engine.has_changed { wait } else { wait.max(Duration::from_millis(20)) };
        if self.engine.full().is_some() {
            self.make_room()?;
        } else {
            for block in self.reader.poll(model::limits::BATCH_RECORDS_MAX, wait)? {
                self.engine.take(&block)?;
            }
        }
        let trouble = self.engine.full().map(full_words).or_else(|| outage(&self.reader));
        self.stage.context.status.set_trouble(&self.stage.name, trouble);
        self.engine.apply_watermarks()?;
        if self.engine.has_changed && clock.elapsed().saturating_sub(self.emitted_at) >= self.stage.batch_interval {
            self.emit()?;
        }
        self.drain_if_wanted()?;
        self.end_step()
    }

    fn save_partition(&mut self, id: PartitionId) -> Result<()> {
        let Some(claim) = self.claims.get_mut(&id) else { return Ok(()) };
        claim.sequence += 1;
        let snapshots = &*self.stage.snapshots;
        let owner = self.stage.plan.owner(&self.stage.name, id);
        let (bytes, names) = self.engine.snapshot(id, &parts_of(snapshots, &owner))?;
        claim.kept.save(snapshots, (&owner, claim.epoch, claim.sequence), &bytes, names)?;
        claim.saved += 1;
        // Where processes share the partitions, another one may still fill on.
        if claim.saved >= SNAPSHOTS && self.stage.group.is_none() {
            for owner in claim.filled.drain(..) {
                parts::forget(snapshots, &owner)?;
            }
        }
        self.engine.saved(id);
        claim.saved_at = self.stage.context.clock.elapsed();
        self.saved_at = claim.saved_at;
        Ok(())
    }

    /// Publishes what is certain once all records that the drain names are taken, with the watermarks that go with them. A match that rows
    /// could still change isn't published.
    fn drain_if_wanted(&mut self) -> Result<()> {
        let Some(up_to) = self.stage.context.status.drain_wanted(&self.stage.name) else { return Ok(()) };
        if !up_to.iter().all(|(partition, offset)| self.engine.has_settled(partition, *offset)) {
            return Ok(());
        }
        self.emit()?;
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

    /// Publishes the matches found and what was given up, and waits for the acknowledgements.
    fn emit(&mut self) -> Result<()> {
        if self.engine.emit(&self.writer)? {
            self.writer.flush(FLUSH_TIMEOUT)?;
        }
        self.note_matched();
        let status = &self.stage.context.status;
        self.emitted_at = self.stage.context.clock.elapsed();
        let metrics = self.engine.metrics();
        for ((result, shown), metrics) in self.engine.shown().zip(metrics) {
            let latest = shown.take(self.emitted_at, &result.query.identity);
            status.set_query(&result.name(), metrics, latest);
        }
        Ok(())
    }

    /// Saves each partition that has changed, once everything published is acknowledged: the positions in it say that it is.
    fn save(&mut self) -> Result<()> {
        self.engine.unsaved().into_iter().try_for_each(|id| self.save_partition(id))
    }

    fn save_due(&mut self) -> Result<()> {
        let (now, interval) = (self.stage.context.clock.elapsed(), self.stage.checkpoint_interval);
        let unsaved = self.engine.unsaved().into_iter();
        let unsaved = unsaved.filter_map(|id| Some((id, self.claims.get(&id)?.saved_at)));
        let Some(id) = due::due(unsaved, self.saved_at, self.claims.len(), interval, now) else { return Ok(()) };
        self.emit()?;
        self.save_partition(id)
    }

    fn has_caught_up(&self) -> bool {
        self.takeover.as_ref().is_some_and(|takeover| takeover.is_due(self.stage, &self.engine))
    }

    fn announce(&mut self) -> Result<()> {
        let Some(takeover) = &mut self.takeover else { return Ok(()) };
        takeover.announce(self.stage, &self.reader)
    }

    fn retire(&mut self) -> Result<()> {
        let Some(takeover) = &mut self.takeover else { return Ok(()) };
        if takeover.retire(self.stage, &mut self.engine)? {
            self.takeover = None;
        }
        Ok(())
    }
}
