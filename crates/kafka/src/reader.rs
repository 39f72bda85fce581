//! A consumer of assigned partitions that gives blocks of records.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use model::{RecordBlock, TopicPartition};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use crate::connection::Connection;
use crate::error::{Error, Result, is_outage};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Where to start reading a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At this offset; an error at the first poll if it lies outside the log.
    Offset(i64),
    /// At the first record that is there.
    Beginning,
    /// After the last record that is there now.
    End,
}

impl From<Start> for Offset {
    fn from(start: Start) -> Self {
        match start {
            Start::Offset(offset) => Offset::Offset(offset),
            Start::Beginning => Offset::Beginning,
            Start::End => Offset::End,
        }
    }
}

/// Settings of a [`Reader`].
#[derive(Debug, Clone)]
pub struct ReaderOptions {
    /// Group under which [`Reader::commit`] leaves positions for people's tools. It coordinates nothing.
    pub group: Option<String>,
    /// Longest wait of the broker for new data, in milliseconds; new data ends the wait.
    pub fetch_wait_ms: u32,
    /// Cap on records fetched ahead, in bytes, over all partitions. The client's own few hundred bytes for each record come on top.
    pub queued_bytes_max: usize,
    /// Whether to hide records of transactions that are open or were aborted.
    pub read_committed: bool,
    /// Whether to note when a partition's end is reached, for [`Reader::take_ended`]. For a reader of one topic.
    pub notes_ends: bool,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self {
            group: None,
            fetch_wait_ms: 500,
            queued_bytes_max: 16 * 1024 * 1024,
            read_committed: true,
            notes_ends: false,
        }
    }
}

/// A consumer of assigned partitions.
pub struct Reader {
    consumer: BaseConsumer,
    brokers: String,
    topics: HashMap<String, Arc<str>>,
    outage: Option<String>,
    /// Partitions whose end was reached.
    ended: BTreeSet<i32>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("brokers", &self.brokers).field("outage", &self.outage).finish_non_exhaustive()
    }
}

impl Reader {
    /// A reader with nothing assigned. It connects when it has something to read.
    ///
    /// # Errors
    /// `Setting` when librdkafka refuses a property.
    pub fn new(connection: &Connection, options: &ReaderOptions) -> Result<Self> {
        let queued_kilobytes = (options.queued_bytes_max / 1024).max(1024).to_string();
        let config = connection.config(&[
            ("group.id", options.group.as_deref().unwrap_or("tillstream-unused")),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            // A position outside the log stops loudly; it never jumps.
            ("auto.offset.reset", "error"),
            ("enable.partition.eof", if options.notes_ends { "true" } else { "false" }),
            ("fetch.wait.max.ms", &options.fetch_wait_ms.to_string()),
            ("fetch.min.bytes", "1"),
            ("fetch.error.backoff.ms", "100"),
            ("fetch.queue.backoff.ms", "10"),
            ("fetch.message.max.bytes", "4194304"),
            ("queued.max.messages.kbytes", &queued_kilobytes),
            ("queued.min.messages", "1000000"),
            ("isolation.level", if options.read_committed { "read_committed" } else { "read_uncommitted" }),
            ("check.crcs", "true"),
        ]);
        let consumer: BaseConsumer =
            config.create().map_err(|error| Error::of_request(&error, &connection.brokers, "creating a consumer"))?;
        Ok(Self {
            consumer,
            brokers: connection.brokers.clone(),
            topics: HashMap::new(),
            outage: None,
            ended: BTreeSet::new(),
        })
    }

