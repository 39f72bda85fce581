//! Telling every thread to stop, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A switch that all threads look at between two steps.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn now(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Waits for `duration`, or until the switch is thrown; true if it is.
    pub(crate) fn wait(&self, duration: Duration) -> bool {
        let step = Duration::from_millis(20);
        let mut left = duration;
        while !self.is_set() && !left.is_zero() {
            let nap = left.min(step);
            std::thread::sleep(nap);
            left -= nap;
        }
        self.is_set()
    }

    /// Resolves when the switch is thrown.
    pub(crate) async fn thrown(self) {
        while !self.is_set() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
