//! Bad input of every kind: records that no producer should send, files, settings. Bad data moves aside with its reason, good data around it
//! goes through, and what a person can mend ends with the right exit code and says what to do.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reports by panicking"
)]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use testkit::kafka::{RawRecord, produce};
use testkit::project::{Column, Ended, ProjectDir};

const BINARY: &str = env!("CARGO_BIN_EXE_tillstream");
const TOPIC: &str = "orders.raw";
/// An id that no registry has.
const UNKNOWN_ID: u32 = 0x7000_0000;

/// The project that `tillstream init` makes, without its input, and with one partition, so that an offset names a record.
fn shop() -> ProjectDir {
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../project/template");
    let project = ProjectDir::copy_of(&template, BINARY, Column::Embedded);
    project.edit("tillstream.yaml", "inputs:\n  - { stream: orders, file: data/orders.csv }\n", "");
    project.edit(
        "tillstream.yaml",
        "    schema: schemas/order.avsc\n",
        "    schema: schemas/order.avsc\n    unknown_schema_grace: 0s\n    topic: { partitions: 1 }\n",
    );
    project
}

/// Writes records as a client with the stream's schema would, and as no client should.
struct Client {
    schema: avro::Schema,
    id: u32,
}

impl Client {
    fn of(project: &ProjectDir) -> Self {
        let (_, url) = project.addresses();
        let registry = registry::BlockingClient::new(registry::ClientOptions::new(url)).expect("a client");
        let subject = format!("{TOPIC}-value");
        let id =
            registry.call(|client| async move { client.latest(&subject).await }).expect("the schema is registered").id;
        let text = fs::read_to_string(project.path.join("schemas/order.avsc")).expect("the schema");
        Self { schema: avro::Schema::parse(&text).expect("a schema"), id }
    }

    fn value(&self, order: &Value) -> Vec<u8> {
        let mut value = Vec::new();
        avro::wire::write_header(self.id, &mut value);
        avro::json::encode(&self.schema, order, &mut value).expect("the order fits the schema");
        value
    }
}

fn order(id: &str) -> Value {
    json!({
        "order_id": id, "customer_id": "c1", "product_id": "p1", "quantity": 100, "price": "5.00",
        "ordered_at": "2026-01-05T09:00:00Z",
    })
}

fn with(mut order: Value, field: &str, value: Value) -> Value {
    order[field] = value;
    order
}

/// The order with its price written in `digits` bytes, which no price of 10 digits needs.
fn with_price_of_bytes(client: &Client, id: &str, bytes: usize) -> Vec<u8> {
    let sound = client.value(&order(id));
    // 5.00 is 500 = 0x01f4, written as a length of 2 (zigzag 4) and two bytes.
    let at = sound.windows(3).position(|part| part == [4, 0x01, 0xf4]).expect("the price is in the record");
    let mut value = sound[..at].to_vec();
    value.push(u8::try_from(bytes * 2).expect("a small number"));
    value.extend(std::iter::repeat_n(0x7f, bytes));
    value.extend_from_slice(&sound[at + 3..]);
    value
}

