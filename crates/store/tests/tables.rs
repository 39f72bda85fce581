//! Types, DDL and queries against a real server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use common::{Database, batch, claim, spec, step, version};
use model::{Classified as _, Domain};
use store::{Error, Format, GenerationNote, TableSpec};

fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn table(name: &str, columns: &[(&str, DataType)], identity: &[&str]) -> TableSpec {
    let fields: Vec<Field> =
        columns.iter().map(|(name, kind)| Field::new(*name, kind.clone(), !identity.contains(name))).collect();
    spec(name, Arc::new(Schema::new(fields)), identity)
}

#[tokio::test]
async fn every_type_keeps_its_edges() {
    let database = Database::new().await;
    let nines = 10_i128.pow(38) - 1;
    let decimals = |values: Vec<i128>, precision: u8, scale: i8| -> ArrayRef {
        let values: Decimal128Array = values.into_iter().map(Some).chain([None]).collect();
        Arc::new(values.with_precision_and_scale(precision, scale).unwrap())
    };
    // Microseconds since 1970: first and last of PostgreSQL's years, before 1900, before 1970.
    let first_us = -211_813_488_000_000_000 + 946_684_800_000_000;
    let times = vec![Some(first_us), Some(i64::MAX), Some(-2_208_988_800_000_001), Some(-1), Some(0), None];
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from_iter_values(0..6))),
        ("whole", decimals(vec![nines, -nines, 0, 10_000, 1], 38, 0)),
        ("fraction", decimals(vec![nines, -nines, 0, 1, -1], 38, 38)),
        ("money", decimals(vec![9_999_999_999, -9_999_999_999, 0, 1, -100], 10, 2)),
        ("moment", Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))),
        (
            "day",
            Arc::new(Date32Array::from(vec![
                Some(-719_528 - 400_000),
                Some(-1),
                Some(0),
                Some(10_957),
                Some(100_000_000),
                None,
            ])),
        ),
        (
            "text",
            Arc::new(StringArray::from(vec![
                Some(""),
                Some("ä\u{1f600}'\"\\"),
                Some("\t\n"),
                Some("\u{1}"),
                Some("x"),
                None,
            ])),
        ),
        (
            "bytes",
            Arc::new(BinaryArray::from_opt_vec(vec![
                Some(b""),
                Some(b"\0\xff"),
                Some(b"a"),
                Some(b"b"),
                Some(b"c"),
                None,
            ])),
        ),
        ("flag", Arc::new(BooleanArray::from(vec![Some(true), Some(false), Some(true), None, Some(false), None]))),
        ("small", Arc::new(Int32Array::from(vec![Some(i32::MIN), Some(i32::MAX), Some(0), Some(-1), Some(1), None]))),
        ("big", Arc::new(Int64Array::from(vec![Some(i64::MIN), Some(i64::MAX), Some(0), Some(-1), Some(1), None]))),
        (
            "real",
            Arc::new(Float64Array::from(vec![
                Some(f64::MIN),
                Some(f64::NAN),
                Some(-0.0),
                Some(f64::INFINITY),
                Some(0.1),
                None,
            ])),
        ),
    ];
    let rows =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, name != "id")))
            .unwrap();
    let table = spec("edges", rows.schema(), &["id"]);
    database.store.ensure_table(&table).await.unwrap();
    let mut writer = database.store.open_writer("store", &[claim("t", 0)], &[table]).await.unwrap();
    writer.apply(batch("edges", rows, vec![version(1, true); 6], vec![step("t", 0, 0, 6)])).await.unwrap();

    let column = async |name: &str| database.lines(&format!("SELECT {name} FROM bi.edges ORDER BY id")).await;
    let ones = "9".repeat(38);
    assert_eq!(column("whole").await, [&ones, &format!("-{ones}"), "0", "10000", "1", "-"]);
    let zeros = "0".repeat(37);
    assert_eq!(
        column("fraction").await,
        [
            &format!("0.{ones}"),
            &format!("-0.{ones}"),
            &format!("0.{zeros}0"),
            &format!("0.{zeros}1"),
            &format!("-0.{zeros}1"),
            "-"
        ]
    );
    assert_eq!(column("money").await, ["99999999.99", "-99999999.99", "0.00", "0.01", "-1.00", "-"]);
    let moments = column("moment").await;
    assert_eq!(
        moments,
        [
            "4714-11-24 00:00:00+00 BC",
            "294247-01-10 04:00:54.775807+00",
            "1899-12-31 23:59:59.999999+00",
            "1969-12-31 23:59:59.999999+00",
            "1970-01-01 00:00:00+00",
            "-"
        ]
    );
    let days = column("day").await;
    assert_eq!(
        (&days[1..4], days[0].ends_with(" BC")),
        (&["1969-12-31".to_owned(), "1970-01-01".into(), "2000-01-01".into()][..], true)
    );
    assert_eq!(column("text").await, ["", "ä\u{1f600}'\"\\", "\t\n", "\u{1}", "x", "-"]);
    assert_eq!(column("bytes").await, ["\\x", "\\x00ff", "\\x61", "\\x62", "\\x63", "-"]);
    assert_eq!(column("flag").await, ["t", "f", "t", "-", "f", "-"]);
    assert_eq!(column("small").await, ["-2147483648", "2147483647", "0", "-1", "1", "-"]);
    assert_eq!(column("big").await, ["-9223372036854775808", "9223372036854775807", "0", "-1", "1", "-"]);
    assert_eq!(column("real").await, ["-1.7976931348623157e+308", "NaN", "-0", "Infinity", "0.1", "-"]);
    // What is stored is normal: PostgreSQL computes with it.
    assert_eq!(
        database
            .lines("SELECT sum(whole), sum(money) * 3, max(fraction) = min(-fraction) * -1 FROM bi.edges")
            .await
            .len(),
        1
    );
    database.close().await;
}

