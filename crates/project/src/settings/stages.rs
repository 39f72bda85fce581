//! How the stages and the embedded systems run. Everything here has a good default.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{ByteSize, Duration, Flush};

/// How data comes in over HTTP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IngestSettings {
    /// Address and port of `POST /v1/streams/<name>/records`.
    #[schemars(extend("format" = "address"))]
    pub listen: String,
    /// The largest body of one request.
    pub body_limit: ByteSize,
}

impl Default for IngestSettings {
    fn default() -> Self {
        Self { listen: "127.0.0.1:7601".into(), body_limit: ByteSize(16_000_000) }
    }
}

/// How queries are run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProcessSettings {
    /// How long records are gathered before results are worked out and published. Shorter moves dashboards sooner, longer costs less.
    pub batch_interval: Duration,
    /// How often the state is saved. A restart goes on from the last save and works out the rest again.
    pub checkpoint_interval: Duration,
    /// How much memory the state of one query may take.
    pub state_limit: ByteSize,
    /// What happens past `state_limit`. Nothing is lost either way.
    pub state_overflow: StateOverflow,
    /// Where saved state is kept; in `data_dir` if it isn't set. Standbys on other hosts need a directory that all of them share.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub snapshots: Option<String>,
}

impl Default for ProcessSettings {
    fn default() -> Self {
        Self {
            batch_interval: Duration::from_millis(20),
            checkpoint_interval: Duration::from_secs(10),
            state_limit: ByteSize(1_000_000_000),
            state_overflow: StateOverflow::default(),
            snapshots: None,
        }
    }
}

/// What happens when the state of a query outgrows its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StateOverflow {
    /// Groups and keys for which no record has come for a while go to files in `data_dir`, and come back when one does.
    #[default]
    Spill,
    /// Reading stops until there is room, and `/readyz` says so.
    Pause,
}

/// How results are written to PostgreSQL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSettings {
    /// Whether a commit waits for PostgreSQL's disk. Off is faster; a power cut may then take the last moments back, and they are written again from Kafka.
    pub synchronous_commit: bool,
    /// How many connections the store, the dashboard and the API may hold.
    #[schemars(range(min = 2, max = 100))]
    pub connections: u16,
    /// How many results one transaction writes at most.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub batch_rows: u32,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self { synchronous_commit: true, connections: 8, batch_rows: 50_000 }
    }
}

/// The dashboard, the API and the metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServeSettings {
    /// Address and port. There is no sign-in: an address that others can reach shows them everything.
    #[schemars(extend("format" = "address"))]
    pub listen: String,
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self { listen: "127.0.0.1:7600".into() }
    }
}

/// The embedded Kafka broker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BrokerSettings {
    /// Address and port for Kafka clients.
    #[schemars(extend("format" = "address"))]
    pub listen: String,
    /// The address that clients are told to use, when it isn't `listen`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "address"))]
    pub advertised: Option<String>,
    /// When records reach the disk: `each`, a duration, or `system`.
    pub flush: Flush,
}

impl Default for BrokerSettings {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9092".into(), advertised: None, flush: Flush::Every(Duration::from_millis(100)) }
    }
}

/// The embedded schema registry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RegistrySettings {
    /// Address and port of the registry's API.
    #[schemars(extend("format" = "address"))]
    pub listen: String,
}

impl Default for RegistrySettings {
    fn default() -> Self {
        Self { listen: "127.0.0.1:8081".into() }
    }
}
