//! `tillstream explain` of the examples, and of queries of two streams, against golden files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's panic is its report")]

use std::path::{Path, PathBuf};
use std::process::Command;

fn explain(arguments: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = Command::new(env!("CARGO_BIN_EXE_tillstream"))
        .arg("explain")
        .args(arguments)
        // What was seen of a project that was tried out isn't part of the golden files.
        .args(["--set", &format!("data_dir={}", Path::new(env!("CARGO_TARGET_TMPDIR")).join("never_ran").display())])
        .current_dir(root)
        .output()
        .expect("tillstream runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn golden(name: &str, actual: &str) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explain").join(name);
    if std::env::var_os("TILLSTREAM_UPDATE").is_some() {
        std::fs::write(&path, actual).expect("the file is written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, expected, "{}: TILLSTREAM_UPDATE=1 writes it anew", path.display());
}

#[test]
fn the_examples_are_explained() {
    golden("payments.txt", &explain(&["examples/payments"]));
    let small = "reference.products.file=tests/products.csv";
    golden("two_streams.txt", &explain(&["crates/app/tests/explain/two_streams"]));
    golden("grocery.txt", &explain(&["examples/grocery", "--set", small]));
}

/// What Apache Spark keeps is another matter than what the local engine does; patterns have a stage of ours with both.
#[test]
fn with_spark_the_state_is_sparks() {
    let on_spark = |query: &str| explain(&["examples/payments", query, "--set", "engine=spark"]);
    // Spark's watermark is behind by max_skew, too: an hour.
    let velocity = on_spark("velocity");
    for words in ["1h 1m 5s 1ms after its start", "what Apache Spark takes", "process.state_limit doesn't count"] {
        assert!(velocity.contains(words), "{words}: {velocity}");
    }
    assert!(!velocity.contains("bytes per group"), "{velocity}");
    assert_eq!(on_spark("card_testing"), explain(&["examples/payments", "card_testing"]));
}

#[test]
fn programs_get_the_same_as_json() {
    let shown = explain(&["examples/payments", "velocity", "--output", "json"]);
    let json: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    let query = &json["queries"][0];
    assert_eq!(query["query"], "velocity");
    assert_eq!(query["reads"][0]["columns"], serde_json::json!(["account_id", "status", "event_time"]));
    assert_eq!(query["state"][0]["keys"], serde_json::json!(["account_id"]));
    // A minute, and five seconds of lateness: the minute that runs, and the one before while late rows may come.
    assert_eq!((&query["state"][0]["kept_ms"], &query["state"][0]["windows_open"]), (&65_000.into(), &2.into()));
}
