//! The schemas that validated records may have been written with: all that the stream has had.

use model::Schemas;
use spark::print::WriterSchema;

use crate::error::Result;
use crate::run::decode::check_readable;
use crate::run::layout::PipelineStream;

/// The stream's own schema, and those before it, as the registry has them. Left out is one that can't be read as the stream's: there may be no
/// records of it any more, and Spark stops at one that there is.
///
/// # Errors
/// `Schema` when the registry is away.
pub(super) fn written(stream: &PipelineStream, schemas: &dyn Schemas) -> Result<Vec<WriterSchema>> {
    let reader = &stream.schema;
    let own = reader.canonical().to_owned();
    let mut written = vec![WriterSchema { id: stream.validated_schema_id, schema: own.clone(), reader: own }];
    for id in schemas.ids(&stream.topics.validated_subject())? {
        if written.iter().any(|known| known.id == id) {
            continue;
        }
        match readable(reader, id, &schemas.by_id(id)?) {
            Ok(other) => written.push(other),
            Err(reason) => tracing::warn!(
                stream = stream.name,
                id,
                reason,
                "records of an earlier schema of the stream can't be read on Apache Spark, which stops if there are any"
            ),
        }
    }
    Ok(written)
}

/// A schema by what the local engine can read; else why not.
fn readable(reader: &avro::Schema, id: u32, text: &str) -> std::result::Result<WriterSchema, String> {
    let writer = avro::Schema::parse(text).map_err(|error| error.to_string())?;
    check_readable(reader, &writer)?;
    Ok(WriterSchema { id, schema: text.to_owned(), reader: avro::units::reading(reader, &writer) })
}
