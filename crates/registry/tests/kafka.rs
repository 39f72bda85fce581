//! The topic `_schemas` in Apache Kafka: restarts, several servers, records of other registries.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use common::{Running, kafka_storage, record, schema_body};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use registry::{Options, Server};
use serde_json::json;
use testkit::unique_name;

/// Key, value and header of each record in the topic.
type Records = Vec<(String, Option<String>, Option<String>)>;

fn config() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", testkit::kafka::bootstrap()).set("group.id", unique_name("group"));
    config
}

/// Everything in the topic, in order.
fn read(topic: &str) -> Records {
    let consumer: BaseConsumer = config().create().unwrap();
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&partitions).unwrap();
    let (start, end) = consumer.fetch_watermarks(topic, 0, Duration::from_secs(10)).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut records = Records::new();
    let mut next = start;
    while next < end {
        let message = consumer.poll(Duration::from_secs(10)).expect("a record").unwrap();
        let header = message.headers().and_then(|headers| headers.iter().find_map(|header| header.value.map(text)));
        records.push((text(message.key().unwrap()), message.payload().map(text), header));
        next = message.offset() + 1;
    }
    records
}

fn write(topic: &str, records: &[(&str, Option<&str>)]) {
    write_with(topic, &records.iter().map(|(key, value)| (*key, *value, None)).collect::<Vec<_>>());
}

fn write_with(topic: &str, records: &[(&str, Option<&str>, Option<&OwnedHeaders>)]) {
    // Idempotent, so that the records stay in order when the first are refused by a partition that has just been made.
    let producer: ThreadedProducer<DefaultProducerContext> =
        config().set("enable.idempotence", "true").create().unwrap();
    for (key, value, headers) in records {
        let mut record: BaseRecord<'_, str, str> = BaseRecord::to(topic).partition(0).key(key);
        record.payload = *value;
        record.headers = headers.cloned();
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(10)).unwrap();
}

async fn create(topic: &str, partitions: i32, policy: &str) {
    let admin: AdminClient<DefaultClientContext> = config().create().unwrap();
    let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1)).set("cleanup.policy", policy);
    admin.create_topics([&topic], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
}

