//! Groups on the disk: results and versions are those of a query whose state fits into memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{
    Payment, SECOND, Table, apply, batch, operator, operator_with, payment, published, push, restore,
    restore_from_parts, save, save_in_parts, spilling, spilling_past,
};
use model::{Classified as _, Domain, Retry};
use process::{OperatorOptions, Source, Spill};
use state::MemoryParts;

/// What there is of aggregates whose values depend on the order of merging, or are kept beside the groups.
const ALL: &str = "account, count(*) AS n, sum(amount) AS s, avg(amount) AS a, stddev(quantity) AS d, var_pop(quantity) AS v, \
     sum(CAST(amount AS DOUBLE) / 3) AS f, min(merchant) AS l, max(amount) AS h, count(DISTINCT merchant) AS c, \
     approx_count_distinct(quantity, 0.3) AS q, percentile_approx(quantity, 0.5, 20) AS p, max_by(merchant, quantity) AS b, \
     array_join(slice(collect_list(merchant), 1, 4), '|') AS g, bool_or(quantity > 90) AS o";

fn query(emit: &str, window: &str) -> String {
    format!(
        "--! emit: {emit}\nSELECT window, {ALL} FROM payments GROUP BY window(event_time, {window}), account HAVING count(*) > 1"
    )
}

/// Rows over about 40 seconds in batches of 50, of which each account comes again and again; some have none.
fn batches() -> Vec<Vec<Payment>> {
    let row = |number: i64| {
        let account = number * 7 % 211;
        let mut row = payment(
            number / 80 + number % 3,
            &format!("account {account}"),
            number * 31 % 101,
            i128::from(number) * 13,
        );
        row.account = row.account.filter(|_| account % 10 != 0);
        row.merchant = Some(format!("m{}", number % 17)).filter(|_| number % 5 != 0);
        row
    };
    (0..64).map(|batch| (batch * 50..batch * 50 + 50).map(row).collect()).collect()
}

/// All that a query publishes of the batches, and the most groups that were on the disk at one time.
fn run(text: &str, options: &OperatorOptions, restarts: bool) -> (Table, u64) {
    let mut operator = operator_with(text, options.clone());
    let (mut table, mut spilled, mut offset, parts) = (Table::default(), 0, 0, MemoryParts::default());
    for (number, rows) in (0_i64..).zip(batches()) {
        let offsets: Vec<i64> = (offset..).take(rows.len()).collect();
        offset += rows.len() as i64;
        operator.push(&batch(&rows), &Source { stream: "payments", partition: 0, raw_offsets: &offsets }).unwrap();
        spilled = spilled.max(operator.metrics().groups_spilled);
        if number % 3 == 0 {
            apply(&mut operator, &mut table, number % 12 == 0);
        }
        operator.advance((number * 50 / 80 - 1) * SECOND).unwrap();
        if restarts && number % 10 == 9 {
            apply(&mut operator, &mut table, false);
            let snapshot = save_in_parts(&mut operator, &parts);
            operator = operator_with(text, options.clone());
            restore_from_parts(&mut operator, &snapshot, &parts);
            operator.set_replaying(false);
        } else if restarts && number % 4 == 0 {
            // One that nothing goes on from, and that the next one builds on.
            apply(&mut operator, &mut table, false);
            save_in_parts(&mut operator, &parts);
        }
    }
    apply(&mut operator, &mut table, true);
    operator.advance(1_000 * SECOND).unwrap();
    apply(&mut operator, &mut table, false);
    let metrics = operator.metrics();
    assert_eq!(
        (metrics.groups_open, metrics.windows_open, metrics.groups_spilled, metrics.spilled_bytes),
        (0, 0, 0, 0)
    );
    (table, spilled)
}

/// A query with many results publishes the same whatever the cap and the restarts.
fn is_the_same_on_the_disk(text: &str) {
    let (in_memory, none) = run(text, &OperatorOptions::default(), false);
    assert_eq!(none, 0);
    assert!(in_memory.rows.len() > 500, "{}", in_memory.rows.len());
    // With the last, all is in memory and snapshots have it in parts.
    for bytes_max in [1, 100_000, 1 << 30] {
        for restarts in [false, true] {
            let (on_disk, spilled) = run(text, &spilling_past(bytes_max), restarts);
            assert!(spilled > 50 || bytes_max == 1 << 30, "{spilled} groups on the disk with a cap of {bytes_max}");
            assert_eq!(on_disk, in_memory, "{text}, cap {bytes_max}, restarts {restarts}");
        }
    }
}

