//! Time and randomness, so that a test can set both.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

/// The one source of time. Stages take it as an argument and never ask the system.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Wall-clock time in microseconds since 1970-01-01T00:00:00Z. It may jump.
    fn now_us(&self) -> i64;

    /// Time since the clock was made; it never goes back. For timeouts and durations.
    fn elapsed(&self) -> Duration;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose `elapsed` starts now.
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
    fn now_us(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        }
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that stands still until a test moves it.
#[derive(Debug, Default)]
pub struct ManualClock {
    start_us: i64,
    now_us: AtomicI64,
}

impl ManualClock {
    /// A clock that shows `now_us` microseconds since 1970.
    pub fn at(now_us: i64) -> Self {
        Self { start_us: now_us, now_us: AtomicI64::new(now_us) }
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let by_us = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.now_us.fetch_add(by_us, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_us(&self) -> i64 {
        self.now_us.load(Ordering::SeqCst)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.now_us() - self.start_us).unwrap_or(0))
    }
}

/// The generator of random numbers that everything random is drawn from: the same seed gives the same numbers on every machine.
pub fn seeded(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::at(1_000);
        assert_eq!(clock.now_us(), 1_000);
        clock.advance(Duration::from_micros(5));
        assert_eq!((clock.now_us(), clock.elapsed()), (1_005, Duration::from_micros(5)));
    }
}
