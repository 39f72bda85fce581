//! Records a second on one core: each operator, and how windows grow with keys, open windows, and windows per row.
//!
//! `cargo bench -p process`; a part by its name, as in `cargo bench -p process -- keys`. Making the batches isn't measured, publishing is.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, Decimal128Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use process::{
    Emission, OperatorOptions, PatternOperator, PatternOptions, QueryOperator, ReferenceData, Source, Spill,
};
use sql::{Catalog, ReferenceTable, StreamTable};

const ROWS: usize = 8_192;
const SECOND: i64 = 1_000_000;
/// 3,000 records a second of event time.
const US_PER_ROW: i64 = 333;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("event_time", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        Field::new("account", DataType::Utf8, false),
        Field::new("amount", DataType::Decimal128(12, 2), false),
    ]))
}

/// Accounts with a country each.
fn accounts(count: u64) -> Arc<ReferenceData> {
    let fields = vec![Field::new("id", DataType::Utf8, false), Field::new("country", DataType::Utf8, false)];
    let ids: StringArray = (0..count).map(|key| Some(account(key))).collect();
    let countries: StringArray = (0..count).map(|key| Some(format!("country {}", key % 50))).collect();
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![Arc::new(ids), Arc::new(countries)]).unwrap();
    Arc::new(ReferenceData::new("accounts", 1, rows, vec!["id".into()]).unwrap())
}

fn account(key: u64) -> String {
    format!("account-{key:08}")
}

/// Another one in each of a key's records.
fn amount(key: u64, round: u64) -> i128 {
    i128::from(key * 7_919 + round * 3_571) % 10_000
}

/// What takes the records.
enum Operator {
    Query(Box<QueryOperator>),
    Pattern(Box<PatternOperator>),
}

impl Operator {
    fn push(&mut self, batch: &RecordBatch, raw_offsets: &[i64]) {
        match self {
            Self::Query(query) => query.push(batch, &Source { stream: "payments", partition: 0, raw_offsets }).unwrap(),
            Self::Pattern(pattern) => pattern.push(batch, raw_offsets).unwrap(),
        }
    }

    fn advance(&mut self, watermark_us: i64) {
        match self {
            Self::Query(query) => query.advance(watermark_us).unwrap(),
            Self::Pattern(pattern) => pattern.advance(watermark_us).unwrap(),
        }
    }

    fn emit(&mut self) -> Emission {
        match self {
            Self::Query(query) => query.emit().unwrap(),
            Self::Pattern(pattern) => pattern.emit().unwrap(),
        }
    }
}

/// A stream of records without end: keys in an order that no cache likes, times that go on.
struct Load {
    operator: Operator,
    keys: u64,
    row: i64,
    us_per_row: i64,
    /// How far the watermark is behind the newest row.
    behind_us: i64,
    published: u64,
}

impl Load {
    fn new(text: &str, keys: u64, us_per_row: i64, memory_bytes: Option<usize>) -> Self {
        let table = accounts(1_000);
        let stream = StreamTable { schema: schema(), event_time: "event_time".into(), key: "account".into() };
        let joined = ReferenceTable { schema: table.batch().schema(), key: vec!["id".into()], has_validity: false };
        let catalog =
            Catalog { streams: [("payments".into(), stream)].into(), references: [("accounts".into(), joined)].into() };
        if text.contains("MATCH_RECOGNIZE") {
            let query = Arc::new(sql::compile_pattern("bench", text, &catalog).expect("it compiles"));
            let operator = PatternOperator::new(query, PatternOptions::default()).expect("it starts");
            return Self {
                operator: Operator::Pattern(Box::new(operator)),
                keys,
                row: 0,
                us_per_row,
                behind_us: 5 * SECOND,
                published: 0,
            };
        }
        let query = Arc::new(sql::compile("bench", text, &catalog).expect("it compiles"));
        let tables = BTreeMap::from([("accounts".to_owned(), table)]);
        let spill = memory_bytes.map(|bytes_max| Spill { directory: std::env::temp_dir().into(), bytes_max });
        let options = OperatorOptions { state_bytes_max: 16 << 30, spill, ..OperatorOptions::default() };
        let operator = QueryOperator::new(query, &tables, options).expect("it starts");
        Self {
            operator: Operator::Query(Box::new(operator)),
            keys,
            row: 0,
            us_per_row,
            behind_us: 5 * SECOND,
            published: 0,
        }
    }

