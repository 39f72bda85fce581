//! What can go wrong with temporary files.

use std::path::PathBuf;

use model::{Classified, Domain, Retry};

/// `Result` of the spill.
pub type SpillResult<T> = std::result::Result<T, SpillError>;

/// Why a temporary file can't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SpillError {
    /// The operating system refused, for example because the disk is full.
    #[error("can't {action} a temporary file in {}: {source}", .directory.display())]
    Disk {
        /// What was attempted.
        action: &'static str,
        /// Where the file lies.
        directory: PathBuf,
        /// The system's words.
        #[source]
        source: std::io::Error,
    },
    /// What is read isn't what was written.
    #[error("a temporary file in {} is damaged at byte {offset}: its checksum differs from the one of what was written", .directory.display())]
    Damaged {
        /// Where the file lies.
        directory: PathBuf,
        /// Start of the damaged block.
        offset: u64,
    },
    /// Entries were given in another order than that of their hashes.
    #[error("internal error in a temporary file: hash {hash:#x} came after {last:#x}")]
    Order {
        /// The hash.
        hash: u64,
        /// The one before it.
        last: u64,
    },
}

impl Classified for SpillError {
    fn domain(&self) -> Domain {
        match self {
            Self::Disk { .. } | Self::Damaged { .. } => Domain::External,
            Self::Order { .. } => Domain::Internal,
        }
    }

    /// A damaged file is built anew by the next epoch from what it was made of.
    fn retry(&self) -> Retry {
        match self {
            Self::Disk { .. } | Self::Damaged { .. } => Retry::Backoff,
            Self::Order { .. } => Retry::Never,
        }
    }
}
