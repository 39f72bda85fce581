//! The promise: whatever the batches, emissions, watermarks and restarts, the last versions equal a computation over all accepted rows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;

use common::{Payment, Published, SECOND, Table, operator, published, restore, save};
use model::Version;
use process::{QueryOperator, Source};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    /// Rows of a partition; their times count from the watermark.
    Push(i32, Vec<Payment>),
    /// Moves the watermark by so many seconds.
    Advance(i64),
    Emit,
    Drain,
}

fn rows() -> impl Strategy<Value = Payment> {
    let text = |prefix: &'static str, count: u32| {
        prop::option::weighted(0.9, (0..count).prop_map(move |n| format!("{prefix}{n}")))
    };
    (
        0..60 * SECOND,
        text("a", 4),
        text("m", 5),
        prop::option::weighted(0.9, -5..6i64),
        prop::option::weighted(0.9, -999..999i128),
    )
        .prop_map(|(time_us, account, merchant, quantity, amount)| Payment {
            time_us,
            account,
            merchant,
            quantity,
            amount,
        })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3i32, prop::collection::vec(rows(), 0..25)).prop_map(|(partition, rows)| Step::Push(partition, rows)),
        1 => (0..40i64).prop_map(Step::Advance),
        2 => Just(Step::Emit),
        1 => Just(Step::Drain),
    ];
    prop::collection::vec(step, 1..14)
}

/// Makes times absolute: each row's is at or after the watermark at its push.
fn with_absolute_times(mut steps: Vec<Step>) -> Vec<Step> {
    let mut watermark = -100 * SECOND;
    for step in &mut steps {
        match step {
            Step::Advance(by) => {
                watermark += *by * SECOND;
                *by = watermark;
            }
            Step::Push(_, rows) => rows.iter_mut().for_each(|row| row.time_us += watermark),
            _ => {}
        }
    }
    steps
}

/// Runs one step; what it publishes, if it publishes.
fn run(operator: &mut QueryOperator, step: &Step, offset: &mut i64) -> Option<Published> {
    let emission = match step {
        Step::Push(partition, rows) => {
            let offsets: Vec<i64> = (*offset..).take(rows.len()).collect();
            *offset += offsets.len() as i64;
            operator
                .push(
                    &common::batch(rows),
                    &Source { stream: "payments", partition: *partition, raw_offsets: &offsets },
                )
                .unwrap();
            return None;
        }
        Step::Advance(watermark_us) => {
            operator.advance(*watermark_us).unwrap();
            return None;
        }
        Step::Emit => operator.emit(),
        Step::Drain => operator.drain(),
    };
    Some(published(operator, &emission.unwrap()))
}

#[derive(Debug, Clone, Copy)]
struct Shape {
    size_s: i64,
    slide_s: i64,
    emit: &'static str,
    /// Joins with merchants and groups by category too.
    joined: bool,
    /// Keeps rows with a quantity above -3.
    filtered: bool,
    /// Keeps groups with a sum of quantities above 2.
    having: bool,
}

impl Shape {
    fn text(self) -> String {
        let Self { size_s, slide_s, emit, joined, filtered, having } = self;
        let category = if joined { ", m.category" } else { "" };
        let join = if joined { " LEFT JOIN merchants m ON p.merchant = m.merchant_id" } else { "" };
        let filter = if filtered { " WHERE p.quantity > -3" } else { "" };
        let having = if having { " HAVING sum(p.quantity) > 2" } else { "" };
        format!(
            "--! emit: {emit}\nSELECT p.account{category}, count(*) AS n, count(p.amount) AS paid, sum(p.amount) AS total, \
             min(p.amount) AS least, max(p.merchant) AS last_merchant, avg(p.amount) AS mean, sum(p.quantity) AS q \
             FROM payments p{join}{filter} GROUP BY window(p.event_time, '{size_s} seconds', '{slide_s} seconds'), p.account{category}{having}"
        )
    }

    /// The rows that stand at the end, computed at once from all rows: identity and the cells that are compared.
    fn recompute(self, steps: &[Step]) -> BTreeMap<String, (u64, String)> {
        let mut groups: BTreeMap<(i64, Option<String>, Option<String>), Vec<Payment>> = BTreeMap::new();
        let all =
            steps.iter().filter_map(|step| if let Step::Push(_, rows) = step { Some(rows) } else { None }).flatten();
        for row in all.filter(|row| !self.filtered || row.quantity.is_some_and(|quantity| quantity > -3)) {
            let category = match row.merchant.as_deref() {
                Some("m1") => Some("food".to_owned()),
                Some("m2") => Some("fuel".to_owned()),
                _ => None,
            };
            let category = category.filter(|_| self.joined);
            let (size, slide) = (self.size_s * SECOND, self.slide_s * SECOND);
            let mut start = row.time_us.div_euclid(slide) * slide;
            while start + size > row.time_us {
                groups.entry((start, row.account.clone(), category.clone())).or_default().push(row.clone());
                start -= slide;
            }
        }
        groups
            .into_iter()
            .filter_map(|((start, account, category), rows)| self.result(start, account, category, &rows))
            .collect()
    }

