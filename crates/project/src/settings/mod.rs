//! What `tillstream.yaml` may say. The documentation here is what editors show.

mod connections;
mod named;
mod secret;
mod spark;
mod stages;
mod streams;
mod units;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use connections::{
    Connections, EMBEDDED, KafkaConnection, KafkaSecurity, PostgresConnection, RegistryConnection, SaslMechanism,
    SecurityProtocol, SparkConnection,
};
pub use named::{Columns, Named};
pub use secret::{Secret, SecretError, process_environment, setting_variables};
pub use spark::SparkSettings;
pub use stages::{
    BrokerSettings, IngestSettings, ProcessSettings, RegistrySettings, ServeSettings, StateOverflow, StoreSettings,
};
pub use streams::{Duplicates, InputSettings, RecordKey, ReferenceSettings, StreamSettings, TopicSettings};
pub use units::{ByteSize, Duration, Flush, Retention};

/// A Tillstream project: where its systems are, what its streams hold, and how its stages run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "tillstream.yaml")]
pub struct Settings {
    /// The project's name. It appears in logs, metrics and the dashboard, and names the owner of positions.
    #[schemars(extend("format" = "identifier", "pattern" = "^[a-z][a-z0-9_]*$", "maxLength" = 63))]
    pub name: String,
    /// What runs the queries.
    #[serde(default)]
    pub engine: Engine,
    /// Where state, snapshots and the data of the embedded systems are kept; relative to the project directory.
    #[serde(default = "default_data_dir")]
    #[schemars(extend("format" = "path"))]
    pub data_dir: String,
    /// Where Kafka, the schema registry, PostgreSQL and Spark are. Each is embedded unless an address is given.
    #[serde(default)]
    pub connections: Connections,
    /// The streams of transactions by name. A stream's topics are <name>.raw, <name>.validated, <name>.rejected and <name>.progress.
    #[serde(default)]
    pub streams: Named<StreamSettings>,
    /// Reference tables by name, which queries join with.
    #[serde(default)]
    pub reference: Named<ReferenceSettings>,
    /// Files that `tillstream up --drain` and `tillstream load` without a file bring in, in this order.
    #[serde(default)]
    pub inputs: Vec<InputSettings>,
    /// How data comes in over HTTP.
    #[serde(default)]
    pub ingest: IngestSettings,
    /// How queries are run.
    #[serde(default)]
    pub process: ProcessSettings,
    /// How queries are run on Apache Spark, with `engine: spark`.
    #[serde(default)]
    pub spark: SparkSettings,
    /// How results are written to PostgreSQL.
    #[serde(default)]
    pub store: StoreSettings,
    /// The dashboard, the API and the metrics.
    #[serde(default)]
    pub serve: ServeSettings,
    /// The embedded Kafka broker. Without effect when `connections.kafka.brokers` names another.
    #[serde(default)]
    pub broker: BrokerSettings,
    /// The embedded schema registry. Without effect when `connections.registry.url` names another.
    #[serde(default)]
    pub registry: RegistrySettings,
    /// Named sets of settings that are laid over the others by `--profile NAME`. A mapping is merged, anything else is replaced, and null takes a setting back to its default.
    #[serde(default, skip_serializing_if = "Named::is_empty")]
    pub profiles: Named<Profile>,
}

/// What runs the queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// The engine in Tillstream itself.
    #[default]
    Local,
    /// Apache Spark over Spark Connect; see `connections.spark`.
    Spark,
}

/// Settings that a profile lays over the others. Its content is the settings' own, with nothing required.
///
/// The text is checked and merged before settings are read, so nothing is kept here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Profile {}

fn default_data_dir() -> String {
    ".tillstream".into()
}

/// The JSON schema of `tillstream.yaml`, for editors and for the check of the file itself.
pub fn json_schema() -> serde_json::Value {
    let schema = schemars::SchemaGenerator::default().into_root_schema_for::<Settings>();
    crate::schema::with_profiles(schema.to_value())
}
