//! A query as relations of Spark Connect.
//!
//! | file | prints |
//! | --- | --- |
//! | `source` | a validated topic as rows with their raw positions |
//! | `records` | records in place of a topic |
//! | `branches` | the rows of a query, of one stream or several |
//! | `stream_join` | joins of two streams |
//! | `rows` | joins with reference tables, row-by-row results |
//! | `grouping` | windows, groups, aggregates, also over the groups of other windows |
//! | `sink` | results as Kafka records |
//! | `relation` | the parts that relations are made of |

mod branches;
mod grouping;
mod records;
pub mod relation;
mod rows;
mod sink;
mod source;
mod stream_join;

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use md5::Digest as _;
use spark_connect_proto::Relation;
use sql::spark::OWN_PREFIX;
use sql::{Emit, Query};

pub use records::record_rows;
pub use sink::{Sink, StreamTrigger, as_rows, batch_write, stream_write};
pub use source::{Input, Source, WriterSchema};

use branches::Inputs;

use crate::client::to_arrow_stream;
use crate::error::{Error, Result};

/// Bytes of a digest.
const DIGEST_BYTES: usize = 6;

/// How a query is worked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// Over what is there, at once.
    Batch {
        /// Watermark of the query in microseconds since 1970, the least of its streams', if each has one yet. Windows are final once they
        /// end at or before it.
        watermark_us: Option<i64>,
    },
    /// Over what comes.
    Stream,
    /// Over what comes, each record at once, in Spark's Real-Time Mode: for queries that [`can_be_real_time`].
    RealTime,
}

/// Whether Spark's Real-Time Mode has all that the query needs: it keeps nothing between rows.
pub fn can_be_real_time(query: &Query) -> bool {
    query.aggregate.is_none() && query.branches.iter().all(|branch| branch.stream_join.is_none())
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

/// Whether Spark publishes each result once, when it is over, whatever the query's option says: it has nothing else for windows over windows
/// and for windows over pairs.
fn is_published_once(query: &Query) -> bool {
    query.aggregate.is_none()
        || query.options.emit == Emit::Final
        || query.inner.is_some()
        || query.branches.iter().any(|branch| branch.stream_join.is_some())
}

/// Tells plans of a streaming query apart: another digest is another plan, whatever of it has changed, and also if rows of a reference
/// table have. `sources` are the topics of its streams, `settings` is what the query is started with besides.
///
/// # Errors
/// When a reference table can't be written as Arrow.
pub fn digest(
    query: &Query,
    sources: &BTreeMap<String, Source>,
    references: &BTreeMap<String, ReferenceRows>,
    read: &Read,
    sink: &Sink,
    settings: &str,
) -> Result<String> {
    let mut digest = md5::Md5::new();
    digest.update(format!("{}{sources:?}{read:?}{sink:?}{settings}", query.describe()));
    for table in query.references().filter_map(|joined| references.get(joined)) {
        digest.update(to_arrow_stream(&table.rows)?);
        digest.update(format!("{:?}", table.valid_us));
    }
    let digest = digest.finalize();
    Ok(digest.iter().take(DIGEST_BYTES).fold(String::new(), |text, byte| format!("{text}{byte:02x}")))
}

/// Prints a query that reads `sources`, the topics of its streams, and joins `references`, with results as records for `sink`.
///
/// # Errors
/// `Plan` when a part of the query has no form on Spark.
pub fn print(
    query: &Query,
    sources: &BTreeMap<String, Source>,
    references: &BTreeMap<String, ReferenceRows>,
    read: &Read,
    sink: &Sink,
) -> Result<Printed> {
    // Each part of a plan is named, so that a new one can't be forgotten here.
    let Query {
        name,
        text,
        options: _,
        branches: _,
        inner,
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
    let rows = branches::rows(&Inputs { query, sources, references, read })?;
    let results = match aggregate {
        Some(aggregate) => {
            let groups = grouping::groups(rows, query, inner.as_ref(), aggregate)?;
            grouping::results(groups, query, having.as_ref(), output, read)
        }
        None => rows::results(rows, output),
    };
    // Real-Time Mode has no other; without groups it is the same.
    let output_mode = if is_published_once(query) && *read != Read::RealTime { "append" } else { "update" };
    Ok(Printed { relation: sink::records(results, sink), output_mode })
}
