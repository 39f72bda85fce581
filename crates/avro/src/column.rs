//! Growing columns of a batch that can take their last row back.

use std::sync::Arc;

use arrow_array::types::{Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{ArrayRef, BinaryArray, BooleanArray, PrimitiveArray, StringArray};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBuffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::DataType;

/// A value for rows whose writer has no such field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Constant {
    Null,
    Boolean(bool),
    Int32(i32),
    Int64(i64),
    Float64(f64),
    Decimal(i128),
    Bytes(Box<[u8]>),
}

#[derive(Debug)]
pub(crate) struct Column {
    data_type: DataType,
    values: Values,
    /// Which rows are null; `None` for a column that can't hold any.
    nulls: Option<NullBufferBuilder>,
}

#[derive(Debug)]
enum Values {
    Boolean(BooleanBufferBuilder),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float64(Vec<f64>),
    Decimal(Vec<i128>),
    Bytes { ends: Vec<i32>, data: Vec<u8> },
}

impl Values {
    fn new(data_type: &DataType, rows: usize, bytes: usize) -> Self {
        match data_type {
            DataType::Boolean => Self::Boolean(BooleanBufferBuilder::new(rows)),
            DataType::Int32 | DataType::Date32 => Self::Int32(Vec::with_capacity(rows)),
            DataType::Float64 => Self::Float64(Vec::with_capacity(rows)),
            DataType::Decimal128(..) => Self::Decimal(Vec::with_capacity(rows)),
            DataType::Utf8 | DataType::Binary => {
                let mut ends = Vec::with_capacity(rows + 1);
                ends.push(0);
                Self::Bytes { ends, data: Vec::with_capacity(bytes) }
            }
            _ => Self::Int64(Vec::with_capacity(rows)),
        }
    }
}

impl Column {
    pub(crate) fn new(data_type: DataType, is_nullable: bool) -> Self {
        let values = Values::new(&data_type, 0, 0);
        Self { data_type, values, nulls: is_nullable.then(|| NullBufferBuilder::new(0)) }
    }

    /// Makes room for this many rows, and as many bytes of text as the last batch had.
    pub(crate) fn reserve(&mut self, rows: usize, bytes: usize) {
        self.values = Values::new(&self.data_type, rows, bytes);
        if let Some(nulls) = &mut self.nulls {
            *nulls = NullBufferBuilder::new(rows);
        }
    }

    #[inline]
    fn valid(&mut self) {
        if let Some(nulls) = &mut self.nulls {
            nulls.append_non_null();
        }
    }

    #[inline]
    pub(crate) fn push_boolean(&mut self, value: bool) {
        if let Values::Boolean(values) = &mut self.values {
            values.append(value);
            self.valid();
        }
    }

    #[inline]
    pub(crate) fn push_int32(&mut self, value: i32) {
        if let Values::Int32(values) = &mut self.values {
            values.push(value);
            self.valid();
        }
    }

    #[inline]
    pub(crate) fn push_int64(&mut self, value: i64) {
        if let Values::Int64(values) = &mut self.values {
            values.push(value);
            self.valid();
        }
    }

    #[inline]
    pub(crate) fn push_float64(&mut self, value: f64) {
        if let Values::Float64(values) = &mut self.values {
            values.push(value);
            self.valid();
        }
    }

    #[inline]
    pub(crate) fn push_decimal(&mut self, value: i128) {
        if let Values::Decimal(values) = &mut self.values {
            values.push(value);
            self.valid();
        }
    }

    /// Appends text or bytes; `None` when the column would pass the 2 GiB that Arrow's offsets reach.
    #[inline]
    pub(crate) fn push_bytes(&mut self, value: &[u8]) -> Option<()> {
        if let Values::Bytes { ends, data } = &mut self.values {
            let end = i32::try_from(data.len() + value.len()).ok()?;
            data.extend_from_slice(value);
            ends.push(end);
            self.valid();
        }
        Some(())
    }

    pub(crate) fn push_null(&mut self) {
        match &mut self.values {
            Values::Boolean(values) => values.append(false),
            Values::Int32(values) => values.push(0),
            Values::Int64(values) => values.push(0),
            Values::Float64(values) => values.push(0.0),
            Values::Decimal(values) => values.push(0),
            Values::Bytes { ends, .. } => ends.push(ends.last().copied().unwrap_or(0)),
        }
        if let Some(nulls) = &mut self.nulls {
            nulls.append_null();
        }
    }

