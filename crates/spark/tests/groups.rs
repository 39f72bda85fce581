//! Groups as a batch on the real Spark gives them, where no golden file can tell: what is deleted, and what is within an error.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "a test reports by panicking")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::Array as _;
use arrow_array::cast::AsArray as _;
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use model::{RecordBlock, provenance};
use spark::Session;
use spark::print::{Input, Read, Sink, Source, WriterSchema, as_rows, print, record_rows};
use sql::{Catalog, StreamTable};

const RECORD: &str = r#"{"type":"record","name":"event","fields":[{"name":"account","type":"string"},{"name":"amount","type":"long"},{"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}}]}"#;
const RECORD_ID: u32 = 1;

/// Avro's long.
fn long(value: i64) -> Vec<u8> {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut bytes = Vec::new();
    while rest > 0x7f {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

/// The longs that a value in the wire format holds.
fn longs(value: &[u8]) -> Vec<i64> {
    let (mut found, mut number, mut shift) = (Vec::new(), 0_u64, 0);
    for byte in &value[5..] {
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            found.push((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
            (number, shift) = (0, 0);
        }
    }
    found
}

/// Account and amount of each record, one a microsecond.
fn records<'a>(events: impl IntoIterator<Item = (&'a str, i64)>) -> RecordBlock {
    let mut block = RecordBlock::new("events.validated".into(), 0);
    for (offset, (account, amount)) in (0..).zip(events) {
        let mut value = [&[0], &RECORD_ID.to_be_bytes()[..]].concat();
        for part in [long(account.len() as i64), account.as_bytes().to_vec(), long(amount), long(offset)] {
            value.extend(part);
        }
        let raw_offset = offset.to_string();
        block.push(offset, 0, None, Some(&value), [(provenance::RAW_OFFSET, Some(raw_offset.as_bytes()))]);
    }
    block
}

/// Result columns beside the account as Avro's longs.
fn result_schema(columns: &[&str]) -> String {
    let fields: Vec<String> = columns.iter().map(|column| format!(r#"{{"name":"{column}","type":"long"}}"#)).collect();
    format!(r#"{{"type":"record","name":"result","fields":[{}]}}"#, fields.join(","))
}

/// Result by account: the version, and the values of these columns if it isn't deleted.
type Results = BTreeMap<String, (String, Option<Vec<i64>>)>;

/// What a batch over these records publishes.
async fn publish(session: &mut Session, text: &str, columns: &[&str], events: &RecordBlock) -> Results {
    let at = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let fields = [("account", DataType::Utf8), ("amount", DataType::Int64), ("at", at)];
    let fields: Vec<Field> = fields.into_iter().map(|(name, of)| Field::new(name, of, false)).collect();
    let schema = Arc::new(Schema::new(fields));
    let stream = StreamTable { schema, event_time: "at".to_owned(), key: "account".to_owned() };
    let catalog = Catalog { streams: [("events".to_owned(), stream)].into(), ..Catalog::default() };
    let query = sql::compile("result", text, &catalog).unwrap();
    let source = Source {
        topic: events.topic.to_string(),
        kafka: BTreeMap::new(),
        written: vec![WriterSchema { id: RECORD_ID, schema: RECORD.to_owned(), reader: RECORD.to_owned() }],
        event_time: "at".to_owned(),
        input: Input::Records(record_rows(std::slice::from_ref(events)).unwrap()),
    };
    let sink = Sink {
        topic: "result".to_owned(),
        kafka: BTreeMap::new(),
        generation: 1,
        key_columns: vec!["account".to_owned()],
        key_id: 2,
        key_schema: r#"{"type":"record","name":"key","fields":[{"name":"account","type":"string"}]}"#.to_owned(),
        value_columns: columns.iter().map(|&column| column.to_owned()).collect(),
        value_id: 3,
        value_schema: result_schema(columns),
    };
    let sources = BTreeMap::from([("events".to_owned(), source)]);
    let printed = print(&query, &sources, &BTreeMap::new(), &Read::Batch { watermark_us: None }, &sink).unwrap();
    let mut results = Results::new();
    for batch in session.collect(as_rows(printed)).await.unwrap() {
        let [keys, values, versions] = [0, 1, 2].map(|column| batch.column(column).as_binary::<i32>().clone());
        for row in 0..batch.num_rows() {
            // The wire format's five bytes, and the text's length.
            let account = String::from_utf8(keys.value(row)[6..].to_vec()).unwrap();
            let version = String::from_utf8(versions.value(row).to_vec()).unwrap();
            let value = values.is_valid(row).then(|| longs(values.value(row)));
            assert!(results.insert(account, (version, value)).is_none(), "each group once");
        }
    }
    results
}

#[tokio::test]
async fn a_drain_deletes_a_group_that_having_no_longer_keeps() {
    let text = "SELECT window(at, '1 minute'), account, sum(amount) AS total FROM events GROUP BY window(at, '1 minute'), account
                HAVING sum(amount) > 10";
    let mut session = common::session().await;
    let all = [("a", 11), ("b", 20), ("a", -5)];
    let mut drained =
        async |count: usize| publish(&mut session, text, &["total"], &records(all.into_iter().take(count))).await;
    let result = |account: &str, version: &str, value: Option<i64>| {
        (account.to_owned(), (version.to_owned(), value.map(|value| vec![value])))
    };
    assert_eq!(drained(2).await, [result("a", "1:1:0", Some(11)), result("b", "1:1:0", Some(20))].into());
    // The key with a greater version and no value takes the row away.
    assert_eq!(drained(3).await, [result("a", "1:2:0", None), result("b", "1:1:0", Some(20))].into());
}

#[tokio::test]
async fn approximate_aggregates_are_within_the_errors_that_the_documentation_states() {
    const ROWS: i64 = 30_000;
    // Each amount comes twice; in an order that has nothing to do with its size.
    let distinct = ROWS / 2;
    let amount = |row: i64| row % distinct * 7_919 % distinct;
    let events = records((0..ROWS).map(|row| ("a", amount(row))));
    let text = "SELECT window(at, '1 minute'), account,
                       approx_count_distinct(amount) AS about, approx_count_distinct(amount, 0.01) AS nearly,
                       coalesce(percentile_approx(amount, 0.25, 50), -1) AS quarter, coalesce(percentile_approx(amount, 0.9), -1) AS most
                FROM events GROUP BY window(at, '1 minute'), account";
    let mut session = common::session().await;
    let found = publish(&mut session, text, &["about", "nearly", "quarter", "most"], &events).await;
    let (version, values) = &found["a"];
    assert_eq!(*version, format!("1:{ROWS}:0"));
    let values = values.as_ref().unwrap();
    // Four standard errors; the values are fixed. Amounts are 0 to their number less one, so that a rank is twice the amount.
    for (value, wanted, off) in [
        (values[0], distinct, 4.0 * 0.05 * distinct as f64),
        (values[1], distinct, 4.0 * 0.01 * distinct as f64),
        (values[2], distinct / 4, ROWS as f64 / 50.0 / 2.0),
        (values[3], distinct * 9 / 10, ROWS as f64 / 10_000.0 / 2.0 + 1.0),
    ] {
        assert!(((value - wanted) as f64).abs() <= off, "{value} isn't within {off} of {wanted}: {values:?}");
    }
}
