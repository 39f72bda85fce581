//! Group commit: callers that wait for the disk at the same time share one flush.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// How far a file that only grows is on the disk. The unit (bytes, offsets) is the caller's.
#[derive(Debug)]
pub(crate) struct GroupCommit {
    durable: AtomicU64,
    turn: tokio::sync::Mutex<()>,
}

impl GroupCommit {
    /// All before `durable` is on the disk.
    pub(crate) fn new(durable: u64) -> Self {
        Self { durable: AtomicU64::new(durable), turn: tokio::sync::Mutex::new(()) }
    }

    /// Whether all before `target` is on the disk.
    pub(crate) fn has_reached(&self, target: u64) -> bool {
        self.durable.load(Ordering::Acquire) >= target
    }

    /// Returns once all before `target` is on the disk. `flush` flushes everything written so far and returns how far that was; it
    /// runs on a thread for blocking work, and only for the one caller whose turn it is.
    pub(crate) async fn wait<F>(&self, target: u64, flush: F) -> io::Result<()>
    where
        F: FnOnce() -> io::Result<u64> + Send + 'static,
    {
        if self.has_reached(target) {
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        if self.has_reached(target) {
            return Ok(());
        }
        let reached = tokio::task::spawn_blocking(flush).await.map_err(io::Error::other)??;
        self.durable.fetch_max(reached, Ordering::AcqRel);
        if reached >= target { Ok(()) } else { Err(io::Error::other("the flush didn't reach what was written")) }
    }
}
