//! Arrow values as cells.

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use project::testfile::Cell;

/// A row: columns with their values.
pub(crate) type Row = Vec<(String, Cell)>;

/// A column's value in a row, if there is such a column; the first of several.
pub(crate) fn value<'r>(row: &'r Row, column: &str) -> Option<&'r Cell> {
    row.iter().find(|(name, _)| name == column).map(|(_, value)| value)
}

/// All rows of a batch.
pub(crate) fn rows(batch: &RecordBatch) -> Vec<Row> {
    let columns = || batch.schema_ref().fields().iter().zip(batch.columns());
    let row = |at| columns().map(|(field, column)| (field.name().clone(), cell(column.as_ref(), at))).collect();
    (0..batch.num_rows()).map(row).collect()
}

/// One value.
pub(crate) fn cell(array: &dyn Array, at: usize) -> Cell {
    if array.is_null(at) {
        return Cell::Null;
    }
    match array.data_type() {
        DataType::Boolean => Cell::Boolean(array.as_boolean().value(at)),
        DataType::Int32 => Cell::integer(array.as_primitive::<Int32Type>().value(at)),
        DataType::Int64 => Cell::integer(array.as_primitive::<Int64Type>().value(at)),
        DataType::Float32 => Cell::Double(f64::from(array.as_primitive::<Float32Type>().value(at))),
        DataType::Float64 => Cell::Double(array.as_primitive::<Float64Type>().value(at)),
        DataType::Decimal128(_, scale) => {
            let unscaled = array.as_primitive::<Decimal128Type>().value(at);
            Cell::Number { unscaled, scale: u32::try_from(*scale).unwrap_or(0) }
        }
        DataType::Utf8 => Cell::Text(array.as_string::<i32>().value(at).to_owned()),
        DataType::Binary => Cell::Binary(array.as_binary::<i32>().value(at).to_vec()),
        DataType::Timestamp(_, _) => Cell::Timestamp(array.as_primitive::<TimestampMicrosecondType>().value(at)),
        DataType::Date32 => Cell::Date(array.as_primitive::<Date32Type>().value(at)),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(at);
            Cell::List((0..items.len()).map(|item| cell(items.as_ref(), item)).collect())
        }
        // Results have no other types; should one come, its name is a value that no test expects.
        other => Cell::Text(format!("a value of type {other}")),
    }
}
