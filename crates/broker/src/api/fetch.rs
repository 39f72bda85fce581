//! Fetch: records for readers, with a long poll that an append ends.
//!
//! The response is written by hand, so that records go from the file into it without another copy. Format:
//! <https://kafka.apache.org/protocol#The_Messages_Fetch>. There are no fetch sessions: the answer's session id is 0, which tells a client
//! to ask in full each time (KIP-227).

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::FetchResponse;
use kafka_protocol::messages::fetch_request::FetchTopic;
use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

use super::{blocking, check_leader_epoch, code};
use crate::broker::Shared;
use crate::connection::Frame;
use crate::dispatch::{Context, Refused};
use crate::log::partition::{Located, PartitionLog};
use crate::log::read::read_batches;

const FLEXIBLE_SINCE: i16 = 12;
const TOPIC_IDS_SINCE: i16 = 13;
const SESSIONS_SINCE: i16 = 7;
/// Fewer bytes are read by the thread that serves the connection; they are almost surely in memory.
const INLINE_BYTES_MAX: u64 = 64 * 1024;
/// Greatest length that fits the four bytes that are left for it in flexible versions.
const RECORDS_BYTES_MAX: usize = (1 << 28) - 2;

/// A topic that is asked for.
#[derive(Debug)]
struct Topic {
    name: String,
    id: Uuid,
    partitions: Vec<Partition>,
}

/// A partition that is asked for.
#[derive(Debug)]
struct Partition {
    number: i32,
    offset: i64,
    bytes_max: usize,
    log: Result<Arc<PartitionLog>, ResponseError>,
}

/// Answers with records, as soon as there are enough.
pub(crate) async fn fetch(shared: &Arc<Shared>, context: &Context, request: FetchRequest) -> Result<Frame, Refused> {
    let session_error = session_error(&request);
    if session_error.is_some() {
        let response = FetchResponse::default().with_error_code(code(session_error));
        return context.encode(&response);
    }
    let max_wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let bytes_min = u64::try_from(request.min_bytes).unwrap_or(0);
    let bytes_max = usize::try_from(request.max_bytes).unwrap_or(0).min(shared.options.fetch_bytes_max);
    let topics: Vec<Topic> = request.topics.into_iter().map(|topic| resolve(shared, context.version, topic)).collect();

    let available = wait_for(&topics, bytes_min, max_wait).await;
    if available <= INLINE_BYTES_MAX {
        return assemble(shared, context, &topics, bytes_max, available);
    }
    let (shared, owned) = (shared.clone(), context.clone());
    let assembled = blocking(move || assemble(&shared, &owned, &topics, bytes_max, available)).await;
    assembled.unwrap_or_else(|error| {
        Err(Refused::Answer { api: context.api, version: context.version, reason: error.to_string() })
    })
}

fn session_error(request: &FetchRequest) -> Option<ResponseError> {
    match (request.session_id, request.session_epoch) {
        (0, epoch) if epoch <= 0 => None,
        (0, _) => Some(ResponseError::InvalidFetchSessionEpoch),
        // The client closes a session that it believes to have; what it asks for is answered in full.
        (_, -1) => None,
        _ => Some(ResponseError::FetchSessionIdNotFound),
    }
}

fn resolve(shared: &Shared, version: i16, asked: FetchTopic) -> Topic {
    let by_id = version >= TOPIC_IDS_SINCE;
    let topic = if by_id { shared.topics.by_id(asked.topic_id) } else { shared.topics.by_name(&asked.topic) };
    let partitions = asked.partitions.into_iter().map(|partition| {
        let log = match &topic {
            None if by_id => Err(ResponseError::UnknownTopicId),
            None => Err(ResponseError::UnknownTopicOrPartition),
            Some(topic) => topic.partition(partition.partition).ok_or(ResponseError::UnknownTopicOrPartition),
        };
        Partition {
            number: partition.partition,
            offset: partition.fetch_offset,
            bytes_max: usize::try_from(partition.partition_max_bytes).unwrap_or(0),
            log: log.and_then(|log| check_leader_epoch(partition.current_leader_epoch).map(|()| log)),
        }
    });
    Topic { name: asked.topic.to_string(), id: asked.topic_id, partitions: partitions.collect() }
}