#[tokio::test]
async fn a_value_that_cannot_be_stored_names_its_place_and_stores_nothing() {
    let database = Database::new().await;
    let money = DataType::Decimal128(3, 1);
    let table = table("values", &[("id", DataType::Int64), ("note", DataType::Utf8), ("money", money)], &["id"]);
    database.store.ensure_table(&table).await.unwrap();
    for (note, money, expected) in [("a\0b", 0, "note"), ("fine", 1_000, "money")] {
        let mut writer =
            database.store.open_writer("store", &[claim("t", 0)], std::slice::from_ref(&table)).await.unwrap();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![1, 2])),
            Arc::new(StringArray::from(vec!["ok", note])),
            Arc::new(Decimal128Array::from(vec![0, money]).with_precision_and_scale(3, 1).unwrap()),
        ];
        let rows = RecordBatch::try_new(Arc::clone(&table.schema), columns).unwrap();
        let error =
            writer.apply(batch("values", rows, vec![version(1, true); 2], vec![step("t", 0, 0, 2)])).await.unwrap_err();
        assert!(matches!(&error, Error::Data { column, row: 1, .. } if column == expected), "{error}");
        assert_eq!(error.retry(), model::Retry::Never);
    }
    assert_eq!(database.lines("SELECT count(*) FROM results.values").await, ["0"]);
    assert_eq!(database.store.positions("store").await.unwrap()[0].next_offset, 0);
    database.close().await;
}

