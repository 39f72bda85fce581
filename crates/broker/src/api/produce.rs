//! Produce and InitProducerId.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, ProduceResponse, ProducerId,
};

use super::{blocking, text};
use crate::broker::Shared;
use crate::connection::Reply;
use crate::dispatch::{Context, Refused};
use crate::log::batch::{BatchFault, check_incoming};
use crate::log::partition::{AppendError, AppendOptions, PartitionLog};
use crate::topics::Topic;

/// First version whose clients may send zstd.
const ZSTD_SINCE: i16 = 7;
const CODEC_ZSTD: i16 = 4;
/// Smaller requests are written by the thread that serves the connection: that is a few microseconds, less than handing them over.
const INLINE_BYTES_MAX: usize = 32 * 1024;
/// First version that carries today's batches. See [`crate::dispatch::SERVED`].
const VERSION_MIN: i16 = 3;

/// A partition whose batch must still reach the disk, and the places of its answer in the response.
struct Unflushed {
    log: Arc<PartitionLog>,
    durable_from: i64,
    topic: usize,
    partition: usize,
}

/// Appends batches.
pub(crate) async fn produce(
    shared: &Arc<Shared>,
    context: &Context,
    request: ProduceRequest,
) -> Result<Reply, Refused> {
    if context.version < VERSION_MIN {
        return Err(Refused::Version { key: context.api as i16, version: context.version });
    }
    let acks = request.acks;
    let partitions = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
    let bytes: usize = partitions.map(|partition| partition.records.as_ref().map_or(0, Bytes::len)).sum();
    let (mut response, unflushed) = if bytes <= INLINE_BYTES_MAX {
        append_all(shared, context.version, &request)
    } else {
        let (shared, version) = (shared.clone(), context.version);
        let appended = blocking(move || append_all(&shared, version, &request)).await;
        appended.map_err(|error| Refused::Answer { api: context.api, version, reason: error.to_string() })?
    };
    if acks == 0 {
        return Ok(Reply::None);
    }
    if unflushed.is_empty() {
        return context.encode(&response).map(Reply::Ready);
    }
    let context = context.clone();
    Ok(Reply::Later(Box::pin(async move {
        for wait in unflushed {
            if let Err(error) = wait.log.durable(wait.durable_from).await {
                tracing::error!(%error, "a record batch couldn't be flushed");
                let answer = response.responses.get_mut(wait.topic);
                if let Some(answer) = answer.and_then(|topic| topic.partition_responses.get_mut(wait.partition)) {
                    refuse(answer, ResponseError::KafkaStorageError, &error.to_string());
                }
            }
        }
        // An answer that can't be encoded would leave the client waiting; it can be, since it is of fixed shape.
        context.encode(&response).unwrap_or_default()
    })))
}

fn append_all(shared: &Shared, version: i16, request: &ProduceRequest) -> (ProduceResponse, Vec<Unflushed>) {
    let mut response = ProduceResponse::default();
    let mut unflushed = Vec::new();
    for (topic_at, data) in request.topic_data.iter().enumerate() {
        let topic = shared.topics.by_name(&data.name);
        let mut answers = Vec::with_capacity(data.partition_data.len());
        for (partition_at, partition) in data.partition_data.iter().enumerate() {
            let mut answer = PartitionProduceResponse::default().with_index(partition.index);
            let target = topic.as_ref().and_then(|topic| Some((topic, topic.partition(partition.index)?)));
            match target {
                _ if !matches!(request.acks, -1..=1) => {
                    refuse(&mut answer, ResponseError::InvalidRequiredAcks, "acks must be 0, 1 or all");
                }
                None => refuse(&mut answer, ResponseError::UnknownTopicOrPartition, "no such topic or partition"),
                Some((topic, log)) => {
                    let records = partition.records.as_deref().unwrap_or_default();
                    let durable_from = append(shared, version, topic, &log, records, &mut answer);
                    if let Some(durable_from) = durable_from.filter(|offset| log.must_wait(*offset)) {
                        unflushed.push(Unflushed { log, durable_from, topic: topic_at, partition: partition_at });
                    }
                }
            }
            if answer.error_code != 0 {
                shared.metrics.batches_refused.add(1);
            }
            answers.push(answer);
        }
        let answer = TopicProduceResponse::default().with_name(data.name.clone()).with_partition_responses(answers);
        response.responses.push(answer);
    }
    (response, unflushed)
}

