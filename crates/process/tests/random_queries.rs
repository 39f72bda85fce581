//! Random queries over random streams in random order equal a batch computation that is written down a second time, one row at a time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod property_cases;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use common::run::{Logs, Step, logs, rows, run_with, steps, text, time};
use common::{Payment, SECOND, spilling};
use process::OperatorOptions;
use property_cases::property_cases;
use proptest::prelude::*;

#[derive(Debug, Clone, Copy)]
enum Window {
    /// Length and slide in seconds.
    Fixed(i64, i64),
    Session(i64),
}

/// Where a query has its rows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Stream,
    /// A query in FROM that renames and computes.
    Nested,
    /// Logins too, under UNION ALL, with ten times their quantity.
    Union,
    /// Payments with the logins of their account from 3 seconds before to 5 after them.
    Pairs,
    /// As pairs, and payments without such a login.
    LeftPairs,
}

#[derive(Debug, Clone)]
struct Query {
    from: From,
    /// Groups its windows again by windows of so many seconds.
    outer: Option<i64>,
    /// Keeps quantities above this.
    above: Option<i64>,
    window: Window,
    by_account: bool,
    by_parity: bool,
    aggregates: Vec<usize>,
    /// Keeps groups of more rows than this.
    having: Option<usize>,
    is_final: bool,
}

/// A row of a query, and its place.
#[derive(Debug, Clone)]
struct Row {
    time_us: i64,
    /// Partition, offset, branch; partition and offset of the partner, if there is one.
    place: (usize, usize, usize, Option<(usize, usize)>),
    account: Option<String>,
    merchant: Option<String>,
    quantity: i64,
}

type Compute = fn(&[Row]) -> String;

/// Aggregates over columns m (merchant), q (quantity) and t (event time), and what they give for rows in order of time and place.
const AGGREGATES: [(&str, Compute); 14] = [
    ("count(*)", |rows| rows.len().to_string()),
    ("count(m)", |rows| merchants(rows).len().to_string()),
    ("sum(q)", |rows| rows.iter().map(|row| row.quantity).sum::<i64>().to_string()),
    ("min(q)", |rows| rows.iter().map(|row| row.quantity).min().unwrap().to_string()),
    ("max(m)", |rows| text(merchants(rows).into_iter().max())),
    ("bool_or(q > 2)", |rows| rows.iter().any(|row| row.quantity > 2).to_string()),
    ("every(q > -2)", |rows| rows.iter().all(|row| row.quantity > -2).to_string()),
    ("count(DISTINCT m)", |rows| merchants(rows).into_iter().collect::<BTreeSet<_>>().len().to_string()),
    ("approx_count_distinct(q)", |rows| rows.iter().map(|row| row.quantity).collect::<BTreeSet<_>>().len().to_string()),
    ("min_by(m, t)", |rows| text(rows.first().unwrap().merchant.clone())),
    ("max_by(q, t)", |rows| rows.last().unwrap().quantity.to_string()),
    // The greatest quantity; of equal ones the last row.
    ("max_by(m, q)", |rows| text(rows.iter().max_by_key(|row| row.quantity).unwrap().merchant.clone())),
    ("percentile_approx(q, 0.5)", |rows| {
        let mut quantities: Vec<i64> = rows.iter().map(|row| row.quantity).collect();
        quantities.sort_unstable();
        quantities[quantities.len().div_ceil(2) - 1].to_string()
    }),
    ("array_join(slice(collect_list(m), 1, 3), '|')", |rows| {
        let merchants: Vec<String> = merchants(rows).into_iter().take(3).collect();
        merchants.join("|")
    }),
];

fn merchants(rows: &[Row]) -> Vec<String> {
    rows.iter().filter_map(|row| row.merchant.clone()).collect()
}

fn queries() -> impl Strategy<Value = Query> {
    let window = prop_oneof![
        (2..20_i64).prop_map(|length| Window::Fixed(length, length)),
        (1..6_i64, 2..5_i64).prop_map(|(slide, times)| Window::Fixed(slide * times, slide)),
        // These share panes with emit: final.
        (1..4_i64, 4..20_i64).prop_map(|(slide, times)| Window::Fixed(slide * times, slide)),
        (1..8_i64).prop_map(Window::Session),
    ];
    let from = prop::sample::select(vec![From::Stream, From::Nested, From::Union, From::Pairs, From::LeftPairs]);
    let outer = prop::option::weighted(0.3, 2..40_i64);
    let flags = prop::array::uniform3(any::<bool>());
    let above = prop::option::of(-3..3_i64);
    let aggregates = prop::sample::subsequence((0..AGGREGATES.len()).collect::<Vec<_>>(), 1..6);
    let having = prop::option::weighted(0.3, 0..4_usize);
    (from, outer, flags, above, window, aggregates, having).prop_map(
        |(from, outer, flags, above, window, aggregates, having)| {
            let [by_account, by_parity, is_final] = flags;
            // A row without a partner is known at the end alone, and sessions aren't grouped again.
            let is_final = is_final || from == From::LeftPairs;
            let outer = outer.filter(|_| matches!(window, Window::Fixed(..)));
            Query { from, outer, above, window, by_account, by_parity, aggregates, having, is_final }
        },
    )
}

