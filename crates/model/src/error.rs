//! Whose fault an error is, and whether trying again can help.

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Domain {
    /// The project's files, the command or the data are wrong.
    User,
    /// A peer (Kafka, registry, PostgreSQL, disk, network) failed or is away.
    External,
    /// A bug of ours.
    Internal,
}

/// Whether the same call may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// It will fail again.
    Never,
    /// Wait with backoff and try again; for an unknown outcome re-read the truth first.
    Backoff,
}

/// What each crate's error type answers about itself.
pub trait Classified {
    /// Whose fault it is.
    fn domain(&self) -> Domain;
    /// Whether to try again.
    fn retry(&self) -> Retry;
}
