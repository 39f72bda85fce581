//! Snapshots in parts: what one writes, and that what is restored from it is the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{
    SECOND, Table, apply, batch, operator_with, payment, push, restore_from_parts, save, save_in_parts, spilling_past,
};
use process::{OperatorOptions, QueryOperator, Source};
use state::MemoryParts;

/// Rows wait an hour for a partner before and after them.
const LEFT_JOIN: &str = "--! emit: final\nSELECT p.account, p.quantity AS paid, l.quantity AS tried FROM payments p LEFT JOIN logins l \
     ON p.account = l.account AND l.event_time >= p.event_time - INTERVAL '1 hour' AND l.event_time <= p.event_time + INTERVAL '1 hour'";

/// A left join in which rows wait on both sides, some with NULL in their key; the pairs that there are have been published.
fn waiting() -> QueryOperator {
    let mut operator = operator_with(LEFT_JOIN, OperatorOptions::default());
    let row = |number: i64| {
        let mut row = payment(number, &format!("account {}", number % 17), number, 1);
        row.account = row.account.filter(|_| number % 5 != 0);
        row
    };
    for (stream, numbers) in [("payments", 0..40), ("logins", 30..50)] {
        let rows: Vec<_> = numbers.clone().map(row).filter(|row| row.quantity < Some(45)).collect();
        let offsets: Vec<i64> = numbers.take(rows.len()).collect();
        operator.push(&batch(&rows), &Source { stream, partition: 0, raw_offsets: &offsets }).unwrap();
    }
    apply(&mut operator, &mut Table::default(), false);
    operator
}

/// The seventh layout kept rows with NULL in the key of a join apart from the others.
#[test]
fn a_snapshot_of_a_join_in_the_seventh_layout_can_be_restored() {
    let bytes = include_bytes!("snapshots/join-version-7.bin");
    let mut tables = Vec::new();
    let mut restored = operator_with(LEFT_JOIN, OperatorOptions::default());
    restore_from_parts(&mut restored, bytes, &MemoryParts::default());
    for mut operator in [waiting(), restored] {
        let mut table = Table::default();
        operator.advance(7_200 * SECOND).unwrap();
        apply(&mut operator, &mut table, false);
        tables.push(table);
    }
    let of_null = tables[0].rows.values().filter(|(_, row)| row.as_ref().is_some_and(|row| row.starts_with("NULL")));
    assert!(of_null.count() == 8 && tables[0].rows.len() > 12, "{:?}", tables[0]);
    assert!(tables[0] == tables[1], "{:?}", tables[1]);
}

/// Of a state that hardly changes, a snapshot writes a sixteenth, and a bounded number of parts has all of it.
#[test]
fn snapshots_hold_what_has_changed_and_a_share_of_the_rest() {
    let text = "--! emit: final\nSELECT account, count(*) AS n, max(merchant) AS m FROM payments GROUP BY window(event_time, '1 hour'), account";
    for options in [OperatorOptions { parts_from_groups: 1_000, ..OperatorOptions::default() }, spilling_past(200_000)]
    {
        let parts = MemoryParts::default();
        let mut operator = operator_with(text, options.clone());
        let row = |number: i64| payment(number % 3_000, &format!("account {number}"), 1, 1);
        for begin in 0..40 {
            push(&mut operator, &(begin * 500..begin * 500 + 500).map(row).collect::<Vec<_>>());
        }
        let mut snapshot = save_in_parts(&mut operator, &parts);
        let whole = parts.byte_len();
        assert!(snapshot.len() < 2_000, "its groups are in parts: {}", snapshot.len());
        let (mut names, mut added) = (Vec::new(), Vec::new());
        for round in 0..40 {
            push(&mut operator, &(round * 7..round * 7 + 10).map(row).collect::<Vec<_>>());
            let before = parts.byte_len();
            snapshot = save_in_parts(&mut operator, &parts);
            added.push(parts.byte_len() - before);
            names.push(operator.part_names().len());
        }
        assert!(added.iter().all(|added| *added < whole / 8), "{added:?} of {whole}");
        assert!(names.iter().all(|names| *names < 60), "{names:?}");

        let (mut restored, mut tables) = (operator_with(text, options), Vec::new());
        restore_from_parts(&mut restored, &snapshot, &parts);
        restored.set_replaying(false);
        assert_eq!(restored.metrics().groups_open, 20_000);
        assert_eq!(restored.part_names(), operator.part_names());
        // It goes on in parts, and those of before are needed until all have come anew.
        push(&mut restored, &[row(5)]);
        push(&mut operator, &[row(5)]);
        let before = parts.byte_len();
        save_in_parts(&mut restored, &parts);
        assert!(parts.byte_len() - before < whole / 8);
        for operator in [&mut operator, &mut restored] {
            operator.advance(7_200 * SECOND).unwrap();
            let mut table = Table::default();
            apply(operator, &mut table, false);
            tables.push(table);
        }
        assert_eq!(tables[0].rows.len(), 20_000);
        assert_eq!(tables[0], tables[1]);
    }
}

