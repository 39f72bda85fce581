//! The server over real HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use model::{Clock, ManualClock, SystemClock};
use serde_json::Value;
use serve::{Error, Live, PartitionNumbers, QueryNumbers, Server, ShareNumbers, StageNumbers, StreamNumbers};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const DEADLINE: Duration = Duration::from_secs(20);

/// A server on a free port.
struct Rig {
    live: Live,
    address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), Error>>,
}

async fn start() -> Rig {
    start_with(Arc::new(SystemClock::new())).await
}

async fn start_with(clock: Arc<dyn Clock>) -> Rig {
    let live = Live::new("payments", clock);
    let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = server.address();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(server.run(live.clone(), async {
        stopped.await.unwrap();
    }));
    Rig { live, address, stop, running }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("this must not take so long")
}

struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Rig {
    /// Sends a GET by HTTP/1.0, whose answers end with the connection, and returns the connection.
    async fn ask(&self, path: &str, headers: &str) -> BufReader<TcpStream> {
        let mut connection = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n{headers}\r\n", self.address);
        connection.write_all(request.as_bytes()).await.unwrap();
        BufReader::new(connection)
    }

    async fn get_with(&self, path: &str, headers: &str) -> Answer {
        soon(async {
            let mut connection = self.ask(path, headers).await;
            let (status, headers) = head(&mut connection).await;
            let mut body = Vec::new();
            connection.read_to_end(&mut body).await.unwrap();
            Answer { status, headers, body }
        })
        .await
    }

    async fn get(&self, path: &str) -> Answer {
        self.get_with(path, "").await
    }
}

/// Reads the status and the headers.
async fn head(connection: &mut BufReader<TcpStream>) -> (u16, BTreeMap<String, String>) {
    let mut line = String::new();
    connection.read_line(&mut line).await.unwrap();
    let status = line.split(' ').nth(1).unwrap().parse().unwrap();
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        connection.read_line(&mut line).await.unwrap();
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_owned()),
            None => return (status, headers),
        };
    }
}

/// Reads up to the next event's data; None at the end.
async fn event(connection: &mut BufReader<TcpStream>) -> Option<Value> {
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line).await.unwrap() == 0 {
            return None;
        }
        if let Some(data) = line.strip_prefix("data: ") {
            return Some(serde_json::from_str(data).unwrap());
        }
    }
}

fn transactions(raw_end: u64) -> StreamNumbers {
    StreamNumbers {
        raw_end,
        raw_done: raw_end - 7,
        validated: raw_end - 10,
        rejected: BTreeMap::from([("late".to_owned(), 1), ("rule".to_owned(), 2)]),
        watermark_us: Some(1_700_000_000_500_000),
        partitions: vec![
            PartitionNumbers { partition: 0, watermark_us: Some(1_700_000_000_500_000), idle: false },
            PartitionNumbers { partition: 1, watermark_us: None, idle: true },
        ],
    }
}

fn fill(live: &Live) {
    live.set_stream("transactions", transactions(1_000));
    let columns = vec![("amount".to_owned(), "12.50".to_owned())];
    live.set_query(
        "merchant \"minutes\"\n",
        QueryNumbers {
            rows_published: 40,
            windows_open: 2,
            groups_open: 9,
            state_bytes: 4_096,
            spilled_bytes: 8_192,
            stored_rows: 39,
            limits_reached: 2,
            latest: vec![("10:04 · <b>m1</b>".to_owned(), columns)],
            batch: Some(serve::BatchNumbers {
                number: 7,
                input_per_second: 1_200,
                duration_ms: 250,
                watermark_us: Some(1_700_000_000_500_000),
                state_rows: 33,
            }),
        },
    );
    live.set_stage("validate", StageNumbers { steps: 12, trouble: None, share: None });
    live.set_peer("kafka", true, "127.0.0.1:9092");
    live.record_latency_ms(40);
    live.record_latencies_ms(&[50, 60]);
}

