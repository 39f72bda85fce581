//! Rows, versions and deletes against a real server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use common::{Database, batch, claim, spec, step, version};
use model::Version;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use store::{StoreBatch, Upserts};

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("key", DataType::Utf8, true), Field::new("total", DataType::Int64, true)]))
}

fn rows(rows: &[(Option<&str>, i64)]) -> RecordBatch {
    let keys: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<StringArray>());
    let totals: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.1)).collect::<Int64Array>());
    RecordBatch::try_new(schema(), vec![keys, totals]).unwrap()
}

fn keys(keys: &[Option<&str>]) -> RecordBatch {
    let keys: ArrayRef = Arc::new(keys.iter().copied().collect::<StringArray>());
    RecordBatch::try_from_iter_with_nullable([("key", keys, true)]).unwrap()
}

const ALL: &str = "SELECT coalesce(key, 'NULL'), total, generation, folded_rows, is_final, is_deleted FROM results.totals ORDER BY key NULLS LAST";

#[tokio::test]
async fn the_greatest_version_wins_null_is_a_key_and_deletes_are_remembered() {
    let database = Database::new().await;
    let table = spec("totals", schema(), &["key"]);
    database.store.ensure_table(&table).await.unwrap();
    let mut writer = database.store.open_writer("store", &[claim("t", 0)], &[table]).await.unwrap();

    let first = rows(&[(Some("a"), 1), (None, 2), (None, 3), (Some("a"), 4)]);
    let versions = vec![version(2, false), version(1, false), version(2, false), version(1, false)];
    let applied =
        writer.apply(batch("totals", first.clone(), versions.clone(), vec![step("t", 0, 0, 4)])).await.unwrap();
    assert_eq!((applied.rows_given, applied.rows_changed), (4, 2));
    assert_eq!(database.lines(ALL).await, ["a 1 1 2 f f", "NULL 3 1 2 f f"]);

    let deletes = Upserts {
        rows: rows(&[(Some("b"), 9)]),
        versions: vec![version(1, false)],
        deletes: keys(&[None, Some("c")]),
        delete_versions: vec![version(3, false), version(1, false)],
    };
    let with_deletes = StoreBatch {
        tables: vec![("totals".into(), deletes)],
        positions: vec![step("t", 0, 4, 6)],
        ..StoreBatch::default()
    };
    writer.apply(with_deletes).await.unwrap();
    assert_eq!(database.lines(ALL).await, ["a 1 1 2 f f", "b 9 1 1 f f", "c - 1 1 f t", "NULL - 1 3 f t"]);
    assert_eq!(database.lines("SELECT * FROM bi.totals ORDER BY key").await, ["a 1 f", "b 9 f"]);

    // The replay of the first batch doesn't bring the deleted row back; a greater version does, and finality counts.
    writer.apply(batch("totals", first, versions, vec![step("t", 0, 6, 10)])).await.unwrap();
    assert_eq!(database.lines("SELECT * FROM bi.totals ORDER BY key").await, ["a 1 f", "b 9 f"]);
    let newer = rows(&[(None, 5), (Some("b"), 10), (Some("a"), 0)]);
    let versions = vec![version(4, false), version(1, true), Version { generation: 2, rows: 1, is_final: false }];
    let applied = writer.apply(batch("totals", newer, versions, vec![step("t", 0, 10, 13)])).await.unwrap();
    assert_eq!(applied.rows_changed, 3);
    assert_eq!(database.lines("SELECT * FROM bi.totals ORDER BY key NULLS LAST").await, ["a 0 f", "b 10 t", "- 5 f"]);
    database.close().await;
}

/// One version of one key, as an upsert or a delete.
type Change = (u8, Version, bool);

/// Random batches, each re-applied with random others, give what the greatest version of each key says.
#[tokio::test]
async fn replays_of_any_suffix_change_nothing() {
    let database = Database::new().await;
    let table = spec("totals", schema(), &["key"]);
    database.store.ensure_table(&table).await.unwrap();
    let one = (0_u8..6, 1_u32..3, 1_u64..6, any::<bool>(), any::<bool>());
    let change = one
        .prop_map(|(key, generation, rows, is_final, deleted)| (key, Version { generation, rows, is_final }, deleted));
    let history =
        (prop::collection::vec(prop::collection::vec(change, 1..8), 1..6), prop::collection::vec(0_usize..6, 0..4));
    let mut runner = TestRunner::default();
    for round in 0..25 {
        let (batches, restarts) = history.new_tree(&mut runner).unwrap().current();
        // A version has one content: what a replay brings is the same as before.
        let mut content: BTreeMap<(u8, Version), bool> = BTreeMap::new();
        let batches: Vec<Vec<Change>> = batches
            .into_iter()
            .map(|batch| {
                batch
                    .into_iter()
                    .map(|(key, version, deleted)| (key, version, *content.entry((key, version)).or_insert(deleted)))
                    .collect()
            })
            .collect();
        database.execute("TRUNCATE results.totals").await;
        let owner = format!("round {round}");
        let mut writer =
            database.store.open_writer(&owner, &[claim("t", 0)], std::slice::from_ref(&table)).await.unwrap();
        let mut order: Vec<usize> = (0..batches.len()).collect();
        for restart in restarts {
            order.extend(restart.min(batches.len())..batches.len());
        }
        for (offset, index) in (0_i64..).zip(order) {
            writer.apply(to_batch(&batches[index], offset)).await.unwrap();
        }
        let mut expected: BTreeMap<u8, (Version, bool)> = BTreeMap::new();
        for (key, version, deleted) in batches.iter().flatten() {
            let entry = expected.entry(*key).or_insert((*version, *deleted));
            if *version > entry.0 {
                *entry = (*version, *deleted);
            }
        }
        let flag = |value: bool| if value { "t" } else { "f" };
        let expected: Vec<String> = expected
            .iter()
            .map(|(key, (version, deleted))| {
                let total = if *deleted { "-".into() } else { total(*key, *version).to_string() };
                let Version { generation, rows, is_final } = version;
                format!("k{key} {total} {generation} {rows} {} {}", flag(*is_final), flag(*deleted))
            })
            .collect();
        assert_eq!(database.lines(ALL).await, expected, "history: {batches:?}");
    }
    database.close().await;
}

