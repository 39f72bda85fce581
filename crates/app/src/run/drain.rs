//! Bringing everything that is in the raw topics to its end: verdicts, results, tables.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka::{Reader, ReaderOptions};
use model::TopicPartition;
use serde::Serialize;
use tokio::runtime::Handle;

use crate::error::{Error, Result};
use crate::run::layout::PipelineStream;
use crate::run::patterns;
use crate::run::peers::Database;
use crate::run::pipeline::{Pipeline, Stage};
use crate::run::results::ResultTopic;

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

/// What a drain waits for: a stage, and the records that it has still to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) stage: Stage,
    pub(crate) records: u64,
}

/// Is told many times a second what a drain waits for; its error ends the drain.
pub(crate) type Watch<'a> = dyn FnMut(Left) -> Result<()> + 'a;

/// Waits until every raw record that is there now has its verdict, every window's content is published, also of windows that are still
/// open, and all of it is stored.
pub(crate) fn drain(pipeline: &Pipeline, watch: &mut Watch<'_>) -> Result<()> {
    let validated = verdicts(pipeline, watch)?;
    published(pipeline, watch, Stage::Process, &pipeline.process_stages, &validated)?;
    published(pipeline, watch, Stage::Patterns, &pipeline.pattern_stages, &validated)?;
    stored(pipeline, watch)?;
    shown(pipeline, watch)
}

/// Waits until these stages have taken the records and published what they have of them.
fn published(
    pipeline: &Pipeline,
    watch: &mut Watch<'_>,
    stage: Stage,
    names: &[String],
    validated: &BTreeMap<TopicPartition, i64>,
) -> Result<()> {
    let status = &pipeline.context.status;
    let up_to = read_by(pipeline, stage, validated);
    if up_to.is_empty() {
        return Ok(());
    }
    names.iter().for_each(|name| status.ask_drain(name, up_to.clone()));
    wait(pipeline, watch, stage, || {
        let is_done = |name: &String| status.drained(name).is_some_and(|drained| drained.up_to == up_to);
        let is_drained = names.iter().all(is_done);
        let taken = if stage == Stage::Process { status.processed() } else { status.matched() };
        // The last step, publishing, isn't counted in records.
        if is_drained { 0 } else { lacking(&up_to, &taken).max(1) }
    })
}

/// As [`drain`], for a pipeline that stops and whose intake is closed: each stage stops once it has taken everything. Windows that are
/// still open stay so; the process stage saves them, and they go on at the next start.
pub(crate) fn wind_down(pipeline: &mut Pipeline, watch: &mut Watch<'_>) -> Result<()> {
    let validated = verdicts(pipeline, watch)?;
    pipeline.stop_stage(Stage::Validate)?;
    let status = pipeline.context.status.clone();
    let up_to = read_by(pipeline, Stage::Process, &validated);
    wait(pipeline, watch, Stage::Process, || lacking(&up_to, &status.processed()))?;
    pipeline.stop_stage(Stage::Process)?;
    // Matches that the last watermark makes certain are published too. A generation that fills goes on at the next start.
    let present: Vec<String> = pipeline.pattern_stages.iter().filter(|name| *name == patterns::NAME).cloned().collect();
    published(pipeline, watch, Stage::Patterns, &present, &validated)?;
    pipeline.stop_stage(Stage::Patterns)?;
    stored(pipeline, watch)?;
    pipeline.stop_stage(Stage::Store)
}

/// Waits until every raw record that is there now has its verdict; gives the validated positions after them.
fn verdicts(pipeline: &Pipeline, watch: &mut Watch<'_>) -> Result<BTreeMap<TopicPartition, i64>> {
    let status = &pipeline.context.status;
    let topics = pipeline.streams.iter().map(|stream| (stream.topics.raw.as_str(), stream.topics.partitions));
    let raw_ends = ends(pipeline, topics)?;
    let progress = || {
        let of_stream = |stream: &PipelineStream| {
            let (raw, validated) = (stream.topics.raw.clone(), stream.topics.validated.clone());
            status.validated(&stream.name).into_iter().map(move |progress| {
                let at = |topic: &str, offset| (TopicPartition::new(topic, progress.partition), offset);
                (at(&raw, progress.raw_offset), at(&validated, progress.validated_offset))
            })
        };
        pipeline.streams.iter().flat_map(of_stream).unzip()
    };
    let mut validated = BTreeMap::new();
    wait(pipeline, watch, Stage::Validate, || {
        let (raw, accepted): (BTreeMap<_, _>, BTreeMap<_, _>) = progress();
        validated = accepted;
        lacking(&raw_ends, &raw)
    })?;
    Ok(validated)
}

