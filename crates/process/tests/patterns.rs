//! Patterns over one partition: when a match is published, where matching goes on, what is given up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod pattern_common;

use std::sync::Arc;

use model::{Classified as _, Domain, Retry};
use pattern_common::{
    Event, advance, compile, emitted, operator, operator_of, pattern, push, restore, save, series, shown, try_push,
};
use process::{Cause, PatternOptions, Spill};

const COUNTED: &str = "count(*) AS n";

#[test]
fn a_match_is_published_once_nothing_can_change_it() {
    // Reluctant: certain with its last row.
    let text = pattern(COUNTED, "PATTERN (A+? B) WITHIN INTERVAL '1 hour' DEFINE A AS q < 5, B AS q >= 5");
    let mut reluctant = operator(&text);
    push(&mut reluctant, &series("a", &[1, 2, 7, 8]));
    advance(&mut reluctant, 2);
    assert_eq!(emitted(&mut reluctant), [""; 0], "the watermark hasn't passed the last row");
    advance(&mut reluctant, 3);
    assert_eq!(emitted(&mut reluctant), ["a 3 3 0 2"]);
    assert_eq!(reluctant.metrics().groups_open, 1, "the row that waits is all that is left");

    // Greedy: the next row may prolong it.
    let text = pattern(COUNTED, "PATTERN (A B+) WITHIN INTERVAL '10 seconds' DEFINE A AS q < 5, B AS q >= 5");
    let mut greedy = operator(&text);
    push(&mut greedy, &series("a", &[1, 7, 8]));
    advance(&mut greedy, 3);
    assert_eq!(emitted(&mut greedy), [""; 0]);
    push(&mut greedy, &[Event { time_s: 3, account: "a", q: Some(1), offset: 3 }]);
    advance(&mut greedy, 4);
    assert_eq!(emitted(&mut greedy), ["a 3 3 0 2"], "a row that is no B ends it");
    push(&mut greedy, &[Event { time_s: 4, account: "a", q: Some(9), offset: 4 }]);
    advance(&mut greedy, 13);
    assert_eq!(emitted(&mut greedy), [""; 0], "a row at second 13 may still be in it");
    advance(&mut greedy, 14);
    assert_eq!(emitted(&mut greedy), ["a 2 3 3 4"]);
    assert_eq!((greedy.metrics().groups_open, greedy.state_bytes()), (0, 0), "nothing is kept of quiet keys");
}

#[test]
fn rows_are_ordered_by_time_and_then_as_they_came() {
    let text =
        pattern("LAST(A.q) AS a, LAST(B.q) AS b", "PATTERN (A B) WITHIN INTERVAL '1 hour' DEFINE B AS B.q > A.q");
    let mut operator = operator(&text);
    let event = |time_s, q, offset| Event { time_s, account: "a", q: Some(q), offset };
    push(&mut operator, &[event(5, 3, 10), event(2, 1, 11), event(5, 4, 12)]);
    advance(&mut operator, 6);
    assert_eq!(emitted(&mut operator), ["a 1 3 3 11 10"]);
}

#[test]
fn a_row_below_the_watermark_is_an_error() {
    let text = pattern(COUNTED, "PATTERN (A) WITHIN INTERVAL '1 hour' DEFINE A AS q > 0");
    let mut operator = operator(&text);
    advance(&mut operator, 6);
    let late = Event { time_s: 5, account: "a", q: Some(1), offset: 0 };
    let error = try_push(&mut operator, &[late]).unwrap_err();
    assert!(matches!(error.cause, Cause::Passed { offset: 0, .. }), "{error}");
}

