//! `tillstream explain`: what queries do, read, keep and cost.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use sql::Query;

use crate::cli::Output;
use crate::cli::project::{ProjectArgs, directory_and_rest};
use crate::error::{Error, Result};
use crate::explain::{explain, seen};

/// Show what queries do: their plan, the columns they read, the windows they keep and for how long, what their state may cost.
#[derive(Debug, Args)]
#[command(
    name = "explain",
    after_help = "Examples:\n  tillstream explain shop\n  tillstream explain shop sales_per_minute\n  tillstream explain shop --output json"
)]
pub(crate) struct ExplainCommand {
    /// The project's directory (the current one if left out), then a query (all of them if left out).
    #[arg(value_name = "[DIR] [QUERY]", num_args = 0..=2)]
    words: Vec<String>,
    /// How to write the result.
    #[arg(long, value_enum, default_value_t)]
    pub(super) output: Output,
    #[command(flatten)]
    project: ProjectArgs,
}

impl ExplainCommand {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let (directory, rest) = directory_and_rest(&self.words);
        let project = self.project.load(directory.as_deref(), self.output)?;
        let queries = match rest {
            [] => project.queries.clone(),
            [name] => vec![project.query(name).cloned().ok_or_else(|| {
                let known: Vec<&str> = project.queries.iter().map(|query| query.name.as_str()).collect();
                Error::Usage(format!("there is no query {name}; the project has {}", known.join(", ")))
            })?],
            _ => {
                return Err(Error::Usage(format!(
                    "expected a project directory and one query, found {:?}",
                    self.words
                )));
            }
        };
        let seen = seen(&project)?;
        let explained = |query: &Arc<Query>| explain(&project, query, seen.get(&query.name).copied());
        let explained = queries.iter().map(explained).collect::<Result<Vec<_>>>()?;
        self.output.print(&serde_json::json!({ "version": 1, "queries": explained }), || {
            let texts: Vec<String> = explained.iter().map(crate::explain::Explained::text).collect();
            texts.join("\n").trim_end().to_owned()
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
