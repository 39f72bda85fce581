//! How queries run on Apache Spark.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::Duration;

/// How queries run on Apache Spark. Without effect with `engine: local`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SparkSettings {
    /// Where Spark keeps its checkpoints and state: a directory that all of Spark sees, such as s3a://bucket/checkpoints. In `data_dir` if it isn't set, which does for a Spark on the same machine alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoints: Option<String>,
    /// How often Spark starts a micro-batch. One takes about a quarter of a second, however little is in it.
    pub trigger: Duration,
    /// Queries that keep nothing between rows run in Spark's Real-Time Mode, which publishes within milliseconds, and write a checkpoint so often, 5s at the least. Needs Spark 4.2, and a task slot for each partition that such a query reads. Off if it isn't set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub real_time: Option<Duration>,
    /// How far Spark's watermark stays behind the newest event. Spark drops what comes later, which stops the query; the stream's `lateness` and `max_skew` together if it isn't set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watermark_delay: Option<Duration>,
    /// How many records one micro-batch reads at most. All there are if it isn't set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub offsets_per_trigger: Option<u32>,
    /// How many tasks group and join. It stays the same for the life of a checkpoint.
    #[schemars(range(min = 1, max = 10_000))]
    pub shuffle_partitions: u32,
    /// Further configuration of Spark's session, such as spark.sql.streaming.minBatchesToRetain.
    #[schemars(extend("x-dotted-keys" = true))]
    pub conf: BTreeMap<String, String>,
    /// Further properties of Spark's own Kafka client, such as bootstrap.servers where Spark reaches Kafka under another address, or ssl.truststore.location.
    #[schemars(extend("x-dotted-keys" = true))]
    pub kafka: BTreeMap<String, String>,
}

impl Default for SparkSettings {
    fn default() -> Self {
        Self {
            checkpoints: None,
            trigger: Duration::from_millis(500),
            real_time: None,
            watermark_delay: None,
            offsets_per_trigger: None,
            shuffle_partitions: 4,
            conf: BTreeMap::new(),
            kafka: BTreeMap::new(),
        }
    }
}
