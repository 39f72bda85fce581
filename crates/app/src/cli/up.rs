//! `tillstream up` and `tillstream run`: the pipeline.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use model::SystemClock;
use project::Project;
use tokio::runtime::Handle;

use crate::cli::progress::{DrainProgress, say};
use crate::cli::project::ProjectArgs;
use crate::cli::signals::stop_on_signals;
use crate::cli::{Output, inputs, runtime, stopping};
use crate::error::{Error, Result};
use crate::run::directory_lock::{DirectoryLock, Holders};
use crate::run::drain;
use crate::run::generate::GenerateTask;
use crate::run::live::{Listeners, Servers};
use crate::run::peers::{Database, Peers};
use crate::run::pipeline::{Pipeline, Stage, StartOptions};
use crate::run::references::is_own;
use crate::run::spark::Work;

const STOPPING: &str = "stopping: state is saved, the rest waits in Kafka; Ctrl-C again stops at once";

/// Run a project: the embedded systems that it uses, and all stages.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tillstream up examples/payments --generate 3000
  tillstream up examples/grocery --drain
  tillstream up payments --profile production

Ctrl-C takes no more records and finishes those that have come in: validated, processed, stored. Windows that are still open are saved
and go on at the next start. A second Ctrl-C stops at once; nothing is lost then either, the next start does the rest.")]
pub(crate) struct Up {
    /// The project's directory; the current one by default.
    directory: Option<PathBuf>,
    /// Load the project's inputs, process everything, publish every window's content, print a JSON summary, exit.
    #[arg(long)]
    drain: bool,
    /// Also generate card payments, so many per second, into the first stream.
    #[arg(long, value_name = "RATE", conflicts_with = "drain")]
    generate: Option<u64>,
    /// The longest time that Ctrl-C waits for records that have come in.
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    stop_limit: project::settings::Duration,
    /// How to write where things are, and how it ended. The summary of --drain is JSON anyway.
    #[arg(long, value_enum, default_value_t)]
    pub(super) output: Output,
    /// Go on where records were deleted before they were read, and say how many are lost.
    #[arg(long)]
    accept_lost_records: bool,
    #[command(flatten)]
    project: ProjectArgs,
}

/// Run some stages of a project against systems that run elsewhere.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tillstream run payments --profile production --stages validate,process
  tillstream run payments --profile production --stages store
  tillstream run payments --profile production --serve               several such processes share the work

Processes that run the same stages share their partitions, and take over those of one that dies: docs/scaling.md. Ctrl-C finishes the batch under way and saves the state; what else has come in waits in Kafka.")]
pub(crate) struct Run {
    /// The project's directory; the current one by default.
    directory: Option<PathBuf>,
    /// The stages; all of them by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    stages: Vec<StageName>,
    /// Also serve the dashboard, metrics and readiness of this process (serve.listen), and the door for records (ingest.listen).
    #[arg(long)]
    serve: bool,
    /// How to write what runs.
    #[arg(long, value_enum, default_value_t)]
    pub(super) output: Output,
    /// Go on where records were deleted before they were read, and say how many are lost.
    #[arg(long)]
    accept_lost_records: bool,
    #[command(flatten)]
    project: ProjectArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StageName {
    Validate,
    Process,
    Patterns,
    Store,
}

impl From<StageName> for Stage {
    fn from(name: StageName) -> Self {
        match name {
            StageName::Validate => Self::Validate,
            StageName::Process => Self::Process,
            StageName::Patterns => Self::Patterns,
            StageName::Store => Self::Store,
        }
    }
}

impl Up {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let project = self.project.load(self.directory.as_deref(), self.output)?;
        if self.drain {
            project.require_inputs()?;
        }
        let work = if self.drain { Work::Drain } else { Work::Stream };
        let how = StartOptions { accepts_loss: self.accept_lost_records, ..work.into() };
        let runtime = runtime()?;
        let _lock = DirectoryLock::take(&project, Holders::Alone)?;
        let listeners = match self.drain {
            true => None,
            false => Some(Listeners::bind(&project.settings, runtime.handle())?),
        };
        with_pipeline(&project, runtime.handle(), &Stage::ALL.into(), how, |systems| match listeners {
            None => drain(&project, systems),
            Some(listeners) => self.serve(&project, systems, listeners),
        })
    }

    /// Runs until Ctrl-C, then takes no more records and finishes those that have come in.
    fn serve(&self, project: &Project, systems: &mut Systems<'_>, listeners: Listeners) -> Result<()> {
        let pipeline = &mut *systems.pipeline;
        stop_on_signals(
            systems.runtime,
            pipeline.intake.stop.clone(),
            "stopping: no more records are taken, those that have come in are finished; Ctrl-C again stops at once",
        );
        let generator = self.generate.map(|rate| GenerateTask::of_pipeline(pipeline, rate)).transpose()?;
        let servers = start_servers(project, pipeline, systems.runtime, listeners)?;
        announce(systems, &servers, self.output)?;
        let pipeline = &mut *systems.pipeline;
        inputs::start(project, pipeline)?;
        if let Some(task) = generator {
            pipeline.bring_in("generate", move || task.run(None).map(|_| ()))?;
        }
        pipeline.wait_for_intake(false);
        let ended = stopping::wind_down(pipeline, self.stop_limit.0, self.output);
        pipeline.context.stop.everything();
        servers.join(systems.runtime)?;
        ended
    }
}