#[tokio::test]
async fn a_change_that_only_adds_alters_the_table_and_the_view_stays() {
    let database = Database::new().await;
    let one = table(
        "spend",
        &[("window_start", utc()), ("category", DataType::Utf8), ("total", DataType::Decimal128(20, 2))],
        &["window_start", "category"],
    );
    database.store.ensure_table(&one).await.unwrap();
    database.execute("CREATE VIEW public.report AS SELECT category, total FROM bi.spend").await;
    // Again: nothing to do. With two more columns, one of them in front: added behind, so that what reads the view goes on.
    database.store.ensure_table(&one).await.unwrap();
    let mut two = table(
        "spend",
        &[
            ("window_start", utc()),
            ("items", DataType::Int64),
            ("category", DataType::Utf8),
            ("total", DataType::Decimal128(20, 2)),
            ("shop", DataType::Utf8),
        ],
        &["window_start", "category"],
    );
    two.comment = Some("what was spent, it's all here".into());
    two.column_comments = BTreeMap::from([("total".into(), "in EUR".into())]);
    database.store.ensure_table(&two).await.unwrap();
    database.store.ensure_table(&two).await.unwrap();
    let columns = "SELECT column_name FROM information_schema.columns WHERE table_schema = 'bi' AND table_name = 'spend' ORDER BY ordinal_position";
    assert_eq!(database.lines(columns).await, ["window_start", "category", "total", "is_final", "items", "shop"]);
    let comments = "SELECT obj_description('bi.spend'::regclass), col_description('results.spend'::regclass, 3)";
    assert_eq!(database.lines(comments).await, ["what was spent, it's all here in EUR"]);
    assert_eq!(database.lines("SELECT * FROM public.report").await, Vec::<String>::new());

    let different = |columns: &[(&str, DataType)], identity: &[&str]| table("spend", columns, identity);
    let base = [
        ("window_start", utc()),
        ("category", DataType::Utf8),
        ("total", DataType::Decimal128(20, 2)),
        ("items", DataType::Int64),
        ("shop", DataType::Utf8),
    ];
    let mut wider = base.clone();
    wider[2].1 = DataType::Decimal128(30, 2);
    for (spec, words) in [
        (different(&wider, &["window_start", "category"]), "total"),
        (different(&base[..4], &["window_start", "category"]), "shop"),
        (different(&base, &["window_start"]), "told apart by"),
    ] {
        let error = database.store.ensure_table(&spec).await.unwrap_err();
        assert!(matches!(error, Error::TableDiffers { .. }) && error.to_string().contains(words), "{error}");
        assert_eq!(error.domain(), Domain::User);
    }
    database.close().await;
}

#[tokio::test]
async fn a_new_generation_takes_the_view_over_at_once() {
    let database = Database::new().await;
    let one = table("spend", &[("category", DataType::Utf8), ("total", DataType::Int64)], &["category"]);
    database.store.ensure_table(&one).await.unwrap();
    let two = TableSpec {
        name: "spend__g2".into(),
        view: "spend".into(),
        generation: 2,
        ..table("x", &[("category", DataType::Utf8), ("total", DataType::Decimal128(20, 2))], &["category"])
    };
    database.store.ensure_table(&two).await.unwrap();
    let mut writer = database.store.open_writer("store", &[claim("t", 0)], std::slice::from_ref(&two)).await.unwrap();
    let values = Decimal128Array::from(vec![150]).with_precision_and_scale(20, 2).unwrap();
    let columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from(vec!["food"])), Arc::new(values)];
    let rows = RecordBatch::try_new(Arc::clone(&two.schema), columns).unwrap();
    writer.apply(batch("spend__g2", rows, vec![version(1, false)], vec![step("t", 0, 0, 1)])).await.unwrap();
    assert_eq!(
        database.lines("SELECT count(*) FROM bi.spend").await,
        ["0"],
        "the view still shows the first generation"
    );
    let notes = [note(&one, false), note(&two, true)];
    database.store.note_generations(&notes).await.unwrap();
    database.execute("GRANT SELECT ON bi.spend TO PUBLIC").await;
    database.execute("GRANT SELECT, UPDATE ON bi.spend TO pg_monitor WITH GRANT OPTION").await;
    let rights = "SELECT acl::text FROM pg_class, unnest(relacl) AS acl WHERE oid = 'bi.spend'::regclass ORDER BY 1";
    let granted = database.lines(rights).await;
    assert_eq!(granted.len(), 3, "{granted:?}");
    // Somebody's long transaction holds up the swap, and nobody who stores.
    let reader = database.store.client().await.unwrap();
    reader.batch_execute("BEGIN; SELECT count(*) FROM bi.spend").await.unwrap();
    let busy = database.store.show_in_view(&two).await.unwrap_err();
    assert!(matches!(busy, Error::TryLater { .. }), "{busy}");
    reader.batch_execute("COMMIT").await.unwrap();
    database.store.show_in_view(&two).await.unwrap();
    assert_eq!(database.lines("SELECT category, total FROM bi.spend").await, ["food 1.50"]);
    assert_eq!(database.lines(rights).await, granted, "rights survive the swap");
    // From now on the first generation leaves it alone.
    database.store.ensure_table(&one).await.unwrap();
    assert_eq!(database.lines("SELECT category, total FROM bi.spend").await, ["food 1.50"]);
    // A swap of unknown outcome is done again and changes nothing; neither does a start that doesn't know of it yet.
    let states = "SELECT generation, state, shown_at IS NOT NULL, ended_at IS NOT NULL, shown_at FROM ops.generations ORDER BY 1";
    let noted = database.lines(states).await;
    assert!(noted[0].starts_with("1 retired t t") && noted[1].starts_with("2 shown t f"), "{noted:?}");
    database.store.show_in_view(&two).await.unwrap();
    database.store.note_generations(&notes).await.unwrap();
    assert_eq!(database.lines(states).await, noted);
    database.close().await;
}

