//! Spill: what doesn't fit into memory, in temporary files that are written once in the order of a hash, and searched by it.
//!
//! A run holds entries of bytes under hashes of 64 bits. Several entries may have one hash: whoever searches compares the bytes. The
//! files have no name, so the system removes them with the process however that ends, and two processes never meet in one.

mod blobs;
mod error;
mod fingerprints;
mod run;

pub use blobs::{Blob, BlobFile, BlobWriter};
pub use error::{SpillError, SpillResult};
pub use fingerprints::Fingerprints;
pub use run::{Run, RunWriter};
