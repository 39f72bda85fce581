//! A drain on Spark: each query once, as a batch over all validated records that are there.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka::{Reader, ReaderOptions};
use model::TopicPartition;
use model::progress::stream_watermark_us;
use spark::Session;
use spark::print::{Input, Read, batch_write};

use super::tables::rows;
use super::{NAME, SparkStage, SparkStream, plan};
use crate::error::Result;
use crate::run::layout::PipelineStream;
use crate::run::results::ResultTopic;
use crate::run::status::Drained;
use crate::run::topics::StreamTopics;

const POLL: Duration = Duration::from_millis(20);

/// Waits for drains and works them off until the stop switch is thrown.
pub(super) fn run(stage: &SparkStage) -> Result<()> {
    let mut session = stage.place.own_session()?;
    stage.is_up();
    while !stage.context.stop.wait(POLL) {
        let Some(up_to) = stage.context.status.drain_wanted(NAME) else { continue };
        for result in &stage.results {
            write(stage, &mut session, result, &up_to)?;
            stage.is_up();
        }
        stage.context.status.set_drained(NAME, Drained { up_to });
    }
    Ok(stage.place.runtime.block_on(session.close())?)
}

fn write(
    stage: &SparkStage,
    session: &mut Session,
    result: &ResultTopic,
    up_to: &BTreeMap<TopicPartition, i64>,
) -> Result<()> {
    let reader = Reader::new(&stage.context.connection, &ReaderOptions::default())?;
    let input = |known: &SparkStream| range(&reader, &known.stream.topics, up_to);
    let watermarks = stage.streams_of(result).map(|known| watermark_us(stage, &known.stream));
    // A query's time is the least of its streams'.
    let watermark_us = watermarks.min().flatten();
    let plan = plan::plan(stage, result, &rows(&stage.tables.newest()), &Read::Batch { watermark_us }, input)?;
    tracing::info!(query = result.query.name, "Apache Spark works the query out");
    stage.place.runtime.block_on(session.write(batch_write(plan.printed, &plan.sink)))?;
    Ok(())
}

/// The records of a validated topic up to these offsets.
fn range(reader: &Reader, topics: &StreamTopics, up_to: &BTreeMap<TopicPartition, i64>) -> Result<Input> {
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    for number in 0..topics.partitions {
        let partition = TopicPartition::new(topics.validated.as_str(), number);
        let (start, _) = reader.range(&partition)?;
        starts.push(start);
        ends.push(up_to.get(&partition).copied().unwrap_or(start));
    }
    Ok(Input::Range { starts, ends })
}

/// The watermark of a stream, if each of its partitions is known.
fn watermark_us(stage: &SparkStage, stream: &PipelineStream) -> Option<i64> {
    let progress = stage.context.status.validated(&stream.name);
    let is_complete = i32::try_from(progress.len()) == Ok(stream.topics.partitions);
    stream_watermark_us(progress.iter().map(|progress| progress.watermark_us)).filter(|_| is_complete)
}
