//! Reference tables and the join with them: a hash look-up per row, columns taken at once.

use arrow_array::{Array as _, ArrayRef, RecordBatch, UInt32Array};
use arrow_buffer::NullBuffer;
use arrow_cast::display::array_value_to_string;
use arrow_schema::DataType;
use arrow_select::take::take;
use hashbrown::HashTable;
use sql::JoinKind;

use crate::error::{Cause, ReferenceError};
use crate::keys::{KeyCodec, Keys};

/// One version of a reference table, indexed by its key. It never changes; a newer load is another one.
#[derive(Debug)]
pub struct ReferenceData {
    name: String,
    version: u64,
    batch: RecordBatch,
    key: Vec<String>,
    codec: KeyCodec,
    keys: Keys,
    /// Row numbers by hash of the key.
    index: HashTable<u32>,
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
        let name = name.into();
        let unindexable = |reason: String| ReferenceError::Unindexable { reference: name.clone(), reason };
        let mut columns = Vec::with_capacity(key.len());
        for column in &key {
            let found = batch.column_by_name(column);
            let missing = || ReferenceError::NoColumn { reference: name.clone(), column: column.clone() };
            columns.push(found.ok_or_else(missing)?.clone());
        }
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
            if let Some(first) = index.find(hash, |other: &u32| keys.get(*other as usize) == keys.get(at)) {
                let values: Vec<String> =
                    columns.iter().map(|column| array_value_to_string(column, at).unwrap_or_default()).collect();
                let (first, second) = (*first as usize + 1, at + 1);
                return Err(ReferenceError::DuplicateKey { reference: name, key: values.join(", "), first, second });
            }
            index.insert_unique(hash, row, |other| keys.hashes[*other as usize]);
        }
        Ok(Self { name, version, batch, key, codec, keys, index })
    }

    /// Name of the table.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of this load.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// All rows.
    pub fn batch(&self) -> &RecordBatch {
        &self.batch
    }

    /// Columns of the key.
    pub fn key(&self) -> &[String] {
        &self.key
    }

    /// Types of the key's columns.
    pub(crate) fn key_types(&self) -> &[DataType] {
        self.codec.types()
    }

    /// Bytes held: the rows and the index.
    pub fn bytes(&self) -> usize {
        self.batch.get_array_memory_size() + self.keys.bytes() + self.index.allocation_size()
    }

    /// The row of the table for each of `rows` keys; NULL where there is none.
    pub(crate) fn look_up(&self, columns: &[ArrayRef], rows: usize) -> Result<UInt32Array, Cause> {
        let mut keys = self.codec.keys();
        self.codec.encode(columns, rows, &mut keys)?;
        let null = any_null(columns);
        Ok((0..rows)
            .map(|row| {
                if null.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                    return None;
                }
                // Both tables of hashes come from this codec's hasher.
                self.index.find(keys.hashes[row], |other| self.keys.get(*other as usize) == keys.get(row)).copied()
            })
            .collect())
    }
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

/// Joins a batch by its key columns with `columns` of the table.
pub(crate) fn join(
    data: &ReferenceData,
    kind: JoinKind,
    keys: &[ArrayRef],
    rows: usize,
    columns: &[usize],
) -> Result<Joined, Cause> {
    let found = data.look_up(keys, rows)?;
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
        columns.iter().map(|column| take(data.batch.column(*column), &found, None)).collect();
    Ok(Joined { kept, columns: taken? })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use arrow_array::{Int64Array, StringArray};
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
        let left = join(&data, JoinKind::Left, &keys, 4, &[1]).unwrap();
        assert!(left.kept.is_none());
        assert_eq!(
            left.columns[0].as_ref(),
            &Int64Array::from(vec![None, Some(1), None, Some(3)]) as &dyn arrow_array::Array
        );
        let inner = join(&data, JoinKind::Inner, &keys, 4, &[1]).unwrap();
        assert_eq!(inner.kept, Some(UInt32Array::from(vec![1, 3])));
        assert_eq!(inner.columns[0].as_ref(), &Int64Array::from(vec![1, 3]) as &dyn arrow_array::Array);
    }

    #[test]
    fn an_empty_table_matches_nothing() {
        let data = table(vec![], vec![]).unwrap();
        let keys = texts(vec![Some("x"), None]);
        let left = join(&data, JoinKind::Left, &keys, 2, &[0, 1]).unwrap();
        assert!(left.columns.iter().all(|column| column.null_count() == 2));
        assert_eq!(join(&data, JoinKind::Inner, &keys, 2, &[1]).unwrap().columns[0].len(), 0);
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