#[test]
fn every_aggregate_is_the_same_bit_by_bit_whatever_the_cap_and_the_restarts() {
    for emit in ["changes", "final"] {
        for window in ["'10 seconds'", "'20 seconds', '5 seconds'"] {
            is_the_same_on_the_disk(&query(emit, window));
        }
    }
}

#[test]
fn windows_over_windows_are_the_same_bit_by_bit_whatever_the_cap_and_the_restarts() {
    let inner =
        "SELECT window, account, count(*) AS n, sum(CAST(amount AS DOUBLE) / 3) AS f, max(merchant) AS m FROM payments";
    for emit in ["changes", "final"] {
        for small in ["'2 seconds'", "'4 seconds', '2 seconds'"] {
            is_the_same_on_the_disk(&format!(
                "--! emit: {emit}\nSELECT window, account, count(*) AS parts, sum(n) AS n, sum(f) AS f, stddev(f) AS d, max(m) AS m FROM \
                 ({inner} GROUP BY window(event_time, {small}), account) AS small \
                 GROUP BY window(window_time(window), '20 seconds', '10 seconds'), account HAVING sum(n) > 1"
            ));
        }
    }
}

#[test]
fn sessions_are_the_same_bit_by_bit_whatever_the_cap_and_the_restarts() {
    for emit in ["changes", "final"] {
        is_the_same_on_the_disk(&format!(
            "--! emit: {emit}\nSELECT {ALL} FROM payments GROUP BY session_window(event_time, '2 seconds'), account HAVING sum(quantity) > 60"
        ));
    }
}

/// Sessions end on the disk, and all at once in the end.
#[test]
fn memory_stays_at_the_cap_while_sessions_come_and_go() {
    let text = "--! emit: final\nSELECT account, count(*) AS n FROM payments GROUP BY session_window(event_time, '10 minutes'), account";
    let mut operator = operator_with(text, spilling_past(1_000_000));
    let mut in_memory = common::operator(text);
    let (mut table, mut expected) = (Table::default(), Table::default());
    for second in 0..2_000 {
        let row = |at: i64| payment(second, &format!("account {}", (second * 7_919 + at * 104_729) % 40_009), 1, 1);
        let rows: Vec<_> = (0..20).map(row).collect();
        for (operator, table) in [(&mut operator, &mut table), (&mut in_memory, &mut expected)] {
            push(operator, &rows);
            operator.advance((second - 5) * SECOND).unwrap();
            if second % 10 == 0 {
                apply(operator, table, false);
            }
        }
        if second % 10 == 0 {
            assert_eq!(table, expected, "second {second}");
            assert!(operator.metrics().state_bytes < 1_800_000, "{:?}", operator.metrics());
        }
    }
    let metrics = operator.metrics();
    assert_eq!(metrics.groups_open, in_memory.metrics().groups_open);
    assert!(metrics.groups_spilled > 2_000 && metrics.windows_closed > 10_000, "{metrics:?}");
    for (operator, table) in [(&mut operator, &mut table), (&mut in_memory, &mut expected)] {
        operator.advance(7_200 * SECOND).unwrap();
        apply(operator, table, false);
    }
    assert_eq!(table, expected);
    assert_eq!((operator.metrics().groups_open, operator.metrics().spilled_bytes), (0, 0));
}

