//! The stage without its peers: validated records, progress and snapshots in; matches, what was given up, and snapshots out.
//!
//! `mod` drives it from Kafka, and `harness` from the log of a test.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka::Start;
use model::{RecordBlock, Schemas, TopicId, TopicPartition};
use process::Metrics;
use state::PartStore;

use super::partition::PartitionRun;
use super::plan::{PartitionId, PatternPlan};
use super::{checkpoint, limits};
use crate::error::{Error, Result};
use crate::run::positions::Stand;
use crate::run::process::input::StreamInput;
use crate::run::process::queries::Taken;
use crate::run::progress;
use crate::run::results::{Publisher, ResultTopic, Shown};
use crate::run::sink::RecordSink;

/// Patterns over some partitions.
#[derive(Debug)]
pub(crate) struct PatternEngine {
    plan: Arc<PatternPlan>,
    schemas: Arc<dyn Schemas>,
    /// Ids of the validated topics that its positions mean; empty where topics have none.
    topic_ids: BTreeMap<String, TopicId>,
    inputs: Vec<StreamInput>,
    partitions: Vec<PartitionRun>,
    /// One per pattern, in the order of the plan's results, with the rows shown of it.
    publishers: Vec<(Publisher, Shown)>,
    limits: Publisher,
    /// Whether something may have to be published since the last emission.
    pub(crate) has_changed: bool,
}

impl PatternEngine {
    /// Takes up these partitions, each from its snapshots, given with their parts: the patterns that aren't in the first are looked for in the
    /// next. Inputs are settled by [`begin`](Self::begin).
    ///
    /// # Errors
    /// A snapshot of another pipeline or a damaged one, a plan that can't run, a registry that is away; `Position` when a snapshot's positions
    /// mean other topics.
    pub(crate) fn open<P: PartStore>(
        plan: Arc<PatternPlan>,
        schemas: Arc<dyn Schemas>,
        topic_ids: BTreeMap<String, TopicId>,
        ids: &[PartitionId],
        mut snapshots: impl FnMut(PartitionId) -> Result<Vec<(Vec<u8>, P)>>,
    ) -> Result<Self> {
        let mut partitions = Vec::with_capacity(ids.len());
        for &id in ids {
            let mut partition = PartitionRun::new(&plan, id)?;
            for (bytes, parts) in snapshots(id)? {
                checkpoint::restore(&plan, &topic_ids, (&bytes, &parts), &mut partition)?;
            }
            partitions.push(partition);
        }
        let publishers = plan.results.iter().map(|result| Ok((result.publisher(&*schemas)?, Shown::default())));
        let publishers = publishers.collect::<Result<Vec<_>>>()?;
        let limits = plan.limits.publisher(&*schemas)?;
        let inputs = Vec::new();
        Ok(Self { plan, schemas, topic_ids, inputs, partitions, publishers, limits, has_changed: false })
    }

    /// Holds the positions against what the validated partitions hold.
    ///
    /// # Errors
    /// `Position` when one lies outside of its log; those of `range`.
    pub(crate) fn check(
        &mut self,
        stand: &Stand<'_>,
        range: impl Fn(&TopicPartition) -> Result<(i64, i64)>,
    ) -> Result<()> {
        for run in &mut self.partitions {
            let Some(partition) = self.plan.validated(run.id) else { continue };
            run.begin(stand, &partition, range(&partition)?)?;
            // Where a new pattern begins is saved soon, too: from then on nothing before its position may be missing.
            run.is_saved = run.patterns.iter().all(|pattern| pattern.is_restored);
        }
        Ok(())
    }

    /// Settles where the inputs begin: with what the patterns haven't taken.
    ///
    /// # Errors
    /// A schema that can't be read.
    pub(crate) fn begin(&mut self) -> Result<()> {
        for (at, stream) in self.plan.streams.iter().enumerate() {
            let taken = (0..stream.topics.partitions).map(|number| {
                let run = self.partitions.iter().find(|run| run.id == PartitionId { stream: at, number });
                run.and_then(PartitionRun::first_taken).unwrap_or(Taken::NOTHING)
            });
            let results = self.plan.results.iter();
            let columns: BTreeSet<&str> = results.flat_map(|result| result.query.columns_of(&stream.name)).collect();
            let columns = columns.into_iter().map(str::to_owned).collect();
            self.inputs.push(StreamInput::of(stream, columns, taken.collect())?);
        }
        Ok(())
    }

