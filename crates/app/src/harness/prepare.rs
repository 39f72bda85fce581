//! Records of a test as a producer would send them: key, partition, wire format.

use avro::Decoder;
use model::{BytesColumn, Schemas};
use project::Project;
use project::testfile::{SentRecord, SentValue};

use crate::error::{Error, Result};
use crate::harness::rows::{self, Row};
use crate::harness::schemas::MemorySchemas;
use crate::run::layout::PipelineStream;

/// A record as it goes to the raw topic.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    /// Which stream of the project.
    pub(crate) stream: usize,
    pub(crate) partition: i32,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    /// Microseconds since 1970; `None` if the record can't be decoded.
    pub(crate) event_time_us: Option<i64>,
}

/// Makes a record ready to be sent.
///
/// # Errors
/// `Internal` when the project's own schema can't be read, which `check` rules out.
pub(crate) fn prepare(
    record: &SentRecord,
    project: &Project,
    streams: &[PipelineStream],
    schemas: &MemorySchemas,
) -> Result<Prepared> {
    let index = project.streams.iter().position(|stream| stream.name == record.stream);
    let found = index.and_then(|index| Some((index, project.streams.get(index)?, streams.get(index)?)));
    let (index, settings, stream) =
        found.ok_or_else(|| Error::Internal(format!("a test sends to the unknown stream {}", record.stream)))?;
    let value = match &record.value {
        SentValue::Bytes(bytes) => bytes.clone(),
        SentValue::Row { avro, schema } => {
            let id = match schema {
                None => stream.raw_schema_id,
                Some(text) => schemas.register(&stream.topics.raw, text)?,
            };
            let mut value = Vec::with_capacity(avro.len() + avro::wire::HEADER_BYTES);
            avro::wire::write_header(id, &mut value);
            value.extend_from_slice(avro);
            Some(value)
        }
    };
    let row = decode(&settings.schema, value.as_deref(), schemas)?;
    let key = rows::value(&row, &settings.key).map(|key| key.to_string().into_bytes());
    let by_key = key.as_deref().map(|key| kafka::partition_of(key, stream.topics.partitions));
    let event_time_us = match rows::value(&row, &settings.event_time) {
        Some(project::testfile::Cell::Timestamp(us)) => Some(*us),
        _ => None,
    };
    Ok(Prepared { stream: index, partition: record.partition.or(by_key).unwrap_or(0), key, value, event_time_us })
}

/// A record's columns as its stream reads them; none if it can't be read.
///
/// # Errors
/// As [`prepare`].
pub(crate) fn decode(schema: &avro::Schema, value: Option<&[u8]>, schemas: &MemorySchemas) -> Result<Row> {
    let internal = |error: &dyn std::fmt::Display| Error::Internal(format!("reading a test's record: {error}"));
    let mut decoder = Decoder::new(schema, None, avro::Limits::default()).map_err(|error| internal(&error))?;
    let mut values = BytesColumn::default();
    values.push(value);
    for id in decoder.missing(&values) {
        let writer = schemas.by_id(id).ok().and_then(|text| avro::Schema::parse(&text).ok());
        // What can't be resolved has no columns to show.
        let known = writer.is_some_and(|writer| decoder.add_writer(id, &writer).is_ok());
        if !known {
            decoder.refuse_writer(id, "unknown");
        }
    }
    let decoded = decoder.decode(&values);
    Ok(rows::rows(&decoded.batch).pop().unwrap_or_default())
}
