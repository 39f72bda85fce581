//! What several scenarios of payments ask at their end.
#![allow(dead_code, reason = "each scenario uses a part of it")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use nix::sys::signal::Signal;
pub(crate) mod sharing;
pub(crate) mod shop;
pub(crate) mod spark;

use serde_json::Value;
use testkit::process::Supervised;
use testkit::project::{Column, ProjectDir};

/// What each window query must hold, worked out by PostgreSQL from the rows of `payments_enriched`, which it joins with nothing.
pub(crate) const RECOMPUTED: [(&str, &str, &str); 4] = [
    (
        "kpis_per_minute",
        "window_start, currency, payments, declined, approved_total, average_amount, largest_amount",
        "SELECT date_trunc('minute', event_time), currency, count(*), count(*) FILTER (WHERE status = 'declined'),
                sum(amount) FILTER (WHERE status = 'approved'), round(avg(amount), 6), max(amount)
         FROM bi.payments_enriched GROUP BY 1, 2",
    ),
    (
        "spend_by_category",
        "window_start, category, country, currency, payments, total",
        "SELECT date_bin('10 seconds', event_time, 'epoch'), merchant_category, merchant_country, currency, count(*), sum(amount)
         FROM bi.payments_enriched WHERE status = 'approved' AND merchant_name IS NOT NULL GROUP BY 1, 2, 3, 4",
    ),
    (
        "spend_by_category_sliding",
        "window_start, category, country, currency, payments, total",
        "SELECT date_bin('10 seconds', event_time, 'epoch') - back * interval '10 seconds', merchant_category, merchant_country,
                currency, count(*), sum(amount)
         FROM bi.payments_enriched, generate_series(0, 5) AS back
         WHERE status = 'approved' AND merchant_name IS NOT NULL GROUP BY 1, 2, 3, 4",
    ),
    (
        "velocity",
        "window_start, account_id, payments, declined, first_payment, last_payment",
        "SELECT date_trunc('minute', event_time), account_id, count(*), count(*) FILTER (WHERE status = 'declined'),
                min(event_time), max(event_time)
         FROM bi.payments_enriched GROUP BY 1, 2 HAVING count(*) > 1",
    ),
];

/// `examples/payments` on the embedded systems, with a velocity query that finds something in a few seconds.
pub(crate) fn payments(binary: &str) -> ProjectDir {
    let project = ProjectDir::of_example("payments", binary, Column::Embedded);
    // In so short a time hardly anybody pays more than twice.
    project.edit("queries/velocity.sql", "HAVING count(*) > 12", "HAVING count(*) > 1");
    project
}

/// Generates this many payments a second until [`end`], and only good ones, but for this share of repeated ones. Until then, so that a
/// fault happens under load on a slow machine, too.
pub(crate) fn generate(project: &ProjectDir, rate: u64, duplicate_share: &str) -> Supervised {
    let (rate, shares) =
        (rate.to_string(), ["--late-share", "0", "--invalid-share", "0", "--fraud-bursts-per-min", "0"]);
    let arguments =
        [&["--rate", &rate, "--duplicate-share", duplicate_share, "--output", "json"], &shares[..]].concat();
    project.start("generate", &arguments)
}

/// Ends a generator; gives the number of payments that it has sent.
pub(crate) fn end(mut generator: Supervised) -> u64 {
    generator.signal(Signal::SIGTERM);
    let status = generator.wait(Duration::from_secs(90));
    assert!(status.success(), "{}", generator.tail());
    let generated: Value = serde_json::from_str(&generator.stdout().concat()).expect("JSON");
    generated["generated"].as_u64().expect("a number")
}

/// The answer of a pipeline to an HTTP request: of the address that its line `name` has.
fn ask(pipeline: &Supervised, name: &str, request: &str) -> String {
    let mut lines = pipeline.stdout().into_iter().chain(pipeline.stderr());
    let line = lines.find(|line| line.starts_with(name)).expect("the address is printed");
    let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).expect("an address").to_owned();
    let mut stream =
        TcpStream::connect(address).unwrap_or_else(|error| panic!("it is served: {error}\n{}", pipeline.tail()));
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// What `/readyz` of a pipeline says.
pub(crate) fn readiness(pipeline: &Supervised) -> String {
    page(pipeline, "/readyz")
}

/// What a page of a pipeline says.
pub(crate) fn page(pipeline: &Supervised, path: &str) -> String {
    ask(pipeline, "dashboard", &format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"))
}

/// Sends JSON lines to a stream through a pipeline's HTTP door, which appends all of them.
pub(crate) fn post(pipeline: &Supervised, stream: &str, lines: &str) {
    let request = format!(
        "POST /v1/streams/{stream}/records HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: application/x-ndjson\r\n\
         Content-Length: {}\r\n\r\n{lines}",
        lines.len()
    );
    let answer = ask(pipeline, "records", &request);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Compares each window with PostgreSQL's recomputation. The velocity query must have been set to more than one payment.
pub(crate) fn assert_windows_are_true(project: &ProjectDir) {
    for (name, columns, recomputed) in RECOMPUTED {
        let found = format!("SELECT {columns} FROM bi.{name}");
        let differences = project.sql(&format!(
            "(SELECT 'missing', * FROM (({recomputed}) EXCEPT ALL ({found})) AS m) UNION ALL (SELECT 'extra', * FROM (({found}) EXCEPT ALL ({recomputed})) AS e) LIMIT 5"
        ));
        assert!(differences.is_empty(), "{name}: {differences:#?}");
        assert_ne!(project.sql_value(&format!("SELECT count(*) FROM bi.{name}")), "0", "{name} is empty");
    }
}

/// The report of `tillstream audit`, with its exit code.
pub(crate) fn audit(project: &ProjectDir, rest: &[&str]) -> (Option<i32>, Value) {
    let ended = project.run("audit", &[&["--output", "json"], rest].concat());
    let report = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stderr));
    (ended.code, report)
}

/// Audits, and asserts that nothing is wrong and that `raw` records have a verdict each.
pub(crate) fn assert_audit_is_clean(project: &ProjectDir, raw: u64) {
    let (code, report) = audit(project, &[]);
    assert_eq!((code, &report["ok"]), (Some(0), &Value::Bool(true)), "{report:#}");
    let partitions: Vec<&Value> = report["streams"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|stream| stream["partitions"].as_array())
        .flatten()
        .collect();
    let sum = |field: &str| partitions.iter().filter_map(|partition| partition[field].as_u64()).sum::<u64>();
    assert_eq!((sum("raw"), sum("validated") + sum("rejected"), sum("waiting")), (raw, raw, 0), "{report:#}");
    let compared = report["tables"].as_array().into_iter().flatten().filter(|table| table["holds"] == "equal").count();
    assert!(compared > 0, "the audit compared no table: {report:#}");
}

/// Brings everything to its end, audits, recomputes, and asserts that each of `raw` records has a verdict; gives the summary.
pub(crate) fn assert_nothing_is_lost(project: &ProjectDir, raw: u64) -> Value {
    let ended = project.run("up", &["--drain"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let summary: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(summary["raw"], raw, "{summary}");
    assert_audit_is_clean(project, raw);
    assert_windows_are_true(project);
    summary
}
