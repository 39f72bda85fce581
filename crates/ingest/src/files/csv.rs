//! CSV files.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use csv::ByteRecord;
use model::limits::{BATCH_BYTES_MAX, RECORD_BYTES_MAX};

use super::{Fault, FileBatch, FileError, FileOptions, RejectedRow, RowsRead, Targets, finish};
use crate::coerce::text::ColumnBuilder;

/// The rows of a CSV file, from a given one on.
#[derive(Debug)]
pub(super) struct CsvRows {
    reader: csv::Reader<Metered>,
    /// Bytes that may still be read before the row at hand counts as endless.
    allowance: Arc<AtomicUsize>,
    targets: Arc<Targets>,
    /// For each column of the stream its field.
    places: Vec<Option<usize>>,
    builders: Vec<ColumnBuilder>,
    fields: usize,
    delimiter: u8,
    null_text: Option<Vec<u8>>,
    batch_rows: usize,
    next_row: u64,
    record: ByteRecord,
}

/// Stops a row that doesn't end: a quote that nobody closed would otherwise draw the whole file into memory.
#[derive(Debug)]
struct Metered {
    file: File,
    allowance: Arc<AtomicUsize>,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.allowance.load(Ordering::Relaxed);
        if left == 0 {
            return Err(io::Error::other(format!(
                "a row is longer than {} MiB; is a quote not closed?",
                RECORD_BYTES_MAX / 1024 / 1024
            )));
        }
        let read = self.file.read(buffer)?;
        self.allowance.store(left.saturating_sub(read), Ordering::Relaxed);
        Ok(read)
    }
}

/// The names of a CSV file's columns.
pub(crate) fn header(path: &Path) -> Result<Vec<String>, FileError> {
    let allowance = Arc::new(AtomicUsize::new(RECORD_BYTES_MAX));
    open_file(path, delimiter_of(path), allowance).map(|(_, names)| names)
}

fn delimiter_of(path: &Path) -> u8 {
    let tabs = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tsv"));
    if tabs { b'\t' } else { b',' }
}

fn open_file(
    path: &Path,
    delimiter: u8,
    allowance: Arc<AtomicUsize>,
) -> Result<(csv::Reader<Metered>, Vec<String>), FileError> {
    let file = File::open(path).map_err(|error| FileError::open(path, &error))?;
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .flexible(true)
        .buffer_capacity(256 * 1024)
        .from_reader(Metered { file, allowance });
    let header = reader.headers().map_err(|error| FileError::Malformed {
        path: path.display().to_string(),
        format: "CSV",
        reason: format!("its header: {error}"),
    })?;
    if header.iter().all(str::is_empty) {
        return Err(FileError::Empty { path: path.display().to_string() });
    }
    let names = header.iter().map(|name| name.trim().to_owned()).collect();
    Ok((reader, names))
}

impl CsvRows {
    pub(super) fn open(targets: Arc<Targets>, options: &FileOptions) -> Result<Self, FileError> {
        let allowance = Arc::new(AtomicUsize::new(RECORD_BYTES_MAX));
        let delimiter = options.delimiter.unwrap_or_else(|| delimiter_of(&targets.path));
        let (reader, names) = open_file(&targets.path, delimiter, Arc::clone(&allowance))?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let places = targets.places(&names)?;
        let builders =
            targets.schema.fields().iter().filter_map(|field| ColumnBuilder::new(field, options.batch_rows)).collect();
        let mut rows = Self {
            reader,
            allowance,
            targets,
            places,
            builders,
            fields: names.len(),
            delimiter,
            null_text: options.null_text.as_ref().map(|text| text.clone().into_bytes()),
            batch_rows: options.batch_rows.max(1),
            next_row: 0,
            record: ByteRecord::new(),
        };
        while rows.next_row < options.start_row && rows.read_record()? {}
        Ok(rows)
    }

    pub(super) fn next_row(&self) -> u64 {
        self.next_row
    }

    pub(super) fn bytes(&self) -> u64 {
        self.reader.position().byte()
    }

    fn read_record(&mut self) -> Result<bool, FileError> {
        self.allowance.store(RECORD_BYTES_MAX, Ordering::Relaxed);
        match self.reader.read_byte_record(&mut self.record) {
            Ok(true) => {
                self.next_row += 1;
                Ok(true)
            }
            Ok(false) => Ok(false),
            Err(error) => Err(FileError::Read {
                path: self.targets.path.display().to_string(),
                row: self.next_row,
                reason: error.to_string(),
            }),
        }
    }

    pub(super) fn next_batch(&mut self) -> Result<Option<FileBatch>, FileError> {
        let mut read = RowsRead::default();
        let mut bytes = 0;
        let mut any = false;
        while read.rows.len() + read.rejected.len() < self.batch_rows && bytes < BATCH_BYTES_MAX {
            if !self.read_record()? {
                break;
            }
            any = true;
            bytes += self.record.as_slice().len();
            self.take_record(&mut read);
        }
        if !any {
            return Ok(None);
        }
        let columns = finish(&mut self.builders, &mut read);
        self.targets.assemble(columns, read, self.next_row).map(Some)
    }

    fn take_record(&mut self, read: &mut RowsRead) {
        let row = self.next_row - 1;
        let mut faults = Vec::new();
        if self.record.len() == self.fields {
            append_fields(
                &mut self.builders,
                &self.places,
                &self.targets,
                self.null_text.as_deref(),
                &self.record,
                &mut faults,
            );
            read.rows.push(row);
            read.bad.push(!faults.is_empty());
        } else {
            let (found, named) = (self.record.len(), self.fields);
            faults
                .push(Fault { column: None, message: format!("it has {found} fields, and the header names {named}") });
        }
        if !faults.is_empty() {
            let line = self.record.position().map(csv::Position::line);
            read.rejected.push(RejectedRow { row, line, faults, raw: raw_text(&self.record, self.delimiter) });
        }
    }
}

fn append_fields(
    builders: &mut [ColumnBuilder],
    places: &[Option<usize>],
    targets: &Targets,
    null_text: Option<&[u8]>,
    record: &ByteRecord,
    faults: &mut Vec<Fault>,
) {
    for ((builder, place), name) in builders.iter_mut().zip(places).zip(&targets.names) {
        let appended = match place.and_then(|place| record.get(place)) {
            Some(field) if null_text == Some(field) => builder.append_null(),
            Some(field) => match std::str::from_utf8(field) {
                Ok(text) => builder.append_text(text),
                Err(error) => builder.append_fault(format!("it is not UTF-8 from byte {} on", error.valid_up_to())),
            },
            None => builder.append_null(),
        };
        if let Err(message) = appended {
            faults.push(Fault { column: Some(name.clone()), message });
        }
    }
}

/// The row as CSV again; bytes that aren't UTF-8 are shown with replacement characters.
fn raw_text(record: &ByteRecord, delimiter: u8) -> String {
    let mut writer = csv::WriterBuilder::new().flexible(true).delimiter(delimiter).from_writer(Vec::new());
    let written = writer.write_byte_record(record).is_ok();
    let bytes = writer.into_inner().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    if written { text.trim_end_matches('\n').to_owned() } else { text.into_owned() }
}