    /// One batch, and its rows' offsets.
    fn batch(&mut self) -> (RecordBatch, Vec<i64>) {
        let rows = self.row..self.row + ROWS as i64;
        self.row = rows.end;
        let keys: Vec<u64> =
            rows.clone().map(|row| (row.unsigned_abs() % self.keys) * 618_033_989 % self.keys).collect();
        let times: Vec<i64> = rows.clone().map(|row| row * self.us_per_row).collect();
        let amounts: Decimal128Array = keys
            .iter()
            .zip(rows.clone())
            .map(|(key, row)| Some(amount(*key, row.unsigned_abs() / self.keys)))
            .collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")),
            Arc::new(keys.iter().map(|key| Some(account(*key))).collect::<StringArray>()),
            Arc::new(amounts.with_precision_and_scale(12, 2).unwrap()),
        ];
        (RecordBatch::try_new(schema(), columns).unwrap(), rows.collect())
    }

    /// Takes a batch, moves the watermark, and publishes.
    fn take(&mut self, (batch, raw_offsets): &(RecordBatch, Vec<i64>)) {
        self.operator.push(batch, raw_offsets);
        self.operator.advance(self.row * self.us_per_row - self.behind_us);
        loop {
            let emission = self.operator.emit();
            self.published += emission.versions.len() as u64;
            if emission.is_empty() {
                return;
            }
        }
    }
}

fn measure(criterion: &mut Criterion, group: &str, name: &str, mut load: Load, warm_up_rows: u64) {
    while load.row.unsigned_abs() < warm_up_rows {
        let batch = load.batch();
        load.take(&batch);
    }
    let mut benches = criterion.benchmark_group(group);
    benches.throughput(Throughput::Elements(ROWS as u64)).sample_size(10);
    benches.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
    benches.bench_function(BenchmarkId::from_parameter(name), |bench| {
        // Making the batch isn't measured.
        bench.iter_custom(|rounds| {
            let mut took = Duration::ZERO;
            for _ in 0..rounds {
                let batch = load.batch();
                #[allow(clippy::disallowed_methods, reason = "a bench measures time")]
                let start = std::time::Instant::now();
                load.take(&batch);
                took += start.elapsed();
            }
            took
        });
    });
    benches.finish();
}

const TOTALS: &str = "account, count(*) AS n, sum(amount) AS total";

/// Each operator over 1,000 keys.
fn operators(criterion: &mut Criterion) {
    let window = "window(event_time, '10 seconds')";
    let queries = [
        ("filter and projection", "SELECT account, amount * 2 AS twice FROM payments WHERE amount > 5".to_owned()),
        (
            "join",
            "SELECT p.account, a.country, p.amount FROM payments AS p JOIN accounts AS a ON p.account = a.id"
                .to_owned(),
        ),
        ("tumbling, final", format!("--! emit: final\nSELECT {TOTALS} FROM payments GROUP BY {window}, account")),
        ("tumbling, changes", format!("SELECT {TOTALS} FROM payments GROUP BY {window}, account")),
        (
            "session",
            session("5 seconds"),
        ),
        (
            "union of the stream with itself, tumbling, final",
            format!(
                "--! emit: final\nSELECT {TOTALS} FROM (SELECT account, amount, event_time FROM payments
                 UNION ALL SELECT account, -amount, event_time FROM payments) AS both GROUP BY {window}, account"
            ),
        ),
        (
            "windows over windows",
            format!(
                "--! emit: final\nSELECT account, max(total) AS most FROM (SELECT window, {TOTALS} FROM payments GROUP BY {window}, account) AS parts
                 GROUP BY window(window_time(window), '1 minute'), account"
            ),
        ),
        ("join of two streams, 2 pairs per row", pairs("500 milliseconds")),
        ("pattern", pattern("10 seconds")),
    ];
    for (name, text) in &queries {
        measure(criterion, "operators", name, Load::new(text, 1_000, US_PER_ROW, None), 50_000);
    }
}

