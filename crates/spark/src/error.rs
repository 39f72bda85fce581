//! What can go wrong with Spark, in Spark's words and ours.

use model::{Classified, Domain, Retry};
use tonic::Code;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting can't be used.
    #[error("{0}")]
    Settings(String),
    /// Spark can't be reached, is starting, or went away.
    #[error("Apache Spark at {address} is unavailable: {message}")]
    Unavailable {
        /// Where it was looked for.
        address: String,
        /// What was seen.
        message: String,
    },
    /// The server has closed the session; another one has to be opened.
    #[error("Apache Spark has closed the session: {message}")]
    SessionClosed {
        /// Spark's words.
        message: String,
    },
    /// Spark refused a plan, or a query failed.
    #[error("Apache Spark says {class}: {message}{}", explained(class))]
    Spark {
        /// Spark's error class, such as `KAFKA_DATA_LOSS`.
        class: String,
        /// Spark's words.
        message: String,
    },
    /// Spark answered with something that the protocol doesn't have.
    #[error("Apache Spark's answer isn't understood: {0}")]
    Protocol(String),
    /// A query can't be printed for Spark: a bug, or a part of SQL that `check` should have refused.
    #[error("the query {query} can't run on Apache Spark: {reason}")]
    Plan {
        /// Name of the query.
        query: String,
        /// What is in the way, and what to do.
        reason: String,
    },
}

impl Classified for Error {
    fn domain(&self) -> Domain {
        match self {
            Self::Settings(_) | Self::Plan { .. } => Domain::User,
            Self::Unavailable { .. } | Self::SessionClosed { .. } | Self::Spark { .. } => Domain::External,
            Self::Protocol(_) => Domain::Internal,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Unavailable { .. } | Self::SessionClosed { .. } => Retry::Backoff,
            Self::Spark { class, .. } if explanation(class).is_none_or(|explanation| explanation.waits) => {
                Retry::Backoff
            }
            _ => Retry::Never,
        }
    }
}

impl Error {
    /// What gRPC says of a failed call.
    pub(crate) fn of_status(address: &str, status: &tonic::Status) -> Self {
        let message = status.message().to_owned();
        match (status.code(), class_of(&message)) {
            (_, Some(class)) if class.starts_with("INVALID_HANDLE.SESSION") => Self::SessionClosed { message },
            (_, Some(class)) => Self::Spark { class: class.to_owned(), message: words(&message) },
            // A status with a cause was made on this side, of a connection that broke.
            (_, None) if std::error::Error::source(status).is_some() => {
                Self::Unavailable { address: address.to_owned(), message }
            }
            (Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded | Code::Unauthenticated, None) => {
                Self::Unavailable { address: address.to_owned(), message }
            }
            (code, None) => Self::Spark { class: format!("{code:?}"), message: words(&message) },
        }
    }

    /// The failure of a streaming query, as Spark tells it.
    pub(crate) fn of_query(message: &str, class: Option<&str>) -> Self {
        // The cause says more than the streaming query's own wrapper around it.
        let mut inner = message.match_indices('[').filter_map(|(at, _)| class_of(message.get(at..)?));
        let class = inner.rfind(|class| *class != "STREAM_FAILED").or(class).unwrap_or("STREAM_FAILED");
        Self::Spark { class: class.to_owned(), message: words(message) }
    }
}

/// The error class in brackets that Spark's messages begin with.
fn class_of(message: &str) -> Option<&str> {
    let (class, _) = message.trim_start().strip_prefix('[')?.split_once(']')?;
    let is_class = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || matches!(c, '_' | '.');
    (class.len() > 3 && class.chars().all(is_class) && class.contains('_')).then_some(class)
}

/// The message without its plan and stack.
fn words(message: &str) -> String {
    let end = ["\n\nJVM stacktrace", "\n=== Streaming Query", "\n\tat ", "\nJVM stacktrace"]
        .iter()
        .filter_map(|start| message.find(start))
        .min()
        .unwrap_or(message.len());
    message.get(..end).unwrap_or(message).trim().to_owned()
}

/// What an error class means for a pipeline.
struct Explanation {
    /// Beginning of the class.
    class: &'static str,
    /// What it means and what to do.
    text: &'static str,
    /// Whether waiting may help.
    waits: bool,
}

