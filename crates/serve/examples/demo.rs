//! Serves the page with numbers that change, to look at it without a pipeline:
//! `cargo run -p serve --example demo -- [busy|empty|down|behind] [ADDRESS]`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a tool for developers")]

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use model::{Clock, SystemClock};
use serve::{Live, PartitionNumbers, QueryNumbers, Server, StageNumbers, StreamNumbers};

const SECOND_US: i64 = 1_000_000;
const MERCHANTS: [&str; 8] = [
    "Alder Books",
    "Brook Bakery",
    "City Trams",
    "Delta Diner",
    "Elm Electric",
    "Fern Florist",
    "Grand Hotel",
    "Harbour Fish",
];

#[tokio::main]
async fn main() -> Result<(), serve::Error> {
    let mut arguments = std::env::args().skip(1);
    let scenario = arguments.next().unwrap_or_else(|| "busy".to_owned());
    let listen: SocketAddr =
        arguments.next().as_deref().unwrap_or("127.0.0.1:8080").parse().expect("an address like 127.0.0.1:8080");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let live = Live::new("payments", Arc::clone(&clock));
    tokio::spawn(feed(live.clone(), clock, scenario));
    let server = Server::bind(listen).await?;
    println!("http://{}/", server.address());
    server.run(live, std::future::pending()).await
}

async fn feed(live: Live, clock: Arc<dyn Clock>, scenario: String) {
    let mut ticks = tokio::time::interval(Duration::from_millis(250));
    let mut sent = 0.0;
    loop {
        ticks.tick().await;
        let t = clock.elapsed().as_secs_f64();
        let rate = if scenario == "empty" { 0.0 } else { 3_000.0 + 400.0 * (t * TAU / 23.0).sin() };
        sent += rate / 4.0;
        let down = scenario == "down" && t > 4.0;
        peers(&live, down);
        stages(&live, (t * 40.0) as u64, down);
        if scenario == "empty" {
            live.set_stream("transactions", StreamNumbers::default());
            live.set_query("merchant_minutes", QueryNumbers::default());
            live.set_query("large_payments", QueryNumbers::default());
            continue;
        }
        let lag = if scenario == "behind" { 40_000.0 + t * 500.0 } else { 20.0 + 15.0 * (t * 3.0).sin() };
        live.set_stream("transactions", stream(sent + 60_000.0, lag, clock.now_us()));
        live.set_query("merchant_minutes", windows(t, sent, clock.now_us()));
        live.set_query("large_payments", payments(sent));
        if !down {
            let center = 45.0 + 12.0 * (t * TAU / 17.0).sin();
            let spread: Vec<u64> = (0..60_u64).map(|step| (center + (step * step) as f64 / 22.0) as u64).collect();
            live.record_latencies_ms(&spread);
        }
    }
}

fn peers(live: &Live, down: bool) {
    live.set_peer("kafka", true, "127.0.0.1:9092, embedded");
    live.set_peer("registry", true, "http://127.0.0.1:8081, embedded");
    let postgres = if down { "connection refused" } else { "postgres://127.0.0.1:5432/tillstream" };
    live.set_peer("postgresql", !down, postgres);
}

fn stages(live: &Live, steps: u64, down: bool) {
    for stage in ["ingest", "validate", "process", "store"] {
        let trouble = (down && stage == "store").then(|| "waiting for postgresql: connection refused".to_owned());
        live.set_stage(stage, StageNumbers { steps, trouble, share: None });
    }
}

fn stream(records: f64, lag: f64, now_us: i64) -> StreamNumbers {
    let share = |of: f64| (records * of) as u64;
    StreamNumbers {
        raw_end: records as u64,
        raw_done: (records - lag).max(0.0) as u64,
        validated: share(0.984),
        rejected: BTreeMap::from([
            ("duplicate".to_owned(), share(0.009)),
            ("rule".to_owned(), share(0.004)),
            ("late".to_owned(), share(0.002)),
            ("decode".to_owned(), share(0.001)),
        ]),
        watermark_us: Some(now_us - 2 * SECOND_US),
        partitions: (0..4)
            .map(|partition| PartitionNumbers {
                partition,
                watermark_us: Some(now_us - 2 * SECOND_US - i64::from(partition) * 100_000),
                idle: partition == 3,
            })
            .collect(),
    }
}

fn windows(t: f64, sent: f64, now_us: i64) -> QueryNumbers {
    let window_s = now_us / SECOND_US / 60 * 60;
    let into = (now_us - window_s * SECOND_US) as f64 / SECOND_US as f64;
    let row = |window_s: i64, seconds: f64, index: usize| {
        let clock = format!("{:02}:{:02}", window_s / 3_600 % 24, window_s / 60 % 60);
        let count = seconds * (90.0 - 9.0 * index as f64) * (1.0 + 0.1 * (t / 7.0 + index as f64).sin());
        let columns = vec![
            ("payments".to_owned(), format!("{count:.0}")),
            ("amount".to_owned(), format!("{:.2}", count * (23.5 + index as f64))),
            ("largest".to_owned(), format!("{:.2}", 180.0 + 40.0 * index as f64)),
            ("currency".to_owned(), "EUR".to_owned()),
        ];
        (format!("{clock} · {}", MERCHANTS[index % MERCHANTS.len()]), columns)
    };
    let open = (0..8).map(|index| row(window_s, into, index));
    let before = (0..4).map(|index| row(window_s - 60, 60.0, index));
    QueryNumbers {
        rows_published: (t * 64.0) as u64,
        windows_open: 2,
        groups_open: 812,
        state_bytes: 1_400_000 + (sent as u64 % 90_000),
        spilled_bytes: 0,
        stored_rows: (t * 63.9) as u64,
        limits_reached: 0,
        latest: open.chain(before).collect(),
        batch: None,
    }
}

fn payments(sent: f64) -> QueryNumbers {
    let newest = (sent / 600.0) as u64;
    let latest = (0..6_u64)
        .map(|back| {
            let number = newest.saturating_sub(back);
            let columns = vec![
                ("account_id".to_owned(), format!("a{}", number * 7_919 % 10_000)),
                ("amount".to_owned(), format!("{}.00", 1_000 + number * 37 % 4_000)),
                ("country".to_owned(), ["DE", "FR", "NL", "PL"][(number % 4) as usize].to_owned()),
            ];
            (format!("t{number}"), columns)
        })
        .collect();
    QueryNumbers { rows_published: newest, stored_rows: newest, latest, ..QueryNumbers::default() }
}
