//! Reader, writer and admin against the run's Apache Kafka.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::time::Duration;

use kafka::{
    Admin, Compression, Connection, Delivered, Error, GroupMember, OutRecord, Reader, ReaderOptions, Start, TopicSpec,
    Writer, WriterOptions, partition_of,
};
use model::{RecordBlock, TopicPartition};

const DEADLINE: Duration = Duration::from_secs(30);

fn connection() -> Connection {
    Connection::plain(testkit::kafka::bootstrap())
}

fn make_topic(partitions: i32) -> String {
    let name = testkit::unique_name("kafka_crate");
    let spec = TopicSpec { name: name.clone(), partitions, replication: 1, config: BTreeMap::new() };
    Admin::new(&connection()).unwrap().create_topics(&[spec]).unwrap();
    name
}

fn read(reader: &mut Reader, count: usize) -> Vec<RecordBlock> {
    let mut blocks = Vec::new();
    testkit::wait_for("records", DEADLINE, || {
        blocks.extend(reader.poll(10_000, Duration::from_millis(100)).unwrap());
        (blocks.iter().map(RecordBlock::len).sum::<usize>() >= count).then_some(())
    });
    blocks
}

#[test]
fn what_is_written_is_read_with_keys_headers_and_nulls() {
    let topic = make_topic(2);
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let writer = Writer::new(&connection(), &WriterOptions { compression, ..WriterOptions::default() }).unwrap();
        let headers = [("a", Some(&b"1"[..])), ("b", None)];
        let record =
            OutRecord { topic: &topic, partition: Some(1), key: Some(b"k"), headers: &headers, ..OutRecord::default() };
        writer.send(&OutRecord { value: Some(b"v"), ..record }).unwrap();
        writer.send(&OutRecord { value: None, headers: &[], ..record }).unwrap();
        writer.flush(DEADLINE).unwrap();
    }
    let mut reader = Reader::new(&connection(), &ReaderOptions::default()).unwrap();
    reader.assign(&[(TopicPartition::new(topic.as_str(), 1), Start::Beginning)]).unwrap();
    let blocks = read(&mut reader, 6);
    let block = &blocks[0];
    assert_eq!((&*block.topic, block.partition, block.offsets[0]), (topic.as_str(), 1, 0));
    assert_eq!(block.keys.get(0), Some(&b"k"[..]));
    assert_eq!((block.values.get(0), block.values.get(1)), (Some(&b"v"[..]), None));
    assert_eq!(block.headers(0).collect::<Vec<_>>(), [("a", Some(&b"1"[..])), ("b", None)]);
    assert!(block.timestamps_ms[0] > 1_700_000_000_000);
}

#[test]
fn a_flush_tells_where_each_partition_ends() {
    let topic = make_topic(3);
    let writer = Writer::new(&connection(), &WriterOptions::default()).unwrap();
    for index in 0..30_000_u32 {
        let record = OutRecord {
            topic: &topic,
            partition: Some(i32::try_from(index % 2).unwrap()),
            value: Some(&index.to_be_bytes()),
            ..OutRecord::default()
        };
        writer.send(&record).unwrap();
    }
    let ends = writer.flush(DEADLINE).unwrap();
    let at = |partition| TopicPartition::new(topic.as_str(), partition);
    assert_eq!(ends, BTreeMap::from([(at(0), 15_000), (at(1), 15_000)]));
    assert!(writer.flush(DEADLINE).unwrap().is_empty());
    let reader = Reader::new(&connection(), &ReaderOptions::default()).unwrap();
    assert_eq!((reader.range(&at(0)).unwrap(), reader.range(&at(2)).unwrap()), ((0, 15_000), (0, 0)));
}

#[test]
fn a_poll_takes_the_reports_of_all_partitions() {
    let topic = make_topic(4);
    let writer = Writer::new(&connection(), &WriterOptions { linger_ms: 0, ..WriterOptions::default() }).unwrap();
    let reader = Reader::new(&connection(), &ReaderOptions::default()).unwrap();
    let steps = 100;
    for step in 1..=steps {
        for partition in 0..4 {
            let record =
                OutRecord { topic: &topic, partition: Some(partition), value: Some(b"x"), ..OutRecord::default() };
            writer.send(&record).unwrap();
        }
        testkit::wait_for("the records", DEADLINE, || {
            // A partition that has just been made may have no leader yet.
            let range = |partition| reader.range(&TopicPartition::new(topic.as_str(), partition));
            (0..4).all(|partition| range(partition).is_ok_and(|(_, end)| end == step)).then_some(())
        });
        writer.poll().unwrap();
    }
    let reported: i64 = writer.take_delivered().map(|(_, delivered)| delivered.count).sum();
    // Those of the last steps may still be on their way; one report a poll would be a quarter.
    assert!(reported > 4 * steps / 2, "{reported}");
}

