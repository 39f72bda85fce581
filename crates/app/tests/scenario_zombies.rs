//! Two processes of one stage: one that stood still while the other took over is fenced, whatever it still sends, and PostgreSQL holds each
//! result once.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reports by panicking"
)]

use std::time::Duration;

use nix::sys::signal::Signal;
use testkit::process::Supervised;
use testkit::project::{Column, ProjectDir};

const BINARY: &str = env!("CARGO_BIN_EXE_tillstream");
const DEADLINE: Duration = Duration::from_secs(60);
const ROWS: &str = "SELECT count(*) FROM bi.payments_enriched";

fn start(project: &ProjectDir, stages: &str, words: &str) -> Supervised {
    let mut process = project.start("run", &["--stages", stages]);
    process.wait_for_line(DEADLINE, |line| line.contains(words));
    process
}

fn generate(project: &ProjectDir, rate: &str, duration: &str) -> Supervised {
    let shares = ["--late-share", "0", "--duplicate-share", "0", "--invalid-share", "0", "--fraud-bursts-per-min", "0"];
    project.start("generate", &[&["--rate", rate, "--for", duration], &shares[..]].concat())
}

fn wait_for_rows(project: &ProjectDir, least: u64) {
    testkit::wait_for("rows", DEADLINE, || {
        project.sql_value(ROWS).parse::<u64>().is_ok_and(|rows| rows >= least).then_some(())
    });
}

/// The process found out by its fencing, not by an accident, and goes on beside the other.
fn wait_until_fenced(process: &mut Supervised) {
    process.wait_for_line(DEADLINE, |line| line.contains("another process has taken over partitions"));
    assert!(process.is_running(), "{}", process.tail());
}

fn assert_each_once(project: &ProjectDir, payments: u64) {
    let rows = "SELECT count(*), count(DISTINCT transaction_id), count(DISTINCT (source_partition, source_offset)) FROM bi.payments_enriched";
    assert_eq!(project.sql_value(rows), format!("{payments},{payments},{payments}"));
    let differences = project.sql(
        "(SELECT window_start, currency, payments, largest_amount FROM bi.kpis_per_minute)
         EXCEPT ALL (SELECT date_trunc('minute', event_time), currency, count(*), max(amount) FROM bi.payments_enriched GROUP BY 1, 2)",
    );
    assert!(differences.is_empty(), "{differences:#?}");
    assert_eq!(project.sql_value("SELECT sum(payments) FROM bi.kpis_per_minute"), payments.to_string());
}

#[test]
fn a_process_stage_that_was_paused_is_fenced_when_it_wakes() {
    let project = ProjectDir::of_example("payments", BINARY, Column::Servers);
    let ends = start(&project, "validate,store", "the store stage starts");
    let mut old = start(&project, "process", "the process stage starts");
    let mut generator = generate(&project, "2000", "8s");
    wait_for_rows(&project, 2_000);
    old.signal(Signal::SIGSTOP);
    // It stands by until the group has waited long enough for the other.
    let new = start(&project, "process", "the process stage starts");
    project.wait_for_value(ROWS, "16000", DEADLINE);
    // It wakes with records that it has read and results that it has made, and goes on as if nothing had been.
    old.signal(Signal::SIGCONT);
    wait_until_fenced(&mut old);
    assert!(generator.wait(DEADLINE).success(), "{}", generator.tail());
    project.wait_for_value("SELECT sum(payments) FROM bi.kpis_per_minute", "16000", DEADLINE);
    assert_each_once(&project, 16_000);
    drop((new, ends));
}

#[test]
fn a_store_stage_that_was_paused_is_fenced_when_it_wakes() {
    let project = ProjectDir::of_example("payments", BINARY, Column::Servers);
    let others = start(&project, "validate,process", "the process stage starts");
    let mut old = start(&project, "store", "the store stage starts");
    let mut generator = generate(&project, "2000", "6s");
    wait_for_rows(&project, 2_000);
    old.signal(Signal::SIGSTOP);
    let new = start(&project, "store", "the store stage starts");
    project.wait_for_value(ROWS, "12000", DEADLINE);
    old.signal(Signal::SIGCONT);
    // It shares again, with whatever it had in hand refused.
    testkit::wait_for("a new epoch", DEADLINE, || {
        assert!(old.is_running(), "{}", old.tail());
        let starts = old.stderr().iter().filter(|line| line.contains("the store stage starts")).count();
        (starts >= 2).then_some(())
    });
    assert!(generator.wait(DEADLINE).success(), "{}", generator.tail());
    project.wait_for_value("SELECT sum(payments) FROM bi.kpis_per_minute", "12000", DEADLINE);
    assert_each_once(&project, 12_000);
    drop((new, others));
}
