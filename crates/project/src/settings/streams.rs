//! Streams, reference tables and inputs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::named::{Columns, Named};
use super::secret::Secret;
use super::units::{ByteSize, Duration, Retention};

/// A stream of transactions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamSettings {
    /// The file with the Avro schema of a record; relative to the project directory.
    #[schemars(extend("format" = "path", "examples" = ["schemas/transaction.avsc"]))]
    pub schema: String,
    /// The column that decides the partition: all records of one key stay in order.
    pub key: String,
    /// The column or columns that name a record, for finding duplicates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Columns>,
    /// Rejects a record whose id was accepted before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicates: Option<Duplicates>,
    /// The column with the time at which it happened (an Avro timestamp).
    pub event_time: String,
    /// How much later than the newest event of its partition a record may be. A later one is rejected as `late`; a final window waits so long.
    #[serde(default = "default_lateness")]
    pub lateness: Duration,
    /// How far in the future an event time may be. A record further ahead is rejected as `future`, so that one bad clock can't close everybody's windows.
    #[serde(default = "default_future_skew")]
    pub future_skew: Duration,
    /// After how much quiet a partition stops holding windows open. Its later records may then be late.
    #[serde(default = "default_idle_timeout")]
    pub idle_timeout: Duration,
    /// How far apart in event time the partitions may be read while catching up.
    #[serde(default = "default_max_skew")]
    pub max_skew: Duration,
    /// How long a schema id that the registry doesn't know is asked for again, before its record is rejected as `unknown_schema`.
    #[serde(default = "default_unknown_schema_grace")]
    pub unknown_schema_grace: Duration,
    /// The stream's topics.
    #[serde(default)]
    pub topic: TopicSettings,
    /// Named conditions in SQL that each record must fulfil. A record for which one is false or NULL is rejected with the rule's name.
    #[serde(default)]
    #[schemars(extend("examples" = [{ "positive_amount": "amount > 0" }]))]
    pub rules: Named<String>,
}

fn default_lateness() -> Duration {
    Duration::from_secs(5)
}

fn default_future_skew() -> Duration {
    Duration::from_secs(600)
}

fn default_idle_timeout() -> Duration {
    Duration::from_secs(30)
}

fn default_max_skew() -> Duration {
    Duration::from_secs(3_600)
}

fn default_unknown_schema_grace() -> Duration {
    Duration::from_secs(30)
}

/// How duplicates are found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Duplicates {
    /// How far apart in event time two records with the same id may be to count as duplicates. Ids are remembered for so long.
    pub within: Duration,
    /// How much memory the remembered ids of a partition may take. Past it the oldest go to the disk, into `data_dir`.
    #[serde(default = "default_duplicates_memory")]
    pub memory: ByteSize,
    /// How much disk the remembered ids of a partition may take past `memory`. Past both the stream stops with an error; it never guesses.
    #[serde(default = "default_duplicates_disk")]
    pub disk: ByteSize,
}

fn default_duplicates_memory() -> ByteSize {
    ByteSize(256_000_000)
}

fn default_duplicates_disk() -> ByteSize {
    ByteSize(4_000_000_000)
}

/// The topics of a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TopicSettings {
    /// Into how many partitions the stream is split.
    #[schemars(range(min = 1, max = 1000))]
    pub partitions: i32,
    /// How many brokers keep each record; `connections.kafka.replication` if it isn't set.
    #[schemars(range(min = 1, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication: Option<i16>,
    /// How long records are kept: a duration, or forever.
    pub retention: Retention,
    /// Further settings of the stream's topics, by Kafka's names.
    #[schemars(extend("x-dotted-keys" = true))]
    pub properties: BTreeMap<String, String>,
}

impl Default for TopicSettings {
    fn default() -> Self {
        Self {
            partitions: 4,
            replication: None,
            retention: Retention::For(Duration::from_secs(7 * 86_400)),
            properties: BTreeMap::new(),
        }
    }
}

/// A reference table: from a file, from a table or query in PostgreSQL, or from a compacted topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReferenceSettings {
    /// A CSV file (with a header line) or a Parquet file; relative to the project directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path", "examples" = ["reference/merchants.csv"]))]
    pub file: Option<String>,
    /// A table or view in PostgreSQL, as schema.table; its `columns` must be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["shop.merchants"]))]
    pub table: Option<String>,
    /// A SELECT in PostgreSQL; the `columns` must be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["SELECT merchant_id, category FROM shop.merchants WHERE active"]))]
    pub query: Option<String>,
    /// A compacted Kafka topic by its full name, with values in Avro; the `columns` must be given. The newest value of each key is a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["merchants"]))]
    pub topic: Option<String>,
    /// Where a topic's key columns are, if not in the value: the record's key is their text, or an Avro record with them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_key: Option<RecordKey>,
    /// The server of the table or query; the project's own (`connections.postgres`) if it isn't set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "postgres-url"))]
    pub url: Option<String>,
    /// The password for `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// A channel of PostgreSQL on which NOTIFY makes the table be read again at once, besides every `refresh`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["merchants_changed"]))]
    pub notify: Option<String>,
    /// The column or columns that name a row. Queries join on all of them, and no two rows may share them.
    pub key: Columns,
    /// The types of columns: text, int, bigint, double, boolean, date, timestamp, decimal(precision, scale). For a CSV file, columns that aren't listed get the type that fits all their values: bigint, decimal or text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("additionalProperties" = { "type": "string", "format": "column-type" }, "examples" = [{ "merchant_id": "text", "fee": "decimal(6,4)" }]))]
    pub columns: BTreeMap<String, String>,
    /// The column with the time from which on a row is valid; NULL is from the beginning. A record joins the row that is valid at its event time, and a key may have several rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["valid_from"]))]
    pub valid_from: Option<String>,
    /// The column with the time from which on a row is no longer valid; NULL is never. If it isn't set, a row is valid until the next one of its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["valid_to"]))]
    pub valid_to: Option<String>,
    /// What separates the columns of a CSV file; a comma, or a tab in a .tsv file, if it isn't set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "delimiter"))]
    pub delimiter: Option<String>,
    /// How often it is looked for changes; every minute, and a topic every second, if it isn't set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<Duration>,
    /// How much memory the rows may take. While a changed table is taken in, it is there twice.
    #[serde(default = "default_reference_memory")]
    pub memory: ByteSize,
}

/// Where the key columns of a topic's records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordKey {
    /// The record's key is the text of the key column.
    Text,
    /// The record's key is an Avro record with the key columns.
    Avro,
}

fn default_reference_memory() -> ByteSize {
    ByteSize(500_000_000)
}

/// A file with records of a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InputSettings {
    /// The stream that the records go to.
    pub stream: String,
    /// A file (.csv, .tsv, .jsonl or .parquet); relative to the project directory.
    #[schemars(extend("format" = "path", "examples" = ["data/history.parquet"]))]
    pub file: String,
    /// Where a column of the stream has another name in the file: the stream's column, then the file's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("examples" = [{ "amount": "TransactionAmt" }]))]
    pub columns: BTreeMap<String, String>,
    /// Whether a column that the file doesn't have is NULL, where it may be. Otherwise the file is refused: the name may be misspelt.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absent_is_null: bool,
    /// What stands between the fields of a CSV file; a comma, or a tab in `.tsv` files, if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = [";"]))]
    pub delimiter: Option<char>,
    /// A CSV field that means NULL, besides the empty one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["\\N"]))]
    pub null_text: Option<String>,
}