/// Appends a batch and fills in the answer. Returns the offset up to which the log must be on the disk.
fn append(
    shared: &Shared,
    version: i16,
    topic: &Topic,
    log: &PartitionLog,
    records: &[u8],
    answer: &mut PartitionProduceResponse,
) -> Option<i64> {
    let config = topic.config();
    let header = match check_incoming(records, config.message_bytes_max) {
        Ok(header) if header.codec() == CODEC_ZSTD && version < ZSTD_SINCE => {
            refuse(answer, ResponseError::UnsupportedCompressionType, "zstd needs a newer client");
            return None;
        }
        Ok(header) => header,
        Err(fault) => {
            refuse(answer, fault_error(fault), &fault.to_string());
            return None;
        }
    };
    let append_time_ms = config.log_append_time.then(|| shared.options.clock.now_us().div_euclid(1_000));
    let options = AppendOptions { segment_bytes: config.segment_bytes, append_time_ms };
    match log.append(records, &header, options) {
        Ok(appended) => {
            answer.base_offset = appended.base_offset;
            answer.log_append_time_ms = append_time_ms.unwrap_or(-1);
            answer.log_start_offset = appended.start_offset;
            if !appended.is_duplicate {
                shared.metrics.batches_in.add(1);
                shared.metrics.records_in.add(u64::from(header.record_count.unsigned_abs()));
                shared.metrics.bytes_in.add(header.size as u64);
            }
            Some(appended.durable_from)
        }
        Err(error) => {
            refuse(answer, append_error(&error), &error.to_string());
            None
        }
    }
}

fn refuse(answer: &mut PartitionProduceResponse, error: ResponseError, message: &str) {
    answer.error_code = error.code();
    answer.error_message = Some(text(message));
    answer.base_offset = -1;
    answer.log_append_time_ms = -1;
    answer.log_start_offset = -1;
}

fn fault_error(fault: BatchFault) -> ResponseError {
    match fault {
        BatchFault::Length | BatchFault::Checksum => ResponseError::CorruptMessage,
        BatchFault::OldFormat(_) => ResponseError::UnsupportedForMessageFormat,
        BatchFault::TooLarge { .. } => ResponseError::MessageTooLarge,
        BatchFault::Codec(_) => ResponseError::UnsupportedCompressionType,
        BatchFault::Several
        | BatchFault::Count { .. }
        | BatchFault::Control
        | BatchFault::Transactional
        | BatchFault::Producer { .. } => ResponseError::InvalidRecord,
    }
}

fn append_error(error: &AppendError) -> ResponseError {
    match error {
        AppendError::OutOfOrder { .. } => ResponseError::OutOfOrderSequenceNumber,
        AppendError::Fenced { .. } => ResponseError::InvalidProducerEpoch,
        AppendError::Storage(_) => ResponseError::KafkaStorageError,
        AppendError::Deleted => ResponseError::UnknownTopicOrPartition,
    }
}

/// Gives an idempotent producer its id. Transactional ones are refused: transactions aren't served.
pub(crate) async fn init_producer_id(shared: &Arc<Shared>, request: &InitProducerIdRequest) -> InitProducerIdResponse {
    let refused = |error: ResponseError| {
        let none = ProducerId(-1);
        InitProducerIdResponse::default().with_error_code(error.code()).with_producer_id(none).with_producer_epoch(-1)
    };
    if request.transactional_id.is_some() {
        return refused(ResponseError::InvalidRequest);
    }
    let topics = shared.clone();
    match blocking(move || topics.topics.new_producer_id()).await {
        Ok(Ok(id)) => InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(0),
        Ok(Err(error)) => {
            tracing::error!(%error, "no producer id can be given out");
            refused(ResponseError::CoordinatorNotAvailable)
        }
        Err(error) => refused(error),
    }
}
