//! The records of `send` and `send_bytes`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_schema::DataType;
use serde_json::Value as Json;

use super::cell;
use super::read::Reader;
use super::{SentRecord, SentValue};
use crate::problem::Found;
use crate::project::Stream;
use crate::suggest;
use crate::tree::{Entry, Node, Value};

/// What may stand beside the streams in a `send`.
const BESIDE: [&str; 2] = ["partition", "schema"];

/// What a step says of all of its records.
struct Beside {
    partition: Option<i32>,
    schema: Option<(Arc<str>, avro::Schema)>,
}

impl<'p> Reader<'p> {
    /// The records of a `send`.
    pub(super) fn send(&mut self, node: &Node, defaults: Option<&Node>) -> Vec<SentRecord> {
        let Some(entries) = node.mapping() else {
            self.error(node.origin, format!("`send` names a stream and its records, and this is {}", node.kind()));
            return Vec::new();
        };
        let schema = node.entry("schema").and_then(|entry| self.writer_schema(&entry.node));
        let beside = Beside { partition: None, schema };
        let mut records = Vec::new();
        for entry in entries.iter().filter(|entry| !BESIDE.contains(&entry.key.as_str())) {
            let Some(stream) = self.stream(entry) else { continue };
            let partition = self.partition(node, stream);
            let defaults = defaults.and_then(|defaults| defaults.entry(&entry.key)).map(|entry| &entry.node);
            for item in items(&entry.node) {
                let beside = Beside { partition, schema: beside.schema.clone() };
                records.extend(self.record(stream, item, defaults, beside));
            }
        }
        records
    }

    /// The records of a `send_bytes`: hexadecimal digits, or null.
    pub(super) fn send_bytes(&mut self, node: &Node) -> Vec<SentRecord> {
        let Some(entries) = node.mapping() else {
            self.error(node.origin, format!("`send_bytes` names a stream and bytes, and this is {}", node.kind()));
            return Vec::new();
        };
        let mut records = Vec::new();
        for entry in entries.iter().filter(|entry| entry.key != "partition") {
            let Some(stream) = self.stream(entry) else { continue };
            let partition = self.partition(node, stream).or(Some(0));
            for item in items(&entry.node) {
                let read = match &item.value {
                    Value::Null => Some(None),
                    Value::Scalar(text) => cell::bytes(text).map(Some),
                    _ => None,
                };
                let Some(bytes) = read else {
                    let help = "write hexadecimal digits in quotes, such as \"00 00000001 0a\", or null";
                    self.found.push(Found::error(item.origin, "these are no bytes").help(help));
                    continue;
                };
                let (spot, stream) = (self.spot(item.origin), stream.name.clone());
                records.push(SentRecord { spot, stream, partition, value: SentValue::Bytes(bytes) });
            }
        }
        records
    }

