//! The project's queries as they are on Spark now: shown, and stopped.

use serve::BatchNumbers;
use spark::Session;
use spark::client::RunningQuery;
use state::SnapshotStore;

use super::names::QueryName;
use super::place::Place;
use super::watch::{self, batch_numbers, reports};
use crate::error::Result;

/// A query that runs on Spark.
#[derive(Debug, Clone)]
pub(crate) struct QueryState {
    /// The query.
    pub(crate) query: String,
    /// Query and generation.
    pub(crate) name: String,
    /// What it does, in Spark's words.
    pub(crate) doing: String,
    /// Its last micro-batch, after the first.
    pub(crate) batch: Option<BatchNumbers>,
    /// Rows that its last batches dropped for being behind Spark's watermark.
    pub(crate) rows_dropped: u64,
}

/// The project's queries that run.
pub(super) fn running(place: &Place, session: &mut Session) -> Result<Vec<(QueryName, RunningQuery)>> {
    let prefix = place.prefix();
    let ours = |query: RunningQuery| {
        let name = QueryName::parse(query.name.as_deref()?.strip_prefix(&prefix)?)?;
        Some((name, query))
    };
    let mut running: Vec<_> = place.runtime.block_on(session.active())?.into_iter().filter_map(ours).collect();
    running.sort_by(|(a, _), (b, _)| a.key.cmp(&b.key));
    Ok(running)
}

/// How the project's queries that run are.
///
/// # Errors
/// When Spark isn't there.
pub(crate) fn status(place: &Place) -> Result<Vec<QueryState>> {
    let mut session = place.streaming_session()?;
    let mut states = Vec::new();
    for (name, query) in running(place, &mut session)? {
        let doing = place.runtime.block_on(session.status(&query))?.status_message;
        let reports = reports(place, &mut session, &query)?;
        states.push(QueryState {
            query: name.query().to_owned(),
            name: name.lasting(),
            doing,
            batch: reports.last().map(batch_numbers),
            rows_dropped: reports.iter().map(spark::Progress::rows_dropped).sum(),
        });
    }
    Ok(states)
}

/// Stops the project's queries; gives their names. They go on from their checkpoints when they are started again.
///
/// # Errors
/// When Spark isn't there, or doesn't stop one; the others are stopped all the same, then.
pub(crate) fn stop(place: &Place, session: &mut Session, snapshots: &SnapshotStore) -> Result<Vec<String>> {
    let running = running(place, session)?;
    let mut end = |(name, query): (QueryName, RunningQuery)| {
        watch::end(place, snapshots, session, &query, &name)?;
        Ok(name.lasting())
    };
    let ended: Vec<Result<String>> = running.into_iter().map(&mut end).collect();
    ended.into_iter().collect()
}
