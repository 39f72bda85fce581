//! The validate stage of one stream: raw blocks in, verdicts and progress out.
//!
//! | file | does |
//! | --- | --- |
//! | `claim` | takes partitions, so that no other process has them |
//! | `partition` | a partition that this process has, taken up where its outputs end |
//! | `others` | what the partitions of other processes mean for it |
//! | `write` | verdicts on their way into the outputs |

mod claim;
mod others;
mod partition;
mod write;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kafka::{Admin, Reader, ReaderOptions, Start, TopicInfo, Writer, WriterOptions};
use model::progress::ProgressLedger;
use model::{Progress, RecordBlock, TopicPartition};
use validate::StreamRules;
use validate::idle::{self, PartitionQuiet};
use validate::skew::PartitionTime;

use crate::error::{Error, Result};
use crate::run::context::{Context, outage};
use crate::run::positions::Stand;
use crate::run::progress;
use crate::run::reject::RejectHeaders;
use crate::run::sharing::{Share, Sharing};
use crate::run::topics::StreamTopics;
use others::Others;
use partition::{Partition, Waiting};
pub(crate) use write::write;

/// Blocks waiting for validation before their partition is paused, in records and in bytes.
const QUEUED_RECORDS_MAX: usize = 4 * model::limits::BATCH_RECORDS_MAX;
const QUEUED_BYTES_MAX: usize = 2 * model::limits::BATCH_BYTES_MAX;
/// How long a batch is waited for.
const POLL: Duration = Duration::from_millis(20);
/// Least time between two progress records of a partition.
const PROGRESS_EVERY: Duration = Duration::from_millis(50);
const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a partition waits before the registry is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// How long a partition waits before it tries again to write ids to a disk that refused them.
const TRY_DISK_AGAIN: Duration = Duration::from_secs(1);
const ENDS_EVERY: Duration = Duration::from_millis(500);

/// Name of the stage that validates a stream, in logs, metrics and the status.
pub(crate) fn name_of(stream: &str) -> String {
    format!("validate {stream}")
}

/// What the stage needs to know of its stream.
#[derive(Debug, Clone)]
pub(crate) struct ValidateStage {
    pub(crate) context: Context,
    pub(crate) topics: StreamTopics,
    pub(crate) rules: Arc<StreamRules>,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_skew: Duration,
    /// As [`name_of`] has it.
    pub(crate) name: String,
    /// The consumer group of the processes that share the partitions; without it this one takes them all.
    pub(crate) group: Option<String>,
    /// Whether to go on where records were deleted before they were validated.
    pub(crate) accepts_loss: bool,
}

/// The partitions that this process has, and what is known of the others.
struct Session<'a> {
    stage: &'a ValidateStage,
    reader: Reader,
    writer: Writer,
    raw: TopicInfo,
    partitions: Vec<Partition>,
    ledger: ProgressLedger,
    /// Up to where the progress topic was read.
    progress_read_to: i64,
    others: Others,
    /// Progress records published in this epoch.
    progress_count: u64,
    ends_asked_at: Duration,
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

    fn stand(&self) -> Stand<'_> {
        Stand { stage: &self.name, done: "validated", accepts_loss: self.accepts_loss }
    }

    /// What it has to share: the raw partitions.
    pub(crate) fn sharing(&self) -> Sharing {
        let raw = |number| TopicPartition::new(self.topics.raw.as_str(), number);
        Sharing::partitions(self.group.clone(), (0..self.topics.partitions).map(raw))
    }

    /// Runs one epoch: takes up each partition that is this process's where its outputs end, then validates until the stop switch is thrown.
    /// Partitions that stay when the group moves others go on as they are.
    pub(crate) fn run_epoch(&self, share: &mut Share) -> Result<()> {
        let mut kept = None;
        share.run(|own, share| {
            // What an error ends isn't gone on with.
            let mut session = match kept.take() {
                Some(session) => session,
                None => Session::open(self)?,
            };
            session.take_up(own)?;
            while !self.context.stop.is_set() && !share.has_changed()? {
                session.step(share)?;
                self.context.status.step(&self.name);
            }
            session.finish(share)?;
            kept = Some(session);
            Ok(())
        })
    }
}

impl<'a> Session<'a> {
    fn open(stage: &'a ValidateStage) -> Result<Self> {
        let connection = &stage.context.connection;
        let missing = || Error::Position(format!("topic {} doesn't exist", stage.topics.raw));
        let raw = Admin::new(connection)?.topic(&stage.topics.raw)?.ok_or_else(missing)?;
        Ok(Self {
            stage,
            reader: Reader::new(connection, &ReaderOptions::default())?,
            writer: Writer::new(connection, &WriterOptions { linger_ms: 1, ..WriterOptions::default() })?,
            raw,
            partitions: Vec::new(),
            ledger: ProgressLedger::default(),
            progress_read_to: 0,
            others: Others::default(),
            progress_count: 0,
            ends_asked_at: Duration::ZERO,
            headers: RejectHeaders::default(),
        })
    }