    /// Where to read its validated partitions from.
    pub(crate) fn assignment(&self) -> Vec<(TopicPartition, Start)> {
        self.positions().into_iter().map(|(partition, offset)| (partition, Start::Offset(offset))).collect()
    }

    /// The progress topics of its partitions' streams, each with what is known of the watermarks: the next validated offset of each partition, the
    /// greatest of all for one that isn't here; `None` if a pattern starts from nothing, and needs all there are.
    pub(crate) fn progress_read(&self) -> Vec<(&str, Option<Vec<i64>>)> {
        let mut read = Vec::new();
        for (stream, of) in self.plan.streams.iter().enumerate() {
            let own = |number| self.partitions.iter().find(|run| run.id == PartitionId { stream, number });
            let here: Vec<Option<&PartitionRun>> = (0..of.topics.partitions).map(own).collect();
            if here.iter().all(Option::is_none) {
                continue;
            }
            let is_known = here.iter().flatten().flat_map(|run| &run.patterns).all(|pattern| pattern.is_restored);
            let first = |run: &PartitionRun| run.first_taken().map_or(0, |taken| taken.next_offset);
            let positions = || here.iter().map(|run| run.map_or(i64::MAX, first)).collect();
            read.push((of.topics.progress.as_str(), is_known.then(positions)));
        }
        read
    }

    /// Takes a block of a validated or a progress topic.
    ///
    /// # Errors
    /// `Position` when records are missing or aren't what validation writes; those of the operators.
    pub(crate) fn take(&mut self, block: &RecordBlock) -> Result<()> {
        if let Some(at) = self.inputs.iter().position(|input| input.reads(&block.topic)) {
            let Some(input) = self.inputs.get_mut(at) else { return Ok(()) };
            let rows = input.decode(block, &*self.schemas)?;
            let id = PartitionId { stream: at, number: rows.partition };
            let known = self.partitions.iter_mut().find(|run| run.id == id);
            let partition =
                known.ok_or_else(|| Error::Internal(format!("{}[{}] is not known", block.topic, block.partition)))?;
            partition.push(rows)?;
            self.has_changed = true;
            return Ok(());
        }
        let stream = self.plan.streams.iter().position(|stream| *stream.topics.progress == *block.topic);
        let Some(at) = stream else { return Ok(()) };
        for progress in progress::parse(block) {
            let progress = progress?;
            let id = PartitionId { stream: at, number: progress.partition };
            if let Some(partition) = self.partitions.iter_mut().find(|run| run.id == id) {
                partition.announce(&progress);
            }
        }
        Ok(())
    }

    /// Tries again to give patterns what they had no room for.
    ///
    /// # Errors
    /// Those of the operators.
    pub(crate) fn hand_over(&mut self) -> Result<()> {
        self.has_changed = true;
        self.partitions.iter_mut().try_for_each(PartitionRun::hand_over)
    }

    /// Which pattern has no room for what was read, and what to do about it.
    pub(crate) fn full(&self) -> Option<&str> {
        self.partitions.iter().find_map(PartitionRun::full)
    }

    /// Moves each partition's time to what the progress taken so far allows.
    ///
    /// # Errors
    /// Those of the operators.
    pub(crate) fn apply_watermarks(&mut self) -> Result<()> {
        for partition in &mut self.partitions {
            let position = self.inputs.get(partition.id.stream).and_then(|input| input.position(partition.id.number));
            self.has_changed |= partition.apply_watermark(partition.taken(position.unwrap_or(0)))?;
        }
        Ok(())
    }

