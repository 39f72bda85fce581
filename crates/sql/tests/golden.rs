//! Golden files: `plans/*.sql` and `patterns/*.sql` with the plan, types and warnings they compile to, `errors/*.sql` and `pattern_errors/*.sql` with the messages they get.
//! `TILLSTREAM_UPDATE=1` writes them anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::fmt::Write as _;

use sql::{Catalog, Diagnostic, Query};

type Compile = fn(&str, &str, &Catalog) -> Result<Query, Vec<Diagnostic>>;

#[test]
fn plans() {
    check_plans("plans", sql::compile);
}

#[test]
fn pattern_plans() {
    check_plans("patterns", sql::compile_pattern);
}

fn check_plans(folder: &str, compile: Compile) {
    let catalog = common::catalog();
    let mut failures = Vec::new();
    for path in common::files(folder, "sql") {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let query = match compile(name, &text, &catalog) {
            Ok(query) => query,
            Err(diagnostics) => {
                let shown: String = diagnostics.iter().map(|diagnostic| diagnostic.render(&text, name)).collect();
                failures.push(format!("{name} doesn't compile:\n{shown}"));
                continue;
            }
        };
        let mut found = query.describe();
        if let Some(column) = &query.time_column {
            writeln!(found, "time column {column}").unwrap();
        }
        for warning in &query.warnings {
            found.push_str(&warning.render(&text, name));
        }
        common::assert_golden(&path.with_extension("txt"), &found, &mut failures);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn errors() {
    check_errors("errors", sql::compile);
}

#[test]
fn pattern_errors() {
    check_errors("pattern_errors", sql::compile_pattern);
}

fn check_errors(folder: &str, compile: Compile) {
    let catalog = common::catalog();
    let mut failures = Vec::new();
    for path in common::files(folder, "sql") {
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        match compile(name, &text, &catalog) {
            Ok(query) => failures.push(format!("{name} compiles:\n{}", query.describe())),
            Err(diagnostics) => {
                let found: Vec<String> = diagnostics.iter().map(|diagnostic| diagnostic.render(&text, name)).collect();
                common::assert_golden(&path.with_extension("txt"), &found.join("\n"), &mut failures);
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn the_reference_is_made_from_the_table_of_functions() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/sql.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- functions: begin, made by `cargo test -p sql` -->\n", "<!-- functions: end -->");
    let (before, rest) = page.split_once(begin).expect("docs/sql.md has the first marker");
    let (_, after) = rest.split_once(end).expect("docs/sql.md has the second marker");
    let made = format!("{before}{begin}\n{}\n{end}{after}", sql::function_reference());
    let mut failures = Vec::new();
    common::assert_golden(&path, &made, &mut failures);
    assert!(failures.is_empty(), "docs/sql.md is out of date: TILLSTREAM_UPDATE=1 cargo test -p sql");
}
