//! Claiming partitions: a record of the progress topic, whose one partition puts all claims into one order.
//!
//! Whoever claims a partition last has it. What was said of it before the claim is where its successor goes on; what its predecessor says
//! after that is void, and the claim, which it reads there, ends its epoch.

use std::time::Duration;

use kafka::{OutRecord, Reader, TopicInfo, Writer};
use model::progress::ProgressLedger;
use model::{Progress, TopicPartition};

use super::ValidateStage;
use crate::error::{Error, Result};
use crate::run::progress;
use crate::run::read_range::read_range;

const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);

/// What is known after a claim.
pub(super) struct Claimed {
    /// The last word on each partition of the stream, with this process's epoch on those that it has claimed.
    pub(super) ledger: ProgressLedger,
    /// Up to where the progress topic was read.
    pub(super) read_to: i64,
}

/// Claims these partitions, all of them or none.
///
/// # Errors
/// `Fenced` when another process has claimed one at the same moment; `Position` when what is known of one doesn't fit its log.
pub(super) fn claim(
    stage: &ValidateStage,
    reader: &Reader,
    writer: &Writer,
    raw: &TopicInfo,
    numbers: &[i32],
) -> Result<Claimed> {
    let (connection, stop) = (&stage.context.connection, &stage.context.stop);
    let topic = &stage.topics.progress;
    let (mut ledger, end) = progress::latest(connection, reader, topic, raw.partitions, stop)?;
    let mut claims = Vec::new();
    for &number in numbers {
        let claim = Progress { is_claim: true, epoch: None, ..known(stage, reader, raw, number, &ledger)? };
        // Numbers of reports begin with 1.
        send(topic, &claim, |record| writer.send_tracked(record, claims.len() + 1))?;
        claims.push(claim);
    }
    writer.flush(FLUSH_TIMEOUT)?;
    let mut read_to = end;
    for report in writer.reports() {
        let (_, offset) = report.outcome?;
        read_to = read_to.max(offset + 1);
        if let Some(claim) = claims.get_mut(report.number - 1) {
            claim.epoch = Some(offset);
        }
    }
    // Mostly nothing of others lies between.
    let has_others = read_to - end != i64::try_from(claims.len()).unwrap_or(i64::MAX);
    if has_others {
        read_range(connection, &TopicPartition::new(topic.as_str(), 0), (end, read_to), stop, |block| {
            for progress in progress::parse(block) {
                ledger.take(&progress?);
            }
            Ok(())
        })?;
    }
    for claim in &claims {
        if !has_others {
            ledger.take(claim);
        }
        check(stage, &ledger, claim.partition, claim.epoch)?;
    }
    Ok(Claimed { ledger, read_to })
}

/// Checks that a partition is still this process's.
///
/// # Errors
/// `Fenced` when it isn't.
pub(super) fn check(stage: &ValidateStage, ledger: &ProgressLedger, number: i32, epoch: Option<i64>) -> Result<()> {
    let newest = ledger.get(number).and_then(|progress| progress.epoch);
    if newest <= epoch {
        return Ok(());
    }
    Err(Error::Fenced(format!(
        "{}[{number}] was claimed by a newer process, at offset {} of {}; only one may validate it",
        stage.topics.raw,
        newest.unwrap_or(-1),
        stage.topics.progress
    )))
}

/// Gives a record of the progress topic to `sink`.
pub(super) fn send(
    topic: &str,
    progress: &Progress,
    sink: impl FnOnce(&OutRecord<'_>) -> kafka::Result<()>,
) -> Result<()> {
    let value = progress.to_json().map_err(|error| Error::Internal(error.to_string()))?;
    let (key, partition) = (progress.key(), Some(0));
    let record = OutRecord { topic, partition, key: Some(key.as_bytes()), value: Some(&value), ..OutRecord::default() };
    Ok(sink(&record)?)
}

/// What is known of a partition, held against its log.
fn known(
    stage: &ValidateStage,
    reader: &Reader,
    raw: &TopicInfo,
    number: i32,
    ledger: &ProgressLedger,
) -> Result<Progress> {
    let partition = TopicPartition::new(stage.topics.raw.as_str(), number);
    let Some(known) = ledger.get(number) else {
        // Nothing of it was validated yet: it begins with the first record that is there.
        let raw_offset = reader.range(&partition)?.0;
        return Ok(Progress { raw_offset, raw_topic_id: Some(raw.id.clone()), ..Progress::start(number) });
    };
    if let Some(id) = &known.raw_topic_id {
        stage.stand().check_id(&stage.topics.raw, id, &raw.id)?;
    }
    Ok(known.clone())
}