    /// Queues the matches found and what was given up for writing; whether there was something.
    ///
    /// # Errors
    /// Those of the operators and the sink.
    pub(crate) fn emit(&mut self, sink: &impl RecordSink) -> Result<bool> {
        let mut has_sent = false;
        for pattern in self.partitions.iter_mut().flat_map(|partition| &mut partition.patterns) {
            let emission = pattern.operator.emit()?;
            let given_up = pattern.operator.take_limits();
            if let (false, Some((publisher, shown))) = (emission.is_empty(), self.publishers.get_mut(pattern.result)) {
                publisher.publish(sink, &emission, "")?;
                shown.note(&emission);
                has_sent = true;
            }
            if !given_up.is_empty() {
                let rows = limits::rows(&pattern.operator.query().name, &given_up, &self.plan.limits)?;
                self.limits.publish(sink, &rows, "")?;
                has_sent = true;
            }
        }
        self.has_changed = false;
        Ok(has_sent)
    }

    /// What each pattern has counted over the partitions that are here.
    pub(crate) fn metrics(&self) -> Vec<Metrics> {
        let mut metrics = vec![Metrics::default(); self.plan.results.len()];
        for pattern in self.partitions.iter().flat_map(|partition| &partition.patterns) {
            if let Some(sum) = metrics.get_mut(pattern.result) {
                *sum = sum.plus(&pattern.operator.metrics());
            }
        }
        metrics
    }

    /// Each pattern with the rows that are shown of it.
    pub(crate) fn shown(&mut self) -> impl Iterator<Item = (&ResultTopic, &mut Shown)> {
        self.plan.results.iter().zip(self.publishers.iter_mut().map(|(_, shown)| shown))
    }

    /// Next validated offset of each partition that is here.
    pub(crate) fn positions(&self) -> Vec<(TopicPartition, i64)> {
        let position = |run: &PartitionRun| {
            let offset = self.inputs.get(run.id.stream)?.position(run.id.number)?;
            Some((self.plan.validated(run.id)?, run.taken(offset)))
        };
        self.partitions.iter().filter_map(position).collect()
    }

    /// Whether everything below a validated offset is taken, and what was announced for it applied. A partition that isn't here counts as done.
    pub(crate) fn has_settled(&self, partition: &TopicPartition, offset: i64) -> bool {
        let stream = self.plan.streams.iter().position(|stream| *stream.topics.validated == *partition.topic);
        let id = stream.map(|stream| PartitionId { stream, number: partition.partition });
        let run = self.partitions.iter().find(|run| Some(run.id) == id);
        run.is_none_or(|run| run.has_settled(offset))
    }

    /// The partitions whose state isn't in their last snapshot.
    pub(crate) fn unsaved(&self) -> Vec<PartitionId> {
        self.partitions.iter().filter(|run| !run.is_saved).map(|run| run.id).collect()
    }

    /// The bytes of a partition's snapshot, with the names of the parts that it is made of besides. It may be saved once what was emitted before
    /// has arrived.
    ///
    /// # Errors
    /// A column that can't be written, a part that can't be kept.
    pub(crate) fn snapshot(&mut self, id: PartitionId, parts: &dyn PartStore) -> Result<(Vec<u8>, BTreeSet<String>)> {
        let run = self.partitions.iter_mut().find(|run| run.id == id);
        let run = run.ok_or_else(|| Error::Internal(format!("partition {} isn't here", id.number)))?;
        let bytes = checkpoint::write(&self.plan, &self.topic_ids, parts, run)?;
        Ok((bytes, run.part_names()))
    }

    /// Drops the patterns that aren't to run any more.
    pub(crate) fn retain(&mut self, stays: impl Fn(&ResultTopic) -> bool) {
        for run in &mut self.partitions {
            let before = run.patterns.len();
            run.patterns.retain(|pattern| self.plan.results.get(pattern.result).is_some_and(&stays));
            run.is_saved &= run.patterns.len() == before;
        }
    }

    /// Notes that a partition's snapshot is saved.
    pub(crate) fn saved(&mut self, id: PartitionId) {
        if let Some(run) = self.partitions.iter_mut().find(|run| run.id == id) {
            run.is_saved = true;
        }
    }
}
