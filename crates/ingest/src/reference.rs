//! Reference tables: small tables that queries join with, loaded whole.
//!
//! In: a CSV or Parquet file, or the rows of another system; the schema, the key. Out: one batch. Promised: every row is in it and its
//! key is unique and not NULL, or the table is refused as a whole, since a join with half a table gives wrong results without a sign.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema, SchemaRef};
use model::infer::{ColumnInference, column_type};
use model::{Classified, Domain, Retry};

use crate::coerce::type_name;
use crate::files::{FileError, FileOptions, FileReader, Format, RejectedRow, closest};
use crate::key::KeyColumn;

/// What is to be loaded.
#[derive(Debug, Clone)]
pub struct ReferenceOptions {
    /// The schema; inferred from the file, as [`infer_schema`] says, if not given.
    pub schema: Option<SchemaRef>,
    /// The key's columns.
    pub key: Vec<String>,
    /// Whether a key may be there once only. Where rows are valid for a time, it may be there for several times.
    pub is_unique: bool,
    /// What separates the fields of a CSV file, if it isn't what the file's name says.
    pub delimiter: Option<u8>,
    /// Most bytes that the rows may take. Joins hold them in memory, beside their successors while the table is refreshed.
    pub bytes_max: usize,
}

/// A loaded table.
#[derive(Debug, Clone)]
pub struct ReferenceTable {
    /// All rows, in the order in which they came.
    pub batch: RecordBatch,
    /// The declared schema, or the inferred one.
    pub schema: SchemaRef,
    /// The key's columns.
    pub key: Vec<String>,
}

/// Why a table can't be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The file can't be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Some rows don't fit the schema.
    #[error("reference table {path}: {count} rows don't fit: {}", .first.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | "))]
    Rows {
        /// The file.
        path: String,
        /// How many.
        count: usize,
        /// The first of them.
        first: Vec<RejectedRow>,
    },
    /// There are no rows.
    #[error("reference table {path} has no rows")]
    NoRows {
        /// The file.
        path: String,
    },
    /// A key column isn't in the file.
    #[error(
        "reference table {path} has no column {column} to be its key{}",
        .suggestion.as_deref().map_or_else(String::new, |name| format!("; did you mean {name}?"))
    )]
    NoKeyColumn {
        /// The file.
        path: String,
        /// The name.
        column: String,
        /// What may have been meant.
        suggestion: Option<String>,
    },
    /// A key is NULL.
    #[error(
        "reference table {path}: key column {column} is empty in row {row}, counted from 0, and nothing would join with it"
    )]
    NullKey {
        /// The file.
        path: String,
        /// The column.
        column: String,
        /// The row.
        row: usize,
    },
    /// Two rows have one key.
    #[error(
        "reference table {path}: rows {first} and {second}, counted from 0, have the same key {key}; a join would double rows"
    )]
    DuplicateKey {
        /// The file.
        path: String,
        /// The earlier row.
        first: usize,
        /// The later row.
        second: usize,
        /// The key's text.
        key: String,
    },
    /// A column has a type that can't be queried.
    #[error(
        "reference table {path}: column {column} is {data_type}, which queries don't know; leave it out or convert it"
    )]
    UnsupportedColumn {
        /// The file.
        path: String,
        /// The column.
        column: String,
        /// Its type.
        data_type: String,
    },
    /// It doesn't fit in memory.
    #[error("reference table {path} takes more than {} MB of memory, which its setting `memory` allows", .bytes_max / 1_000_000)]
    TooLarge {
        /// The file.
        path: String,
        /// The limit.
        bytes_max: usize,
    },
    /// The types of such files aren't inferred.
    #[error("can't infer the columns of {path}: use CSV or Parquet, or declare the schema")]
    CannotInfer {
        /// The file.
        path: String,
    },
}

impl Classified for ReferenceError {
    fn domain(&self) -> Domain {
        match self {
            Self::File(error) => error.domain(),
            _ => Domain::User,
        }
    }

    fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// Loads a table from a file.
///
/// # Errors
/// When the file can't be read or is empty, a row doesn't fit, or the key is missing, NULL or not unique.
pub fn load(path: &Path, options: &ReferenceOptions) -> Result<ReferenceTable, ReferenceError> {
    let schema = match &options.schema {
        Some(schema) => Arc::clone(schema),
        None => infer_schema(path, &options.key)?,
    };
    let shown = path.display().to_string();
    check_key_columns(&shown, &schema, &options.key)?;
    let batch = read_all(path, &schema, options)?;
    if batch.num_rows() == 0 {
        return Err(ReferenceError::NoRows { path: shown });
    }
    of_rows(&shown, batch, &options.key, options.is_unique)
}

/// A table of rows that were read elsewhere. `source` names that place in errors. It may be empty: a file without rows is a mistake, a
/// table of a database may have none yet.
///
/// # Errors
/// When the key is missing, NULL, or not unique where it has to be.
pub fn of_rows(
    source: &str,
    batch: RecordBatch,
    key: &[String],
    is_unique: bool,
) -> Result<ReferenceTable, ReferenceError> {
    let schema = batch.schema();
    check_key_columns(source, &schema, key)?;
    check_keys(source, &batch, key, is_unique)?;
    Ok(ReferenceTable { batch, schema, key: key.to_vec() })
}

/// The schema of a CSV file by its header and the texts of all its rows, or of a Parquet file by its own, in the types of
/// [`model::infer`]. The key's columns are not nullable, all others are: whether a NULL happens to be there must not change the types.
///
/// # Errors
/// When the file can't be read, or a column's type isn't one that queries know.
pub fn infer_schema(path: &Path, key: &[String]) -> Result<SchemaRef, ReferenceError> {
    let field = |name: &str, data_type| Field::new(name, data_type, !key.iter().any(|column| column == name));
    let fields: Vec<Field> = match Format::of(path) {
        Some(Format::Csv) => infer_csv(path)?.into_iter().map(|(name, data_type)| field(&name, data_type)).collect(),
        Some(Format::Parquet) => {
            let reader = crate::files::open_parquet(path)?;
            let known = |column: &Arc<Field>| {
                let data_type = column_type(column.data_type()).ok_or_else(|| ReferenceError::UnsupportedColumn {
                    path: path.display().to_string(),
                    column: column.name().clone(),
                    data_type: type_name(column.data_type()),
                })?;
                Ok::<_, ReferenceError>(field(column.name(), data_type))
            };
            reader.schema().fields().iter().map(known).collect::<Result<_, _>>()?
        }
        Some(Format::JsonLines) | None => {
            return Err(ReferenceError::CannotInfer { path: path.display().to_string() });
        }
    };
    Ok(Arc::new(Schema::new(fields)))
}

/// Rows that are flawed are passed over here: reading them with the schema tells what is wrong with them.
fn infer_csv(path: &Path) -> Result<Vec<(String, arrow_schema::DataType)>, ReferenceError> {
    // The reader that `load` uses, with text for every column, so that there is one idea of what the file's rows are.
    let names = crate::files::csv_header(path)?;
    let fields: Vec<Field> = names.iter().map(|name| Field::new(name, arrow_schema::DataType::Utf8, true)).collect();
    let mut columns = vec![ColumnInference::new(); names.len()];
    for batch in FileReader::open(path, &Arc::new(Schema::new(fields)), &FileOptions::default())? {
        for (inference, column) in columns.iter_mut().zip(batch?.batch.columns()) {
            let texts = arrow_array::cast::as_string_array(column.as_ref());
            texts.iter().for_each(|text| inference.observe(text.unwrap_or_default()));
        }
    }
    Ok(names.into_iter().zip(columns.iter().map(ColumnInference::data_type)).collect())
}

fn check_key_columns(path: &str, schema: &SchemaRef, key: &[String]) -> Result<(), ReferenceError> {
    match key.iter().find(|column| schema.column_with_name(column).is_none()) {
        Some(column) => Err(ReferenceError::NoKeyColumn {
            path: path.to_owned(),
            column: column.clone(),
            suggestion: closest(column, schema.fields().iter().map(|field| field.name().as_str())),
        }),
        None => Ok(()),
    }
}

fn read_all(path: &Path, schema: &SchemaRef, options: &ReferenceOptions) -> Result<RecordBatch, ReferenceError> {
    const TOLD_MAX: usize = 5;
    let (mut batches, mut bytes) = (Vec::new(), 0);
    let (mut count, mut first) = (0, Vec::new());
    let file = FileOptions { delimiter: options.delimiter, ..FileOptions::default() };
    for batch in FileReader::open(path, schema, &file)? {
        let batch = batch?;
        bytes += batch.batch.get_array_memory_size();
        if bytes > options.bytes_max {
            return Err(ReferenceError::TooLarge { path: path.display().to_string(), bytes_max: options.bytes_max });
        }
        count += batch.rejected.len();
        let room = TOLD_MAX - first.len();
        first.extend(batch.rejected.into_iter().take(room));
        batches.push(batch.batch);
    }
    if count > 0 {
        return Err(ReferenceError::Rows { path: path.display().to_string(), count, first });
    }
    let whole = arrow_select::concat::concat_batches(schema, &batches);
    whole.map_err(|error| FileError::Internal { what: format!("joining batches: {error}") }.into())
}

fn check_keys(path: &str, batch: &RecordBatch, key: &[String], is_unique: bool) -> Result<(), ReferenceError> {
    let mut columns = Vec::with_capacity(key.len());
    for name in key {
        let column = batch.column_by_name(name).and_then(|column| KeyColumn::new(column.as_ref()));
        let column = column.ok_or_else(|| ReferenceError::UnsupportedColumn {
            path: path.to_owned(),
            column: name.clone(),
            data_type: "no type that a key can have".into(),
        })?;
        columns.push((name, column));
    }
    let mut seen: HashMap<Vec<Vec<u8>>, usize> = HashMap::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        let mut parts = Vec::with_capacity(columns.len());
        for (name, column) in &columns {
            let mut part = Vec::new();
            if !column.write(row, &mut part) {
                let (path, column) = (path.to_owned(), (*name).clone());
                return Err(ReferenceError::NullKey { path, column, row });
            }
            parts.push(part);
        }
        if !is_unique {
            continue;
        }
        match seen.entry(parts) {
            Entry::Vacant(entry) => {
                entry.insert(row);
            }
            Entry::Occupied(entry) => {
                let key = entry.key().iter().map(|part| String::from_utf8_lossy(part)).collect::<Vec<_>>().join(", ");
                let (path, first) = (path.to_owned(), *entry.get());
                return Err(ReferenceError::DuplicateKey { path, first, second: row, key });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::cast::AsArray as _;
    use arrow_schema::DataType;

    fn table(content: &str, key: &[&str]) -> Result<ReferenceTable, ReferenceError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.csv");
        std::fs::write(&path, content).unwrap();
        load(&path, &options(None, key))
    }

    fn options(schema: Option<SchemaRef>, key: &[&str]) -> ReferenceOptions {
        let key = key.iter().map(|column| (*column).to_owned()).collect();
        ReferenceOptions { schema, key, is_unique: true, delimiter: None, bytes_max: 1_000_000 }
    }

    #[test]
    fn types_come_from_all_rows() {
        let table =
            table("id,zip,fee,rank,since,note\nm1,01234,1.5,1,2026-01-01,\nm2,99999,10,,2026-01-02,x\n", &["id"])
                .unwrap();
        let types: Vec<_> =
            table.schema.fields().iter().map(|field| (field.data_type().clone(), field.is_nullable())).collect();
        assert_eq!(
            types,
            [
                (DataType::Utf8, false),
                (DataType::Utf8, true),
                (DataType::Decimal128(18, 1), true),
                (DataType::Int64, true),
                (DataType::Date32, true),
                (DataType::Utf8, true),
            ]
        );
        assert_eq!(table.batch.column(1).as_string::<i32>().value(0), "01234");
        assert_eq!(table.batch.num_rows(), 2);
    }

    #[test]
    fn a_key_is_there_unique_and_never_null() {
        let error = |content: &str, key: &[&str]| table(content, key).unwrap_err().to_string();
        assert!(error("id,a\n1,x\n2,y\n1,z\n", &["id"]).contains("rows 0 and 2, counted from 0, have the same key 1"));
        assert!(error("id,a\n1,x\n,y\n", &["id"]).contains("row 1"));
        assert!(error("ident,a\n1,x\n", &["idnt"]).contains("did you mean ident?"));
        assert!(table("a,b\n1,x\n1,y\n", &["a", "b"]).is_ok());
        assert!(error("a,b\n1,x\n1,x\n", &["a", "b"]).contains("same key 1, x"));
    }

    #[test]
    fn half_a_table_is_none() {
        let error = |content: &str| table(content, &["id"]).unwrap_err();
        assert!(error("id,a\n1,x\n2\n").to_string().contains("1 rows don't fit: row 1 (line 3): it has 1 fields"));
        assert!(matches!(error("id,a\n"), ReferenceError::NoRows { .. }));
        assert!(matches!(error(""), ReferenceError::File(FileError::Empty { .. })));
        let missing = load(Path::new("no/such/table.csv"), &options(None, &[])).unwrap_err();
        assert!(matches!(missing, ReferenceError::File(FileError::Open { .. })));
        let declared = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.csv");
        std::fs::write(&path, "id\nx\n").unwrap();
        let loaded = load(&path, &options(Some(declared), &["id"]));
        assert!(matches!(loaded, Err(ReferenceError::Rows { count: 1, .. })));
        let columns =
            Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("a", DataType::Int64, true)]);
        let declared = options(Some(Arc::new(columns)), &["id"]);
        let small = ReferenceOptions { bytes_max: 10, delimiter: Some(b';'), ..declared };
        std::fs::write(&path, "id;a\n1;2\n").unwrap();
        assert!(matches!(load(&path, &small), Err(ReferenceError::TooLarge { bytes_max: 10, .. })));
        assert!(load(&path, &ReferenceOptions { bytes_max: 1_000_000, ..small }).is_ok());
    }
}
