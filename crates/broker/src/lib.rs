//! A single-node broker that speaks Kafka's wire protocol to any client, built into the binary.
//!
//! **In**: connections of Kafka clients. **Out**: their answers, and segment files in the data directory. **Promised**:
//!
//! - An acknowledged record is there after the process was killed at any moment, and after a power cut too with
//!   [`FlushPolicy::EveryBatch`]. It has one offset for ever.
//! - What an idempotent producer sends twice is there once, across restarts as well.
//! - A committed offset of a consumer group survives as an acknowledged record does.
//! - Records of a partition are read in the order of their offsets, byte for byte as they were sent.
//! - Memory is bounded: requests, responses and connections have caps.
//! - When the disk is full, producers get an error, readers are served, and all goes on once there is room.
//!
//! Not here yet: transactions, compaction and retention. Topics take their settings and keep them, `cleanup.policy` among them, but
//! nothing is removed by age, size or key. Only API versions are advertised that are served.
//!
//! | file | says |
//! | --- | --- |
//! | `connection` | frames in, frames out, in order |
//! | `dispatch` | which API and version a request is, and who answers it; `shape` checks a request before it is decoded |
//! | `api/*` | one file per family of APIs |
//! | `topics`, `topic_config` | which topics there are, with ids and settings; the file that keeps them |
//! | `log/*` | a partition's segment files: batches, index, recovery, reading, flushing, offsets by time |
//! | `producer_state` | what idempotent producers wrote last |
//! | `group/*` | consumer groups: the rules as a machine without I/O, the store of committed offsets, timers around both |

mod api;
mod broker;
mod connection;
mod dispatch;
mod error;
mod group;
mod log;
mod metrics;
mod options;
mod producer_state;
mod shape;
mod sync;
mod topic_config;
mod topics;

pub use broker::Broker;
pub use error::{Error, Result};
pub use metrics::{Counter, Metrics};
pub use options::{FlushPolicy, Options};

/// The only broker's number.
pub(crate) const NODE_ID: i32 = 1;
/// A partition's leader never changes.
pub(crate) const LEADER_EPOCH: i32 = 0;
