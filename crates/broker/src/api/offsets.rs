//! ListOffsets, OffsetForLeaderEpoch, DeleteRecords: offsets of partitions.

use std::io;
use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
};

use super::{blocking, check_leader_epoch};
use crate::LEADER_EPOCH;
use crate::broker::Shared;
use crate::log::partition::PartitionLog;
use crate::log::times;

/// First version that tells the leader's epoch.
const EPOCHS_SINCE: i16 = 4;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
/// The earliest that is on this machine, which all is.
const EARLIEST_LOCAL: i64 = -4;

fn partition(shared: &Shared, topic: &str, number: i32) -> Result<Arc<PartitionLog>, ResponseError> {
    let topic = shared.topics.by_name(topic);
    topic.and_then(|topic| topic.partition(number)).ok_or(ResponseError::UnknownTopicOrPartition)
}

/// First, last and timed offsets.
pub(crate) async fn list(shared: &Arc<Shared>, version: i16, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            let answer = ListOffsetsPartitionResponse::default().with_partition_index(asked.partition_index);
            let log = partition(shared, &topic.name, asked.partition_index)
                .and_then(|log| check_leader_epoch(asked.current_leader_epoch).map(|()| log));
            let found = match log {
                Ok(log) => find(log, asked.timestamp).await,
                Err(error) => Err(error),
            };
            partitions.push(match found {
                Ok((offset, timestamp)) => {
                    let epoch = if offset < 0 || version < EPOCHS_SINCE { -1 } else { LEADER_EPOCH };
                    answer.with_offset(offset).with_timestamp(timestamp).with_leader_epoch(epoch)
                }
                Err(error) => answer.with_error_code(error.code()),
            });
        }
        topics.push(ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions));
    }
    ListOffsetsResponse::default().with_topics(topics)
}

/// Offset and timestamp; -1 for what there isn't.
async fn find(log: Arc<PartitionLog>, timestamp: i64) -> Result<(i64, i64), ResponseError> {
    match timestamp {
        LATEST => return Ok((log.bounds().high_watermark, -1)),
        EARLIEST | EARLIEST_LOCAL => return Ok((log.bounds().start, -1)),
        MAX_TIMESTAMP | 0.. => {}
        _ => return Err(ResponseError::UnsupportedVersion),
    }
    let search = move || match timestamp {
        MAX_TIMESTAMP => times::greatest(&log),
        timestamp => times::first_at_or_after(&log, timestamp),
    };
    match blocking(search).await? {
        Ok(found) => Ok(found.map_or((-1, -1), |found| (found.offset, found.timestamp))),
        Err(error) => Err(storage_error(&error)),
    }
}

fn storage_error(error: &io::Error) -> ResponseError {
    tracing::error!(%error, "a partition's files can't be used");
    ResponseError::KafkaStorageError
}

/// Where an epoch of the leader ended; there is one.
pub(crate) fn for_leader_epoch(shared: &Shared, request: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let answer = EpochEndOffset::default().with_partition(asked.partition);
            let log = partition(shared, &topic.topic, asked.partition)
                .and_then(|log| check_leader_epoch(asked.current_leader_epoch).map(|()| log));
            match log {
                Err(error) => answer.with_error_code(error.code()),
                Ok(log) if asked.leader_epoch == LEADER_EPOCH => {
                    answer.with_leader_epoch(LEADER_EPOCH).with_end_offset(log.bounds().high_watermark)
                }
                Ok(_) => answer.with_leader_epoch(-1).with_end_offset(-1),
            }
        });
        let partitions = partitions.collect();
        OffsetForLeaderTopicResult::default().with_topic(topic.topic).with_partitions(partitions)
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

/// Moves the starts of partitions forward.
pub(crate) async fn delete_records(shared: &Arc<Shared>, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            let answer = DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
            let moved = match partition(shared, &topic.name, asked.partition_index) {
                Ok(log) => advance(log, asked.offset).await,
                Err(error) => Err(error),
            };
            partitions.push(match moved {
                Ok(start) => answer.with_low_watermark(start),
                Err(error) => answer.with_low_watermark(-1).with_error_code(error.code()),
            });
        }
        topics.push(DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions));
    }
    DeleteRecordsResponse::default().with_topics(topics)
}

async fn advance(log: Arc<PartitionLog>, offset: i64) -> Result<i64, ResponseError> {
    let bounds = log.bounds();
    let offset = if offset == -1 { bounds.high_watermark } else { offset };
    if offset < 0 || offset > bounds.high_watermark {
        return Err(ResponseError::OffsetOutOfRange);
    }
    if offset <= bounds.start {
        return Ok(bounds.start);
    }
    blocking(move || log.advance_start(offset)).await?.map_err(|error| storage_error(&error))
}
