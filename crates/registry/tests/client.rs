//! The client against the server, and against what is no registry.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Running, record};
use model::{SchemaError, Schemas as _};
use registry::{Authentication, BlockingClient, Client, ClientError, ClientOptions};
use secrecy::SecretString;

/// Answers every request with the same bytes, and keeps the requests.
struct Fixed {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
    count: Arc<AtomicUsize>,
}

fn fixed(status: &str, body: &str) -> Fixed {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    let (requests, count) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
    let (kept, counted) = (Arc::clone(&requests), Arc::clone(&count));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut bytes = [0; 4096];
            let length = stream.read(&mut bytes).unwrap();
            kept.lock().unwrap().push(String::from_utf8_lossy(&bytes[..length]).into_owned());
            counted.fetch_add(1, Ordering::SeqCst);
            // The client may have closed already, when the answer is too large for it.
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    Fixed { url, requests, count }
}

fn blocking(url: &str) -> BlockingClient {
    BlockingClient::new(ClientOptions::new(url)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_a_stage_needs() {
    let server = Running::memory().await;
    let client = Client::new(ClientOptions::new(&server.url)).unwrap();
    let subject = "orders/raw value:x%";
    let schema = record(&["a"]);
    let id = client.register(subject, &schema).await.unwrap();
    assert_eq!(client.by_id(id).await.unwrap().as_ref(), schema);
    assert_eq!(client.subjects().await.unwrap(), [subject]);
    assert_eq!(client.versions(subject).await.unwrap(), [1]);
    let latest = client.latest(subject).await.unwrap();
    assert_eq!(
        (latest.subject.as_str(), latest.version, latest.id, latest.schema.as_str()),
        (subject, 1, id, schema.as_str())
    );
    assert_eq!(client.version(subject, 1).await.unwrap(), latest);
    assert_eq!(client.look_up(subject, &schema).await.unwrap(), latest);
    assert_eq!(client.level(subject).await.unwrap(), "BACKWARD");
    let breaking = record(&["a", "!b"]);
    let verdict = client.check(subject, &breaking).await.unwrap();
    assert!(
        !verdict.is_compatible && verdict.messages[0].contains("READER_FIELD_MISSING_DEFAULT_VALUE"),
        "{verdict:?}"
    );
    assert!(matches!(client.register(subject, &breaking).await, Err(ClientError::Refused { code: 409, .. })));
    client.set_level(subject, "NONE").await.unwrap();
    assert_eq!(client.register(subject, &breaking).await.unwrap(), id + 1);
    assert_eq!(client.ids(subject).await.unwrap(), [id, id + 1]);
    assert_eq!(client.ids("none").await.unwrap(), [0_u32; 0]);
    assert_eq!(client.delete_subject(subject, false).await.unwrap(), [1, 2]);
    assert_eq!(client.ids(subject).await.unwrap(), [id, id + 1], "records of it are there still");
    assert!(matches!(client.latest(subject).await, Err(ClientError::Unknown { code: 40401, .. })));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemas_with_references_come_as_one_text() {
    let server = Running::memory().await;
    server.register("money", r#"{"type":"record","name":"Money","fields":[{"name":"cents","type":"long"}]}"#).await;
    let body = serde_json::json!({
        "schema": r#"{"type":"record","name":"P","fields":[{"name":"m","type":"Money"}]}"#,
        "references": [{ "name": "Money", "subject": "money", "version": 1 }],
    });
    let id = server.post("/subjects/p/versions", &body).await.json()["id"].as_u64().unwrap();
    let client = Client::new(ClientOptions::new(&server.url)).unwrap();
    let text = client.by_id(u32::try_from(id).unwrap()).await.unwrap();
    assert!(avro::Schema::parse(&text).is_ok(), "{text}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_blocking_client_works_on_any_thread_and_tells_errors_apart() {
    let server = Running::memory().await;
    // On a thread of this test's runtime, which is where it would be easiest to get wrong.
    let client = blocking(&server.url);
    let id = client.register("s", &record(&["a"])).unwrap();
    assert_eq!(client.by_id(id).unwrap().as_ref(), record(&["a"]));
    assert_eq!(client.by_id(99), Err(SchemaError::Unknown { id: 99 }));
    assert!(matches!(client.register("s", "{"), Err(SchemaError::Refused { subject, .. }) if subject == "s"));
    assert!(matches!(client.register("s", &record(&["a", "!b"])), Err(SchemaError::Refused { .. })));
    let registered = client.register("s", &record(&["a", "b"])).unwrap();
    assert_eq!(client.ids("s").unwrap(), [id, registered]);
    server.stop().await;
    assert_eq!(client.ids("s").unwrap(), [id, registered]);
    assert!(matches!(client.ids("t"), Err(SchemaError::Unavailable { .. })));
    // What is known needs no registry; the rest is an outage.
    assert!(client.by_id(id).is_ok());
    assert_eq!(client.by_id(registered).unwrap().as_ref(), record(&["a", "b"]), "it was never looked up");
    assert_eq!(client.register("s", &record(&["a"])), Ok(id));
    assert!(matches!(client.by_id(99), Err(SchemaError::Unavailable { .. })));
    assert!(matches!(client.register("s", r#""int""#), Err(SchemaError::Unavailable { .. })));
}

#[test]
fn what_is_no_registrys_answer_is_an_outage_and_never_an_unknown_id() {
    for (status, body) in [
        ("404 Not Found", "<html>nginx</html>"),
        ("404 Not Found", r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#),
        ("404 Not Found", r#"{"error_code":40401,"message":"Subject 'x' not found."}"#),
        ("200 OK", "<html>log in</html>"),
        ("200 OK", "{}"),
        ("302 Found", ""),
        ("401 Unauthorized", r#"{"error_code":401,"message":"Unauthorized"}"#),
        ("429 Too Many Requests", r#"{"error_code":429,"message":"slow down"}"#),
        ("500 Internal Server Error", r#"{"error_code":50001,"message":"Error in the backend data store"}"#),
        ("503 Service Unavailable", ""),
    ] {
        let server = fixed(status, body);
        let outcome = blocking(&server.url).by_id(1);
        assert!(matches!(outcome, Err(SchemaError::Unavailable { .. })), "{status} {body}: {outcome:?}");
        let outcome = blocking(&server.url).register("s", r#""int""#);
        let refused = status.starts_with("404") && body.contains("40401");
        assert!(matches!(outcome, Err(SchemaError::Unavailable { .. })) != refused, "{status} {body}: {outcome:?}");
    }
    let server = fixed("404 Not Found", r#"{"error_code":40403,"message":"Schema 1 not found"}"#);
    assert_eq!(blocking(&server.url).by_id(1), Err(SchemaError::Unknown { id: 1 }));
    // Ids are Java's `int`; for a path with more a registry has no error code of its own.
    let server = fixed("404 Not Found", r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#);
    assert_eq!(blocking(&server.url).by_id(1 << 31), Err(SchemaError::Unknown { id: 1 << 31 }));
}

#[test]
fn a_schema_that_is_not_avro_is_no_outage() {
    let server = fixed("200 OK", r#"{"schemaType":"PROTOBUF","schema":"syntax = \"proto3\";"}"#);
    let outcome = blocking(&server.url).by_id(1);
    assert!(
        matches!(&outcome, Err(SchemaError::Unusable { id: 1, reason }) if reason.contains("PROTOBUF, not Avro")),
        "{outcome:?}"
    );
}

#[test]
fn an_answer_that_is_too_large_or_too_slow_is_given_up() {
    let server = fixed("200 OK", &format!(r#"{{"schema":"{}"}}"#, "x".repeat(100_000)));
    let mut options = ClientOptions::new(&server.url);
    options.response_bytes_max = 50_000;
    let outcome = BlockingClient::new(options).unwrap().by_id(1);
    assert!(
        matches!(&outcome, Err(SchemaError::Unavailable { reason }) if reason.contains("larger than 50000 bytes")),
        "{outcome:?}"
    );
    // Accepts and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut options = ClientOptions::new(format!("http://{}", silent.local_addr().unwrap()));
    options.request_timeout = Duration::from_millis(200);
    assert!(matches!(BlockingClient::new(options).unwrap().by_id(1), Err(SchemaError::Unavailable { .. })));
}

/// A registry that hangs costs who has other things to do a moment, and its answer isn't lost.
#[test]
fn who_has_other_things_to_do_gets_an_answer_when_it_is_there() {
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = blocking(&format!("http://{}", hanging.local_addr().unwrap()));
    for _ in 0..3 {
        let outcome = client.by_id_soon(1);
        assert!(
            matches!(&outcome, Err(SchemaError::Unavailable { reason }) if reason.contains("hasn't answered yet")),
            "{outcome:?}"
        );
    }
    let (mut stream, _) = hanging.accept().unwrap();
    let mut bytes = [0; 4096];
    assert!(stream.read(&mut bytes).unwrap() > 0);
    let body = r#"{"schema":"\"int\""}"#;
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).unwrap();
    let text = loop {
        match client.by_id_soon(1) {
            Err(SchemaError::Unavailable { .. }) => std::thread::yield_now(),
            outcome => break outcome.unwrap(),
        }
    };
    assert_eq!(&*text, r#""int""#);
    hanging.set_nonblocking(true).unwrap();
    assert!(hanging.accept().is_err(), "it was asked once");
}

#[test]
fn credentials_are_sent_and_never_shown() {
    let server = fixed("200 OK", r#"{"schema":"\"int\""}"#);
    let host = server.url.strip_prefix("http://").unwrap();
    let client = blocking(&format!("http://user:p%40ss@{host}"));
    client.by_id(1).unwrap();
    let mut options = ClientOptions::new(&server.url);
    options.authentication = Authentication::Bearer { token: SecretString::from("t0ken") };
    let bearer = BlockingClient::new(options).unwrap();
    bearer.by_id(1).unwrap();
    let requests = server.requests.lock().unwrap().join("\n").to_lowercase();
    assert!(requests.contains("authorization: basic dxnlcjpwqhnz"), "{requests}");
    assert!(requests.contains("authorization: bearer t0ken"), "{requests}");
    let shown = format!("{client:?} {bearer:?} {:?}", fixed("401 Unauthorized", "").url);
    assert!(!shown.contains("p%40ss") && !shown.contains("p@ss") && !shown.contains("t0ken"), "{shown}");
}

#[test]
fn a_schema_is_asked_for_once() {
    let server = fixed("200 OK", r#"{"schema":"\"int\""}"#);
    let client = blocking(&server.url);
    for _ in 0..5 {
        client.by_id(1).unwrap();
    }
    assert_eq!(server.count.load(Ordering::SeqCst), 1);
    client.by_id(2).unwrap();
    assert_eq!(server.count.load(Ordering::SeqCst), 2);
}
