//! The rows of `expect`.

use arrow_schema::{DataType, Field};

use super::cell::Cell;
use super::read::Reader;
use super::{Expectation, ExpectedCell, ExpectedRow, ExpectedRows, Target};
use crate::problem::Found;
use crate::suggest;
use crate::tree::{Entry, Node, Value};

const REJECTED: &str = "rejected";
const VALIDATED: &str = "validated";
const EMITTED: &str = "emitted";

/// Columns that results have beside their own.
const OF_RESULTS: [(&str, DataType); 3] =
    [("final", DataType::Boolean), ("folded_rows", DataType::Int64), ("generation", DataType::Int32)];
/// Columns that emissions have beside those of results.
const OF_EMISSIONS: [(&str, DataType); 1] = [("deleted", DataType::Boolean)];
/// Columns of accepted records beside their own.
const OF_VALIDATED: [(&str, DataType); 2] = [("partition", DataType::Int32), ("offset", DataType::Int64)];
/// Columns of rejected records beside their own.
const OF_REJECTED: [(&str, DataType); 9] = [
    ("stream", DataType::Utf8),
    ("id", DataType::Utf8),
    ("reason", DataType::Utf8),
    ("rule", DataType::Utf8),
    ("message", DataType::Utf8),
    ("partition", DataType::Int32),
    ("offset", DataType::Int64),
    ("first_offset", DataType::Int64),
    ("key", DataType::Utf8),
];

