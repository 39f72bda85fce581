//! Streams: their schemas, columns and rules.

use std::io::ErrorKind;
use std::path::Path;

use arrow_schema::{DataType, SchemaRef};

use crate::load::Loader;
use crate::problem::Found;
use crate::project::{Rule, Stream};
use crate::settings::{Retention, StreamSettings};
use crate::source::{Origin, SourceId};
use crate::suggest;
use crate::tree::{offset_of, parse, without_position};
use crate::types;

/// Least memory for a partition's remembered ids, in bytes. With less, nearly each id would be a file of its own on the disk.
const DUPLICATES_MEMORY_MIN: u64 = 64_000;

impl Loader {
    /// The streams that are right.
    pub(crate) fn streams(&mut self) -> Vec<Stream> {
        let settings = self.settings.streams.clone();
        let streams = settings.iter().filter_map(|(name, settings)| self.stream(name, settings)).collect();
        // Names that stand in the file but couldn't be read as streams.
        let declared = self.tree.find(&["streams"]).and_then(crate::tree::Node::mapping).unwrap_or_default();
        let unread = declared.iter().map(|entry| entry.key.clone()).filter(|name| settings.get(name).is_none());
        self.unknown_tables.extend(unread);
        streams
    }

    fn stream(&mut self, name: &str, settings: &StreamSettings) -> Option<Stream> {
        let Some((schema_text, schema, arrow)) = self.stream_schema(name, settings) else {
            self.unknown_tables.insert(name.to_owned());
            return None;
        };
        let before = self.found.len();
        self.check_columns(name, settings, &arrow);
        if settings.duplicates.is_some() && settings.id.is_none() {
            let place = self.tree.key_place(&["streams", name, "duplicates"]);
            let message = format!("`streams.{name}` looks for duplicates without an `id`");
            let help = "add `id`: the column or columns that name a record";
            self.found.push(Found::error(place, message).help(help));
        }
        if settings.duplicates.as_ref().is_some_and(|duplicates| duplicates.memory.0 < DUPLICATES_MEMORY_MIN) {
            let place = self.tree.place(&["streams", name, "duplicates", "memory"]);
            let message = format!("`streams.{name}.duplicates.memory` is too small: hardly an id stays in memory");
            let help = "give each partition 64KB or more; without the setting it is 256MB";
            self.found.push(Found::error(place, message).help(help));
        }
        self.check_retention(name, settings);
        let rules = self.rules(name, settings, &arrow);
        if self.found.len() > before && !self.has_column(settings, &arrow) {
            self.unknown_tables.insert(name.to_owned());
            return None;
        }
        let kafka = &self.settings.connections.kafka;
        let replication = if kafka.is_embedded() { 1 } else { settings.topic.replication.unwrap_or(kafka.replication) };
        Some(Stream {
            name: name.to_owned(),
            schema_text,
            schema,
            arrow,
            key: settings.key.clone(),
            id: settings.id.as_ref().map(|id| id.0.clone()).unwrap_or_default(),
            event_time: settings.event_time.clone(),
            lateness: settings.lateness,
            future_skew: settings.future_skew,
            idle_timeout: settings.idle_timeout,
            max_skew: settings.max_skew,
            unknown_schema_grace: settings.unknown_schema_grace,
            duplicates: settings.duplicates.clone(),
            rules,
            partitions: settings.topic.partitions,
            replication,
            retention: settings.topic.retention,
            topic_properties: settings.topic.properties.clone(),
            topic_prefix: kafka.topic_prefix.clone(),
        })
    }

    /// Queries can be judged as long as the event time is there.
    fn has_column(&self, settings: &StreamSettings, arrow: &SchemaRef) -> bool {
        arrow
            .field_with_name(&settings.event_time)
            .is_ok_and(|field| matches!(field.data_type(), DataType::Timestamp(_, _)))
    }

    fn check_retention(&mut self, name: &str, settings: &StreamSettings) {
        if let Retention::For(retention) = settings.topic.retention
            && retention.0 < settings.lateness.0
        {
            let place = self.place(&["streams", name, "topic", "retention"]);
            let message = format!(
                "`streams.{name}` keeps records for {retention}, and waits {} for late ones",
                settings.lateness
            );
            let help = "a restart reads the records of open windows again: keep them at least as long as `lateness`";
            self.found.push(Found::warning(place, message).help(help));
        }
    }

    fn stream_schema(&mut self, name: &str, settings: &StreamSettings) -> Option<(String, avro::Schema, SchemaRef)> {
        let place = self.place(&["streams", name, "schema"]);
        let text = match std::fs::read_to_string(self.directory.join(&settings.schema)) {
            Ok(text) => text,
            Err(error) => {
                let shown = self.shown(&settings.schema);
                let found = match error.kind() {
                    ErrorKind::NotFound => Found::error(place, format!("the schema file `{shown}` doesn't exist"))
                        .help(self.missing_file_help(&settings.schema)),
                    ErrorKind::InvalidData => {
                        Found::error(place, format!("the schema file `{shown}` isn't valid UTF-8"))
                    }
                    _ => Found::error(place, format!("the schema file `{shown}` can't be read: {error}")),
                };
                self.found.push(found);
                return None;
            }
        };
        let file = Path::new(&settings.schema);
        let schema = match avro::Schema::parse(&text) {
            Ok(schema) => schema,
            Err(error) => {
                let source = self.sources.add_file(&self.directory, file, text.clone());
                let origin = place_in_schema(source, &text, &error.path);
                self.found.push(Found::error(
                    origin,
                    format!("this is no Avro schema: {}", without_position(&error.message)),
                ));
                return None;
            }
        };
        match schema.arrow() {
            Ok(arrow) => Some((text, schema, arrow)),
            Err(error) => {
                let source = self.sources.add_file(&self.directory, file, text.clone());
                let origin = match &error {
                    avro::ArrowMappingError::Field { field, .. } => place_of_field(source, &text, field),
                    _ => Origin::new(source, 0, 0),
                };
                self.found.push(Found::error(origin, error.to_string()));
                None
            }
        }
    }

