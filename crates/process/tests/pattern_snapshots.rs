//! Snapshots of patterns: those of earlier builds, and those that are made of parts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod pattern_common;

use std::sync::Arc;

use pattern_common::{
    Event, advance, compile, emitted, operator, operator_of, pattern, push, restore, restore_from_parts, save,
    save_in_parts, shown,
};
use process::{PatternOperator, PatternOptions, Spill};
use sql::Query;
use state::{MemoryParts, SnapshotReader};

fn spill(bytes_max: usize) -> Spill {
    Spill { directory: std::env::temp_dir().into(), bytes_max }
}

/// A pattern with rows that wait, attempts under way, matches that wait for the row after them, results and limits that aren't published.
fn under_way() -> (PatternOperator, Arc<Query>) {
    let rest = "PATTERN (A+ B) WITHIN INTERVAL '10 seconds' DEFINE A AS q <= 100, B AS q > 100";
    let query = Arc::new(compile(&pattern("count(*) AS n, NEXT(B.q) AS after", rest)).unwrap());
    let mut operator = limited(&query);
    let accounts = ["a", "b", "c", "d", "e", "f", "g", "h"];
    for round in 0..20_i64 {
        let event = |(at, account): (i64, &&'static str)| Event {
            time_s: round + at % 3,
            account,
            q: Some(if (round * 5 + at * 3) % 4 == at % 4 && at != 7 { 101 + at } else { round }),
            offset: round * 8 + at,
        };
        push(&mut operator, &(0..).zip(&accounts).map(event).collect::<Vec<_>>());
        advance(&mut operator, round - 2);
    }
    (operator, query)
}

fn limited(query: &Arc<Query>) -> PatternOperator {
    operator_of(query, PatternOptions { rows_max: 8, ..PatternOptions::default() })
}

/// All that comes of it from here on.
fn outcome(operator: &mut PatternOperator) -> (Vec<String>, Vec<String>) {
    push(operator, &[Event { time_s: 21, account: "a", q: Some(200), offset: 500 }]);
    advance(operator, 100);
    (emitted(operator), operator.take_limits().iter().map(shown).collect())
}

/// They were written by builds with these layouts, from the state of [`under_way`].
#[test]
fn snapshots_of_earlier_layouts_are_read() {
    let (mut operator, query) = under_way();
    let expected = outcome(&mut operator);
    assert!(expected.0.len() > 20 && expected.1.len() == 2, "{expected:#?}");
    for bytes in
        [&include_bytes!("snapshots/pattern-version-1.bin")[..], include_bytes!("snapshots/pattern-version-2.bin")]
    {
        for spill in [None, Some(spill(1))] {
            let mut restored = limited(&query);
            spill.into_iter().for_each(|spill| restored.spill_to(spill).unwrap());
            restore(&mut restored, bytes).unwrap();
            assert_eq!(outcome(&mut restored), expected);
        }
    }
}

/// What is on the disk is kept in parts once; a snapshot says which keys of a part came back since.
#[test]
fn snapshots_in_parts_hold_what_is_in_memory_and_what_is_new_on_the_disk() {
    let text =
        pattern("count(*) AS n", "PATTERN (A B+) WITHIN INTERVAL '1 hour' DEFINE A AS q < 50, B AS q >= prev(q)");
    let names: Vec<&'static str> =
        (0..20_000).map(|number| &*Box::leak(format!("account {number}").into_boxed_str())).collect();
    let on_disk = || {
        let mut operator = operator(&text);
        operator.spill_to(spill(500_000)).unwrap();
        operator
    };
    let parts = MemoryParts::default();
    let mut offset = 0_i64;
    let mut events = |numbers: std::ops::Range<usize>| -> Vec<Event> {
        let event = |number: usize| {
            offset += 1;
            Event { time_s: offset / 100, account: names[number], q: Some(offset * 7 % 60), offset }
        };
        numbers.map(event).collect()
    };
    let mut spilled = on_disk();
    for begin in 0..40 {
        push(&mut spilled, &events(begin * 500..begin * 500 + 500));
    }
    // Some wait for the watermark, and attempts of the others are under way.
    advance(&mut spilled, 150);
    let mut snapshot = save_in_parts(&mut spilled, &parts);
    let whole = parts.byte_len();
    assert!(whole > 500_000 && snapshot.len() < whole / 2, "{} bytes, and {whole} in parts", snapshot.len());
    let mut added = 0;
    for round in 0..10 {
        push(&mut spilled, &events(round * 1_700..round * 1_700 + 10));
        let before = parts.byte_len();
        snapshot = save_in_parts(&mut spilled, &parts);
        added += parts.byte_len() - before;
    }
    assert!(added < 2 * whole, "{added} of {whole} in ten snapshots");
    assert!(spilled.part_names().count() > 0);

    let (mut restored, mut in_memory) = (on_disk(), operator(&text));
    for operator in [&mut restored, &mut in_memory] {
        restore_from_parts(operator, &snapshot, &parts);
        assert_eq!(operator.metrics().groups_open, spilled.metrics().groups_open);
        assert_eq!(operator.part_names().count(), 0, "those are another process's");
    }
    assert!(restored.metrics().groups_spilled > 10_000, "{:?}", restored.metrics());
    let last = events(0..20_000);
    let mut found = Vec::new();
    for operator in [&mut spilled, &mut restored, &mut in_memory] {
        push(operator, &last);
        advance(operator, 20_000);
        found.push(emitted(operator));
    }
    assert!(found[0].len() > 5_000, "{} matches", found[0].len());
    assert!(found[0] == found[1] && found[0] == found[2]);
}

