//! Reading and writing Kafka topics, over librdkafka.
//!
//! Calls block and belong on a thread of their own. A [`Reader`] is told which partitions to read from where (positions are owned by the
//! stages, never by a consumer group) and gives blocks of records; a [`GroupMember`] says which partitions of topics are this process's, where several
//! processes share them; a [`Writer`] is an idempotent producer whose [`Writer::flush`] says
//! up to which offset each partition has been acknowledged; [`Admin`] makes and describes topics.
//!
//! Outages are waited for: a broker that is away makes `poll` give nothing and `flush` time out, never an error. What is an error is
//! final for the epoch: a position outside the log, a refused or failed delivery, missing rights.

mod admin;
mod connection;
mod error;
mod leader_discovery;
mod member;
mod partitioner;
mod reader;
mod topic_id;
mod writer;

pub use admin::{Admin, TopicInfo, TopicSpec};
pub use connection::Connection;
pub use error::{Error, Result};
pub use member::GroupMember;
pub use partitioner::partition_of;
pub use reader::{Reader, ReaderOptions, Start};
pub use writer::{Compression, Delivered, OutRecord, RECORD_BYTES_MAX, Report, Writer, WriterOptions};
