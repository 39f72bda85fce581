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
//! | `sharing` | which partitions are this process's |
//! | `limits` | the record of what patterns gave up: topic, table, rows |

mod checkpoint;
mod engine;
mod limits;
mod partition;
mod plan;
mod sharing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kafka::{Reader, ReaderOptions, Start, Writer, WriterOptions};
use model::{Epoch, TopicPartition};
use state::SnapshotStore;

use crate::error::{Error, Result};
use crate::run::context::Context;
use crate::run::status::Drained;
pub(crate) use engine::PatternEngine;
pub(crate) use plan::{PartitionId, PatternPlan};
use sharing::Share;

pub(crate) const NAME: &str = "patterns";
const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);

/// What the stage needs to know of its project.
#[derive(Debug, Clone)]
pub(crate) struct PatternsStage {
    pub(crate) context: Context,
    pub(crate) plan: Arc<PatternPlan>,
    pub(crate) snapshots: Arc<SnapshotStore>,
    pub(crate) batch_interval: Duration,
    pub(crate) checkpoint_interval: Duration,
    /// The consumer group through which processes share the partitions; without it this one takes them all.
    pub(crate) group: Option<String>,
}

/// One epoch of the stage.
struct Session<'a> {
    stage: &'a PatternsStage,
    /// Epoch of each partition, and the number of its last snapshot.
    claims: BTreeMap<PartitionId, (Epoch, u64)>,
    reader: Reader,
    writer: Writer,
    engine: PatternEngine,
    emitted_at: Duration,
    saved_at: Duration,
}

impl PatternsStage {
    /// Runs one epoch: claims the partitions that are this process's, restores their newest snapshots, and matches until the stop switch is
    /// thrown. When the group gives it other partitions, it does so again with those.
    pub(crate) fn run_epoch(&self) -> Result<()> {
        let mut share = Share::open(self)?;
        while !self.context.stop.is_set() {
            let own = share.partitions();
            if own.is_empty() {
                share.wait()?;
                self.context.status.step(NAME);
                continue;
            }
            match self.run_partitions(&own, &mut share) {
                Err(error) if share.has_lost(&error) => {
                    tracing::info!("another process has taken over partitions of the patterns stage");
                    share.wait()?;
                }
                ended => ended?,
            }
        }
        Ok(())
    }

    fn run_partitions(&self, own: &[PartitionId], share: &mut Share) -> Result<()> {
        let mut session = Session::open(self, own)?;
        while !self.context.stop.is_set() && !share.has_changed()? {
            session.step()?;
            self.context.status.step(NAME);
        }
        session.emit()?;
        session.save()
    }

    /// Claims a partition, and gives its newest good snapshot.
    fn claim(&self, id: PartitionId) -> Result<(Epoch, Option<state::Snapshot>)> {
        let owner = self.plan.owner(id);
        let epoch = self.snapshots.claim_epoch(&owner)?;
        let snapshot = self.snapshots.load(&owner)?;
        for skipped in snapshot.iter().flat_map(|snapshot| &snapshot.skipped) {
            tracing::warn!(%skipped, "a snapshot can't be used; the one before it is taken and the rest is replayed");
        }
        Ok((epoch, snapshot))
    }
}

impl<'a> Session<'a> {
    fn open(stage: &'a PatternsStage, ids: &[PartitionId]) -> Result<Self> {
        let mut claims = BTreeMap::new();
        let schemas = stage.context.schemas.clone();
        let engine = PatternEngine::open(stage.plan.clone(), schemas, ids, |id| {
            let (epoch, snapshot) = stage.claim(id)?;
            claims.insert(id, (epoch, snapshot.as_ref().map_or(0, |snapshot| snapshot.sequence)));
            Ok(snapshot.map(|snapshot| snapshot.bytes))
        })?;
        let options = ReaderOptions { fetch_wait_ms: 100, ..ReaderOptions::default() };
        let mut reader = Reader::new(&stage.context.connection, &options)?;
        let assignment = engine.assignment();
        check_starts(&reader, &assignment)?;
        reader.assign(&assignment)?;
        let options = WriterOptions { linger_ms: 1, ..WriterOptions::default() };
        let writer = Writer::new(&stage.context.connection, &options)?;
        stage.context.status.set_matched(engine.positions());
        let now = stage.context.clock.elapsed();
        tracing::info!(patterns = stage.plan.results.len(), partitions = ids.len(), "the patterns stage starts");
        Ok(Self { stage, claims, reader, writer, engine, emitted_at: now, saved_at: now })
    }

