//! A project on its peers, and a thread for each stage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::Clock;
use project::Project;
use project::settings::Engine;
use state::SnapshotStore;
use tokio::runtime::Handle;

use crate::error::Result;
use crate::run::context::Context;
use crate::run::door::{self, Door};
use crate::run::generations::Generations;
use crate::run::layout::{PipelineStream, lay_out_results, lay_out_streams};
use crate::run::load::Load;
use crate::run::patterns::{self, PatternsStage};
use crate::run::peers::{Database, Peers};
use crate::run::process::{self, ProcessStage};
use crate::run::references::{self, Feeds};
use crate::run::results::ResultTopic;
use crate::run::sharing::{self, Share, Sharing};
use crate::run::spark::{SparkStage, Work};
use crate::run::stages::{of_queries, patterns_stage, process_stage, store_stage, validate_stage};
use crate::run::statistics;
use crate::run::stop::Stop;
use crate::run::store::{self, StoreStage};
use crate::run::supervise::{self, StageThread};
use crate::run::validate::ValidateStage;

/// Which stages a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Stage {
    Validate,
    Process,
    Patterns,
    Store,
}

impl Stage {
    pub(crate) const ALL: [Self; 4] = [Self::Validate, Self::Process, Self::Patterns, Self::Store];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Validate => "validate",
            Self::Process => "process",
            Self::Patterns => "patterns",
            Self::Store => "store",
        }
    }
}

/// Longest wait for a stage that was told to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(15);

/// A project's stages, running.
pub(crate) struct Pipeline {
    pub(crate) context: Context,
    /// For what brings records in, which stops before the stages do.
    pub(crate) intake: Context,
    pub(crate) streams: Vec<PipelineStream>,
    pub(crate) results: Vec<ResultTopic>,
    pub(crate) generations: Generations,
    /// Names of the process stages that run.
    pub(crate) process_stages: Vec<String>,
    /// Names of the patterns stage and of those that fill generations of patterns.
    pub(crate) pattern_stages: Vec<String>,
    intake_threads: Vec<StageThread>,
    /// Keeps what the state of queries needs, where this process works queries out.
    statistics: Option<StageThread>,
    stages: BTreeMap<Stage, RunningStage>,
}

/// A stage's threads with their switch.
struct RunningStage {
    stop: Stop,
    threads: Vec<StageThread>,
}

/// What a start is told besides the project.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StartOptions {
    /// What Apache Spark does.
    pub(crate) work: Work,
    /// Whether to go on where records were deleted before a stage had read them.
    pub(crate) accepts_loss: bool,
    /// Whether other processes may run the same stages; else this one takes all partitions.
    pub(crate) is_shared: bool,
}

impl From<Work> for StartOptions {
    fn from(work: Work) -> Self {
        Self { work, accepts_loss: false, is_shared: false }
    }
}

impl Pipeline {
    /// Makes topics, schemas and tables, and starts the stages. `database` is needed for the store stage alone.
    pub(crate) fn start(
        project: &Project,
        peers: &Peers,
        database: Option<&Database>,
        runtime: &Handle,
        clock: Arc<dyn Clock>,
        stages: &BTreeSet<Stage>,
        how: StartOptions,
    ) -> Result<Self> {
        let context = Context::new(peers, clock);
        let streams = lay_out_streams(project, &context)?;
        let snapshots = Arc::new(SnapshotStore::open(&project.snapshot_dir().to_string_lossy())?);
        let generations = Generations::new(snapshots.clone());
        let needs_results = stages.iter().any(|stage| *stage != Stage::Validate);
        let results = if needs_results { lay_out_results(project, &context, &generations)? } else { Vec::new() };
        let starter = Starter { project, context, database, runtime, how, streams, results, generations, snapshots };
        let (mut process_stages, mut pattern_stages) = (Vec::new(), Vec::new());
        let mut running = BTreeMap::new();
        // What waits for another's results starts before it.
        for stage in [Stage::Store, Stage::Process, Stage::Patterns, Stage::Validate] {
            let started = match stage {
                _ if !stages.contains(&stage) => None,
                Stage::Store => starter.store()?,
                Stage::Process => Some(starter.process(&mut process_stages)?),
                Stage::Patterns => starter.patterns(&mut pattern_stages)?,
                Stage::Validate => Some(starter.validation()?),
            };
            running.extend(started.map(|started| (stage, started)));
        }
        let has_queries = running.contains_key(&Stage::Process) || running.contains_key(&Stage::Patterns);
        let statistics = has_queries.then(|| starter.statistics()).transpose()?;
        let Starter { context, streams, results, generations, .. } = starter;
        Ok(Self {
            intake: context.part(),
            context,
            streams,
            results,
            generations,
            process_stages,
            pattern_stages,
            intake_threads: Vec::new(),
            statistics,
            stages: running,
        })
    }

