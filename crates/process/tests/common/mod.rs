//! A stream of payments, a table that applies emissions as the store does, and a way to run queries.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub(crate) mod run;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_cast::display::array_value_to_string;
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use model::Version;
use process::{Emission, OperatorOptions, QueryOperator, ReferenceData, Source, Spill};
use sql::{Catalog, ReferenceTable, StreamTable};
use state::{MemoryParts, SnapshotReader, SnapshotWriter};

pub(crate) const SECOND: i64 = 1_000_000;

/// One accepted row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Payment {
    pub(crate) time_us: i64,
    pub(crate) account: Option<String>,
    pub(crate) merchant: Option<String>,
    pub(crate) quantity: Option<i64>,
    /// Cents.
    pub(crate) amount: Option<i128>,
}

pub(crate) fn payment(seconds: i64, account: &str, quantity: i64, cents: i128) -> Payment {
    Payment {
        time_us: seconds * SECOND,
        account: Some(account.into()),
        merchant: Some("m1".into()),
        quantity: Some(quantity),
        amount: Some(cents),
    }
}

pub(crate) fn stream_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("event_time", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Field::new("account", DataType::Utf8, true),
        Field::new("merchant", DataType::Utf8, true),
        Field::new("quantity", DataType::Int64, true),
        Field::new("amount", DataType::Decimal128(12, 2), true),
    ]))
}

pub(crate) fn batch(payments: &[Payment]) -> RecordBatch {
    let times = payments.iter().map(|payment| payment.time_us).collect::<Vec<_>>();
    let amounts = payments.iter().map(|payment| payment.amount).collect::<Decimal128Array>();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")),
        Arc::new(payments.iter().map(|payment| payment.account.clone()).collect::<StringArray>()),
        Arc::new(payments.iter().map(|payment| payment.merchant.clone()).collect::<StringArray>()),
        Arc::new(payments.iter().map(|payment| payment.quantity).collect::<Int64Array>()),
        Arc::new(amounts.with_precision_and_scale(12, 2).unwrap()),
    ];
    RecordBatch::try_new(stream_schema(), columns).unwrap()
}

/// m1 is food, m2 is fuel, m3 has no category; m4 isn't there.
pub(crate) fn merchants(version: u64, first_category: &str) -> Arc<ReferenceData> {
    let schema = Schema::new(vec![
        Field::new("merchant_id", DataType::Utf8, false),
        Field::new("category", DataType::Utf8, true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec!["m1", "m2", "m3"])),
        Arc::new(StringArray::from(vec![Some(first_category), Some("fuel"), None])),
    ];
    let batch = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
    Arc::new(ReferenceData::new("merchants", version, batch, vec!["merchant_id".into()]).unwrap())
}

fn stream(name: &str) -> (String, StreamTable) {
    (name.into(), StreamTable { schema: stream_schema(), event_time: "event_time".into(), key: "account".into() })
}

pub(crate) fn operator_with(text: &str, options: OperatorOptions) -> QueryOperator {
    let merchants = merchants(1, "food");
    let catalog = Catalog {
        // Logins have the columns of payments.
        streams: ["payments", "logins"].map(stream).into(),
        references: [(
            "merchants".into(),
            ReferenceTable { schema: merchants.batch().schema(), key: vec!["merchant_id".into()], has_validity: false },
        )]
        .into(),
    };
    let query = sql::compile("spend", text, &catalog).unwrap_or_else(|diagnostics| panic!("{text}: {diagnostics:#?}"));
    QueryOperator::new(Arc::new(query), &[("merchants".into(), merchants)].into(), options).unwrap()
}

/// All groups but those of one batch and window go to the disk, and those of a snapshot to parts.
pub(crate) fn spilling() -> OperatorOptions {
    spilling_past(1)
}

/// What doesn't fit into so many bytes goes to the disk, and groups of a snapshot to parts.
pub(crate) fn spilling_past(bytes_max: usize) -> OperatorOptions {
    let spill = Spill { directory: std::env::temp_dir().into(), bytes_max };
    OperatorOptions { spill: Some(spill), parts_from_groups: 1, ..OperatorOptions::default() }
}

pub(crate) fn operator(text: &str) -> QueryOperator {
    operator_with(text, OperatorOptions::default())
}

