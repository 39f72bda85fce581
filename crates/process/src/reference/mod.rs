//! Reference tables and the join with them: a hash look-up per row, columns taken at once.
//!
//! | file | does |
//! | --- | --- |
//! | `content` | a load's rows as bytes, by whose hash a version is known |
//! | `validity` | which of a key's rows is valid at a time |
//! | `log` | which version applies to which rows |

pub(crate) mod content;
pub(crate) mod log;
pub(crate) mod validity;

use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, RecordBatch, UInt32Array};
use arrow_buffer::NullBuffer;
use arrow_cast::display::array_value_to_string;
use arrow_schema::DataType;
use arrow_select::take::take;
use hashbrown::HashTable;
use sql::JoinKind;

use crate::error::{Cause, ReferenceError};
use crate::keys::{KeyCodec, Keys};
use validity::{Intervals, Validity, times_us};

/// One version of a reference table, indexed by its key. It never changes; a newer load is another one.
#[derive(Debug, Clone)]
pub struct ReferenceData {
    version: u64,
    load: Arc<Load>,
}

#[derive(Debug)]
struct Load {
    name: String,
    batch: RecordBatch,
    key: Vec<String>,
    codec: KeyCodec,
    keys: Keys,
    /// Row numbers by hash of the key; of several rows with a key, the first.
    index: HashTable<u32>,
    intervals: Option<Intervals>,
}

impl ReferenceData {
    /// Indexes a table by the columns of its key. Rows with a NULL in the key are kept but never match.
    ///
    /// # Errors
    /// [`ReferenceError`]: a key column that isn't there, a key that occurs twice, a type that can't be a key.
    pub fn new(
        name: impl Into<String>,
        version: u64,
        batch: RecordBatch,
        key: Vec<String>,
    ) -> Result<Self, ReferenceError> {
        Self::with_validity(name, version, batch, key, None)
    }

    /// As [`new`](Self::new), of a table whose rows may be valid for a time: then a key may occur several times.
    ///
    /// # Errors
    /// As [`new`](Self::new); also a key with two rows that are valid at the same time, or one that never is.
    pub fn with_validity(
        name: impl Into<String>,
        version: u64,
        batch: RecordBatch,
        key: Vec<String>,
        validity: Option<&Validity>,
    ) -> Result<Self, ReferenceError> {
        let name = name.into();
        let batch = match validity {
            Some(_) => content::in_key_order(&name, &batch, &content::row_order(&key, validity))?,
            None => batch,
        };
        let unindexable = |reason: String| ReferenceError::Unindexable { reference: name.clone(), reason };
        let columns = key_columns(&name, &batch, &key)?;
        let rows =
            u32::try_from(batch.num_rows()).map_err(|_| unindexable("it has more than 4294967295 rows".into()))?;
        if columns.is_empty() {
            return Err(unindexable("it has no key".into()));
        }
        let codec = KeyCodec::new(columns.iter().map(|column| column.data_type().clone()).collect())
            .map_err(|error| unindexable(error.to_string()))?;
        let mut keys = codec.keys();
        codec.encode(&columns, batch.num_rows(), &mut keys).map_err(|error| unindexable(error.to_string()))?;
        let null = any_null(&columns);
        let mut index = HashTable::with_capacity(batch.num_rows());
        for row in 0..rows {
            let at = row as usize;
            if null.as_ref().is_some_and(|nulls| nulls.is_null(at)) {
                continue;
            }
            let hash = keys.hashes[at];
            let found = index.find(hash, |other: &u32| keys.get(*other as usize) == keys.get(at));
            match (found, validity) {
                (None, _) => {
                    index.insert_unique(hash, row, |other| keys.hashes[*other as usize]);
                }
                (Some(_), Some(_)) => {}
                (Some(first), None) => {
                    let values: Vec<String> =
                        columns.iter().map(|column| array_value_to_string(column, at).unwrap_or_default()).collect();
                    let (first, second) = (*first as usize + 1, at + 1);
                    return Err(ReferenceError::DuplicateKey {
                        reference: name,
                        key: values.join(", "),
                        first,
                        second,
                    });
                }
            }
        }
        let same_key = |row: usize| row > 0 && keys.get(row) == keys.get(row - 1);
        let intervals = validity.map(|validity| Intervals::new(&name, &batch, &columns, validity, same_key));
        let intervals = intervals.transpose()?;
        Ok(Self { version, load: Arc::new(Load { name, batch, key, codec, keys, index, intervals }) })
    }

    /// The same load under another number.
    #[must_use]
    pub fn numbered(&self, version: u64) -> Self {
        Self { version, load: Arc::clone(&self.load) }
    }

    /// Name of the table.
    pub fn name(&self) -> &str {
        &self.load.name
    }

    /// Number of this load.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// All rows.
    pub fn batch(&self) -> &RecordBatch {
        &self.load.batch
    }

