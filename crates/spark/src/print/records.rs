//! Records that travel within the plan, instead of a topic that Spark reads.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, Int32Builder, Int64Builder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use model::{RecordBlock, provenance};
use spark_connect_proto::Relation;
use sql::spark::{name, text};

use crate::error::{Error, Result};
use crate::print::relation::{local, project};

/// Records of a validated topic as rows for [`super::Input::Records`].
///
/// # Errors
/// `Protocol` when they are no batch, which doesn't happen.
pub fn record_rows(blocks: &[RecordBlock]) -> Result<RecordBatch> {
    let mut topics = StringBuilder::new();
    let mut partitions = Int32Builder::new();
    let mut offsets = Int64Builder::new();
    let mut values = BinaryBuilder::new();
    let mut raw_offsets = BinaryBuilder::new();
    for block in blocks {
        for (index, &offset) in block.offsets.iter().enumerate() {
            topics.append_value(&block.topic);
            partitions.append_value(block.partition);
            offsets.append_value(offset);
            values.append_option(block.values.get(index));
            raw_offsets.append_option(block.header(index, provenance::RAW_OFFSET));
        }
    }
    let columns: [(&str, ArrayRef); 5] = [
        ("topic", Arc::new(topics.finish())),
        ("partition", Arc::new(partitions.finish())),
        ("offset", Arc::new(offsets.finish())),
        ("value", Arc::new(values.finish())),
        ("raw_offset", Arc::new(raw_offsets.finish())),
    ];
    RecordBatch::try_from_iter(columns).map_err(|error| Error::Protocol(format!("records for Spark: {error}")))
}

/// The rows with the columns of Spark's Kafka source that are read.
pub(super) fn relation(rows: &RecordBatch) -> Result<Relation> {
    let header = text(provenance::RAW_OFFSET);
    let mut columns: Vec<(String, String)> =
        ["topic", "partition", "offset", "value"].map(|column| (column.to_owned(), name(column))).into();
    let headers = format!("array(named_struct('key', {header}, 'value', {}))", name("raw_offset"));
    columns.push(("headers".to_owned(), headers));
    Ok(project(local(rows)?, &columns))
}