    /// Takes up the partitions that aren't here yet, and lets go of those that are no longer this process's.
    fn take_up(&mut self, own: &BTreeSet<TopicPartition>) -> Result<()> {
        self.partitions.retain(|partition| own.contains(&partition.raw));
        let is_here = |raw: &TopicPartition| self.partitions.iter().any(|partition| partition.raw == *raw);
        let numbers: Vec<i32> = own.iter().filter(|raw| !is_here(raw)).map(|raw| raw.partition).collect();
        if !numbers.is_empty() {
            let claimed = claim::claim(self.stage, &self.reader, &self.writer, &self.raw, &numbers)?;
            (self.ledger, self.progress_read_to) = (claimed.ledger, claimed.read_to);
            for here in &self.partitions {
                claim::check(self.stage, &self.ledger, here.raw.partition, here.published.epoch)?;
            }
            for number in numbers {
                let known = self.ledger.get(number).cloned().unwrap_or_else(|| Progress::start(number));
                let progress = Progress { is_claim: false, ..known };
                self.partitions.push(Partition::open(self.stage, &self.reader, progress)?);
            }
        }
        self.set_others();
        let raw = self.partitions.iter().map(|partition| (partition.raw.clone(), Start::Offset(partition.read_to)));
        let progress = TopicPartition::new(self.stage.topics.progress.as_str(), 0);
        let assignment: Vec<_> = raw.chain([(progress, Start::Offset(self.progress_read_to))]).collect();
        self.reader.assign(&assignment)?;
        for partition in self.partitions.iter_mut().filter(|partition| partition.is_paused) {
            // Whether it outlives an assignment isn't said; a queue that is full pauses it again.
            self.reader.resume(std::slice::from_ref(&partition.raw))?;
            partition.is_paused = false;
        }
        let partitions = self.partitions.len();
        tracing::info!(stage = %self.stage.name, partitions, of = self.raw.partitions, "the validate stage starts");
        Ok(())
    }

    /// Publishes how far it is, so that nothing is under way.
    fn finish(&mut self, share: &Share) -> Result<()> {
        self.writer.wait_for_all(FLUSH_TIMEOUT)?;
        self.take_acknowledged()?;
        self.note_progress(|_| true);
        self.publish_acknowledged(share)?;
        Ok(self.writer.wait_for_all(FLUSH_TIMEOUT)?)
    }

    fn step(&mut self, share: &Share) -> Result<()> {
        self.fetch()?;
        let hold = self.partitions_to_hold()?;
        for index in 0..self.partitions.len() {
            if !hold.get(index).copied().unwrap_or(false) {
                self.validate_next(index, share)?;
            }
        }
        self.writer.poll()?;
        self.declare_idle()?;
        self.publish_progress(share)
    }

    /// Takes what the progress topic says: of other processes' partitions how far they are, of this one's whether they still are.
    fn hear(&mut self, block: &RecordBlock) -> Result<()> {
        self.progress_read_to = block.next_offset().unwrap_or(self.progress_read_to);
        for progress in progress::parse(block) {
            let progress = progress?;
            let is_valid = self.ledger.take(&progress);
            let number = progress.partition;
            let Some(own) = self.partitions.iter_mut().find(|known| known.raw.partition == number) else { continue };
            claim::check(self.stage, &self.ledger, number, own.published.epoch)?;
            if !is_valid {
                // The void record mustn't be the last one, which is what compaction leaves.
                own.published_as = None;
            }
        }
        self.set_others();
        Ok(())
    }

