//! `tillstream rejects`: what validation has refused, from PostgreSQL.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use model::RejectReason;
use serde_json::{Value, json};
use store::Format;

use crate::cli::Output;
use crate::cli::client::with_context;
use crate::cli::project::{ProjectArgs, directory_and_rest};
use crate::cli::runtime;
use crate::error::{Error, Result};
use crate::run::peers::Database;
use crate::run::show::Viewer;

const AFTER_HELP: &str = "\
Examples:
  tillstream rejects list shop
  tillstream rejects list shop --reason late --limit 100
  tillstream rejects show shop orders 0 15            stream, raw partition, raw offset";

/// Look at the records that validation has rejected.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Rejects {
    #[command(subcommand)]
    what: What,
    /// How to write what is found.
    #[arg(long, value_enum, default_value_t, global = true)]
    pub(super) output: Output,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The newest rejected records, one a line.
    List(List),
    /// One rejected record with its content.
    Show(Show),
}

#[derive(Debug, Args)]
struct List {
    /// The project's directory; the current one by default.
    directory: Option<PathBuf>,
    /// Only of this stream.
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    /// Only for this reason, such as late, rule or duplicate.
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 50)]
    limit: u64,
    #[command(flatten)]
    project: ProjectArgs,
}

#[derive(Debug, Args)]
struct Show {
    /// The project's directory (the current one if left out), the stream, the partition and the offset of the raw record.
    #[arg(value_name = "[DIR] STREAM PARTITION OFFSET", required = true, num_args = 3..=4)]
    words: Vec<String>,
    #[command(flatten)]
    project: ProjectArgs,
}

impl Rejects {
    pub(crate) fn run(self) -> Result<ExitCode> {
        match &self.what {
            What::List(list) => self.list(list)?,
            What::Show(show) => self.show(show)?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn list(&self, list: &List) -> Result<()> {
        let mut conditions = vec!["true".to_owned()];
        if let Some(reason) = &list.reason {
            let known = RejectReason::from_name(reason).ok_or_else(|| {
                let all: Vec<&str> = RejectReason::ALL.iter().map(|reason| reason.name()).collect();
                Error::Usage(format!("there is no reason {reason}; the reasons are {}", all.join(", ")))
            })?;
            conditions.push(format!("reason = {}", literal(known.name())));
        }
        if let Some(stream) = &list.stream {
            conditions.push(format!("stream = {}", literal(stream)));
        }
        let query = format!(
            "SELECT stream, raw_partition, raw_offset, reason, rule, message, raw_timestamp, rejected_at FROM ops.rejected_records \
             WHERE {} ORDER BY rejected_at DESC, stream, raw_partition, raw_offset DESC LIMIT {}",
            conditions.join(" AND "),
            list.limit
        );
        let project = list.project.load(list.directory.as_deref(), self.output)?;
        let runtime = runtime()?;
        let format = if self.output == Output::Json { Format::Json } else { Format::Text };
        Database::with(&project, runtime.handle(), |database| {
            let mut out = std::io::stdout();
            Ok(runtime.block_on(database.store.query_write(&query, format, &mut out)).map(|_| ())?)
        })
    }

    fn show(&self, show: &Show) -> Result<()> {
        let words = &show.words;
        let (directory, rest) = directory_and_rest(words);
        let place = match rest {
            [stream, partition, offset] => {
                partition.parse::<i32>().ok().zip(offset.parse::<i64>().ok()).map(|at| (stream, at))
            }
            _ => None,
        };
        let (stream, (partition, offset)) = place.ok_or_else(|| {
            Error::Usage(format!("expected a stream, a partition and an offset, such as orders 0 15, found {words:?}"))
        })?;
        let query = format!(
            "SELECT reason, rule, message, first_offset, raw_timestamp, rejected_at, encode(raw_key, 'hex'), encode(raw_value, 'hex'), \
             raw_value_bytes FROM ops.rejected_records WHERE stream = {} AND raw_partition = {partition} AND raw_offset = {offset}",
            literal(stream)
        );
        let project = show.project.load(directory.as_deref(), self.output)?;
        let runtime = runtime()?;
        let found = Database::with(&project, runtime.handle(), |database| {
            Ok(runtime.block_on(database.store.query(&query, 1))?.rows.into_iter().next())
        })?;
        drop(runtime);
        let Some(row) = found else {
            return Err(Error::Usage(format!(
                "{stream} has no rejected record at partition {partition}, offset {offset}"
            )));
        };
        let column = |index: usize| row.get(index).cloned().flatten();
        let number = |index: usize| column(index).and_then(|text| text.parse::<i64>().ok());
        // The registry knows what the bytes mean.
        let (key, value) = with_context(&project, |context| {
            let mut viewer = Viewer::new(context.schemas.clone());
            let mut view = |index| viewer.bytes(column(index).and_then(|hex| bytes(&hex)).as_deref());
            Ok((view(6), view(7)))
        })?;
        let record = json!({
            "stream": stream, "raw_partition": partition, "raw_offset": offset, "reason": column(0), "rule": column(1),
            "message": column(2), "first_offset": number(3), "raw_timestamp": column(4), "rejected_at": column(5),
            "key": key, "value": value, "value_bytes": number(8),
        });
        self.output.print(&record, || lines(&record))
    }
}

/// `name  value` per field that is there.
fn lines(record: &Value) -> String {
    let fields = record.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let lines = fields.map(|(name, value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{name:<14} {value}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A text as a literal of SQL.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The bytes of hexadecimal digits.
fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_a_literal_and_digits_become_bytes() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(bytes("00ff10"), Some(vec![0, 255, 16]));
        assert_eq!(bytes("zz"), None);
    }
}
