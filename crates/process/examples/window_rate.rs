//! How many rows a second one core folds into windows: 10 seconds tumbling by one text key, count and sum of a decimal.
//!
//! `cargo run --release -p process --example window_rate [distinct keys] [rows per batch]`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::{ArrayRef, Decimal128Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use process::{OperatorOptions, QueryOperator, Source};
use rand::Rng as _;
use sql::{Catalog, StreamTable};

const TEXT: &str = "SELECT category, count(*) AS n, sum(amount) AS total FROM payments GROUP BY window(event_time, '10 seconds'), category";
const BATCHES: usize = 64;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>().expect("a number"));
    let (keys, rows) = (arguments.next().unwrap_or(40), arguments.next().unwrap_or(8192));
    let schema = Arc::new(Schema::new(vec![
        Field::new("event_time", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        Field::new("category", DataType::Utf8, false),
        Field::new("amount", DataType::Decimal128(12, 2), false),
    ]));
    let stream = StreamTable { schema: Arc::clone(&schema), event_time: "event_time".into(), key: "account".into() };
    let catalog = Catalog { streams: [("payments".into(), stream)].into(), references: BTreeMap::new() };
    let query = Arc::new(sql::compile("rate", TEXT, &catalog).expect("it compiles"));
    let mut operator = QueryOperator::new(query, &BTreeMap::new(), OperatorOptions::default()).expect("it starts");

    let mut random = model::clock::seeded(7);
    let offsets: Vec<i64> = (0..).take(rows).collect();
    let batches: Vec<RecordBatch> = (0..BATCHES)
        .map(|batch| {
            // 3,000 rows per second of event time, slightly out of order.
            let times = (0..rows).map(|row| ((batch * rows + row) as i64) * 333 + random.random_range(0..500_000));
            let times = TimestampMicrosecondArray::from(times.collect::<Vec<_>>()).with_timezone("UTC");
            let categories: StringArray =
                (0..rows).map(|_| Some(format!("category number {}", random.random_range(0..keys)))).collect();
            let amounts: Decimal128Array = (0..rows).map(|_| Some(random.random_range(1..100_000i128))).collect();
            let amounts = amounts.with_precision_and_scale(12, 2).unwrap();
            let columns: Vec<ArrayRef> = vec![Arc::new(times), Arc::new(categories), Arc::new(amounts)];
            RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()
        })
        .collect();

    let (mut pushed, mut published) = (0, 0);
    let start = Instant::now();
    for batch in &batches {
        operator.push(batch, &Source { stream: "payments", partition: 0, raw_offsets: &offsets }).unwrap();
        pushed += batch.num_rows();
        operator.advance((pushed as i64) * 333 - 10_000_000).unwrap();
        published += operator.emit().unwrap().versions.len();
    }
    let seconds = start.elapsed().as_secs_f64();
    let state = operator.state_bytes();
    println!(
        "{pushed} rows in {seconds:.3} s: {:.2} million rows/s; {published} results, {state} bytes of state",
        pushed as f64 / seconds / 1e6
    );
}
