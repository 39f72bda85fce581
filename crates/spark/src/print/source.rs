//! The validated topic as rows: decoded by ids that we wrote, each raw position once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::Field;
use model::provenance;
use spark_connect_proto::read::{DataSource, ReadType};
use spark_connect_proto::relation::RelType;
use spark_connect_proto::{Deduplicate, Relation, WithWatermark};
use sql::spark::{name, text, type_name};
use sql::{SOURCE_OFFSET, SOURCE_PARTITION};

use super::{own, records};
use crate::error::Result;
use crate::print::relation::{project, relation};

/// The validated topic of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The topic.
    pub topic: String,
    /// Options of Spark's Kafka source: `kafka.bootstrap.servers` and security.
    pub kafka: BTreeMap<String, String>,
    /// The schemas that we wrote records with.
    pub written: Vec<WriterSchema>,
    /// The stream's event-time column.
    pub event_time: String,
    /// Which part of it is read, and how.
    pub input: Input,
}

/// Which part of a validated topic is read, and how.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// All up to these offsets, one per partition, at once.
    Range {
        /// First offset of each partition.
        starts: Vec<i64>,
        /// Offset after the last of each partition.
        ends: Vec<i64>,
    },
    /// These records in its place, as [`super::record_rows`] makes them, at once.
    Records(RecordBatch),
    /// All from the beginning, and then what comes.
    Stream {
        /// How far Spark's watermark is behind the greatest event time, in milliseconds.
        watermark_delay_ms: u64,
        /// Most records of one micro-batch.
        offsets_per_trigger_max: Option<u64>,
    },
    /// The same without state: a repeated record is published again, with the key and the version that it had before.
    RealTime,
}

/// A schema that validated records may have been written with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterSchema {
    /// Its id in the registry.
    pub id: u32,
    /// Avro's JSON.
    pub schema: String,
    /// The stream's own schema, as Spark is given it to read these records: it knows the reader's logical types alone.
    pub reader: String,
}

/// Rows with the event time, the columns `fields`, and the raw position.
pub(super) fn rows(source: &Source, fields: &[Arc<Field>]) -> Result<Relation> {
    let record = own("record");
    let columns = [
        (SOURCE_PARTITION.to_owned(), "`partition`".to_owned()),
        (SOURCE_OFFSET.to_owned(), raw_offset()),
        (record.clone(), decoded(source)),
    ];
    let topic = match &source.input {
        Input::Records(rows) => records::relation(rows)?,
        Input::Range { .. } | Input::Stream { .. } | Input::RealTime => relation(RelType::Read(kafka(source))),
    };
    let decoded = project(topic, &columns);
    let mut columns =
        vec![(SOURCE_PARTITION.to_owned(), name(SOURCE_PARTITION)), (SOURCE_OFFSET.to_owned(), name(SOURCE_OFFSET))];
    if !fields.iter().any(|field| *field.name() == source.event_time) {
        columns.push((source.event_time.clone(), format!("{}.{}", name(&record), name(&source.event_time))));
    }
    columns.extend(fields.iter().map(|field| {
        let value = format!("CAST({}.{} AS {})", name(&record), name(field.name()), type_name(field.data_type()));
        (field.name().clone(), value)
    }));
    let rows = project(decoded, &columns);
    Ok(match &source.input {
        Input::Range { .. } | Input::Records(_) => each_once(rows, false),
        Input::RealTime => rows,
        Input::Stream { watermark_delay_ms, .. } => {
            let watermark = WithWatermark {
                input: Some(Box::new(rows)),
                event_time: source.event_time.clone(),
                delay_threshold: format!("{watermark_delay_ms} milliseconds"),
            };
            each_once(relation(RelType::WithWatermark(Box::new(watermark))), true)
        }
    })
}

/// Repeats of a record follow it closely, so its position has to be remembered only until the watermark has passed it.
fn each_once(input: Relation, within_watermark: bool) -> Relation {
    let deduplicate = Deduplicate {
        input: Some(Box::new(input)),
        column_names: vec![SOURCE_PARTITION.to_owned(), SOURCE_OFFSET.to_owned()],
        all_columns_as_keys: None,
        within_watermark: Some(within_watermark),
    };
    relation(RelType::Deduplicate(Box::new(deduplicate)))
}

fn kafka(source: &Source) -> spark_connect_proto::Read {
    let mut options: std::collections::HashMap<String, String> =
        source.kafka.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    let mut set = |key: &str, value: String| options.insert(key.to_owned(), value);
    set("subscribe", source.topic.clone());
    set("includeHeaders", "true".to_owned());
    set("failOnDataLoss", "true".to_owned());
    match &source.input {
        Input::Range { starts, ends } => {
            set("startingOffsets", offsets(&source.topic, starts));
            set("endingOffsets", offsets(&source.topic, ends));
        }
        Input::Stream { offsets_per_trigger_max, .. } => {
            set("startingOffsets", "earliest".to_owned());
            if let Some(most) = offsets_per_trigger_max {
                set("maxOffsetsPerTrigger", most.to_string());
            }
        }
        Input::RealTime => {
            set("startingOffsets", "earliest".to_owned());
        }
        Input::Records(_) => {}
    }
    let is_streaming = matches!(source.input, Input::Stream { .. } | Input::RealTime);
    let source = DataSource { format: Some("kafka".to_owned()), options, ..DataSource::default() };
    spark_connect_proto::Read { is_streaming, read_type: Some(ReadType::DataSource(source)) }
}

/// Offsets per partition in the JSON of Spark's Kafka source. A topic's name has no character that JSON would escape.
fn offsets(topic: &str, offsets: &[i64]) -> String {
    let mut json = format!("{{\"{topic}\":{{");
    for (partition, offset) in offsets.iter().enumerate() {
        let comma = if partition == 0 { "" } else { "," };
        // Writing to a String can't fail.
        _ = write!(json, "{comma}\"{partition}\":{offset}");
    }
    json.push_str("}}");
    json
}

/// The raw offset from the record's headers.
fn raw_offset() -> String {
    let header = text(provenance::RAW_OFFSET);
    let value = format!("element_at(filter(`headers`, h -> h.key = {header}), 1).value");
    let missing = place("the header with the raw offset is missing");
    format!("coalesce(CAST(CAST({value} AS STRING) AS BIGINT), {missing})")
}

/// The record by the schema that its id names; an id that isn't ours stops the query.
fn decoded(source: &Source) -> String {
    let mut out = "CASE".to_owned();
    for WriterSchema { id, schema, reader } in &source.written {
        let options = if schema == reader { String::new() } else { format!(", map('avroSchema', {})", text(reader)) };
        let schema = text(schema);
        // Writing to a String can't fail.
        _ = write!(
            out,
            " WHEN substring(`value`, 1, 5) = X'00{id:08X}' THEN from_avro(substring(`value`, 6), {schema}{options})"
        );
    }
    _ = write!(
        out,
        " ELSE {} END",
        place("the schema id isn't one that validation writes, or its schema can't be read as the stream's")
    );
    out
}

/// Stops the query with the reason and the record's place.
fn place(reason: &str) -> String {
    let reason = text(&format!("{reason}: "));
    format!(
        "raise_error(concat({reason}, `topic`, '[', `partition`, '] at offset ', `offset`, ' begins with ', hex(substring(`value`, 1, 5))))"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_json() {
        assert_eq!(offsets("t.validated", &[3, 0]), "{\"t.validated\":{\"0\":3,\"1\":0}}");
    }
}
