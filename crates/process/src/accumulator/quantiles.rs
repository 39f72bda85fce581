//! `percentile_approx`: summaries of Greenwald and Khanna ("Space-efficient online computation of quantile summaries", 2001), merged so
//! that the error doesn't grow: of two neighbours the bounds of rank are added.
//!
//! A summary knows for each value it holds its least and greatest possible rank. Values are dropped only while these stay within
//! `2 * rows / accuracy`, so a value is found whose rank is off by `rows / accuracy` at most. Up to about the accuracy's number of values it
//! holds all of them, and the result is exact.

use std::any::Any;
use std::cmp::Ordering;
use std::fmt::Debug;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array as _, ArrayRef, PrimitiveArray};
use arrow_schema::{DataType, TimeUnit};
use state::{CodecError, SnapshotReader, SnapshotWriter};

use super::extremes::one_nan;
use super::{Accumulator, Input, check_groups, mismatch, same};
use crate::error::Cause;
use crate::growth;

/// Percentiles of a column of this type; `None` if there are none.
pub(super) fn quantiles(data_type: &DataType, billionths: u32, accuracy: u32) -> Option<Box<dyn Accumulator>> {
    macro_rules! numbers {
        ($type:ty) => {
            Some(Box::new(Quantiles::<$type> {
                summaries: Vec::new(),
                data_type: data_type.clone(),
                billionths,
                accuracy: accuracy.max(1),
                entries: 0,
            }))
        };
    }
    match data_type {
        DataType::Int32 => numbers!(Int32Type),
        DataType::Int64 => numbers!(Int64Type),
        DataType::Float64 => numbers!(Float64Type),
        DataType::Decimal128(..) => numbers!(Decimal128Type),
        DataType::Date32 => numbers!(Date32Type),
        DataType::Timestamp(TimeUnit::Microsecond, _) => numbers!(TimestampMicrosecondType),
        _ => None,
    }
}

/// A value that stands for `gap` values: itself and those between it and the entry before.
#[derive(Debug, Clone, Copy)]
struct Entry<N> {
    value: N,
    /// Least rank minus that of the entry before.
    gap: u64,
    /// Greatest possible rank minus the least.
    spread: u64,
}

#[derive(Debug, Clone)]
struct Summary<N> {
    rows: u64,
    /// Ascending.
    entries: Vec<Entry<N>>,
    /// Values that aren't among the entries yet, in any order.
    waiting: Vec<N>,
}

impl<N: arrow_array::ArrowNativeTypeOp> Summary<N> {
    const EMPTY: Self = Self { rows: 0, entries: Vec::new(), waiting: Vec::new() };

    fn len(&self) -> usize {
        self.entries.len() + self.waiting.len()
    }

    /// Takes a value; sorting it in is put off until that pays.
    fn add(&mut self, value: N, accuracy: u32) {
        self.waiting.push(value);
        self.rows += 1;
        if self.waiting.len() > 64 + self.entries.len() / 2 {
            self.settle(accuracy);
        }
    }

    /// Sorts the waiting values in.
    fn settle(&mut self, accuracy: u32) {
        if self.waiting.is_empty() {
            return;
        }
        self.waiting.sort_unstable_by(|a, b| a.compare(*b));
        let exact: Vec<Entry<N>> = self.waiting.drain(..).map(|value| Entry { value, gap: 1, spread: 0 }).collect();
        self.entries = merged(&self.entries, &exact);
        self.compress(accuracy);
    }

    fn merge(&mut self, other: &Self, accuracy: u32) {
        if self.rows == 0 {
            // As it was: a group that moves to the disk and back is none the worse for it.
            self.clone_from(other);
            return;
        }
        for value in &other.waiting {
            self.add(*value, accuracy);
        }
        if other.entries.is_empty() {
            return;
        }
        self.settle(accuracy);
        self.rows += other.rows - other.waiting.len() as u64;
        self.entries = merged(&self.entries, &other.entries);
        self.compress(accuracy);
    }

