//! The checked plan of a project: what the app runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_schema::SchemaRef;

use crate::merge::Overrides;
use crate::problem::ProjectErrors;
use crate::settings::{Columns, Duplicates, Duration, Engine, InputSettings, RecordKey, Retention, Secret, Settings};

/// A checked project. Everything in it fits together.
#[derive(Debug, Clone)]
pub struct Project {
    /// The project's name.
    pub name: String,
    /// What runs the queries.
    pub engine: Engine,
    /// All settings: the file with profile, environment and `--set` laid over it.
    pub settings: Settings,
    /// Streams in the file's order.
    pub streams: Vec<Stream>,
    /// Reference tables in the file's order.
    pub references: Vec<Reference>,
    /// Queries and patterns by name.
    pub queries: Vec<Arc<sql::Query>>,
    /// Files to load, in the file's order. A file may still be missing: see [`Project::require_inputs`].
    pub inputs: Vec<Input>,
    /// The project directory, as it was given.
    pub directory: PathBuf,
    /// Where state is kept; `settings.data_dir` in the directory.
    pub data_dir: PathBuf,
    /// What may not be as it was meant.
    pub warnings: ProjectErrors,
    /// Each setting with its origin.
    pub effective: Vec<EffectiveSetting>,
    /// What `require_inputs` reports.
    pub(crate) missing_inputs: ProjectErrors,
}

/// A stream of transactions.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Name.
    pub name: String,
    /// The Avro schema's text as the file has it.
    pub schema_text: String,
    /// The Avro schema.
    pub schema: avro::Schema,
    /// Columns of a record.
    pub arrow: SchemaRef,
    /// The column that decides the partition: text, int or bigint, never NULL.
    pub key: String,
    /// Columns that name a record; empty if none were given.
    pub id: Vec<String>,
    /// The event-time column: a timestamp, never NULL.
    pub event_time: String,
    /// How much later than the newest event of its partition a record may be.
    pub lateness: Duration,
    /// How far in the future an event time may be.
    pub future_skew: Duration,
    /// After how much quiet a partition counts as idle.
    pub idle_timeout: Duration,
    /// How far apart in event time partitions are read.
    pub max_skew: Duration,
    /// How long an unknown schema id is asked for again.
    pub unknown_schema_grace: Duration,
    /// How duplicates are found; `None` accepts repeats.
    pub duplicates: Option<Duplicates>,
    /// Rules in the file's order.
    pub rules: Vec<Rule>,
    /// Partitions of the raw, validated and rejected topics.
    pub partitions: i32,
    /// Copies of each record; 1 with the embedded broker.
    pub replication: i16,
    /// How long records are kept.
    pub retention: Retention,
    /// Further topic settings by Kafka's names.
    pub topic_properties: std::collections::BTreeMap<String, String>,
    /// Put before the names of topics.
    pub topic_prefix: String,
}

impl Stream {
    /// Topic of the raw records.
    pub fn raw_topic(&self) -> String {
        model::topics::raw(&self.topic_prefix, &self.name)
    }

    /// Topic of the accepted records.
    pub fn validated_topic(&self) -> String {
        model::topics::validated(&self.topic_prefix, &self.name)
    }

    /// Topic of the rejected records.
    pub fn rejected_topic(&self) -> String {
        model::topics::rejected(&self.topic_prefix, &self.name)
    }

    /// Topic of the watermarks.
    pub fn progress_topic(&self) -> String {
        model::topics::progress(&self.topic_prefix, &self.name)
    }
}

/// A named condition that each record must fulfil.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Name.
    pub name: String,
    /// The SQL.
    pub text: String,
    /// The compiled SQL.
    pub condition: sql::Condition,
}

/// A reference table.
#[derive(Debug, Clone)]
pub struct Reference {
    /// Name.
    pub name: String,
    /// Where its rows are.
    pub source: ReferenceSource,
    /// Columns that name a row; not NULL in `schema`.
    pub key: Vec<String>,
    /// Columns with the types that rows are read as. An empty field of a CSV file is NULL.
    pub schema: SchemaRef,
    /// The columns that say for how long a row is valid, if rows are.
    pub validity: Option<Validity>,
    /// What separates the columns of a CSV file.
    pub delimiter: u8,
    /// How often it is looked for changes.
    pub refresh: Duration,
    /// Bytes that the rows may take.
    pub memory_bytes: u64,
}

/// The columns that say for how long a row of a reference table is valid: timestamps or dates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validity {
    /// Column with the first time at which it is.
    pub from: String,
    /// Column with the first time at which it no longer is; without it, a row is valid until the next one of its key.
    pub to: Option<String>,
}

