//! Waiting for conditions instead of sleeping.

use std::time::{Duration, Instant};

/// Asks `probe` until it gives something, with short pauses.
///
/// # Panics
/// When nothing came within `deadline`; the message names `what`.
pub fn wait_for<T>(what: &str, deadline: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < deadline, "waited {deadline:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
