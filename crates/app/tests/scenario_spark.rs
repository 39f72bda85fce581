//! Both engines on the same input: the tables that Apache Spark fills are those of the local engine, row by row.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reports by panicking"
)]

mod common;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::spark::{
    PATTERN, PAYMENTS, assert_same_tables, cut, drain, folded, load, on_spark, payments, payments_project,
    with_two_queries,
};
use testkit::project::{Column, ProjectDir, grocery_data};
use testkit::python;

const BINARY: &str = env!("CARGO_BIN_EXE_tillstream");
const PATIENCE: Duration = Duration::from_secs(240);

/// When each result was last written to.
fn written(project: &ProjectDir, queries: &[&str]) -> Vec<String> {
    queries.iter().map(|query| project.sql_value(&format!("SELECT max(updated_at) FROM results.{query}"))).collect()
}

const GROCERY: [&str; 3] = ["sales_by_department_day", "sales_by_store_hour", "sales_by_category_sliding"];
#[test]
fn a_drain_of_the_grocery_example_gives_the_same_tables_on_both_engines() {
    let (local, spark) = (
        ProjectDir::of_example("grocery", BINARY, Column::Embedded),
        ProjectDir::of_example("grocery", BINARY, Column::Servers),
    );
    for project in [&local, &spark] {
        let target = project.path.join("data/transactions.parquet");
        python::run(
            "cut_parquet.py",
            &[&grocery_data().join("transactions.parquet"), &target, Path::new("0"), Path::new("60000")],
        );
    }
    on_spark(&spark, &testkit::spark::url());
    let summary = drain(&spark);
    assert_eq!(summary, drain(&local), "the same rows are accepted");
    assert_same_tables(&local, &spark, &GROCERY);

    let before = written(&spark, &GROCERY);
    assert_eq!(drain(&spark), summary, "a second drain finds nothing to do");
    assert_eq!(written(&spark, &GROCERY), before, "a second drain writes no row");
}

#[test]
fn a_drain_of_the_payments_example_gives_the_same_tables_on_both_engines() {
    let csv = payments(20_260_105, 6_000);
    let local = payments_project(Column::Embedded, &csv);
    let spark = payments_project(Column::Servers, &csv);
    on_spark(&spark, &testkit::spark::url());
    let summary = drain(&spark);
    assert_eq!(summary, drain(&local), "the same rows are accepted");
    for reason in ["duplicate", "id_conflict", "late", "rule"] {
        assert!(summary["rejected"][reason].as_u64().is_some_and(|count| count > 0), "{reason}: {summary}");
    }
    assert_same_tables(&local, &spark, &PAYMENTS);
    assert_same_tables(&local, &spark, &[PATTERN]);
}

#[test]
fn streaming_queries_on_spark_fill_the_same_tables_and_survive_a_kill() {
    let csv = payments(7, 3_000);
    let local = payments_project(Column::Embedded, &csv);
    drain(&local);
    let spark = payments_project(Column::Servers, &csv);
    on_spark(&spark, &testkit::spark::url());
    let wanted = |query: &str| {
        local
            .sql_value(&format!("SELECT count(*) || ' ' || sum(folded_rows) FROM results.{query} WHERE NOT is_deleted"))
    };
    let mut process = spark.up(&[]);
    process.wait_for_line(PATIENCE, |line| line.contains("started on Apache Spark"));
    // Our process goes without a word; Spark's queries run on and are found again.
    process.kill();
    let mut process = spark.up(&[]);
    let all = [&PAYMENTS[..], &[PATTERN]].concat();
    for query in &all {
        let value = format!("SELECT count(*) || ' ' || sum(folded_rows) FROM results.{query} WHERE NOT is_deleted");
        spark.wait_for_value(&value, &wanted(query), PATIENCE);
    }
    assert_same_tables(&local, &spark, &all);
    // What Spark says of its micro-batches.
    for metric in ["batch_duration_seconds", "batch_watermark_timestamp_seconds", "state_rows", "rows_published_total"]
    {
        let start = format!("tillstream_query_{metric}{{query=\"kpis_per_minute\"}} ");
        testkit::wait_for(metric, Duration::from_secs(60), || {
            let metrics = common::page(&process, "/metrics");
            let value = metrics.lines().find_map(|line| line.strip_prefix(&start)?.trim().parse::<f64>().ok());
            value.is_some_and(|value| value > 0.0).then_some(())
        });
    }
    process.signal(nix::sys::signal::Signal::SIGINT);
    let status = process.wait(PATIENCE);
    assert_eq!(status.code(), Some(0), "{}", process.tail());
    let changelogs = Command::new("find").arg(spark.data_dir().join("spark")).args(["-name", "*.changelog"]).output();
    assert!(!changelogs.unwrap().stdout.is_empty(), "state is in RocksDB, and its changes in the checkpoint");
}

/// Its aggregates change, which the state in Spark's checkpoint couldn't follow.
#[test]
fn a_query_that_changed_between_two_runs_fills_its_next_generation_on_spark() {
    let csv = payments(23, 800);
    let files = cut(&csv, 2);
    let (local, mut spark) = (with_two_queries(Column::Embedded, &csv), with_two_queries(Column::Servers, &files[0]));
    std::fs::write(spark.path.join("second.csv"), &files[1]).unwrap();
    on_spark(&spark, &testkit::spark::url());
    spark.set("spark.shuffle_partitions=1");
    let line = |words: &'static [&str]| move |line: &str| words.iter().all(|word| line.contains(word));
    let mut process = spark.up(&[]);
    testkit::wait_for("the first rows from Spark", PATIENCE, || {
        (spark.sql_value(&folded("kpis_per_minute")) != "0").then_some(())
    });
    process.wait_for_line(PATIENCE, line(&["started on Apache Spark", "payments_enriched.g1"]));
    // What it was runs on at Spark while it is changed.
    process.kill();
    for project in [&local, &spark] {
        let more = "count(*) AS payments,\n  min(amount) AS least_amount,";
        project.edit("queries/kpis_per_minute.sql", "count(*) AS payments,", more);
    }
    drain(&local);
    let mut process = spark.up(&[]);
    process.wait_for_line(PATIENCE, line(&["stopped on Apache Spark", "kpis_per_minute.g1"]));
    process.wait_for_line(PATIENCE, line(&["found running on Apache Spark", "payments_enriched.g1"]));
    process.wait_for_line(PATIENCE, line(&["started on Apache Spark", "kpis_per_minute.g2"]));
    load(&spark, "second.csv");
    for (query, table) in [("kpis_per_minute", "kpis_per_minute__g2"), ("payments_enriched", "payments_enriched")] {
        spark.wait_for_value(&folded(table), &local.sql_value(&folded(query)), PATIENCE);
    }
    assert_same_tables(&local, &spark, &["payments_enriched"]);
    let kpis = "SELECT window_start, currency, payments, least_amount, approved_total, average_amount FROM bi.kpis_per_minute ORDER BY 1, 2";
    assert_eq!(spark.sql(kpis), local.sql(kpis));
    let states = "SELECT generation, state FROM ops.generations WHERE query = 'kpis_per_minute' ORDER BY 1";
    assert_eq!(spark.sql(states), ["1,retired", "2,shown"]);
    process.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(process.wait(PATIENCE).code(), Some(0), "{}", process.tail());
}
