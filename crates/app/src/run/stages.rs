//! Each stage as the project's settings have it, before it is started.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ::process::{OperatorOptions, ReferenceData, Spill};
use ::validate::{DuplicateRules, DuplicatesDisk, Rule, StreamRules};
use project::settings::StateOverflow;
use project::{Project, Stream};
use state::SnapshotStore;
use tokio::runtime::Handle;

use crate::error::{Error, Result};
use crate::run::context::Context;
use crate::run::generations::Generations;
use crate::run::layout::{PipelineStream, lay_out_results, lay_out_streams};
use crate::run::patterns::{self, PatternPlan, PatternsStage};
use crate::run::peers::{Database, given_postgres_url};
use crate::run::process::{self, ProcessPlan, ProcessStage, ProcessStream};
use crate::run::references::{self, Feed};
use crate::run::results::ResultTopic;
use crate::run::spark::{SparkStage, Work};
use crate::run::store::StoreStage;
use crate::run::validate::{self, ValidateStage};

pub(super) fn validate_stage(
    project: &Project,
    context: &Context,
    stream: &PipelineStream,
    settings: &Stream,
) -> ValidateStage {
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

pub(super) fn process_stage(
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
    ProcessPlan {
        pipeline: project.name.clone(),
        streams: streams_of(streams, &results),
        results,
        references,
        state_bytes_max: state_bytes_max(project),
        spill: spill(project),
        parts_from_groups: OperatorOptions::default().parts_from_groups,
    }
}

/// Memory that the state of a query may take, and that of a pattern in one partition.
pub(super) fn state_bytes_max(project: &Project) -> usize {
    usize::try_from(project.settings.process.state_limit.0).unwrap_or(usize::MAX)
}

/// Where state goes past that; `None` where the input then pauses.
pub(super) fn spill(project: &Project) -> Option<Spill> {
    match project.settings.process.state_overflow {
        StateOverflow::Spill => {
            Some(Spill { directory: project.data_dir.join("spill").into(), bytes_max: state_bytes_max(project) })
        }
        StateOverflow::Pause => None,
    }
}

/// The results of queries, which the process stage works out.
pub(super) fn of_queries(results: &[ResultTopic]) -> Vec<ResultTopic> {
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
pub(super) fn patterns_stage(
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

pub(super) fn store_stage(
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

/// The project's process stage on Apache Spark, with topics and schemas made.
///
/// # Errors
/// Those of Kafka, the registry and the snapshot store.
pub(crate) fn spark_stage(project: &Project, context: &Context, runtime: &Handle, work: Work) -> Result<SparkStage> {
    let streams = lay_out_streams(project, context)?;
    let snapshots = Arc::new(SnapshotStore::open(&project.snapshot_dir().to_string_lossy())?);
    let results = lay_out_results(project, context, &Generations::new(snapshots.clone()))?;
    let results = of_queries(&results);
    let own_url = given_postgres_url(project)?;
    if own_url.is_none() && project.references.iter().any(references::is_own) {
        let message = "a reference table is in the private PostgreSQL, which runs with `tillstream up`: name one in connections.postgres.url";
        return Err(Error::Usage(message.to_owned()));
    }
    let watchers = references::start(project, context, own_url.as_deref(), &results, &snapshots, runtime)?;
    let feeds = references::feeds(&watchers);
    Ok(SparkStage::new(project, context, runtime, work, &streams, &results, snapshots)?.joining(feeds))
}
