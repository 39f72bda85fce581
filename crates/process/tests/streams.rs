//! Queries of two streams, and windows over windows: whatever the order of arrival, the batches and the restarts, what stands in the end
//! equals a computation over all rows at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;

use common::run::{Logs, logs, rows, run, steps, text, time};
use common::{Payment, SECOND, operator_with, payment, save};
use process::{Cause, OperatorOptions, QueryOperator, Source};
use proptest::prelude::*;

const PAIRS: &str = "SELECT p.account, p.quantity AS paid, l.quantity AS tried FROM payments p \
     JOIN logins l ON p.account = l.account AND l.event_time BETWEEN p.event_time - INTERVAL '5 seconds' AND p.event_time + INTERVAL '10 seconds' \
     WHERE p.quantity > -2";

/// Times of both rows and their positions.
type PairPlace = (i64, i64, usize, usize, usize, usize);

/// A group of pairs: the second row's quantity by place.
type PairGroup = ((i64, String), Vec<(PairPlace, i64)>);

/// A row, its position, and its partners.
type Partners = (Payment, usize, usize, Vec<(Payment, usize, usize)>);

/// Pairs of rows with the same account, the second 5 seconds before the first to 10 after it.
fn pairs(logs: &Logs, seconds: u32) -> Vec<Partners> {
    let second = rows(logs, seconds as usize);
    let partners = |row: &Payment| -> Vec<(Payment, usize, usize)> {
        let near = |other: &&(Payment, usize, usize)| {
            let apart = other.0.time_us - row.time_us;
            row.account.is_some() && other.0.account == row.account && (-5 * SECOND..=10 * SECOND).contains(&apart)
        };
        second.iter().filter(near).cloned().collect()
    };
    rows(logs, 0).into_iter().map(|(row, partition, offset)| (row.clone(), partition, offset, partners(&row))).collect()
}

