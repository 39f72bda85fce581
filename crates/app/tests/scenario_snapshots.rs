//! Snapshots that are damaged or somebody else's: they are refused, and the results are right all the same.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reports by panicking"
)]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use testkit::project::{Column, Ended, ProjectDir};

const BINARY: &str = env!("CARGO_BIN_EXE_tillstream");

/// The snapshots of the process stage, the oldest first.
fn snapshots(project: &ProjectDir) -> Vec<PathBuf> {
    snapshots_of(project, "process")
}

fn snapshots_of(project: &ProjectDir, owner: &str) -> Vec<PathBuf> {
    let directory = project.data_dir().join("snapshots").join(owner).join("snapshots");
    let mut files: Vec<_> =
        fs::read_dir(directory).expect("there are snapshots").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    files
}

fn damage(file: &PathBuf) {
    let mut bytes = fs::read(file).expect("the snapshot can be read");
    let middle = bytes.len() / 2;
    for byte in bytes.iter_mut().skip(middle).take(8) {
        *byte ^= 0x55;
    }
    fs::write(file, bytes).expect("the snapshot can be written");
}

/// Runs the pipeline while payments come in, so that it saves its state more than once.
fn generate(project: &ProjectDir) {
    let mut pipeline = project.up(&[]);
    let shares = ["--late-share", "0", "--duplicate-share", "0", "--invalid-share", "0", "--fraud-bursts-per-min", "0"];
    let ended = project.run("generate", &[&["--rate", "2000", "--for", "3s"], &shares[..]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    project.wait_for_value("SELECT count(*) FROM bi.payments_enriched", "6000", Duration::from_secs(60));
    pipeline.signal(Signal::SIGTERM);
    assert!(pipeline.wait(Duration::from_secs(150)).success(), "{}", pipeline.tail());
}

fn drain(project: &ProjectDir) -> Ended {
    project.run("up", &["--drain"])
}

fn assert_true(project: &ProjectDir) {
    let payments = "SELECT count(*), count(DISTINCT transaction_id) FROM bi.payments_enriched";
    assert_eq!(project.sql_value(payments), "6000,6000");
    let differences = project.sql(
        "SELECT window_start, currency, payments, largest_amount FROM bi.kpis_per_minute
         EXCEPT ALL SELECT date_trunc('minute', event_time), currency, count(*), max(amount) FROM bi.payments_enriched GROUP BY 1, 2",
    );
    assert!(differences.is_empty(), "{differences:#?}");
    assert_eq!(project.sql_value("SELECT sum(payments) FROM bi.kpis_per_minute"), "6000");
}

#[test]
fn a_damaged_snapshot_is_passed_over_and_without_any_good_one_it_stops() {
    let project = ProjectDir::of_example("payments", BINARY, Column::Embedded);
    project.edit("tillstream.yaml", "\nprofiles:\n", "\nprocess: { checkpoint_interval: 200ms }\n\nprofiles:\n");
    generate(&project);
    let kept = snapshots(&project);
    let [older, newest] = &kept[..] else { panic!("two snapshots are kept: {kept:?}") };
    damage(newest);
    let ended = drain(&project);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("damaged"), "{}", ended.stderr);
    assert_true(&project);
    assert!(!older.exists(), "newer good ones are there by now");

    let good = snapshots(&project);
    let contents: Vec<Vec<u8>> = good.iter().map(|file| fs::read(file).expect("a snapshot")).collect();
    good.iter().for_each(damage);
    let ended = drain(&project);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains("none of the snapshots"), "{}", ended.stderr);
    // Another stage's don't do, however good they are.
    let foreign = snapshots_of(&project, "generations").pop().expect("there is a record of generations");
    for file in &good {
        fs::copy(&foreign, file).expect("the snapshot can be copied");
    }
    let ended = drain(&project);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains("belongs to \"generations\""), "{}", ended.stderr);
    for (file, content) in good.iter().zip(&contents) {
        fs::write(file, content).expect("a snapshot");
    }
    let ended = drain(&project);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_true(&project);
}