/// Groups of the inner windows that end at one time come to the outer ones a part at a time.
#[test]
fn memory_stays_at_the_cap_when_inner_windows_end_and_when_all_is_drained() {
    let text = "--! emit: final\nSELECT account, count(*) AS parts, sum(n) AS n FROM \
         (SELECT window, account, count(*) AS n FROM payments GROUP BY window(event_time, '1 minute'), account) AS small \
         GROUP BY window(window_time(window), '1 hour'), account";
    let mut operator = operator_with(text, spilling_past(400_000));
    let mut in_memory = common::operator(text);
    let (mut table, mut expected) = (Table::default(), Table::default());
    for minute in 0..20 {
        for part in 0..4 {
            let row =
                |at: i64| payment(minute * 60 + at % 60, &format!("account {}", minute * 500 + part * 500 + at), 1, 1);
            let rows: Vec<_> = (0..500).map(row).collect();
            push(&mut operator, &rows);
            push(&mut in_memory, &rows);
            assert!(operator.metrics().state_bytes < 1_000_000, "{:?}", operator.metrics());
        }
        for (operator, table) in [(&mut operator, &mut table), (&mut in_memory, &mut expected)] {
            operator.advance((minute * 60 + 30) * SECOND).unwrap();
            apply(operator, table, minute % 7 == 6);
        }
        assert_eq!(table, expected, "minute {minute}");
        assert_eq!(operator.metrics().groups_open, in_memory.metrics().groups_open);
    }
    let metrics = operator.metrics();
    assert!(metrics.groups_spilled > 8_000 && metrics.state_bytes < 1_000_000, "{metrics:?}");
    for (operator, table) in [(&mut operator, &mut table), (&mut in_memory, &mut expected)] {
        operator.advance(2 * 3_600 * SECOND).unwrap();
        apply(operator, table, false);
    }
    assert_eq!(table, expected);
    assert_eq!((table.rows.len(), operator.metrics().spilled_bytes), (11_500, 0));
}

#[test]
fn memory_stays_at_the_cap_and_the_disk_is_given_back() {
    let text =
        "--! emit: final\nSELECT account, count(*) AS n FROM payments GROUP BY window(event_time, '1 hour'), account";
    let mut operator = operator_with(text, spilling_past(300_000));
    let mut in_memory = common::operator(text);
    for round in 0..80 {
        let rows: Vec<_> =
            (0..500).map(|at| payment(at, &format!("account {}", (round * 211 + at) % 20_000), 1, 1)).collect();
        push(&mut operator, &rows);
        push(&mut in_memory, &rows);
        let metrics = operator.metrics();
        // Buffers of a batch come on top.
        assert!(metrics.state_bytes < 600_000, "{metrics:?}");
        assert_eq!(metrics.groups_open, in_memory.metrics().groups_open);
    }
    let metrics = operator.metrics();
    assert!(metrics.groups_open > 12_000 && metrics.groups_spilled > 8_000, "{metrics:?}");
    // Of each group there are a few copies at most.
    assert!(metrics.spilled_bytes < 400 * metrics.groups_open, "{metrics:?}");
    operator.advance(2 * 3_600 * SECOND).unwrap();
    in_memory.advance(2 * 3_600 * SECOND).unwrap();
    let (mut table, mut expected) = (Table::default(), Table::default());
    apply(&mut operator, &mut table, false);
    apply(&mut in_memory, &mut expected, false);
    assert_eq!(table, expected);
    assert_eq!((operator.metrics().spilled_bytes, operator.metrics().windows_closed), (0, 1));
}

/// Each window is in a file of its own until there are too many files.
#[test]
fn many_windows_need_few_files() {
    let text = "--! emit: final\nSELECT window, account, sum(quantity) AS n FROM payments GROUP BY window(event_time, '10 seconds'), account";
    let files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = files();
    let (mut on_disk, mut in_memory) = (operator_with(text, spilling()), operator(text));
    for round in 0..300 {
        let rows = [payment(round * 10, "a", round, 1), payment(round * 10, "b", 1, 1)];
        push(&mut on_disk, &rows);
        push(&mut in_memory, &rows);
        assert!(files() < before + 80, "{} files", files());
    }
    let (mut table, mut expected) = (Table::default(), Table::default());
    for operator in [(&mut on_disk, &mut table), (&mut in_memory, &mut expected)] {
        operator.0.advance(10_000 * SECOND).unwrap();
        apply(operator.0, operator.1, false);
    }
    assert_eq!(table, expected);
    assert_eq!(table.rows.len(), 600);
}

