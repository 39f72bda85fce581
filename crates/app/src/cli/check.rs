//! `tillstream check`: everything that is wrong with a project, at once.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::project::ProjectArgs;
use crate::cli::{Output, runtime};
use crate::error::Result;
use crate::run::references::check;

/// Check a project: settings, schemas, queries, patterns, reference tables, tests. Tables in PostgreSQL are asked for if their server answers.
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
        let named = |is_pattern: bool| -> Vec<&str> {
            let all = project.queries.iter().filter(|query| query.pattern.is_some() == is_pattern);
            all.map(|query| query.name.as_str()).collect()
        };
        let (queries, patterns) = (named(false), named(true));
        let summary = serde_json::json!({
            "project": project.name, "streams": streams, "queries": queries, "patterns": patterns, "tests": tests,
            "warnings": project.warnings.to_json(),
        });
        self.output.print(&summary, || {
            let patterns =
                if patterns.is_empty() { String::new() } else { format!("; patterns {}", patterns.join(", ")) };
            format!("{}: streams {}; queries {}{patterns}", project.name, streams.join(", "), queries.join(", "))
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
