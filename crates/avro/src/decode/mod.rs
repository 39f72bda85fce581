//! Values in the wire format to Arrow columns, in one pass over the bytes.
//!
//! The pass is our own and not arrow-avro's: a record is judged while its values go straight into the columns, and a bad
//! one is taken back from the end of each column. arrow-avro (59.3) ends a batch at the first bad record without saying
//! which it was, and would need a pass of checks before it. Memory: a column grows by at most what its part of the record
//! holds (an integer of one byte becomes 16 at most); defaults and symbols are capped when the decoder is made.

mod step;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow_array::{RecordBatch, StructArray};
use arrow_schema::{Field as ArrowField, Fields, SchemaRef};
use model::{BytesColumn, Classified, Domain, RejectReason, Rejection, Retry};
use serde_json::Value;

use crate::arrow::{ArrowMappingError, columns};
use crate::column::Column;
use crate::resolve::{Program, ResolveError, Wanted, compile};
use crate::schema::{Kind, Schema};
use crate::walk::{Care, Limits};
use crate::wire;

/// Bytes of text that a record may get from the schema alone: the default or longest symbol of each column. With it a
/// batch of `BATCH_RECORDS_MAX` records stays below the 2 GiB that Arrow's offsets reach.
const SCHEMA_TEXT_BYTES_MAX: usize = 16 * 1024;

/// Why a decoder can't be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecoderError {
    /// The schema can't be columns.
    #[error(transparent)]
    Schema(#[from] ArrowMappingError),
    /// The projection names a column that isn't there.
    #[error("the schema `{schema}` has no field `{column}`")]
    UnknownColumn {
        /// Name of the schema.
        schema: String,
        /// Name of the column.
        column: String,
    },
    /// The defaults and symbols are too long to be repeated for each record.
    #[error(
        "defaults and symbols of the schema `{schema}` hold {bytes} bytes, more than {SCHEMA_TEXT_BYTES_MAX}; shorten them"
    )]
    SchemaText {
        /// Name of the schema.
        schema: String,
        /// Bytes they hold.
        bytes: usize,
    },
}

impl Classified for DecoderError {
    fn domain(&self) -> Domain {
        Domain::User
    }

    fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// Why a record could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeFailure {
    /// The value is null or has no header of the wire format.
    #[error("{message}")]
    WireFormat {
        /// What was found instead.
        message: &'static str,
    },
    /// No writer schema with this id was added.
    #[error("the schema id {id} is unknown")]
    UnknownWriter {
        /// The id in the record's header.
        id: u32,
    },
    /// The writer schema with this id can't be read as the stream's.
    #[error("schema id {id}: {message}")]
    IncompatibleWriter {
        /// The id in the record's header.
        id: u32,
        /// What doesn't fit.
        message: Arc<str>,
    },
    /// The bytes aren't what the writer's schema says.
    #[error("at byte {offset}: {message}")]
    Malformed {
        /// Place in the value, the 5 bytes of the header counted.
        offset: usize,
        /// What is wrong.
        message: String,
    },
    /// The value is larger than the limit.
    #[error("the record has {bytes} bytes, more than {bytes_max}")]
    TooLarge {
        /// Its bytes.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A value doesn't fit its column.
    #[error("field `{field}`: {message}")]
    InvalidValue {
        /// Name of the field.
        field: String,
        /// What doesn't fit.
        message: String,
    },
}

impl DecodeFailure {
    /// The reason a record is rejected for.
    pub fn reason(&self) -> RejectReason {
        match self {
            Self::WireFormat { .. } => RejectReason::WireFormat,
            Self::UnknownWriter { .. } => RejectReason::UnknownSchema,
            Self::IncompatibleWriter { .. } => RejectReason::IncompatibleSchema,
            Self::Malformed { .. } => RejectReason::Decode,
            Self::TooLarge { .. } => RejectReason::TooLarge,
            Self::InvalidValue { .. } => RejectReason::InvalidValue,
        }
    }

    /// The rejection of the record.
    pub fn rejection(&self) -> Rejection {
        Rejection::new(self.reason(), self.to_string())
    }
}

/// What became of a column of values.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// The good records, in order.
    pub batch: RecordBatch,
    /// For each row of the batch, its row among the values.
    pub rows: Vec<u32>,
    /// The rows that failed, in order, and why.
    pub failures: Vec<(u32, DecodeFailure)>,
}

