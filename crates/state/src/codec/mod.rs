//! What stages write into a snapshot, and how it is read back without trusting a single length.
//!
//! A snapshot is a header and then values one after another, in the order both sides know; sections nest:
//!
//! | part | bytes (numbers little-endian) |
//! | --- | --- |
//! | header | magic `TSCODEC`, format (1), owner as text, fingerprint as text |
//! | text, bytes | length (8), bytes |
//! | list of numbers | count (8), numbers |
//! | section | name as text, version (4), fingerprint as text, length (8), values |
//! | column | type as text, rows (8), validity bits or nothing as bytes, number of buffers (1), each as bytes |
//!
//! A fingerprint says whose state it is (a pipeline's name, a query's text with its schema and generation): state under another one
//! is refused as foreign. A version is the layout of a section; a newer one than the reader knows is refused, an older one is passed to it.

mod columns;
mod reader;
mod writer;

use model::{Classified, Domain, Retry};

pub use reader::SnapshotReader;
pub use writer::SnapshotWriter;

const MAGIC: &[u8; 7] = b"TSCODEC";
/// Format of the header and of the primitive values.
const FORMAT: u8 = 1;

/// Why a snapshot's content can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes don't begin as a snapshot does.
    #[error("it doesn't begin as a snapshot does")]
    NotASnapshot,
    /// A newer build wrote it.
    #[error("{what} has version {found}, this build reads up to {known}; use the build that wrote it, or a newer one")]
    Newer {
        /// The header or a section.
        what: String,
        /// Version found.
        found: u32,
        /// Greatest version known.
        known: u32,
    },
    /// It is the state of something else.
    #[error("{what} belongs to {found:?}, not to {expected:?}")]
    Foreign {
        /// The header or a section.
        what: String,
        /// Fingerprint or name of the reader.
        expected: String,
        /// Fingerprint or name found.
        found: String,
    },
    /// A value is longer than what is left.
    #[error("{what} needs {needed} bytes where {left} are left")]
    CutOff {
        /// Kind of value.
        what: &'static str,
        /// Bytes it needs.
        needed: u64,
        /// Bytes that are there.
        left: u64,
    },
    /// Bytes are left where a section or the snapshot should end.
    #[error("{left} bytes are left at the end of {what}")]
    Leftover {
        /// The snapshot or a section.
        what: String,
        /// How many.
        left: u64,
    },
    /// A value isn't one of its kind.
    #[error("{what} is invalid: {reason}")]
    Invalid {
        /// Kind of value.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl Classified for CodecError {
    fn domain(&self) -> Domain {
        match self {
            Self::Newer { .. } | Self::Foreign { .. } => Domain::User,
            // The store's checksum holds when this is read, so a broken layout is a bug of ours.
            _ => Domain::Internal,
        }
    }

    fn retry(&self) -> Retry {
        Retry::Never
    }
}

#[cfg(test)]
mod tests;
