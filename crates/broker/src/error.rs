//! Why the broker can't start or go on.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use model::error::{Classified, Domain, Retry};

/// Result of the broker's public calls.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong while starting or stopping the broker. Faults of single requests are answered to the client instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address can't be listened on.
    #[error("the broker can't listen on {address}: {source}; choose another address, or stop what listens there")]
    Listen {
        /// Address asked for.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// Another broker has the data directory.
    #[error("the data directory {} is in use by another broker; stop it, or choose another directory", directory.display())]
    InUse {
        /// The directory.
        directory: PathBuf,
    },
    /// A file or directory can't be read or written.
    #[error("the broker can't {action} {}: {source}", path.display())]
    Storage {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file of ours holds what we would never write.
    #[error("{} is damaged: {reason}; restore it from a copy, or move the data directory away to start empty", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An option makes no sense.
    #[error("broker option {option}: {reason}")]
    Option {
        /// Name of the option.
        option: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// A storage error; for `map_err`.
    pub(crate) fn storage(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Storage { action, path, source }
    }
}

impl Classified for Error {
    fn domain(&self) -> Domain {
        match self {
            Self::Listen { .. } | Self::InUse { .. } | Self::Option { .. } => Domain::User,
            Self::Storage { .. } | Self::Damaged { .. } => Domain::External,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Storage { .. } => Retry::Backoff,
            Self::Listen { .. } | Self::InUse { .. } | Self::Option { .. } | Self::Damaged { .. } => Retry::Never,
        }
    }
}
