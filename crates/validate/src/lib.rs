//! The verdict on each raw record.
//!
//! **In**: blocks of raw records of one partition, in offset order ([`model::RecordBlock`]), and the schema registry.
//! **Out**: for each record exactly one [`Outcome`]: accepted, with its payload in the stream's own schema, or rejected with a
//! [`model::Rejection`]; and the partition's [`model::Progress`].
//! **Promised**: the verdicts depend on the records of the partition in their order, on the rules, and (for records from the future,
//! unknown schemas and idleness alone) on the clock. A record that can't be decoded disturbs no other. A registry that is away is
//! waited for, never mistaken for a bad record. A restart keeps the verdicts that were already published.
//!
//! Nothing here does I/O but the registry look-up and the temporary files of ids that have no room in memory: `app` reads raw blocks, writes the outcomes and the progress.
//!
//! | file | step |
//! | --- | --- |
//! | `options` | what a stream declares: schema, rules, times |
//! | `writers` | schema ids of the block: known, unknown for now, unknown for good |
//! | `partition` | one partition: decode, rules, times, duplicates, in this order |
//! | `ids` | the ids of a batch's rows as bytes |
//! | `duplicates` | the ids accepted within the last hour (or whatever is declared): in memory, and past its cap on the disk |
//! | `restore` | taking up a partition where its outputs end |
//! | `idle` | which watermark quiet partitions follow |
//! | `skew` | which partitions to hold so that a replay doesn't run one far ahead |

mod duplicates;
mod error;
pub mod idle;
mod ids;
mod options;
mod partition;
mod restore;
pub mod skew;
mod writers;

pub use duplicates::DuplicatesMetrics;
pub use error::{Error, Result};
pub use options::{DuplicateRules, DuplicatesDisk, Rule, StreamRules};
pub use partition::{Outcome, PartitionValidator, Verdicts};
pub use restore::Settled;