#[test]
fn what_was_delivered_shows_that_another_has_written() {
    let topic = make_topic(1);
    let (ours, other) = (
        Writer::new(&connection(), &WriterOptions::default()).unwrap(),
        Writer::new(&connection(), &WriterOptions::default()).unwrap(),
    );
    let send = |writer: &Writer, count: usize| {
        for _ in 0..count {
            let record = OutRecord { topic: &topic, partition: Some(0), value: Some(b"x"), ..OutRecord::default() };
            writer.send(&record).unwrap();
        }
        writer.wait_for_all(DEADLINE).unwrap();
    };
    send(&ours, 5);
    let at = TopicPartition::new(topic.as_str(), 0);
    let taken: Vec<_> = ours.take_delivered().collect();
    assert_eq!(taken, [(at.clone(), Delivered { first: 0, next: 5, count: 5 })]);
    assert_eq!(ours.take_delivered().count(), 0);
    send(&ours, 1);
    send(&other, 1);
    send(&ours, 2);
    let taken: Vec<_> = ours.take_delivered().collect();
    assert_eq!(taken, [(at, Delivered { first: 5, next: 9, count: 3 })]);
}

#[test]
fn a_tracked_record_is_told_its_own_place() {
    let topic = make_topic(1);
    let writer = Writer::new(&connection(), &WriterOptions::default()).unwrap();
    for number in 1..=3 {
        writer.send_tracked(&OutRecord { topic: &topic, value: Some(b"v"), ..OutRecord::default() }, number).unwrap();
    }
    writer.flush(DEADLINE).unwrap();
    let places: Vec<_> = writer.reports().into_iter().map(|report| (report.number, report.outcome.unwrap())).collect();
    assert_eq!(places, [(1, (0, 0)), (2, (0, 1)), (3, (0, 2))]);
    assert!(writer.reports().is_empty());
}

#[test]
fn a_record_over_the_limit_ends_the_epoch() {
    let name = testkit::unique_name("kafka_crate");
    let config = BTreeMap::from([("max.message.bytes".to_owned(), "1000".to_owned())]);
    let spec = TopicSpec { name: name.clone(), partitions: 1, replication: 1, config };
    Admin::new(&connection()).unwrap().create_topics(&[spec]).unwrap();
    let writer = Writer::new(&connection(), &WriterOptions::default()).unwrap();
    writer.send(&OutRecord { topic: &name, value: Some(&[7; 5_000]), ..OutRecord::default() }).unwrap();
    let error = writer.flush(DEADLINE).unwrap_err();
    assert!(matches!(error, Error::Delivery { refused: true, .. }), "{error}");
}

#[test]
fn a_position_outside_the_log_is_an_error_and_no_jump() {
    let topic = make_topic(1);
    let mut reader = Reader::new(&connection(), &ReaderOptions::default()).unwrap();
    reader.assign(&[(TopicPartition::new(topic.as_str(), 0), Start::Offset(5))]).unwrap();
    let error = testkit::wait_for("the error", DEADLINE, || reader.poll(10, Duration::from_millis(200)).err());
    assert!(matches!(error, Error::OutOfRange { .. }), "{error}");
}

#[test]
fn a_topic_made_anew_has_another_id() {
    let topic = make_topic(4);
    let admin = Admin::new(&connection()).unwrap();
    let first = admin.topic(&topic).unwrap().unwrap();
    assert_eq!(first.partitions, 4);
    admin.delete_topics(&[&topic]).unwrap();
    testkit::wait_for("the topic to go", DEADLINE, || admin.topic(&topic).unwrap().is_none().then_some(()));
    let spec = TopicSpec { name: topic.clone(), partitions: 1, replication: 1, config: BTreeMap::new() };
    admin.create_topics(&[spec]).unwrap();
    assert_ne!(admin.topic(&topic).unwrap().unwrap().id, first.id);
}

