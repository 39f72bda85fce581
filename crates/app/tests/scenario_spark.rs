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
use std::time::Duration;

use common::spark::{PAYMENTS, assert_same_tables, drain, on_spark, payments, payments_project};
use testkit::project::{Column, ProjectDir, grocery_data};
use testkit::python;

const BINARY: &str = env!("CARGO_BIN_EXE_tillstream");

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
    process.wait_for_line(Duration::from_secs(120), |line| line.contains("started on Apache Spark"));
    // Our process goes without a word; Spark's queries run on and are found again.
    process.kill();
    let mut process = spark.up(&[]);
    for query in PAYMENTS {
        let value = format!("SELECT count(*) || ' ' || sum(folded_rows) FROM results.{query} WHERE NOT is_deleted");
        spark.wait_for_value(&value, &wanted(query), Duration::from_secs(120));
    }
    assert_same_tables(&local, &spark, &PAYMENTS);
    process.signal(nix::sys::signal::Signal::SIGINT);
    let status = process.wait(Duration::from_secs(60));
    assert_eq!(status.code(), Some(0), "{}", process.tail());
}
