//! The golden files in `sqltests/`: as they stand, crashed everywhere, in pieces, in other orders of arrival; against PostgreSQL; and whether
//! they cover the language; on Apache Spark.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's panic is its report")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace is there")
}

/// Runs `tillstream test` in the root; whether all passed, and what it printed.
fn run(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tillstream"))
        .arg("test")
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("tillstream runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let shown = text(&output.stdout);
    assert!(output.status.code().is_some_and(|code| code <= 1), "{shown}\n{}", text(&output.stderr));
    (output.status.success(), shown)
}

fn passes(paths: &[&str], arguments: &[&str]) {
    let (passed, shown) = run(&[paths, arguments].concat());
    assert!(passed, "tillstream test {} {}\n{shown}", paths.join(" "), arguments.join(" "));
}

const GOLDEN: &[&str] = &["sqltests"];
/// A small table in the place of the one that `examples/grocery/fetch` gets.
const SMALL_TABLE: &[&str] = &["--set", "reference.products.file=tests/products.csv"];

#[test]
fn golden_files_come_as_they_stand() {
    passes(GOLDEN, &[]);
}

#[test]
fn crashes_change_nothing() {
    passes(GOLDEN, &["--restart-everywhere"]);
    passes(GOLDEN, &["--restart-everywhere", "--parallelism", "4", "--shuffle", "11"]);
}

#[test]
fn state_on_the_disk_changes_nothing() {
    passes(GOLDEN, &["--spill"]);
    passes(GOLDEN, &["--spill", "--restart-everywhere", "--parallelism", "2"]);
    passes(&["examples/payments"], &["--spill"]);
}

#[test]
fn pieces_change_nothing() {
    passes(GOLDEN, &["--parallelism", "2"]);
    passes(GOLDEN, &["--parallelism", "4"]);
}

#[test]
fn the_order_of_arrival_changes_nothing() {
    for seed in ["1", "2", "3", "4"] {
        passes(GOLDEN, &["--shuffle", seed]);
    }
}

#[test]
fn the_examples_tests_pass_in_every_way() {
    for way in [&[][..], &["--restart-everywhere", "--parallelism", "2"], &["--shuffle", "5"]] {
        passes(&["examples/payments"], way);
        passes(&["examples/grocery"], &[SMALL_TABLE, way].concat());
    }
}

/// The rows and versions of each result, after a drain, are those that Apache Spark computes from the accepted records.
#[test]
fn spark_computes_the_same_from_the_accepted_rows() {
    let url = testkit::spark::url();
    let spark = ["--spark", url.as_str()];
    for (paths, arguments, least) in
        [(GOLDEN, &[][..], 80), (&["examples/payments"][..], &[][..], 10), (&["examples/grocery"][..], SMALL_TABLE, 5)]
    {
        let output = Command::new(env!("CARGO_BIN_EXE_tillstream"))
            .arg("test")
            .args([paths, arguments, &spark].concat())
            .current_dir(root())
            .output()
            .expect("tillstream runs");
        let (shown, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{shown}\n{said}");
        let rows = said.split("compared with Apache Spark: ").nth(1).and_then(|rest| rest.split(' ').next());
        let rows: usize = rows.and_then(|rows| rows.parse().ok()).expect("it says how much was compared");
        assert!(rows >= least, "{paths:?}: only {rows} rows were compared");
    }
}

/// What the golden files hold, and what came of them.
fn contents() -> Value {
    let (passed, shown) = run(&["sqltests", "--output", "json", "--contents"]);
    assert!(passed, "{shown}");
    serde_json::from_str(&shown).expect("JSON")
}

fn files(contents: &Value) -> BTreeMap<&str, &Value> {
    let files = contents["files"].as_array().expect("files").iter();
    files.map(|file| (file["file"].as_str().expect("a name"), file)).collect()
}

#[test]
fn postgres_computes_the_same_from_the_accepted_rows() {
    let contents = contents();
    let files = files(&contents);
    let database = testkit::postgres::Database::create();
    let mut compared = 0;
    for test in contents["tests"].as_array().expect("tests") {
        let name = test["file"].as_str().expect("a file");
        let file = files[name];
        for (query, sql) in file["postgres"].as_object().expect("queries") {
            let sql = sql.as_str().expect("SQL");
            let asked = format!(
                "{}SELECT (SELECT json_object_agg(key, value) FROM jsonb_each_text(to_jsonb(answer_row))) FROM ({}) AS answer_row",
                tables(file, &test["validated"]),
                sql.trim().trim_end_matches(';')
            );
            let theirs: Vec<Value> =
                database.first_column(&asked).iter().map(|row| serde_json::from_str(row).expect("JSON")).collect();
            let ours = test["results"][query].as_array().expect("rows");
            let Some(columns) = theirs.first().and_then(Value::as_object) else {
                panic!("{name}: PostgreSQL finds no rows for {query}")
            };
            let is_double = |column: &str| ours.iter().any(|row| row[column].is_f64());
            let sorted = |rows: &[Value]| {
                let cell = |row: &Value, column: &String| normal(&row[column], is_double(column));
                let row = |row: &Value| columns.keys().map(|column| cell(row, column)).collect::<Vec<_>>();
                let mut rows: Vec<Vec<String>> = rows.iter().map(row).collect();
                rows.sort();
                rows
            };
            let (ours, theirs) = (sorted(ours), sorted(&theirs));
            let columns: Vec<&String> = columns.keys().collect();
            assert_eq!(ours, theirs, "{name}, {query}: ours, then PostgreSQL's, of {columns:?}");
            compared += 1;
        }
    }
    assert!(compared >= 15, "only {compared} queries were compared");
}

/// A temporary table for each stream, with its accepted records.
fn tables(file: &Value, validated: &Value) -> String {
    let mut sql = String::new();
    for (stream, columns) in file["streams"].as_object().expect("streams") {
        let typed = |(column, data_type): (&String, &Value)| {
            format!("{column} {}", postgres_type(data_type.as_str().expect("a type")))
        };
        let columns: Vec<String> = columns.as_object().expect("columns").iter().map(typed).collect();
        let rows = validated[stream].to_string().replace('\'', "''");
        sql.push_str(&format!(
            "DROP TABLE IF EXISTS pg_temp.{stream}; CREATE TEMPORARY TABLE {stream} AS SELECT * FROM jsonb_to_recordset('{rows}') AS given({}); ",
            columns.join(", ")
        ));
    }
    sql
}

fn postgres_type(data_type: &str) -> &'static str {
    match data_type {
        "Utf8" => "text",
        "Int32" => "int",
        "Int64" => "bigint",
        "Float64" | "Float32" => "float8",
        "Boolean" => "boolean",
        "Date32" => "date",
        other if other.starts_with("Decimal128") => "numeric",
        other if other.starts_with("Timestamp") => "timestamp",
        other => panic!("no type of PostgreSQL is known for {other}"),
    }
}

/// A value as text that is the same for equal values: decimals without trailing zeros, doubles to nine places, times without their zone.
fn normal(value: &Value, is_double: bool) -> String {
    let text = match value {
        Value::Null => return "NULL".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if let (true, Ok(number)) = (is_double, text.parse::<f64>()) {
        return format!("{number:.9}");
    }
    if text.contains('.') && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'-') {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    match text.strip_suffix('Z') {
        Some(time) if time.contains('T') && time.contains(':') => time.to_owned(),
        _ => text,
    }
}

#[test]
fn every_function_of_the_documentation_has_a_golden_file() {
    let contents = contents();
    let covered: BTreeSet<&str> = files(&contents)
        .values()
        .flat_map(|file| file["covers"].as_array().expect("constructs"))
        .filter_map(Value::as_str)
        .map(|construct| construct.split('(').next().unwrap_or(construct))
        .collect();
    let reference = std::fs::read_to_string(root().join("docs/sql.md")).expect("docs/sql.md");
    let (_, functions) = reference.split_once("<!-- functions: begin").expect("the functions begin");
    let (functions, _) = functions.split_once("<!-- functions: end").expect("the functions end");
    let mut missing = Vec::new();
    let mut count = 0;
    for row in functions.lines().filter(|line| line.starts_with("| `")) {
        let calls = row.split(" | ").next().unwrap_or_default();
        for name in calls.split('`').skip(1).step_by(2).filter_map(|call| call.split('(').next()) {
            count += 1;
            if !covered.contains(name) {
                missing.push(name.to_owned());
            }
        }
    }
    assert!(count > 60, "only {count} functions were found");
    assert!(missing.is_empty(), "no golden file covers {}", missing.join(", "));
}

/// The table of constructs, from the golden files.
#[test]
fn the_table_of_constructs_is_up_to_date() {
    let contents = contents();
    let mut constructs: BTreeMap<(String, String), (&str, bool)> = BTreeMap::new();
    for (name, file) in files(&contents) {
        let on_spark = file["not_on_spark"].is_null();
        for construct in file["covers"].as_array().expect("constructs").iter().filter_map(Value::as_str) {
            constructs.insert((construct.to_lowercase(), name.to_owned()), (construct, on_spark));
        }
    }
    let mut table = String::from(
        "# Constructs\n\nEach construct with the golden file that shows it. The files are run as they stand, with crashes everywhere, in pieces, and in\n\
         other orders of arrival, and where PostgreSQL can answer the same question, its answer is compared. The rows of all files\n\
         that Spark can run are compared with those that Spark computes. Made from `sqltests/` by `TILLSTREAM_UPDATE=1 cargo test -p tillstream --test sqltests`.\n\n\
         | construct | golden file | local | Spark |\n| --- | --- | --- | --- |\n",
    );
    for ((_, name), (construct, on_spark)) in &constructs {
        let construct = construct.replace('|', "\\|");
        let spark = if *on_spark { "yes" } else { "no" };
        table.push_str(&format!(
            "| `{construct}` | [{0}](../{name}) | yes | {spark} |\n",
            name.trim_start_matches("sqltests/")
        ));
    }
    let path = root().join("docs/constructs.md");
    if std::env::var_os("TILLSTREAM_UPDATE").is_some() {
        std::fs::write(&path, &table).expect("the table is written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == table,
        "docs/constructs.md is out of date: TILLSTREAM_UPDATE=1 cargo test -p tillstream --test sqltests"
    );
}
