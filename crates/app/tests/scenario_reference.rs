//! A reference table in PostgreSQL that changes while payments flow and the pipeline is killed: each payment is joined with one version
//! for ever, and windows say what the rows say.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reports by panicking"
)]

use std::fmt::Write as _;
use std::time::Duration;

use nix::sys::signal::Signal;
use testkit::project::{Column, ProjectDir, examples};

const BINARY: &str = env!("CARGO_BIN_EXE_tillstream");
const WAIT: Duration = Duration::from_secs(90);

/// Windows of payments by the merchant's category, worked out by PostgreSQL from the rows that carry the category they were joined with.
const WINDOWS: &str = "SELECT window_start, category, country, currency, payments, total FROM bi.spend_by_category";
const RECOMPUTED: &str = "SELECT date_bin('10 seconds', event_time, 'epoch'), merchant_category, merchant_country, currency, count(*), sum(amount)
     FROM bi.payments_enriched WHERE status = 'approved' AND merchant_name IS NOT NULL GROUP BY 1, 2, 3, 4";

/// The payments example with its merchants in the project's PostgreSQL.
fn project(column: Column, refresh: &str) -> ProjectDir {
    let project = ProjectDir::of_example("payments", BINARY, column);
    project.edit(
        "tillstream.yaml",
        "    file: reference/merchants.csv\n",
        &format!("    table: shop.merchants\n{refresh}"),
    );
    let file =
        std::fs::read_to_string(project.path.join("reference/merchants.csv")).expect("the example has merchants");
    let rows: Vec<String> = file
        .lines()
        .skip(1)
        .map(|line| {
            let fields: Vec<String> = line.split(',').map(|field| format!("'{}'", field.replace('\'', "''"))).collect();
            format!("({})", fields.join(", "))
        })
        .collect();
    project.sql("CREATE SCHEMA shop; CREATE TABLE shop.merchants (merchant_id varchar(20) PRIMARY KEY, name text, category text, country char(2))");
    project.sql(&format!("INSERT INTO shop.merchants VALUES {}", rows.join(", ")));
    project
}

/// Lets all merchants have another category, and waits until payments carry it.
fn change(project: &ProjectDir, suffix: &str) {
    project.sql(&format!(
        "UPDATE shop.merchants SET category = split_part(category, '/', 1) || '/{suffix}'; NOTIFY merchants_changed"
    ));
}

fn wait_for(project: &ProjectDir, suffix: &str) {
    let query = format!("SELECT count(*) > 0 FROM bi.payments_enriched WHERE merchant_category LIKE '%/{suffix}'");
    project.wait_for_value(&query, "t", WAIT);
}

fn generate(seconds: &str) -> [&str; 4] {
    ["--rate", "1500", "--for", seconds]
}

fn a_table_changes_under_load(column: Column, refresh: &str) {
    let project = project(column, refresh);
    let mut pipeline = project.up(&[]);
    for suffix in ["one", "two"] {
        let mut generator = project.start("generate", &generate("60s"));
        change(&project, suffix);
        wait_for(&project, suffix);
        change(&project, &format!("{suffix}b"));
        wait_for(&project, &format!("{suffix}b"));
        // Killed under load; the table changes once more before the next start.
        pipeline.kill();
        generator.kill();
        change(&project, &format!("{suffix}c"));
        pipeline = project.up(&[]);
    }
    let mut generator = project.start("generate", &generate("60s"));
    wait_for(&project, "twoc");
    generator.kill();
    pipeline.signal(Signal::SIGTERM);
    assert_eq!(pipeline.wait(WAIT).code(), Some(0), "{}", pipeline.tail());

    change(&project, "last");
    let mut pipeline = project.up(&[]);
    let mut generator = project.start("generate", &generate("2s"));
    wait_for(&project, "last");
    assert!(generator.wait(WAIT).success(), "{}", generator.tail());
    pipeline.signal(Signal::SIGTERM);
    assert_eq!(pipeline.wait(WAIT).code(), Some(0), "{}", pipeline.tail());
    drain(&project);
    let differences = project.sql(&format!(
        "(SELECT 'missing', * FROM (({RECOMPUTED}) EXCEPT ALL ({WINDOWS})) AS m) UNION ALL (SELECT 'extra', * FROM (({WINDOWS}) EXCEPT ALL ({RECOMPUTED})) AS e) LIMIT 5"
    ));
    assert!(differences.is_empty(), "{differences:#?}");
    // Positions that were joined with a version lie before those of the next one.
    let order = "one,oneb,onec,two,twob,twoc,last";
    let turned = project.sql_value(&format!(
        "WITH rows AS (SELECT source_partition, source_offset,
                 array_position(string_to_array('{order}', ','), nullif(split_part(merchant_category, '/', 2), '')) AS version
             FROM bi.payments_enriched WHERE merchant_name IS NOT NULL),
         steps AS (SELECT coalesce(version, 0) AS version,
                 lag(coalesce(version, 0)) OVER (PARTITION BY source_partition ORDER BY source_offset) AS before FROM rows)
         SELECT count(*) FILTER (WHERE version < before), count(DISTINCT version) >= 6 FROM steps"
    ));
    assert_eq!(turned, "0,t", "versions follow one another in each partition");
    let accepted =
        "SELECT (SELECT sum(validated) FROM ops.stream_progress) = (SELECT count(*) FROM bi.payments_enriched)";
    assert_eq!(project.sql_value(accepted), "t", "each accepted payment has its row");
}

