//! What the stage matches: patterns, streams, partitions.

use ::process::{PatternOptions, Spill};
use model::TopicPartition;
use project::Project;

use crate::run::layout::PipelineStream;
use crate::run::process::ProcessStream;
use crate::run::results::ResultTopic;
use crate::run::stages::{self, streams_of};

/// The patterns of a project.
#[derive(Debug, Clone)]
pub(crate) struct PatternPlan {
    /// Name of the project.
    pub(crate) pipeline: String,
    /// The streams that patterns read.
    pub(crate) streams: Vec<ProcessStream>,
    /// The patterns.
    pub(crate) results: Vec<ResultTopic>,
    /// Where it is recorded what patterns gave up.
    pub(crate) limits: ResultTopic,
    /// Cap of one pattern's state in one partition.
    pub(crate) state_bytes_max: usize,
    /// Moves keys to the disk past it; `None` to wait until there is room.
    pub(crate) spill: Option<Spill>,
    /// Keys of a pattern's memory from which on its snapshots have them in parts.
    pub(crate) parts_from_keys: usize,
}

/// A partition of a stream, by the stream's place in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PartitionId {
    pub(crate) stream: usize,
    pub(crate) number: i32,
}

impl PatternPlan {
    /// The patterns among a project's results; `None` if it has none.
    pub(crate) fn of(project: &Project, streams: &[PipelineStream], results: &[ResultTopic]) -> Option<Self> {
        let limits = results.iter().find(|result| result.query.name == project::pattern_limits::NAME)?.clone();
        let patterns: Vec<ResultTopic> = results.iter().filter(|result| result.is_pattern()).cloned().collect();
        Some(Self {
            pipeline: project.name.clone(),
            streams: streams_of(streams, &patterns),
            results: patterns,
            limits,
            state_bytes_max: stages::state_bytes_max(project),
            spill: stages::spill(project),
            parts_from_keys: PatternOptions::default().parts_from_keys,
        })
    }

    /// All partitions of its streams.
    pub(crate) fn partitions(&self) -> Vec<PartitionId> {
        let of_stream = |(stream, of): (usize, &ProcessStream)| {
            (0..of.topics.partitions).map(move |number| PartitionId { stream, number })
        };
        self.streams.iter().enumerate().flat_map(of_stream).collect()
    }

    /// The validated partition.
    pub(crate) fn validated(&self, id: PartitionId) -> Option<TopicPartition> {
        let stream = self.streams.get(id.stream)?;
        Some(TopicPartition::new(stream.topics.validated.as_str(), id.number))
    }

    /// Name under which a stage keeps the epochs and snapshots of a partition.
    pub(crate) fn owner(&self, stage: &str, id: PartitionId) -> String {
        let stream = self.streams.get(id.stream).map_or("", |stream| stream.name.as_str());
        format!("{stage}-{stream}-{}", id.number)
    }
}
