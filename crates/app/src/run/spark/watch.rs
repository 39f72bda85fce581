//! What Spark reports of a query that runs, and how one is ended.

use std::collections::BTreeMap;

use model::TopicPartition;
use serve::BatchNumbers;
use spark::client::RunningQuery;
use spark::{Progress, Session};
use state::SnapshotStore;

use super::SparkStage;
use super::names::QueryName;
use super::place::Place;
use super::rebuilds::Rebuilds;
use crate::error::{Error, Result};
use crate::run::results::ResultTopic;

/// A query that runs, and what is known of it.
#[derive(Debug)]
pub(super) struct Watched<'a> {
    result: &'a ResultTopic,
    pub(super) name: QueryName,
    pub(super) query: RunningQuery,
    /// The validated topics that it reads.
    pub(super) topics: Vec<String>,
    /// When the newest report that was seen was begun, as Spark writes it. A batch's number doesn't do: while there is nothing to do, Spark
    /// reports the number of the next one.
    reported: String,
    /// Next validated offset of each partition.
    pub(super) positions: BTreeMap<TopicPartition, i64>,
    metrics: process::Metrics,
}

impl<'a> Watched<'a> {
    pub(super) fn new(result: &'a ResultTopic, name: QueryName, query: RunningQuery, topics: Vec<String>) -> Self {
        let (positions, metrics) = (BTreeMap::new(), process::Metrics::default());
        Self { result, name, query, topics, reported: String::new(), positions, metrics }
    }

    /// Whether it is the same run of the same query.
    pub(super) fn is(&self, other: &Watched<'_>) -> bool {
        self.name == other.name && self.query == other.query
    }

    /// Whether it reads a topic.
    pub(super) fn reads(&self, topic: &str) -> bool {
        self.topics.iter().any(|read| read == topic)
    }

    /// Whether Spark has reported anything of it yet: it does so after its first batch, also of one without records.
    pub(super) fn has_reported(&self) -> bool {
        !self.reported.is_empty()
    }

    /// Takes over what Spark reports; fails with the query's failure, and with `Position` if rows were dropped.
    pub(super) fn watch(&mut self, stage: &SparkStage, session: &mut Session) -> Result<()> {
        let runtime = &stage.place.runtime;
        let name = &self.result.query.name;
        for progress in reports(&stage.place, session, &self.query)? {
            if progress.timestamp <= self.reported {
                continue;
            }
            self.reported.clone_from(&progress.timestamp);
            if progress.rows_dropped() > 0 {
                return Err(dropped(name, progress.rows_dropped()));
            }
            self.positions.extend(progress.positions());
            self.metrics.rows_in += progress.input_rows();
            self.metrics.rows_published += progress.output_rows();
            self.metrics.groups_open = progress.state_rows();
            self.metrics.state_bytes = progress.state_bytes();
            let table = self.result.name();
            stage.context.status.set_query(&table, self.metrics, None);
            stage.context.status.set_batch(&table, batch_numbers(&progress));
        }
        if runtime.block_on(session.status(&self.query))?.is_active {
            return Ok(());
        }
        let failure = runtime.block_on(session.failure(&self.query))?;
        Err(failure.map_or_else(
            || Error::Unavailable(format!("the query {name} was stopped on Apache Spark; it is started again")),
            Error::from,
        ))
    }
}

/// What a stage ends with when Spark has dropped rows.
pub(super) fn dropped(query: &str, rows: u64) -> Error {
    Error::Position(format!(
        "Apache Spark dropped {rows} rows of the query {query} that came behind its watermark, so its results are short of them: set \
         spark.watermark_delay to more, or the stream's max_skew to less. At the next start the query works everything out anew, which \
         puts its rows right"
    ))
}

/// What Spark reports of a query's last micro-batches, the newest last.
pub(super) fn reports(place: &Place, session: &mut Session, query: &RunningQuery) -> Result<Vec<Progress>> {
    let reports = place.runtime.block_on(session.recent_progress(query))?;
    reports.iter().map(|json| Ok(Progress::parse(json)?)).collect()
}

/// Stops a query. One that has dropped rows is noted as one to be built anew.
pub(super) fn end(
    place: &Place,
    snapshots: &SnapshotStore,
    session: &mut Session,
    query: &RunningQuery,
    name: &QueryName,
) -> Result<()> {
    place.runtime.block_on(session.stop(query))?;
    if reports(place, session, query)?.iter().any(|progress| progress.rows_dropped() > 0) {
        Rebuilds::note(snapshots, name)?;
    }
    Ok(())
}

/// What is shown of a micro-batch.
pub(super) fn batch_numbers(progress: &Progress) -> BatchNumbers {
    BatchNumbers {
        number: u64::try_from(progress.batch_id).unwrap_or(0),
        input_per_second: progress.rows_per_second(),
        duration_ms: progress.batch_duration,
        watermark_us: progress.watermark_us(),
        state_rows: progress.state_rows(),
    }
}