/// Where a reference table's rows are.
#[derive(Debug, Clone)]
pub enum ReferenceSource {
    /// A CSV or Parquet file, told by its extension; the path is ready to be opened.
    File(PathBuf),
    /// A table, view or query in PostgreSQL.
    Postgres {
        /// Server; `None` for the project's own.
        url: Option<String>,
        /// Password for `url`.
        password: Option<Secret>,
        /// What is read there.
        relation: PostgresRelation,
        /// Channel on which changes are announced.
        notify: Option<String>,
    },
    /// A compacted topic.
    Topic {
        /// Its full name.
        topic: String,
        /// Where the key columns are; in the value if `None`.
        record_key: Option<RecordKey>,
    },
}

/// What is read in PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostgresRelation {
    /// A table or view, as `schema.table`.
    Table(String),
    /// A SELECT.
    Query(String),
}

/// A file with records of a stream.
#[derive(Debug, Clone)]
pub struct Input {
    /// The stream they go to.
    pub stream: String,
    /// The file, ready to be opened.
    pub file: PathBuf,
    /// The file as the settings name it: what records carry as their provenance.
    pub name: String,
    /// How the file is read.
    pub settings: InputSettings,
}

/// A setting as it takes effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveSetting {
    /// Path, such as `connections.kafka.brokers`.
    pub path: String,
    /// Value as text; secrets as their references.
    pub value: String,
    /// Where it was set: `tillstream.yaml:4`, `--set`, `environment`, or `default`.
    pub origin: String,
}

impl Project {
    /// Compiles a text that a query or a pattern had before against the present streams and reference tables; `None` if that can't be any
    /// more.
    pub fn compile(&self, name: &str, text: &str) -> Option<sql::Query> {
        let catalog = crate::queries::catalog(&self.streams, &self.references);
        let is_pattern = self.queries.iter().any(|query| query.name == name && query.pattern.is_some());
        let compiled =
            if is_pattern { sql::compile_pattern(name, text, &catalog) } else { sql::compile(name, text, &catalog) };
        compiled.ok()
    }

    /// Reads and checks the project in a directory, with everything that is laid over its file.
    ///
    /// Nothing outside the directory is asked: peers may be down and secrets unset.
    ///
    /// # Errors
    /// Everything that is wrong, at once, each with its place. Warnings are among them; without an error they are in
    /// [`Project::warnings`].
    pub fn load(directory: &Path, overrides: &Overrides) -> Result<Self, ProjectErrors> {
        crate::load::load(directory, overrides)
    }

    /// The stream with this name.
    pub fn stream(&self, name: &str) -> Option<&Stream> {
        self.streams.iter().find(|stream| stream.name == name)
    }

    /// The reference table with this name.
    pub fn reference(&self, name: &str) -> Option<&Reference> {
        self.references.iter().find(|reference| reference.name == name)
    }

    /// The query or pattern with this name.
    pub fn query(&self, name: &str) -> Option<&Arc<sql::Query>> {
        self.queries.iter().find(|query| query.name == name)
    }

    /// Whether one of its queries is a pattern.
    pub fn has_patterns(&self) -> bool {
        self.queries.iter().any(|query| query.pattern.is_some())
    }

    /// What is published and stored under this name: the result of a query or a pattern, or the record of what patterns give up.
    pub fn result(&self, name: &str) -> Option<Arc<sql::Query>> {
        let limits = || Arc::new(crate::pattern_limits::query());
        self.query(name).cloned().or_else(|| (name == crate::pattern_limits::NAME && self.has_patterns()).then(limits))
    }

    /// Makes sure that all input files are there, before they are loaded.
    ///
    /// # Errors
    /// Each input whose file was missing when the project was read.
    pub fn require_inputs(&self) -> Result<(), ProjectErrors> {
        if self.missing_inputs.is_empty() { Ok(()) } else { Err(self.missing_inputs.clone()) }
    }

    /// Topic of a query's results in a generation (1 is the first).
    pub fn result_topic(&self, query: &str, generation: u32) -> String {
        model::topics::result(&self.settings.connections.kafka.topic_prefix, query, generation)
    }

    /// Directory of the saved state.
    pub fn snapshot_dir(&self) -> PathBuf {
        match &self.settings.process.snapshots {
            Some(path) => self.directory.join(path),
            None => self.data_dir.join("snapshots"),
        }
    }
}

impl Columns {
    /// The columns' names.
    pub fn names(&self) -> &[String] {
        &self.0
    }
}
