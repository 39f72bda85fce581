//! Values of the records of `_schemas`, and a record as an event.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value as Json};

use super::keys::{Key, KeyError};

/// A schema that another one names: `name` in its text stands for version `version` of `subject`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reference {
    /// Full name used in the schema.
    #[serde(default)]
    pub name: String,
    /// Subject that holds it.
    #[serde(default)]
    pub subject: String,
    /// Version of that subject; -1 is the latest.
    #[serde(default)]
    pub version: i64,
}

/// A version of a subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaValue {
    /// Subject.
    pub subject: String,
    /// Version, from 1.
    pub version: u32,
    /// Schema id in the subject's context.
    pub id: u32,
    /// Hash that some registries write, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
    /// `None` is Avro.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_type: Option<String>,
    /// Schemas that this one names.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    /// Kept as another registry wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Json>,
    /// Kept as another registry wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_set: Option<Json>,
    /// Text of the schema.
    pub schema: String,
    /// Whether this version is soft-deleted.
    #[serde(default, deserialize_with = "null_is_default")]
    pub deleted: bool,
}

/// Settings of a subject or the global ones; what this registry does not use is kept as it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigValue {
    /// Subject; `None` is global.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Level in Confluent's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compatibility_level: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub others: Map<String, Json>,
}

/// Mode of a subject or the global one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModeValue {
    /// Subject; `None` is global.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// `READWRITE`, `READONLY`, `READONLY_OVERRIDE`, `IMPORT` or `FORWARD`.
    pub mode: String,
}

/// Versions 1 to `version` of the subject are soft-deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteSubjectValue {
    /// Subject.
    pub subject: String,
    /// Greatest version that is deleted.
    pub version: u32,
}

/// The value of a record, by kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Of a SCHEMA key.
    Schema(Box<SchemaValue>),
    /// Of a CONFIG key.
    Config(ConfigValue),
    /// Of a MODE key.
    Mode(ModeValue),
    /// Of a DELETE_SUBJECT key.
    DeleteSubject(DeleteSubjectValue),
    /// Of any other key, as it is.
    Other(Json),
}

/// One record of the topic; no value is a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What it is about.
    pub key: Key,
    /// What holds from now on.
    pub value: Option<Value>,
}

/// Why a record of the topic could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Its key could not be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It has no key.
    #[error("a record without a key")]
    NoKey,
    /// Its value could not be read.
    #[error("the value is not what its key announces: {0}")]
    Value(String),
}

impl Event {
    /// An event that removes what the key is about.
    pub fn tombstone(key: Key) -> Self {
        Self { key, value: None }
    }

    /// An event that stores a version of a subject.
    pub fn schema(value: SchemaValue) -> Self {
        let key = Key::Schema { subject: value.subject.clone(), version: value.version };
        Self { key, value: Some(Value::Schema(Box::new(value))) }
    }

    /// Reads a record of the topic.
    ///
    /// # Errors
    /// When key or value are not those of a registry.
    pub fn parse(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Self, RecordError> {
        let key = Key::parse(key.ok_or(RecordError::NoKey)?)?;
        let Some(bytes) = value.filter(|bytes| !bytes.is_empty()) else {
            return Ok(Self { key, value: None });
        };
        let value = match key {
            Key::Schema { .. } => Value::Schema(Box::new(from_json(bytes)?)),
            Key::Config { .. } => Value::Config(from_json(bytes)?),
            Key::Mode { .. } => Value::Mode(from_json(bytes)?),
            Key::DeleteSubject { .. } => Value::DeleteSubject(from_json(bytes)?),
            _ => Value::Other(from_json(bytes)?),
        };
        Ok(Self { key, value: Some(value) })
    }

    /// The record's value as bytes; `None` for a tombstone.
    pub fn value_bytes(&self) -> Option<Vec<u8>> {
        match self.value.as_ref()? {
            Value::Schema(value) => serde_json::to_vec(value),
            Value::Config(value) => serde_json::to_vec(value),
            Value::Mode(value) => serde_json::to_vec(value),
            Value::DeleteSubject(value) => serde_json::to_vec(value),
            Value::Other(value) => serde_json::to_vec(value),
        }
        .ok()
    }
}

fn from_json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, RecordError> {
    serde_json::from_slice(bytes).map_err(|error| RecordError::Value(error.to_string()))
}

fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_another_registry_is_read_leniently() {
        let key = br#"{"keytype":"SCHEMA","subject":"s","version":2,"magic":1}"#;
        let value = br#"{"subject":"s","version":2,"id":7,"schemaType":null,"references":null,"schema":"\"string\"","deleted":null,"offset":3}"#;
        let event = Event::parse(Some(key), Some(value)).unwrap();
        let Some(Value::Schema(value)) = &event.value else { panic!("{event:?}") };
        assert_eq!((value.id, value.deleted, value.references.len()), (7, false, 0));
        assert_eq!(
            String::from_utf8(event.value_bytes().unwrap()).unwrap(),
            r#"{"subject":"s","version":2,"id":7,"schema":"\"string\"","deleted":false}"#
        );
    }

    #[test]
    fn settings_that_are_not_ours_survive() {
        let key = br#"{"keytype":"CONFIG","subject":"s","magic":0}"#;
        let value = br#"{"subject":"s","compatibilityLevel":"FULL","compatibilityGroup":"g"}"#;
        let event = Event::parse(Some(key), Some(value)).unwrap();
        assert_eq!(event.value_bytes().unwrap(), value);
    }

    #[test]
    fn garbage_is_an_error() {
        assert_eq!(Event::parse(None, None), Err(RecordError::NoKey));
        assert!(Event::parse(Some(br#"{"keytype":"MODE","magic":0}"#), Some(b"nope")).is_err());
    }
}
