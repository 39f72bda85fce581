//! `tillstream sql`: asks the project's PostgreSQL.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use store::Format;

use crate::cli::project::{ProjectArgs, directory_and_rest};
use crate::cli::{Output, runtime};
use crate::error::{Error, Result};
use crate::run::peers::Database;

/// Ask the project's PostgreSQL, starting the private one if need be.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tillstream sql shop 'SELECT * FROM bi.spend LIMIT 10'\n  tillstream sql shop --output csv 'SELECT * FROM ops.positions'"
)]
pub(crate) struct Sql {
    /// The project's directory (the current one if left out), then the statement.
    #[arg(value_name = "[DIR] QUERY", required = true, num_args = 1..=2)]
    words: Vec<String>,
    /// How to write the rows.
    #[arg(long, value_enum, default_value_t)]
    output: SqlOutput,
    #[command(flatten)]
    project: ProjectArgs,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum SqlOutput {
    #[default]
    Text,
    Csv,
    Json,
}

impl Sql {
    pub(super) fn output(&self) -> Output {
        if self.output == SqlOutput::Json { Output::Json } else { Output::Text }
    }

    pub(crate) fn run(self) -> Result<ExitCode> {
        let (directory, rest) = directory_and_rest(&self.words);
        let [query] = rest else {
            return Err(Error::Usage(format!(
                "expected a project directory and one statement, found {:?}",
                self.words
            )));
        };
        let project = self.project.load(directory.as_deref(), self.output())?;
        let runtime = runtime()?;
        let format = match self.output {
            SqlOutput::Text => Format::Text,
            SqlOutput::Csv => Format::Csv,
            SqlOutput::Json => Format::Json,
        };
        Database::with(&project, runtime.handle(), |database| {
            let mut out = std::io::stdout();
            Ok(runtime.block_on(database.store.query_write(query, format, &mut out))?)
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
