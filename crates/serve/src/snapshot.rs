//! The JSON document of `/api/live` and of each event: everything that the page shows at a moment.
//!
//! Times are microseconds since 1970 (`_us`), ages and latencies milliseconds (`_ms`), rates are per second. Counters count since the
//! start of the process. A number that is not known yet is null. `web/src/api.ts` has the same shape.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::health::{Health, health};
use crate::latency::{Percentiles, WINDOW_S};
use crate::live::{Peer, Query, Stage, State, Stream};
use crate::numbers::BatchNumbers;

/// A moment of the pipeline.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Snapshot {
    pipeline: String,
    version: &'static str,
    now_us: i64,
    uptime_ms: u64,
    /// Milliseconds since the last report of any part; null before the first.
    reported_age_ms: Option<u64>,
    health: Health,
    totals: Totals,
    /// Over the last `latency_window_s` seconds.
    latency_ms: Option<Percentiles>,
    latency_window_s: u64,
    streams: Vec<StreamView>,
    queries: Vec<QueryView>,
    stages: Vec<StageView>,
    peers: Vec<PeerView>,
}

/// Sums over the streams.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Totals {
    pub(crate) input_per_second: f64,
    pub(crate) done_per_second: f64,
    pub(crate) rejected_per_second: f64,
    /// Records that wait for a verdict.
    pub(crate) lag: u64,
    /// Records that have come in.
    pub(crate) raw_end: u64,
    validated: u64,
    rejected: u64,
    /// Age of the oldest watermark.
    watermark_age_ms: Option<u64>,
}

#[derive(Debug, Clone, Serialize)]
struct StreamView {
    name: String,
    raw_end: u64,
    raw_done: u64,
    lag: u64,
    validated: u64,
    rejected: BTreeMap<String, u64>,
    input_per_second: f64,
    done_per_second: f64,
    validated_per_second: f64,
    rejected_per_second: f64,
    watermark_us: Option<i64>,
    watermark_age_ms: Option<u64>,
    partitions: Vec<PartitionView>,
}

#[derive(Debug, Clone, Serialize)]
struct PartitionView {
    partition: i32,
    watermark_us: Option<i64>,
    watermark_age_ms: Option<u64>,
    idle: bool,
}

#[derive(Debug, Clone, Serialize)]
struct QueryView {
    name: String,
    rows_published: u64,
    rows_per_second: f64,
    windows_open: u64,
    groups_open: u64,
    state_bytes: u64,
    spilled_bytes: u64,
    stored_rows: u64,
    latest: Vec<RowView>,
    batch: Option<BatchNumbers>,
}

#[derive(Debug, Clone, Serialize)]
struct RowView {
    label: String,
    /// Pairs of a column's name and its value.
    columns: Vec<(String, String)>,
}

