//! Arrow columns to values in the wire format, row by row and without an allocation for each.

use std::collections::HashMap;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, BinaryArray, BooleanArray, RecordBatch, StringArray};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, TimeUnit};
use model::{BytesColumn, Classified, Domain, Retry};

use crate::arrow::{ArrowMappingError, ColumnType, Unit, Wire, columns};
use crate::decode::{Decoded, Decoder};
use crate::schema::{Kind, Schema};
use crate::{put, values, wire};

/// Why a batch can't be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The batch lacks a column.
    #[error("the batch has no column `{field}`, which the schema `{schema}` asks for")]
    MissingColumn {
        /// Name of the schema.
        schema: String,
        /// Name of the field.
        field: String,
    },
    /// A column has another type than its field.
    #[error("column `{field}` is {found}; the schema asks for {expected}")]
    WrongType {
        /// Name of the field.
        field: String,
        /// Type that the schema asks for.
        expected: Box<DataType>,
        /// Type of the column.
        found: Box<DataType>,
    },
    /// A value doesn't fit its field.
    #[error("column `{field}`, row {row}: {message}")]
    Value {
        /// Name of the field.
        field: String,
        /// Row in the batch.
        row: usize,
        /// What doesn't fit.
        message: String,
    },
}

impl Classified for EncodeError {
    fn domain(&self) -> Domain {
        Domain::Internal
    }

    fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// Encodes batches by one schema.
#[derive(Debug, Clone)]
pub struct Encoder {
    schema: Schema,
    id: u32,
    fields: Vec<EncoderField>,
}

#[derive(Debug, Clone)]
struct EncoderField {
    name: Box<str>,
    column: ColumnType,
    /// Index of each symbol of an enum.
    symbols: HashMap<Box<str>, i64>,
}

impl Encoder {
    /// An encoder that writes `id` into each header.
    ///
    /// # Errors
    /// A schema that isn't flat columns.
    pub fn new(schema: &Schema, id: u32) -> Result<Self, ArrowMappingError> {
        let field = |(field, column): (&crate::schema::Field, ColumnType)| {
            let symbols = match &schema.node(column.node).kind {
                Kind::Enum(enumeration) => {
                    (0_i64..).zip(&enumeration.symbols).map(|(index, symbol)| (symbol.as_str().into(), index)).collect()
                }
                _ => HashMap::new(),
            };
            EncoderField { name: field.name.as_str().into(), column, symbols }
        };
        let fields = schema.fields().iter().zip(columns(schema)?).map(field).collect();
        Ok(Self { schema: schema.clone(), id, fields })
    }

    /// The schema.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The id in each header.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Finds the columns of a batch by name, so that rows can be encoded one by one.
    ///
    /// # Errors
    /// A column that is missing, of another type, or null where the schema has no null.
    pub fn bind<'a>(&'a self, batch: &'a RecordBatch) -> Result<BoundEncoder<'a>, EncodeError> {
        let bind = |field: &'a EncoderField| {
            let array = batch.column_by_name(&field.name).ok_or_else(|| EncodeError::MissingColumn {
                schema: self.schema.name().to_owned(),
                field: field.name.to_string(),
            })?;
            bind(field, array)
        };
        Ok(BoundEncoder {
            id: self.id,
            columns: self.fields.iter().map(bind).collect::<Result<_, _>>()?,
            rows: batch.num_rows(),
        })
    }

    /// Appends one value for each row of the batch. Further columns of the batch are left out.
    ///
    /// # Errors
    /// A column or value that doesn't fit; the rows before it have been appended.
    pub fn encode(&self, batch: &RecordBatch, out: &mut BytesColumn) -> Result<(), EncodeError> {
        let bound = self.bind(batch)?;
        (0..batch.num_rows()).try_for_each(|row| out.push_with(|buffer| bound.encode_row(row, buffer)))
    }
}

/// An encoder with a batch's columns at hand.
#[derive(Debug)]
pub struct BoundEncoder<'a> {
    id: u32,
    columns: Vec<BoundColumn<'a>>,
    rows: usize,
}