#[tokio::test]
async fn times_that_postgresql_does_not_have_are_infinite() {
    let database = Database::new().await;
    let moments = TimestampMicrosecondArray::from(vec![i64::MIN, i64::MAX]).with_timezone("UTC");
    let columns: [(&str, ArrayRef); 3] = [
        ("id", Arc::new(Int64Array::from_iter_values(0..2))),
        ("moment", Arc::new(moments)),
        ("day", Arc::new(Date32Array::from(vec![i32::MIN, i32::MAX]))),
    ];
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    let table = spec("wild", rows.schema(), &["id"]);
    database.store.ensure_table(&table).await.unwrap();
    let mut writer = database.store.open_writer("store", &[claim("t", 0)], &[table]).await.unwrap();
    writer.apply(batch("wild", rows, vec![version(1, true); 2], vec![step("t", 0, 0, 2)])).await.unwrap();
    let stored = database.lines("SELECT moment, day FROM bi.wild ORDER BY id").await;
    assert_eq!(stored, ["-infinity -infinity", "294247-01-10 04:00:54.775807+00 infinity"]);

    // Two of them would be one row, if it were told apart by them.
    let days: ArrayRef = Arc::new(Date32Array::from(vec![0, i32::MAX]));
    let rows = RecordBatch::try_from_iter([("day", days)]).unwrap();
    let table = spec("by_day", rows.schema(), &["day"]);
    database.store.ensure_table(&table).await.unwrap();
    let mut writer = database.store.open_writer("store", &[claim("u", 0)], &[table]).await.unwrap();
    let applied = writer.apply(batch("by_day", rows, vec![version(1, true); 2], vec![step("u", 0, 0, 2)])).await;
    assert!(matches!(applied.unwrap_err(), Error::Data { column, row: 1, .. } if column == "day"));
    database.close().await;
}

/// Stores the first record of a topic: a row with this value in the table's only column.
async fn store_one(database: &Database, spec: &TableSpec, value: ArrayRef) -> Result<(), Error> {
    let mut writer = database.store.open_writer("store", &[claim("t", 0)], std::slice::from_ref(spec)).await?;
    let rows = RecordBatch::try_new(Arc::clone(&spec.schema), vec![value]).unwrap();
    let one = batch(&spec.name, rows, vec![version(1, false)], vec![step("t", 0, 0, 1)]);
    writer.apply(one).await.map(drop)
}

#[tokio::test]
async fn somebody_elses_constraint_is_named() {
    let database = Database::new().await;
    let spec = table("spend", &[("a", DataType::Int64)], &["a"]);
    database.store.ensure_table(&spec).await.unwrap();
    database.execute("ALTER TABLE results.spend ADD CONSTRAINT a_is_small CHECK (a < 10)").await;
    let refused = store_one(&database, &spec, Arc::new(Int64Array::from(vec![20]))).await.unwrap_err();
    assert!(matches!(refused, Error::TableDiffers { .. }), "{refused}");
    assert!(refused.to_string().contains("a_is_small"), "{refused}");
    database.close().await;
}

#[tokio::test]
async fn a_key_that_is_too_long_for_an_index_is_the_querys_fault() {
    let database = Database::new().await;
    let spec = table("spend", &[("a", DataType::Utf8)], &["a"]);
    database.store.ensure_table(&spec).await.unwrap();
    // Bytes that compress badly.
    let mut state = 1_u64;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'!' + (state >> 33) as u8 % 90)
    };
    let text: String = (0..10_000).map(|_| letter()).collect();
    let refused = store_one(&database, &spec, Arc::new(StringArray::from(vec![text]))).await.unwrap_err();
    assert_eq!(refused.domain(), Domain::User, "{refused}");
    assert!(refused.to_string().contains("substring"), "{refused}");
    database.close().await;
}

