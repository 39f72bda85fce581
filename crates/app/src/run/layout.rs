//! What a project has in Kafka and the registry: topics and schemas of its streams, topics of its results.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka::Admin;
use model::Schemas;
use project::settings::Engine;
use project::{Project, Stream};
use state::SnapshotStore;

use crate::error::Result;
use crate::run::context::Context;
use crate::run::generations::{Generations, Run, first_stream};
use crate::run::results::ResultTopic;
use crate::run::schema_change;
use crate::run::topics::StreamTopics;

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
        let file = project.settings.streams.get(&stream.name).map_or("", |settings| settings.schema.as_str());
        schema_change::check(stream, file, &topics.validated_subject(), &*context.schemas)?;
        laid_out.push(PipelineStream::register(stream, topics, &*context.schemas)?);
    }
    Ok(laid_out)
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

/// Settles the generations of queries and patterns, and makes the topics of those that run.
pub(crate) fn lay_out_results(
    project: &Project,
    context: &Context,
    generations: &Generations,
) -> Result<Vec<ResultTopic>> {
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

/// Where it is recorded what patterns give up, with the stream whose retention it has; `None` in a project without patterns.
fn pattern_limits<'p>(project: &'p Project, prefix: &str) -> Result<Option<(&'p Stream, ResultTopic)>> {
    let Some(pattern) = project.queries.iter().find(|query| query.pattern.is_some()) else { return Ok(None) };
    let result = ResultTopic::of(prefix, Run::first(Arc::new(project::pattern_limits::query())), 1)?;
    Ok(Some((first_stream(project, pattern)?, result)))
}

fn topic_config(stream: &Stream) -> BTreeMap<String, String> {
    let mut config = stream.topic_properties.clone();
    config.entry("retention.ms".to_owned()).or_insert_with(|| stream.retention.retention_ms().to_string());
    config
}
