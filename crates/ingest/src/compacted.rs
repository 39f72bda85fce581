//! A compacted topic as a reference table: the newest value of each key.
//!
//! In: the topic's records in the order of their partitions, keys as they are, values in Avro's wire format. Out: one batch of the rows
//! that stand. A null value takes its key's row away. Memory is bounded: past the limit the table is refused as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{Schema, SchemaRef};
use avro::{DecodeFailure, Decoder};
use model::{BytesColumn, Classified, Domain, RecordBlock, Retry, SchemaError, Schemas};

use crate::coerce::text::ColumnBuilder;

/// Where the key's columns are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RecordKey {
    /// In the value, as all others.
    #[default]
    InValue,
    /// The record's key is the text of the one key column.
    Text,
    /// The record's key is an Avro record, in the wire format, with the key's columns.
    Avro,
}

/// Why a topic can't be a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompactedError {
    /// A column can't be in an Avro schema, or there are several columns where a text is one.
    #[error("reference table {table}: {reason}")]
    Columns {
        /// The table.
        table: String,
        /// What is wrong.
        reason: String,
    },
    /// A record can't be a row.
    #[error("reference table {table}: {topic}[{partition}] at offset {offset}: {reason}")]
    Record {
        /// The table.
        table: String,
        /// The topic.
        topic: String,
        /// Its partition.
        partition: i32,
        /// The record's offset.
        offset: i64,
        /// What is wrong.
        reason: String,
    },
    /// It doesn't fit in memory.
    #[error("reference table {table} takes more than {} MB of memory, which its setting `memory` allows", .bytes_max / 1_000_000)]
    TooLarge {
        /// The table.
        table: String,
        /// The limit.
        bytes_max: usize,
    },
    /// A writer's schema can't be had.
    #[error(transparent)]
    Schema(#[from] SchemaError),
}

impl Classified for CompactedError {
    fn domain(&self) -> Domain {
        match self {
            Self::Schema(error) => error.domain(),
            _ => Domain::User,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Schema(error) => error.retry(),
            _ => Retry::Never,
        }
    }
}

/// The records that stand.
#[derive(Debug)]
pub struct CompactedTable {
    table: String,
    topic: String,
    schema: SchemaRef,
    held: BTreeMap<Vec<u8>, Held>,
    bytes: usize,
    bytes_max: usize,
    values: RecordReader,
    keys: Keys,
}

#[derive(Debug)]
struct Held {
    partition: i32,
    offset: i64,
    value: Vec<u8>,
}

#[derive(Debug)]
enum Keys {
    InValue,
    Text { column: usize },
    Avro(Box<RecordReader>),
}

/// Decodes records into columns that are declared without a record's name: it takes the name of the first writer's.
#[derive(Debug)]
struct RecordReader {
    columns: Schema,
    decoder: Decoder,
    has_writer: bool,
}

impl RecordReader {
    fn new(columns: Schema) -> Result<Self, String> {
        let decoder = Self::decoder("row", &columns)?;
        Ok(Self { columns, decoder, has_writer: false })
    }

    fn decoder(name: &str, columns: &Schema) -> Result<Decoder, String> {
        let reader = avro::schema_for(name, "", None, columns).map_err(|error| error.to_string())?;
        Decoder::new(&reader, None, avro::Limits::default()).map_err(|error| error.to_string())
    }

    fn add_writer(&mut self, id: u32, text: &str) -> Result<(), String> {
        let writer = avro::Schema::parse(text).map_err(|error| error.to_string())?;
        if !self.has_writer {
            let name = writer.name().rsplit('.').next().unwrap_or_default();
            self.decoder = Self::decoder(name, &self.columns)?;
            self.has_writer = true;
        }
        self.decoder.add_writer(id, &writer).map_err(|error| error.to_string())
    }
}

/// What a key costs besides its bytes.
const ENTRY_BYTES: usize = 96;