impl Reader<'_> {
    /// What an `expect` looks at.
    pub(super) fn expectations(&mut self, node: &Node) -> Vec<Expectation> {
        let Some(entries) = node.mapping() else {
            let message = format!("`expect` names results with their rows, and this is {}", node.kind());
            self.error(node.origin, message);
            return Vec::new();
        };
        let mut expectations = Vec::new();
        for entry in entries {
            match entry.key.as_str() {
                REJECTED => {
                    let columns = self.rejected_columns();
                    expectations.extend(self.expectation(entry, Target::Rejected, &columns));
                }
                VALIDATED => self.validated(entry, &mut expectations),
                EMITTED => {
                    for inner in entry.node.mapping().unwrap_or_default() {
                        let Some(columns) = self.result_columns(inner, &OF_EMISSIONS) else { continue };
                        let target = Target::Emitted(inner.key.clone());
                        expectations.extend(self.expectation(inner, target, &columns));
                    }
                    if entry.node.mapping().is_none() {
                        let help = "write `emitted: { QUERY: [ … ] }`";
                        self.found.push(Found::error(entry.key_origin, "`emitted` of which query?").help(help));
                    }
                }
                _ => {
                    let Some(columns) = self.result_columns(entry, &[]) else { continue };
                    expectations.extend(self.expectation(entry, Target::Table(entry.key.clone()), &columns));
                }
            }
        }
        expectations
    }

    /// Rows of the one stream there is, or of each stream by name.
    fn validated(&mut self, entry: &Entry, expectations: &mut Vec<Expectation>) {
        let project = self.project;
        let by_name = |name: &str| project.stream(name).is_some();
        match &entry.node.value {
            Value::Mapping(entries) if entries.iter().any(|entry| by_name(&entry.key)) => {
                for inner in entries {
                    let Some(stream) = self.stream(inner) else { continue };
                    let columns = with(stream.arrow.fields().iter().map(AsRef::as_ref), &OF_VALIDATED);
                    expectations.extend(self.expectation(inner, Target::Validated(stream.name.clone()), &columns));
                }
            }
            _ => match project.streams.as_slice() {
                [stream] => {
                    let columns = with(stream.arrow.fields().iter().map(AsRef::as_ref), &OF_VALIDATED);
                    expectations.extend(self.expectation(entry, Target::Validated(stream.name.clone()), &columns));
                }
                _ => {
                    let help = "write `validated: { STREAM: [ … ] }`";
                    self.found.push(Found::error(entry.key_origin, "`validated` of which stream?").help(help));
                }
            },
        }
    }

    fn result_columns(&mut self, entry: &Entry, further: &[(&str, DataType)]) -> Option<Vec<(String, DataType)>> {
        let project = self.project;
        let Some(query) = project.result(&entry.key) else {
            let queries = project.queries.iter().map(|query| query.name.as_str());
            let names = queries.chain([REJECTED, VALIDATED, EMITTED]);
            let help = suggest::help(&entry.key, names, "there are");
            let message = format!("there is no query `{}` to expect rows of", entry.key);
            self.found.push(Found::error(entry.key_origin, message).maybe_help(help));
            return None;
        };
        let mut columns = with(query.schema.fields().iter().map(AsRef::as_ref), &OF_RESULTS);
        columns.extend(further.iter().map(|(name, data_type)| ((*name).to_owned(), data_type.clone())));
        Some(columns)
    }

    /// Those that we know of a rejection, and all columns of all streams.
    fn rejected_columns(&self) -> Vec<(String, DataType)> {
        let mut columns: Vec<(String, DataType)> = owned(&OF_REJECTED).collect();
        for field in self.project.streams.iter().flat_map(|stream| stream.arrow.fields()) {
            columns.push((field.name().clone(), field.data_type().clone()));
        }
        columns
    }

    fn expectation(&mut self, entry: &Entry, target: Target, columns: &[(String, DataType)]) -> Option<Expectation> {
        let spot = self.spot(entry.key_origin);
        let (list, ordered) = match entry.node.mapping() {
            None => (Some(&entry.node), false),
            Some(options) => {
                for option in
                    options.iter().filter(|option| !["rows", "count", "ordered"].contains(&option.key.as_str()))
                {
                    let help = "write a list of rows, or `{ rows: [ … ], ordered: true }`, or `{ count: 3 }`";
                    let message = format!("`{}` is no option of expected rows", option.key);
                    self.found.push(Found::error(option.key_origin, message).help(help));
                }
                if let Some(count) = entry.node.entry("count") {
                    let number = count.node.scalar().and_then(|text| text.parse::<usize>().ok());
                    if number.is_none() {
                        self.error(count.node.origin, "`count` is a whole number".to_owned());
                    }
                    let rows = ExpectedRows::Count { spot: self.spot(count.node.origin), count: number? };
                    return Some(Expectation { spot, target, ordered: false, rows });
                }
                let ordered = entry.node.entry("ordered").and_then(|entry| entry.node.scalar()) == Some("true");
                (entry.node.entry("rows").map(|rows| &rows.node), ordered)
            }
        };
        let Some(Node { value: Value::Sequence(items), origin }) = list else {
            let help = "write a list of rows; `[]` means that there are none";
            let message = format!("the rows of `{}` are a list", entry.key);
            self.found.push(Found::error(entry.key_origin, message).help(help));
            return None;
        };
        let rows = items.iter().filter_map(|item| self.row(item, &entry.key, columns)).collect();
        Some(Expectation { spot, target, ordered, rows: ExpectedRows::Rows { spot: self.spot(*origin), rows } })
    }

    fn row(&mut self, node: &Node, table: &str, columns: &[(String, DataType)]) -> Option<ExpectedRow> {
        let Some(entries) = node.mapping() else {
            self.error(node.origin, format!("a row is a mapping of columns, and this is {}", node.kind()));
            return None;
        };
        let mut cells = Vec::with_capacity(entries.len());
        for entry in entries {
            let Some((_, data_type)) = columns.iter().find(|(name, _)| *name == entry.key) else {
                let help = suggest::help(&entry.key, columns.iter().map(|(name, _)| name.as_str()), "its columns are");
                let message = format!("`{table}` has no column `{}`", entry.key);
                self.found.push(Found::error(entry.key_origin, message).maybe_help(help));
                continue;
            };
            match Cell::read(&entry.node, data_type) {
                Ok(value) => {
                    let spot = self.spot(entry.node.origin);
                    cells.push(ExpectedCell { column: entry.key.clone(), value, spot });
                }
                Err(message) => self.error(entry.node.origin, format!("`{}`: {message}", entry.key)),
            }
        }
        Some(ExpectedRow { spot: self.spot(node.origin), cells })
    }
}

fn owned<'a>(columns: &'a [(&str, DataType)]) -> impl Iterator<Item = (String, DataType)> + 'a {
    columns.iter().map(|(name, data_type)| ((*name).to_owned(), data_type.clone()))
}

/// A table's own columns go before ours of the same name.
fn with<'f>(fields: impl Iterator<Item = &'f Field>, ours: &[(&str, DataType)]) -> Vec<(String, DataType)> {
    fields.map(|field| (field.name().clone(), field.data_type().clone())).chain(owned(ours)).collect()
}
