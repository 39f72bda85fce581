//! `count(DISTINCT x)`: the different values of each group, exactly.

use std::any::Any;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, Int64Array};
use arrow_row::{RowConverter, SortField};
use arrow_schema::DataType;
use hashbrown::{DefaultHashBuilder, HashTable};
use state::{CodecError, SnapshotReader, SnapshotWriter};

use super::{Accumulator, Input, check_groups, mismatch, same};
use crate::error::Cause;
use crate::growth;

/// No further value.
const END: u32 = u32::MAX;

/// The values of all groups in one table; those of a group are chained.
#[derive(Debug)]
pub(super) struct Distinct {
    data_type: DataType,
    converter: RowConverter,
    hasher: DefaultHashBuilder,
    index: HashTable<u32>,
    values: Vec<Value>,
    /// All values' bytes, one after another.
    data: Vec<u8>,
    groups: Vec<Group>,
}

#[derive(Debug, Clone, Copy)]
struct Value {
    hash: u64,
    group: u32,
    /// The group's value before this one.
    before: u32,
    start: usize,
    end: usize,
}

#[derive(Debug, Clone, Copy)]
struct Group {
    count: i64,
    last: u32,
}

impl Distinct {
    pub(super) fn new(data_type: &DataType) -> Result<Self, Cause> {
        let field = SortField::new(data_type.clone());
        Ok(Self {
            data_type: data_type.clone(),
            converter: RowConverter::new(vec![field])?,
            hasher: DefaultHashBuilder::default(),
            index: HashTable::new(),
            values: Vec::new(),
            data: Vec::new(),
            groups: Vec::new(),
        })
    }

    fn add(&mut self, group: u32, bytes: &[u8]) -> Result<(), Cause> {
        let Self { hasher, index, values, data, groups, .. } = self;
        let hash = hasher.hash_one((group, bytes));
        let is_same = |at: &u32| {
            let value = &values[*at as usize];
            value.hash == hash && value.group == group && data.get(value.start..value.end) == Some(bytes)
        };
        if index.find(hash, is_same).is_some() {
            return Ok(());
        }
        let at = u32::try_from(values.len())
            .ok()
            .filter(|at| *at != END)
            .ok_or_else(|| Cause::Internal("a window has 4294967295 different values".into()))?;
        let start = data.len();
        growth::reserve(data, bytes.len());
        growth::reserve(values, 1);
        data.extend_from_slice(bytes);
        let cell = &mut groups[group as usize];
        values.push(Value { hash, group, before: cell.last, start, end: data.len() });
        (cell.last, cell.count) = (at, cell.count + 1);
        index.insert_unique(hash, at, |other| values[*other as usize].hash);
        Ok(())
    }

    /// The values of a group, the latest first.
    fn of_group(&self, group: u32) -> impl Iterator<Item = &[u8]> {
        let mut next = self.groups[group as usize].last;
        std::iter::from_fn(move || {
            let value = self.values.get(next as usize)?;
            next = value.before;
            self.data.get(value.start..value.end)
        })
    }

    fn clear(&mut self) {
        self.index.clear();
        self.values.clear();
        self.data.clear();
        self.groups.clear();
    }
}

impl Accumulator for Distinct {
    fn resize(&mut self, groups: usize) {
        if groups == 0 {
            self.clear();
        }
        while self.groups.len() > groups {
            // The values of dropped groups can't be found any more; they go with the whole.
            self.groups.pop();
        }
        growth::resize(&mut self.groups, groups, Group { count: 0, last: END });
    }

    fn update(&mut self, input: &Input<'_>, groups: &[u32]) -> Result<(), Cause> {
        let argument = input.required()?;
        if argument.data_type() != &self.data_type {
            return Err(mismatch(&self.data_type, argument.data_type()));
        }
        let rows = self.converter.convert_columns(std::slice::from_ref(argument))?;
        for (row, group) in groups.iter().enumerate() {
            if argument.is_valid(row) {
                self.add(*group, rows.row(row).data())?;
            }
        }
        Ok(())
    }

    fn merge(&mut self, other: &dyn Accumulator, from: &[u32], into: &[u32]) -> Result<(), Cause> {
        let other: &Self = same(other)?;
        for (from, into) in from.iter().zip(into) {
            for value in other.of_group(*from) {
                self.add(*into, value)?;
            }
        }
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef, Cause> {
        Ok(Arc::new(groups.iter().map(|group| self.groups[*group as usize].count).collect::<Int64Array>()))
    }

    /// In the order in which values came, so that the same state gives the same bytes.
    fn save(&self, writer: &mut SnapshotWriter) -> Result<(), CodecError> {
        let parser = self.converter.parser();
        let rows = self.values.iter().filter_map(|value| self.data.get(value.start..value.end));
        let columns = self.converter.convert_rows(rows.map(|bytes| parser.parse(bytes)));
        let columns = columns.map_err(|error| CodecError::Invalid { what: "values", reason: error.to_string() })?;
        writer.u64(self.groups.len() as u64);
        writer.i64s(&self.values.iter().map(|value| i64::from(value.group)).collect::<Vec<_>>());
        columns.first().map_or(Ok(()), |column| writer.column(column))
    }

    fn load(&mut self, reader: &mut SnapshotReader<'_>, groups: usize) -> Result<(), CodecError> {
        let invalid = |reason: String| CodecError::Invalid { what: "values", reason };
        check_groups(usize::try_from(reader.u64()?).unwrap_or(usize::MAX), groups)?;
        let of = reader.i64s()?;
        let column = reader.column(&self.data_type)?;
        if column.len() != of.len() || column.null_count() > 0 {
            return Err(invalid("they aren't as many as their groups".into()));
        }
        self.resize(0);
        self.resize(groups);
        let rows = self.converter.convert_columns(&[column]).map_err(|error| invalid(error.to_string()))?;
        for (group, row) in of.into_iter().zip(rows.iter()) {
            let group = u32::try_from(group).ok().filter(|group| (*group as usize) < groups);
            let group = group.ok_or_else(|| invalid("one is of a group that isn't there".into()))?;
            self.add(group, row.data()).map_err(|error| invalid(error.to_string()))?;
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.groups.capacity() * size_of::<Group>()
            + self.index.allocation_size()
            + self.values.capacity() * size_of::<Value>()
            + self.data.capacity()
    }

    fn group_bytes(&self) -> usize {
        size_of::<Group>()
    }

    fn heap_bytes(&self) -> usize {
        // Vectors double as they grow.
        2 * (self.values.len() * (size_of::<Value>() + 2 * size_of::<u32>()) + self.data.len())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
