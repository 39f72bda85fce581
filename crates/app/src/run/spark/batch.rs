//! A drain on Spark: each query once, as a batch over all validated records that are there.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka::{Reader, ReaderOptions};
use model::TopicPartition;
use model::progress::stream_watermark_us;
use spark::Session;
use spark::print::{Read, batch_write};

use super::{NAME, SparkStage, plan};
use crate::error::Result;
use crate::run::results::ResultTopic;
use crate::run::status::Drained;

const POLL: Duration = Duration::from_millis(20);

/// Waits for drains and works them off until the stop switch is thrown.
pub(super) fn run(stage: &SparkStage) -> Result<()> {
    let mut session = stage.place.drain_session()?;
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
    let stream = &stage.stream_of(result)?.stream;
    let reader = Reader::new(&stage.context.connection, &ReaderOptions::default())?;
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    for number in 0..stream.topics.partitions {
        let partition = TopicPartition::new(stream.topics.validated.as_str(), number);
        let (start, _) = reader.range(&partition)?;
        starts.push(start);
        ends.push(up_to.get(&partition).copied().unwrap_or(start));
    }
    let progress = stage.context.status.validated(&stream.name);
    let is_complete = progress.len() == ends.len();
    let watermark_us = stream_watermark_us(progress.iter().map(|progress| progress.watermark_us));
    let read = Read::Batch { starts, ends, watermark_us: watermark_us.filter(|_| is_complete) };
    let plan = plan::plan(stage, result, &read)?;
    tracing::info!(query = result.query.name, "Apache Spark works the query out");
    stage.place.runtime.block_on(session.write(batch_write(plan.printed, &plan.sink)))?;
    Ok(())
}
