//! Measures how many rows a second a writer stores: row-by-row results, changing windows, and a replay of rows that are there.
//!
//! `cargo run --release -p store --example copy_merge_rate [URL]`; without a URL a private server in a temporary directory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::disallowed_methods, missing_docs)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::{
    ArrayRef, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use model::{TopicPartition, Version};
use store::private_server::{self, ServerOptions};
use store::{PositionClaim, PositionMove, Store, StoreBatch, StoreOptions, SynchronousCommit, TableSpec, Upserts};

const BATCH: i64 = 65_536;

/// Nine columns of a payment and its position.
fn payments(from: i64) -> RecordBatch {
    let ids = || from..from + BATCH;
    let text = |of: &dyn Fn(i64) -> String| Arc::new(StringArray::from_iter_values(ids().map(of))) as ArrayRef;
    let amounts = Decimal128Array::from_iter_values(ids().map(|id| i128::from(id % 100_000 + 1)));
    let times = TimestampMicrosecondArray::from_iter_values(ids().map(|id| 1_767_225_600_000_000 + id * 300))
        .with_timezone("UTC");
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("transaction_id", text(&|id| format!("t{id:015}"))),
        ("account_id", text(&|id| format!("a{:06}", id * 7919 % 100_000))),
        ("merchant_id", text(&|id| format!("m{:04}", id % 1_000))),
        ("category", text(&|id| format!("category {}", id % 20))),
        ("currency", text(&|_| "EUR".into())),
        ("amount", Arc::new(amounts.with_precision_and_scale(12, 2).unwrap())),
        ("event_time", Arc::new(times)),
        ("source_partition", Arc::new(Int32Array::from_iter_values(ids().map(|id| i32::try_from(id % 4).unwrap())))),
        ("source_offset", Arc::new(Int64Array::from_iter_values(ids().map(|id| id / 4)))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// Windows of a category and a country; each batch brings `BATCH` changes of the same 20,000 windows.
fn windows(round: i64) -> RecordBatch {
    let ids = || 0..BATCH;
    let starts = |plus: i64| {
        let values = ids().map(|id| 1_767_225_600_000_000 + id % 20_000 / 200 * 10_000_000 + plus);
        Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC")) as ArrayRef
    };
    let totals = Decimal128Array::from_iter_values(ids().map(|id| i128::from(id * round)));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("window_start", starts(0)),
        ("window_end", starts(10_000_000)),
        ("category", Arc::new(StringArray::from_iter_values(ids().map(|id| format!("category {}", id % 20))))),
        ("country", Arc::new(StringArray::from_iter_values(ids().map(|id| format!("C{}", id % 200 / 20))))),
        ("payments", Arc::new(Int64Array::from_iter_values(ids()))),
        ("total", Arc::new(totals.with_precision_and_scale(32, 2).unwrap())),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn spec(name: &str, rows: &RecordBatch, identity: &[&str], time: &str) -> TableSpec {
    TableSpec {
        name: name.into(),
        view: name.into(),
        generation: 1,
        schema: rows.schema(),
        identity: identity.iter().map(|name| (*name).to_owned()).collect(),
        time_column: Some(time.into()),
        comment: None,
        column_comments: BTreeMap::new(),
    }
}

#[tokio::main]
async fn main() {
    let home = {
        use std::os::unix::fs::PermissionsExt as _;
        tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o755)).tempdir().unwrap()
    };
    let (url, server) = match std::env::args().nth(1) {
        Some(url) => (url, None),
        None => {
            let server = private_server::start(home.path(), ServerOptions::default()).await.unwrap();
            (server.url(), Some(server))
        }
    };
    for commit in [SynchronousCommit::On, SynchronousCommit::Off] {
        let options = StoreOptions { synchronous_commit: Some(commit), ..StoreOptions::default() };
        let store = Store::connect(&url, options).await.unwrap();
        store.migrate().await.unwrap();
        store
            .query("DROP TABLE IF EXISTS results.payments, results.windows CASCADE; DELETE FROM ops.positions", 0)
            .await
            .unwrap();
        println!("synchronous_commit = {}", commit.setting());
        let row_by_row = spec("payments", &payments(0), &["source_partition", "source_offset"], "event_time");
        let changing =
            spec("windows", &windows(0), &["window_start", "window_end", "category", "country"], "window_start");
        let rounds = 12;
        let new: Vec<RecordBatch> = (0..rounds).map(|round| payments(round * BATCH)).collect();
        measure(&store, "row by row, new", &row_by_row, &new, |_| 1).await;
        measure(&store, "row by row, replayed", &row_by_row, &new, |_| 1).await;
        let changes: Vec<RecordBatch> = (0..rounds).map(windows).collect();
        measure(&store, "windows, changes", &changing, &changes, |round| round + 1).await;
        latency(&store, &row_by_row).await;
    }
    if let Some(server) = server {
        server.stop().await.unwrap();
    }
}

async fn measure(store: &Store, what: &str, table: &TableSpec, batches: &[RecordBatch], version: impl Fn(u64) -> u64) {
    store.ensure_table(table).await.unwrap();
    let claim = PositionClaim { partition: TopicPartition::new(what, 0), topic_id: None, start: 0 };
    let mut writer = store.open_writer("rate", &[claim], std::slice::from_ref(table)).await.unwrap();
    let (mut at, mut changed, mut bytes) = (0, 0, 0);
    let start = Instant::now();
    for (round, rows) in (0..).zip(batches) {
        let versions = vec![Version { generation: 1, rows: version(round), is_final: true }; rows.num_rows()];
        let to = at + BATCH;
        let moved = PositionMove { partition: TopicPartition::new(what, 0), topic_id: None, from: at, to };
        let upserts = Upserts::rows(rows.clone(), versions);
        let batch =
            StoreBatch { tables: vec![(table.name.clone(), upserts)], positions: vec![moved], ..StoreBatch::default() };
        let applied = writer.apply(batch).await.unwrap();
        changed += applied.rows_changed;
        bytes += applied.bytes;
        at = to;
    }
    let seconds = start.elapsed().as_secs_f64();
    let rows = batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    let (rate, megabytes) = (rows as f64 / seconds, bytes as f64 / seconds / 1e6);
    println!("  {what:22} {rate:>10.0} rows/s, {megabytes:>6.1} MB/s, {changed} of {rows} changed");
}

/// Thirty rows at a time, as at 3,000/s with a batch every 10 ms.
async fn latency(store: &Store, table: &TableSpec) {
    let claim = PositionClaim { partition: TopicPartition::new("small", 0), topic_id: None, start: 0 };
    let mut writer = store.open_writer("rate", &[claim], std::slice::from_ref(table)).await.unwrap();
    let rows = payments(100 * BATCH);
    let mut times = Vec::new();
    for at in 0..1_000 {
        let part = rows.slice(usize::try_from(at).unwrap() * 30, 30);
        let versions = vec![Version { generation: 1, rows: 1, is_final: true }; 30];
        let moved = PositionMove { partition: TopicPartition::new("small", 0), topic_id: None, from: at, to: at + 1 };
        let tables = vec![(table.name.clone(), Upserts::rows(part, versions))];
        let start = Instant::now();
        writer.apply(StoreBatch { tables, positions: vec![moved], ..StoreBatch::default() }).await.unwrap();
        times.push(start.elapsed());
    }
    times.sort();
    println!("  30 rows at a time      p50 {:?}, p99 {:?}, max {:?}", times[500], times[990], times[999]);
}
