//! An open-loop schedule: record `i` is due at a fixed time, whatever the pipeline does.
//!
//! A closed loop, which waits for the pipeline before it sends the next record, hides every stall from the measurement (coordinated
//! omission). Here a stall makes the overdue records due at once, and each keeps its intended time, from which latency is counted.

use std::ops::Range;

/// Records at a constant rate from a start on. Pure: it holds no clock and no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenLoop {
    /// Records per second; at least 1.
    pub rate_per_s: u64,
    /// Time of record 0, in microseconds since 1970.
    pub start_us: i64,
    /// Number of records in all; without a bound if `None`.
    pub records: Option<u64>,
}

const MICROSECONDS_PER_SECOND: u128 = 1_000_000;

impl OpenLoop {
    /// A schedule without an end.
    pub fn new(rate_per_s: u64, start_us: i64) -> Self {
        Self { rate_per_s: rate_per_s.max(1), start_us, records: None }
    }

    /// The schedule, ending `duration_us` after its start.
    pub fn lasting(self, duration_us: u64) -> Self {
        let records = u128::from(self.rate_per_s) * u128::from(duration_us) / MICROSECONDS_PER_SECOND;
        Self { records: Some(u64::try_from(records).unwrap_or(u64::MAX)), ..self }
    }

    /// When record `index` is due, in microseconds since 1970. Rounding is per record and doesn't add up.
    pub fn intended_us(&self, index: u64) -> i64 {
        let after = u128::from(index) * MICROSECONDS_PER_SECOND / u128::from(self.rate_per_s.max(1));
        self.start_us.saturating_add(i64::try_from(after).unwrap_or(i64::MAX))
    }

    /// Number of records that are due at `now_us`: all with an intended time up to it.
    pub fn due_count(&self, now_us: i64) -> u64 {
        let Ok(elapsed) = u128::try_from(i128::from(now_us) - i128::from(self.start_us)) else { return 0 };
        // Record i is due when floor(i * 10^6 / rate) <= elapsed, so the first that isn't is ceil((elapsed + 1) * rate / 10^6).
        let count = ((elapsed + 1) * u128::from(self.rate_per_s.max(1))).div_ceil(MICROSECONDS_PER_SECOND);
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.records.map_or(count, |records| count.min(records))
    }

    /// The records to send now, if `next` is the first that wasn't sent yet; at most `records_max` of them, the oldest first.
    pub fn due(&self, next: u64, now_us: i64, records_max: u64) -> Range<u64> {
        next..self.due_count(now_us).min(next.saturating_add(records_max)).max(next)
    }

    /// Whether record `next` is beyond the end.
    pub fn is_over(&self, next: u64) -> bool {
        self.records.is_some_and(|records| next >= records)
    }

    /// The intended times of records, in place of what `times_us` holds.
    pub fn times_us(&self, records: Range<u64>, times_us: &mut Vec<i64>) {
        times_us.clear();
        times_us.extend(records.map(|index| self.intended_us(index)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_schedule_goes_on_through_a_stall() {
        let schedule = OpenLoop::new(1_000, 5_000_000);
        assert_eq!(schedule.due(0, 4_999_999, 100), 0..0);
        assert_eq!(schedule.due(0, 5_000_000, 100), 0..1);
        assert_eq!(schedule.due(1, 5_002_999, 100), 1..3);
        // Two seconds pass in which nothing was sent: all of it is due at once, as far as a batch goes.
        assert_eq!(schedule.due(3, 7_000_000, 500), 3..503);
        assert_eq!(schedule.due(503, 7_000_000, 10_000), 503..2_001);
        assert_eq!(schedule.intended_us(503), 5_503_000);
        assert_eq!(schedule.due(2_001, 6_000_000, 10), 2_001..2_001, "a clock that goes back sends nothing twice");
    }

    #[test]
    fn it_ends_where_it_was_told_to() {
        let schedule = OpenLoop::new(3_000, 0).lasting(60_000_000);
        assert_eq!(schedule.due_count(i64::MAX), 180_000);
        assert!(schedule.is_over(180_000) && !schedule.is_over(179_999));
        assert_eq!(schedule.intended_us(179_999), 59_999_666);
    }

    proptest! {
        #[test]
        fn a_record_is_due_from_its_intended_time_on(rate in 1_u64..5_000_000, start in -1_000_000_i64..1_000_000, index in 0_u64..10_000_000_000) {
            let schedule = OpenLoop::new(rate, start);
            let at = schedule.intended_us(index);
            prop_assert!(schedule.due_count(at) > index);
            prop_assert!(schedule.due_count(at - 1) <= index);
        }
    }
}
