//! What a registry server is started with.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use avro::compatibility::Level;

/// The topic's usual name.
pub const SCHEMAS_TOPIC: &str = "_schemas";

/// How to start a server.
#[derive(Debug, Clone)]
pub struct Options {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where schemas are kept.
    pub storage: Storage,
    /// Compatibility level where nothing is set; Confluent's is BACKWARD.
    pub default_level: Level,
    /// Largest request body, in bytes.
    pub request_bytes_max: usize,
    /// How long connections may take to finish after the shutdown.
    pub drain_timeout: Duration,
}

impl Options {
    /// A server on `listen` that keeps schemas in `storage`, all else as Confluent's registry has it.
    pub fn new(listen: SocketAddr, storage: Storage) -> Self {
        Self {
            listen,
            storage,
            default_level: Level::Backward,
            request_bytes_max: 8 * 1024 * 1024,
            drain_timeout: Duration::from_secs(3),
        }
    }
}

/// Where schemas are kept.
#[derive(Debug, Clone)]
pub enum Storage {
    /// In memory, gone with the server.
    Memory,
    /// In a topic of a Kafka.
    Kafka(KafkaStorage),
}

/// A topic of a Kafka that keeps schemas.
#[derive(Clone)]
pub struct KafkaStorage {
    /// `host:port,host:port`.
    pub brokers: String,
    /// librdkafka's properties for security. Values are never shown.
    pub properties: BTreeMap<String, String>,
    /// Name of the topic.
    pub topic: String,
    /// Copies of the topic if it must be made; fewer where there are fewer brokers.
    pub replication: u16,
    /// How long the start may take: reaching Kafka, making the topic, reading it all.
    pub start_timeout: Duration,
    /// How long a write may take until it can be read.
    pub write_timeout: Duration,
}

impl KafkaStorage {
    /// The topic `_schemas` of a Kafka without security, with Confluent's replication of 3.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            properties: BTreeMap::new(),
            topic: SCHEMAS_TOPIC.to_owned(),
            replication: 3,
            start_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(10),
        }
    }
}

impl fmt::Debug for KafkaStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaStorage")
            .field("brokers", &self.brokers)
            .field("properties", &self.properties.keys().collect::<Vec<_>>())
            .field("topic", &self.topic)
            .field("replication", &self.replication)
            .field("start_timeout", &self.start_timeout)
            .field("write_timeout", &self.write_timeout)
            .finish()
    }
}