    /// For each row of [`batch`](Self::batch) the first time at which it is valid and the first at which it no longer is, in microseconds
    /// since 1970; `None` if rows are valid always.
    pub fn valid_us(&self) -> Option<(&[i64], &[i64])> {
        self.load.intervals.as_ref().map(|intervals| (&*intervals.from_us, &*intervals.to_us))
    }

    /// Columns of the key.
    pub fn key(&self) -> &[String] {
        &self.load.key
    }

    /// Types of the key's columns.
    pub(crate) fn key_types(&self) -> &[DataType] {
        self.load.codec.types()
    }

    /// Bytes held: the rows and the index.
    pub fn bytes(&self) -> usize {
        self.load.batch.get_array_memory_size()
            + self.load.keys.bytes()
            + self.load.index.allocation_size()
            + self.load.intervals.as_ref().map_or(0, Intervals::bytes)
    }

    /// The row of the table for each of `rows` keys; NULL where there is none. `times` are needed for a table whose rows have a validity.
    pub(crate) fn look_up(
        &self,
        columns: &[ArrayRef],
        rows: usize,
        times: Option<&ArrayRef>,
    ) -> Result<UInt32Array, Cause> {
        let times_us = match (&self.load.intervals, times) {
            (None, _) => Vec::new(),
            (Some(_), Some(times)) => times_us(times, NO_TIME_US)
                .ok_or_else(|| Cause::Internal("an event time that isn't a timestamp".into()))?,
            (Some(_), None) => {
                return Err(Cause::Plan("a join with rows that have a validity needs the event time".into()));
            }
        };
        let load = &*self.load;
        let mut keys = load.codec.keys();
        load.codec.encode(columns, rows, &mut keys)?;
        let null = any_null(columns);
        Ok((0..rows)
            .map(|row| {
                if null.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                    return None;
                }
                // Both tables of hashes come from this codec's hasher.
                let found =
                    load.index.find(keys.hashes[row], |other| load.keys.get(*other as usize) == keys.get(row)).copied();
                match &load.intervals {
                    None => found,
                    Some(intervals) => {
                        let time_us = times_us.get(row).copied().filter(|time_us| *time_us != NO_TIME_US)?;
                        intervals.valid_at(found?, time_us)
                    }
                }
            })
            .collect())
    }
}

/// Stands for a NULL event time, which no row is valid at.
const NO_TIME_US: i64 = i64::MIN;

/// The columns of a key.
fn key_columns(name: &str, rows: &RecordBatch, key: &[String]) -> Result<Vec<ArrayRef>, ReferenceError> {
    let column = |column: &String| {
        let missing = || ReferenceError::NoColumn { reference: name.to_owned(), column: column.clone() };
        rows.column_by_name(column).cloned().ok_or_else(missing)
    };
    key.iter().map(column).collect()
}

fn any_null(columns: &[ArrayRef]) -> Option<NullBuffer> {
    columns.iter().fold(None, |so_far, column| NullBuffer::union(so_far.as_ref(), column.nulls()))
}

/// What a join does with a batch.
#[derive(Debug)]
pub(crate) struct Joined {
    /// Rows of the batch that stay, when not all do.
    pub(crate) kept: Option<UInt32Array>,
    /// The reference's columns for the rows that stay.
    pub(crate) columns: Vec<ArrayRef>,
}

