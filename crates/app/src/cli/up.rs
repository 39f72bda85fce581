//! `tillstream up` and `tillstream run`: the pipeline.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use model::SystemClock;
use project::Project;
use tokio::runtime::Handle;

use crate::cli::project::{ProjectArgs, rendering};
use crate::cli::{asked_to_stop, runtime};
use crate::error::{Error, Result};
use crate::run::drain;
use crate::run::generate::GenerateTask;
use crate::run::live::Servers;
use crate::run::peers::{Database, Peers, listen_address};
use crate::run::pipeline::{Pipeline, Stage};

/// Run a project: the embedded systems that it uses, and all stages.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tillstream up examples/payments --generate 3000\n  tillstream up examples/grocery --drain"
)]
pub(crate) struct Up {
    /// The project's directory; the current one by default.
    directory: Option<PathBuf>,
    /// Load the project's inputs, process everything, publish every window's content, print a JSON summary, exit.
    #[arg(long)]
    drain: bool,
    /// Also generate card payments, so many per second, into the first stream.
    #[arg(long, value_name = "RATE", conflicts_with = "drain")]
    generate: Option<u64>,
    #[command(flatten)]
    project: ProjectArgs,
}

/// Run some stages of a project against systems that run elsewhere.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tillstream run payments --profile production --stages validate,process")]
pub(crate) struct Run {
    /// The project's directory; the current one by default.
    directory: Option<PathBuf>,
    /// The stages; all of them by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    stages: Vec<StageName>,
    #[command(flatten)]
    project: ProjectArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StageName {
    Validate,
    Process,
    Store,
}

impl From<StageName> for Stage {
    fn from(name: StageName) -> Self {
        match name {
            StageName::Validate => Self::Validate,
            StageName::Process => Self::Process,
            StageName::Store => Self::Store,
        }
    }
}

impl Up {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let project = self.project.load(self.directory.as_deref())?;
        if self.drain {
            project.require_inputs().map_err(|errors| Error::Project(errors.render(rendering())))?;
        }
        let stages = BTreeSet::from(Stage::ALL);
        let drain = self.drain;
        let generate = self.generate;
        with_pipeline(&project, &stages, |pipeline, database, peers, runtime| {
            if drain {
                load_inputs(&project, pipeline)?;
                drain::drain(pipeline)?;
                let database = database.ok_or_else(|| Error::Internal("the drain has no database".to_owned()))?;
                let summary = drain::summarize(&project.name, pipeline, database, runtime)?;
                let text =
                    serde_json::to_string_pretty(&summary).map_err(|error| Error::Internal(error.to_string()))?;
                println!("{text}");
                return Ok(());
            }
            let generator = generate.map(|rate| GenerateTask::of_pipeline(pipeline, rate)).transpose()?;
            let servers = start_servers(&project, pipeline, runtime)?;
            announce(pipeline, database, peers, &servers);
            std::thread::scope(|scope| -> Result<()> {
                let generating = generator.map(|task| scope.spawn(move || task.run(None)));
                let loaded = load_inputs(&project, pipeline);
                if loaded.is_err() {
                    pipeline.context.stop.now();
                }
                while !pipeline.context.stop.wait(Duration::from_millis(200)) {
                    if pipeline.has_failed() {
                        pipeline.context.stop.now();
                    }
                }
                let generated = match generating {
                    Some(thread) => {
                        thread.join().unwrap_or_else(|_| Err(Error::Internal("the generator panicked".to_owned())))
                    }
                    None => Ok(0),
                };
                loaded.and(generated.map(|_| ()))
            })?;
            servers.join(runtime)
        })
    }
}

/// Opens the door for records and the dashboard.
fn start_servers(project: &Project, pipeline: &mut Pipeline, runtime: &Handle) -> Result<Servers> {
    let settings = &project.settings;
    let dashboard = listen_address("serve", &settings.serve.listen)?;
    let door = listen_address("ingest", &settings.ingest.listen)?;
    let body_bytes_max = usize::try_from(settings.ingest.body_limit.0).unwrap_or(usize::MAX);
    let router = pipeline.open_door(body_bytes_max)?;
    Servers::start(&project.name, pipeline, runtime, dashboard, (door, router))
}

