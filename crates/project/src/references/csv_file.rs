//! A reference table in a CSV file: header, types, unique keys.

use std::collections::HashMap;
use std::path::Path;

use arrow_schema::DataType;
use csv::{ByteRecord, ReaderBuilder};
use model::infer::{ColumnInference, boolean, date, timestamp_us};

use super::TableColumns;
use crate::load::Loader;
use crate::problem::Found;
use crate::settings::ReferenceSettings;
use crate::source::Origin;
use crate::types;

/// Larger files aren't shown around a mistake.
const SHOWN_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A mistake in the file.
struct Mistake {
    /// Byte where the record starts.
    offset: usize,
    line: u64,
    message: String,
    help: Option<String>,
    /// The text that is wrong, looked for in the record.
    text: Option<String>,
}

impl Loader {
    /// The columns of a CSV file, or `None` after saying what is wrong.
    pub(super) fn csv_columns(&mut self, name: &str, file: &str, settings: &ReferenceSettings) -> Option<TableColumns> {
        let path = self.directory.join(file);
        let delimiter = super::delimiter(settings);
        let reader = ReaderBuilder::new().delimiter(delimiter).from_path(&path);
        let mut reader = match reader {
            Ok(reader) => reader,
            Err(error) => {
                let place = self.place(&["reference", name, "file"]);
                self.found.push(Found::error(place, format!("`{}` can't be read: {error}", self.shown(file))));
                return None;
            }
        };
        let header = match read_header(&mut reader) {
            Ok(header) => header,
            Err(mistake) => {
                self.mistake(file, mistake);
                return None;
            }
        };
        let names: Vec<&str> = header.iter().map(String::as_str).collect();
        if !self.check_declared(name, settings, &names) {
            return None;
        }
        let declared = super::declared(settings);
        let declared: Vec<Option<DataType>> = header
            .iter()
            .map(|column| declared.iter().find(|(name, _)| name == column).map(|(_, data_type)| data_type.clone()))
            .collect();
        // A key column that isn't there is reported by the caller, and then nothing can be said about keys.
        let key: Option<Vec<usize>> =
            settings.key.0.iter().map(|column| header.iter().position(|name| name == column)).collect();
        let key = key.unwrap_or_default();
        // Of a key with several rows, the loader checks that they are valid at different times.
        let is_unique = settings.valid_from.is_none();
        let mut rows = Rows { header: &header, declared: &declared, key: &key, is_unique, keys: HashMap::new() };
        match rows.types(&mut reader) {
            Ok(types) => Some(TableColumns(header.iter().cloned().zip(types).collect())),
            Err(mistake) => {
                self.mistake(file, mistake);
                None
            }
        }
    }

    fn mistake(&mut self, file: &str, mistake: Mistake) {
        let path = self.directory.join(file);
        let small = std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() <= SHOWN_BYTES_MAX);
        let text = if small { std::fs::read(&path).ok() } else { None };
        let found = match text.and_then(|bytes| String::from_utf8(bytes).ok()) {
            Some(text) => {
                let rest = text.get(mistake.offset..).unwrap_or_default();
                let row = rest.split('\n').next().unwrap_or_default().trim_end();
                let within = mistake.text.as_ref().and_then(|part| Some((row.find(part.as_str())?, part.len())));
                let (at, length) = within.unwrap_or((0, row.len()));
                let start = mistake.offset + at;
                let source = self.sources.add_file(&self.directory, Path::new(file), text);
                Found::error(Origin::new(source, start, start + length), mistake.message)
            }
            None => Found::error(None, format!("{}:{}: {}", self.shown(file), mistake.line, mistake.message)),
        };
        self.found.push(found.maybe_help(mistake.help));
    }
}

fn mistake_of(error: &csv::Error) -> Mistake {
    let (offset, line) = match error.position() {
        Some(position) => (usize::try_from(position.byte()).unwrap_or(0), position.line()),
        None => (0, 1),
    };
    let (message, help) = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => (
            format!("the row has {len} columns, and the header has {expected_len}"),
            Some("put quotes around values with the delimiter in them".to_owned()),
        ),
        csv::ErrorKind::Utf8 { .. } => {
            ("the row isn't valid UTF-8".to_owned(), Some("save the file as UTF-8".to_owned()))
        }
        _ => (format!("the row can't be read: {error}"), None),
    };
    Mistake { offset, line, message, help, text: None }
}

fn read_header(reader: &mut csv::Reader<std::fs::File>) -> Result<Vec<String>, Mistake> {
    let header = reader.headers().map_err(|error| mistake_of(&error))?;
    let names: Vec<String> = header.iter().map(|name| name.trim_start_matches('\u{feff}').trim().to_owned()).collect();
    let wrong = |message: String, help: &str, text: Option<String>| Mistake {
        offset: 0,
        line: 1,
        message,
        help: Some(help.to_owned()),
        text,
    };
    if names.iter().all(String::is_empty) {
        return Err(wrong("the file is empty".into(), "its first line names the columns", None));
    }
    for (index, name) in names.iter().enumerate() {
        if name.is_empty() {
            let message = format!("column {} has no name", index + 1);
            return Err(wrong(message, "the first line names the columns", None));
        }
        if names.iter().take(index).any(|other| other == name) {
            let message = format!("two columns are called `{name}`");
            return Err(wrong(message, "give one of them another name", Some(name.clone())));
        }
    }
    Ok(names)
}

