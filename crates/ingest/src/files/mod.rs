//! Files as rows of a stream: CSV, JSON lines and Parquet.
//!
//! In: a file, the stream's Arrow schema, the row to start at. Out: batches of the stream's columns, each row with its number in the file
//! (counted from 0, without the CSV header and without blank lines), which `load` puts into the record's headers.
//!
//! Promised: every row of the file comes out exactly once, in order, either in a batch or as a [`RejectedRow`] with its raw text and its
//! faults; numbers don't depend on where reading starts, so a load that was cut off goes on after its last row; memory is bounded by a
//! batch, whatever the file holds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use serde::Serialize;

use crate::coerce::text::ColumnBuilder;

mod csv;
mod error;
mod jsonl;
mod parquet;

pub(crate) use self::csv::header as csv_header;
pub use self::error::{FileError, Missing};
pub(crate) use self::parquet::open_file as open_parquet;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values with a header (RFC 4180).
    Csv,
    /// One JSON object per line.
    JsonLines,
    /// Apache Parquet.
    Parquet,
}

impl Format {
    /// The format that the file's name ends with: `.csv`, `.tsv`, `.jsonl`, `.ndjson`, `.json`, `.parquet`, `.pq`.
    pub fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "csv" | "tsv" => Some(Self::Csv),
            "jsonl" | "ndjson" | "json" => Some(Self::JsonLines),
            "parquet" | "pq" => Some(Self::Parquet),
            _ => None,
        }
    }
}

/// How a file is to be read.
#[derive(Debug, Clone)]
pub struct FileOptions {
    /// The format; by the file's name if not given.
    pub format: Option<Format>,
    /// Columns that have another name in the file: the stream's name to the file's.
    pub rename: BTreeMap<String, String>,
    /// Whether a nullable column that the file doesn't have is NULL. If not, it is an error, since it may be a misspelt name.
    /// In JSON lines a name that an object lacks is NULL anyway.
    pub absent_is_null: bool,
    /// The first row to read, counted from 0.
    pub start_row: u64,
    /// Most rows in a batch.
    pub batch_rows: usize,
    /// What stands between CSV fields; a comma, or a tab in `.tsv` files, if not given.
    pub delimiter: Option<u8>,
    /// A CSV field that means NULL, besides the empty one: `NULL`, `\N`, `NA`.
    pub null_text: Option<String>,
}

impl Default for FileOptions {
    fn default() -> Self {
        Self {
            format: None,
            rename: BTreeMap::new(),
            absent_is_null: false,
            start_row: 0,
            batch_rows: BATCH_ROWS,
            delimiter: None,
            null_text: None,
        }
    }
}

const BATCH_ROWS: usize = 8_192;

/// Rows of a file that follow one another.
#[derive(Debug, Clone)]
pub struct FileBatch {
    /// The rows that fit the stream, with exactly its columns.
    pub batch: RecordBatch,
    /// Number in the file of each row of `batch`; ascending, with gaps where rows were rejected.
    pub rows: Vec<u64>,
    /// The rows that don't fit, in order.
    pub rejected: Vec<RejectedRow>,
    /// Number of the row after this batch: reading goes on there.
    pub next_row: u64,
    /// Decimals that had the noise of floating point taken off, far below their smallest unit: 0.30000000000000004 became 0.30.
    /// Not an error, but worth a line in the summary.
    pub noisy_decimals: usize,
}

/// A row that doesn't fit the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RejectedRow {
    /// Number in the file, counted from 0.
    pub row: u64,
    /// Line of a text file on which the row begins, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// What is wrong; at least one fault.
    pub faults: Vec<Fault>,
    /// The row as it stands in the file, or for Parquet as a JSON object of the columns that were read.
    pub raw: String,
}

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The column in the file, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// For people.
    pub message: String,
}