#[tokio::test]
async fn the_live_document_has_what_the_page_reads() {
    let rig = start_with(Arc::new(ManualClock::at(1_760_000_000_000_000))).await;
    let empty = rig.get("/api/live").await;
    assert_eq!((empty.status, empty.json()["health"]["level"].as_str()), (200, Some("starting")));
    assert_eq!(empty.json()["latency_ms"], Value::Null);

    fill(&rig.live);
    let answer = rig.get("/api/live").await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    let document = answer.json();
    assert_eq!(document["pipeline"], "payments");
    assert_eq!(document["totals"]["lag"], 7);
    assert_eq!(document["latency_ms"]["count"], 3);
    assert_eq!(document["latency_ms"]["p50"], 50);
    let stream = &document["streams"][0];
    assert_eq!(stream["rejected"], serde_json::json!({ "late": 1, "rule": 2 }));
    assert!(stream["watermark_age_ms"].as_u64().unwrap() > 1_000_000);
    assert_eq!(stream["partitions"][1]["watermark_us"], Value::Null);
    assert_eq!(document["queries"][0]["latest"][0]["columns"], serde_json::json!([["amount", "12.50"]]));
    assert_eq!(document, rig.live.snapshot_json());
}

/// Every field that the page's TypeScript names is in the document, and the other way round.
#[tokio::test]
async fn the_page_and_the_document_name_the_same_fields() {
    let rig = start().await;
    fill(&rig.live);
    rig.live
        .set_stage("store", StageNumbers { steps: 1, trouble: Some("waiting for postgresql".to_owned()), share: None });
    fn fields(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    found.insert(name.clone());
                    // Names of reasons are data.
                    if name != "rejected" {
                        fields(value, found);
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| fields(value, found)),
            _ => {}
        }
    }
    let mut ours = BTreeSet::new();
    fields(&rig.get("/api/live").await.json(), &mut ours);
    let mut history = rig.get("/api/history").await.json();
    history["queries"] = Value::Null;
    fields(&history, &mut ours);
    let source = include_str!("../../../web/src/api.ts");
    let theirs: BTreeSet<String> = source
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split_once(':'))
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(ours, theirs);
}

