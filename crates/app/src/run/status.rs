//! What the stages of this process know of themselves: for the drain, the health page and the dashboard.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::{Progress, TopicPartition};

use crate::run::latency::Probe;
use crate::run::statistics::Seen;

/// Shared by all threads of the process. Locked a few times per micro-batch, never per record.
#[derive(Debug, Default)]
pub(crate) struct Status(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Successful steps of each stage: a stage that made one is up.
    steps: BTreeMap<String, u64>,
    trouble: BTreeMap<String, String>,
    /// What of each stage is this process's.
    shares: BTreeMap<String, (BTreeSet<TopicPartition>, serve::ShareNumbers)>,
    validated: BTreeMap<(String, i32), Progress>,
    /// Next validated offset whose results aren't published yet.
    processed: BTreeMap<TopicPartition, i64>,
    /// Next validated offset that patterns haven't taken yet.
    matched: BTreeMap<TopicPartition, i64>,
    /// Next offset that is stored in PostgreSQL.
    stored: BTreeMap<TopicPartition, i64>,
    /// What the last drain of each stage covered.
    drained: BTreeMap<String, Drained>,
    drain_wanted: BTreeMap<String, BTreeMap<TopicPartition, i64>>,
    queries: BTreeMap<String, QueryStatus>,
    /// The state of each query when it was largest.
    peaks: BTreeMap<String, Seen>,
    stored_rows: BTreeMap<String, u64>,
    /// Queries whose view PostgreSQL refused to swap to a new generation.
    refused_views: BTreeSet<String>,
    /// Generation that readers are shown, where it changed since the start.
    shown: BTreeMap<String, u32>,
    probe: Probe,
    latencies_ms: Vec<u64>,
}

/// What is shown of a query.
#[derive(Debug, Clone, Default)]
pub(crate) struct QueryStatus {
    pub(crate) metrics: process::Metrics,
    /// The last micro-batch of a query on Apache Spark.
    pub(crate) batch: Option<serve::BatchNumbers>,
    /// The newest result rows: a label, and columns with their values as text.
    pub(crate) latest: Vec<ShownRow>,
}

/// A result row for people: its label, and columns with their values.
pub(crate) type ShownRow = (String, Vec<(String, String)>);

/// Latencies kept until somebody takes them.
const LATENCIES_MAX: usize = 10_000;

/// What a drain of a stage has published.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drained {
    /// The validated offsets that it was asked for.
    pub(crate) up_to: BTreeMap<TopicPartition, i64>,
}

impl Status {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a step of a stage that went well.
    pub(crate) fn step(&self, stage: &str) {
        let mut inner = self.lock();
        match inner.steps.get_mut(stage) {
            Some(steps) => *steps += 1,
            None => {
                inner.steps.insert(stage.to_owned(), 1);
            }
        }
    }

    pub(crate) fn steps(&self, stage: &str) -> u64 {
        self.lock().steps.get(stage).copied().unwrap_or(0)
    }

    pub(crate) fn set_trouble(&self, stage: &str, trouble: Option<String>) {
        let mut inner = self.lock();
        match trouble {
            Some(trouble) => inner.trouble.insert(stage.to_owned(), trouble),
            None => inner.trouble.remove(stage),
        };
    }

    /// Stages that wait for something, with what they wait for.
    pub(crate) fn troubles(&self) -> BTreeMap<String, String> {
        self.lock().trouble.clone()
    }

    /// Notes which partitions of a stage are this process's.
    pub(crate) fn set_share(&self, stage: &str, own: BTreeSet<TopicPartition>, numbers: serve::ShareNumbers) {
        self.lock().shares.insert(stage.to_owned(), (own, numbers));
    }

    /// What of a stage is this process's, for people.
    pub(crate) fn share(&self, stage: &str) -> Option<serve::ShareNumbers> {
        self.lock().shares.get(stage).map(|(_, numbers)| numbers.clone())
    }

    /// The partitions of a stage that are this process's.
    pub(crate) fn own(&self, stage: &str) -> BTreeSet<TopicPartition> {
        self.lock().shares.get(stage).map(|(own, _)| own.clone()).unwrap_or_default()
    }

    pub(crate) fn set_validated(&self, stream: &str, progress: Progress) {
        self.lock().validated.insert((stream.to_owned(), progress.partition), progress);
    }

    pub(crate) fn validated(&self, stream: &str) -> Vec<Progress> {
        let inner = self.lock();
        inner.validated.iter().filter(|((name, _), _)| name == stream).map(|(_, progress)| progress.clone()).collect()
    }

    /// Offers a validated record to the latency probe: the validated position after it, and its Kafka timestamp in the raw topic.
    pub(crate) fn offer_probe(&self, partition: TopicPartition, next_offset: i64, raw_timestamp_ms: i64) {
        self.lock().probe.offer(partition, next_offset, raw_timestamp_ms);
    }

