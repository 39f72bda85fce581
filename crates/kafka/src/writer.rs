//! An idempotent producer that knows what has been acknowledged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::TopicPartition;
use rdkafka::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;

use crate::connection::Connection;
use crate::error::{Error, Result, is_outage};

/// Least and greatest pause between two looks at what is outstanding in a flush.
const FLUSH_STEP_MIN: Duration = Duration::from_millis(1);
const FLUSH_STEP_MAX: Duration = Duration::from_millis(20);

/// How batches are compressed on the wire and in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// LZ4: cheap, and halves Avro records.
    Lz4,
    /// Zstandard: smaller and slower.
    Zstd,
}

/// Largest record that is written, headers included, in bytes. A topic takes so much only if its `max.message.bytes` says so.
pub const RECORD_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Settings of a [`Writer`].
#[derive(Debug, Clone)]
pub struct WriterOptions {
    /// How long a record waits for others to share a request, in milliseconds; a flush ends the wait.
    pub linger_ms: u32,
    /// Compression of batches.
    pub compression: Compression,
    /// Cap on records not acknowledged yet, in bytes; `send` blocks over it.
    pub queued_bytes_max: usize,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self { linger_ms: 5, compression: Compression::None, queued_bytes_max: 32 * 1024 * 1024 }
    }
}

/// A record to write.
#[derive(Debug, Clone, Copy, Default)]
pub struct OutRecord<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partition; `None` leaves it to murmur2 of the key as Java's client does (records without key are spread).
    pub partition: Option<i32>,
    /// Key.
    pub key: Option<&'a [u8]>,
    /// Value; `None` deletes in a compacted topic.
    pub value: Option<&'a [u8]>,
    /// Headers in order.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
    /// Kafka timestamp in milliseconds; `None` for now.
    pub timestamp_ms: Option<i64>,
}

/// Records of a partition that were acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// Offset of the first of them.
    pub first: i64,
    /// Offset after the last of them.
    pub next: i64,
    /// How many: fewer than lie between the two where another producer has written, too.
    pub count: i64,
}

/// What delivery reports have said since they were last taken.
#[derive(Default)]
struct Deliveries {
    /// Per partition, grouped by topic; few topics, so a list beats a map.
    delivered: Vec<(String, BTreeMap<i32, Delivered>)>,
    failure: Option<Error>,
    tracked: Vec<Report>,
}

/// What became of a record that was sent with a number of its own.
#[derive(Debug)]
pub struct Report {
    /// The number given to [`Writer::send_tracked`].
    pub number: usize,
    /// Where it was appended: partition and offset; or why it wasn't, or that the outcome is unknown.
    pub outcome: Result<(i32, i64)>,
}

/// The number of records whose own fate nobody asks for.
const UNTRACKED: usize = 0;

#[derive(Default)]
struct Reports(Mutex<Deliveries>);

impl Reports {
    fn lock(&self) -> MutexGuard<'_, Deliveries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, report: &DeliveryResult<'_>, number: usize) {
        let mut deliveries = self.lock();
        if number != UNTRACKED {
            let outcome = match report {
                Ok(message) => Ok((message.partition(), message.offset())),
                Err((error, message)) => Err(failed(error, message.topic(), message.partition())),
            };
            deliveries.tracked.push(Report { number, outcome });
            return;
        }
        match report {
            Ok(message) => {
                let (first, next) = (message.offset(), message.offset() + 1);
                let one = Delivered { first, next, count: 1 };
                let known = deliveries.delivered.iter_mut().find(|(topic, _)| topic == message.topic());
                match known {
                    Some((_, partitions)) => {
                        let more = |known: &mut Delivered| {
                            known.next = next.max(known.next);
                            known.count += 1;
                        };
                        partitions.entry(message.partition()).and_modify(more).or_insert(one);
                    }
                    None => {
                        let partitions = BTreeMap::from([(message.partition(), one)]);
                        deliveries.delivered.push((message.topic().to_owned(), partitions));
                    }
                }
            }
            Err((error, message)) => {
                if deliveries.failure.is_none() {
                    deliveries.failure = Some(failed(error, message.topic(), message.partition()));
                }
            }
        }
    }
}

fn failed(error: &KafkaError, topic: &str, partition: i32) -> Error {
    Error::Delivery {
        partition: TopicPartition::new(topic, partition),
        reason: error.to_string(),
        refused: !is_outage(error.rdkafka_error_code()),
    }
}

/// An idempotent producer: acks=all, order kept within a partition, no repeats while it lives.
pub struct Writer {
    producer: BaseProducer<Reports>,
    brokers: String,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("brokers", &self.brokers).finish_non_exhaustive()
    }
}

impl Writer {
    /// A writer. It connects with the first record.
    ///
    /// # Errors
    /// `Setting` when librdkafka refuses a property.
    pub fn new(connection: &Connection, options: &WriterOptions) -> Result<Self> {
        let compression = match options.compression {
            Compression::None => "none",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        };
        let config = connection.config(&[
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("partitioner", "murmur2_random"),
            ("linger.ms", &options.linger_ms.to_string()),
            ("batch.num.messages", "100000"),
            ("batch.size", "1000000"),
            ("compression.codec", compression),
            // The client needs several hundred bytes for each, whatever its size.
            ("queue.buffering.max.messages", "200000"),
            ("queue.buffering.max.kbytes", &(options.queued_bytes_max / 1024).max(1024).to_string()),
            // Outages are waited for, so a record is never given up; a shutdown drops the writer.
            ("message.timeout.ms", "0"),
            ("message.max.bytes", &RECORD_BYTES_MAX.to_string()),
        ]);
        let producer = config
            .create_with_context(Reports::default())
            .map_err(|error| Error::of_request(&error, &connection.brokers, "creating a producer"))?;
        Ok(Self { producer, brokers: connection.brokers.clone() })
    }

