//! The stage without its peers: validated records, progress and snapshots in; emissions and snapshots out.
//!
//! `mod` drives it from Kafka, and `harness` from the log of a test.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{RecordBlock, Schemas, TopicId, TopicPartition};
use process::ReferenceData;

use super::checkpoint;
use super::input::StreamInput;
use super::queries::QueryRun;
use super::watermarks::Watermarks;
use super::{NAME, ProcessStream};
use crate::error::Result;
use crate::run::progress;
use crate::run::results::ResultTopic;
use crate::run::sink::RecordSink;

/// What is processed.
#[derive(Debug, Clone)]
pub(crate) struct ProcessPlan {
    /// Name of the project.
    pub(crate) pipeline: String,
    pub(crate) streams: Vec<ProcessStream>,
    pub(crate) results: Vec<ResultTopic>,
    pub(crate) references: BTreeMap<String, Arc<ReferenceData>>,
    /// Cap of the state of one query.
    pub(crate) state_bytes_max: usize,
}

/// The queries of a project with their inputs and time.
#[derive(Debug)]
pub(crate) struct Engine {
    plan: Arc<ProcessPlan>,
    schemas: Arc<dyn Schemas>,
    /// Whose snapshots it writes.
    owner: String,
    /// Ids of the validated topics that its positions mean; empty where topics have none.
    topic_ids: BTreeMap<String, TopicId>,
    pub(crate) inputs: Vec<StreamInput>,
    pub(crate) watermarks: Watermarks,
    pub(crate) queries: Vec<QueryRun>,
    /// Positions up to which an earlier run may have read, and published.
    replay_up_to: Option<BTreeMap<TopicPartition, i64>>,
    /// Whether something may have to be published since the last emission.
    pub(crate) has_changed: bool,
    /// Whether all that was taken is in the last snapshot.
    pub(crate) is_saved: bool,
}

impl Engine {
    /// Takes up a snapshot, or starts from the beginning. A query that isn't in the snapshot starts from the beginning.
    ///
    /// # Errors
    /// A snapshot of another pipeline or a damaged one, a plan that can't run, or a registry that is away.
    pub(crate) fn open(plan: Arc<ProcessPlan>, schemas: Arc<dyn Schemas>, snapshot: Option<&[u8]>) -> Result<Self> {
        let mut engine = Self::new(plan, schemas, NAME, BTreeMap::new())?;
        if let Some(bytes) = snapshot {
            engine.restore(NAME, bytes)?;
        }
        engine.begin()?;
        Ok(engine)
    }