#[test]
fn matching_goes_on_where_skip_says() {
    let quantities = [1, 2, 7, 1, 8];
    let found = |skip: &str| {
        let rest = format!(
            "AFTER MATCH SKIP {skip} PATTERN (S X+ Y) WITHIN INTERVAL '1 hour' DEFINE X AS X.q < 5 OR X.q = 7, Y AS Y.q >= 7"
        );
        let mut operator = operator(&pattern(COUNTED, &rest));
        push(&mut operator, &series("a", &quantities));
        advance(&mut operator, 4_000);
        emitted(&mut operator)
    };
    assert_eq!(found("PAST LAST ROW"), ["a 5 3 0 4"]);
    assert_eq!(found("TO NEXT ROW"), ["a 3 3 2 4", "a 4 3 1 4", "a 5 3 0 4"]);
    assert_eq!(found("TO FIRST X"), ["a 3 3 2 4", "a 4 3 1 4", "a 5 3 0 4"]);
    assert_eq!(found("TO LAST X"), ["a 5 3 0 4"]);
    assert_eq!(found("TO Y"), ["a 5 3 0 4"]);
}

#[test]
fn keys_are_apart_and_conditions_see_the_row_before_within_the_time() {
    let rest = "PATTERN (UP) WITHIN INTERVAL '3 seconds' DEFINE UP AS q > PREV(q)";
    let mut operator = operator(&pattern("PREV(UP.q) AS before", rest));
    let event = |time_s, account, q, offset| Event { time_s, account, q: Some(q), offset };
    push(
        &mut operator,
        &[event(0, "a", 1, 0), event(1, "b", 5, 1), event(2, "a", 3, 2), event(6, "a", 9, 3), event(7, "b", 6, 4)],
    );
    advance(&mut operator, 20);
    assert_eq!(emitted(&mut operator), ["a 1 3 2 2"]);
    assert_eq!(operator.state_bytes(), 0, "rows before are kept as long as they can be seen");
}

#[test]
fn a_measure_of_the_row_after_waits_for_it() {
    let rest = "PATTERN (A B) WITHIN INTERVAL '5 seconds' DEFINE A AS q < 5, B AS q >= 5";
    let mut operator = operator(&pattern("NEXT(B.q) AS after", rest));
    push(&mut operator, &series("a", &[1, 7]));
    advance(&mut operator, 3);
    assert_eq!(emitted(&mut operator), [""; 0]);
    push(&mut operator, &[Event { time_s: 4, account: "a", q: Some(9), offset: 2 }]);
    advance(&mut operator, 5);
    assert_eq!(emitted(&mut operator), ["a 9 3 0 1"]);
    let events: Vec<Event> =
        series("b", &[1, 7]).into_iter().map(|event| Event { time_s: event.time_s + 10, ..event }).collect();
    push(&mut operator, &events);
    advance(&mut operator, 16);
    assert_eq!(emitted(&mut operator), [""; 0]);
    advance(&mut operator, 17);
    assert_eq!(emitted(&mut operator), ["b NULL 3 0 1"]);
}

#[test]
fn a_pattern_with_too_many_ways_is_given_up_and_recorded() {
    // Each row may be A or B, and C asks which rows were A: 2^n ways.
    let rest = "PATTERN ((A | B)+ C) WITHIN INTERVAL '1 hour' DEFINE C AS C.q > 100 AND sum(A.q) > 3";
    let query = Arc::new(compile(&pattern(COUNTED, rest)).unwrap());
    let options = PatternOptions { runs_max: 50, ..PatternOptions::default() };
    let mut operator = operator_of(&query, options);
    push(&mut operator, &series("a", &[1; 12]));
    let before = save(&mut operator);
    advance(&mut operator, 60);
    let limits: Vec<String> = operator.take_limits().iter().map(shown).collect();
    assert_eq!(limits, ["a 0 to 4: 5 runs", "a 5 to 9: 5 runs"]);
    assert_eq!(operator.metrics().limits_reached, 2);
    let mut again = operator_of(&query, options);
    restore(&mut again, &before).unwrap();
    advance(&mut again, 3);
    advance(&mut again, 60);
    assert_eq!(again.take_limits().iter().map(shown).collect::<Vec<_>>(), limits, "the same rows give the same events");

    let rest = "PATTERN (A+ B) WITHIN INTERVAL '10 seconds' DEFINE B AS q > 100";
    let query = Arc::new(compile(&pattern(COUNTED, rest)).unwrap());
    let mut operator = operator_of(&query, PatternOptions { rows_max: 5, ..PatternOptions::default() });
    push(&mut operator, &series("a", &[1, 1, 1, 1, 1, 1, 101]));
    advance(&mut operator, 60);
    assert_eq!(operator.take_limits().iter().map(shown).collect::<Vec<_>>(), ["a 0 to 4: 5 rows"]);
    assert_eq!(emitted(&mut operator), ["a 2 3 5 6"], "matching goes on after what was given up");
}

