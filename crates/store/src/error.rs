//! What can go wrong with PostgreSQL, whose fault it is, and whether waiting helps.

use model::{Classified, Domain, Epoch, Retry};
use tokio_postgres::error::{DbError, ErrorPosition, Severity, SqlState};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection URL or an option can't be used.
    #[error("PostgreSQL settings: {message}")]
    Settings {
        /// What is wrong and what to write instead.
        message: String,
    },
    /// The specification of a table can't be written to PostgreSQL: a name, a type, a missing column.
    #[error("table {table}: {message}")]
    Specification {
        /// Table or view.
        table: String,
        /// What is wrong.
        message: String,
    },
    /// A table in the database isn't what the query's result needs.
    #[error("table {table} differs from the query's result: {difference}")]
    TableDiffers {
        /// Table with its schema.
        table: String,
        /// The difference, and what to do about it.
        difference: String,
    },
    /// A reference table can't be read as the project declares it.
    #[error("reference table {table}: {message}")]
    Reference {
        /// The table's name in the project.
        table: String,
        /// What is wrong.
        message: String,
    },
    /// PostgreSQL refuses this user, password, database or operation.
    #[error("PostgreSQL refused {doing}: {message}")]
    Permission {
        /// What was tried.
        doing: String,
        /// The server's words.
        message: String,
    },
    /// A value can't be stored. Validation should have rejected its record.
    #[error("table {table}, column {column}, row {row} of the batch: {message}")]
    Data {
        /// Table.
        table: String,
        /// Column.
        column: String,
        /// Row in the batch, from 0.
        row: usize,
        /// What is wrong with the value.
        message: String,
    },
    /// A batch isn't shaped as its table's specification says.
    #[error("batch for table {table}: {message}")]
    Batch {
        /// Table.
        table: String,
        /// What is wrong.
        message: String,
    },
    /// The statement that the caller gave has an error.
    #[error("{message}")]
    Sql {
        /// The server's words.
        message: String,
        /// SQLSTATE.
        code: String,
        /// Character of the text at which the error is, from 1.
        position: Option<u32>,
        /// The server's hint.
        hint: Option<String>,
    },
    /// PostgreSQL can't be reached, is starting or stopping, or has no free connection.
    #[error("PostgreSQL is unavailable while {doing}: {message}")]
    Unavailable {
        /// What was tried.
        doing: String,
        /// What was seen.
        message: String,
    },
    /// The transaction was rolled back and may succeed later: a deadlock, a lock or statement timeout, a full disk.
    #[error("PostgreSQL could not finish {doing}: {message}")]
    TryLater {
        /// What was tried.
        doing: String,
        /// What was seen.
        message: String,
    },
    /// Another writer owns the positions now, or they aren't where this writer left them. Nothing was written.
    #[error("writer {owner} with epoch {epoch} is fenced: {reason}")]
    Fenced {
        /// Owner of the positions.
        owner: String,
        /// Epoch of the writer that is fenced.
        epoch: Epoch,
        /// What was found.
        reason: String,
    },
    /// Positions were made in a topic that has since been deleted and created again.
    #[error(
        "topic {topic}[{partition}] has id {found}, but the positions of {owner} were made in a topic with id {stored}: it was deleted and created again; forget the positions to start over"
    )]
    TopicRecreated {
        /// Owner of the positions.
        owner: String,
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// Id that the positions name.
        stored: String,
        /// Id that the topic has.
        found: String,
    },
    /// The reply to COMMIT was lost: the batch is stored wholly or not at all. Open a new writer and read its positions.
    #[error("the outcome of a COMMIT is unknown: {message}; open a new writer and read its positions")]
    UnknownOutcome {
        /// What was seen.
        message: String,
    },
    /// The writer had an error before and takes nothing more. Open a new one.
    #[error("writer {owner} was closed by an earlier error; open a new one")]
    Closed {
        /// Owner of the positions.
        owner: String,
    },
    /// The private server can't be had or started.
    #[error("private PostgreSQL server in {directory}: {message}")]
    Server {
        /// The server's directory.
        directory: String,
        /// What went wrong.
        kind: ServerErrorKind,
        /// What was seen, and what to do.
        message: String,
    },
    /// A bug of ours, or an answer of PostgreSQL that we don't know.
    #[error("unexpected while {doing}: {message}")]
    Internal {
        /// What was tried.
        doing: String,
        /// What was seen.
        message: String,
    },
}

/// Why the private server can't be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerErrorKind {
    /// No PostgreSQL 15 or newer was found, and none could be downloaded.
    NoBinaries,
    /// The directory was made by another major version than any that is installed.
    OtherVersion,
    /// A file or directory can't be read or written.
    Permission,
    /// The disk is full.
    DiskFull,
    /// The configured port is taken.
    PortTaken,
    /// Anything else; the message has the end of the server's log.
    Failed,
}

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Classified for Error {
    fn domain(&self) -> Domain {
        match self {
            Self::Settings { .. }
            | Self::Specification { .. }
            | Self::TableDiffers { .. }
            | Self::Reference { .. }
            | Self::Permission { .. }
            | Self::Sql { .. }
            | Self::TopicRecreated { .. } => Domain::User,
            Self::Unavailable { .. } | Self::TryLater { .. } | Self::Fenced { .. } | Self::UnknownOutcome { .. } => {
                Domain::External
            }
            Self::Data { .. } | Self::Batch { .. } | Self::Closed { .. } | Self::Internal { .. } => Domain::Internal,
            Self::Server { kind, .. } => match kind {
                ServerErrorKind::DiskFull | ServerErrorKind::Failed => Domain::External,
                _ => Domain::User,
            },
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Unavailable { .. } | Self::TryLater { .. } | Self::UnknownOutcome { .. } => Retry::Backoff,
            Self::Server { kind: ServerErrorKind::DiskFull, .. } => Retry::Backoff,
            _ => Retry::Never,
        }
    }
}