fn session(gap: &str) -> String {
    format!("--! emit: final\nSELECT {TOTALS} FROM payments GROUP BY session_window(event_time, '{gap}'), account")
}

/// Each payment with those of its account from so long before.
fn pairs(before: &str) -> String {
    format!(
        "SELECT p.account, q.amount FROM payments AS p JOIN payments AS q ON q.account = p.account
         AND q.event_time BETWEEN p.event_time - INTERVAL '{before}' AND p.event_time"
    )
}

/// Half of the rows are small, a tenth of them large.
fn pattern(within: &str) -> String {
    format!(
        "SELECT account, smalls FROM payments MATCH_RECOGNIZE (PARTITION BY account ORDER BY event_time
         MEASURES count(SMALL.*) AS smalls PATTERN (SMALL{{3,}} LARGE) WITHIN INTERVAL '{within}'
         DEFINE SMALL AS amount < 50, LARGE AS amount >= 90)"
    )
}

fn in_an_hour(slide: &str) -> String {
    format!("--! emit: final\nSELECT {TOTALS} FROM payments GROUP BY window(event_time, '1 hour', '{slide}'), account")
}

/// A window of an hour that has all of its keys, in memory; and with a tenth of the memory that they take.
fn keys(criterion: &mut Criterion) {
    for keys in [1_000, 10_000, 100_000, 1_000_000, 10_000_000_u64] {
        // No window ends meanwhile.
        let load = |memory| Load::new(&in_an_hour("1 hour"), keys, 2, memory);
        measure(criterion, "keys", &keys.to_string(), load(None), keys);
        if (100_000..10_000_000).contains(&keys) {
            let memory = usize::try_from(keys).unwrap_or(0) * 9;
            measure(criterion, "keys, nine tenths on the disk", &keys.to_string(), load(Some(memory)), keys);
        }
    }
}

/// What operators that keep rows or keys cost with ever more keys, each of which comes again as often as with few.
fn keys_of_others(criterion: &mut Criterion) {
    const US_PER_ROW: i64 = 2;
    for keys in [1_000, 10_000, 100_000, 1_000_000_i64] {
        // A key comes again after so long.
        let again_us = keys * US_PER_ROW;
        for (group, text) in [
            ("keys of sessions", session(&format!("{} microseconds", 4 * again_us))),
            ("keys of a join of two streams", pairs(&format!("{} microseconds", again_us * 3 / 2))),
            ("keys of a pattern", pattern(&format!("{} microseconds", 8 * again_us))),
        ] {
            let keys = keys.unsigned_abs();
            // What waits for the watermark isn't to be measured.
            let load = Load { behind_us: 0, ..Load::new(&text, keys, US_PER_ROW, None) };
            measure(criterion, group, &keys.to_string(), load, 8 * keys);
        }
    }
}

/// Windows of 10 seconds that the rows of one batch lie in.
fn windows(criterion: &mut Criterion) {
    let text =
        format!("--! emit: final\nSELECT {TOTALS} FROM payments GROUP BY window(event_time, '10 seconds'), account");
    for windows in [1, 10, 100, 1_000] {
        let us_per_row = windows * 10 * SECOND / ROWS as i64;
        measure(
            criterion,
            "windows in a batch",
            &windows.to_string(),
            Load::new(&text, 1_000, us_per_row, None),
            50_000,
        );
    }
}

/// An hour by ever smaller slides: windows per row.
fn slides(criterion: &mut Criterion) {
    let slides = [
        ("1", "1 hour"),
        ("4", "15 minutes"),
        ("12", "5 minutes"),
        ("60", "1 minute"),
        ("360", "10 seconds"),
        ("3600", "1 second"),
    ];
    for (name, slide) in slides {
        measure(criterion, "windows per row", name, Load::new(&in_an_hour(slide), 100, US_PER_ROW, None), 50_000);
    }
}

criterion_group!(benches, operators, keys, keys_of_others, windows, slides);
criterion_main!(benches);
