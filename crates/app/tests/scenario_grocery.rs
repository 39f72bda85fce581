//! A year of real receipts through the whole pipeline, compared to the cent with what DuckDB computes from the same files.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reports by panicking"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use testkit::project::{Column, ProjectDir, grocery_data};
use testkit::python;

const BINARY: &str = env!("CARGO_BIN_EXE_tillstream");

/// Each result with the query that gives its rows in the form of the truth.
const RESULTS: [(&str, &str); 3] = [
    ("sales_by_department_day", "department, line_items, units, sales, discounts"),
    ("sales_by_store_hour", "store_id, line_items, sales"),
    ("sales_by_category_sliding", "product_category, line_items, sales"),
];

/// The summary of `up --drain`.
fn drain(project: &ProjectDir) -> Value {
    let ended = project.run("up", &["--drain"]);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stdout))
}

/// What DuckDB computes from the files in `data`.
fn truth(data: &Path) -> tempfile::TempDir {
    let out = tempfile::tempdir().expect("a directory");
    python::run("grocery_truth.py", &[data, out.path()]);
    out
}

fn assert_equal_to_truth(project: &ProjectDir, truth: &Path) {
    for (name, columns) in RESULTS {
        let text = fs::read_to_string(truth.join(format!("{name}.csv"))).expect("the truth is there");
        let mut expected: Vec<&str> = text.lines().skip(1).collect();
        let start = "(extract(epoch FROM window_start) * 1000000)::bigint";
        let mut found = project.sql(&format!("SELECT {start}, {columns} FROM bi.{name}"));
        expected.sort_unstable();
        found.sort_unstable();
        let first = expected.iter().zip(&found).find(|(expected, found)| expected != found);
        assert!(first.is_none(), "{name}: the first row that differs, expected and found: {first:?}");
        assert_eq!(found.len(), expected.len(), "{name}");
        assert!(found.len() > 100, "{name} has {} rows", found.len());
    }
}

/// When each result was last written to, and how many rows its windows have folded in.
fn versions(project: &ProjectDir) -> Vec<String> {
    RESULTS
        .iter()
        .map(|(name, _)| {
            project.sql_value(&format!("SELECT max(updated_at), sum(folded_rows), count(*) FROM results.{name}"))
        })
        .collect()
}

fn whole_year(column: Column) {
    let data = grocery_data();
    let project = ProjectDir::of_example("grocery", BINARY, column);
    let summary = drain(&project);
    assert_eq!(summary["raw"], 1_469_307, "{summary}");
    assert_eq!(summary["validated"], 1_460_438, "{summary}");
    assert_eq!(summary["rejected"], serde_json::json!({ "rule": 8_869 }), "{summary}");
    assert_equal_to_truth(&project, truth(&data).path());
    assert_eq!(project.sql_value("SELECT count(*) FROM ops.rejected_records WHERE reason = 'rule'"), "8869");

    let before = versions(&project);
    assert_eq!(drain(&project), summary, "a second drain finds nothing to do");
    assert_eq!(versions(&project), before, "a second drain writes no row");
}

#[test]
fn a_year_on_the_embedded_systems_equals_the_truth() {
    whole_year(Column::Embedded);
}

#[test]
fn a_year_on_kafka_and_a_postgresql_server_equals_the_truth() {
    whole_year(Column::Servers);
}

/// The rows `first..first + count` of the year as a file.
fn cut(target: &Path, first: u64, count: u64) {
    let (first, count) = (first.to_string(), count.to_string());
    let source = grocery_data().join("transactions.parquet");
    python::run("cut_parquet.py", &[&source, target, Path::new(&first), Path::new(&count)]);
}

/// A project with the first `count` rows of the year, and the truth for them.
fn first_rows(column: Column, count: u64) -> (ProjectDir, tempfile::TempDir) {
    let project = ProjectDir::of_example("grocery", BINARY, column);
    cut(&project.path.join("data/transactions.parquet"), 0, count);
    let expected = truth(&project.path.join("data"));
    (project, expected)
}

/// How far a part of the pipeline has come, as a number that only grows.
fn reached(project: &ProjectDir, part: &str) -> i64 {
    let number = |text: String| text.parse().unwrap_or(0);
    match part {
        "store" => number(project.sql_value("SELECT coalesce(sum(next_offset), 0) FROM ops.positions")),
        topic => testkit::kafka::records(&project.addresses().0, topic),
    }
}

#[test]
fn kills_at_any_moment_lose_and_repeat_nothing() {
    // So many that a fast machine, too, is still busy when the last part is killed.
    let rows = 1_200_000;
    let (project, expected) = first_rows(Column::Embedded, rows);
    let seed = std::env::var("TILLSTREAM_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_170_101_u64);
    let mut random = testkit::random::Seeded::new(seed);
    // Loading, validation, processing and storing each are seen at work and then killed; the others go on beside it.
    for part in ["sales.raw", "sales.validated", "sales_by_store_hour", "store"] {
        let mut process = project.start("up", &["--drain"]);
        process.wait_for_line(Duration::from_secs(60), |line| line.contains("the store stage starts"));
        let before = reached(&project, part);
        testkit::wait_for(part, Duration::from_secs(60), || {
            assert!(process.is_running(), "all was done before {part} was seen at work; {}", process.tail());
            (reached(&project, part) > before).then_some(())
        });
        let moment = Duration::from_millis(random.below(500));
        assert!(process.run_for(moment), "all was done before {part} could be killed; {}", process.tail());
        process.kill();
        eprintln!("killed {moment:?} after {part} went on (seed {seed})");
    }
    let summary = drain(&project);
    assert_eq!(summary["raw"], rows, "each row of the file lies in the raw topic once; {summary}");
    let rejected = summary["rejected"].as_object().expect("reasons").values().filter_map(Value::as_u64).sum::<u64>();
    assert_eq!(summary["validated"].as_u64().expect("a number") + rejected, rows, "{summary}");
    assert_eq!(
        summary["rejected"].as_object().map(|reasons| reasons.keys().cloned().collect::<Vec<_>>()),
        Some(vec!["rule".into()])
    );
    assert_equal_to_truth(&project, expected.path());
    common::assert_audit_is_clean(&project, rows);
}

#[test]
fn input_that_comes_after_a_drain_goes_into_the_same_windows() {
    // The parts end in the middle of a day, of an hour, and of a receipt.
    let (first, second, third) = (60_001, 30_003, 10_007);
    let (project, expected) = first_rows(Column::Embedded, first + second + third);
    let part = |name: &str| -> PathBuf { project.path.join("data").join(name) };
    cut(&part("transactions.parquet"), 0, first);
    cut(&part("second.parquet"), first, second);
    cut(&part("third.parquet"), first + second, third);

    assert_eq!(drain(&project)["raw"], first);
    project.edit(
        "tillstream.yaml",
        "data/transactions.parquet }\n",
        "data/transactions.parquet }\n  - { stream: sales, file: data/second.parquet }\n",
    );
    assert_eq!(drain(&project)["raw"], first + second);
    let loaded = project
        .run("load", &[part("third.parquet").to_str().expect("a path"), "--stream", "sales", "--output", "json"]);
    assert_eq!(loaded.code, Some(0), "{}", loaded.stderr);
    let loaded: Value = serde_json::from_str(&loaded.stdout).expect("JSON");
    assert_eq!(loaded, serde_json::json!({ "sent": third, "already": 0, "refused": 0 }));
    let summary = drain(&project);
    assert_eq!(summary["raw"], first + second + third);
    assert_equal_to_truth(&project, expected.path());
}
