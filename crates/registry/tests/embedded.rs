//! The topic `_schemas` in the embedded broker, which makes topics by itself like Apache Kafka does by default.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::net::SocketAddr;
use std::path::Path;

use broker::Broker;
use common::{Running, record};
use registry::{KafkaStorage, Storage};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct RunningBroker {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn start_broker(data_dir: &Path) -> RunningBroker {
    let broker = Broker::bind(broker::Options::new("127.0.0.1:0".parse().unwrap(), data_dir)).await.unwrap();
    let address = broker.address();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(async move {
        let shutdown = async {
            drop(stopped.await);
        };
        broker.run(shutdown).await.unwrap();
    });
    RunningBroker { address, stop, task }
}

impl RunningBroker {
    fn storage(&self) -> Storage {
        Storage::Kafka(KafkaStorage::new(self.address.to_string()))
    }

    async fn stop(self) {
        drop(self.stop);
        self.task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_registries_share_the_topic_and_all_survives_a_restart_of_both() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start_broker(dir.path()).await;
    let one = Running::start(broker.storage()).await;
    let other = Running::start(broker.storage()).await;
    for n in 0..10 {
        let (writer, reader) = if n % 2 == 0 { (&one, &other) } else { (&other, &one) };
        let id = writer.register("s", &record(&[&format!("f{n}")])).await;
        assert_eq!(id, n + 1);
        assert_eq!(reader.get(&format!("/schemas/ids/{id}")).await.status, 200);
    }
    let (a, b) = tokio::join!(one.register("t", r#""int""#), other.register("t", r#""int""#));
    assert_eq!((a, b), (11, 11));
    one.put("/config/t", &json!({ "compatibility": "FULL" })).await;
    assert_eq!(one.delete("/subjects/s/versions/3").await.text, "3");
    let before = one.get("/schemas?deleted=true").await.text;
    one.stop().await;
    other.stop().await;
    broker.stop().await;

    let broker = start_broker(dir.path()).await;
    let again = Running::start(broker.storage()).await;
    assert_eq!(again.get("/schemas?deleted=true").await.text, before);
    assert_eq!(again.get("/config/t").await.json(), json!({ "compatibilityLevel": "FULL" }));
    assert_eq!(again.register("u", r#""long""#).await, 12);
    again.stop().await;
    broker.stop().await;
}
