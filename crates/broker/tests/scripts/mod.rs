//! What clients do, as functions that take a bootstrap address: the same scripts pass against Apache Kafka.
//!
//! A script panics when something isn't as it should be. Names of topics and groups are new in each run.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests; not each test file uses each script"
)]

pub mod groups;
pub mod topics;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

pub const TIMEOUT: Duration = Duration::from_secs(30);

/// A name that no other test has.
pub fn unique(what: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let nanos = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    format!("{what}.{}.{nanos}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Calls `check` until it is true, or panics after the timeout.
pub fn wait_until(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !check() {
        assert!(Instant::now() < deadline, "timed out: {what}");
        std::thread::yield_now();
    }
}

pub fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("client.id", "script");
    config
}

/// Keeps what became of each record, by the number it was sent with.
#[derive(Debug, Default)]
pub struct Deliveries(Mutex<Vec<(usize, Delivered)>>);

/// Partition and offset of a record, or why it isn't there.
pub type Delivered = Result<(i32, i64), RDKafkaErrorCode>;

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Box<usize>) {
        let became = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap()),
        };
        self.0.lock().unwrap().push((*number, became));
    }
}

/// A record to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub partition: Option<i32>,
    pub key: String,
    pub value: String,
    pub timestamp: Option<i64>,
}

impl Record {
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { partition: None, key: key.into(), value: value.into(), timestamp: None }
    }
}

/// Sends records and waits for all; returns partition and offset of each, or its error.
pub fn send(config: &ClientConfig, topic: &str, records: &[Record]) -> Vec<Delivered> {
    let producer: BaseProducer<Deliveries> = config.create_with_context(Deliveries::default()).unwrap();
    for (number, record) in records.iter().enumerate() {
        let headers = OwnedHeaders::new().insert(Header { key: "number", value: Some(&number.to_string()) });
        let mut message = BaseRecord::with_opaque_to(topic, Box::new(number)).key(&record.key).payload(&record.value);
        message = message.headers(headers);
        message.partition = record.partition;
        message.timestamp = record.timestamp;
        while let Err((error, back)) = producer.send(message) {
            assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "{error}");
            producer.poll(Duration::from_millis(10));
            message = back;
        }
    }
    producer.flush(TIMEOUT).unwrap();
    let mut became = std::mem::take(&mut *producer.context().0.lock().unwrap());
    became.sort_by_key(|(number, _)| *number);
    assert_eq!(became.len(), records.len(), "each record is reported once");
    became.into_iter().map(|(_, became)| became).collect()
}

/// Sends records that must all be acknowledged.
pub fn send_all(config: &ClientConfig, topic: &str, records: &[Record]) -> Vec<(i32, i64)> {
    send(config, topic, records).into_iter().map(|became| became.expect("acknowledged")).collect()
}

/// A consumer that reads what it is told to, from the beginning.
pub fn reader(bootstrap: &str, topic: &str, partitions: &[i32], from: Offset) -> BaseConsumer {
    let mut config = config(bootstrap);
    config.set("group.id", unique("reader")).set("enable.auto.commit", "false").set("check.crcs", "true");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition_offset(topic, *partition, from).unwrap();
    }
    consumer.assign(&list).unwrap();
    consumer
}

/// Reads so many records.
pub fn take(consumer: &BaseConsumer, count: usize) -> Vec<OwnedMessage> {
    let deadline = Instant::now() + TIMEOUT;
    let mut messages = Vec::new();
    while messages.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} records came", messages.len());
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            messages.push(message.expect("a record").detach());
        }
    }
    messages
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8(bytes.expect("not null").to_vec()).unwrap()
}

fn number_of(message: &BorrowedMessage<'_>) -> usize {
    let headers = message.headers().unwrap();
    std::str::from_utf8(headers.get(0).value.unwrap()).unwrap().parse().unwrap()
}

/// Records in each codec come back as they were sent, in order, with keys, headers and timestamps.
pub fn produce_and_consume(bootstrap: &str, codec: &str) {
    let topic = unique("codec");
    topics::create(bootstrap, &topic, 3, &[]);
    let records: Vec<Record> = (0..5_000)
        .map(|number| Record {
            timestamp: Some(1_700_000_000_000 + number),
            partition: Some((number % 3) as i32),
            ..Record::new(format!("key-{number}"), format!("value-{number}-{}", "x".repeat((number % 50) as usize)))
        })
        .collect();
    let mut config = config(bootstrap);
    config.set("enable.idempotence", "true").set("acks", "all").set("compression.codec", codec).set("linger.ms", "5");
    let placed = send_all(&config, &topic, &records);

    let consumer = reader(bootstrap, &topic, &[0, 1, 2], Offset::Beginning);
    let mut seen = vec![false; records.len()];
    let mut next = [0; 3];
    let deadline = Instant::now() + TIMEOUT;
    while !seen.iter().all(|seen| *seen) {
        assert!(Instant::now() < deadline, "timed out reading {codec}");
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        let number = number_of(&message);
        let record = &records[number];
        assert_eq!((text(message.key()), text(message.payload())), (record.key.clone(), record.value.clone()));
        assert_eq!(message.timestamp().to_millis(), record.timestamp);
        assert_eq!((message.partition(), message.offset()), placed[number]);
        let partition = message.partition() as usize;
        assert_eq!(message.offset(), next[partition], "in order, without gaps");
        next[partition] += 1;
        assert!(!std::mem::replace(&mut seen[number], true), "record {number} came twice");
    }
    let (low, high) = consumer.fetch_watermarks(&topic, 0, TIMEOUT).unwrap();
    assert_eq!((low, high), (0, next[0]));
}

