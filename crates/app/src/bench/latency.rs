//! Open loop: from a payment's intended time of sending until another PostgreSQL session sees its row.
//!
//! The generator keeps its schedule whatever the pipeline does, and without late payments event time is the intended time. So a stall
//! counts for every payment that was due during it. The observer asks for the rows past the first one it lacks of each raw partition,
//! so a row can't slip by however late it is committed; its own pause counts as latency.

use std::time::Duration;

use hdrhistogram::Histogram;
use ingest::generate::PaymentsOptions;
use model::{Clock as _, SystemClock};
use serde::Serialize;
use store::{Store, StoreOptions};

use super::example::{Example, Queries, ROWS, Systems};
use super::hops::{self, Hops};
use super::{Plan, machine};
use crate::error::{Error, Result};
use crate::run::generate::GenerateTask;
use crate::run::pipeline::{Pipeline, Stage};

/// Pause of the observer between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long the last rows are waited for while none comes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longer times count as this one: an hour.
const LONGEST_US: u64 = 3_600_000_000;

/// What load, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LatencyOptions {
    pub(crate) rate_per_s: u64,
    /// Time that is measured.
    pub(crate) duration: Duration,
    /// Time before it at the same rate, whose payments must arrive but aren't in the figures.
    pub(crate) warm_up: Duration,
}

/// What was measured. Times in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Latency {
    pub(crate) rate_per_s: u64,
    pub(crate) duration_s: f64,
    pub(crate) warm_up_s: f64,
    /// Payments sent, with the warm-up.
    pub(crate) sent: u64,
    /// Rows seen, with the warm-up.
    pub(crate) seen: u64,
    /// Payments whose row was not seen.
    pub(crate) lost: u64,
    /// From the intended time of sending to the sight of the row.
    pub(crate) latency_ms: Percentiles,
    /// Where the time went.
    pub(crate) hops: Hops,
    /// Time between two looks of the observer, which counts as latency.
    pub(crate) observer_pause_ms: Percentiles,
    /// Processor time of this process per second: broker, registry, stages, and also generator and observer.
    pub(crate) process_cores: f64,
    /// Processor time of the whole machine per second, PostgreSQL and other work included.
    pub(crate) machine_cores: f64,
    pub(crate) resident_bytes: u64,
}

/// Percentiles of an HDR histogram with three digits, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) count: u64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    #[serde(rename = "p99.9")]
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

/// Durations in microseconds.
#[derive(Debug)]
pub(super) struct Times(Histogram<u64>);

impl Times {
    pub(super) fn new() -> Result<Self> {
        Histogram::new_with_bounds(1, LONGEST_US, 3)
            .map(Self)
            .map_err(|error| Error::Internal(format!("a histogram: {error}")))
    }

    /// Counts a duration; one below zero, as clocks of coarser grain give, counts as zero.
    pub(super) fn add_us(&mut self, duration_us: i64) {
        self.0.saturating_record(u64::try_from(duration_us).unwrap_or(0));
    }

    pub(super) fn percentiles(&self) -> Percentiles {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1_000.0;
        Percentiles {
            count: self.0.len(),
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: self.0.max() as f64 / 1_000.0,
        }
    }
}

/// Measures the latency of row-by-row results.
pub(crate) fn measure(plan: &Plan, options: &LatencyOptions) -> Result<Latency> {
    eprintln!(
        "latency: {} payments a second for {:?} after {:?} of warming up",
        options.rate_per_s, options.duration, options.warm_up
    );
    Example::new(plan, Queries::All)?
        .with_systems(|systems| systems.with_stages(&Stage::ALL, |pipeline| run(systems, pipeline, options)))
}

fn run(systems: &Systems, pipeline: &Pipeline, options: &LatencyOptions) -> Result<Latency> {
    let payments =
        PaymentsOptions { late_share: 0.0, duplicate_share: 0.0, invalid_share: 0.0, ..PaymentsOptions::default() };
    let stream = pipeline.streams.first().ok_or_else(|| Error::Internal("the example has no stream".to_owned()))?;
    let task = GenerateTask::new(pipeline.context.clone(), stream.clone(), options.rate_per_s, payments)?;
    let mut observer = Observer::connect(systems, stream.topics.partitions)?;
    let clock = SystemClock::new();
    let start_us = clock.now_us();
    let usage = machine::Usage::start(&clock);
    let sent = generate_and_observe(systems, pipeline, &task, options.warm_up + options.duration, &mut observer)?;
    let used = usage.stop(&clock);
    let measured_from_us = start_us + i64::try_from(options.warm_up.as_micros()).unwrap_or(0);
    let mut latency = Times::new()?;
    for sight in observer.sights.iter().flatten().flatten().filter(|sight| sight.intended_us >= measured_from_us) {
        latency.add_us(sight.seen_us - sight.intended_us);
    }
    Ok(Latency {
        rate_per_s: options.rate_per_s,
        duration_s: options.duration.as_secs_f64(),
        warm_up_s: options.warm_up.as_secs_f64(),
        sent,
        seen: observer.count,
        lost: sent.saturating_sub(observer.count),
        latency_ms: latency.percentiles(),
        hops: hops::measure(pipeline, stream, &observer.sights, measured_from_us)?,
        observer_pause_ms: observer.pauses.percentiles(),
        process_cores: used.process_cores,
        machine_cores: used.machine_cores,
        resident_bytes: machine::resident_bytes("self").0,
    })
}

