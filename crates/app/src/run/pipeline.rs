//! A project on its peers: topics, schemas, tables, and a thread for each stage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::process::{OperatorOptions, ReferenceData, Spill};
use ::validate::{DuplicateRules, DuplicatesDisk, Rule, StreamRules};
use kafka::Admin;
use model::{Clock, Schemas};
use project::settings::{Engine, StateOverflow};
use project::{Project, Stream};
use state::SnapshotStore;
use tokio::runtime::Handle;

use crate::error::Result;
use crate::run::context::Context;
use crate::run::door::{self, Door};
use crate::run::generations::{Generations, Run, first_stream};
use crate::run::load::Load;
use crate::run::patterns::{self, PatternPlan, PatternsStage};
use crate::run::peers::{Database, Peers};
use crate::run::process::{self, ProcessPlan, ProcessStage, ProcessStream};
use crate::run::references::{self, Feed};
use crate::run::results::ResultTopic;
use crate::run::sharing::{self, Share, Sharing};
use crate::run::spark::{SparkStage, Work};
use crate::run::stop::Stop;
use crate::run::store::{self, StoreStage};
use crate::run::supervise::{self, StageThread};
use crate::run::topics::StreamTopics;
use crate::run::validate::{self, ValidateStage};

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
    stages: BTreeMap<Stage, RunningStage>,
}

/// A stage's threads with their switch.
struct RunningStage {
    stop: Stop,
    threads: Vec<StageThread>,
}

/// A stream with its topics and schema ids.
#[derive(Debug, Clone)]
pub(crate) struct PipelineStream {
    pub(crate) name: String,
    pub(crate) topics: StreamTopics,
    pub(crate) schema: avro::Schema,
    pub(crate) key: String,
    pub(crate) raw_schema_id: u32,
    pub(crate) validated_schema_id: u32,
}

