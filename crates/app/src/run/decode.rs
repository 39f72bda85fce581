//! Decoding records that a stage of ours wrote.

use std::sync::Arc;

use arrow_array::RecordBatch;
use avro::{DecodeFailure, Decoder};
use model::{BytesColumn, RecordBlock, SchemaError};

use crate::error::{Error, Result};

/// Decodes values of a block; the text of a writer's schema that the decoder doesn't know yet is looked up by its id. `writer` is who alone may
/// write to the topic.
///
/// # Errors
/// `Position` when a value isn't what that stage writes: then nothing of the topic can be trusted. `Schema` when the registry is away.
pub(crate) fn decode_own(
    decoder: &mut Decoder,
    values: &BytesColumn,
    block: &RecordBlock,
    look_up: impl Fn(u32) -> std::result::Result<Arc<str>, SchemaError>,
    writer: &str,
) -> Result<RecordBatch> {
    loop {
        let decoded = decoder.decode(values);
        let Some((row, failure)) = decoded.failures.into_iter().next() else { return Ok(decoded.batch) };
        let at = format!("{}[{}], record {row} of a block", block.topic, block.partition);
        match failure {
            DecodeFailure::UnknownWriter { id } => {
                let text = look_up(id)?;
                let schema = avro::Schema::parse(&text).map_err(|error| Error::Position(format!("{at}: {error}")))?;
                decoder.add_writer(id, &schema).map_err(|error| Error::Position(format!("{at}: {error}")))?;
            }
            failure => return Err(Error::Position(format!("{at}: {failure}; only {writer} may write here"))),
        }
    }
}

/// Whether records of a writer's schema can be read as the stream's; else why not.
pub(crate) fn check_readable(reader: &avro::Schema, writer: &avro::Schema) -> std::result::Result<(), String> {
    let mut decoder = Decoder::new(reader, None, avro::Limits::default()).map_err(|error| error.to_string())?;
    decoder.add_writer(0, writer).map_err(|error| error.message)
}
