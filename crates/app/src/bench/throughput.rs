//! A preloaded raw topic through to PostgreSQL: validation, queries, result topics, tables.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ingest::generate::PaymentsOptions;
use model::{Clock, SystemClock};
use serde::Serialize;

use super::example::{Example, Queries, Systems};
use super::{Plan, machine};
use crate::error::{Error, Result};
use crate::run::drain;
use crate::run::generate::GenerateTask;
use crate::run::layout::PipelineStream;
use crate::run::pipeline::{Pipeline, Stage};
use crate::run::results::ResultTopic;
use crate::run::{patterns, process};

/// Event times lie as if payments had come at this rate, which gives windows their usual size.
const EVENT_RATE_PER_S: u64 = 3_000;
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How much to preload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ThroughputOptions {
    pub(crate) records: u64,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Throughput {
    /// The aggregating queries alone.
    pub(crate) aggregates: Drained,
    /// With a row for each payment.
    pub(crate) with_rows: Drained,
    /// The patterns alone.
    pub(crate) patterns: Drained,
}

/// One drain.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Drained {
    pub(crate) records: u64,
    /// Records that were accepted; all of them, or the figure is worth nothing.
    pub(crate) validated: u64,
    /// Rows in PostgreSQL at the end, in all tables.
    pub(crate) rows: u64,
    /// From the start of the stages until everything is in PostgreSQL.
    pub(crate) seconds: f64,
    pub(crate) records_per_s: f64,
    /// From the start of the stages until the last verdict.
    pub(crate) validated_after_s: f64,
    /// From the start of the stages until the queries had published everything.
    pub(crate) processed_after_s: f64,
    /// Rate of filling the raw topic before, for comparison.
    pub(crate) preloaded_per_s: f64,
    /// Processor time of this process per second: broker, registry, stages.
    pub(crate) process_cores: f64,
    /// Records per second of this process's processor time, which other work on the machine hardly changes.
    pub(crate) records_per_process_cpu_s: f64,
    /// Processor time of the whole machine per second, PostgreSQL and other work included.
    pub(crate) machine_cores: f64,
    pub(crate) resident_bytes_max: u64,
}

/// Measures both drains, each on a copy of its own.
pub(crate) fn measure(plan: &Plan, options: &ThroughputOptions) -> Result<Throughput> {
    Ok(Throughput {
        aggregates: measure_one(plan, options, Queries::Aggregates)?,
        with_rows: measure_one(plan, options, Queries::All)?,
        patterns: measure_one(plan, options, Queries::Patterns)?,
    })
}

fn measure_one(plan: &Plan, options: &ThroughputOptions, queries: Queries) -> Result<Drained> {
    let which = match queries {
        Queries::All => "all queries",
        Queries::Aggregates => "the aggregating queries",
        Queries::Patterns => "the patterns",
    };
    eprintln!("throughput: {} payments through {which}", options.records);
    Example::new(plan, queries)?.with_systems(|systems| {
        let clock = SystemClock::new();
        let started = clock.elapsed();
        systems.with_stages(&[], |pipeline| preload(pipeline, options.records))?;
        let preload = clock.elapsed().saturating_sub(started).as_secs_f64().max(0.001);
        let usage = machine::Usage::start(&clock);
        systems.with_stages(&Stage::ALL, |pipeline| {
            let (validated_after_s, processed_after_s) = drain_and_watch(pipeline, &clock, usage.at())?;
            let used = usage.stop(&clock);
            Ok(Drained {
                seconds: used.seconds,
                records_per_s: options.records as f64 / used.seconds,
                validated_after_s,
                processed_after_s,
                preloaded_per_s: options.records as f64 / preload,
                process_cores: used.process_cores,
                records_per_process_cpu_s: options.records as f64 / (used.process_cores * used.seconds).max(0.01),
                machine_cores: used.machine_cores,
                resident_bytes_max: machine::resident_bytes("self").1,
                ..count(systems, pipeline)?
            })
        })
    })
}

/// Fills the raw topic with good payments whose event times end now.
fn preload(pipeline: &Pipeline, records: u64) -> Result<()> {
    let stream: &PipelineStream =
        pipeline.streams.first().ok_or_else(|| Error::Internal("the example has no stream".to_owned()))?;
    let options =
        PaymentsOptions { late_share: 0.0, duplicate_share: 0.0, invalid_share: 0.0, ..PaymentsOptions::default() };
    let task = GenerateTask::new(pipeline.context.clone(), stream.clone(), EVENT_RATE_PER_S, options)?;
    if task.backfill(records)? < records {
        return Err(Error::Unavailable("stopped while the raw topic was filled".to_owned()));
    }
    Ok(())
}

/// Waits until all is in PostgreSQL; gives the seconds from `started` until all was validated, and all results were published.
fn drain_and_watch(pipeline: &Pipeline, clock: &dyn Clock, started: Duration) -> Result<(f64, f64)> {
    let stream = pipeline.streams.first().ok_or_else(|| Error::Internal("the example has no stream".to_owned()))?;
    let raw = model::TopicPartition::new(stream.topics.raw.as_str(), 0);
    let reader = kafka::Reader::new(&pipeline.context.connection, &kafka::ReaderOptions::default())?;
    let mut wanted = 0;
    for partition in 0..stream.topics.partitions {
        wanted += reader.range(&model::TopicPartition { partition, ..raw.clone() })?.1;
    }
    let has_patterns = pipeline.results.iter().any(ResultTopic::is_pattern);
    let last = if has_patterns { patterns::NAME } else { process::NAME };
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let since = || clock.elapsed().saturating_sub(started).as_secs_f64();
            let (mut validated, mut processed) = (None, None);
            while !is_over.load(Ordering::Relaxed) && processed.is_none() {
                let status = &pipeline.context.status;
                if validated.is_none()
                    && status.validated(&stream.name).iter().map(|progress| progress.raw_offset).sum::<i64>() >= wanted
                {
                    validated = Some(since());
                }
                if status.drained(last).is_some() {
                    processed = Some(since());
                }
                std::thread::sleep(LOOK_EVERY);
            }
            (validated.unwrap_or(0.0), processed.unwrap_or(0.0))
        });
        let drained = drain::drain(pipeline, &mut |_| Ok(()));
        is_over.store(true, Ordering::Relaxed);
        let watched = watching.join().map_err(|_| Error::Internal("the watch panicked".to_owned()))?;
        drained.map(|()| watched)
    })
}

/// What is there now; the figures are filled in by the caller.
fn count(systems: &Systems, pipeline: &Pipeline) -> Result<Drained> {
    let summary = drain::summarize(&systems.project.name, pipeline, &systems.database, systems.runtime.handle())?;
    Ok(Drained {
        records: summary.raw,
        validated: summary.validated,
        rows: summary.tables.values().sum(),
        seconds: 0.0,
        records_per_s: 0.0,
        validated_after_s: 0.0,
        processed_after_s: 0.0,
        preloaded_per_s: 0.0,
        process_cores: 0.0,
        records_per_process_cpu_s: 0.0,
        machine_cores: 0.0,
        resident_bytes_max: 0,
    })
}
