//! Random patterns over random rows against a matcher that tries all ways in the order of preference, with restarts at every step and
//! rows that come out of order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod pattern_common;
mod pattern_naive;
mod property_cases;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pattern_common::{Event, compile, operator_of, push, restore, restore_from_parts, rows, save, save_in_parts};
use pattern_naive::{Condition, Node, Pattern, Skip};
use process::{PatternOperator, PatternOptions, Spill};
use property_cases::property_cases;
use proptest::prelude::*;
use state::MemoryParts;

const ACCOUNTS: [&str; 2] = ["a", "b"];
const LATENESS_S: i64 = 4;

fn node() -> impl Strategy<Value = Node> {
    let leaf = (0..4_u8).prop_map(Node::Variable);
    leaf.prop_recursive(3, 10, 3, |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        prop_oneof![
            4 => prop::collection::vec(inner.clone(), 2..4).prop_map(Node::Sequence),
            2 => prop::collection::vec(inner.clone(), 2..4).prop_map(Node::Alternation),
            1 => prop::collection::vec(inner.clone(), 2..4).prop_map(Node::Permute),
            1 => boxed.clone().prop_map(Node::Exclusion),
            4 => (boxed, 0..3_u32, prop::option::of(0..2_u32), any::<bool>()).prop_filter_map("no round", |(inner, least, more, reluctant)| {
                let most = more.map(|more| least + more);
                (most != Some(0)).then_some(Node::Quantified { inner, least, most, reluctant: reluctant && most != Some(least) })
            }),
        ]
    })
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        2 => Just(Condition::Any),
        3 => (0..5_i64).prop_map(Condition::Above),
        3 => (0..5_i64).prop_map(Condition::Below),
        1 => (0..4_u8).prop_map(Condition::AboveLast),
        1 => (0..4_u8, 1..3_i64).prop_map(|(variable, most)| Condition::CountBelow(variable, most)),
        1 => (0..4_u8, 0..5_i64).prop_map(|(variable, least)| Condition::SumAbove(variable, least)),
        1 => Just(Condition::AbovePrevious),
        1 => Just(Condition::BelowNext),
        1 => Just(Condition::AboveFirst),
    ]
}

fn skip() -> impl Strategy<Value = Skip> {
    prop_oneof![
        2 => Just(Skip::PastLastRow),
        2 => Just(Skip::ToNextRow),
        1 => (0..4_u8).prop_map(Skip::ToFirst),
        1 => (0..4_u8).prop_map(Skip::ToLast),
    ]
}

fn patterns() -> impl Strategy<Value = Pattern> {
    (node(), prop::collection::vec(condition(), 4), skip(), 2..12_i64, any::<bool>(), any::<bool>()).prop_map(
        |(node, conditions, skip, within_s, all_rows, numbered)| {
            Pattern { node, conditions, skip, within_s, all_rows, numbered }.with_what_is_allowed()
        },
    )
}

/// Rows in the order in which they come: account, quantity, how much later than the newest (or earlier, below zero) in seconds.
fn arrivals() -> impl Strategy<Value = Vec<(usize, Option<i64>, i64)>> {
    prop::collection::vec((0..2_usize, prop::option::weighted(0.9, 0..6_i64), -3..3_i64), 1..12)
}

fn events(arrivals: &[(usize, Option<i64>, i64)]) -> Vec<Event> {
    let mut newest = 100;
    let at = |(offset, (account, q, shift)): (i64, &(usize, Option<i64>, i64))| {
        let time_s = newest + shift;
        newest = newest.max(time_s);
        Event { time_s, account: ACCOUNTS[*account], q: *q, offset }
    };
    (0..).zip(arrivals).map(at).collect()
}