/// Pushes rows of partition 0 with offsets from 0.
pub(crate) fn push(operator: &mut QueryOperator, payments: &[Payment]) {
    let offsets: Vec<i64> = (0..).take(payments.len()).collect();
    operator.push(&batch(payments), &Source { stream: "payments", partition: 0, raw_offsets: &offsets }).unwrap();
}

pub(crate) fn save(operator: &mut QueryOperator) -> Vec<u8> {
    let mut writer = SnapshotWriter::new("process", "test");
    operator.snapshot(&mut writer).unwrap();
    writer.finish()
}

/// As [`save`], in parts.
pub(crate) fn save_in_parts(operator: &mut QueryOperator, parts: &MemoryParts) -> Vec<u8> {
    let mut writer = SnapshotWriter::new("process", "test");
    operator.snapshot_in_parts(&mut writer, parts).unwrap();
    writer.finish()
}

/// As [`restore`], of parts.
pub(crate) fn restore_from_parts(operator: &mut QueryOperator, bytes: &[u8], parts: &MemoryParts) {
    let mut reader = SnapshotReader::open(bytes, "process", "test").unwrap();
    operator.restore_from_parts(&mut reader, parts).unwrap();
    reader.finish().unwrap();
}

pub(crate) fn restore(operator: &mut QueryOperator, bytes: &[u8]) -> process::Result<()> {
    let mut reader = SnapshotReader::open(bytes, "process", "test").unwrap();
    operator.restore(&mut reader)?;
    reader.finish().unwrap();
    Ok(())
}

fn cells(rows: &RecordBatch, row: usize) -> Vec<String> {
    let text = |column: &ArrayRef| {
        if column.is_null(row) { "NULL".to_owned() } else { array_value_to_string(column, row).unwrap() }
    };
    rows.columns().iter().map(text).collect()
}

/// An emission as text, sorted: `(identity, version, row)`, where a delete has no row.
pub(crate) type Published = Vec<(String, Version, Option<String>)>;

pub(crate) fn published(operator: &QueryOperator, emission: &Emission) -> Published {
    let identity = &operator.query().identity;
    assert_eq!(emission.rows.num_rows(), emission.versions.len());
    assert_eq!(emission.deletes.num_rows(), emission.delete_versions.len());
    assert_eq!(emission.rows.schema(), operator.query().schema);
    let keys: Vec<usize> = identity.iter().map(|name| emission.rows.schema().index_of(name).unwrap()).collect();
    let key_batch = emission.rows.project(&keys).unwrap();
    assert_eq!(key_batch.schema(), emission.deletes.schema());
    let mut out: Published = Vec::new();
    for (row, version) in emission.versions.iter().enumerate() {
        out.push((cells(&key_batch, row).join(" "), *version, Some(cells(&emission.rows, row).join(" "))));
    }
    for (row, version) in emission.delete_versions.iter().enumerate() {
        out.push((cells(&emission.deletes, row).join(" "), *version, None));
    }
    out.sort();
    out
}

/// The last version of each result.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Table {
    pub(crate) rows: BTreeMap<String, (Version, Option<String>)>,
}

impl Table {
    /// Applies what is published; with `is_first_time`, each version must be greater than what is there.
    pub(crate) fn apply(&mut self, published: &Published, is_first_time: bool) {
        for (identity, version, row) in published {
            let present = self.rows.get(identity).map(|(version, _)| *version);
            if is_first_time {
                assert!(present < Some(*version), "{identity}: {version:?} after {present:?}");
            }
            if present < Some(*version) {
                self.rows.insert(identity.clone(), (*version, row.clone()));
            }
        }
    }

    /// Rows that stand.
    pub(crate) fn standing(&self) -> Vec<String> {
        self.rows.values().filter_map(|(_, row)| row.clone()).collect()
    }
}

/// Publishes all that there is to publish.
pub(crate) fn apply(operator: &mut QueryOperator, table: &mut Table, drain: bool) {
    loop {
        let emission = if drain { operator.drain() } else { operator.emit() };
        let rows = published(operator, &emission.unwrap());
        if rows.is_empty() {
            return;
        }
        // What a drain publishes of windows over windows, they have once more when the inner ones end.
        table.apply(&rows, operator.query().inner.is_none());
    }
}
