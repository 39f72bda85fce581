//! Whether a stream's schema can follow the one that it had before.

use model::Schemas;
use project::Stream;

use crate::error::{Error, Result};
use crate::run::decode::check_readable;

/// Refuses a schema that can't read the records of the newest one under the subject: nothing that follows could. The registry looks at less, since
/// logical types don't count for Avro, and at what its level says. `file` is where the user has the schema.
///
/// # Errors
/// `Project` with what doesn't fit, `Schema` while the registry is away.
pub(crate) fn check(stream: &Stream, file: &str, subject: &str, schemas: &dyn Schemas) -> Result<()> {
    let Some(id) = schemas.ids(subject)?.last().copied() else { return Ok(()) };
    let Ok(before) = avro::Schema::parse(&schemas.by_id(id)?) else { return Ok(()) };
    check_readable(&stream.schema, &before).map_err(|reason| {
        Error::Project(format!(
            "{file}: with this schema the records of {} that are there couldn't be read any more: {reason}. They were written with the schema of id {id} in \
             the registry. Take the change back, or add a column of another name; a new column needs a default. docs/generations.md says what \
             may be changed",
            stream.name
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::MemorySchemas;

    const SUBJECT: &str = "orders.validated-value";

    fn schema(fields: &str) -> String {
        let at = r#"{"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}}"#;
        format!(r#"{{"type":"record","name":"Order","fields":[{{"name":"id","type":"string"}},{at}{fields}]}}"#)
    }

    fn decimal(scale: u32) -> String {
        let decimal = r#"{"type":"bytes","logicalType":"decimal","precision":10,"scale":"#;
        schema(&format!(r#",{{"name":"price","type":{decimal}{scale}}}}}"#))
    }

    fn checked(schemas: &MemorySchemas, text: &str) -> std::result::Result<(), String> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("order.avsc"), text).unwrap();
        let settings = "name: shop\nstreams: { orders: { schema: order.avsc, key: id, event_time: at } }\n";
        std::fs::write(directory.path().join("tillstream.yaml"), settings).unwrap();
        let project = project::Project::load(directory.path(), &project::Overrides::default()).unwrap();
        check(&project.streams[0], "order.avsc", SUBJECT, schemas).map_err(|error| error.to_string())
    }

    #[test]
    fn what_could_not_be_read_any_more_is_refused_before_it_is_registered() {
        let schemas = MemorySchemas::default();
        checked(&schemas, &decimal(2)).unwrap();
        schemas.register(SUBJECT, &decimal(2)).unwrap();
        checked(&schemas, &decimal(2)).unwrap();
        let column = |text: &str| decimal(2).replace("]}", &format!(",{text}]}}"));
        checked(&schemas, &column(r#"{"name":"channel","type":"string","default":"web"}"#)).unwrap();
        let refused = checked(&schemas, &column(r#"{"name":"channel","type":"string"}"#)).unwrap_err();
        assert!(
            refused.starts_with("order.avsc: ") && refused.contains("`channel`, and that has no default"),
            "{refused}"
        );
        let refused = checked(&schemas, &decimal(4)).unwrap_err();
        assert!(refused.contains("a decimal of scale 2 can't be read as one of scale 4"), "{refused}");
        // The newest counts, and the one before may come back.
        schemas.register(SUBJECT, &schema("")).unwrap();
        checked(&schemas, &schema("")).unwrap();
        assert!(checked(&schemas, &decimal(2)).unwrap_err().contains("`price`"));
    }
}
