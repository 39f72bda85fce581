//! `approx_count_distinct`: HyperLogLog with Ertl's estimator ("New cardinality estimation algorithms for HyperLogLog sketches", 2017).
//!
//! A group keeps the hashes themselves until they would take as much room as the registers; till then its number is exact. What a group
//! holds depends on the set of its values alone, never on their order or on batches.

use std::any::Any;
use std::hash::Hasher as _;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array as _, ArrayRef, Int64Array};
use arrow_schema::{DataType, TimeUnit};
use siphasher::sip::SipHasher13;
use state::{CodecError, SnapshotReader, SnapshotWriter};

use super::{Accumulator, Input, check_groups, same};
use crate::error::Cause;
use crate::growth;

/// A sketch of a column of this type with `2^bits` registers.
pub(super) fn sketch(data_type: &DataType, bits: u8) -> Result<Box<dyn Accumulator>, Cause> {
    if !(4..=16).contains(&bits) || hashes(&arrow_array::new_empty_array(data_type), &mut Vec::new()).is_err() {
        return Err(Cause::Plan(format!("approx_count_distinct of {data_type} with 2^{bits} registers")));
    }
    Ok(Box::new(Sketches { cells: Vec::new(), bits, heap_bytes: 0, hashes: Vec::new() }))
}

#[derive(Debug, Clone)]
enum Cell {
    /// Hashes, ascending.
    Few(Vec<u64>),
    /// For each register the most leading zeros seen, plus one.
    Many(Box<[u8]>),
}

impl Cell {
    fn heap_bytes(&self) -> usize {
        match self {
            Self::Few(hashes) => hashes.capacity() * size_of::<u64>(),
            Self::Many(registers) => registers.len(),
        }
    }

    fn add(&mut self, hash: u64, bits: u8) {
        match self {
            Self::Few(hashes) => {
                let Err(at) = hashes.binary_search(&hash) else { return };
                if hashes.len() < few_max(bits) {
                    hashes.insert(at, hash);
                    return;
                }
                let mut registers = vec![0; 1 << bits].into_boxed_slice();
                hashes.iter().for_each(|hash| note(&mut registers, *hash, bits));
                note(&mut registers, hash, bits);
                *self = Self::Many(registers);
            }
            Self::Many(registers) => note(registers, hash, bits),
        }
    }

    fn merge(&mut self, other: &Self, bits: u8) {
        match other {
            Self::Few(hashes) => hashes.iter().for_each(|hash| self.add(*hash, bits)),
            Self::Many(theirs) => {
                let registers = match self {
                    Self::Many(registers) => registers,
                    Self::Few(hashes) => {
                        let mut registers = vec![0; 1 << bits].into_boxed_slice();
                        hashes.iter().for_each(|hash| note(&mut registers, *hash, bits));
                        *self = Self::Many(registers);
                        match self {
                            Self::Many(registers) => registers,
                            Self::Few(_) => return,
                        }
                    }
                };
                registers.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine = (*mine).max(*theirs));
            }
        }
    }

    fn estimate(&self, bits: u8) -> i64 {
        match self {
            Self::Few(hashes) => i64::try_from(hashes.len()).unwrap_or(i64::MAX),
            Self::Many(registers) => estimate(registers, bits),
        }
    }
}

/// Hashes that take as much room as the registers.
fn few_max(bits: u8) -> usize {
    (1 << bits) / size_of::<u64>()
}

fn note(registers: &mut [u8], hash: u64, bits: u8) {
    let register = usize::try_from(hash >> (64 - bits)).unwrap_or_default();
    // A set bit below the register number's bounds the zeros.
    let rest = (hash << bits) | (1 << (bits - 1));
    let rank = u8::try_from(rest.leading_zeros() + 1).unwrap_or(u8::MAX);
    if let Some(register) = registers.get_mut(register) {
        *register = (*register).max(rank);
    }
}

