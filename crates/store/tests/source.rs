//! Tables of a PostgreSQL database read whole: types, errors, changes, notifications.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Decimal128Type, Int64Type};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use common::Database;
use model::{Classified as _, Domain, Retry};
use store::{Listener, Relation, SourceTable};

const TIMEOUT: Duration = Duration::from_secs(10);
const MEMORY: usize = 1_000_000;

fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    let fields: Vec<_> = columns.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true)).collect();
    Arc::new(Schema::new(fields))
}

fn table(database: &Database, name: &str, columns: &[(&str, DataType)]) -> SourceTable {
    SourceTable::new(&database.url, "merchants", Relation::Table(name.into()), schema(columns), TIMEOUT).unwrap()
}

async fn rows(table: &SourceTable) -> RecordBatch {
    table.read_changed(None, MEMORY).await.unwrap().unwrap().rows
}

#[tokio::test]
async fn every_type_comes_as_it_is() {
    let database = Database::new().await;
    database
        .execute(
            "CREATE SCHEMA shop;
             CREATE TYPE shop.risk AS ENUM ('low', 'high');
             CREATE DOMAIN shop.code AS varchar(8);
             CREATE TABLE shop.m (b boolean, i smallint, l integer, d real, n numeric(10,3), t shop.code, e shop.risk,
                 x bytea, at timestamp, zoned timestamptz, day date, whole bigint);
             INSERT INTO shop.m VALUES
                 (true, -3, 70000, 0.5, -1234.500, 'ä''b', 'high', '\\x00ff', '2026-01-31 12:00:00.000001', '2026-01-31 12:00:00+02', '1969-12-31', 12),
                 (null, null, null, null, null, null, null, null, null, null, null, null)",
        )
        .await;
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let columns = [
        ("b", DataType::Boolean),
        ("i", DataType::Int32),
        ("l", DataType::Int64),
        ("d", DataType::Float64),
        ("n", DataType::Decimal128(12, 4)),
        ("t", DataType::Utf8),
        ("e", DataType::Utf8),
        ("x", DataType::Binary),
        ("at", utc.clone()),
        ("zoned", utc),
        ("day", DataType::Date32),
        ("whole", DataType::Decimal128(4, 2)),
    ];
    let table = table(&database, "shop.m", &columns);
    table.check().await.unwrap();
    let read = rows(&table).await;
    let decimal = |value, precision, scale| {
        Decimal128Array::from(vec![Some(value), None]).with_precision_and_scale(precision, scale).unwrap()
    };
    let at = |us| TimestampMicrosecondArray::from(vec![Some(us), None]).with_timezone("UTC");
    let noon_us = 1_769_860_800_000_000;
    let expected: Vec<ArrayRef> = vec![
        Arc::new(BooleanArray::from(vec![Some(true), None])),
        Arc::new(Int32Array::from(vec![Some(-3), None])),
        Arc::new(Int64Array::from(vec![Some(70_000), None])),
        Arc::new(Float64Array::from(vec![Some(0.5), None])),
        Arc::new(decimal(-12_345_000, 12, 4)),
        Arc::new(StringArray::from(vec![Some("ä'b"), None])),
        Arc::new(StringArray::from(vec![Some("high"), None])),
        Arc::new(BinaryArray::from(vec![Some(&[0_u8, 255][..]), None])),
        Arc::new(at(noon_us + 1)),
        Arc::new(at(noon_us - 2 * 3_600_000_000)),
        Arc::new(Date32Array::from(vec![Some(-1), None])),
        Arc::new(decimal(1_200, 4, 2)),
    ];
    assert_eq!(read.columns(), expected);
    database.close().await;
}

#[tokio::test]
async fn what_does_not_fit_is_named() {
    let database = Database::new().await;
    database.execute("CREATE TABLE m (id text, n numeric, at timestamptz)").await;
    let text = |name: &'static str| (name, DataType::Utf8);
    let error = table(&database, "m", &[text("id"), text("nmae"), text("n")]).check().await.unwrap_err();
    assert_eq!((error.domain(), error.retry()), (Domain::User, Retry::Never));
    let message = error.to_string();
    assert!(message.contains("merchants: it has no column nmae, only id, n, at"), "{message}");
    assert!(message.contains("column n is numeric, and text is declared"), "{message}");
    let missing = table(&database, "shop.absent", &[text("id")]).check().await.unwrap_err();
    assert_eq!(missing.domain(), Domain::User);
    assert!(missing.to_string().contains("shop.absent"), "{missing}");

    let money = table(&database, "m", &[text("id"), ("n", DataType::Decimal128(6, 2))]);
    assert_eq!(rows(&money).await.num_rows(), 0);
    let refusal = async |value: &str| {
        database.execute(&format!("TRUNCATE m; INSERT INTO m VALUES ('m7', {value}, 'infinity')")).await;
        money.read_changed(None, MEMORY).await.unwrap_err().to_string()
    };
    let message = refusal("0.005").await;
    assert!(message.contains("column n in the row of id m7: a number has more than the 2 decimal places"), "{message}");
    assert!(refusal("10000").await.contains("decimal(6,2)"));
    assert!(refusal("'NaN'").await.contains("NaN"));
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let times = table(&database, "m", &[text("id"), ("at", time)]);
    assert!(times.read_changed(None, MEMORY).await.unwrap_err().to_string().contains("infinite"));

    database.execute("TRUNCATE m; INSERT INTO m SELECT repeat('x', 100) || i FROM generate_series(1, 1000) i").await;
    let ids = table(&database, "m", &[text("id")]);
    let error = ids.read_changed(None, 100_000).await.unwrap_err().to_string();
    assert!(error.contains("memory"), "{error}");
    assert_eq!(rows(&ids).await.num_rows(), 1_000);

    let gone = SourceTable::new(
        "postgres://nobody@127.0.0.1:1/x",
        "m",
        Relation::Table("m".into()),
        schema(&[text("id")]),
        TIMEOUT,
    );
    assert_eq!(gone.unwrap().check().await.unwrap_err().retry(), Retry::Backoff);
    database.close().await;
}

