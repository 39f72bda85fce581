//! The stream's schema for a reader that looks at logical types of its own side alone, as Java's and Spark's do.

use serde_json::Value;

use crate::compatibility::writer_fields;
use crate::schema::{Kind, Logical, Node, Schema};

/// The stream's schema as Avro's JSON, with timestamps in the unit in which this writer has written them.
///
/// Avro's schema resolution doesn't know logical types: milliseconds of the writer would be taken for microseconds where the reader's schema
/// says so. This library counts both sides', see `Decoder::add_writer`.
pub fn reading(reader: &Schema, writer: &Schema) -> String {
    let own = reader.canonical();
    let Kind::Record(record) = &writer.node(writer.root()).kind else { return own.to_owned() };
    let Ok(mut json) = serde_json::from_str::<Value>(own) else { return own.to_owned() };
    let fields = json.get_mut("fields").and_then(Value::as_array_mut);
    for (json, field) in fields.into_iter().flatten().zip(reader.fields()) {
        let written = writer_fields(field, record).first().and_then(|other| unit(writer, writer.node(other.node)));
        if let (Some(unit), Some(kind)) = (written, json.get_mut("type")) {
            set_unit(kind, unit);
        }
    }
    json.to_string()
}

/// The unit of a timestamp, also of one that may be NULL.
fn unit(schema: &Schema, node: &Node) -> Option<&'static str> {
    match (&node.kind, node.logical) {
        (Kind::Union(branches), _) => branches.iter().find_map(|branch| unit(schema, schema.node(*branch))),
        (_, Some(Logical::TimestampMillis)) => Some("timestamp-millis"),
        (_, Some(Logical::TimestampMicros)) => Some("timestamp-micros"),
        _ => None,
    }
}

fn set_unit(kind: &mut Value, unit: &str) {
    if let Some(branches) = kind.as_array_mut() {
        branches.iter_mut().for_each(|branch| set_unit(branch, unit));
        return;
    }
    let logical = kind.get_mut("logicalType");
    if let Some(logical) =
        logical.filter(|logical| matches!(logical.as_str(), Some("timestamp-millis" | "timestamp-micros")))
    {
        *logical = unit.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(fields: &str) -> Schema {
        Schema::parse(&format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)).unwrap()
    }

    const MICROS: &str = r#"{"type":"long","logicalType":"timestamp-micros"}"#;
    const MILLIS: &str = r#"{"type":"long","logicalType":"timestamp-millis"}"#;

    #[test]
    fn timestamps_have_the_writers_unit() {
        let reader = schema(&format!(
            r#"{{"name":"at","type":{MICROS}}},{{"name":"seen","aliases":["shown"],"type":["null",{MICROS}],"default":null}},
               {{"name":"same","type":{MICROS}}},{{"name":"added","type":["null",{MICROS}],"default":null}},{{"name":"n","type":"long"}}"#
        ));
        let writer = schema(&format!(
            r#"{{"name":"n","type":"int"}},{{"name":"same","type":{MICROS}}},{{"name":"shown","type":{MILLIS}}},
               {{"name":"at","type":["null",{MILLIS}]}}"#
        ));
        let expected = schema(&format!(
            r#"{{"name":"at","type":{MILLIS}}},{{"name":"seen","aliases":["shown"],"type":["null",{MILLIS}],"default":null}},
               {{"name":"same","type":{MICROS}}},{{"name":"added","type":["null",{MICROS}],"default":null}},{{"name":"n","type":"long"}}"#
        ));
        assert_eq!(Schema::parse(&reading(&reader, &writer)).unwrap().canonical(), expected.canonical());
        assert_eq!(reading(&reader, &reader), reader.canonical());
    }
}
