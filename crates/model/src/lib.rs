//! The vocabulary of the pipeline: what a record, a position, a version and a verdict are, and the rules that hold for them.
//!
//! Every other crate speaks in these types. Nothing here does I/O, starts a thread or knows a library of a peer.
//!
//! | file | says |
//! | --- | --- |
//! | `block` | records of one topic partition as columns of bytes: what a reader hands to a stage |
//! | `position` | topic ids, partitions, offsets |
//! | `provenance` | the headers that carry raw offsets, and how a reader drops repeats and notices a break |
//! | `version` | which version of a result wins |
//! | `verdict` | what validation decided about a record, and why |
//! | `progress` | the record of a stream's progress topic: verdict position and watermark of a partition |
//! | `topics` | the names of topics |
//! | `schemas` | looking schemas up by id and registering them |
//! | `clock` | time and randomness, real or set by a test |
//! | `error` | whose fault an error is and whether to try again |
//! | `infer` | what type a column of text has, and the types given to the columns of other systems |
//! | `limits` | the caps that keep memory bounded |

pub mod block;
pub mod clock;
pub mod error;
pub mod infer;
pub mod limits;
pub mod position;
pub mod progress;
pub mod provenance;
pub mod schemas;
pub mod topics;
pub mod verdict;
pub mod version;

pub use block::{BytesColumn, RecordBlock};
pub use clock::{Clock, ManualClock, SystemClock};
pub use error::{Classified, Domain, Retry};
pub use position::{Epoch, TopicId, TopicPartition};
pub use progress::Progress;
pub use provenance::Provenance;
pub use schemas::{SchemaError, Schemas};
pub use verdict::{RejectReason, Rejection};
pub use version::Version;
