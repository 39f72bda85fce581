//! What the state of a window costs: bytes per key, the process's memory, and what a snapshot takes.
//!
//! One hour, tumbling by one text key of 16 bytes, `emit: final`, count and sum of a decimal: each key comes twice, in an order that no cache likes.
//!
//! `cargo run --release --workspace --example state_size [keys] [changes|final] [windows per row] [megabytes of memory, then the disk]`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::{ArrayRef, Decimal128Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use process::{OperatorOptions, QueryOperator, Source, Spill};
use sql::{Catalog, StreamTable};
use state::{OwnedParts, SnapshotStore, SnapshotWriter};

const ROWS: usize = 8192;
const HOUR_US: i64 = 3_600_000_000;

fn memory_mb(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let keys: u64 = arguments.first().map_or(1_000_000, |keys| keys.parse().expect("a number"));
    let emit = arguments.get(1).map_or("final", String::as_str);
    let hops: i64 = arguments.get(2).map_or(1, |hops| hops.parse().expect("a number"));
    let text = format!(
        "--! emit: {emit}\nSELECT account, count(*) AS n, sum(amount) AS total FROM payments \
         GROUP BY window(event_time, '3600 seconds', '{} seconds'), account",
        3600 / hops
    );
    let schema = Arc::new(Schema::new(vec![
        Field::new("event_time", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        Field::new("account", DataType::Utf8, false),
        Field::new("amount", DataType::Decimal128(12, 2), false),
    ]));
    let stream = StreamTable { schema: Arc::clone(&schema), event_time: "event_time".into(), key: "account".into() };
    let catalog = Catalog { streams: [("payments".into(), stream)].into(), references: BTreeMap::new() };
    let query = Arc::new(sql::compile("size", &text, &catalog).expect("it compiles"));
    let megabytes = arguments.get(3).map(|megabytes| megabytes.parse::<usize>().expect("a number"));
    let spill = |megabytes| Spill { directory: std::env::temp_dir().into(), bytes_max: megabytes * 1_000_000 };
    let options =
        OperatorOptions { state_bytes_max: 16 << 30, spill: megabytes.map(spill), ..OperatorOptions::default() };
    let mut operator = QueryOperator::new(query, &BTreeMap::new(), options).expect("it starts");

    let before = memory_mb("VmRSS");
    let total = 2 * keys;
    let (mut row, start, mut published) = (0_u64, Instant::now(), 0);
    while row < total {
        let rows = (total - row).min(ROWS as u64);
        // A step without a common divisor with powers of ten visits each key once, then again.
        let numbers: Vec<u64> = (row..row + rows).map(|row| (row % keys) * 618_033_989 % keys).collect();
        let times: Vec<i64> = (row..row + rows).map(|row| (HOUR_US / 2) / total as i64 * row as i64).collect();
        let offsets: Vec<i64> = (row as i64..(row + rows) as i64).collect();
        let accounts: StringArray = numbers.iter().map(|key| Some(format!("account-{key:08}"))).collect();
        let amounts: Decimal128Array = numbers.iter().map(|key| Some(i128::from(*key) % 10_000)).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")),
            Arc::new(accounts),
            Arc::new(amounts.with_precision_and_scale(12, 2).unwrap()),
        ];
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
        operator.push(&batch, &Source { stream: "payments", partition: 0, raw_offsets: &offsets }).unwrap();
        loop {
            let emission = operator.emit().unwrap();
            published += emission.versions.len();
            if emission.is_empty() {
                break;
            }
        }
        row += rows;
    }
    let seconds = start.elapsed().as_secs_f64();
    let metrics = operator.metrics();
    println!(
        "{total} rows in {seconds:.1} s ({:.2} million/s), {published} published; {} groups in {} windows, {} of them in {} MB on the disk; \
         {} MB of state counted, {} MB resident more, {} MB at most",
        total as f64 / seconds / 1e6,
        metrics.groups_open,
        metrics.windows_open,
        metrics.groups_spilled,
        metrics.spilled_bytes / 1_000_000,
        metrics.state_bytes / 1_000_000,
        memory_mb("VmRSS") - before,
        memory_mb("VmHWM")
    );

    let directory = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(&directory.path().to_string_lossy()).unwrap();
    let on_disk = || {
        std::fs::read_dir(directory.path().join("size/contents"))
            .unwrap()
            .map(|file| file.unwrap().metadata().unwrap().len())
    };
    let mut before = 0;
    for number in 1..=3 {
        let start = Instant::now();
        let mut writer = SnapshotWriter::new("size", "size");
        operator.snapshot_in_parts(&mut writer, &OwnedParts { store: &store, owner: "size".into() }).unwrap();
        let took = start.elapsed().as_secs_f64();
        let bytes: u64 = on_disk().sum();
        println!(
            "snapshot {number}: {:.1} MB of parts written in {took:.2} s, {} bytes that name them; {} MB at most",
            (bytes - before) as f64 / 1e6,
            writer.finish().len(),
            memory_mb("VmHWM")
        );
        before = bytes;
    }

    let start = Instant::now();
    operator.advance(2 * HOUR_US).unwrap();
    let mut rows = 0;
    loop {
        let emission = operator.emit().unwrap();
        if emission.is_empty() {
            break;
        }
        rows += emission.versions.len();
    }
    println!("closed: {rows} rows in {:.2} s; {} MB at most", start.elapsed().as_secs_f64(), memory_mb("VmHWM"));
}
