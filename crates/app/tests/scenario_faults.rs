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

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const BINARY: &str = env!("CARGO_BIN_EXE_tillstream");

#[test]
fn postgresql_killed_twice_under_load_loses_and_repeats_nothing() {
    let project = common::payments(BINARY);
    let mut pipeline = project.up(&[]);
    let shares = ["--late-share", "0", "--duplicate-share", "0", "--invalid-share", "0", "--fraud-bursts-per-min", "0"];
    let arguments = [&["--rate", "2000", "--for", "12s"], &shares[..]].concat();
    let mut generator = project.start("generate", &arguments);
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
        assert!(pipeline.is_running(), "{}", pipeline.tail());
    }
    let status = generator.wait(Duration::from_secs(60));
    assert!(status.success(), "{}", generator.tail());
    project.wait_for_value(count, "24000", Duration::from_secs(90));
    pipeline.signal(Signal::SIGTERM);
    assert_eq!(pipeline.wait(Duration::from_secs(60)).code(), Some(0), "{}", pipeline.tail());

    let summary = common::assert_nothing_is_lost(&project, 24_000);
    assert_eq!(summary["validated"], 24_000, "{summary}");
    assert_eq!(
        project.sql_value("SELECT count(*), count(DISTINCT transaction_id) FROM bi.payments_enriched"),
        "24000,24000"
    );
    let sums = "SELECT (SELECT sum(payments) FROM bi.kpis_per_minute),
        (SELECT sum(approved_total) FROM bi.kpis_per_minute) = (SELECT sum(amount) FROM bi.payments_enriched WHERE status = 'approved')";
    assert_eq!(project.sql_value(sums), "24000,t");
}
