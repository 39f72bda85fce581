//! The rows that keys hold, column by column: a segment for each batch, dropped once none of its rows is needed.

use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::SchemaRef;
use arrow_select::interleave::interleave;
use hashbrown::HashMap;

use crate::error::Cause;

/// Where a row lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    segment: u32,
    row: u32,
}

#[derive(Debug)]
struct Segment {
    columns: Vec<ArrayRef>,
    rows: usize,
    live: usize,
    bytes: usize,
}

/// Rows of one schema.
#[derive(Debug)]
pub(crate) struct RowStore {
    schema: SchemaRef,
    segments: Vec<Option<Segment>>,
    free: Vec<u32>,
    bytes: usize,
    rows: usize,
    live: usize,
}

/// Fewer dead rows than these aren't worth a copy.
const COMPACT_ROWS_MIN: usize = 16_384;

impl RowStore {
    pub(crate) fn new(schema: SchemaRef) -> Self {
        Self { schema, segments: Vec::new(), free: Vec::new(), bytes: 0, rows: 0, live: 0 }
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the rows of a batch that has the columns of the schema by name; all of them are live. Gives their places' segment.
    pub(crate) fn add(&mut self, batch: &RecordBatch) -> Result<u32, Cause> {
        let columns: Result<Vec<ArrayRef>, Cause> = self
            .schema
            .fields()
            .iter()
            .map(|field| {
                let column = batch.column_by_name(field.name());
                column.cloned().ok_or_else(|| Cause::Batch(format!("it has no column {}", field.name())))
            })
            .collect();
        self.add_columns(columns?, batch.num_rows())
    }

    pub(crate) fn add_columns(&mut self, columns: Vec<ArrayRef>, rows: usize) -> Result<u32, Cause> {
        let bytes = columns.iter().map(|column| column.get_buffer_memory_size()).sum();
        let segment = Segment { columns, rows, live: rows, bytes };
        (self.bytes, self.rows, self.live) = (self.bytes + bytes, self.rows + rows, self.live + rows);
        if let Some(number) = self.free.pop() {
            if let Some(place) = self.segments.get_mut(number as usize) {
                *place = Some(segment);
            }
            return Ok(number);
        }
        self.segments.push(Some(segment));
        u32::try_from(self.segments.len() - 1).map_err(|_| Cause::Internal("too many segments of rows".into()))
    }

    /// The place of a row of a segment.
    pub(crate) fn place(segment: u32, row: usize) -> Place {
        Place { segment, row: u32::try_from(row).unwrap_or(u32::MAX) }
    }

    /// Says that a row is no longer needed.
    pub(crate) fn release(&mut self, place: Place) {
        let Some(slot) = self.segments.get_mut(place.segment as usize) else { return };
        let Some(segment) = slot else { return };
        segment.live -= 1;
        self.live -= 1;
        if segment.live == 0 {
            self.bytes -= segment.bytes;
            self.rows -= segment.rows;
            *slot = None;
            self.free.push(place.segment);
        }
    }

    /// Whether most rows that are held aren't needed, so that a copy of those that are saves room.
    pub(crate) fn is_sparse(&self) -> bool {
        self.rows - self.live > COMPACT_ROWS_MIN && self.live < self.rows / 2
    }

    /// One column of these rows; NULL where there is none.
    pub(crate) fn gather(&self, column: usize, places: &[Option<Place>]) -> Result<ArrayRef, Cause> {
        let field =
            self.schema.fields().get(column).ok_or_else(|| Cause::Internal("a column that isn't kept".into()))?;
        let null = new_null_array(field.data_type(), 1);
        let mut arrays: Vec<&dyn arrow_array::Array> = vec![&null];
        // There are as many segments as batches have come within the state's time.
        let mut numbers: HashMap<u32, usize> = HashMap::new();
        let mut indices = Vec::with_capacity(places.len());
        for place in places {
            let Some(place) = place else {
                indices.push((0, 0));
                continue;
            };
            let at = match numbers.get(&place.segment) {
                Some(at) => *at,
                None => {
                    let segment = self.segments.get(place.segment as usize).and_then(Option::as_ref);
                    let array = segment.and_then(|segment| segment.columns.get(column));
                    arrays.push(array.ok_or_else(|| Cause::Internal("a row that isn't kept".into()))?);
                    numbers.insert(place.segment, arrays.len() - 1);
                    arrays.len() - 1
                }
            };
            indices.push((at, place.row as usize));
        }
        Ok(interleave(&arrays, &indices)?)
    }

    /// Columns of these rows by name, of which each is there.
    pub(crate) fn batch(&self, names: &[String], places: &[Place]) -> Result<RecordBatch, Cause> {
        let places: Vec<Option<Place>> = places.iter().copied().map(Some).collect();
        let mut fields = Vec::with_capacity(names.len());
        let mut columns = Vec::with_capacity(names.len());
        for name in names {
            let at = self.schema.index_of(name)?;
            fields.push(Arc::clone(&self.schema.fields()[at]));
            columns.push(self.gather(at, &places)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(places.len()));
        Ok(RecordBatch::try_new_with_options(Arc::new(arrow_schema::Schema::new(fields)), columns, &options)?)
    }

    /// All columns of these rows, as a store of nothing else would hold them.
    pub(crate) fn columns_of(&self, places: &[Place]) -> Result<Vec<ArrayRef>, Cause> {
        let places: Vec<Option<Place>> = places.iter().copied().map(Some).collect();
        (0..self.schema.fields().len()).map(|column| self.gather(column, &places)).collect()
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(Arc::clone(&self.schema));
    }
}
