//! Peers that go away for a while under load: the broker, the registry, Apache Kafka, PostgreSQL. What doesn't need them goes on, what does
//! waits, and in the end nothing is lost and nothing is there twice.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reports by panicking"
)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use testkit::free_port;
use testkit::kafka::{RawRecord, produce, records};
use testkit::own::OwnServer;
use testkit::process::Supervised;
use testkit::project::{Column, ProjectDir, examples};

const BINARY: &str = env!("CARGO_BIN_EXE_tillstream");
const RAW: &str = "transactions.raw";
const RATE: u64 = 1_500;
/// Partitions that a stream has if nobody says otherwise.
const PARTITIONS: i32 = 4;
/// An id that no registry has.
const UNKNOWN_ID: u32 = 0x7000_0000;
const PATIENCE: Duration = Duration::from_secs(90);

/// A command of the program that serves on `address`, once it says so.
fn serve(address: &str, arguments: &[&str]) -> Supervised {
    let mut command = Command::new(BINARY);
    command.args(arguments).args(["--listen", address]);
    let mut process = Supervised::spawn(command);
    process.wait_for_line(PATIENCE, |line| line.contains(address));
    process
}

fn count(project: &ProjectDir, what: &str) -> i64 {
    project.sql_value(&format!("SELECT count(*) FROM {what}")).parse().expect("a number")
}

/// Waits until `more` records have come to what is counted.
fn wait_for_more(what: &str, more: i64, mut count: impl FnMut() -> i64) {
    let before = count();
    testkit::wait_for(what, PATIENCE, || (count() >= before + more).then_some(()));
}

/// Ends the generator and the pipeline, and asserts the truth, with `more` records that didn't come from the generator.
fn finish(project: &ProjectDir, generator: Supervised, mut pipeline: Supervised, more: u64) -> serde_json::Value {
    let generated = common::end(generator);
    pipeline.assert_running();
    pipeline.signal(Signal::SIGTERM);
    assert_eq!(pipeline.wait(PATIENCE).code(), Some(0), "{}", pipeline.tail());
    common::assert_nothing_is_lost(project, generated + more)
}

/// A payment in Avro under this schema id, with `more` after the stream's own fields.
fn payment(schema: &avro::Schema, id: u32, more: serde_json::Value) -> RawRecord {
    let now_us = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time").as_micros();
    let mut payment = serde_json::json!({
        "transaction_id": format!("by-hand-{id}"), "account_id": "a1", "merchant_id": "m0001", "amount": "5.00", "currency": "EUR",
        "country": "DE", "channel": "chip", "status": "approved", "event_time": i64::try_from(now_us).expect("a time"),
    });
    payment.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    let mut value = Vec::new();
    avro::wire::write_header(id, &mut value);
    avro::json::encode(schema, &payment, &mut value).expect("the payment fits the schema");
    RawRecord { key: Some(b"a1".to_vec()), value: Some(value), ..RawRecord::default() }
}

