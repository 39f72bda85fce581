//! What is published when, case by case.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{SECOND, merchants, operator, operator_with, payment, published, push, restore, save};
use model::{Classified as _, Domain};
use process::{Cause, OperatorOptions, Source};

const TOTALS: &str = "SELECT account, count(*) AS n, sum(amount) AS total FROM payments GROUP BY window(event_time, '10 seconds'), account";

fn emitted(operator: &mut process::QueryOperator) -> Vec<String> {
    let emission = operator.emit().unwrap();
    lines(operator, &emission)
}

fn drained(operator: &mut process::QueryOperator) -> Vec<String> {
    let emission = operator.drain().unwrap();
    lines(operator, &emission)
}

/// `rows:final row`, with a delete as its identity after a minus.
fn lines(operator: &process::QueryOperator, emission: &process::Emission) -> Vec<String> {
    let short = |text: &str| text.replace("1970-01-01T00:", "").replace('Z', "");
    let line = |(identity, version, row): (String, model::Version, Option<String>)| {
        let version = &version.to_header()["1:".len()..];
        match row {
            Some(row) => format!("{version} {}", short(&row)),
            None => format!("{version} -{}", short(&identity)),
        }
    };
    published(operator, emission).into_iter().map(line).collect()
}

#[test]
fn changes_are_published_once_and_a_closed_window_once_more_as_final() {
    let mut operator = operator(TOTALS);
    push(&mut operator, &[payment(1, "a", 1, 500), payment(2, "b", 1, 100), payment(11, "a", 1, 7)]);
    assert_eq!(
        emitted(&mut operator),
        ["1:0 00:00 00:10 a 1 5.00", "1:0 00:00 00:10 b 1 1.00", "1:0 00:10 00:20 a 1 0.07"]
    );
    assert!(emitted(&mut operator).is_empty());
    assert!(drained(&mut operator).is_empty(), "nothing is unchanged and published again");
    push(&mut operator, &[payment(9, "a", 1, 1), payment(3, "a", 1, 1)]);
    assert_eq!(emitted(&mut operator), ["3:0 00:00 00:10 a 3 5.02"]);
    operator.advance(10 * SECOND).unwrap();
    assert_eq!(emitted(&mut operator), ["3:1 00:00 00:10 a 3 5.02", "1:1 00:00 00:10 b 1 1.00"]);
    assert!(emitted(&mut operator).is_empty());
    operator.advance(5 * SECOND).unwrap();
    assert_eq!(operator.metrics().windows_open, 1);
    assert_eq!(operator.metrics().windows_closed, 1);
}

#[test]
fn final_publishes_at_the_close_alone_and_a_drain_before_it() {
    let mut operator = operator(&format!("--! emit: final\n{TOTALS}"));
    push(&mut operator, &[payment(1, "a", 1, 500)]);
    assert!(emitted(&mut operator).is_empty());
    assert_eq!(drained(&mut operator), ["1:0 00:00 00:10 a 1 5.00"]);
    assert!(drained(&mut operator).is_empty());
    push(&mut operator, &[payment(2, "a", 1, 1)]);
    assert!(emitted(&mut operator).is_empty());
    assert_eq!(drained(&mut operator), ["2:0 00:00 00:10 a 2 5.01"]);
    operator.advance(9 * SECOND).unwrap();
    assert!(emitted(&mut operator).is_empty());
    operator.advance(10 * SECOND).unwrap();
    assert_eq!(emitted(&mut operator), ["2:1 00:00 00:10 a 2 5.01"]);
}

#[test]
fn a_group_that_having_refuses_is_deleted_only_if_it_was_published() {
    let text = "SELECT account, sum(quantity) AS q FROM payments GROUP BY window(event_time, '10 seconds'), account HAVING sum(quantity) > 2";
    let mut operator = operator(text);
    push(&mut operator, &[payment(1, "a", 3, 0), payment(1, "b", 1, 0)]);
    assert_eq!(emitted(&mut operator), ["1:0 00:00 00:10 a 3"]);
    push(&mut operator, &[payment(1, "a", -1, 0), payment(1, "b", 1, 0)]);
    assert_eq!(emitted(&mut operator), ["2:0 -00:00 00:10 a"]);
    push(&mut operator, &[payment(1, "a", -1, 0), payment(1, "b", 1, 0)]);
    assert_eq!(emitted(&mut operator), ["3:0 00:00 00:10 b 3"], "a is deleted already");
    push(&mut operator, &[payment(1, "a", 5, 0), payment(1, "b", -1, 0)]);
    operator.advance(10 * SECOND).unwrap();
    assert_eq!(emitted(&mut operator), ["4:1 00:00 00:10 a 6", "4:1 -00:00 00:10 b"]);
    assert_eq!(operator.metrics().deletes_published, 2);
}

