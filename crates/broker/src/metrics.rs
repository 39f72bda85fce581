//! What the broker counts. All are totals since its start, but for gauges, which say so.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sync::lock;

/// Counters of a broker; read them at any time.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Metrics {
    /// Gauge: open connections.
    pub connections: Counter,
    /// Connections refused because there were too many.
    pub connections_refused: Counter,
    /// Requests read.
    pub requests: Counter,
    /// Connections closed because of a request that makes no sense.
    pub requests_malformed: Counter,
    /// Record batches appended.
    pub batches_in: Counter,
    /// Records appended.
    pub records_in: Counter,
    /// Bytes of record batches appended.
    pub bytes_in: Counter,
    /// Bytes of record batches sent to readers.
    pub bytes_out: Counter,
    /// Batches that an idempotent producer sent again and that were there already.
    pub batches_duplicate: Counter,
    /// Batches refused for any reason.
    pub batches_refused: Counter,
    /// Writes or flushes that the disk failed.
    pub storage_errors: Counter,
    last_storage_error: Mutex<Option<String>>,
    /// Rebalances of consumer groups begun.
    pub rebalances: Counter,
}

impl Metrics {
    /// Counts a write or flush of `partition` (`topic[number]`) that the disk failed.
    pub(crate) fn storage_failed(&self, partition: &str, error: &std::io::Error) {
        *lock(&self.last_storage_error) = Some(format!("{partition}: {error}"));
        self.storage_errors.add(1);
    }

    /// The last write or flush that the disk failed: the partition as `topic[number]`, and the system's reason.
    pub fn last_storage_error(&self) -> Option<String> {
        lock(&self.last_storage_error).clone()
    }
}

/// A number that several tasks change.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `by`.
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// Takes `by` away; for gauges.
    pub(crate) fn subtract(&self, by: u64) {
        self.0.fetch_sub(by, Ordering::Relaxed);
    }

    /// The present number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