struct Rows<'r> {
    header: &'r [String],
    declared: &'r [Option<DataType>],
    key: &'r [usize],
    is_unique: bool,
    /// Line in which each key was seen.
    keys: HashMap<Vec<u8>, u64>,
}

impl Rows<'_> {
    /// The type of each column, after looking at every row.
    fn types(&mut self, reader: &mut csv::Reader<std::fs::File>) -> Result<Vec<DataType>, Mistake> {
        let mut inferences = vec![ColumnInference::new(); self.header.len()];
        let mut record = ByteRecord::new();
        while reader.read_byte_record(&mut record).map_err(|error| mistake_of(&error))? {
            self.check_row(&record, &mut inferences)?;
        }
        let types = self.declared.iter().zip(&inferences);
        Ok(types.map(|(declared, inference)| declared.clone().unwrap_or_else(|| inference.data_type())).collect())
    }

    fn check_row(&mut self, record: &ByteRecord, inferences: &mut [ColumnInference]) -> Result<(), Mistake> {
        let (offset, line) = record
            .position()
            .map_or((0, 0), |position| (usize::try_from(position.byte()).unwrap_or(0), position.line()));
        let mistake = |message: String, help: Option<String>, text: Option<&str>| Mistake {
            offset,
            line,
            message,
            help,
            text: text.filter(|text| !text.is_empty()).map(str::to_owned),
        };
        for (index, value) in record.iter().enumerate() {
            let Ok(text) = std::str::from_utf8(value) else {
                return Err(mistake("the row isn't valid UTF-8".into(), Some("save the file as UTF-8".into()), None));
            };
            let column = self.header.get(index).map_or("", String::as_str);
            if let Some(Some(declared)) = self.declared.get(index)
                && !fits(text.trim(), declared)
            {
                let message =
                    format!("`{}` in column `{column}` can't be read as {}", text.trim(), types::name(declared));
                return Err(mistake(message, None, Some(text.trim())));
            }
            if let Some(inference) = inferences.get_mut(index) {
                inference.observe(text);
            }
            if self.key.contains(&index) && text.trim().is_empty() {
                return Err(mistake(format!("the key column `{column}` is empty"), None, None));
            }
        }
        if self.key.is_empty() || !self.is_unique {
            return Ok(());
        }
        let mut key = Vec::new();
        for part in self.key.iter().filter_map(|index| record.get(*index)) {
            key.extend_from_slice(&part.len().to_le_bytes());
            key.extend_from_slice(part);
        }
        match self.keys.insert(key, line) {
            None => Ok(()),
            Some(earlier) => {
                let parts = self.key.iter().filter_map(|index| record.get(*index)).map(String::from_utf8_lossy);
                let shown = parts.collect::<Vec<_>>().join(", ");
                let message = format!("the key `{shown}` stands in line {earlier} already");
                let help = "each row needs a key of its own; `key` may list several columns".to_owned();
                Err(mistake(message, Some(help), Some(&shown)))
            }
        }
    }
}

/// Whether a text can be read as a type. An empty one is NULL.
fn fits(text: &str, data_type: &DataType) -> bool {
    if text.is_empty() {
        return true;
    }
    match data_type {
        DataType::Int32 => text.parse::<i32>().is_ok(),
        DataType::Int64 => text.parse::<i64>().is_ok(),
        DataType::Float64 => text.parse::<f64>().is_ok(),
        DataType::Boolean => boolean(text).is_some(),
        DataType::Date32 => date(text).is_some(),
        DataType::Timestamp(_, _) => timestamp_us(text).is_some() || date(text).is_some(),
        DataType::Decimal128(precision, scale) => fits_decimal(text, *precision, *scale),
        _ => true,
    }
}

fn fits_decimal(text: &str, precision: u8, scale: i8) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, places) = digits.split_once('.').unwrap_or((digits, ""));
    let numeric = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let places = places.trim_end_matches('0').len();
    let whole_digits = whole.trim_start_matches('0').len();
    let scale = usize::try_from(scale).unwrap_or(0);
    let well_formed = numeric(whole)
        && numeric(digits.split_once('.').map_or("", |(_, places)| places))
        && digits.len() > usize::from(digits.contains('.'));
    well_formed && places <= scale && whole_digits + scale <= usize::from(precision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fit_types_exactly() {
        let decimal = DataType::Decimal128(5, 2);
        for text in ["1", "-1.5", "123.45", "123.450", "", ".5", "0.05"] {
            assert!(fits(text, &decimal), "{text}");
        }
        for text in ["1234", "1.234", "x", "1e2", ".", "--1"] {
            assert!(!fits(text, &decimal), "{text}");
        }
        assert!(fits("TRUE", &DataType::Boolean) && !fits("1", &DataType::Boolean));
        assert!(fits("2026-01-31", &DataType::Date32) && !fits("31.1.2026", &DataType::Date32));
        assert!(!fits("3000000000", &DataType::Int32) && fits("3000000000", &DataType::Int64));
    }
}
