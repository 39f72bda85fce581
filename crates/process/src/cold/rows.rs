//! Rows as bytes, for what is written of a key.

use arrow_array::{ArrayRef, RecordBatch};
use arrow_row::{RowConverter, Rows, SortField};
use arrow_schema::SchemaRef;

use crate::error::Cause;

/// Rows of one schema to bytes and back, bit by bit.
#[derive(Debug)]
pub(crate) struct RowCodec {
    converter: RowConverter,
}

impl RowCodec {
    /// `None` if it has columns that don't come back as they were.
    pub(crate) fn new(schema: &SchemaRef) -> Result<Option<Self>, Cause> {
        let fields: Vec<SortField> =
            schema.fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
        if fields.is_empty() || !RowConverter::supports_fields(&fields) {
            return Ok(None);
        }
        let converter = RowConverter::new(fields)?;
        let nothing = RecordBatch::new_empty(schema.clone());
        let back = converter.convert_rows(&converter.convert_columns(nothing.columns())?)?;
        let is_same = back.iter().zip(nothing.columns()).all(|(back, column)| back.data_type() == column.data_type());
        Ok(is_same.then_some(Self { converter }))
    }

    pub(crate) fn encode(&self, columns: &[ArrayRef]) -> Result<Rows, Cause> {
        Ok(self.converter.convert_columns(columns)?)
    }

    /// The columns of rows that this codec encoded.
    pub(crate) fn decode<'a>(&self, rows: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>, Cause> {
        let parser = self.converter.parser();
        Ok(self.converter.convert_rows(rows.map(|row| parser.parse(row)))?)
    }
}
