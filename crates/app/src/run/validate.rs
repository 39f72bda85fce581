//! The validate stage of one stream: raw blocks in, verdicts and progress out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use kafka::{Admin, OutRecord, Reader, ReaderOptions, Start, Writer, WriterOptions};
use model::{Progress, RecordBlock, TopicId, TopicPartition};
use validate::idle::{self, PartitionQuiet};
use validate::skew::{self, PartitionTime};
use validate::{Outcome, PartitionValidator, Settled, StreamRules, Verdicts};

use crate::error::{Error, Result};
use crate::run::context::{Context, outage};
use crate::run::positions::Stand;
use crate::run::progress;
use crate::run::read_range::read_range;
use crate::run::reject::RejectHeaders;
use crate::run::sink::RecordSink;
use crate::run::topics::StreamTopics;

/// Blocks waiting for validation before their partition is paused, in records.
const QUEUED_RECORDS_MAX: usize = 4 * model::limits::BATCH_RECORDS_MAX;
/// How long a batch is waited for.
const POLL: Duration = Duration::from_millis(20);
/// Time between two reports of a start that takes long.
const TELL_EVERY: Duration = Duration::from_secs(2);
/// Least time between two progress records of a partition.
const PROGRESS_EVERY: Duration = Duration::from_millis(50);
const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a partition waits before the registry is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// How long a partition waits before it tries again to write ids to a disk that refused them.
const TRY_DISK_AGAIN: Duration = Duration::from_secs(1);
const ENDS_EVERY: Duration = Duration::from_millis(500);

/// What the stage needs to know of its stream.
#[derive(Debug, Clone)]
pub(crate) struct ValidateStage {
    pub(crate) context: Context,
    pub(crate) topics: StreamTopics,
    pub(crate) rules: Arc<StreamRules>,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_skew: Duration,
    /// Name in logs, metrics and the status.
    pub(crate) name: String,
    /// Whether to go on where records were deleted before they were validated.
    pub(crate) accepts_loss: bool,
}

struct Partition {
    raw: TopicPartition,
    validator: PartitionValidator,
    queue: VecDeque<RecordBlock>,
    is_paused: bool,
    /// Offset after the last record read.
    read_to: i64,
    /// End of the raw partition when last asked.
    end: i64,
    last_record_at: Duration,
    published: Progress,
    /// Progress records of the stream when its own was published last; `None` before the first.
    published_as: Option<u64>,
    /// Kafka timestamp of a record validated since the last acknowledgement, for the latency probe.
    probe_timestamp_ms: Option<i64>,
    /// When to ask the registry again for the schema that the next block waits for, and what it waits for.
    waits_until: Duration,
    trouble: Option<String>,
}

impl Partition {
    fn queued(&self) -> usize {
        self.queue.iter().map(RecordBlock::len).sum()
    }

    /// Whether records wait.
    fn has_backlog(&self) -> bool {
        !self.queue.is_empty() || self.read_to < self.end
    }
}

/// One epoch of the stage.
struct Session<'a> {
    stage: &'a ValidateStage,
    reader: Reader,
    writer: Writer,
    partitions: Vec<Partition>,
    raw_topic_id: TopicId,
    /// Progress records published in this epoch.
    progress_count: u64,
    ends_asked_at: Duration,
    /// When progress was last looked at.
    published_at: Duration,
    headers: RejectHeaders,
}

impl ValidateStage {
    /// Says how far the reading of ids has come at a start that takes long.
    fn tell_recalled(&self, validated: &TopicPartition, (from, to): (i64, i64), next: Option<i64>) {
        let done = next.unwrap_or(from) - from;
        let percent = done * 100 / (to - from).max(1);
        let text =
            format!("reading the ids of {validated} to find duplicates of them: {percent}% of {} records", to - from);
        tracing::info!(stage = %self.name, "{text}");
        self.context.status.set_trouble(&self.name, Some(text));
    }

    /// Runs one epoch: takes up each partition where its outputs end, then validates until the stop switch is thrown.
    pub(crate) fn run_epoch(&self) -> Result<()> {
        let mut session = Session::open(self)?;
        while !self.context.stop.is_set() {
            session.step()?;
            self.context.status.step(&self.name);
        }
        session.publish_progress(true)?;
        session.writer.flush(FLUSH_TIMEOUT)?;
        Ok(())
    }
}

