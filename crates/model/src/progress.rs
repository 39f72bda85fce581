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
    /// Epoch of the process that wrote it: the offset, in the progress topic, of the record by which it claimed the partition. `None` in
    /// that record itself, which gets its epoch from where it lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    /// Whether it claims the partition. The rest is then what its writer knew before, and nothing new.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_claim: bool,
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
            epoch: None,
            is_claim: false,
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

/// The last word on each partition, from the records of a progress topic in their order.
///
/// Whoever claims a partition last has it. What a process says of it after another has claimed it is void, be it that it stood still
/// meanwhile: its successor knows nothing of that, and may decide otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProgressLedger(BTreeMap<i32, Progress>);

impl ProgressLedger {
    /// Takes the next record, with its epoch; false if it is void.
    pub fn take(&mut self, progress: &Progress) -> bool {
        match self.0.get_mut(&progress.partition) {
            Some(known) if progress.epoch < known.epoch => return false,
            // The process before may have said more between what the claim says and the claim.
            Some(known) if progress.is_claim => known.epoch = progress.epoch,
            Some(known) => known.clone_from(progress),
            None => {
                self.0.insert(progress.partition, progress.clone());
            }
        }
        true
    }

    /// What is known of a partition.
    pub fn get(&self, partition: i32) -> Option<&Progress> {
        self.0.get(&partition)
    }

    /// What is known of each partition, in their order. One of which only claims are known has `is_claim`.
    pub fn iter(&self) -> impl Iterator<Item = &Progress> {
        self.0.values()
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
    fn whoever_claims_last_has_the_last_word() {
        let said = |epoch, raw_offset| Progress { epoch, raw_offset, ..Progress::start(0) };
        let claim = |epoch, raw_offset| Progress { is_claim: true, ..said(Some(epoch), raw_offset) };
        let mut ledger = ProgressLedger::default();
        assert!(ledger.take(&said(None, 3)), "written before there were claims");
        assert!(ledger.take(&said(None, 5)));
        assert!(ledger.take(&claim(2, 3)));
        assert_eq!(ledger.get(0), Some(&said(Some(2), 5)), "a claim takes nothing back");
        assert!(ledger.take(&said(Some(2), 9)));
        assert!(ledger.take(&claim(7, 9)));
        assert!(!ledger.take(&said(Some(2), 12)), "it has been superseded");
        assert!(!ledger.take(&claim(6, 12)));
        assert_eq!(ledger.get(0), Some(&said(Some(7), 9)));
        assert!(ledger.take(&said(Some(7), 10)));
        assert_eq!(ledger.iter().map(|progress| progress.raw_offset).collect::<Vec<_>>(), [10]);
    }

    #[test]
    fn json_round_trip() {
        let progress = Progress { raw_offset: 7, watermark_us: Some(-1), ..Progress::start(2) };
        let bytes = progress.to_json().unwrap();
        assert_eq!(Progress::from_json(&bytes).unwrap(), progress);
    }
}
