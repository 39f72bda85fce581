//! `tillstream check`: everything that is wrong with a project, at once.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::Output;
use crate::cli::project::ProjectArgs;
use crate::error::Result;

/// Check a project: settings, schemas, queries, reference tables.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  tillstream check payments\n  tillstream check payments --profile production")]
pub(crate) struct Check {
    /// The project's directory; the current one by default.
    directory: Option<PathBuf>,
    /// How to write the result.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    project: ProjectArgs,
}

impl Check {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let project = self.project.load(self.directory.as_deref())?;
        let streams: Vec<&str> = project.streams.iter().map(|stream| stream.name.as_str()).collect();
        let queries: Vec<&str> = project.queries.iter().map(|query| query.name.as_str()).collect();
        match self.output {
            Output::Json => {
                let summary = serde_json::json!({
                    "project": project.name, "streams": streams, "queries": queries, "warnings": project.warnings.to_json(),
                });
                println!("{summary}");
            }
            Output::Text => {
                println!("{}: streams {}; queries {}", project.name, streams.join(", "), queries.join(", "));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