#[test]
fn broker_and_registry_killed_under_load() {
    let mut project = common::payments(BINARY);
    let (kafka, url) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
    let data = project.data_dir().join("own-broker");
    let broker = || serve(&kafka, &["broker", "--data", data.to_str().expect("a path")]);
    let registry = || serve(&url, &["registry", "--kafka", &kafka]);
    let (mut broker_process, mut registry_process) = (broker(), registry());
    project.set(format!("connections.kafka.brokers={kafka}"));
    project.set(format!("connections.registry.url=http://{url}"));
    let mut pipeline = project.up(&[]);
    let generator = common::generate(&project, RATE, "0.01");
    wait_for_more("rows in PostgreSQL", 1, || count(&project, "bi.payments_enriched"));

    // A schema that the pipeline hasn't met when the registry goes away.
    let text = fs::read_to_string(project.path.join("schemas/transaction.avsc")).expect("the schema");
    let own = avro::Schema::parse(&text).expect("a schema");
    let (head, _) = text.rsplit_once(']').expect("fields");
    let newer = format!("{head}, {{ \"name\": \"note\", \"type\": \"string\", \"default\": \"\" }}]}}");
    let client =
        registry::BlockingClient::new(registry::ClientOptions::new(format!("http://{url}"))).expect("a client");
    let subject = format!("{RAW}-value");
    let newer_id = client.call(|client| {
        let newer = newer.clone();
        async move { client.register(&subject, &newer).await }
    });
    let newer_id = newer_id.expect("the schema is registered");
    let newer = avro::Schema::parse(&newer).expect("a schema");
    // It hangs first, which is worse than to be gone.
    registry_process.signal(Signal::SIGSTOP);
    produce(
        &kafka,
        RAW,
        &[
            RawRecord { partition: Some(0), ..payment(&newer, newer_id, serde_json::json!({ "note": "new" })) },
            RawRecord { partition: Some(1), ..payment(&own, UNKNOWN_ID, serde_json::json!({})) },
        ],
    );
    let others = "bi.payments_enriched WHERE source_partition IN (2, 3)";
    wait_for_more("rows of the partitions that need no new schema", 1_500, || count(&project, others));
    registry_process.kill();
    wait_for_more("rows of the partitions that need no new schema", 1_500, || count(&project, others));
    let decided = "SELECT (SELECT count(*) FROM bi.payments_enriched WHERE transaction_id LIKE 'by-hand%'),
        (SELECT count(*) FROM ops.rejected_records WHERE reason = 'unknown_schema')";
    assert_eq!(project.sql_value(decided), "0,0", "what the registry has to say is waited for");
    pipeline.assert_running();
    registry_process = registry();
    project.wait_for_value(decided, "1,1", PATIENCE);

    broker_process.kill();
    pipeline.wait_for_line(PATIENCE, |line| line.contains("kafka is away"));
    broker_process = broker();
    wait_for_more("rows in PostgreSQL", 1, || count(&project, "bi.payments_enriched"));
    let summary = finish(&project, generator, pipeline, 2);
    assert_eq!(summary["rejected"]["unknown_schema"], 1, "{summary}");
    broker_process.assert_running();
    registry_process.assert_running();
}

#[test]
fn the_store_alone_goes_on_without_the_registry_but_for_records_of_a_schema_that_it_has_not_met() {
    let template = examples().parent().expect("the repository").join("crates/project/template");
    let mut project = ProjectDir::copy_of(&template, BINARY, Column::Servers);
    project.edit("queries/sales_per_minute.sql", "-- Sales", "--! emit: final\n-- Sales");
    let (kafka, url) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
    let data = project.data_dir().join("own-broker");
    let _broker = serve(&kafka, &["broker", "--data", data.to_str().expect("a path")]);
    let registry = || serve(&url, &["registry", "--kafka", &kafka]);
    let mut registry_process = registry();
    project.set(format!("connections.kafka.brokers={kafka}"));
    project.set(format!("connections.registry.url=http://{url}"));
    let mut engine = project.start("run", &["--stages", "validate,process"]);
    let mut store = project.start("run", &["--stages", "store"]);

    let raw = format!("{}orders.raw", project.topic_prefix);
    let text = fs::read_to_string(project.path.join("schemas/order.avsc")).expect("the schema");
    let schema = avro::Schema::parse(&text).expect("a schema");
    let client =
        registry::BlockingClient::new(registry::ClientOptions::new(format!("http://{url}"))).expect("a client");
    let id = model::Schemas::register(&client, &format!("{raw}-value"), &text).expect("the schema is registered");
    // An order in each partition, whose large_orders row comes at once; the first minute's row, when later ones have passed it.
    let mut stored = 0;
    let mut order_at = |minute: i64| {
        let orders: Vec<RawRecord> = (0..PARTITIONS).map(|partition| order(&schema, id, partition, minute)).collect();
        produce(&kafka, &raw, &orders);
        stored += PARTITIONS;
        project.wait_for_value("SELECT count(*) FROM bi.large_orders", &stored.to_string(), PATIENCE);
    };
    engine.wait_for_line(PATIENCE, |line| line.contains("the process stage starts"));
    store.wait_for_line(PATIENCE, |line| line.contains("the store stage starts"));
    order_at(0);
    registry_process.kill();
    order_at(5);
    let windows = || records(&kafka, &format!("{}sales_per_minute", project.topic_prefix));
    testkit::wait_for("the first minute's row", PATIENCE, || (windows() > 0).then_some(()));
    order_at(6);
    order_at(7);
    let sales = "SELECT coalesce(sum(orders), 0) FROM bi.sales_per_minute WHERE window_start < '2026-01-05 09:01:00Z'";
    assert_eq!(project.sql_value(sales), "0", "nobody can say what the row is");
    let restarts = store.stderr().into_iter().filter(|line| line.contains("starts a new epoch")).count();
    assert_eq!(restarts, 0, "{}", store.tail());
    registry_process = registry();
    project.wait_for_value(sales, &PARTITIONS.to_string(), PATIENCE);
    for process in [&mut engine, &mut store] {
        process.signal(Signal::SIGTERM);
        assert_eq!(process.wait(PATIENCE).code(), Some(0), "{}", process.tail());
    }
    registry_process.assert_running();
}

