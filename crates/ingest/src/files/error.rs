//! Why a file can't be read at all. What is wrong with a single row is in `RejectedRow`.

use std::fmt;
use std::path::Path;

use model::{Classified, Domain, Retry};

/// Columns that a file lacks, each with the name that may have been meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing(pub Vec<(String, Option<String>)>);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (column, suggestion)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            f.write_str(column)?;
            if let Some(suggestion) = suggestion {
                write!(f, " (did you mean {suggestion}?)")?;
            }
        }
        Ok(())
    }
}

/// Why a file can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It isn't there, or may not be read.
    #[error("can't open {path}: {reason}")]
    Open {
        /// The file.
        path: String,
        /// The system's words.
        reason: String,
    },
    /// Its name says nothing about its format.
    #[error("can't tell the format of {path}: name it .csv, .tsv, .jsonl or .parquet, or state the format")]
    UnknownFormat {
        /// The file.
        path: String,
    },
    /// It isn't written in its format.
    #[error("{path} is not a readable {format} file: {reason}")]
    Malformed {
        /// The file.
        path: String,
        /// CSV, JSON lines or Parquet.
        format: &'static str,
        /// What was found.
        reason: String,
    },
    /// There is nothing in it, not even a header.
    #[error("{path} is empty; a CSV file begins with a header that names its columns")]
    Empty {
        /// The file.
        path: String,
    },
    /// Columns of the stream aren't in it.
    #[error(
        "{path} has no column {missing}; map a column that has another name there; where it may be NULL, absent_is_null lets it be absent"
    )]
    MissingColumns {
        /// The file.
        path: String,
        /// The names looked for.
        missing: Missing,
    },
    /// Two columns have the name that is looked for.
    #[error("{path} has more than one column {column}; rename one of them")]
    AmbiguousColumn {
        /// The file.
        path: String,
        /// The name.
        column: String,
    },
    /// A column was mapped that the stream doesn't have.
    #[error("the stream has no column {column} to map to the file{}", suggest(.suggestion.as_deref()))]
    UnknownTarget {
        /// The name given.
        column: String,
        /// What may have been meant.
        suggestion: Option<String>,
    },
    /// A column of the stream has a type that no file can fill.
    #[error(
        "column {column} is {data_type}, which can't be loaded from a file; produce such records with a Kafka client"
    )]
    UnsupportedTarget {
        /// The stream's column.
        column: String,
        /// Its type.
        data_type: String,
    },
    /// A column of the file has a type that doesn't become the stream's.
    #[error(
        "column {column} of {path} is {from}, which can't become {to}; convert it in the file or change the schema"
    )]
    UnsupportedType {
        /// The file.
        path: String,
        /// The file's column.
        column: String,
        /// Its type.
        from: String,
        /// The stream's type.
        to: String,
    },
    /// Reading stopped in the middle.
    #[error("reading {path} stopped at row {row}: {reason}")]
    Read {
        /// The file.
        path: String,
        /// The row, counted from 0.
        row: u64,
        /// What went wrong.
        reason: String,
    },
    /// A bug of ours.
    #[error("internal error while {what}")]
    Internal {
        /// What was being done.
        what: String,
    },
}

fn suggest(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

impl FileError {
    pub(crate) fn open(path: &Path, error: &std::io::Error) -> Self {
        Self::Open { path: path.display().to_string(), reason: error.to_string() }
    }
}

impl Classified for FileError {
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