/// Decodes values of many writer schemas into the columns of one reader schema.
#[derive(Debug)]
pub struct Decoder {
    reader: Schema,
    wanted: Vec<Wanted>,
    fields: Fields,
    schema: SchemaRef,
    limits: Limits,
    care: Care,
    writers: Vec<Writer>,
    ids: HashMap<u32, usize>,
    columns: Vec<Column>,
    /// Bytes of text in each column of the last batch: the next one is likely to need as many.
    last_bytes: Vec<usize>,
}

#[derive(Debug)]
enum Writer {
    Program(Box<Program>),
    Refused(Arc<str>),
}

impl Decoder {
    /// A decoder into the columns of `reader`. With a projection it gives only the named columns, in that order, and skips
    /// the other fields without looking at their contents; without one it checks every field, also those that only the
    /// writer has.
    ///
    /// # Errors
    /// A schema that can't be columns, a projected name that isn't a field, too much text in defaults.
    pub fn new(reader: &Schema, projection: Option<&[String]>, limits: Limits) -> Result<Self, DecoderError> {
        let types = columns(reader)?;
        let all = reader.fields().iter().zip(types).enumerate();
        let all: Vec<_> = all.map(|(field, (named, column))| (named.name.as_str(), Wanted { field, column })).collect();
        let wanted: Vec<Wanted> = match projection {
            None => all.iter().map(|(_, want)| *want).collect(),
            Some(names) => {
                let find = |name: &String| {
                    all.iter().find(|(field, _)| field == name).map(|(_, want)| *want).ok_or_else(|| {
                        DecoderError::UnknownColumn { schema: reader.name().to_owned(), column: name.clone() }
                    })
                };
                names.iter().map(find).collect::<Result<_, _>>()?
            }
        };
        let bytes = wanted.iter().map(|want| schema_text(reader, want)).sum();
        if bytes > SCHEMA_TEXT_BYTES_MAX {
            return Err(DecoderError::SchemaText { schema: reader.name().to_owned(), bytes });
        }
        let named = |want: &Wanted| {
            let name = reader.fields().get(want.field).map(|field| field.name.clone()).unwrap_or_default();
            ArrowField::new(name, want.column.data_type(), want.column.is_nullable())
        };
        let fields: Fields = wanted.iter().map(named).collect();
        Ok(Self {
            columns: wanted
                .iter()
                .map(|want| Column::new(want.column.data_type(), want.column.is_nullable()))
                .collect(),
            last_bytes: vec![0; wanted.len()],
            schema: Arc::new(arrow_schema::Schema::new(fields.clone())),
            care: if projection.is_none() { Care::Full } else { Care::Structure },
            reader: reader.clone(),
            wanted,
            fields,
            limits,
            writers: Vec::new(),
            ids: HashMap::new(),
        })
    }

    /// The schema of the batches.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The reader's schema.
    pub fn reader(&self) -> &Schema {
        &self.reader
    }

    /// Adds the schema that records with this id were written with. One that can't be read is remembered too: its records
    /// then fail with `IncompatibleWriter`.
    ///
    /// # Errors
    /// What makes it unreadable as the stream's schema.
    pub fn add_writer(&mut self, id: u32, writer: &Schema) -> Result<(), ResolveError> {
        match compile(&self.reader, &self.wanted, writer, self.care) {
            Ok(program) => {
                self.set_writer(id, Writer::Program(Box::new(program)));
                Ok(())
            }
            Err(error) => {
                self.refuse_writer(id, &error.to_string());
                Err(error)
            }
        }
    }

    /// Remembers that the schema with this id can't be used (its text may be no Avro): its records fail with
    /// `IncompatibleWriter` and this message.
    pub fn refuse_writer(&mut self, id: u32, message: &str) {
        self.set_writer(id, Writer::Refused(message.into()));
    }

    fn set_writer(&mut self, id: u32, writer: Writer) {
        match self.ids.get(&id).and_then(|index| self.writers.get_mut(*index)) {
            Some(known) => *known = writer,
            None => {
                self.ids.insert(id, self.writers.len());
                self.writers.push(writer);
            }
        }
    }