    /// Opens the HTTP door: gives its routes, and starts the thread that carries records to Kafka.
    pub(crate) fn open_door(&mut self, body_bytes_max: usize) -> Result<axum::Router> {
        let (router, carrier) = Door::new(&self.intake, &self.streams, body_bytes_max)?.split();
        self.bring_in(door::NAME, move || carrier.run_epoch())?;
        Ok(router)
    }

    /// Starts a thread that brings records in, until it is done or the intake is closed.
    pub(crate) fn bring_in(&mut self, name: &str, epoch: impl FnMut() -> Result<()> + Send + 'static) -> Result<()> {
        self.intake_threads.push(spawn(&self.intake, name, epoch)?);
        Ok(())
    }

    /// Waits until the intake is closed, or all that was to be brought in is in if `until_done`. A stage that ends before stops everything.
    pub(crate) fn wait_for_intake(&self, until_done: bool) {
        self.wait_for(&self.intake.stop, || until_done && self.intake_threads.iter().all(StageThread::is_finished));
    }

    /// Waits until the stages are told to stop. A stage that ends before stops everything.
    pub(crate) fn wait_for_stop(&self) {
        self.wait_for(&self.context.stop, || false);
    }

    fn wait_for(&self, stop: &Stop, is_done: impl Fn() -> bool) {
        while !is_done() && !stop.wait(Duration::from_millis(50)) {
            if self.has_failed() {
                self.context.stop.everything();
            }
        }
    }

    /// Takes no more records; those that were taken are acknowledged by Kafka.
    pub(crate) fn close_intake(&mut self) -> Result<()> {
        self.intake.stop.now();
        join_all(std::mem::take(&mut self.intake_threads))
    }

    /// Tells one stage to stop, and waits for its end.
    pub(crate) fn stop_stage(&mut self, stage: Stage) -> Result<()> {
        let Some(running) = self.stages.remove(&stage) else { return Ok(()) };
        running.stop.now();
        join_all(running.threads)
    }

    /// Stops everything and waits for its end; the first error of any is the pipeline's.
    pub(crate) fn stop(self) -> Result<()> {
        self.context.stop.everything();
        let mut threads = self.intake_threads;
        threads.extend(self.statistics);
        threads.extend(self.stages.into_values().flat_map(|stage| stage.threads));
        join_all(threads)
    }

    /// Whether a stage has ended without having been told to, which means that it failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.stages.values().flat_map(|stage| &stage.threads).any(StageThread::is_finished)
    }

    /// The load of a file into one of the project's streams.
    pub(crate) fn load(&self, project: &Project, stream: &str, file: &std::path::Path, name: &str) -> Result<Load> {
        Load::of(&self.streams, project, stream, file, name)
    }
}

/// Waits for threads that were told to stop; gives the first error.
fn join_all(threads: Vec<StageThread>) -> Result<()> {
    let started = Instant::now();
    let mut first = Ok(());
    for thread in threads {
        let ended = thread.join(STOP_PATIENCE.saturating_sub(started.elapsed()));
        first = first.and(ended);
    }
    first
}

/// Starts the thread of a stage that processes may share.
fn spawn_shared(
    context: &Context,
    name: &str,
    sharing: Sharing,
    epoch: impl Fn(&mut Share) -> Result<()> + Send + 'static,
) -> Result<StageThread> {
    let mut share = Share::new(context, name, sharing);
    spawn(context, name, move || epoch(&mut share))
}

fn spawn(context: &Context, name: &str, epoch: impl FnMut() -> Result<()> + Send + 'static) -> Result<StageThread> {
    supervise::spawn(name.to_owned(), context.stop.clone(), context.status.clone(), epoch)
}

/// What stages are started with.
struct Starter<'a> {
    project: &'a Project,
    context: Context,
    database: Option<&'a Database>,
    runtime: &'a Handle,
    how: StartOptions,
    streams: Vec<PipelineStream>,
    results: Vec<ResultTopic>,
    generations: Generations,
    snapshots: Arc<SnapshotStore>,
}

