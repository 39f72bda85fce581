//! The peers of queries on Apache Spark away for a while, one after the other: PostgreSQL, Apache Kafka, the registry. The queries wait and go
//! on, and the tables are those of the local engine.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reports by panicking"
)]

mod common;

use std::process::Command;
use std::time::Duration;

use common::readiness;
use common::spark::{TWO, assert_same_tables, cut, drain, folded, load, on_spark, payments, with_two_queries};
use nix::sys::signal::Signal;
use testkit::kafka::{RawRecord, records};
use testkit::own::OwnServer;
use testkit::process::Supervised;
use testkit::project::{Column, ProjectDir};

const PATIENCE: Duration = Duration::from_secs(240);

/// A registry of the test's own, which keeps its schemas in Kafka.
fn registry(address: &str, kafka: &str) -> Supervised {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tillstream"));
    command.args(["registry", "--listen", address, "--kafka", kafka]);
    let mut process = Supervised::spawn(command);
    process.wait_for_line(PATIENCE, |line| line.contains(address));
    process
}

/// Waits until `/readyz` speaks of it.
fn wait_for_trouble(pipeline: &Supervised, word: &str) {
    testkit::wait_for(word, PATIENCE, || readiness(pipeline).contains(word).then_some(()));
}

fn wait_for_all(project: &ProjectDir, local: &ProjectDir) {
    for query in TWO {
        project.wait_for_value(&folded(query), &local.sql_value(&folded(query)), PATIENCE);
    }
}

/// Rows of CSV as JSON lines; each value is a text.
fn json_lines(csv: &str) -> String {
    let (header, rows) = csv.split_once('\n').unwrap();
    let names: Vec<&str> = header.split(',').collect();
    let object = |row: &str| {
        let cells: Vec<String> =
            names.iter().zip(row.split(',')).map(|(name, cell)| format!("\"{name}\":\"{cell}\"")).collect();
        format!("{{{}}}\n", cells.join(","))
    };
    rows.lines().map(object).collect()
}

#[test]
fn postgresql_kafka_and_the_registry_away_change_no_table() {
    let csv = payments(17, 800);
    let files = cut(&csv, 4);
    let local = with_two_queries(Column::Embedded, &csv);
    drain(&local);

    let (kafka, postgres) = (OwnServer::kafka(), OwnServer::postgres());
    let registry_address = format!("127.0.0.1:{}", testkit::free_port());
    let mut registry_process = registry(&registry_address, &kafka.address());
    let mut spark = with_two_queries(Column::Servers, &files[0]);
    for (number, file) in files.iter().enumerate() {
        std::fs::write(spark.path.join(format!("{number}.csv")), file).unwrap();
    }
    on_spark(&spark, &testkit::spark::url());
    spark.set(format!("connections.kafka.brokers={}", kafka.address()));
    spark.set(format!("connections.registry.url=http://{registry_address}"));
    spark.set(format!("connections.postgres.url=postgres://tillstream@{}/postgres", postgres.address()));
    spark.set("spark.shuffle_partitions=1");
    // Spark's own Kafka client gives up sooner than after a minute.
    spark.set("spark.kafka.default.api.timeout.ms=2000");
    spark.set("spark.kafka.request.timeout.ms=2000");
    let topic = |name: &str| format!("{}{name}", spark.topic_prefix);
    let mut pipeline = spark.up(&[]);
    testkit::wait_for("the first rows from Spark", PATIENCE, || {
        (spark.sql_value(&folded("kpis_per_minute")) != "0").then_some(())
    });

    postgres.end(Signal::SIGQUIT);
    let published = records(&kafka.address(), &topic("payments_enriched"));
    load(&spark, "1.csv");
    wait_for_trouble(&pipeline, "PostgreSQL is unavailable");
    testkit::wait_for("results while PostgreSQL is away", PATIENCE, || {
        (records(&kafka.address(), &topic("payments_enriched")) > published).then_some(())
    });
    postgres.start();

    kafka.end(Signal::SIGKILL);
    // Not before Spark's own client has noticed.
    pipeline.wait_for_line(PATIENCE, |line| {
        line.contains("stage=process") && line.contains("Apache Spark says") && line.contains("new epoch")
    });
    wait_for_trouble(&pipeline, "Apache Spark says");
    kafka.start();
    load(&spark, "2.csv");

    registry_process.kill();
    common::post(&pipeline, "transactions", &json_lines(&files[3]));
    wait_for_all(&spark, &local);
    // Only the registry can say what this record is, so validation waits for it.
    let unknown = RawRecord {
        key: Some(b"a1".to_vec()),
        value: Some(vec![0, 0x70, 0, 0, 0, 1]),
        partition: Some(0),
        ..RawRecord::default()
    };
    testkit::kafka::produce(&kafka.address(), &topic("transactions.raw"), &[unknown]);
    wait_for_trouble(&pipeline, "registry is unavailable");
    let decided = "SELECT count(*) FROM ops.rejected_records WHERE reason = 'unknown_schema'";
    assert_eq!(spark.sql_value(decided), "0", "what the registry has to say is waited for");
    registry_process = registry(&registry_address, &kafka.address());
    spark.wait_for_value(decided, "1", PATIENCE);

    wait_for_all(&spark, &local);
    assert_same_tables(&local, &spark, &TWO);
    assert!(registry_process.is_running());
    pipeline.signal(Signal::SIGINT);
    let status = pipeline.wait(PATIENCE);
    assert_eq!(status.code(), Some(0), "{}", pipeline.tail());
}
