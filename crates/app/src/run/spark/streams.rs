//! Streaming queries on Spark: started or found again by name, watched, stopped.

use std::collections::BTreeMap;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use model::{Classified as _, Retry, TopicPartition};
use spark::Session;
use spark::client::RunningQuery;
use spark::print::{Input, Read, ReferenceRows, StreamTrigger, stream_write};

use super::names::QueryName;
use super::plan::{self, Plan};
use super::rebuilds::Rebuilds;
use super::tables::{self, LastLoads, Loads};
use super::watch::{self, Watched};
use super::{NAME, SparkStage, SparkStream, queries, real_time};
use crate::error::{Error, Result};
use crate::run::results::ResultTopic;
use crate::run::sharing::Share;

/// How often Spark is asked how the queries are.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);
/// How long a stage that is stopped waits for its queries to stop: less than the pipeline waits for the stage.
const STOP_WITHIN: Duration = Duration::from_secs(14);
/// How long one that can't go on does.
const FAILED_WITHIN: Duration = Duration::from_secs(120);

/// Starts what isn't running yet and watches it until the stop switch is thrown, a query fails, or another process is to watch them. They have
/// new rows of the tables that they join.
pub(super) fn run(stage: &SparkStage, share: &mut Share) -> Result<()> {
    let mut session = stage.place.streaming_session()?;
    let mut queries: Vec<Watched<'_>> = Vec::new();
    loop {
        let loads = stage.tables.newest();
        let mut started = start(stage, &mut session, &loads)?;
        // What is known of those that run on is kept.
        for watched in &mut started {
            if let Some(at) = queries.iter().position(|before| before.is(watched)) {
                *watched = queries.swap_remove(at);
            }
        }
        queries = started;
        if !watch_until_tables_change(stage, &mut session, share, &mut queries, &loads)? {
            return Ok(());
        }
    }
}

/// Ends all queries once the stage is over, as the local engine does it: nothing runs on that nobody watches. That isn't so if it is worth
/// another try, or if another process is to watch them.
pub(super) fn end(stage: &SparkStage, share: &Share, watched: Result<()>) -> Result<()> {
    let is_tried_again = watched.as_ref().err().is_some_and(|error| error.retry() == Retry::Backoff);
    if (is_tried_again && !stage.context.stop.is_set()) || share.partitions().is_empty() {
        return watched;
    }
    if let (Err(error), false) = (&watched, is_tried_again) {
        stage.context.status.set_trouble(NAME, Some(error.to_string()));
    }
    let stopped = stop_soon(stage);
    if let Err(error) = &stopped {
        tracing::warn!(%error, "not all queries on Apache Spark could be stopped; `tillstream spark stop` stops those that run on");
    }
    watched.and(stopped)
}

/// Stops all queries, on a thread of its own, so that a Spark that hangs holds nobody for ever.
fn stop_soon(stage: &SparkStage) -> Result<()> {
    let (done, stopped) = sync_channel(1);
    let (place, snapshots) = (stage.place.clone(), stage.snapshots.clone());
    let stop = move || {
        let session = place.streaming_session();
        // Who waits may have gone.
        drop(done.send(session.and_then(|mut session| queries::stop(&place, &mut session, &snapshots).map(drop))));
    };
    let thread = std::thread::Builder::new().name("spark-stop".to_owned()).spawn(stop);
    thread.map_err(|error| Error::system("starting the thread that stops queries", error))?;
    let within = if stage.context.stop.is_set() { STOP_WITHIN } else { FAILED_WITHIN };
    let late = || Error::Unavailable(format!("Apache Spark has not stopped them in {} s", within.as_secs()));
    stopped.recv_timeout(within).map_err(|_| late())?
}