impl Query {
    fn text(&self) -> String {
        let columns = "account, merchant AS m, quantity AS q, event_time AS t";
        let pairs = |join: &str| {
            format!(
                "(SELECT p.account, l.merchant AS m, p.quantity + coalesce(l.quantity, 0) AS q, p.event_time AS t FROM payments AS p \
                 {join} logins AS l ON l.account = p.account AND l.event_time >= p.event_time - INTERVAL '3 seconds' \
                 AND p.event_time >= l.event_time - INTERVAL '5 seconds') AS x"
            )
        };
        let source = match self.from {
            From::Stream => format!("(SELECT {columns} FROM payments) AS x"),
            From::Nested => format!(
                "(SELECT account, m, twice / 2 AS half, q, t FROM (SELECT {columns}, quantity * 2 AS twice FROM payments) AS y) AS x"
            ),
            From::Union => format!(
                "(SELECT {columns} FROM payments UNION ALL SELECT account, merchant, quantity * 10, event_time FROM logins) AS x"
            ),
            From::Pairs => pairs("JOIN"),
            From::LeftPairs => pairs("LEFT JOIN"),
        };
        let (window, start) = match self.window {
            Window::Fixed(length, slide) => (format!("window(t, '{length} seconds', '{slide} seconds')"), "window"),
            Window::Session(gap) => (format!("session_window(t, '{gap} seconds')"), "session_window"),
        };
        let keys = [(self.by_account, "account"), (self.by_parity, "q % 2 = 0")];
        let keys: Vec<&str> = keys.into_iter().filter(|(is_there, _)| *is_there).map(|(_, key)| key).collect();
        let selected: Vec<String> = keys
            .iter()
            .map(|key| if key.contains('%') { format!("{key} AS even") } else { (*key).to_owned() })
            .collect();
        let aggregates = self.aggregates.iter().map(|number| format!("{} AS a{number}", AGGREGATES[*number].0));
        let select: Vec<String> = std::iter::once(start.to_owned()).chain(selected).chain(aggregates).collect();
        let filter = self.above.map_or_else(String::new, |above| format!(" WHERE q > {above}"));
        let having = self.having.map_or_else(String::new, |rows| format!(" HAVING count(*) > {rows}"));
        let emit = if self.is_final { "final" } else { "changes" };
        if let Some(outer) = self.outer {
            let key = if self.by_account { ", account" } else { "" };
            let having = self.having.map_or_else(String::new, |rows| format!(" HAVING sum(n) > {rows}"));
            return format!(
                "--! emit: {emit}\nSELECT count(*) AS parts, sum(n) AS rows, max(s) AS most{key} FROM \
                 (SELECT window, count(*) AS n, sum(q) AS s{key} FROM {source}{filter} GROUP BY {window}{key}) AS small \
                 GROUP BY window(window_time(window), '{outer} seconds'){key}{having}"
            );
        }
        let group: Vec<&str> = std::iter::once(window.as_str()).chain(keys).collect();
        format!(
            "--! emit: {emit}\nSELECT {} FROM {source}{filter} GROUP BY {}{having}",
            select.join(", "),
            group.join(", ")
        )
    }

    fn rows(&self, logs: &Logs) -> Vec<Row> {
        let row = |branch: usize, (payment, partition, offset): (Payment, usize, usize)| Row {
            time_us: payment.time_us,
            place: (partition, offset, branch, None),
            account: payment.account,
            merchant: payment.merchant,
            quantity: payment.quantity.unwrap() * if branch == 1 { 10 } else { 1 },
        };
        let of_stream = |branch: usize| rows(logs, branch).into_iter().map(move |found| row(branch, found));
        let mut all: Vec<Row> = match self.from {
            From::Stream | From::Nested => of_stream(0).collect(),
            From::Union => of_stream(0).chain(of_stream(1)).collect(),
            From::Pairs => of_stream(0).flat_map(|row| pairs_of(&row, logs)).collect(),
            From::LeftPairs => {
                let alone = |row: Row| Row { merchant: None, ..row };
                let pairs = |row: Row| match pairs_of(&row, logs) {
                    pairs if pairs.is_empty() => vec![alone(row)],
                    pairs => pairs,
                };
                of_stream(0).flat_map(pairs).collect()
            }
        };
        all.retain(|row| self.above.is_none_or(|above| row.quantity > above));
        all.sort_by_key(|row| (row.time_us, row.place));
        all
    }

