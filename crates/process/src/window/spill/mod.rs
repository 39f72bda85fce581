//! Groups on the disk: where those go that don't fit into memory.
//!
//! Over the cap, groups for which no row has come for a while are written to a file without a name, each window's as a run in the order of
//! their keys' hashes. A group for which rows come is looked up in the runs and brought back whole, so each is in one place, and its
//! aggregates are those that they would have been without a disk, bit by bit. Older content in a run counts no more and goes when runs are
//! merged. A window that ends is read through once.
//!
//! | file | does |
//! | --- | --- |
//! | `chunk` | a few groups as bytes |
//! | `run` | the groups of one window that were written at one time |
//! | `merge` | runs, and memory, gone through together: of each group what is newest |
//! | `evict` | which groups go, and which runs are merged then |
//! | `recall` | groups brought back: those that rows come for, and those to be published |

mod chunk;
mod evict;
mod merge;
pub(super) mod recall;
mod run;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) use chunk::Chunk;
pub(super) use evict::evict;
pub(super) use merge::Merge;
pub(super) use recall::Closing;
pub(super) use run::{ColdRun, SHARES, Scratch, share_of};

use super::table::Window;

/// Bytes of the files behind windows, each once.
pub(super) fn disk_bytes<'w>(windows: impl Iterator<Item = &'w Window>) -> u64 {
    let runs = windows.flat_map(|window| &window.runs);
    let files: BTreeMap<_, _> = runs.map(|run| (Arc::as_ptr(run.file()), run.file().disk_bytes())).collect();
    files.values().sum()
}
