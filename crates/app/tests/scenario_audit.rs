//! `tillstream audit` on a project that is right, and on one that was damaged in each way that it has to see.
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

use nix::sys::signal::Signal;
use serde_json::Value;
use testkit::kafka::{RawRecord, produce, records};
use testkit::process::Supervised;
use testkit::project::{Column, ProjectDir};

const BINARY: &str = env!("CARGO_BIN_EXE_tillstream");

/// Produces past the pipeline, by a broker on the project's data.
fn damage(project: &ProjectDir, topic: &str, record: RawRecord) {
    let address = format!("127.0.0.1:{}", testkit::free_port());
    let mut command = Command::new(BINARY);
    command.arg("broker").args(["--listen", &address, "--data"]).arg(project.data_dir().join("broker"));
    let mut broker = Supervised::spawn(command);
    broker.wait_for_line(Duration::from_secs(60), |line| line.contains(&address));
    produce(&address, topic, &[RawRecord { partition: Some(0), ..record }]);
    assert!(records(&address, topic) > 0);
    broker.signal(Signal::SIGTERM);
    assert_eq!(broker.wait(Duration::from_secs(60)).code(), Some(0), "{}", broker.tail());
}

fn verdict(raw_offset: i64, previous: i64) -> RawRecord {
    let header = |name: &str, value: i64| (name.to_owned(), value.to_string());
    let headers = vec![header("ts.raw.offset", raw_offset), header("ts.raw.previous", previous)];
    RawRecord { value: Some(b"forged".to_vec()), headers, ..RawRecord::default() }
}

fn partition(report: &Value) -> &Value {
    &report["streams"][0]["partitions"][0]
}

/// Fault and range of each finding.
fn findings(report: &Value) -> Vec<(String, i64, i64)> {
    let findings = partition(report)["findings"].as_array().cloned().unwrap_or_default();
    let number = |finding: &Value, field: &str| finding[field].as_i64().expect("a number");
    let text = |finding: &Value| finding["fault"].as_str().expect("a text").to_owned();
    findings.iter().map(|finding| (text(finding), number(finding, "from"), number(finding, "to"))).collect()
}

#[test]
fn an_audit_tells_a_sound_project_from_a_damaged_one() {
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../project/template");
    let project = ProjectDir::copy_of(&template, BINARY, Column::Embedded);
    project.edit(
        "tillstream.yaml",
        "    schema: schemas/order.avsc\n",
        "    schema: schemas/order.avsc\n    topic: { partitions: 1 }\n",
    );
    let ended = project.run("up", &["--drain"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let summary: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let raw = summary["raw"].as_u64().expect("a number");
    assert!(raw > 0, "{summary}");
    common::assert_audit_is_clean(&project, raw);
    let end = i64::try_from(raw).expect("a number");
    let (_, sound) = common::audit(&project, &["--topics-only"]);
    let last = |report: &Value| partition(report)["raw"].as_i64();
    assert_eq!((last(&sound), sound["tables"].as_array().map(Vec::len)), (Some(end), Some(0)), "{sound:#}");

    // A record that validation hasn't seen waits; once progress claims to be past it, it is missing.
    damage(&project, "orders.raw", RawRecord { value: Some(b"nobody saw me".to_vec()), ..RawRecord::default() });
    let (code, report) = common::audit(&project, &["--topics-only"]);
    assert_eq!(
        (code, partition(&report)["waiting"].as_u64(), findings(&report).len()),
        (Some(0), Some(1), 0),
        "{report:#}"
    );
    // No claim of the partition has so large an epoch, so it isn't void.
    let progress = serde_json::json!({
        "partition": 0, "epoch": 1_000_000, "raw_offset": end + 1, "validated_offset": 0, "rejected_offset": 0, "last_validated_raw_offset": -1,
        "last_rejected_raw_offset": -1, "duplicates_from_offset": 0, "watermark_us": null, "idle": false, "validated": 0, "rejected": {},
    });
    let progress =
        RawRecord { key: Some(b"0".to_vec()), value: Some(progress.to_string().into_bytes()), ..RawRecord::default() };
    damage(&project, "orders.progress", progress);
    let missing = ("missing".to_owned(), end, end);
    let (code, report) = common::audit(&project, &["--topics-only"]);
    assert_eq!((code, findings(&report)), (Some(1), vec![missing.clone()]), "{report:#}");

    // A second verdict on a record, and then one from nowhere, which also breaks its output's chain.
    let rejected_already = project.sql_value("SELECT coalesce(max(raw_offset), -1) FROM ops.rejected_records");
    let rejected_already: i64 = rejected_already.parse().expect("a number");
    damage(&project, "orders.rejected", verdict(end - 1, rejected_already));
    let (code, report) = common::audit(&project, &["--topics-only"]);
    assert_eq!(
        (code, findings(&report)),
        (Some(1), vec![("overlap".to_owned(), end - 1, end - 1), missing]),
        "{report:#}"
    );
    damage(&project, "orders.rejected", verdict(end + 5, end + 4));
    let (_, report) = common::audit(&project, &["--topics-only"]);
    let found: Vec<(String, i64, i64)> = findings(&report);
    assert!(found.contains(&("break".to_owned(), end - 1, end + 5)), "{report:#}");
    assert!(found.contains(&("unknown".to_owned(), end + 5, end + 5)), "{report:#}");

    // People read the same.
    let ended = project.run("audit", &["--topics-only"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stdout.contains(&format!("raw offset {end}: no verdict")), "{}", ended.stdout);
}

#[test]
fn an_audit_sees_rows_that_went_from_postgresql() {
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../project/template");
    let project = ProjectDir::copy_of(&template, BINARY, Column::Embedded);
    let ended = project.run("up", &["--drain"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let (code, report) = common::audit(&project, &[]);
    assert_eq!(code, Some(0), "{report:#}");
    let compared: Vec<String> = report["tables"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|table| table["holds"] == "equal" && table["expected"].as_u64() > Some(0))
        .map(|table| table["table"].as_str().expect("a text").to_owned())
        .collect();
    assert!(!compared.is_empty(), "{report:#}");
    for table in compared.iter().filter(|table| table.starts_with("results.")) {
        project.sql(&format!("DELETE FROM {table} WHERE ctid = (SELECT min(ctid) FROM {table})"));
        let (code, report) = common::audit(&project, &[]);
        let holds = report["tables"].as_array().into_iter().flatten().find(|found| found["table"] == table.as_str());
        assert_eq!((code, holds.map(|found| &found["holds"])), (Some(1), Some(&"less".into())), "{report:#}");
    }
}
