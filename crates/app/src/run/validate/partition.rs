//! A raw partition that this process has: its validator with the records that wait for it.

use std::collections::VecDeque;
use std::time::Duration;

use kafka::Reader;
use model::{Progress, RecordBlock, TopicPartition};
use validate::skew::PartitionTime;
use validate::{PartitionValidator, Settled};

use super::ValidateStage;
use crate::error::{Error, Result};
use crate::run::read_range::read_range;

/// Time between two reports of a start that takes long.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// A raw partition.
pub(super) struct Partition {
    pub(super) raw: TopicPartition,
    pub(super) validator: PartitionValidator,
    pub(super) queue: VecDeque<RecordBlock>,
    /// How many blocks of the queue the validator was told to expect.
    pub(super) expected: usize,
    pub(super) is_paused: bool,
    /// Offset after the last record read.
    pub(super) read_to: i64,
    /// End of the raw partition when last asked.
    pub(super) end: i64,
    pub(super) last_record_at: Duration,
    pub(super) published: Progress,
    /// Progress records of the stream when its own was published last; `None` before the first.
    pub(super) published_as: Option<u64>,
    /// Progress that waits for what it counts to be acknowledged.
    pub(super) waiting: Option<Waiting>,
    /// When progress was last noted.
    pub(super) noted_at: Duration,
    pub(super) acknowledged: Acknowledged,
    /// Kafka timestamp of a record validated since the last progress, for the latency probe.
    pub(super) probe_timestamp_ms: Option<i64>,
    /// When to ask the registry again for the schema that the next block waits for, and what it waits for.
    pub(super) waits_until: Duration,
    pub(super) trouble: Option<String>,
}

/// Progress that isn't published yet.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) progress: Progress,
    pub(super) probe_timestamp_ms: Option<i64>,
}

/// Up to where the outputs of a partition are acknowledged: this epoch's records, and those of earlier ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Acknowledged {
    pub(super) validated: i64,
    pub(super) rejected: i64,
}

impl Acknowledged {
    /// Whether all is that the progress counts.
    pub(super) fn covers(&self, progress: &Progress) -> bool {
        self.validated >= progress.validated_offset && self.rejected >= progress.rejected_offset
    }
}

impl Partition {
    /// Takes a partition up where its outputs end, given its progress as of the claim.
    pub(super) fn open(stage: &ValidateStage, reader: &Reader, progress: Progress) -> Result<Self> {
        let (connection, stop, number) = (&stage.context.connection, &stage.context.stop, progress.partition);
        let raw = TopicPartition::new(stage.topics.raw.as_str(), number);
        let range = reader.range(&raw)?;
        let raw_offset = stage.stand().start(&raw, progress.raw_offset, range)?;
        let progress = Progress { raw_offset, ..progress };
        let mut validator = PartitionValidator::resume(stage.rules.clone(), progress.clone())?;
        let validated = TopicPartition::new(stage.topics.validated.as_str(), number);
        let rejected = TopicPartition::new(stage.topics.rejected.as_str(), number);
        let (validated_start, validated_end) = reader.range(&validated)?;
        let rejected_end = reader.range(&rejected)?.1;
        for (output, at, end) in [
            (&validated, progress.validated_offset, validated_end),
            (&rejected, progress.rejected_offset, rejected_end),
        ] {
            if at > end {
                return Err(Error::Position(format!(
                    "{output} ends at offset {end}, but {} wrote it up to {at}: the topic was made anew, or has lost records; restore it, \
                     or start over as docs/recovery.md says",
                    stage.name
                )));
            }
        }
        let recalled = (progress.duplicates_from_offset.max(validated_start), progress.validated_offset);
        let mut told_at = stage.context.clock.elapsed();
        read_range(connection, &validated, recalled, stop, |block| {
            validator.recall(block, &*stage.context.schemas)?;
            let now = stage.context.clock.elapsed();
            if now.saturating_sub(told_at) >= TELL_EVERY {
                told_at = now;
                stage.tell_recalled(&validated, recalled, block.next_offset());
            }
            Ok(())
        })?;
        let mut settled = Settled::after(&progress);
        read_range(connection, &validated, (progress.validated_offset, validated_end), stop, |block| {
            Ok(settled.validated(block)?)
        })?;
        read_range(connection, &rejected, (progress.rejected_offset, rejected_end), stop, |block| {
            Ok(settled.rejected(block)?)
        })?;
        validator.settle(settled);
        stage.context.status.set_validated(&stage.rules.stream, progress.clone());
        Ok(Self {
            raw,
            validator,
            queue: VecDeque::new(),
            expected: 0,
            is_paused: false,
            read_to: progress.raw_offset,
            end: range.1,
            last_record_at: stage.context.clock.elapsed(),
            published: progress,
            published_as: None,
            waiting: None,
            noted_at: Duration::ZERO,
            acknowledged: Acknowledged { validated: validated_end, rejected: rejected_end },
            probe_timestamp_ms: None,
            waits_until: Duration::ZERO,
            trouble: None,
        })
    }

    /// Records that wait to be validated.
    pub(super) fn queued(&self) -> usize {
        self.queue.iter().map(RecordBlock::len).sum()
    }

    /// Whether so much waits that nothing more should be read: these records or these bytes.
    pub(super) fn is_full(&self, records_max: usize, bytes_max: usize) -> bool {
        self.queued() > records_max || self.queue.iter().map(RecordBlock::byte_len).sum::<usize>() > bytes_max
    }

    /// Its time, and whether records wait to be read.
    pub(super) fn time(&self) -> PartitionTime {
        let has_backlog = !self.queue.is_empty() || self.read_to < self.end;
        PartitionTime { watermark_us: self.validator.watermark_us(), has_backlog }
    }
}