    /// Drops what the error allows. The least and the greatest value stay.
    fn compress(&mut self, accuracy: u32) {
        let allowed = 2 * self.rows / u64::from(accuracy);
        if allowed < 2 || self.entries.len() < 3 {
            return;
        }
        let mut kept: Vec<Entry<N>> = Vec::with_capacity(self.entries.len());
        for (at, entry) in self.entries.iter().enumerate().rev() {
            match kept.last_mut() {
                Some(next) if at > 0 && entry.gap + next.gap + next.spread <= allowed => {
                    next.gap += entry.gap;
                }
                _ => kept.push(*entry),
            }
        }
        kept.reverse();
        self.entries = kept;
    }

    /// The value whose rank comes nearest to that of the percentile: the least one with this share of the rows at or below it.
    fn percentile(&self, billionths: u32, accuracy: u32) -> Option<N> {
        let mut settled;
        let summary = if self.waiting.is_empty() {
            self
        } else {
            settled = self.clone();
            settled.settle(accuracy);
            &settled
        };
        let wanted = (u128::from(summary.rows) * u128::from(billionths)).div_ceil(1_000_000_000).max(1);
        let mut least = 0_u128;
        let mut best: Option<(u128, N)> = None;
        for entry in &summary.entries {
            least += u128::from(entry.gap);
            let greatest = least + u128::from(entry.spread);
            // The farthest that its rank can be from the wanted one.
            let distance = wanted.abs_diff(least).max(wanted.abs_diff(greatest));
            match best {
                Some((nearest, _)) if distance >= nearest => {}
                _ => best = Some((distance, entry.value)),
            }
        }
        best.map(|(_, value)| value)
    }
}

/// Two summaries as one. The greatest rank of an entry grows by what may lie between it and the next one of the other.
fn merged<N: arrow_array::ArrowNativeTypeOp>(a: &[Entry<N>], b: &[Entry<N>]) -> Vec<Entry<N>> {
    let mut out = Vec::with_capacity(a.len() + b.len());
    let (mut in_a, mut in_b) = (a.iter().peekable(), b.iter().peekable());
    loop {
        let from_a = match (in_a.peek(), in_b.peek()) {
            (None, None) => return out,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(a), Some(b)) => a.value.compare(b.value) != Ordering::Greater,
        };
        let (own, other) = if from_a { (&mut in_a, &mut in_b) } else { (&mut in_b, &mut in_a) };
        let Some(entry) = own.next() else { return out };
        let between = other.peek().map_or(0, |next| next.gap + next.spread - 1);
        out.push(Entry { spread: entry.spread + between, ..*entry });
    }
}

#[derive(Debug)]
struct Quantiles<T: ArrowPrimitiveType> {
    summaries: Vec<Summary<T::Native>>,
    data_type: DataType,
    billionths: u32,
    accuracy: u32,
    /// Entries and waiting values of all groups.
    entries: usize,
}

impl<T: ArrowPrimitiveType> Quantiles<T> {
    fn change(&mut self, group: u32, change: impl FnOnce(&mut Summary<T::Native>, u32)) {
        let summary = &mut self.summaries[group as usize];
        let before = summary.len();
        change(summary, self.accuracy);
        self.entries = self.entries + summary.len() - before;
    }

    fn array(&self, values: impl Iterator<Item = Option<T::Native>>) -> PrimitiveArray<T> {
        values.collect::<PrimitiveArray<T>>().with_data_type(self.data_type.clone())
    }
}

impl<T: ArrowPrimitiveType + Debug> Accumulator for Quantiles<T> {
    fn resize(&mut self, groups: usize) {
        let dropped: usize = self.summaries.iter().skip(groups).map(Summary::len).sum();
        self.entries -= dropped;
        growth::resize(&mut self.summaries, groups, Summary::EMPTY);
    }