    /// Whether a schema with this id was added or refused.
    pub fn knows(&self, id: u32) -> bool {
        self.ids.contains_key(&id)
    }

    /// The schema ids in these values that aren't known yet, to be looked up before `decode`.
    pub fn missing(&self, values: &BytesColumn) -> BTreeSet<u32> {
        let mut last = None;
        let mut missing = BTreeSet::new();
        for (id, _) in values.iter().flatten().filter_map(wire::split) {
            if last != Some(id) && !self.knows(id) {
                missing.insert(id);
            }
            last = Some(id);
        }
        missing
    }

    /// Whether records with this id have the very bytes that the reader's schema would give them, so that an accepted
    /// payload can be copied under another header: same fields, order and types; documentation, defaults and names of
    /// types may differ.
    pub fn is_identity(&self, id: u32) -> bool {
        let writer = self.ids.get(&id).and_then(|index| self.writers.get(*index));
        matches!(writer, Some(Writer::Program(program)) if program.is_identity)
    }

    /// Decodes all values. A bad one leaves no trace in the batch. Give it no more than `model::limits` allow for a batch
    /// (bytes and records): beyond that a text column could pass 2 GiB, and the record that does so fails as `TooLarge`.
    pub fn decode(&mut self, values: &BytesColumn) -> Decoded {
        for (column, bytes) in self.columns.iter_mut().zip(&self.last_bytes) {
            column.reserve(values.len(), (*bytes).min(values.byte_len()));
        }
        let mut rows: Vec<u32> = Vec::with_capacity(values.len());
        let mut failures = Vec::new();
        let mut last = None;
        for (row, value) in (0_u32..).zip(values.iter()) {
            match self.record(value, &mut last) {
                Ok(()) => rows.push(row),
                Err(failure) => {
                    self.columns.iter_mut().for_each(|column| column.truncate(rows.len()));
                    failures.push((row, failure));
                }
            }
        }
        Decoded { batch: self.finish(rows.len()), rows, failures }
    }

    /// Decodes one value; `last` remembers the writer of the one before it.
    #[inline]
    fn record(&mut self, value: Option<&[u8]>, last: &mut Option<(u32, usize)>) -> Result<(), DecodeFailure> {
        let Some(value) = value else { return Err(DecodeFailure::WireFormat { message: "the value is null" }) };
        if value.len() > self.limits.record_bytes_max {
            return Err(DecodeFailure::TooLarge { bytes: value.len(), bytes_max: self.limits.record_bytes_max });
        }
        let Some((id, _)) = wire::split(value) else {
            let message = "the value doesn't begin with byte 0 and a schema id; is it written by an Avro serialiser?";
            return Err(DecodeFailure::WireFormat { message });
        };
        let index = match *last {
            Some((same, index)) if same == id => index,
            _ => *self.ids.get(&id).ok_or(DecodeFailure::UnknownWriter { id })?,
        };
        *last = Some((id, index));
        match self.writers.get(index) {
            Some(Writer::Program(program)) => step::run(program, &mut self.columns, value, &self.limits, self.care),
            Some(Writer::Refused(message)) => Err(DecodeFailure::IncompatibleWriter { id, message: message.clone() }),
            None => Err(DecodeFailure::UnknownWriter { id }),
        }
    }

    fn finish(&mut self, rows: usize) -> RecordBatch {
        self.last_bytes.clear();
        self.last_bytes.extend(self.columns.iter().map(Column::byte_len));
        if self.columns.is_empty() {
            return RecordBatch::from(StructArray::new_empty_fields(rows, None));
        }
        let arrays = self.columns.iter_mut().map(Column::finish).collect();
        RecordBatch::from(StructArray::new(self.fields.clone(), arrays, None))
    }
}

/// Bytes of text that the schema alone can give a column in each row.
fn schema_text(reader: &Schema, want: &Wanted) -> usize {
    let default = reader.fields().get(want.field).and_then(|field| field.default.as_ref());
    let default = default.and_then(Value::as_str).map_or(0, str::len);
    let symbols = match &reader.node(want.column.node).kind {
        Kind::Enum(enumeration) => enumeration.symbols.iter().map(String::len).max().unwrap_or(0),
        _ => 0,
    };
    default.max(symbols)
}