#[test]
fn a_cluster_that_is_away_is_waited_for() {
    let away = Connection::plain(format!("127.0.0.1:{}", testkit::free_port()));
    let mut reader = Reader::new(&away, &ReaderOptions::default()).unwrap();
    reader.assign(&[(TopicPartition::new("any", 0), Start::Beginning)]).unwrap();
    testkit::wait_for("word of the outage", DEADLINE, || {
        assert!(reader.poll(10, Duration::from_millis(100)).unwrap().is_empty());
        reader.outage().map(str::to_owned)
    });
    let writer = Writer::new(&away, &WriterOptions::default()).unwrap();
    writer.send(&OutRecord { topic: "any", value: Some(b"v"), ..OutRecord::default() }).unwrap();
    let error = writer.flush(Duration::from_millis(300)).unwrap_err();
    assert!(matches!(error, Error::FlushTimeout { outstanding: 1, .. }), "{error}");
}

#[test]
fn a_partition_of_which_no_broker_tells_is_not_taken_for_one_that_is_not_there() {
    let topic = make_topic(1);
    let reader = |connection: &Connection| Reader::new(connection, &ReaderOptions::default()).unwrap();
    for missing in [TopicPartition::new(topic.as_str(), 1), TopicPartition::new(format!("{topic}-no"), 0)] {
        let error = reader(&connection()).range(&missing).unwrap_err();
        assert!(matches!(error, Error::UnknownTopic { .. }), "{error}");
    }
    // Takes connections, and says nothing.
    let hangs = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = Connection::plain(hangs.local_addr().unwrap().to_string());
    let error = reader(&silent).range(&TopicPartition::new(topic.as_str(), 0)).unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
}

#[test]
fn markers_of_transactions_are_in_the_position() {
    let topic = make_topic(1);
    let partition = TopicPartition::new(topic.as_str(), 0);
    let records = vec![testkit::kafka::RawRecord { value: Some(b"v".to_vec()), ..Default::default() }; 3];
    for commits in [true, false, true, false] {
        testkit::kafka::produce_in_transaction(&connection().brokers, &topic, &records, commits);
    }
    let options = ReaderOptions { notes_ends: true, ..ReaderOptions::default() };
    let mut reader = Reader::new(&connection(), &options).unwrap();
    let end = reader.range(&partition).unwrap().1;
    assert_eq!(end, 16, "four times three records and a marker");
    // The second one starts at nothing but a marker.
    for (start, expected) in [(Start::Beginning, vec![0, 1, 2, 8, 9, 10]), (Start::Offset(15), vec![])] {
        reader.assign(&[(partition.clone(), start)]).unwrap();
        let mut offsets = Vec::new();
        testkit::wait_for("the end", DEADLINE, || {
            for block in reader.poll(100, Duration::from_millis(50)).unwrap() {
                offsets.extend(block.offsets);
            }
            let is_past_the_markers = reader.positions().unwrap() == [(partition.clone(), end)];
            (is_past_the_markers && reader.take_ended().contains(&0)).then_some(())
        });
        assert_eq!(offsets, expected);
    }
}

#[test]
fn keys_go_where_our_partitioner_says() {
    let topic = make_topic(5);
    let writer = Writer::new(&connection(), &WriterOptions::default()).unwrap();
    for key in 0..200 {
        let key = format!("household-{key}");
        writer.send(&OutRecord { topic: &topic, key: Some(key.as_bytes()), ..OutRecord::default() }).unwrap();
    }
    writer.flush(DEADLINE).unwrap();
    let mut reader = Reader::new(&connection(), &ReaderOptions::default()).unwrap();
    let all: Vec<_> =
        (0..5).map(|partition| (TopicPartition::new(topic.as_str(), partition), Start::Beginning)).collect();
    reader.assign(&all).unwrap();
    for block in read(&mut reader, 200) {
        for key in block.keys.iter().flatten() {
            assert_eq!(partition_of(key, 5), block.partition, "{}", String::from_utf8_lossy(key));
        }
    }
}

#[test]
fn members_of_a_group_share_partitions_and_take_over_those_of_one_that_leaves() {
    let topic = make_topic(4);
    let group = testkit::unique_name("kafka_crate_group");
    let join = || GroupMember::join(&connection(), &group, &[topic.as_str()]).unwrap();
    let wait = Duration::from_millis(50);
    let mut one = join();
    testkit::wait_for("all partitions", DEADLINE, || {
        one.poll(wait).unwrap();
        (one.partitions().len() == 4).then_some(())
    });
    let mut two = join();
    testkit::wait_for("two partitions each", DEADLINE, || {
        one.poll(wait).unwrap();
        two.poll(wait).unwrap();
        assert!(one.partitions().is_disjoint(two.partitions()), "never both");
        (one.partitions().len() == 2 && two.partitions().len() == 2).then_some(())
    });
    drop(two);
    testkit::wait_for("all four partitions", DEADLINE, || {
        one.poll(wait).unwrap();
        (one.partitions().len() == 4).then_some(())
    });
}
