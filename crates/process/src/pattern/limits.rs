//! The caps of a pattern, and the record of what was given up at them.

use model::Version;

/// Settings of one pattern's operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PatternOptions {
    /// Generation of the pattern, the first part of each version.
    pub generation: u32,
    /// Raw partition that the rows come from.
    pub partition: i32,
    /// Cap of the state in bytes. The rows of one batch come on top.
    pub state_bytes_max: usize,
    /// Ways of mapping its rows that may be open for one key at a time.
    pub runs_max: usize,
    /// Rows that a match may have.
    pub rows_max: u64,
    /// Keys in memory from which on a snapshot has them in parts, so that it needn't write them all each time.
    pub parts_from_keys: usize,
}

impl Default for PatternOptions {
    fn default() -> Self {
        Self {
            generation: 1,
            partition: 0,
            state_bytes_max: 1 << 30,
            runs_max: 1_000,
            rows_max: 10_000,
            parts_from_keys: 50_000,
        }
    }
}

/// Rows of a key that were given up, since the pattern had too many ways of matching them, or none of an allowed length. There may have
/// been matches that begin among them. The same rows give the same events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitEvent {
    /// The key's columns as text.
    pub key: String,
    /// Raw partition.
    pub partition: i32,
    /// Raw offset of the first row given up.
    pub first_offset: i64,
    /// Raw offset of the last one; matching goes on after it.
    pub last_offset: i64,
    /// Event time of the first row, microseconds since 1970.
    pub first_time_us: i64,
    /// Event time of the last row, microseconds since 1970.
    pub last_time_us: i64,
    /// Which cap.
    pub reason: LimitReason,
    /// Rows given up.
    pub rows: u64,
    /// Version of the event.
    pub version: Version,
}

/// The caps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitReason {
    /// [`PatternOptions::runs_max`].
    Runs,
    /// [`PatternOptions::rows_max`].
    Rows,
}

impl LimitReason {
    /// Name in records; never changed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Rows => "rows",
        }
    }
}
