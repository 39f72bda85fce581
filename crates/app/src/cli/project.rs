//! Which project a command is about, with the overrides that all commands take.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use clap::Args;
use project::{ENVIRONMENT_PREFIX, Overrides, PROJECT_FILE, Project, Rendering};

use crate::cli::Output;
use crate::error::{Error, Result};

/// The overrides that all commands on a project take.
#[derive(Debug, Args)]
pub(crate) struct ProjectArgs {
    /// Use this profile of the project file.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Override a setting; may be given several times.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    sets: Vec<String>,
}

impl ProjectArgs {
    /// Loads and checks the project in `directory`, or in the current one. Warnings go to standard error.
    ///
    /// # Errors
    /// `Findings` with all that is wrong.
    pub(crate) fn load(&self, directory: Option<&Path>, output: Output) -> Result<Project> {
        let directory = directory.map_or_else(|| PathBuf::from("."), Path::to_owned);
        let project = Project::load(&directory, &self.overrides()?)?;
        if !project.warnings.is_empty() {
            match output {
                Output::Text => eprintln!("{}", project.warnings.render(rendering())),
                Output::Json => eprintln!("{}", serde_json::json!({ "warnings": project.warnings.to_json() })),
            }
        }
        Ok(project)
    }

    /// What is laid over the project's file: profile, `--set`, environment.
    ///
    /// # Errors
    /// `Usage` for a `--set` that isn't one.
    pub(crate) fn overrides(&self) -> Result<Overrides> {
        let mut sets = Vec::new();
        for set in &self.sets {
            let (path, value) =
                set.split_once('=').ok_or_else(|| Error::Usage(format!("--set takes PATH=VALUE, not {set:?}")))?;
            sets.push((path.to_owned(), value.to_owned()));
        }
        let environment: BTreeMap<String, String> =
            std::env::vars().filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX)).collect();
        Ok(Overrides { profile: self.profile.clone(), sets, environment })
    }
}

/// Colours and boxes on a terminal, plain text elsewhere.
pub(crate) fn rendering() -> Rendering {
    let is_fancy = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if is_fancy { Rendering::terminal(terminal_width()) } else { Rendering::plain() }
}

/// Columns of the terminal, from the shell's variable; 100 if it doesn't say.
fn terminal_width() -> usize {
    std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(100)
}

/// Splits `[DIR] REST…`: the first word is the directory if it holds a project file, else the current directory is meant.
pub(crate) fn directory_and_rest(words: &[String]) -> (Option<PathBuf>, &[String]) {
    match words.split_first() {
        Some((first, rest)) if Path::new(first).join(PROJECT_FILE).is_file() => (Some(PathBuf::from(first)), rest),
        _ => (None, words),
    }
}
