//! What ends a command, and the exit code for it.

use model::{Classified, Domain, Retry};

/// Result of anything in the app.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// What ends a stage or a command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Kafka(#[from] kafka::Error),
    #[error(transparent)]
    Validate(#[from] validate::Error),
    #[error(transparent)]
    Process(#[from] process::Error),
    #[error(transparent)]
    Spark(#[from] spark::Error),
    #[error(transparent)]
    State(#[from] state::Error),
    #[error(transparent)]
    Snapshot(#[from] state::CodecError),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Schema(#[from] model::SchemaError),
    /// The project's files are wrong, each finding with its place.
    #[error(transparent)]
    Findings(#[from] project::ProjectErrors),
    /// What the project asks for can't be.
    #[error("{0}")]
    Project(String),
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// Data was refused.
    #[error("{0}")]
    Data(String),
    /// A peer isn't there.
    #[error("{0}")]
    Unavailable(String),
    /// A position names a topic that isn't the one there now, or lies below the start of the log.
    #[error("{0}")]
    Position(String),
    /// Another process works on what was this one's, or may do so.
    #[error("{0}")]
    Fenced(String),
    /// The user stopped it before it was done.
    #[error("{0}")]
    Interrupted(String),
    /// A bug of ours, or a state that can't be.
    #[error("{0}")]
    Internal(String),
    /// Something the system refused: a file, a port, a thread.
    #[error("{doing}: {source}")]
    System { doing: String, source: std::io::Error },
}

impl Error {
    /// For programs: `{"error":{"message","code","domain","retry","problems"}}`. `code` is the exit code, `retry` whether the same may succeed
    /// later, `problems` what is wrong with the project, each with its place.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let domain = match self.domain() {
            Domain::User => "user",
            Domain::External => "external",
            Domain::Internal => "internal",
        };
        let (message, problems) = match self {
            Self::Findings(findings) => (findings.summary(), findings.to_json()["problems"].clone()),
            error => (error.to_string(), serde_json::json!([])),
        };
        let retry = self.retry() == Retry::Backoff;
        serde_json::json!({ "error": {
            "message": message, "code": self.exit_code(), "domain": domain, "retry": retry, "problems": problems,
        } })
    }

    /// Whether another process has taken over what was this one's: it is refused by the other's epoch.
    pub(crate) fn is_fenced(&self) -> bool {
        matches!(
            self,
            Self::Fenced(_) | Self::State(state::Error::Fenced { .. }) | Self::Store(store::Error::Fenced { .. })
        )
    }

    pub(crate) fn system(doing: impl Into<String>, source: std::io::Error) -> Self {
        Self::System { doing: doing.into(), source }
    }

    /// The exit code of a command that ends with this error: 2 usage, 3 project, 4 a peer is unavailable, 5 data refused, 70 ours,
    /// 130 stopped by Ctrl-C before it was done.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Project(_) | Self::Findings(_) => 3,
            Self::Data(_) => 5,
            Self::Interrupted(_) => 130,
            _ => match self.domain() {
                Domain::User => 3,
                Domain::External => 4,
                Domain::Internal => 70,
            },
        }
    }
}

impl Classified for Error {
    fn domain(&self) -> Domain {
        match self {
            Self::Kafka(error) => error.domain(),
            Self::Validate(error) => error.domain(),
            Self::Process(error) => error.domain(),
            Self::Spark(error) => error.domain(),
            Self::State(error) => error.domain(),
            Self::Store(error) => error.domain(),
            Self::Schema(error) => error.domain(),
            Self::Project(_) | Self::Findings(_) | Self::Usage(_) | Self::Data(_) | Self::Interrupted(_) => {
                Domain::User
            }
            Self::Snapshot(_) | Self::Unavailable(_) | Self::Position(_) | Self::Fenced(_) | Self::System { .. } => {
                Domain::External
            }
            Self::Internal(_) => Domain::Internal,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Kafka(error) => error.retry(),
            Self::Validate(error) => error.retry(),
            Self::Process(error) => error.retry(),
            Self::Spark(error) => error.retry(),
            Self::State(error) => error.retry(),
            Self::Store(error) => error.retry(),
            Self::Schema(error) => error.retry(),
            Self::Unavailable(_) => Retry::Backoff,
            _ => Retry::Never,
        }
    }
}