#[test]
fn a_table_is_polled_on_the_embedded_systems() {
    a_table_changes_under_load(Column::Embedded, "    refresh: 200ms\n");
}

#[test]
fn changes_are_announced_on_kafka_and_a_postgresql_server() {
    a_table_changes_under_load(Column::Servers, "    refresh: 1h\n    notify: merchants_changed\n");
}

#[test]
fn a_broken_file_is_shown_and_changes_nothing() {
    let project = ProjectDir::of_example("payments", BINARY, Column::Embedded);
    project.edit(
        "tillstream.yaml",
        "    file: reference/merchants.csv\n",
        "    file: reference/merchants.csv\n    refresh: 100ms\n",
    );
    let file = project.path.join("reference/merchants.csv");
    let good = std::fs::read_to_string(&file).expect("the example has merchants");
    let replace = |content: &str| {
        let beside = file.with_extension("new");
        std::fs::write(&beside, content).expect("the file can be written");
        std::fs::rename(&beside, &file).expect("the file can be replaced");
    };
    let mut pipeline = project.up(&[]);
    let mut generator = project.start("generate", &generate("60s"));
    project.wait_for_value("SELECT count(*) > 0 FROM bi.payments_enriched", "t", WAIT);
    replace(&format!("{good}m0001,Twice,groceries,DE\n"));
    pipeline.wait_for_line(WAIT, |line| line.contains("the rows read before stay in use") && line.contains("m0001"));
    replace(&good.replace("groceries", "groceries/new"));
    wait_for(&project, "new");
    assert_eq!(project.sql_value("SELECT count(*) FROM bi.payments_enriched WHERE merchant_name = 'Twice'"), "0");
    generator.kill();
    pipeline.signal(Signal::SIGTERM);
    assert_eq!(pipeline.wait(WAIT).code(), Some(0), "{}", pipeline.tail());
}

/// The shop that `init` writes, on the embedded systems.
fn shop() -> ProjectDir {
    let template = examples().parent().expect("the repository").join("crates/project/template");
    ProjectDir::copy_of(&template, BINARY, Column::Embedded)
}

/// Products whose rows are valid for a time: of product 4 there is no row yet when it is ordered, of 2, 5 and 9 there is none at all.
const VALID_PRODUCTS: [&str; 5] = [
    "p1,Espresso,drinks,,2026-01-05T09:00:05Z",
    "p1,Espresso,coffee,2026-01-05T09:00:05Z,",
    "p3,Carrot cake,food,,2026-01-05T09:01:00Z",
    "p3,Carrot cake,cakes,2026-01-05T09:02:10Z,",
    "p4,Club sandwich,food,2026-01-05T09:00:42Z,",
];
/// Another row of a product for a time at which it has one.
const OVERLAPPING: &str = "p1,Espresso,late,2026-01-06T00:00:00Z,";
const VALIDITY: &str = "key: product_id, valid_from: valid_from, valid_to: valid_to";
const VALID_COLUMNS: &str =
    "columns: { product_id: text, name: text, category: text, valid_from: timestamp, valid_to: timestamp }";

/// Lets the shop's products come from somewhere else.
fn products_from(project: &ProjectDir, source: &str) {
    project.edit("tillstream.yaml", "{ file: reference/products.csv, key: product_id }", source);
}

