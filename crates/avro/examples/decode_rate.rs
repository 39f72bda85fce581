//! Prints how many payments a second one core decodes, encodes and copies: `cargo run --release -p avro --example decode_rate`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a tool for people")]

use std::time::Instant;

use avro::{Decoder, Encoder, Limits, Reencoder, Schema, json};
use model::BytesColumn;
use serde_json::json;

const SCHEMA: &str = r#"{"type":"record","name":"Payment","fields":[
  {"name":"transaction_id","type":"string"},{"name":"account_id","type":"string"},{"name":"merchant_id","type":"string"},
  {"name":"amount","type":{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}},
  {"name":"currency","type":"string"},{"name":"country","type":["null","string"],"default":null},
  {"name":"card_present","type":"boolean"},{"name":"event_time","type":{"type":"long","logicalType":"timestamp-micros"}}]}"#;
const ROWS: usize = 65_536;
const ROUNDS: usize = 40;

fn main() {
    let schema = Schema::parse(SCHEMA).unwrap();
    let mut values = BytesColumn::default();
    for row in 0..ROWS {
        let payment = json!({
            "transaction_id": format!("tx-{row:028}"), "account_id": format!("acc-{:08}", row % 5_000),
            "merchant_id": format!("m-{:06}", row % 900), "amount": format!("{}.{:02}", row % 700, row % 100),
            "currency": "EUR", "country": if row % 9 == 0 { None } else { Some("DE") }, "card_present": row % 2 == 0,
            "event_time": 1_767_225_600_000_000_i64 + i64::try_from(row).unwrap() * 333,
        });
        let framed = values.push_with(|out| {
            avro::wire::write_header(1, out);
            json::encode(&schema, &payment, out)
        });
        framed.unwrap();
    }
    println!("{} bytes a record", values.byte_len() / ROWS);
    let three = ["account_id".to_owned(), "amount".to_owned(), "event_time".to_owned()];
    for (name, projection) in [("decode 8 columns", None), ("decode 3 of 8 columns", Some(&three[..]))] {
        let mut decoder = Decoder::new(&schema, projection, Limits::default()).unwrap();
        decoder.add_writer(1, &schema).unwrap();
        rate(name, || assert_eq!(decoder.decode(&values).rows.len(), ROWS));
    }
    let mut decoder = Decoder::new(&schema, None, Limits::default()).unwrap();
    decoder.add_writer(1, &schema).unwrap();
    let decoded = decoder.decode(&values);
    let encoder = Encoder::new(&schema, 2).unwrap();
    let reencoder = Reencoder::new(&schema, 2).unwrap();
    let mut out = BytesColumn::default();
    rate("encode 8 columns", || {
        out.clear();
        encoder.encode(&decoded.batch, &mut out).unwrap();
    });
    rate("copy accepted records", || {
        out.clear();
        reencoder.encode(&decoder, &values, &decoded, &mut out).unwrap();
    });
}

fn rate(name: &str, mut work: impl FnMut()) {
    let start = Instant::now();
    (0..ROUNDS).for_each(|_| work());
    #[allow(clippy::cast_precision_loss, reason = "a rate to look at")]
    let rate = (ROWS * ROUNDS) as f64 / start.elapsed().as_secs_f64();
    println!("{name}: {:.2} million a second", rate / 1e6);
}
