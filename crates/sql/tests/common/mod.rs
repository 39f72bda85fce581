//! What the tests share: the tables of the payments example, and golden files.

#![allow(dead_code, reason = "each test file uses a part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use sql::{Catalog, ReferenceTable, StreamTable};

pub(crate) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC")))
}

pub(crate) fn transactions() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("transaction_id", DataType::Utf8, false),
        Field::new("account_id", DataType::Utf8, false),
        Field::new("merchant_id", DataType::Int32, true),
        Field::new("amount", DataType::Decimal128(10, 2), false),
        Field::new("discount", DataType::Decimal128(10, 2), true),
        Field::new("quantity", DataType::Int32, true),
        Field::new("points", DataType::Int64, false),
        Field::new("risk", DataType::Float64, true),
        Field::new("currency", DataType::Utf8, true),
        Field::new("is_online", DataType::Boolean, true),
        Field::new("booked_on", DataType::Date32, true),
        Field::new("event_time", timestamp(), false),
        Field::new("created_at", timestamp(), true),
        Field::new("wide", DataType::Decimal128(38, 10), true),
    ]))
}

pub(crate) fn catalog() -> Catalog {
    let merchants = Schema::new(vec![
        Field::new("merchant_id", DataType::Int32, false),
        Field::new("name", DataType::Utf8, false),
        Field::new("category", DataType::Utf8, true),
        Field::new("country", DataType::Utf8, false),
    ]);
    let rates = Schema::new(vec![
        Field::new("currency", DataType::Utf8, false),
        Field::new("country", DataType::Utf8, false),
        Field::new("rate", DataType::Decimal128(12, 6), false),
    ]);
    let small = Schema::new(vec![Field::new("id", DataType::Int32, false), Field::new("label", DataType::Utf8, false)]);
    let stream = |schema| StreamTable { schema, event_time: "event_time".to_owned(), key: "account_id".to_owned() };
    let logins = Schema::new(vec![
        Field::new("account_id", DataType::Utf8, false),
        Field::new("event_time", timestamp(), false),
    ]);
    let tagged = Schema::new(vec![
        Field::new("tags", DataType::new_list(DataType::Utf8, true), true),
        Field::new("event_time", timestamp(), false),
    ]);
    let reference = |schema, key: &[&str]| ReferenceTable {
        schema: Arc::new(schema),
        key: key.iter().map(|column| (*column).to_owned()).collect(),
        has_validity: false,
    };
    let fees = Schema::new(vec![
        Field::new("merchant_id", DataType::Int32, false),
        Field::new("fee", DataType::Decimal128(6, 4), true),
        Field::new("valid_from", timestamp(), true),
    ]);
    let fees = ReferenceTable { has_validity: true, ..reference(fees, &["merchant_id"]) };
    Catalog {
        streams: [
            ("transactions".to_owned(), stream(transactions())),
            ("logins".to_owned(), stream(Arc::new(logins))),
            ("tagged".to_owned(), stream(Arc::new(tagged))),
        ]
        .into(),
        references: [
            ("merchants".to_owned(), reference(merchants, &["merchant_id"])),
            ("rates".to_owned(), reference(rates, &["currency", "country"])),
            ("small".to_owned(), reference(small, &["id"])),
            ("fees".to_owned(), fees),
        ]
        .into(),
    }
}

/// Files with an extension in a folder of `tests`, in order.
pub(crate) fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Compares with a golden file, or writes it when `TILLSTREAM_UPDATE` is set.
pub(crate) fn assert_golden(path: &Path, found: &str, failures: &mut Vec<String>) {
    if std::env::var_os("TILLSTREAM_UPDATE").is_some() {
        std::fs::write(path, found).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    if expected != found {
        failures.push(format!("{}:\n--- expected\n{expected}\n--- found\n{found}", path.display()));
    }
}
