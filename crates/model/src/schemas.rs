//! Looking schemas up and registering them.

use std::sync::Arc;

use crate::error::{Classified, Domain, Retry};

/// Why a schema could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// The registry answered that it has no schema with this id.
    #[error("the schema registry has no schema with id {id}")]
    Unknown {
        /// The id asked for.
        id: u32,
    },
    /// The registry has a schema with this id that no records of a stream can be read with.
    #[error("the schema with id {id} can't be used: {reason}")]
    Unusable {
        /// The id.
        id: u32,
        /// Why not.
        reason: String,
    },
    /// The registry refused a schema: it is invalid, or incompatible with earlier versions.
    #[error("the schema registry refused the schema for subject {subject}: {reason}")]
    Refused {
        /// Subject it was offered for.
        subject: String,
        /// The registry's words.
        reason: String,
    },
    /// The registry can't be reached, or answers with an error of its own. That is an outage, not a bad record.
    #[error("the schema registry is unavailable: {reason}")]
    Unavailable {
        /// What was seen.
        reason: String,
    },
}

impl Classified for SchemaError {
    fn domain(&self) -> Domain {
        match self {
            Self::Unknown { .. } | Self::Unusable { .. } | Self::Refused { .. } => Domain::User,
            Self::Unavailable { .. } => Domain::External,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Unknown { .. } | Self::Unusable { .. } | Self::Refused { .. } => Retry::Never,
            Self::Unavailable { .. } => Retry::Backoff,
        }
    }
}

/// A schema registry as the stages see it. Calls block; an implementation caches what can't change (a schema under its id).
pub trait Schemas: Send + Sync + std::fmt::Debug {
    /// The text of the schema with this id.
    ///
    /// # Errors
    /// `Unknown` when the registry says so, `Unusable` when it isn't Avro, `Unavailable` when the registry can't be asked.
    fn by_id(&self, id: u32) -> Result<Arc<str>, SchemaError>;

    /// As [`by_id`](Self::by_id), for who has other things to do meanwhile: if the registry doesn't answer at once it is `Unavailable`, and its
    /// answer is there when it is asked for the same id again.
    ///
    /// # Errors
    /// As `by_id`.
    fn by_id_soon(&self, id: u32) -> Result<Arc<str>, SchemaError> {
        self.by_id(id)
    }

    /// Registers an Avro schema under a subject and returns its id; the same text again gives the same id.
    ///
    /// # Errors
    /// `Refused` when it is invalid or incompatible, `Unavailable` when the registry can't be asked.
    fn register(&self, subject: &str, schema: &str) -> Result<u32, SchemaError>;

    /// The ids of all versions that a subject has or had, the earliest first; none of a subject that isn't there. It is asked anew each time,
    /// since others may register more; while the registry is away, it is what was known last.
    ///
    /// # Errors
    /// `Unavailable` when the registry can't be asked, and hasn't answered before.
    fn ids(&self, subject: &str) -> Result<Vec<u32>, SchemaError>;
}
