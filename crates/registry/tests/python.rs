//! confluent-kafka's Python serializers with the registry, over Apache Kafka.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::path::Path;
use std::time::Duration;

use common::{Running, kafka_storage};
use testkit::process::Supervised;
use testkit::unique_name;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confluents_python_serializers_work() {
    let server = Running::start(kafka_storage(&unique_name("schemas"))).await;
    let python = std::env::var("TILLSTREAM_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let url = server.url.clone();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/serializers.py");
    let run = tokio::task::spawn_blocking(move || {
        let mut run = Supervised::start(Path::new(&python), |command| {
            command.arg(script).arg(testkit::kafka::bootstrap()).arg(url);
        });
        let status = run.wait(Duration::from_secs(120));
        (status, run.stdout(), run.stderr())
    });
    let (status, stdout, stderr) = run.await.unwrap();
    assert!(status.success(), "{}\n{}", stdout.join("\n"), stderr.join("\n"));
    server.stop().await;
}
