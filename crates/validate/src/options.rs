//! What a stream declares about its records.

use std::time::Duration;

use sql::Condition;

/// A named condition that each record must satisfy; NULL counts as false.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Name, as in the project file; it appears in rejections and metrics.
    pub name: String,
    /// The condition's SQL, for messages.
    pub text: String,
    /// The compiled condition over the stream's columns.
    pub condition: Condition,
}

/// What a stream declares about its records.
#[derive(Debug, Clone)]
pub struct StreamRules {
    /// Name of the stream.
    pub stream: String,
    /// The stream's schema: what accepted records are written in.
    pub schema: avro::Schema,
    /// Id under which the registry holds `schema` for the validated topic.
    pub schema_id: u32,
    /// Event-time column (timestamp).
    pub event_time: String,
    /// Columns that make up a record's id; empty means that duplicates aren't looked for.
    pub id: Vec<String>,
    /// How far apart in event time two records with one id count as duplicates; `None` means that duplicates aren't looked for.
    pub duplicates_within: Option<Duration>,
    /// Cap on the memory for finding duplicates, in bytes per partition.
    pub duplicates_bytes_max: usize,
    /// How much older than the greatest event time so far a record may be.
    pub lateness: Duration,
    /// How far in the future a record's event time may be.
    pub future_skew: Duration,
    /// How long an unknown schema id is asked for again before its records are rejected.
    pub unknown_schema_grace: Duration,
    /// Rules in the order in which they are tried; the first that fails is the one named.
    pub rules: Vec<Rule>,
}
