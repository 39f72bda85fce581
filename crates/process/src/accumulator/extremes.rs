//! `min` and `max`.

use std::any::Any;
use std::cmp::Ordering;
use std::fmt::Debug;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array as _, ArrayRef, ArrowNativeTypeOp, BinaryArray, BooleanArray, PrimitiveArray, StringArray};
use arrow_schema::{DataType, TimeUnit};
use state::{CodecError, SnapshotReader, SnapshotWriter};

use super::{Accumulator, Input, check_groups, mismatch, same};
use crate::error::Cause;
use crate::growth;

/// `min` or `max` of a column of this type; `None` if there is none.
pub(super) fn extreme(data_type: &DataType, greatest: bool) -> Option<Box<dyn Accumulator>> {
    macro_rules! numbers {
        ($type:ty) => {
            Some(Box::new(Numbers::<$type> {
                best: Vec::new(),
                data_type: data_type.clone(),
                wanted: wanted(greatest),
            }))
        };
    }
    match data_type {
        DataType::Int8 => numbers!(Int8Type),
        DataType::Int16 => numbers!(Int16Type),
        DataType::Int32 => numbers!(Int32Type),
        DataType::Int64 => numbers!(Int64Type),
        DataType::Float32 => numbers!(Float32Type),
        DataType::Float64 => numbers!(Float64Type),
        DataType::Decimal128(..) => numbers!(Decimal128Type),
        DataType::Date32 => numbers!(Date32Type),
        DataType::Timestamp(TimeUnit::Microsecond, _) => numbers!(TimestampMicrosecondType),
        DataType::Boolean => Some(Box::new(Truths { best: Vec::new(), wanted: wanted(greatest) })),
        DataType::Utf8 | DataType::Binary => {
            let is_text = data_type == &DataType::Utf8;
            Some(Box::new(Bytes { best: Vec::new(), is_text, wanted: wanted(greatest), heap_bytes: 0 }))
        }
        _ => None,
    }
}

/// How a candidate compares to what is there when it replaces it.
fn wanted(greatest: bool) -> Ordering {
    if greatest { Ordering::Greater } else { Ordering::Less }
}

/// Numbers, decimals, dates and timestamps.
#[derive(Debug)]
struct Numbers<T: ArrowPrimitiveType> {
    best: Vec<Option<T::Native>>,
    data_type: DataType,
    wanted: Ordering,
}

impl<T: ArrowPrimitiveType> Numbers<T> {
    fn array(&self, groups: impl Iterator<Item = Option<T::Native>>) -> PrimitiveArray<T> {
        groups.collect::<PrimitiveArray<T>>().with_data_type(self.data_type.clone())
    }
}

#[inline]
fn offer<N: ArrowNativeTypeOp>(best: &mut Option<N>, value: N, wanted: Ordering) {
    match best {
        Some(present) if value.compare(*present) != wanted => {}
        _ => *best = Some(value),
    }
}

/// Spark has one NaN, greater than all numbers; Arrow's total order puts one with a sign bit below all, which is the one that x86
/// computes for 0.0 / 0.0.
pub(super) fn one_nan(column: &ArrayRef) -> Option<ArrayRef> {
    match column.data_type() {
        DataType::Float64 => {
            let nan = f64::from_bits(0x7ff8_0000_0000_0000);
            let one = |value: f64| if value.is_nan() { nan } else { value };
            Some(Arc::new(column.as_primitive::<Float64Type>().unary::<_, Float64Type>(one)))
        }
        DataType::Float32 => {
            let nan = f32::from_bits(0x7fc0_0000);
            let one = |value: f32| if value.is_nan() { nan } else { value };
            Some(Arc::new(column.as_primitive::<Float32Type>().unary::<_, Float32Type>(one)))
        }
        _ => None,
    }
}

impl<T: ArrowPrimitiveType + Debug> Accumulator for Numbers<T> {
    fn resize(&mut self, groups: usize) {
        growth::resize(&mut self.best, groups, None);
    }

