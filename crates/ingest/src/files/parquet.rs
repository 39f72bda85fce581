//! Parquet files.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, new_empty_array};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use model::limits::BATCH_BYTES_MAX;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::ParquetMetaData;

use super::{Fault, FileBatch, FileError, FileOptions, RejectedRow, RowsRead, Targets};
use crate::coerce::array::{Coerced, coerce};
use crate::coerce::type_name;

/// The rows of a Parquet file, from a given one on.
#[derive(Debug)]
pub(super) struct ParquetRows {
    reader: ParquetRecordBatchReader,
    targets: Arc<Targets>,
    /// For each column of the stream, its place among the columns that are read.
    places: Vec<Option<usize>>,
    next_row: u64,
    rows_total: u64,
}

/// A Parquet file, its schema read.
pub(crate) fn open_file(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>, FileError> {
    let file = File::open(path).map_err(|error| FileError::open(path, &error))?;
    guarded(|| ParquetRecordBatchReaderBuilder::try_new(file)).map_err(|reason| malformed(path, reason))
}

fn malformed(path: &Path, reason: String) -> FileError {
    FileError::Malformed { path: path.display().to_string(), format: "Parquet", reason }
}

/// Runs a step of the Parquet library, which panics on some damaged files (a flipped bit in a page is enough). What the step worked on
/// is not used again after that.
fn guarded<T, E: std::fmt::Display>(step: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the file is damaged".into()),
    }
}

impl ParquetRows {
    pub(super) fn open(targets: Arc<Targets>, options: &FileOptions) -> Result<Self, FileError> {
        let path = Arc::clone(&targets.path);
        let builder = open_file(&path)?;
        let schema = Arc::clone(builder.schema());
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let columns = targets.places(&names)?;
        check_types(&targets, &schema, &columns)?;
        let mut roots: Vec<usize> = columns.iter().flatten().copied().collect();
        roots.sort_unstable();
        roots.dedup();
        let places = columns.iter().map(|column| column.and_then(|root| roots.binary_search(&root).ok())).collect();
        let rows_total = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
        let start_row = options.start_row.min(rows_total);
        let (groups, offset) = groups_from(builder.metadata(), start_row);
        let batch_rows = batch_rows(builder.metadata(), options.batch_rows);
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        let builder =
            builder.with_projection(mask).with_row_groups(groups).with_offset(offset).with_batch_size(batch_rows);
        let reader = guarded(|| builder.build()).map_err(|reason| malformed(&path, reason))?;
        Ok(Self { reader, targets, places, next_row: start_row, rows_total })
    }

    pub(super) fn next_row(&self) -> u64 {
        self.next_row
    }

    pub(super) fn rows_total(&self) -> u64 {
        self.rows_total
    }

    pub(super) fn next_batch(&mut self) -> Result<Option<FileBatch>, FileError> {
        let source = match guarded(|| self.reader.next().transpose()).transpose() {
            None if self.next_row < self.rows_total => {
                return Err(self.read_error("the file ends before the number of rows that it states"));
            }
            None => return Ok(None),
            Some(Ok(source)) => source,
            Some(Err(reason)) => return Err(self.read_error(&reason)),
        };
        let first = self.next_row;
        self.next_row += source.num_rows() as u64;
        let mut columns = Vec::with_capacity(self.places.len());
        let mut faults = Vec::new();
        let mut noisy_decimals = 0;
        for ((field, place), name) in self.targets.schema.fields().iter().zip(&self.places).zip(&self.targets.names) {
            let column = match place.and_then(|place| source.columns().get(place)) {
                Some(column) => Arc::clone(column),
                None => arrow_array::new_null_array(field.data_type(), source.num_rows()),
            };
            let Ok(Coerced { array, faults: column_faults, noisy }) = coerce(&column, field) else {
                return Err(unsupported(&self.targets, name, column.as_ref(), field.data_type()));
            };
            columns.push(array);
            noisy_decimals += noisy;
            faults.extend(
                column_faults.into_iter().map(|(row, message)| (row, Fault { column: Some(name.clone()), message })),
            );
        }
        let read = RowsRead { noisy_decimals, ..rows_read(&source, first, faults) };
        self.targets.assemble(columns, read, self.next_row).map(Some)
    }