/// Joins a batch by its key columns, and its times if the table's rows have a validity, with `columns` of the table.
pub(crate) fn join(
    data: &ReferenceData,
    kind: JoinKind,
    keys: &[ArrayRef],
    rows: usize,
    times: Option<&ArrayRef>,
    columns: &[usize],
) -> Result<Joined, Cause> {
    let found = data.look_up(keys, rows, times)?;
    let (kept, found) = match kind {
        JoinKind::Inner if found.null_count() > 0 => {
            let kept: UInt32Array =
                (0..rows).filter(|row| found.is_valid(*row)).map(|row| u32::try_from(row).ok()).collect();
            let matches = take(&found, &kept, None)?;
            (Some(kept), arrow_array::cast::AsArray::as_primitive(&matches).clone())
        }
        _ => (None, found),
    };
    let taken: Result<Vec<_>, _> =
        columns.iter().map(|column| take(data.batch().column(*column), &found, None)).collect();
    Ok(Joined { kept, columns: taken? })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use arrow_array::{Int64Array, StringArray, TimestampMicrosecondArray};
    use arrow_schema::{Field, Schema};

    fn table(keys: Vec<Option<&str>>, numbers: Vec<i64>) -> Result<ReferenceData, ReferenceError> {
        let schema = Schema::new(vec![Field::new("id", DataType::Utf8, true), Field::new("n", DataType::Int64, false)]);
        let columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from(keys)), Arc::new(Int64Array::from(numbers))];
        ReferenceData::new("merchants", 1, RecordBatch::try_new(Arc::new(schema), columns).unwrap(), vec!["id".into()])
    }

    fn texts(values: Vec<Option<&str>>) -> Vec<ArrayRef> {
        vec![Arc::new(StringArray::from(values))]
    }

    #[test]
    fn null_matches_nothing_and_inner_drops_what_left_keeps() {
        let data = table(vec![Some("a"), None, Some(""), None], vec![1, 2, 3, 4]).unwrap();
        let keys = texts(vec![Some("x"), Some("a"), None, Some("")]);
        let left = join(&data, JoinKind::Left, &keys, 4, None, &[1]).unwrap();
        assert!(left.kept.is_none());
        assert_eq!(
            left.columns[0].as_ref(),
            &Int64Array::from(vec![None, Some(1), None, Some(3)]) as &dyn arrow_array::Array
        );
        let inner = join(&data, JoinKind::Inner, &keys, 4, None, &[1]).unwrap();
        assert_eq!(inner.kept, Some(UInt32Array::from(vec![1, 3])));
        assert_eq!(inner.columns[0].as_ref(), &Int64Array::from(vec![1, 3]) as &dyn arrow_array::Array);
    }

    #[test]
    fn an_empty_table_matches_nothing() {
        let data = table(vec![], vec![]).unwrap();
        let keys = texts(vec![Some("x"), None]);
        let left = join(&data, JoinKind::Left, &keys, 2, None, &[0, 1]).unwrap();
        assert!(left.columns.iter().all(|column| column.null_count() == 2));
        assert_eq!(join(&data, JoinKind::Inner, &keys, 2, None, &[1]).unwrap().columns[0].len(), 0);
    }

    #[test]
    fn a_row_is_joined_with_the_one_that_is_valid_at_its_time() {
        let validity = Validity { from: "from".into(), to: Some("to".into()) };
        let time =
            |us: Vec<Option<i64>>| Arc::new(TimestampMicrosecondArray::from(us).with_timezone("UTC")) as ArrayRef;
        let table = |from: Vec<Option<i64>>, to: Option<Vec<Option<i64>>>| {
            let ids: ArrayRef = Arc::new(StringArray::from(vec!["b", "a", "a", "a"]));
            let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 4]));
            let mut columns = vec![("id", ids), ("n", numbers), ("from", time(from))];
            let validity = Validity { to: to.as_ref().map(|_| "to".into()), ..validity.clone() };
            columns.extend(to.map(|to| ("to", time(to))));
            let rows = RecordBatch::try_from_iter(columns).unwrap();
            ReferenceData::with_validity("fees", 1, rows, vec!["id".into()], Some(&validity))
        };
        let numbers = |data: &ReferenceData, id: &str, times: Vec<Option<i64>>| {
            let keys = texts(vec![Some(id); times.len()]);
            let joined = join(data, JoinKind::Left, &keys, times.len(), Some(&time(times)), &[1]).unwrap();
            arrow_array::cast::AsArray::as_primitive::<arrow_array::types::Int64Type>(&joined.columns[0])
                .iter()
                .collect::<Vec<_>>()
        };
        let times = || vec![Some(-9), Some(9), Some(10), Some(19), Some(20), Some(29), Some(30), Some(99), None];
        let data = table(vec![None, Some(10), Some(30), Some(0)], Some(vec![None, Some(20), None, Some(10)])).unwrap();
        let of_a = [None, Some(4), Some(2), Some(2), None, None, Some(3), Some(3), None];
        assert_eq!(numbers(&data, "a", times()), of_a);
        assert_eq!(numbers(&data, "b", vec![Some(-9), None]), [Some(1), None]);
        // Without ends, a row is valid until the next one.
        let data = table(vec![Some(5), Some(10), Some(30), None], None).unwrap();
        let of_a = [Some(4), Some(4), Some(2), Some(2), Some(2), Some(2), Some(3), Some(3), None];
        assert_eq!(numbers(&data, "a", times()), of_a);
        assert_eq!(numbers(&data, "b", vec![Some(4), Some(5)]), [None, Some(1)]);

        let error = |from, to| table(from, to).unwrap_err();
        let overlap = error(vec![None, Some(10), Some(19), Some(0)], Some(vec![None, Some(20), None, Some(10)]));
        assert!(matches!(&overlap, ReferenceError::Overlap { key, .. } if key == "a"), "{overlap}");
        let empty = error(vec![None, Some(10), Some(30), Some(0)], Some(vec![None, Some(10), None, Some(10)]));
        assert!(matches!(&empty, ReferenceError::EmptyInterval { .. }), "{empty}");
        assert!(matches!(error(vec![None, Some(1), Some(1), Some(0)], None), ReferenceError::EmptyInterval { .. }));
    }

    #[test]
    fn a_key_that_occurs_twice_is_refused_with_both_rows() {
        let error = table(vec![Some("a"), Some("b"), Some("a")], vec![1, 2, 3]).unwrap_err();
        assert!(
            matches!(&error, ReferenceError::DuplicateKey { key, first: 1, second: 3, .. } if key == "a"),
            "{error}"
        );
    }
}