/// Everything a server answers about what it holds.
async fn everything(server: &Running) -> Vec<String> {
    let mut answers = Vec::new();
    for path in ["/schemas?deleted=true", "/subjects", "/config", "/config/b", "/mode", "/mode/b", "/contexts"] {
        answers.push(server.get(path).await.text);
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_keeps_everything_and_the_bytes_are_those_of_the_reference_registry() {
    let topic = unique_name("schemas");
    let server = Running::start(kafka_storage(&topic)).await;
    assert_eq!(server.register("a", &record(&["x"])).await, 1);
    assert_eq!(server.register("a", &record(&["x", "y"])).await, 2);
    assert_eq!(server.register("b", r#""string""#).await, 3);
    server.put("/config/b", &json!({ "compatibility": "FULL" })).await;
    server.put("/mode/b", &json!({ "mode": "READONLY" })).await;
    assert_eq!(server.delete("/subjects/a/versions/1").await.text, "1");
    assert_eq!(server.delete("/subjects/a").await.text, "[2]");
    let before = everything(&server).await;
    server.stop().await;
    let keys: Vec<String> = read(&topic).into_iter().map(|(key, ..)| key).collect();
    assert_eq!(
        keys,
        [
            r#"{"keytype":"SCHEMA","subject":"a","version":1,"magic":1}"#,
            r#"{"keytype":"SCHEMA","subject":"a","version":2,"magic":1}"#,
            r#"{"keytype":"SCHEMA","subject":"b","version":1,"magic":1}"#,
            r#"{"keytype":"CONFIG","subject":"b","magic":0}"#,
            r#"{"keytype":"MODE","subject":"b","magic":0}"#,
            r#"{"keytype":"SCHEMA","subject":"a","version":1,"magic":1}"#,
            r#"{"keytype":"DELETE_SUBJECT","subject":"a","magic":0}"#,
        ]
    );
    let server = Running::start(kafka_storage(&topic)).await;
    assert_eq!(everything(&server).await, before);
    assert_eq!(server.register("c", r#""bytes""#).await, 4);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_see_each_others_writes_at_once() {
    let topic = unique_name("schemas");
    let one = Running::start(kafka_storage(&topic)).await;
    let other = Running::start(kafka_storage(&topic)).await;
    for n in 0..10 {
        let (writer, reader) = if n % 2 == 0 { (&one, &other) } else { (&other, &one) };
        let id = writer.register("s", &record(&[&format!("f{n}")])).await;
        // No waiting: an id that one server gave must not be unknown to the other.
        assert_eq!(reader.get(&format!("/schemas/ids/{id}")).await.status, 200);
        assert_eq!(reader.get(&format!("/subjects/s/versions/{}", n + 1)).await.json()["id"], id);
    }
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn servers_that_write_at_the_same_time_never_give_one_id_to_two_schemas() {
    let topic = unique_name("schemas");
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(Arc::new(Running::start(kafka_storage(&topic)).await));
    }
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..30 {
        let server = Arc::clone(&servers[n % 3]);
        tasks.spawn(async move {
            let same = server.register("same", r#""int""#).await;
            let (name, schema) = (format!("own{}", n / 3), record(&[&format!("f{n}")]));
            (same, server.register(&name, &schema).await, schema)
        });
    }
    let ids = tasks.join_all().await;
    assert!(ids.iter().all(|(same, ..)| *same == ids[0].0), "{ids:?}");
    assert_eq!(ids.iter().map(|(_, own, _)| *own).collect::<BTreeSet<_>>().len(), 30, "{ids:?}");
    let fresh = Running::start(kafka_storage(&topic)).await;
    let expected = everything(&fresh).await;
    for server in &servers {
        for (_, id, schema) in &ids {
            assert_eq!(server.get(&format!("/schemas/ids/{id}/schema")).await.text, *schema);
        }
        assert_eq!(everything(server).await, expected);
    }
    assert_eq!(fresh.get("/subjects/same/versions").await.text, "[1]");
    for n in 0..10 {
        assert_eq!(fresh.get(&format!("/subjects/own{n}/versions")).await.text, "[1,2,3]");
    }
    fresh.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_of_another_registry_is_taken_over() {
    let topic = unique_name("schemas");
    create(&topic, 1, "compact").await;
    let key = |subject: &str, version: u32| {
        format!(r#"{{"keytype":"SCHEMA","subject":"{subject}","version":{version},"magic":1}}"#)
    };
    let value = |subject: &str, version: u32, id: u32, schema: &str| {
        json!({ "subject": subject, "version": version, "id": id, "md5": "AAAAAAAAAAAAAAAAAAAAAA==", "schemaType": "AVRO",
            "references": [], "metadata": null, "schema": schema, "deleted": false, "offset": 5 })
        .to_string()
    };
    write(
        &topic,
        &[
            (r#"{"keytype":"NOOP","magic":0}"#, None),
            (r#"{"subject":null,"keytype":"CONFIG","magic":0}"#, Some(r#"{"compatibilityLevel":"FULL"}"#)),
            (&key("a", 1), Some(&value("a", 1, 7, r#""int""#))),
            (&key("a", 2), Some(&value("a", 2, 9, r#""long""#))),
            (r#"{"magic":1,"version":1,"subject":"b","keytype":"SCHEMA"}"#, Some(&value("b", 1, 7, r#""int""#))),
            // One id for two schemas: the later one does not count.
            (&key("c", 1), Some(&value("c", 1, 9, r#""bytes""#))),
            (r#"{"keytype":"DELETE_SUBJECT","subject":"b","magic":0}"#, Some(r#"{"subject":"b","version":1}"#)),
            (r#"{"keytype":"ASSOC","guid":"x"}"#, Some("{}")),
            ("not a key", Some("nor a value")),
            (&key("a", 1), None),
        ],
    );
    let server = Running::start(kafka_storage(&topic)).await;
    assert_eq!(server.get("/config").await.json(), json!({ "compatibilityLevel": "FULL" }));
    assert_eq!(server.get("/subjects?deleted=true").await.json(), json!(["a", "b"]));
    assert_eq!(server.get("/subjects/a/versions?deleted=true").await.text, "[2]");
    assert_eq!(server.get("/schemas/ids/7/schema").await.text, r#""int""#);
    assert_eq!(server.get("/schemas/ids/9/schema").await.text, r#""long""#);
    assert_eq!(server.register("d", r#""int""#).await, 7);
    assert_eq!(server.register("d2", r#""float""#).await, 10);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_was_overtaken_does_not_count_and_is_repaired_by_the_next_write() {
    let topic = unique_name("schemas");
    let server = Running::start(kafka_storage(&topic)).await;
    server.register("s", r#""int""#).await;
    // A registry that was stopped between its decision and its write: it expected offset 0, and its record lands later.
    let header = read(&topic).remove(0).2.unwrap();
    assert!(header.ends_with("/0"), "{header}");
    let headers =
        OwnedHeaders::new().insert(rdkafka::message::Header { key: "ts.registry.expected", value: Some(&header) });
    let key = r#"{"keytype":"SCHEMA","subject":"s","version":1,"magic":1}"#;
    let value = r#"{"subject":"s","version":1,"id":1,"schema":"\"bytes\"","deleted":false}"#;
    write_with(&topic, &[(key, Some(value), Some(&headers))]);
    let second = Running::start(kafka_storage(&topic)).await;
    for server in [&server, &second] {
        assert_eq!(server.get("/schemas/ids/1/schema").await.text, r#""int""#);
    }
    assert_eq!(second.register("t", r#""long""#).await, 2);
    let records = read(&topic);
    assert_eq!(records.iter().map(|(key, ..)| key.contains("\"s\"")).collect::<Vec<_>>(), [true, true, true, false]);
    assert!(records[2].1.as_ref().unwrap().contains(r#"\"int\""#), "{records:?}");
    assert_eq!(server.get("/schemas/ids/2/schema").await.text, r#""long""#);
    second.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_would_lose_schemas_are_refused() {
    for (partitions, policy, words) in [(2, "compact", "2 partitions"), (1, "delete", "cleanup.policy=delete")] {
        let topic = unique_name("schemas");
        create(&topic, partitions, policy).await;
        let options = Options::new("127.0.0.1:0".parse().unwrap(), kafka_storage(&topic));
        let error = Server::bind(options).await.expect_err("it must not start").to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_kafka_the_start_ends_in_time_and_says_so() {
    let mut storage = registry::KafkaStorage::new(format!("127.0.0.1:{}", testkit::free_port()));
    storage.start_timeout = Duration::from_secs(2);
    storage.properties.insert("sasl.password".to_owned(), "hunter2".to_owned());
    assert!(!format!("{storage:?}").contains("hunter2"));
    let options = Options::new("127.0.0.1:0".parse().unwrap(), registry::Storage::Kafka(storage));
    let error = Server::bind(options).await.expect_err("there is no Kafka");
    assert_eq!(model::Classified::domain(&error), model::Domain::External);
    assert!(error.to_string().contains("does not answer"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_of_schemas_deleted_for_good_are_not_given_again_after_a_restart() {
    let topic = unique_name("schemas");
    let server = Running::start(kafka_storage(&topic)).await;
    server.register("s", r#""int""#).await;
    server.register("t", r#""long""#).await;
    server.delete("/subjects/t").await;
    assert_eq!(server.delete("/subjects/t?permanent=true").await.text, "[1]");
    server.stop().await;
    // What compaction leaves: the last record of each key, without tombstones.
    let (records, compacted) = (read(&topic), unique_name("schemas"));
    create(&compacted, 1, "compact").await;
    let last = |offset: usize, key: &str| !records.iter().skip(offset + 1).any(|(later, ..)| later == key);
    let kept: Vec<_> =
        records.iter().enumerate().filter(|(offset, (key, value, _))| value.is_some() && last(*offset, key)).collect();
    write(&compacted, &kept.iter().map(|(_, (key, value, _))| (key.as_str(), value.as_deref())).collect::<Vec<_>>());
    let server = Running::start(kafka_storage(&compacted)).await;
    let answer = server.post("/subjects/u/versions", &schema_body(r#""bytes""#)).await;
    assert_eq!(answer.json()["id"], 3);
    server.stop().await;
}
