//! A query as relations of Spark Connect.
//!
//! | file | prints |
//! | --- | --- |
//! | `source` | the validated topic as rows with their raw positions |
//! | `records` | records in place of a topic |
//! | `rows` | joins with reference tables, the filter |
//! | `grouping` | windows, groups, aggregates |
//! | `sink` | results as Kafka records |
//! | `relation` | the parts that relations are made of |

mod grouping;
mod records;
pub mod relation;
mod rows;
mod sink;
mod source;

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use md5::Digest as _;
use spark_connect_proto::Relation;
use sql::spark::OWN_PREFIX;
use sql::{Branch, Emit, Query};

pub use records::record_rows;
pub use sink::{Sink, as_rows, batch_write, stream_write};
pub use source::{Source, WriterSchema};

use crate::client::to_arrow_stream;
use crate::error::{Error, Result};

/// Bytes of a digest.
const DIGEST_BYTES: usize = 6;

/// Which part of the validated topic is read, and how.
#[derive(Debug, Clone, PartialEq)]
pub enum Read {
    /// All up to these offsets, one per partition, at once. Windows are final once they end at or before the watermark.
    Batch {
        /// First offset of each partition.
        starts: Vec<i64>,
        /// Offset after the last of each partition.
        ends: Vec<i64>,
        /// Watermark of the stream in microseconds since 1970, if there is one yet.
        watermark_us: Option<i64>,
    },
    /// These records, at once. Windows are final as in a batch.
    Records {
        /// As [`record_rows`] makes them.
        rows: RecordBatch,
        /// Watermark of the stream in microseconds since 1970, if there is one yet.
        watermark_us: Option<i64>,
    },
    /// All from the beginning, and then what comes.
    Stream {
        /// How far Spark's watermark is behind the greatest event time, in milliseconds.
        watermark_delay_ms: u64,
        /// Most records of one micro-batch.
        offsets_per_trigger_max: Option<u64>,
    },
}

/// A version of a reference table.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceRows {
    /// All rows.
    pub rows: RecordBatch,
    /// Columns of the key, which is unique at any time.
    pub key: Vec<String>,
    /// Of each row the first time at which it is valid and the first at which it no longer is, in microseconds since 1970; `None` if rows
    /// are valid always.
    pub valid_us: Option<(Vec<i64>, Vec<i64>)>,
}

/// A printed query.
#[derive(Debug, Clone, PartialEq)]
pub struct Printed {
    /// Rows with the columns `key`, `value` and `headers` of Kafka records.
    pub relation: Relation,
    /// Spark's output mode, for a streaming query.
    pub output_mode: &'static str,
}

/// The name of a column of our own beside those of the query.
fn own(name: &str) -> String {
    format!("{OWN_PREFIX}{name}")
}

/// Tells plans of a streaming query apart: another digest is another plan, whatever of it has changed, and also if rows of a reference
/// table have. `settings` is what the query is started with besides.
///
/// # Errors
/// When a reference table can't be written as Arrow.
pub fn digest(
    query: &Query,
    source: &Source,
    references: &BTreeMap<String, ReferenceRows>,
    read: &Read,
    sink: &Sink,
    settings: &str,
) -> Result<String> {
    let mut digest = md5::Md5::new();
    digest.update(format!("{}{source:?}{read:?}{sink:?}{settings}", query.describe()));
    for table in query.references().filter_map(|joined| references.get(joined)) {
        digest.update(to_arrow_stream(&table.rows)?);
        digest.update(format!("{:?}", table.valid_us));
    }
    let digest = digest.finalize();
    Ok(digest.iter().take(DIGEST_BYTES).fold(String::new(), |text, byte| format!("{text}{byte:02x}")))
}

/// Prints a query that reads `source` and joins `references`, with results as records for `sink`.
///
/// # Errors
/// `Plan` when a part of the query has no form on Spark.
pub fn print(
    query: &Query,
    source: &Source,
    references: &BTreeMap<String, ReferenceRows>,
    read: &Read,
    sink: &Sink,
) -> Result<Printed> {
    // Each part of a plan is named, so that a new one can't be forgotten here.
    let Query {
        name,
        text,
        options,
        branches,
        inner: _,
        aggregate,
        having,
        output,
        schema: _,
        identity: _,
        time_column: _,
        pattern,
        warnings: _,
    } = query;
    if pattern.is_some() {
        let reason = "it is a pattern, which runs in Tillstream's own stage".to_owned();
        return Err(Error::Plan { query: name.clone(), reason });
    }
    if let Some(refusal) = sql::spark::refusals(query).into_iter().next() {
        let (line, column) = refusal.position(text);
        let help = refusal.help.map(|help| format!("; {help}")).unwrap_or_default();
        let reason = format!("line {line}, column {column}: {}{help}", refusal.message);
        return Err(Error::Plan { query: name.clone(), reason });
    }
    let [Branch { stream: _, input_columns, stream_join: None, joins, row_schema, filter, columns: None }] =
        branches.as_slice()
    else {
        let reason = "it reads several streams, which isn't done on Spark".to_owned();
        return Err(Error::Plan { query: name.clone(), reason });
    };
    let fields = row_schema.fields().iter().take(input_columns.len()).cloned().collect::<Vec<_>>();
    let mut rows = source::rows(source, &fields, read)?;
    for (number, join) in joins.iter().enumerate() {
        let table = references.get(&join.reference).ok_or_else(|| Error::Plan {
            query: name.clone(),
            reason: format!("the reference table {} isn't loaded", join.reference),
        })?;
        rows = rows::join(rows, number, join, table)?;
    }
    if let Some(filter) = filter {
        rows = relation::filter(rows, &filter.to_spark());
    }
    let results = match aggregate {
        Some(aggregate) => {
            let groups = grouping::groups(rows, name, aggregate)?;
            grouping::results(groups, query, having.as_ref(), output, read)
        }
        None => rows::results(rows, output),
    };
    let output_mode = match (aggregate, options.emit) {
        (None, _) | (Some(_), Emit::Final) => "append",
        (Some(_), Emit::Changes) => "update",
    };
    Ok(Printed { relation: sink::records(results, sink), output_mode })
}
