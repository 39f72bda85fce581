//! Peers that die while payments flow: the pipeline waits, goes on, and the tables are right.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reports by panicking"
)]

mod common;

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const BINARY: &str = env!("CARGO_BIN_EXE_tillstream");

#[test]
fn postgresql_killed_twice_under_load_loses_and_repeats_nothing() {
    let project = common::payments(BINARY);
    let mut pipeline = project.up(&[]);
    let generator = common::generate(&project, 2_000, "0");
    let count = "SELECT count(*) FROM bi.payments_enriched";
    for _ in 0..2 {
        // Rows have come in since the last start, so that the kill meets a server under load.
        let before: u64 = project.sql_value(count).parse().expect("a number");
        testkit::wait_for("rows in PostgreSQL", Duration::from_secs(60), || {
            let now: u64 = project.sql_value(count).parse().expect("a number");
            (now > before).then_some(())
        });
        let killed = project.postmaster().expect("the private server runs");
        kill(Pid::from_raw(killed), Signal::SIGKILL).expect("the server can be killed");
        testkit::wait_for("a new server", Duration::from_secs(60), || {
            project.postmaster().filter(|&id| id != killed).map(|_| ())
        });
        pipeline.assert_running();
    }
    let generated = common::end(generator);
    project.wait_for_value(count, &generated.to_string(), Duration::from_secs(90));
    pipeline.signal(Signal::SIGTERM);
    assert_eq!(pipeline.wait(Duration::from_secs(150)).code(), Some(0), "{}", pipeline.tail());

    let summary = common::assert_nothing_is_lost(&project, generated);
    assert_eq!(summary["validated"], generated, "{summary}");
    assert_eq!(
        project.sql_value("SELECT count(*), count(DISTINCT transaction_id) FROM bi.payments_enriched"),
        format!("{generated},{generated}")
    );
    let sums = "SELECT (SELECT sum(payments) FROM bi.kpis_per_minute),
        (SELECT sum(approved_total) FROM bi.kpis_per_minute) = (SELECT sum(amount) FROM bi.payments_enriched WHERE status = 'approved')";
    assert_eq!(project.sql_value(sums), format!("{generated},t"));
}

/// Sends a signal to a PostgreSQL server and its children.
fn signal_server(postmaster: i32, signal: Signal) {
    // The server first: a stopped one has no more children.
    kill(Pid::from_raw(postmaster), signal).expect("the server runs");
    let children = std::fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children"));
    for child in children.expect("the server runs").split_whitespace().filter_map(|id| id.parse().ok()) {
        match kill(Pid::from_raw(child), signal) {
            // One that has just ended.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => panic!("{child}: {error}"),
        }
    }
}

#[test]
fn a_postgresql_that_hangs_is_shown_and_waited_for() {
    let project = common::payments(BINARY);
    let mut pipeline = project.up(&[]);
    let generator = common::generate(&project, 1_000, "0");
    let count = "SELECT count(*) FROM bi.payments_enriched";
    testkit::wait_for("rows in PostgreSQL", Duration::from_secs(60), || {
        (project.sql_value(count) != "0").then_some(())
    });
    let postmaster = project.postmaster().expect("the private server runs");
    signal_server(postmaster, Signal::SIGSTOP);
    testkit::wait_for("word of the silence", Duration::from_secs(90), || {
        common::readiness(&pipeline).contains("PostgreSQL hasn't answered").then_some(())
    });
    signal_server(postmaster, Signal::SIGCONT);
    testkit::wait_for("readiness", Duration::from_secs(90), || {
        common::readiness(&pipeline).starts_with("HTTP/1.1 200").then_some(())
    });
    let generated = common::end(generator);
    pipeline.signal(Signal::SIGTERM);
    assert_eq!(pipeline.wait(Duration::from_secs(150)).code(), Some(0), "{}", pipeline.tail());
    common::assert_nothing_is_lost(&project, generated);
}