/// Loads the project's inputs, brings everything to its end, and says what there is then.
fn drain(project: &Project, systems: &mut Systems<'_>) -> Result<()> {
    let pipeline = &mut *systems.pipeline;
    stop_on_signals(systems.runtime, pipeline.context.stop.clone(), STOPPING);
    let refused = inputs::start(project, pipeline)?;
    pipeline.wait_for_intake(true);
    if pipeline.context.stop.is_set() {
        return Err(Error::Interrupted(
            "stopped before all was loaded; the same command goes on from there".to_owned(),
        ));
    }
    let mut progress = DrainProgress::new("draining");
    drain::drain(pipeline, &mut |left| {
        progress.update(left);
        Ok(())
    })?;
    drop(progress);
    let database = systems.database.ok_or_else(|| Error::Internal("the drain has no database".to_owned()))?;
    let summary = drain::summarize(&project.name, pipeline, database, systems.runtime)?;
    let text = serde_json::to_string_pretty(&summary).map_err(|error| Error::Internal(error.to_string()))?;
    println!("{text}");
    refused.check()
}

/// Opens the door for records and the dashboard.
fn start_servers(
    project: &Project,
    pipeline: &mut Pipeline,
    runtime: &Handle,
    listeners: Listeners,
) -> Result<Servers> {
    let body_bytes_max = usize::try_from(project.settings.ingest.body_limit.0).unwrap_or(usize::MAX);
    let router = pipeline.open_door(body_bytes_max)?;
    Servers::start(&project.name, pipeline, runtime, listeners, router)
}

/// Where to look: three lines that can be opened and pasted as they are.
fn announce(systems: &Systems<'_>, servers: &Servers, output: Output) -> Result<()> {
    let Systems { pipeline, database, peers, .. } = systems;
    let (dashboard, brokers) = (format!("http://{}/", servers.dashboard), &peers.connection.brokers);
    let records: Vec<String> = pipeline
        .streams
        .iter()
        .map(|stream| format!("http://{}/v1/streams/{}/records", servers.door, stream.name))
        .collect();
    let value = serde_json::json!({
        "event": "started", "dashboard": dashboard, "postgres": database.map(|database| &database.url), "kafka": brokers,
        "registry": peers.registry_url, "records": records,
    });
    output.print(&value, || {
        let mut lines = vec![format!("dashboard  {dashboard}")];
        lines.extend(database.map(|database| format!("psql       psql '{}'", database.url)));
        lines.extend(pipeline.streams.first().map(|stream| {
            format!("kcat       kcat -b {brokers} -C -t {} -o end -f '%p %o %T %h %k\\n'", stream.topics.validated)
        }));
        lines.join("\n")
    })?;
    if let Some(first) = records.first() {
        say(&format!("records    POST {first}"));
    }
    say(&format!("registry   {}", peers.registry_url));
    Ok(())
}

impl Run {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let project = self.project.load(self.directory.as_deref(), self.output)?;
        let stages: BTreeSet<Stage> = if self.stages.is_empty() {
            Stage::ALL.into()
        } else {
            self.stages.iter().map(|&name| name.into()).collect()
        };
        let names: Vec<&str> = stages.iter().map(|stage| stage.name()).collect();
        let how = StartOptions { work: Work::Stream, accepts_loss: self.accept_lost_records, is_shared: true };
        let runtime = runtime()?;
        let _lock = DirectoryLock::take(&project, Holders::Shared)?;
        let listeners = match self.serve {
            true => Some(Listeners::bind(&project.settings, runtime.handle())?),
            false => None,
        };
        with_pipeline(&project, runtime.handle(), &stages, how, |systems| {
            stop_on_signals(systems.runtime, systems.pipeline.context.stop.clone(), STOPPING);
            let start = |listeners| start_servers(&project, systems.pipeline, systems.runtime, listeners);
            let servers = listeners.map(start).transpose()?;
            let value = serde_json::json!({ "event": "started", "project": project.name, "stages": names });
            self.output.print(&value, || format!("running {} of {}", names.join(", "), project.name))?;
            if let Some(servers) = &servers {
                announce(systems, servers, self.output)?;
            }
            systems.pipeline.wait_for_stop();
            servers.map_or(Ok(()), |servers| servers.join(systems.runtime))
        })
    }
}

/// A pipeline with all that it runs on.
struct Systems<'a> {
    pipeline: &'a mut Pipeline,
    database: Option<&'a Database>,
    peers: &'a Peers,
    runtime: &'a Handle,
}

/// Starts peers and stages, does the work, and stops everything in the reverse order, whatever the work's outcome.
fn with_pipeline(
    project: &Project,
    handle: &Handle,
    stages: &BTreeSet<Stage>,
    how: StartOptions,
    work: impl FnOnce(&mut Systems<'_>) -> Result<()>,
) -> Result<ExitCode> {
    Peers::with(project, handle, |peers| {
        let with_database = |database: Option<&Database>| {
            let clock = Arc::new(SystemClock::new());
            let mut pipeline = Pipeline::start(project, peers, database, handle, clock, stages, how)?;
            let worked = work(&mut Systems { pipeline: &mut pipeline, database, peers, runtime: handle });
            // A stage's own error says more than that the work was stopped by it.
            pipeline.stop().and(worked)
        };
        let reads_own_tables = stages.contains(&Stage::Process) && project.references.iter().any(is_own);
        match stages.contains(&Stage::Store) || reads_own_tables {
            true => Database::with(project, handle, |database| with_database(Some(database))),
            false => with_database(None),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}
