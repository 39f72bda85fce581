//! `tillstream load`: a file into a stream, each row once.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use ingest::files::FileOptions;

use crate::cli::Output;
use crate::cli::client::with_streams;
use crate::cli::progress::LoadProgress;
use crate::cli::project::{ProjectArgs, directory_and_rest};
use crate::error::{Error, Result};
use crate::run::load::Load;
use crate::run::load::Loaded;

/// Load a file (CSV, JSON lines, Parquet) into a stream. A load that was cut off goes on where it stopped.
#[derive(Debug, Args)]
#[command(
    name = "load",
    after_help = "\
Examples:
  tillstream load shop history.csv --stream orders
  tillstream load payments day.parquet --stream transactions --rate 3000

Each row gets in once, however often the file is loaded. Rows that don't fit are reported in a file that is named at the end; exit code 5."
)]
pub(crate) struct LoadCommand {
    /// The project's directory (the current one if left out), then the file.
    #[arg(value_name = "[DIR] FILE", required = true, num_args = 1..=2)]
    words: Vec<String>,
    /// The stream that the rows go to.
    #[arg(long, value_name = "NAME")]
    stream: String,
    /// What stands between the fields of a CSV file; a comma, or a tab in .tsv files, by default.
    #[arg(long, value_name = "CHARACTER", value_parser = delimiter)]
    delimiter: Option<u8>,
    /// A CSV field that means NULL, besides the empty one.
    #[arg(long, value_name = "TEXT")]
    null_text: Option<String>,
    /// A column that the file doesn't have is NULL, where it may be. Otherwise the file is refused: the name may be misspelt.
    #[arg(long)]
    absent_is_null: bool,
    /// Rows per second; as fast as possible by default.
    #[arg(long)]
    rate: Option<u64>,
    /// How to write the result.
    #[arg(long, value_enum, default_value_t)]
    pub(super) output: Output,
    #[command(flatten)]
    project: ProjectArgs,
}

impl LoadCommand {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let (directory, rest) = directory_and_rest(&self.words);
        let [file] = rest else {
            return Err(Error::Usage(format!("expected a project directory and one file, found {:?}", self.words)));
        };
        let file = PathBuf::from(file);
        let project = self.project.load(directory.as_deref(), self.output)?;
        let (loaded, report) = with_streams(&project, |context, streams| {
            let mut load = Load::of(&streams, &project, &self.stream, &file, &name_of(&project.directory, &file))?;
            load.rate = self.rate;
            load.options = FileOptions {
                delimiter: self.delimiter,
                null_text: self.null_text.clone(),
                absent_is_null: self.absent_is_null,
                ..FileOptions::default()
            };
            let mut progress = LoadProgress::new(&file);
            Ok((load.run(context, |loaded| progress.update(&loaded))?, load.report))
        })?;
        let Loaded { sent, already, refused, stopped_at, .. } = loaded;
        self.output.print(&serde_json::json!({ "sent": sent, "already": already, "refused": refused }), || {
            format!("{sent} rows sent, {already} were there already, {refused} refused")
        })?;
        if refused > 0 {
            eprintln!("the refused rows and what is wrong with them are in {}", report.display());
        }
        if let Some(row) = stopped_at {
            return Err(Error::Interrupted(format!(
                "loading {} was stopped at row {row}; the same command goes on from there",
                file.display()
            )));
        }
        Ok(ExitCode::from(if refused > 0 { 5 } else { 0 }))
    }
}

fn delimiter(text: &str) -> std::result::Result<u8, String> {
    match text.as_bytes() {
        [byte] if byte.is_ascii() => Ok(*byte),
        _ => Err("it is one character of ASCII, such as ; or |".to_owned()),
    }
}

/// The name under which a file's rows are recorded: its path within the project, else its whole path.
pub(crate) fn name_of(directory: &Path, file: &Path) -> String {
    let absolute = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let (directory, file) = (absolute(directory), absolute(file));
    file.strip_prefix(&directory).unwrap_or(&file).to_string_lossy().into_owned()
}
