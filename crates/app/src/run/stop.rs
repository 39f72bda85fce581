//! Telling every thread to stop, once: all of them, or a part first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A switch that all threads look at between two steps.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    own: Arc<AtomicBool>,
    all: Arc<AtomicBool>,
}

impl Default for Stop {
    fn default() -> Self {
        let own = Arc::<AtomicBool>::default();
        Self { all: own.clone(), own }
    }
}

impl Stop {
    /// The switch of a part that may be stopped before the rest. Stopping everything stops the part too.
    pub(crate) fn part(&self) -> Self {
        Self { own: Arc::default(), all: self.all.clone() }
    }

    /// Stops what this switch is for.
    pub(crate) fn now(&self) {
        self.own.store(true, Ordering::SeqCst);
    }

    /// Stops everything, whichever part this switch is for.
    pub(crate) fn everything(&self) {
        self.all.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.own.load(Ordering::SeqCst) || self.all.load(Ordering::SeqCst)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_stops_alone_or_with_everything() {
        let whole = Stop::default();
        let (first, second) = (whole.part(), whole.part());
        first.now();
        assert_eq!((first.is_set(), second.is_set(), whole.is_set()), (true, false, false));
        second.part().everything();
        assert_eq!((second.is_set(), whole.is_set()), (true, true));
        let whole = Stop::default();
        let part = whole.part();
        whole.now();
        assert!(part.is_set());
    }
}
