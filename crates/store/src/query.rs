//! A query's rows for people and programs: aligned text, CSV or JSON.

use std::io::{self, Write};
use std::pin::pin;

use futures::StreamExt as _;
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use crate::error::{Error, Result};
use crate::store::Store;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Aligned columns with a header; the widths come from the first [`ALIGNED_ROWS`] rows.
    Text,
    /// RFC 4180 with a header; NULL is empty, an empty text is `""`.
    Csv,
    /// An array of objects. Integers, floating point, booleans and JSON are JSON values; decimals are text, so that they stay exact.
    Json,
}

/// Rows from which the widths of aligned columns are taken.
pub const ALIGNED_ROWS: usize = 1_000;

/// A column of a query's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryColumn {
    /// Name.
    pub name: String,
    /// PostgreSQL's name of the type (`int8`, `numeric`, `timestamptz`); `text` where several statements were given at once.
    pub type_name: String,
}

/// A query's result in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryRows {
    /// Columns in order.
    pub columns: Vec<QueryColumn>,
    /// Values as PostgreSQL prints them, with times in UTC; `None` is NULL.
    pub rows: Vec<Vec<Option<String>>>,
    /// Rows that the statement returned or changed.
    pub affected: u64,
}

/// Takes a result as it comes.
trait Sink {
    fn header(&mut self, columns: &[QueryColumn]) -> io::Result<()>;
    /// Returns whether to go on.
    fn row(&mut self, row: &SimpleQueryRow) -> io::Result<bool>;
    fn end(&mut self) -> io::Result<()>;
}

impl Store {
    /// Runs a statement and returns its first `rows_max` rows. Times are in UTC.
    ///
    /// # Errors
    /// `Sql` for a mistake in the statement, else as any statement.
    pub async fn query(&self, sql: &str, rows_max: usize) -> Result<QueryRows> {
        let mut collected = Collect { rows: QueryRows::default(), rows_max };
        let affected = self.run(sql, &mut collected).await?;
        Ok(QueryRows { affected, ..collected.rows })
    }

    /// Runs a statement and writes its rows as they come, in bounded memory. Returns the rows returned or changed. A closed pipe ends
    /// it without an error.
    ///
    /// # Errors
    /// `Sql` for a mistake in the statement; `Internal` when the output can't be written; else as any statement.
    pub async fn query_write(&self, sql: &str, format: Format, out: &mut (dyn Write + Send)) -> Result<u64> {
        match format {
            Format::Text => {
                self.run(sql, &mut Aligned { out, columns: Vec::new(), waiting: Vec::new(), widths: Vec::new() }).await
            }
            Format::Csv => self.run(sql, &mut Csv { out }).await,
            Format::Json => self.run(sql, &mut Json { out, columns: Vec::new(), rows: 0 }).await,
        }
    }

    async fn run<S: Sink + Send>(&self, sql: &str, sink: &mut S) -> Result<u64> {
        // A session of its own: the statement may change settings or leave a transaction open. Dropping the client ends it, also in
        // the middle of the rows.
        let (client, _connection) = self.connector().session("tillstream sql").await?;
        let sent = |error: tokio_postgres::Error| Error::user_statement(&error);
        // Preparing tells the types. It refuses several statements at once; the simple protocol then says what is wrong, if anything.
        let mut types = Vec::new();
        if let Ok(statement) = client.prepare(sql).await {
            types = statement.columns().iter().map(|column| column.type_().name().to_owned()).collect();
        }
        let mut messages = pin!(client.simple_query_raw(sql).await.map_err(sent)?);
        let (mut affected, mut goes_on) = (0, true);
        while let Some(message) = messages.next().await {
            let result = match message.map_err(sent)? {
                SimpleQueryMessage::RowDescription(columns) => {
                    let columns: Vec<_> = columns
                        .iter()
                        .enumerate()
                        .map(|(index, column)| QueryColumn {
                            name: column.name().to_owned(),
                            type_name: types.get(index).cloned().unwrap_or_else(|| "text".into()),
                        })
                        .collect();
                    sink.header(&columns).map(|()| true)
                }
                SimpleQueryMessage::Row(row) => sink.row(&row),
                SimpleQueryMessage::CommandComplete(rows) => {
                    affected = rows;
                    Ok(true)
                }
                _ => Ok(true),
            };
            goes_on = output(result)?;
            if !goes_on {
                break;
            }
        }
        if goes_on {
            output(sink.end().map(|()| true))?;
        }
        Ok(affected)
    }
}

/// Whether to go on after writing; a reader that went away isn't an error.
fn output(result: io::Result<bool>) -> Result<bool> {
    match result {
        Ok(goes_on) => Ok(goes_on),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::Internal { doing: "writing the query's rows".into(), message: error.to_string() }),
    }
}

fn values(row: &SimpleQueryRow) -> impl Iterator<Item = Option<&str>> {
    (0..row.len()).map(|index| row.try_get(index).ok().flatten())
}

struct Collect {
    rows: QueryRows,
    rows_max: usize,
}

impl Sink for Collect {
    fn header(&mut self, columns: &[QueryColumn]) -> io::Result<()> {
        self.rows = QueryRows { columns: columns.to_vec(), ..QueryRows::default() };
        Ok(())
    }