    /// Start, end and rows of the windows of one key's rows, which are in order.
    fn windows(&self, rows: &[Row]) -> Vec<(i64, i64, Vec<Row>)> {
        match self.window {
            Window::Fixed(length, slide) => {
                let (length, slide) = (length * SECOND, slide * SECOND);
                let mut windows: BTreeMap<i64, Vec<Row>> = BTreeMap::new();
                for row in rows {
                    let mut start = row.time_us.div_euclid(slide) * slide;
                    while start + length > row.time_us {
                        windows.entry(start).or_default().push(row.clone());
                        start -= slide;
                    }
                }
                windows.into_iter().map(|(start, rows)| (start, start + length, rows)).collect()
            }
            Window::Session(gap) => {
                let mut sessions: Vec<(i64, i64, Vec<Row>)> = Vec::new();
                for row in rows {
                    match sessions.last_mut() {
                        Some((_, end, rows)) if row.time_us <= *end => {
                            *end = row.time_us + gap * SECOND;
                            rows.push(row.clone());
                        }
                        _ => sessions.push((row.time_us, row.time_us + gap * SECOND, vec![row.clone()])),
                    }
                }
                sessions
            }
        }
    }

    /// The windows of one key's rows, grouped again by where they end.
    fn windows_again(&self, length: i64, key: &[String], rows: &[Row]) -> Vec<String> {
        let mut outer: BTreeMap<i64, Vec<(usize, i64)>> = BTreeMap::new();
        for (_, end, rows) in self.windows(rows) {
            let group = (rows.len(), rows.iter().map(|row| row.quantity).sum());
            outer.entry((end - 1).div_euclid(length) * length).or_default().push(group);
        }
        let line = |(start, groups): (i64, Vec<(usize, i64)>)| {
            let rows: usize = groups.iter().map(|(rows, _)| rows).sum();
            let most = groups.iter().map(|(_, sum)| sum).max().unwrap();
            let mut cells =
                vec![time(start), time(start + length), groups.len().to_string(), rows.to_string(), most.to_string()];
            cells.extend(key.iter().cloned());
            self.having.is_none_or(|having| rows > having).then(|| cells.join(" "))
        };
        outer.into_iter().filter_map(line).collect()
    }

    fn recompute(&self, logs: &Logs) -> Vec<String> {
        let mut by_key: BTreeMap<Vec<String>, Vec<Row>> = BTreeMap::new();
        for row in self.rows(logs) {
            let mut key = Vec::new();
            if self.by_account {
                key.push(text(row.account.clone()));
            }
            if self.by_parity && self.outer.is_none() {
                key.push((row.quantity % 2 == 0).to_string());
            }
            by_key.entry(key).or_default().push(row);
        }
        let mut lines = Vec::new();
        for (key, rows) in by_key {
            if let Some(outer) = self.outer {
                lines.extend(self.windows_again(outer * SECOND, &key, &rows));
                continue;
            }
            for (start, end, rows) in self.windows(&rows) {
                if self.having.is_some_and(|having| rows.len() <= having) {
                    continue;
                }
                let mut cells = vec![time(start), time(end)];
                cells.extend(key.clone());
                cells.extend(self.aggregates.iter().map(|number| (AGGREGATES[*number].1)(&rows)));
                lines.push(cells.join(" "));
            }
        }
        lines.sort();
        lines
    }
}

/// A payment with each login that belongs to it.
fn pairs_of(row: &Row, logs: &Logs) -> Vec<Row> {
    let belongs = |login: &Payment| {
        row.account.is_some()
            && login.account == row.account
            && (-3 * SECOND..=5 * SECOND).contains(&(login.time_us - row.time_us))
    };
    let pair = |(login, partition, offset): (Payment, usize, usize)| Row {
        place: (row.place.0, row.place.1, 0, Some((partition, offset))),
        merchant: login.merchant,
        quantity: row.quantity + login.quantity.unwrap(),
        ..row.clone()
    };
    rows(logs, 1).into_iter().filter(|(login, ..)| belongs(login)).map(pair).collect()
}

/// In memory, and with a cap at which all groups but those of one batch and window are on the disk.
fn check(query: &Query, logs: &Logs, steps: &[Step]) {
    let text = query.text();
    let in_memory = run_with(&text, OperatorOptions::default(), logs, steps);
    assert_eq!(in_memory.standing, query.recompute(logs), "{text}");
    let on_disk = run_with(&text, spilling(), logs, steps);
    assert_eq!(on_disk.table, in_memory.table, "{text}");
    assert_eq!(in_memory.spilled, 0);
    SPILLED.fetch_add(on_disk.spilled, Ordering::Relaxed);
}

/// Groups that were on the disk, over all cases.
static SPILLED: AtomicU64 = AtomicU64::new(0);

#[test]
fn random_queries_equal_the_batch_answer_in_memory_and_on_the_disk() {
    let config = ProptestConfig { cases: property_cases(), source_file: Some(file!()), ..ProptestConfig::default() };
    proptest!(config, |(query in queries(), logs in logs(), steps in steps())| check(&query, &logs, &steps));
    assert!(SPILLED.load(Ordering::Relaxed) > 0, "nothing went to the disk");
}