#[derive(Debug)]
struct BoundColumn<'a> {
    field: &'a EncoderField,
    source: Source<'a>,
    nulls: Option<&'a NullBuffer>,
}

/// A column's values by how they are held.
#[derive(Debug)]
enum Source<'a> {
    Boolean(&'a BooleanArray),
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    Float32(&'a [f32]),
    Float64(&'a [f64]),
    Decimal(&'a [i128]),
    Text(&'a StringArray),
    Bytes(&'a BinaryArray),
}

fn bind<'a>(field: &'a EncoderField, array: &'a ArrayRef) -> Result<BoundColumn<'a>, EncodeError> {
    let expected = field.column.data_type();
    let source = match (&expected, array.data_type()) {
        (DataType::Boolean, DataType::Boolean) => Source::Boolean(array.as_boolean()),
        (DataType::Int32, DataType::Int32) => Source::Int32(array.as_primitive::<Int32Type>().values()),
        (DataType::Date32, DataType::Date32) => Source::Int32(array.as_primitive::<Date32Type>().values()),
        (DataType::Int64, DataType::Int64) => Source::Int64(array.as_primitive::<Int64Type>().values()),
        (DataType::Timestamp(..), DataType::Timestamp(TimeUnit::Microsecond, Some(_))) => {
            Source::Int64(array.as_primitive::<TimestampMicrosecondType>().values())
        }
        (DataType::Float64, DataType::Float64) => Source::Float64(array.as_primitive::<Float64Type>().values()),
        (DataType::Float64, DataType::Float32) => Source::Float32(array.as_primitive::<Float32Type>().values()),
        (DataType::Decimal128(_, scale), DataType::Decimal128(_, other)) if scale == other => {
            Source::Decimal(array.as_primitive::<Decimal128Type>().values())
        }
        (DataType::Utf8, DataType::Utf8) => Source::Text(array.as_string()),
        (DataType::Binary, DataType::Binary) => Source::Bytes(array.as_binary()),
        (_, found) => {
            let (expected, found) = (Box::new(expected.clone()), Box::new(found.clone()));
            return Err(EncodeError::WrongType { field: field.name.to_string(), expected, found });
        }
    };
    let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
    if let (Some(nulls), false) = (nulls, field.column.is_nullable()) {
        let row = nulls.iter().position(|is_valid| !is_valid).unwrap_or(0);
        let message = "null, which the schema doesn't allow".to_owned();
        return Err(EncodeError::Value { field: field.name.to_string(), row, message });
    }
    Ok(BoundColumn { field, source, nulls })
}

impl BoundEncoder<'_> {
    /// Appends one row with its header.
    ///
    /// # Errors
    /// A value that doesn't fit; part of the row has been appended.
    ///
    /// # Panics
    /// If the batch has no such row.
    pub fn encode_row(&self, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        assert!(row < self.rows, "row {row} of a batch of {} rows", self.rows);
        wire::write_header(self.id, out);
        self.columns.iter().try_for_each(|column| column.encode(row, out))
    }
}

impl BoundColumn<'_> {
    #[inline]
    #[allow(clippy::indexing_slicing, reason = "the row is checked against the batch, whose columns are equally long")]
    fn encode(&self, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let ColumnType { union, wire, .. } = self.field.column;
        if let Some(nulls) = self.nulls
            && nulls.is_null(row)
        {
            put::null(union, out);
            return Ok(());
        }
        if let Some(union) = union {
            put::long(i64::from(union.value), out);
        }
        match &self.source {
            Source::Boolean(values) => out.push(u8::from(values.value(row))),
            Source::Int32(values) => put::long(i64::from(values[row]), out),
            Source::Int64(values) => return self.long(values[row], wire, row, out),
            Source::Float32(values) => float(f64::from(values[row]), wire, out),
            Source::Float64(values) => float(values[row], wire, out),
            Source::Decimal(values) => return self.decimal(values[row], wire, row, out),
            Source::Text(values) => return self.text(values.value(row), wire, row, out),
            Source::Bytes(values) => return self.bytes(values.value(row), wire, row, out),
        }
        Ok(())
    }

    #[inline]
    fn long(&self, value: i64, wire: Wire, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match wire {
            Wire::Timestamp { unit: Unit::Millis } if value % 1_000 != 0 => {
                Err(self.misfit(row, format!("a timestamp of {value} µs, which timestamp-millis can't hold")))
            }
            Wire::Timestamp { unit: Unit::Millis } => {
                put::long(value / 1_000, out);
                Ok(())
            }
            _ => {
                put::long(value, out);
                Ok(())
            }
        }
    }

    #[inline]
    fn decimal(&self, value: i128, wire: Wire, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let Wire::Decimal { size, precision, .. } = wire else { return Ok(()) };
        let max = values::decimal_max(precision);
        if !(-max..=max).contains(&value) || !put::decimal(value, size, out) {
            return Err(self.misfit(row, values::beyond_precision(max).into_owned()));
        }
        Ok(())
    }

    #[inline]
    fn text(&self, value: &str, wire: Wire, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match wire {
            Wire::Enum => match self.field.symbols.get(value) {
                Some(index) => put::long(*index, out),
                None => return Err(self.misfit(row, format!("`{value}` is none of the enum's symbols"))),
            },
            Wire::UuidFixed => match values::uuid_bytes(value) {
                Some(bytes) => out.extend_from_slice(&bytes),
                None => return Err(self.misfit(row, format!("`{value}` is no uuid"))),
            },
            _ => put::prefixed(value.as_bytes(), out),
        }
        Ok(())
    }

    #[inline]
    fn bytes(&self, value: &[u8], wire: Wire, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match wire {
            Wire::Fixed { size } if value.len() != size => {
                Err(self.misfit(row, format!("{} bytes for a fixed of {size}", value.len())))
            }
            Wire::Fixed { .. } => {
                out.extend_from_slice(value);
                Ok(())
            }
            _ => {
                put::prefixed(value, out);
                Ok(())
            }
        }
    }

    #[cold]
    fn misfit(&self, row: usize, message: String) -> EncodeError {
        EncodeError::Value { field: self.field.name.to_string(), row, message }
    }
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "the field's own type is float")]
fn float(value: f64, wire: Wire, out: &mut Vec<u8>) {
    if wire == Wire::Float {
        out.extend_from_slice(&(value as f32).to_le_bytes());
    } else {
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// Gives accepted records the reader's schema: a copy of the payload under another header where the writer's bytes are the
/// same already, a fresh encoding where not.
#[derive(Debug, Clone)]
pub struct Reencoder {
    encoder: Encoder,
}

impl Reencoder {
    /// A re-encoder into `reader`, which is registered as `id`.
    ///
    /// # Errors
    /// A schema that isn't flat columns.
    pub fn new(reader: &Schema, id: u32) -> Result<Self, ArrowMappingError> {
        Ok(Self { encoder: Encoder::new(reader, id)? })
    }

    /// Appends one value for each row of `decoded.batch`, in order. `values` are those that `decoder` decoded, without a
    /// projection and with the same reader's schema.
    ///
    /// # Errors
    /// A batch that doesn't hold all columns of the schema; the rows before it have been appended.
    pub fn encode(
        &self,
        decoder: &Decoder,
        values: &BytesColumn,
        decoded: &Decoded,
        out: &mut BytesColumn,
    ) -> Result<(), EncodeError> {
        let bound = self.encoder.bind(&decoded.batch)?;
        let mut last = None;
        for (row, source) in decoded.rows.iter().enumerate() {
            let split = values.get(*source as usize).and_then(wire::split);
            let copy = split.filter(|(id, _)| {
                let is_identity = match last {
                    Some((same, is_identity)) if same == *id => is_identity,
                    _ => decoder.is_identity(*id),
                };
                last = Some((*id, is_identity));
                is_identity
            });
            out.push_with(|buffer| match copy {
                Some((_, payload)) => {
                    wire::write_header(self.encoder.id, buffer);
                    buffer.extend_from_slice(payload);
                    Ok(())
                }
                None => bound.encode_row(row, buffer),
            })?;
        }
        Ok(())
    }
}