impl<'a> Session<'a> {
    fn open(stage: &'a ValidateStage) -> Result<Self> {
        let connection = &stage.context.connection;
        let admin = Admin::new(connection)?;
        let missing = || Error::Position(format!("topic {} doesn't exist", stage.topics.raw));
        let raw = admin.topic(&stage.topics.raw)?.ok_or_else(missing)?;
        let mut reader = Reader::new(connection, &ReaderOptions::default())?;
        let topic = &stage.topics.progress;
        let mut known = progress::latest(connection, &reader, topic, raw.partitions, &stage.context.stop)?;
        let mut partitions = Vec::new();
        let mut assignment = Vec::new();
        for number in 0..raw.partitions {
            let partition = open_partition(stage, &reader, &raw.id, number, known.remove(&number))?;
            assignment.push((partition.raw.clone(), Start::Offset(partition.read_to)));
            partitions.push(partition);
        }
        reader.assign(&assignment)?;
        let writer = Writer::new(connection, &WriterOptions { linger_ms: 1, ..WriterOptions::default() })?;
        let headers = RejectHeaders::default();
        Ok(Self {
            stage,
            reader,
            writer,
            partitions,
            raw_topic_id: raw.id,
            progress_count: 0,
            ends_asked_at: Duration::ZERO,
            published_at: Duration::ZERO,
            headers,
        })
    }

    fn step(&mut self) -> Result<()> {
        self.fetch()?;
        let hold = self.partitions_to_hold()?;
        for index in 0..self.partitions.len() {
            if !hold.get(index).copied().unwrap_or(false) {
                self.validate_next(index)?;
            }
        }
        self.writer.poll()?;
        self.declare_idle()?;
        self.publish_progress(false)
    }

    /// Reads what is there into the partitions' queues and pauses those that are full.
    fn fetch(&mut self) -> Result<()> {
        let clock = &self.stage.context.clock;
        let now = clock.elapsed();
        let waiting =
            self.partitions.iter().any(|partition| !partition.queue.is_empty() && partition.waits_until <= now);
        let wait = if waiting { Duration::ZERO } else { POLL };
        let blocks = self.reader.poll(model::limits::BATCH_RECORDS_MAX, wait)?;
        if blocks.is_empty() {
            self.pass_markers()?;
        }
        for block in blocks {
            let Some(partition) = self.partitions.iter_mut().find(|known| known.raw.partition == block.partition)
            else {
                continue;
            };
            partition.read_to = block.next_offset().unwrap_or(partition.read_to);
            partition.last_record_at = clock.elapsed();
            partition.queue.push_back(block);
            if !partition.is_paused && partition.queued() > QUEUED_RECORDS_MAX {
                self.reader.pause(std::slice::from_ref(&partition.raw))?;
                partition.is_paused = true;
            }
        }
        let outage = outage(&self.reader);
        let trouble = outage.or_else(|| self.partitions.iter().find_map(|partition| partition.trouble.clone()));
        self.stage.context.status.set_trouble(&self.stage.name, trouble);
        Ok(())
    }

    /// Takes note of transaction markers that were read: no record tells of them, and a log may end in some.
    fn pass_markers(&mut self) -> Result<()> {
        for (raw, position) in self.reader.positions()? {
            let Some(partition) = self.partitions.iter_mut().find(|known| known.raw == raw) else { continue };
            partition.read_to = partition.read_to.max(position);
            if partition.queue.is_empty() {
                partition.validator.pass(position);
            }
        }
        Ok(())
    }

    /// Which partitions wait for slower ones. The ends of the log are asked for only while a backlog is read.
    fn partitions_to_hold(&mut self) -> Result<Vec<bool>> {
        let now = self.stage.context.clock.elapsed();
        let replaying = self.partitions.iter().any(|partition| partition.queued() > 1_000);
        if replaying && now.saturating_sub(self.ends_asked_at) > ENDS_EVERY {
            self.ends_asked_at = now;
            self.pass_markers()?;
            for partition in &mut self.partitions {
                if partition.queue.is_empty() {
                    partition.end = self.reader.range(&partition.raw)?.1;
                }
            }
        }
        let times: Vec<PartitionTime> = self
            .partitions
            .iter()
            .map(|partition| PartitionTime {
                watermark_us: partition.validator.watermark_us(),
                has_backlog: partition.has_backlog(),
            })
            .collect();
        let mut hold = skew::to_hold(&times, micros(self.stage.max_skew));
        for (held, partition) in hold.iter_mut().zip(&self.partitions) {
            // A partition that hasn't said its time goes first even while it is only known to have records somewhere ahead.
            *held = *held && !partition.queue.is_empty();
        }
        Ok(hold)
    }

