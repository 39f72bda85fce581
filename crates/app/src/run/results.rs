//! The result of a query as Kafka and PostgreSQL see it: topic, schemas, table.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{Schema as ArrowSchema, SchemaRef};
use avro::Encoder;
use kafka::{OutRecord, TopicSpec};
use model::{BytesColumn, Schemas, provenance, topics};
use process::Emission;
use sql::Query;
use store::TableSpec;

use crate::error::{Error, Result};
use crate::run::generations::{Role, Run};
use crate::run::sink::RecordSink;
use crate::run::status::ShownRow;
use crate::run::topics::{BYTES_MAX, value_subject};

/// Largest record of a result's topic if the stream's properties say nothing: what hosted clusters allow at most.
const RESULT_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The result of a query in one generation.
#[derive(Debug, Clone)]
pub(crate) struct ResultTopic {
    pub(crate) query: Arc<Query>,
    pub(crate) generation: u32,
    pub(crate) role: Role,
    pub(crate) topic: String,
    pub(crate) partitions: i32,
    /// The result's columns as the topic and the table have them: those that came later can be NULL.
    schema: SchemaRef,
    pub(crate) value_schema: avro::Schema,
    pub(crate) key_schema: avro::Schema,
    pub(crate) key_columns: Vec<usize>,
}

impl ResultTopic {
    /// Derives topic, schemas and key of a query's result.
    ///
    /// # Errors
    /// `Internal` when a result's type has no Avro form, which `check` rules out.
    pub(crate) fn of(prefix: &str, run: Run, partitions: i32) -> Result<Self> {
        let Run { query, number: generation, role, added } = run;
        let internal = |reason: String| Error::Internal(format!("result of {}: {reason}", query.name));
        let key_columns: Vec<usize> = query
            .identity
            .iter()
            .map(|name| query.schema.index_of(name).map_err(|error| internal(error.to_string())))
            .collect::<Result<_>>()?;
        let key_fields: Vec<_> = key_columns.iter().map(|&index| query.schema.fields()[index].clone()).collect();
        let namespace = "tillstream";
        let fields = query.schema.fields().iter().map(|field| {
            let is_nullable = field.is_nullable() || added.contains(field.name());
            field.as_ref().clone().with_nullable(is_nullable)
        });
        let schema = Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>()));
        let value_schema =
            avro::schema_for(&query.name, namespace, None, &schema).map_err(|error| internal(error.to_string()))?;
        let key_name = format!("{}_key", query.name);
        let key_schema = avro::schema_for(&key_name, namespace, None, &ArrowSchema::new(key_fields))
            .map_err(|error| internal(error.to_string()))?;
        let topic = topics::result(prefix, &query.name, generation);
        Ok(Self { query, generation, role, topic, partitions, schema, value_schema, key_schema, key_columns })
    }

    /// Whether it is that of a pattern.
    pub(crate) fn is_pattern(&self) -> bool {
        self.query.pattern.is_some()
    }

    pub(crate) fn spec(&self, replication: i32, retention: &BTreeMap<String, String>) -> TopicSpec {
        let mut config = retention.clone();
        config.insert("cleanup.policy".to_owned(), "compact,delete".to_owned());
        // Texts of many records, and a group's columns in key and value, come together in one.
        config.entry(BYTES_MAX.to_owned()).or_insert_with(|| RESULT_BYTES_MAX.to_string());
        TopicSpec { name: self.topic.clone(), partitions: self.partitions, replication, config }
    }

    /// Name of the table: no other generation of any query has it.
    pub(crate) fn name(&self) -> String {
        topics::result("", &self.query.name, self.generation)
    }

    pub(crate) fn table(&self) -> TableSpec {
        TableSpec {
            name: self.name(),
            view: self.query.name.clone(),
            generation: self.generation,
            schema: self.schema.clone(),
            identity: self.query.identity.clone(),
            time_column: self.query.time_column.clone(),
            comment: Some(comment(&self.query)),
            column_comments: BTreeMap::new(),
        }
    }

    /// Registers the schemas of keys and values; gives both ids.
    pub(crate) fn register(&self, schemas: &dyn Schemas) -> Result<(u32, u32)> {
        let value_id = schemas.register(&value_subject(&self.topic), self.value_schema.canonical())?;
        let key_id = schemas.register(&format!("{}-key", self.topic), self.key_schema.canonical())?;
        Ok((key_id, value_id))
    }

    /// A publisher with the schemas registered.
    pub(crate) fn publisher(&self, schemas: &dyn Schemas) -> Result<Publisher> {
        let internal =
            |error: &dyn std::fmt::Display| Error::Internal(format!("result of {}: {error}", self.query.name));
        let (key_id, value_id) = self.register(schemas)?;
        Ok(Publisher {
            topic: self.topic.clone(),
            values: Encoder::new(&self.value_schema, value_id).map_err(|error| internal(&error))?,
            keys: Encoder::new(&self.key_schema, key_id).map_err(|error| internal(&error))?,
            key_columns: self.key_columns.clone(),
            key_buffer: BytesColumn::default(),
            value_buffer: BytesColumn::default(),
        })
    }
}