#[derive(Debug, Clone, Serialize)]
struct StageView {
    name: String,
    steps: u64,
    steps_per_second: f64,
    trouble: Option<String>,
    trouble_age_ms: Option<u64>,
    /// What of it is this process's, as a half sentence; null for a part that isn't shared.
    share: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
struct PeerView {
    name: String,
    ok: bool,
    detail: String,
    /// For how long it has been as it is.
    since_age_ms: u64,
}

impl Snapshot {
    /// The moment `now` (on the clock that never goes back) and `now_us` (on the wall clock) of a pipeline.
    pub(crate) fn of(
        pipeline: &str,
        state: &State,
        latency_ms: Option<Percentiles>,
        uptime: Duration,
        now: Duration,
        now_us: i64,
    ) -> Self {
        let totals = totals(state, now, now_us);
        Self {
            pipeline: pipeline.to_owned(),
            version: env!("CARGO_PKG_VERSION"),
            now_us,
            uptime_ms: ms(uptime),
            reported_age_ms: state.reported.map(|at| ms(now.saturating_sub(at))),
            health: health(state, &totals, latency_ms),
            totals,
            latency_ms,
            latency_window_s: WINDOW_S,
            streams: state.streams.iter().map(|(name, stream)| stream_view(name, stream, now, now_us)).collect(),
            queries: state.queries.iter().map(|(name, query)| query_view(name, query, now)).collect(),
            stages: state.stages.iter().map(|(name, stage)| stage_view(name, stage, now)).collect(),
            peers: state.peers.iter().map(|(name, peer)| peer_view(name, peer, now)).collect(),
        }
    }
}

fn totals(state: &State, now: Duration, now_us: i64) -> Totals {
    let mut totals = Totals::default();
    for Stream { numbers, input, done, rejected, .. } in state.streams.values() {
        totals.input_per_second += input.per_second(now);
        totals.done_per_second += done.per_second(now);
        totals.rejected_per_second += rejected.per_second(now);
        totals.lag = totals.lag.saturating_add(numbers.lag());
        totals.raw_end = totals.raw_end.saturating_add(numbers.raw_end);
        totals.validated = totals.validated.saturating_add(numbers.validated);
        totals.rejected = totals.rejected.saturating_add(numbers.rejected_total());
        totals.watermark_age_ms = totals.watermark_age_ms.max(age_ms(numbers.watermark_us, now_us));
    }
    totals
}

fn stream_view(name: &str, stream: &Stream, now: Duration, now_us: i64) -> StreamView {
    let numbers = &stream.numbers;
    StreamView {
        name: name.to_owned(),
        raw_end: numbers.raw_end,
        raw_done: numbers.raw_done,
        lag: numbers.lag(),
        validated: numbers.validated,
        rejected: numbers.rejected.clone(),
        input_per_second: stream.input.per_second(now),
        done_per_second: stream.done.per_second(now),
        validated_per_second: stream.validated.per_second(now),
        rejected_per_second: stream.rejected.per_second(now),
        watermark_us: numbers.watermark_us,
        watermark_age_ms: age_ms(numbers.watermark_us, now_us),
        partitions: numbers
            .partitions
            .iter()
            .map(|of| PartitionView {
                partition: of.partition,
                watermark_us: of.watermark_us,
                watermark_age_ms: age_ms(of.watermark_us, now_us),
                idle: of.idle,
            })
            .collect(),
    }
}

fn query_view(name: &str, query: &Query, now: Duration) -> QueryView {
    let numbers = &query.numbers;
    QueryView {
        name: name.to_owned(),
        rows_published: numbers.rows_published,
        rows_per_second: query.rows.per_second(now),
        windows_open: numbers.windows_open,
        groups_open: numbers.groups_open,
        state_bytes: numbers.state_bytes,
        spilled_bytes: numbers.spilled_bytes,
        stored_rows: numbers.stored_rows,
        latest: numbers
            .latest
            .iter()
            .map(|(label, columns)| RowView { label: label.clone(), columns: columns.clone() })
            .collect(),
        batch: numbers.batch,
    }
}

fn stage_view(name: &str, stage: &Stage, now: Duration) -> StageView {
    StageView {
        name: name.to_owned(),
        steps: stage.numbers.steps,
        steps_per_second: stage.steps.per_second(now),
        trouble: stage.numbers.trouble.clone(),
        trouble_age_ms: stage.since.map(|since| ms(now.saturating_sub(since))),
        share: stage.numbers.share.as_ref().map(|share| share.text.clone()).filter(|text| !text.is_empty()),
    }
}

fn peer_view(name: &str, peer: &Peer, now: Duration) -> PeerView {
    PeerView {
        name: name.to_owned(),
        ok: peer.ok,
        detail: peer.detail.clone(),
        since_age_ms: ms(now.saturating_sub(peer.since)),
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The age of an event time; 0 if it lies in the future.
fn age_ms(time_us: Option<i64>, now_us: i64) -> Option<u64> {
    time_us.map(|time_us| u64::try_from(now_us.saturating_sub(time_us) / 1_000).unwrap_or(0))
}
