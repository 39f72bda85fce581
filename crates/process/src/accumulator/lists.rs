//! `collect_list`: the first texts of each group by place.

use std::any::Any;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::cast::AsArray as _;
use arrow_array::{Array as _, ArrayRef, StringArray};
use arrow_schema::{DataType, Field};
use state::{CodecError, SnapshotReader, SnapshotWriter};

use super::{Accumulator, Input, check_groups, mismatch, same};
use crate::error::Cause;
use crate::growth;
use crate::place::{self, Place};

/// A list per group, ascending by place.
#[derive(Debug)]
pub(super) struct Lists {
    lists: Vec<Vec<Item>>,
    items_max: usize,
    heap_bytes: usize,
}

#[derive(Debug, Clone)]
struct Item {
    place: Place,
    text: Box<str>,
}

fn item_bytes(text: &str) -> usize {
    // Vectors double as they grow.
    2 * size_of::<Item>() + text.len()
}

impl Lists {
    pub(super) fn new(data_type: &DataType, items_max: usize) -> Result<Self, Cause> {
        if data_type != &DataType::Utf8 {
            return Err(Cause::Plan(format!("a list of {data_type}")));
        }
        Ok(Self { lists: Vec::new(), items_max, heap_bytes: 0 })
    }

    fn offer(&mut self, group: u32, place: Place, text: &str) {
        let list = &mut self.lists[group as usize];
        let is_full = list.len() >= self.items_max;
        if is_full && list.last().is_some_and(|last| last.place <= place) {
            return;
        }
        let at = list.partition_point(|item| item.place < place);
        if is_full && let Some(dropped) = list.pop() {
            self.heap_bytes -= item_bytes(&dropped.text);
        }
        self.heap_bytes += item_bytes(text);
        list.insert(at, Item { place, text: text.into() });
    }
}

impl Accumulator for Lists {
    fn resize(&mut self, groups: usize) {
        let dropped: usize = self.lists.iter().skip(groups).flatten().map(|item| item_bytes(&item.text)).sum();
        self.heap_bytes -= dropped;
        growth::resize(&mut self.lists, groups, Vec::new());
    }

    fn update(&mut self, input: &Input<'_>, groups: &[u32]) -> Result<(), Cause> {
        let argument = input.required()?;
        let texts = argument.as_string_opt::<i32>().ok_or_else(|| mismatch(&DataType::Utf8, argument.data_type()))?;
        for (row, (text, group)) in texts.iter().zip(groups).enumerate() {
            if let Some(text) = text {
                self.offer(*group, input.places.get(row), text);
            }
        }
        Ok(())
    }

    fn merge(&mut self, other: &dyn Accumulator, from: &[u32], into: &[u32]) -> Result<(), Cause> {
        let other: &Self = same(other)?;
        for (from, into) in from.iter().zip(into) {
            for item in &other.lists[*from as usize] {
                self.offer(*into, item.place, &item.text);
            }
        }
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef, Cause> {
        let item = Field::new_list_field(DataType::Utf8, false);
        let mut builder = ListBuilder::new(StringBuilder::new()).with_field(Arc::new(item));
        for group in groups {
            for item in &self.lists[*group as usize] {
                builder.values().append_value(&item.text);
            }
            builder.append(true);
        }
        Ok(Arc::new(builder.finish()))
    }

    fn save(&self, writer: &mut SnapshotWriter) -> Result<(), CodecError> {
        writer.u64s(&self.lists.iter().map(|list| list.len() as u64).collect::<Vec<_>>());
        place::columns::save(self.lists.iter().flatten().map(|item| item.place), writer);
        writer.column(&self.lists.iter().flatten().map(|item| Some(&*item.text)).collect::<StringArray>())
    }

    fn load(&mut self, reader: &mut SnapshotReader<'_>, groups: usize) -> Result<(), CodecError> {
        let invalid = |reason: &str| CodecError::Invalid { what: "list", reason: reason.to_owned() };
        let lengths = reader.u64s()?;
        check_groups(lengths.len(), groups)?;
        let places = place::columns::load(reader)?;
        let texts = reader.column(&DataType::Utf8)?;
        let texts = texts.as_string_opt::<i32>().ok_or_else(|| invalid("it isn't of texts"))?;
        let total = lengths.iter().try_fold(0_u64, |sum, length| sum.checked_add(*length));
        if total != Some(places.len() as u64) || texts.len() != places.len() {
            return Err(invalid("its parts differ in length"));
        }
        let mut items = places
            .into_iter()
            .zip(texts.iter())
            .map(|(place, text)| Item { place, text: text.unwrap_or_default().into() });
        let length = |length: u64| usize::try_from(length).unwrap_or(usize::MAX);
        self.lists = lengths.into_iter().map(|count| items.by_ref().take(length(count)).collect()).collect();
        self.heap_bytes = self.lists.iter().flatten().map(|item| item_bytes(&item.text)).sum();
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.lists.capacity() * size_of::<Vec<Item>>() + self.heap_bytes
    }

    fn group_bytes(&self) -> usize {
        size_of::<Vec<Item>>()
    }

    fn heap_bytes(&self) -> usize {
        self.heap_bytes
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