/// Pairs and rows without a partner are those of a join whose rows fit, also in windows of doubles; rows are let go on the disk.
#[test]
fn memory_stays_at_the_cap_while_rows_wait_for_partners() {
    let from = "FROM payments p LEFT JOIN logins l ON p.account = l.account AND l.event_time >= p.event_time - INTERVAL '5 minutes' \
         AND l.event_time <= p.event_time + INTERVAL '5 minutes'";
    let pairs = format!("--! emit: final\nSELECT p.account, p.quantity AS paid, l.quantity AS tried {from}");
    let grouped = format!(
        "--! emit: final\nSELECT p.merchant, count(*) AS n, sum(CAST(p.quantity AS DOUBLE) / 3) AS f, stddev(l.quantity) AS d {from} \
         GROUP BY window(p.event_time, '1 minute'), p.merchant"
    );
    for text in [pairs, grouped] {
        let mut operator = operator_with(&text, spilling_past(400_000));
        let mut in_memory = common::operator(&text);
        let (mut table, mut expected, mut spilled) = (Table::default(), Table::default(), 0);
        for round in 0..300_i64 {
            let row = |at: i64| {
                let account = (round * 7_919 + at * 104_729) % 20_011;
                let mut row = payment(round * 4 + at % 4, &format!("account {account}"), account * 13 % 101, 1);
                row.merchant = Some(format!("m{}", account % 7));
                row.account = row.account.filter(|_| account % 9 != 0);
                row
            };
            let (paid, tried): (Vec<_>, Vec<_>) = ((0..40).map(row).collect(), (40..60).map(row).collect());
            for (operator, table) in [(&mut operator, &mut table), (&mut in_memory, &mut expected)] {
                for (stream, rows) in [("payments", &paid), ("logins", &tried)] {
                    let offsets: Vec<i64> = (round * 40..).take(rows.len()).collect();
                    operator.push(&batch(rows), &Source { stream, partition: 0, raw_offsets: &offsets }).unwrap();
                }
                operator.advance((round * 4 - 8) * SECOND).unwrap();
                apply(operator, table, false);
            }
            assert_eq!(table, expected, "round {round}");
            let metrics = operator.metrics();
            assert!(metrics.state_bytes < 900_000, "{metrics:?}");
            spilled = spilled.max(metrics.groups_spilled);
        }
        assert!(in_memory.metrics().state_bytes > 1_200_000, "{:?}", in_memory.metrics());
        assert!(spilled > 1_000, "{spilled} keys on the disk");
        for (operator, table) in [(&mut operator, &mut table), (&mut in_memory, &mut expected)] {
            operator.advance(10_000 * SECOND).unwrap();
            apply(operator, table, false);
        }
        assert_eq!(table, expected);
        assert!(table.rows.len() > 100, "{} rows", table.rows.len());
        let metrics = operator.metrics();
        assert_eq!((metrics.groups_spilled, metrics.spilled_bytes), (0, 0));
        assert_eq!(metrics.rows_unmatched, in_memory.metrics().rows_unmatched);
    }
}

/// Rows of a left join that never have a partner wait for their time on the disk too, through restarts.
#[test]
fn rows_with_null_in_their_key_wait_on_the_disk() {
    let text = "--! emit: final\nSELECT p.quantity AS paid, l.quantity AS tried FROM payments p LEFT JOIN logins l ON p.account = l.account \
         AND l.event_time BETWEEN p.event_time AND p.event_time + INTERVAL '1 hour'";
    let (mut operator, mut table, parts) =
        (operator_with(text, spilling_past(200_000)), Table::default(), MemoryParts::default());
    for round in 0..400_i64 {
        let row = |at: i64| {
            let mut row = payment(round, "", round * 50 + at, 1);
            row.account = None;
            row
        };
        let rows: Vec<_> = (0..50).map(row).collect();
        let offsets: Vec<i64> = (round * 50..).take(rows.len()).collect();
        for stream in ["payments", "logins"] {
            operator.push(&batch(&rows), &Source { stream, partition: 0, raw_offsets: &offsets }).unwrap();
        }
        operator.advance(round * SECOND).unwrap();
        apply(&mut operator, &mut table, false);
        let metrics = operator.metrics();
        assert!(metrics.state_bytes < 400_000, "round {round}: {metrics:?}");
        if round % 100 == 50 {
            let snapshot = if round == 50 { save(&mut operator) } else { save_in_parts(&mut operator, &parts) };
            operator = operator_with(text, spilling_past(200_000));
            restore_from_parts(&mut operator, &snapshot, &parts);
        }
    }
    assert!(operator.metrics().groups_spilled > 15_000, "{:?}", operator.metrics());
    assert_eq!(table.rows.len(), 0, "none is due before an hour is over");
    operator.advance((3_600 + 201) * SECOND).unwrap();
    apply(&mut operator, &mut table, false);
    assert_eq!(table.rows.len(), 201 * 50, "those of the first seconds");
    operator.advance(10_000 * SECOND).unwrap();
    apply(&mut operator, &mut table, false);
    assert_eq!(table.rows.len(), 400 * 50);
    let metrics = operator.metrics();
    assert_eq!((metrics.groups_spilled, metrics.spilled_bytes), (0, 0));
}