    pub(super) fn stream(&mut self, entry: &Entry) -> Option<&'p Stream> {
        let project = self.project;
        let found = project.stream(&entry.key);
        if found.is_none() {
            let names = project.streams.iter().map(|stream| stream.name.as_str()).chain(BESIDE);
            let help = suggest::help(&entry.key, names, "there are");
            let message = format!("the project has no stream `{}`", entry.key);
            self.found.push(Found::error(entry.key_origin, message).maybe_help(help));
        }
        found
    }

    fn partition(&mut self, node: &Node, stream: &Stream) -> Option<i32> {
        let entry = node.entry("partition")?;
        let number = entry.node.scalar().and_then(|text| text.parse::<i32>().ok());
        match number.filter(|number| (0..stream.partitions).contains(number)) {
            Some(number) => Some(number),
            None => {
                let message = format!("`{}` has the partitions 0 to {}", stream.name, stream.partitions - 1);
                self.error(entry.node.origin, message);
                None
            }
        }
    }

    /// Another schema that the records are written with: a file of the project, or the schema itself.
    fn writer_schema(&mut self, node: &Node) -> Option<(Arc<str>, avro::Schema)> {
        let text = match node.scalar() {
            Some(text) if text.trim_start().starts_with('{') => text.to_owned(),
            Some(file) => match std::fs::read_to_string(self.project.directory.join(file)) {
                Ok(text) => text,
                Err(error) => {
                    self.error(node.origin, format!("the schema file `{file}` can't be read: {error}"));
                    return None;
                }
            },
            None => plain_json(node).to_string(),
        };
        match avro::Schema::parse(&text) {
            Ok(schema) => Some((text.into(), schema)),
            Err(error) => {
                self.error(node.origin, format!("this is no Avro schema: {}", error.message));
                None
            }
        }
    }

    fn record(&mut self, stream: &Stream, node: &Node, defaults: Option<&Node>, beside: Beside) -> Option<SentRecord> {
        let Some(entries) = node.mapping() else {
            let message =
                format!("a record of `{}` is a mapping of its columns, and this is {}", stream.name, node.kind());
            let help = "for bytes that are no record there is `send_bytes`";
            self.found.push(Found::error(node.origin, message).help(help));
            return None;
        };
        let mut values: BTreeMap<&str, &Node> = BTreeMap::new();
        for entry in defaults.and_then(Node::mapping).unwrap_or_default().iter().chain(entries) {
            values.insert(&entry.key, &entry.node);
        }
        let before = self.found.len();
        let mut json = serde_json::Map::new();
        let schema = beside.schema.as_ref().map_or(&stream.schema, |(_, schema)| schema);
        let columns = match schema.arrow() {
            Ok(columns) => columns,
            Err(error) => {
                self.error(node.origin, error.to_string());
                return None;
            }
        };
        for entry in entries.iter().filter(|entry| columns.column_with_name(&entry.key).is_none()) {
            let names = columns.fields().iter().map(|field| field.name().as_str());
            let help = suggest::help(&entry.key, names, "its columns are");
            let message = format!("`{}` has no column `{}`", stream.name, entry.key);
            self.found.push(Found::error(entry.key_origin, message).maybe_help(help));
        }
        for field in columns.fields() {
            match values.get(field.name().as_str()) {
                Some(value) => _ = json.insert(field.name().clone(), column_json(value, field.data_type())),
                // A default of the schema's own goes before NULL.
                None if field.is_nullable() && !has_default(schema, field.name()) => {
                    json.insert(field.name().clone(), Json::Null);
                }
                None => {}
            }
        }
        let mut avro = Vec::new();
        if self.found.len() == before
            && let Err(error) = avro::json::encode(schema, &Json::Object(json), &mut avro)
        {
            let column = error.path.split(['.', '[']).next().unwrap_or_default();
            let origin = values.get(column).map_or(node.origin, |value| value.origin);
            let message = format!("`{}` of `{}`: {}", error.path, stream.name, error.message);
            self.error(origin, message);
        }
        let value = SentValue::Row { avro, schema: beside.schema.map(|(text, _)| text) };
        Some(SentRecord {
            spot: self.spot(node.origin),
            stream: stream.name.clone(),
            partition: beside.partition,
            value,
        })
    }

    /// Defaults name columns of streams.
    pub(super) fn check_defaults(&mut self, defaults: Option<&Node>) {
        for entry in defaults.and_then(Node::mapping).unwrap_or_default() {
            let Some(stream) = self.stream(entry) else { continue };
            for column in entry.node.mapping().unwrap_or_default() {
                if stream.arrow.column_with_name(&column.key).is_none() {
                    let names = stream.arrow.fields().iter().map(|field| field.name().as_str());
                    let help = suggest::help(&column.key, names, "its columns are");
                    let message = format!("`{}` has no column `{}`", stream.name, column.key);
                    self.found.push(Found::error(column.key_origin, message).maybe_help(help));
                }
            }
        }
    }
}

/// A column's value as JSON of the column's type; what doesn't fit is left to the encoder to refuse.
fn column_json(node: &Node, data_type: &DataType) -> Json {
    let Some(text) = node.scalar() else { return plain_json(node) };
    let number = || text.parse::<serde_json::Number>().map_or_else(|_| text.into(), Json::Number);
    match data_type {
        DataType::Boolean => match text {
            "true" => true.into(),
            "false" => false.into(),
            other => other.into(),
        },
        DataType::Int32 | DataType::Int64 | DataType::Float32 | DataType::Float64 => number(),
        DataType::Binary => match text.strip_prefix("0x").and_then(cell::bytes) {
            // Avro's JSON has a character for each byte.
            Some(bytes) => bytes.into_iter().map(char::from).collect::<String>().into(),
            None => text.into(),
        },
        _ => text.into(),
    }
}

/// JSON as YAML means it.
pub(super) fn plain_json(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Scalar(text) => match text.as_str() {
            "true" => true.into(),
            "false" => false.into(),
            other => other.parse::<serde_json::Number>().map_or_else(|_| other.into(), Json::Number),
        },
        Value::Sequence(items) => items.iter().map(plain_json).collect(),
        Value::Mapping(entries) => {
            Json::Object(entries.iter().map(|entry| (entry.key.clone(), plain_json(&entry.node))).collect())
        }
    }
}

/// One thing, or each of a list.
fn items(node: &Node) -> Vec<&Node> {
    match &node.value {
        Value::Sequence(items) => items.iter().collect(),
        _ => vec![node],
    }
}

fn has_default(schema: &avro::Schema, column: &str) -> bool {
    schema.fields().iter().any(|field| field.name == column && field.default.is_some())
}
