//! A stream of three columns, and a way to run patterns over one partition of it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_cast::display::array_value_to_string;
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use process::{Emission, LimitEvent, PatternOperator, PatternOptions};
use sql::{Catalog, Diagnostic, Query, StreamTable};
use state::{MemoryParts, SnapshotReader, SnapshotWriter};

pub(crate) const SECOND: i64 = 1_000_000;
/// The partition that all rows come from.
pub(crate) const PARTITION: i32 = 3;

/// One accepted row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) time_s: i64,
    pub(crate) account: &'static str,
    pub(crate) q: Option<i64>,
    pub(crate) offset: i64,
}

pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("event_time", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        Field::new("account", DataType::Utf8, false),
        Field::new("q", DataType::Int64, true),
    ]))
}

pub(crate) fn compile(text: &str) -> Result<Query, Vec<Diagnostic>> {
    let stream = StreamTable { schema: schema(), event_time: "event_time".into(), key: "account".into() };
    let catalog = Catalog { streams: [("events".into(), stream)].into(), references: [].into() };
    sql::compile_pattern("found", text, &catalog)
}

pub(crate) fn operator_of(query: &Arc<Query>, options: PatternOptions) -> PatternOperator {
    PatternOperator::new(Arc::clone(query), PatternOptions { partition: PARTITION, ..options }).unwrap()
}

pub(crate) fn operator(text: &str) -> PatternOperator {
    let query = compile(text).unwrap_or_else(|diagnostics| panic!("{text}: {diagnostics:#?}"));
    operator_of(&Arc::new(query), PatternOptions::default())
}

/// A pattern over the events with these measures.
pub(crate) fn pattern(measures: &str, rest: &str) -> String {
    format!(
        "SELECT * FROM events MATCH_RECOGNIZE (PARTITION BY account ORDER BY event_time MEASURES {measures} {rest})"
    )
}

pub(crate) fn push(operator: &mut PatternOperator, events: &[Event]) {
    try_push(operator, events).unwrap();
}

pub(crate) fn try_push(operator: &mut PatternOperator, events: &[Event]) -> process::Result<()> {
    let times = events.iter().map(|event| event.time_s * SECOND).collect::<Vec<_>>();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")),
        Arc::new(events.iter().map(|event| Some(event.account)).collect::<StringArray>()),
        Arc::new(events.iter().map(|event| event.q).collect::<Int64Array>()),
    ];
    let offsets: Vec<i64> = events.iter().map(|event| event.offset).collect();
    operator.push(&RecordBatch::try_new(schema(), columns).unwrap(), &offsets)
}

/// Events of one account, a second apart, from second 0 and offset 0.
pub(crate) fn series(account: &'static str, quantities: &[i64]) -> Vec<Event> {
    (0..).zip(quantities).map(|(at, q)| Event { time_s: at, account, q: Some(*q), offset: at }).collect()
}

pub(crate) fn advance(operator: &mut PatternOperator, seconds: i64) {
    operator.advance(seconds * SECOND).unwrap();
}

pub(crate) fn save(operator: &mut PatternOperator) -> Vec<u8> {
    let mut writer = SnapshotWriter::new("patterns", "test");
    operator.snapshot(&mut writer).unwrap();
    writer.finish()
}

pub(crate) fn restore(operator: &mut PatternOperator, bytes: &[u8]) -> process::Result<()> {
    let mut reader = SnapshotReader::open(bytes, "patterns", "test").unwrap();
    operator.restore(&mut reader)?;
    reader.finish().unwrap();
    Ok(())
}

pub(crate) fn save_in_parts(operator: &mut PatternOperator, parts: &MemoryParts) -> Vec<u8> {
    let mut writer = SnapshotWriter::new("patterns", "test");
    operator.snapshot_in_parts(&mut writer, parts).unwrap();
    writer.finish()
}

pub(crate) fn restore_from_parts(operator: &mut PatternOperator, bytes: &[u8], parts: &MemoryParts) {
    let mut reader = SnapshotReader::open(bytes, "patterns", "test").unwrap();
    operator.restore_from_parts(&mut reader, parts).unwrap();
    reader.finish().unwrap();
}

/// Result rows as text, sorted, each with the rows of its match.
pub(crate) fn rows(emission: &Emission) -> Vec<(String, u64)> {
    assert_eq!(emission.deletes.num_rows(), 0);
    let cell = |column: &ArrayRef, row: usize| {
        if column.is_null(row) { "NULL".to_owned() } else { array_value_to_string(column, row).unwrap() }
    };
    let row = |row: usize| {
        let cells: Vec<String> = emission.rows.columns().iter().map(|column| cell(column, row)).collect();
        cells.join(" ")
    };
    let mut rows: Vec<(String, u64)> = (0..emission.rows.num_rows())
        .map(|at| {
            let version = emission.versions[at];
            assert!(version.is_final && version.generation == 1);
            (row(at), version.rows)
        })
        .collect();
    rows.sort();
    rows
}

/// What is published now: rows without the counts of their matches.
pub(crate) fn emitted(operator: &mut PatternOperator) -> Vec<String> {
    rows(&operator.emit().unwrap()).into_iter().map(|(row, _)| row).collect()
}

/// A limit event without its version.
pub(crate) fn shown(limit: &LimitEvent) -> String {
    format!("{} {} to {}: {} {}", limit.key, limit.first_offset, limit.last_offset, limit.rows, limit.reason.name())
}
