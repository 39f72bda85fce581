//! Scripts about consumer groups.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::topics::{self, admin, block_on, options};
use super::{Record, TIMEOUT, config, send_all, unique};

pub fn member(bootstrap: &str, group: &str, strategy: &str, topic: &str) -> BaseConsumer {
    member_with(bootstrap, group, strategy, topic, &[])
}

fn member_with(bootstrap: &str, group: &str, strategy: &str, topic: &str, more: &[(&str, &str)]) -> BaseConsumer {
    let mut settings = config(bootstrap);
    settings
        .set("group.id", group)
        .set("partition.assignment.strategy", strategy)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("session.timeout.ms", "45000")
        .set("heartbeat.interval.ms", "200");
    for (name, value) in more {
        settings.set(*name, *value);
    }
    let consumer: BaseConsumer = settings.create().unwrap();
    consumer.subscribe(&[topic]).unwrap();
    consumer
}

pub fn assigned(consumer: &BaseConsumer) -> BTreeSet<i32> {
    consumer.assignment().unwrap().elements().iter().map(|element| element.partition()).collect()
}

/// Polls the members until `done`; returns what was read as (partition, offset).
pub fn poll_until(
    members: &[&BaseConsumer],
    what: &str,
    mut done: impl FnMut(&[(i32, i64)]) -> bool,
) -> Vec<(i32, i64)> {
    let deadline = Instant::now() + TIMEOUT;
    let mut read = Vec::new();
    while !done(&read) {
        assert!(Instant::now() < deadline, "timed out: {what}; read {} records", read.len());
        for member in members {
            if let Some(message) = member.poll(Duration::from_millis(20)) {
                match message {
                    Ok(message) => read.push((message.partition(), message.offset())),
                    // Told while a broker restarts; the member goes on by itself.
                    Err(KafkaError::MessageConsumption(
                        RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown,
                    )) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
    read
}

fn fill(bootstrap: &str, topic: &str, partitions: i32, each: usize) {
    let records = (0..partitions).flat_map(|partition| {
        std::iter::repeat_n(Record { partition: Some(partition), ..Record::new("k", "v") }, each)
    });
    send_all(&config(bootstrap), topic, &records.collect::<Vec<_>>());
}

fn share(members: &[&BaseConsumer], partitions: i32, what: &str) {
    poll_until(members, what, |_| {
        let sets: Vec<BTreeSet<i32>> = members.iter().map(|member| assigned(member)).collect();
        let all: BTreeSet<i32> = sets.iter().flatten().copied().collect();
        let together: usize = sets.iter().map(BTreeSet::len).sum();
        sets.iter().all(|set| !set.is_empty()) && all.len() == partitions as usize && together == all.len()
    });
}

/// Two members share the partitions, one leaves and the other has them all; what was committed isn't read again.
pub fn two_members(bootstrap: &str, strategy: &str) {
    let (topic, group) = (unique("group"), unique("group"));
    topics::create(bootstrap, &topic, 4, &[]);
    fill(bootstrap, &topic, 4, 5);
    let first = member(bootstrap, &group, strategy, &topic);
    let read = poll_until(&[&first], "one member reads all", |read| read.len() >= 20);
    assert_eq!(read.iter().collect::<BTreeSet<_>>().len(), 20);
    first.commit_consumer_state(CommitMode::Sync).unwrap();
    let cooperative = matches!(first.rebalance_protocol(), RebalanceProtocol::Cooperative);
    assert_eq!(cooperative, strategy.starts_with("cooperative"));

    let second = member(bootstrap, &group, strategy, &topic);
    share(&[&first, &second], 4, "both members have partitions");
    fill(bootstrap, &topic, 4, 5);
    let read = poll_until(&[&first, &second], "both read on", |read| read.len() >= 20);
    assert!(read.iter().all(|(_, offset)| *offset >= 5), "what was committed is not read again: {read:?}");
    first.commit_consumer_state(CommitMode::Sync).unwrap();
    second.commit_consumer_state(CommitMode::Sync).unwrap();

    drop(second);
    share(&[&first], 4, "the one that stays has all partitions");
    fill(bootstrap, &topic, 4, 1);
    let read = poll_until(&[&first], "the one that stays reads on", |read| read.len() >= 4);
    assert!(read.iter().all(|(_, offset)| *offset == 10), "{read:?}");
}

/// A static member that comes back has its partitions without the other noticing.
pub fn static_member(bootstrap: &str) {
    let (topic, group) = (unique("static"), unique("static"));
    topics::create(bootstrap, &topic, 4, &[]);
    let of = |instance: &str| member_with(bootstrap, &group, "range", &topic, &[("group.instance.id", instance)]);
    let (first, second) = (of("one"), of("two"));
    share(&[&first, &second], 4, "both members have partitions");
    let (of_first, of_second) = (assigned(&first), assigned(&second));
    drop(second); // A static member doesn't leave.
    let second = of("two");
    poll_until(&[&first, &second], "it has its partitions again", |_| assigned(&second) == of_second);
    assert_eq!(assigned(&first), of_first);
}

/// Commits offsets without being a member, and returns the group.
pub fn commit_offsets(bootstrap: &str, topic: &str, offsets: &[i64]) -> String {
    let group = unique("committed");
    let consumer: BaseConsumer = config(bootstrap).set("group.id", &group).create().unwrap();
    let mut list = TopicPartitionList::new();
    for (partition, offset) in (0..).zip(offsets) {
        list.add_partition_offset(topic, partition, Offset::Offset(*offset)).unwrap();
    }
    consumer.commit(&list, CommitMode::Sync).unwrap();
    group
}

pub fn committed(bootstrap: &str, group: &str, topic: &str, partitions: i32) -> Vec<Offset> {
    let consumer: BaseConsumer = config(bootstrap).set("group.id", group).create().unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition(topic, partition);
    }
    let committed = consumer.committed_offsets(list, TIMEOUT).unwrap();
    committed.elements().iter().map(|element| element.offset()).collect()
}

/// Committed offsets are kept, shown, and deleted with their group.
pub fn commit_and_delete(bootstrap: &str) {
    let topic = unique("commit");
    topics::create(bootstrap, &topic, 3, &[]);
    fill(bootstrap, &topic, 3, 9);
    let group = commit_offsets(bootstrap, &topic, &[4, 7]);
    assert_eq!(committed(bootstrap, &group, &topic, 3), [Offset::Offset(4), Offset::Offset(7), Offset::Invalid]);

    let consumer: BaseConsumer = config(bootstrap).set("group.id", unique("look")).create().unwrap();
    let listed = consumer.fetch_group_list(Some(&group), TIMEOUT).unwrap();
    assert_eq!(listed.groups()[0].state(), "Empty");

    block_on(admin(bootstrap).delete_groups(&[&group], &options())).unwrap().remove(0).unwrap();
    assert_eq!(committed(bootstrap, &group, &topic, 3), [Offset::Invalid; 3]);
}