/// Generates for `duration` while the observer looks; ends when all rows are seen, or none comes any more. Gives the number sent.
fn generate_and_observe(
    systems: &Systems,
    pipeline: &Pipeline,
    task: &GenerateTask,
    duration: Duration,
    observer: &mut Observer,
) -> Result<u64> {
    let clock = SystemClock::new();
    std::thread::scope(|scope| -> Result<u64> {
        let mut generating = Some(scope.spawn(move || task.run(Some(duration))));
        let mut heard = clock.elapsed();
        let mut sent = None;
        let observed = loop {
            match observer.look(systems, &clock) {
                Ok(true) => heard = clock.elapsed(),
                Ok(false) => {}
                Err(error) => break Err(error),
            }
            if let Some(thread) = generating.take_if(|thread| thread.is_finished()) {
                heard = clock.elapsed();
                sent =
                    Some(thread.join().unwrap_or_else(|_| Err(Error::Internal("the generator panicked".to_owned()))));
            }
            let is_complete = match &sent {
                Some(Ok(sent)) => *sent == observer.count,
                Some(Err(_)) => true,
                None => false,
            };
            if is_complete || pipeline.has_failed() || clock.elapsed().saturating_sub(heard) > PATIENCE {
                break Ok(());
            }
            std::thread::sleep(LOOK_EVERY);
        };
        if generating.is_some() {
            pipeline.context.stop.now();
        }
        observed?;
        sent.unwrap_or_else(|| Err(Error::Unavailable("the pipeline stopped while it was measured".to_owned())))
    })
}

/// A row and when it was seen. Microseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight {
    pub(super) intended_us: i64,
    pub(super) seen_us: i64,
    /// Start of the transaction that wrote the row.
    pub(super) stored_us: i64,
}

/// Sights by raw partition and raw offset; `None` where an earlier row is still to come.
pub(super) type Sights = Vec<Vec<Option<Sight>>>;

/// Another PostgreSQL session that looks for rows.
struct Observer {
    store: Store,
    query: String,
    sights: Sights,
    /// First raw offset of each partition that wasn't seen. All payments of the run are accepted, so that the offsets have no gaps.
    lacking: Vec<i64>,
    partitions: Vec<i32>,
    count: u64,
    looked_at: Option<Duration>,
    pauses: Times,
}

impl Observer {
    fn connect(systems: &Systems, partitions: i32) -> Result<Self> {
        let options =
            StoreOptions { pool_size: 1, application_name: "tillstream bench".to_owned(), ..StoreOptions::default() };
        let store = systems.runtime.block_on(async {
            let store = Store::connect(&systems.database.url, options).await?;
            let client = store.client().await?;
            // The table is empty when the query is planned; it must not be read as a whole once it isn't.
            client.batch_execute("SET enable_seqscan = off").await.map_err(|error| internal(&error))?;
            drop(client);
            Ok::<_, Error>(store)
        })?;
        let query = format!(
            "SELECT row.source_partition, row.source_offset, (extract(epoch FROM row.event_time) * 1000000)::bigint, \
             (extract(epoch FROM row.updated_at) * 1000000)::bigint \
             FROM unnest($1::int[], $2::bigint[]) AS lacking(number, first) \
             JOIN LATERAL (SELECT * FROM results.{ROWS} WHERE source_partition = lacking.number AND source_offset >= lacking.first) AS row \
             ON true"
        );
        let count = usize::try_from(partitions).unwrap_or(0);
        Ok(Self {
            store,
            query,
            sights: vec![Vec::new(); count],
            lacking: vec![0; count],
            partitions: (0..partitions).collect(),
            count: 0,
            looked_at: None,
            pauses: Times::new()?,
        })
    }

    /// Looks for rows; true if there is a new one.
    fn look(&mut self, systems: &Systems, clock: &SystemClock) -> Result<bool> {
        let rows = systems.runtime.block_on(async {
            let client = self.store.client().await?;
            let query = client.prepare_cached(&self.query).await.map_err(|error| internal(&error))?;
            client.query(&query, &[&self.partitions, &self.lacking]).await.map_err(|error| internal(&error))
        })?;
        let (seen_us, now) = (clock.now_us(), clock.elapsed());
        if let Some(before) = self.looked_at.replace(now) {
            self.pauses.add_us(i64::try_from(now.saturating_sub(before).as_micros()).unwrap_or(i64::MAX));
        }
        let before = self.count;
        for row in rows {
            let partition = usize::try_from(row.get::<_, i32>(0)).unwrap_or(usize::MAX);
            let offset = usize::try_from(row.get::<_, i64>(1)).unwrap_or(usize::MAX);
            let Some(sights) = self.sights.get_mut(partition) else { continue };
            if sights.len() <= offset {
                sights.resize(offset + 1, None);
            }
            if let Some(sight @ None) = sights.get_mut(offset) {
                *sight = Some(Sight { intended_us: row.get(2), seen_us, stored_us: row.get(3) });
                self.count += 1;
            }
        }
        for (first, sights) in self.lacking.iter_mut().zip(&self.sights) {
            let from = usize::try_from(*first).unwrap_or(0);
            let new = sights.iter().skip(from).take_while(|sight| sight.is_some()).count();
            *first += i64::try_from(new).unwrap_or(0);
        }
        Ok(self.count > before)
    }
}

fn internal(error: &dyn std::fmt::Display) -> Error {
    Error::Internal(format!("looking for rows: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_in_milliseconds() {
        let mut times = Times::new().unwrap();
        for milliseconds in 1..=1_000 {
            times.add_us(milliseconds * 1_000);
        }
        times.add_us(-5);
        let found = times.percentiles();
        assert_eq!(found.count, 1_001);
        assert!((found.p50 - 500.0).abs() < 2.0 && (found.p99 - 990.0).abs() < 2.0, "{found:?}");
        assert!((found.max - 1_000.0).abs() < 2.0, "{found:?}");
    }
}
