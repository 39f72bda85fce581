//! The newest numbers of all parts of a pipeline, and what is derived from them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::Clock;
use prometheus_client::metrics::histogram::Histogram;

use crate::history::{Columns, History, Point};
use crate::latency::SlidingLatency;
use crate::numbers::{QueryNumbers, StageNumbers, StreamNumbers, cap};
use crate::rate::Meter;
use crate::snapshot::Snapshot;

/// Upper ends of the latency metric's buckets in seconds; dense below a second, so that its p99 can be read.
const LATENCY_BUCKETS_SECONDS: [f64; 20] =
    [0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 5.0, 10.0, 30.0, 60.0];

/// The numbers of a running pipeline. Cheap to clone: all clones are the same. The app's threads update it a few times a second.
#[derive(Debug, Clone)]
pub struct Live {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pipeline: String,
    clock: Arc<dyn Clock>,
    started: Duration,
    state: Mutex<State>,
    latency: Mutex<SlidingLatency>,
    /// All latencies since the start, for Prometheus.
    latency_seconds: Histogram,
}

/// The newest report of every part, with the meters of its counters.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) streams: BTreeMap<Arc<str>, Stream>,
    pub(crate) queries: BTreeMap<Arc<str>, Query>,
    pub(crate) stages: BTreeMap<Arc<str>, Stage>,
    pub(crate) peers: BTreeMap<Arc<str>, Peer>,
    /// When the last report of any part came.
    pub(crate) reported: Option<Duration>,
    history: History,
}

#[derive(Debug, Default)]
pub(crate) struct Stream {
    pub(crate) numbers: StreamNumbers,
    pub(crate) input: Meter,
    pub(crate) done: Meter,
    pub(crate) validated: Meter,
    pub(crate) rejected: Meter,
}

#[derive(Debug, Default)]
pub(crate) struct Query {
    pub(crate) numbers: QueryNumbers,
    pub(crate) rows: Meter,
}

#[derive(Debug, Default)]
pub(crate) struct Stage {
    pub(crate) numbers: StageNumbers,
    pub(crate) steps: Meter,
    /// Since when it has had trouble.
    pub(crate) since: Option<Duration>,
}

#[derive(Debug, Default)]
pub(crate) struct Peer {
    pub(crate) ok: bool,
    pub(crate) detail: String,
    /// Since when it has been as it is.
    pub(crate) since: Duration,
}

impl Live {
    /// Numbers of the pipeline named `pipeline`, all unknown yet.
    pub fn new(pipeline: &str, clock: Arc<dyn Clock>) -> Self {
        let started = clock.elapsed();
        Self {
            inner: Arc::new(Inner {
                pipeline: pipeline.to_owned(),
                clock,
                started,
                state: Mutex::default(),
                latency: Mutex::new(SlidingLatency::new()),
                latency_seconds: Histogram::new(LATENCY_BUCKETS_SECONDS),
            }),
        }
    }

    /// Reports a stream. Its rates are made from the differences between reports.
    pub fn set_stream(&self, stream: &str, numbers: StreamNumbers) {
        self.update(|state, now| {
            let entry = entry(&mut state.streams, stream);
            if entry.numbers.partition_numbers().ne(numbers.partition_numbers()) {
                // What another process has done before, or goes on with, is no rate of this one's.
                *entry = Stream::default();
            }
            entry.input.record(now, numbers.raw_end);
            entry.done.record(now, numbers.raw_done);
            entry.validated.record(now, numbers.validated);
            entry.rejected.record(now, numbers.rejected_total());
            entry.numbers = numbers;
        });
    }

    /// Reports a query.
    pub fn set_query(&self, query: &str, numbers: QueryNumbers) {
        let numbers = numbers.capped();
        self.update(|state, now| {
            let entry = entry(&mut state.queries, query);
            entry.rows.record(now, numbers.rows_published);
            entry.numbers = numbers;
        });
    }