/// Waits until `bytes_min` can be had, an error must be told, or `max_wait` is over. Returns about how many bytes there are.
async fn wait_for(topics: &[Topic], bytes_min: u64, max_wait: Duration) -> u64 {
    let (available, is_urgent) = look(topics);
    if is_urgent || available >= bytes_min || max_wait.is_zero() {
        return available;
    }
    let deadline = Instant::now() + max_wait;
    let waiting = Waiting::new(topics);
    loop {
        // Registered first, looked again then: an append in between is seen by one or the other.
        waiting.register();
        let (available, is_urgent) = look(topics);
        if is_urgent || available >= bytes_min {
            return available;
        }
        if tokio::time::timeout_at(deadline, waiting.notify.notified()).await.is_err() {
            return look(topics).0;
        }
    }
}

/// About how many bytes there are, and whether an answer is due whatever their number.
fn look(topics: &[Topic]) -> (u64, bool) {
    let mut available = 0;
    for partition in topics.iter().flat_map(|topic| &topic.partitions) {
        let Ok(log) = &partition.log else { return (0, true) };
        if log.is_deleted() || matches!(log.locate(partition.offset), Located::OutOfRange) {
            return (0, true);
        }
        available += log.bytes_from(partition.offset).min(partition.bytes_max as u64);
    }
    (available, available == 0 && topics.is_empty())
}

/// Registration with all logs that are asked for; taken back when dropped.
struct Waiting<'a> {
    notify: Arc<Notify>,
    topics: &'a [Topic],
}

impl<'a> Waiting<'a> {
    fn new(topics: &'a [Topic]) -> Self {
        Self { notify: Arc::new(Notify::new()), topics }
    }

    fn logs(&self) -> impl Iterator<Item = &Arc<PartitionLog>> {
        self.topics.iter().flat_map(|topic| &topic.partitions).filter_map(|partition| partition.log.as_ref().ok())
    }

    fn register(&self) {
        for log in self.logs() {
            log.register(&self.notify);
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        for log in self.logs() {
            log.deregister(&self.notify);
        }
    }
}

/// Writes the response, reading records into it. Blocks.
fn assemble(
    shared: &Shared,
    context: &Context,
    topics: &[Topic],
    bytes_max: usize,
    available: u64,
) -> Result<Frame, Refused> {
    let expected = usize::try_from(available).unwrap_or(usize::MAX).min(bytes_max);
    let mut out = Writer { frame: context.begin(expected + 256)?, version: context.version };
    out.i32(0); // throttle time
    if out.version >= SESSIONS_SINCE {
        out.i16(0);
        out.i32(0);
    }
    let mut bytes_left = bytes_max;
    let mut is_first = true;
    out.array(topics.len());
    for topic in topics {
        if out.version >= TOPIC_IDS_SINCE {
            out.frame.extend_from_slice(topic.id.as_bytes());
        } else {
            out.text(&topic.name);
        }
        out.array(topic.partitions.len());
        for partition in &topic.partitions {
            let read = write_partition(&mut out, partition, bytes_left, is_first);
            is_first = is_first && read == 0;
            bytes_left = bytes_left.saturating_sub(read);
            shared.metrics.bytes_out.add(read as u64);
        }
        out.tags();
    }
    out.tags();
    context.finish(out.frame)
}

/// Writes one partition; returns the number of bytes of records.
fn write_partition(out: &mut Writer, partition: &Partition, bytes_left: usize, is_first: bool) -> usize {
    let begin = out.frame.len();
    let log = match &partition.log {
        Ok(log) if log.is_deleted() => {
            return write_empty(out, partition.number, ResponseError::UnknownTopicOrPartition);
        }
        Ok(log) => log,
        Err(error) => return write_empty(out, partition.number, *error),
    };
    let located = log.locate(partition.offset);
    if matches!(located, Located::OutOfRange) {
        return write_empty(out, partition.number, ResponseError::OffsetOutOfRange);
    }
    let bounds = log.bounds();
    out.partition(partition.number, None, bounds.high_watermark, bounds.start);
    let length = out.begin_records();
    let bytes_max = partition.bytes_max.min(bytes_left).min(RECORDS_BYTES_MAX);
    let from = match located {
        Located::Found(from) if is_first || bytes_max > 0 => from,
        _ => return out.end_records(length),
    };
    match read_batches(&from, bytes_max, is_first, &mut out.frame) {
        Ok(next) => {
            if let Some(next) = next {
                log.remember(next);
            }
            out.end_records(length)
        }
        Err(error) => {
            tracing::error!(partition = log.label(), offset = partition.offset, %error, "records couldn't be read");
            out.frame.truncate(begin);
            write_empty(out, partition.number, ResponseError::KafkaStorageError)
        }
    }
}

fn write_empty(out: &mut Writer, number: i32, error: ResponseError) -> usize {
    out.partition(number, Some(error), -1, -1);
    let length = out.begin_records();
    out.end_records(length)
}

/// Writes the fields of a response.
struct Writer {
    frame: Frame,
    version: i16,
}

impl Writer {
    fn is_flexible(&self) -> bool {
        self.version >= FLEXIBLE_SINCE
    }