#[tokio::test]
async fn history_has_a_point_from_the_first_report_on() {
    let rig = start().await;
    fill(&rig.live);
    let history = rig.get("/api/history").await.json();
    assert_eq!(history["time_us"].as_array().unwrap().len(), history["lag"].as_array().unwrap().len());
    assert!(!history["time_us"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn events_move_and_end_at_shutdown() {
    let rig = start().await;
    rig.live.set_stream("transactions", transactions(100));
    let mut connection = rig.ask("/api/events", "Accept-Encoding: gzip\r\n").await;
    let (status, headers) = soon(head(&mut connection)).await;
    assert_eq!((status, headers["content-type"].as_str()), (200, "text/event-stream"));
    assert!(!headers.contains_key("content-encoding"), "compression would hold events back");
    let first = soon(event(&mut connection)).await.unwrap();
    assert_eq!(first["totals"]["raw_end"], 100);
    rig.live.set_stream("transactions", transactions(250));
    soon(async { while event(&mut connection).await.unwrap()["totals"]["raw_end"] != 250 {} }).await;
    rig.stop.send(()).unwrap();
    soon(async { while event(&mut connection).await.is_some() {} }).await;
    soon(rig.running).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_reader_that_hangs_does_not_hold_shutdown_up() {
    let rig = start().await;
    // A request whose head never ends.
    let mut hanging = TcpStream::connect(rig.address).await.unwrap();
    hanging.write_all(b"GET /api/live HTTP/1.1\r\nHost: x\r\nX-Slow").await.unwrap();
    assert_eq!(rig.get("/livez").await.status, 200);
    rig.stop.send(()).unwrap();
    soon(rig.running).await.unwrap().unwrap();
}

#[tokio::test]
async fn event_streams_are_capped_and_their_places_given_back() {
    let rig = start().await;
    let mut open = Vec::new();
    for _ in 0..32 {
        let mut connection = rig.ask("/api/events", "").await;
        assert_eq!(soon(head(&mut connection)).await.0, 200);
        open.push(connection);
    }
    let refused = rig.get("/api/events").await;
    assert_eq!((refused.status, refused.headers["retry-after"].as_str()), (503, "10"));
    assert!(refused.text().contains("/api/live"), "{}", refused.text());
    assert_eq!(rig.get("/api/live").await.status, 200);
    open.pop();
    soon(async {
        loop {
            let mut connection = rig.ask("/api/events", "").await;
            if head(&mut connection).await.0 == 200 {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn readiness_names_what_is_missing() {
    let rig = start().await;
    assert_eq!(rig.get("/readyz").await.status, 503);
    fill(&rig.live);
    let ready = rig.get("/readyz").await;
    assert_eq!((ready.status, ready.text()), (200, "ready\n"));
    rig.live.set_stage(
        "store",
        StageNumbers { steps: 3, trouble: Some("waiting for postgresql: refused".to_owned()), share: None },
    );
    rig.live.set_peer("postgresql", false, "connection refused");
    let missing = rig.get("/readyz").await;
    assert_eq!(missing.status, 503);
    let text = "not ready\npeer postgresql: connection refused\nstage store: waiting for postgresql: refused\n";
    assert_eq!(missing.text(), text);
    assert_eq!(rig.get("/livez").await.status, 200, "an outage of a peer is no reason to restart");
    rig.live.set_stage("store", StageNumbers { steps: 4, trouble: None, share: None });
    rig.live.set_peer("postgresql", true, "");
    assert_eq!(rig.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn a_process_tells_what_of_each_stage_is_its_own() {
    let rig = start().await;
    fill(&rig.live);
    let text = "has 2 of 4 partitions: orders.raw 0, 2".to_owned();
    let share = Some(ShareNumbers { partitions: 2, of: 4, text: text.clone() });
    rig.live.set_stage("validate", StageNumbers { steps: 13, trouble: None, share });
    assert_eq!(rig.get("/readyz").await.text(), format!("ready\nstage validate: {text}\n"));
    let metrics = rig.get("/metrics").await.text().to_owned();
    for line in
        ["tillstream_stage_partitions{stage=\"validate\"} 2", "tillstream_stage_partitions_all{stage=\"validate\"} 4"]
    {
        assert!(metrics.lines().any(|found| found == line), "{metrics}");
    }
    assert!(rig.get("/api/live").await.text().contains(&text));
}

/// Splits a sample's line into name, labels and value, as
/// <https://prometheus.io/docs/specs/om/open_metrics_spec/#abnf> says.
fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let name_end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no value: {line}"));
    let (name, mut rest) = line.split_at(name_end);
    assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
            let (mut value, mut escaped, mut end) = (String::new(), false, None);
            for (at, c) in after.char_indices() {
                match (escaped, c) {
                    (true, 'n') => value.push('\n'),
                    (true, '"' | '\\') => value.push(c),
                    (false, '"') => {
                        end = Some(at);
                        break;
                    }
                    (false, '\\') => {}
                    (false, c) => value.push(c),
                    (true, c) => panic!("escaped {c}: {line}"),
                }
                escaped = !escaped && c == '\\';
            }
            labels.insert(label.to_owned(), value);
            rest = &after[end.unwrap_or_else(|| panic!("open label: {line}")) + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("no space: {line}"));
    (name.to_owned(), labels, value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
}

#[tokio::test]
async fn every_line_of_the_metrics_parses() {
    let rig = start().await;
    fill(&rig.live);
    let answer = rig.get("/metrics").await;
    assert!(answer.headers["content-type"].starts_with("application/openmetrics-text; version=1.0.0"));
    let text = answer.text();
    assert!(text.ends_with("# EOF\n"));
    let mut types = BTreeMap::new();
    let mut samples = Vec::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            match (words.next(), words.next(), words.next()) {
                (Some("TYPE"), Some(name), Some(kind)) => {
                    assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "two families {name}");
                }
                (Some("HELP" | "UNIT"), Some(_), Some(_)) | (Some("EOF"), None, None) => {}
                _ => panic!("{line}"),
            }
            continue;
        }
        let (name, labels, value) = sample(line);
        assert!(name.starts_with("tillstream_"), "{line}");
        samples.push((name, labels, value));
    }
    let find = |name: &str, wanted: &[(&str, &str)]| {
        let found = samples.iter().find(|(of, labels, _)| {
            of == name && wanted.iter().all(|(label, value)| labels.get(*label).is_some_and(|found| found == value))
        });
        found.unwrap_or_else(|| panic!("no {name} {wanted:?} in\n{text}")).2
    };
    assert_eq!(find("tillstream_records_total", &[("stream", "transactions"), ("outcome", "validated")]), 990.0);
    assert_eq!(find("tillstream_records_total", &[("outcome", "rejected")]), 3.0);
    assert_eq!(find("tillstream_rejects_total", &[("stream", "transactions"), ("reason", "rule")]), 2.0);
    assert_eq!(find("tillstream_lag_records", &[("stream", "transactions")]), 7.0);
    let watermark = [("stream", "transactions"), ("partition", "0")];
    assert_eq!(find("tillstream_watermark_timestamp_seconds", &watermark), 1_700_000_000.5);
    assert_eq!(find("tillstream_end_to_end_latency_seconds_count", &[]), 3.0);
    assert_eq!(find("tillstream_end_to_end_latency_seconds_bucket", &[("le", "0.05")]), 2.0);
    let query = [("query", "merchant \"minutes\"\n")];
    assert_eq!(find("tillstream_query_state_bytes", &query), 4_096.0);
    assert_eq!(find("tillstream_query_spilled_bytes", &query), 8_192.0);
    assert_eq!(find("tillstream_query_rows_published_total", &query), 40.0);
    assert_eq!(find("tillstream_query_rows_stored_total", &query), 39.0);
    assert_eq!(find("tillstream_pattern_limits_total", &query), 2.0);
    assert_eq!(find("tillstream_query_batch_input_records_per_second", &query), 1_200.0);
    assert_eq!(find("tillstream_query_batch_duration_seconds", &query), 0.25);
    assert_eq!(find("tillstream_query_batch_watermark_timestamp_seconds", &query), 1_700_000_000.5);
    assert_eq!(find("tillstream_query_state_rows", &query), 33.0);
    assert_eq!(find("tillstream_stage_steps_total", &[("stage", "validate")]), 12.0);
    assert_eq!(find("tillstream_stage_up", &[("stage", "validate")]), 1.0);
    assert_eq!(find("tillstream_peer_up", &[("peer", "kafka")]), 1.0);
    assert_eq!(find("tillstream_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    assert_eq!(types["tillstream_end_to_end_latency_seconds"], "histogram");
    assert_eq!(types["tillstream_records"], "counter");
}

#[tokio::test]
async fn pages_come_with_a_strict_policy_and_ask_no_other_host() {
    let rig = start().await;
    for path in ["/", "/plain/"] {
        let page = rig.get(path).await;
        assert_eq!((page.status, page.headers["content-type"].as_str()), (200, "text/html; charset=utf-8"));
        let policy = &page.headers["content-security-policy"];
        assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self'"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        assert_eq!(page.headers["x-content-type-options"], "nosniff");
        // Every file that the page names is here, and no script or style stands in the page itself.
        let html = page.text();
        assert!(!html.contains("://") && !html.contains("<style") && !html.contains(" style="), "{html}");
        let mut files = 0;
        for part in html.split(['"', '\'']).filter(|part| part.starts_with('/') && part.contains('.')) {
            let file = rig.get(part).await;
            assert_eq!(file.status, 200, "{part}");
            files += 1;
        }
        assert!(files >= 3, "{html}");
        for script in html.split("<script").skip(1) {
            let (attributes, rest) = script.split_once('>').unwrap();
            assert!(attributes.contains("src=") && rest.starts_with("</script>"), "inline script: {script}");
        }
    }
    assert_eq!(rig.get("/plain").await.headers["location"], "/plain/");
    assert_eq!(rig.get("/plain/nothing.js").await.status, 404);
    assert_eq!(rig.get("/nothing").await.status, 404);
}

#[tokio::test]
async fn files_are_compressed_and_not_sent_twice() {
    let rig = start().await;
    let whole = rig.get("/plain/app.js").await;
    let packed = rig.get_with("/plain/app.js", "Accept-Encoding: gzip\r\n").await;
    assert_eq!(packed.headers["content-encoding"], "gzip");
    assert!(packed.body.len() < whole.body.len());
    for answer in [&whole, &packed] {
        let again = rig.get_with("/plain/app.js", &format!("If-None-Match: {}\r\n", answer.headers["etag"])).await;
        assert_eq!((again.status, again.body.len()), (304, 0));
    }
}

#[tokio::test]
async fn a_taken_port_says_so() {
    let rig = start().await;
    let error = Server::bind(rig.address).await.expect_err("the port is taken");
    assert!(matches!(error, Error::PortTaken { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&rig.address.port().to_string()) && text.contains("taken"), "{text}");
    let version = rig.get("/version").await.json();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
}
