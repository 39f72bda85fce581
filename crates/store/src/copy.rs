//! Rows of Arrow batches as PostgreSQL's binary COPY format, column values straight into one buffer.
//!
//! The format: "Binary Format" in PostgreSQL's documentation of COPY. Values are what each type's `…_recv` function reads.

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use bytes::{BufMut as _, BytesMut};
use model::Version;

use crate::column::ColumnType;

/// Microseconds from 1970 to 2000, where PostgreSQL's timestamps start.
pub(crate) const EPOCH_US: i64 = 946_684_800_000_000;
/// Days from 1970 to 2000.
pub(crate) const EPOCH_DAYS: i32 = 10_957;
/// The first timestamp that PostgreSQL has, 4713-11-24 BC, in microseconds since 2000 (`MIN_TIMESTAMP`).
const TIMESTAMP_MIN: i64 = -211_813_488_000_000_000;
/// The first day that PostgreSQL has and the one after the last, in days since 2000.
const DATE_MIN: i32 = -2_451_545;
const DATE_END: i32 = 2_145_031_949;

/// The bytes before the first row.
pub(crate) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The bytes after the last row.
pub(crate) const TRAILER: &[u8] = &[0xff, 0xff];

/// A value that PostgreSQL can't hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadValue {
    pub(crate) column: usize,
    pub(crate) row: usize,
    pub(crate) message: String,
}