    fn row(&mut self, row: &SimpleQueryRow) -> io::Result<bool> {
        if self.rows.rows.len() >= self.rows_max {
            return Ok(false);
        }
        self.rows.rows.push(values(row).map(|value| value.map(str::to_owned)).collect());
        Ok(true)
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Csv<'a> {
    out: &'a mut (dyn Write + Send),
}

impl Csv<'_> {
    fn line<'v>(&mut self, values: impl Iterator<Item = Option<&'v str>>) -> io::Result<()> {
        for (index, value) in values.enumerate() {
            if index > 0 {
                self.out.write_all(b",")?;
            }
            match value {
                None => {}
                Some(text) if text.is_empty() || text.contains([',', '"', '\n', '\r']) => {
                    write!(self.out, "\"{}\"", text.replace('"', "\"\""))?;
                }
                Some(text) => self.out.write_all(text.as_bytes())?,
            }
        }
        self.out.write_all(b"\n")
    }
}

impl Sink for Csv<'_> {
    fn header(&mut self, columns: &[QueryColumn]) -> io::Result<()> {
        self.line(columns.iter().map(|column| Some(column.name.as_str())))
    }

    fn row(&mut self, row: &SimpleQueryRow) -> io::Result<bool> {
        self.line(values(row)).map(|()| true)
    }

    fn end(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

struct Json<'a> {
    out: &'a mut (dyn Write + Send),
    columns: Vec<QueryColumn>,
    rows: usize,
}

/// A value as JSON by its type; text where JSON would lose something.
fn json_value(type_name: &str, text: &str) -> serde_json::Value {
    let parsed = match type_name {
        "int2" | "int4" | "int8" | "float4" | "float8" | "json" | "jsonb" => serde_json::from_str(text).ok(),
        "bool" => Some((text == "t").into()),
        _ => None,
    };
    parsed.unwrap_or_else(|| text.into())
}

impl Sink for Json<'_> {
    fn header(&mut self, columns: &[QueryColumn]) -> io::Result<()> {
        self.columns = columns.to_vec();
        Ok(())
    }

    fn row(&mut self, row: &SimpleQueryRow) -> io::Result<bool> {
        self.out.write_all(if self.rows == 0 { b"[\n" } else { b",\n" })?;
        let mut object = serde_json::Map::new();
        for (column, value) in self.columns.iter().zip(values(row)) {
            object.insert(
                column.name.clone(),
                value.map_or(serde_json::Value::Null, |text| json_value(&column.type_name, text)),
            );
        }
        serde_json::to_writer(&mut *self.out, &object)?;
        self.rows += 1;
        Ok(true)
    }

    fn end(&mut self) -> io::Result<()> {
        self.out.write_all(if self.rows == 0 { b"[]\n" } else { b"\n]\n" })?;
        self.out.flush()
    }
}

struct Aligned<'a> {
    out: &'a mut (dyn Write + Send),
    columns: Vec<QueryColumn>,
    /// Rows that are held back until the widths are known.
    waiting: Vec<Vec<Option<String>>>,
    widths: Vec<usize>,
}

impl Aligned<'_> {
    fn release(&mut self) -> io::Result<()> {
        if self.widths.is_empty() && !self.columns.is_empty() {
            self.widths = self.columns.iter().map(|column| column.name.chars().count()).collect();
            for row in &self.waiting {
                for (width, value) in self.widths.iter_mut().zip(row) {
                    *width = (*width).max(value.as_ref().map_or(0, |text| text.chars().count()));
                }
            }
            let names: Vec<_> = self.columns.iter().map(|column| Some(column.name.clone())).collect();
            self.print(&names)?;
            let rule: Vec<String> = self.widths.iter().map(|width| "-".repeat(width + 2)).collect();
            writeln!(self.out, "{}", rule.join("+"))?;
        }
        for row in std::mem::take(&mut self.waiting) {
            self.print(&row)?;
        }
        Ok(())
    }

    fn print(&mut self, row: &[Option<String>]) -> io::Result<()> {
        let mut line = String::new();
        for (index, ((value, width), column)) in row.iter().zip(&self.widths).zip(&self.columns).enumerate() {
            let text = value.as_deref().unwrap_or_default();
            let space = " ".repeat(width.saturating_sub(text.chars().count()));
            let number =
                matches!(column.type_name.as_str(), "int2" | "int4" | "int8" | "float4" | "float8" | "numeric");
            line.push_str(if index == 0 { " " } else { "| " });
            line.push_str(&if number { format!("{space}{text} ") } else { format!("{text}{space} ") });
        }
        writeln!(self.out, "{}", line.trim_end())
    }
}

impl Sink for Aligned<'_> {
    fn header(&mut self, columns: &[QueryColumn]) -> io::Result<()> {
        self.release()?;
        self.columns = columns.to_vec();
        self.widths = Vec::new();
        Ok(())
    }

    fn row(&mut self, row: &SimpleQueryRow) -> io::Result<bool> {
        self.waiting.push(values(row).map(|value| value.map(str::to_owned)).collect());
        if self.waiting.len() >= ALIGNED_ROWS || !self.widths.is_empty() {
            self.release()?;
        }
        Ok(true)
    }

    fn end(&mut self) -> io::Result<()> {
        self.release()?;
        self.out.flush()
    }
}