    /// Reads these partitions, and no others, from these positions.
    ///
    /// # Errors
    /// `Refused` when librdkafka doesn't take the list.
    pub fn assign(&mut self, partitions: &[(TopicPartition, Start)]) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for (partition, start) in partitions {
            list.add_partition_offset(&partition.topic, partition.partition, (*start).into())
                .map_err(|error| self.error(&error, "assigning partitions"))?;
            self.topics.insert(partition.topic.to_string(), partition.topic.clone());
        }
        self.consumer.assign(&list).map_err(|error| self.error(&error, "assigning partitions"))
    }

    /// Takes what is there, at most `records_max` records, as one block per partition; waits up to `timeout` for the first record.
    /// An empty answer means that nothing came, be it that there is nothing or that the cluster is away (see [`Reader::outage`]).
    ///
    /// # Errors
    /// `OutOfRange`, `UnknownTopic` or `Refused`: final for this reader.
    pub fn poll(&mut self, records_max: usize, timeout: Duration) -> Result<Vec<RecordBlock>> {
        let mut blocks: Vec<RecordBlock> = Vec::new();
        let mut current = 0;
        let mut bytes = 0;
        let mut wait = timeout;
        for _ in 0..records_max {
            let Some(polled) = self.consumer.poll(wait) else { break };
            match polled {
                Ok(message) => {
                    current = block_of(&mut blocks, current, &message, &self.topics);
                    bytes += push(&mut blocks[current], &message);
                    wait = Duration::ZERO;
                    self.outage = None;
                    if bytes >= model::limits::BATCH_BYTES_MAX {
                        break;
                    }
                }
                Err(KafkaError::PartitionEOF(partition)) => {
                    self.ended.insert(partition);
                }
                Err(error) => {
                    let Some(error) = self.judge(&error) else { continue };
                    if blocks.is_empty() {
                        return Err(error);
                    }
                    // What was read before the error is good; the error comes again.
                    break;
                }
            }
        }
        Ok(blocks)
    }

    /// What librdkafka last said of a cluster that is away; `None` since the last record.
    pub fn outage(&self) -> Option<&str> {
        self.outage.as_deref()
    }

    /// Where each assigned partition is read next: past the last record that [`Reader::poll`] gave, and past the transaction markers after
    /// it, which no reader is shown and which may be the end of a log. A partition of which nothing was read yet is left out.
    ///
    /// # Errors
    /// `Refused` when librdkafka doesn't say.
    pub fn positions(&self) -> Result<Vec<(TopicPartition, i64)>> {
        let list = self.consumer.position().map_err(|error| self.error(&error, "asking for positions"))?;
        let read = list.elements().into_iter().filter_map(|element| match element.offset() {
            Offset::Offset(offset) => {
                Some((TopicPartition::new(shared_name(element.topic(), &self.topics), element.partition()), offset))
            }
            _ => None,
        });
        Ok(read.collect())
    }

    /// Partitions whose end, as it was then, [`Reader::poll`] has reached since the last call. The last offsets before an end may belong to
    /// no record at all: compaction leaves empty batches.
    pub fn take_ended(&mut self) -> BTreeSet<i32> {
        std::mem::take(&mut self.ended)
    }

    /// Stops fetching these partitions until [`Reader::resume`]; they stay assigned.
    ///
    /// # Errors
    /// `Refused` when one isn't assigned.
    pub fn pause(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.consumer.pause(&list_of(partitions)).map_err(|error| self.error(&error, "pausing partitions"))
    }

    /// Fetches paused partitions again.
    ///
    /// # Errors
    /// `Refused` when one isn't assigned.
    pub fn resume(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.consumer.resume(&list_of(partitions)).map_err(|error| self.error(&error, "resuming partitions"))
    }

    /// First offset that is there, and the offset after the last record.
    ///
    /// # Errors
    /// `Unavailable` when the cluster doesn't answer, `UnknownTopic` when there is no such partition.
    pub fn range(&self, partition: &TopicPartition) -> Result<(i64, i64)> {
        let asked = self.consumer.fetch_watermarks(&partition.topic, partition.partition, REQUEST_TIMEOUT);
        asked.map_err(|error| {
            let doing = format!("asking for the ends of {partition}");
            match error.rdkafka_error_code() {
                Some(
                    RDKafkaErrorCode::UnknownTopicOrPartition
                    | RDKafkaErrorCode::UnknownTopic
                    | RDKafkaErrorCode::UnknownPartition,
                ) => self.unknown(partition, doing),
                _ => self.error(&error, &doing),
            }
        })
    }

    /// The error for a partition of which librdkafka knows nothing. It says so, too, when no broker has told it in time.
    fn unknown(&self, partition: &TopicPartition, doing: String) -> Error {
        let metadata = match self.consumer.fetch_metadata(Some(&partition.topic), REQUEST_TIMEOUT) {
            Ok(metadata) => metadata,
            Err(error) => return self.error(&error, &doing),
        };
        let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        match partitions.any(|known| known.id() == partition.partition) {
            true => {
                let reason = "it is there, and has no leader".to_owned();
                Error::Unavailable { brokers: self.brokers.clone(), doing, reason }
            }
            false => Error::UnknownTopic { topic: partition.to_string() },
        }
    }

    /// First offset whose Kafka timestamp is at or after `timestamp_ms`; `None` if there is none.
    ///
    /// # Errors
    /// `Unavailable` or `Refused`.
    pub fn offset_for_time(&self, partition: &TopicPartition, timestamp_ms: i64) -> Result<Option<i64>> {
        let doing = format!("asking for an offset of {partition} by time");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(timestamp_ms))
            .map_err(|error| self.error(&error, &doing))?;
        let found =
            self.consumer.offsets_for_times(list, REQUEST_TIMEOUT).map_err(|error| self.error(&error, &doing))?;
        Ok(found.elements().first().and_then(|element| match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }))
    }

    /// Leaves positions under the reader's group for people's tools; nothing of ours reads them. Does not wait.
    ///
    /// # Errors
    /// `Refused` when librdkafka doesn't take the list.
    pub fn commit(&self, positions: &[(TopicPartition, i64)]) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in positions {
            list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(*offset))
                .map_err(|error| self.error(&error, "committing positions"))?;
        }
        self.consumer.commit(&list, CommitMode::Async).map_err(|error| self.error(&error, "committing positions"))
    }

    fn error(&self, error: &KafkaError, doing: &str) -> Error {
        Error::of_request(error, &self.brokers, doing)
    }

    /// Remembers an outage and gives `None`, or gives the error that ends this reader.
    fn judge(&mut self, error: &KafkaError) -> Option<Error> {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                Some(Error::OutOfRange { topic: "an assigned topic".to_owned(), reason: error.to_string() })
            }
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                Some(Error::UnknownTopic { topic: error.to_string() })
            }
            code if is_outage(code) => {
                if self.outage.is_none() {
                    tracing::warn!(brokers = %self.brokers, %error, "kafka is away, waiting for it");
                }
                self.outage = Some(error.to_string());
                None
            }
            _ => Some(self.error(error, "reading")),
        }
    }
}

