//! The ids of a batch's rows as bytes: two rows have the same id if and only if the bytes are equal.

use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, RecordBatch, StringArray};
use arrow_row::{RowConverter, Rows, SortField};
use arrow_schema::DataType;

/// Reads ids from batches of one schema.
#[derive(Debug)]
pub(crate) struct IdReader {
    columns: Vec<usize>,
    converter: Option<RowConverter>,
}

impl IdReader {
    /// Of these columns of the schema; `None` if there are none.
    pub(crate) fn new(id: &[String], schema: &arrow_schema::Schema) -> Result<Option<Self>, String> {
        let mut columns = Vec::new();
        let mut fields = Vec::new();
        for name in id {
            let index = schema.index_of(name).map_err(|error| error.to_string())?;
            columns.push(index);
            fields.push(schema.field(index));
        }
        // A text that is never null is its own bytes, at half the size of the general form.
        let converter = match fields.as_slice() {
            [] => return Ok(None),
            [only] if *only.data_type() == DataType::Utf8 && !only.is_nullable() => None,
            _ => {
                let fields = fields.iter().map(|field| SortField::new(field.data_type().clone())).collect();
                Some(RowConverter::new(fields).map_err(|error| error.to_string())?)
            }
        };
        Ok(Some(Self { columns, converter }))
    }

    /// The ids of a batch's rows.
    pub(crate) fn read(&self, batch: &RecordBatch) -> Result<Ids, String> {
        let columns: Vec<ArrayRef> = self.columns.iter().map(|&index| Arc::clone(batch.column(index))).collect();
        if let Some(converter) = &self.converter {
            return converter.convert_columns(&columns).map(Ids::Rows).map_err(|error| error.to_string());
        }
        let text = columns.first().and_then(|column| column.as_any().downcast_ref::<StringArray>());
        text.cloned().map(Ids::Text).ok_or_else(|| "the id column isn't the text that its schema says".to_owned())
    }
}

/// The ids of a batch's rows.
#[derive(Debug)]
pub(crate) enum Ids {
    Text(StringArray),
    Rows(Rows),
}

impl Ids {
    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Rows(rows) => rows.num_rows(),
        }
    }

    /// The id of a row, which must be there.
    pub(crate) fn get(&self, row: usize) -> &[u8] {
        match self {
            Self::Text(text) => text.value(row).as_bytes(),
            Self::Rows(rows) => rows.row(row).data(),
        }
    }
}
