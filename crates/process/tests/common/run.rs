//! Runs a query over the logs of two streams, in any order that makes no row late, with restarts.

use process::{OperatorOptions, QueryOperator, Source};
use proptest::prelude::*;

use super::{
    Payment, SECOND, Table, batch, operator_with, payment, published, restore_from_parts, save, save_in_parts,
};
use state::MemoryParts;

const STREAMS: [&str; 2] = ["payments", "logins"];

/// Rows of each stream's two partitions.
pub(crate) type Logs = [[Vec<Payment>; 2]; 2];

#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// So many rows of a stream's partition.
    Take(usize, usize, usize),
    Advance,
    Emit,
    Drain,
    Restart,
    /// A snapshot that nothing goes on from, and that the next one builds on.
    Save,
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..2_usize, 0..2_usize, 1..7_usize).prop_map(|(stream, partition, rows)| Step::Take(stream, partition, rows)),
        2 => Just(Step::Advance),
        1 => Just(Step::Emit),
        1 => Just(Step::Drain),
        1 => Just(Step::Restart),
        1 => Just(Step::Save),
    ];
    prop::collection::vec(step, 0..25)
}

pub(crate) fn logs() -> impl Strategy<Value = Logs> {
    let row = (0..60_i64, prop::option::weighted(0.9, 0..3_u32), prop::option::weighted(0.8, 0..3_u32), -3..5_i64)
        .prop_map(|(seconds, account, merchant, quantity)| {
            let mut row = payment(seconds, "", quantity, 1);
            row.account = account.map(|account| format!("a{account}"));
            row.merchant = merchant.map(|merchant| format!("m{merchant}"));
            row
        });
    let log = || prop::collection::vec(row.clone(), 0..15);
    (log(), log(), log(), log()).prop_map(|(a, b, c, d)| [[a, b], [c, d]])
}

struct Run<'a> {
    text: &'a str,
    options: OperatorOptions,
    operator: QueryOperator,
    logs: &'a Logs,
    taken: [[usize; 2]; 2],
    table: Table,
    /// Most groups that were on the disk at one time.
    spilled: u64,
    parts: MemoryParts,
}

impl<'a> Run<'a> {
    fn new(text: &'a str, options: OperatorOptions, logs: &'a Logs) -> Self {
        let operator = operator_with(text, options.clone());
        Self {
            text,
            options,
            operator,
            logs,
            taken: [[0; 2]; 2],
            table: Table::default(),
            spilled: 0,
            parts: MemoryParts::default(),
        }
    }

    fn take(&mut self, stream: usize, partition: usize, rows: usize) {
        let log = &self.logs[stream][partition];
        let from = self.taken[stream][partition];
        let to = (from + rows).min(log.len());
        let offsets: Vec<i64> = (from as i64..to as i64).collect();
        let source = Source { stream: STREAMS[stream], partition: partition as i32, raw_offsets: &offsets };
        self.operator.push(&batch(&log[from..to]), &source).unwrap();
        self.taken[stream][partition] = to;
        self.spilled = self.spilled.max(self.operator.metrics().groups_spilled);
    }

    /// The greatest watermark that makes no row late which is yet to come.
    fn advance(&mut self) {
        let mut left = Vec::new();
        for (logs, taken) in self.logs.iter().zip(self.taken) {
            left.extend(logs.iter().zip(taken).flat_map(|(log, taken)| log[taken..].iter().map(|row| row.time_us)));
        }
        self.operator.advance(left.into_iter().min().unwrap_or(1_000 * SECOND)).unwrap();
    }

    fn publish(&mut self, drain: bool) {
        loop {
            let emission = if drain { self.operator.drain() } else { self.operator.emit() };
            let published = published(&self.operator, &emission.unwrap());
            if published.is_empty() {
                break;
            }
            self.table.apply(&published, false);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Take(stream, partition, rows) => self.take(stream, partition, rows),
            Step::Advance => self.advance(),
            Step::Emit => self.publish(false),
            Step::Drain => self.publish(true),
            Step::Save => drop(save_in_parts(&mut self.operator, &self.parts)),
            Step::Restart => {
                let snapshot = save_in_parts(&mut self.operator, &self.parts);
                self.operator = operator_with(self.text, self.options.clone());
                restore_from_parts(&mut self.operator, &snapshot, &self.parts);
                self.operator.set_replaying(false);
                // What is on the disk or in parts is saved in another order.
                if self.options == OperatorOptions::default() {
                    assert_eq!(save(&mut self.operator), snapshot);
                }
            }
        }
    }

    /// Takes all that is left, and closes every window. What stands then, and the versions of all that was published.
    fn finish(mut self) -> Outcome {
        for stream in 0..2 {
            for partition in 0..2 {
                self.take(stream, partition, usize::MAX / 2);
            }
        }
        self.publish(true);
        let mut drained = self.table.standing();
        self.advance();
        self.publish(false);
        let mut standing = self.table.standing();
        drained.sort();
        standing.sort();
        if !self.text.contains("LEFT JOIN logins") {
            assert_eq!(drained, standing, "a drain publishes what there is");
        }
        Outcome { standing, table: self.table, spilled: self.spilled }
    }
}

/// Rows of a stream with their positions.
pub(crate) fn rows(logs: &Logs, stream: usize) -> Vec<(Payment, usize, usize)> {
    let of = |(partition, log): (usize, &Vec<Payment>)| {
        log.iter().enumerate().map(|(offset, row)| (row.clone(), partition, offset)).collect::<Vec<_>>()
    };
    logs[stream].iter().enumerate().flat_map(of).collect()
}

pub(crate) fn time(us: i64) -> String {
    let column = arrow_array::TimestampMicrosecondArray::from(vec![us]).with_timezone("UTC");
    arrow_cast::display::array_value_to_string(&column, 0).unwrap()
}

pub(crate) fn text(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "NULL".to_owned(), |value| value.to_string())
}

/// What came of a run.
pub(crate) struct Outcome {
    pub(crate) standing: Vec<String>,
    /// With deletes, and the version of each.
    pub(crate) table: Table,
    /// Most groups that were on the disk at one time.
    pub(crate) spilled: u64,
}

/// What stands in the end, whether snapshots are in parts or not.
pub(crate) fn run(text: &str, logs: &Logs, steps: &[Step]) -> Vec<String> {
    let standing = run_with(text, OperatorOptions::default(), logs, steps).standing;
    let in_parts = OperatorOptions { parts_from_groups: 1, ..OperatorOptions::default() };
    assert_eq!(run_with(text, in_parts, logs, steps).standing, standing, "with snapshots in parts: {text}");
    standing
}

pub(crate) fn run_with(text: &str, options: OperatorOptions, logs: &Logs, steps: &[Step]) -> Outcome {
    let mut run = Run::new(text, options, logs);
    steps.iter().for_each(|step| run.step(*step));
    run.finish()
}