impl RejectedRow {
    /// The row as one line of the report `<file>.rejected.jsonl`, without the line's end.
    pub fn to_json(&self) -> String {
        // A structure of texts and numbers always has a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl std::fmt::Display for RejectedRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "row {}", self.row)?;
        if let Some(line) = self.line {
            write!(f, " (line {line})")?;
        }
        for (index, fault) in self.faults.iter().enumerate() {
            f.write_str(if index == 0 { ": " } else { "; " })?;
            match &fault.column {
                Some(column) => write!(f, "column {column}: {}", fault.message)?,
                None => f.write_str(&fault.message)?,
            }
        }
        Ok(())
    }
}

/// How far a reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileProgress {
    /// Rows read or skipped so far.
    pub rows: u64,
    /// Rows of the file, where its format says so (Parquet).
    pub rows_total: Option<u64>,
    /// Bytes read so far; an estimate for Parquet.
    pub bytes: u64,
    /// Bytes of the file.
    pub bytes_total: u64,
}

/// Reads a file batch by batch.
///
/// Iterating yields batches until the end. An error ends the iteration: what follows in the file can't be read.
#[derive(Debug)]
pub struct FileReader {
    source: Source,
    bytes_total: u64,
    failed: bool,
}

#[derive(Debug)]
enum Source {
    Csv(Box<csv::CsvRows>),
    JsonLines(Box<jsonl::JsonRows>),
    Parquet(Box<parquet::ParquetRows>),
}

impl FileReader {
    /// Opens a file whose rows are to become rows of `schema`.
    ///
    /// # Errors
    /// When the file can't be opened, its format isn't known, a column is missing, or a column's type can't be filled from it.
    pub fn open(path: &Path, schema: &SchemaRef, options: &FileOptions) -> Result<Self, FileError> {
        let path = Arc::new(path.to_owned());
        let format = options
            .format
            .or_else(|| Format::of(&path))
            .ok_or_else(|| FileError::UnknownFormat { path: path.display().to_string() })?;
        let target = Arc::new(Targets::new(&path, schema, options)?);
        let metadata = std::fs::metadata(&**path).map_err(|error| FileError::open(&path, &error))?;
        if metadata.is_dir() {
            return Err(FileError::Open { path: path.display().to_string(), reason: "it is a directory".into() });
        }
        let source = match format {
            Format::Csv => Source::Csv(Box::new(csv::CsvRows::open(target, options)?)),
            Format::JsonLines => Source::JsonLines(Box::new(jsonl::JsonRows::open(target, options)?)),
            Format::Parquet => Source::Parquet(Box::new(parquet::ParquetRows::open(target, options)?)),
        };
        Ok(Self { source, bytes_total: metadata.len(), failed: false })
    }

    /// How far reading is.
    pub fn progress(&self) -> FileProgress {
        let (rows, rows_total, bytes) = match &self.source {
            Source::Csv(rows) => (rows.next_row(), None, rows.bytes()),
            Source::JsonLines(rows) => (rows.next_row(), None, rows.bytes()),
            Source::Parquet(rows) => {
                let done = u128::from(self.bytes_total) * u128::from(rows.next_row());
                let bytes = done.checked_div(u128::from(rows.rows_total())).unwrap_or(u128::from(self.bytes_total));
                (rows.next_row(), Some(rows.rows_total()), u64::try_from(bytes).unwrap_or(self.bytes_total))
            }
        };
        FileProgress { rows, rows_total, bytes: bytes.min(self.bytes_total), bytes_total: self.bytes_total }
    }
}

impl Iterator for FileReader {
    type Item = Result<FileBatch, FileError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = match &mut self.source {
            Source::Csv(rows) => rows.next_batch(),
            Source::JsonLines(rows) => rows.next_batch(),
            Source::Parquet(rows) => rows.next_batch(),
        };
        self.failed = next.is_err();
        next.transpose()
    }
}

/// The columns to fill, with their names in the file.
#[derive(Debug)]
struct Targets {
    path: Arc<PathBuf>,
    schema: SchemaRef,
    /// For each column of the schema, its name in the file.
    names: Vec<String>,
    absent_is_null: bool,
}

