//! Rates of counters that are reported a few times a second.

use std::collections::VecDeque;
use std::time::Duration;

/// A rate is an average over this time.
const WINDOW: Duration = Duration::from_secs(3);
/// Reports closer together than this are merged, which caps the memory of a meter.
const SPACING: Duration = Duration::from_millis(100);
/// A report older than this no longer counts as the present.
const FRESH: Duration = Duration::from_millis(1_500);

/// Turns the values of a counter into a rate.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Time and value of reports, the oldest first. The first may lie before the window.
    samples: VecDeque<(Duration, u64)>,
}

impl Meter {
    /// Takes the counter's value at time `now`. A value below the last one is a new start of the counter.
    pub(crate) fn record(&mut self, now: Duration, value: u64) {
        if self.samples.back().is_some_and(|&(_, last)| value < last) {
            self.samples.clear();
        }
        let count = self.samples.len();
        let crowded = count >= 2 && self.samples.get(count - 2).is_some_and(|&(at, _)| now < at + SPACING);
        if crowded {
            self.samples.pop_back();
        }
        self.samples.push_back((now, value));
        let edge = now.saturating_sub(WINDOW);
        while self.samples.get(1).is_some_and(|&(at, _)| at <= edge) {
            self.samples.pop_front();
        }
    }

    /// The rate per second at time `now`. It falls to 0 when no reports come.
    pub(crate) fn per_second(&self, now: Duration) -> f64 {
        let Some(&(last_at, last)) = self.samples.back() else { return 0.0 };
        let edge = now.saturating_sub(WINDOW);
        if last_at < edge {
            return 0.0;
        }
        // The newest report at or before the window's start, else the first one.
        let first = self.samples.iter().rev().find(|&&(at, _)| at <= edge).or(self.samples.front());
        let Some(&(first_at, first)) = first else { return 0.0 };
        // Between two reports the rate shouldn't sag, but a reporter that went silent must show.
        let until = if now.saturating_sub(last_at) < FRESH { last_at } else { now };
        let seconds = until.saturating_sub(first_at).as_secs_f64();
        if seconds > 0.0 { last.saturating_sub(first) as f64 / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_steady_counter_has_its_rate() {
        let mut meter = Meter::default();
        for step in 0..40 {
            meter.record(at_ms(step * 250), step * 750);
        }
        assert_eq!(meter.per_second(at_ms(39 * 250)), 3_000.0);
        assert_eq!(meter.per_second(at_ms(39 * 250 + 200)), 3_000.0, "no sag between reports");
    }

    #[test]
    fn a_silent_counter_falls_to_zero() {
        let mut meter = Meter::default();
        meter.record(at_ms(0), 0);
        meter.record(at_ms(1_000), 1_000);
        assert_eq!(meter.per_second(at_ms(1_000)), 1_000.0);
        let later = meter.per_second(at_ms(2_900));
        assert!(later > 0.0 && later < 1_000.0, "{later}");
        assert_eq!(meter.per_second(at_ms(4_001)), 0.0);
    }

    #[test]
    fn a_counter_that_starts_anew_is_no_negative_rate() {
        let mut meter = Meter::default();
        meter.record(at_ms(0), 5_000);
        meter.record(at_ms(500), 6_000);
        meter.record(at_ms(1_000), 10);
        assert_eq!(meter.per_second(at_ms(1_000)), 0.0);
        meter.record(at_ms(2_000), 110);
        assert_eq!(meter.per_second(at_ms(2_000)), 100.0);
    }

    #[test]
    fn crowded_reports_take_no_memory() {
        let mut meter = Meter::default();
        for step in 0..100_000_u64 {
            meter.record(Duration::from_micros(step * 100), step);
        }
        assert!(meter.samples.len() <= 33, "{}", meter.samples.len());
        let rate = meter.per_second(Duration::from_micros(9_999_900));
        assert!((9_900.0..10_100.0).contains(&rate), "{rate}");
    }
}
