//! Both engines on the same input: the tables that Apache Spark fills are those of the local engine, row by row.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reports by panicking"
)]

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use testkit::project::{Column, ProjectDir, grocery_data};
use testkit::python;
use testkit::random::Seeded;

const BINARY: &str = env!("CARGO_BIN_EXE_tillstream");

/// Makes Apache Spark the project's engine.
fn on_spark(project: &ProjectDir) {
    let connection =
        format!("engine: spark\n    connections:\n      spark: {{ url: \"{}\" }}\n", testkit::spark::url());
    project.edit("tillstream.yaml", "    connections:\n", &format!("    {connection}"));
}

/// The summary of `up --drain`.
fn drain(project: &ProjectDir) -> Value {
    let ended = project.run("up", &["--drain"]);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stdout))
}

/// Rows of a result table with the rows folded in. `is_final` is left out: the local engine learns of the last watermark after the drain.
fn rows(project: &ProjectDir, query: &str) -> Vec<String> {
    let columns = project.sql(&format!(
        "SELECT string_agg(quote_ident(column_name), '; ' ORDER BY column_name) FROM information_schema.columns
         WHERE table_schema = 'results' AND table_name = '{query}' AND column_name NOT IN ('updated_at', 'is_final')"
    ));
    let columns = columns.concat().replace(';', ",");
    let mut rows = project.sql(&format!("SELECT {columns} FROM results.{query} WHERE NOT is_deleted"));
    rows.sort_unstable();
    rows
}

fn assert_same_tables(local: &ProjectDir, spark: &ProjectDir, queries: &[&str]) {
    for query in queries {
        let (expected, found) = (rows(local, query), rows(spark, query));
        let first = expected.iter().zip(&found).find(|(expected, found)| expected != found);
        assert!(first.is_none(), "{query}: the first row that differs, local and Spark: {first:?}");
        assert_eq!(found.len(), expected.len(), "{query}");
        assert!(found.len() >= 15, "{query} has {} rows", found.len());
    }
}

/// When each result was last written to.
fn written(project: &ProjectDir, queries: &[&str]) -> Vec<String> {
    queries.iter().map(|query| project.sql_value(&format!("SELECT max(updated_at) FROM results.{query}"))).collect()
}

const GROCERY: [&str; 3] = ["sales_by_department_day", "sales_by_store_hour", "sales_by_category_sliding"];
const PAYMENTS: [&str; 5] =
    ["kpis_per_minute", "payments_enriched", "spend_by_category", "spend_by_category_sliding", "velocity"];

#[test]
fn a_drain_of_the_grocery_example_gives_the_same_tables_on_both_engines() {
    let (local, spark) = (
        ProjectDir::of_example("grocery", BINARY, Column::Embedded),
        ProjectDir::of_example("grocery", BINARY, Column::Servers),
    );
    for project in [&local, &spark] {
        let target = project.path.join("data/transactions.parquet");
        python::run(
            "cut_parquet.py",
            &[&grocery_data().join("transactions.parquet"), &target, Path::new("0"), Path::new("60000")],
        );
    }
    on_spark(&spark);
    let summary = drain(&spark);
    assert_eq!(summary, drain(&local), "the same rows are accepted");
    assert_same_tables(&local, &spark, &GROCERY);

    let before = written(&spark, &GROCERY);
    assert_eq!(drain(&spark), summary, "a second drain finds nothing to do");
    assert_eq!(written(&spark, &GROCERY), before, "a second drain writes no row");
}

/// Payments with repeats, late ones and broken ones as CSV; the same seed gives the same.
fn payments(seed: u64, count: u64) -> String {
    let mut random = Seeded::new(seed);
    let mut text =
        "transaction_id,account_id,merchant_id,amount,currency,country,channel,status,event_time\n".to_owned();
    let pick = |random: &mut Seeded, words: &[&'static str]| -> &'static str {
        words[usize::try_from(random.below(words.len() as u64)).unwrap()]
    };
    let mut last = String::new();
    for number in 0..count {
        // One in 30 comes again as it was, one in 60 with another content; merchants past m0500 aren't known.
        let repeats = random.below(60);
        if repeats < 2 {
            text.push_str(&last);
            continue;
        }
        let id = if repeats == 2 { number.saturating_sub(1) } else { number };
        let account = random.below(40);
        let merchant = 1 + random.below(520);
        let cents = random.below(50_000);
        let currency = pick(&mut random, &["EUR", "GBP", "USD", "EUR", "XXX"]);
        let status = pick(&mut random, &["approved", "approved", "declined", "reversed"]);
        let late = if random.below(50) == 0 { 20 } else { 0 };
        let second = (number / 10).saturating_sub(late);
        last = format!(
            "t{id},a{account},m{merchant:04},{}.{:02},{currency},DE,chip,{status},2026-01-05T09:{:02}:{:02}.{:03}Z\n",
            cents / 100,
            cents % 100,
            second / 60,
            second % 60,
            number % 10 * 100
        );
        text.push_str(&last);
    }
    text
}

/// The payments example with a file to load.
fn payments_project(column: Column, csv: &str) -> ProjectDir {
    let project = ProjectDir::of_example("payments", BINARY, column);
    std::fs::write(project.path.join("payments.csv"), csv).unwrap();
    let inputs = "\ninputs:\n  - { stream: transactions, file: payments.csv }\n\nprofiles:\n";
    project.edit("tillstream.yaml", "\nprofiles:\n", inputs);
    // In so few payments hardly any account pays more than 12 times a minute.
    project.edit("queries/velocity.sql", "HAVING count(*) > 12", "HAVING count(*) > 7");
    project
}

#[test]
fn a_drain_of_the_payments_example_gives_the_same_tables_on_both_engines() {
    let csv = payments(20_260_105, 6_000);
    let local = payments_project(Column::Embedded, &csv);
    let spark = payments_project(Column::Servers, &csv);
    on_spark(&spark);
    let summary = drain(&spark);
    assert_eq!(summary, drain(&local), "the same rows are accepted");
    for reason in ["duplicate", "id_conflict", "late", "rule"] {
        assert!(summary["rejected"][reason].as_u64().is_some_and(|count| count > 0), "{reason}: {summary}");
    }
    assert_same_tables(&local, &spark, &PAYMENTS);
}

#[test]
fn streaming_queries_on_spark_fill_the_same_tables_and_survive_a_kill() {
    let csv = payments(7, 3_000);
    let local = payments_project(Column::Embedded, &csv);
    drain(&local);
    let spark = payments_project(Column::Servers, &csv);
    on_spark(&spark);
    let wanted = |query: &str| {
        local
            .sql_value(&format!("SELECT count(*) || ' ' || sum(folded_rows) FROM results.{query} WHERE NOT is_deleted"))
    };
    let mut process = spark.up(&[]);
    process.wait_for_line(Duration::from_secs(120), |line| line.contains("started on Apache Spark"));
    // Our process goes without a word; Spark's queries run on and are found again.
    process.kill();
    let mut process = spark.up(&[]);
    for query in PAYMENTS {
        let value = format!("SELECT count(*) || ' ' || sum(folded_rows) FROM results.{query} WHERE NOT is_deleted");
        spark.wait_for_value(&value, &wanted(query), Duration::from_secs(120));
    }
    assert_same_tables(&local, &spark, &PAYMENTS);
    process.signal(nix::sys::signal::Signal::SIGINT);
    let status = process.wait(Duration::from_secs(60));
    assert_eq!(status.code(), Some(0), "{}", process.tail());
}
