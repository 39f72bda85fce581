//! Settings of the broker.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::clock::{Clock, SystemClock};

/// When an acknowledged record is safe, and from what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushPolicy {
    /// A record is acknowledged, and seen by readers, once it is on the disk (fsync). Producers that wait at the same time share
    /// one fsync. Survives a power cut.
    EveryBatch,
    /// Acknowledged when the operating system has it, flushed to the disk every so many milliseconds. Survives a killed process; a
    /// power cut may cost the last interval.
    Interval(u64),
    /// Acknowledged when the operating system has it, which writes it out when it likes; finished segments are flushed. Survives a
    /// killed process, not a power cut. This is Apache Kafka's own default on each of its replicas, of which there is one here.
    Os,
}

/// Settings of the broker. `Options::new` has defaults for everything but where to listen and where to keep the data.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Directory of the data, made if it isn't there. One broker at a time.
    pub data_dir: PathBuf,
    /// `host:port` that clients are told to connect to. Default: the address at which the client reached us.
    pub advertised: Option<String>,
    /// When an acknowledged record is safe. Default: [`FlushPolicy::Os`].
    pub flush: FlushPolicy,
    /// Partitions of a topic whose creator asks for the broker's default. Default: 1.
    pub default_partitions: i32,
    /// Whether a topic that a client asks for by name comes into being. Default: true, as with Apache Kafka.
    pub auto_create_topics: bool,
    /// Largest record batch in bytes, unless the topic's `max.message.bytes` says otherwise. Default: 1 MiB and Kafka's 12 bytes.
    pub message_bytes_max: usize,
    /// Size in bytes at which a segment file is finished, unless the topic's `segment.bytes` says otherwise. Default: 256 MiB.
    pub segment_bytes: u64,
    /// Largest request in bytes; larger ones close the connection. Default: 100 MiB.
    pub request_bytes_max: usize,
    /// Largest sum of records in one fetch response in bytes, whatever the client asks for. Default: 55 MiB.
    pub fetch_bytes_max: usize,
    /// Connections at a time; further ones are closed at once. Default: 1,000.
    pub connections_max: usize,
    /// Partitions in all topics together; beyond that no topic is created. Default: 10,000.
    pub partitions_max: usize,
    /// How long the first member of an empty consumer group waits for others, so that a group that starts together is assigned
    /// once. Default: 100 ms.
    pub group_initial_delay: Duration,
    /// Source of time.
    pub clock: Arc<dyn Clock>,
}

impl Options {
    /// Defaults for a broker that listens on `listen` and keeps its data in `data_dir`.
    pub fn new(listen: SocketAddr, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            listen,
            data_dir: data_dir.into(),
            advertised: None,
            flush: FlushPolicy::Os,
            default_partitions: 1,
            auto_create_topics: true,
            message_bytes_max: 1024 * 1024 + 12,
            segment_bytes: 256 * 1024 * 1024,
            request_bytes_max: 100 * 1024 * 1024,
            fetch_bytes_max: 55 * 1024 * 1024,
            connections_max: 1_000,
            partitions_max: 10_000,
            group_initial_delay: Duration::from_millis(100),
            clock: Arc::new(SystemClock::new()),
        }
    }
}