#[test]
fn null_keys_are_a_group_and_no_keys_are_one_group() {
    let mut null = payment(1, "", 1, 1);
    null.account = None;
    let rows = [null.clone(), payment(1, "", 1, 1), null];
    let mut operator_by_account = operator(TOTALS);
    push(&mut operator_by_account, &rows);
    assert_eq!(emitted(&mut operator_by_account), ["1:0 00:00 00:10  1 0.01", "2:0 00:00 00:10 NULL 2 0.02"]);
    let mut all =
        operator("SELECT count(*) AS n, max(quantity) AS most FROM payments GROUP BY window(event_time, '10 seconds')");
    push(&mut all, &rows);
    assert_eq!(emitted(&mut all), ["3:0 00:00 00:10 3 1"]);
}

#[test]
fn a_hopping_window_counts_a_row_in_each_window_that_holds_it() {
    let text =
        "SELECT account, count(*) AS n FROM payments GROUP BY window(event_time, '20 seconds', '10 seconds'), account";
    let mut operator = operator(text);
    push(&mut operator, &[payment(15, "a", 1, 1), payment(25, "a", 1, 1)]);
    assert_eq!(emitted(&mut operator), ["1:0 00:00 00:20 a 1", "2:0 00:10 00:30 a 2", "1:0 00:20 00:40 a 1"]);
    operator.advance(20 * SECOND).unwrap();
    assert_eq!(emitted(&mut operator), ["1:1 00:00 00:20 a 1"]);
}

#[test]
fn a_row_of_a_closed_window_is_a_loud_error_that_names_it() {
    let mut operator = operator(TOTALS);
    operator.advance(20 * SECOND).unwrap();
    let rows = common::batch(&[payment(20, "a", 1, 1), payment(19, "a", 1, 1)]);
    let error = operator.push(&rows, &Source { stream: "payments", partition: 3, raw_offsets: &[70, 71] }).unwrap_err();
    assert_eq!(error.domain(), Domain::Internal);
    assert!(
        matches!(
            error.cause,
            Cause::Late { partition: 3, offset: 71, window_start_us: 10_000_000, window_end_us: 20_000_000, .. }
        ),
        "{error}"
    );
    // A hopping window's earliest one counts.
    let text = "SELECT count(*) AS n FROM payments GROUP BY window(event_time, '20 seconds', '10 seconds')";
    let mut hopping = common::operator(text);
    hopping.advance(20 * SECOND).unwrap();
    push(&mut hopping, &[payment(20, "a", 1, 1)]);
    let error = hopping
        .push(
            &common::batch(&[payment(19, "a", 1, 1)]),
            &Source { stream: "payments", partition: 0, raw_offsets: &[9] },
        )
        .unwrap_err();
    assert!(matches!(error.cause, Cause::Late { offset: 9, window_start_us: 0, .. }), "{error}");
}

#[test]
fn a_time_beyond_the_range_is_an_error_that_names_the_row() {
    let mut operator = operator(TOTALS);
    let mut far = payment(1, "a", 1, 1);
    far.time_us = i64::MAX;
    let error = operator
        .push(&common::batch(&[far]), &Source { stream: "payments", partition: 1, raw_offsets: &[5] })
        .unwrap_err();
    assert!(matches!(error.cause, Cause::TimeRange { partition: 1, offset: 5, time_us: i64::MAX }), "{error}");
}

#[test]
fn over_the_cap_nothing_of_the_batch_is_taken() {
    let options = OperatorOptions { state_bytes_max: 40_000, ..OperatorOptions::default() };
    let mut operator = operator_with(TOTALS, options);
    push(&mut operator, &[payment(1, "a", 1, 1)]);
    let many: Vec<_> = (0..1000).map(|account| payment(1, &format!("account {account}"), 1, 1)).collect();
    let offsets: Vec<i64> = (0..1000).collect();
    let before = (save(&mut operator), operator.metrics());
    let error = operator
        .push(&common::batch(&many), &Source { stream: "payments", partition: 0, raw_offsets: &offsets })
        .unwrap_err();
    assert!(matches!(error.cause, Cause::StateFull { bytes_max: 40_000, bytes } if bytes > 40_000), "{error}");
    assert_eq!(error.domain(), Domain::User);
    assert!(error.to_string().starts_with("query spend: its state needs about"), "{error}");
    assert_eq!(save(&mut operator), before.0);
    push(&mut operator, &[payment(1, "a", 1, 1), payment(2, "b", 1, 1)]);
    assert_eq!(emitted(&mut operator).len(), 2);
}

#[test]
fn state_bytes_grow_with_groups_and_go_down_with_windows() {
    let mut operator =
        operator("SELECT account, max(merchant) AS m FROM payments GROUP BY window(event_time, '10 seconds'), account");
    push(&mut operator, &[payment(1, "a", 1, 1)]);
    let small = operator.state_bytes();
    let many: Vec<_> =
        (0..5000).map(|account| payment(11, &format!("a longer account number {account}"), 1, 1)).collect();
    push(&mut operator, &many);
    let large = operator.state_bytes();
    assert!(large > small + 5000 * 60, "{small} {large}");
    operator.advance(20 * SECOND).unwrap();
    assert_eq!(emitted(&mut operator).len(), 5001);
    // Buffers of the batch stay.
    assert!(operator.state_bytes() < large * 2 / 3, "{large} {}", operator.state_bytes());
    assert_eq!((operator.metrics().windows_open, operator.metrics().groups_open), (0, 0));
}