/// What the table holds, for people and BI tools: the comment lines above the query, or where it comes from.
fn comment(query: &Query) -> String {
    let lines: Vec<&str> = query
        .text
        .lines()
        .map(str::trim)
        .take_while(|line| line.is_empty() || line.starts_with("--"))
        .filter(|line| !line.starts_with("--!"))
        .map(|line| line.trim_start_matches('-').trim())
        .filter(|line| !line.is_empty())
        .collect();
    if lines.is_empty() {
        format!("Result of the query {} over {}", query.name, query.streams().join(" and "))
    } else {
        lines.join(" ")
    }
}

/// Writes emissions to a result topic.
#[derive(Debug)]
pub(crate) struct Publisher {
    topic: String,
    values: Encoder,
    keys: Encoder,
    key_columns: Vec<usize>,
    key_buffer: BytesColumn,
    value_buffer: BytesColumn,
}

impl Publisher {
    /// Queues an emission for writing: rows with their versions, deletes as null values. `references` are the versions of the reference
    /// tables, empty for a query without.
    pub(crate) fn publish(&mut self, writer: &impl RecordSink, emission: &Emission, references: &str) -> Result<()> {
        let internal = |error: &dyn std::fmt::Display| Error::Internal(format!("encoding for {}: {error}", self.topic));
        self.key_buffer.clear();
        self.value_buffer.clear();
        let keys = emission.rows.project(&self.key_columns).map_err(|error| internal(&error))?;
        self.keys.encode(&keys, &mut self.key_buffer).map_err(|error| internal(&error))?;
        self.values.encode(&emission.rows, &mut self.value_buffer).map_err(|error| internal(&error))?;
        let deletes_from = self.key_buffer.len();
        if emission.deletes.num_rows() > 0 {
            self.keys.encode(&emission.deletes, &mut self.key_buffer).map_err(|error| internal(&error))?;
        }
        let versions = emission.versions.iter().chain(&emission.delete_versions);
        for (index, version) in versions.enumerate() {
            let header = version.to_header();
            let headers =
                [(provenance::VERSION, Some(header.as_bytes())), (provenance::REFERENCES, Some(references.as_bytes()))];
            writer.send(&OutRecord {
                topic: &self.topic,
                partition: None,
                key: self.key_buffer.get(index),
                value: if index < deletes_from { self.value_buffer.get(index) } else { None },
                headers: if references.is_empty() { &headers[..1] } else { &headers },
                timestamp_ms: None,
            })?;
        }
        Ok(())
    }
}

/// Result rows shown of a query, and how often they change.
const SHOWN_ROWS: usize = 8;
const SHOWN_EVERY: Duration = Duration::from_millis(250);

/// The newest result rows, for people.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    latest: Option<RecordBatch>,
    at: Duration,
}

impl Shown {
    /// Notes the last rows of an emission.
    pub(crate) fn note(&mut self, emission: &Emission) {
        let rows = emission.rows.num_rows();
        if rows > 0 {
            let from = rows.saturating_sub(SHOWN_ROWS);
            self.latest = Some(emission.rows.slice(from, rows - from));
        }
    }

    /// The newest rows as text, a few times a second, the columns of the identity as their labels; `None` if they are as they were, or it
    /// is too soon.
    pub(crate) fn take(&mut self, now: Duration, identity: &[String]) -> Option<Vec<ShownRow>> {
        if now.saturating_sub(self.at) < SHOWN_EVERY {
            return None;
        }
        let batch = self.latest.take()?;
        self.at = now;
        let options = FormatOptions::default().with_null("NULL");
        let mut columns = Vec::new();
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            columns.push((field.name().clone(), ArrayFormatter::try_new(column.as_ref(), &options).ok()?));
        }
        let shown = (0..batch.num_rows()).rev().map(|row| {
            let value = |formatter: &ArrayFormatter<'_>| formatter.value(row).to_string();
            let (label, rest): (Vec<_>, Vec<_>) = columns.iter().partition(|(name, _)| identity.contains(name));
            let label: Vec<String> = label.iter().map(|(_, formatter)| value(formatter)).collect();
            (label.join(" · "), rest.iter().map(|(name, formatter)| (name.clone(), value(formatter))).collect())
        });
        Some(shown.collect())
    }
}
