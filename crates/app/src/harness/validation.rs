//! Validation of one stream over the log.

use std::sync::Arc;
use std::time::Duration;

use kafka::OutRecord;
use model::progress::stream_watermark_us;
use model::{Clock as _, ManualClock, Progress, TopicPartition};
use project::{Project, Stream};
use validate::idle::{self, PartitionQuiet};
use validate::{PartitionValidator, Settled, StreamRules};

use crate::error::{Error, Result};
use crate::harness::log::MemoryLog;
use crate::harness::schemas::MemorySchemas;
use crate::run::layout::PipelineStream;
use crate::run::reject::RejectHeaders;
use crate::run::sink::RecordSink as _;
use crate::run::stages::stream_rules;
use crate::run::validate::write;

/// What a stage sees of the world.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) schemas: Arc<MemorySchemas>,
    pub(crate) clock: Arc<ManualClock>,
}

impl World {
    /// The same world with topics of its own.
    pub(crate) fn with_empty_log(&self) -> Self {
        Self { log: Arc::default(), ..self.clone() }
    }
}

/// The validate stage of a stream.
#[derive(Debug)]
pub(crate) struct StreamValidation {
    world: World,
    stream: PipelineStream,
    rules: Arc<StreamRules>,
    idle_timeout: Duration,
    partitions: Vec<Partition>,
}

#[derive(Debug)]
struct Partition {
    raw: TopicPartition,
    validator: PartitionValidator,
    published: Progress,
    last_record_at: Duration,
}

impl StreamValidation {
    pub(crate) fn new(world: &World, project: &Project, stream: &PipelineStream, settings: &Stream) -> Result<Self> {
        let mut rules = stream_rules(project, stream, settings);
        // Tests hold their ids in memory.
        if let Some(duplicates) = &mut rules.duplicates {
            duplicates.disk = None;
        }
        let rules = Arc::new(rules);
        let mut partitions = Vec::new();
        for number in 0..stream.topics.partitions {
            let published = Progress::start(number);
            partitions.push(Partition {
                raw: TopicPartition::new(stream.topics.raw.as_str(), number),
                validator: PartitionValidator::resume(rules.clone(), published.clone())?,
                published,
                last_record_at: world.clock.elapsed(),
            });
        }
        let (world, stream) = (world.clone(), stream.clone());
        Ok(Self { world, stream, rules, idle_timeout: settings.idle_timeout.0, partitions })
    }

    /// Appends a record to a raw partition.
    pub(crate) fn send(&mut self, partition: i32, key: Option<&[u8]>, value: Option<&[u8]>) {
        let now = self.world.clock.elapsed();
        if let Some(partition) = self.partitions.iter_mut().find(|known| known.raw.partition == partition) {
            self.world.log.append(&partition.raw, key, value);
            partition.last_record_at = now;
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.stream.name
    }

    /// The stream's watermark as it is published, if all partitions have one.
    pub(crate) fn watermark_us(&self) -> Option<i64> {
        stream_watermark_us(self.partitions.iter().map(|partition| partition.published.watermark_us))
    }

    /// Records that have no verdict yet.
    pub(crate) fn backlog(&self) -> usize {
        let backlog = |partition: &Partition| {
            let next = partition.validator.progress().raw_offset;
            usize::try_from(self.world.log.end(&partition.raw) - next).unwrap_or(0)
        };
        self.partitions.iter().map(backlog).sum()
    }

    /// Gives all waiting records their verdicts, in so many pieces of each partition. Records whose schema is still asked for stay.
    ///
    /// # Errors
    /// Those of the log and of validation.
    pub(crate) fn validate(&mut self, pieces: usize) -> Result<()> {
        let mut headers = RejectHeaders::default();
        let ends: Vec<i64> = self.partitions.iter().map(|partition| self.world.log.end(&partition.raw)).collect();
        for piece in (1..=pieces).rev() {
            for (partition, &end) in self.partitions.iter_mut().zip(&ends) {
                let from = partition.validator.progress().raw_offset;
                let to = share(from, end, piece);
                let block = self.world.log.read(&partition.raw, from, to);
                if block.is_empty() {
                    continue;
                }
                match partition.validator.validate(&block, self.world.clock.now_us(), &*self.world.schemas) {
                    Ok(verdicts) => write(&*self.world.log, &self.stream.topics, &block, &verdicts, &mut headers)?,
                    Err(validate::Error::SchemaGrace { .. } | validate::Error::SchemaQuestions { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Declares partitions idle that have been quiet.
    pub(crate) fn declare_idle(&mut self) {
        let now = self.world.clock.elapsed();
        let times: Vec<PartitionQuiet> = self
            .partitions
            .iter()
            .map(|partition| PartitionQuiet {
                watermark_us: partition.validator.watermark_us(),
                is_quiet: now.saturating_sub(partition.last_record_at) >= self.idle_timeout
                    && partition.validator.progress().raw_offset >= self.world.log.end(&partition.raw),
            })
            .collect();
        let followed = idle::followed_us(&times);
        for (partition, time) in self.partitions.iter_mut().zip(&times) {
            if time.is_quiet {
                partition.validator.declare_idle(followed);
            }
        }
    }

    /// Publishes each partition's progress if it changed.
    ///
    /// # Errors
    /// Those of the log.
    pub(crate) fn publish_progress(&mut self) -> Result<()> {
        for partition in &mut self.partitions {
            let progress = partition.validator.progress();
            if progress == partition.published {
                continue;
            }
            let value = progress.to_json().map_err(|error| Error::Internal(error.to_string()))?;
            self.world.log.send(&OutRecord {
                topic: &self.stream.topics.progress,
                partition: Some(0),
                key: Some(progress.key().as_bytes()),
                value: Some(&value),
                ..OutRecord::default()
            })?;
            partition.published = progress;
        }
        Ok(())
    }

    /// Takes each partition up where its outputs end, as a new process does. A restart takes no time here, so quiet goes on being quiet.
    ///
    /// # Errors
    /// Those of validation: outputs that don't follow each other.
    pub(crate) fn restart(&mut self) -> Result<()> {
        for partition in &mut self.partitions {
            let progress = &partition.published;
            let output = |topic: &str| TopicPartition::new(topic, progress.partition);
            let (validated, rejected) = (output(&self.stream.topics.validated), output(&self.stream.topics.rejected));
            let log = &self.world.log;
            let mut validator = PartitionValidator::resume(self.rules.clone(), progress.clone())?;
            let recalled = log.read(&validated, progress.duplicates_from_offset, progress.validated_offset);
            validator.recall(&recalled, &*self.world.schemas)?;
            let mut settled = Settled::after(progress);
            settled.validated(&log.read(&validated, progress.validated_offset, log.end(&validated)))?;
            settled.rejected(&log.read(&rejected, progress.rejected_offset, log.end(&rejected)))?;
            validator.settle(settled);
            partition.validator = validator;
        }
        Ok(())
    }
}

/// The end of the next piece when so many are left.
pub(crate) fn share(from: i64, end: i64, pieces_left: usize) -> i64 {
    let pieces_left = i64::try_from(pieces_left.max(1)).unwrap_or(1);
    from + ((end - from).max(0) + pieces_left - 1) / pieces_left
}

#[cfg(test)]
mod tests {
    #[test]
    fn pieces_add_up_to_the_whole() {
        let mut from = 3;
        let mut pieces = Vec::new();
        for left in (1..=4).rev() {
            let to = super::share(from, 10, left);
            pieces.push(to - from);
            from = to;
        }
        assert_eq!(pieces, [2, 2, 2, 1]);
    }
}
