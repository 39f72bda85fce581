//! What idle partitions follow.

use model::progress::stream_watermark_us;

/// A partition's time, as far as it is known, and whether it is quiet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionQuiet {
    /// Its watermark in microseconds since 1970.
    pub watermark_us: Option<i64>,
    /// Whether nothing has come for the stream's `idle_timeout`.
    pub is_quiet: bool,
}

/// The watermark that quiet partitions take over: the least of the others; once all are quiet, the greatest of all. `None` while one that
/// isn't quiet has none, since its first record may be of any time.
pub fn followed_us(partitions: &[PartitionQuiet]) -> Option<i64> {
    let mut active = partitions.iter().filter(|partition| !partition.is_quiet).peekable();
    if active.peek().is_none() {
        return partitions.iter().filter_map(|partition| partition.watermark_us).max();
    }
    stream_watermark_us(active.map(|partition| partition.watermark_us))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quiet_follow_the_slowest_that_is_not() {
        let partition = |watermark_us, is_quiet| PartitionQuiet { watermark_us, is_quiet };
        let quiet = partition(None, true);
        assert_eq!(followed_us(&[quiet, partition(Some(5), false), partition(Some(3), false)]), Some(3));
        assert_eq!(followed_us(&[quiet, partition(Some(5), false), partition(None, false)]), None);
        assert_eq!(followed_us(&[quiet, partition(Some(5), true), partition(Some(9), true)]), Some(9));
        assert_eq!(followed_us(&[quiet]), None);
    }
}