impl PipelineStream {
    /// A stream whose schema the registry has for its raw and its validated topic.
    fn register(stream: &Stream, topics: StreamTopics, schemas: &dyn Schemas) -> Result<Self> {
        let (raw_schema_id, validated_schema_id) = topics.register(schemas, &stream.schema_text)?;
        Ok(Self {
            name: stream.name.clone(),
            topics,
            schema: stream.schema.clone(),
            key: stream.key.clone(),
            raw_schema_id,
            validated_schema_id,
        })
    }
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
        let group = |part: &str| how.is_shared.then(|| sharing::group(project, part));
        let streams = lay_out_streams(project, &context)?;
        let snapshots = Arc::new(SnapshotStore::open(&project.snapshot_dir().to_string_lossy())?);
        let generations = Generations::new(snapshots.clone());
        let needs_results = stages.iter().any(|stage| *stage != Stage::Validate);
        let results = if needs_results { lay_out_results(project, &context, &generations)? } else { Vec::new() };
        let mut process_stages = Vec::new();
        let mut running = BTreeMap::new();
        if stages.contains(&Stage::Store)
            && let Some(database) = database
        {
            let part = context.part();
            let stage = store_stage(project, &part, database, runtime, &streams, &results, &generations);
            let stage = StoreStage { group: group(store::NAME), accepts_loss: how.accepts_loss, ..stage };
            runtime.block_on(stage.prepare())?;
            let sharing = stage.sharing();
            let threads = vec![spawn_shared(&part, store::NAME, sharing, move |share| stage.run_epoch(share))?];
            running.insert(Stage::Store, RunningStage { stop: part.stop, threads });
        }
        if stages.contains(&Stage::Process) {
            let part = context.part();
            let own = of_queries(&results);
            let mut threads = Vec::new();
            match project.engine {
                Engine::Local => {
                    let own_url = database.map(|database| database.url.as_str());
                    let watchers = references::start(project, &part, own_url, &own, &snapshots, runtime)?;
                    let feeds = watchers.iter().map(|watcher| (watcher.table.clone(), watcher.feed())).collect();
                    for mut watcher in watchers {
                        let name = watcher.name.clone();
                        threads.push(spawn(&part, &name, move || watcher.run())?);
                    }
                    let stage = process_stage(project, &part, &streams, &own, feeds, &generations, snapshots.clone());
                    let group = group(process::NAME);
                    for stage in (ProcessStage { group, accepts_loss: how.accepts_loss, ..stage }).split() {
                        let (name, sharing) = (stage.name.clone(), stage.sharing());
                        threads.push(spawn_shared(&part, &name, sharing, move |share| stage.run_epoch(share))?);
                        process_stages.push(name);
                    }
                }
                Engine::Spark => {
                    let stage = SparkStage::new(project, &part, runtime, how.work, &streams, &own, snapshots.clone())?;
                    let sharing = stage.sharing(group(process::NAME));
                    threads.push(spawn_shared(&part, process::NAME, sharing, move |share| stage.run_epoch(share))?);
                    process_stages.push(process::NAME.to_owned());
                }
            }
            running.insert(Stage::Process, RunningStage { stop: part.stop, threads });
        }
        let mut pattern_stages = Vec::new();
        if stages.contains(&Stage::Patterns)
            && let Some(stage) = patterns_stage(project, &context.part(), &streams, &results, &generations, snapshots)
        {
            let stage = PatternsStage { group: group(patterns::NAME), accepts_loss: how.accepts_loss, ..stage };
            running.insert(Stage::Patterns, start_patterns(stage, &mut pattern_stages)?);
        }
        if stages.contains(&Stage::Validate) {
            running.insert(Stage::Validate, start_validation(project, &context.part(), &streams, how)?);
        }
        let intake = context.part();
        Ok(Self {
            context,
            intake,
            streams,
            results,
            generations,
            process_stages,
            pattern_stages,
            intake_threads: Vec::new(),
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

/// Starts the patterns stage and those that fill generations; adds their names.
fn start_patterns(stage: PatternsStage, names: &mut Vec<String>) -> Result<RunningStage> {
    let (stop, mut threads) = (stage.context.stop.clone(), Vec::new());
    for stage in stage.split() {
        let (part, name, sharing) = (stage.context.clone(), stage.name.clone(), stage.sharing());
        threads.push(spawn_shared(&part, &name, sharing, move |share| stage.run_epoch(share))?);
        names.push(name);
    }
    Ok(RunningStage { stop, threads })
}

/// Starts the validation of each stream.
fn start_validation(
    project: &Project,
    context: &Context,
    streams: &[PipelineStream],
    how: StartOptions,
) -> Result<RunningStage> {
    let mut threads = Vec::new();
    for (stream, settings) in streams.iter().zip(&project.streams) {
        let stage = validate_stage(project, context, stream, settings);
        let group = how.is_shared.then(|| sharing::group(project, &stage.name));
        let stage = ValidateStage { group, accepts_loss: how.accepts_loss, ..stage };
        let (name, sharing) = (stage.name.clone(), stage.sharing());
        threads.push(spawn_shared(context, &name, sharing, move |share| stage.run_epoch(share))?);
    }
    Ok(RunningStage { stop: context.stop.clone(), threads })
}

/// Makes the streams' topics and registers their schemas.
pub(crate) fn lay_out_streams(project: &Project, context: &Context) -> Result<Vec<PipelineStream>> {
    let admin = Admin::new(&context.connection)?;
    let prefix = &project.settings.connections.kafka.topic_prefix;
    let mut streams = Vec::new();
    let mut specs = Vec::new();
    for stream in &project.streams {
        let topics = StreamTopics::of(prefix, &stream.name, stream.partitions);
        specs.extend(topics.specs(i32::from(stream.replication), &topic_config(stream)));
        streams.push((stream, topics));
    }
    admin.create_topics(&specs)?;
    let mut laid_out = Vec::new();
    for (stream, topics) in streams {
        topics.check(&admin)?;
        laid_out.push(PipelineStream::register(stream, topics, &*context.schemas)?);
    }
    Ok(laid_out)
}

/// The project's process stage on Apache Spark, with topics and schemas made.
///
/// # Errors
/// Those of Kafka, the registry and the snapshot store.
pub(crate) fn spark_stage(project: &Project, context: &Context, runtime: &Handle, work: Work) -> Result<SparkStage> {
    let streams = lay_out_streams(project, context)?;
    let snapshots = Arc::new(SnapshotStore::open(&project.snapshot_dir().to_string_lossy())?);
    let results = lay_out_results(project, context, &Generations::new(snapshots.clone()))?;
    SparkStage::new(project, context, runtime, work, &streams, &of_queries(&results), snapshots)
}

/// What a project has in Kafka.
#[derive(Debug)]
pub(crate) struct KnownTopics {
    /// Name and topics of each stream.
    pub(crate) streams: Vec<(String, StreamTopics)>,
    pub(crate) results: Vec<ResultTopic>,
}

/// The topics of a project's streams and of the results that its views show, without making any. A query that never ran has no result.
///
/// # Errors
/// Those of the snapshot store.
pub(crate) fn known_topics(project: &Project) -> Result<KnownTopics> {
    let prefix = &project.settings.connections.kafka.topic_prefix;
    let topics = |stream: &Stream| (stream.name.clone(), StreamTopics::of(prefix, &stream.name, stream.partitions));
    let snapshots = Arc::new(SnapshotStore::open(&project.snapshot_dir().to_string_lossy())?);
    let results = Generations::new(snapshots).shown_results(project, prefix)?;
    Ok(KnownTopics { streams: project.streams.iter().map(topics).collect(), results })
}

/// Streams with their schemas registered, and results in their first generation, for a pipeline whose topics are in memory.
///
/// # Errors
/// Those of the registry; a query that reads no stream.
pub(crate) fn lay_out_in_memory(
    project: &Project,
    schemas: &dyn Schemas,
) -> Result<(Vec<PipelineStream>, Vec<ResultTopic>)> {
    let prefix = &project.settings.connections.kafka.topic_prefix;
    let mut streams = Vec::new();
    for stream in &project.streams {
        let topics = StreamTopics::of(prefix, &stream.name, stream.partitions);
        streams.push(PipelineStream::register(stream, topics, schemas)?);
    }
    let mut results = Vec::new();
    for query in &project.queries {
        let partitions = first_stream(project, query)?.partitions;
        results.push(ResultTopic::of(prefix, Run::first(query.clone()), partitions)?);
    }
    results.extend(pattern_limits(project, prefix)?.map(|(_, limits)| limits));
    Ok((streams, results))
}

/// Where it is recorded what patterns give up, with the stream whose retention it has; `None` in a project without patterns.
fn pattern_limits<'p>(project: &'p Project, prefix: &str) -> Result<Option<(&'p Stream, ResultTopic)>> {
    let Some(pattern) = project.queries.iter().find(|query| query.pattern.is_some()) else { return Ok(None) };
    let result = ResultTopic::of(prefix, Run::first(Arc::new(project::pattern_limits::query())), 1)?;
    Ok(Some((first_stream(project, pattern)?, result)))
}

/// Settles the generations of queries and patterns, and makes the topics of those that run.
fn lay_out_results(project: &Project, context: &Context, generations: &Generations) -> Result<Vec<ResultTopic>> {
    let prefix = &project.settings.connections.kafka.topic_prefix;
    let mut results = generations.settle(project, prefix)?;
    // Apache Spark runs one generation at a time.
    let at_once = |result: &ResultTopic| !result.is_pattern() && project.engine == Engine::Spark;
    generations.take_over_at_once(&mut results, at_once)?;
    let mut specs = Vec::new();
    for result in &results {
        let stream = first_stream(project, &result.query)?;
        specs.push(result.spec(i32::from(stream.replication), &topic_config(stream)));
    }
    if let Some((stream, limits)) = pattern_limits(project, prefix)? {
        specs.push(limits.spec(i32::from(stream.replication), &topic_config(stream)));
        results.push(limits);
    }
    Admin::new(&context.connection)?.create_topics(&specs)?;
    Ok(results)
}

fn topic_config(stream: &Stream) -> BTreeMap<String, String> {
    let mut config = stream.topic_properties.clone();
    config.entry("retention.ms".to_owned()).or_insert_with(|| stream.retention.retention_ms().to_string());
    config
}

fn validate_stage(project: &Project, context: &Context, stream: &PipelineStream, settings: &Stream) -> ValidateStage {
    ValidateStage {
        context: context.clone(),
        topics: stream.topics.clone(),
        rules: Arc::new(stream_rules(project, stream, settings)),
        idle_timeout: settings.idle_timeout.0,
        max_skew: settings.max_skew.0,
        name: validate::name_of(&stream.name),
        group: None,
        accepts_loss: false,
    }
}

/// What a stream's records are judged by.
pub(crate) fn stream_rules(project: &Project, stream: &PipelineStream, settings: &Stream) -> StreamRules {
    let rules = settings
        .rules
        .iter()
        .map(|rule| Rule { name: rule.name.clone(), text: rule.text.clone(), condition: rule.condition.clone() })
        .collect();
    StreamRules {
        stream: stream.name.clone(),
        schema: stream.schema.clone(),
        schema_id: stream.validated_schema_id,
        event_time: settings.event_time.clone(),
        id: settings.id.clone(),
        duplicates: settings.duplicates.as_ref().map(|duplicates| duplicate_rules(project, duplicates)),
        lateness: settings.lateness.0,
        future_skew: settings.future_skew.0,
        unknown_schema_grace: settings.unknown_schema_grace.0,
        rules,
    }
}

fn duplicate_rules(project: &Project, duplicates: &project::settings::Duplicates) -> DuplicateRules {
    DuplicateRules {
        within: duplicates.within.0,
        memory_bytes_max: usize::try_from(duplicates.memory.0).unwrap_or(usize::MAX),
        disk: Some(DuplicatesDisk { directory: project.data_dir.join("spill"), bytes_max: duplicates.disk.0 }),
    }
}

fn process_stage(
    project: &Project,
    context: &Context,
    streams: &[PipelineStream],
    results: &[ResultTopic],
    references: BTreeMap<String, Arc<Feed>>,
    generations: &Generations,
    snapshots: Arc<SnapshotStore>,
) -> ProcessStage {
    let settings = &project.settings.process;
    ProcessStage {
        context: context.clone(),
        name: process::NAME.to_owned(),
        plan: Arc::new(process_plan(project, streams, results, BTreeMap::new())),
        references,
        generations: generations.clone(),
        snapshots,
        batch_interval: settings.batch_interval.0,
        checkpoint_interval: settings.checkpoint_interval.0.max(Duration::from_millis(100)),
        group: None,
        leads: true,
        accepts_loss: false,
    }
}

/// What the process stage works out, with these reference tables.
pub(crate) fn process_plan(
    project: &Project,
    streams: &[PipelineStream],
    results: &[ResultTopic],
    references: BTreeMap<String, Arc<ReferenceData>>,
) -> ProcessPlan {
    let results = of_queries(results);
    let bytes_max = usize::try_from(project.settings.process.state_limit.0).unwrap_or(usize::MAX);
    ProcessPlan {
        pipeline: project.name.clone(),
        streams: streams_of(streams, &results),
        results,
        references,
        state_bytes_max: bytes_max,
        spill: match project.settings.process.state_overflow {
            StateOverflow::Spill => Some(Spill { directory: project.data_dir.join("spill").into(), bytes_max }),
            StateOverflow::Pause => None,
        },
        parts_from_groups: OperatorOptions::default().parts_from_groups,
    }
}

/// The results of queries, which the process stage works out.
fn of_queries(results: &[ResultTopic]) -> Vec<ResultTopic> {
    let is_own = |result: &&ResultTopic| !result.is_pattern() && result.query.name != project::pattern_limits::NAME;
    results.iter().filter(is_own).cloned().collect()
}

/// The streams that these results are made from.
pub(crate) fn streams_of(streams: &[PipelineStream], results: &[ResultTopic]) -> Vec<ProcessStream> {
    let read = streams.iter().filter(|stream| results.iter().any(|result| result.query.reads(&stream.name)));
    let stream = |stream: &PipelineStream| ProcessStream {
        name: stream.name.clone(),
        topics: stream.topics.clone(),
        schema: stream.schema.clone(),
    };
    read.map(stream).collect()
}

/// The stage of the project's patterns; `None` if it has none.
fn patterns_stage(
    project: &Project,
    context: &Context,
    streams: &[PipelineStream],
    results: &[ResultTopic],
    generations: &Generations,
    snapshots: Arc<SnapshotStore>,
) -> Option<PatternsStage> {
    let settings = &project.settings.process;
    Some(PatternsStage {
        context: context.clone(),
        name: patterns::NAME.to_owned(),
        plan: Arc::new(PatternPlan::of(project, streams, results)?),
        generations: generations.clone(),
        snapshots,
        batch_interval: settings.batch_interval.0,
        checkpoint_interval: settings.checkpoint_interval.0.max(Duration::from_millis(100)),
        group: None,
        leads: true,
        accepts_loss: false,
    })
}

fn store_stage(
    project: &Project,
    context: &Context,
    database: &Database,
    runtime: &Handle,
    streams: &[PipelineStream],
    results: &[ResultTopic],
    generations: &Generations,
) -> StoreStage {
    StoreStage {
        context: context.clone(),
        store: database.store.clone(),
        runtime: runtime.clone(),
        streams: streams.iter().map(|stream| (stream.name.clone(), stream.topics.clone())).collect(),
        results: results.iter().filter(|result| result.query.options.table).cloned().collect(),
        generations: generations.clone(),
        group: None,
        batch_rows: usize::try_from(project.settings.store.batch_rows).unwrap_or(50_000),
        accepts_loss: false,
    }
}
