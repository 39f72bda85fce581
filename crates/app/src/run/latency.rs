//! How long a record takes from its raw topic until its results are committed in PostgreSQL, measured on one record at a time.

use std::collections::BTreeMap;

use model::TopicPartition;

/// Follows one record through the stages of this process: when all results that could hold it are stored, its time is known.
///
/// Only one record is followed at a time, so the stages pay next to nothing, and the samples are spread over time.
#[derive(Debug, Default)]
pub(crate) enum Probe {
    #[default]
    Idle,
    /// Its verdict is published; the process stage hasn't taken it.
    Validated { partition: TopicPartition, next_offset: i64, raw_timestamp_ms: i64 },
    /// Its results lie below these offsets of the result topics.
    Published { ends: BTreeMap<TopicPartition, i64>, raw_timestamp_ms: i64 },
}

impl Probe {
    /// Offers a record: the validated position after it, and its Kafka timestamp in the raw topic. Taken if none is being followed.
    pub(crate) fn offer(&mut self, partition: TopicPartition, next_offset: i64, raw_timestamp_ms: i64) {
        if matches!(self, Self::Idle) && raw_timestamp_ms >= 0 {
            *self = Self::Validated { partition, next_offset, raw_timestamp_ms };
        }
    }

    /// The process stage has published the results of everything below `positions`; `ends` are the ends of what it wrote.
    pub(crate) fn published(&mut self, positions: &[(TopicPartition, i64)], ends: &BTreeMap<TopicPartition, i64>) {
        if let Self::Validated { partition, next_offset, raw_timestamp_ms } = self
            && positions.iter().any(|(known, at)| known == partition && at >= next_offset)
        {
            let raw_timestamp_ms = *raw_timestamp_ms;
            *self = if ends.is_empty() { Self::Idle } else { Self::Published { ends: ends.clone(), raw_timestamp_ms } };
        }
    }

    /// PostgreSQL holds everything below `positions`; gives the raw timestamp of the followed record if its results are among it.
    pub(crate) fn stored(&mut self, positions: &BTreeMap<TopicPartition, i64>) -> Option<i64> {
        let Self::Published { ends, raw_timestamp_ms } = self else { return None };
        let is_stored = ends.iter().all(|(partition, &end)| positions.get(partition).is_none_or(|&at| at >= end));
        if !is_stored {
            return None;
        }
        let raw_timestamp_ms = *raw_timestamp_ms;
        *self = Self::Idle;
        Some(raw_timestamp_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_record_is_followed_from_its_verdict_to_its_results() {
        let at = |topic: &str| TopicPartition::new(topic, 0);
        let mut probe = Probe::default();
        probe.offer(at("validated"), 10, 1_000);
        probe.offer(at("validated"), 20, 2_000);
        let ends = BTreeMap::from([(at("result"), 5)]);
        probe.published(&[(at("validated"), 9)], &ends);
        assert_eq!(probe.stored(&BTreeMap::from([(at("result"), 9)])), None);
        probe.published(&[(at("validated"), 10)], &ends);
        assert_eq!(probe.stored(&BTreeMap::from([(at("result"), 4)])), None);
        assert_eq!(probe.stored(&BTreeMap::from([(at("result"), 5)])), Some(1_000));
        assert!(matches!(probe, Probe::Idle));
    }
}
