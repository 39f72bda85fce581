//! Scripts about topics: creating, describing, changing, deleting.

use std::collections::BTreeMap;
use std::future::Future;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::{Record, TIMEOUT, config, reader, send_all, take, unique, wait_until};

pub fn admin(bootstrap: &str) -> AdminClient<DefaultClientContext> {
    config(bootstrap).create().unwrap()
}

pub fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT))
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Creates a topic and waits until clients see it.
pub fn create(bootstrap: &str, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
    assert_eq!(try_create(bootstrap, topic, partitions, settings), Ok(()));
    wait_until("the topic is there", || partition_count(bootstrap, topic) == Some(partitions as usize));
}

pub fn try_create(
    bootstrap: &str,
    topic: &str,
    partitions: i32,
    settings: &[(&str, &str)],
) -> Result<(), RDKafkaErrorCode> {
    let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    for (name, value) in settings {
        new = new.set(name, value);
    }
    let mut results = block_on(admin(bootstrap).create_topics([&new], &options())).unwrap();
    results.remove(0).map(drop).map_err(|(_, error)| error)
}

/// Number of partitions, if the topic is there; it isn't created.
pub fn partition_count(bootstrap: &str, topic: &str) -> Option<usize> {
    let mut settings = config(bootstrap);
    settings.set("allow.auto.create.topics", "false").set("group.id", unique("metadata"));
    let consumer: BaseConsumer = settings.create().unwrap();
    // All topics: asking for one by name may create it, whatever the setting says.
    let metadata = consumer.fetch_metadata(None, TIMEOUT).unwrap();
    let found = metadata.topics().iter().find(|found| found.name() == topic)?;
    if found.error().is_some() { None } else { Some(found.partitions().len()) }
}

fn settings_of(bootstrap: &str, topic: &str) -> BTreeMap<String, (Option<String>, bool)> {
    let described =
        block_on(admin(bootstrap).describe_configs([&ResourceSpecifier::Topic(topic)], &options())).unwrap();
    let resource = described.into_iter().next().unwrap().unwrap();
    let entries = resource.entries.into_iter();
    entries.map(|entry| (entry.name, (entry.value, entry.source == ConfigSource::DynamicTopic))).collect()
}

/// Topics take settings, show them, and let them be changed.
pub fn settings(bootstrap: &str) {
    let topic = unique("settings");
    create(bootstrap, &topic, 2, &[("cleanup.policy", "compact"), ("retention.ms", "5000")]);
    let shown = settings_of(bootstrap, &topic);
    assert_eq!(shown["cleanup.policy"], (Some("compact".to_owned()), true));
    assert_eq!(shown["retention.ms"], (Some("5000".to_owned()), true));
    assert!(!shown["min.insync.replicas"].1, "not set for the topic");

    let change = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("retention.ms", "9000");
    block_on(admin(bootstrap).alter_configs([&change], &options())).unwrap().remove(0).unwrap();
    wait_until("the setting is changed", || {
        settings_of(bootstrap, &topic)["retention.ms"].0.as_deref() == Some("9000")
    });
}

/// Creating what is there, or nonsense, is refused with the right error.
pub fn refused_topics(bootstrap: &str) {
    let topic = unique("refused");
    create(bootstrap, &topic, 1, &[]);
    assert_eq!(try_create(bootstrap, &topic, 1, &[]), Err(RDKafkaErrorCode::TopicAlreadyExists));
    assert_eq!(try_create(bootstrap, "no/such name", 1, &[]), Err(RDKafkaErrorCode::InvalidTopic));
    let wrong = try_create(bootstrap, &unique("refused"), 1, &[("retention.ms", "soon")]);
    assert_eq!(wrong, Err(RDKafkaErrorCode::InvalidConfig));
    let unknown = try_create(bootstrap, &unique("refused"), 1, &[("no.such.setting", "1")]);
    assert_eq!(unknown, Err(RDKafkaErrorCode::InvalidConfig));
}

/// Partitions are added; what is in the topic stays.
pub fn more_partitions(bootstrap: &str) {
    let topic = unique("more");
    create(bootstrap, &topic, 1, &[]);
    send_all(&config(bootstrap), &topic, &[Record::new("k", "v")]);
    let grow = |count| block_on(admin(bootstrap).create_partitions([&NewPartitions::new(&topic, count)], &options()));
    grow(4).unwrap().remove(0).unwrap();
    wait_until("the partitions are there", || partition_count(bootstrap, &topic) == Some(4));
    let fewer = grow(2).unwrap().remove(0);
    assert_eq!(fewer.unwrap_err().1, RDKafkaErrorCode::InvalidPartitions);
    let record = Record { partition: Some(3), ..Record::new("k", "v") };
    assert_eq!(send_all(&config(bootstrap), &topic, &[record]), [(3, 0)]);
    take(&reader(bootstrap, &topic, &[0, 3], Offset::Beginning), 2);
}

/// A topic that is deleted and made again is another topic: empty, with no committed offsets.
pub fn delete_and_create(bootstrap: &str) {
    let topic = unique("again");
    create(bootstrap, &topic, 1, &[]);
    send_all(&config(bootstrap), &topic, &vec![Record::new("k", "old"); 5]);
    let group = unique("again");
    let mut settings = config(bootstrap);
    settings.set("group.id", &group).set("enable.auto.commit", "false");
    let consumer: BaseConsumer = settings.create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic, 0, Offset::Offset(5)).unwrap();
    consumer.commit(&list, rdkafka::consumer::CommitMode::Sync).unwrap();

    block_on(admin(bootstrap).delete_topics(&[&topic], &options())).unwrap().remove(0).unwrap();
    wait_until("the topic is gone", || partition_count(bootstrap, &topic).is_none());
    create(bootstrap, &topic, 1, &[]);
    assert_eq!(send_all(&config(bootstrap), &topic, &[Record::new("k", "new")]), [(0, 0)]);
    let messages = take(&reader(bootstrap, &topic, &[0], Offset::Beginning), 1);
    assert_eq!(messages[0].payload(), Some(&b"new"[..]));
    wait_until("the committed offset is gone", || {
        let committed = consumer.committed_offsets(list.clone(), TIMEOUT).unwrap();
        committed.find_partition(&topic, 0).unwrap().offset() == Offset::Invalid
    });
}

/// A topic that a producer names comes into being. The cluster must allow it.
pub fn created_on_demand(bootstrap: &str) {
    let topic = unique("demand");
    let placed = send_all(&config(bootstrap), &topic, &[Record::new("k", "v")]);
    assert_eq!(placed.iter().map(|(_, offset)| *offset).collect::<Vec<_>>(), [0]);
}

/// Records before an offset are deleted.
pub fn delete_records(bootstrap: &str) {
    let topic = unique("delete");
    create(bootstrap, &topic, 1, &[]);
    for _ in 0..10 {
        send_all(&config(bootstrap), &topic, &[Record::new("k", "v")]);
    }
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic, 0, Offset::Offset(6)).unwrap();
    let deleted = block_on(admin(bootstrap).delete_records(&list, &options())).unwrap();
    assert_eq!(deleted.find_partition(&topic, 0).unwrap().error(), Ok(()));
    let consumer = reader(bootstrap, &topic, &[0], Offset::Beginning);
    assert_eq!(consumer.fetch_watermarks(&topic, 0, TIMEOUT).unwrap(), (6, 10));
    let offsets: Vec<i64> = take(&consumer, 4).iter().map(|message| message.offset()).collect();
    assert_eq!(offsets, [6, 7, 8, 9]);
}