/// The shop's orders were joined with the products that were valid at their time.
fn assert_valid_then(project: &ProjectDir) {
    let found =
        project.sql("SELECT to_char(window_start, 'HH24:MI'), category, units FROM bi.sales_per_minute ORDER BY 1, 2");
    let expected = ["09:00,coffee,2", "09:00,food,1", "09:00,unknown,1", "09:01,unknown,5", "09:02,cakes,20"];
    assert_eq!(found, expected);
}

fn drain(project: &ProjectDir) -> String {
    let ended = project.run("up", &["--drain"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stderr
}

/// Gives the shop a stream of products with this key, whose schema is in `schemas/product.avsc`, and no inputs of its own.
fn with_product_log(project: &ProjectDir, key: &str) {
    let stream =
        format!("streams:\n  product_log: {{ schema: schemas/product.avsc, key: {key}, event_time: changed_at }}\n");
    project.edit("tillstream.yaml", "\nstreams:\n", &format!("\n{stream}"));
    project.edit("tillstream.yaml", "  - { stream: orders, file: data/orders.csv }\n", "");
    project.edit("tillstream.yaml", "\ninputs:\n", "\n");
}

/// Loads one of the project's files into a stream.
fn load(project: &ProjectDir, stream: &str, name: &str) {
    let file = project.path.join(name).display().to_string();
    let ended = project.run("load", &[&file, "--stream", stream]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// Two rows of a key at one time refuse the table, and the one before stays.
fn assert_overlap_refused(project: &ProjectDir) {
    let talk = drain(project);
    assert!(talk.contains("key (p1) that are valid at the same time"), "{talk}");
    assert_valid_then(project);
}

#[test]
fn an_order_is_joined_with_the_product_that_was_valid_then() {
    let project = shop();
    let write = |rows: &[&str]| {
        let text = format!("product_id,name,category,valid_from,valid_to\n{}\n", rows.join("\n"));
        std::fs::write(project.path.join("reference/products.csv"), text).expect("the table can be written");
    };
    write(&VALID_PRODUCTS);
    products_from(&project, &format!("{{ file: reference/products.csv, {VALIDITY} }}"));
    drain(&project);
    assert_valid_then(&project);
    write(&[&VALID_PRODUCTS[..], &[OVERLAPPING]].concat());
    assert_overlap_refused(&project);
}

#[test]
fn rows_of_postgresql_are_valid_for_a_time() {
    let project = shop();
    project.sql(
        "CREATE SCHEMA shop; CREATE TABLE shop.products (product_id text, name text, category text, valid_from timestamptz, valid_to timestamptz)",
    );
    let insert = |rows: &[&str]| {
        let value = |field: &str| if field.is_empty() { "NULL".to_owned() } else { format!("'{field}'") };
        let row = |row: &&str| format!("({})", row.split(',').map(value).collect::<Vec<_>>().join(", "));
        let rows = rows.iter().map(row).collect::<Vec<_>>().join(", ");
        project.sql(&format!("INSERT INTO shop.products VALUES {rows}"));
    };
    insert(&VALID_PRODUCTS);
    products_from(&project, &format!("{{ table: shop.products, {VALIDITY}, {VALID_COLUMNS} }}"));
    drain(&project);
    assert_valid_then(&project);
    insert(&[OVERLAPPING]);
    assert_overlap_refused(&project);
}

#[test]
fn a_topic_is_followed() {
    let project = shop();
    let schema = r#"{ "type": "record", "name": "Product", "fields": [ { "name": "product_id", "type": "string" }, { "name": "name", "type": "string" },
        { "name": "category", "type": "string" }, { "name": "changed_at", "type": { "type": "long", "logicalType": "timestamp-micros" } } ] }"#;
    std::fs::write(project.path.join("schemas/product.avsc"), schema).expect("the schema can be written");
    with_product_log(&project, "product_id");
    project.edit(
        "tillstream.yaml",
        "{ file: reference/products.csv, key: product_id }",
        "{ topic: product_log.validated, key: product_id, record_key: text, refresh: 50ms, columns: { product_id: text, name: text, category: text } }",
    );
    let mut pipeline = project.up(&[]);
    let write_and_load = |stream: &str, name: &str, header: &str, rows: &[&str]| {
        std::fs::write(project.path.join(name), format!("{header}\n{}\n", rows.join("\n")))
            .expect("the file can be written");
        load(&project, stream, name);
    };
    let products = |name: &str, rows: &[&str]| {
        write_and_load("product_log", name, "product_id,name,category,changed_at", rows);
    };
    let orders = |name: &str, rows: &[&str]| {
        write_and_load("orders", name, "order_id,customer_id,product_id,quantity,price,ordered_at", rows);
    };
    products("a.csv", &["p1,Espresso,drinks,2026-01-05T08:00:00Z", "p2,Tea,drinks,2026-01-05T08:00:00Z"]);
    pipeline.wait_for_line(WAIT, |line| line.contains("a new version of a reference table") && line.contains("rows=2"));
    orders("b.csv", &["o1,c1,p1,1,60.00,2026-01-05T09:00:00Z", "o2,c2,p3,1,70.00,2026-01-05T09:00:00Z"]);
    project.wait_for_value("SELECT count(*) FROM bi.large_orders", "2", WAIT);
    products("c.csv", &["p3,Cake,food,2026-01-05T08:00:01Z", "p1,Ristretto,coffee,2026-01-05T08:00:01Z"]);
    // What the topic holds at a start is read before anything is joined.
    let accepted = "SELECT sum(validated) FROM ops.stream_progress WHERE stream = 'product_log'";
    project.wait_for_value(accepted, "4", WAIT);
    pipeline.kill();
    let mut pipeline = project.up(&[]);
    orders("d.csv", &["o3,c1,p1,1,80.00,2026-01-05T09:00:10Z", "o4,c2,p3,1,90.00,2026-01-05T09:00:10Z"]);
    project.wait_for_value("SELECT count(*) FROM bi.large_orders", "4", WAIT);
    let found = project.sql("SELECT order_id, coalesce(product, '-') FROM bi.large_orders ORDER BY 1");
    assert_eq!(found, ["o1,Espresso", "o2,-", "o3,Ristretto", "o4,Cake"]);
    project.wait_for_value("SELECT sum(orders) FROM bi.sales_per_minute", "4", WAIT);
    let found = project.sql("SELECT category, orders FROM bi.sales_per_minute ORDER BY 1");
    assert_eq!(found, ["coffee,1", "drinks,1", "food,1", "unknown,1"]);
    pipeline.signal(Signal::SIGTERM);
    assert_eq!(pipeline.wait(WAIT).code(), Some(0), "{}", pipeline.tail());
}

#[test]
fn rows_of_a_topic_are_valid_for_a_time() {
    let project = shop();
    let optional_time = r#"[ "null", { "type": "long", "logicalType": "timestamp-micros" } ], "default": null"#;
    let schema = format!(
        r#"{{ "type": "record", "name": "Product", "fields": [ {{ "name": "row_id", "type": "string" }}, {{ "name": "product_id", "type": "string" }},
        {{ "name": "name", "type": "string" }}, {{ "name": "category", "type": "string" }}, {{ "name": "valid_from", "type": {optional_time} }},
        {{ "name": "valid_to", "type": {optional_time} }}, {{ "name": "changed_at", "type": {{ "type": "long", "logicalType": "timestamp-micros" }} }} ] }}"#
    );
    std::fs::write(project.path.join("schemas/product.avsc"), schema).expect("the schema can be written");
    with_product_log(&project, "row_id");
    let source = "topic: product_log.validated";
    products_from(&project, &format!("{{ {source}, refresh: 50ms, {VALIDITY}, {VALID_COLUMNS} }}"));
    let mut pipeline = project.up(&[]);
    let products = |name: &str, rows: &[&str]| {
        let mut text = "row_id,product_id,name,category,valid_from,valid_to,changed_at\n".to_owned();
        for (number, row) in rows.iter().enumerate() {
            writeln!(text, "{name} {number},{row},2026-01-05T08:00:00Z").unwrap();
        }
        std::fs::write(project.path.join(name), text).expect("the file can be written");
        load(&project, "product_log", name);
    };
    products("known.csv", &VALID_PRODUCTS);
    pipeline.wait_for_line(WAIT, |line| line.contains("a new version of a reference table") && line.contains("rows=5"));
    load(&project, "orders", "data/orders.csv");
    products("late.csv", &[OVERLAPPING]);
    pipeline.wait_for_line(WAIT, |line| line.contains("key (p1) that are valid at the same time"));
    pipeline.signal(Signal::SIGTERM);
    assert_eq!(pipeline.wait(WAIT).code(), Some(0), "{}", pipeline.tail());
    assert_overlap_refused(&project);
}
