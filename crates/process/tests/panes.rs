//! Hopping windows that share panes publish what windows with groups of their own would, row for row.
//!
//! A query with `count(DISTINCT …)` doesn't share panes. So each query here runs a second time with one more column.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{
    Payment, Published, SECOND, Table, batch, operator, operator_with, payment, published, push, restore,
    restore_from_parts, save, save_in_parts,
};
use model::Version;
use process::{OperatorOptions, QueryOperator, Source, Spill};
use proptest::prelude::*;
use state::MemoryParts;

/// Aggregates that share panes; the last one goes by the rows' places.
const AGGREGATES: &str = "count(*) AS n, sum(amount) AS total, avg(amount) AS mean, min(amount) AS least, max(merchant) AS last_merchant, \
     bool_or(quantity > 3) AS many, approx_count_distinct(quantity, 0.3) AS different, min_by(merchant, quantity) AS by_quantity, \
     max_by(amount, event_time) AS latest";

/// The query with panes, and without.
fn texts(window: &str, by_account: bool, having: &str) -> [String; 2] {
    let account = if by_account { ", account" } else { "" };
    ["", ", count(DISTINCT merchant) AS own"].map(|more| {
        format!(
            "--! emit: final\nSELECT window{account}, {AGGREGATES}{more} FROM payments GROUP BY window(event_time, {window}){account}{having}"
        )
    })
}

fn shares_panes(text: &str) -> bool {
    process::shares_panes(operator(text).query())
}

