//! Positions that no longer mean what they meant: records deleted before a stage had read them, topics made anew.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reports by panicking"
)]

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use testkit::kafka;
use testkit::project::{Column, Ended, ProjectDir, examples};

const BINARY: &str = env!("CARGO_BIN_EXE_tillstream");
const DEADLINE: Duration = Duration::from_secs(60);

/// A shop that has worked off its orders, and stands still.
fn shop() -> ProjectDir {
    let template = examples().parent().expect("the repository").join("crates/project/template");
    let project = ProjectDir::copy_of(&template, BINARY, Column::Servers);
    assert_eq!(drain(&project, &[]).code, Some(0));
    project
}

fn drain(project: &ProjectDir, more: &[&str]) -> Ended {
    project.run("up", &[&["--drain"], more].concat())
}

fn topic(project: &ProjectDir, name: &str) -> String {
    format!("{}{name}", project.topic_prefix)
}

/// Records in a topic's partitions, also those that were deleted.
fn count(project: &ProjectDir, name: &str) -> i64 {
    kafka::records(&kafka::bootstrap(), &topic(project, name))
}

/// One order more in the raw topic.
fn load(project: &ProjectDir, id: &str) {
    load_at(project, id, "2026-01-05T09:02:20Z");
}

fn load_at(project: &ProjectDir, id: &str, time: &str) {
    let file = project.path.join(format!("{id}.csv"));
    let header = "order_id,customer_id,product_id,quantity,price,ordered_at";
    fs::write(&file, format!("{header}\n{id},c3,p3,40,3.90,{time}\n")).expect("a file");
    let ended = project.run("load", &[file.to_str().expect("a path"), "--stream", "orders"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// Runs some stages until `name` holds a record more, and stops them.
fn run_until_more(project: &ProjectDir, stages: &str, name: &str) {
    let before = count(project, name);
    let mut process = project.start("run", &["--stages", stages]);
    process.wait_for_line(DEADLINE, |line| line.starts_with("running "));
    testkit::wait_for("another record", DEADLINE, || (count(project, name) > before).then_some(()));
    process.signal(Signal::SIGTERM);
    assert!(process.wait(DEADLINE).success(), "{}", process.tail());
}

fn assert_stops(project: &ProjectDir, words: &[&str]) {
    let ended = drain(project, &[]);
    assert!(matches!(ended.code, Some(3 | 4)), "{}", ended.stderr);
    for words in words {
        assert!(ended.stderr.contains(words), "{words:?} isn't in {}", ended.stderr);
    }
}

#[test]
fn records_deleted_before_they_were_read_stop_each_stage_until_the_loss_is_accepted() {
    let project = shop();
    let orders = "SELECT sum(orders) FROM bi.sales_per_minute";
    let delete = |name: &str| kafka::delete_records(&kafka::bootstrap(), &topic(&project, name));

    load(&project, "lost1");
    delete("orders.raw");
    assert_stops(
        &project,
        &["orders.raw", "validate orders stands at", "1 records were deleted before they were validated"],
    );
    assert_stops(&project, &["--accept-lost-records"]);
    let ended = drain(&project, &["--accept-lost-records"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("which was accepted"), "{}", ended.stderr);
    assert_eq!(project.sql_value(orders), "7");

    load(&project, "lost2");
    run_until_more(&project, "validate", "orders.validated");
    delete("orders.validated");
    assert_stops(
        &project,
        &["orders.validated", "process stands at", "1 records were deleted before they were processed"],
    );
    let ended = drain(&project, &["--accept-lost-records"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(project.sql_value(orders), "7");

    load(&project, "lost3");
    run_until_more(&project, "validate,process", "sales_per_minute");
    delete("sales_per_minute");
    assert_stops(&project, &["sales_per_minute", "store stands at", "records were deleted before they were stored"]);
    // What was lost was a version of a window; the next one holds everything that was folded in.
    load(&project, "kept");
    let ended = drain(&project, &["--accept-lost-records"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(project.sql_value(orders), "9");
    assert_eq!(drain(&project, &[]).code, Some(0), "once is enough");
}

#[test]
fn topics_made_anew_stop_the_stage_that_stood_in_them() {
    for (name, words) in [
        ("orders.raw", "validate orders stands in one with the id"),
        ("orders.validated", "made anew"),
        ("sales_per_minute", "deleted and created again"),
    ] {
        let project = shop();
        kafka::delete_topic(&kafka::bootstrap(), &topic(&project, name));
        assert_stops(&project, &[name, words]);
    }
}

#[test]
fn a_validated_topic_made_anew_stops_the_process_stage_alone_too() {
    let project = shop();
    kafka::delete_topic(&kafka::bootstrap(), &topic(&project, "orders.validated"));
    let ended = project.run("run", &["--stages", "process"]);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains("process stands in one with the id"), "{}", ended.stderr);
}

#[test]
fn a_raw_topic_whose_oldest_records_are_gone_can_be_attached_to() {
    let template = examples().parent().expect("the repository").join("crates/project/template");
    let project = ProjectDir::copy_of(&template, BINARY, Column::Servers);
    // Before the other orders, so that none of them is late.
    load_at(&project, "gone", "2026-01-05T09:00:01Z");
    kafka::delete_records(&kafka::bootstrap(), &topic(&project, "orders.raw"));
    load_at(&project, "there", "2026-01-05T09:00:02Z");
    let ended = drain(&project, &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(project.sql_value("SELECT sum(orders) FROM bi.sales_per_minute"), "8");
}
