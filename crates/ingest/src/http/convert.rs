//! A JSON object as a Kafka record.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use arrow_schema::{DataType, Field, SchemaRef};
use model::{Classified, Domain, Retry};
use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::OutgoingRecord;
use super::body::{BodyForm, split};
use super::respond::{Problem, RecordProblem};
use crate::coerce::text::ColumnBuilder;
use crate::key::KeyColumn;

/// Why a stream can't have a door.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DoorError {
    /// The schema's fields aren't columns.
    #[error("the stream's schema can't be written from JSON: {0}")]
    Schema(#[from] avro::ArrowMappingError),
    /// The key isn't a column that can be a key.
    #[error("the stream's key {key} is no column that can be a key")]
    Key {
        /// Its name.
        key: String,
    },
}

impl Classified for DoorError {
    fn domain(&self) -> Domain {
        Domain::User
    }

    fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// A stream that can be written to over HTTP.
#[derive(Debug, Clone)]
pub struct StreamDoor {
    schema: avro::Schema,
    columns: SchemaRef,
    schema_id: u32,
    key: Arc<Field>,
}

impl StreamDoor {
    /// A door to a stream: its schema, the schema's id in the registry, and its key column.
    ///
    /// # Errors
    /// When the schema isn't flat columns, or the key isn't one of them.
    pub fn new(schema: avro::Schema, schema_id: u32, key: &str) -> Result<Self, DoorError> {
        let columns = schema.arrow()?;
        let field = columns.fields().iter().find(|field| field.name() == key);
        let field = field.filter(|field| ColumnBuilder::new(field, 0).is_some()).cloned();
        let key = field.ok_or_else(|| DoorError::Key { key: key.to_owned() })?;
        Ok(Self { schema, columns, schema_id, key })
    }

    /// What a client needs to know.
    pub(super) fn describe(&self, name: &str) -> Value {
        let schema: Value = serde_json::from_str(self.schema.text()).unwrap_or(Value::Null);
        serde_json::json!({
            "name": name,
            "key": self.key.name(),
            "schema_id": self.schema_id,
            "schema": schema,
            "records": format!("/v1/streams/{name}/records"),
        })
    }

    fn convert(&self, text: &str, headers: &[(String, Vec<u8>)]) -> Result<OutgoingRecord, RecordProblem> {
        let object = self.parse(text)?;
        let mut value = Vec::with_capacity(text.len());
        avro::wire::write_header(self.schema_id, &mut value);
        let object = Value::Object(object);
        avro::json::encode(&self.schema, &object, &mut value).map_err(|error| RecordProblem {
            code: "invalid_value",
            pointer: Some(self.pointer(&error.path)),
            message: error.message,
        })?;
        let key = self.key_of(&object, &value)?;
        Ok(OutgoingRecord { key, value, headers: headers.to_vec() })
    }

    fn parse(&self, text: &str) -> Result<Map<String, Value>, RecordProblem> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let members = deserializer.deserialize_map(Members).and_then(|members| deserializer.end().map(|()| members));
        let members = members.map_err(|error| invalid_json(&error))?;
        let mut object = Map::with_capacity(members.len());
        for (name, raw) in members {
            let decimal = || {
                let column = self.columns.column_with_name(&name);
                column.is_some_and(|(_, field)| matches!(field.data_type(), DataType::Decimal128(..)))
            };
            // serde_json reads numbers as doubles, which would round a long one unseen: as text it is exact.
            let value = if is_number(raw) && decimal() {
                Value::String(raw.to_owned())
            } else {
                serde_json::from_str(raw).map_err(|error| invalid_json(&error))?
            };
            object.insert(name.into_owned(), value);
        }
        Ok(object)
    }

    /// The key's text, as every door writes it. Where the JSON isn't the text already, the encoded record is asked, which has the
    /// defaults and one form of each value.
    fn key_of(&self, object: &Value, value: &[u8]) -> Result<Option<Vec<u8>>, RecordProblem> {
        if self.key.data_type() == &DataType::Utf8
            && let Some(Value::String(text)) = object.get(self.key.name())
        {
            return Ok(Some(text.clone().into_bytes()));
        }
        let problem = |message: String| RecordProblem {
            code: "invalid_value",
            pointer: Some(format!("/{}", self.key.name())),
            message,
        };
        let payload = avro::wire::split(value).map(|(_, payload)| payload).unwrap_or_default();
        let shown = avro::json::decode(&self.schema, payload).map_err(|error| problem(error.to_string()))?;
        let shown = shown.get(self.key.name()).cloned().unwrap_or_default();
        let mut column = ColumnBuilder::new(&self.key, 1).ok_or_else(|| problem("it can't be a key".into()))?;
        column.append_json(&shown.to_string()).map_err(problem)?;
        let column = column.finish();
        let mut text = Vec::new();
        let keys = KeyColumn::new(column.as_ref()).ok_or_else(|| problem("it can't be a key".into()))?;
        Ok(keys.write(0, &mut text).then_some(text))
    }

    /// The place that Avro's encoder names (`a.b[2]`, or `value` for the whole) as a JSON pointer (RFC 6901).
    fn pointer(&self, path: &str) -> String {
        if path == "value" && self.columns.column_with_name(path).is_none() {
            return String::new();
        }
        let mut pointer = String::with_capacity(path.len() + 1);
        for part in path.split(['.', '[']) {
            pointer.push('/');
            pointer.push_str(&part.trim_end_matches(']').replace('~', "~0").replace('/', "~1"));
        }
        pointer
    }
}

fn invalid_json(error: &serde_json::Error) -> RecordProblem {
    RecordProblem { code: "invalid_json", pointer: None, message: format!("it is not a JSON object: {error}") }
}

fn is_number(raw: &str) -> bool {
    raw.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

/// Converts a body's records; each on its own.
pub(super) fn convert(
    stream: &StreamDoor,
    form: BodyForm,
    body: &[u8],
    headers: &[(String, Vec<u8>)],
    records_max: usize,
) -> Result<Vec<Result<OutgoingRecord, RecordProblem>>, Problem> {
    let records = split(form, body, records_max)?;
    Ok(records.into_iter().map(|text| stream.convert(text, headers)).collect())
}

/// The members of an object, with their values as texts.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(Cow<'de, str>, &'de str)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            members.push((Cow::Owned(name), map.next_value::<&'de RawValue>()?.get()));
        }
        Ok(members)
    }
}