#[tokio::test]
async fn a_table_that_was_dropped_is_missed_once_rows_were_stored_in_it() {
    let database = Database::new().await;
    let spec = table("spend", &[("a", DataType::Int64)], &["a"]);
    let is_lost = || database.store.has_lost_table("store", "t", &spec);
    assert!(!is_lost().await.unwrap(), "it is new");
    database.store.ensure_table(&spec).await.unwrap();
    store_one(&database, &spec, Arc::new(Int64Array::from(vec![20]))).await.unwrap();
    assert!(!is_lost().await.unwrap());
    database.execute("DROP TABLE results.spend CASCADE").await;
    assert!(is_lost().await.unwrap());
    database.execute("DELETE FROM ops.positions WHERE topic = 't'").await;
    assert!(!is_lost().await.unwrap());
    database.close().await;
}

fn note(spec: &TableSpec, is_filling: bool) -> GenerationNote {
    GenerationNote {
        query: spec.view.clone(),
        generation: spec.generation,
        table: spec.name.clone(),
        topic: spec.name.clone(),
        text: format!("SELECT {}", spec.generation),
        is_filling,
    }
}

#[tokio::test]
async fn generations_that_no_longer_run_are_told_apart() {
    let database = Database::new().await;
    let spec = |number: u32| TableSpec { generation: number, ..table("spend", &[("a", DataType::Int64)], &["a"]) };
    let store = &database.store;
    let states = || {
        database.lines(
            "SELECT generation, state, altered_at IS NOT NULL, ended_at IS NOT NULL FROM ops.generations ORDER BY 1",
        )
    };
    store.note_generations(&[note(&spec(1), false)]).await.unwrap();
    assert_eq!(states().await, ["1 shown f f"]);
    let commented = GenerationNote { text: "-- new\nSELECT 1".into(), ..note(&spec(1), false) };
    store.note_generations(&[commented.clone(), note(&spec(2), true)]).await.unwrap();
    assert_eq!(states().await, ["1 shown t f", "2 filling f f"]);
    store.note_generations(&[commented.clone(), note(&spec(3), true)]).await.unwrap();
    assert_eq!(states().await, ["1 shown t f", "2 abandoned f t", "3 filling f f"]);
    store.note_generations(&[]).await.unwrap();
    assert_eq!(states().await, ["1 stopped t t", "2 abandoned f t", "3 abandoned f t"]);
    store.note_generations(&[commented]).await.unwrap();
    assert_eq!(states().await, ["1 shown t f", "2 abandoned f t", "3 abandoned f t"]);
    database.close().await;
}

#[tokio::test]
async fn many_processes_may_prepare_the_same_database() {
    let database = Database::new().await;
    let one = table("shared", &[("id", DataType::Int64)], &["id"]);
    let all = (0..8).map(|_| {
        let (store, one) = (database.store.clone(), one.clone());
        tokio::spawn(async move {
            store.migrate().await.unwrap();
            store.ensure_table(&one).await.unwrap();
        })
    });
    for task in all.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    database.execute("INSERT INTO ops.migrations (version, name) VALUES (99, 'from the future')").await;
    let error = database.store.migrate().await.unwrap_err();
    assert!(error.to_string().contains("newer Tillstream"), "{error}");
    database.close().await;
}

#[tokio::test]
async fn ranges_of_time_use_an_index_and_readers_may_read_only_the_views() {
    let database = Database::new().await;
    let mut rows = table(
        "payments",
        &[("event_time", utc()), ("source_partition", DataType::Int32), ("source_offset", DataType::Int64)],
        &["source_partition", "source_offset"],
    );
    rows.time_column = Some("event_time".into());
    let mut windows = table("by_shop", &[("shop", DataType::Utf8), ("window_start", utc())], &["shop", "window_start"]);
    windows.time_column = Some("window_start".into());
    let mut first = table("by_time", &[("window_start", utc()), ("shop", DataType::Utf8)], &["window_start", "shop"]);
    first.time_column = Some("window_start".into());
    let role = format!("reader_{}", std::process::id());
    database.execute(&format!("DROP ROLE IF EXISTS {role}; CREATE ROLE {role}")).await;
    let options = store::StoreOptions { reader_role: Some(role.clone()), ..store::StoreOptions::default() };
    let store = store::Store::connect(&database.url, options).await.unwrap();
    for table in [&rows, &windows, &first] {
        store.ensure_table(table).await.unwrap();
    }
    let indexes = "SELECT indexname FROM pg_indexes WHERE schemaname = 'results' AND indexname LIKE '%time' ORDER BY 1";
    assert_eq!(database.lines(indexes).await, ["by_shop__time", "payments__time"]);
    let rights = format!(
        "SELECT has_table_privilege('{role}', 'bi.payments', 'SELECT'), has_table_privilege('{role}', 'results.payments', 'SELECT'), has_schema_privilege('{role}', 'bi', 'USAGE')"
    );
    assert_eq!(database.lines(&rights).await, ["t f t"]);
    drop(store);
    database.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
    database.close().await;
}