#[test]
fn filters_and_joins_decide_what_is_folded() {
    let text = "SELECT m.category, count(*) AS n FROM payments p JOIN merchants m ON p.merchant = m.merchant_id \
                WHERE p.quantity > 1 GROUP BY window(p.event_time, '10 seconds'), m.category";
    let mut operator = operator(text);
    let of = |merchant: Option<&str>, quantity| {
        let mut row = payment(1, "a", quantity, 1);
        row.merchant = merchant.map(Into::into);
        row
    };
    let rows =
        [of(Some("m1"), 2), of(Some("m2"), 1), of(Some("m3"), 2), of(Some("m4"), 2), of(None, 2), of(Some("m1"), 3)];
    push(&mut operator, &rows);
    assert_eq!(emitted(&mut operator), ["1:0 00:00 00:10 NULL 1", "2:0 00:00 00:10 food 2"]);
    let metrics = operator.metrics();
    assert_eq!((metrics.rows_in, metrics.rows_filtered, metrics.rows_unmatched), (6, 1, 2));

    assert!(operator.replace_reference(&merchants(2, "groceries")).unwrap());
    assert_eq!(operator.reference_versions()["merchants"], 2);
    push(&mut operator, &[of(Some("m1"), 2)]);
    assert_eq!(emitted(&mut operator), ["1:0 00:00 00:10 groceries 1"]);
    let other = process::ReferenceData::new("merchants", 3, common::batch(&[]), vec!["account".into()]).unwrap();
    assert!(matches!(
        operator.replace_reference(&std::sync::Arc::new(other)).unwrap_err().cause,
        Cause::ReferenceChanged { .. }
    ));
    assert_eq!(operator.reference_versions()["merchants"], 2);
}

#[test]
fn row_results_carry_their_raw_position_and_are_final_at_once() {
    let text = "SELECT p.account, m.category FROM payments p LEFT JOIN merchants m ON p.merchant = m.merchant_id WHERE p.quantity > 1";
    let mut operator = operator(text);
    let mut unknown = payment(1, "b", 2, 1);
    unknown.merchant = Some("m4".into());
    let rows = common::batch(&[payment(1, "a", 1, 1), unknown, payment(1, "c", 2, 1)]);
    operator.push(&rows, &Source { stream: "payments", partition: 2, raw_offsets: &[10, 12, 17] }).unwrap();
    operator.push(&rows.slice(0, 1), &Source { stream: "payments", partition: 3, raw_offsets: &[4] }).unwrap();
    let snapshot = save(&mut operator);
    let expected = ["1:1 b NULL 2 12", "1:1 c food 2 17"];
    assert_eq!(emitted(&mut operator), expected);
    assert!(emitted(&mut operator).is_empty() && drained(&mut operator).is_empty());
    assert_eq!(operator.state_bytes(), 0);
    let mut restored = common::operator(text);
    restore(&mut restored, &snapshot).unwrap();
    assert_eq!(emitted(&mut restored), expected, "rows that wait are in the snapshot");
    let wider = text.replace("m.category", "m.category, p.quantity");
    assert!(
        restore(&mut common::operator(&wider), &snapshot).is_err(),
        "rows that wait have the columns of their time"
    );
    restore(&mut common::operator(&wider), &save(&mut operator)).unwrap();
}

#[test]
fn a_batch_that_is_not_what_the_query_reads_is_refused() {
    let mut operator = operator(TOTALS);
    let rows = common::batch(&[payment(1, "a", 1, 1)]);
    let source = Source { stream: "payments", partition: 0, raw_offsets: &[0] };
    assert!(matches!(operator.push(&rows.project(&[0, 1]).unwrap(), &source).unwrap_err().cause, Cause::Batch(_)));
    let source = Source { stream: "payments", partition: 0, raw_offsets: &[0, 1] };
    assert!(matches!(operator.push(&rows, &source).unwrap_err().cause, Cause::Batch(_)));
    let source = Source { stream: "payments", partition: 0, raw_offsets: &[] };
    operator.push(&rows.slice(0, 0), &source).unwrap();
    assert!(emitted(&mut operator).is_empty());
}

#[test]
fn a_snapshot_of_another_query_or_generation_is_refused() {
    let mut saved = operator(TOTALS);
    push(&mut saved, &[payment(1, "a", 1, 1)]);
    let snapshot = save(&mut saved);
    let mut other = operator(&TOTALS.replace("10 seconds", "20 seconds"));
    let foreign = |error: process::Error| matches!(error.cause, Cause::Snapshot(state::CodecError::Foreign { .. }));
    assert!(foreign(restore(&mut other, &snapshot).unwrap_err()));
    let mut next = operator_with(TOTALS, OperatorOptions { generation: 2, ..OperatorOptions::default() });
    assert!(foreign(restore(&mut next, &snapshot).unwrap_err()));
    let mut same = operator(TOTALS);
    restore(&mut same, &snapshot).unwrap();
    assert_eq!(save(&mut same), snapshot);
}
