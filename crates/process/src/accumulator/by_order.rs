//! `min_by` and `max_by`: the value of the row whose order is least or greatest. Of equal orders the row's place decides, so that the
//! result is the same in whatever batches the rows come.

use std::any::Any;
use std::cmp::Ordering;

use arrow_array::{Array as _, ArrayRef, BooleanArray};
use arrow_row::{RowConverter, SortField};
use arrow_schema::DataType;
use state::{CodecError, SnapshotReader, SnapshotWriter};

use super::{Accumulator, Input, check_groups, mismatch, same};
use crate::error::Cause;
use crate::growth;
use crate::place::{self, Place};

/// The best row of each group. Values and orders are held as arrow-row's bytes, which compare as the values do.
#[derive(Debug)]
pub(super) struct ByOrder {
    best: Vec<Option<Best>>,
    values: Column,
    orders: Column,
    wanted: Ordering,
    heap_bytes: usize,
    /// The best row of each group in the present batch.
    rows: Vec<Option<u32>>,
}

#[derive(Debug)]
struct Column {
    data_type: DataType,
    converter: RowConverter,
}

#[derive(Debug, Clone)]
struct Best {
    order: Box<[u8]>,
    place: Place,
    value: Box<[u8]>,
}

impl Best {
    fn heap_bytes(&self) -> usize {
        self.order.len() + self.value.len()
    }
}

impl Column {
    fn new(data_type: &DataType) -> Result<Self, Cause> {
        let converter = RowConverter::new(vec![SortField::new(data_type.clone())])?;
        Ok(Self { data_type: data_type.clone(), converter })
    }

    fn rows(&self, column: &ArrayRef) -> Result<arrow_row::Rows, Cause> {
        if column.data_type() != &self.data_type {
            return Err(mismatch(&self.data_type, column.data_type()));
        }
        Ok(self.converter.convert_columns(std::slice::from_ref(column))?)
    }

    /// Values of bytes; NULL where there are none.
    fn column<'a>(&self, rows: impl Iterator<Item = Option<&'a [u8]>>) -> Result<ArrayRef, arrow_schema::ArrowError> {
        let null = self.converter.convert_columns(&[arrow_array::new_null_array(&self.data_type, 1)])?;
        let parser = self.converter.parser();
        let bytes = rows.map(|row| parser.parse(row.unwrap_or_else(|| null.row(0).data())));
        let mut columns = self.converter.convert_rows(bytes)?;
        Ok(columns.pop().unwrap_or_else(|| arrow_array::new_empty_array(&self.data_type)))
    }
}

impl ByOrder {
    pub(super) fn new(value: &DataType, order: &DataType, greatest: bool) -> Result<Self, Cause> {
        Ok(Self {
            best: Vec::new(),
            values: Column::new(value)?,
            orders: Column::new(order)?,
            wanted: if greatest { Ordering::Greater } else { Ordering::Less },
            heap_bytes: 0,
            rows: Vec::new(),
        })
    }

    fn is_better(&self, order: &[u8], place: Place, group: u32) -> bool {
        match &self.best[group as usize] {
            Some(best) => (order, place).cmp(&(&*best.order, best.place)) == self.wanted,
            None => true,
        }
    }

    fn set(&mut self, group: u32, best: Best) {
        self.heap_bytes += best.heap_bytes();
        if let Some(before) = self.best[group as usize].replace(best) {
            self.heap_bytes -= before.heap_bytes();
        }
    }
}

impl Accumulator for ByOrder {
    fn resize(&mut self, groups: usize) {
        let dropped: usize = self.best.iter().skip(groups).flatten().map(Best::heap_bytes).sum();
        self.heap_bytes -= dropped;
        growth::resize(&mut self.best, groups, None);
    }

