//! `tillstream test` as a person uses it: what a failure shows, and how it is mended.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's panic is its report")]

use std::path::Path;
use std::process::{Command, Output};

const BINARY: &str = env!("CARGO_BIN_EXE_tillstream");

fn run(directory: &Path, words: &[&str]) -> Output {
    Command::new(BINARY).args(words).current_dir(directory).env("NO_COLOR", "1").output().expect("the program starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A new shop whose first test expects another total and lacks a row.
fn shop() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().expect("a directory");
    assert!(run(directory.path(), &["init", "shop"]).status.success());
    let path = directory.path().join("shop/tests/orders.yaml");
    let right = std::fs::read_to_string(&path).expect("the template has tests");
    let wrong = right.replacen(r#"sales: "7.60""#, r#"sales: "8.00""#, 1);
    let food = right.lines().find(|line| line.contains("category: food")).expect("a row of food");
    let wrong = wrong.replacen(&format!("{food}\n"), "", 1);
    assert_eq!(wrong.lines().count() + 1, right.lines().count());
    std::fs::write(&path, wrong).expect("the file is written");
    (directory, right)
}

#[test]
fn a_failure_shows_the_place_and_the_rows_that_differ() {
    let (directory, _) = shop();
    let output = run(directory.path(), &["test", "shop"]);
    assert_eq!(output.status.code(), Some(1));
    let expected = "\
FAILED shop/tests/orders.yaml:4 sales are summed up per category and minute
  shop/tests/orders.yaml:13: sales_per_minute: 1 expected row not there, 2 others are
      window_start          category  orders  units  sales
    - 2026-01-05T09:00:00Z  drinks    2       3      8.00  (line 14)
    + 2026-01-05T09:00:00Z  drinks    2       3      7.60
      2026-01-05T09:01:00Z  unknown   1       1      12.00
    + 2026-01-05T09:00:00Z  food      1       1      3.90

2 tests passed, 1 failed
";
    assert_eq!(stdout(&output), expected);
}

#[test]
fn programs_read_the_same_as_json_and_as_junit() {
    let (directory, _) = shop();
    let output = run(directory.path(), &["test", "shop", "--output", "json", "--junit", "report.xml"]);
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!((&json["passed"], &json["failed"]), (&2.into(), &1.into()));
    let failure = &json["tests"][0]["failures"][0];
    assert_eq!((&failure["line"], &failure["target"]), (&13.into(), &"sales_per_minute".into()));
    assert_eq!(failure["missing"][0]["line"], 14);
    assert_eq!(failure["unexpected"][0]["row"]["sales"], "7.60");
    let report = std::fs::read_to_string(directory.path().join("report.xml")).expect("the report");
    assert!(report.contains("<testsuites tests=\"3\" failures=\"1\">"), "{report}");
    assert!(
        report.contains("<failure message=\"sales_per_minute: 1 expected row not there, 2 others are\">"),
        "{report}"
    );
}

#[test]
fn an_update_mends_the_rows_and_leaves_all_else_as_it_was() {
    let (directory, right) = shop();
    let path = directory.path().join("shop/tests/orders.yaml");
    assert!(run(directory.path(), &["test", "shop/tests/orders.yaml", "--update"]).status.success());
    let mended = std::fs::read_to_string(&path).expect("the file");
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    // The row that was lacking stands last in its list now; comments and all other lines are as they were.
    assert_eq!(sorted(&mended), sorted(&right));
    assert_eq!(stdout(&run(directory.path(), &["test", "shop"])), "3 tests passed\n");
}

#[test]
fn a_filter_picks_tests_and_a_wrong_one_is_told_before_anything_runs() {
    let (directory, _) = shop();
    assert_eq!(stdout(&run(directory.path(), &["test", "shop", "--filter", "large"])), "1 test passed\n");
    // What is misspelt isn't taken for success.
    let misspelt = [
        (&["test", "shop", "--filter", "lrge"][..], "none of the 3 tests has `lrge`"),
        (&["test", "shop/tests/order.yaml"], "no file shop/tests/order.yaml"),
    ];
    for (words, told) in misspelt {
        let output = run(directory.path(), words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(told), "{words:?}");
    }
    std::fs::write(directory.path().join("shop/tests/more.yaml"), "name: more\nsteps: [ { sent: {} } ]\n")
        .expect("written");
    let output = run(directory.path(), &["test", "shop"]);
    assert_eq!(output.status.code(), Some(3));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("shop/tests/more.yaml:2:12") && told.contains("did you mean `send`?"), "{told}");
    assert_eq!(run(directory.path(), &["check", "shop"]).status.code(), Some(3));
}