/// Offsets are found by the time of single records, in compressed batches as well.
pub fn offsets_by_time(bootstrap: &str, codec: &str) {
    let topic = unique("times");
    topics::create(bootstrap, &topic, 1, &[]);
    let records: Vec<Record> = (0..100)
        .map(|number| Record { timestamp: Some(1_700_000_000_000 + number * 10), ..Record::new("k", "v".repeat(30)) })
        .collect();
    let mut config = config(bootstrap);
    config.set("compression.codec", codec).set("linger.ms", "200");
    send_all(&config, &topic, &records);

    let consumer = reader(bootstrap, &topic, &[0], Offset::Beginning);
    let at = |timestamp: i64| {
        let mut times = TopicPartitionList::new();
        times.add_partition_offset(&topic, 0, Offset::Offset(timestamp)).unwrap();
        consumer.offsets_for_times(times, TIMEOUT).unwrap().find_partition(&topic, 0).unwrap().offset()
    };
    assert_eq!(at(0), Offset::Offset(0));
    assert_eq!(at(1_700_000_000_000), Offset::Offset(0));
    assert_eq!(at(1_700_000_000_001), Offset::Offset(1));
    assert_eq!(at(1_700_000_000_500), Offset::Offset(50));
    assert_eq!(at(1_700_000_000_985), Offset::Offset(99));
    assert_eq!(at(1_700_000_000_991), Offset::End);
}

/// A reader at the end gets a record as soon as it is there, not when its poll is over.
pub fn long_poll(bootstrap: &str) {
    let topic = unique("poll");
    topics::create(bootstrap, &topic, 1, &[]);
    let mut settings = config(bootstrap);
    settings.set("group.id", unique("poll")).set("fetch.wait.max.ms", "60000").set("fetch.min.bytes", "1");
    let consumer: BaseConsumer = settings.create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let producer = config(bootstrap);
    send_all(&producer, &topic, &[Record::new("k", "first")]);
    assert_eq!(text(take(&consumer, 1)[0].payload()), "first");
    // The reader's next poll is under way by now, or soon; the record ends it.
    assert!(consumer.poll(Duration::from_millis(300)).is_none());
    let sent = Instant::now();
    send_all(&producer, &topic, &[Record::new("k", "second")]);
    assert_eq!(text(take(&consumer, 1)[0].payload()), "second");
    assert!(sent.elapsed() < TIMEOUT, "came after {:?}", sent.elapsed());
}

/// A batch over the topic's limit is refused, smaller ones go on.
pub fn too_large(bootstrap: &str) {
    let topic = unique("large");
    topics::create(bootstrap, &topic, 1, &[("max.message.bytes", "10000")]);
    let config = config(bootstrap);
    let became = send(&config, &topic, &[Record::new("k", "x".repeat(20_000))]);
    assert_eq!(became, [Err(RDKafkaErrorCode::MessageSizeTooLarge)]);
    assert_eq!(send_all(&config, &topic, &[Record::new("k", "small")]), [(0, 0)]);
}

/// An offset that isn't there is told, and the reader starts again where it is told to.
pub fn out_of_range(bootstrap: &str) {
    let topic = unique("range");
    topics::create(bootstrap, &topic, 1, &[]);
    send_all(&config(bootstrap), &topic, &[Record::new("k", "only")]);
    let mut settings = config(bootstrap);
    settings.set("group.id", unique("range")).set("auto.offset.reset", "error");
    let consumer: BaseConsumer = settings.create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic, 0, Offset::Offset(77)).unwrap();
    consumer.assign(&list).unwrap();
    let deadline = Instant::now() + TIMEOUT;
    let error = loop {
        assert!(Instant::now() < deadline, "timed out");
        if let Some(polled) = consumer.poll(Duration::from_millis(100)) {
            break polled.expect_err("there is no such offset");
        }
    };
    assert!(
        matches!(
            error,
            KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)
        ),
        "{error}"
    );
}

/// A record of 1 MB passes where the topic allows it.
pub fn one_megabyte(bootstrap: &str) {
    let topic = unique("megabyte");
    topics::create(bootstrap, &topic, 1, &[("max.message.bytes", "2000000")]);
    let mut config = config(bootstrap);
    config.set("message.max.bytes", "2000000");
    send_all(&config, &topic, &[Record::new("a", "x".repeat(1_000_000)), Record::new("b", "y".repeat(1_000_000))]);
    // Larger than what the reader asks for at a time: it gets whole batches all the same.
    let mut settings = self::config(bootstrap);
    settings.set("group.id", unique("megabyte")).set("fetch.message.max.bytes", "1000");
    let consumer: BaseConsumer = settings.create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let sizes: Vec<usize> = take(&consumer, 2).iter().map(|message| message.payload().unwrap().len()).collect();
    assert_eq!(sizes, [1_000_000, 1_000_000]);
}