impl CompactedTable {
    /// An empty table of these columns. `bytes_max` bounds the records that it holds.
    ///
    /// # Errors
    /// `Columns`.
    pub fn new(
        table: &str,
        topic: &str,
        schema: SchemaRef,
        key: &[String],
        record_key: RecordKey,
        bytes_max: usize,
    ) -> Result<Self, CompactedError> {
        let wrong = |reason: String| CompactedError::Columns { table: table.to_owned(), reason };
        let decoder = |keep: &dyn Fn(&str) -> bool| {
            let fields: Vec<_> = schema.fields().iter().filter(|field| keep(field.name())).cloned().collect();
            RecordReader::new(Schema::new(fields)).map_err(wrong)
        };
        let is_key = |name: &str| key.iter().any(|column| column == name);
        let keys = match (record_key, key) {
            (RecordKey::InValue, _) => Keys::InValue,
            (RecordKey::Text, [column]) => {
                let column = schema.index_of(column).map_err(|error| wrong(error.to_string()))?;
                Keys::Text { column }
            }
            (RecordKey::Text, _) => return Err(wrong("a text is one column, and its key has several".into())),
            (RecordKey::Avro, _) => Keys::Avro(Box::new(decoder(&is_key)?)),
        };
        let values = match keys {
            Keys::InValue => decoder(&|_| true)?,
            _ => decoder(&|name| !is_key(name))?,
        };
        Ok(Self {
            table: table.to_owned(),
            topic: topic.to_owned(),
            schema,
            held: BTreeMap::new(),
            bytes: 0,
            bytes_max,
            values,
            keys,
        })
    }

    /// Takes records in. Whether any changed what stands.
    ///
    /// # Errors
    /// `Record` for one without a key, `TooLarge`.
    pub fn apply(&mut self, block: &RecordBlock) -> Result<bool, CompactedError> {
        let mut has_changed = false;
        for (row, &offset) in block.offsets.iter().enumerate() {
            let Some(key) = block.keys.get(row) else {
                return Err(self.bad_record(
                    block.partition,
                    offset,
                    "it has no key, and a compacted topic needs one".into(),
                ));
            };
            let before = match block.values.get(row) {
                None => self.held.remove(key),
                Some(value) => {
                    self.bytes += key.len() + value.len() + ENTRY_BYTES;
                    let held = Held { partition: block.partition, offset, value: value.to_vec() };
                    has_changed = true;
                    self.held.insert(key.to_vec(), held)
                }
            };
            if let Some(before) = before {
                has_changed = true;
                self.bytes = self.bytes.saturating_sub(key.len() + before.value.len() + ENTRY_BYTES);
            }
            if self.bytes > self.bytes_max {
                return Err(CompactedError::TooLarge { table: self.table.clone(), bytes_max: self.bytes_max });
            }
        }
        Ok(has_changed)
    }

    /// All rows that stand.
    ///
    /// # Errors
    /// `Record` for one that can't be read, `Schema` when its writer's schema can't be had.
    pub fn rows(&mut self, schemas: &dyn Schemas) -> Result<RecordBatch, CompactedError> {
        let mut values = BytesColumn::with_capacity(self.held.len(), self.bytes);
        self.held.values().for_each(|held| values.push(Some(&held.value)));
        let values = decode(&mut self.values, &values, schemas, &self.held, (&self.table, &self.topic))?;
        let keys = match &mut self.keys {
            Keys::InValue => None,
            Keys::Avro(decoder) => {
                let mut keys = BytesColumn::with_capacity(self.held.len(), self.bytes);
                self.held.keys().for_each(|key| keys.push(Some(key)));
                Some(decode(decoder, &keys, schemas, &self.held, (&self.table, &self.topic))?)
            }
            Keys::Text { column } => {
                let column = *column;
                Some(self.text_keys(column)?)
            }
        };
        let wrong = |reason: String| CompactedError::Columns { table: self.table.clone(), reason };
        let column = |name: &str| -> Result<ArrayRef, CompactedError> {
            let of_key = keys.as_ref().and_then(|keys| keys.column_by_name(name));
            let found = of_key.or_else(|| values.column_by_name(name));
            found.cloned().ok_or_else(|| wrong(format!("column {name} wasn't read")))
        };
        let columns: Result<Vec<_>, _> = self.schema.fields().iter().map(|field| column(field.name())).collect();
        RecordBatch::try_new(Arc::clone(&self.schema), columns?).map_err(|error| wrong(error.to_string()))
    }

