//! Raw records that come in Kafka transactions: aborted ones never were, and markers, which no reader is shown, hold nothing up.
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

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use testkit::kafka::{RawRecord, bootstrap, produce_in_transaction};
use testkit::project::{Column, ProjectDir};

const BINARY: &str = env!("CARGO_BIN_EXE_tillstream");
const DEADLINE: Duration = Duration::from_secs(90);
const PARTITIONS: i32 = 4;

fn drain(project: &ProjectDir) -> Value {
    let ended = project.run("up", &["--drain"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    serde_json::from_str(&ended.stdout).expect("JSON")
}

#[test]
fn a_raw_topic_may_end_in_markers() {
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../project/template");
    let project = ProjectDir::copy_of(&template, BINARY, Column::Servers);
    let before = drain(&project);
    let topic = format!("{}orders.raw", project.topic_prefix);
    let alien =
        |partition| RawRecord { value: Some(b"no avro".to_vec()), partition: Some(partition), ..RawRecord::default() };
    let records: Vec<RawRecord> = (0..PARTITIONS).map(alien).collect();
    for commits in [true, false, true, false] {
        produce_in_transaction(&bootstrap(), &topic, &records, commits);
    }
    let after = drain(&project);
    assert_eq!(after["validated"], before["validated"]);
    assert_eq!(after["rejected"]["wire_format"], json!(2 * PARTITIONS), "{after}");
    let records = before["raw"].as_u64().expect("a number") + 2 * u64::from(PARTITIONS.unsigned_abs());
    common::assert_audit_is_clean(&project, records);
    let tapped = project.run("tap", &["orders.raw", "--from", "beginning"]);
    assert_eq!(tapped.code, Some(0), "{}", tapped.stderr);
    assert_eq!(u64::try_from(tapped.stdout.lines().count()).expect("few"), records);

    let mut pipeline = project.up(&[]);
    produce_in_transaction(&bootstrap(), &topic, &[alien(0)], true);
    pipeline.signal(Signal::SIGTERM);
    assert_eq!(pipeline.wait(DEADLINE).code(), Some(0), "{}", pipeline.tail());
    common::assert_audit_is_clean(&project, records + 1);
}