    /// Notes that the results of everything below `positions` are published, with the ends of the result partitions written to.
    pub(crate) fn set_published(&self, positions: &[(TopicPartition, i64)], ends: &BTreeMap<TopicPartition, i64>) {
        let mut inner = self.lock();
        inner.probe.published(positions, ends);
        for (partition, at) in positions {
            match inner.processed.get_mut(partition) {
                Some(known) => *known = *at,
                None => {
                    inner.processed.insert(partition.clone(), *at);
                }
            }
        }
    }

    /// Notes what patterns have taken, with all matches in it that are certain published.
    pub(crate) fn set_matched(&self, positions: impl IntoIterator<Item = (TopicPartition, i64)>) {
        self.lock().matched.extend(positions);
    }

    /// Up to which validated offsets patterns have taken records.
    pub(crate) fn matched(&self) -> BTreeMap<TopicPartition, i64> {
        self.lock().matched.clone()
    }

    /// Up to which validated offsets the results are published.
    pub(crate) fn processed(&self) -> BTreeMap<TopicPartition, i64> {
        self.lock().processed.clone()
    }

    /// Notes what PostgreSQL holds now, how many rows each table gained, and the time.
    pub(crate) fn set_stored(&self, positions: &BTreeMap<TopicPartition, i64>, rows: &[(String, u64)], now_us: i64) {
        let mut inner = self.lock();
        inner.stored.clone_from(positions);
        for (table, count) in rows {
            *inner.stored_rows.entry(table.clone()).or_insert(0) += count;
        }
        if let Some(raw_timestamp_ms) = inner.probe.stored(positions)
            && inner.latencies_ms.len() < LATENCIES_MAX
        {
            inner.latencies_ms.push(u64::try_from(now_us / 1_000 - raw_timestamp_ms).unwrap_or(0));
        }
    }

    /// The latencies measured since the last call, in milliseconds.
    pub(crate) fn take_latencies_ms(&self) -> Vec<u64> {
        std::mem::take(&mut self.lock().latencies_ms)
    }

    /// Rows stored into each table since this process started.
    pub(crate) fn stored_rows(&self) -> BTreeMap<String, u64> {
        self.lock().stored_rows.clone()
    }

    pub(crate) fn set_query(&self, query: &str, metrics: process::Metrics, latest: Option<Vec<ShownRow>>) {
        let mut inner = self.lock();
        let peak = inner.peaks.entry(query.to_owned()).or_default();
        *peak = peak.or(Seen::of(&metrics));
        let status = inner.queries.entry(query.to_owned()).or_default();
        status.metrics = metrics;
        if let Some(latest) = latest {
            status.latest = latest;
        }
    }

    pub(crate) fn set_batch(&self, query: &str, batch: serve::BatchNumbers) {
        self.lock().queries.entry(query.to_owned()).or_default().batch = Some(batch);
    }

    pub(crate) fn queries(&self) -> BTreeMap<String, QueryStatus> {
        self.lock().queries.clone()
    }

    pub(crate) fn peaks(&self) -> BTreeMap<String, Seen> {
        self.lock().peaks.clone()
    }

    /// Notes whether PostgreSQL refused to swap a query's view.
    pub(crate) fn set_refused_view(&self, query: &str, is_refused: bool) {
        let mut inner = self.lock();
        if is_refused {
            inner.refused_views.insert(query.to_owned());
        } else {
            inner.refused_views.remove(query);
        }
    }

    pub(crate) fn refused_views(&self) -> BTreeSet<String> {
        self.lock().refused_views.clone()
    }

    /// Notes that readers are shown this generation of a query from now on.
    pub(crate) fn set_shown(&self, query: &str, generation: u32) {
        self.lock().shown.insert(query.to_owned(), generation);
    }

    /// The generations that took over since the start.
    pub(crate) fn shown(&self) -> BTreeMap<String, u32> {
        self.lock().shown.clone()
    }

    /// All stages with their steps so far.
    pub(crate) fn all_steps(&self) -> BTreeMap<String, u64> {
        self.lock().steps.clone()
    }

    pub(crate) fn stored(&self) -> BTreeMap<TopicPartition, i64> {
        self.lock().stored.clone()
    }

    /// Asks a stage to publish what it has once it has taken all validated records below these offsets.
    pub(crate) fn ask_drain(&self, stage: &str, up_to: BTreeMap<TopicPartition, i64>) {
        let mut inner = self.lock();
        inner.drained.remove(stage);
        inner.drain_wanted.insert(stage.to_owned(), up_to);
    }

    /// The drain that a stage was asked for and hasn't done yet.
    pub(crate) fn drain_wanted(&self, stage: &str) -> Option<BTreeMap<TopicPartition, i64>> {
        self.lock().drain_wanted.get(stage).cloned()
    }

    pub(crate) fn set_drained(&self, stage: &str, drained: Drained) {
        let mut inner = self.lock();
        inner.drain_wanted.remove(stage);
        inner.drained.insert(stage.to_owned(), drained);
    }

    pub(crate) fn drained(&self, stage: &str) -> Option<Drained> {
        self.lock().drained.get(stage).cloned()
    }
}
