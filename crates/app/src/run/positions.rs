//! Positions held against the topics that they mean: a record that is gone, or a topic made anew, stops a stage loudly.

use std::collections::BTreeMap;

use kafka::Admin;
use model::{TopicId, TopicPartition};

use crate::error::{Error, Result};

/// Where a stage stands, and what a person allows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stand<'a> {
    /// Name of the stage.
    pub(crate) stage: &'a str,
    /// What happens to records there: "validated", "processed", "stored".
    pub(crate) done: &'a str,
    /// Whether to go on where records were deleted before that.
    pub(crate) accepts_loss: bool,
}

impl Stand<'_> {
    /// Where to go on reading a partition that holds the offsets `range` (the end exclusive): at `offset`, or, where records from there on
    /// were deleted and that is accepted, at the first one that is there.
    ///
    /// # Errors
    /// `Position` when the offset isn't in the log.
    pub(crate) fn start(&self, partition: &TopicPartition, offset: i64, range: (i64, i64)) -> Result<i64> {
        let Self { stage, done, .. } = self;
        let (first, end) = range;
        if offset > end {
            return Err(Error::Position(format!(
                "{partition} ends at offset {end}, but {stage} stands at {offset}: the topic has lost records that were {done} already; \
                 restore it, or start over as docs/recovery.md says"
            )));
        }
        if offset >= first {
            return Ok(offset);
        }
        let lost = first - offset;
        if self.accepts_loss {
            tracing::warn!(%partition, from = offset, to = first, lost, "records were deleted before they were {done}, which was accepted");
            return Ok(first);
        }
        Err(Error::Position(format!(
            "{partition} begins at offset {first}, but {stage} stands at {offset}: {lost} records were deleted before they were {done}. \
             Let topics keep records for longer than an outage may last (topic.retention); to go on without those that are lost, start \
             once with --accept-lost-records"
        )))
    }

    /// Checks that a topic is the one in which a position was taken.
    ///
    /// # Errors
    /// `Position` when it isn't.
    pub(crate) fn check_id(&self, topic: &str, known: &TopicId, found: &TopicId) -> Result<()> {
        if known == found {
            return Ok(());
        }
        Err(Error::Position(format!(
            "{topic} has the id {}, but {} stands in one with the id {}: the topic was deleted and made anew; docs/recovery.md says how to \
             start over",
            found.0, self.stage, known.0
        )))
    }
}

/// The ids of topics.
///
/// # Errors
/// `Position` when one doesn't exist; those of Kafka.
pub(crate) fn topic_ids<'a>(
    admin: &Admin,
    topics: impl IntoIterator<Item = &'a str>,
) -> Result<BTreeMap<String, TopicId>> {
    let mut ids = BTreeMap::new();
    for topic in topics {
        let info = admin.topic(topic)?.ok_or_else(|| Error::Position(format!("topic {topic} doesn't exist")))?;
        ids.insert(topic.to_owned(), info.id);
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_position_in_the_log_goes_on_unless_a_loss_is_accepted() {
        let partition = TopicPartition::new("orders.raw", 2);
        let stand = Stand { stage: "validate orders", done: "validated", accepts_loss: false };
        for offset in [5, 7, 9] {
            assert_eq!(stand.start(&partition, offset, (5, 9)).unwrap(), offset);
        }
        let below = stand.start(&partition, 3, (5, 9)).unwrap_err().to_string();
        assert!(below.contains("2 records were deleted before they were validated"), "{below}");
        let beyond = stand.start(&partition, 10, (5, 9)).unwrap_err().to_string();
        assert!(beyond.contains("ends at offset 9"), "{beyond}");
        let stand = Stand { accepts_loss: true, ..stand };
        assert_eq!(stand.start(&partition, 3, (5, 9)).unwrap(), 5);
        assert!(stand.start(&partition, 10, (5, 9)).is_err(), "that isn't a loss by deletion");
        let ids = [TopicId("a".into()), TopicId("b".into())];
        assert!(stand.check_id("orders.raw", &ids[0], &ids[0]).is_ok());
        assert!(stand.check_id("orders.raw", &ids[0], &ids[1]).is_err());
    }
}
