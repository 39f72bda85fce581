//! The record of a stream's progress topic `<stream>.progress`: how far validation is in a raw partition, and what it says of time.
//!
//! The topic is compacted; the key is the raw partition's number as decimal text, the value is this record as JSON. A later stage
//! takes watermarks from here alone, and applies one once it has read the validated partition up to `validated_offset`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::position::TopicId;

/// How far validation is in one raw partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Raw partition; the validated and rejected partitions have the same number.
    pub partition: i32,
    /// Id of the raw topic that the offsets mean; `None` before the first record is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_topic_id: Option<TopicId>,
    /// Every raw record below this offset has its verdict in `validated` or `rejected`.
    pub raw_offset: i64,
    /// End of the validated partition after those verdicts.
    pub validated_offset: i64,
    /// End of the rejected partition after those verdicts.
    pub rejected_offset: i64,
    /// Raw offset of the last validated record; -1 if there is none. What the next one names as its predecessor.
    pub last_validated_raw_offset: i64,
    /// The same for the rejected output.
    pub last_rejected_raw_offset: i64,
    /// Offset of the oldest validated record whose id is still kept for finding duplicates: a restart reads them from here.
    pub duplicates_from_offset: i64,
    /// Greatest event time accepted so far minus the lateness bound, in microseconds since 1970; `None` before the first accepted
    /// record. While `idle` it is the other partitions' watermark that this one follows. It never goes back.
    pub watermark_us: Option<i64>,
    /// Whether validation has declared the partition idle: caught up with raw and quiet for `idle_timeout`.
    pub idle: bool,
    /// Accepted records since the beginning of the raw partition.
    pub validated: u64,
    /// Rejected records since the beginning of the raw partition, by reason.
    pub rejected: BTreeMap<String, u64>,
}

impl Progress {
    /// The progress of a partition of which nothing has been read.
    pub fn start(partition: i32) -> Self {
        Self {
            partition,
            raw_topic_id: None,
            raw_offset: 0,
            validated_offset: 0,
            rejected_offset: 0,
            last_validated_raw_offset: -1,
            last_rejected_raw_offset: -1,
            duplicates_from_offset: 0,
            watermark_us: None,
            idle: false,
            validated: 0,
            rejected: BTreeMap::new(),
        }
    }

    /// The key of this record in the progress topic.
    pub fn key(&self) -> String {
        self.partition.to_string()
    }

    /// The value of this record in the progress topic.
    ///
    /// # Errors
    /// None in practice: the type has no map with keys that aren't text.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// Reads a value of the progress topic.
    ///
    /// # Errors
    /// When the bytes aren't the JSON of this record.
    pub fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

/// A stage's watermark: the least over the stream's partitions.
///
/// `None` while one partition has no watermark, since its first record may be of any time.
pub fn stream_watermark_us(partitions: impl IntoIterator<Item = Option<i64>>) -> Option<i64> {
    let mut least: Option<i64> = None;
    for watermark in partitions {
        let watermark = watermark?;
        least = Some(least.map_or(watermark, |so_far| so_far.min(watermark)));
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_partition_without_a_watermark_holds_the_stream_back() {
        assert_eq!(stream_watermark_us([Some(5), Some(3)]), Some(3));
        assert_eq!(stream_watermark_us([Some(5), None]), None);
        assert_eq!(stream_watermark_us([]), None);
    }

    #[test]
    fn json_round_trip() {
        let progress = Progress { raw_offset: 7, watermark_us: Some(-1), ..Progress::start(2) };
        let bytes = progress.to_json().unwrap();
        assert_eq!(Progress::from_json(&bytes).unwrap(), progress);
    }
}
