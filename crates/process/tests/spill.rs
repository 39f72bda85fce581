//! Groups on the disk: results and versions are those of a query whose state fits into memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{
    Payment, SECOND, Table, batch, operator, operator_with, payment, published, push, restore, save, spilling,
};
use model::{Classified as _, Domain, Retry};
use process::{OperatorOptions, QueryOperator, Source, Spill};

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

fn options(bytes_max: usize) -> OperatorOptions {
    let spill = Spill { directory: std::env::temp_dir().into(), bytes_max };
    OperatorOptions { spill: Some(spill), ..OperatorOptions::default() }
}

fn apply(operator: &mut QueryOperator, table: &mut Table, drain: bool) {
    loop {
        let emission = if drain { operator.drain() } else { operator.emit() };
        let rows = published(operator, &emission.unwrap());
        if rows.is_empty() {
            return;
        }
        table.apply(&rows, true);
    }
}

/// All that a query publishes of the batches, and the most groups that were on the disk at one time.
fn run(text: &str, options: &OperatorOptions, restarts: bool) -> (Table, u64) {
    let mut operator = operator_with(text, options.clone());
    let (mut table, mut spilled, mut offset) = (Table::default(), 0, 0);
    for (number, rows) in (0_i64..).zip(batches()) {
        let offsets: Vec<i64> = (offset..).take(rows.len()).collect();
        offset += rows.len() as i64;
        operator.push(&batch(&rows), &Source { partition: 0, raw_offsets: &offsets }).unwrap();
        spilled = spilled.max(operator.metrics().groups_spilled);
        if number % 3 == 0 {
            apply(&mut operator, &mut table, number % 12 == 0);
        }
        operator.advance((number * 50 / 80 - 1) * SECOND).unwrap();
        if restarts && number % 10 == 9 {
            apply(&mut operator, &mut table, false);
            let snapshot = save(&mut operator);
            operator = operator_with(text, options.clone());
            restore(&mut operator, &snapshot).unwrap();
            operator.set_replaying(false);
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

#[test]
fn every_aggregate_is_the_same_bit_by_bit_whatever_the_cap_and_the_restarts() {
    for emit in ["changes", "final"] {
        for window in ["'10 seconds'", "'20 seconds', '5 seconds'"] {
            let text = query(emit, window);
            let (in_memory, none) = run(&text, &OperatorOptions::default(), false);
            assert_eq!(none, 0);
            assert!(in_memory.rows.len() > 500, "{}", in_memory.rows.len());
            for bytes_max in [1, 100_000] {
                for restarts in [false, true] {
                    let (on_disk, spilled) = run(&text, &options(bytes_max), restarts);
                    assert!(spilled > 50, "{spilled} groups on the disk with a cap of {bytes_max}");
                    assert_eq!(on_disk, in_memory, "{text}, cap {bytes_max}, restarts {restarts}");
                }
            }
        }
    }
}

#[test]
fn memory_stays_at_the_cap_and_the_disk_is_given_back() {
    let text =
        "--! emit: final\nSELECT account, count(*) AS n FROM payments GROUP BY window(event_time, '1 hour'), account";
    let mut operator = operator_with(text, options(300_000));
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

#[test]
fn a_window_is_published_in_parts_where_it_is_large() {
    let text =
        "--! emit: final\nSELECT account, count(*) AS n FROM payments GROUP BY window(event_time, '1 hour'), account";
    for options in [OperatorOptions::default(), options(1_000_000)] {
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
    let spill = Spill { directory: file.path().join("spill").into(), bytes_max: 1 };
    let mut operator = operator_with(
        &query("final", "'10 seconds'"),
        OperatorOptions { spill: Some(spill), ..OperatorOptions::default() },
    );
    push(&mut operator, &[payment(1, "a", 1, 1)]);
    let rows = batch(&[payment(1, "b", 1, 1)]);
    let error = operator.push(&rows, &Source { partition: 0, raw_offsets: &[1] }).unwrap_err();
    assert_eq!((error.domain(), error.retry()), (Domain::External, Retry::Backoff));
    assert!(error.to_string().contains(&file.path().display().to_string()), "{error}");
}
