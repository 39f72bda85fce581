//! A query that changes between two runs: the next generation takes over, filled from the first record on.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reports by panicking"
)]

use testkit::project::{Column, ProjectDir, examples};

const BINARY: &str = env!("CARGO_BIN_EXE_tillstream");

#[test]
fn a_changed_query_fills_a_new_table_and_the_view_leads_to_it() {
    let template = examples().parent().expect("the repository").join("crates/project/template");
    let project = ProjectDir::copy_of(&template, BINARY, Column::Embedded);
    let ended = project.run("up", &["--drain"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let before = project.sql_value("SELECT sum(orders), sum(units) FROM bi.sales_per_minute");

    project.edit(
        "queries/sales_per_minute.sql",
        "  sum(o.quantity) AS units,",
        "  sum(o.quantity) AS units,\n  max(o.quantity) AS most_units,",
    );
    let ended = project.run("up", &["--drain"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let after = "SELECT sum(orders), sum(units) FROM bi.sales_per_minute WHERE most_units IS NOT NULL";
    assert_eq!(project.sql_value(after), before);
    assert_eq!(project.sql_value("SELECT max(generation) FROM results.sales_per_minute__g2"), "2");

    // Nothing has changed since: the same generation goes on.
    let ended = project.run("up", &["--drain"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(
        project.sql_value("SELECT count(*) FROM pg_tables WHERE schemaname = 'results' AND tablename LIKE 'sales%'"),
        "2"
    );
}
