//! The promise about crashes: whatever was published past the last snapshot, and in whatever order the rows of the partitions come again,
//! the last versions equal a computation over all rows at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Payment, SECOND, Table, operator, payment, published, restore, save};
use process::{QueryOperator, Source};
use proptest::prelude::*;

/// A payment with its partition and offset.
type Row = (Payment, i32, i64);
/// Rows of one account with the start of their window or session.
type Group = (i64, Vec<Row>);

#[derive(Debug, Clone, Copy)]
struct Shape {
    /// Sessions by this gap in seconds, or else tumbling windows of this length.
    seconds: i64,
    is_session: bool,
    is_final: bool,
    /// Keeps groups with a sum of quantities above 2.
    having: bool,
}

impl Shape {
    fn text(self) -> String {
        let Self { seconds, is_session, is_final, having } = self;
        let window = if is_session { "session_window" } else { "window" };
        let emit = if is_final { "final" } else { "changes" };
        let having = if having { " HAVING sum(quantity) > 2" } else { "" };
        format!(
            "--! emit: {emit}\nSELECT account, count(*) AS n, sum(quantity) AS q, max_by(merchant, event_time) AS last_merchant \
             FROM payments GROUP BY {window}(event_time, '{seconds} seconds'), account{having}"
        )
    }

    /// The groups of the rows of one account, by their start.
    fn groups(self, mut rows: Vec<Row>) -> Vec<Group> {
        rows.sort_by_key(|(row, partition, offset)| (row.time_us, *partition, *offset));
        let length = self.seconds * SECOND;
        let mut groups: Vec<Group> = Vec::new();
        for row in rows {
            let time = row.0.time_us;
            match groups.last_mut() {
                Some((_, group)) if self.is_session && time - group.last().unwrap().0.time_us <= length => {
                    group.push(row)
                }
                Some((start, group)) if !self.is_session && time.div_euclid(length) * length == *start => {
                    group.push(row)
                }
                _ if self.is_session => groups.push((time, vec![row])),
                _ => groups.push((time.div_euclid(length) * length, vec![row])),
            }
        }
        groups
    }

    /// Start, account, rows, sum of quantities and last merchant of each result.
    fn recompute(self, logs: &[Vec<Payment>]) -> BTreeSet<(i64, String, usize, i64, String)> {
        let mut by_account: BTreeMap<String, Vec<Row>> = BTreeMap::new();
        for (partition, log) in (0..).zip(logs) {
            for (offset, row) in (0..).zip(log) {
                by_account.entry(row.account.clone().unwrap()).or_default().push((row.clone(), partition, offset));
            }
        }
        let mut results = BTreeSet::new();
        for (account, rows) in by_account {
            for (start, group) in self.groups(rows) {
                let sum: i64 = group.iter().map(|(row, ..)| row.quantity.unwrap()).sum();
                if !self.having || sum > 2 {
                    let last = group.last().unwrap().0.merchant.clone().unwrap();
                    results.insert((start, account.clone(), group.len(), sum, last));
                }
            }
        }
        results
    }
}

/// A run over the logs of two partitions.
struct Run<'a> {
    operator: QueryOperator,
    logs: &'a [Vec<Payment>],
    taken: [usize; 2],
}

impl Run<'_> {
    fn take(&mut self, partition: usize, count: usize) {
        let from = self.taken[partition];
        let to = (from + count).min(self.logs[partition].len());
        let offsets: Vec<i64> = (from as i64..to as i64).collect();
        let source = Source { stream: "payments", partition: partition as i32, raw_offsets: &offsets };
        self.operator.push(&common::batch(&self.logs[partition][from..to]), &source).unwrap();
        self.taken[partition] = to;
    }

    /// The greatest watermark that makes no row late which is yet to come.
    fn advance(&mut self) {
        let left = self.logs.iter().zip(self.taken).flat_map(|(log, taken)| &log[taken..]);
        if let Some(least) = left.map(|row| row.time_us).min() {
            self.operator.advance(least).unwrap();
        }
    }

    fn step(&mut self, step: Step, table: &mut Table) {
        match step {
            Step::Take(partition, count) => self.take(partition, count),
            Step::Advance => self.advance(),
            Step::Emit => {
                let emission = self.operator.emit().unwrap();
                table.apply(&published(&self.operator, &emission), false);
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Take(usize, usize),
    Advance,
    Emit,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..2_usize, 1..6_usize).prop_map(|(partition, count)| Step::Take(partition, count)),
        1 => Just(Step::Advance),
        2 => Just(Step::Emit),
    ];
    prop::collection::vec(step, 0..12)
}

fn logs() -> impl Strategy<Value = Vec<Vec<Payment>>> {
    let row = (0..60_i64, 0..2_u32, 0..3_u32, -3..5_i64).prop_map(|(seconds, account, merchant, quantity)| {
        let mut row = payment(seconds, &format!("a{account}"), quantity, 1);
        row.merchant = Some(format!("m{merchant}"));
        row
    });
    prop::collection::vec(prop::collection::vec(row, 0..20), 2..=2)
}

