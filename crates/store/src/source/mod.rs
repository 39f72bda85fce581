//! Tables of any PostgreSQL database read whole, as columns: where reference data comes from.
//!
//! One read is one statement in one read-only transaction, so it sees one moment of the database, also through a query over several
//! tables. Nothing is written, and no schema of ours is needed there.

mod cells;
mod listen;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::TryStreamExt as _;
use tokio_postgres::types::{Kind, Type};
use tokio_postgres::{Client, Transaction};

use crate::column::ColumnType;
use crate::connect::{Connector, within};
use crate::error::{Error, Result};
use crate::identifier::Identifier;
use cells::{CellBuilder, Raw};

pub use listen::Listener;

/// Waiting longer than this for a lock is an outage: the table is being altered.
const LOCK_TIMEOUT: &str = "10s";
/// How long a server may take for all rows, and for a look at the columns.
const READ_LIMIT: Duration = Duration::from_secs(900);
const CHECK_LIMIT: Duration = Duration::from_secs(30);

/// Where rows come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Relation {
    /// A table or view, as `schema.table` or `table`.
    Table(String),
    /// The rows of a SELECT.
    Query(String),
}

/// What a table held when it was read.
#[derive(Debug, Clone)]
pub struct SourceRows {
    /// All rows, with exactly the columns that were asked for.
    pub rows: RecordBatch,
    /// Differs when the content does; [`SourceTable::read_changed`] compares with it.
    pub fingerprint: String,
}

/// A table, view or query of a PostgreSQL database that is read whole.
#[derive(Debug, Clone)]
pub struct SourceTable {
    connector: Connector,
    name: String,
    relation: Relation,
    schema: SchemaRef,
    types: Vec<ColumnType>,
}

