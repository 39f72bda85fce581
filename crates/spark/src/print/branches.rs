//! Where a query's rows come from: one stream or two that are joined, reference tables, the filter; and the branches of UNION ALL.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_schema::Field;
use spark_connect_proto::Relation;
use sql::spark::name;
use sql::{Branch, JOINED_OFFSET, JOINED_PARTITION, Query, SOURCE_BRANCH, SOURCE_OFFSET, SOURCE_PARTITION};

use super::source::Source;
use super::{Read, ReferenceRows, rows, source, stream_join};
use crate::error::{Error, Result};
use crate::print::relation::{filter, project, union_all};

/// What a query reads.
pub(super) struct Inputs<'a> {
    pub(super) query: &'a Query,
    /// The topics of its streams.
    pub(super) sources: &'a BTreeMap<String, Source>,
    pub(super) references: &'a BTreeMap<String, ReferenceRows>,
    pub(super) read: &'a Read,
}

impl Inputs<'_> {
    /// The rows of a stream: positions, event time, and these of its columns, each row once.
    ///
    /// # Errors
    /// `Plan` if the stream has no source.
    pub(super) fn stream(&self, stream: &str, fields: &[Arc<Field>]) -> Result<Relation> {
        let missing = || self.error(format!("the stream {stream} has no topic"));
        source::rows(self.sources.get(stream).ok_or_else(missing)?, fields)
    }

    pub(super) fn error(&self, reason: String) -> Error {
        Error::Plan { query: self.query.name.clone(), reason }
    }
}

/// The columns that tell the rows of a query apart, in the order in which they decide between rows of one time.
pub(super) fn positions(query: &Query) -> Vec<&'static str> {
    let mut positions = vec![SOURCE_PARTITION, SOURCE_OFFSET];
    if query.branches.len() > 1 {
        positions.push(SOURCE_BRANCH);
    }
    if query.branches.iter().any(|branch| branch.stream_join.is_some()) {
        positions.extend([JOINED_PARTITION, JOINED_OFFSET]);
    }
    positions
}

/// The rows of all branches.
///
/// # Errors
/// `Plan` when a stream or a reference table isn't there.
pub(super) fn rows(inputs: &Inputs<'_>) -> Result<Relation> {
    let mut all = None;
    for (number, branch) in inputs.query.branches.iter().enumerate() {
        let rows = of_branch(inputs, number, branch)?;
        all = Some(match all {
            None => rows,
            Some(before) => union_all(before, rows),
        });
    }
    all.ok_or_else(|| inputs.error("it reads no stream".to_owned()))
}

fn of_branch(inputs: &Inputs<'_>, number: usize, branch: &Branch) -> Result<Relation> {
    let Branch { stream, input_columns, stream_join, joins, row_schema, filter: condition, columns } = branch;
    let fields: Vec<Arc<Field>> = row_schema.fields().iter().cloned().collect();
    let (of_stream, further) = fields.split_at_checked(input_columns.len()).unwrap_or((&fields, &[]));
    let mut rows = inputs.stream(stream, of_stream)?;
    if let Some(join) = stream_join {
        rows = stream_join::join(inputs, rows, join, further)?;
    }
    for (number, join) in joins.iter().enumerate() {
        let missing = || inputs.error(format!("the reference table {} isn't loaded", join.reference));
        rows = rows::join(rows, number, join, inputs.references.get(&join.reference).ok_or_else(missing)?)?;
    }
    if let Some(condition) = condition {
        rows = filter(rows, &condition.to_spark());
    }
    let Some(columns) = columns else { return Ok(rows) };
    let mut shared: Vec<(String, String)> =
        [SOURCE_PARTITION, SOURCE_OFFSET].map(|position| (position.to_owned(), name(position))).into();
    shared.push((SOURCE_BRANCH.to_owned(), number.to_string()));
    shared.extend(columns.iter().map(|(name, value)| (name.clone(), value.to_spark())));
    Ok(project(rows, &shared))
}