/// Where to look: three lines that can be opened and pasted as they are.
fn announce(pipeline: &Pipeline, database: Option<&Database>, peers: &Peers, servers: &Servers) {
    println!("dashboard  http://{}/", servers.dashboard);
    if let Some(database) = database {
        println!("psql       psql '{}'", database.url);
    }
    if let Some(stream) = pipeline.streams.first() {
        let consumer = "%p %o %T %h %k\\n";
        println!(
            "kcat       kcat -b {} -C -t {} -o end -f '{consumer}'",
            peers.connection.brokers, stream.topics.validated
        );
        eprintln!("records    POST http://{}/v1/streams/{}/records", servers.door, stream.name);
    }
    eprintln!("registry   {}", peers.registry_url);
}

impl Run {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let project = self.project.load(self.directory.as_deref())?;
        let stages: BTreeSet<Stage> = if self.stages.is_empty() {
            Stage::ALL.into()
        } else {
            self.stages.iter().map(|&name| name.into()).collect()
        };
        let names: Vec<&str> = stages.iter().map(|stage| stage.name()).collect();
        eprintln!("running {} of {}", names.join(", "), project.name);
        with_pipeline(&project, &stages, |pipeline, _, _, _| {
            while !pipeline.context.stop.wait(Duration::from_millis(200)) {
                if pipeline.has_failed() {
                    pipeline.context.stop.now();
                }
            }
            Ok(())
        })
    }
}

/// Starts peers and stages, does the work, and stops everything in the reverse order, whatever the work's outcome.
fn with_pipeline(
    project: &Project,
    stages: &BTreeSet<Stage>,
    work: impl FnOnce(&mut Pipeline, Option<&Database>, &Peers, &Handle) -> Result<()>,
) -> Result<ExitCode> {
    let runtime = runtime()?;
    let handle = runtime.handle();
    let peers = Peers::start(project, handle)?;
    let database = if stages.contains(&Stage::Store) { Some(Database::start(project, handle)?) } else { None };
    let clock = Arc::new(SystemClock::new());
    let mut pipeline = Pipeline::start(project, &peers, database.as_ref(), handle, clock, stages)?;
    let stop = pipeline.context.stop.clone();
    runtime.spawn(async move {
        asked_to_stop().await;
        eprintln!("stopping; press Ctrl-C again to stop at once");
        stop.now();
        asked_to_stop().await;
        std::process::exit(130);
    });
    let worked = work(&mut pipeline, database.as_ref(), &peers, handle);
    let stopped = pipeline.stop();
    let database_stopped = database.map_or(Ok(()), |database| database.stop(handle));
    let peers_stopped = peers.stop();
    // A stage's own error says more than that the work was stopped by it.
    stopped?;
    worked?;
    database_stopped?;
    peers_stopped?;
    Ok(ExitCode::SUCCESS)
}

/// Loads the project's inputs, each row once however often this is called.
fn load_inputs(project: &Project, pipeline: &Pipeline) -> Result<()> {
    for input in &project.inputs {
        if !input.file.exists() {
            tracing::warn!(file = %input.file.display(), "the input isn't there and is left out");
            continue;
        }
        let mut load = pipeline.load(project, &input.stream, &input.file, &input.name)?;
        load.columns.clone_from(&input.columns);
        let loaded = load.run(&pipeline.context, |_| {})?;
        tracing::info!(
            file = %input.file.display(),
            sent = loaded.sent,
            already = loaded.already,
            refused = loaded.refused,
            "loaded"
        );
        if loaded.refused > 0 {
            return Err(Error::Data(format!(
                "{} rows of {} don't fit the stream {}; they are in {} with what is wrong",
                loaded.refused,
                input.file.display(),
                input.stream,
                load.report.display()
            )));
        }
    }
    Ok(())
}