impl Targets {
    fn new(path: &Arc<PathBuf>, schema: &SchemaRef, options: &FileOptions) -> Result<Self, FileError> {
        if let Some(unknown) = options.rename.keys().find(|name| schema.column_with_name(name).is_none()) {
            let names = schema.fields().iter().map(|field| field.name().as_str());
            return Err(FileError::UnknownTarget { column: unknown.clone(), suggestion: closest(unknown, names) });
        }
        for field in schema.fields() {
            if crate::coerce::Target::of(field.data_type()).is_none() {
                return Err(FileError::UnsupportedTarget {
                    column: field.name().clone(),
                    data_type: crate::coerce::type_name(field.data_type()),
                });
            }
        }
        let name = |name: &String| options.rename.get(name).unwrap_or(name).clone();
        Ok(Self {
            path: Arc::clone(path),
            schema: Arc::clone(schema),
            names: schema.fields().iter().map(|field| name(field.name())).collect(),
            absent_is_null: options.absent_is_null,
        })
    }

    /// For each column of the schema its place in the file, `None` if it is absent and may be.
    fn places(&self, header: &[&str]) -> Result<Vec<Option<usize>>, FileError> {
        let mut places = Vec::with_capacity(self.names.len());
        let mut missing = Vec::new();
        for (field, name) in self.schema.fields().iter().zip(&self.names) {
            let mut found = header.iter().enumerate().filter(|(_, column)| *column == name).map(|(place, _)| place);
            let place = found.next();
            if found.next().is_some() {
                return Err(FileError::AmbiguousColumn { path: self.path.display().to_string(), column: name.clone() });
            }
            if place.is_none() && !(self.absent_is_null && field.is_nullable()) {
                missing.push((name.clone(), closest(name, header.iter().copied())));
            }
            places.push(place);
        }
        if missing.is_empty() {
            Ok(places)
        } else {
            Err(FileError::MissingColumns { path: self.path.display().to_string(), missing: error::Missing(missing) })
        }
    }

    /// Puts columns together to a batch, without the rows that have faults.
    fn assemble(&self, columns: Vec<ArrayRef>, read: RowsRead, next_row: u64) -> Result<FileBatch, FileError> {
        let RowsRead { mut rows, rejected, bad, noisy_decimals } = read;
        let internal =
            |error: arrow_schema::ArrowError| FileError::Internal { what: format!("assembling a batch: {error}") };
        let columns = if bad.contains(&true) {
            let keep: BooleanArray = bad.iter().map(|bad| Some(!bad)).collect();
            let mut kept = bad.iter();
            rows.retain(|_| kept.next().is_some_and(|bad| !bad));
            columns
                .iter()
                .map(|column| arrow_select::filter::filter(column, &keep))
                .collect::<Result<Vec<_>, _>>()
                .map_err(internal)?
        } else {
            columns
        };
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options).map_err(internal)?;
        Ok(FileBatch { batch, rows, rejected, next_row, noisy_decimals })
    }
}

/// Takes what was built.
fn finish(builders: &mut [ColumnBuilder], read: &mut RowsRead) -> Vec<ArrayRef> {
    read.noisy_decimals += builders.iter_mut().map(ColumnBuilder::take_noisy).sum::<usize>();
    builders.iter_mut().map(ColumnBuilder::finish).collect()
}

/// What was read besides the columns.
#[derive(Debug, Default)]
struct RowsRead {
    /// Number in the file of each row of the columns.
    rows: Vec<u64>,
    /// Whether that row has a fault.
    bad: Vec<bool>,
    /// One entry for each bad row, and for rows that didn't get into the columns at all.
    rejected: Vec<RejectedRow>,
    noisy_decimals: usize,
}

/// The one of `names` that `wanted` may have been meant to be.
pub(crate) fn closest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    const SIMILARITY_MIN: f64 = 0.6;
    let folded = wanted.to_ascii_lowercase();
    names
        .map(|name| (strsim::normalized_damerau_levenshtein(&folded, &name.to_ascii_lowercase()), name))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, name)| name.to_owned())
}