    fn read_error(&self, reason: &str) -> FileError {
        FileError::Read { path: self.targets.path.display().to_string(), row: self.next_row, reason: reason.to_owned() }
    }
}

fn unsupported(targets: &Targets, name: &str, source: &dyn Array, to: &arrow_schema::DataType) -> FileError {
    FileError::UnsupportedType {
        path: targets.path.display().to_string(),
        column: name.to_owned(),
        from: type_name(source.data_type()),
        to: type_name(to),
    }
}

/// Tries the conversion of each column with no rows, so that a type that doesn't fit is told before anything is sent.
fn check_types(targets: &Targets, schema: &arrow_schema::Schema, columns: &[Option<usize>]) -> Result<(), FileError> {
    for ((field, column), name) in targets.schema.fields().iter().zip(columns).zip(&targets.names) {
        let Some(from) = column.and_then(|column| schema.fields().get(column)) else { continue };
        let empty: ArrayRef = new_empty_array(from.data_type());
        if coerce(&empty, field).is_err() {
            return Err(unsupported(targets, name, empty.as_ref(), field.data_type()));
        }
    }
    Ok(())
}

/// The row groups from the one that holds `start_row` on, and how many rows of the first are before it.
fn groups_from(metadata: &ParquetMetaData, start_row: u64) -> (Vec<usize>, usize) {
    let mut skipped = 0;
    for (index, group) in metadata.row_groups().iter().enumerate() {
        let rows = u64::try_from(group.num_rows()).unwrap_or(0);
        if skipped + rows > start_row {
            let offset = usize::try_from(start_row - skipped).unwrap_or(usize::MAX);
            return ((index..metadata.num_row_groups()).collect(), offset);
        }
        skipped += rows;
    }
    (Vec::new(), 0)
}

/// Rows that keep a batch of average rows within its bytes.
fn batch_rows(metadata: &ParquetMetaData, wanted: usize) -> usize {
    let bytes: i64 = metadata.row_groups().iter().map(|group| group.total_byte_size().max(0)).sum();
    let rows = metadata.file_metadata().num_rows().max(1);
    let row_bytes = usize::try_from(bytes / rows).unwrap_or(usize::MAX).max(1);
    wanted.min(BATCH_BYTES_MAX / row_bytes).max(1)
}

fn rows_read(source: &RecordBatch, first: u64, mut faults: Vec<(usize, Fault)>) -> RowsRead {
    let mut read = RowsRead {
        rows: (first..first + source.num_rows() as u64).collect(),
        bad: vec![false; source.num_rows()],
        ..RowsRead::default()
    };
    // Stable: the faults of a row stay in the order of the columns.
    faults.sort_by_key(|(row, _)| *row);
    for (row, fault) in faults {
        if let Some(bad) = read.bad.get_mut(row) {
            *bad = true;
        }
        let number = first + row as u64;
        match read.rejected.last_mut() {
            Some(last) if last.row == number => last.faults.push(fault),
            _ => {
                let raw = raw_json(source, row);
                read.rejected.push(RejectedRow { row: number, line: None, faults: vec![fault], raw });
            }
        }
    }
    read
}

/// The row as a JSON object of texts.
fn raw_json(source: &RecordBatch, row: usize) -> String {
    let options = FormatOptions::default();
    let object: serde_json::Map<String, serde_json::Value> = source
        .schema()
        .fields()
        .iter()
        .zip(source.columns())
        .map(|(field, column)| {
            let value = if column.is_null(row) {
                serde_json::Value::Null
            } else {
                match ArrayFormatter::try_new(column.as_ref(), &options) {
                    Ok(formatter) => serde_json::Value::String(formatter.value(row).to_string()),
                    Err(_) => serde_json::Value::Null,
                }
            };
            (field.name().clone(), value)
        })
        .collect();
    serde_json::Value::Object(object).to_string()
}
