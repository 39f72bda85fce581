//! What the partitions of other processes mean for those of this one: none is read far ahead of them, and quiet ones follow them.

use std::collections::BTreeMap;
use std::time::Duration;

use model::Progress;
use validate::idle::PartitionQuiet;
use validate::skew::{self, PartitionTime};

use crate::error::Result;

/// Least time between two questions for the ends of other processes' partitions.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Other processes' partitions, as their progress tells of them.
#[derive(Debug, Default)]
pub(super) struct Others {
    progress: Vec<Progress>,
    /// Ends of their raw partitions when last asked; of one that isn't here more may wait than its progress tells.
    ends: BTreeMap<i32, i64>,
    asked_at: Option<Duration>,
}

impl Others {
    /// Takes their newest progress. One of which nobody has said anything yet has [`Progress::start`].
    pub(super) fn set(&mut self, progress: Vec<Progress>) {
        self.progress = progress;
    }

    /// Which of this process's partitions to hold. The ends of the others' logs are asked for only if they could hold something.
    pub(super) fn held(
        &mut self,
        own: &[PartitionTime],
        max_skew_us: i64,
        now: Duration,
        end_of: impl Fn(i32) -> Result<i64>,
    ) -> Result<Vec<bool>> {
        let alone = skew::to_hold(own, max_skew_us);
        if self.progress.is_empty() || self.hold_beside(own, max_skew_us, |_| true) == alone {
            return Ok(alone);
        }
        if self.asked_at.is_none_or(|at| now.saturating_sub(at) >= ASK_EVERY) {
            self.asked_at = Some(now);
            for progress in &self.progress {
                self.ends.insert(progress.partition, end_of(progress.partition)?);
            }
        }
        let has_backlog =
            |progress: &Progress| self.ends.get(&progress.partition).is_none_or(|end| progress.raw_offset < *end);
        Ok(self.hold_beside(own, max_skew_us, has_backlog))
    }

    fn hold_beside(
        &self,
        own: &[PartitionTime],
        max_skew_us: i64,
        has_backlog: impl Fn(&Progress) -> bool,
    ) -> Vec<bool> {
        let others = self
            .progress
            .iter()
            .map(|progress| PartitionTime { watermark_us: progress.watermark_us, has_backlog: has_backlog(progress) });
        let times: Vec<PartitionTime> = own.iter().copied().chain(others).collect();
        let mut hold = skew::to_hold(&times, max_skew_us);
        hold.truncate(own.len());
        hold
    }

    /// Their times, for what quiet partitions follow. One is quiet once its process has declared it idle.
    pub(super) fn quiet(&self) -> impl Iterator<Item = PartitionQuiet> {
        self.progress
            .iter()
            .map(|progress| PartitionQuiet { watermark_us: progress.watermark_us, is_quiet: progress.idle })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn other(partition: i32, raw_offset: i64, watermark_us: impl Into<Option<i64>>) -> Progress {
        Progress { raw_offset, watermark_us: watermark_us.into(), ..Progress::start(partition) }
    }

    #[test]
    fn a_partition_waits_for_a_slower_one_of_another_process_that_has_more_to_read() {
        let own = [PartitionTime { watermark_us: Some(100), has_backlog: true }];
        let (asked, end) = (Cell::new(0), Cell::new(8));
        let end_of = |_| {
            asked.set(asked.get() + 1);
            Ok(end.get())
        };
        let mut others = Others::default();
        let hold = |others: &mut Others, now_ms| {
            others.held(&own, 30, Duration::from_millis(now_ms), end_of).unwrap() == [true]
        };
        assert!(!hold(&mut others, 0));
        others.set(vec![other(1, 5, 80)]);
        assert!(!hold(&mut others, 0), "it is near enough");
        assert_eq!(asked.get(), 0, "and nothing was asked");
        others.set(vec![other(1, 5, 60)]);
        assert!(hold(&mut others, 0));
        others.set(vec![other(1, 8, 60)]);
        assert!(!hold(&mut others, 10), "it has read all");
        assert_eq!(asked.get(), 1);
        end.set(9);
        assert!(hold(&mut others, 600), "something has come in");
        others.set(vec![other(1, 0, None)]);
        assert!(hold(&mut others, 610), "it may be of any time");
        others.set(vec![other(1, 9, None)]);
        assert!(!hold(&mut others, 620));
    }

    #[test]
    fn another_process_s_partition_is_quiet_once_it_says_so() {
        let mut others = Others::default();
        others.set(vec![other(1, 5, 60), Progress { idle: true, ..other(2, 5, 90) }]);
        let own = PartitionQuiet { watermark_us: Some(10), is_quiet: true };
        let times: Vec<_> = others.quiet().chain([own]).collect();
        assert_eq!(validate::idle::followed_us(&times), Some(60));
    }
}
