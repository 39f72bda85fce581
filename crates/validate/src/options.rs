//! What a stream declares about its records.

use std::path::PathBuf;
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

/// How duplicates are found.
#[derive(Debug, Clone)]
pub struct DuplicateRules {
    /// How far apart in event time two records with one id count as duplicates.
    pub within: Duration,
    /// Cap on the memory of a partition's ids, in bytes.
    pub memory_bytes_max: usize,
    /// Where ids over that go; `None` stops the partition there.
    pub disk: Option<DuplicatesDisk>,
}

/// Where ids go that have no room in memory.
#[derive(Debug, Clone)]
pub struct DuplicatesDisk {
    /// Directory of the temporary files. They have no names, so that partitions and processes may share it.
    pub directory: PathBuf,
    /// Cap on the disk that a partition's ids take, in bytes.
    pub bytes_max: u64,
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
    /// How duplicates are found; `None` means that they aren't looked for.
    pub duplicates: Option<DuplicateRules>,
    /// How much older than the greatest event time so far a record may be.
    pub lateness: Duration,
    /// How far in the future a record's event time may be.
    pub future_skew: Duration,
    /// How long an unknown schema id is asked for again before its records are rejected.
    pub unknown_schema_grace: Duration,
    /// Rules in the order in which they are tried; the first that fails is the one named.
    pub rules: Vec<Rule>,
}
