//! Java's own clients, by `tests/java/ClientCheck.java`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

mod common;

use std::process::Command;

use common::TestBroker;

/// Needs a JDK, and a directory with `kafka-clients` and what it depends on, as `./dev services` has it for Apache Kafka itself.
#[test]
fn javas_clients_pass_their_check() {
    let libs = std::env::var("TILLSTREAM_TEST_KAFKA_LIBS").expect("./dev services prints TILLSTREAM_TEST_KAFKA_LIBS");
    let directory = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(directory.path());
    let check = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/java/ClientCheck.java");
    let output = Command::new("java")
        .args(["-XX:+UseSerialGC", "-Xmx300m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"])
        .args([&format!("{libs}/*"), check, &broker.bootstrap()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("all passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