    fn check_columns(&mut self, name: &str, settings: &StreamSettings, arrow: &SchemaRef) {
        self.check_column(name, settings, arrow, "key", &settings.key, None);
        if let Some(id) = &settings.id {
            for (index, column) in id.0.iter().enumerate() {
                self.check_column(name, settings, arrow, "id", column, Some(index));
            }
        }
        self.check_column(name, settings, arrow, "event_time", &settings.event_time, None);
    }

    fn check_column(
        &mut self,
        name: &str,
        settings: &StreamSettings,
        arrow: &SchemaRef,
        setting: &str,
        column: &str,
        index: Option<usize>,
    ) {
        let index = index.map(|index| index.to_string());
        let mut path = vec!["streams", name, setting];
        path.extend(index.as_deref());
        let place = self.place(&path);
        let Ok(field) = arrow.field_with_name(column) else {
            let columns: Vec<&str> = arrow.fields().iter().map(|field| field.name().as_str()).collect();
            let help = suggest::help(column, columns, "its columns are");
            let message = format!("`{}` has no column `{column}`", self.shown(&settings.schema));
            self.found.push(Found::error(place, message).maybe_help(help));
            return;
        };
        let shown = types::name(field.data_type());
        let problem = match (setting, field.data_type()) {
            ("event_time", DataType::Timestamp(_, _)) => None,
            ("event_time", _) => Some((
                format!("the event time `{column}` is {shown}, and must be a timestamp"),
                "in the schema write { \"type\": \"long\", \"logicalType\": \"timestamp-micros\" }".to_owned(),
            )),
            ("key", DataType::Utf8 | DataType::Int32 | DataType::Int64) => None,
            ("key", _) => Some((
                format!("the key `{column}` is {shown}, and must be text, int or bigint"),
                "the key's text is the key of the topic: take a column whose text is unmistakable".to_owned(),
            )),
            (_, DataType::Float32 | DataType::Float64) => Some((
                format!("the id `{column}` is {shown}, and equality of floating-point numbers is no identity"),
                "take text, whole numbers, decimals or timestamps".to_owned(),
            )),
            _ => None,
        };
        let null = field.is_nullable().then(|| {
            let why = match setting {
                "event_time" => "a record without a time belongs to no window",
                "key" => "a record without a key has no partition of its own",
                _ => "a record without an id can't be told from others",
            };
            (
                format!("`{column}` may be null, and {why}"),
                format!(
                    "in `{}` take `null` out of the type of `{column}`, or choose another column",
                    self.shown(&settings.schema)
                ),
            )
        });
        if let Some((message, help)) = problem.or(null) {
            self.found.push(Found::error(place, message).help(help));
        }
    }

    fn rules(&mut self, name: &str, settings: &StreamSettings, arrow: &SchemaRef) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (rule, text) in settings.rules.iter() {
            match sql::Condition::compile(text, arrow) {
                Ok(condition) => rules.push(Rule { name: rule.to_owned(), text: text.clone(), condition }),
                Err(diagnostics) => {
                    let value = self.place(&["streams", name, "rules", rule]);
                    for diagnostic in diagnostics {
                        let origin = value.map(|value| self.within(value, text, diagnostic.span));
                        self.found.push(Found::error(origin, diagnostic.message).maybe_help(diagnostic.help));
                    }
                }
            }
        }
        rules
    }

    /// A range of a setting's text as a place in its file; the whole value if it is written with escapes or over lines.
    fn within(&self, value: Origin, text: &str, span: std::ops::Range<usize>) -> Origin {
        match self.sources.slice(value).find(text) {
            Some(at) => {
                let start = value.start + at;
                Origin::new(value.source, start + span.start.min(text.len()), start + span.end.min(text.len()))
            }
            None => value,
        }
    }
}

/// The place that `avro` names: `$.fields[2].type` or `line 3 column 7`.
fn place_in_schema(source: SourceId, text: &str, path: &str) -> Origin {
    let start = Origin::new(source, 0, 0);
    let mut words = path.split_whitespace();
    if let (Some("line"), Some(line), Some("column"), Some(column)) =
        (words.next(), words.next(), words.next(), words.next())
    {
        let offset =
            line.parse().ok().zip(column.parse().ok()).and_then(|(line, column)| offset_of(text, line, column));
        return Origin::new(source, offset.unwrap_or(0), offset.unwrap_or(0));
    }
    // JSON is YAML, and our tree knows its places.
    let Ok(tree) = parse(source, text) else { return start };
    let steps: Vec<&str> =
        path.trim_start_matches('$').split(['.', '[', ']']).filter(|step| !step.is_empty()).collect();
    match tree.find(&steps) {
        // A short value is best shown itself, a long one by its key or first line.
        Some(node) if node.scalar().is_some() => node.origin,
        _ => tree.place(&steps).unwrap_or(start),
    }
}

/// Where a field's name stands.
fn place_of_field(source: SourceId, text: &str, field: &str) -> Origin {
    let start = Origin::new(source, 0, 0);
    let Ok(tree) = parse(source, text) else { return start };
    let mut index = 0;
    loop {
        let index_text = index.to_string();
        match tree.find(&["fields", &index_text, "name"]) {
            Some(node) if node.scalar() == Some(field) => return node.origin,
            Some(_) => index += 1,
            None => return start,
        }
    }
}
