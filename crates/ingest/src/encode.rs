//! Rows as Kafka records: the key's text and the value in the wire format.

use arrow_array::RecordBatch;
use model::{BytesColumn, Classified, Domain, Retry};

use crate::key::KeyColumn;

/// Encoded rows. All columns have one entry per record.
#[derive(Debug, Clone, Default)]
pub struct EncodedRows {
    /// Key of each record; null where the key column is NULL.
    pub keys: BytesColumn,
    /// Value of each record.
    pub values: BytesColumn,
    /// Row in its batch that each record is of; ascending within a batch, with gaps where a row couldn't be encoded.
    pub rows: Vec<usize>,
}

impl EncodedRows {
    /// Removes all records and keeps the buffers.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.values.clear();
        self.rows.clear();
    }
}

/// A row that the schema doesn't take, such as one with a symbol that an enum doesn't have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFault {
    /// Row in the batch.
    pub row: usize,
    /// Its column.
    pub column: String,
    /// What is wrong.
    pub message: String,
}

/// Why rows can't be encoded at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowEncodeError {
    /// The schema's fields aren't columns.
    #[error("the schema can't be encoded from columns: {0}")]
    Schema(#[from] avro::ArrowMappingError),
    /// The key isn't a column of the stream, or its type has no text.
    #[error("the stream's key {key} is no column that can be a key")]
    Key {
        /// Name of the key column.
        key: String,
    },
    /// The batch isn't one of this schema.
    #[error("a batch doesn't fit the schema: {0}")]
    Batch(#[from] avro::EncodeError),
}

impl Classified for RowEncodeError {
    fn domain(&self) -> Domain {
        match self {
            Self::Schema(_) | Self::Key { .. } => Domain::User,
            Self::Batch(_) => Domain::Internal,
        }
    }

    fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// Encodes batches of one stream.
#[derive(Debug, Clone)]
pub struct RowEncoder {
    encoder: avro::Encoder,
    key: String,
}

impl RowEncoder {
    /// An encoder for a stream's schema under its id in the registry; `key` is the stream's key column.
    ///
    /// # Errors
    /// When the schema isn't flat columns, or `key` isn't one of them.
    pub fn new(schema: &avro::Schema, id: u32, key: &str) -> Result<Self, RowEncodeError> {
        let encoder = avro::Encoder::new(schema, id)?;
        if schema.arrow()?.column_with_name(key).is_none() {
            return Err(RowEncodeError::Key { key: key.to_owned() });
        }
        Ok(Self { encoder, key: key.to_owned() })
    }

    /// Appends a record for each row of the batch to `out`, and returns the rows that the schema doesn't take.
    ///
    /// # Errors
    /// When the batch lacks a column, or has one of another type.
    pub fn encode(&self, batch: &RecordBatch, out: &mut EncodedRows) -> Result<Vec<RowFault>, RowEncodeError> {
        let no_key = || RowEncodeError::Key { key: self.key.clone() };
        let keys = batch.column_by_name(&self.key).ok_or_else(no_key)?;
        let keys = KeyColumn::new(keys.as_ref()).ok_or_else(no_key)?;
        let bound = self.encoder.bind(batch)?;
        let mut faults = Vec::new();
        for row in 0..batch.num_rows() {
            match out.values.push_with(|value| bound.encode_row(row, value)) {
                Ok(()) => {}
                Err(avro::EncodeError::Value { field, message, .. }) => {
                    faults.push(RowFault { row, column: field, message });
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            out.rows.push(row);
            // Fails, and appends nothing, where the key is NULL.
            if out.keys.push_with(|key| if keys.write(row, key) { Ok(()) } else { Err(()) }).is_err() {
                out.keys.push(None);
            }
        }
        Ok(faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{ArrayRef, Int64Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn a_row_that_does_not_fit_is_told_and_the_rest_is_encoded() {
        let schema = avro::Schema::parse(
            r#"{"type":"record","name":"r","fields":[
                {"name":"id","type":["null","long"],"default":null},
                {"name":"state","type":{"type":"enum","name":"state","symbols":["NEW","PAID"]}}]}"#,
        )
        .unwrap();
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("id", Arc::new(Int64Array::from(vec![Some(7), Some(8), None])) as ArrayRef, true),
            ("state", Arc::new(StringArray::from(vec!["NEW", "LOST", "PAID"])) as ArrayRef, false),
        ])
        .unwrap();
        let encoder = RowEncoder::new(&schema, 5, "id").unwrap();
        let mut out = EncodedRows::default();
        let faults = encoder.encode(&batch, &mut out).unwrap();
        assert_eq!((faults.len(), faults[0].row, &*faults[0].column), (1, 1, "state"));
        assert_eq!(out.rows, [0, 2]);
        assert_eq!(out.keys.iter().collect::<Vec<_>>(), [Some(&b"7"[..]), None]);
        assert_eq!(
            out.values.iter().collect::<Vec<_>>(),
            [Some(&b"\0\0\0\0\x05\x02\x0e\0"[..]), Some(b"\0\0\0\0\x05\0\x02")]
        );
        assert!(matches!(RowEncoder::new(&schema, 5, "nothing"), Err(RowEncodeError::Key { .. })));
    }
}