impl Error {
    /// Classifies an error that PostgreSQL or the connection gave while `doing` something of ours.
    pub(crate) fn postgres(doing: impl Into<String>, error: &tokio_postgres::Error) -> Self {
        let doing = doing.into();
        match error.as_db_error() {
            Some(db) => Self::from_server(doing, db),
            // A lost connection, or a connection that could not be made. Bad URLs are found when they are parsed.
            None => Self::Unavailable { doing, message: chain(error) },
        }
    }

    /// Classifies an error of a statement that a user wrote.
    pub(crate) fn user_statement(error: &tokio_postgres::Error) -> Self {
        let classified = Self::postgres("running the query", error);
        let Some(db) = error.as_db_error() else { return classified };
        let is_of_statement = *db.code() == SqlState::READ_ONLY_SQL_TRANSACTION
            || matches!(classified, Self::Internal { .. } | Self::TableDiffers { .. } | Self::TryLater { .. });
        if !is_of_statement {
            return classified;
        }
        Self::Sql {
            message: db.message().to_owned(),
            code: db.code().code().to_owned(),
            position: match db.position() {
                Some(ErrorPosition::Original(position)) => Some(*position),
                _ => None,
            },
            hint: db.hint().map(str::to_owned),
        }
    }

    fn from_server(doing: String, db: &DbError) -> Self {
        let code = db.code();
        let message = server_message(db);
        let class = code.code().get(..2).unwrap_or_default();
        if *code == SqlState::INSUFFICIENT_PRIVILEGE || *code == SqlState::UNDEFINED_DATABASE || class == "28" {
            return Self::Permission { doing, message };
        }
        if *code == SqlState::UNDEFINED_TABLE
            || *code == SqlState::UNDEFINED_COLUMN
            || *code == SqlState::INVALID_COLUMN_REFERENCE
            || *code == SqlState::DATATYPE_MISMATCH
            || *code == SqlState::INVALID_SCHEMA_NAME
            || is_other_binary_format(db)
        {
            return Self::TableDiffers {
                table: db.table().unwrap_or(&doing).to_owned(),
                difference: format!("{message} (while {doing}; it was changed or dropped by another session)"),
            };
        }
        // 23: a constraint, P0: a trigger. Neither is ours.
        if matches!(class, "23" | "P0") {
            return Self::TableDiffers {
                table: db.table().unwrap_or(&doing).to_owned(),
                difference: format!(
                    "{message} (while {doing}); a constraint or trigger that isn't ours refuses rows: drop it, and what is in Kafka \
                     is stored then"
                ),
            };
        }
        if *code == SqlState::PROGRAM_LIMIT_EXCEEDED {
            return Self::TableDiffers {
                table: db.table().unwrap_or(&doing).to_owned(),
                difference: format!(
                    "{message} (while {doing}); the columns that tell its rows apart, such as those of GROUP BY, can have some 2,700 bytes \
                     together: shorten long texts in the query, as with substring(text, 1, 200)"
                ),
            };
        }
        // 08: connection; 57P: shutdown, starting; 53300: no connection left; 25006: a standby, until it is made the primary or another is.
        if class == "08"
            || code.code().starts_with("57P")
            || *code == SqlState::TOO_MANY_CONNECTIONS
            || *code == SqlState::READ_ONLY_SQL_TRANSACTION
        {
            return Self::Unavailable { doing, message };
        }
        // 40: serialization failure, deadlock; 53: disk full, out of memory; 55: locks; 57014: cancelled; 58: I/O errors.
        if matches!(class, "40" | "53" | "55" | "57" | "58") {
            return Self::TryLater { doing, message };
        }
        // A session that was ended by a time limit of its own or by an administrator.
        if matches!(db.parsed_severity(), Some(Severity::Fatal | Severity::Panic)) {
            return Self::Unavailable { doing, message };
        }
        Self::Internal { doing, message }
    }
}

/// What COPY says when a column has another type than we write. Poolers use the second code too, but end the session with it.
fn is_other_binary_format(db: &DbError) -> bool {
    *db.code() == SqlState::INVALID_BINARY_REPRESENTATION
        || (*db.code() == SqlState::PROTOCOL_VIOLATION && db.parsed_severity() == Some(Severity::Error))
}

/// The server's message with its detail, hint and SQLSTATE.
pub(crate) fn server_message(db: &DbError) -> String {
    let mut text = format!("{} (SQLSTATE {})", db.message(), db.code().code());
    for more in [db.detail(), db.hint()].into_iter().flatten() {
        text.push_str("; ");
        text.push_str(more);
    }
    text
}

/// An error with its causes, since the client library's own text names only the outermost.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = inner.source();
    }
    text
}

/// Whether an answer to COMMIT says that the transaction was rolled back for certain. An ERROR does; a FATAL or a lost connection
/// may come after the commit was made durable.
pub(crate) fn commit_surely_failed(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|db| matches!(db.parsed_severity(), Some(Severity::Error)))
}