/// An order of 100 EUR so many minutes after nine.
fn order(schema: &avro::Schema, id: u32, partition: i32, minute: i64) -> RawRecord {
    const NINE_US: i64 = 1_767_603_600_000_000;
    let order = serde_json::json!({
        "order_id": format!("o{minute}-{partition}"), "customer_id": "c1", "product_id": "p1", "quantity": 10, "price": "10.00",
        "ordered_at": NINE_US + minute * 60_000_000,
    });
    let mut value = Vec::new();
    avro::wire::write_header(id, &mut value);
    avro::json::encode(schema, &order, &mut value).expect("the order fits the schema");
    RawRecord { partition: Some(partition), key: Some(b"c1".to_vec()), value: Some(value), ..RawRecord::default() }
}

/// Memory that a process has, in megabytes.
fn resident_mb(process: &Supervised) -> u64 {
    let status = fs::read_to_string(Path::new("/proc").join(process.id().to_string()).join("status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line with the memory");
    line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok()).expect("a number") / 1024
}

#[test]
fn apache_kafka_and_postgresql_away_under_load() {
    let mut project = common::payments(BINARY);
    let (kafka, postgres) = (OwnServer::kafka(), OwnServer::postgres());
    project.set(format!("connections.kafka.brokers={}", kafka.address()));
    project.set(format!("connections.postgres.url=postgres://tillstream@{}/postgres", postgres.address()));
    let mut pipeline = project.up(&[]);
    let generator = common::generate(&project, RATE, "0.01");
    wait_for_more("rows in PostgreSQL", 1, || count(&project, "bi.payments_enriched"));

    postgres.end(Signal::SIGQUIT);
    let memory_mb = resident_mb(&pipeline);
    let validated = || records(&kafka.address(), "transactions.validated");
    let results = || records(&kafka.address(), "payments_enriched");
    wait_for_more("validated records while PostgreSQL is away", 6_000, validated);
    wait_for_more("results while PostgreSQL is away", 3_000, results);
    assert!(resident_mb(&pipeline) < memory_mb + 300, "from {memory_mb} MB to {} MB", resident_mb(&pipeline));
    pipeline.assert_running();
    let waiting = results();
    postgres.start();
    testkit::wait_for("the store to catch up", PATIENCE, || {
        (count(&project, "bi.payments_enriched") >= waiting).then_some(())
    });

    kafka.end(Signal::SIGKILL);
    pipeline.wait_for_line(PATIENCE, |line| line.contains("kafka is away"));
    kafka.start();
    finish(&project, generator, pipeline, 0);
}