#[test]
fn a_window_is_published_in_parts_where_it_is_large() {
    let text =
        "--! emit: final\nSELECT account, count(*) AS n FROM payments GROUP BY window(event_time, '1 hour'), account";
    for options in [OperatorOptions::default(), spilling_past(1_000_000)] {
        let mut operator = operator_with(text, options);
        for part in 0..10 {
            let rows: Vec<_> =
                (0..10_000).map(|at| payment(1, &format!("account {}", part * 10_000 + at), 1, 1)).collect();
            push(&mut operator, &rows);
        }
        operator.advance(2 * 3_600 * SECOND).unwrap();
        let (mut table, mut emissions) = (Table::default(), 0);
        loop {
            let emission = operator.emit().unwrap();
            if emission.is_empty() {
                break;
            }
            assert!(emission.versions.len() < 70_000);
            emissions += 1;
            table.apply(&published(&operator, &emission), true);
        }
        assert_eq!((table.rows.len(), emissions), (100_000, 2));
        assert_eq!(operator.metrics().windows_closed, 1);
    }
}

#[test]
fn a_snapshot_taken_with_groups_on_the_disk_is_good_without_a_disk_and_the_other_way_round() {
    let text = query("changes", "'1 hour'");
    let rows: Vec<Payment> = batches().into_iter().flatten().collect();
    let (mut on_disk, mut in_memory) = (operator_with(&text, spilling()), operator(&text));
    push(&mut on_disk, &rows);
    push(&mut on_disk, &rows[..1]);
    push(&mut in_memory, &rows);
    push(&mut in_memory, &rows[..1]);
    assert!(on_disk.metrics().groups_spilled > 100);
    let (from_disk, from_memory) = (save(&mut on_disk), save(&mut in_memory));
    let mut tables = Vec::new();
    for (snapshot, options) in [(from_disk, OperatorOptions::default()), (from_memory, spilling())] {
        let mut operator = operator_with(&text, options);
        restore(&mut operator, &snapshot).unwrap();
        let mut table = Table::default();
        apply(&mut operator, &mut table, false);
        tables.push(table);
    }
    assert_eq!(tables[0], tables[1]);
    assert!(tables[0].rows.len() > 100);
}

#[test]
fn a_disk_that_refuses_is_an_outage_that_says_where() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let sessions =
        "SELECT account, count(*) AS n FROM payments GROUP BY session_window(event_time, '10 seconds'), account";
    let chained = "SELECT account, sum(n) AS n FROM (SELECT window, account, count(*) AS n FROM payments \
         GROUP BY window(event_time, '10 seconds'), account) AS small GROUP BY window(window_time(window), '1 minute'), account";
    let pairs = "SELECT p.account, l.quantity FROM payments p JOIN logins l ON p.account = l.account \
         AND l.event_time BETWEEN p.event_time AND p.event_time + INTERVAL '10 seconds'";
    for text in [query("final", "'10 seconds'").as_str(), sessions, chained, pairs] {
        let spill = Spill { directory: file.path().join("spill").into(), bytes_max: 1 };
        let mut operator = operator_with(text, OperatorOptions { spill: Some(spill), ..OperatorOptions::default() });
        push(&mut operator, &[payment(1, "a", 1, 1)]);
        let rows = batch(&[payment(1, "b", 1, 1)]);
        let error = operator.push(&rows, &Source { stream: "payments", partition: 0, raw_offsets: &[1] }).unwrap_err();
        assert_eq!((error.domain(), error.retry()), (Domain::External, Retry::Backoff));
        assert!(error.to_string().contains(&file.path().display().to_string()), "{error}");
    }
}
