//! Processes that share the stages of a project: each has a part, one dies or stands still and the others take over, and in the end all is as if
//! one process had done it.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reports by panicking"
)]

mod common;

use std::time::Duration;

use common::sharing::{leaders, start, wait_until_shared, with_registry};
use nix::sys::signal::Signal;
use testkit::process::Supervised;
use testkit::project::{Column, ProjectDir};

const BINARY: &str = env!("CARGO_BIN_EXE_tillstream");
const DEADLINE: Duration = Duration::from_secs(90);
/// Stages whose partitions are shared.
const SHARED: [&str; 3] = ["validate transactions", "patterns", "store"];
const ROWS: &str = "SELECT count(*) FROM bi.payments_enriched";

/// The payments example on Kafka and PostgreSQL, with a registry that outlives the processes under test.
fn project() -> (ProjectDir, Supervised) {
    let mut project = ProjectDir::of_example("payments", BINARY, Column::Servers);
    project.edit("queries/velocity.sql", "HAVING count(*) > 12", "HAVING count(*) > 1");
    let registry = with_registry(&mut project);
    (project, registry)
}

fn rows(project: &ProjectDir) -> u64 {
    project.sql_value(ROWS).parse().expect("a number")
}

/// Waits until so many more rows are stored than there are now.
fn wait_for_more_rows(project: &ProjectDir, more: u64) {
    let least = rows(project) + more;
    testkit::wait_for("more rows", DEADLINE, || (rows(project) >= least).then_some(()));
}

/// Ends the processes, works off the rest, and asserts that each record has one verdict and that the tables hold what follows from it.
fn assert_right(project: &ProjectDir, processes: Vec<Supervised>, sent: u64) {
    for mut process in processes {
        process.signal(Signal::SIGINT);
        assert_eq!(process.wait(DEADLINE).code(), Some(0), "{}", process.tail());
    }
    let summary = common::assert_nothing_is_lost(project, sent);
    assert!(summary["rejected"]["duplicate"].as_u64().is_some_and(|count| count > 0), "{summary}");
    let once = "SELECT count(*) = count(DISTINCT transaction_id) AND count(*) = count(DISTINCT (source_partition, source_offset)) FROM bi.payments_enriched";
    assert_eq!(project.sql_value(once), "t");
}

#[test]
fn a_process_that_is_killed_is_replaced_by_the_others_and_shares_again_when_it_is_back() {
    let (project, _registry) = project();
    let mut processes = vec![start(&project), start(&project)];
    wait_until_shared(&[&processes[0], &processes[1]], &SHARED);
    let generator = common::generate(&project, 1_500, "0.05");
    wait_for_more_rows(&project, 1_500);

    // Whoever does the processing goes.
    let leader = leaders(&[&processes[0], &processes[1]])[0];
    processes.remove(leader).kill();
    wait_until_shared(&[&processes[0]], &SHARED);
    wait_for_more_rows(&project, 1_500);

    processes.push(start(&project));
    wait_until_shared(&[&processes[0], &processes[1]], &SHARED);
    let wanted = ["200 OK", "stands by", "stage validate transactions: has 2 of 4 partitions: "];
    let is_ready = || wanted.iter().all(|words| common::readiness(&processes[1]).contains(words)).then_some(());
    testkit::wait_for("the word of its stages", DEADLINE, is_ready);
    wait_for_more_rows(&project, 1_500);
    let sent = common::end(generator);
    assert_right(&project, processes, sent);
}

#[test]
fn a_process_that_stood_still_does_no_harm_when_it_goes_on() {
    let (project, _registry) = project();
    let processes = vec![start(&project), start(&project)];
    wait_until_shared(&[&processes[0], &processes[1]], &SHARED);
    let generator = common::generate(&project, 1_500, "0.05");
    wait_for_more_rows(&project, 1_500);

    let leader = leaders(&[&processes[0], &processes[1]])[0];
    let (frozen, other) = (&processes[leader], &processes[1 - leader]);
    frozen.signal(Signal::SIGSTOP);
    wait_until_shared(&[other], &SHARED);
    wait_for_more_rows(&project, 3_000);
    // It has read records, has results in hand and a transaction under way, and goes on as if nothing had been.
    frozen.signal(Signal::SIGCONT);
    wait_until_shared(&[frozen, other], &SHARED);
    assert_eq!(leaders(&[frozen, other]), [1], "whoever took over keeps the processing");
    wait_for_more_rows(&project, 1_500);
    let sent = common::end(generator);
    assert_right(&project, processes, sent);
}