    fn step(&mut self) -> Result<()> {
        let clock = self.stage.context.clock.clone();
        let since_emit = clock.elapsed().saturating_sub(self.emitted_at);
        let wait = self.stage.batch_interval.saturating_sub(since_emit).max(Duration::from_millis(1));
        let wait = if self.engine.has_changed { wait } else { wait.max(Duration::from_millis(20)) };
        for block in self.reader.poll(model::limits::BATCH_RECORDS_MAX, wait)? {
            self.engine.take(&block)?;
        }
        let outage = self.reader.outage().map(|outage| format!("waiting for kafka: {outage}"));
        self.stage.context.status.set_trouble(NAME, outage);
        self.engine.apply_watermarks()?;
        if self.engine.has_changed && clock.elapsed().saturating_sub(self.emitted_at) >= self.stage.batch_interval {
            self.emit()?;
        }
        self.drain_if_wanted()?;
        let since_save = clock.elapsed().saturating_sub(self.saved_at);
        if since_save >= self.stage.checkpoint_interval && !self.engine.unsaved().is_empty() {
            self.emit()?;
            self.save()?;
        }
        Ok(())
    }

    /// Publishes the matches found and what was given up, and waits for the acknowledgements.
    fn emit(&mut self) -> Result<()> {
        if self.engine.emit(&self.writer)? {
            self.writer.flush(FLUSH_TIMEOUT)?;
        }
        let status = &self.stage.context.status;
        status.set_matched(self.engine.positions());
        self.emitted_at = self.stage.context.clock.elapsed();
        let metrics = self.engine.metrics();
        for ((result, shown), metrics) in self.engine.shown().zip(metrics) {
            let latest = shown.take(self.emitted_at, &result.query.identity);
            status.set_query(&result.name(), metrics, latest);
        }
        Ok(())
    }

    /// Publishes what is certain once all records that the drain names are taken, with the watermarks that go with them. A match that rows
    /// could still change isn't published.
    fn drain_if_wanted(&mut self) -> Result<()> {
        let Some(up_to) = self.stage.context.status.drain_wanted(NAME) else { return Ok(()) };
        if !up_to.iter().all(|(partition, offset)| self.engine.has_settled(partition, *offset)) {
            return Ok(());
        }
        self.emit()?;
        self.save()?;
        self.stage.context.status.set_drained(NAME, Drained { up_to });
        Ok(())
    }

    /// Saves each partition that has changed, once everything published is acknowledged: the positions in it say that it is.
    fn save(&mut self) -> Result<()> {
        for id in self.engine.unsaved() {
            let Some((epoch, sequence)) = self.claims.get_mut(&id) else { continue };
            *sequence += 1;
            let bytes = self.engine.snapshot(id)?;
            self.stage.snapshots.save(&self.stage.plan.owner(id), *epoch, *sequence, &bytes)?;
            self.engine.saved(id);
        }
        self.saved_at = self.stage.context.clock.elapsed();
        Ok(())
    }
}

/// A position below the start of the log means that records are gone which were never matched.
fn check_starts(reader: &Reader, assignment: &[(TopicPartition, Start)]) -> Result<()> {
    for (partition, start) in assignment {
        let Start::Offset(offset) = *start else { continue };
        let (first, end) = reader.range(partition)?;
        if !(first..=end).contains(&offset) {
            return Err(Error::Position(format!(
                "{partition} holds offsets {first} to {end}, but {NAME} stands at {offset}: records were deleted before they were \
                 matched, or the topic was made anew; docs/recovery.md says how to start over"
            )));
        }
    }
    Ok(())
}