fn total(key: u8, version: Version) -> i64 {
    i64::from(key) * 1000 + i64::try_from(version.rows).unwrap() * 10 + i64::from(version.generation)
}

fn to_batch(changes: &[Change], offset: i64) -> StoreBatch {
    let names: Vec<String> = changes.iter().map(|(key, _, _)| format!("k{key}")).collect();
    let select = |deleted: bool| changes.iter().zip(&names).filter(move |((_, _, gone), _)| *gone == deleted);
    let upserts: Vec<(Option<&str>, i64)> =
        select(false).map(|((key, version, _), name)| (Some(name.as_str()), total(*key, *version))).collect();
    let gone: Vec<Option<&str>> = select(true).map(|(_, name)| Some(name.as_str())).collect();
    let upserts = Upserts {
        rows: rows(&upserts),
        versions: select(false).map(|((_, version, _), _)| *version).collect(),
        deletes: keys(&gone),
        delete_versions: select(true).map(|((_, version, _), _)| *version).collect(),
    };
    StoreBatch {
        tables: vec![("totals".into(), upserts)],
        positions: vec![step("t", 0, offset, offset + 1)],
        ..StoreBatch::default()
    }
}

#[tokio::test]
async fn row_by_row_results_are_stored_once() {
    let database = Database::new().await;
    let schema: SchemaRef = Arc::new(Schema::new(vec![
        Field::new("amount", DataType::Int64, true),
        Field::new("source_partition", DataType::Int32, false),
        Field::new("source_offset", DataType::Int64, false),
    ]));
    let table = spec("payments", Arc::clone(&schema), &["source_partition", "source_offset"]);
    database.store.ensure_table(&table).await.unwrap();
    let mut writer = database.store.open_writer("store", &[claim("t", 0)], std::slice::from_ref(&table)).await.unwrap();
    let rows = |offsets: std::ops::Range<i64>| {
        let count = usize::try_from(offsets.end - offsets.start).unwrap();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(offsets.clone())),
            Arc::new(arrow_array::Int32Array::from(vec![0; count])),
            Arc::new(Int64Array::from_iter_values(offsets)),
        ];
        (RecordBatch::try_new(Arc::clone(&schema), columns).unwrap(), vec![version(1, true); count])
    };
    for (range, at) in [(0..5000, 0), (2500..7500, 5000), (0..100, 10_000)] {
        let (rows, versions) = rows(range.clone());
        let to = at + (range.end - range.start);
        writer.apply(batch("payments", rows, versions, vec![step("t", 0, at, to)])).await.unwrap();
    }
    assert_eq!(
        database.lines("SELECT count(*), sum(amount) FROM bi.payments").await,
        [format!("7500 {}", 7499 * 7500 / 2)]
    );

    // Somebody changes a column's type: the writer stops and says so.
    let (rows, versions) = rows(8000..8001);
    for (to_type, next) in [("integer", 10_100), ("boolean USING true", 10_100)] {
        database
            .execute(&format!(
                "DROP VIEW IF EXISTS bi.payments; ALTER TABLE results.payments ALTER COLUMN amount TYPE {to_type}"
            ))
            .await;
        // Where PostgreSQL has a cast between the types, only the rows tell.
        let opened = database.store.open_writer("store", &[claim("t", 0)], std::slice::from_ref(&table)).await;
        let changed = batch("payments", rows.clone(), versions.clone(), vec![step("t", 0, next, next + 1)]);
        let error = match opened {
            Ok(mut writer) => writer.apply(changed).await.unwrap_err(),
            Err(error) => error,
        };
        assert!(matches!(&error, store::Error::TableDiffers { table, .. } if table.contains("payments")), "{error}");
    }
    database.close().await;
}
