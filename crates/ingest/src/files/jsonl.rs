//! JSON lines: one object per line.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::ops::Range;
use std::sync::Arc;

use model::limits::{BATCH_BYTES_MAX, RECORD_BYTES_MAX};
use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Fault, FileBatch, FileError, FileOptions, RejectedRow, RowsRead, Targets, finish};
use crate::coerce::text::ColumnBuilder;

/// The rows of a file of JSON lines, from a given one on.
#[derive(Debug)]
pub(super) struct JsonRows {
    reader: BufReader<File>,
    targets: Arc<Targets>,
    builders: Vec<ColumnBuilder>,
    batch_rows: usize,
    next_row: u64,
    line_number: u64,
    bytes: u64,
    line: Vec<u8>,
    /// For each column, where its value stands in the line; reused from line to line.
    slots: Vec<Option<Range<usize>>>,
}

/// What came next in the file.
enum Line {
    /// A line that isn't blank, in `line`.
    Row,
    /// One that is longer than the limit; `line` holds its start, the rest was skipped.
    TooLong,
    End,
}

impl JsonRows {
    pub(super) fn open(targets: Arc<Targets>, options: &FileOptions) -> Result<Self, FileError> {
        let file = File::open(&**targets.path).map_err(|error| FileError::open(&targets.path, &error))?;
        let builders: Vec<_> =
            targets.schema.fields().iter().filter_map(|field| ColumnBuilder::new(field, options.batch_rows)).collect();
        let mut rows = Self {
            reader: BufReader::with_capacity(256 * 1024, file),
            slots: vec![None; builders.len()],
            targets,
            builders,
            batch_rows: options.batch_rows.max(1),
            next_row: 0,
            line_number: 0,
            bytes: 0,
            line: Vec::new(),
        };
        rows.refuse_array()?;
        while rows.next_row < options.start_row {
            if matches!(rows.read_line()?, Line::End) {
                break;
            }
        }
        Ok(rows)
    }

    /// A file that is one JSON array would give a puzzling fault for each of its lines.
    fn refuse_array(&mut self) -> Result<(), FileError> {
        let path = &self.targets.path;
        let start = self.reader.fill_buf().map_err(|error| FileError::open(path, &error))?;
        let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
        if start.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
            return Err(FileError::Malformed {
                path: path.display().to_string(),
                format: "JSON lines",
                reason: "it is a JSON array; write one object per line, for example with jq -c '.[]'".into(),
            });
        }
        Ok(())
    }

    pub(super) fn next_row(&self) -> u64 {
        self.next_row
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads the next line that isn't blank and counts it as a row.
    fn read_line(&mut self) -> Result<Line, FileError> {
        loop {
            self.line.clear();
            let limit = RECORD_BYTES_MAX as u64 + 1;
            let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut self.line);
            let read = read.map_err(|error| self.read_error(&error))?;
            if read == 0 {
                return Ok(Line::End);
            }
            self.bytes += read as u64;
            self.line_number += 1;
            let too_long = self.line.len() > RECORD_BYTES_MAX && self.line.last() != Some(&b'\n');
            if too_long {
                self.skip_line()?;
            }
            if self.line_number == 1 && self.line.starts_with(b"\xef\xbb\xbf") {
                self.line.drain(..3);
            }
            if too_long || !self.line.iter().all(u8::is_ascii_whitespace) {
                self.next_row += 1;
                return Ok(if too_long { Line::TooLong } else { Line::Row });
            }
        }
    }

    fn skip_line(&mut self) -> Result<(), FileError> {
        loop {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) => return Err(self.read_error(&error)),
            };
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let (used, done) = end.map_or((buffer.len(), buffer.is_empty()), |end| (end + 1, true));
            self.reader.consume(used);
            self.bytes += used as u64;
            if done {
                return Ok(());
            }
        }
    }

    fn read_error(&self, error: &std::io::Error) -> FileError {
        FileError::Read { path: self.targets.path.display().to_string(), row: self.next_row, reason: error.to_string() }
    }

    pub(super) fn next_batch(&mut self) -> Result<Option<FileBatch>, FileError> {
        let mut read = RowsRead::default();
        let mut bytes = 0;
        let mut any = false;
        while read.rows.len() + read.rejected.len() < self.batch_rows && bytes < BATCH_BYTES_MAX {
            match self.read_line()? {
                Line::End => break,
                Line::Row => self.take_line(&mut read),
                Line::TooLong => {
                    let message = format!(
                        "the line is longer than {} MiB, and only its start is kept",
                        RECORD_BYTES_MAX / 1024 / 1024
                    );
                    self.line.truncate(LONG_LINE_KEPT_BYTES);
                    self.reject(&mut read, vec![Fault { column: None, message }]);
                }
            }
            any = true;
            bytes += self.line.len();
        }
        if !any {
            return Ok(None);
        }
        let columns = finish(&mut self.builders, &mut read);
        self.targets.assemble(columns, read, self.next_row).map(Some)
    }

    fn take_line(&mut self, read: &mut RowsRead) {
        let mut faults = Vec::new();
        match std::str::from_utf8(&self.line) {
            Ok(line) => {
                let slots = Slots { line, names: &self.targets.names, slots: &mut self.slots };
                match slots.read() {
                    Ok(()) => {
                        append_slots(&mut self.builders, &self.slots, &self.targets, line, &mut faults);
                        read.rows.push(self.next_row - 1);
                        read.bad.push(!faults.is_empty());
                    }
                    Err(error) => {
                        faults.push(Fault { column: None, message: format!("it is not a JSON object: {error}") })
                    }
                }
            }
            Err(error) => {
                let message = format!("the line is not UTF-8 from byte {} on", error.valid_up_to());
                faults.push(Fault { column: None, message });
            }
        }
        if !faults.is_empty() {
            self.reject(read, faults);
        }
    }

    fn reject(&self, read: &mut RowsRead, faults: Vec<Fault>) {
        let raw = String::from_utf8_lossy(&self.line).trim_end().to_owned();
        read.rejected.push(RejectedRow { row: self.next_row - 1, line: Some(self.line_number), faults, raw });
    }
}

