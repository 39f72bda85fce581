//! What is there after a restart, proper or by SIGKILL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

mod common;
mod scripts;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use broker::{Broker, Error, Options};
use common::{ChildBroker, TestBroker};
use rdkafka::client::ClientContext;
use rdkafka::consumer::Consumer as _;
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::topic_partition_list::Offset;
use scripts::{Record, TIMEOUT, config, reader, send_all, take, unique, wait_until};

/// Not a test: the process that [`ChildBroker`] starts.
#[test]
fn child_broker() {
    common::run_as_child();
}

#[test]
fn topics_records_and_committed_offsets_survive_a_proper_restart() {
    let directory = tempfile::tempdir().unwrap();
    let topic = unique("proper");
    let broker = TestBroker::start(directory.path());
    let bootstrap = broker.bootstrap();
    scripts::topics::create(&bootstrap, &topic, 2, &[("retention.ms", "77000")]);
    send_all(&config(&bootstrap), &topic, &vec![Record { partition: Some(1), ..Record::new("k", "v") }; 100]);
    let group = scripts::groups::commit_offsets(&bootstrap, &topic, &[0, 42]);
    broker.stop();

    let broker = TestBroker::start(directory.path());
    let bootstrap = broker.bootstrap();
    assert_eq!(scripts::topics::partition_count(&bootstrap, &topic), Some(2));
    assert_eq!(scripts::groups::committed(&bootstrap, &group, &topic, 2), [Offset::Offset(0), Offset::Offset(42)]);
    take(&reader(&bootstrap, &topic, &[1], Offset::Beginning), 100);
    let placed = send_all(&config(&bootstrap), &topic, &[Record { partition: Some(1), ..Record::new("k", "v") }]);
    assert_eq!(placed, [(1, 100)]);
}

#[test]
fn a_group_goes_on_after_a_restart_where_it_had_committed() {
    let directory = tempfile::tempdir().unwrap();
    let (topic, group) = (unique("goes-on"), unique("goes-on"));
    let broker = TestBroker::start(directory.path());
    let bootstrap = broker.bootstrap();
    let address = broker.address;
    scripts::topics::create(&bootstrap, &topic, 2, &[]);
    let records: Vec<Record> = (0..20).map(|n| Record { partition: Some(n % 2), ..Record::new("k", "v") }).collect();
    send_all(&config(&bootstrap), &topic, &records);
    let member = scripts::groups::member(&bootstrap, &group, "cooperative-sticky", &topic);
    scripts::groups::poll_until(&[&member], "all is read", |read| read.len() >= 20);
    member.commit_consumer_state(rdkafka::consumer::CommitMode::Sync).unwrap();
    broker.stop();

    // The same member lives through the restart and joins again.
    let broker = TestBroker::start_with(Options::new(address, directory.path()));
    send_all(&config(&broker.bootstrap()), &topic, &records);
    let read = scripts::groups::poll_until(&[&member], "it reads on", |read| read.len() >= 20);
    assert!(read.iter().all(|(_, offset)| *offset >= 10), "{read:?}");
}

/// Keeps which records were acknowledged, and where.
#[derive(Default)]
struct Acknowledged {
    offsets: Mutex<BTreeMap<usize, i64>>,
    count: AtomicUsize,
}

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Box<usize>) {
        if let Ok(message) = result {
            assert!(self.offsets.lock().unwrap().insert(*number, message.offset()).is_none());
            self.count.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Kills the broker again and again while an idempotent producer writes: each acknowledged record is there once, at its offset, in order.
fn kill_while_producing(flush: &str) {
    let directory = tempfile::tempdir().unwrap();
    let topic = unique("kill");
    let mut broker = ChildBroker::start(directory.path(), "127.0.0.1:0", flush);
    let bootstrap = broker.bootstrap.clone();
    scripts::topics::create(&bootstrap, &topic, 1, &[]);
    let mut settings = config(&bootstrap);
    settings
        .set("enable.idempotence", "true")
        .set("linger.ms", "1")
        .set("reconnect.backoff.ms", "10")
        .set("reconnect.backoff.max.ms", "50");
    let producer: BaseProducer<Acknowledged> = settings.create_with_context(Acknowledged::default()).unwrap();
    let stop = AtomicBool::new(false);
    let (sent, _broker) = std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut number = 0;
            while !stop.load(Ordering::SeqCst) {
                let value = format!("{number}:{}", "x".repeat(100));
                let record: BaseRecord<'_, str, str, Box<usize>> =
                    BaseRecord::with_opaque_to(&topic, Box::new(number)).payload(&value);
                match producer.send(record) {
                    Ok(()) => number += 1,
                    Err(_) => producer.poll(Duration::from_millis(5)),
                }
                if number % 100 == 0 {
                    producer.poll(Duration::from_millis(1));
                }
            }
            number
        });
        for _ in 0..4 {
            let before = producer.context().count.load(Ordering::SeqCst);
            wait_until("records are acknowledged", || producer.context().count.load(Ordering::SeqCst) > before + 3_000);
            broker.kill();
            broker = ChildBroker::start(directory.path(), &bootstrap, flush);
        }
        stop.store(true, Ordering::SeqCst);
        (sending.join().unwrap(), broker)
    });
    producer.flush(TIMEOUT).unwrap();
    let acknowledged = std::mem::take(&mut *producer.context().offsets.lock().unwrap());
    assert_eq!(acknowledged.len(), sent, "an idempotent producer gives up nothing");

    let messages = take(&reader(&bootstrap, &topic, &[0], Offset::Beginning), sent);
    for (number, message) in messages.iter().enumerate() {
        let value = std::str::from_utf8(message.payload().unwrap()).unwrap();
        assert!(value.starts_with(&format!("{number}:")), "record {number} should be next, not {:.20}", value);
        assert_eq!(message.offset(), number as i64);
        if let Some(offset) = acknowledged.get(&number).filter(|offset| **offset >= 0) {
            assert_eq!(*offset, message.offset());
        }
    }
    let (_, high) = reader(&bootstrap, &topic, &[0], Offset::Beginning).fetch_watermarks(&topic, 0, TIMEOUT).unwrap();
    assert_eq!(high, sent as i64, "nothing is there twice");
}

