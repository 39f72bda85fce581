//! The stage without its peers: validated records, progress and snapshots in; emissions and snapshots out.
//!
//! `mod` drives it from Kafka, and `harness` from the log of a test.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use model::{RecordBlock, Schemas, TopicId, TopicPartition};
use process::{ReferenceData, Spill};
use state::PartStore;

use super::checkpoint;
use super::input::{Rows, StreamInput};
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
    /// Cap of the state of one query in memory.
    pub(crate) state_bytes_max: usize,
    /// Moves groups to the disk; `None` to wait until there is room.
    pub(crate) spill: Option<Spill>,
    /// Groups from which on a query's snapshot is made of parts.
    pub(crate) parts_from_groups: usize,
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
    /// Rows that were read and that not all queries have taken, each with the number of its input: there are some only while a query is full.
    waiting: VecDeque<(usize, Rows)>,
    /// The query that has no room for the first of them, in words.
    full: Option<String>,
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
    pub(crate) fn open(
        plan: Arc<ProcessPlan>,
        schemas: Arc<dyn Schemas>,
        snapshot: Option<&[u8]>,
        parts: &dyn PartStore,
    ) -> Result<Self> {
        let mut engine = Self::new(plan, schemas, NAME, BTreeMap::new())?;
        if let Some(bytes) = snapshot {
            engine.restore(NAME, bytes, parts)?;
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
            waiting: VecDeque::new(),
            full: None,
            replay_up_to: None,
            has_changed: false,
            is_saved: true,
        })
    }

    /// Takes a snapshot of `owner` up, for the queries that have no state yet.
    ///
    /// # Errors
    /// As [`Engine::open`]; `Position` when its positions mean other topics.
    pub(crate) fn restore(&mut self, owner: &str, bytes: &[u8], parts: &dyn PartStore) -> Result<()> {
        checkpoint::restore((owner, &self.plan.pipeline), bytes, &self.topic_ids, parts, &mut self.queries)
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
        if let Some((at, input)) = self.inputs.iter_mut().enumerate().find(|(_, input)| input.reads(&block.topic)) {
            let rows = input.decode(block, &*self.schemas)?;
            self.waiting.push_back((at, rows));
            return self.hand_over();
        }
        let stream = self.plan.streams.iter().find(|stream| *stream.topics.progress == *block.topic);
        if let Some(stream) = stream {
            for progress in progress::parse(block) {
                self.watermarks.announce(&stream.name, &progress?);
            }
        }
        Ok(())
    }

    /// Gives the queries the rows that were read. Where one has no room, they wait, and [`full`](Self::full) says so: publishing may make room.
    ///
    /// # Errors
    /// Those of the operators.
    pub(crate) fn hand_over(&mut self) -> Result<()> {
        self.full = None;
        while let Some((at, rows)) = self.waiting.front() {
            let stream = self.inputs.get(*at).map_or("", StreamInput::stream);
            for query in &mut self.queries {
                let Some(full) = query.push(stream, rows)? else { continue };
                self.has_changed |= full.has_taken;
                self.is_saved &= !full.has_taken;
                self.full = Some(full.words);
                return Ok(());
            }
            self.waiting.pop_front();
            self.has_changed = true;
            self.is_saved = false;
        }
        Ok(())
    }

    /// Which query has no room for what was read, and what to do about it.
    pub(crate) fn full(&self) -> Option<&str> {
        self.full.as_deref()
    }

    /// Next validated offset of each partition of an input that not all queries have taken.
    fn taken(&self, at: usize, input: &StreamInput) -> Vec<i64> {
        let mut positions = input.positions();
        // From the newest on, so that the oldest of each partition is what stays.
        for (_, rows) in self.waiting.iter().rev().filter(|(other, _)| *other == at) {
            let first = rows.offsets.first().copied().unwrap_or(rows.next_offset);
            let position = usize::try_from(rows.partition).ok().and_then(|partition| positions.get_mut(partition));
            if let Some(position) = position {
                *position = first;
            }
        }
        positions
    }

    /// Moves the queries' time to what the progress taken so far allows.
    ///
    /// # Errors
    /// Those of the operators.
    pub(crate) fn apply_watermarks(&mut self) -> Result<()> {
        for (at, input) in self.inputs.iter().enumerate() {
            let taken = self.taken(at, input);
            let Some(watermark_us) = self.watermarks.apply(input.stream(), &taken) else { continue };
            for query in &mut self.queries {
                if query.advance(input.stream(), watermark_us, &taken)? {
                    self.has_changed = true;
                    self.is_saved = false;
                }
            }
        }
        self.end_replay();
        Ok(())
    }

    /// Whether everything below a validated offset is taken, and what was announced for it applied. A partition of a stream that isn't read
    /// counts as done.
    pub(crate) fn has_settled(&self, partition: &TopicPartition, offset: i64) -> bool {
        let stream = self.plan.streams.iter().find(|stream| *stream.topics.validated == *partition.topic);
        stream.is_none_or(|stream| self.watermarks.has_settled(&stream.name, partition.partition, offset))
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

    /// Next validated offset of each partition that not all queries have taken.
    pub(crate) fn positions(&self) -> impl Iterator<Item = (TopicPartition, i64)> + '_ {
        self.inputs.iter().enumerate().flat_map(|(at, input)| {
            let partitions = input.topic_positions().map(|(partition, _)| partition);
            partitions.zip(self.taken(at, input))
        })
    }

    /// Names of the parts that the last snapshot is made of.
    pub(crate) fn part_names(&self) -> BTreeSet<String> {
        self.queries.iter().flat_map(|query| query.operator.part_names()).collect()
    }

    /// The bytes of a snapshot, with the state of large windows in `parts`. It may be saved once what was emitted before has arrived.
    ///
    /// # Errors
    /// A column that can't be written.
    pub(crate) fn snapshot(&mut self, parts: &dyn PartStore) -> Result<Vec<u8>> {
        checkpoint::write((&self.owner, &self.plan.pipeline), &self.topic_ids, parts, &mut self.queries)
    }
}