/// The positions in streams that queries, or patterns, read. They may start at an offset past the log's first, so the other streams take no
/// part.
fn read_by(
    pipeline: &Pipeline,
    stage: Stage,
    validated: &BTreeMap<TopicPartition, i64>,
) -> BTreeMap<TopicPartition, i64> {
    let is_own = |result: &&ResultTopic| result.is_pattern() == (stage == Stage::Patterns);
    let read: Vec<&str> = pipeline.results.iter().filter(is_own).flat_map(|result| result.query.streams()).collect();
    let topics = pipeline.streams.iter().filter(|stream| read.contains(&stream.name.as_str()));
    let topics: Vec<&str> = topics.map(|stream| stream.topics.validated.as_str()).collect();
    let own = validated.iter().filter(|(partition, _)| topics.contains(&&*partition.topic));
    own.map(|(partition, offset)| (partition.clone(), *offset)).collect()
}

/// Waits until everything that is now in the topics that the store stage reads is in PostgreSQL.
fn stored(pipeline: &Pipeline, watch: &mut Watch<'_>) -> Result<()> {
    let results = pipeline.results.iter().filter(|result| result.query.options.table);
    let results = results.map(|result| (result.topic.as_str(), result.partitions));
    let outputs = pipeline.streams.iter().flat_map(|stream| {
        [(stream.topics.rejected.as_str(), stream.topics.partitions), (stream.topics.progress.as_str(), 1)]
    });
    let ends = ends(pipeline, results.chain(outputs))?;
    wait(pipeline, watch, Stage::Store, || lacking(&ends, &pipeline.context.status.stored()))
}

/// Waits until the views show the new generations. One that PostgreSQL refuses to swap stays with the generation before.
fn shown(pipeline: &Pipeline, watch: &mut Watch<'_>) -> Result<()> {
    let mut failed = Ok(());
    wait(pipeline, watch, Stage::Store, || match pipeline.generations.read() {
        Ok(record) => {
            let refused = pipeline.context.status.refused_views();
            record.filling().filter(|query| !refused.contains(*query)).count() as u64
        }
        Err(error) => {
            failed = Err(error);
            0
        }
    })?;
    failed
}

/// The offset after the last record of each partition.
fn ends<'a>(
    pipeline: &Pipeline,
    topics: impl Iterator<Item = (&'a str, i32)>,
) -> Result<BTreeMap<TopicPartition, i64>> {
    let reader = Reader::new(&pipeline.context.connection, &ReaderOptions::default())?;
    let mut ends = BTreeMap::new();
    for (topic, partitions) in topics {
        for number in 0..partitions {
            let partition = TopicPartition::new(topic, number);
            let end = reader.range(&partition)?.1;
            ends.insert(partition, end);
        }
    }
    Ok(ends)
}

/// Records below `ends` that aren't below `positions`. A partition without a position counts whole, an empty one as one record.
fn lacking(ends: &BTreeMap<TopicPartition, i64>, positions: &BTreeMap<TopicPartition, i64>) -> u64 {
    let of = |(partition, &end): (&TopicPartition, &i64)| match positions.get(partition) {
        Some(&at) => u64::try_from(end - at).unwrap_or(0),
        None => u64::try_from(end).unwrap_or(0).max(1),
    };
    ends.iter().map(of).sum()
}

/// Waits until nothing is left, the watch has had enough, or a stage has ended.
fn wait(pipeline: &Pipeline, watch: &mut Watch<'_>, stage: Stage, mut left: impl FnMut() -> u64) -> Result<()> {
    loop {
        let records = left();
        if records == 0 {
            return Ok(());
        }
        watch(Left { stage, records })?;
        if pipeline.has_failed() || pipeline.context.stop.wait(POLL) {
            return Err(Error::Interrupted("the pipeline was stopped before all was processed".to_owned()));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lacks_is_counted_over_all_partitions() {
        let at = |number, offset| (TopicPartition::new("t", number), offset);
        let ends = BTreeMap::from([at(0, 10), at(1, 5), at(2, 0)]);
        assert_eq!(lacking(&ends, &BTreeMap::new()), 16, "a partition of which nothing is known is waited for");
        assert_eq!(lacking(&ends, &BTreeMap::from([at(0, 4), at(1, 7), at(2, 0)])), 6);
        assert_eq!(lacking(&ends, &BTreeMap::from([at(0, 10), at(1, 5), at(2, 0)])), 0);
    }
}