#[test]
fn a_full_state_refuses_rows_before_it_takes_any() {
    let text = pattern(COUNTED, "PATTERN (A B) WITHIN INTERVAL '1 hour' DEFINE B AS q > 100");
    let query = Arc::new(compile(&text).unwrap());
    let mut operator = operator_of(&query, PatternOptions { state_bytes_max: 1_000, ..PatternOptions::default() });
    push(&mut operator, &series("a", &[1; 100]));
    let error = try_push(&mut operator, &series("a", &[1])).unwrap_err();
    assert!(matches!(error.cause, Cause::StateFull { .. }), "{error}");
}

/// Events that wait for the watermark and attempts under way are on the disk for the most part, and come back when they are due.
#[test]
fn memory_stays_at_the_cap_and_matches_are_those_of_a_pattern_that_fits() {
    let text = pattern(COUNTED, "PATTERN (A B+) WITHIN INTERVAL '10 minutes' DEFINE A AS q < 50, B AS q >= prev(q)");
    let names: Vec<&'static str> =
        (0..3_001).map(|number| &*Box::leak(format!("account {number}").into_boxed_str())).collect();
    let (mut on_disk, mut in_memory) = (operator(&text), operator(&text));
    on_disk.spill_to(Spill { directory: std::env::temp_dir().into(), bytes_max: 300_000 }).unwrap();
    let (mut spilled, mut matches, mut most) = (0, 0, 0);
    for round in 0..200_i64 {
        let event = |at: i64| {
            let number = (round * 100 + at) * 7_919 % 3_001;
            let time_s = round * 10 + at % 10;
            Event {
                time_s,
                account: names[number as usize],
                q: Some((number * 31 + round * 17) % 101),
                offset: round * 100 + at,
            }
        };
        let events: Vec<Event> = (0..100).map(event).collect();
        for operator in [&mut on_disk, &mut in_memory] {
            push(operator, &events);
            advance(operator, round * 10 - 300);
        }
        let found = emitted(&mut in_memory);
        assert_eq!(emitted(&mut on_disk), found, "round {round}");
        let metrics = on_disk.metrics();
        assert!(metrics.state_bytes < 800_000, "{metrics:?}");
        assert_eq!(metrics.groups_open, in_memory.metrics().groups_open);
        (spilled, most) = (spilled.max(metrics.groups_spilled), most.max(in_memory.metrics().state_bytes));
        matches += found.len();
    }
    assert!(spilled > 1_000 && most > 1_000_000, "{spilled} keys on the disk, {most} bytes in memory");
    let saved = save(&mut on_disk);
    let mut restored = operator(&text);
    restore(&mut restored, &saved).unwrap();
    for operator in [&mut on_disk, &mut in_memory, &mut restored] {
        advance(operator, 100_000);
    }
    let found = emitted(&mut in_memory);
    assert_eq!((emitted(&mut on_disk), emitted(&mut restored)), (found.clone(), found.clone()));
    assert!(matches + found.len() > 100, "{matches} matches");
    assert_eq!((on_disk.state_bytes(), on_disk.metrics().spilled_bytes), (0, 0));
}

#[test]
fn a_disk_that_refuses_is_an_outage_that_says_where() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut operator = operator(&pattern(COUNTED, "PATTERN (A B) WITHIN INTERVAL '1 hour' DEFINE A AS q < 5"));
    operator.spill_to(Spill { directory: file.path().join("spill").into(), bytes_max: 1 }).unwrap();
    push(&mut operator, &series("a", &[1]));
    let error = try_push(&mut operator, &series("b", &[1])).unwrap_err();
    assert_eq!((error.domain(), error.retry()), (Domain::External, Retry::Backoff));
    assert!(error.to_string().contains(&file.path().display().to_string()), "{error}");
}
