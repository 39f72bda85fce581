//! Reference tables that change while queries on Apache Spark run, are stopped amid a micro-batch and go on: what was published with one
//! version of a table isn't published with another one, and no payment is lost or counted twice.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reports by panicking"
)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::spark::{cut, keep_queries, load, on_spark, payments, payments_project};
use kafka::{Connection, Reader, ReaderOptions, Start};
use model::TopicPartition;
use nix::sys::signal::Signal;
use testkit::project::{Column, ProjectDir};

const PATIENCE: Duration = Duration::from_secs(240);
/// Whether each accepted payment has its row.
const ACCEPTED: &str =
    "SELECT (SELECT sum(validated) FROM ops.stream_progress) = (SELECT count(*) FROM bi.payments_enriched)";
const QUERIES: [&str; 2] = ["payments_enriched", "spend_by_category"];

/// The payments example with its merchants in PostgreSQL, and the queries that join them.
fn project(csv: &str) -> ProjectDir {
    let project = payments_project(Column::Servers, csv);
    keep_queries(&project, &QUERIES);
    std::fs::remove_dir_all(project.path.join("patterns")).unwrap();
    let file = std::fs::read_to_string(project.path.join("reference/merchants.csv")).unwrap();
    let table = "    table: shop.merchants\n    refresh: 200ms\n";
    project.edit("tillstream.yaml", "    file: reference/merchants.csv\n", table);
    let value = |field: &str| format!("'{}'", field.replace('\'', "''"));
    let row = |line: &str| format!("({})", line.split(',').map(value).collect::<Vec<_>>().join(", "));
    let rows: Vec<String> = file.lines().skip(1).map(row).collect();
    project.sql("CREATE SCHEMA shop; CREATE TABLE shop.merchants (merchant_id varchar(20) PRIMARY KEY, name text, category text, country char(2))");
    project.sql(&format!("INSERT INTO shop.merchants VALUES {}", rows.join(", ")));
    project
}

/// Lets all merchants have another category.
fn change(project: &ProjectDir, suffix: &str) {
    project.sql(&format!("UPDATE shop.merchants SET category = split_part(category, '/', 1) || '/{suffix}'"));
}

/// Loads one file after the other until a payment carries the category; what was there before the change was seen has the one before.
fn load_until(project: &ProjectDir, parts: &mut impl Iterator<Item = usize>, suffix: &str) {
    loop {
        let part = parts.next().expect("the change is seen before all is loaded");
        let before = project.sql_value("SELECT count(*) FROM bi.payments_enriched");
        load(project, &format!("part_{part}.csv"));
        project.wait_for_value(&format!("SELECT count(*) > {before} FROM bi.payments_enriched"), "t", PATIENCE);
        let query = format!("SELECT count(*) > 0 FROM bi.payments_enriched WHERE merchant_category LIKE '%/{suffix}'");
        if project.sql_value(&query) == "t" {
            return;
        }
    }
}

/// Key and version of a result.
type KeyAndVersion = (Vec<u8>, Vec<u8>);

/// Reads a whole result topic: records with the same key and version have the same value.
fn assert_one_value_per_version(topic: &str) {
    let connection =
        Connection { brokers: testkit::kafka::bootstrap(), properties: BTreeMap::new(), client_id: "test".to_owned() };
    let mut reader = Reader::new(&connection, &ReaderOptions::default()).unwrap();
    let ends: Vec<(TopicPartition, i64)> = (0..)
        .zip(testkit::kafka::ends(&connection.brokers, topic))
        .map(|(number, end)| (TopicPartition::new(topic, number), end))
        .collect();
    let assigned: Vec<(TopicPartition, Start)> =
        ends.iter().map(|(partition, _)| (partition.clone(), Start::Beginning)).collect();
    reader.assign(&assigned).unwrap();
    let mut values: BTreeMap<KeyAndVersion, Option<Vec<u8>>> = BTreeMap::new();
    testkit::wait_for("the end of the topic", PATIENCE, || {
        for block in reader.poll(10_000, Duration::from_millis(100)).unwrap() {
            for index in 0..block.len() {
                let version = block.header(index, "ts.version").expect("a version").to_vec();
                let key = (block.keys.get(index).expect("a key").to_vec(), version);
                let value = block.values.get(index).map(<[u8]>::to_vec);
                let before = values.entry(key).or_insert_with(|| value.clone());
                assert_eq!(*before, value, "{topic}: two values of one version");
            }
        }
        let positions: BTreeMap<TopicPartition, i64> = reader.positions().unwrap().into_iter().collect();
        ends.iter()
            .all(|(partition, end)| *end == 0 || positions.get(partition).is_some_and(|at| at >= end))
            .then_some(())
    });
    assert!(values.len() > 100, "{topic}: {} results", values.len());
}

#[test]
fn a_table_that_changes_while_spark_runs_gives_each_result_one_value_per_version() {
    let files = cut(&payments(31, 4_000), 40);
    let mut parts = 1..files.len();
    let mut project = project(&files[0]);
    for (number, file) in files.iter().enumerate() {
        std::fs::write(project.path.join(format!("part_{number}.csv")), file).unwrap();
    }
    on_spark(&project, &testkit::spark::url());
    project.set("spark.shuffle_partitions=1");
    // Many micro-batches, so that queries are stopped amid one.
    project.set("spark.offsets_per_trigger=100");
    let mut process = project.up(&[]);
    testkit::wait_for("the first rows", PATIENCE, || {
        (project.sql_value("SELECT count(*) > 0 FROM bi.payments_enriched") == "t").then_some(())
    });
    // While it runs.
    change(&project, "one");
    load_until(&project, &mut parts, "one");
    // While it doesn't, and what Spark does goes on without us.
    for part in parts.by_ref().take(3) {
        load(&project, &format!("part_{part}.csv"));
    }
    process.kill();
    change(&project, "two");
    let mut process = project.up(&[]);
    load_until(&project, &mut parts, "two");
    project.wait_for_value(ACCEPTED, "t", PATIENCE);
    let counted = "SELECT (SELECT sum(payments) FROM bi.spend_by_category)
                 = (SELECT count(*) FROM bi.payments_enriched WHERE status = 'approved' AND merchant_name IS NOT NULL)";
    project.wait_for_value(counted, "t", PATIENCE);
    process.signal(Signal::SIGINT);
    assert_eq!(process.wait(PATIENCE).code(), Some(0), "{}", process.tail());

    for query in QUERIES {
        assert_one_value_per_version(&format!("{}{query}", project.topic_prefix));
    }
    // In each partition the versions follow one another.
    let turned = project.sql_value(
        "WITH rows AS (SELECT source_partition, source_offset,
                 array_position(ARRAY['', 'one', 'two'], split_part(merchant_category, '/', 2)) AS version
             FROM bi.payments_enriched WHERE merchant_name IS NOT NULL),
         steps AS (SELECT version, lag(version) OVER (PARTITION BY source_partition ORDER BY source_offset) AS before FROM rows)
         SELECT count(*) FILTER (WHERE version < before), count(DISTINCT version) FROM steps",
    );
    assert_eq!(turned, "0,3", "versions follow one another in each partition");
}
