//! Temporary tables of a session, and rows on their way into them.

use bytes::{Bytes, BytesMut};
use futures::SinkExt as _;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, CopyInSink, Statement};

use super::operations;
use crate::column::ColumnType;
use crate::copy::{HEADER, Rows, TRAILER};
use crate::error::{Error, Result};
use crate::identifier::Identifier;
use crate::table::{Table, TableSpec};

/// Bytes that are encoded before they are handed to the connection.
const CHUNK_BYTES: usize = 128 * 1024;

/// A result's table with its staging table and statements.
#[derive(Debug)]
pub(super) struct TableStaging {
    pub(super) table: Table,
    pub(super) copy: Statement,
    /// For rows that may have several versions.
    pub(super) merge: Statement,
    /// For rows that have only one.
    pub(super) insert: Statement,
    /// For rows that have only one and are most likely new: a COPY straight into the table, twice as fast as by staging.
    pub(super) direct: Statement,
    /// Batches that go by staging before the direct way is tried again, since rows were there already.
    pub(super) staged_batches: u32,
}

/// What stopped a COPY.
#[derive(Debug)]
pub(super) enum CopyFailure {
    /// A value that can't be stored; nothing of this chunk was sent.
    Value(Error),
    /// The server or the connection.
    Postgres(tokio_postgres::Error),
}

impl CopyFailure {
    /// Whether a row with the same identity is there already.
    pub(super) fn is_repeat(&self) -> bool {
        matches!(self, Self::Postgres(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION))
    }

    /// The error to report for a table.
    pub(super) fn report(self, table: &str) -> Error {
        match self {
            Self::Value(error) => error,
            Self::Postgres(error) => Error::postgres(format!("copying rows for {table}"), &error),
        }
    }
}

impl TableStaging {
    pub(super) async fn prepare(client: &Client, spec: &TableSpec, index: usize) -> Result<Self> {
        let table = Table::new(spec)?;
        let failed = |error| Error::postgres(format!("preparing to write to {}", table.path()), &error);
        let staging = Identifier::new(&format!("staging_{index}"))?;
        client.batch_execute(&table.create_staging(&staging)).await.map_err(failed)?;
        let copy = client.prepare(&table.copy_into(&format!("pg_temp.{staging}"))).await.map_err(failed)?;
        let merge = client.prepare(&table.merge(&staging, true)).await.map_err(failed)?;
        let insert = client.prepare(&table.merge(&staging, false)).await.map_err(failed)?;
        let direct = client.prepare(&table.copy_into(&table.path())).await.map_err(failed)?;
        Ok(Self { table, copy, merge, insert, direct, staged_batches: 0 })
    }
}

/// The staging table of rejected records.
#[derive(Debug)]
pub(super) struct RejectedStaging {
    pub(super) copy: Statement,
    pub(super) insert: Statement,
}

impl RejectedStaging {
    pub(super) async fn prepare(client: &Client) -> Result<Self> {
        let failed = |error| Error::postgres("preparing to write rejected records", &error);
        client.batch_execute(operations::CREATE_STAGING).await.map_err(failed)?;
        let copy = client.prepare(operations::COPY).await.map_err(failed)?;
        let insert = client.prepare(operations::INSERT).await.map_err(failed)?;
        Ok(Self { copy, insert })
    }
}

/// Copies rows into a staging table. Returns the bytes sent. `names` are the columns', for errors.
pub(super) async fn copy_rows(
    client: &Client,
    statement: &Statement,
    table: &str,
    names: &[&str],
    parts: &[Rows<'_>],
) -> Result<u64, CopyFailure> {
    let failed = CopyFailure::Postgres;
    let sink: CopyInSink<Bytes> = client.copy_in(statement).await.map_err(failed)?;
    let mut sink = std::pin::pin!(sink);
    let mut buffer = BytesMut::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8);
    buffer.extend_from_slice(HEADER);
    let mut bytes = 0;
    for rows in parts {
        let mut next = 0;
        while next < rows.len() {
            next = rows.write(next, CHUNK_BYTES, &mut buffer).map_err(|bad| {
                let column = names.get(bad.column).copied().unwrap_or_default().to_owned();
                CopyFailure::Value(Error::Data { table: table.to_owned(), column, row: bad.row, message: bad.message })
            })?;
            if buffer.len() >= CHUNK_BYTES {
                bytes += buffer.len();
                if sink.send(buffer.split().freeze()).await.is_err() {
                    // The server refused the rows and this channel is closed; the end tells the reason.
                    return match sink.finish().await {
                        Ok(_) => Err(CopyFailure::Value(Error::Internal {
                            doing: format!("copying rows for {table}"),
                            message: "COPY ended before its rows".into(),
                        })),
                        Err(error) => Err(failed(error)),
                    };
                }
                buffer.reserve(CHUNK_BYTES + CHUNK_BYTES / 8);
            }
        }
    }
    buffer.extend_from_slice(TRAILER);
    bytes += buffer.len();
    // If the server refused the rows, the connection has closed this channel; the reason comes with the answer to the end.
    let sent = sink.send(buffer.freeze()).await;
    sink.finish().await.map_err(failed)?;
    sent.map_err(failed)?;
    Ok(u64::try_from(bytes).unwrap_or(u64::MAX))
}

/// What the checks of a column's type say, as an error that names the place.
pub(super) fn column_error(table: &str, column: &str, (row, message): (Option<usize>, String)) -> Error {
    match row {
        Some(row) => Error::Data { table: table.to_owned(), column: column.to_owned(), row, message },
        None => Error::Batch { table: table.to_owned(), message: format!("column {column}: {message}") },
    }
}

/// The type of each of a table's columns, by name.
pub(super) fn column_types(table: &Table) -> impl Iterator<Item = (&str, ColumnType)> {
    table.columns.iter().map(|column| (column.name.name(), column.kind))
}