/// One column of the rows to copy.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cells<'a> {
    /// NULL in each row.
    Null,
    Boolean(&'a BooleanArray),
    Integer(&'a Int32Array),
    Bigint(&'a Int64Array),
    Double(&'a Float64Array),
    Numeric {
        values: &'a Decimal128Array,
        scale: u8,
        /// 10^precision: no value may reach it.
        end: u128,
    },
    Text(&'a StringArray),
    Bytes(&'a BinaryArray),
    Timestamp(&'a TimestampMicrosecondArray),
    Date(&'a Date32Array),
}

impl<'a> Cells<'a> {
    /// The cells of an array for a column of this type.
    ///
    /// # Errors
    /// A sentence when the array has another type, or the row of the first text with a NUL character.
    pub(crate) fn new(array: &'a dyn Array, column: ColumnType) -> Result<Self, (Option<usize>, String)> {
        let other =
            || (None, format!("the values have the type {}, the table needs {}", array.data_type(), column.sql()));
        if ColumnType::from_arrow(array.data_type()) != Ok(column) {
            return Err(other());
        }
        Ok(match column {
            ColumnType::Boolean => Self::Boolean(array.as_boolean_opt().ok_or_else(other)?),
            ColumnType::Integer => Self::Integer(array.as_primitive_opt::<Int32Type>().ok_or_else(other)?),
            ColumnType::Bigint => Self::Bigint(array.as_primitive_opt::<Int64Type>().ok_or_else(other)?),
            ColumnType::Double => Self::Double(array.as_primitive_opt::<Float64Type>().ok_or_else(other)?),
            ColumnType::Numeric { precision, scale } => Self::Numeric {
                values: array.as_primitive_opt::<Decimal128Type>().ok_or_else(other)?,
                scale,
                end: 10_u128.checked_pow(precision.into()).unwrap_or(u128::MAX),
            },
            ColumnType::Text => {
                let values = array.as_string_opt::<i32>().ok_or_else(other)?;
                if let Some(row) = first_nul(values) {
                    return Err((Some(row), "text holds a NUL character, which PostgreSQL can't store".into()));
                }
                Self::Text(values)
            }
            ColumnType::Bytes => Self::Bytes(array.as_binary_opt::<i32>().ok_or_else(other)?),
            ColumnType::Timestamp => {
                Self::Timestamp(array.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(other)?)
            }
            ColumnType::Date => Self::Date(array.as_primitive_opt::<Date32Type>().ok_or_else(other)?),
        })
    }

    /// The row of the first time that PostgreSQL has as infinite only, as others.
    pub(crate) fn first_infinite(self) -> Option<usize> {
        match self {
            Self::Timestamp(values) => values.iter().position(|us| us.is_some_and(|us| timestamp(us) == i64::MIN)),
            Self::Date(values) => {
                values.iter().position(|days| days.is_some_and(|days| matches!(date(days), i32::MIN | i32::MAX)))
            }
            _ => None,
        }
    }

    /// Appends the length and the bytes of a row's value.
    fn put(self, row: usize, out: &mut BytesMut) -> Result<(), String> {
        let null = match self {
            Self::Null => true,
            Self::Boolean(values) => values.is_null(row),
            Self::Integer(values) => values.is_null(row),
            Self::Bigint(values) => values.is_null(row),
            Self::Double(values) => values.is_null(row),
            Self::Numeric { values, .. } => values.is_null(row),
            Self::Text(values) => values.is_null(row),
            Self::Bytes(values) => values.is_null(row),
            Self::Timestamp(values) => values.is_null(row),
            Self::Date(values) => values.is_null(row),
        };
        if null {
            out.put_i32(-1);
            return Ok(());
        }
        match self {
            Self::Null => {}
            Self::Boolean(values) => put_bool(out, values.value(row)),
            Self::Integer(values) => {
                out.put_i32(4);
                out.put_i32(values.value(row));
            }
            Self::Bigint(values) => put_i64(out, values.value(row)),
            Self::Double(values) => {
                out.put_i32(8);
                out.put_f64(values.value(row));
            }
            Self::Numeric { values, scale, end } => put_numeric(out, values.value(row), scale, end)?,
            Self::Text(values) => put_bytes(out, values.value(row).as_bytes())?,
            Self::Bytes(values) => put_bytes(out, values.value(row))?,
            Self::Timestamp(values) => put_i64(out, timestamp(values.value(row))),
            Self::Date(values) => {
                out.put_i32(4);
                out.put_i32(date(values.value(row)));
            }
        }
        Ok(())
    }
}

/// The row of the first text with a NUL. One pass over all bytes; rows are looked at only when there is one.
fn first_nul(values: &StringArray) -> Option<usize> {
    let offsets = values.value_offsets();
    let start = usize::try_from(*offsets.first()?).ok()?;
    let end = usize::try_from(*offsets.last()?).ok()?;
    if !values.value_data().get(start..end)?.contains(&0) {
        return None;
    }
    // A NUL may also lie in the bytes of a row that is null.
    (0..values.len()).find(|row| values.is_valid(*row) && values.value(*row).as_bytes().contains(&0))
}

fn put_bool(out: &mut BytesMut, value: bool) {
    out.put_i32(1);
    out.put_u8(value.into());
}

fn put_i64(out: &mut BytesMut, value: i64) {
    out.put_i32(8);
    out.put_i64(value);
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) -> Result<(), String> {
    out.put_i32(i32::try_from(bytes.len()).map_err(|_| "a value of more than 2 GiB can't be stored".to_owned())?);
    out.put_slice(bytes);
    Ok(())
}

fn put_numeric(out: &mut BytesMut, unscaled: i128, scale: u8, end: u128) -> Result<(), String> {
    if unscaled.unsigned_abs() >= end {
        return Err("the decimal has more digits than its column's precision".into());
    }
    let length_at = out.len();
    out.put_i32(0);
    crate::numeric::put(out, unscaled, scale);
    let length = i32::try_from(out.len() - length_at - 4).unwrap_or_default();
    if let Some(slot) = out.get_mut(length_at..length_at + 4) {
        slot.copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

/// PostgreSQL's timestamp for microseconds since 1970. A time before 4713 BC, where its timestamps begin, is `-infinity`.
fn timestamp(us: i64) -> i64 {
    us.checked_sub(EPOCH_US).filter(|us| *us >= TIMESTAMP_MIN).unwrap_or(i64::MIN)
}

/// PostgreSQL's date for days since 1970; `-infinity` and `infinity` for one outside of its years 4713 BC to 5874897.
fn date(days: i32) -> i32 {
    match days.checked_sub(EPOCH_DAYS) {
        Some(days) if days >= DATE_END => i32::MAX,
        Some(days) if days >= DATE_MIN => days,
        _ => i32::MIN,
    }
}

/// Rows to copy: some columns, and for results the version that each row has.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    pub(crate) cells: Vec<Cells<'a>>,
    /// With versions, four columns follow the cells: generation, folded_rows, is_final, is_deleted.
    pub(crate) versions: Option<&'a [Version]>,
    pub(crate) deleted: bool,
    /// The rows to take, ascending; all of `count` if `None`.
    pub(crate) selection: Option<Vec<u32>>,
    pub(crate) count: usize,
}

impl Rows<'_> {
    /// How many rows will be written.
    pub(crate) fn len(&self) -> usize {
        self.selection.as_ref().map_or(self.count, Vec::len)
    }

    /// Writes rows from number `from` (among those selected) until `out` holds `bytes_max` or all are written; returns the next number.
    pub(crate) fn write(&self, from: usize, bytes_max: usize, out: &mut BytesMut) -> Result<usize, BadValue> {
        let fields = self.cells.len() + if self.versions.is_some() { 4 } else { 0 };
        let fields = i16::try_from(fields).unwrap_or(i16::MAX);
        let mut next = from;
        while next < self.len() && out.len() < bytes_max {
            let row = match &self.selection {
                Some(selection) => selection.get(next).copied().unwrap_or_default() as usize,
                None => next,
            };
            out.put_i16(fields);
            for (column, cells) in self.cells.iter().enumerate() {
                cells.put(row, out).map_err(|message| BadValue { column, row, message })?;
            }
            if let Some(version) = self.versions.and_then(|versions| versions.get(row)) {
                put_version(out, *version, self.deleted);
            }
            next += 1;
        }
        Ok(next)
    }
}

fn put_version(out: &mut BytesMut, version: Version, deleted: bool) {
    out.put_i32(4);
    out.put_i32(i32::try_from(version.generation).unwrap_or(i32::MAX));
    put_i64(out, i64::try_from(version.rows).unwrap_or(i64::MAX));
    put_bool(out, version.is_final);
    put_bool(out, deleted);
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::ArrayRef;
    use std::sync::Arc;

    fn written(cells: Cells<'_>, count: usize) -> Result<BytesMut, BadValue> {
        let rows = Rows { cells: vec![cells], versions: None, deleted: false, selection: None, count };
        let mut out = BytesMut::new();
        rows.write(0, usize::MAX, &mut out).map(|_| out)
    }

    #[test]
    fn a_nul_in_text_names_its_row() {
        let array: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("b\0c")]));
        let error = Cells::new(&array, ColumnType::Text).unwrap_err();
        assert_eq!(error.0, Some(2));
        assert!(Cells::new(&array.slice(0, 2), ColumnType::Text).is_ok());
    }

    #[test]
    fn times_outside_of_postgresql_are_infinite() {
        assert_eq!(timestamp(i64::MIN), i64::MIN);
        assert_eq!(timestamp(TIMESTAMP_MIN + EPOCH_US - 1), i64::MIN);
        assert_eq!(timestamp(TIMESTAMP_MIN + EPOCH_US), TIMESTAMP_MIN);
        // The last microsecond that Arrow can hold is one that PostgreSQL has: its timestamps end with 294276 (`END_TIMESTAMP`).
        assert!(timestamp(i64::MAX) < 9_223_371_331_200_000_000);
        assert_eq!((date(i32::MIN), date(i32::MAX), date(EPOCH_DAYS)), (i32::MIN, i32::MAX, 0));
        assert_eq!((date(DATE_MIN + EPOCH_DAYS - 1), date(DATE_END - 1 + EPOCH_DAYS)), (i32::MIN, DATE_END - 1));
    }

    #[test]
    fn a_decimal_beyond_its_precision_is_refused() {
        let array = Decimal128Array::from(vec![999, 1000]).with_precision_and_scale(3, 1).unwrap();
        let cells = Cells::new(&array, ColumnType::Numeric { precision: 3, scale: 1 }).unwrap();
        assert_eq!(written(cells, 2).unwrap_err().row, 1);
        assert!(Cells::new(&array, ColumnType::Numeric { precision: 4, scale: 1 }).is_err(), "another type");
    }

    #[test]
    fn rows_are_written_in_pieces() {
        let array = Int32Array::from((0..100).collect::<Vec<_>>());
        let rows = Rows {
            cells: vec![Cells::Integer(&array)],
            versions: None,
            deleted: false,
            selection: Some((0..100).step_by(3).collect()),
            count: 100,
        };
        let (mut next, mut all, mut pieces) = (0, Vec::new(), 0);
        while next < rows.len() {
            let mut out = BytesMut::new();
            next = rows.write(next, 50, &mut out).unwrap();
            all.extend_from_slice(&out);
            pieces += 1;
        }
        assert_eq!((all.len(), pieces), (34 * 10, 7));
        assert_eq!(all.last(), Some(&99));
    }
}