    pub(crate) fn push_constant(&mut self, constant: &Constant) -> Option<()> {
        match constant {
            Constant::Null => self.push_null(),
            Constant::Boolean(value) => self.push_boolean(*value),
            Constant::Int32(value) => self.push_int32(*value),
            Constant::Int64(value) => self.push_int64(*value),
            Constant::Float64(value) => self.push_float64(*value),
            Constant::Decimal(value) => self.push_decimal(*value),
            Constant::Bytes(value) => self.push_bytes(value)?,
        }
        Some(())
    }

    /// Takes back all rows after the first `rows`.
    pub(crate) fn truncate(&mut self, rows: usize) {
        match &mut self.values {
            Values::Boolean(values) => values.truncate(rows),
            Values::Int32(values) => values.truncate(rows),
            Values::Int64(values) => values.truncate(rows),
            Values::Float64(values) => values.truncate(rows),
            Values::Decimal(values) => values.truncate(rows),
            Values::Bytes { ends, data } => {
                ends.truncate(rows + 1);
                let end = ends.last().and_then(|end| usize::try_from(*end).ok()).unwrap_or(0);
                data.truncate(end);
            }
        }
        if let Some(nulls) = &mut self.nulls {
            nulls.truncate(rows);
        }
    }

    /// Bytes of text held.
    pub(crate) fn byte_len(&self) -> usize {
        if let Values::Bytes { data, .. } = &self.values { data.len() } else { 0 }
    }

    /// The rows as an array; the column is empty afterwards.
    pub(crate) fn finish(&mut self) -> ArrayRef {
        let nulls = self.nulls.as_mut().and_then(NullBufferBuilder::finish);
        match std::mem::replace(&mut self.values, Values::new(&self.data_type, 0, 0)) {
            Values::Boolean(mut values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Values::Float64(values) => Arc::new(PrimitiveArray::<Float64Type>::new(values.into(), nulls)),
            Values::Decimal(values) => Arc::new(
                PrimitiveArray::<Decimal128Type>::new(values.into(), nulls).with_data_type(self.data_type.clone()),
            ),
            Values::Int32(values) if self.data_type == DataType::Date32 => {
                Arc::new(PrimitiveArray::<Date32Type>::new(values.into(), nulls))
            }
            Values::Int32(values) => Arc::new(PrimitiveArray::<Int32Type>::new(values.into(), nulls)),
            Values::Int64(values) if self.data_type == DataType::Int64 => {
                Arc::new(PrimitiveArray::<Int64Type>::new(values.into(), nulls))
            }
            Values::Int64(values) => Arc::new(
                PrimitiveArray::<TimestampMicrosecondType>::new(values.into(), nulls)
                    .with_data_type(self.data_type.clone()),
            ),
            Values::Bytes { ends, data } => bytes(&self.data_type, ends, data, nulls),
        }
    }
}

fn bytes(data_type: &DataType, ends: Vec<i32>, data: Vec<u8>, nulls: Option<NullBuffer>) -> ArrayRef {
    let (offsets, data) = (OffsetBuffer::new(ScalarBuffer::from(ends)), Buffer::from_vec(data));
    match data_type {
        DataType::Binary => Arc::new(BinaryArray::new(offsets, data, nulls)),
        _ => Arc::new(StringArray::new(offsets, data, nulls)),
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::Array as _;
    use arrow_array::cast::AsArray as _;

    use super::*;

    #[test]
    fn a_row_can_be_taken_back() {
        let mut text = Column::new(DataType::Utf8, true);
        text.push_bytes(b"one").unwrap();
        text.push_null();
        text.push_bytes(b"lost").unwrap();
        text.truncate(2);
        text.push_bytes(b"two").unwrap();
        let array = text.finish();
        assert_eq!(array.as_string::<i32>().iter().collect::<Vec<_>>(), [Some("one"), None, Some("two")]);
        assert_eq!(text.finish().len(), 0);

        let mut flags = Column::new(DataType::Boolean, false);
        (0..70).for_each(|index| flags.push_boolean(index % 2 == 0));
        flags.truncate(65);
        flags.push_boolean(true);
        let array = flags.finish();
        assert_eq!(array.len(), 66);
        assert!(array.as_boolean().value(64) && array.as_boolean().value(65));
    }
}