    fn text_keys(&self, column: usize) -> Result<RecordBatch, CompactedError> {
        let wrong = |reason: String| CompactedError::Columns { table: self.table.clone(), reason };
        let field = self.schema.field(column);
        let mut builder = ColumnBuilder::new(field, self.held.len())
            .ok_or_else(|| wrong(format!("column {} can't be read from a text", field.name())))?;
        for (key, held) in &self.held {
            let text = std::str::from_utf8(key).map_err(|_| "its key isn't UTF-8 text".to_owned());
            let appended = text.and_then(|text| builder.append_text(text));
            appended.map_err(|reason| self.bad_record(held.partition, held.offset, reason))?;
        }
        let schema = Schema::new(vec![field.clone()]);
        RecordBatch::try_new(Arc::new(schema), vec![builder.finish()]).map_err(|error| wrong(error.to_string()))
    }

    fn bad_record(&self, partition: i32, offset: i64, reason: String) -> CompactedError {
        let (table, topic) = (self.table.clone(), self.topic.clone());
        CompactedError::Record { table, topic, partition, offset, reason }
    }
}

/// Decodes all of `bytes`, which are of the records in `held`, asking for writers' schemas as they come.
fn decode(
    reader: &mut RecordReader,
    bytes: &BytesColumn,
    schemas: &dyn Schemas,
    held: &BTreeMap<Vec<u8>, Held>,
    (table, topic): (&str, &str),
) -> Result<RecordBatch, CompactedError> {
    loop {
        let decoded = reader.decoder.decode(bytes);
        let Some((row, failure)) = decoded.failures.into_iter().next() else { return Ok(decoded.batch) };
        let record = |reason: String| {
            let at = held.values().nth(row as usize);
            let (partition, offset) = at.map_or((-1, -1), |held| (held.partition, held.offset));
            CompactedError::Record { table: table.to_owned(), topic: topic.to_owned(), partition, offset, reason }
        };
        let DecodeFailure::UnknownWriter { id } = failure else { return Err(record(failure.to_string())) };
        let text = schemas.by_id(id)?;
        reader.add_writer(id, &text).map_err(record)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Decimal128Array, StringArray};
    use arrow_cast::display::array_value_to_string;
    use arrow_schema::{DataType, Field};
    use avro::Encoder;

    /// Schema 1: (id, fee); 2: (fee); 3: (id).
    #[derive(Debug)]
    struct Registry;

    fn fields(names: &[&str]) -> Schema {
        let field = |name: &&str| match *name {
            "id" => Field::new("id", DataType::Utf8, false),
            other => Field::new(other, DataType::Decimal128(6, 2), true),
        };
        Schema::new(names.iter().map(field).collect::<Vec<_>>())
    }

    fn avro_of(id: u32) -> Result<avro::Schema, SchemaError> {
        let names: &[&str] = match id {
            1 => &["id", "fee"],
            2 => &["fee"],
            3 => &["id"],
            id => return Err(SchemaError::Unknown { id }),
        };
        Ok(avro::schema_for("Fee", "test", None, &fields(names)).unwrap())
    }

    impl Schemas for Registry {
        fn by_id(&self, id: u32) -> Result<Arc<str>, SchemaError> {
            Ok(avro_of(id)?.canonical().into())
        }

        fn register(&self, _: &str, _: &str) -> Result<u32, SchemaError> {
            Ok(1)
        }

        fn ids(&self, _: &str) -> Result<Vec<u32>, SchemaError> {
            Ok(vec![1, 2, 3])
        }
    }

    fn encoded(schema_id: u32, id: &str, cents: Option<i128>) -> Vec<u8> {
        let schema = avro_of(schema_id).unwrap();
        let ids: ArrayRef = Arc::new(StringArray::from(vec![id]));
        let fees: ArrayRef = Arc::new(Decimal128Array::from(vec![cents]).with_precision_and_scale(6, 2).unwrap());
        let arrow = fields(&["id", "fee"]);
        let row = RecordBatch::try_new(Arc::new(arrow), vec![ids, fees]).unwrap();
        let mut out = BytesColumn::default();
        Encoder::new(&schema, schema_id).unwrap().encode(&row, &mut out).unwrap();
        out.get(0).unwrap().to_vec()
    }

    type Bytes<'a> = Option<&'a [u8]>;

    fn block(records: &[(Bytes<'_>, Bytes<'_>)]) -> RecordBlock {
        let mut block = RecordBlock::new("fees".into(), 3);
        for (offset, (key, value)) in (7..).zip(records) {
            block.push(offset, 0, *key, *value, []);
        }
        block
    }

    fn table(record_key: RecordKey, bytes_max: usize) -> CompactedTable {
        let schema = Arc::new(fields(&["id", "fee"]));
        CompactedTable::new("fees", "fees", schema, &["id".into()], record_key, bytes_max).unwrap()
    }

    fn lines(table: &mut CompactedTable) -> Vec<String> {
        let rows = table.rows(&Registry).unwrap();
        let cell = |row, column: usize| array_value_to_string(rows.column(column), row).unwrap();
        (0..rows.num_rows()).map(|row| format!("{} {}", cell(row, 0), cell(row, 1))).collect()
    }

    #[test]
    fn the_newest_value_of_a_key_stands_and_null_takes_it_away() {
        let mut table = table(RecordKey::InValue, 100_000);
        let (a1, a2, b) = (encoded(1, "a", Some(150)), encoded(1, "a", Some(-5)), encoded(1, "b", None));
        assert!(table.apply(&block(&[(Some(b"a"), Some(&a1)), (Some(b"b"), Some(&b)), (Some(b"c"), None)])).unwrap());
        assert_eq!(lines(&mut table), ["a 1.50", "b "]);
        assert!(table.apply(&block(&[(Some(b"a"), Some(&a2)), (Some(b"b"), None)])).unwrap());
        assert_eq!(lines(&mut table), ["a -0.05"]);
        assert!(!table.apply(&block(&[(Some(b"b"), None)])).unwrap());
        assert!(table.apply(&block(&[(Some(b"a"), None)])).unwrap());
        assert_eq!((table.bytes, table.rows(&Registry).unwrap().num_rows()), (0, 0));
    }

    #[test]
    fn key_columns_may_be_in_the_key() {
        let value = encoded(2, "", Some(150));
        let mut texts = table(RecordKey::Text, 100_000);
        texts.apply(&block(&[(Some(b"m1"), Some(&value))])).unwrap();
        assert_eq!(lines(&mut texts), ["m1 1.50"]);
        texts.apply(&block(&[(Some(b"\xff"), Some(&value))])).unwrap();
        let error = texts.rows(&Registry).unwrap_err().to_string();
        assert!(error.contains("fees[3] at offset 7: its key isn't UTF-8"), "{error}");
        let mut keys = table(RecordKey::Avro, 100_000);
        keys.apply(&block(&[(Some(&encoded(3, "m2", None)), Some(&value))])).unwrap();
        assert_eq!(lines(&mut keys), ["m2 1.50"]);
    }

    #[test]
    fn what_cannot_be_a_row_is_named_and_memory_is_bounded() {
        let mut small = table(RecordKey::InValue, 300);
        let good = encoded(1, "a", Some(1));
        let error = small.apply(&block(&[(None, Some(&good))])).unwrap_err().to_string();
        assert!(error.contains("fees[3] at offset 7: it has no key"), "{error}");
        small.apply(&block(&[(Some(b"a"), Some(b"{}"))])).unwrap();
        assert!(matches!(small.rows(&Registry), Err(CompactedError::Record { offset: 7, .. })));
        // The next record of the key mends it.
        small.apply(&block(&[(Some(b"a"), Some(&good)), (Some(b"a"), Some(&good))])).unwrap();
        assert_eq!(lines(&mut small), ["a 0.01"]);
        small.apply(&block(&[(Some(b"b"), Some(b"\0\0\0\0\x09"))])).unwrap();
        assert!(matches!(small.rows(&Registry), Err(CompactedError::Schema(SchemaError::Unknown { id: 9 }))));
        let error = small.apply(&block(&[(Some(b"c"), Some(&good)), (Some(b"d"), Some(&good))])).unwrap_err();
        assert!(matches!(error, CompactedError::TooLarge { bytes_max: 300, .. }), "{error}");
    }
}