const EXPLANATIONS: &[Explanation] = &[
    Explanation {
        class: "USER_RAISED_EXCEPTION",
        text: "a record in the validated topic isn't what validation writes; only validation may write there",
        waits: false,
    },
    Explanation {
        class: "MALFORMED_AVRO_MESSAGE",
        text: "a record in the validated topic isn't what its schema says; only validation may write there",
        waits: false,
    },
    Explanation {
        class: "KAFKA_DATA_LOSS",
        text: "records were deleted before Spark had read them, or the topic was made anew: give the topic a longer retention, and start \
               a new generation of the query",
        waits: false,
    },
    Explanation {
        class: "FAILED_READ_FILE",
        text: "Spark's checkpoint can't be read: is checkpoint_location on storage that all of Spark sees?",
        waits: true,
    },
    Explanation {
        class: "DATA_SOURCE_NOT_FOUND",
        text: "start Spark with its connectors: --packages org.apache.spark:spark-sql-kafka-0-10_2.13 and spark-avro_2.13 of Spark's own \
               version",
        waits: false,
    },
    Explanation {
        class: "AVRO_NOT_LOADED",
        text: "start Spark with its Avro connector: --packages org.apache.spark:spark-avro_2.13 of Spark's own version",
        waits: false,
    },
    Explanation {
        class: "STATE_STORE",
        text: "the state in the checkpoint isn't the query's: a changed query needs a new generation",
        waits: false,
    },
    Explanation {
        class: "CANNOT_MODIFY_",
        text: "it is a setting of Spark's server, not of a session: take it out of spark.conf, and start the server with it by --conf",
        waits: false,
    },
    Explanation {
        class: "CONCURRENT_QUERY",
        text: "another run of the same query is still active on this Spark; it is stopped and started again",
        waits: true,
    },
    Explanation {
        class: "UNRESOLVED_",
        text: "this is a fault of Tillstream: please report it with the query",
        waits: false,
    },
    Explanation {
        class: "DATATYPE_MISMATCH",
        text: "this is a fault of Tillstream: please report it with the query",
        waits: false,
    },
    Explanation {
        class: "PARSE_SYNTAX_ERROR",
        text: "this is a fault of Tillstream: please report it with the query",
        waits: false,
    },
];

fn explanation(class: &str) -> Option<&'static Explanation> {
    EXPLANATIONS.iter().find(|explanation| class.starts_with(explanation.class))
}

fn explained(class: &str) -> String {
    explanation(class).map(|explanation| format!(" ({})", explanation.text)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_found_and_explained() {
        let status = tonic::Status::internal(
            "[KAFKA_DATA_LOSS.START_OFFSET_RESET] Some data may have been lost.\n\nJVM stacktrace:\nx",
        );
        let error = Error::of_status("spark:15002", &status);
        assert!(matches!(&error, Error::Spark { class, .. } if class == "KAFKA_DATA_LOSS.START_OFFSET_RESET"));
        let text = error.to_string();
        assert!(text.contains("longer retention") && !text.contains("stacktrace"), "{text}");
        assert_eq!(error.retry(), Retry::Never);

        let status = tonic::Status::unavailable("tcp connect error");
        assert_eq!(Error::of_status("spark:15002", &status).retry(), Retry::Backoff);
        let status = tonic::Status::internal("[INVALID_HANDLE.SESSION_CLOSED] The handle is invalid.");
        assert!(matches!(Error::of_status("spark:15002", &status), Error::SessionClosed { .. }));
    }

    #[test]
    fn the_cause_of_a_failed_query_is_told() {
        let message = "[STREAM_FAILED] Query [id = 1, runId = 2] terminated with exception: Job aborted: \
                       org.apache.spark.SparkRuntimeException: [USER_RAISED_EXCEPTION] the schema id isn't known\n\tat x";
        let error = Error::of_query(message, Some("STREAM_FAILED"));
        assert!(matches!(&error, Error::Spark { class, .. } if class == "USER_RAISED_EXCEPTION"), "{error}");
        assert!(error.to_string().contains("only validation may write there"));
    }
}