fn check(pattern: &Pattern, arrivals: &[(usize, Option<i64>, i64)], batch: usize) {
    let text = pattern.text();
    let query = match compile(&text) {
        Ok(query) => Arc::new(query),
        Err(diagnostics) => panic!("{text}: {diagnostics:#?}"),
    };
    // Enough for all ways of the few rows there are.
    let options = PatternOptions { runs_max: 1_000_000, parts_from_keys: 1, ..PatternOptions::default() };
    let events = events(arrivals);
    let mut steady = operator_of(&query, options);
    let mut restarted = operator_of(&query, options);
    let on_disk = || {
        let mut operator = operator_of(&query, options);
        operator.spill_to(Spill { directory: std::env::temp_dir().into(), bytes_max: 1 }).unwrap();
        operator
    };
    // The last two have their snapshots in parts, of which some are older than the newest.
    let fresh = [&on_disk as &dyn Fn() -> PatternOperator, &on_disk, &on_disk, &|| operator_of(&query, options)];
    let (mut others, parts) = (fresh.map(|fresh| fresh()), MemoryParts::default());
    let mut found = Vec::new();
    let mut newest = 0;
    let mut steps: Vec<(&[Event], i64)> = Vec::new();
    for chunk in events.chunks(batch) {
        newest = chunk.iter().map(|event| event.time_s).fold(newest, i64::max);
        steps.push((chunk, newest - LATENESS_S));
    }
    steps.push((&[], 10_000));
    for (step, (chunk, watermark_s)) in steps.into_iter().enumerate() {
        let snapshot = save(&mut restarted);
        restarted = operator_of(&query, options);
        restore(&mut restarted, &snapshot).unwrap();
        for operator in [&mut steady, &mut restarted] {
            if !chunk.is_empty() {
                push(operator, chunk);
            }
        }
        let snapshot = save(&mut restarted);
        restarted = operator_of(&query, options);
        restore(&mut restarted, &snapshot).unwrap();
        for operator in [&mut steady, &mut restarted] {
            operator.advance(watermark_s * pattern_common::SECOND).unwrap();
        }
        let published = rows(&steady.emit().unwrap());
        for (number, operator) in others.iter_mut().enumerate() {
            if !chunk.is_empty() {
                push(operator, chunk);
            }
            if number == 1 {
                let snapshot = save(operator);
                *operator = on_disk();
                restore(operator, &snapshot).unwrap();
            }
            if number >= 2 {
                let snapshot = save_in_parts(operator, &parts);
                if step % 3 == 2 {
                    *operator = fresh[number]();
                    restore_from_parts(operator, &snapshot, &parts);
                }
            }
            operator.advance(watermark_s * pattern_common::SECOND).unwrap();
            assert_eq!(rows(&operator.emit().unwrap()), published, "operator {number} shows: {text}");
            assert_eq!(operator.metrics().groups_open, steady.metrics().groups_open);
            SPILLED.fetch_add(operator.metrics().groups_spilled, Ordering::Relaxed);
        }
        assert_eq!(rows(&restarted.emit().unwrap()), published, "a restart shows: {text}");
        found.extend(published);
    }
    found.sort();
    assert_eq!(steady.take_limits(), []);
    assert_eq!(found, pattern.matches(&events), "{text}\n{events:#?}");
    if !pattern.numbered {
        assert_eq!(steady.state_bytes(), 0, "something is kept for ever: {text}");
        assert!(others.iter().all(|operator| operator.state_bytes() == 0 && operator.metrics().spilled_bytes == 0));
    }
}

/// Keys that were on the disk, over all cases.
static SPILLED: AtomicU64 = AtomicU64::new(0);

#[test]
fn matches_equal_those_of_a_matcher_that_tries_everything_in_memory_and_on_the_disk() {
    let config = ProptestConfig {
        cases: property_cases(),
        max_shrink_iters: 3_000,
        source_file: Some(file!()),
        ..ProptestConfig::default()
    };
    proptest!(config, |(pattern in patterns(), arrivals in arrivals(), batch in 1..6_usize)| {
        check(&pattern, &arrivals, batch);
    });
    assert!(SPILLED.load(Ordering::Relaxed) > 0, "nothing went to the disk");
}

/// The generator reaches what it is for.
#[test]
fn random_patterns_find_matches_of_many_kinds() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let mut lengths: BTreeMap<u64, usize> = BTreeMap::new();
    for _ in 0..400 {
        let pattern = patterns().new_tree(&mut runner).unwrap().current();
        let arrivals = arrivals().new_tree(&mut runner).unwrap().current();
        for (_, rows) in pattern.matches(&events(&arrivals)) {
            *lengths.entry(rows).or_default() += 1;
        }
    }
    let longer: usize = lengths.range(4..).map(|(_, count)| count).sum();
    assert!((1..4).all(|length| lengths.get(&length).is_some_and(|count| *count > 50)) && longer > 15, "{lengths:?}");
}
