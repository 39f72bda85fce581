//! Rows that are valid for a time: which of a key's rows is valid at an event time.

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Date32Type, TimestampMicrosecondType};
use arrow_array::{Array as _, ArrayRef, RecordBatch};
use arrow_cast::display::array_value_to_string;
use arrow_schema::{DataType, TimeUnit};

use crate::error::ReferenceError;

/// The columns that say for how long a row is valid: from the first on, until before the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validity {
    /// Column with the first time at which a row is valid; NULL is valid from the beginning.
    pub from: String,
    /// Column with the first time at which it no longer is; NULL is valid to the end. Without the column a row is valid until the next
    /// one of its key.
    pub to: Option<String>,
}

/// The intervals of rows that are ordered by key and start.
#[derive(Debug)]
pub(crate) struct Intervals {
    pub(super) from_us: Vec<i64>,
    pub(super) to_us: Vec<i64>,
    /// Row after the last one of the same key.
    key_ends: Vec<u32>,
}

impl Intervals {
    /// The intervals of rows that are ordered by key and start; `same_key` tells whether a row has the key of the row before it.
    pub(crate) fn new(
        name: &str,
        rows: &RecordBatch,
        key: &[ArrayRef],
        validity: &Validity,
        same_key: impl Fn(usize) -> bool,
    ) -> Result<Self, ReferenceError> {
        let times = |column: &str, absent_us: i64| {
            let missing = || ReferenceError::NoColumn { reference: name.to_owned(), column: column.to_owned() };
            times_us(rows.column_by_name(column).ok_or_else(missing)?, absent_us).ok_or_else(|| {
                let reason = format!("column {column} is neither a timestamp nor a date");
                ReferenceError::Unindexable { reference: name.to_owned(), reason }
            })
        };
        let count = rows.num_rows();
        let from_us = times(&validity.from, i64::MIN)?;
        let to_us = match &validity.to {
            Some(column) => times(column, i64::MAX)?,
            None => (0..count)
                .map(|row| if row + 1 < count && same_key(row + 1) { from_us[row + 1] } else { i64::MAX })
                .collect(),
        };
        let shown_key = |row: usize| {
            let values: Vec<String> =
                key.iter().map(|column| array_value_to_string(column, row).unwrap_or_default()).collect();
            values.join(", ")
        };
        let mut key_ends = vec![0; count];
        let mut end = count;
        for row in (0..count).rev() {
            key_ends[row] = u32::try_from(end).unwrap_or(u32::MAX);
            let is_first = row == 0 || !same_key(row);
            if is_first {
                end = row;
            }
            // Without an end column, two rows that start together leave the first one no time.
            if to_us[row] <= from_us[row] {
                return Err(ReferenceError::EmptyInterval { reference: name.to_owned(), key: shown_key(row) });
            }
            if !is_first && to_us[row - 1] > from_us[row] {
                return Err(ReferenceError::Overlap { reference: name.to_owned(), key: shown_key(row) });
            }
        }
        Ok(Self { from_us, to_us, key_ends })
    }

    /// The row that is valid at a time, of those that have the key of row `first`, which is the first of them.
    pub(crate) fn valid_at(&self, first: u32, time_us: i64) -> Option<u32> {
        let begin = first as usize;
        let end = *self.key_ends.get(begin)? as usize;
        let starts = self.from_us.get(begin..end)?;
        let row = begin + starts.partition_point(|from| *from <= time_us).checked_sub(1)?;
        (time_us < *self.to_us.get(row)?).then_some(u32::try_from(row).ok()?)
    }

    pub(crate) fn bytes(&self) -> usize {
        (self.from_us.capacity() + self.to_us.capacity()) * size_of::<i64>()
            + self.key_ends.capacity() * size_of::<u32>()
    }
}

/// Microseconds since 1970 of a column of timestamps or dates.
pub(crate) fn times_us(column: &ArrayRef, absent_us: i64) -> Option<Vec<i64>> {
    const DAY_US: i64 = 86_400_000_000;
    let nulls = column.nulls();
    let value = |row: usize, us: i64| if nulls.is_some_and(|nulls| nulls.is_null(row)) { absent_us } else { us };
    Some(match column.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let values = column.as_primitive::<TimestampMicrosecondType>().values();
            values.iter().enumerate().map(|(row, us)| value(row, *us)).collect()
        }
        DataType::Date32 => {
            let values = column.as_primitive::<Date32Type>().values();
            values.iter().enumerate().map(|(row, days)| value(row, i64::from(*days) * DAY_US)).collect()
        }
        _ => return None,
    })
}
