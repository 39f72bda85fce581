//! Sessions: what belongs together, what is published and what is deleted, case by case.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{SECOND, operator, operator_with, payment, published, push, restore, save};
use process::{Cause, OperatorOptions, QueryOperator, Source};

const SESSIONS: &str = "SELECT account, count(*) AS n, sum(amount) AS total FROM payments \
     GROUP BY session_window(event_time, '10 seconds'), account";

/// `rows:final row`, with a delete as its identity after a minus.
fn emitted(operator: &mut QueryOperator) -> Vec<String> {
    let emission = operator.emit().unwrap();
    let short = |text: &str| text.replace("1970-01-01T00:", "").replace('Z', "");
    let line = |(identity, version, row): (String, model::Version, Option<String>)| {
        let version = &version.to_header()["1:".len()..];
        match row {
            Some(row) => format!("{version} {}", short(&row)),
            None => format!("{version} -{}", short(&identity)),
        }
    };
    published(operator, &emission).into_iter().map(line).collect()
}

#[test]
fn rows_within_the_gap_are_one_session_which_ends_a_gap_after_the_last() {
    let mut operator = operator(SESSIONS);
    push(
        &mut operator,
        &[payment(1, "a", 1, 5), payment(11, "a", 1, 7), payment(22, "a", 1, 1), payment(3, "b", 1, 1)],
    );
    // A row exactly the gap later still belongs to the session, as in Spark.
    assert_eq!(
        emitted(&mut operator),
        ["2:0 00:01 00:21 a 2 0.12", "1:0 00:03 00:13 b 1 0.01", "1:0 00:22 00:32 a 1 0.01"]
    );
    assert!(emitted(&mut operator).is_empty());
    // At a watermark of 00:13 a row of 00:13 may still come for b.
    operator.advance(13 * SECOND).unwrap();
    assert!(emitted(&mut operator).is_empty());
    operator.advance(14 * SECOND).unwrap();
    assert_eq!(emitted(&mut operator), ["1:1 00:03 00:13 b 1 0.01"]);
    assert_eq!((operator.metrics().windows_open, operator.metrics().windows_closed), (2, 1));
}

#[test]
fn a_row_that_joins_sessions_deletes_the_starts_that_are_none_any_more() {
    let mut operator = operator(SESSIONS);
    push(&mut operator, &[payment(20, "a", 1, 1), payment(40, "a", 1, 1)]);
    assert_eq!(emitted(&mut operator), ["1:0 00:20 00:30 a 1 0.01", "1:0 00:40 00:50 a 1 0.01"]);
    push(&mut operator, &[payment(15, "a", 1, 1)]);
    assert_eq!(emitted(&mut operator), ["2:0 00:15 00:30 a 2 0.02", "2:0 -00:20 a"]);
    push(&mut operator, &[payment(30, "a", 1, 1)]);
    assert_eq!(emitted(&mut operator), ["4:0 00:15 00:50 a 4 0.04", "4:0 -00:40 a"]);
    operator.advance(51 * SECOND).unwrap();
    assert_eq!(emitted(&mut operator), ["4:1 00:15 00:50 a 4 0.04"]);
}

#[test]
fn final_publishes_a_session_once_and_starts_that_never_were_published_need_no_delete() {
    let mut operator = operator(&format!("--! emit: final\n{SESSIONS}"));
    push(&mut operator, &[payment(20, "a", 1, 1)]);
    push(&mut operator, &[payment(12, "a", 1, 1)]);
    assert!(emitted(&mut operator).is_empty());
    let drained = operator.drain().unwrap();
    assert_eq!(drained.versions.len(), 1);
    push(&mut operator, &[payment(5, "a", 1, 1)]);
    operator.advance(31 * SECOND).unwrap();
    assert_eq!(emitted(&mut operator), ["3:1 00:05 00:30 a 3 0.03", "3:1 -00:12 a"], "the drain had published 00:12");
}

#[test]
fn a_session_that_having_refuses_is_deleted_under_every_start_that_stands() {
    let mut operator = operator(&format!("{SESSIONS} HAVING sum(quantity) > 2"));
    push(&mut operator, &[payment(20, "a", 3, 1)]);
    assert_eq!(emitted(&mut operator), ["1:0 00:20 00:30 a 1 0.01"]);
    push(&mut operator, &[payment(15, "a", -3, 1)]);
    assert_eq!(emitted(&mut operator), ["2:0 -00:20 a"]);
    push(&mut operator, &[payment(16, "a", 3, 1)]);
    assert_eq!(emitted(&mut operator), ["3:0 00:15 00:30 a 3 0.03"]);
}

#[test]
fn a_row_below_the_watermark_is_a_loud_error() {
    let mut operator = operator(SESSIONS);
    operator.advance(20 * SECOND).unwrap();
    push(&mut operator, &[payment(20, "a", 1, 1)]);
    let rows = common::batch(&[payment(19, "a", 1, 1)]);
    let error = operator.push(&rows, &Source { stream: "payments", partition: 3, raw_offsets: &[71] }).unwrap_err();
    assert!(
        matches!(error.cause, Cause::Late { partition: 3, offset: 71, window_start_us: 19_000_000, .. }),
        "{error}"
    );
    let mut far = payment(1, "a", 1, 1);
    far.time_us = i64::MAX - 1;
    let error = operator
        .push(&common::batch(&[far]), &Source { stream: "payments", partition: 0, raw_offsets: &[5] })
        .unwrap_err();
    assert!(matches!(error.cause, Cause::TimeRange { offset: 5, .. }), "{error}");
}

#[test]
fn state_is_bounded_and_given_back() {
    let options = OperatorOptions { state_bytes_max: 1_500_000, ..OperatorOptions::default() };
    let mut operator = operator_with(SESSIONS, options);
    let rows = |from: i64| -> Vec<_> { (0..1000).map(|n| payment(from, &format!("account {n}"), 1, 1)).collect() };
    for round in 0..20 {
        push(&mut operator, &rows(round * 100));
        operator.advance((round * 100 + 50) * SECOND).unwrap();
        assert_eq!(operator.emit().unwrap().versions.len(), 1000);
    }
    assert_eq!(operator.metrics().windows_open, 0);
    let offsets: Vec<i64> = (0..6000).collect();
    let many: Vec<_> = (0..6000).map(|n| payment(3000, &format!("a long name of account {n}"), 1, 1)).collect();
    let before = save(&mut operator);
    let error = operator
        .push(&common::batch(&many), &Source { stream: "payments", partition: 0, raw_offsets: &offsets })
        .unwrap_err();
    assert!(matches!(error.cause, Cause::StateFull { .. }), "{error}");
    assert_eq!(save(&mut operator), before);
}

#[test]
fn a_snapshot_holds_all_of_it() {
    let mut first = operator(SESSIONS);
    push(&mut first, &[payment(20, "a", 1, 1), payment(40, "a", 1, 1), payment(1, "b", 1, 1), payment(2, "c", 1, 1)]);
    first.emit().unwrap();
    first.advance(12 * SECOND).unwrap();
    first.emit().unwrap();
    push(&mut first, &[payment(30, "a", 1, 1), payment(12, "d", 1, 1)]);
    let snapshot = save(&mut first);
    let mut second = operator(SESSIONS);
    restore(&mut second, &snapshot).unwrap();
    second.set_replaying(false);
    assert_eq!(save(&mut second), snapshot);
    let expected = emitted(&mut first);
    assert_eq!(emitted(&mut second), expected);
    assert_eq!(expected, ["1:0 00:12 00:22 d 1 0.01", "3:0 00:20 00:50 a 3 0.03", "3:0 -00:40 a"]);
}
