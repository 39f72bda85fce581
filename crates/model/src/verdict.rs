//! What validation decided about a record, and why.

use serde::{Deserialize, Serialize};

/// Why a record was rejected. The names are a contract: headers, tables, metrics and alerts carry them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// The value is null or lacks the wire format's first byte and schema id.
    WireFormat,
    /// The registry has no schema with the record's id, also after the grace period.
    UnknownSchema,
    /// The writer's schema can't be resolved to the stream's schema.
    IncompatibleSchema,
    /// The bytes aren't what the writer's schema says.
    Decode,
    /// The record is larger than the limit.
    TooLarge,
    /// A value doesn't fit its column: a decimal beyond its precision, text with a NUL byte, a number that isn't one.
    InvalidValue,
    /// A rule's condition was false or NULL.
    Rule,
    /// The same id with the same content was accepted before.
    Duplicate,
    /// The same id with other content was accepted before.
    IdConflict,
    /// Its event time is below the partition's watermark.
    Late,
    /// Its event time is further in the future than `future_skew` allows.
    Future,
}

impl RejectReason {
    /// All reasons.
    pub const ALL: [Self; 11] = [
        Self::WireFormat,
        Self::UnknownSchema,
        Self::IncompatibleSchema,
        Self::Decode,
        Self::TooLarge,
        Self::InvalidValue,
        Self::Rule,
        Self::Duplicate,
        Self::IdConflict,
        Self::Late,
        Self::Future,
    ];

    /// The name in headers, tables and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::WireFormat => "wire_format",
            Self::UnknownSchema => "unknown_schema",
            Self::IncompatibleSchema => "incompatible_schema",
            Self::Decode => "decode",
            Self::TooLarge => "too_large",
            Self::InvalidValue => "invalid_value",
            Self::Rule => "rule",
            Self::Duplicate => "duplicate",
            Self::IdConflict => "id_conflict",
            Self::Late => "late",
            Self::Future => "future",
        }
    }

    /// The reason with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

impl std::fmt::Display for RejectReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The reason for a rejection with its details.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Kind of reason.
    pub reason: RejectReason,
    /// Name of the rule, when the reason is one.
    pub rule: Option<String>,
    /// What was wrong, for people.
    pub message: String,
    /// Raw offset of the record that came first, for duplicates and conflicts.
    pub first_offset: Option<i64>,
}

impl Rejection {
    /// A rejection without a rule or an earlier record.
    pub fn new(reason: RejectReason, message: impl Into<String>) -> Self {
        Self { reason, rule: None, message: message.into(), first_offset: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_found_by_its_name() {
        for reason in RejectReason::ALL {
            assert_eq!(RejectReason::from_name(reason.name()), Some(reason));
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
        }
    }
}
