//! Keys of rows as bytes, with their hashes.
//!
//! Two rows have the same key exactly if their bytes are equal. A single text column is used as it is; everything else is encoded by
//! arrow-row. The bytes are valid within the process alone: snapshots hold the columns.

use std::hash::BuildHasher as _;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::{Array as _, ArrayRef, StringArray};
use arrow_row::{RowConverter, Rows, SortField};
use arrow_schema::DataType;
use hashbrown::DefaultHashBuilder;
use siphasher::sip::SipHasher13;

use crate::error::Cause;

/// Encodes keys of fixed types.
#[derive(Debug)]
pub(crate) struct KeyCodec {
    kind: Kind,
    types: Vec<DataType>,
    hasher: Hasher,
}

#[derive(Debug)]
enum Kind {
    /// No columns: all rows have the same key.
    Unit,
    /// One text column.
    Text,
    Encoded(Box<RowConverter>),
}

#[derive(Debug)]
enum Hasher {
    /// Of this codec alone, so that nobody can choose keys that have one hash.
    Random(DefaultHashBuilder),
    /// The same in every process.
    Fixed(SipHasher13),
}

impl Hasher {
    #[inline]
    fn hash(&self, key: &[u8]) -> u64 {
        match self {
            Self::Random(builder) => builder.hash_one(key),
            Self::Fixed(hasher) => hasher.hash(key),
        }
    }
}

/// The keys of a batch, reused from batch to batch.
#[derive(Debug)]
pub(crate) struct Keys {
    content: Content,
    pub(crate) hashes: Vec<u64>,
}

#[derive(Debug)]
enum Content {
    Unit,
    Text(StringArray),
    Encoded(Box<Rows>),
}

impl Keys {
    /// The key of a row; `None` is the NULL of a single text column.
    #[inline]
    pub(crate) fn get(&self, row: usize) -> Option<&[u8]> {
        match &self.content {
            Content::Unit => Some(&[]),
            Content::Text(texts) if texts.is_null(row) => None,
            Content::Text(texts) => Some(texts.value(row).as_bytes()),
            Content::Encoded(rows) => Some(rows.row(row).data()),
        }
    }

    /// Bytes held between batches.
    pub(crate) fn bytes(&self) -> usize {
        let content = match &self.content {
            Content::Unit | Content::Text(_) => 0,
            Content::Encoded(rows) => rows.size(),
        };
        content + self.hashes.capacity() * size_of::<u64>()
    }

    /// Lets go of the last batch's columns.
    pub(crate) fn release(&mut self) {
        if let Content::Text(texts) = &mut self.content {
            *texts = StringArray::new_null(0);
        }
    }
}

impl KeyCodec {
    /// A codec for columns of these types.
    pub(crate) fn new(types: Vec<DataType>) -> Result<Self, Cause> {
        let kind = match types.as_slice() {
            [] => Kind::Unit,
            [DataType::Utf8] => Kind::Text,
            _ => {
                let fields: Vec<SortField> = types.iter().cloned().map(SortField::new).collect();
                if !RowConverter::supports_fields(&fields) {
                    return Err(Cause::Plan(format!("columns of types {types:?} can't be a key")));
                }
                Kind::Encoded(Box::new(RowConverter::new(fields)?))
            }
        };
        Ok(Self { kind, types, hasher: Hasher::Random(DefaultHashBuilder::default()) })
    }

    /// As [`new`](Self::new), with hashes that are the same in every process, where something is done in their order.
    pub(crate) fn ordered(types: Vec<DataType>) -> Result<Self, Cause> {
        Ok(Self { hasher: Hasher::Fixed(SipHasher13::new()), ..Self::new(types)? })
    }

    /// Types of the columns.
    pub(crate) fn types(&self) -> &[DataType] {
        &self.types
    }

    /// Room for the keys of batches of this codec.
    pub(crate) fn keys(&self) -> Keys {
        let content = match &self.kind {
            Kind::Unit => Content::Unit,
            Kind::Text => Content::Text(StringArray::new_null(0)),
            Kind::Encoded(converter) => Content::Encoded(Box::new(converter.empty_rows(0, 0))),
        };
        Keys { content, hashes: Vec::new() }
    }