    /// Validates the next block of a partition, if there is one, and queues its outcomes for writing.
    fn validate_next(&mut self, index: usize) -> Result<()> {
        let context = &self.stage.context;
        let Some(partition) = self.partitions.get_mut(index) else { return Ok(()) };
        let Some(block) = partition.queue.front() else { return Ok(()) };
        if context.clock.elapsed() < partition.waits_until {
            return Ok(());
        }
        partition.trouble = None;
        let verdicts = match partition.validator.validate(block, context.clock.now_us(), &*context.schemas) {
            Ok(verdicts) => verdicts,
            Err(
                error @ (validate::Error::Registry(model::SchemaError::Unavailable { .. })
                | validate::Error::SchemaGrace { .. }),
            ) => {
                // The other partitions go on meanwhile.
                tracing::debug!(stage = %self.stage.name, %error, "waiting");
                partition.waits_until = context.clock.elapsed() + ASK_AGAIN;
                partition.trouble = Some(error.to_string());
                return Ok(());
            }
            Err(error @ validate::Error::SpillWrite { .. }) => {
                tracing::debug!(stage = %self.stage.name, %error, "waiting");
                partition.waits_until = context.clock.elapsed() + TRY_DISK_AGAIN;
                partition.trouble = Some(error.to_string());
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        write(&self.writer, &self.stage.topics, block, &verdicts, &mut self.headers)?;
        partition.probe_timestamp_ms = block.timestamps_ms.first().copied();
        partition.queue.pop_front();
        if partition.is_paused && partition.queued() < QUEUED_RECORDS_MAX / 2 {
            self.reader.resume(std::slice::from_ref(&partition.raw))?;
            partition.is_paused = false;
        }
        Ok(())
    }

    /// Waits until all outcomes are acknowledged, and checks that they lie where this epoch counts them.
    fn acknowledge(&mut self) -> Result<()> {
        let acknowledged = self.writer.flush(FLUSH_TIMEOUT)?;
        for partition in &mut self.partitions {
            if let Some(raw_timestamp_ms) = partition.probe_timestamp_ms.take() {
                let progress = partition.validator.progress();
                let validated = TopicPartition::new(self.stage.topics.validated.as_str(), progress.partition);
                self.stage.context.status.offer_probe(validated, progress.validated_offset, raw_timestamp_ms);
            }
        }
        for partition in &self.partitions {
            let progress = partition.validator.progress();
            let number = progress.partition;
            for (topic, expected) in [
                (&self.stage.topics.validated, progress.validated_offset),
                (&self.stage.topics.rejected, progress.rejected_offset),
            ] {
                let at = acknowledged.get(&TopicPartition::new(topic.as_str(), number)).copied();
                if let Some(at) = at.filter(|&at| at != expected) {
                    return Err(Error::Unavailable(format!(
                        "{topic}[{number}] ends at {at} where this epoch counts {expected}: another process wrote to it"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Declares partitions idle that have caught up and been quiet, and lets the idle ones follow the others' watermark.
    fn declare_idle(&mut self) -> Result<()> {
        let now = self.stage.context.clock.elapsed();
        let timeout = self.stage.idle_timeout;
        let is_quiet = |partition: &Partition| {
            partition.queue.is_empty() && now.saturating_sub(partition.last_record_at) >= timeout
        };
        if !self.partitions.iter().any(is_quiet) {
            return Ok(());
        }
        let times: Vec<PartitionQuiet> = self
            .partitions
            .iter()
            .map(|partition| PartitionQuiet {
                watermark_us: partition.validator.watermark_us(),
                is_quiet: is_quiet(partition),
            })
            .collect();
        let followed = idle::followed_us(&times);
        for partition in &mut self.partitions {
            let follows = partition.published.idle && partition.validator.watermark_us() >= followed;
            if !is_quiet(partition) || follows {
                continue;
            }
            if !partition.published.idle {
                // Proof of idleness: nothing lies in the log past what was read.
                partition.end = self.reader.range(&partition.raw)?.1;
                if self.reader.outage().is_some() || partition.read_to < partition.end {
                    continue;
                }
            }
            partition.validator.declare_idle(followed);
        }
        Ok(())
    }

    /// Publishes the progress of the partitions in which something changed, a few times a second or at once.
    fn publish_progress(&mut self, at_once: bool) -> Result<()> {
        let now = self.stage.context.clock.elapsed();
        if !at_once && now.saturating_sub(self.published_at) < PROGRESS_EVERY {
            return Ok(());
        }
        self.published_at = now;
        let mut changed = Vec::new();
        for (index, partition) in self.partitions.iter().enumerate() {
            let mut progress = partition.validator.progress();
            progress.raw_topic_id = Some(self.raw_topic_id.clone());
            // Repeated now and then, so that the end of the topic tells of all partitions.
            let is_fresh = |at| self.progress_count - at < progress::REPEAT_AFTER;
            if progress != partition.published || !partition.published_as.is_some_and(is_fresh) {
                changed.push((index, progress));
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        self.acknowledge()?;
        for (index, progress) in changed {
            let value = progress.to_json().map_err(|error| Error::Internal(error.to_string()))?;
            self.writer.send(&OutRecord {
                topic: &self.stage.topics.progress,
                partition: Some(0),
                key: Some(progress.key().as_bytes()),
                value: Some(&value),
                ..OutRecord::default()
            })?;
            self.stage.context.status.set_validated(&self.stage.rules.stream, progress.clone());
            self.progress_count += 1;
            if let Some(partition) = self.partitions.get_mut(index) {
                partition.published = progress;
                partition.published_as = Some(self.progress_count);
            }
        }
        Ok(())
    }
}

/// Takes a partition up where its outputs end.
fn open_partition(
    stage: &ValidateStage,
    reader: &Reader,
    raw_id: &TopicId,
    number: i32,
    known: Option<Progress>,
) -> Result<Partition> {
    let (connection, stop) = (&stage.context.connection, &stage.context.stop);
    let raw = TopicPartition::new(stage.topics.raw.as_str(), number);
    let stand = Stand { stage: &stage.name, done: "validated", accepts_loss: stage.accepts_loss };
    let (first, end) = reader.range(&raw)?;
    let progress = match known {
        Some(progress) => {
            if let Some(known) = &progress.raw_topic_id {
                stand.check_id(&stage.topics.raw, known, raw_id)?;
            }
            let raw_offset = stand.start(&raw, progress.raw_offset, (first, end))?;
            Progress { raw_offset, ..progress }
        }
        // Nothing of it was validated yet: it begins with the first record that is there.
        None => Progress { raw_offset: first, ..Progress::start(number) },
    };
    let mut validator = PartitionValidator::resume(stage.rules.clone(), progress.clone())?;
    let validated = TopicPartition::new(stage.topics.validated.as_str(), number);
    let rejected = TopicPartition::new(stage.topics.rejected.as_str(), number);
    let (validated_start, validated_end) = reader.range(&validated)?;
    let rejected_end = reader.range(&rejected)?.1;
    for (output, at, end) in
        [(&validated, progress.validated_offset, validated_end), (&rejected, progress.rejected_offset, rejected_end)]
    {
        if at > end {
            return Err(Error::Position(format!(
                "{output} ends at offset {end}, but {} wrote it up to {at}: the topic was made anew, or has lost records; restore it, or start \
                 over as docs/recovery.md says",
                stage.name
            )));
        }
    }
    let recalled = (progress.duplicates_from_offset.max(validated_start), progress.validated_offset);
    let mut told_at = stage.context.clock.elapsed();
    read_range(connection, &validated, recalled, stop, |block| {
        validator.recall(block)?;
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
    Ok(Partition {
        raw,
        validator,
        queue: VecDeque::new(),
        is_paused: false,
        read_to: progress.raw_offset,
        end,
        last_record_at: stage.context.clock.elapsed(),
        published: progress,
        published_as: None,
        probe_timestamp_ms: None,
        waits_until: Duration::ZERO,
        trouble: None,
    })
}

/// Queues the outcomes of a block for writing.
pub(crate) fn write(
    writer: &impl RecordSink,
    topics: &StreamTopics,
    block: &RecordBlock,
    verdicts: &Verdicts,
    headers: &mut RejectHeaders,
) -> Result<()> {
    let mut payloads = verdicts.payloads.iter();
    for (index, outcome) in verdicts.outcomes.iter().enumerate() {
        let raw_offset = block.offsets.get(index).copied().unwrap_or(-1);
        match outcome {
            Outcome::Published => {}
            Outcome::Accepted { previous } => {
                let value = payloads.next().flatten();
                let (at, before) = headers.offsets(raw_offset, *previous);
                writer.send(&OutRecord {
                    topic: &topics.validated,
                    partition: Some(block.partition),
                    key: block.keys.get(index),
                    value,
                    headers: &[
                        (model::provenance::RAW_OFFSET, Some(at.as_bytes())),
                        (model::provenance::PREVIOUS_RAW_OFFSET, Some(before.as_bytes())),
                    ],
                    timestamp_ms: None,
                })?;
            }
            Outcome::Rejected { previous, rejection } => {
                headers.send(writer, &topics.rejected, block, index, *previous, rejection)?;
            }
        }
    }
    Ok(())
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
