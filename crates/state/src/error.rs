//! What can go wrong with snapshots.

use model::{Classified, Domain, Epoch, Retry};

/// `Result` with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

/// A snapshot that was there but can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Name of its object in the store.
    pub object: String,
    /// Why it was refused.
    pub reason: String,
}

impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.object, self.reason)
    }
}

/// Why the snapshot store refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The place given isn't one that this build can open.
    #[error("can't keep snapshots at {place}: {reason}")]
    Place {
        /// The directory or URL as given.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Owner names become object names.
    #[error(
        "the owner name {owner:?} can't name a folder of snapshots: use letters, digits, `_`, `-` and `.`, 1 to 200 of them"
    )]
    OwnerName {
        /// The name as given.
        owner: String,
    },
    /// A newer process took over.
    #[error("epoch {ours} of {owner} is fenced: a newer process holds epoch {newest}; stop this one")]
    Fenced {
        /// Who saves.
        owner: String,
        /// Epoch of the caller.
        ours: Epoch,
        /// The greatest epoch claimed.
        newest: Epoch,
    },
    /// A sequence number was used for two different states.
    #[error("snapshot {sequence} of {owner} in epoch {epoch} exists with other content; sequence numbers must ascend")]
    SequenceReused {
        /// Who saves.
        owner: String,
        /// Epoch of the caller.
        epoch: Epoch,
        /// The number.
        sequence: u64,
    },
    /// There are snapshots, but none can be used. Starting from nothing would be a decision that only a person can take.
    #[error(
        "none of the snapshots of {owner} can be used: {}; repair the storage, or remove them to start from the beginning of the topics",
        list(.skipped)
    )]
    NoneUsable {
        /// Whose snapshots.
        owner: String,
        /// Each with its reason, newest first.
        skipped: Vec<Skipped>,
    },
    /// The newest log can't be used, and an older one doesn't say what was done since.
    #[error(
        "the log of {owner} can't be used: {skipped}; repair the storage, or remove {owner} from it to start from the beginning of the topics"
    )]
    LogDamaged {
        /// Whose log.
        owner: String,
        /// The log with the reason.
        skipped: Skipped,
    },
    /// A content isn't what its name says.
    #[error("{object} can't be used: {reason}; repair the storage")]
    ContentDamaged {
        /// Name of the object.
        object: String,
        /// Why it was refused.
        reason: String,
    },
    /// Reading or writing failed.
    #[error("snapshot storage failed to {action} {object}: {source}")]
    Storage {
        /// What was attempted.
        action: &'static str,
        /// Name of the object.
        object: String,
        /// The storage's words.
        #[source]
        source: object_store::Error,
    },
    /// The operating system refused.
    #[error("snapshot storage failed to {action} {object}: {source}")]
    Disk {
        /// What was attempted.
        action: &'static str,
        /// File or directory.
        object: String,
        /// The system's words.
        #[source]
        source: std::io::Error,
    },
    /// Compression failed, or the store's own thread ended.
    #[error("internal error in snapshot storage: {0}")]
    Internal(String),
}

fn list(skipped: &[Skipped]) -> String {
    skipped.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Classified for Error {
    fn domain(&self) -> Domain {
        match self {
            Self::Place { .. } => Domain::User,
            Self::Fenced { .. }
            | Self::NoneUsable { .. }
            | Self::LogDamaged { .. }
            | Self::ContentDamaged { .. }
            | Self::Storage { .. }
            | Self::Disk { .. } => Domain::External,
            Self::OwnerName { .. } | Self::SequenceReused { .. } | Self::Internal(_) => Domain::Internal,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Storage { .. } | Self::Disk { .. } => Retry::Backoff,
            _ => Retry::Never,
        }
    }
}
