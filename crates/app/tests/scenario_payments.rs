//! Generated card payments against a running pipeline, on both columns: every raw record gets its verdict, and the windows say what the
//! rows say.
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

use nix::sys::signal::Signal;
use serde_json::Value;
use testkit::project::{Column, ProjectDir};

const BINARY: &str = env!("CARGO_BIN_EXE_tillstream");
const RATE: u64 = 2_000;
const SECONDS: u64 = 10;

fn payments_from_start_to_end(column: Column) {
    let project = ProjectDir::of_example("payments", BINARY, column);
    // In ten seconds hardly anybody pays more than 12 times.
    project.edit("queries/velocity.sql", "HAVING count(*) > 12", "HAVING count(*) > 1");
    let mut pipeline = project.up(&[]);
    let (rate, duration) = (RATE.to_string(), format!("{SECONDS}s"));
    let shares = [
        "--late-share",
        "0.01",
        "--duplicate-share",
        "0.01",
        "--invalid-share",
        "0.01",
        "--fraud-bursts-per-min",
        "30",
    ];
    let generate = [&["--rate", &rate, "--for", &duration, "--output", "json"], &shares[..]].concat();
    let generated = project.run("generate", &generate);
    assert_eq!(generated.code, Some(0), "{}", generated.stderr);
    let generated: Value = serde_json::from_str(&generated.stdout).expect("JSON");
    assert_eq!(generated["generated"], RATE * SECONDS);

    pipeline.signal(Signal::SIGINT);
    let status = pipeline.wait(Duration::from_secs(150));
    assert_eq!(status.code(), Some(0), "{}", pipeline.tail());

    // What the stop found under way goes on at the next start.
    let ended = project.run("up", &["--drain"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let summary: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(summary["raw"], RATE * SECONDS, "{summary}");
    let validated = summary["validated"].as_u64().expect("a number");
    let rejected: BTreeMap<String, u64> = serde_json::from_value(summary["rejected"].clone()).expect("reasons");
    assert_eq!(validated + rejected.values().sum::<u64>(), RATE * SECONDS, "each record has one verdict; {summary}");
    assert!(validated > RATE * SECONDS * 9 / 10, "{summary}");
    for reason in ["rule", "duplicate", "decode", "unknown_schema"] {
        assert!(rejected.get(reason).is_some_and(|&count| count > 0), "nothing was rejected for {reason}: {summary}");
    }
    let known = ["rule", "duplicate", "decode", "unknown_schema", "late"];
    assert!(rejected.keys().all(|reason| known.contains(&reason.as_str())), "{summary}");
    check_tables(&project, validated, &rejected);
}

fn check_tables(project: &ProjectDir, validated: u64, rejected: &BTreeMap<String, u64>) {
    let stored = project.sql("SELECT reason, count(*) FROM ops.rejected_records GROUP BY 1 ORDER BY 1");
    let expected: Vec<String> = rejected.iter().map(|(reason, count)| format!("{reason},{count}")).collect();
    assert_eq!(stored, expected);
    let rows = project.sql_value(
        "SELECT count(*), count(DISTINCT transaction_id), count(DISTINCT (source_partition, source_offset)) FROM bi.payments_enriched",
    );
    assert_eq!(rows, format!("{validated},{validated},{validated}"), "one row per accepted payment");
    let overlap = "SELECT count(*) FROM bi.payments_enriched e JOIN ops.rejected_records r
                   ON e.source_partition = r.raw_partition AND e.source_offset = r.raw_offset";
    assert_eq!(project.sql_value(overlap), "0", "no position is both accepted and rejected");
    let rules = project.sql("SELECT DISTINCT rule FROM ops.rejected_records WHERE reason = 'rule' ORDER BY 1");
    assert_eq!(rules, ["known_currency", "positive_amount"]);
    common::assert_windows_are_true(project);
    common::assert_audit_is_clean(project, RATE * SECONDS);
}

#[test]
fn payments_on_the_embedded_systems() {
    payments_from_start_to_end(Column::Embedded);
}

#[test]
fn payments_on_kafka_and_a_postgresql_server() {
    payments_from_start_to_end(Column::Servers);
}

/// A past of 100 seconds: each payment a hundredth of a second after the one before it, none of them refused.
#[test]
fn a_past_is_generated_at_once() {
    let project = ProjectDir::of_example("payments", BINARY, Column::Embedded);
    let past = ["--backfill", "10000", "--rate", "100", "--output", "json"];
    let good = ["--late-share", "0", "--duplicate-share", "0", "--invalid-share", "0"];
    let generated = project.run("generate", &[&past[..], &good[..]].concat());
    assert_eq!(generated.code, Some(0), "{}", generated.stderr);
    let generated: Value = serde_json::from_str(&generated.stdout).expect("JSON");
    assert_eq!(generated["generated"], 10_000);
    let ended = project.run("up", &["--drain"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let times = "SELECT count(DISTINCT event_time), max(event_time) - min(event_time), max(event_time) <= now() FROM bi.payments_enriched";
    assert_eq!(project.sql_value(times), "10000,PT1M39.99S,t");
}
