//! Bringing everything that is in the raw topics to its end: verdicts, windows, tables.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka::{Reader, ReaderOptions};
use model::TopicPartition;
use serde::Serialize;
use tokio::runtime::Handle;

use crate::error::{Error, Result};
use crate::run::peers::Database;
use crate::run::pipeline::Pipeline;

const POLL: Duration = Duration::from_millis(20);

/// What a project holds after a drain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    pub(crate) pipeline: String,
    /// Records in the raw topics.
    pub(crate) raw: u64,
    /// Records that were accepted.
    pub(crate) validated: u64,
    /// Records that were rejected, by reason.
    pub(crate) rejected: BTreeMap<String, u64>,
    /// Rows in each result's view.
    pub(crate) tables: BTreeMap<String, u64>,
}

/// Waits until every raw record that is there now has its verdict, every window's content is published, and all of it is stored.
pub(crate) fn drain(pipeline: &Pipeline) -> Result<()> {
    let context = &pipeline.context;
    let reader = Reader::new(&context.connection, &ReaderOptions::default())?;
    let mut validated = BTreeMap::new();
    for stream in &pipeline.streams {
        for number in 0..stream.topics.partitions {
            let raw = TopicPartition::new(stream.topics.raw.as_str(), number);
            let end = reader.range(&raw)?.1;
            let progress = wait(pipeline, || {
                let progress = context.status.validated(&stream.name);
                Ok(progress.into_iter().find(|progress| progress.partition == number && progress.raw_offset >= end))
            })?;
            let partition = TopicPartition::new(stream.topics.validated.as_str(), number);
            validated.insert(partition, progress.validated_offset);
        }
    }
    // A query may start at an offset past the log's first: only streams that a query reads take part.
    let read: Vec<&str> = pipeline.results.iter().map(|result| result.query.stream.as_str()).collect();
    let topics: Vec<&str> = pipeline
        .streams
        .iter()
        .filter(|stream| read.contains(&stream.name.as_str()))
        .map(|stream| stream.topics.validated.as_str())
        .collect();
    validated.retain(|partition, _| topics.contains(&&*partition.topic));
    if !pipeline.results.is_empty() {
        context.status.ask_drain(validated.clone());
        wait(pipeline, || Ok(context.status.drained().filter(|drained| drained.up_to == validated)))?;
    }
    let mut ends = BTreeMap::new();
    let stored = pipeline.results.iter().filter(|result| result.query.options.table);
    let mut topics: Vec<(String, i32)> = stored.map(|result| (result.topic.clone(), result.partitions)).collect();
    for stream in &pipeline.streams {
        topics.push((stream.topics.rejected.clone(), stream.topics.partitions));
        topics.push((stream.topics.progress.clone(), 1));
    }
    for (topic, partitions) in topics {
        for number in 0..partitions {
            let partition = TopicPartition::new(topic.as_str(), number);
            ends.insert(partition.clone(), reader.range(&partition)?.1);
        }
    }
    wait(pipeline, || {
        let stored = context.status.stored();
        let is_behind = ends.iter().any(|(partition, &end)| stored.get(partition).is_none_or(|&at| at < end));
        Ok((!is_behind).then_some(()))
    })
}

/// Asks until there is an answer, or a stage has ended.
fn wait<T>(pipeline: &Pipeline, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if pipeline.has_failed() || pipeline.context.stop.wait(POLL) {
            return Err(Error::Unavailable("the pipeline was stopped before all was processed".to_owned()));
        }
    }
}

/// Counts what the project holds.
pub(crate) fn summarize(name: &str, pipeline: &Pipeline, database: &Database, runtime: &Handle) -> Result<Summary> {
    let mut summary = Summary { pipeline: name.to_owned(), ..Summary::default() };
    let reader = Reader::new(&pipeline.context.connection, &ReaderOptions::default())?;
    for stream in &pipeline.streams {
        for number in 0..stream.topics.partitions {
            let (start, end) = reader.range(&TopicPartition::new(stream.topics.raw.as_str(), number))?;
            summary.raw += u64::try_from(end - start).unwrap_or(0);
        }
        for progress in pipeline.context.status.validated(&stream.name) {
            summary.validated += progress.validated;
            for (reason, count) in progress.rejected {
                *summary.rejected.entry(reason).or_insert(0) += count;
            }
        }
    }
    for result in pipeline.results.iter().filter(|result| result.query.options.table) {
        let name = &result.query.name;
        let rows = runtime.block_on(database.store.query(&format!("SELECT count(*) FROM bi.\"{name}\""), 1))?;
        let count = rows.rows.first().and_then(|row| row.first().cloned().flatten());
        let count = count.and_then(|count| count.parse().ok());
        summary
            .tables
            .insert(name.clone(), count.ok_or_else(|| Error::Internal(format!("bi.{name} can't be counted")))?);
    }
    Ok(summary)
}