/// Ertl's improved raw estimator: no bias, no thresholds.
fn estimate(registers: &[u8], bits: u8) -> i64 {
    let longest = usize::from(64 - bits);
    let mut counts = vec![0_u32; longest + 2];
    for register in registers {
        if let Some(count) = counts.get_mut(usize::from(*register)) {
            *count += 1;
        }
    }
    let m = registers.len() as f64;
    let count = |at: usize| counts.get(at).copied().map_or(0.0, f64::from);
    let mut z = m * tau(1.0 - count(longest + 1) / m);
    for at in (1..=longest).rev() {
        z = 0.5 * (z + count(at));
    }
    z += m * sigma(count(0) / m);
    let estimate = m * m / (2.0 * std::f64::consts::LN_2 * z);
    #[allow(clippy::cast_possible_truncation, reason = "an estimate of a number of rows")]
    let rounded = estimate.round() as i64;
    rounded
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

/// Hashes of values, the same in each build and on each machine since they lie in snapshots; `None` for NULL.
fn hashes(column: &ArrayRef, out: &mut Vec<Option<u64>>) -> Result<(), Cause> {
    fn hash(bytes: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new();
        hasher.write(bytes);
        hasher.finish()
    }
    macro_rules! numbers {
        ($type:ty, $bytes:expr) => {
            out.extend(column.as_primitive::<$type>().iter().map(|value| value.map(|value| hash(&$bytes(value)))))
        };
    }
    out.clear();
    match column.data_type() {
        DataType::Boolean => {
            out.extend(column.as_boolean().iter().map(|value| value.map(|value| hash(&[u8::from(value)]))));
        }
        DataType::Int32 => numbers!(Int32Type, i32::to_le_bytes),
        DataType::Int64 => numbers!(Int64Type, i64::to_le_bytes),
        DataType::Date32 => numbers!(Date32Type, i32::to_le_bytes),
        DataType::Float64 => numbers!(Float64Type, f64::to_le_bytes),
        DataType::Decimal128(..) => numbers!(Decimal128Type, i128::to_le_bytes),
        DataType::Timestamp(TimeUnit::Microsecond, _) => numbers!(TimestampMicrosecondType, i64::to_le_bytes),
        DataType::Utf8 => {
            out.extend(column.as_string::<i32>().iter().map(|value| value.map(|value| hash(value.as_bytes()))));
        }
        DataType::Binary => out.extend(column.as_binary::<i32>().iter().map(|value| value.map(hash))),
        other => return Err(Cause::Internal(format!("values of {other} can't be told apart"))),
    }
    Ok(())
}

#[derive(Debug)]
struct Sketches {
    cells: Vec<Cell>,
    bits: u8,
    heap_bytes: usize,
    /// Of the present batch.
    hashes: Vec<Option<u64>>,
}

impl Sketches {
    fn change(&mut self, group: u32, change: impl FnOnce(&mut Cell, u8)) {
        let cell = &mut self.cells[group as usize];
        let before = cell.heap_bytes();
        change(cell, self.bits);
        self.heap_bytes = self.heap_bytes + cell.heap_bytes() - before;
    }
}

impl Accumulator for Sketches {
    fn resize(&mut self, groups: usize) {
        let dropped: usize = self.cells.iter().skip(groups).map(Cell::heap_bytes).sum();
        self.heap_bytes -= dropped;
        growth::resize(&mut self.cells, groups, Cell::Few(Vec::new()));
    }

    fn update(&mut self, input: &Input<'_>, groups: &[u32]) -> Result<(), Cause> {
        let mut found = std::mem::take(&mut self.hashes);
        hashes(input.required()?, &mut found)?;
        for (hash, group) in found.iter().zip(groups) {
            if let Some(hash) = hash {
                self.change(*group, |cell, bits| cell.add(*hash, bits));
            }
        }
        self.hashes = found;
        Ok(())
    }

    fn merge(&mut self, other: &dyn Accumulator, from: &[u32], into: &[u32]) -> Result<(), Cause> {
        let other: &Self = same(other)?;
        for (from, into) in from.iter().zip(into) {
            self.change(*into, |cell, bits| cell.merge(&other.cells[*from as usize], bits));
        }
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef, Cause> {
        let values = groups.iter().map(|group| self.cells[*group as usize].estimate(self.bits));
        Ok(Arc::new(values.collect::<Int64Array>()))
    }

    fn save(&self, writer: &mut SnapshotWriter) -> Result<(), CodecError> {
        writer.u64(self.cells.len() as u64);
        for cell in &self.cells {
            match cell {
                Cell::Few(hashes) => {
                    writer.bool(false);
                    writer.u64s(hashes);
                }
                Cell::Many(registers) => {
                    writer.bool(true);
                    writer.bytes(registers);
                }
            }
        }
        Ok(())
    }

    fn load(&mut self, reader: &mut SnapshotReader<'_>, groups: usize) -> Result<(), CodecError> {
        let invalid = |reason: &str| CodecError::Invalid { what: "sketch", reason: reason.to_owned() };
        let count = reader.count(1)?;
        check_groups(count, groups)?;
        let mut cells = Vec::with_capacity(count);
        for _ in 0..count {
            if reader.bool()? {
                let registers: Box<[u8]> = reader.bytes()?.into();
                if registers.len() != 1 << self.bits {
                    return Err(invalid("it has another number of registers"));
                }
                cells.push(Cell::Many(registers));
            } else {
                let hashes = reader.u64s()?;
                if !hashes.is_sorted_by(|a, b| a < b) || hashes.len() > few_max(self.bits) {
                    return Err(invalid("its hashes are out of order or too many"));
                }
                cells.push(Cell::Few(hashes));
            }
        }
        self.heap_bytes = cells.iter().map(Cell::heap_bytes).sum();
        self.cells = cells;
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.cells.capacity() * size_of::<Cell>() + self.heap_bytes
    }

    fn group_bytes(&self) -> usize {
        size_of::<Cell>()
    }

    fn heap_bytes(&self) -> usize {
        self.heap_bytes
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four standard errors hold in all but one of 16,000 cases; these are fixed values.
    #[test]
    fn the_estimate_is_within_its_error_and_small_numbers_are_exact() {
        for bits in [4_u8, 9, 12] {
            for values in [0_i64, 1, 60, 500, 5_000, 100_000] {
                let column: ArrayRef = Arc::new((0..values).map(|value| value * 7 + 3).collect::<Int64Array>());
                let mut found = Vec::new();
                hashes(&column, &mut found).unwrap();
                let mut cell = Cell::Few(Vec::new());
                for hash in found.iter().chain(&found).flatten() {
                    cell.add(*hash, bits);
                }
                let (estimate, exact) = (cell.estimate(bits) as f64, values as f64);
                let error = 1.04 / f64::from(1_u32 << bits).sqrt();
                let allowed = if values <= few_max(bits) as i64 { 0.0 } else { 4.0 * error * exact };
                assert!((estimate - exact).abs() <= allowed, "{bits} bits: {estimate} of {exact}");
            }
        }
    }

    #[test]
    fn hashes_never_change_since_they_lie_in_snapshots() {
        let column: ArrayRef = Arc::new(arrow_array::StringArray::from(vec![Some("a"), None, Some("")]));
        let mut found = Vec::new();
        hashes(&column, &mut found).unwrap();
        assert_eq!(found, [Some(HASH_OF_A), None, Some(HASH_OF_NOTHING)]);
    }

    const HASH_OF_A: u64 = 0x4074_48d2_b89b_1813;
    const HASH_OF_NOTHING: u64 = 0xd1fb_a762_150c_532c;
}
