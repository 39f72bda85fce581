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

/// The page shows each of `mistakes/*.sql` with its message, and what stands in `*.fixed.sql` for it, which has to compile; the comment there is the title.
#[test]
fn the_page_of_mistakes_is_made_from_what_check_says() {
    let catalog = common::catalog();
    let mut page = String::from(
        "# Twenty mistakes\n\n\
         The likeliest ones, with what `tillstream check` says of each, and a query that says what was meant. Where several things are wrong,\n\
         all are shown at once. Made by `TILLSTREAM_UPDATE=1 cargo test -p sql`, which also compiles each query below \"Instead\".\n",
    );
    let mut failures = Vec::new();
    let mut mistakes = 0;
    for path in common::files("mistakes", "sql") {
        let name = path.file_stem().unwrap().to_str().unwrap();
        if name.ends_with(".fixed") {
            continue;
        }
        mistakes += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let fixed = std::fs::read_to_string(path.with_extension("fixed.sql")).unwrap();
        if let Err(diagnostics) = sql::compile("fixed", &fixed, &catalog) {
            failures.extend(diagnostics.iter().map(|diagnostic| diagnostic.render(&fixed, name)));
        }
        let Err(diagnostics) = sql::compile("query", &text, &catalog) else {
            failures.push(format!("{name} compiles"));
            continue;
        };
        assert!(diagnostics.iter().all(|diagnostic| diagnostic.help.is_some()), "{name}: no help");
        let said: Vec<String> =
            diagnostics.iter().map(|diagnostic| diagnostic.render(&text, "queries/query.sql")).collect();
        let (title, fixed) = fixed.split_once('\n').unwrap();
        let title = title.strip_prefix("-- ").unwrap();
        write!(page, "\n## {title}\n```text\n{}```\nInstead:\n```sql\n{fixed}```\n", said.join("\n")).unwrap();
    }
    assert_eq!(mistakes, 20);
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/mistakes.md");
    common::assert_golden(&path, &page, &mut failures);
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