fn pair_lines(logs: &Logs, second: u32, is_left: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for (row, partition, offset, partners) in pairs(logs, second) {
        if row.quantity.unwrap() <= -2 {
            continue;
        }
        let start = format!("{} {}", text(row.account.clone()), row.quantity.unwrap());
        if partners.is_empty() && is_left {
            lines.push(format!("{start} NULL {partition} {offset} NULL NULL"));
        }
        for (other, other_partition, other_offset) in partners {
            let quantity = other.quantity.unwrap();
            lines.push(format!("{start} {quantity} {partition} {offset} {other_partition} {other_offset}"));
        }
    }
    lines.sort();
    lines
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

    #[test]
    fn pairs_of_two_streams(logs in logs(), steps in steps()) {
        prop_assert_eq!(run(PAIRS, &logs, &steps), pair_lines(&logs, 1, false));
    }

    #[test]
    fn pairs_of_a_stream_with_itself(logs in logs(), steps in steps()) {
        prop_assert_eq!(run(&PAIRS.replace("logins", "payments"), &logs, &steps), pair_lines(&logs, 0, false));
    }

    #[test]
    fn rows_without_a_partner_come_when_none_can_come_any_more(logs in logs(), steps in steps()) {
        let text = format!("--! emit: final\n{}", PAIRS.replace("JOIN logins", "LEFT JOIN logins"));
        prop_assert_eq!(run(&text, &logs, &steps), pair_lines(&logs, 1, true));
    }

    #[test]
    fn pairs_in_windows(logs in logs(), steps in steps(), is_final: bool, by_second: bool) {
        let emit = if is_final { "final" } else { "changes" };
        let by = if by_second { "l" } else { "p" };
        let grouped = "SELECT p.account, count(*) AS n, sum(l.quantity) AS tried, max_by(l.quantity, l.event_time) AS latest FROM";
        let query = PAIRS.split_once("FROM").unwrap().1;
        let query = format!("--! emit: {emit}\n{grouped}{query} GROUP BY window({by}.event_time, '10 seconds'), p.account");
        let mut groups: BTreeMap<(i64, String), Vec<(PairPlace, i64)>> = BTreeMap::new();
        for (row, partition, offset, partners) in pairs(&logs, 1) {
            for (other, other_partition, other_offset) in partners {
                if row.quantity.unwrap() > -2 {
                    let at = if by_second { other.time_us } else { row.time_us };
                    let start = at.div_euclid(10 * SECOND) * 10 * SECOND;
                    let place = (other.time_us, at, partition, offset, other_partition, other_offset);
                    groups.entry((start, text(row.account.clone()))).or_default().push((place, other.quantity.unwrap()));
                }
            }
        }
        let line = |((start, account), mut rows): PairGroup| {
            rows.sort();
            let sum: i64 = rows.iter().map(|(_, quantity)| quantity).sum();
            let latest = rows.last().unwrap().1;
            format!("{} {} {account} {} {sum} {latest}", time(start), time(start + 10 * SECOND), rows.len())
        };
        let mut expected: Vec<String> = groups.into_iter().map(line).collect();
        expected.sort();
        prop_assert_eq!(run(&query, &logs, &steps), expected);
    }

    #[test]
    fn union_all_of_two_streams(logs in logs(), steps in steps(), is_session: bool) {
        let window = if is_session { "session_window(at, '3 seconds')" } else { "window(at, '7 seconds')" };
        let query = format!(
            "WITH both AS (SELECT account, event_time AS at, quantity FROM payments WHERE quantity > 0 \
             UNION ALL SELECT account, event_time, quantity * 10 FROM logins UNION ALL SELECT 'all', event_time, quantity FROM payments) \
             SELECT account, count(*) AS n, sum(quantity) AS q FROM both GROUP BY {window}, account"
        );
        let mut by_account: BTreeMap<String, Vec<(i64, i64)>> = BTreeMap::new();
        for (row, ..) in rows(&logs, 0) {
            let quantity = row.quantity.unwrap();
            if quantity > 0 {
                by_account.entry(text(row.account)).or_default().push((row.time_us, quantity));
            }
            by_account.entry("all".into()).or_default().push((row.time_us, quantity));
        }
        for (row, ..) in rows(&logs, 1) {
            by_account.entry(text(row.account)).or_default().push((row.time_us, row.quantity.unwrap() * 10));
        }
        let mut expected = Vec::new();
        for (account, mut rows) in by_account {
            rows.sort();
            let mut groups: Vec<(i64, i64, i64, i64)> = Vec::new();
            for (at, quantity) in rows {
                let start = if is_session { at } else { at.div_euclid(7 * SECOND) * 7 * SECOND };
                match groups.last_mut() {
                    Some((begin, end, n, sum)) if (is_session && at <= *end) || (!is_session && *begin == start) => {
                        *end = if is_session { at + 3 * SECOND } else { *end };
                        (*n, *sum) = (*n + 1, *sum + quantity);
                    }
                    _ => groups.push((start, if is_session { at + 3 * SECOND } else { start + 7 * SECOND }, 1, quantity)),
                }
            }
            expected.extend(groups.into_iter().map(|(begin, end, n, sum)| format!("{} {} {account} {n} {sum}", time(begin), time(end))));
        }
        expected.sort();
        prop_assert_eq!(run(&query, &logs, &steps), expected);
    }

    #[test]
    fn rows_of_union_all_are_told_apart_by_their_branch(logs in logs(), steps in steps()) {
        let query = "SELECT account, quantity FROM payments UNION ALL SELECT account, quantity + 1 FROM payments WHERE quantity > 2";
        let mut expected = Vec::new();
        for (row, partition, offset) in rows(&logs, 0) {
            let (account, quantity) = (text(row.account), row.quantity.unwrap());
            expected.push(format!("{account} {quantity} 0 {partition} {offset}"));
            if quantity > 2 {
                expected.push(format!("{account} {} 1 {partition} {offset}", quantity + 1));
            }
        }
        expected.sort();
        prop_assert_eq!(run(query, &logs, &steps), expected);
    }

    #[test]
    fn windows_over_windows(logs in logs(), steps in steps(), is_final: bool, having: bool) {
        let emit = if is_final { "final" } else { "changes" };
        let condition = if having { " HAVING sum(n) > 3" } else { "" };
        let query = format!(
            "--! emit: {emit}\nSELECT account, count(*) AS parts, sum(n) AS n, max(q) AS most FROM \
             (SELECT window, account, count(*) AS n, sum(quantity) AS q FROM payments GROUP BY window(event_time, '5 seconds'), account) AS small \
             GROUP BY window(window_time(window), '20 seconds'), account{condition}"
        );
        let mut small: BTreeMap<(i64, String), (i64, i64)> = BTreeMap::new();
        for (row, ..) in rows(&logs, 0) {
            let start = row.time_us.div_euclid(5 * SECOND) * 5 * SECOND;
            let group = small.entry((start, text(row.account))).or_default();
            *group = (group.0 + 1, group.1 + row.quantity.unwrap());
        }
        let mut large: BTreeMap<(i64, String), (i64, i64, i64)> = BTreeMap::new();
        for ((start, account), (n, q)) in small {
            let group = large.entry((start.div_euclid(20 * SECOND) * 20 * SECOND, account)).or_insert((0, 0, i64::MIN));
            *group = (group.0 + 1, group.1 + n, group.2.max(q));
        }
        let kept = large.into_iter().filter(|(_, (_, n, _))| !having || *n > 3);
        let line = |((start, account), (parts, n, most)): ((i64, String), (i64, i64, i64))| {
            format!("{} {} {account} {parts} {n} {most}", time(start), time(start + 20 * SECOND))
        };
        let mut expected: Vec<String> = kept.map(line).collect();
        expected.sort();
        prop_assert_eq!(run(&query, &logs, &steps), expected);
    }

    #[test]
    fn distinct_is_a_group_without_aggregates(logs in logs(), steps in steps()) {
        let query = "SELECT DISTINCT window(event_time, '20 seconds'), account FROM payments WHERE quantity > 0";
        let kept = rows(&logs, 0).into_iter().filter(|(row, ..)| row.quantity.unwrap() > 0);
        let mut expected: Vec<String> = kept
            .map(|(row, ..)| {
                let start = row.time_us.div_euclid(20 * SECOND) * 20 * SECOND;
                format!("{} {} {}", time(start), time(start + 20 * SECOND), text(row.account))
            })
            .collect();
        expected.sort();
        expected.dedup();
        prop_assert_eq!(run(query, &logs, &steps), expected);
    }
}