    /// Queues a record; blocks while the queue is full, which is the back-pressure of a cluster that is slow or away.
    ///
    /// # Errors
    /// `Delivery` when the record can't be taken (too large, unknown partition) or an earlier one failed.
    pub fn send(&self, record: &OutRecord<'_>) -> Result<()> {
        self.queue(record, UNTRACKED)
    }

    /// As [`Writer::send`]; what becomes of the record is told by [`Writer::reports`] under `number` (1 and up), and a failed delivery
    /// doesn't end the epoch.
    ///
    /// # Errors
    /// As [`Writer::send`].
    pub fn send_tracked(&self, record: &OutRecord<'_>, number: usize) -> Result<()> {
        self.queue(record, number)
    }

    /// Takes the reports of tracked records that have come in so far.
    pub fn reports(&self) -> Vec<Report> {
        std::mem::take(&mut self.producer.context().lock().tracked)
    }

    fn queue(&self, record: &OutRecord<'_>, number: usize) -> Result<()> {
        let mut out: BaseRecord<'_, [u8], [u8], usize> = BaseRecord::with_opaque_to(record.topic, number);
        out.partition = record.partition;
        out.key = record.key;
        out.payload = record.value;
        out.timestamp = record.timestamp_ms;
        if !record.headers.is_empty() {
            let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
            for (key, value) in record.headers {
                headers = headers.insert(Header { key, value: *value });
            }
            out.headers = Some(headers);
        }
        loop {
            match self.producer.send(out) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                    self.producer.poll(Duration::from_millis(10));
                    self.check()?;
                    out = refused;
                }
                Err((error, _)) => {
                    return Err(Error::Delivery {
                        partition: TopicPartition::new(record.topic, record.partition.unwrap_or(-1)),
                        reason: error.to_string(),
                        refused: true,
                    });
                }
            }
        }
    }

    /// Takes all delivery reports that have come in, without waiting.
    ///
    /// # Errors
    /// `Delivery` when a record failed.
    pub fn poll(&self) -> Result<()> {
        let mut outstanding = self.producer.in_flight_count();
        loop {
            // The client takes one event at a time: the reports of one partition.
            self.producer.poll(Duration::ZERO);
            let left = self.producer.in_flight_count();
            if left >= outstanding {
                return self.check();
            }
            outstanding = left;
        }
    }

    /// Waits until every record is acknowledged; gives the offset after the last acknowledged record of each partition written to
    /// since the last successful flush, or since [`Writer::take_delivered`].
    ///
    /// # Errors
    /// `FlushTimeout` when some are still being tried (flush again, or give up the epoch); `Delivery` when one failed.
    pub fn flush(&self, timeout: Duration) -> Result<BTreeMap<TopicPartition, i64>> {
        self.wait_for_all(timeout)?;
        Ok(self.take_delivered().map(|(partition, delivered)| (partition, delivered.next)).collect())
    }

    /// What was acknowledged in each partition since this was last asked, by those delivery reports that [`Writer::poll`] has taken.
    pub fn take_delivered(&self) -> impl Iterator<Item = (TopicPartition, Delivered)> {
        let delivered = std::mem::take(&mut self.producer.context().lock().delivered);
        delivered.into_iter().flat_map(|(topic, partitions)| {
            let topic: Arc<str> = topic.into();
            partitions
                .into_iter()
                .map(move |(partition, delivered)| (TopicPartition { topic: topic.clone(), partition }, delivered))
        })
    }

    /// Waits until every record is acknowledged.
    ///
    /// # Errors
    /// As [`Writer::flush`].
    pub fn wait_for_all(&self, timeout: Duration) -> Result<()> {
        let flushed = self.wait_for_acknowledgements(timeout);
        self.check()?;
        let outstanding = usize::try_from(self.producer.in_flight_count()).unwrap_or(0);
        if outstanding > 0 {
            return Err(Error::FlushTimeout { outstanding, timeout_ms: timeout.as_millis() });
        }
        if let Err(error) = flushed {
            return Err(Error::of_request(&error, &self.brokers, "waiting for acknowledgements"));
        }
        Ok(())
    }

    /// Takes delivery reports until none is outstanding or the timeout has passed; the count of those in flight says which.
    ///
    /// The client's own flush looks only every 100 ms, which would be a micro-batch's least latency.
    fn wait_for_acknowledgements(&self, timeout: Duration) -> std::result::Result<(), KafkaError> {
        let started = Instant::now();
        loop {
            let flushed = self.producer.flush(Duration::ZERO);
            let waited = started.elapsed();
            let is_waiting = matches!(flushed, Err(KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut)));
            if !is_waiting || waited >= timeout {
                return flushed;
            }
            self.producer.poll((waited / 8).clamp(FLUSH_STEP_MIN, FLUSH_STEP_MAX).min(timeout - waited));
        }
    }

    /// Records queued or on their way.
    pub fn outstanding(&self) -> usize {
        usize::try_from(self.producer.in_flight_count()).unwrap_or(0)
    }

    fn check(&self) -> Result<()> {
        match self.producer.context().lock().failure.take() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }
}
