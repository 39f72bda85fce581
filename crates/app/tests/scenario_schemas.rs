//! A stream whose schema changes: records with the earlier one are read by all stages, on both engines, and state goes on.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reports by panicking"
)]

mod common;

use std::fmt::Write as _;
use std::time::Duration;

use common::shop::{load, write};
use common::spark::{drain, on_spark};
use nix::sys::signal::Signal;
use testkit::project::{Column, ProjectDir, examples};

const BINARY: &str = env!("CARGO_BIN_EXE_tillstream");
const PATIENCE: Duration = Duration::from_secs(240);
const QUERIES: [&str; 3] = ["by_channel", "more", "sales_per_minute"];
/// Rows that are folded into the windows.
const FOLDED: &str = "SELECT coalesce(sum(folded_rows), 0) FROM results.sales_per_minute";

/// Reads the columns that are new.
const BY_CHANNEL: &str =
    "SELECT order_id, customer_id, quantity, coalesce(channel, 'unknown') AS channel, points, ordered_at FROM orders";

/// Each customer's last order of the first file, and the first of the second.
const MORE: &str = "SELECT customer_id, first_order, second_order FROM orders MATCH_RECOGNIZE (
  PARTITION BY customer_id ORDER BY ordered_at
  MEASURES FIRST.order_id AS first_order, SECOND.order_id AS second_order
  ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW
  PATTERN (FIRST SECOND) WITHIN INTERVAL '2 minutes'
  DEFINE SECOND AS SECOND.quantity > FIRST.quantity
)";

/// The shop's orders in two files, the second with columns that the schema gets in between, and written by another program.
fn project(column: Column) -> ProjectDir {
    let template = examples().parent().unwrap().join("crates/project/template");
    let project = ProjectDir::copy_of(&template, BINARY, column);
    std::fs::remove_file(project.path.join("queries/large_orders.sql")).unwrap();
    project.edit("schemas/order.avsc", "timestamp-micros", "timestamp-millis");
    let sales = "sum(CAST(o.quantity * o.price AS DECIMAL(20, 2)))";
    project.edit("queries/sales_per_minute.sql", "sum(o.quantity * o.price)", sales);
    project.edit("tillstream.yaml", "file: data/orders.csv", "file: first.csv");
    // No partition is taken for idle between two files.
    let idle = "    event_time: ordered_at\n    idle_timeout: 1h\n";
    project.edit("tillstream.yaml", "    event_time: ordered_at\n", idle);
    let (mut first, mut second) = (
        "order_id,customer_id,product_id,quantity,price,ordered_at\n".to_owned(),
        "order_id;customer_id;product_id;quantity;price;ordered_at;channel;points\n".to_owned(),
    );
    for second_of in 0..200 {
        let at = format!("2026-01-05T09:{:02}:{:02}.250Z", second_of / 60, second_of % 60);
        writeln!(first, "x{second_of},c{},p1,1,{}.50,{at}", second_of % 40, second_of % 9).unwrap();
        let at = format!("2026-01-05T09:{:02}:{:02}.250125Z", (second_of + 200) / 60, (second_of + 200) % 60);
        let channel = ["web", "shop", "NULL"][second_of % 3];
        writeln!(second, "y{second_of};c{};p2;2;1.25;{at};{channel};{second_of}", second_of % 40).unwrap();
    }
    std::fs::create_dir_all(project.path.join("patterns")).unwrap();
    write(&project, "patterns/more.sql", MORE);
    write(&project, "first.csv", &first);
    write(&project, "second.csv", &second);
    project
}

