//! Rows before any grouping: joins with reference tables, and row-by-row results.

use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use arrow_schema::{ArrowError, Field, Schema};
use spark_connect_proto::Drop as DropColumns;
use spark_connect_proto::Relation;
use spark_connect_proto::relation::RelType;
use sql::spark::name;
use sql::{Expression as SqlExpression, Join};

use super::{ReferenceRows, own};
use crate::error::{Error, Result};
use crate::print::relation::{join_small, local, project, relation};
use crate::print::sink::{IS_DELETED, VERSION};

/// Appends the columns of a reference table.
pub(super) fn join(rows: Relation, number: usize, join: &Join, table: &ReferenceRows) -> Result<Relation> {
    let Join { reference, kind, stream_keys, reference_columns, output_columns, as_of } = join;
    let wrong = |reason: String| Error::Protocol(format!("reference table {reference}: {reason}"));
    let key_name = |index: usize| own(&format!("join{number}_key{index}"));
    let mut own_names: Vec<String> = (0..table.key.len()).map(key_name).collect();
    let mut columns = Vec::new();
    let names = own_names.iter().chain(output_columns);
    for (column, name) in table.key.iter().chain(reference_columns).zip(names) {
        let array = table.rows.column_by_name(column).ok_or_else(|| wrong(format!("it has no column {column}")))?;
        columns.push((name.clone(), Arc::clone(array)));
    }
    let equal = stream_keys.iter().zip(&own_names).map(|(key, own)| format!("{} = {}", key.to_spark(), name(own)));
    let mut conditions: Vec<String> = equal.collect();
    if let Some(time) = as_of {
        let (from_us, to_us) = table.valid_us.as_ref().ok_or_else(|| wrong("its rows have no validity".to_owned()))?;
        let time = format!("unix_micros({})", time.to_spark());
        for (bound, comparison, times_us) in [("from", ">=", from_us), ("to", "<", to_us)] {
            let bound = own(&format!("join{number}_{bound}"));
            conditions.push(format!("{time} {comparison} {}", name(&bound)));
            columns.push((bound.clone(), Arc::new(Int64Array::from(times_us.clone()))));
            own_names.push(bound);
        }
    }
    let right = local(&batch(&columns, table.rows.num_rows()).map_err(|error| wrong(error.to_string()))?)?;
    let joined = join_small(rows, right, *kind, &conditions.join(" AND "));
    let dropped = DropColumns { input: Some(Box::new(joined)), column_names: own_names, ..DropColumns::default() };
    Ok(relation(RelType::Drop(Box::new(dropped))))
}

fn batch(columns: &[(String, ArrayRef)], rows: usize) -> std::result::Result<RecordBatch, ArrowError> {
    let field = |(name, array): &(String, ArrayRef)| Field::new(name, array.data_type().clone(), true);
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    let arrays = columns.iter().map(|(_, array)| Arc::clone(array)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(schema), arrays, &options)
}

/// The results of a row-by-row query: each row is one, of one row, and final.
pub(super) fn results(rows: Relation, output: &[(String, SqlExpression)]) -> Relation {
    let mut columns: Vec<(String, String)> =
        output.iter().map(|(name, value)| (name.clone(), value.to_spark())).collect();
    columns.push((own(VERSION), "'1:1'".to_owned()));
    columns.push((own(IS_DELETED), "FALSE".to_owned()));
    project(rows, &columns)
}
