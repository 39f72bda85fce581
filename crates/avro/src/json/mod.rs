//! JSON as people write it, to Avro binary by a schema and back.
//!
//! This is not Avro's JSON encoding: a union's value stands bare, decimals are text or numbers (`"5.00"`, `5`), timestamps
//! are ISO 8601 in text (`2026-01-01T00:00:01Z`) or integers in the field's own unit, dates are `2026-01-01`, uuids text.
//! Bytes and fixed are text whose characters are the bytes (U+0000 to U+00FF), as in Avro's defaults. Fields that are
//! missing take their default; fields that the schema doesn't have are refused. Nothing is rounded or cut.

mod read;
mod scalar;
mod show;
#[cfg(test)]
mod tests;

use model::{Classified, Domain, Retry};
use serde_json::Value;

use crate::decode::DecodeFailure;
use crate::schema::Schema;

/// What is wrong with a JSON value, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct FieldError {
    /// Path of the value, such as `items[2].price`; `value` for the whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

impl Classified for FieldError {
    fn domain(&self) -> Domain {
        Domain::User
    }

    fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// Appends a value in Avro binary, without a header, as the schema says.
///
/// # Errors
/// The first thing that doesn't fit; `out` is then as it was.
pub fn encode(schema: &Schema, value: &Value, out: &mut Vec<u8>) -> Result<(), FieldError> {
    read::encode(schema, value, out)
}

/// The JSON of a payload in Avro binary (without header) written with the schema, in the form that `encode` takes. For
/// showing records: it allocates, and it looks at text only as far as UTF-8.
///
/// # Errors
/// Bytes that aren't what the schema says; offsets count from the payload's start.
pub fn decode(schema: &Schema, payload: &[u8]) -> Result<Value, DecodeFailure> {
    show::decode(schema, payload)
}