    /// An engine without state or inputs: [`Engine::restore`] and [`Engine::begin`] follow.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub(crate) fn new(
        plan: Arc<ProcessPlan>,
        schemas: Arc<dyn Schemas>,
        owner: &str,
        topic_ids: BTreeMap<String, TopicId>,
    ) -> Result<Self> {
        let mut queries = Vec::with_capacity(plan.results.len());
        for result in &plan.results {
            queries.push(QueryRun::new(&plan, &*schemas, result)?);
        }
        Ok(Self {
            plan,
            schemas,
            owner: owner.to_owned(),
            topic_ids,
            inputs: Vec::new(),
            watermarks: Watermarks::default(),
            queries,
            replay_up_to: None,
            has_changed: false,
            is_saved: true,
        })
    }

    /// Takes a snapshot of `owner` up, for the queries that have no state yet.
    ///
    /// # Errors
    /// As [`Engine::open`]; `Position` when its positions mean other topics.
    pub(crate) fn restore(&mut self, owner: &str, bytes: &[u8]) -> Result<()> {
        checkpoint::restore((owner, &self.plan.pipeline), bytes, &self.topic_ids, &mut self.queries)
    }

    /// Settles where the inputs begin: with what the queries haven't taken.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub(crate) fn begin(&mut self) -> Result<()> {
        for stream in &self.plan.streams {
            self.inputs.push(StreamInput::new(stream, &self.queries)?);
            self.watermarks.add_stream(&stream.name, stream.topics.partitions);
        }
        // Unless it is said that more was read, snapshots hold all that was published.
        if self.queries.iter().any(|query| query.is_restored) {
            self.replay_up_to = Some(self.positions().collect());
        }
        Ok(())
    }

    /// Says that an earlier run may have read, and published, up to these positions.
    pub(crate) fn replay_up_to(&mut self, up_to: BTreeMap<TopicPartition, i64>) {
        self.queries.iter_mut().for_each(|query| query.operator.set_replaying(true));
        self.replay_up_to = Some(up_to);
    }

    /// Once all is taken that an earlier run may have read, results that it published and that don't hold are deleted.
    fn end_replay(&mut self) {
        let Some(up_to) = &self.replay_up_to else { return };
        let positions: BTreeMap<TopicPartition, i64> = self.positions().collect();
        let is_taken =
            |(partition, offset): (&TopicPartition, &i64)| positions.get(partition).is_some_and(|at| at >= offset);
        if up_to.iter().all(is_taken) {
            self.queries.iter_mut().for_each(|query| query.operator.set_replaying(false));
            self.replay_up_to = None;
            self.has_changed = true;
        }
    }

    /// Takes a block of a validated or a progress topic.
    ///
    /// # Errors
    /// `Position` when records are missing or aren't what validation writes; those of the operators.
    pub(crate) fn take(&mut self, block: &RecordBlock) -> Result<()> {
        if let Some(input) = self.inputs.iter_mut().find(|input| input.reads(&block.topic)) {
            let rows = input.decode(block, &*self.schemas)?;
            for query in self.queries.iter_mut().filter(|query| query.stream() == input.stream()) {
                query.push(&rows)?;
            }
            self.has_changed = true;
            self.is_saved = false;
            return Ok(());
        }
        let stream = self.plan.streams.iter().find(|stream| *stream.topics.progress == *block.topic);
        if let Some(stream) = stream {
            for progress in progress::parse(block) {
                self.watermarks.announce(&stream.name, &progress?);
            }
        }
        Ok(())
    }

    /// Moves the queries' time to what the progress taken so far allows.
    ///
    /// # Errors
    /// Those of the operators.
    pub(crate) fn apply_watermarks(&mut self) -> Result<()> {
        for input in &self.inputs {
            let Some(watermark_us) = self.watermarks.apply(input.stream(), &input.positions()) else { continue };
            for query in self.queries.iter_mut().filter(|query| query.stream() == input.stream()) {
                if query.advance(watermark_us, &input.positions())? {
                    self.has_changed = true;
                    self.is_saved = false;
                }
            }
        }
        self.end_replay();
        Ok(())
    }

    /// Queues what changed for writing; whether there was something.
    ///
    /// # Errors
    /// Those of the operators and the sink.
    pub(crate) fn emit(&mut self, sink: &impl RecordSink) -> Result<bool> {
        let mut has_sent = false;
        for query in &mut self.queries {
            has_sent |= query.emit(sink)?;
        }
        self.has_changed = false;
        Ok(has_sent)
    }

    /// As [`Engine::emit`], with the present content of windows that are still open.
    ///
    /// # Errors
    /// As [`Engine::emit`].
    pub(crate) fn drain(&mut self, sink: &impl RecordSink) -> Result<bool> {
        let mut has_sent = false;
        for query in &mut self.queries {
            has_sent |= query.drain(sink)?;
        }
        self.has_changed = false;
        Ok(has_sent)
    }

    /// Next validated offset of each partition.
    pub(crate) fn positions(&self) -> impl Iterator<Item = (TopicPartition, i64)> + '_ {
        self.inputs.iter().flat_map(StreamInput::topic_positions)
    }

    /// The bytes of a snapshot. It may be saved once what was emitted before has arrived.
    ///
    /// # Errors
    /// A column that can't be written.
    pub(crate) fn snapshot(&mut self) -> Result<Vec<u8>> {
        checkpoint::write((&self.owner, &self.plan.pipeline), &self.topic_ids, &mut self.queries)
    }
}
