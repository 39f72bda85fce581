//! The HTTP door over a real socket, with a sink that keeps records in memory.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ingest::http::{Appended, DoorOptions, OutgoingRecord, RecordSink, SinkError, StreamDoor, router};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

const SCHEMA: &str = r#"{"type":"record","name":"payment","fields":[
    {"name":"id","type":"string"},
    {"name":"account","type":"string"},
    {"name":"amount","type":{"type":"bytes","logicalType":"decimal","precision":20,"scale":2}},
    {"name":"note","type":["null","string"],"default":null},
    {"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}}]}"#;

/// Appends to one partition in memory; what its key says decides about failures.
#[derive(Default)]
struct Memory {
    records: Mutex<Vec<(String, OutgoingRecord)>>,
    is_away: AtomicBool,
    /// If set, a send waits until it is notified.
    gate: Option<Arc<Notify>>,
    entered: Notify,
}

#[async_trait]
impl RecordSink for Memory {
    async fn send(&self, stream: &str, records: Vec<OutgoingRecord>) -> Vec<Result<Appended, SinkError>> {
        self.entered.notify_one();
        if let Some(gate) = &self.gate {
            gate.notified().await;
        }
        let mut log = self.records.lock().unwrap();
        let answer = |record: OutgoingRecord| {
            if self.is_away.load(Ordering::SeqCst) {
                return Err(SinkError::Unavailable { reason: "no broker".into() });
            }
            match record.key.as_deref() {
                Some(b"large") => Err(SinkError::Refused { reason: "message too large".into() }),
                Some(b"lost") => Err(SinkError::Unknown { reason: "timed out".into() }),
                _ => {
                    log.push((stream.to_owned(), record));
                    Ok(Appended { partition: 3, offset: i64::try_from(log.len()).unwrap() - 1 })
                }
            }
        };
        records.into_iter().map(answer).collect()
    }
}

struct Served {
    address: SocketAddr,
    sink: Arc<Memory>,
}

async fn serve(sink: Memory, options: DoorOptions) -> Served {
    let sink = Arc::new(sink);
    let door = |key: &str| StreamDoor::new(avro::Schema::parse(SCHEMA).unwrap(), 7, key).unwrap();
    let streams = BTreeMap::from([("payments".to_owned(), door("account")), ("amounts".to_owned(), door("amount"))]);
    let app = router(streams, Arc::clone(&sink) as Arc<dyn RecordSink>, options);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    Served { address, sink }
}

struct Answer {
    status: u16,
    head: String,
    body: Value,
}

async fn send(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: serde_json::from_str(body).unwrap_or(Value::Null) }
}

fn request(path: &str, content_type: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: door\r\nconnection: close\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\ntraceparent: 00-1-2-01\r\n\r\n{body}",
        body.len()
    )
}

async fn post(served: &Served, content_type: &str, body: &str) -> Answer {
    send(served.address, &request("/v1/streams/payments/records", content_type, body)).await
}

fn payment(account: &str) -> Value {
    json!({ "id": "t1", "account": account, "amount": "5.00", "at": "2026-01-01T00:00:01Z" })
}

#[tokio::test]
async fn records_are_appended_and_told_where() {
    let served = serve(Memory::default(), DoorOptions::default()).await;
    let answer = post(&served, "application/json", &payment("a1").to_string()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, json!({ "appended": 1, "failed": 0, "records": [{ "partition": 3, "offset": 0 }] }));
    let many = json!([payment("a2"), payment("a3")]).to_string();
    let answer = post(&served, "application/json; charset=utf-8", &many).await;
    assert_eq!(answer.body["records"], json!([{ "partition": 3, "offset": 1 }, { "partition": 3, "offset": 2 }]));
    let lines = format!("{}\n\n{}\n", payment("a4"), payment("a5"));
    assert_eq!(post(&served, "application/x-ndjson", &lines).await.body["appended"], 2);
    assert_eq!(post(&served, "application/json", "[]").await.status, 200);
    let records = served.sink.records.lock().unwrap();
    let keys: Vec<_> = records.iter().map(|(_, record)| record.key.clone().unwrap()).collect();
    assert_eq!(keys, [b"a1", b"a2", b"a3", b"a4", b"a5"]);
    let (stream, first) = &records[0];
    assert_eq!(stream, "payments");
    assert_eq!(first.headers, [("traceparent".to_owned(), b"00-1-2-01".to_vec())]);
    assert_eq!(avro::wire::split(&first.value).unwrap().0, 7);
    let schema = avro::Schema::parse(SCHEMA).unwrap();
    let back = avro::json::decode(&schema, &first.value[5..]).unwrap();
    assert_eq!((&back["amount"], &back["account"]), (&json!("5.00"), &json!("a1")));
}

#[tokio::test]
async fn each_flawed_record_is_told_and_the_others_are_appended() {
    let served = serve(Memory::default(), DoorOptions::default()).await;
    let flawed = json!({ "id": "t", "account": "b", "amount": "5.005", "at": 0 });
    let body = format!("[{}, {flawed}, 7, {}]", payment("a"), json!({ "id": "t" }));
    let answer = post(&served, "application/json", &body).await;
    assert_eq!((answer.status, &answer.body["appended"], &answer.body["failed"]), (422, &json!(1), &json!(3)));
    assert_eq!(answer.body["records"][0], json!({ "partition": 3, "offset": 0 }));
    assert_eq!(answer.body["records"][1]["error"]["code"], "invalid_value");
    assert_eq!(answer.body["records"][1]["error"]["pointer"], "/amount");
    assert_eq!(answer.body["records"][2]["error"]["code"], "invalid_json");
    assert_eq!(answer.body["records"][3]["error"]["pointer"], "/account");
    let answer = post(&served, "application/x-ndjson", &format!("{{broken\n{}", payment("c"))).await;
    assert_eq!((answer.status, &answer.body["records"][1]["offset"]), (422, &json!(1)));
}