    fn update(&mut self, input: &Input<'_>, groups: &[u32]) -> Result<(), Cause> {
        let argument = input.required()?;
        if argument.data_type() != &self.data_type {
            return Err(mismatch(&self.data_type, argument.data_type()));
        }
        let normal = one_nan(argument);
        let column = normal.as_ref().unwrap_or(argument).as_primitive::<T>();
        for (value, group) in column.iter().zip(groups) {
            if let Some(value) = value {
                self.change(*group, |summary, accuracy| summary.add(value, accuracy));
            }
        }
        Ok(())
    }

    fn merge(&mut self, other: &dyn Accumulator, from: &[u32], into: &[u32]) -> Result<(), Cause> {
        let other: &Self = same(other)?;
        for (from, into) in from.iter().zip(into) {
            self.change(*into, |summary, accuracy| summary.merge(&other.summaries[*from as usize], accuracy));
        }
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef, Cause> {
        let percentile = |group: &u32| self.summaries[*group as usize].percentile(self.billionths, self.accuracy);
        Ok(Arc::new(self.array(groups.iter().map(percentile))))
    }

    fn save(&self, writer: &mut SnapshotWriter) -> Result<(), CodecError> {
        let counts = |count: fn(&Summary<T::Native>) -> u64| self.summaries.iter().map(count).collect::<Vec<_>>();
        let entries = || self.summaries.iter().flat_map(|summary| &summary.entries);
        writer.u64s(&counts(|summary| summary.rows));
        writer.u64s(&counts(|summary| summary.entries.len() as u64));
        writer.u64s(&counts(|summary| summary.waiting.len() as u64));
        writer.u64s(&entries().map(|entry| entry.gap).collect::<Vec<_>>());
        writer.u64s(&entries().map(|entry| entry.spread).collect::<Vec<_>>());
        writer.column(&self.array(entries().map(|entry| Some(entry.value))))?;
        writer.column(&self.array(self.summaries.iter().flat_map(|summary| &summary.waiting).map(|value| Some(*value))))
    }

    fn load(&mut self, reader: &mut SnapshotReader<'_>, groups: usize) -> Result<(), CodecError> {
        let invalid = || CodecError::Invalid { what: "percentile", reason: "its lists differ in length".into() };
        let (rows, counts, waiting) = (reader.u64s()?, reader.u64s()?, reader.u64s()?);
        for list in [&rows, &counts, &waiting] {
            check_groups(list.len(), groups)?;
        }
        let (gaps, spreads) = (reader.u64s()?, reader.u64s()?);
        let (values, left) = (reader.column(&self.data_type)?, reader.column(&self.data_type)?);
        let total = |counts: &[u64]| counts.iter().try_fold(0_u64, |sum, count| sum.checked_add(*count));
        let lengths = [gaps.len(), spreads.len(), values.len()];
        if lengths.iter().any(|length| total(&counts) != Some(*length as u64))
            || total(&waiting) != Some(left.len() as u64)
        {
            return Err(invalid());
        }
        let (values, left) = (values.as_primitive::<T>(), left.as_primitive::<T>());
        let mut entries = values.values().iter().zip(gaps).zip(spreads).map(|((value, gap), spread)| Entry {
            value: *value,
            gap,
            spread,
        });
        let mut left = left.values().iter().copied();
        let length = |length: u64| usize::try_from(length).unwrap_or(usize::MAX);
        self.summaries = rows
            .into_iter()
            .zip(counts.into_iter().zip(waiting))
            .map(|(rows, (count, waiting))| Summary {
                rows,
                entries: entries.by_ref().take(length(count)).collect(),
                waiting: left.by_ref().take(length(waiting)).collect(),
            })
            .collect();
        self.entries = self.summaries.iter().map(Summary::len).sum();
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.summaries.capacity() * size_of::<Summary<T::Native>>() + self.heap_bytes()
    }

    fn group_bytes(&self) -> usize {
        size_of::<Summary<T::Native>>()
    }

    fn heap_bytes(&self) -> usize {
        // Vectors double as they grow.
        2 * self.entries * size_of::<Entry<T::Native>>()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
