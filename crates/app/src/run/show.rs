//! A record as people read it: values and keys in Avro, JSON or text, whatever they are, as JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{RecordBlock, Schemas};
use serde_json::{Map, Value, json};

/// Writers' schemas that were met.
#[derive(Debug)]
pub(crate) struct Viewer {
    schemas: Arc<dyn Schemas>,
    known: BTreeMap<u32, Option<avro::Schema>>,
}

impl Viewer {
    pub(crate) fn new(schemas: Arc<dyn Schemas>) -> Self {
        Self { schemas, known: BTreeMap::new() }
    }

    /// A record with its position and headers: `{"topic","partition","offset","timestamp_ms","key","headers","value"}`.
    pub(crate) fn record(&mut self, block: &RecordBlock, index: usize) -> Value {
        let mut headers = Map::new();
        for (name, value) in block.headers(index) {
            headers.insert(name.to_owned(), value.map_or(Value::Null, text));
        }
        json!({
            "topic": &*block.topic,
            "partition": block.partition,
            "offset": block.offsets.get(index),
            "timestamp_ms": block.timestamps_ms.get(index),
            "key": self.bytes(block.keys.get(index)),
            "headers": headers,
            "value": self.bytes(block.values.get(index)),
        })
    }

    /// Bytes in the wire format by their writer's schema; else as JSON, as text, or as `{"hex"}` if they are none of it.
    pub(crate) fn bytes(&mut self, bytes: Option<&[u8]>) -> Value {
        let Some(bytes) = bytes else { return Value::Null };
        if let Some((id, payload)) = avro::wire::split(bytes)
            && let Some(schema) = self.schema(id)
            && let Ok(value) = avro::json::decode(schema, payload)
        {
            return value;
        }
        match serde_json::from_slice::<Value>(bytes) {
            Ok(value @ (Value::Object(_) | Value::Array(_))) => value,
            _ => text(bytes),
        }
    }

    fn schema(&mut self, id: u32) -> Option<&avro::Schema> {
        let schemas = &self.schemas;
        let schema = self.known.entry(id).or_insert_with(|| {
            let text = schemas.by_id(id).ok()?;
            avro::Schema::parse(&text).ok()
        });
        schema.as_ref()
    }
}

fn text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(|character| character.is_control() && !character.is_whitespace()) => text.into(),
        _ => json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    }
}

#[cfg(test)]
mod tests {
    use model::SchemaError;

    use super::*;

    #[derive(Debug)]
    struct One(&'static str);

    impl Schemas for One {
        fn by_id(&self, id: u32) -> Result<Arc<str>, SchemaError> {
            if id == 7 { Ok(self.0.into()) } else { Err(SchemaError::Unknown { id }) }
        }

        fn register(&self, _: &str, _: &str) -> Result<u32, SchemaError> {
            Ok(7)
        }

        fn ids(&self, _: &str) -> Result<Vec<u32>, SchemaError> {
            Ok(vec![7])
        }
    }

    #[test]
    fn bytes_are_shown_as_what_they_are() {
        let mut viewer = Viewer::new(Arc::new(One(r#"{"type":"string"}"#)));
        assert_eq!(viewer.bytes(None), Value::Null);
        assert_eq!(viewer.bytes(Some(b"\0\0\0\0\x07\x04hi")), json!("hi"));
        assert_eq!(viewer.bytes(Some(b"\0\0\0\0\x08\x04hi")), json!({ "hex": "0000000008046869" }));
        assert_eq!(viewer.bytes(Some(b"{\"a\":1}")), json!({ "a": 1 }));
        assert_eq!(viewer.bytes(Some(b"c1")), json!("c1"));
        assert_eq!(viewer.bytes(Some(b"12")), json!("12"), "a key's text stays a text");
        assert_eq!(viewer.bytes(Some(&[0xff, 0x01])), json!({ "hex": "ff01" }));
    }
}
