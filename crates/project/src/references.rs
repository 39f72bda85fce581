//! Reference tables: where their rows are, and which columns they have.

mod csv_file;
mod parquet_file;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};

use crate::load::Loader;
use crate::problem::Found;
use crate::project::{PostgresRelation, Reference, ReferenceSource, Validity};
use crate::settings::{Duration, RecordKey, ReferenceSettings};
use crate::suggest;
use crate::types;

/// Settings that mean something for some kinds of sources alone.
const OF_KINDS: [(&str, &[&str]); 5] = [
    ("record_key", &["topic"]),
    ("url", &["table", "query"]),
    ("password", &["table", "query"]),
    ("notify", &["table", "query"]),
    ("delimiter", &["file"]),
];

/// What a file or a declaration says about a table.
pub(crate) struct TableColumns(Vec<(String, DataType)>);

impl TableColumns {
    fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Arrow's schema. What isn't in the key may be NULL: the next version of the table may have empty values.
    fn schema(&self, key: &[String]) -> SchemaRef {
        let field = |(name, data_type): &(String, DataType)| Field::new(name, data_type.clone(), !key.contains(name));
        Arc::new(Schema::new(self.0.iter().map(field).collect::<Vec<_>>()))
    }
}

impl Loader {
    /// The reference tables that are right.
    pub(crate) fn references(&mut self) -> Vec<Reference> {
        let settings = self.settings.reference.clone();
        let references = settings.iter().filter_map(|(name, settings)| self.reference(name, settings)).collect();
        let declared = self.tree.find(&["reference"]).and_then(crate::tree::Node::mapping).unwrap_or_default();
        let unread = declared.iter().map(|entry| entry.key.clone()).filter(|name| settings.get(name).is_none());
        self.unknown_tables.extend(unread);
        references
    }

    fn reference(&mut self, name: &str, settings: &ReferenceSettings) -> Option<Reference> {
        let sources = [
            ("file", &settings.file),
            ("table", &settings.table),
            ("query", &settings.query),
            ("topic", &settings.topic),
        ];
        let given: Vec<(&str, &String)> =
            sources.iter().filter_map(|(kind, value)| Some((*kind, value.as_ref()?))).collect();
        let source_and_columns = match given.as_slice() {
            [(kind, value)] if self.check_belonging(name, kind) => match *kind {
                "file" => self.reference_file(name, value, settings),
                kind => self.reference_elsewhere(name, kind, settings),
            },
            [_] => None,
            given => {
                let kinds: Vec<String> = given.iter().map(|(kind, _)| format!("`{kind}`")).collect();
                let message = match given {
                    [] => format!("`reference.{name}` doesn't say where its rows are"),
                    _ => format!("`reference.{name}` has {}, and rows come from one place", kinds.join(" and ")),
                };
                let left_out = self.left_out.iter().any(|path| path.starts_with(&format!("reference.{name}.")));
                if !left_out {
                    let help = "give `file` (a CSV or Parquet file), `table` or `query` (in PostgreSQL), or `topic`";
                    self.found.push(Found::error(self.tree.key_place(&["reference", name]), message).help(help));
                }
                None
            }
        };
        let key = settings.key.0.clone();
        let complete = source_and_columns.filter(|(_, columns)| {
            let right = self.check_key(name, &key, columns);
            self.check_validity(name, settings, columns) && right
        });
        let Some((source, columns)) = complete else {
            self.unknown_tables.insert(name.to_owned());
            return None;
        };
        Some(Reference {
            name: name.to_owned(),
            source,
            schema: columns.schema(&key),
            key,
            validity: validity(settings),
            delimiter: delimiter(settings),
            refresh: settings.refresh.unwrap_or_else(|| default_refresh(settings)),
            memory_bytes: settings.memory.0,
        })
    }

    /// Settings that have no effect with this kind of source are mistakes.
    fn check_belonging(&mut self, name: &str, kind: &str) -> bool {
        let mut right = true;
        for (setting, kinds) in OF_KINDS {
            if self.tree.find(&["reference", name, setting]).is_some() && !kinds.contains(&kind) {
                let place = self.tree.key_place(&["reference", name, setting]);
                let owners: Vec<String> = kinds.iter().map(|kind| format!("a `{kind}`")).collect();
                let message = format!("`{setting}` belongs to {}, and this is a {kind}", owners.join(" or "));
                self.found.push(Found::error(place, message).help("take it out"));
                right = false;
            }
        }
        right
    }

    fn check_key(&mut self, name: &str, key: &[String], columns: &TableColumns) -> bool {
        let mut right = true;
        for (index, column) in key.iter().enumerate() {
            let index = index.to_string();
            let place = self.place(&["reference", name, "key", &index]);
            let Some((_, data_type)) = columns.0.iter().find(|(other, _)| other == column) else {
                let help = suggest::help(column, columns.names(), "its columns are");
                let message = format!("the reference table `{name}` has no column `{column}`");
                self.found.push(Found::error(place, message).maybe_help(help));
                right = false;
                continue;
            };
            if matches!(data_type, DataType::Float64) {
                let message =
                    format!("the key `{column}` is double, and equality of floating-point numbers is no identity");
                let help = format!("declare another type: `columns: {{ {column}: bigint }}`");
                self.found.push(Found::error(place, message).help(help));
                right = false;
            }
        }
        right
    }

