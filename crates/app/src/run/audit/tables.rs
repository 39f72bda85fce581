//! What PostgreSQL must hold when the accepted and rejected records are known: how many rows, or how many records its windows have folded in.

use serde::Serialize;
use sql::{Emit, JoinKind, Query, Window};
use store::Store;
use tokio::runtime::Handle;

use super::StreamReport;
use crate::error::{Error, Result};
use crate::run::results::ResultTopic;

/// Whether a table holds what it must.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Holds {
    Equal,
    /// Less than it must: lost, or not processed yet.
    Less,
    /// More than it can.
    More,
    /// Nothing can be said without computing the query anew.
    NotProven,
}

/// A table compared with the topics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct TableReport {
    pub(crate) table: String,
    pub(crate) holds: Holds,
    /// What was compared, or why nothing was.
    pub(crate) what: String,
    pub(crate) expected: Option<u64>,
    pub(crate) found: Option<u64>,
}

impl TableReport {
    fn compared(table: String, what: impl Into<String>, expected: u64, found: u64) -> Self {
        let holds = match found.cmp(&expected) {
            std::cmp::Ordering::Equal => Holds::Equal,
            std::cmp::Ordering::Less => Holds::Less,
            std::cmp::Ordering::Greater => Holds::More,
        };
        Self { table, holds, what: what.into(), expected: Some(expected), found: Some(found) }
    }
}

/// What a query's table can be held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    /// One row for each accepted record.
    Rows,
    /// Each accepted record is folded into so many windows.
    Folded(u64),
    /// For this reason into nothing that can be counted.
    None(&'static str),
}

fn measure(query: &Query) -> Measure {
    if query.pattern.is_some() {
        return Measure::None("it is a pattern: how many matches there are isn't known without computing it");
    }
    let [branch] = query.branches.as_slice() else {
        return Measure::None(
            "the query puts streams together: how many records each gives isn't known without computing it",
        );
    };
    if branch.stream_join.is_some() {
        return Measure::None("the query joins two streams: how many pairs there are isn't known without computing it");
    }
    if query.inner.is_some() {
        return Measure::None("the query groups windows: records of those that are still open are in none of its rows");
    }
    if branch.filter.is_some() {
        return Measure::None("the query has a WHERE: how many records pass isn't known without computing it");
    }
    if branch.joins.iter().any(|join| join.kind == JoinKind::Inner) {
        return Measure::None(
            "the query has an inner join: how many records have a partner isn't known without computing it",
        );
    }
    let Some(aggregate) = &query.aggregate else { return Measure::Rows };
    if query.having.is_some() {
        return Measure::None("the query has a HAVING: groups that it leaves out have no row");
    }
    if query.options.emit == Emit::Final {
        return Measure::None("the query publishes final windows alone: those that are open have no row");
    }
    match &aggregate.window {
        Some(Window::Fixed(window)) => {
            Measure::Folded(u64::try_from(window.size_us / window.slide_us.max(1)).unwrap_or(1))
        }
        Some(Window::Session(_)) => Measure::Folded(1),
        None => Measure::None("the query has no window"),
    }
}

/// Compares each result table, and the table of rejected records, with what the topics hold.
///
/// # Errors
/// Those of PostgreSQL.
pub(crate) fn compare(
    store: &Store,
    runtime: &Handle,
    streams: &[StreamReport],
    results: &[ResultTopic],
) -> Result<Vec<TableReport>> {
    let count = |sql: &str| count(store, runtime, sql);
    let mut reports = Vec::new();
    for stream in streams {
        let name = format!("ops.rejected_records of {}", stream.stream);
        let (mut expected, mut found) = (0, 0);
        for partition in &stream.partitions {
            expected += partition.rejected;
            found += count(&format!(
                "SELECT count(*) FROM ops.rejected_records WHERE stream = '{}' AND raw_partition = {} AND raw_offset >= {}",
                stream.stream, partition.partition, partition.from
            ))?;
        }
        reports.push(TableReport::compared(name, "rows = rejected records", expected, found));
    }
    for result in results.iter().filter(|result| result.query.options.table) {
        let table = format!("results.{}", result.table().name);
        // Of several streams nothing is measured; the first stands for them.
        let Some(stream) = streams.iter().find(|stream| result.query.reads(&stream.stream)) else { continue };
        let accepted: u64 = stream.partitions.iter().map(|partition| partition.validated).sum();
        let is_whole = stream.partitions.iter().all(|partition| partition.from == 0);
        reports.push(match measure(&result.query) {
            Measure::Rows => {
                let mut found = 0;
                for partition in &stream.partitions {
                    found += count(&format!(
                        "SELECT count(*) FROM {} WHERE source_partition = {} AND source_offset >= {} AND NOT is_deleted",
                        quoted(result),
                        partition.partition,
                        partition.from
                    ))?;
                }
                TableReport::compared(table, "rows = validated records", accepted, found)
            }
            Measure::Folded(windows) if is_whole => {
                let found = count(&format!("SELECT coalesce(sum(folded_rows), 0) FROM {} WHERE NOT is_deleted", quoted(result)))?;
                let what = match windows {
                    1 => "records folded into windows = validated records".to_owned(),
                    windows => format!("records folded into windows = validated records x {windows} windows each"),
                };
                TableReport::compared(table, what, accepted * windows, found)
            }
            Measure::Folded(_) => not_proven(table, "retention has removed records that its windows hold"),
            Measure::None(why) => not_proven(table, why),
        });
    }
    Ok(reports)
}

fn not_proven(table: String, why: &str) -> TableReport {
    TableReport { table, holds: Holds::NotProven, what: why.to_owned(), expected: None, found: None }
}

fn quoted(result: &ResultTopic) -> String {
    format!("results.\"{}\"", result.table().name)
}

fn count(store: &Store, runtime: &Handle, sql: &str) -> Result<u64> {
    let rows = runtime.block_on(store.query(sql, 1))?;
    let value = rows.rows.first().and_then(|row| row.first().cloned().flatten());
    let number = value.as_deref().and_then(|value| value.parse().ok());
    number.ok_or_else(|| Error::Internal(format!("{sql} gives {value:?}, which is no count")))
}