/// What is on the disk of keys is kept in parts once; a snapshot says which of them came back since.
#[test]
fn snapshots_of_keys_hold_what_is_in_memory_and_what_is_new_on_the_disk() {
    let sessions = "--! emit: final\nSELECT account, count(*) AS n, max(merchant) AS m FROM payments GROUP BY session_window(event_time, '1 hour'), account";
    for text in [sessions, LEFT_JOIN] {
        let parts = MemoryParts::default();
        let mut operator = operator_with(text, spilling_past(200_000));
        let row = |number: i64| payment(number % 3_000, &format!("account {number}"), 1, 1);
        let mut offset = 0_i64;
        let mut push = |operators: &mut [&mut QueryOperator], numbers: &[i64]| {
            let rows: Vec<_> = numbers.iter().map(|number| row(*number)).collect();
            let offsets: Vec<i64> = (offset..).take(rows.len()).collect();
            offset += rows.len() as i64;
            for operator in operators {
                operator
                    .push(&batch(&rows), &Source { stream: "payments", partition: 0, raw_offsets: &offsets })
                    .unwrap();
            }
        };
        for begin in 0..40 {
            push(&mut [&mut operator], &(begin * 500..begin * 500 + 500).collect::<Vec<_>>());
        }
        let mut snapshot = save_in_parts(&mut operator, &parts);
        let whole = parts.byte_len();
        assert!(whole > 500_000 && snapshot.len() < whole / 2, "{} bytes, and {whole} in parts", snapshot.len());
        let mut added = 0;
        for round in 0..10 {
            push(&mut [&mut operator], &(round * 7..round * 7 + 10).collect::<Vec<_>>());
            let before = parts.byte_len();
            snapshot = save_in_parts(&mut operator, &parts);
            added += parts.byte_len() - before;
        }
        assert!(added < 2 * whole, "{added} of {whole} in ten snapshots");

        let mut restored = operator_with(text, spilling_past(200_000));
        restore_from_parts(&mut restored, &snapshot, &parts);
        restored.set_replaying(false);
        assert!(restored.metrics().groups_spilled > 10_000, "{:?}", restored.metrics());
        assert_eq!(restored.metrics().groups_open, operator.metrics().groups_open);
        let mut tables = Vec::new();
        push(&mut [&mut operator, &mut restored], &[5, 19_999]);
        for operator in [&mut operator, &mut restored] {
            operator.advance(20_000 * SECOND).unwrap();
            let mut table = Table::default();
            apply(operator, &mut table, false);
            tables.push(table);
        }
        assert!(tables[0].rows.len() >= 20_000, "{}", tables[0].rows.len());
        assert_eq!(tables[0], tables[1]);
    }
}

