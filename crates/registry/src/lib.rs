//! The schema registry: a server with Confluent's REST API for Avro, and a client with a cache for any such server.
//!
//! **In**: HTTP requests of serializers, kafka-ui, curl; the records of the topic `_schemas`. **Out**: answers in Confluent's form with its
//! error codes, and records in the topic that Confluent's registry could go on from.
//!
//! **Promised**: an id never stands for two schemas, also while two servers write to one topic; an answer to a write is given once the
//! write can be read here; everything survives a restart, since the topic is the only truth. The client tells an unknown id from a registry
//! that can't be asked, since the first is the record's fault and the second is an outage.
//!
//! | part | does |
//! | --- | --- |
//! | `machine` | decides and answers, without HTTP or Kafka |
//! | `store` | keeps the log of events: in memory, or in a topic |
//! | `registry` | runs commands against the store, one writer at a time |
//! | `http`, `server` | the REST API |
//! | `client` | the client, async and blocking |
//!
//! Not here: JSON Schema and Protobuf, metadata and rule sets, aliases, compatibility groups. They are refused in words, and what another
//! registry wrote of them into the topic is kept and served.

pub mod client;
pub mod error;
mod http;
pub mod machine;
pub mod options;
pub mod registry;
pub mod server;
pub mod store;

pub use client::{Authentication, BlockingClient, Client, ClientError, ClientOptions};
pub use error::Error;
pub use options::{KafkaStorage, Options, SCHEMAS_TOPIC, Storage};
pub use registry::Registry;
pub use server::{Server, ServerError};