    fn set_others(&mut self) {
        if self.partitions.len() == usize::try_from(self.raw.partitions).unwrap_or(0) {
            return self.others.set(Vec::new());
        }
        let is_own = |number: &i32| self.partitions.iter().any(|partition| partition.raw.partition == *number);
        let known = |number| self.ledger.get(number).cloned().unwrap_or_else(|| Progress::start(number));
        self.others.set((0..self.raw.partitions).filter(|number| !is_own(number)).map(known).collect());
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
            if *block.topic == *self.stage.topics.progress {
                self.hear(&block)?;
                continue;
            }
            let Some(partition) = self.partitions.iter_mut().find(|known| known.raw.partition == block.partition)
            else {
                continue;
            };
            partition.read_to = block.next_offset().unwrap_or(partition.read_to);
            partition.last_record_at = clock.elapsed();
            partition.queue.push_back(block);
            if !partition.is_paused && partition.is_full(QUEUED_RECORDS_MAX, QUEUED_BYTES_MAX) {
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
        let replaying = self.partitions.iter().any(|partition| partition.is_paused || partition.queued() > 1_000);
        if replaying && now.saturating_sub(self.ends_asked_at) > ENDS_EVERY {
            self.ends_asked_at = now;
            self.pass_markers()?;
            for partition in &mut self.partitions {
                if partition.queue.is_empty() {
                    partition.end = self.reader.range(&partition.raw)?.1;
                }
            }
        }
        let times: Vec<PartitionTime> = self.partitions.iter().map(Partition::time).collect();
        let (reader, raw) = (&self.reader, &self.stage.topics.raw);
        let end_of = |number| Ok(reader.range(&TopicPartition::new(raw.as_str(), number))?.1);
        let mut hold = self.others.held(&times, micros(self.stage.max_skew), now, end_of)?;
        for (held, partition) in hold.iter_mut().zip(&self.partitions) {
            // A partition that hasn't said its time goes first even while it is only known to have records somewhere ahead.
            *held = *held && !partition.queue.is_empty();
        }
        Ok(hold)
    }

    /// Validates the next block of a partition, if there is one, and queues its outcomes for writing.
    fn validate_next(&mut self, index: usize, share: &Share) -> Result<()> {
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
                | validate::Error::SchemaGrace { .. }
                | validate::Error::SchemaQuestions { .. }),
            ) => {
                // The other partitions go on meanwhile.
                tracing::debug!(stage = %self.stage.name, %error, "waiting");
                if matches!(error, validate::Error::SchemaGrace { .. }) {
                    let now_us = context.clock.now_us();
                    let fresh = partition.queue.iter().skip(partition.expected);
                    fresh.for_each(|block| partition.validator.expect(block, now_us));
                    partition.expected = partition.queue.len();
                }
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
        share.check()?;
        write(&self.writer, &self.stage.topics, block, &verdicts, &mut self.headers)?;
        partition.probe_timestamp_ms = block.timestamps_ms.first().copied();
        partition.queue.pop_front();
        partition.expected = 0;
        if partition.is_paused && !partition.is_full(QUEUED_RECORDS_MAX / 2, QUEUED_BYTES_MAX / 2) {
            self.reader.resume(std::slice::from_ref(&partition.raw))?;
            partition.is_paused = false;
        }
        Ok(())
    }

    /// Takes what has been acknowledged, and checks that it lies where this epoch counts it.
    fn take_acknowledged(&mut self) -> Result<()> {
        let topics = &self.stage.topics;
        for (at, delivered) in self.writer.take_delivered() {
            let Some(partition) = self.partitions.iter_mut().find(|known| known.raw.partition == at.partition) else {
                continue;
            };
            let known = match &*at.topic {
                topic if topic == topics.validated => &mut partition.acknowledged.validated,
                topic if topic == topics.rejected => &mut partition.acknowledged.rejected,
                _ => continue,
            };
            let expected = *known + delivered.count;
            if delivered.first != *known || delivered.next != expected {
                return Err(Error::Unavailable(format!(
                    "{at} has {} records of this epoch from {} to {} where it counts them from {known} on: another process wrote to it",
                    delivered.count, delivered.first, delivered.next,
                )));
            }
            *known = expected;
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
            .chain(self.others.quiet())
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

    /// Publishes progress, a few times a second, once the records that it counts are acknowledged; validation goes on meanwhile. A partition
    /// whose outputs aren't acknowledged holds no other up.
    fn publish_progress(&mut self, share: &Share) -> Result<()> {
        self.take_acknowledged()?;
        let now = self.stage.context.clock.elapsed();
        let is_due = |partition: &Partition| now.saturating_sub(partition.noted_at) >= PROGRESS_EVERY;
        self.note_progress(|partition| partition.waiting.is_none() && is_due(partition));
        self.publish_acknowledged(share)
    }

    /// Notes the progress of these partitions, where something has changed.
    fn note_progress(&mut self, is_wanted: impl Fn(&Partition) -> bool) {
        let now = self.stage.context.clock.elapsed();
        for partition in self.partitions.iter_mut().filter(|partition| is_wanted(partition)) {
            partition.noted_at = now;
            let mut progress = partition.validator.progress();
            progress.raw_topic_id = Some(self.raw.id.clone());
            // Repeated now and then, so that the end of the topic tells of all partitions.
            let is_fresh = |at| self.progress_count - at < progress::REPEAT_AFTER;
            if progress != partition.published || !partition.published_as.is_some_and(is_fresh) {
                let probe_timestamp_ms = partition.probe_timestamp_ms.take();
                partition.waiting = Some(Waiting { progress, probe_timestamp_ms });
            }
        }
    }

    fn publish_acknowledged(&mut self, share: &Share) -> Result<()> {
        let StreamTopics { progress: topic, validated, .. } = &self.stage.topics;
        let status = &self.stage.context.status;
        for partition in &mut self.partitions {
            let acknowledged = partition.acknowledged;
            let Some(waiting) = partition.waiting.take_if(|waiting| acknowledged.covers(&waiting.progress)) else {
                continue;
            };
            let Waiting { progress, probe_timestamp_ms } = waiting;
            share.check()?;
            claim::send(topic, &progress, |record| self.writer.send(record))?;
            if let Some(raw_timestamp_ms) = probe_timestamp_ms {
                let validated = TopicPartition::new(validated.as_str(), progress.partition);
                status.offer_probe(validated, progress.validated_offset, raw_timestamp_ms);
            }
            status.set_validated(&self.stage.rules.stream, progress.clone());
            self.progress_count += 1;
            partition.published = progress;
            partition.published_as = Some(self.progress_count);
        }
        Ok(())
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
