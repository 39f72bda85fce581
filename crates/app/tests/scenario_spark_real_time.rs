//! Queries without windows in Spark's Real-Time Mode: the same table as on the local engine, also after a restart, and a Spark that is too small
//! is told before anything is started.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reports by panicking"
)]

mod common;

use std::time::{Duration, Instant};

use common::spark::{assert_same_tables, cut, drain, folded, keep_queries, load, on_spark, payments, payments_project};
use nix::sys::signal::Signal;
use testkit::own::OwnServer;
use testkit::project::{Column, ProjectDir};

const PATIENCE: Duration = Duration::from_secs(240);
const QUERY: &str = "payments_enriched";

/// The payments example with the query that joins each payment with its merchant, and so many partitions.
fn project(column: Column, csv: &str, partitions: u32) -> ProjectDir {
    let project = payments_project(column, csv);
    keep_queries(&project, &[QUERY]);
    std::fs::remove_dir_all(project.path.join("patterns")).unwrap();
    project.edit("tillstream.yaml", "partitions: 4", &format!("partitions: {partitions}"));
    let merchants = "    file: reference/merchants.csv\n";
    project.edit("tillstream.yaml", merchants, &format!("{merchants}    refresh: 500ms\n"));
    project
}

/// Renames a merchant and loads one payment after the other, until one has the new name; those before it have the old one.
fn a_renamed_merchant_is_seen(project: &ProjectDir) {
    project.edit("reference/merchants.csv", "Grün Foods One", "Grün Foods Two");
    let named = |name: &str| {
        let count = format!(
            "SELECT count(*) FROM bi.payments_enriched WHERE transaction_id LIKE 'x%' AND merchant_name = 'Grün Foods {name}'"
        );
        project.sql_value(&count).parse::<u64>().expect("a number")
    };
    let from = Instant::now();
    for number in 0.. {
        assert!(from.elapsed() < PATIENCE, "the change isn't seen");
        let payment = format!(
            "transaction_id,account_id,merchant_id,amount,currency,country,channel,status,event_time\n\
             x{number},a1,m0001,1.00,EUR,DE,chip,approved,2026-01-05T10:00:00.000Z\n"
        );
        std::fs::write(project.path.join("one.csv"), payment).unwrap();
        std::fs::rename(project.path.join("one.csv"), project.path.join(format!("one{number}.csv"))).unwrap();
        load(project, &format!("one{number}.csv"));
        testkit::wait_for("the payment", PATIENCE, || (named("One") + named("Two") > number).then_some(()));
        if named("Two") > 0 {
            return;
        }
    }
}

#[test]
fn queries_without_windows_run_in_real_time_and_a_spark_that_is_too_small_is_told() {
    let csv = payments(13, 900);
    let files = cut(&csv, 3);
    let local = project(Column::Embedded, &csv, 1);
    drain(&local);

    // Its tasks never end, so the Spark of the other tests would be short of them.
    let server = OwnServer::spark();
    let url = format!("sc://{}", server.address());
    let mut spark = project(Column::Servers, &files[0], 1);
    for (number, text) in files.iter().enumerate() {
        std::fs::write(spark.path.join(format!("part{number}.csv")), text).unwrap();
    }
    on_spark(&spark, &url);
    spark.set("spark.real_time=5s");
    // After the first there would be no other micro-batch.
    spark.set("spark.trigger=1h");
    let mut process = spark.up(&[]);
    testkit::wait_for("the first rows", PATIENCE, || (spark.sql_value(&folded(QUERY)) != "0").then_some(()));
    load(&spark, "part1.csv");
    // Payments that are in that part alone: some of the first may still come.
    let of_part =
        format!("SELECT count(*) > 0 FROM bi.{QUERY} WHERE substr(transaction_id, 2)::int BETWEEN 320 AND 580");
    spark.wait_for_value(&of_part, "t", PATIENCE);
    process.kill();
    process = spark.up(&[]);
    load(&spark, "part2.csv");
    spark.wait_for_value(&folded(QUERY), &local.sql_value(&folded(QUERY)), PATIENCE);
    assert_same_tables(&local, &spark, &[QUERY]);
    a_renamed_merchant_is_seen(&spark);
    process.signal(Signal::SIGINT);
    assert_eq!(process.wait(PATIENCE).code(), Some(0), "{}", process.tail());

    let mut wide = project(Column::Servers, &files[0], 4);
    on_spark(&wide, &url);
    wide.set("spark.real_time=5s");
    let ended = wide.run("up", &[]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    for words in ["needs 4 task slots, and Apache Spark has 2", "payments_enriched hold 4", "leave spark.real_time out"]
    {
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
}
