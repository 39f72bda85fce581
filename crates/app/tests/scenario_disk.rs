//! Disks that are full for a while under load: the broker's, that of the snapshots, PostgreSQL's, and that of ids which have no room in memory.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reports by panicking"
)]

mod common;

use std::time::Duration;

use nix::sys::signal::Signal;
use testkit::disk::SmallDisk;
use testkit::process::Supervised;
use testkit::project::ProjectDir;

const BINARY: &str = env!("CARGO_BIN_EXE_tillstream");
const PATIENCE: Duration = Duration::from_secs(90);

fn stored(project: &ProjectDir) -> i64 {
    project.sql_value("SELECT count(*) FROM bi.payments_enriched").parse().expect("a number")
}

/// Whether `/readyz` says that a disk is full.
fn is_shown(pipeline: &Supervised) -> bool {
    let said = common::readiness(pipeline);
    said.contains("No space left") || said.contains("disk is full")
}

/// Fills the disk until the pipeline tells that it is full, makes room, and waits until it goes on.
fn full_for_a_while(project: &ProjectDir, pipeline: &mut Supervised, name: &str, disk: &SmallDisk) {
    let filler = disk.fill();
    testkit::wait_for(&format!("the full disk of {name} to be told"), PATIENCE, || is_shown(pipeline).then_some(()));
    assert!(pipeline.is_running(), "{name}: {}", pipeline.tail());
    drop(filler);
    testkit::wait_for(&format!("ready again after the full disk of {name}"), PATIENCE, || {
        common::readiness(pipeline).starts_with("HTTP/1.1 200").then_some(())
    });
    let before = stored(project);
    testkit::wait_for(&format!("rows after the full disk of {name}"), PATIENCE, || {
        (stored(project) > before).then_some(())
    });
}

#[test]
fn full_disks_are_waited_for_and_nothing_is_lost() {
    let project = common::payments(BINARY);
    project.edit(
        "tillstream.yaml",
        "duplicates: { within: 10m }",
        "duplicates: { within: 10m, memory: 256KB, disk: 100MB }",
    );
    let disk = |name: &str, megabytes| SmallDisk::mount(&project.data_dir().join(name), megabytes);
    let spill = disk("spill", 20);
    let snapshots = disk("snapshots", 50);
    let broker = disk("broker", 400);
    let postgres = disk("postgres", 300);
    let mut pipeline = project.up(&[]);
    let generator = common::generate(&project, 1_000, "0.02");
    testkit::wait_for("rows", PATIENCE, || (stored(&project) > 0).then_some(()));
    full_for_a_while(&project, &mut pipeline, "spilled ids", &spill);
    full_for_a_while(&project, &mut pipeline, "snapshots", &snapshots);
    full_for_a_while(&project, &mut pipeline, "PostgreSQL", &postgres);
    full_for_a_while(&project, &mut pipeline, "the broker", &broker);
    let generated = common::end(generator);
    pipeline.signal(Signal::SIGTERM);
    assert_eq!(pipeline.wait(PATIENCE).code(), Some(0), "{}", pipeline.tail());
    let summary = common::assert_nothing_is_lost(&project, generated);
    // The generator's repeats were found among ids that are nearly all on the disk.
    let distinct = project.sql_value("SELECT count(DISTINCT transaction_id) FROM bi.payments_enriched");
    assert_eq!(summary["validated"].to_string(), distinct, "{summary}");
    assert!(summary["rejected"]["duplicate"].as_u64() > Some(100), "{summary}");
}
