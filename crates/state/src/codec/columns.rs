//! Arrow columns of a snapshot, of flat types.
//!
//! Arrow's IPC would do, but its reader reserves what a length field says; here each buffer is seen to be there first, and Arrow's own full
//! validation (offsets, UTF-8, lengths) comes before any use.

use arrow_array::{Array, ArrayRef, make_array};
use arrow_buffer::{Buffer, NullBuffer};
use arrow_data::transform::MutableArrayData;
use arrow_data::{ArrayData, BufferSpec};
use arrow_schema::DataType;

use super::{CodecError, SnapshotReader, SnapshotWriter};

impl SnapshotWriter {
    /// Appends a column of a flat type: numbers, decimals, timestamps, dates, truth values, text, bytes.
    ///
    /// # Errors
    /// [`CodecError::Invalid`] for nested and dictionary types.
    pub fn column(&mut self, column: &dyn Array) -> Result<(), CodecError> {
        let data = column.to_data();
        if !data.child_data().is_empty() || matches!(data.data_type(), DataType::Dictionary(..)) {
            return Err(CodecError::Invalid {
                what: "column",
                reason: format!("type {} isn't flat", data.data_type()),
            });
        }
        // A slice shares its buffers with the whole; copying the rows gives buffers that start at them.
        let mut copy = MutableArrayData::new(vec![&data], false, data.len());
        copy.try_extend(0, 0, data.len())
            .map_err(|error| CodecError::Invalid { what: "column", reason: error.to_string() })?;
        let data = copy.freeze();
        self.text(&data.data_type().to_string());
        self.u64(data.len() as u64);
        match data.nulls() {
            None => self.bytes(&[]),
            Some(nulls) => self.bytes(nulls.inner().sliced().as_slice()),
        }
        self.out.push(u8::try_from(data.buffers().len()).unwrap_or(u8::MAX));
        for buffer in data.buffers() {
            self.bytes(buffer.as_slice());
        }
        Ok(())
    }
}

impl SnapshotReader<'_> {
    /// Takes a column of `data_type`.
    ///
    /// # Errors
    /// [`CodecError::Invalid`] for another type or buffers that aren't of it, [`CodecError::CutOff`].
    pub fn column(&mut self, data_type: &DataType) -> Result<ArrayRef, CodecError> {
        let invalid = |reason: String| CodecError::Invalid { what: "column", reason };
        let found = self.text()?;
        let expected = data_type.to_string();
        if found != expected {
            return Err(invalid(format!("its type is {found}, not {expected}")));
        }
        let rows = self.u64()?;
        let nulls = self.bytes()?;
        let buffers = self.array_of_buffers()?;
        // A row takes a bit or more, so this bounds the rows by bytes that are there.
        let bits = buffers.iter().map(Buffer::len).sum::<usize>().saturating_mul(8);
        let rows = usize::try_from(rows)
            .ok()
            .filter(|rows| *rows <= bits || *rows == 0)
            .ok_or_else(|| invalid(format!("{rows} rows can't be in {bits} bits")))?;
        // Arrow panics on a buffer that ends in the middle of a value.
        for (buffer, spec) in buffers.iter().zip(&arrow_data::layout(data_type).buffers) {
            if let BufferSpec::FixedWidth { byte_width, .. } = spec
                && buffer.len() % byte_width != 0
            {
                return Err(invalid(format!(
                    "a buffer of {} bytes doesn't hold whole values of {byte_width}",
                    buffer.len()
                )));
            }
        }
        let mut builder = ArrayData::builder(data_type.clone()).len(rows).buffers(buffers);
        if !nulls.is_empty() {
            if nulls.len().saturating_mul(8) < rows {
                return Err(invalid(format!("{} bytes of validity are too few for {rows} rows", nulls.len())));
            }
            let bits = arrow_buffer::BooleanBuffer::new(Buffer::from(nulls), 0, rows);
            builder = builder.nulls(Some(NullBuffer::new(bits)));
        }
        let data = builder.align_buffers(true).build().map_err(|error| invalid(error.to_string()))?;
        data.validate_full().map_err(|error| invalid(error.to_string()))?;
        Ok(make_array(data))
    }

    fn array_of_buffers(&mut self) -> Result<Vec<Buffer>, CodecError> {
        let (count, rest) = self.rest.split_first().ok_or(CodecError::CutOff { what: "column", needed: 1, left: 0 })?;
        self.rest = rest;
        (0..*count).map(|_| Ok(Buffer::from(self.bytes()?))).collect()
    }
}
