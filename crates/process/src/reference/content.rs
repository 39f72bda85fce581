//! A load's rows as bytes: the same for the same rows, in whatever order they came.

use std::sync::Arc;

use arrow_array::{RecordBatch, UInt32Array};
use arrow_row::{RowConverter, SortField};
use arrow_schema::SchemaRef;
use arrow_select::take::take_record_batch;
use state::{CodecError, SnapshotReader, SnapshotWriter};

use super::key_columns;
use super::validity::Validity;
use crate::error::ReferenceError;

const OWNER: &str = "reference";
const VERSION: u32 = 1;

/// The columns by which a table's rows are ordered: its key, and when they begin to be valid.
pub fn row_order(key: &[String], validity: Option<&Validity>) -> Vec<String> {
    key.iter().chain(validity.map(|validity| &validity.from)).cloned().collect()
}

/// The rows ordered by these columns, NULL first.
///
/// # Errors
/// [`ReferenceError`]: a key column that isn't there, a type that can't be a key.
pub fn in_key_order(name: &str, rows: &RecordBatch, key: &[String]) -> Result<RecordBatch, ReferenceError> {
    let failed = |reason: String| ReferenceError::Unindexable { reference: name.to_owned(), reason };
    let columns = key_columns(name, rows, key)?;
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let converter = RowConverter::new(fields).map_err(|error| failed(error.to_string()))?;
    let keys = converter.convert_columns(&columns).map_err(|error| failed(error.to_string()))?;
    let count = u32::try_from(rows.num_rows()).map_err(|_| failed("it has more than 4294967295 rows".into()))?;
    let mut order: Vec<u32> = (0..count).collect();
    order.sort_by(|a, b| keys.row(*a as usize).cmp(&keys.row(*b as usize)));
    take_record_batch(rows, &UInt32Array::from(order)).map_err(|error| failed(error.to_string()))
}

/// Rows as bytes.
///
/// # Errors
/// For columns of nested types.
pub fn write_rows(rows: &RecordBatch) -> Result<Vec<u8>, CodecError> {
    let mut writer = SnapshotWriter::new(OWNER, "");
    writer.section("rows", VERSION, "", |inner| {
        inner.u64(rows.num_columns() as u64);
        for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
            inner.text(field.name());
            inner.column(column.as_ref())?;
        }
        Ok::<_, CodecError>(())
    })?;
    Ok(writer.finish())
}

/// The rows of [`write_rows`], which must have the columns of `schema`.
///
/// # Errors
/// When they have others, or the bytes are something else.
pub fn read_rows(bytes: &[u8], schema: &SchemaRef) -> Result<RecordBatch, CodecError> {
    let invalid = |reason: String| CodecError::Invalid { what: "reference rows", reason };
    let mut reader = SnapshotReader::open(bytes, OWNER, "")?;
    let columns = reader.section("rows", VERSION, "", |inner, _| {
        let count = inner.count(size_of::<u64>())?;
        if count != schema.fields().len() {
            return Err(invalid(format!("they have {count} columns, and the table has {}", schema.fields().len())));
        }
        let mut columns = Vec::with_capacity(count);
        for field in schema.fields() {
            let name = inner.text()?;
            if name != field.name() {
                return Err(invalid(format!("they have a column {name} where the table has {}", field.name())));
            }
            columns.push(inner.column(field.data_type())?);
        }
        Ok(columns)
    })?;
    reader.finish()?;
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(|error| invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{ArrayRef, Int64Array, StringArray};
    use arrow_schema::{DataType, Field, Schema};

    fn rows(ids: Vec<&str>, numbers: Vec<Option<i64>>) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("id", DataType::Utf8, false), Field::new("n", DataType::Int64, true)]);
        let columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from(ids)), Arc::new(Int64Array::from(numbers))];
        RecordBatch::try_new(Arc::new(schema), columns).unwrap()
    }

    #[test]
    fn the_order_of_rows_does_not_matter_and_everything_else_does() {
        let bytes = |rows: &RecordBatch| write_rows(&in_key_order("m", rows, &["id".into()]).unwrap()).unwrap();
        let first = bytes(&rows(vec!["a", "b"], vec![Some(1), None]));
        assert_eq!(bytes(&rows(vec!["b", "a"], vec![None, Some(1)])), first);
        assert_ne!(bytes(&rows(vec!["b", "a"], vec![Some(0), Some(1)])), first);
        assert_ne!(bytes(&rows(vec!["b", "c"], vec![None, Some(1)])), first);
    }

    #[test]
    fn rows_come_back_and_other_columns_are_refused() {
        let written = rows(vec!["a", "b"], vec![Some(1), None]);
        let bytes = write_rows(&written).unwrap();
        assert_eq!(read_rows(&bytes, &written.schema()).unwrap(), written);
        let other = |fields: Vec<Field>| read_rows(&bytes, &Arc::new(Schema::new(fields))).unwrap_err().to_string();
        let id = || Field::new("id", DataType::Utf8, false);
        assert!(other(vec![id()]).contains("2 columns"));
        assert!(other(vec![id(), Field::new("m", DataType::Int64, true)]).contains("column n"));
        assert!(other(vec![id(), Field::new("n", DataType::Utf8, true)]).contains("Int64"));
    }
}
