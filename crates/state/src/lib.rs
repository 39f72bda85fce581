//! Snapshots: how a stage's state survives a crash. Spill: where state goes that doesn't fit into memory.
//!
//! **In:** the bytes of a stage's state at an epoch boundary, with a sequence number. **Out:** the newest good ones after a restart.
//!
//! **Promised:**
//! - *Fenced.* [`SnapshotStore::claim_epoch`] creates an object that can be created once, so two processes never hold the same epoch, and
//!   [`SnapshotStore::save`] refuses a process whose epoch isn't the greatest.
//! - *Whole or absent.* An object appears under its name complete; on a local directory it is also forced to the disk before `save` returns.
//! - *Checked.* A checksum covers each snapshot with its owner, epoch and sequence. A torn, flipped, foreign or newer one is refused with
//!   the reason, and the one before it is used; the two newest are kept for that.
//! - *Logged.* What must be known before anything is built on it goes into a log, whose newest state is used or nothing is
//!   ([`SnapshotStore::save_log`]).
//! - *Bounded.* A reader of snapshots never allocates more than the bytes that are there, whatever a length field says.
//!
//! | file | does |
//! | --- | --- |
//! | `store` | epochs, snapshots and logs as objects of a directory |
//! | `contents` | immutable contents by their hash: parts of snapshots |
//! | `envelope` | the bytes around a snapshot: owner, epoch, sequence, compression, checksum |
//! | `codec` | what stages write into a snapshot: sections, numbers, text, columns |
//! | `objects` | `object_store` behind blocking calls, and forcing to the disk |
//! | `spill` | sorted, checksummed temporary files that are searched by hash |

pub mod codec;
mod contents;
mod envelope;
mod error;
mod objects;
pub mod spill;
mod store;

pub use codec::{CodecError, SnapshotReader, SnapshotWriter};
pub use contents::{MemoryParts, OwnedParts, PartStore, content_hash};
pub use error::{Error, Result, Skipped};
pub use store::{Snapshot, SnapshotStore};
