//! Percentiles of the end-to-end latency over the last seconds.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Seconds that the percentiles are taken over.
pub(crate) const WINDOW_S: u64 = 10;
/// Longer latencies are counted as this one: an hour.
const LATENCY_MS_MAX: u64 = 3_600_000;
/// Two digits: exact below 256 ms, within 1% above.
const DIGITS: u8 = 2;

/// Latencies of the last seconds, a histogram for each second.
#[derive(Debug)]
pub(crate) struct SlidingLatency {
    /// The second each slot is of, and its histogram.
    slots: Vec<(u64, Histogram<u64>)>,
}

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: u64,
    pub(crate) p95: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
    /// Latencies that were recorded within the window.
    pub(crate) count: u64,
}

#[allow(clippy::expect_used, reason = "the arguments are constants, and the tests make one")]
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MS_MAX, DIGITS).expect("the bounds and digits are valid")
}

impl SlidingLatency {
    pub(crate) fn new() -> Self {
        Self { slots: (0..WINDOW_S).map(|_| (0, histogram())).collect() }
    }

    /// Takes `count` records that took `ms` milliseconds, at time `now`.
    pub(crate) fn record(&mut self, now: Duration, ms: u64, count: u64) {
        let second = now.as_secs();
        let slot = usize::try_from(second % WINDOW_S).unwrap_or(0);
        if let Some((of, histogram)) = self.slots.get_mut(slot) {
            if *of != second {
                histogram.reset();
                *of = second;
            }
            histogram.saturating_record_n(ms, count);
        }
    }

    /// The percentiles at time `now`; None if nothing was recorded within the window.
    pub(crate) fn percentiles(&self, now: Duration) -> Option<Percentiles> {
        let second = now.as_secs();
        let mut all = histogram();
        for (of, histogram) in &self.slots {
            if *of <= second && second - *of < WINDOW_S {
                // All slots have the same bounds, so that adding can't fail.
                all.add(histogram).ok()?;
            }
        }
        (!all.is_empty()).then(|| Percentiles {
            p50: all.value_at_quantile(0.5).min(all.max()),
            p95: all.value_at_quantile(0.95).min(all.max()),
            p99: all.value_at_quantile(0.99).min(all.max()),
            max: all.max(),
            count: all.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at_s(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn old_latencies_leave() {
        let mut latency = SlidingLatency::new();
        assert_eq!(latency.percentiles(at_s(0)), None);
        latency.record(at_s(1), 900, 1);
        latency.record(at_s(5), 10, 99);
        let both = latency.percentiles(at_s(10)).unwrap();
        assert_eq!((both.p50, both.count), (10, 100));
        assert!((900..=908).contains(&both.max), "{both:?}");
        let later = latency.percentiles(at_s(11)).unwrap();
        assert_eq!((later.max, later.count), (10, 99));
        assert_eq!(latency.percentiles(at_s(15)), None);
    }

    #[test]
    fn absurd_latencies_are_kept_as_an_hour() {
        let mut latency = SlidingLatency::new();
        latency.record(at_s(1), u64::MAX, 1);
        latency.record(at_s(1), 0, 1);
        let found = latency.percentiles(at_s(1)).unwrap();
        assert_eq!((found.count, found.p50), (2, 0));
        assert!(found.max >= LATENCY_MS_MAX, "{found:?}");
    }

    proptest! {
        #[test]
        fn percentiles_are_those_of_the_sorted_values(values in prop::collection::vec(0_u64..100_000, 1..300)) {
            let mut latency = SlidingLatency::new();
            for (index, ms) in values.iter().enumerate() {
                latency.record(Duration::from_millis(index as u64 * 10), *ms, 1);
            }
            let mut sorted = values.clone();
            sorted.sort_unstable();
            let found = latency.percentiles(Duration::from_millis(values.len() as u64 * 10)).unwrap();
            for (quantile, ours) in [(0.5, found.p50), (0.95, found.p95), (0.99, found.p99)] {
                let rank = ((values.len() as f64 * quantile).ceil() as usize).max(1) - 1;
                let exact = sorted[rank] as f64;
                prop_assert!((ours as f64 - exact).abs() <= exact * 0.01 + 1.0, "{} of {:?}: {} is not {}", quantile, sorted, ours, exact);
            }
        }
    }
}
