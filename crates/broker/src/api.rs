//! The APIs, one file per family. Each handler takes a decoded request and gives a response; errors of single topics, partitions or
//! groups are part of the response.

pub(crate) mod admin;
pub(crate) mod cluster;
pub(crate) mod configs;
pub(crate) mod fetch;
pub(crate) mod group_admin;
pub(crate) mod groups;
pub(crate) mod offsets;
pub(crate) mod produce;

use kafka_protocol::error::ResponseError;
use kafka_protocol::protocol::StrBytes;
use tokio::task::spawn_blocking;

use crate::LEADER_EPOCH;
use crate::topics::TopicError;

/// The code of an error, 0 for none.
pub(crate) fn code(error: Option<ResponseError>) -> i16 {
    error.map_or(0, |error| error.code())
}

/// Text for a response.
pub(crate) fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

/// The error that a change of topics is answered with.
pub(crate) fn topic_error(error: &TopicError) -> ResponseError {
    match error {
        TopicError::Exists(_) => ResponseError::TopicAlreadyExists,
        TopicError::Unknown(_) => ResponseError::UnknownTopicOrPartition,
        TopicError::Name(_) => ResponseError::InvalidTopicException,
        TopicError::Partitions { .. } => ResponseError::InvalidPartitions,
        TopicError::Storage(_) => ResponseError::KafkaStorageError,
    }
}

/// Whether the client's idea of the leader's epoch is ours; a negative one is none.
pub(crate) fn check_leader_epoch(epoch: i32) -> Result<(), ResponseError> {
    match epoch {
        epoch if epoch < 0 || epoch == LEADER_EPOCH => Ok(()),
        epoch if epoch > LEADER_EPOCH => Err(ResponseError::UnknownLeaderEpoch),
        _ => Err(ResponseError::FencedLeaderEpoch),
    }
}

/// Runs work that blocks on the disk away from the threads that serve connections.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ResponseError> {
    spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "work on the disk ended unexpectedly");
        ResponseError::UnknownServerError
    })
}