#[test]
fn a_join_lets_go_of_rows_that_can_have_no_partner_any_more_and_refuses_what_does_not_fit() {
    let options = OperatorOptions { state_bytes_max: 300_000, ..OperatorOptions::default() };
    let mut operator = operator_with(PAIRS, options);
    let push = |operator: &mut QueryOperator, stream: &str, from: i64, count: i64| {
        let rows: Vec<Payment> = (0..count).map(|n| payment(from, &format!("account {n}"), 1, 1)).collect();
        let offsets: Vec<i64> = (0..count).collect();
        operator.push(&common::batch(&rows), &Source { stream, partition: 0, raw_offsets: &offsets })
    };
    for round in 0..20 {
        push(&mut operator, "payments", round * 100, 300).unwrap();
        push(&mut operator, "logins", round * 100 + 10, 300).unwrap();
        assert_eq!(operator.emit().unwrap().versions.len(), 300);
        operator.advance((round * 100 + 50) * SECOND).unwrap();
    }
    assert!(operator.state_bytes() < 200_000, "{}", operator.state_bytes());
    let before = save(&mut operator);
    let error = push(&mut operator, "payments", 3_000, 5_000).unwrap_err();
    assert!(matches!(error.cause, Cause::StateFull { .. }), "{error}");
    assert_eq!(save(&mut operator), before);
}

#[test]
fn a_row_by_itself_is_taken_however_many_pairs_it_gives() {
    let options = OperatorOptions { state_bytes_max: 300_000, ..OperatorOptions::default() };
    let mut operator = operator_with(PAIRS, options);
    let mut push = |stream: &str, count: i64| {
        let rows: Vec<Payment> = (0..count).map(|_| payment(10, "account", 1, 1)).collect();
        let offsets: Vec<i64> = (0..count).collect();
        operator.push(&common::batch(&rows), &Source { stream, partition: 0, raw_offsets: &offsets })
    };
    push("payments", 500).unwrap();
    assert!(push("logins", 10).unwrap_err().is_full(), "nothing of it was taken");
    push("logins", 1).unwrap();
    assert_eq!(operator.emit().unwrap().versions.len(), 500);
}
