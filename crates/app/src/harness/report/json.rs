//! For programs.

use serde_json::{Map, Value, json};

use super::Ran;
use crate::harness::{DiffRow, Failure, Row};

/// `{"version":1,"passed":…,"failed":…,"tests":[…]}`; with `contents`, what each pipeline held at its end.
pub(crate) fn json(all: &[Ran], contents: bool) -> Value {
    let failed = all.iter().filter(|ran| !ran.has_passed()).count();
    let tests: Vec<Value> = all.iter().map(|ran| test(ran, contents)).collect();
    json!({ "version": 1, "passed": all.len() - failed, "failed": failed, "tests": tests })
}

fn test(ran: &Ran, contents: bool) -> Value {
    let failures: Vec<Value> = ran.outcome.failures.iter().map(failure).collect();
    let mut test = json!({
        "file": ran.file,
        "line": ran.line,
        "name": ran.name,
        "passed": ran.has_passed(),
        "took_ms": u64::try_from(ran.took.as_millis()).unwrap_or(u64::MAX),
        "failures": failures,
        "error": ran.outcome.error,
    });
    if contents && let Value::Object(test) = &mut test {
        let held = &ran.outcome.contents;
        test.insert("validated".to_owned(), named(&held.validated));
        test.insert("rejected".to_owned(), rows(&held.rejected));
        test.insert("results".to_owned(), named(&held.results));
    }
    test
}

fn failure(failure: &Failure) -> Value {
    let of = |cells: &[String]| {
        let pairs = failure.columns.iter().zip(cells);
        pairs.map(|(column, cell)| (column.clone(), Value::from(cell.as_str()))).collect::<Map<_, _>>()
    };
    let mut missing = Vec::new();
    let mut unexpected = Vec::new();
    for row in &failure.rows {
        match row {
            DiffRow::Same(_) => {}
            DiffRow::Missing(cells, line) => missing.push(json!({ "line": line, "row": of(cells) })),
            DiffRow::Unexpected(cells) => unexpected.push(json!({ "row": of(cells) })),
        }
    }
    json!({
        "line": failure.spot.line,
        "target": failure.target,
        "message": failure.summary,
        "missing": missing,
        "unexpected": unexpected,
    })
}

fn named(all: &[(String, Vec<Row>)]) -> Value {
    Value::Object(all.iter().map(|(name, held)| (name.clone(), rows(held))).collect())
}

fn rows(rows: &[Row]) -> Value {
    let object = |row: &Row| -> Value {
        let mut object = Map::new();
        for (column, value) in row {
            // The first of a name is the table's own.
            object.entry(column.clone()).or_insert_with(|| value.to_json());
        }
        object.into()
    };
    rows.iter().map(object).collect()
}