#[tokio::test]
async fn a_query_is_read_as_a_table_and_can_change_nothing() {
    let database = Database::new().await;
    database.execute("CREATE TABLE a (id int); CREATE TABLE b (id int, fee int); INSERT INTO a VALUES (1), (2); INSERT INTO b VALUES (1, 7)").await;
    let query = |text: &str| {
        let columns = schema(&[("id", DataType::Int64), ("fee", DataType::Int32)]);
        SourceTable::new(&database.url, "fees", Relation::Query(text.into()), columns, TIMEOUT).unwrap()
    };
    let read = rows(&query("SELECT a.id, fee FROM a LEFT JOIN b USING (id) ORDER BY 1 -- with a comment")).await;
    assert_eq!(read.column(0).as_primitive::<Int64Type>().values(), &[1, 2]);
    assert_eq!(rows(&query("SELECT id, fee FROM b;\n")).await.num_rows(), 1);
    for harmful in ["SELECT 1 AS id, 1 AS fee) AS x; DROP TABLE a; SELECT (1", "DELETE FROM a RETURNING id, 1 AS fee"] {
        assert_eq!(query(harmful).read_changed(None, MEMORY).await.unwrap_err().domain(), Domain::User);
    }
    database.execute("CREATE FUNCTION eat() RETURNS int LANGUAGE sql AS 'DELETE FROM a RETURNING id'").await;
    assert!(query("SELECT eat() AS id, 1 AS fee").read_changed(None, MEMORY).await.is_err());
    assert_eq!(database.lines("SELECT count(*) FROM a").await, ["2"]);
    database.close().await;
}

#[tokio::test]
async fn an_unchanged_table_is_not_sent_again() {
    let database = Database::new().await;
    database.execute("CREATE TABLE m (id text, n numeric(4,1)); INSERT INTO m VALUES ('a', 1), ('b', null)").await;
    let table = table(&database, "m", &[("id", DataType::Utf8), ("n", DataType::Decimal128(4, 1))]);
    let first = table.read_changed(None, MEMORY).await.unwrap().unwrap();
    assert!(table.read_changed(Some(&first.fingerprint), MEMORY).await.unwrap().is_none());
    // Written anew in another order, it is still the same.
    database.execute("DELETE FROM m; INSERT INTO m VALUES ('b', null), ('a', 1)").await;
    assert!(table.read_changed(Some(&first.fingerprint), MEMORY).await.unwrap().is_none());
    let mut known = first.fingerprint;
    for change in [
        "UPDATE m SET n = 2 WHERE id = 'a'",
        "DELETE FROM m WHERE id = 'b'",
        "INSERT INTO m VALUES ('a', 2)",
        "TRUNCATE m",
    ] {
        database.execute(change).await;
        let read = table.read_changed(Some(&known), MEMORY).await.unwrap();
        known = read.unwrap_or_else(|| panic!("{change} was missed")).fingerprint;
    }
    database.execute("INSERT INTO m VALUES ('c', 3)").await;
    assert_eq!(rows(&table).await.column(1).as_primitive::<Decimal128Type>().values(), &[30]);
    database.close().await;
}

#[tokio::test]
async fn a_notification_is_heard_and_so_is_the_end() {
    let database = Database::new().await;
    let listener = Listener::open(&database.url, "Merchants changed", TIMEOUT).await.unwrap();
    database.execute("NOTIFY \"Merchants changed\"; NOTIFY \"Merchants changed\", 'again'; NOTIFY other").await;
    tokio::time::timeout(Duration::from_secs(30), listener.heard()).await.expect("it is heard");
    assert!(!listener.is_closed());
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'tillstream reference'";
    database.execute(end).await;
    tokio::time::timeout(Duration::from_secs(30), async {
        while !listener.is_closed() {
            listener.heard().await;
        }
    })
    .await
    .expect("the end is noticed");
    database.close().await;
}
