//! Inputs: files to load.

use std::path::Path;

use crate::load::Loader;
use crate::problem::Found;
use crate::project::{Input, Stream};
use crate::settings::InputSettings;
use crate::suggest;

/// Extensions of files that can be loaded.
const EXTENSIONS: [&str; 7] = ["csv", "tsv", "jsonl", "ndjson", "json", "parquet", "pq"];

impl Loader {
    /// The inputs that are right, and what is missing: their files may come later.
    pub(crate) fn inputs(&mut self, streams: &[Stream]) -> (Vec<Input>, Vec<Found>) {
        let mut inputs = Vec::new();
        let mut missing = Vec::new();
        let settings: Vec<_> = self.input_indexes.iter().copied().zip(self.settings.inputs.clone()).collect();
        for (index, settings) in settings {
            let index = index.to_string();
            if self.settings.streams.get(&settings.stream).is_none() && !self.unknown_tables.contains(&settings.stream)
            {
                let names = self.settings.streams.iter().map(|(name, _)| name);
                let help = suggest::help(&settings.stream, names, "the project's streams");
                let message = format!("there is no stream `{}`", settings.stream);
                let place = self.place(&["inputs", &index, "stream"]);
                self.found.push(Found::error(place, message).maybe_help(help));
            }
            let stream = streams.iter().find(|stream| stream.name == settings.stream);
            if let Some(stream) = stream {
                self.check_input_columns(&index, stream, settings.columns.keys());
            }
            if settings.delimiter.is_some_and(|delimiter| !delimiter.is_ascii()) {
                let place = self.place(&["inputs", &index, "delimiter"]);
                let help = "choose a character of ASCII, such as `;` or `|`";
                self.found.push(Found::error(place, "the delimiter takes more than one byte in the file").help(help));
            }
            let place = self.place(&["inputs", &index, "file"]);
            let extension =
                Path::new(&settings.file).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            if !EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str()) {
                let message = format!("`{}` is no kind of file that can be loaded", settings.file);
                let help = "write the file as .csv (with a header line), .jsonl (an object per line) or .parquet";
                self.found.push(Found::error(place, message).help(help));
                continue;
            }
            let file = self.directory.join(&settings.file);
            if !file.is_file() {
                let message = format!("the input file `{}` doesn't exist", self.shown(&settings.file));
                missing.push(Found::warning(place, message).help(self.missing_file_help(&settings.file)));
            } else if let (Some(stream), Some(header)) = (stream, header(&file, extension, settings.delimiter)) {
                self.check_header(&index, stream, &settings, &header);
            }
            inputs.push(Input { stream: settings.stream.clone(), file, name: settings.file.clone(), settings });
        }
        (inputs, missing)
    }

    /// Each column of the stream must be in the file, under its name there.
    fn check_header(&mut self, index: &str, stream: &Stream, settings: &InputSettings, header: &[String]) {
        for field in stream.arrow.fields() {
            let column = field.name();
            let in_file = settings.columns.get(column).unwrap_or(column);
            if header.contains(in_file) || (settings.absent_is_null && field.is_nullable()) {
                continue;
            }
            let place = match settings.columns.contains_key(column) {
                true => self.place(&["inputs", index, "columns", column]),
                false => self.place(&["inputs", index, "file"]),
            };
            let message = format!("`{}` has no column `{in_file}`", self.shown(&settings.file));
            // A column of the file that the stream doesn't know may be this one under another name.
            let free = header.iter().map(String::as_str).filter(|name| stream.arrow.field_with_name(name).is_err());
            let help = match suggest::nearest(in_file, free) {
                Some(near) => format!("did you mean `{near}`? write `columns: {{ {column}: {near} }}`"),
                None if field.is_nullable() => format!(
                    "if it has another name there, write `columns: {{ {column}: … }}`; if it is to be NULL, `absent_is_null: true`"
                ),
                None => {
                    format!("the stream needs it; if it has another name there, write `columns: {{ {column}: … }}`")
                }
            };
            self.found.push(Found::error(place, message).help(help));
        }
    }

    fn check_input_columns<'c>(&mut self, index: &str, stream: &Stream, columns: impl Iterator<Item = &'c String>) {
        for column in columns {
            if stream.arrow.field_with_name(column).is_ok() {
                continue;
            }
            let place = self.tree.key_place(&["inputs", index, "columns", column]);
            let known: Vec<&str> = stream.arrow.fields().iter().map(|field| field.name().as_str()).collect();
            let help = suggest::help(column, known, "its columns are");
            let message = format!("the stream `{}` has no column `{column}`", stream.name);
            self.found.push(Found::error(place, message).maybe_help(help));
        }
    }
}

/// The names of a file's columns, where its format has them. What can't be read is said when it is loaded.
fn header(file: &Path, extension: &str, delimiter: Option<char>) -> Option<Vec<String>> {
    match extension.to_ascii_lowercase().as_str() {
        kind @ ("csv" | "tsv") => {
            let usual = if kind == "tsv" { b'\t' } else { b',' };
            let delimiter = delimiter.and_then(|other| u8::try_from(other).ok()).unwrap_or(usual);
            let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_path(file).ok()?;
            let header = reader.headers().ok()?;
            Some(header.iter().map(|name| name.trim_start_matches('\u{feff}').trim().to_owned()).collect())
        }
        "parquet" | "pq" => {
            let file = std::fs::File::open(file).ok()?;
            let builder = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).ok()?;
            Some(builder.schema().fields().iter().map(|field| field.name().clone()).collect())
        }
        _ => None,
    }
}
