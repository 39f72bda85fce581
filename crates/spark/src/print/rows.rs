//! Rows before any grouping: joins with reference tables, and row-by-row results.

use std::sync::Arc;

use arrow_array::{Array as _, RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, Schema};
use spark_connect_proto::Drop as DropColumns;
use spark_connect_proto::Relation;
use spark_connect_proto::join::JoinType;
use spark_connect_proto::relation::RelType;
use sql::spark::name;
use sql::{Expression as SqlExpression, Join, JoinKind};

use super::{ReferenceRows, own};
use crate::error::{Error, Result};
use crate::print::relation::{join_small, local, project, relation};
use crate::print::sink::{IS_DELETED, VERSION};

/// Appends the columns of a reference table.
pub(super) fn join(rows: Relation, number: usize, join: &Join, table: &ReferenceRows) -> Result<Relation> {
    let Join { reference, kind, stream_keys, reference_columns, output_columns, as_of: _ } = join;
    let key_name = |index: usize| own(&format!("join{number}_key{index}"));
    let names = (0..table.key.len()).map(key_name).chain(output_columns.iter().cloned());
    let right = local(&columns(reference, &table.rows, table.key.iter().chain(reference_columns), names)?)?;
    let equal = stream_keys.iter().enumerate().map(|(at, key)| format!("{} = {}", key.to_spark(), name(&key_name(at))));
    let condition = equal.collect::<Vec<_>>().join(" AND ");
    let kind = match kind {
        JoinKind::Inner => JoinType::Inner,
        JoinKind::Left => JoinType::LeftOuter,
    };
    let joined = join_small(rows, right, kind, &condition);
    let column_names = (0..stream_keys.len()).map(key_name).collect();
    let dropped = DropColumns { input: Some(Box::new(joined)), column_names, ..DropColumns::default() };
    Ok(relation(RelType::Drop(Box::new(dropped))))
}

/// Columns of a table under other names.
fn columns<'a>(
    reference: &str,
    table: &RecordBatch,
    wanted: impl Iterator<Item = &'a String>,
    names: impl Iterator<Item = String>,
) -> Result<RecordBatch> {
    let wrong = |reason: String| Error::Protocol(format!("reference table {reference}: {reason}"));
    let mut fields = Vec::new();
    let mut arrays = Vec::new();
    for (column, name) in wanted.zip(names) {
        let array = table.column_by_name(column).ok_or_else(|| wrong(format!("it has no column {column}")))?;
        fields.push(Field::new(name, array.data_type().clone(), true));
        arrays.push(Arc::clone(array));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(table.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        .map_err(|error| wrong(error.to_string()))
}

/// The results of a row-by-row query: each row is one, of one row, and final.
pub(super) fn results(rows: Relation, output: &[(String, SqlExpression)]) -> Relation {
    let mut columns: Vec<(String, String)> =
        output.iter().map(|(name, value)| (name.clone(), value.to_spark())).collect();
    columns.push((own(VERSION), "'1:1'".to_owned()));
    columns.push((own(IS_DELETED), "FALSE".to_owned()));
    project(rows, &columns)
}