/// What is sent, and the reason for which it is to be rejected; `None` for good records.
fn bad_records(client: &Client) -> Vec<(Option<Vec<u8>>, Option<&'static str>)> {
    let good = |id: &str| client.value(&order(id));
    let flipped = |at: usize, bits: u8| {
        let mut value = good("flipped");
        value[at] ^= bits;
        value
    };
    let sound = good("cut");
    let mut unknown = Vec::new();
    avro::wire::write_header(UNKNOWN_ID, &mut unknown);
    unknown.extend_from_slice(&sound[5..]);
    // Greater than an id can be, which are Java's `int`.
    let mut impossible = unknown.clone();
    impossible[1..5].copy_from_slice(&u32::MAX.to_be_bytes());
    let mut alien = Vec::new();
    avro::wire::write_header(client.id, &mut alien);
    alien.extend_from_slice(&[0xff; 40]);
    let mut trailing = good("trailing");
    trailing.extend_from_slice(b"more");
    let mut large_and_alien = alien.clone();
    large_and_alien.resize(1_000_000, 0xff);
    let large = client.value(&with(order("large"), "product_id", json!("x".repeat(1_000_000))));
    // The customer, "c1", in other bytes: with a NUL, and not UTF-8.
    let customer = |bytes: [u8; 2]| {
        let mut value = good("text");
        let at = value.windows(3).position(|part| part == b"\x04c1").expect("the customer is in the record");
        value[at + 1..at + 3].copy_from_slice(&bytes);
        value
    };
    vec![
        (Some(good("o1")), None),
        (None, Some("wire_format")),
        (Some(Vec::new()), Some("wire_format")),
        (Some(b"{\"order_id\":\"json\"}".to_vec()), Some("wire_format")),
        (Some(sound[..3].to_vec()), Some("wire_format")),
        (Some(sound[..5].to_vec()), Some("decode")),
        (Some(sound[..sound.len() - 2].to_vec()), Some("decode")),
        (Some(good("o2")), None),
        (Some(flipped(0, 1)), Some("wire_format")),
        // The sign of the first text's length.
        (Some(flipped(5, 1)), Some("decode")),
        (Some(alien), Some("decode")),
        (Some(trailing), Some("decode")),
        (Some(customer([0xff, 0xfe])), Some("decode")),
        (Some(unknown), Some("unknown_schema")),
        (Some(impossible), Some("unknown_schema")),
        (Some(good("o3")), None),
        (Some(customer([b'c', 0])), Some("invalid_value")),
        (Some(with_price_of_bytes(client, "precise", 6)), Some("invalid_value")),
        (Some(with_price_of_bytes(client, "enormous", 40)), Some("invalid_value")),
        (Some(large_and_alien), Some("decode")),
        (Some(large), None),
        (Some(client.value(&with(order("none"), "quantity", json!(0)))), Some("rule")),
        (Some(good("o1")), Some("duplicate")),
        (Some(client.value(&with(order("o2"), "quantity", json!(101)))), Some("id_conflict")),
        (Some(client.value(&with(order("past"), "ordered_at", json!("2026-01-05T08:00:00Z")))), Some("late")),
        (Some(client.value(&with(order("future"), "ordered_at", json!("2999-01-01T00:00:00Z")))), Some("future")),
        (Some(good("o4")), None),
    ]
}

#[test]
fn each_bad_record_is_rejected_with_its_reason_and_the_good_ones_are_stored() {
    let project = shop();
    let mut pipeline = project.up(&[]);
    let client = Client::of(&project);
    let records = bad_records(&client);
    let raw: Vec<RawRecord> = records
        .iter()
        .map(|(value, _)| RawRecord {
            key: Some(b"c1".to_vec()),
            value: value.clone(),
            partition: Some(0),
            ..RawRecord::default()
        })
        .collect();
    produce(&project.addresses().0, TOPIC, &raw);
    project.wait_for_value("SELECT count(*) FROM bi.large_orders WHERE order_id = 'o4'", "1", Duration::from_secs(60));
    let expected: Vec<String> = records
        .iter()
        .enumerate()
        .filter_map(|(offset, (_, reason))| reason.map(|reason| format!("{offset},{reason}")))
        .collect();
    let rejected = "SELECT count(*) FROM ops.rejected_records";
    project.wait_for_value(rejected, &expected.len().to_string(), Duration::from_secs(30));
    assert_eq!(project.sql("SELECT raw_offset, reason FROM ops.rejected_records ORDER BY raw_offset"), expected);
    let unsaid = "SELECT count(*) FROM ops.rejected_records WHERE message = '' OR raw_timestamp IS NULL";
    assert_eq!(project.sql_value(unsaid), "0", "each rejection says what is wrong");
    let stored = project.sql("SELECT source_offset FROM bi.large_orders ORDER BY 1");
    let good: Vec<String> = records
        .iter()
        .enumerate()
        .filter(|(_, (_, reason))| reason.is_none())
        .map(|(offset, _)| offset.to_string())
        .collect();
    assert_eq!(stored, good);
    pipeline.signal(Signal::SIGINT);
    assert_eq!(pipeline.wait(Duration::from_secs(150)).code(), Some(0), "{}", pipeline.tail());
}

/// The command ends with `code`, and its message holds all the `words`.
fn assert_says(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, Some(code), "{}\n{}", ended.stdout, ended.stderr);
    for word in words {
        assert!(ended.stderr.contains(word), "the message lacks {word:?}:\n{}", ended.stderr);
    }
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

