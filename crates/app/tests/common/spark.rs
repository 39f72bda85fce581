//! Projects on Apache Spark, and their tables beside those of the local engine.

use serde_json::Value;
use testkit::project::{Column, ProjectDir};
use testkit::random::Seeded;

const BINARY: &str = env!("CARGO_BIN_EXE_tillstream");

/// The results of the payments example.
pub(crate) const PAYMENTS: [&str; 5] =
    ["kpis_per_minute", "payments_enriched", "spend_by_category", "spend_by_category_sliding", "velocity"];

/// The one of its patterns that finds something in [`payments`]. It runs in Tillstream's own stage beside both engines.
pub(crate) const PATTERN: &str = "declines_then_success";

/// Makes the Apache Spark at this address the project's engine.
pub(crate) fn on_spark(project: &ProjectDir, url: &str) {
    let connection = format!("engine: spark\n    connections:\n      spark: {{ url: \"{url}\" }}\n");
    project.edit("tillstream.yaml", "    connections:\n", &format!("    {connection}"));
}

/// The summary of `up --drain`.
pub(crate) fn drain(project: &ProjectDir) -> Value {
    let ended = project.run("up", &["--drain"]);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stdout))
}

/// Rows of a result table with the rows folded in. `is_final` is left out: the local engine learns of the last watermark after the drain.
pub(crate) fn rows(project: &ProjectDir, query: &str) -> Vec<String> {
    rows_where(project, query, "TRUE")
}

/// As [`rows`], those that fulfil a condition.
pub(crate) fn rows_where(project: &ProjectDir, query: &str, condition: &str) -> Vec<String> {
    let columns = project.sql(&format!(
        "SELECT string_agg(quote_ident(column_name), '; ' ORDER BY column_name) FROM information_schema.columns
         WHERE table_schema = 'results' AND table_name = '{query}' AND column_name NOT IN ('updated_at', 'is_final')"
    ));
    let columns = columns.concat().replace(';', ",");
    let mut rows = project.sql(&format!("SELECT {columns} FROM results.{query} WHERE {condition} AND NOT is_deleted"));
    rows.sort_unstable();
    rows
}

pub(crate) fn assert_same_tables(local: &ProjectDir, spark: &ProjectDir, queries: &[&str]) {
    for query in queries {
        let (expected, found) = (rows(local, query), rows(spark, query));
        let first = expected.iter().zip(&found).find(|(expected, found)| expected != found);
        assert!(first.is_none(), "{query}: the first row that differs, local and Spark: {first:?}");
        assert_eq!(found.len(), expected.len(), "{query}");
        assert!(found.len() >= 5, "{query} has {} rows", found.len());
    }
}

/// Payments with repeats, late ones and broken ones as CSV; the same seed gives the same.
pub(crate) fn payments(seed: u64, count: u64) -> String {
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
pub(crate) fn payments_project(column: Column, csv: &str) -> ProjectDir {
    let project = ProjectDir::of_example("payments", BINARY, column);
    std::fs::write(project.path.join("payments.csv"), csv).unwrap();
    let inputs = "\ninputs:\n  - { stream: transactions, file: payments.csv }\n\nprofiles:\n";
    project.edit("tillstream.yaml", "\nprofiles:\n", inputs);
    // A partition that is idle between two files would find more of the second one late, and one that is at the end settle more matches.
    let idle = "    event_time: event_time\n    idle_timeout: 1h\n";
    project.edit("tillstream.yaml", "    event_time: event_time\n", idle);
    // In so few payments hardly any account pays more than 12 times a minute.
    project.edit("queries/velocity.sql", "HAVING count(*) > 12", "HAVING count(*) > 7");
    project
}

/// Removes the other queries of the payments example.
pub(crate) fn keep_queries(project: &ProjectDir, kept: &[&str]) {
    for query in PAYMENTS.iter().filter(|query| !kept.contains(query)) {
        std::fs::remove_file(project.path.join(format!("queries/{query}.sql"))).unwrap();
    }
}

/// Few queries, for scenarios in which Spark starts them several times: each start costs seconds. One folds rows, one takes them as they are.
pub(crate) const TWO: [&str; 2] = ["kpis_per_minute", "payments_enriched"];

/// The payments example with these two queries and no patterns.
pub(crate) fn with_two_queries(column: Column, csv: &str) -> ProjectDir {
    let project = payments_project(column, csv);
    keep_queries(&project, &TWO);
    std::fs::remove_dir_all(project.path.join("patterns")).unwrap();
    project
}

/// A query for the rows that are folded into a result.
pub(crate) fn folded(query: &str) -> String {
    format!("SELECT coalesce(sum(folded_rows), 0) FROM results.{query} WHERE NOT is_deleted")
}

/// Loads a file of the project's directory while `up` runs.
pub(crate) fn load(project: &ProjectDir, file: &str) {
    let path = project.path.join(file);
    let ended = project.run("load", &[&path.to_string_lossy(), "--stream", "transactions"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// CSV cut into so many files of about the same length, in order.
pub(crate) fn cut(csv: &str, files: usize) -> Vec<String> {
    let (header, rows) = csv.split_once('\n').unwrap();
    let rows: Vec<&str> = rows.lines().collect();
    rows.chunks(rows.len().div_ceil(files)).map(|rows| format!("{header}\n{}\n", rows.join("\n"))).collect()
}
