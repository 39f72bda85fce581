//! Reference tables: where their rows are, and which columns they have.

mod csv_file;
mod parquet_file;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};

use crate::load::Loader;
use crate::problem::Found;
use crate::project::{Reference, ReferenceSource};
use crate::settings::ReferenceSettings;
use crate::suggest;
use crate::types;

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
        let source_and_columns = match (&settings.file, &settings.table) {
            (Some(file), None) => self.reference_file(name, file, settings),
            (None, Some(table)) => self.reference_table(name, table, settings),
            (both, _) => {
                let message = match both {
                    Some(_) => format!("`reference.{name}` has both a file and a table"),
                    None => format!("`reference.{name}` has neither a file nor a table"),
                };
                let left_out = self.left_out.iter().any(|path| path.starts_with(&format!("reference.{name}.")));
                if !left_out {
                    let help = "give `file` (a CSV or Parquet file) or `table` (a table in PostgreSQL)";
                    self.found.push(Found::error(self.tree.key_place(&["reference", name]), message).help(help));
                }
                None
            }
        };
        let key = settings.key.0.clone();
        let complete = source_and_columns.filter(|(_, columns)| self.check_key(name, &key, columns));
        let Some((source, columns)) = complete else {
            self.unknown_tables.insert(name.to_owned());
            return None;
        };
        let delimiter = delimiter(settings);
        let schema = columns.schema(&key);
        Some(Reference { name: name.to_owned(), source, key, schema, delimiter, refresh: settings.refresh })
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

    fn reference_table(
        &mut self,
        name: &str,
        table: &str,
        settings: &ReferenceSettings,
    ) -> Option<(ReferenceSource, TableColumns)> {
        if settings.columns.is_empty() {
            let place = self.tree.key_place(&["reference", name, "table"]);
            let help = "list the columns that queries need: `columns: { merchant_id: text, fee: \"decimal(6,4)\" }`";
            let message = format!("`reference.{name}` is a table in PostgreSQL, and its `columns` aren't given");
            self.found.push(Found::error(place, message).help(help));
            return None;
        }
        let source = ReferenceSource::Postgres {
            url: settings.url.clone(),
            password: settings.password.clone(),
            table: table.to_owned(),
        };
        Some((source, TableColumns(declared(settings))))
    }

    fn reference_file(
        &mut self,
        name: &str,
        file: &str,
        settings: &ReferenceSettings,
    ) -> Option<(ReferenceSource, TableColumns)> {
        if let Some(unused) =
            ["url", "password"].iter().find(|unused| self.tree.find(&["reference", name, unused]).is_some())
        {
            let place = self.tree.key_place(&["reference", name, unused]);
            self.found.push(Found::error(place, format!("`{unused}` belongs to a `table`, and this is a file")));
        }
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