#[test]
fn the_plan_says_which_windows_share_panes() {
    let [with, without] = texts("'1 hour', '1 second'", true, " HAVING count(*) > 2");
    assert!(shares_panes(&with) && !shares_panes(&without));
    let changes = with.replace("emit: final", "emit: changes");
    let few = with.replace("'1 second'", "'20 minutes'");
    let tumbling = with.replace(", '1 second'", "");
    let of_windows = "--! emit: final\nSELECT max(n) AS most FROM (SELECT window, count(*) AS n FROM payments \
         GROUP BY window(event_time, '1 minute', '1 second')) AS small GROUP BY window(window_time(window), '1 hour', '1 minute')";
    for text in [&changes, &few, &tumbling, of_windows] {
        assert!(!shares_panes(text), "{text}");
    }
    for growing in ["percentile_approx(quantity, 0.5)", "array_join(slice(collect_list(merchant), 1, 3), '|')"] {
        assert!(!shares_panes(&with.replace("count(*) AS n", &format!("{growing} AS n"))), "{growing}");
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Rows of a partition; their times count from the watermark.
    Push(i32, Vec<Payment>),
    /// Moves the watermark by so many seconds.
    Advance(i64),
    Emit,
    Drain,
    Restart,
}

fn row() -> impl Strategy<Value = Payment> {
    let text = |prefix: &'static str, count: u32| {
        prop::option::weighted(0.9, (0..count).prop_map(move |n| format!("{prefix}{n}")))
    };
    // Rows in a pane, in a window, and far ahead.
    let time = prop_oneof![3 => 0..4 * SECOND, 3 => 0..40 * SECOND, 1 => 0..400 * SECOND];
    let (quantity, amount) = (prop::option::weighted(0.9, -5..6_i64), prop::option::weighted(0.9, -999..999_i128));
    (time, text("a", 4), text("m", 5), quantity, amount).prop_map(|(time_us, account, merchant, quantity, amount)| {
        Payment { time_us, account, merchant, quantity, amount }
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (0..3_i32, prop::collection::vec(row(), 0..20)).prop_map(|(partition, rows)| Step::Push(partition, rows)),
        3 => prop_oneof![0..6_i64, 0..90_i64].prop_map(Step::Advance),
        4 => Just(Step::Emit),
        1 => Just(Step::Drain),
        2 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..30)
}

struct Run {
    text: String,
    options: OperatorOptions,
    operator: QueryOperator,
    parts: MemoryParts,
    watermark_us: i64,
    offset: i64,
    /// Whether a restart is followed by rows that the snapshot has already, as far as the operator knows.
    replays: bool,
}

impl Run {
    fn new(text: &str, options: &OperatorOptions, replays: bool) -> Self {
        Self {
            text: text.to_owned(),
            options: options.clone(),
            operator: operator_with(text, options.clone()),
            parts: MemoryParts::default(),
            watermark_us: -100 * SECOND,
            offset: 0,
            replays,
        }
    }

    /// Runs one step; what it publishes.
    fn step(&mut self, step: &Step) -> Published {
        match step {
            Step::Push(partition, rows) => {
                let absolute = |row: &Payment| Payment { time_us: row.time_us + self.watermark_us, ..row.clone() };
                let rows: Vec<Payment> = rows.iter().map(absolute).collect();
                let raw_offsets: Vec<i64> = (self.offset..).take(rows.len()).collect();
                self.offset += rows.len() as i64;
                let source = Source { stream: "payments", partition: *partition, raw_offsets: &raw_offsets };
                self.operator.push(&batch(&rows), &source).unwrap();
            }
            Step::Advance(seconds) => {
                self.watermark_us += seconds * SECOND;
                self.operator.advance(self.watermark_us).unwrap();
            }
            Step::Restart => {
                let snapshot = save_in_parts(&mut self.operator, &self.parts);
                self.operator = operator_with(&self.text, self.options.clone());
                restore_from_parts(&mut self.operator, &snapshot, &self.parts);
                self.operator.set_replaying(self.replays);
            }
            Step::Emit => return self.publish(false),
            Step::Drain => return self.publish(true),
        }
        Vec::new()
    }

    fn publish(&mut self, drain: bool) -> Published {
        let mut all = Vec::new();
        loop {
            let emission = if drain { self.operator.drain() } else { self.operator.emit() };
            let rows = published(&self.operator, &emission.unwrap());
            if rows.is_empty() {
                all.sort();
                return all;
            }
            all.extend(rows);
        }
    }

    fn windows(&self) -> (u64, u64) {
        let metrics = self.operator.metrics();
        (metrics.windows_open, metrics.windows_closed)
    }
}

/// Without the last column.
fn narrower(rows: Published) -> Published {
    let shorten = |row: String| row.rsplit_once(' ').unwrap().0.to_owned();
    rows.into_iter().map(|(identity, version, row)| (identity, version, row.map(shorten))).collect()
}

fn check(window: &str, by_account: bool, having: &str, bytes_max: Option<usize>, steps: &[Step]) {
    let [with, without] = texts(window, by_account, having);
    assert!(shares_panes(&with) && !shares_panes(&without), "{with}");
    let spill = bytes_max.map(|bytes_max| Spill { directory: std::env::temp_dir().into(), bytes_max });
    let options = OperatorOptions { spill, parts_from_groups: 1, ..OperatorOptions::default() };
    let (mut shared, mut own) =
        (Run::new(&with, &options, false), Run::new(&without, &OperatorOptions::default(), false));
    let closing = [Step::Drain, Step::Emit, Step::Advance(30), Step::Emit, Step::Advance(10_000), Step::Emit];
    for (number, step) in steps.iter().chain(&closing).enumerate() {
        let (found, expected) = (shared.step(step), narrower(own.step(step)));
        assert_eq!(found, expected, "step {number}, {step:?} of {with}");
        // Metrics begin anew with a restart.
        if matches!(step, Step::Emit) {
            assert_eq!(shared.windows(), own.windows(), "after step {number} of {with}");
        }
    }
    assert_eq!((shared.operator.metrics().groups_open, shared.windows().0), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn what_is_published_is_that_of_windows_with_groups_of_their_own(
        steps in steps(),
        window in prop::sample::select(vec![
            "'4 seconds', '1 second'",
            "'8 seconds', '1 second'",
            "'20 seconds', '2 seconds', '1 second'",
            "'60 seconds', '1 second'",
            "'400 milliseconds', '50 milliseconds'",
            "'3 minutes', '18 seconds', '5 seconds'",
        ]),
        by_account: bool,
        having in prop::sample::select(vec!["", " HAVING count(*) > 2", " HAVING sum(amount) > 1"]),
        bytes_max in prop::sample::select(vec![None, Some(1), Some(10_000), Some(60_000)]),
    ) {
        check(window, by_account, having, bytes_max, &steps);
    }
}

/// Many groups of many windows: an emission has a part of them.
#[test]
fn windows_are_published_in_parts_in_memory_and_from_the_disk() {
    let rows: Vec<Payment> =
        (0..4_000).map(|number| payment(number % 40, &format!("account {}", number % 3_000), number, 1)).collect();
    let [with, without] = texts("'1 minute', '2 seconds'", true, " HAVING max(quantity) > 100");
    let tables =
        [(&with, None), (&with, Some(1)), (&with, Some(400_000)), (&without, None)].map(|(text, bytes_max)| {
            let spill = bytes_max.map(|bytes_max| Spill { directory: std::env::temp_dir().into(), bytes_max });
            let mut run = Run::new(text, &OperatorOptions { spill, ..OperatorOptions::default() }, false);
            let mut table = Table::default();
            for part in rows.chunks(700) {
                run.step(&Step::Push(
                    0,
                    part.iter().map(|row| Payment { time_us: row.time_us + 100 * SECOND, ..row.clone() }).collect(),
                ));
            }
            table.apply(&run.step(&Step::Drain), true);
            assert!(run.step(&Step::Drain).is_empty() && run.step(&Step::Emit).is_empty());
            run.step(&Step::Push(0, vec![payment(139, "account 5", 500, 7)]));
            table.apply(&run.step(&Step::Drain), true);
            run.step(&Step::Advance(10_000));
            let closed = run.step(&Step::Emit);
            assert!(closed.len() > 65_536, "{}", closed.len());
            table.apply(&closed, true);
            let narrower =
                |row: &String| if *text == without { row.rsplit_once(' ').unwrap().0.to_owned() } else { row.clone() };
            (table.standing().iter().map(narrower).collect::<Vec<_>>(), run.windows())
        });
    for other in &tables[1..] {
        assert_eq!(other, &tables[0]);
    }
}

/// Sums of doubles depend on the order of adding: it is the same whatever the cap, wherever a restart is.
#[test]
fn doubles_are_the_same_bit_by_bit_whatever_the_cap_and_the_restarts() {
    let text = "--! emit: final\nSELECT window, account, sum(CAST(amount AS DOUBLE) / 3) AS f, avg(CAST(amount AS DOUBLE) / 7) AS a, \
         stddev(quantity) AS d, var_pop(quantity) AS v FROM payments GROUP BY window(event_time, '12 seconds', '1 second'), account";
    assert!(shares_panes(text));
    let run = |bytes_max: Option<usize>, restart_every: usize, drains: bool| {
        let spill = bytes_max.map(|bytes_max| Spill { directory: std::env::temp_dir().into(), bytes_max });
        let options = OperatorOptions { spill, parts_from_groups: 1, ..OperatorOptions::default() };
        let mut run = Run::new(text, &options, false);
        let mut finals = Vec::new();
        for number in 0..120_i64 {
            let row = |at: i64| {
                let mut row =
                    payment(0, &format!("account {}", at % 7), (at * 31 + number) % 101, i128::from(at * 13 + number));
                row.time_us = (at % 5) * SECOND / 2;
                row
            };
            run.step(&Step::Push(0, (0..20).map(row).collect()));
            if drains && number % 9 == 0 {
                run.step(&Step::Drain);
            }
            run.step(&Step::Advance(number % 2));
            finals.extend(run.step(&Step::Emit));
            if (number as usize).is_multiple_of(restart_every) {
                run.step(&Step::Restart);
            }
        }
        finals.into_iter().filter(|(_, version, _)| version.is_final).collect::<Published>()
    };
    let expected = run(None, usize::MAX, false);
    assert!(expected.len() > 300, "{}", expected.len());
    for bytes_max in [None, Some(1), Some(20_000)] {
        for restart_every in [1, 7, usize::MAX] {
            for drains in [false, true] {
                assert_eq!(run(bytes_max, restart_every, drains), expected, "{bytes_max:?} {restart_every} {drains}");
            }
        }
    }
}

/// A drain's result that HAVING refuses in the end is deleted, also after a restart, and no other one is.
#[test]
fn what_a_drain_has_shown_is_deleted_when_having_refuses_it() {
    let text = "--! emit: final\nSELECT account, sum(quantity) AS q FROM payments GROUP BY window(event_time, '10 seconds', '1 second'), account \
         HAVING sum(quantity) > 2";
    let mut operator = operator(text);
    push(&mut operator, &[payment(9, "a", 3, 0), payment(9, "b", 1, 0)]);
    assert_eq!(
        {
            let drained = operator.drain().unwrap();
            published(&operator, &drained).len()
        },
        10
    );
    let snapshot = save(&mut operator);
    operator = common::operator(text);
    restore(&mut operator, &snapshot).unwrap();
    operator.set_replaying(false);
    assert_eq!(save(&mut operator), snapshot);
    push(&mut operator, &[payment(12, "a", -1, 0)]);
    operator.advance(100 * SECOND).unwrap();
    let emission = operator.emit().unwrap();
    let all = published(&operator, &emission);
    let deletes: Vec<&(String, Version, Option<String>)> = all.iter().filter(|(_, _, row)| row.is_none()).collect();
    // Windows from 3 to 9 seconds hold both rows of a.
    assert_eq!((all.len(), deletes.len()), (10, 7), "{all:#?}");
    assert!(
        deletes.iter().all(|(identity, version, _)| identity.ends_with(" a") && version.rows == 2 && version.is_final)
    );
}

/// A replay deletes what may have been published before the crash.
#[test]
fn during_a_replay_refused_groups_are_deleted_at_the_end_of_their_windows() {
    let [text, _] = texts("'10 seconds', '1 second'", true, " HAVING sum(quantity) > 2");
    let mut run = Run::new(&text, &OperatorOptions::default(), true);
    run.step(&Step::Restart);
    run.step(&Step::Push(0, vec![payment(0, "a", 1, 0)]));
    assert!(run.step(&Step::Drain).is_empty());
    run.operator.set_replaying(false);
    run.step(&Step::Push(0, vec![payment(30, "a", 1, 0)]));
    run.step(&Step::Advance(100));
    let deleted = run.step(&Step::Emit);
    assert_eq!(deleted.len(), 10, "those that were in doubt at the drain, and no later ones: {deleted:#?}");
    assert!(deleted.iter().all(|(_, version, row)| row.is_none() && version.is_final));
}

#[test]
fn a_snapshot_of_windows_with_groups_of_their_own_is_refused() {
    let of = |window: &str| {
        operator(&format!("--! emit: final\nSELECT count(*) AS n FROM payments GROUP BY window(event_time, {window})"))
    };
    let changes = "SELECT count(*) AS n FROM payments GROUP BY window(event_time, '1 minute', '1 second')";
    let mut own = operator(changes);
    push(&mut own, &[payment(1, "a", 1, 1)]);
    let snapshot = save(&mut own);
    assert!(restore(&mut of("'1 minute', '1 second'"), &snapshot).is_err());
    restore(&mut operator(changes), &snapshot).unwrap();
}