#[test]
fn acknowledged_records_survive_kills() {
    kill_while_producing("os");
}

#[test]
fn acknowledged_records_survive_kills_with_a_flush_per_batch() {
    kill_while_producing("every-batch");
}

#[test]
fn committed_offsets_survive_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let topic = unique("kill-commit");
    let broker = ChildBroker::start(directory.path(), "127.0.0.1:0", "os");
    scripts::topics::create(&broker.bootstrap, &topic, 2, &[]);
    let group = scripts::groups::commit_offsets(&broker.bootstrap, &topic, &[5, 6]);
    broker.kill();
    let broker = ChildBroker::start(directory.path(), "127.0.0.1:0", "os");
    let committed = scripts::groups::committed(&broker.bootstrap, &group, &topic, 2);
    assert_eq!(committed, [Offset::Offset(5), Offset::Offset(6)]);
}

/// With no room for more, producers are told, readers are served, and all goes on once there is room.
#[test]
fn a_full_disk_costs_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let topic = unique("full");
    // A limit on the size of files stands for the full disk: writes fail halfway just so.
    let broker = ChildBroker::start_with_file_limit(directory.path(), 300);
    let bootstrap = &broker.bootstrap;
    scripts::topics::create(bootstrap, &topic, 1, &[]);
    let mut settings = config(bootstrap);
    // It counts from here on, and must outlast whatever holds up the ones before the disk is full.
    settings.set("message.timeout.ms", "15000").set("batch.num.messages", "10");
    let records: Vec<Record> = (0..1_000).map(|number| Record::new(number.to_string(), "x".repeat(1_000))).collect();
    let became = scripts::send(&settings, &topic, &records);
    let acknowledged: Vec<usize> = (0..).zip(&became).filter(|(_, became)| became.is_ok()).map(|(at, _)| at).collect();
    assert!((100..400).contains(&acknowledged.len()), "{} were acknowledged", acknowledged.len());

    let keys = |count: usize| -> Vec<usize> {
        let messages = take(&reader(bootstrap, &topic, &[0], Offset::Beginning), count);
        messages.iter().map(|message| std::str::from_utf8(message.key().unwrap()).unwrap().parse().unwrap()).collect()
    };
    assert_eq!(keys(acknowledged.len()), acknowledged);
    let limit_off =
        Command::new("prlimit").args([&format!("--pid={}", broker.id()), "--fsize=unlimited:unlimited"]).status();
    assert!(limit_off.unwrap().success());
    let after = send_all(&config(bootstrap), &topic, &[Record::new("5000", "y")]);
    assert_eq!(after, [(0, acknowledged.len() as i64)]);
    assert_eq!(keys(acknowledged.len() + 1), [acknowledged, vec![5_000]].concat());
}

#[tokio::test]
async fn a_directory_takes_one_broker() {
    let directory = tempfile::tempdir().unwrap();
    let options = || Options::new(([127, 0, 0, 1], 0).into(), directory.path());
    let first = Broker::bind(options()).await.unwrap();
    let second = Broker::bind(options()).await;
    assert!(matches!(second, Err(Error::InUse { .. })), "{second:?}");
    drop(first);
    Broker::bind(options()).await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refused = Broker::bind(Options::new(taken.local_addr().unwrap(), directory.path())).await.unwrap_err();
    assert!(matches!(refused, Error::Listen { .. }));
    assert!(refused.to_string().contains(&taken.local_addr().unwrap().to_string()), "{refused}");
}
