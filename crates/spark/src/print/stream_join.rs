//! Joins of two streams: equal keys, and event times within bounds of each other.

use std::sync::Arc;

use arrow_schema::Field;
use spark_connect_proto::Relation;
use sql::spark::name;
use sql::{JOINED_OFFSET, JOINED_PARTITION, JoinKind, SOURCE_OFFSET, SOURCE_PARTITION, StreamJoin};

use super::Read;
use super::branches::Inputs;
use crate::error::Result;
use crate::print::relation::{self, filter, project};

/// Pairs of the rows of the first stream with those of the second, whose columns `fields` begins with.
///
/// # Errors
/// `Plan` when the second stream has no source.
pub(super) fn join(inputs: &Inputs<'_>, left: Relation, join: &StreamJoin, fields: &[Arc<Field>]) -> Result<Relation> {
    let StreamJoin { stream, kind, input_columns, output_columns, keys, left_time, right_time, lower_us, upper_us } =
        join;
    let of_stream: Vec<Arc<Field>> = input_columns
        .iter()
        .zip(fields)
        .map(|(column, field)| Arc::new(field.as_ref().clone().with_name(column)))
        .collect();
    let mut columns =
        vec![(JOINED_PARTITION.to_owned(), name(SOURCE_PARTITION)), (JOINED_OFFSET.to_owned(), name(SOURCE_OFFSET))];
    columns.extend(output_columns.iter().cloned().zip(input_columns.iter().map(|column| name(column))));
    let right = project(inputs.stream(stream, &of_stream)?, &columns);

    let (left_time, right_time) = (left_time.to_spark(), right_time.to_spark());
    let mut conditions: Vec<String> =
        keys.iter().map(|(left, right)| format!("{} = {}", left.to_spark(), right.to_spark())).collect();
    // Spark reads from these how long rows of either side may find a partner.
    conditions.push(format!("{right_time} >= ({left_time} + INTERVAL '{lower_us} microseconds')"));
    conditions.push(format!("{right_time} <= ({left_time} + INTERVAL '{upper_us} microseconds')"));
    let pairs = relation::join(left, right, *kind, &conditions.join(" AND "));
    if let (JoinKind::Left, Read::Batch { watermark_us }) = (kind, inputs.read) {
        // A row without a partner is a result once none can come any more.
        let is_alone = match watermark_us {
            Some(us) => format!("unix_micros({left_time}) < {}L", us.saturating_sub(*upper_us)),
            None => "FALSE".to_owned(),
        };
        return Ok(filter(pairs, &format!("{} IS NOT NULL OR {is_alone}", name(JOINED_PARTITION))));
    }
    Ok(pairs)
}