#[test]
fn a_missing_reference_file_is_a_project_error() {
    let project = shop();
    fs::remove_file(project.path.join("reference/products.csv")).expect("the file is there");
    assert_says(&project.run("check", &[]), 3, &["reference/products.csv", "tillstream.yaml"]);
    assert_says(&project.run("up", &[]), 3, &["reference/products.csv", "tillstream.yaml"]);
}

#[test]
fn an_unreadable_reference_file_is_a_project_error() {
    let project = shop();
    fs::write(project.path.join("reference/products.csv"), "product_id,name,category\np1,Milk\np2,\"Bread,Bakery\n")
        .expect("written");
    assert_says(&project.run("up", &["--drain"]), 3, &["products"]);
    fs::write(project.path.join("reference/products.csv"), [0xff, 0xfe, 0x00, 0x50]).expect("written");
    assert_says(&project.run("up", &["--drain"]), 3, &["products"]);
}

#[test]
fn bad_sql_is_shown_with_its_place() {
    let project = shop();
    project.edit("queries/large_orders.sql", "o.customer_id", "o.costumer_id");
    assert_says(&project.run("check", &[]), 3, &["queries/large_orders.sql:5", "costumer_id", "^", "customer_id"]);
    assert_says(&project.run("up", &["--drain"]), 3, &["queries/large_orders.sql:5", "costumer_id", "^"]);
}

#[test]
fn a_taken_port_is_named_with_what_to_do() {
    let project = shop();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let settings = [
        ("broker.listen", "the broker"),
        ("registry.listen", "the registry"),
        ("serve.listen", "the dashboard"),
        ("ingest.listen", "the door"),
    ];
    for (setting, name) in settings {
        let ended = project.run("up", &["--set", &format!("{setting}={address}")]);
        assert_says(&ended, 4, &[&address, name, &format!("{setting}=")]);
    }
}

#[test]
fn rows_that_do_not_fit_are_reported_and_the_others_loaded() {
    let project = shop();
    let header = "order_id,customer_id,product_id,quantity,price,ordered_at\n";
    let rows = [
        ("a1,c1,p1,1,2.50,2026-01-05T09:00:00Z", None),
        ("a2,c1,p1,1,NaN,2026-01-05T09:00:01Z", Some("price")),
        ("a3,c1,p1,many,2.50,2026-01-05T09:00:02Z", Some("quantity")),
        ("a4,c1,p1,99999999999,2.50,2026-01-05T09:00:03Z", Some("quantity")),
        ("a5,c1,p1,1,2.505,2026-01-05T09:00:04Z", Some("price")),
        ("a6,c1,p1,1,123456789012.00,2026-01-05T09:00:05Z", Some("price")),
        ("a7,c1,p1,1,2.50,yesterday", Some("ordered_at")),
        ("a8,c1,p1,1", None),
        ("a9,c1,p1,1,2.50,2026-01-05T09:00:08Z", None),
    ];
    let text: String = header.chars().chain(rows.iter().flat_map(|(row, _)| row.chars().chain("\n".chars()))).collect();
    let file: PathBuf = project.path.join("data/bad.csv");
    fs::write(&file, text).expect("written");
    let path = file.to_str().expect("a path");
    let ended = project.run("load", &[path, "--stream", "orders", "--output", "json"]);
    assert_says(&ended, 5, &["bad.csv.rejected.jsonl"]);
    let loaded: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(loaded, json!({ "sent": 2, "already": 0, "refused": 7 }));

    let report = project.data_dir().join("load/data_bad.csv.rejected.jsonl");
    let report = fs::read_to_string(report).expect("the report");
    let lines: Vec<Value> = report.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 7, "{report}");
    for line in &lines {
        let row = usize::try_from(line["row"].as_u64().expect("a row")).expect("a small number");
        let (text, column) = rows[row];
        assert_eq!(line["line"], row + 2, "{line}");
        assert!(text.starts_with(&line["raw"].as_str().expect("the row")[..2]), "{line}");
        if let Some(column) = column {
            assert_eq!(line["faults"][0]["column"], column, "{line}");
        }
        assert_ne!(line["faults"][0]["message"], "", "{line}");
    }
    // The same again sends nothing twice.
    let again = project.run("load", &[path, "--stream", "orders", "--output", "json"]);
    let again: Value = serde_json::from_str(&again.stdout).expect("JSON");
    assert_eq!(again["sent"], 0, "{again}");

    let missing = project.run("load", &["nowhere.csv", "--stream", "orders"]);
    assert_says(&missing, 5, &["nowhere.csv"]);
}
