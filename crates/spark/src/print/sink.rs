//! Results as Kafka records: keys and values in Avro's wire format, the version in a header.

use std::collections::{BTreeMap, HashMap};

use model::provenance;
use spark_connect_proto::write_operation::SaveMode;
use spark_connect_proto::write_stream_operation_start::Trigger;
use spark_connect_proto::{Relation, WriteOperation, WriteStreamOperationStart};
use sql::spark::{name, text};

use super::{Printed, own};
use crate::print::relation::project;

/// Column with `rows:final` of a result's version.
pub(super) const VERSION: &str = "version";
/// Column that says whether a result is deleted.
pub(super) const IS_DELETED: &str = "is_deleted";

/// The result topic of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sink {
    /// The topic.
    pub topic: String,
    /// Options of Spark's Kafka sink: `kafka.bootstrap.servers` and security.
    pub kafka: BTreeMap<String, String>,
    /// Generation of the query.
    pub generation: u32,
    /// Columns of the key, in the order of its schema.
    pub key_columns: Vec<String>,
    /// The key's schema id.
    pub key_id: u32,
    /// The key's schema as Avro's JSON.
    pub key_schema: String,
    /// Columns of the value, in the order of its schema.
    pub value_columns: Vec<String>,
    /// The value's schema id.
    pub value_id: u32,
    /// The value's schema as Avro's JSON.
    pub value_schema: String,
}

/// Results as rows with `key`, `value` and `headers`.
pub(super) fn records(results: Relation, sink: &Sink) -> Relation {
    let version = format!("concat('{}:', {})", sink.generation, name(&own(VERSION)));
    let header = text(provenance::VERSION);
    let value = encoded(sink.value_id, &sink.value_schema, &sink.value_columns);
    let columns = [
        ("key".to_owned(), encoded(sink.key_id, &sink.key_schema, &sink.key_columns)),
        ("value".to_owned(), format!("if({}, CAST(NULL AS BINARY), {value})", name(&own(IS_DELETED)))),
        ("headers".to_owned(), format!("array(named_struct('key', {header}, 'value', CAST({version} AS BINARY)))")),
    ];
    project(results, &columns)
}

/// Columns as Avro in the wire format.
fn encoded(id: u32, schema: &str, columns: &[String]) -> String {
    let fields: Vec<String> = columns.iter().map(|column| format!("{}, {}", text(column), name(column))).collect();
    format!("concat(X'00{id:08X}', to_avro(named_struct({}), {}))", fields.join(", "), text(schema))
}

/// A printed query's records as rows to be collected: key, value, and the version's header, each as bytes.
pub fn as_rows(printed: Printed) -> Relation {
    let columns = [("key", "`key`"), ("value", "`value`"), ("version", "element_at(`headers`, 1).value")];
    project(printed.relation, &columns.map(|(name, text)| (name.to_owned(), text.to_owned())))
}

fn options(sink: &Sink) -> HashMap<String, String> {
    let mut options: HashMap<String, String> =
        sink.kafka.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    options.insert("topic".to_owned(), sink.topic.clone());
    options
}

/// The command that writes a batch.
pub fn batch_write(printed: Printed, sink: &Sink) -> WriteOperation {
    WriteOperation {
        input: Some(printed.relation),
        source: Some("kafka".to_owned()),
        mode: SaveMode::Append.into(),
        options: options(sink),
        ..WriteOperation::default()
    }
}

/// When a streaming query publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamTrigger {
    /// After each micro-batch, of which one starts so often, in milliseconds.
    EachBatch(u64),
    /// At once, with a checkpoint so often, in milliseconds.
    RealTime(u64),
    /// What is there now, a micro-batch that was broken off first; then it ends.
    AvailableNow,
}

/// The command that starts a streaming query.
pub fn stream_write(
    printed: Printed,
    sink: &Sink,
    query_name: &str,
    checkpoint: &str,
    trigger: StreamTrigger,
) -> WriteStreamOperationStart {
    let mut options = options(sink);
    options.insert("checkpointLocation".to_owned(), checkpoint.to_owned());
    WriteStreamOperationStart {
        input: Some(printed.relation),
        format: "kafka".to_owned(),
        options,
        output_mode: printed.output_mode.to_owned(),
        query_name: query_name.to_owned(),
        trigger: Some(match trigger {
            StreamTrigger::EachBatch(ms) => Trigger::ProcessingTimeInterval(format!("{ms} milliseconds")),
            StreamTrigger::RealTime(ms) => Trigger::RealTimeBatchDuration(format!("{ms} milliseconds")),
            StreamTrigger::AvailableNow => Trigger::AvailableNow(true),
        }),
        ..WriteStreamOperationStart::default()
    }
}
