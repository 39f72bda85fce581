//! State of keys on the disk: where that of keys goes which doesn't fit into memory, and from where it comes back whole.
//!
//! Unlike a group of a window, a key may have nothing left, and something may be due of it though no row of it comes: a session ends, a row
//! can have no partner any more. So what is written of a key has the time at which it is due, and each chunk knows the first of its keys'.
//! What a key has is in memory or in one place of the disk. What is brought back is crossed out there, by a bit in memory.
//!
//! | file | does |
//! | --- | --- |
//! | `chunk` | what there is of a few keys as bytes |
//! | `run` | what was written at one time, in the order of the keys' hashes |
//! | `merge` | runs, and memory, gone through together in that order |
//! | `parts` | snapshots in parts |
//! | `kept` | parts that have keys which are in memory |
//! | `rows` | rows as bytes |
//! | `store` | the runs of an operator: what goes, what comes back |

mod chunk;
mod kept;
mod merge;
mod parts;
mod rows;
mod run;
mod store;

pub(crate) use chunk::{Chunk, Entry};
pub(crate) use kept::{InPart, KeptKeys};
pub(crate) use parts::{Part, read_parts, write_parts};
pub(crate) use rows::RowCodec;
pub(crate) use store::ColdKeys;