/// What the report keeps of a line that is too long: enough to find it.
const LONG_LINE_KEPT_BYTES: usize = 4_096;

fn append_slots(
    builders: &mut [ColumnBuilder],
    slots: &[Option<Range<usize>>],
    targets: &Targets,
    line: &str,
    faults: &mut Vec<Fault>,
) {
    for ((builder, slot), name) in builders.iter_mut().zip(slots).zip(&targets.names) {
        let appended = match slot.clone().and_then(|place| line.get(place)) {
            Some(raw) => builder.append_json(raw),
            None => builder.append_null(),
        };
        if let Err(message) = appended {
            faults.push(Fault { column: Some(name.clone()), message });
        }
    }
}

/// Finds the values of an object's columns in its line. Of a name that stands there twice the last value counts, as in other readers.
struct Slots<'a> {
    line: &'a str,
    names: &'a [String],
    slots: &'a mut [Option<Range<usize>>],
}

impl<'a> Slots<'a> {
    fn read(self) -> Result<(), serde_json::Error> {
        self.slots.fill(None);
        let mut deserializer = serde_json::Deserializer::from_str(self.line);
        (&mut deserializer).deserialize_map(self)?;
        deserializer.end()
    }
}

impl<'de> Visitor<'de> for Slots<'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        // Objects of a file mostly name their members in one order: look first behind the one found last.
        let mut expected = 0;
        while let Some(place) = map.next_key_seed(Name { names: self.names, expected })? {
            match place.and_then(|place| self.slots.get_mut(place).map(|slot| (place, slot))) {
                Some((place, slot)) => {
                    let raw: &'de RawValue = map.next_value()?;
                    *slot = range_within(self.line, raw.get());
                    expected = place + 1;
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Where `part`, a piece of `whole`, stands in it.
fn range_within(whole: &str, part: &str) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    Some(start..start + part.len())
}

/// A member's name as the number of the column with this name.
struct Name<'a> {
    names: &'a [String],
    expected: usize,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        if self.names.get(self.expected).is_some_and(|expected| expected == name) {
            return Ok(Some(self.expected));
        }
        Ok(self.names.iter().position(|known| known == name))
    }
}