    fn result(
        self,
        start: i64,
        account: Option<String>,
        category: Option<String>,
        rows: &[Payment],
    ) -> Option<(String, (u64, String))> {
        let quantities: Vec<i64> = rows.iter().filter_map(|row| row.quantity).collect();
        let quantity = (!quantities.is_empty()).then(|| quantities.iter().sum::<i64>());
        if self.having && quantity.is_none_or(|quantity| quantity <= 2) {
            return None;
        }
        let time = |us: i64| chrono(us);
        let text = |value: Option<String>| value.unwrap_or_else(|| "NULL".into());
        let amounts: Vec<i128> = rows.iter().filter_map(|row| row.amount).collect();
        let some = |value: i128| (!amounts.is_empty()).then(|| decimal(value, 2));
        let total: i128 = amounts.iter().sum();
        let mean = (!amounts.is_empty()).then(|| {
            // Scale 6, halves away from zero, in whole numbers.
            let (scaled, count) = (total * 10_000, amounts.len() as i128);
            decimal((2 * scaled.abs() + count) / (2 * count) * scaled.signum(), 6)
        });
        let mut identity = vec![time(start), time(start + self.size_s * SECOND), text(account)];
        if self.joined {
            identity.push(text(category));
        }
        let rest = [
            rows.len().to_string(),
            amounts.len().to_string(),
            text(some(total)),
            text(amounts.iter().min().and_then(|least| some(*least))),
            text(rows.iter().filter_map(|row| row.merchant.clone()).max()),
            text(mean),
            text(quantity.map(|quantity| quantity.to_string())),
        ];
        let identity = identity.join(" ");
        let row = format!("{identity} {}", rest.join(" "));
        Some((identity, (rows.len() as u64, row)))
    }
}

fn decimal(value: i128, scale: usize) -> String {
    let digits = format!("{:0>width$}", value.abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    format!("{}{whole}.{fraction}", if value < 0 { "-" } else { "" })
}

/// As Arrow prints a timestamp. Times of the test lie within an hour of 1970.
fn chrono(us: i64) -> String {
    let column = arrow_array::TimestampMicrosecondArray::from(vec![us]).with_timezone("UTC");
    arrow_cast::display::array_value_to_string(&column, 0).unwrap()
}

fn check(shape: Shape, steps: Vec<Step>) {
    let mut steps = with_absolute_times(steps);
    steps.push(Step::Drain);
    let text = shape.text();

    let mut table = Table::default();
    let mut restarted_table = Table::default();
    let mut steady = operator(&text);
    let mut restarted = operator(&text);
    let (mut offset, mut restarted_offset) = (0, 0);
    let mut snapshots = Vec::new();
    for step in &steps {
        let snapshot = save(&mut restarted);
        restarted = operator(&text);
        restore(&mut restarted, &snapshot).unwrap();
        restarted.set_replaying(false);
        snapshots.push((snapshot, restarted_offset));
        let expected = run(&mut steady, step, &mut offset);
        let found = run(&mut restarted, step, &mut restarted_offset);
        assert_eq!(found, expected, "a restart before {step:?} shows");
        if let (Some(expected), Some(found)) = (expected, found) {
            table.apply(&expected, true);
            restarted_table.apply(&found, true);
        }
    }
    assert_eq!(restarted_table, table);

    // Crash at the end, replay from each snapshot: what is published again takes nothing back. Results that never were may be deleted.
    let standing = |table: &Table| table.rows.clone().into_iter().filter(|(_, (_, row))| row.is_some()).collect();
    let expected: BTreeMap<String, (Version, Option<String>)> = standing(&table);
    for (at, (snapshot, offset)) in snapshots.into_iter().enumerate() {
        let mut replayed = operator(&text);
        restore(&mut replayed, &snapshot).unwrap();
        let (mut offset, mut replayed_table) = (offset, table.clone());
        for step in &steps[at..] {
            if let Some(found) = run(&mut replayed, step, &mut offset) {
                replayed_table.apply(&found, false);
            }
        }
        assert_eq!(standing(&replayed_table), expected, "replay from step {at}");
    }

    let standing: BTreeMap<String, (u64, String)> = table
        .rows
        .into_iter()
        .filter_map(|(identity, (version, row))| Some((identity, (version.rows, row?))))
        .collect();
    assert_eq!(standing, shape.recompute(&steps));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn last_versions_equal_a_batch_computation(
        steps in steps(),
        windows in prop::sample::select(vec![(10, 10), (30, 10), (60, 60), (7, 7), (20, 2)]),
        is_final: bool,
        joined: bool,
        filtered: bool,
        having: bool,
    ) {
        let emit = if is_final { "final" } else { "changes" };
        check(Shape { size_s: windows.0, slide_s: windows.1, emit, joined, filtered, having }, steps);
    }
}
