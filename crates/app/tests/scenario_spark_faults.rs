//! Apache Spark killed and started again, a query that fails, rows that Spark drops: the tables are right in the end, or it is said that
//! they aren't.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reports by panicking"
)]

mod common;

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use common::spark::{
    PAYMENTS, TWO, assert_same_tables, cut, drain, folded, load, on_spark, payments, payments_project, with_two_queries,
};
use nix::sys::signal::Signal;
use testkit::kafka::RawRecord;
use testkit::own::OwnServer;
use testkit::project::{Column, ProjectDir};

const PATIENCE: Duration = Duration::from_secs(240);

/// What `tillstream spark` prints.
fn spark_command(project: &ProjectDir, action: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tillstream"));
    command.args(["spark", action]).arg(&project.path).args([
        "--profile",
        "rig",
        "--set",
        "spark.shuffle_partitions=1",
    ]);
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{action}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_spark_that_is_killed_and_comes_back_fills_the_same_tables() {
    let csv = payments(11, 1_200);
    let files = cut(&csv, 2);

    let local = with_two_queries(Column::Embedded, &csv);
    drain(&local);

    let server = OwnServer::spark();
    let mut spark = with_two_queries(Column::Servers, &files[0]);
    std::fs::write(spark.path.join("second.csv"), &files[1]).unwrap();
    on_spark(&spark, &format!("sc://{}", server.address()));
    // Several batches, so that the kill comes amid them.
    spark.set("spark.offsets_per_trigger=200");
    spark.set("spark.shuffle_partitions=1");
    let mut process = spark.up(&[]);
    testkit::wait_for("the first rows from Spark", PATIENCE, || {
        (spark.sql_value(&folded("kpis_per_minute")) != "0").then_some(())
    });
    server.end(Signal::SIGKILL);
    process.wait_for_line(PATIENCE, |line| line.contains("the stage starts a new epoch"));
    load(&spark, "second.csv");
    server.start();
    for query in TWO {
        spark.wait_for_value(&folded(query), &local.sql_value(&folded(query)), PATIENCE);
    }
    assert_same_tables(&local, &spark, &TWO);

    process.signal(Signal::SIGINT);
    let status = process.wait(PATIENCE);
    assert_eq!(status.code(), Some(0), "{}", process.tail());
    let none_runs = TWO
        .map(|query| format!("{query}: DOESN'T RUN: it was stopped, or has failed; Spark's log says why\n"))
        .concat();
    assert_eq!(spark_command(&spark, "status"), none_runs, "Ctrl-C stops the queries");
    let submitted = spark_command(&spark, "submit");
    for query in TWO {
        assert!(submitted.contains(&format!("{query}.g1 runs\n")), "{submitted}");
    }
    assert!(spark_command(&spark, "status").starts_with("kpis_per_minute.g1: "), "they run on without us");
    assert_eq!(spark_command(&spark, "stop"), "kpis_per_minute.g1 stopped\npayments_enriched.g1 stopped\n");
    assert_eq!(spark_command(&spark, "status"), none_runs);
}

#[test]
fn a_record_that_validation_did_not_write_stops_the_queries_with_sparks_words_and_ours() {
    let spark = payments_project(Column::Servers, &payments(3, 300));
    // The patterns stage would see that records are missing before it.
    std::fs::remove_dir_all(spark.path.join("patterns")).unwrap();
    on_spark(&spark, &testkit::spark::url());
    let mut process = spark.up(&[]);
    testkit::wait_for("the first rows from Spark", PATIENCE, || {
        (spark.sql_value(&folded("kpis_per_minute")) != "0").then_some(())
    });
    let foreign = RawRecord {
        value: Some(vec![0, 0, 0, 39, 15, 1]),
        partition: Some(0),
        headers: vec![
            ("ts.raw.offset".to_owned(), "100000".to_owned()),
            ("ts.raw.previous".to_owned(), "99999".to_owned()),
        ],
        ..RawRecord::default()
    };
    testkit::kafka::produce(
        &testkit::kafka::bootstrap(),
        &format!("{}transactions.validated", spark.topic_prefix),
        &[foreign],
    );
    let status = process.wait(PATIENCE);
    let said = process.stderr().join("\n");
    assert_eq!(status.code(), Some(4), "{said}");
    for words in
        ["USER_RAISED_EXCEPTION", "the schema id isn't one that validation writes", "only validation may write there"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    // Those that read other partitions or hadn't come to it yet have ended, too.
    let status = spark_command(&spark, "status");
    assert_eq!(status.lines().filter(|line| line.contains("DOESN'T RUN")).count(), PAYMENTS.len(), "{status}");
}

/// Payments of one account, one every second from a time of the day on.
fn of_account(account: &str, hour: u32, count: u32) -> String {
    let mut csv =
        "transaction_id,account_id,merchant_id,amount,currency,country,channel,status,event_time\n".to_owned();
    for number in 0..count {
        writeln!(
            csv,
            "{account}-{hour}-{number},{account},m0001,1.00,EUR,DE,chip,approved,2026-01-05T{hour:02}:{:02}:{:02}.000Z",
            number / 60,
            number % 60
        )
        .unwrap();
    }
    csv
}

#[test]
fn rows_that_spark_drops_stop_the_pipeline_and_the_next_start_puts_the_tables_right() {
    // One partition is five hours ahead of another, and validation accepts both.
    let partition = |account: &str| kafka::partition_of(account.as_bytes(), 4);
    let other = (0..).map(|number| format!("b{number}")).find(|other| partition(other) != partition("a1")).unwrap();
    let mut spark = payments_project(Column::Servers, &of_account("a1", 14, 30));
    std::fs::write(spark.path.join("behind.csv"), of_account(&other, 9, 30)).unwrap();
    spark.edit("tillstream.yaml", "lateness: 5s", "lateness: 5s\n    max_skew: 1d\n   ");
    on_spark(&spark, &testkit::spark::url());
    spark.set("spark.watermark_delay=1m");
    let mut process = spark.up(&[]);
    spark.wait_for_value(&folded("kpis_per_minute"), "30", PATIENCE);
    // Spark's watermark moves with the batch after the one that has the rows.
    load(&spark, "behind.csv");
    let status = process.wait(PATIENCE);
    let said = process.stderr().join("\n");
    assert_eq!(status.code(), Some(4), "{said}");
    assert!(said.contains("Apache Spark dropped") && said.contains("spark.watermark_delay"), "{said}");

    spark.set("spark.watermark_delay=1d");
    let mut process = spark.up(&[]);
    for query in ["kpis_per_minute", "payments_enriched", "spend_by_category"] {
        spark.wait_for_value(&folded(query), "60", PATIENCE);
    }
    process.signal(Signal::SIGINT);
    let status = process.wait(PATIENCE);
    assert_eq!(status.code(), Some(0), "{}", process.tail());
}
