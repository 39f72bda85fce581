//! Topics in memory.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use kafka::OutRecord;
use model::{RecordBlock, TopicPartition};

use crate::error::{Error, Result};
use crate::run::sink::RecordSink;

/// The topics of a test. Records stay for ever, and offsets have no gaps.
#[derive(Debug, Default)]
pub(crate) struct MemoryLog {
    inner: RefCell<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    partitions: BTreeMap<TopicPartition, RecordBlock>,
    /// Records that are taken before a write fails; `None` for all.
    sends_left: Option<usize>,
    now_ms: i64,
}

impl MemoryLog {
    /// Appends a record.
    pub(crate) fn append(&self, partition: &TopicPartition, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.inner.borrow_mut().append(partition.clone(), key, value, &[]);
    }

    /// The Kafka timestamp of what is written from now on.
    pub(crate) fn set_now_ms(&self, now_ms: i64) {
        self.inner.borrow_mut().now_ms = now_ms;
    }

    /// Lets writes fail after so many records, as if the process had died there; `None` lets them succeed again.
    pub(crate) fn fail_after(&self, sends: Option<usize>) {
        self.inner.borrow_mut().sends_left = sends;
    }

    /// The offset after the last record.
    pub(crate) fn end(&self, partition: &TopicPartition) -> i64 {
        self.inner.borrow().partitions.get(partition).and_then(RecordBlock::next_offset).unwrap_or(0)
    }

    /// Records from one offset up to another.
    pub(crate) fn read(&self, partition: &TopicPartition, from: i64, to: i64) -> RecordBlock {
        let mut read = RecordBlock::new(partition.topic.clone(), partition.partition);
        let inner = self.inner.borrow();
        let Some(all) = inner.partitions.get(partition) else { return read };
        let index = |offset: i64| usize::try_from(offset.max(0)).unwrap_or(usize::MAX).min(all.len());
        for at in index(from)..index(to) {
            let (offset, timestamp_ms) = (all.offsets.get(at), all.timestamps_ms.get(at));
            let (Some(&offset), Some(&timestamp_ms)) = (offset, timestamp_ms) else { break };
            read.push(offset, timestamp_ms, all.keys.get(at), all.values.get(at), all.headers(at));
        }
        read
    }
}

impl Inner {
    fn append(
        &mut self,
        partition: TopicPartition,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        let new = || RecordBlock::new(partition.topic.clone(), partition.partition);
        let now_ms = self.now_ms;
        let block = self.partitions.entry(partition.clone()).or_insert_with(new);
        let offset = block.next_offset().unwrap_or(0);
        block.push(offset, now_ms, key, value, headers.iter().copied());
    }
}

impl RecordSink for MemoryLog {
    fn send(&self, record: &OutRecord<'_>) -> Result<()> {
        let mut inner = self.inner.borrow_mut();
        if let Some(left) = &mut inner.sends_left {
            *left =
                left.checked_sub(1).ok_or_else(|| Error::Unavailable("the test ends the process here".to_owned()))?;
        }
        let topic: Arc<str> = record.topic.into();
        let partition = TopicPartition::new(topic, record.partition.unwrap_or(0));
        inner.append(partition, record.key, record.value, record.headers);
        Ok(())
    }
}
