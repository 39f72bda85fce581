//! Streaming queries on Spark: started or found again by name, watched, stopped.

use std::collections::BTreeMap;
use std::time::Duration;

use model::TopicPartition;
use spark::client::RunningQuery;
use spark::print::{Read, stream_write};
use spark::{Progress, Session};

use super::{SparkStage, plan};
use crate::error::{Error, Result};
use crate::run::results::ResultTopic;

/// How often Spark is asked how the queries are.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// A query that runs, and what is known of it.
struct Watched<'a> {
    result: &'a ResultTopic,
    query: RunningQuery,
    /// The validated topic that it reads.
    topic: String,
    /// Greatest batch that was seen.
    batch_id: i64,
    /// Next validated offset of each partition.
    positions: BTreeMap<TopicPartition, i64>,
    metrics: process::Metrics,
}

/// Starts what isn't running yet and watches it until the stop switch is thrown or a query fails.
pub(super) fn run(stage: &SparkStage) -> Result<()> {
    let mut session = stage.session(&stage.pipeline)?;
    let mut queries = start(stage, &mut session)?;
    stage.is_up();
    while !stage.context.stop.wait(WATCH_INTERVAL) {
        for watched in &mut queries {
            watch(stage, &mut session, watched)?;
        }
        stage.context.status.set_published(&published(&queries), &BTreeMap::new());
        stage.is_up();
    }
    for watched in &queries {
        stage.runtime.block_on(session.stop(&watched.query))?;
    }
    Ok(())
}

/// Up to where all queries of a stream have published.
fn published(queries: &[Watched<'_>]) -> Vec<(TopicPartition, i64)> {
    let mut least: BTreeMap<TopicPartition, i64> = BTreeMap::new();
    for (partition, &at) in queries.iter().flat_map(|watched| &watched.positions) {
        least.entry(partition.clone()).and_modify(|known| *known = at.min(*known)).or_insert(at);
    }
    let has_all = |partition: &TopicPartition| {
        let mut readers = queries.iter().filter(|watched| *watched.topic == *partition.topic);
        readers.all(|watched| watched.positions.contains_key(partition))
    };
    least.into_iter().filter(|(partition, _)| has_all(partition)).collect()
}

/// The name of a query on Spark: another generation is another query.
fn query_name(stage: &SparkStage, result: &ResultTopic) -> String {
    format!("{}.{}.g{}", stage.pipeline, result.query.name, result.generation)
}

fn start<'a>(stage: &'a SparkStage, session: &mut Session) -> Result<Vec<Watched<'a>>> {
    let mut running: BTreeMap<String, RunningQuery> = BTreeMap::new();
    for query in stage.runtime.block_on(session.active())? {
        running.extend(query.name.clone().map(|name| (name, query)));
    }
    let mut queries = Vec::new();
    for result in &stage.results {
        let name = query_name(stage, result);
        let query = match running.remove(&name) {
            Some(query) => {
                tracing::info!(query = name, "found running on Apache Spark");
                query
            }
            None => {
                let stream = stage.stream_of(result)?;
                let read = Read::Stream {
                    watermark_delay_ms: stream.watermark_delay_ms,
                    offsets_per_trigger_max: stage.settings.offsets_per_trigger.map(u64::from),
                };
                let plan = plan::plan(stage, result, &read)?;
                let checkpoint = format!("{}/{name}", stage.checkpoints);
                let trigger_ms = u64::try_from(stage.settings.trigger.0.as_millis()).unwrap_or(u64::MAX);
                let write = stream_write(plan.printed, &plan.sink, &name, &checkpoint, trigger_ms);
                let query = stage.runtime.block_on(session.start(write))?;
                tracing::info!(query = name, "started on Apache Spark");
                query
            }
        };
        let topic = stage.stream_of(result)?.stream.topics.validated.clone();
        queries.push(Watched {
            result,
            query,
            topic,
            batch_id: -1,
            positions: BTreeMap::new(),
            metrics: process::Metrics::default(),
        });
    }
    // What is left belongs to earlier generations, or to queries that the project no longer has.
    let prefix = format!("{}.", stage.pipeline);
    for (name, query) in running.into_iter().filter(|(name, _)| name.starts_with(&prefix)) {
        tracing::info!(query = name, "stopped on Apache Spark: the project no longer has it");
        stage.runtime.block_on(session.stop(&query))?;
    }
    Ok(queries)
}

/// Takes over what Spark reports; fails with the query's failure.
fn watch(stage: &SparkStage, session: &mut Session, watched: &mut Watched<'_>) -> Result<()> {
    let name = &watched.result.query.name;
    for json in stage.runtime.block_on(session.recent_progress(&watched.query))? {
        let progress = Progress::parse(&json)?;
        if progress.batch_id <= watched.batch_id {
            continue;
        }
        watched.batch_id = progress.batch_id;
        watched.positions.extend(progress.positions());
        if progress.rows_dropped() > 0 {
            return Err(Error::Position(format!(
                "Apache Spark dropped {} rows of the query {name} that came behind its watermark, so its results are short of them: set \
                 spark.watermark_delay to more, or the stream's max_skew to less, and start a new generation of the query",
                progress.rows_dropped()
            )));
        }
        watched.metrics.rows_in += progress.num_input_rows;
        watched.metrics.groups_open = progress.state_rows();
        watched.metrics.state_bytes = progress.state_bytes();
        stage.context.status.set_query(&watched.result.name(), watched.metrics, None);
    }
    if stage.runtime.block_on(session.status(&watched.query))?.is_active {
        return Ok(());
    }
    let failure = stage.runtime.block_on(session.failure(&watched.query))?;
    Err(failure.map_or_else(
        || Error::Unavailable(format!("the query {name} was stopped on Apache Spark; it is started again")),
        Error::from,
    ))
}
