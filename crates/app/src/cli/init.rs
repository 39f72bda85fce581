//! `tillstream init`: a project that runs at once.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::Output;
use crate::error::{Error, Result};

/// Make a project that runs at once.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tillstream init shop && tillstream up shop\n  tillstream init work/pipeline --name orders"
)]
pub(crate) struct Init {
    /// Directory to make; it must be empty or not there.
    directory: PathBuf,
    /// Name of the pipeline; the directory's name by default.
    #[arg(long)]
    name: Option<String>,
    /// How to write the list of files.
    #[arg(long, value_enum, default_value_t)]
    pub(super) output: Output,
}

impl Init {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let last = self.directory.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = self.name.or(last).ok_or_else(|| Error::Usage("give the directory a name".to_owned()))?;
        let written =
            project::template::write(&self.directory, &name).map_err(|error| Error::Usage(error.to_string()))?;
        let files: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
        self.output.print(&serde_json::json!({ "project": name, "files": files }), || files.join("\n"))?;
        eprintln!("next: tillstream up {}", self.directory.display());
        Ok(ExitCode::SUCCESS)
    }
}
