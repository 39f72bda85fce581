//! Holding partitions within a bound of event time of each other.
//!
//! Without it a replay reads one partition far ahead of the others, and every window in between stays open in the stages behind.

/// What is known of a partition when deciding whether to read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionTime {
    /// Its watermark in microseconds since 1970; `None` before its first accepted record.
    pub watermark_us: Option<i64>,
    /// Whether raw records wait to be read. One that has caught up holds nobody back.
    pub has_backlog: bool,
}

/// For each partition whether to hold it: its watermark is more than `max_skew_us` ahead of the slowest partition with a backlog.
pub fn to_hold(partitions: &[PartitionTime], max_skew_us: i64) -> Vec<bool> {
    let waiting = partitions.iter().filter(|partition| partition.has_backlog);
    let slowest = waiting.clone().filter_map(|partition| partition.watermark_us).min();
    // A partition with a backlog that hasn't said its time yet might be the slowest: let it speak first.
    let unknown = waiting.clone().any(|partition| partition.watermark_us.is_none());
    partitions
        .iter()
        .map(|partition| match (partition.watermark_us, slowest) {
            (Some(_), _) if unknown => true,
            (Some(watermark), Some(slowest)) => watermark.saturating_sub(slowest) > max_skew_us,
            _ => false,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(watermark_us: impl Into<Option<i64>>, has_backlog: bool) -> PartitionTime {
        PartitionTime { watermark_us: watermark_us.into(), has_backlog }
    }

    #[test]
    fn the_fast_one_waits_for_the_slowest_with_a_backlog() {
        let partitions = [partition(100, true), partition(50, true), partition(0, false)];
        assert_eq!(to_hold(&partitions, 40), [true, false, false]);
        assert_eq!(to_hold(&partitions, 50), [false, false, false]);
    }

    #[test]
    fn all_wait_until_every_backlog_has_said_its_time() {
        assert_eq!(to_hold(&[partition(100, true), partition(None, true)], 1_000), [true, false]);
        assert_eq!(to_hold(&[partition(100, true), partition(None, false)], 1_000), [false, false]);
    }

    #[test]
    fn never_are_all_partitions_with_a_backlog_held() {
        for watermarks in [[1, 2, 3], [5, 5, 5], [-9, 0, 9]] {
            let partitions = watermarks.map(|watermark| partition(watermark, true));
            assert!(to_hold(&partitions, 0).contains(&false));
        }
    }
}