    fn i16(&mut self, number: i16) {
        self.frame.extend_from_slice(&number.to_be_bytes());
    }

    fn i32(&mut self, number: i32) {
        self.frame.extend_from_slice(&number.to_be_bytes());
    }

    fn i64(&mut self, number: i64) {
        self.frame.extend_from_slice(&number.to_be_bytes());
    }

    fn varint(&mut self, mut number: usize) {
        while number >= 0x80 {
            self.frame.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.frame.push(number as u8);
    }

    fn array(&mut self, items: usize) {
        if self.is_flexible() { self.varint(items + 1) } else { self.i32(i32::try_from(items).unwrap_or(i32::MAX)) }
    }

    fn text(&mut self, text: &str) {
        if self.is_flexible() {
            self.varint(text.len() + 1);
        } else {
            self.i16(i16::try_from(text.len()).unwrap_or(0));
        }
        self.frame.extend_from_slice(text.as_bytes());
    }

    fn tags(&mut self) {
        if self.is_flexible() {
            self.frame.push(0);
        }
    }

    /// All fields of a partition before its records.
    fn partition(&mut self, number: i32, error: Option<ResponseError>, high_watermark: i64, start: i64) {
        self.i32(number);
        self.i16(code(error));
        self.i64(high_watermark);
        self.i64(high_watermark); // Last stable offset: there are no transactions that could be open.
        if self.version >= 5 {
            self.i64(start);
        }
        // No aborted transactions: null.
        if self.is_flexible() {
            self.frame.push(0)
        } else {
            self.i32(-1)
        }
        if self.version >= 11 {
            self.i32(-1); // No better replica to read from.
        }
    }

    /// Leaves room for the length of records; returns where.
    fn begin_records(&mut self) -> usize {
        self.frame.extend_from_slice(&[0; 4]);
        self.frame.len()
    }

    /// Sets the length of the records that were written since; returns it.
    fn end_records(&mut self, begin: usize) -> usize {
        let read = self.frame.len() - begin;
        let length = if self.is_flexible() {
            // A variable-length number in as many bytes as were left for it.
            let number = read + 1;
            [0, 7, 14, 21].map(|shift| (number >> shift & 0x7f) as u8 | if shift < 21 { 0x80 } else { 0 })
        } else {
            i32::try_from(read).unwrap_or(i32::MAX).to_be_bytes()
        };
        if let Some(room) = self.frame.get_mut(begin - 4..begin) {
            room.copy_from_slice(&length);
        }
        self.tags();
        read
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::protocol::Decodable as _;

    use super::*;

    #[test]
    fn what_is_written_is_what_the_protocol_says() {
        for version in 4..=16 {
            let mut out = Writer { frame: Vec::new(), version };
            out.i32(0);
            if version >= SESSIONS_SINCE {
                out.i16(0);
                out.i32(0);
            }
            out.array(1);
            let id = Uuid::from_u128(7);
            if version >= TOPIC_IDS_SINCE {
                out.frame.extend_from_slice(id.as_bytes());
            } else {
                out.text("topic");
            }
            out.array(2);
            out.partition(3, None, 50, 10);
            let begin = out.begin_records();
            out.frame.extend_from_slice(&[9; 300]);
            assert_eq!(out.end_records(begin), 300);
            assert_eq!(write_empty(&mut out, 4, ResponseError::OffsetOutOfRange), 0);
            out.tags();
            out.tags();

            let mut bytes = bytes::Bytes::from(out.frame);
            let response = FetchResponse::decode(&mut bytes, version).unwrap();
            assert!(bytes.is_empty(), "version {version}: {} bytes left", bytes.len());
            let topic = &response.responses[0];
            assert!(topic.topic_id == id || &*topic.topic == "topic");
            let good = &topic.partitions[0];
            assert_eq!((good.partition_index, good.error_code, good.high_watermark), (3, 0, 50));
            assert_eq!(good.records.as_deref(), Some(&[9; 300][..]));
            assert_eq!((topic.partitions[1].partition_index, topic.partitions[1].error_code), (4, 1));
        }
    }
}