#[tokio::test]
async fn long_decimals_stay_exact_and_keys_have_one_text() {
    let served = serve(Memory::default(), DoorOptions::default()).await;
    let body = "{\"id\":\"t\",\"account\":\"a\",\"amount\":123456789012345678.91,\"at\":5}\n{\"id\":\"t\",\"account\":\"a\",\"amount\":5,\"at\":5}";
    let answer = send(served.address, &request("/v1/streams/amounts/records", "application/x-ndjson", body)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let records = served.sink.records.lock().unwrap();
    let keys: Vec<_> =
        records.iter().map(|(_, record)| String::from_utf8(record.key.clone().unwrap()).unwrap()).collect();
    assert_eq!(keys, ["123456789012345678.91", "5.00"]);
}

#[tokio::test]
async fn the_brokers_failures_are_told_per_record() {
    let served = serve(Memory::default(), DoorOptions { retry_after_s: 9, ..DoorOptions::default() }).await;
    let answer = post(&served, "application/json", &json!([payment("large"), payment("a")]).to_string()).await;
    assert_eq!((answer.status, &answer.body["records"][0]["error"]["code"]), (422, &json!("refused")));
    let answer = post(&served, "application/json", &json!([payment("a"), payment("lost")]).to_string()).await;
    assert_eq!((answer.status, &answer.body["records"][1]["error"]["code"]), (503, &json!("unknown_outcome")));
    assert_eq!(answer.body["records"][0]["offset"], 1);
    served.sink.is_away.store(true, Ordering::SeqCst);
    let answer = post(&served, "application/json", &payment("a").to_string()).await;
    assert_eq!((answer.status, &answer.body["records"][0]["error"]["code"]), (503, &json!("unavailable")));
    assert!(answer.head.contains("retry-after: 9"), "{}", answer.head);
}

#[tokio::test]
async fn requests_that_can_not_be_served_say_why() {
    let options = DoorOptions {
        body_bytes_max: 1_000,
        records_max: 2,
        body_timeout: Duration::from_millis(100),
        ..DoorOptions::default()
    };
    let served = serve(Memory::default(), options).await;
    let answer = send(served.address, &request("/v1/streams/payment/records", "application/json", "{}")).await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.body["error"]["message"], "there is no stream payment; did you mean payments?");
    assert_eq!(post(&served, "application/x-www-form-urlencoded", "{}").await.status, 415);
    assert_eq!(post(&served, "application/json", "nonsense").await.status, 400);
    assert_eq!(post(&served, "application/json", "").await.status, 400);
    assert_eq!(post(&served, "application/json", "[1,2,3]").await.status, 413);
    assert_eq!(post(&served, "application/json", &" ".repeat(2_000)).await.status, 413);
    let head = "POST /v1/streams/payments/records HTTP/1.1\r\nhost: door\r\nconnection: close\r\ncontent-type: application/json\r\n";
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n7d0\r\n{}\r\n0\r\n\r\n", " ".repeat(2_000));
    assert_eq!(send(served.address, &chunked).await.status, 413);
    let slow = format!("{head}content-length: 10\r\n\r\n{{");
    assert_eq!(send(served.address, &slow).await.status, 408);
    assert_eq!(
        send(served.address, "GET /v1/streams/payments/records HTTP/1.1\r\nhost: door\r\nconnection: close\r\n\r\n")
            .await
            .status,
        405
    );
    let list = send(served.address, "GET /v1/streams HTTP/1.1\r\nhost: door\r\nconnection: close\r\n\r\n").await;
    assert_eq!((list.status, &list.body["streams"][1]["key"]), (200, &json!("account")));
    assert!(served.sink.records.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_is_under_way_is_bounded() {
    let gate = Arc::new(Notify::new());
    let sink = Memory { gate: Some(Arc::clone(&gate)), ..Memory::default() };
    let options = DoorOptions { in_flight_requests_max: 1, ..DoorOptions::default() };
    let served = Arc::new(serve(sink, options).await);
    let first = tokio::spawn({
        let served = Arc::clone(&served);
        async move { post(&served, "application/json", &payment("a").to_string()).await.status }
    });
    tokio::time::timeout(Duration::from_secs(10), served.sink.entered.notified()).await.unwrap();
    let second = post(&served, "application/json", &payment("b").to_string()).await;
    assert_eq!((second.status, &second.body["error"]["code"]), (429, &json!("busy")));
    assert!(second.head.contains("retry-after: 1"));
    gate.notify_one();
    assert_eq!(first.await.unwrap(), 200);
    gate.notify_one();
    assert_eq!(post(&served, "application/json", &payment("c").to_string()).await.status, 200);
}

#[tokio::test]
async fn a_large_body_is_converted_beside_the_server() {
    let served = serve(Memory::default(), DoorOptions::default()).await;
    let many: Vec<Value> = (0..2_000).map(|index| payment(&format!("a{index}"))).collect();
    let answer = post(&served, "application/json", &Value::Array(many).to_string()).await;
    assert_eq!((answer.status, &answer.body["appended"]), (200, &json!(2_000)));
    assert_eq!(answer.body["records"][1_999]["offset"], 1_999);
}