fn list_of(partitions: &[TopicPartition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(&partition.topic, partition.partition);
    }
    list
}

/// The name of an assigned topic as all that is read of it shares it.
fn shared_name(topic: &str, topics: &HashMap<String, Arc<str>>) -> Arc<str> {
    topics.get(topic).cloned().unwrap_or_else(|| topic.into())
}

/// Index of the block that the message belongs to; `last` is tried first, since messages come in runs of one partition.
fn block_of(
    blocks: &mut Vec<RecordBlock>,
    last: usize,
    message: &BorrowedMessage<'_>,
    topics: &HashMap<String, Arc<str>>,
) -> usize {
    let (topic, partition) = (message.topic(), message.partition());
    let is_home = |block: &RecordBlock| block.partition == partition && &*block.topic == topic;
    if blocks.get(last).is_some_and(is_home) {
        return last;
    }
    if let Some(index) = blocks.iter().position(is_home) {
        return index;
    }
    let name = shared_name(topic, topics);
    blocks.push(RecordBlock::new(name, partition));
    blocks.len() - 1
}

fn push(block: &mut RecordBlock, message: &BorrowedMessage<'_>) -> usize {
    let timestamp_ms = message.timestamp().to_millis().unwrap_or(-1);
    let (key, value) = (message.key(), message.payload());
    let headers = message.headers();
    let headers = headers.iter().flat_map(|headers| headers.iter()).map(|header| (header.key, header.value));
    block.push(message.offset(), timestamp_ms, key, value, headers);
    key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len)
}