/// Of many keys in memory a snapshot writes those that have changed, and few parts have all of them.
#[test]
fn snapshots_of_a_large_memory_hold_what_has_changed() {
    const KEYS: usize = 60_000;
    let text =
        pattern("count(*) AS n", "PATTERN (A B+) WITHIN INTERVAL '1 hour' DEFINE A AS q < 50, B AS q >= prev(q)");
    let names: Vec<&'static str> =
        (0..KEYS).map(|number| &*Box::leak(format!("account {number}").into_boxed_str())).collect();
    let parts = MemoryParts::default();
    let mut offset = 0_i64;
    let mut events = |first: usize, count: usize| -> Vec<Event> {
        let event = |number: usize| {
            offset += 1;
            Event { time_s: offset / 1_000, account: names[number % KEYS], q: Some(offset * 7 % 60), offset }
        };
        (first..first + count).map(event).collect()
    };
    let mut in_memory = operator(&text);
    for first in (0..KEYS).step_by(2_000) {
        push(&mut in_memory, &events(first, 2_000));
    }
    advance(&mut in_memory, 60);
    // As it is written in one piece.
    let whole = save(&mut in_memory).len();
    assert!(whole > 3_000_000, "{whole}");
    let mut snapshot = save_in_parts(&mut in_memory, &parts);
    let mut round = |operator: &mut PatternOperator, events: &[Event]| {
        push(operator, events);
        advance(operator, events[0].time_s);
        let before = parts.byte_len();
        snapshot = save_in_parts(operator, &parts);
        let names = operator.part_names().count();
        assert!(names < 16, "{names} parts");
        parts.byte_len() - before + snapshot.len()
    };
    // Few change, some of them again and again.
    let few: Vec<usize> = (0..100).map(|at| round(&mut in_memory, &events(at % 50 * 600, 60))).collect();
    assert!(few.iter().all(|bytes| *bytes < whole / 8), "{few:?} of {whole}");
    assert!(few.iter().sum::<usize>() < whole, "{few:?} of {whole}");
    // All change, a twentieth at a time, and again when the watermark passes their rows: about three times as much as there is.
    let all: Vec<usize> = (0..20).map(|at| round(&mut in_memory, &events(at * 3_000, 3_000))).collect();
    assert!(all.iter().sum::<usize>() < 7 * whole, "{all:?} of {whole}");

    let (mut restored, mut spilled) = (operator(&text), operator(&text));
    spilled.spill_to(spill(500_000)).unwrap();
    for operator in [&mut restored, &mut spilled] {
        restore_from_parts(operator, &snapshot, &parts);
        assert_eq!(operator.metrics().groups_open, in_memory.metrics().groups_open);
    }
    let last = events(0, KEYS);
    let mut found = Vec::new();
    for operator in [&mut in_memory, &mut restored, &mut spilled] {
        push(operator, &last);
        // Nothing is left, and no part is named.
        advance(operator, 20_000);
        found.push(emitted(operator));
        save_in_parts(operator, &parts);
        assert_eq!(operator.part_names().count(), 0);
    }
    assert!(found[0].len() > 10_000, "{} matches", found[0].len());
    assert!(found[0] == found[1] && found[0] == found[2]);
}

#[test]
fn a_part_that_is_missing_is_an_error() {
    let text = pattern("count(*) AS n", "PATTERN (A B) WITHIN INTERVAL '1 hour' DEFINE B AS q > 100");
    let mut spilled = operator(&text);
    spilled.spill_to(spill(1)).unwrap();
    push(&mut spilled, &[Event { time_s: 0, account: "a", q: Some(1), offset: 0 }]);
    push(&mut spilled, &[Event { time_s: 1, account: "b", q: Some(1), offset: 1 }]);
    let snapshot = save_in_parts(&mut spilled, &MemoryParts::default());
    let mut reader = SnapshotReader::open(&snapshot, "patterns", "test").unwrap();
    let error = operator(&text).restore_from_parts(&mut reader, &MemoryParts::default()).unwrap_err();
    assert!(error.to_string().contains("it isn't there"), "{error}");
}