/// False if the queries are to be watched no longer.
fn watch_until_tables_change(
    stage: &SparkStage,
    session: &mut Session,
    share: &mut Share,
    queries: &mut [Watched<'_>],
    loads: &Loads,
) -> Result<bool> {
    while !stage.context.stop.wait(WATCH_INTERVAL) && !share.has_changed()? {
        for at in 0..queries.len() {
            let Some(watched) = queries.get_mut(at) else { break };
            let Err(error) = watched.watch(stage, session) else { continue };
            if matches!(error, Error::Position(_)) {
                let topics = watched.topics.clone();
                note_rebuilds(stage, queries, &topics)?;
            }
            return Err(error);
        }
        stage.context.status.set_published(&published(queries), &BTreeMap::new());
        // One that was started again may fail again: a trouble is over when each has done a batch.
        if queries.iter().all(Watched::has_reported) {
            stage.is_up();
        }
        if stage.tables.have_changed(loads) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Where Spark has dropped rows of one query, those that read one of its topics are built anew: they drop the same rows, if they haven't yet.
fn note_rebuilds(stage: &SparkStage, queries: &[Watched<'_>], topics: &[String]) -> Result<()> {
    let mut readers = queries.iter().filter(|watched| topics.iter().any(|topic| watched.reads(topic)));
    readers.try_for_each(|watched| Rebuilds::note(&stage.snapshots, &watched.name))
}

/// Up to where all queries of a stream have published.
fn published(queries: &[Watched<'_>]) -> Vec<(TopicPartition, i64)> {
    let mut least: BTreeMap<TopicPartition, i64> = BTreeMap::new();
    for (partition, &at) in queries.iter().flat_map(|watched| &watched.positions) {
        least.entry(partition.clone()).and_modify(|known| *known = at.min(*known)).or_insert(at);
    }
    let has_all = |partition: &TopicPartition| {
        let mut readers = queries.iter().filter(|watched| watched.reads(&partition.topic));
        readers.all(|watched| watched.positions.contains_key(partition))
    };
    least.into_iter().filter(|(partition, _)| has_all(partition)).collect()
}

/// Starts each query that doesn't run with the plan that it has now, and with these rows; one that runs with another plan goes on from its
/// checkpoint. Gives less than all if the stop switch is thrown meanwhile.
pub(super) fn start<'a>(stage: &'a SparkStage, session: &mut Session, loads: &Loads) -> Result<Vec<Watched<'a>>> {
    let rows = tables::rows(loads);
    let rebuilds = Rebuilds::load(&stage.snapshots)?;
    let mut running: Vec<(QueryName, RunningQuery)> = queries::running(&stage.place, session)?;
    let mut found = Vec::new();
    for result in &stage.results {
        let plan = plan_of(stage, result, &rows)?;
        let name = name_of(result, &plan, &rebuilds);
        let at = running.iter().position(|(running, _)| *running == name);
        found.push((result, plan, at.map(|at| running.swap_remove(at))));
    }
    // What is left has another plan, is of an earlier generation, or of a query that the project no longer has.
    for (name, query) in running {
        tracing::info!(query = %name.lasting(), "stopped on Apache Spark: the project no longer has it, or has changed it");
        watch::end(&stage.place, &stage.snapshots, session, &query, &name)?;
    }
    if found.iter().any(|(result, _, running)| running.is_none() && real_time::is_wanted(stage, result)) {
        real_time::check(stage, session)?;
    }
    // Ending one may have shown that it must be built anew.
    let rebuilds = Rebuilds::load(&stage.snapshots)?;
    let mut last = LastLoads::read(&stage.snapshots)?;
    let names: Vec<String> = found.iter().map(|(result, plan, _)| name_of(result, plan, &rebuilds).lasting()).collect();
    last.retain(&names)?;
    let mut queries = Vec::new();
    for (result, plan, found) in found {
        let topics = stage.streams_of(result).map(|known| known.stream.topics.validated.clone()).collect();
        let (name, query) = match found {
            Some((name, query)) => {
                tracing::info!(query = %name.lasting(), "found running on Apache Spark");
                (name, query)
            }
            None => {
                let name = name_of(result, &plan, &rebuilds);
                let others = last.others(&name.lasting(), &result.query, loads, &stage.tables)?;
                if let Some(others) = others
                    && !finish(stage, session, result, &others, &name)?
                {
                    return Ok(queries);
                }
                last.keep(&name.lasting(), &result.query, loads)?;
                let query = start_one(stage, session, result, plan, &name, Runs::On)?;
                tracing::info!(query = %name.lasting(), "started on Apache Spark");
                (name, query)
            }
        };
        queries.push(Watched::new(result, name, query, topics));
    }
    Ok(queries)
}

/// Has Spark finish what it broke off when a query was stopped, with the rows that the query ran with. False if the stop switch was thrown
/// before it had.
fn finish(
    stage: &SparkStage,
    session: &mut Session,
    result: &ResultTopic,
    rows: &BTreeMap<String, ReferenceRows>,
    name: &QueryName,
) -> Result<bool> {
    let plan = plan_of(stage, result, rows)?;
    let name = QueryName { digest: plan.digest.clone(), ..name.clone() };
    let query = start_one(stage, session, result, plan, &name, Runs::UntilItIsDone)?;
    tracing::info!(query = %name.lasting(), "finishes on Apache Spark what it began with earlier rows of reference tables");
    let interval_ms = i64::try_from(WATCH_INTERVAL.as_millis()).unwrap_or(i64::MAX);
    while !stage.place.runtime.block_on(session.wait(&query, interval_ms))? {
        stage.context.status.step(NAME);
        if stage.context.stop.is_set() {
            watch::end(&stage.place, &stage.snapshots, session, &query, &name)?;
            return Ok(false);
        }
    }
    let dropped: u64 = watch::reports(&stage.place, session, &query)?.iter().map(spark::Progress::rows_dropped).sum();
    if dropped > 0 {
        Rebuilds::note(&stage.snapshots, &name)?;
        return Err(watch::dropped(&result.query.name, dropped));
    }
    Ok(true)
}

fn plan_of(stage: &SparkStage, result: &ResultTopic, rows: &BTreeMap<String, ReferenceRows>) -> Result<Plan> {
    if real_time::is_wanted(stage, result) {
        return plan::plan(stage, result, rows, &Read::RealTime, |_| Ok(Input::RealTime));
    }
    let input = |known: &SparkStream| {
        Ok(Input::Stream {
            watermark_delay_ms: known.watermark_delay_ms,
            offsets_per_trigger_max: stage.place.settings.offsets_per_trigger.map(u64::from),
        })
    };
    plan::plan(stage, result, rows, &Read::Stream, input)
}

fn name_of(result: &ResultTopic, plan: &Plan, rebuilds: &Rebuilds) -> QueryName {
    let key = QueryName::key(&result.query.name, result.generation);
    QueryName { rebuild: rebuilds.count(&key), key, digest: plan.digest.clone() }
}

/// For how long a query runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runs {
    On,
    UntilItIsDone,
}

fn start_one(
    stage: &SparkStage,
    session: &mut Session,
    result: &ResultTopic,
    plan: Plan,
    name: &QueryName,
    runs: Runs,
) -> Result<RunningQuery> {
    let (prefix, settings) = (stage.place.prefix(), &stage.place.settings);
    let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut checkpoint = format!("{}/{prefix}{}", stage.checkpoints, name.lasting());
    let mut trigger = match settings.real_time.filter(|_| real_time::is_wanted(stage, result)) {
        Some(every) => {
            // What Spark remembers of a query with state is of no use to one without.
            checkpoint.push_str(".real_time");
            StreamTrigger::RealTime(milliseconds(every.0))
        }
        None => StreamTrigger::EachBatch(milliseconds(settings.trigger.0)),
    };
    if runs == Runs::UntilItIsDone {
        trigger = StreamTrigger::AvailableNow;
    }
    let write = stream_write(plan.printed, &plan.sink, &format!("{prefix}{name}"), &checkpoint, trigger);
    Ok(stage.place.runtime.block_on(session.start(write))?)
}
