//! A server on a free port, and raw requests to it.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use registry::{KafkaStorage, Options, Server, Storage};
use serde_json::Value as Json;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A running server.
#[derive(Debug)]
pub struct Running {
    pub url: String,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    http: reqwest::Client,
}

/// Status, content type and body of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Json {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn error_code(&self) -> u64 {
        self.json()["error_code"].as_u64().unwrap_or_else(|| panic!("no error_code: {self:?}"))
    }
}

pub fn kafka_storage(topic: &str) -> Storage {
    let mut storage = KafkaStorage::new(testkit::kafka::bootstrap());
    storage.topic = topic.to_owned();
    Storage::Kafka(storage)
}

impl Running {
    pub async fn start(storage: Storage) -> Self {
        let server =
            Server::bind(Options::new("127.0.0.1:0".parse().unwrap(), storage)).await.expect("the server starts");
        let url = server.url();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let shutdown = async {
                drop(stopped.await);
            };
            server.run(shutdown).await.expect("the server runs");
        });
        // The provider that the client under test chooses too.
        drop(rustls::crypto::ring::default_provider().install_default());
        Self { url, stop: Some(stop), task, http: reqwest::Client::new() }
    }

    pub async fn memory() -> Self {
        Self::start(Storage::Memory).await
    }

    pub async fn stop(mut self) {
        drop(self.stop.take());
        (&mut self.task).await.expect("the server ends");
    }

    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Answer {
        let url = format!("{}{path}", self.url);
        let mut request = self.http.request(method.parse().unwrap(), url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body.to_owned());
        }
        let response = request.send().await.unwrap();
        let content_type = response.headers().get("content-type").unwrap().to_str().unwrap().to_owned();
        Answer { status: response.status().as_u16(), content_type, text: response.text().await.unwrap() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], None).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], None).await
    }

    pub async fn post(&self, path: &str, body: &Json) -> Answer {
        self.send("POST", path, &[("content-type", "application/vnd.schemaregistry.v1+json")], Some(&body.to_string()))
            .await
    }

    pub async fn put(&self, path: &str, body: &Json) -> Answer {
        self.send("PUT", path, &[("content-type", "application/json")], Some(&body.to_string())).await
    }

    /// Registers a schema and gives its id.
    pub async fn register(&self, subject: &str, schema: &str) -> u64 {
        let answer = self.post(&format!("/subjects/{subject}/versions"), &schema_body(schema)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["id"].as_u64().unwrap()
    }
}

pub fn schema_body(schema: &str) -> Json {
    serde_json::json!({ "schema": schema })
}

/// A record schema with one field per name, all ints; those after `!` without a default.
pub fn record(fields: &[&str]) -> String {
    let fields: Vec<_> = fields
        .iter()
        .map(|name| match name.strip_prefix('!') {
            Some(name) => format!(r#"{{"name":"{name}","type":"int"}}"#),
            None => format!(r#"{{"name":"{name}","type":"int","default":0}}"#),
        })
        .collect();
    format!(r#"{{"type":"record","name":"R","fields":[{}]}}"#, fields.join(","))
}