impl SourceTable {
    /// A table at `url` (see [`crate::Store::connect`]), of which the columns of `schema` are read. `name` is for messages. Nothing is
    /// asked yet.
    ///
    /// # Errors
    /// `Settings` for a URL that can't be read, `Reference` for a column that can't be.
    pub fn new(
        url: &str,
        name: &str,
        relation: Relation,
        schema: SchemaRef,
        connect_timeout: Duration,
    ) -> Result<Self> {
        let wrong = |message: String| Error::Reference { table: name.to_owned(), message };
        let mut types = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            Identifier::new(field.name()).map_err(|error| wrong(error.to_string()))?;
            types.push(ColumnType::from_arrow(field.data_type()).map_err(wrong)?);
        }
        let connector = Connector::new(url, "tillstream reference", connect_timeout)?;
        Ok(Self { connector, name: name.to_owned(), relation, schema, types })
    }

    /// Asks the server whether the table is there with columns of fitting types.
    ///
    /// # Errors
    /// `Reference` names all that doesn't fit; else as any statement.
    pub async fn check(&self) -> Result<()> {
        let check = async {
            let mut client = self.session().await?;
            let transaction = self.begin(&mut client).await?;
            self.select(&transaction).await.map(drop)
        };
        within(CHECK_LIMIT, &format!("looking at the reference table {}", self.name), check).await
    }

    /// Reads all rows, at most `bytes_max` of them in memory. `None` if the content's fingerprint is `known`: the server
    /// then works it out without sending the rows.
    ///
    /// # Errors
    /// `Reference` when the table, a column or a value doesn't fit, or it is too large; else as any statement.
    pub async fn read_changed(&self, known: Option<&str>, bytes_max: usize) -> Result<Option<SourceRows>> {
        within(READ_LIMIT, &format!("reading the reference table {}", self.name), self.read(known, bytes_max)).await
    }

    async fn read(&self, known: Option<&str>, bytes_max: usize) -> Result<Option<SourceRows>> {
        let mut client = self.session().await?;
        let transaction = self.begin(&mut client).await?;
        let columns = self.select(&transaction).await?;
        let fingerprint = self.fingerprint(&transaction, &columns).await?;
        if known == Some(&*fingerprint) {
            return Ok(None);
        }
        let rows = self.rows(&transaction, &columns, bytes_max).await?;
        Ok(Some(SourceRows { rows, fingerprint }))
    }

    async fn session(&self) -> Result<Client> {
        let (client, _ended_with_the_client) = self.connector.session("tillstream reference").await?;
        Ok(client)
    }

    async fn begin<'c>(&self, client: &'c mut Client) -> Result<Transaction<'c>> {
        let transaction = client
            .build_transaction()
            .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await
            .map_err(|error| self.failed(&error))?;
        // What was given up here isn't worked on there for longer.
        let (lock, statement) = (LOCK_TIMEOUT, READ_LIMIT.as_secs());
        let limits = format!("SET LOCAL lock_timeout = '{lock}'; SET LOCAL statement_timeout = '{statement}s'");
        transaction.batch_execute(&limits).await.map_err(|error| self.failed(&error))?;
        Ok(transaction)
    }

    /// The list of columns with their casts, once the server has said that all of them fit.
    async fn select(&self, transaction: &Transaction<'_>) -> Result<String> {
        let all = format!("SELECT * FROM {}", self.from()?);
        let found = transaction.prepare(&all).await.map_err(|error| self.failed(&error))?;
        let mut wrong = Vec::new();
        let mut columns = Vec::with_capacity(self.types.len());
        for (field, wanted) in self.schema.fields().iter().zip(&self.types) {
            let Some(column) = found.columns().iter().find(|column| column.name() == field.name()) else {
                let names: Vec<&str> = found.columns().iter().map(tokio_postgres::Column::name).collect();
                wrong.push(format!("it has no column {}, only {}", field.name(), names.join(", ")));
                continue;
            };
            match cast(column.type_(), *wanted) {
                Some(cast) => columns.push(format!("{}::{cast}", Identifier::new(field.name())?)),
                None => wrong.push(format!(
                    "column {} is {}, and {} is declared, which can't hold all its values",
                    field.name(),
                    column.type_().name(),
                    wanted.sql()
                )),
            }
        }
        if wrong.is_empty() { Ok(columns.join(", ")) } else { Err(self.wrong(wrong.join("; "))) }
    }

    /// The number of rows and a sum over a hash of each: the order of rows doesn't matter, and none has to be sent.
    async fn fingerprint(&self, transaction: &Transaction<'_>, columns: &str) -> Result<String> {
        let statement = format!(
            "SELECT count(*)::text || ' ' || coalesce(sum(hashtextextended(ROW({columns})::text COLLATE \"C\", 0)), 0)::text FROM {}",
            self.from()?
        );
        let row = transaction.query_one(&statement, &[]).await.map_err(|error| self.failed(&error))?;
        row.try_get(0).map_err(|error| self.failed(&error))
    }

    async fn rows(&self, transaction: &Transaction<'_>, columns: &str, bytes_max: usize) -> Result<RecordBatch> {
        let statement = format!("SELECT {columns} FROM {}", self.from()?);
        let none = std::iter::empty::<&str>();
        let rows = transaction.query_raw(&statement, none).await.map_err(|error| self.failed(&error))?;
        let mut rows = pin!(rows);
        let mut builders: Vec<CellBuilder> = self.types.iter().map(|column| CellBuilder::new(*column)).collect();
        let mut bytes = 0;
        while let Some(row) = rows.try_next().await.map_err(|error| self.failed(&error))? {
            for (index, builder) in builders.iter_mut().enumerate() {
                let cell: Option<Raw<'_>> = row.try_get(index).map_err(|error| self.failed(&error))?;
                bytes += size_of::<u64>() + cell.map_or(0, |cell| cell.0.len());
                builder.append(cell).map_err(|message| {
                    let name = self.schema.field(index).name();
                    let first = row.try_get::<_, Option<Raw<'_>>>(0).ok().flatten();
                    let shown = self.types.first().zip(first).map(|(column, cell)| cells::shown(*column, cell));
                    let at = format!("{} {}", self.schema.field(0).name(), shown.unwrap_or_default());
                    self.wrong(format!("column {name} in the row of {at}: {message}"))
                })?;
            }
            if bytes > bytes_max {
                let limit = bytes_max / 1_000_000;
                return Err(
                    self.wrong(format!("it takes more than {limit} MB of memory, which its setting `memory` allows"))
                );
            }
        }
        let columns = builders.into_iter().map(CellBuilder::finish).collect::<Result<Vec<_>, _>>();
        columns
            .and_then(|columns| RecordBatch::try_new(Arc::clone(&self.schema), columns))
            .map_err(|error| self.wrong(error.to_string()))
    }

    fn from(&self) -> Result<String> {
        Ok(match &self.relation {
            Relation::Table(name) => {
                let parts: Result<Vec<_>> = name.split('.').map(Identifier::new).collect();
                let parts: Vec<String> = parts?.iter().map(Identifier::to_string).collect();
                format!("{} AS source", parts.join("."))
            }
            // On a line of its own, the parenthesis isn't part of a comment.
            Relation::Query(text) => format!("(\n{}\n) AS source", text.trim().trim_end_matches(';')),
        })
    }

    fn wrong(&self, message: String) -> Error {
        Error::Reference { table: self.name.clone(), message }
    }

    /// An error of a statement: outages as they are, what the server says of names and types as the user's.
    fn failed(&self, error: &tokio_postgres::Error) -> Error {
        match Error::user_statement(error) {
            Error::Sql { message, code, .. } => match code.get(..2) {
                // As in `Error::postgres`: serialization, resources, locks and cancelled statements pass.
                Some("40" | "53" | "55" | "57" | "58") => {
                    Error::TryLater { doing: format!("reading {}", self.name), message }
                }
                _ => self.wrong(message),
            },
            other => other,
        }
    }
}

/// How a column of a server's type becomes ours without losing anything, or `None`.
fn cast(found: &Type, wanted: ColumnType) -> Option<&'static str> {
    let is = |types: &[Type]| types.contains(found);
    Some(match wanted {
        ColumnType::Boolean if is(&[Type::BOOL]) => "boolean",
        ColumnType::Integer if is(&[Type::INT2, Type::INT4]) => "integer",
        ColumnType::Bigint if is(&[Type::INT2, Type::INT4, Type::INT8]) => "bigint",
        ColumnType::Double if is(&[Type::FLOAT4, Type::FLOAT8]) => "double precision",
        ColumnType::Numeric { .. } if is(&[Type::INT2, Type::INT4, Type::INT8, Type::NUMERIC]) => "numeric",
        ColumnType::Bytes if is(&[Type::BYTEA]) => "bytea",
        ColumnType::Date if is(&[Type::DATE]) => "date",
        // The session is in UTC, so one without a zone is taken as UTC.
        ColumnType::Timestamp if is(&[Type::TIMESTAMP, Type::TIMESTAMPTZ, Type::DATE]) => "timestamptz",
        ColumnType::Text
            if is(&[Type::TEXT, Type::VARCHAR, Type::BPCHAR, Type::NAME, Type::UUID, Type::UNKNOWN])
                || matches!(found.kind(), Kind::Enum(_))
                || found.name() == "citext" =>
        {
            "text"
        }
        _ => match found.kind() {
            Kind::Domain(inner) => return cast(inner, wanted),
            _ => return None,
        },
    })
}