    fn update(&mut self, input: &Input<'_>, groups: &[u32]) -> Result<(), Cause> {
        let argument = input.required()?;
        if argument.data_type() != &self.data_type {
            return Err(mismatch(&self.data_type, argument.data_type()));
        }
        let normal = one_nan(argument);
        let column = normal.as_ref().unwrap_or(argument).as_primitive::<T>();
        match column.nulls().filter(|nulls| nulls.null_count() > 0) {
            None => {
                for (value, group) in column.values().iter().zip(groups) {
                    offer(&mut self.best[*group as usize], *value, self.wanted);
                }
            }
            Some(nulls) => {
                for ((value, group), valid) in column.values().iter().zip(groups).zip(nulls.iter()) {
                    if valid {
                        offer(&mut self.best[*group as usize], *value, self.wanted);
                    }
                }
            }
        }
        Ok(())
    }

    fn merge(&mut self, other: &dyn Accumulator, from: &[u32], into: &[u32]) -> Result<(), Cause> {
        let other: &Self = same(other)?;
        for (from, into) in from.iter().zip(into) {
            if let Some(value) = other.best[*from as usize] {
                offer(&mut self.best[*into as usize], value, self.wanted);
            }
        }
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef, Cause> {
        Ok(Arc::new(self.array(groups.iter().map(|group| self.best[*group as usize]))))
    }

    fn save(&self, writer: &mut SnapshotWriter) -> Result<(), CodecError> {
        writer.column(&self.array(self.best.iter().copied()))
    }

    fn load(&mut self, reader: &mut SnapshotReader<'_>, groups: usize) -> Result<(), CodecError> {
        self.best = reader.column(&self.data_type)?.as_primitive::<T>().iter().collect();
        check_groups(self.best.len(), groups)
    }

    fn bytes(&self) -> usize {
        self.best.capacity() * size_of::<Option<T::Native>>()
    }

    fn group_bytes(&self) -> usize {
        size_of::<Option<T::Native>>()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Truth values: false is less than true.
#[derive(Debug)]
struct Truths {
    best: Vec<Option<bool>>,
    wanted: Ordering,
}

impl Truths {
    fn offer(&mut self, group: u32, value: Option<bool>) {
        let best = &mut self.best[group as usize];
        match (value, *best) {
            (None, _) => {}
            (Some(value), Some(present)) if value.cmp(&present) != self.wanted => {}
            _ => *best = value,
        }
    }
}

impl Accumulator for Truths {
    fn resize(&mut self, groups: usize) {
        growth::resize(&mut self.best, groups, None);
    }

    fn update(&mut self, input: &Input<'_>, groups: &[u32]) -> Result<(), Cause> {
        let argument = input.required()?;
        let column = argument.as_boolean_opt().ok_or_else(|| mismatch(&DataType::Boolean, argument.data_type()))?;
        column.iter().zip(groups).for_each(|(value, group)| self.offer(*group, value));
        Ok(())
    }

    fn merge(&mut self, other: &dyn Accumulator, from: &[u32], into: &[u32]) -> Result<(), Cause> {
        let other: &Self = same(other)?;
        from.iter().zip(into).for_each(|(from, into)| self.offer(*into, other.best[*from as usize]));
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef, Cause> {
        Ok(Arc::new(groups.iter().map(|group| self.best[*group as usize]).collect::<BooleanArray>()))
    }

    fn save(&self, writer: &mut SnapshotWriter) -> Result<(), CodecError> {
        writer.column(&self.best.iter().copied().collect::<BooleanArray>())
    }

    fn load(&mut self, reader: &mut SnapshotReader<'_>, groups: usize) -> Result<(), CodecError> {
        self.best = reader.column(&DataType::Boolean)?.as_boolean().iter().collect();
        check_groups(self.best.len(), groups)
    }

    fn bytes(&self) -> usize {
        self.best.capacity()
    }

    fn group_bytes(&self) -> usize {
        1
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Text and bytes, ordered by their bytes. A value is copied only when it becomes the best of its group.
#[derive(Debug)]
struct Bytes {
    best: Vec<Option<Box<[u8]>>>,
    is_text: bool,
    wanted: Ordering,
    /// Bytes behind the boxes.
    heap_bytes: usize,
}

impl Bytes {
    fn offer(&mut self, group: u32, value: &[u8]) {
        let best = &mut self.best[group as usize];
        let before = match best {
            Some(present) if value.cmp(present) != self.wanted => return,
            Some(present) => present.len(),
            None => 0,
        };
        self.heap_bytes = self.heap_bytes + value.len() - before;
        *best = Some(value.into());
    }

    fn array<'a>(&self, values: impl Iterator<Item = Option<&'a [u8]>>) -> Result<ArrayRef, std::str::Utf8Error> {
        if !self.is_text {
            return Ok(Arc::new(values.collect::<BinaryArray>()));
        }
        let texts: Result<StringArray, _> = values.map(|value| value.map(std::str::from_utf8).transpose()).collect();
        Ok(Arc::new(texts?))
    }

    fn data_type(&self) -> DataType {
        if self.is_text { DataType::Utf8 } else { DataType::Binary }
    }
}

impl Accumulator for Bytes {
    fn resize(&mut self, groups: usize) {
        for dropped in self.best.iter().skip(groups).flatten() {
            self.heap_bytes -= dropped.len();
        }
        growth::resize(&mut self.best, groups, None);
    }

    fn update(&mut self, input: &Input<'_>, groups: &[u32]) -> Result<(), Cause> {
        let argument = input.required()?;
        match argument.data_type() {
            DataType::Utf8 if self.is_text => {
                for (value, group) in argument.as_string::<i32>().iter().zip(groups) {
                    if let Some(value) = value {
                        self.offer(*group, value.as_bytes());
                    }
                }
            }
            DataType::Binary if !self.is_text => {
                for (value, group) in argument.as_binary::<i32>().iter().zip(groups) {
                    if let Some(value) = value {
                        self.offer(*group, value);
                    }
                }
            }
            other => return Err(mismatch(&self.data_type(), other)),
        }
        Ok(())
    }

    fn merge(&mut self, other: &dyn Accumulator, from: &[u32], into: &[u32]) -> Result<(), Cause> {
        let other: &Self = same(other)?;
        for (from, into) in from.iter().zip(into) {
            if let Some(value) = &other.best[*from as usize] {
                self.offer(*into, value);
            }
        }
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef, Cause> {
        self.array(groups.iter().map(|group| self.best[*group as usize].as_deref()))
            .map_err(|error| Cause::Internal(format!("text isn't what it was: {error}")))
    }

    fn save(&self, writer: &mut SnapshotWriter) -> Result<(), CodecError> {
        let column = self
            .array(self.best.iter().map(Option::as_deref))
            .map_err(|error| CodecError::Invalid { what: "text", reason: error.to_string() })?;
        writer.column(&column)
    }

    fn load(&mut self, reader: &mut SnapshotReader<'_>, groups: usize) -> Result<(), CodecError> {
        let column = reader.column(&self.data_type())?;
        self.best = match self.is_text {
            true => column.as_string::<i32>().iter().map(|value| value.map(|value| value.as_bytes().into())).collect(),
            false => column.as_binary::<i32>().iter().map(|value| value.map(Into::into)).collect(),
        };
        self.heap_bytes = self.best.iter().flatten().map(|value| value.len()).sum();
        check_groups(self.best.len(), groups)
    }

    fn bytes(&self) -> usize {
        self.best.capacity() * size_of::<Option<Box<[u8]>>>() + self.heap_bytes
    }

    fn group_bytes(&self) -> usize {
        size_of::<Option<Box<[u8]>>>()
    }

    fn heap_bytes(&self) -> usize {
        self.heap_bytes
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
