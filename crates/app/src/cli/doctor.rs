//! `tillstream doctor`: what a project needs, and whether it is there.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use model::SystemClock;

use crate::cli::project::ProjectArgs;
use crate::cli::{Output, runtime};
use crate::doctor::{self, Finding, Level};
use crate::error::{Error, Result};

/// Check what a project needs: programs, peers, ports, disk, clock; each with what to do.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tillstream doctor shop
  tillstream doctor payments --profile production --output json

Exit code 1 if something would keep the pipeline from running. Nothing is changed but that the data directory is made.")]
pub(crate) struct Doctor {
    /// The project's directory; the current one by default.
    directory: Option<PathBuf>,
    /// How to write the findings.
    #[arg(long, value_enum, default_value_t)]
    pub(super) output: Output,
    #[command(flatten)]
    project: ProjectArgs,
}

impl Doctor {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let project = self.project.load(self.directory.as_deref(), self.output)?;
        let runtime = runtime()?;
        let findings = doctor::examine(&project, &SystemClock::new(), runtime.handle());
        let is_well = findings.iter().all(|finding| finding.level != Level::Failure);
        let value =
            serde_json::to_value(&findings).map_err(|error| Error::Internal(format!("the findings: {error}")))?;
        self.output.print(&serde_json::json!({ "ok": is_well, "findings": value }), || {
            findings.iter().map(as_text).collect::<Vec<_>>().join("\n")
        })?;
        Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn as_text(finding: &Finding) -> String {
    let level = match finding.level {
        Level::Ok => "ok",
        Level::Warning => "warning",
        Level::Failure => "FAILURE",
    };
    let line = format!("{level:<8} {:<15} {}", finding.check, finding.found);
    match &finding.advice {
        Some(advice) => format!("{line}\n{:<25}{advice}", ""),
        None => line,
    }
}
