//! Test files that hold their project themselves: columns, queries, patterns and reference tables beside the steps.
//!
//! Such a file needs nothing else, so it is also how to report a bug.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow_schema::{DataType, Field, Schema};
use serde_json::{Map, Value as Json, json};

use super::records::plain_json;
use crate::problem::{Found, ProjectErrors};
use crate::settings::Engine;
use crate::source::{SourceId, Sources};
use crate::tree::{Entry, Node, parse};
use crate::types;

/// What may stand beside `name` and `steps` in a file that holds its project.
const KEYS: [&str; 11] = [
    "schema",
    "stream",
    "streams",
    "query",
    "queries",
    "pattern",
    "patterns",
    "reference",
    "postgres",
    "covers",
    "spark",
];
/// Name of the stream whose columns are given by `schema`.
const STREAM: &str = "events";
/// Name of the query that is given by `query`, or of the pattern that is given by `pattern`.
const QUERY: &str = "result";

/// What an inline file says beside its project and its steps.
#[derive(Debug, Clone, Default)]
pub struct InlineFile {
    /// For a query's name, the same question to PostgreSQL over tables with the accepted records.
    pub postgres: BTreeMap<String, String>,
    /// The constructs that it shows.
    pub covers: Vec<String>,
    /// Why Spark can't run it; `None` if it can.
    pub not_on_spark: Option<String>,
}

impl InlineFile {
    /// The keys that a file may have beside those of a test.
    pub const KEYS: &'static [&'static str] = &KEYS;
}

/// Writes the project that a file holds into an empty directory. `path` is what is shown of the file.
///
/// # Errors
/// What is wrong with the file's own keys; the rest is found when the project is loaded.
pub fn lay_out(path: &str, text: &str, directory: &Path) -> Result<InlineFile, ProjectErrors> {
    let mut sources = Sources::default();
    let source = sources.add(path.to_owned(), Some(PathBuf::from(path)), text.to_owned());
    let mut writer = Writer { directory, found: Vec::new() };
    let inline = writer.file(source, text);
    if writer.found.is_empty() { Ok(inline) } else { Err(ProjectErrors::new(writer.found, &sources)) }
}

struct Writer<'d> {
    directory: &'d Path,
    found: Vec<Found>,
}