    /// Encodes the keys of `rows` rows into `keys`, which must come from this codec.
    pub(crate) fn encode(&self, columns: &[ArrayRef], rows: usize, keys: &mut Keys) -> Result<(), Cause> {
        let types_match = columns.len() == self.types.len()
            && columns
                .iter()
                .zip(&self.types)
                .all(|(column, expected)| column.data_type() == expected && column.len() == rows);
        if !types_match {
            let found: Vec<_> = columns.iter().map(|column| column.data_type().clone()).collect();
            return Err(Cause::Internal(format!("key columns of types {found:?} where {:?} are expected", self.types)));
        }
        keys.hashes.clear();
        keys.hashes.reserve(rows);
        match (&self.kind, &mut keys.content) {
            (Kind::Unit, Content::Unit) => keys.hashes.resize(rows, 0),
            (Kind::Text, Content::Text(texts)) => {
                let column = columns[0].as_string::<i32>();
                keys.hashes.extend(column.iter().map(|text| text.map_or(0, |text| self.hasher.hash(text.as_bytes()))));
                *texts = column.clone();
            }
            (Kind::Encoded(converter), Content::Encoded(encoded)) => {
                encoded.clear();
                converter.append(encoded, columns)?;
                keys.hashes.extend(encoded.iter().map(|row| self.hasher.hash(row.data())));
            }
            _ => return Err(Cause::Internal("keys of another codec".into())),
        }
        Ok(())
    }

    /// The hash of a key that no columns were encoded to.
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash(key)
    }

    /// The columns of keys that this codec encoded.
    pub(crate) fn decode<'a>(&self, keys: impl Iterator<Item = Option<&'a [u8]>>) -> Result<Vec<ArrayRef>, Cause> {
        match &self.kind {
            Kind::Unit => Ok(Vec::new()),
            Kind::Text => {
                let texts: Result<StringArray, _> = keys
                    .map(|key| key.map(std::str::from_utf8).transpose())
                    .collect::<Result<Vec<_>, _>>()
                    .map(StringArray::from);
                let texts = texts.map_err(|error| Cause::Internal(format!("a key isn't the text it was: {error}")))?;
                Ok(vec![Arc::new(texts)])
            }
            Kind::Encoded(converter) => {
                let parser = converter.parser();
                Ok(converter.convert_rows(keys.map(|key| parser.parse(key.unwrap_or_default())))?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Int32Array, Int64Array};

    fn round_trip(columns: &[ArrayRef]) -> Keys {
        let codec = KeyCodec::new(columns.iter().map(|column| column.data_type().clone()).collect()).unwrap();
        let mut keys = codec.keys();
        for _ in 0..2 {
            codec.encode(columns, columns[0].len(), &mut keys).unwrap();
            let decoded = codec.decode((0..columns[0].len()).map(|row| keys.get(row))).unwrap();
            assert_eq!(decoded, columns);
        }
        keys
    }

    #[test]
    fn keys_come_back_and_null_is_a_key_of_its_own() {
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some(""), None, Some("b"), None]));
        let keys = round_trip(std::slice::from_ref(&text));
        assert_eq!((keys.get(0), keys.get(1), keys.get(3)), (Some(&[][..]), None, None));
        let number: ArrayRef = Arc::new(Int64Array::from(vec![Some(0), None, Some(1), None]));
        round_trip(std::slice::from_ref(&number));
        let keys = round_trip(&[text, number]);
        assert_eq!(keys.get(1), keys.get(3));
        assert_ne!(keys.get(0), keys.get(1));
    }

    #[test]
    fn other_types_than_announced_are_an_internal_error() {
        let codec = KeyCodec::new(vec![DataType::Utf8]).unwrap();
        let column: ArrayRef = Arc::new(Int32Array::from(vec![1]));
        assert!(matches!(codec.encode(&[column], 1, &mut codec.keys()), Err(Cause::Internal(_))));
    }
}
