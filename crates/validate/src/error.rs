//! What stops validation of a partition (bad records don't).

use model::{Classified, Domain, Retry, SchemaError};
use state::spill::SpillError;

use crate::duplicates::DuplicatesMetrics;

/// Result of a validation step.
pub type Result<T> = std::result::Result<T, Error>;

/// What stops validation of a partition.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry can't be asked for a schema. Nothing has changed: call again with the same block.
    #[error(transparent)]
    Registry(#[from] SchemaError),
    /// The registry doesn't know a schema id yet and the grace period is running. Nothing has changed: call again with the same block.
    #[error(
        "schema id {id} is not in the registry yet; waiting for it until {waited_ms} ms of {grace_ms} ms have passed"
    )]
    SchemaGrace {
        /// The id.
        id: u32,
        /// How long it has been waited for, in milliseconds.
        waited_ms: u64,
        /// How long it is waited for at most, in milliseconds.
        grace_ms: u64,
    },
    /// Records name so many schema ids that nobody knew yet that they are asked for a few at a time. Nothing has changed: call again with the
    /// same block.
    #[error("records name many schema ids that were never met; {left} more have to be looked up in the registry")]
    SchemaQuestions {
        /// Ids of the block still to ask for.
        left: usize,
    },
    /// The ids kept for finding duplicates need more memory and disk than they may.
    #[error(
        "stream {stream}, partition {partition}: {} ids are kept to find duplicates and need {} bytes of memory (at most {}) and {} \
         of disk (at most {}); raise `duplicates.disk`, or shorten `duplicates.within`",
        .kept.memory_ids + .kept.disk_ids, .kept.memory_bytes, .caps.0, .kept.disk_bytes, .caps.1
    )]
    DuplicatesFull {
        /// Stream.
        stream: String,
        /// Raw partition.
        partition: i32,
        /// What there is.
        kept: DuplicatesMetrics,
        /// Most bytes of memory and of disk.
        caps: (usize, u64),
    },
    /// The disk refuses the ids that have no room in memory. Nothing has changed: call again with the same block once there is room.
    #[error("stream {stream}, partition {partition}: ids kept to find duplicates have to leave memory, and {source}")]
    SpillWrite {
        /// Stream.
        stream: String,
        /// Raw partition.
        partition: i32,
        /// What the disk said.
        source: SpillError,
    },
    /// Ids on the disk can't be read back. Resume the partition anew: they are in the validated output.
    #[error("stream {stream}, partition {partition}: ids kept to find duplicates can't be read back: {source}")]
    SpillRead {
        /// Stream.
        stream: String,
        /// Raw partition.
        partition: i32,
        /// What the disk said.
        source: SpillError,
    },
    /// A rule or the encoding of an accepted row failed in a way that data can't cause.
    #[error("stream {stream}, partition {partition}: {reason}")]
    Internal {
        /// Stream.
        stream: String,
        /// Raw partition.
        partition: i32,
        /// What was seen.
        reason: String,
    },
    /// An output doesn't hold what its headers promise.
    #[error("{topic} is not a well-formed output of this stream at offset {offset}: {reason}")]
    BrokenOutput {
        /// Topic and partition.
        topic: String,
        /// Offset.
        offset: i64,
        /// What is wrong.
        reason: String,
    },
}

impl Classified for Error {
    fn domain(&self) -> Domain {
        match self {
            Self::Registry(error) => error.domain(),
            Self::SchemaGrace { .. } | Self::SchemaQuestions { .. } | Self::BrokenOutput { .. } => Domain::External,
            Self::DuplicatesFull { .. } => Domain::User,
            Self::SpillWrite { source, .. } | Self::SpillRead { source, .. } => source.domain(),
            Self::Internal { .. } => Domain::Internal,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Registry(error) => error.retry(),
            Self::SchemaGrace { .. } | Self::SchemaQuestions { .. } => Retry::Backoff,
            Self::SpillWrite { source, .. } | Self::SpillRead { source, .. } => source.retry(),
            _ => Retry::Never,
        }
    }
}
