//! `tillstream check`: everything that is wrong with a project, at once.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::project::ProjectArgs;
use crate::cli::{Output, runtime};
use crate::error::Result;
use crate::run::references::check;

/// Check a project: settings, schemas, queries, reference tables, tests. Tables in PostgreSQL are asked for if their server answers.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tillstream check payments
  tillstream check payments --profile production
  tillstream check payments --output json         errors as JSON on standard error, each with its file, line and column")]
pub(crate) struct Check {
    /// The project's directory; the current one by default.
    directory: Option<PathBuf>,
    /// How to write the result.
    #[arg(long, value_enum, default_value_t)]
    pub(super) output: Output,
    #[command(flatten)]
    project: ProjectArgs,
}

impl Check {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let project = self.project.load(self.directory.as_deref(), self.output)?;
        let tests: usize = project::testfile::load(&project)?.iter().map(|file| file.cases.len()).sum();
        for unchecked in check::references(&project, runtime()?.handle())? {
            eprintln!("{unchecked}");
        }
        let streams: Vec<&str> = project.streams.iter().map(|stream| stream.name.as_str()).collect();
        let queries: Vec<&str> = project.queries.iter().map(|query| query.name.as_str()).collect();
        let summary = serde_json::json!({
            "project": project.name, "streams": streams, "queries": queries, "tests": tests,
            "warnings": project.warnings.to_json(),
        });
        self.output.print(&summary, || {
            format!("{}: streams {}; queries {}", project.name, streams.join(", "), queries.join(", "))
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
