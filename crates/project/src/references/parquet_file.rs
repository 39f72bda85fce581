//! A reference table in a Parquet file: its columns are in its footer, and its keys are read to see that they are unique.

use std::collections::HashSet;
use std::fs::File;

use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::TableColumns;
use crate::load::Loader;
use crate::problem::Found;
use crate::settings::ReferenceSettings;

impl Loader {
    /// The columns of a Parquet file, or `None` after saying what is wrong.
    pub(super) fn parquet_columns(
        &mut self,
        name: &str,
        file: &str,
        settings: &ReferenceSettings,
    ) -> Option<TableColumns> {
        let place = self.place(&["reference", name, "file"]);
        let shown = self.shown(file);
        let path = self.directory.join(file);
        let builder = File::open(&path)
            .map_err(|error| error.to_string())
            .and_then(|file| ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| error.to_string()));
        let builder = match builder {
            Ok(builder) => builder,
            Err(error) => {
                self.found.push(Found::error(place, format!("`{shown}` is no Parquet file that can be read: {error}")));
                return None;
            }
        };
        let fields = builder.schema().fields().clone();
        let header: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
        if !self.check_declared(name, settings, &header) {
            return None;
        }
        let declared = super::declared(settings);
        let mut columns = Vec::new();
        for field in &fields {
            let declared =
                declared.iter().find(|(other, _)| other == field.name()).map(|(_, data_type)| data_type.clone());
            match declared.or_else(|| model::infer::column_type(field.data_type())) {
                Some(data_type) => columns.push((field.name().clone(), data_type)),
                None => {
                    let message = format!("the column `{}` of `{shown}` is left out", field.name());
                    let help = format!("its type {} has no counterpart in SQL", field.data_type());
                    self.found.push(Found::warning(place, message).help(help));
                }
            }
        }
        match check_keys(builder, &settings.key.0, settings.valid_from.is_none()) {
            Ok(()) => Some(TableColumns(columns)),
            Err(message) => {
                let help = "each row needs a key of its own; `key` may list several columns";
                self.found.push(Found::error(place, format!("`{shown}`: {message}")).help(help));
                None
            }
        }
    }
}

/// Reads the key columns alone. Columns that aren't there are somebody else's error.
fn check_keys(builder: ParquetRecordBatchReaderBuilder<File>, key: &[String], is_unique: bool) -> Result<(), String> {
    let names: Vec<&str> = key.iter().map(String::as_str).collect();
    if names.iter().any(|name| builder.schema().field_with_name(name).is_err()) {
        return Ok(());
    }
    let mask = ProjectionMask::columns(builder.parquet_schema(), names);
    let reader = builder.with_projection(mask).build().map_err(|error| error.to_string())?;
    let mut seen = HashSet::new();
    for batch in reader {
        let batch: RecordBatch = batch.map_err(|error| error.to_string())?;
        let options = FormatOptions::default();
        let columns: Result<Vec<_>, _> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options)).collect();
        let columns = columns.map_err(|error| error.to_string())?;
        for row in 0..batch.num_rows() {
            if batch.columns().iter().any(|column| column.is_null(row)) {
                return Err("a row has no key".into());
            }
            let parts: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
            let shown = parts.join(", ");
            if is_unique && !seen.insert(parts) {
                return Err(format!("two rows have the key `{shown}`"));
            }
        }
    }
    Ok(())
}
