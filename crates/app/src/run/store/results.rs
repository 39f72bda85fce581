//! Result records as rows with versions.

use avro::Decoder;
use model::{BytesColumn, RecordBlock, Schemas, Version, provenance};
use store::Upserts;

use crate::error::{Error, Result};
use crate::run::decode::decode_own;
use crate::run::results::ResultTopic;

/// Who alone may write to result topics.
const WRITER: &str = "the process stage";

/// Reads one result topic.
#[derive(Debug)]
pub(crate) struct ResultReader {
    topic: String,
    table: String,
    values: Decoder,
    keys: Decoder,
}

impl ResultReader {
    pub(crate) fn new(result: &ResultTopic) -> Result<Self> {
        let decoder = |schema: &avro::Schema| {
            let record_bytes_max = usize::try_from(kafka::RECORD_BYTES_MAX).unwrap_or(usize::MAX);
            let limits = avro::Limits { any_value: true, record_bytes_max, ..avro::Limits::default() };
            Decoder::new(schema, None, limits)
                .map_err(|error| Error::Internal(format!("result {}: {error}", result.topic)))
        };
        Ok(Self {
            topic: result.topic.clone(),
            table: result.table().name,
            values: decoder(&result.value_schema)?,
            keys: decoder(&result.key_schema)?,
        })
    }

    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    pub(crate) fn table(&self) -> &str {
        &self.table
    }

    /// Rows and deletes of a block, each with its version.
    ///
    /// # Errors
    /// `Position` when a record isn't one that the process stage writes; `Schema` when the registry has to say what it is, and is away.
    pub(crate) fn read(&mut self, block: &RecordBlock, schemas: &dyn Schemas) -> Result<Upserts> {
        let mut values = BytesColumn::with_capacity(block.len(), block.values.byte_len());
        let mut keys = BytesColumn::default();
        let mut versions = Vec::with_capacity(block.len());
        let mut delete_versions = Vec::new();
        for index in 0..block.len() {
            let version = block.header(index, provenance::VERSION).and_then(Version::from_header).ok_or_else(|| {
                let offset = block.offsets.get(index).copied().unwrap_or(-1);
                Error::Position(format!(
                    "{}[{}] at offset {offset}: the header {} is missing; only {WRITER} may write here",
                    block.topic,
                    block.partition,
                    provenance::VERSION
                ))
            })?;
            match block.values.get(index) {
                Some(value) => {
                    values.push(Some(value));
                    versions.push(version);
                }
                None => {
                    keys.push(block.keys.get(index));
                    delete_versions.push(version);
                }
            }
        }
        // Other topics are read meanwhile.
        let look_up = |id| schemas.by_id_soon(id);
        let rows = decode_own(&mut self.values, &values, block, look_up, WRITER)?;
        let deletes = decode_own(&mut self.keys, &keys, block, look_up, WRITER)?;
        Ok(Upserts { rows, versions, deletes, delete_versions })
    }
}