impl Starter<'_> {
    /// The consumer group of a stage that is shared with other processes.
    fn group(&self, stage: &str) -> Option<String> {
        self.how.is_shared.then(|| sharing::group(self.project, stage))
    }

    fn store(&self) -> Result<Option<RunningStage>> {
        let Some(database) = self.database else { return Ok(None) };
        let part = self.context.part();
        let stage =
            store_stage(self.project, &part, database, self.runtime, &self.streams, &self.results, &self.generations);
        let stage = StoreStage { group: self.group(store::NAME), accepts_loss: self.how.accepts_loss, ..stage };
        self.runtime.block_on(stage.prepare())?;
        let sharing = stage.sharing();
        let threads = vec![spawn_shared(&part, store::NAME, sharing, move |share| stage.run_epoch(share))?];
        Ok(Some(RunningStage { stop: part.stop, threads }))
    }

    /// Starts what works queries out; adds the names of its stages.
    fn process(&self, names: &mut Vec<String>) -> Result<RunningStage> {
        let part = self.context.part();
        let threads = match self.project.engine {
            Engine::Local => self.local_queries(&part, names)?,
            Engine::Spark => {
                let (queries, snapshots) = (of_queries(&self.results), self.snapshots.clone());
                let (mut threads, feeds) = self.references(&part, &queries)?;
                let (work, runtime) = (self.how.work, self.runtime);
                let stage = SparkStage::new(self.project, &part, runtime, work, &self.streams, &queries, snapshots)?;
                let stage = stage.joining(feeds);
                let sharing = stage.sharing(self.group(process::NAME));
                names.push(process::NAME.to_owned());
                threads.push(spawn_shared(&part, process::NAME, sharing, move |share| stage.run_epoch(share))?);
                threads
            }
        };
        Ok(RunningStage { stop: part.stop, threads })
    }

    /// Starts what watches the reference tables that these queries join; gives where each leaves its loads.
    fn references(&self, part: &Context, queries: &[ResultTopic]) -> Result<(Vec<StageThread>, Feeds)> {
        let own_url = self.database.map(|database| database.url.as_str());
        let watchers = references::start(self.project, part, own_url, queries, &self.snapshots, self.runtime)?;
        let feeds = references::feeds(&watchers);
        let mut threads = Vec::new();
        for mut watcher in watchers {
            let name = watcher.name.clone();
            threads.push(spawn(part, &name, move || watcher.run())?);
        }
        Ok((threads, feeds))
    }

    /// The process stage, those that fill generations, and what watches reference tables.
    fn local_queries(&self, part: &Context, names: &mut Vec<String>) -> Result<Vec<StageThread>> {
        let (queries, snapshots) = (of_queries(&self.results), self.snapshots.clone());
        let (mut threads, feeds) = self.references(part, &queries)?;
        let stage = process_stage(self.project, part, &self.streams, &queries, feeds, &self.generations, snapshots);
        let group = self.group(process::NAME);
        for stage in (ProcessStage { group, accepts_loss: self.how.accepts_loss, ..stage }).split() {
            let (name, sharing) = (stage.name.clone(), stage.sharing());
            threads.push(spawn_shared(part, &name, sharing, move |share| stage.run_epoch(share))?);
            names.push(name);
        }
        Ok(threads)
    }

    /// Starts the patterns stage and those that fill generations; adds their names.
    fn patterns(&self, names: &mut Vec<String>) -> Result<Option<RunningStage>> {
        let part = self.context.part();
        let snapshots = self.snapshots.clone();
        let stage = patterns_stage(self.project, &part, &self.streams, &self.results, &self.generations, snapshots);
        let Some(stage) = stage else { return Ok(None) };
        let stage = PatternsStage { group: self.group(patterns::NAME), accepts_loss: self.how.accepts_loss, ..stage };
        let mut threads = Vec::new();
        for stage in stage.split() {
            let (name, sharing) = (stage.name.clone(), stage.sharing());
            names.push(name.clone());
            threads.push(spawn_shared(&part, &name, sharing, move |share| stage.run_epoch(share))?);
        }
        Ok(Some(RunningStage { stop: part.stop, threads }))
    }

    /// Starts the validation of each stream.
    fn validation(&self) -> Result<RunningStage> {
        let part = self.context.part();
        let mut threads = Vec::new();
        for (stream, settings) in self.streams.iter().zip(&self.project.streams) {
            let stage = validate_stage(self.project, &part, stream, settings);
            let group = self.group(&stage.name);
            let stage = ValidateStage { group, accepts_loss: self.how.accepts_loss, ..stage };
            let (name, sharing) = (stage.name.clone(), stage.sharing());
            threads.push(spawn_shared(&part, &name, sharing, move |share| stage.run_epoch(share))?);
        }
        Ok(RunningStage { stop: part.stop, threads })
    }

    /// Starts what keeps how much state queries need.
    fn statistics(&self) -> Result<StageThread> {
        let (context, snapshots) = (self.context.clone(), self.snapshots.clone());
        spawn(&self.context, statistics::NAME, move || statistics::keep(&context, &snapshots))
    }
}