    /// The columns of the validity are there, and are times.
    fn check_validity(&mut self, name: &str, settings: &ReferenceSettings, columns: &TableColumns) -> bool {
        let mut right = true;
        if settings.valid_from.is_none() && settings.valid_to.is_some() {
            let place = self.tree.key_place(&["reference", name, "valid_to"]);
            let message = format!("`reference.{name}` says when its rows end and not when they begin");
            self.found
                .push(Found::error(place, message).help("give `valid_from` too; NULL there is from the beginning"));
            right = false;
        }
        for (setting, column) in [("valid_from", &settings.valid_from), ("valid_to", &settings.valid_to)] {
            let Some(column) = column else { continue };
            let place = self.place(&["reference", name, setting]);
            let found = match columns.0.iter().find(|(other, _)| other == column) {
                Some((_, DataType::Timestamp(..) | DataType::Date32)) => continue,
                Some((_, other)) => {
                    let message = format!("`{setting}` is the column `{column}`, which is {}", types::name(other));
                    let help = format!("a time is needed; declare it: `columns: {{ {column}: timestamp }}`");
                    Found::error(place, message).help(help)
                }
                None => {
                    let help = suggest::help(column, columns.names(), "its columns are");
                    let message = format!("the reference table `{name}` has no column `{column}`");
                    Found::error(place, message).maybe_help(help)
                }
            };
            self.found.push(found);
            right = false;
        }
        right
    }

    /// A source that isn't asked when a project is checked: its columns are declared.
    fn reference_elsewhere(
        &mut self,
        name: &str,
        kind: &str,
        settings: &ReferenceSettings,
    ) -> Option<(ReferenceSource, TableColumns)> {
        if settings.columns.is_empty() {
            let place = self.tree.key_place(&["reference", name, kind]);
            let help = "list the columns that queries need: `columns: { merchant_id: text, fee: \"decimal(6,4)\" }`";
            let place_of_rows = if kind == "topic" { "Kafka" } else { "PostgreSQL" };
            let message = format!("`reference.{name}` is a {kind} in {place_of_rows}, and its `columns` aren't given");
            self.found.push(Found::error(place, message).help(help));
            return None;
        }
        if let Some(topic) = &settings.topic {
            if settings.record_key == Some(RecordKey::Text) && settings.key.0.len() != 1 {
                let place = self.place(&["reference", name, "record_key"]);
                let message =
                    format!("a record's key that is text holds one column, and the key has {}", settings.key.0.len());
                let help = "write `record_key: avro`, or take it out if the columns are in the value";
                self.found.push(Found::error(place, message).help(help));
                return None;
            }
            let source = ReferenceSource::Topic { topic: topic.clone(), record_key: settings.record_key };
            return Some((source, TableColumns(declared(settings))));
        }
        let relation = match (&settings.table, &settings.query) {
            (Some(table), _) => PostgresRelation::Table(table.clone()),
            (None, query) => PostgresRelation::Query(query.clone().unwrap_or_default()),
        };
        let source = ReferenceSource::Postgres {
            url: settings.url.clone(),
            password: settings.password.clone(),
            relation,
            notify: settings.notify.clone(),
        };
        Some((source, TableColumns(declared(settings))))
    }

    fn reference_file(
        &mut self,
        name: &str,
        file: &str,
        settings: &ReferenceSettings,
    ) -> Option<(ReferenceSource, TableColumns)> {
        let place = self.place(&["reference", name, "file"]);
        let path = self.directory.join(file);
        let shown = self.shown(file);
        let found = match std::fs::File::open(&path) {
            Ok(_) if path.is_dir() => Some(Found::error(place, format!("the reference file `{shown}` is a directory"))),
            Ok(_) => None,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let found = Found::error(place, format!("the reference file `{shown}` doesn't exist"));
                Some(found.help(self.missing_file_help(file)))
            }
            Err(error) => Some(Found::error(place, format!("the reference file `{shown}` can't be read: {error}"))),
        };
        if let Some(found) = found {
            self.found.push(found);
            return None;
        }
        let extension = Path::new(file).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let columns = match extension.to_ascii_lowercase().as_str() {
            "csv" | "tsv" => self.csv_columns(name, file, settings),
            "parquet" | "pq" => self.parquet_columns(name, file, settings),
            _ => {
                let message = format!("`{shown}` is no kind of file that a reference table can come from");
                self.found.push(Found::error(place, message).help("write it as .csv (with a header line) or .parquet"));
                None
            }
        };
        columns.map(|columns| (ReferenceSource::File(path), columns))
    }

    /// Declared columns must be in the file.
    fn check_declared(&mut self, name: &str, settings: &ReferenceSettings, header: &[&str]) -> bool {
        let mut right = true;
        for column in settings.columns.keys().filter(|column| !header.contains(&column.as_str())) {
            let place = self.tree.key_place(&["reference", name, "columns", column]);
            let help = suggest::help(column, header.iter().copied(), "its columns are");
            let message = format!("the file of `reference.{name}` has no column `{column}`");
            self.found.push(Found::error(place, message).maybe_help(help));
            right = false;
        }
        right
    }
}

fn default_refresh(settings: &ReferenceSettings) -> Duration {
    Duration::from_secs(if settings.topic.is_some() { 1 } else { 60 })
}

fn validity(settings: &ReferenceSettings) -> Option<Validity> {
    Some(Validity { from: settings.valid_from.clone()?, to: settings.valid_to.clone() })
}

/// What separates the columns of a table's CSV file.
fn delimiter(settings: &ReferenceSettings) -> u8 {
    let set = settings.delimiter.as_ref().and_then(|text| text.as_bytes().first().copied());
    let tabs = settings.file.as_ref().is_some_and(|file| file.to_ascii_lowercase().ends_with(".tsv"));
    set.unwrap_or(if tabs { b'\t' } else { b',' })
}

/// The declared columns with their types; the schema has checked the types' names.
fn declared(settings: &ReferenceSettings) -> Vec<(String, DataType)> {
    let parsed = |(name, text): (&String, &String)| Some((name.clone(), types::parse(text)?));
    settings.columns.iter().filter_map(parsed).collect()
}