    /// Reports a stage. While it has trouble, the page says so and `/readyz` answers 503.
    pub fn set_stage(&self, stage: &str, mut numbers: StageNumbers) {
        let share = numbers.share.as_mut().map(|share| &mut share.text);
        numbers.trouble.iter_mut().chain(share).for_each(cap);
        self.update(|state, now| {
            let entry = entry(&mut state.stages, stage);
            entry.steps.record(now, numbers.steps);
            entry.since = numbers.trouble.as_ref().map(|_| entry.since.unwrap_or(now));
            entry.numbers = numbers;
        });
    }

    /// Reports a peer (Kafka, the registry, PostgreSQL): whether it answers, and its address or what went wrong.
    pub fn set_peer(&self, peer: &str, ok: bool, detail: &str) {
        let mut detail = detail.to_owned();
        cap(&mut detail);
        self.update(|state, now| {
            let known = state.peers.contains_key(peer);
            let entry = entry(&mut state.peers, peer);
            if !known || entry.ok != ok {
                entry.since = now;
            }
            entry.ok = ok;
            entry.detail = detail;
        });
    }

    /// Takes the end-to-end latency of a record in milliseconds.
    pub fn record_latency_ms(&self, ms: u64) {
        self.record_latencies_ms(&[ms]);
    }

    /// Takes the end-to-end latencies of records in milliseconds, taking the lock once.
    pub fn record_latencies_ms(&self, latencies_ms: &[u64]) {
        let now = self.inner.clock.elapsed();
        let mut latency = lock(&self.inner.latency);
        for &ms in latencies_ms {
            latency.record(now, ms, 1);
            self.inner.latency_seconds.observe(Duration::from_millis(ms).as_secs_f64());
        }
    }

    /// Everything that the page shows, as JSON; `snapshot` says what it holds.
    pub fn snapshot_json(&self) -> serde_json::Value {
        // It holds only strings, numbers and lists of these, so that it can always be written.
        serde_json::to_value(self.snapshot()).unwrap_or_default()
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let (now, now_us) = (self.inner.clock.elapsed(), self.inner.clock.now_us());
        let latency = lock(&self.inner.latency).percentiles(now);
        let uptime = now.saturating_sub(self.inner.started);
        Snapshot::of(&self.inner.pipeline, &lock(&self.inner.state), latency, uptime, now, now_us)
    }

    /// The last minutes.
    pub(crate) fn history(&self) -> Columns {
        lock(&self.inner.state).history.columns()
    }

    /// Calls `read` with the newest reports.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&lock(&self.inner.state))
    }

    /// All latencies since the start.
    pub(crate) fn latency_seconds(&self) -> &Histogram {
        &self.inner.latency_seconds
    }

    /// Applies a report, and keeps a point of the history each second.
    fn update(&self, report: impl FnOnce(&mut State, Duration)) {
        let now = self.inner.clock.elapsed();
        let mut state = lock(&self.inner.state);
        report(&mut state, now);
        state.reported = Some(now);
        if state.history.is_due(now) {
            let latency = lock(&self.inner.latency).percentiles(now);
            let point = state.point(now, self.inner.clock.now_us(), latency.map(|of| (of.p50, of.p99)));
            state.history.push(now, point);
        }
    }
}

impl State {
    fn point(&self, now: Duration, time_us: i64, latency: Option<(u64, u64)>) -> Point {
        Point {
            time_us,
            input_per_second: self.streams.values().map(|stream| stream.input.per_second(now)).sum(),
            rejected_per_second: self.streams.values().map(|stream| stream.rejected.per_second(now)).sum(),
            lag: self.streams.values().map(|stream| stream.numbers.lag()).sum(),
            p50_ms: latency.map(|(p50, _)| p50),
            p99_ms: latency.map(|(_, p99)| p99),
            queries: self.queries.iter().map(|(name, query)| (Arc::clone(name), query.rows.per_second(now))).collect(),
        }
    }
}

/// The entry of `name`, made if it isn't there.
fn entry<'a, T: Default>(map: &'a mut BTreeMap<Arc<str>, T>, name: &str) -> &'a mut T {
    map.entry(Arc::from(name)).or_default()
}

/// The lock's content. A thread that panicked while it held the lock left whole numbers behind, so they can still be shown.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