/// Results that stand, as [`Shape::recompute`] gives them.
fn standing(table: &Table) -> BTreeSet<(i64, String, usize, i64, String)> {
    let parse = |row: String| {
        let cells: Vec<&str> = row.split(' ').collect();
        let [start, _, account, rows, sum, merchant] = cells.as_slice() else { panic!("{row}") };
        let (minutes, seconds) = start["1970-01-01T00:".len()..].trim_end_matches('Z').split_once(':').unwrap();
        let start = (minutes.parse::<i64>().unwrap() * 60 + seconds.parse::<i64>().unwrap()) * SECOND;
        (start, (*account).to_owned(), rows.parse().unwrap(), sum.parse().unwrap(), (*merchant).to_owned())
    };
    table.standing().into_iter().map(parse).collect()
}

/// Runs, crashes with all published and nothing saved since, and runs again in another order; twice.
fn check(shape: Shape, logs: &[Vec<Payment>], runs: &[(Vec<Step>, Vec<Step>)]) {
    let mut table = Table::default();
    let mut run = Run { operator: operator(&shape.text()), logs, taken: [0, 0] };
    for (before_snapshot, after_snapshot) in runs {
        before_snapshot.iter().for_each(|step| run.step(*step, &mut table));
        // A snapshot is saved when all that came before is published.
        run.step(Step::Emit, &mut table);
        let (snapshot, positions) = (save(&mut run.operator), run.taken);
        after_snapshot.iter().for_each(|step| run.step(*step, &mut table));
        let read = run.taken;
        run = Run { operator: operator(&shape.text()), logs, taken: positions };
        restore(&mut run.operator, &snapshot).unwrap();
        // What was read comes again, the other partition first and one row at a time.
        for partition in [1, 0] {
            while run.taken[partition] < read[partition] {
                run.take(partition, 1);
                run.step(Step::Emit, &mut table);
                if run.taken[partition].is_multiple_of(3) {
                    let snapshot = save(&mut run.operator);
                    let taken = run.taken;
                    run = Run { operator: operator(&shape.text()), logs, taken };
                    restore(&mut run.operator, &snapshot).unwrap();
                }
            }
        }
        run.operator.set_replaying(false);
        run.advance();
    }
    for partition in 0..2 {
        run.take(partition, usize::MAX / 2);
    }
    run.operator.advance(if shape.is_final { 1_000 * SECOND } else { 20 * SECOND }).unwrap();
    let emission = run.operator.drain().unwrap();
    table.apply(&published(&run.operator, &emission), false);
    assert_eq!(standing(&table), shape.recompute(logs));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn what_is_published_again_in_another_order_ends_the_same(
        logs in logs(),
        runs in prop::collection::vec((steps(), steps()), 1..3),
        seconds in 2..15_i64,
        is_session: bool,
        is_final: bool,
        having: bool,
    ) {
        check(Shape { seconds, is_session, is_final, having }, &logs, &runs);
    }
}

/// Publishes a row of partition 0, takes one of partition 1, crashes, and takes both again the other way round. What stands then.
fn crashed(shape: Shape, first: &Payment, second: &Payment) -> Vec<String> {
    let logs = [vec![first.clone()], vec![second.clone()]];
    let mut table = Table::default();
    let mut run = Run { operator: operator(&shape.text()), logs: &logs, taken: [0, 0] };
    let snapshot = save(&mut run.operator);
    run.step(Step::Take(0, 1), &mut table);
    run.step(Step::Emit, &mut table);
    assert_eq!(table.standing().len(), 1);
    run = Run { operator: operator(&shape.text()), logs: &logs, taken: [0, 0] };
    restore(&mut run.operator, &snapshot).unwrap();
    for partition in [1, 0] {
        run.step(Step::Take(partition, 1), &mut table);
        run.step(Step::Emit, &mut table);
    }
    run.operator.set_replaying(false);
    run.step(Step::Emit, &mut table);
    table.standing()
}

#[test]
fn a_group_that_having_let_through_before_the_crash_and_refuses_at_once_after_it_is_deleted() {
    let shape = Shape { seconds: 10, is_session: false, is_final: false, having: true };
    let row = |seconds, quantity| {
        let mut row = payment(seconds, "a", quantity, 1);
        row.merchant = Some("m".into());
        row
    };
    assert_eq!(crashed(shape, &row(1, 3), &row(2, -3)), Vec::<String>::new());
    let session = Shape { is_session: true, having: false, ..shape };
    let standing = crashed(session, &row(5, 1), &row(1, 1));
    assert_eq!(standing, ["1970-01-01T00:00:01Z 1970-01-01T00:00:15Z a 2 2 m"], "00:05 is no start any more");
}

/// The start at 4 s was published with two rows; after the crash, the session has two rows when it loses that start.
#[test]
fn a_start_that_was_published_with_as_many_rows_as_its_delete_has_is_deleted_once_more() {
    let shape = Shape { seconds: 4, is_session: true, is_final: false, having: false };
    let row = |seconds| {
        let mut row = payment(seconds, "a0", 0, 1);
        row.merchant = Some("m0".into());
        row
    };
    let logs = [vec![row(12), row(4), row(5)], vec![row(0)]];
    let after = vec![Step::Take(0, 1), Step::Emit, Step::Take(1, 1)];
    check(shape, &logs, &[(vec![Step::Take(0, 2)], after)]);
}
