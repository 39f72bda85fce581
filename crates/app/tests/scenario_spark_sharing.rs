//! Two processes beside Apache Spark: they share our own stages, one of them watches Spark's queries, and when that one dies the other does it all.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reports by panicking"
)]

mod common;

use std::time::Duration;

use common::sharing::{leaders, start, wait_until_shared, with_registry};
use common::spark::{
    PATTERN, TWO, assert_same_tables, cut, drain, folded, keep_queries, load, on_spark, payments, payments_project,
};
use nix::sys::signal::Signal;
use testkit::project::{Column, ProjectDir};

const PATIENCE: Duration = Duration::from_secs(240);
/// Stages whose partitions are shared.
const SHARED: [&str; 3] = ["validate transactions", "patterns", "store"];

/// The payments example with two queries for Spark and its patterns.
fn project(column: Column, csv: &str) -> ProjectDir {
    let project = payments_project(column, csv);
    keep_queries(&project, &TWO);
    project
}

#[test]
fn the_process_that_watches_spark_is_killed_and_the_other_takes_over_with_its_state() {
    let csv = payments(12, 1_500);
    let files = cut(&csv, 3);
    let local = project(Column::Embedded, &csv);
    drain(&local);

    let mut spark = project(Column::Servers, &csv);
    for (number, text) in files.iter().enumerate() {
        std::fs::write(spark.path.join(format!("part{number}.csv")), text).unwrap();
    }
    let _registry = with_registry(&mut spark);
    on_spark(&spark, &testkit::spark::url());
    spark.set("spark.shuffle_partitions=1");
    let mut processes = vec![start(&spark), start(&spark)];
    wait_until_shared(&[&processes[0], &processes[1]], &SHARED);
    load(&spark, "part0.csv");
    testkit::wait_for("the first rows from Spark", PATIENCE, || {
        (spark.sql_value(&folded("kpis_per_minute")) != "0").then_some(())
    });

    let watches = leaders(&[&processes[0], &processes[1]])[0];
    processes.remove(watches).kill();
    load(&spark, "part1.csv");
    wait_until_shared(&[&processes[0]], &SHARED);
    // What it found running on Spark goes on, and it publishes matches that begin before the other died.
    load(&spark, "part2.csv");
    for query in TWO {
        spark.wait_for_value(&folded(query), &local.sql_value(&folded(query)), PATIENCE);
    }
    processes[0].signal(Signal::SIGINT);
    assert_eq!(processes[0].wait(PATIENCE).code(), Some(0), "{}", processes[0].tail());
    // Patterns that wait for a watermark are settled by a drain.
    drain(&spark);
    assert_same_tables(&local, &spark, &[TWO[0], TWO[1], PATTERN]);
}