impl Writer<'_> {
    fn file(&mut self, source: SourceId, text: &str) -> InlineFile {
        let tree = match parse(source, text) {
            Ok(tree) => tree,
            Err(error) => {
                self.found.push(Found::error(error.origin, error.message));
                return InlineFile::default();
            }
        };
        let mut streams = Map::new();
        for entry in tree.entry("streams").and_then(|entry| entry.node.mapping()).unwrap_or_default() {
            let settings = self.stream(&entry.key, entry.node.entry("schema"), &entry.node);
            streams.insert(entry.key.clone(), settings);
        }
        if let Some(schema) = tree.entry("schema") {
            let none = Node { value: crate::tree::Value::Null, origin: schema.key_origin };
            let settings = tree.entry("stream").map_or(&none, |entry| &entry.node);
            let settings = self.stream(STREAM, Some(schema), settings);
            streams.insert(STREAM.to_owned(), settings);
        }
        if streams.is_empty() {
            let help = "give the columns by `schema: { id: text, amount: \"decimal(10,2)\", at: timestamp }`";
            self.found.push(Found::error(tree.origin, "the file has neither a project nor a `schema`").help(help));
        }
        for (folder, single) in [("queries", "query"), ("patterns", "pattern")] {
            let named = tree.entry(folder).and_then(|entry| entry.node.mapping()).unwrap_or_default();
            let single = tree.entry(single).map(|entry| (QUERY, entry));
            for (name, entry) in named.iter().map(|entry| (entry.key.as_str(), entry)).chain(single) {
                if let Some(sql) = self.text(entry) {
                    self.write(&format!("{folder}/{name}.sql"), &sql);
                }
            }
        }
        let mut references = Map::new();
        for entry in tree.entry("reference").and_then(|entry| entry.node.mapping()).unwrap_or_default() {
            references.insert(entry.key.clone(), self.reference(entry));
        }
        let project = json!({ "name": "test", "engine": Engine::Local, "streams": streams, "reference": references });
        self.write(crate::PROJECT_FILE, &format!("{project:#}\n"));
        self.further(&tree)
    }

    /// A stream's settings, with its schema written to a file.
    fn stream(&mut self, name: &str, schema: Option<&Entry>, settings: &Node) -> Json {
        let mut settings = match plain_json(settings) {
            Json::Object(settings) => settings,
            _ => Map::new(),
        };
        let file = format!("schemas/{name}.avsc");
        let columns = schema.map(|entry| self.columns(name, entry)).unwrap_or_default();
        settings.insert("schema".to_owned(), file.clone().into());
        let first = |fits: fn(&DataType) -> bool| {
            let found = columns.iter().find(|field| !field.is_nullable() && fits(field.data_type()));
            found.map_or_else(String::new, |field| field.name().clone())
        };
        let key = first(|data_type| matches!(data_type, DataType::Utf8 | DataType::Int32 | DataType::Int64));
        let time = first(|data_type| matches!(data_type, DataType::Timestamp(..)));
        settings.entry("key").or_insert_with(|| key.into());
        settings.entry("event_time").or_insert_with(|| time.into());
        if let Some(partitions) = settings.remove("partitions") {
            settings.insert("topic".to_owned(), json!({ "partitions": partitions }));
        }
        settings.entry("topic").or_insert_with(|| json!({ "partitions": 1 }));
        if !columns.is_empty() {
            match avro::schema_for(name, "test", None, &Schema::new(columns)) {
                Ok(schema) => self.write(&file, schema.text()),
                Err(error) => self.found.push(Found::error(schema.map(|entry| entry.key_origin), error.to_string())),
            }
        }
        Json::Object(settings)
    }

    fn columns(&mut self, stream: &str, schema: &Entry) -> Vec<Field> {
        let mut fields = Vec::new();
        for entry in schema.node.mapping().unwrap_or_default() {
            let text = entry.node.scalar().unwrap_or_default();
            let (bare, nullable) = text.strip_suffix('?').map_or((text, false), |bare| (bare, true));
            match types::parse(bare) {
                Some(data_type) => fields.push(Field::new(&entry.key, data_type, nullable)),
                None => {
                    let help = format!("write one of {}; with a `?` behind it may be NULL", types::NAMES);
                    let message = format!("`{text}` is no type of a column");
                    self.found.push(Found::error(entry.node.origin, message).help(help));
                }
            }
        }
        if fields.is_empty() && self.found.is_empty() {
            let message = format!("the schema of `{stream}` is a mapping of its columns to their types");
            self.found.push(Found::error(schema.key_origin, message));
        }
        fields
    }

    fn reference(&mut self, entry: &Entry) -> Json {
        let mut settings = match plain_json(&entry.node) {
            Json::Object(settings) => settings,
            _ => Map::new(),
        };
        match settings.remove("csv") {
            Some(Json::String(rows)) => {
                let file = format!("reference/{}.csv", entry.key);
                self.write(&file, &rows);
                settings.insert("file".to_owned(), file.into());
            }
            _ => {
                let help = "add `csv: |` with a header line and rows";
                self.found.push(Found::error(entry.key_origin, "the table has no rows").help(help));
            }
        }
        Json::Object(settings)
    }

    fn further(&mut self, tree: &Node) -> InlineFile {
        let mut inline = InlineFile::default();
        if let Some(entry) = tree.entry("postgres") {
            match (entry.node.scalar(), entry.node.mapping()) {
                (Some(sql), _) => _ = inline.postgres.insert(QUERY.to_owned(), sql.to_owned()),
                (None, Some(entries)) => {
                    for entry in entries {
                        if let Some(sql) = self.text(entry) {
                            inline.postgres.insert(entry.key.clone(), sql);
                        }
                    }
                }
                (None, None) => self.found.push(Found::error(entry.key_origin, "`postgres` is a query")),
            }
        }
        if let Some(entry) = tree.entry("covers") {
            match plain_json(&entry.node) {
                Json::Array(items) => {
                    inline.covers =
                        items.iter().map(|item| item.as_str().map_or(item.to_string(), str::to_owned)).collect();
                }
                _ => self.found.push(Found::error(entry.key_origin, "`covers` is a list of constructs")),
            }
        }
        inline.not_on_spark = tree.entry("spark").and_then(|entry| {
            let words = entry.node.scalar().and_then(|text| text.strip_prefix("no:")).map(|why| why.trim().to_owned());
            if words.is_none() {
                let help = "write `spark: \"no: REASON\"`, or leave it out";
                self.found.push(Found::error(entry.key_origin, "`spark` says why Spark can't run it").help(help));
            }
            words
        });
        inline
    }

    fn text(&mut self, entry: &Entry) -> Option<String> {
        let text = entry.node.scalar().map(str::to_owned);
        if text.is_none() {
            let message = format!("`{}` is a text, and this is {}", entry.key, entry.node.kind());
            self.found.push(Found::error(entry.key_origin, message).help("write `|` and the text in the lines below"));
        }
        text
    }

    fn write(&mut self, file: &str, content: &str) {
        let path = self.directory.join(file);
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        if let Err(error) = made.and_then(|()| std::fs::write(&path, content)) {
            self.found.push(Found::error(None, format!("`{}` can't be written: {error}", path.display())));
        }
    }
}
