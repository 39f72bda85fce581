//! The run's Apache Kafka, and raw records past all of our own code.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaResult;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Bootstrap address of the run's Apache Kafka. Tests take topic names from [`crate::unique_name`] so that they don't meet.
pub fn bootstrap() -> String {
    crate::service_address("TILLSTREAM_TEST_KAFKA")
}

/// Deletes all topics of the run's Apache Kafka whose names begin with `prefix`, as far as that goes.
pub fn delete_topics_with_prefix(prefix: &str) {
    assert!(!prefix.is_empty(), "an empty prefix means all topics");
    let prefix = prefix.to_owned();
    let work = move || {
        let client: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", bootstrap()).create().expect("an admin client");
        let Ok(metadata) = client.inner().fetch_metadata(None, TIMEOUT) else { return };
        let names: Vec<&str> =
            metadata.topics().iter().map(|topic| topic.name()).filter(|name| name.starts_with(&prefix)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        // What is left over costs the run's Kafka some disk and nothing else.
        drop(runtime.block_on(client.delete_topics(&names, &AdminOptions::new())));
    };
    // Not on the test's own thread, which may be in a runtime.
    drop(std::thread::spawn(work).join());
}

/// End of each partition of a topic, by number; empty if there is no such topic. Waits for partitions that have no leader yet.
///
/// # Panics
/// When the cluster doesn't answer.
pub fn ends(brokers: &str, topic: &str) -> Vec<i64> {
    let what = format!("the ends of {topic}");
    crate::wait_for(&what, TIMEOUT, || ends_so_far(brokers, topic).into_iter().collect::<KafkaResult<_>>().ok())
}

/// Records that a topic has ever had, as far as its partitions are there by now: the sum of their ends. 0 if there is no such topic.
///
/// # Panics
/// When the cluster doesn't answer.
pub fn records(brokers: &str, topic: &str) -> i64 {
    ends_so_far(brokers, topic).into_iter().flatten().sum()
}

/// End of each partition that the metadata name, if it has a leader already.
fn ends_so_far(brokers: &str, topic: &str) -> Vec<KafkaResult<i64>> {
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create().expect("a consumer");
    let metadata = client.fetch_metadata(Some(topic), TIMEOUT).unwrap_or_else(|error| panic!("{brokers}: {error}"));
    let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    let end = |number| client.fetch_watermarks(topic, number, TIMEOUT).map(|(_, end)| end);
    (0..i32::try_from(partitions).expect("few partitions")).map(end).collect()
}

/// Deletes all records that a topic holds, as retention does: its partitions begin where they end.
///
/// # Panics
/// When the cluster refuses.
pub fn delete_records(brokers: &str, topic: &str) {
    let mut offsets = TopicPartitionList::new();
    for (number, end) in (0..).zip(ends(brokers, topic)) {
        offsets.add_partition_offset(topic, number, Offset::Offset(end)).expect("an offset");
    }
    let deleted = admin(brokers, async |client| client.delete_records(&offsets, &AdminOptions::new()).await);
    let deleted = deleted.unwrap_or_else(|error| panic!("{topic}: {error}"));
    deleted.elements().iter().for_each(|element| element.error().unwrap_or_else(|error| panic!("{topic}: {error}")));
}

/// Deletes a topic, and waits until the cluster knows it no more.
///
/// # Panics
/// When the cluster refuses.
pub fn delete_topic(brokers: &str, topic: &str) {
    admin(brokers, async |client| client.delete_topics(&[topic], &AdminOptions::new()).await).expect("it is deleted");
    crate::wait_for("the topic to go", TIMEOUT, || ends_so_far(brokers, topic).is_empty().then_some(()));
}

fn admin<T>(brokers: &str, work: impl AsyncFnOnce(&AdminClient<DefaultClientContext>) -> T) -> T {
    let client: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().expect("an admin client");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(work(&client))
}

/// A record for [`produce`].
#[derive(Debug, Clone, Default)]
pub struct RawRecord {
    /// Key, if any.
    pub key: Option<Vec<u8>>,
    /// Value; null if `None`.
    pub value: Option<Vec<u8>>,
    /// Partition, if not the client's choice.
    pub partition: Option<i32>,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
}

/// Sends records as they are, and waits until all are acknowledged.
///
/// # Panics
/// When one isn't.
pub fn produce(brokers: &str, topic: &str, records: &[RawRecord]) {
    send(&producer(brokers, &[]), topic, records);
}

/// Sends records in a transaction of its own, which ends by a commit or is aborted. Either leaves a marker in each partition written to,
/// which is there when this returns: markers are written after the answer to the producer, but before its transactional id may be
/// initialised again (KIP-98).
///
/// # Panics
/// When the cluster doesn't take them.
pub fn produce_in_transaction(brokers: &str, topic: &str, records: &[RawRecord], commits: bool) {
    let id = crate::unique_name("transaction");
    let initialised = || {
        let producer = producer(brokers, &[("transactional.id", &id)]);
        producer.init_transactions(TIMEOUT).unwrap_or_else(|error| panic!("{topic}: {error}"));
        producer
    };
    let producer = initialised();
    producer.begin_transaction().unwrap_or_else(|error| panic!("{topic}: {error}"));
    send(&producer, topic, records);
    let ended = if commits { producer.commit_transaction(TIMEOUT) } else { producer.abort_transaction(TIMEOUT) };
    ended.unwrap_or_else(|error| panic!("{topic}: {error}"));
    initialised();
}

fn producer(brokers: &str, properties: &[(&str, &str)]) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("message.max.bytes", "10000000").set("acks", "all");
    for (name, value) in properties {
        config.set(*name, *value);
    }
    config.create().expect("a producer")
}

fn send(producer: &BaseProducer, topic: &str, records: &[RawRecord]) {
    for record in records {
        let mut message: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic);
        if let Some(key) = &record.key {
            message = message.key(key);
        }
        if let Some(value) = &record.value {
            message = message.payload(value);
        }
        if let Some(partition) = record.partition {
            message = message.partition(partition);
        }
        if !record.headers.is_empty() {
            let headers = OwnedHeaders::new_with_capacity(record.headers.len());
            let header = |headers: OwnedHeaders, (key, value): &(String, String)| {
                headers.insert(Header { key, value: Some(value) })
            };
            message = message.headers(record.headers.iter().fold(headers, header));
        }
        producer.send(message).unwrap_or_else(|(error, _)| panic!("{topic}: {error}"));
        producer.poll(Duration::ZERO);
    }
    producer.flush(TIMEOUT).unwrap_or_else(|error| panic!("{topic}: {error}"));
    assert_eq!(producer.in_flight_count(), 0, "records to {topic} are unacknowledged");
}
