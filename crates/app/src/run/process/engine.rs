//! The stage without its peers: validated records, progress and snapshots in; emissions and snapshots out.
//!
//! `mod` drives it from Kafka, and `harness` from the log of a test.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Progress, RecordBlock, Schemas, TopicPartition};
use process::ReferenceData;

use super::ProcessStream;
use super::checkpoint;
use super::input::StreamInput;
use super::queries::QueryRun;
use super::watermarks::Watermarks;
use crate::error::{Error, Result};
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
    pub(crate) inputs: Vec<StreamInput>,
    watermarks: Watermarks,
    pub(crate) queries: Vec<QueryRun>,
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
        let mut queries = Vec::with_capacity(plan.results.len());
        for result in &plan.results {
            queries.push(QueryRun::new(&plan, &*schemas, result)?);
        }
        if let Some(bytes) = snapshot {
            checkpoint::restore(&plan.pipeline, bytes, &mut queries)?;
        }
        let mut inputs = Vec::with_capacity(plan.streams.len());
        let mut watermarks = Watermarks::default();
        for stream in &plan.streams {
            inputs.push(StreamInput::new(stream, &queries)?);
            watermarks.add_stream(&stream.name, stream.topics.partitions);
        }
        Ok(Self { plan, schemas, inputs, watermarks, queries, has_changed: false, is_saved: true })
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
            for value in block.values.iter().flatten() {
                let progress = Progress::from_json(value)
                    .map_err(|error| Error::Position(format!("{} holds something else: {error}", block.topic)))?;
                self.watermarks.announce(&stream.name, &progress);
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
        checkpoint::write(&self.plan.pipeline, &mut self.queries)
    }
}
