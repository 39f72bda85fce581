//! Watermarks of the streams, from their progress topics alone.

use std::collections::{BTreeMap, VecDeque};

use model::Progress;
use model::progress::stream_watermark_us;

/// Announcements kept per partition; beyond it the middle ones are merged into later ones, which only delays them.
const PENDING_MAX: usize = 1024;

/// Applies each partition's watermark once the records that it covers have been read.
#[derive(Debug, Default)]
pub(crate) struct Watermarks {
    streams: BTreeMap<String, Vec<Partition>>,
}

#[derive(Debug, Default, Clone)]
struct Partition {
    /// Announced and not applied: validated offset to have read, and the watermark that then holds.
    pending: VecDeque<(i64, Option<i64>)>,
    applied_us: Option<i64>,
    /// Greatest validated offset whose announcement has been applied.
    settled: Option<i64>,
    /// The newest epoch of the progress taken.
    epoch: Option<i64>,
}

impl Watermarks {
    pub(crate) fn add_stream(&mut self, name: &str, partitions: i32) {
        let count = usize::try_from(partitions).unwrap_or(0);
        self.streams.insert(name.to_owned(), vec![Partition::default(); count]);
    }

    /// Takes an announcement of the progress topic. One by a process that no longer has the partition is void.
    pub(crate) fn announce(&mut self, stream: &str, progress: &Progress) {
        let index = usize::try_from(progress.partition).ok();
        let partition = self.streams.get_mut(stream).and_then(|all| all.get_mut(index?));
        let Some(partition) = partition.filter(|partition| partition.epoch <= progress.epoch) else { return };
        partition.epoch = progress.epoch;
        let (offset, watermark_us) = (progress.validated_offset, progress.watermark_us);
        let is_full = partition.pending.len() >= PENDING_MAX;
        match partition.pending.back_mut() {
            Some(last) if last.0 >= offset || is_full => *last = (last.0.max(offset), last.1.max(watermark_us)),
            _ => partition.pending.push_back((offset, watermark_us)),
        }
    }

    /// The stream's watermark as it was last applied.
    pub(crate) fn present(&self, stream: &str) -> Option<i64> {
        stream_watermark_us(self.streams.get(stream)?.iter().map(|partition| partition.applied_us))
    }

    /// Applies what has been read up to `positions` (next validated offset per partition) and gives the stream's watermark: the least
    /// over its partitions, `None` while one has none.
    pub(crate) fn apply(&mut self, stream: &str, positions: &[i64]) -> Option<i64> {
        let partitions = self.streams.get_mut(stream)?;
        for (partition, &position) in partitions.iter_mut().zip(positions) {
            while let Some((offset, watermark_us)) = partition.pending.pop_front_if(|(offset, _)| *offset <= position) {
                partition.applied_us = partition.applied_us.max(watermark_us);
                partition.settled = partition.settled.max(Some(offset));
            }
        }
        stream_watermark_us(partitions.iter().map(|partition| partition.applied_us))
    }

    /// Whether everything below a validated offset of a partition has been read, and what was announced for it applied.
    pub(crate) fn has_settled(&self, stream: &str, partition: i32, offset: i64) -> bool {
        let of_stream = self.streams.get(stream).zip(usize::try_from(partition).ok());
        let settled = of_stream.and_then(|(partitions, index)| partitions.get(index)?.settled);
        offset == 0 || settled >= Some(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(partition: i32, validated_offset: i64, watermark_us: i64) -> Progress {
        Progress { validated_offset, watermark_us: Some(watermark_us), ..Progress::start(partition) }
    }

    #[test]
    fn a_watermark_waits_for_its_records_and_for_every_partition() {
        let mut watermarks = Watermarks::default();
        watermarks.add_stream("s", 2);
        watermarks.announce("s", &Progress { validated_offset: 4, ..Progress::start(0) });
        watermarks.announce("s", &progress(0, 10, 100));
        assert_eq!(watermarks.apply("s", &[9, 0]), None);
        assert!(watermarks.has_settled("s", 0, 4) && !watermarks.has_settled("s", 0, 10), "its time is still to come");
        assert_eq!(watermarks.apply("s", &[10, 0]), None);
        assert!(watermarks.has_settled("s", 0, 10));
        assert!(watermarks.has_settled("s", 1, 0) && !watermarks.has_settled("s", 1, 5), "nothing is announced");
        watermarks.announce("s", &progress(1, 5, 70));
        assert_eq!(watermarks.apply("s", &[10, 4]), None);
        assert_eq!(watermarks.apply("s", &[10, 5]), Some(70));
        watermarks.announce("s", &progress(1, 9, 300));
        watermarks.announce("s", &progress(1, 9, 310));
        assert_eq!(watermarks.apply("s", &[10, 8]), Some(70));
        assert_eq!(watermarks.apply("s", &[10, 9]), Some(100));
    }

    #[test]
    fn what_a_process_says_that_has_lost_the_partition_is_void() {
        let mut watermarks = Watermarks::default();
        watermarks.add_stream("s", 1);
        let of = |epoch, progress| Progress { epoch, ..progress };
        watermarks.announce("s", &progress(0, 5, 50));
        watermarks.announce("s", &of(Some(7), Progress::start(0)));
        watermarks.announce("s", &of(Some(3), progress(0, 6, 60)));
        assert_eq!(watermarks.apply("s", &[6]), Some(50));
        watermarks.announce("s", &of(Some(7), progress(0, 6, 55)));
        assert_eq!(watermarks.apply("s", &[6]), Some(55));
    }

    #[test]
    fn announcements_are_bounded_and_none_is_applied_early() {
        let mut watermarks = Watermarks::default();
        watermarks.add_stream("s", 1);
        for offset in 0..10_000 {
            watermarks.announce("s", &progress(0, offset, offset * 10));
        }
        assert_eq!(watermarks.apply("s", &[500]), Some(5_000));
        assert_eq!(watermarks.apply("s", &[9_998]), Some(10_220));
        assert_eq!(watermarks.apply("s", &[9_999]), Some(99_990));
    }
}