    fn update(&mut self, input: &Input<'_>, groups: &[u32]) -> Result<(), Cause> {
        let argument = input.required()?;
        let order = input.order.ok_or_else(|| Cause::Internal("an aggregate without its order".into()))?;
        let (values, orders) = (self.values.rows(argument)?, self.orders.rows(order)?);
        // Values are copied for the best row of each group alone.
        self.rows.clear();
        self.rows.resize(self.best.len(), None);
        for (at, (row, group)) in (0_u32..).zip(groups).enumerate() {
            if order.is_null(at) {
                continue;
            }
            let candidate = (orders.row(at).data(), input.places.get(at));
            let slot = &mut self.rows[*group as usize];
            let is_better = slot.is_none_or(|present| {
                let present = present as usize;
                candidate.cmp(&(orders.row(present).data(), input.places.get(present))) == self.wanted
            });
            if is_better {
                *slot = Some(row);
            }
        }
        let rows = std::mem::take(&mut self.rows);
        for (group, row) in (0_u32..).zip(&rows) {
            let Some(row) = row.map(|row| row as usize) else { continue };
            let (order, place) = (orders.row(row).data(), input.places.get(row));
            if self.is_better(order, place, group) {
                self.set(group, Best { order: order.into(), place, value: values.row(row).data().into() });
            }
        }
        self.rows = rows;
        Ok(())
    }

    fn merge(&mut self, other: &dyn Accumulator, from: &[u32], into: &[u32]) -> Result<(), Cause> {
        let other: &Self = same(other)?;
        for (from, into) in from.iter().zip(into) {
            if let Some(best) = &other.best[*from as usize]
                && self.is_better(&best.order, best.place, *into)
            {
                self.set(*into, best.clone());
            }
        }
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef, Cause> {
        let values = groups.iter().map(|group| self.best[*group as usize].as_ref().map(|best| &*best.value));
        Ok(self.values.column(values)?)
    }

    fn save(&self, writer: &mut SnapshotWriter) -> Result<(), CodecError> {
        let invalid =
            |error: arrow_schema::ArrowError| CodecError::Invalid { what: "value", reason: error.to_string() };
        let there = || self.best.iter().flatten();
        writer.column(&self.best.iter().map(|best| Some(best.is_some())).collect::<BooleanArray>())?;
        place::columns::save(there().map(|best| best.place), writer);
        writer.column(&self.orders.column(there().map(|best| Some(&*best.order))).map_err(invalid)?)?;
        writer.column(&self.values.column(there().map(|best| Some(&*best.value))).map_err(invalid)?)
    }

    fn load(&mut self, reader: &mut SnapshotReader<'_>, groups: usize) -> Result<(), CodecError> {
        let invalid = |reason: String| CodecError::Invalid { what: "value", reason };
        let there = reader.column(&DataType::Boolean)?;
        check_groups(there.len(), groups)?;
        let places = place::columns::load(reader)?;
        let (orders, values) = (reader.column(&self.orders.data_type)?, reader.column(&self.values.data_type)?);
        if orders.len() != places.len() || values.len() != places.len() {
            return Err(invalid("its lists differ in length".into()));
        }
        let orders = self.orders.rows(&orders).map_err(|error| invalid(error.to_string()))?;
        let values = self.values.rows(&values).map_err(|error| invalid(error.to_string()))?;
        let mut rows = places.into_iter().zip(orders.iter().zip(values.iter())).map(|(place, (order, value))| Best {
            order: order.data().into(),
            place,
            value: value.data().into(),
        });
        let truths = there.as_any().downcast_ref::<BooleanArray>().ok_or_else(|| invalid("it isn't one".into()))?;
        self.best = truths.iter().map(|there| there.unwrap_or(false).then(|| rows.next()).flatten()).collect();
        self.heap_bytes = self.best.iter().flatten().map(Best::heap_bytes).sum();
        if rows.next().is_some() || self.best.iter().flatten().count() != truths.true_count() {
            return Err(invalid("there are more or fewer than groups that have one".into()));
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.best.capacity() * size_of::<Option<Best>>() + self.heap_bytes
    }

    fn group_bytes(&self) -> usize {
        size_of::<Option<Best>>()
    }

    fn heap_bytes(&self) -> usize {
        self.heap_bytes
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
