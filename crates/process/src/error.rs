//! What can go wrong in a query's operator.

use model::{Classified, Domain, Retry};

/// `Result` with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of one query's operator.
#[derive(Debug, thiserror::Error)]
#[error("query {query}: {cause}")]
pub struct Error {
    /// Name of the query.
    pub query: String,
    /// What happened.
    #[source]
    pub cause: Cause,
}

/// Why an operator failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// A row belongs to a window that has been closed. Validation decides lateness, so watermarks and rows were mixed up before they came here.
    #[error(
        "the row at raw partition {partition}, offset {offset} belongs to the window from {window_start_us} to {window_end_us} µs, \
         which the watermark {watermark_us} µs has closed; validation should have rejected it as late"
    )]
    Late {
        /// Raw partition of the row.
        partition: i32,
        /// Raw offset of the row.
        offset: i64,
        /// Start of the earliest window it belongs to, microseconds since 1970.
        window_start_us: i64,
        /// End of that window.
        window_end_us: i64,
        /// The watermark that was applied.
        watermark_us: i64,
    },
    /// A row lies below the watermark that the pattern has been given.
    #[error(
        "the row at raw partition {partition}, offset {offset} has the event time {time_us} µs, below the watermark {watermark_us} µs; validation \
         should have rejected it as late"
    )]
    Passed {
        /// Raw partition of the row.
        partition: i32,
        /// Raw offset of the row.
        offset: i64,
        /// Its event time, microseconds since 1970.
        time_us: i64,
        /// The watermark that was applied.
        watermark_us: i64,
    },
    /// A row's windows lie outside the range of time.
    #[error(
        "the row at raw partition {partition}, offset {offset} has the event time {time_us} µs, whose window is beyond the range of time"
    )]
    TimeRange {
        /// Raw partition of the row.
        partition: i32,
        /// Raw offset of the row.
        offset: i64,
        /// Its event time, microseconds since 1970.
        time_us: i64,
    },
    /// The state would outgrow its cap. Nothing of the batch was taken.
    #[error(
        "its state needs about {bytes} bytes, more than its limit of {bytes_max}; raise `process.state_limit`, or make the query's state smaller: \
         shorter or fewer overlapping windows, fewer distinct keys, a lower lateness"
    )]
    StateFull {
        /// Bytes needed.
        bytes: usize,
        /// The cap.
        bytes_max: usize,
    },
    /// A part of a snapshot can't be kept or read.
    #[error("a part of its snapshot: {0}")]
    Parts(Box<state::Error>),
    /// State can't be moved to the disk or read from it.
    #[error("its state can't go to the disk and back: {0}")]
    Spill(state::spill::SpillError),
    /// The query names a reference table that wasn't given.
    #[error("it joins the reference table {reference}, which isn't loaded")]
    ReferenceMissing {
        /// Name of the table.
        reference: String,
    },
    /// A reference table isn't what the query was compiled for.
    #[error("reference table {reference}: {reason}; check the project again with the table as it is now")]
    ReferenceChanged {
        /// Name of the table.
        reference: String,
        /// What differs.
        reason: String,
    },
    /// The batch isn't what the query reads.
    #[error("the batch can't be read: {0}")]
    Batch(String),
    /// An expression failed.
    #[error("an expression can't be evaluated: {0}")]
    Evaluate(#[from] sql::EvaluateError),
    /// An Arrow kernel failed.
    #[error("a column can't be computed: {0}")]
    Arrow(#[from] arrow_schema::ArrowError),
    /// A snapshot can't be read.
    #[error("its snapshot can't be used: {0}")]
    Snapshot(#[from] state::CodecError),
    /// The plan holds what this engine can't run; the SQL check should have refused it.
    #[error("the plan can't be run: {0}")]
    Plan(String),
    /// A broken invariant.
    #[error("internal error: {0}")]
    Internal(String),
}

impl From<state::Error> for Cause {
    fn from(error: state::Error) -> Self {
        Self::Parts(Box::new(error))
    }
}

impl Cause {
    /// Adds the query's name.
    pub(crate) fn of(self, query: &str) -> Error {
        Error { query: query.to_owned(), cause: self }
    }
}

impl Error {
    /// Whether there was no room for a batch, of which nothing was taken then: it may be given again.
    pub fn is_full(&self) -> bool {
        matches!(self.cause, Cause::StateFull { .. })
    }
}

impl Classified for Error {
    fn domain(&self) -> Domain {
        match &self.cause {
            Cause::StateFull { .. } | Cause::ReferenceMissing { .. } | Cause::ReferenceChanged { .. } => Domain::User,
            Cause::Snapshot(error) => error.domain(),
            Cause::Spill(error) => error.domain(),
            Cause::Parts(error) => error.domain(),
            _ => Domain::Internal,
        }
    }

    /// After a failure of the disk the next epoch goes on from the last snapshot.
    fn retry(&self) -> Retry {
        match &self.cause {
            Cause::Spill(error) => error.retry(),
            Cause::Parts(error) => error.retry(),
            _ => Retry::Never,
        }
    }
}

/// Why a reference table can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// A key column is missing.
    #[error("reference table {reference} has no column {column}, which is in its key")]
    NoColumn {
        /// Name of the table.
        reference: String,
        /// Name of the column.
        column: String,
    },
    /// Two rows have the same key.
    #[error(
        "reference table {reference} has the key ({key}) in rows {first} and {second} (counted from 1); a key must be unique"
    )]
    DuplicateKey {
        /// Name of the table.
        reference: String,
        /// The key's values.
        key: String,
        /// Row that has it first.
        first: usize,
        /// Row that has it again.
        second: usize,
    },
    /// Two rows of a key are valid at the same time.
    #[error("reference table {reference} has two rows with the key ({key}) that are valid at the same time")]
    Overlap {
        /// Name of the table.
        reference: String,
        /// The key's values.
        key: String,
    },
    /// A row is valid at no time.
    #[error(
        "reference table {reference} has a row with the key ({key}) that ends before it begins, or begins when another does"
    )]
    EmptyInterval {
        /// Name of the table.
        reference: String,
        /// The key's values.
        key: String,
    },
    /// A key column's type can't be looked up by, or the table is too large to number its rows.
    #[error("reference table {reference} can't be indexed: {reason}")]
    Unindexable {
        /// Name of the table.
        reference: String,
        /// Why.
        reason: String,
    },
}

impl Classified for ReferenceError {
    fn domain(&self) -> Domain {
        Domain::User
    }

    fn retry(&self) -> Retry {
        Retry::Never
    }
}