/// Of many keys in memory a snapshot writes those that have changed, and few parts have all of them.
fn many_keys_in_memory(text: &str) {
    const KEYS: i64 = 60_000;
    let parts = MemoryParts::default();
    let mut offset = 0_i64;
    let mut push_to = |operators: &mut [&mut QueryOperator], first: i64, count: i64| {
        let row = |number: i64| payment(offset / 1_000, &format!("account {}", number % KEYS), 1, i128::from(number));
        let rows: Vec<_> = (first..first + count).map(row).collect();
        let offsets: Vec<i64> = (offset..offset + count).collect();
        offset += count;
        for operator in operators {
            let source = Source { stream: "payments", partition: 0, raw_offsets: &offsets };
            operator.push(&batch(&rows), &source).unwrap();
            operator.advance(offsets[0] / 1_000 * SECOND).unwrap();
        }
    };
    let mut tables = [Table::default(), Table::default(), Table::default()];
    let mut in_memory = operator_with(text, OperatorOptions::default());
    for first in (0..KEYS).step_by(2_000) {
        push_to(&mut [&mut in_memory], first, 2_000);
    }
    apply(&mut in_memory, &mut tables[0], false);
    // As it is written in one piece.
    let whole = save(&mut in_memory).len();
    assert!(whole > 3_000_000, "{whole}");
    let mut snapshot = save_in_parts(&mut in_memory, &parts);
    // There, each session is written on its own.
    let in_parts = parts.byte_len();
    assert!(in_parts < 4 * whole, "{in_parts} of {whole}");
    let mut round = |first: i64, count: i64, table: &mut Table| {
        push_to(&mut [&mut in_memory], first, count);
        apply(&mut in_memory, table, false);
        let before = parts.byte_len();
        snapshot = save_in_parts(&mut in_memory, &parts);
        let names = in_memory.part_names().len();
        assert!(names < 16, "{names} parts");
        parts.byte_len() - before + snapshot.len()
    };
    // Few change, some of them again and again.
    let few: Vec<usize> = (0..100).map(|at| round(at % 50 * 600, 60, &mut tables[0])).collect();
    assert!(few.iter().all(|bytes| *bytes < whole / 4), "{few:?} of {whole}");
    assert!(few.iter().sum::<usize>() < 2 * whole, "{few:?} of {whole}");
    // All change, a twentieth at a time; rows of a join become more.
    let all: Vec<usize> = (0..20).map(|at| round(at * 3_000, 3_000, &mut tables[0])).collect();
    assert!(all.iter().sum::<usize>() < 8 * in_parts, "{all:?} of {in_parts}");

    let mut restored = [operator_with(text, OperatorOptions::default()), operator_with(text, spilling_past(500_000))];
    for (operator, number) in restored.iter_mut().zip(1..) {
        restore_from_parts(operator, &snapshot, &parts);
        operator.set_replaying(false);
        assert_eq!(operator.metrics().groups_open, in_memory.metrics().groups_open);
        tables[number] = tables[0].clone();
    }
    let [again, on_disk] = &mut restored;
    push_to(&mut [&mut in_memory, again, on_disk], 0, KEYS);
    for (operator, table) in [&mut in_memory, again, on_disk].into_iter().zip(&mut tables) {
        apply(operator, table, false);
        operator.advance(20_000 * SECOND).unwrap();
        apply(operator, table, false);
        // Nothing is left, and no part is named.
        save_in_parts(operator, &parts);
        assert_eq!(operator.part_names(), [""; 0]);
    }
    assert!(tables[0].rows.len() >= KEYS as usize, "{}", tables[0].rows.len());
    assert!(tables[0] == tables[1] && tables[0] == tables[2]);
}

#[test]
fn snapshots_of_many_sessions_in_memory_hold_what_has_changed() {
    many_keys_in_memory(
        "--! emit: changes\nSELECT account, count(*) AS n, max(merchant) AS m, sum(CAST(amount AS DOUBLE) / 3) AS f \
         FROM payments GROUP BY session_window(event_time, '1 hour'), account",
    );
}

#[test]
fn snapshots_of_many_rows_that_wait_for_partners_hold_what_has_changed() {
    many_keys_in_memory(LEFT_JOIN);
}