/// Three more columns, of which the second file has two, and event times in another unit. All of it is backward compatible.
fn change_schema(project: &ProjectDir) {
    project.edit("schemas/order.avsc", "timestamp-millis", "timestamp-micros");
    let fields = r#""fields": [
    { "name": "note", "type": ["null", "string"], "default": null },
    { "name": "channel", "type": ["null", "string"], "default": null },
    { "name": "points", "type": "long", "default": -1 },"#;
    project.edit("schemas/order.avsc", r#""fields": ["#, fields);
    write(project, "queries/by_channel.sql", BY_CHANNEL);
    let second = r#"file: second.csv, delimiter: ";", null_text: "NULL", absent_is_null: true"#;
    project.edit("tillstream.yaml", "file: first.csv", second);
}

/// The orders of both files, by what they are.
fn assert_complete(project: &ProjectDir) {
    let earlier = "SELECT count(*) FROM bi.by_channel WHERE channel = 'unknown' AND points = -1
         AND ordered_at < TIMESTAMPTZ '2026-01-05 09:03:20Z'";
    assert_eq!(project.sql_value(earlier), "200", "records with the earlier schema");
    assert_eq!(project.sql_value("SELECT sum(points) FROM bi.by_channel WHERE points >= 0"), "19900");
    // 22 rounds of 0.50 to 8.50 and two orders more, and 200 times 2.50.
    assert_eq!(project.sql_value("SELECT sum(sales) FROM bi.sales_per_minute"), "1393.00");
    let matches = "SELECT count(*) FROM bi.more WHERE first_order LIKE 'x%' AND second_order LIKE 'y%'";
    assert_eq!(project.sql_value(matches), "40");
}

/// Which record a row came from depends on how the records lay in their partition, and the local engine learns of the last watermark after a
/// drain.
fn assert_same(one: &ProjectDir, other: &ProjectDir) {
    for query in QUERIES {
        let row = "to_jsonb(t) - '{source_partition,source_offset,is_final}'::text[]";
        let rows = format!("SELECT {row} FROM bi.{query} AS t ORDER BY {row}");
        let (expected, found) = (one.sql(&rows), other.sql(&rows));
        let first = expected.iter().zip(&found).find(|(expected, found)| expected != found);
        assert!(first.is_none(), "{query}: the first row that differs: {first:?}");
        assert_eq!(found.len(), expected.len(), "{query}");
    }
}

/// Loads the first file, stops, changes the schema, goes on with the second one.
fn run_through_a_change(project: &ProjectDir) {
    let mut process = project.up(&[]);
    load(project, "first.csv", "orders");
    project.wait_for_value(FOLDED, "200", PATIENCE);
    process.signal(Signal::SIGINT);
    assert_eq!(process.wait(PATIENCE).code(), Some(0), "{}", process.tail());

    change_schema(project);
    let mut process = project.up(&[]);
    let second = project.path.join("second.csv");
    let how = ["--delimiter", ";", "--null-text", "NULL", "--absent-is-null"];
    let ended = project.run("load", &[&[second.to_str().unwrap(), "--stream", "orders"], &how[..]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    project.wait_for_value(FOLDED, "400", PATIENCE);
    project.wait_for_value("SELECT count(*) FROM bi.by_channel", "400", PATIENCE);
    project.wait_for_value("SELECT count(*) FROM bi.more", "40", PATIENCE);
    process.signal(Signal::SIGINT);
    assert_eq!(process.wait(PATIENCE).code(), Some(0), "{}", process.tail());
    assert_complete(project);
}

#[test]
fn all_stages_go_on_with_a_changed_schema_and_new_queries_read_what_came_before_it() {
    let (embedded, servers) = (project(Column::Embedded), project(Column::Servers));
    run_through_a_change(&embedded);
    run_through_a_change(&servers);
    assert_same(&embedded, &servers);
}

#[test]
fn queries_on_spark_go_on_with_a_changed_schema() {
    let mut spark = project(Column::Servers);
    on_spark(&spark, &testkit::spark::url());
    spark.set("spark.shuffle_partitions=1");
    run_through_a_change(&spark);
}

#[test]
fn records_with_an_earlier_schema_are_drained_alike_on_both_engines() {
    let (local, spark) = (project(Column::Embedded), project(Column::Servers));
    on_spark(&spark, &testkit::spark::url());
    for project in [&local, &spark] {
        drain(project);
        project.edit("schemas/order.avsc", r#""scale": 2"#, r#""scale": 4"#);
        let refused = project.run("up", &["--drain"]);
        assert_eq!(refused.code, Some(3), "{}", refused.stderr);
        assert!(
            refused.stderr.contains("schemas/order.avsc: ") && refused.stderr.contains("`price`"),
            "{}",
            refused.stderr
        );
        project.edit("schemas/order.avsc", r#""scale": 4"#, r#""scale": 2"#);
        change_schema(project);
        // This changes the types of results, too.
        project.edit("schemas/order.avsc", r#""quantity", "type": "int""#, r#""quantity", "type": "long""#);
        assert_eq!(drain(project)["validated"], 400);
        assert_complete(project);
    }
    assert_same(&local, &spark);
}
