//! Payments as Kafka records.

use model::BytesColumn;

use super::{InvalidKind, Mark, PaymentBatch};
use crate::encode::{EncodedRows, RowEncoder};
use crate::generate::GenerateError;

/// Encodes payments, and damages those that are meant to be damaged.
#[derive(Debug)]
pub struct PaymentEncoder {
    encoder: RowEncoder,
    sound: EncodedRows,
}

/// A schema id that registries, which count from 1, never get to.
const UNKNOWN_SCHEMA_ID: u32 = 0x7fff_fffe;

impl PaymentEncoder {
    /// An encoder for the stream's schema under its id in the registry, keyed by `account_id`.
    ///
    /// # Errors
    /// When the schema doesn't take the rows.
    pub fn new(schema: &avro::Schema, id: u32) -> Result<Self, GenerateError> {
        let encoder = RowEncoder::new(schema, id, "account_id")
            .map_err(|error| GenerateError::Encode { reason: error.to_string() })?;
        Ok(Self { encoder, sound: EncodedRows::default() })
    }

    /// Appends the keys and values of the rows to `out`.
    ///
    /// # Errors
    /// When the rows don't fit the schema.
    pub fn encode(&mut self, payments: &PaymentBatch, out: &mut EncodedRows) -> Result<(), GenerateError> {
        let failed = |error: crate::encode::RowEncodeError| GenerateError::Encode { reason: error.to_string() };
        if !payments.marks.iter().any(|mark| matches!(mark, Mark::Invalid(_))) {
            return self.encoder.encode(&payments.batch, out).map_err(failed).and_then(|faults| none(&faults));
        }
        self.sound.clear();
        none(&self.encoder.encode(&payments.batch, &mut self.sound).map_err(failed)?)?;
        out.rows.extend_from_slice(&self.sound.rows);
        for ((mark, key), value) in payments.marks.iter().zip(self.sound.keys.iter()).zip(self.sound.values.iter()) {
            out.keys.push(key);
            push_value(*mark, value.unwrap_or_default(), &mut out.values);
        }
        Ok(())
    }
}

/// Generated rows have no faults: their columns are plain.
fn none(faults: &[crate::encode::RowFault]) -> Result<(), GenerateError> {
    match faults.first() {
        Some(fault) => Err(GenerateError::Encode { reason: format!("column {}: {}", fault.column, fault.message) }),
        None => Ok(()),
    }
}

fn push_value(mark: Mark, value: &[u8], values: &mut BytesColumn) {
    match mark {
        // The header stays whole: what is cut is the Avro behind it.
        Mark::Invalid(InvalidKind::TruncatedAvro) => {
            values.push(value.get(..avro::wire::HEADER_BYTES.max(value.len() / 2)).or(Some(value)));
        }
        Mark::Invalid(InvalidKind::UnknownSchemaId) => {
            let body = value.get(avro::wire::HEADER_BYTES..).unwrap_or_default();
            let written: Result<(), std::convert::Infallible> = values.push_with(|out| {
                avro::wire::write_header(UNKNOWN_SCHEMA_ID, out);
                out.extend_from_slice(body);
                Ok(())
            });
            debug_assert!(written.is_ok(), "writing to memory doesn't fail");
        }
        _ => values.push(Some(value)),
    }
}