#[tokio::test]
async fn hostile_names_do_no_harm() {
    let database = Database::new().await;
    let name = "x\"; DROP SCHEMA ops CASCADE; --";
    let schema: SchemaRef = Arc::new(Schema::new(vec![
        Field::new(name, DataType::Int64, true),
        Field::new("select", DataType::Utf8, true),
    ]));
    let mut hostile = spec(name, schema, &[name]);
    hostile.comment = Some("'; DROP SCHEMA ops CASCADE; -- \\".into());
    hostile.column_comments = BTreeMap::from([(name.to_owned(), "\\'; DROP SCHEMA ops CASCADE; --".into())]);
    database.store.ensure_table(&hostile).await.unwrap();
    let mut writer = database.store.open_writer(name, &[claim(name, 0)], std::slice::from_ref(&hostile)).await.unwrap();
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![1])), Arc::new(StringArray::from(vec!["'; --"]))];
    let rows = RecordBatch::try_new(Arc::clone(&hostile.schema), columns).unwrap();
    writer.apply(batch(name, rows, vec![version(1, false)], vec![step(name, 0, 0, 1)])).await.unwrap();
    assert_eq!(database.lines("SELECT count(*) FROM bi.\"x\"\"; DROP SCHEMA ops CASCADE; --\"").await, ["1"]);
    assert_eq!(database.store.positions(name).await.unwrap().len(), 1);
    database.close().await;
}

#[tokio::test]
async fn queries_are_written_as_text_csv_and_json() {
    let database = Database::new().await;
    let sql = "SELECT * FROM (VALUES (1, 'a,\"b\"', 1.50::numeric, true, NULL::float8, timestamptz '2026-01-01 00:00+02'), (22, '', 0.10, false, 0.5, NULL)) \
         AS t(id, text, money, flag, real, moment)";
    let written = async |sql: &str, format| {
        let mut out = Vec::new();
        let rows = database.store.query_write(sql, format, &mut out).await.unwrap();
        (String::from_utf8(out).unwrap(), rows)
    };
    assert_eq!(
        written(sql, Format::Csv).await,
        (
            "id,text,money,flag,real,moment\n1,\"a,\"\"b\"\"\",1.50,t,,2025-12-31 22:00:00+00\n22,\"\",0.10,f,0.5,\n"
                .to_owned(),
            2
        )
    );
    let (json, _) = written(sql, Format::Json).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        json[0],
        serde_json::json!({"id": 1, "text": "a,\"b\"", "money": "1.50", "flag": true, "real": null, "moment": "2025-12-31 22:00:00+00"})
    );
    let (text, _) = written("SELECT 1 AS id, 'abc' AS name UNION ALL SELECT 100, 'd'", Format::Text).await;
    assert_eq!(text, "  id | name\n-----+------\n   1 | abc\n 100 | d\n");
    assert_eq!(written("SELECT 1 AS a WHERE false", Format::Json).await.0, "[]\n");
    assert_eq!(
        written("CREATE TABLE public.x (a int); INSERT INTO public.x VALUES (1), (2)", Format::Csv).await,
        (String::new(), 2)
    );

    let result = database.store.query("SELECT n FROM generate_series(1, 1000000) AS n", 3).await.unwrap();
    assert_eq!((result.rows.len(), result.columns[0].type_name.as_str()), (3, "int4"));
    let error = database.store.query("SELECT nope FROM nowhere", 1).await.unwrap_err();
    assert!(matches!(&error, Error::Sql { code, position: Some(18), .. } if code == "42P01"), "{error:?}");
    // What a statement leaves behind ends with it.
    database.store.query("BEGIN; SET timezone = 'Asia/Tokyo'", 1).await.unwrap();
    assert_eq!(database.lines("SHOW timezone").await, ["UTC"]);
    database.close().await;
}
