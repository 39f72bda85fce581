//! Transactions out of nothing: seeded, realistic, on a schedule that doesn't wait for the pipeline.
//!
//! In: options, a seed, and the times at which records are due. Out: Arrow batches, and for payments what each row is meant to be (late,
//! a duplicate, invalid, part of a fraud), so that a test knows the truth.
//!
//! Promised: the same seed and the same times give the same rows on every machine, however the times are cut into calls.
//!
//! | file | does |
//! | --- | --- |
//! | `schedule` | which records are due at a time: open loop |
//! | `merchants` | the 500 merchants of the payments example |
//! | `payments` | card payments, with late, duplicate and invalid ones |
//! | `fraud` | bursts of fraud among them |
//! | `any` | records of any stream, guessed from the names and types of its columns |

pub mod any;
mod fraud;
pub mod merchants;
pub mod payments;
mod sampling;
pub mod schedule;

pub use any::{AnyOptions, AnySchema};
pub use fraud::{Fraud, FraudKind};
pub use merchants::{MERCHANTS_SEED, Merchant, merchants};
pub use payments::{InvalidKind, Mark, PaymentBatch, PaymentEncoder, Payments, PaymentsOptions};
pub use schedule::OpenLoop;

use model::{Classified, Domain, Retry};

/// Why records can't be generated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenerateError {
    /// An option is out of its range.
    #[error("can't generate with {option} {value}: {reason}")]
    Option {
        /// Its name.
        option: &'static str,
        /// What was given.
        value: String,
        /// The range.
        reason: &'static str,
    },
    /// A column has a type that the generator doesn't know.
    #[error("can't generate values for column {column} of type {data_type}; produce such records with a Kafka client")]
    UnsupportedColumn {
        /// The column.
        column: String,
        /// Its type.
        data_type: String,
    },
    /// The rows can't be encoded with the stream's schema.
    #[error("generated rows don't fit the stream's schema: {reason}")]
    Encode {
        /// What doesn't fit.
        reason: String,
    },
    /// A bug of ours.
    #[error("internal error while generating: {what}")]
    Internal {
        /// What failed.
        what: String,
    },
}

impl Classified for GenerateError {
    fn domain(&self) -> Domain {
        match self {
            Self::Internal { .. } => Domain::Internal,
            _ => Domain::User,
        }
    }

    fn retry(&self) -> Retry {
        Retry::Never
    }
}

impl From<arrow_schema::ArrowError> for GenerateError {
    fn from(error: arrow_schema::ArrowError) -> Self {
        Self::Internal { what: error.to_string() }
    }
}
