//! `tillstream load`: a file into a stream, each row once.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use model::SystemClock;

use crate::cli::project::{ProjectArgs, directory_and_rest};
use crate::cli::{Output, asked_to_stop, runtime};
use crate::error::{Error, Result};
use crate::run::context::Context;
use crate::run::peers::Peers;
use crate::run::pipeline::{lay_out, load_of};
use crate::run::status::Status;
use crate::run::stop::Stop;

/// Load a file (CSV, JSON lines, Parquet) into a stream. A load that was cut off goes on where it stopped.
#[derive(Debug, Args)]
#[command(name = "load", after_help = "Example:\n  tillstream load shop history.csv --stream orders")]
pub(crate) struct LoadCommand {
    /// The project's directory (the current one if left out), then the file.
    #[arg(value_name = "[DIR] FILE", required = true, num_args = 1..=2)]
    words: Vec<String>,
    /// The stream that the rows go to.
    #[arg(long, value_name = "NAME")]
    stream: String,
    /// Rows per second; as fast as possible by default.
    #[arg(long)]
    rate: Option<u64>,
    /// How to write the result.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
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
        let project = self.project.load(directory.as_deref())?;
        let runtime = runtime()?;
        let peers = Peers::start(&project, runtime.handle())?;
        let context = Context {
            connection: peers.connection.clone(),
            schemas: peers.schemas.clone(),
            clock: Arc::new(SystemClock::new()),
            status: Arc::new(Status::default()),
            stop: Stop::default(),
        };
        let stop = context.stop.clone();
        runtime.spawn(async move {
            asked_to_stop().await;
            stop.now();
        });
        let (streams, ..) = lay_out(&project, &context)?;
        let mut load = load_of(&streams, &project, &self.stream, &file, &name_of(&project.directory, &file))?;
        load.rate = self.rate;
        let loaded = load.run(&context, |_| {});
        peers.stop()?;
        let loaded = loaded?;
        match self.output {
            Output::Json => println!(
                "{}",
                serde_json::json!({ "sent": loaded.sent, "already": loaded.already, "refused": loaded.refused })
            ),
            Output::Text => {
                println!("{} rows sent, {} were there already, {} refused", loaded.sent, loaded.already, loaded.refused)
            }
        }
        if loaded.refused > 0 {
            eprintln!("the refused rows and what is wrong with them are in {}", load.report.display());
        }
        Ok(ExitCode::from(if loaded.refused > 0 { 5 } else { 0 }))
    }
}

/// The name under which a file's rows are recorded: its path within the project, else its whole path.
pub(crate) fn name_of(directory: &Path, file: &Path) -> String {
    let absolute = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let (directory, file) = (absolute(directory), absolute(file));
    file.strip_prefix(&directory).unwrap_or(&file).to_string_lossy().into_owned()
}
