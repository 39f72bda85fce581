//! A member of a consumer group: which partitions are this process's while others share the topics with it.
//!
//! It reads nothing: whoever has a partition reads it with a [`Reader`](crate::Reader) from a position of its own.
//!
//! The group moves as few partitions as it can, and one at a time: a partition that it takes from a member is nobody's until that member has
//! said goodbye to it, and only then another's.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::TopicPartition;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, TopicPartitionList};

use crate::connection::Connection;
use crate::error::{Error, Result, is_outage};

/// How long the group waits for a member that says nothing.
const SESSION_TIMEOUT_MS: u64 = 10_000;
/// Between two signs of life of a member, which its own thread gives.
const HEARTBEAT_INTERVAL_MS: u64 = 3_000;
/// How long a member may be busy between two polls: taking a partition over may mean reading an hour of it.
const POLL_INTERVAL_MAX_MS: u64 = 1_800_000;

/// What the group wants, as it comes in.
#[derive(Default)]
struct Rebalances {
    count: AtomicU64,
    /// Partitions that are to go, and whose owner hasn't let go of them yet.
    revoked: Mutex<Option<TopicPartitionList>>,
    /// Whether the member leaves, and lets go of all at once.
    is_leaving: AtomicBool,
}

impl Rebalances {
    fn revoked(&self) -> MutexGuard<'_, Option<TopicPartitionList>> {
        self.revoked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Rebalances {}

impl ConsumerContext for Rebalances {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let answered = match kind {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                let taken = consumer.incremental_assign(partitions);
                // Nothing is fetched here. If this fails, a few records are fetched and thrown away.
                drop(consumer.pause(partitions));
                taken
            }
            _ if self.is_leaving.load(Ordering::Acquire) => consumer.incremental_unassign(partitions),
            _ => {
                *self.revoked() = Some(partitions.clone());
                Ok(())
            }
        };
        if let Err(error) = answered {
            tracing::warn!(%error, "the consumer group's partitions couldn't be taken up");
        }
        self.count.fetch_add(1, Ordering::Release);
    }
}

/// A member of a group.
pub struct GroupMember {
    consumer: BaseConsumer<Rebalances>,
    seen: u64,
    brokers: String,
    partitions: BTreeSet<TopicPartition>,
}

impl std::fmt::Debug for GroupMember {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupMember").field("partitions", &self.partitions).finish_non_exhaustive()
    }
}

impl GroupMember {
    /// A member that has said nothing for so long may be taken for dead: the group's patience, less the time between two signs of life and
    /// some for their way.
    pub const SILENCE_MAX: Duration = Duration::from_millis((SESSION_TIMEOUT_MS - HEARTBEAT_INTERVAL_MS) * 5 / 7);
    /// By when a member that was taken for dead is told so, once it lives again.
    pub const WORD_WITHIN: Duration = Duration::from_millis(HEARTBEAT_INTERVAL_MS + 1_000);

    /// Asks to be a member of `group`, which shares the partitions of `topics`. It has none until [`poll`](Self::poll) says so; dropping it
    /// leaves the group.
    ///
    /// # Errors
    /// `Setting` when librdkafka refuses a property, `Refused` when it doesn't take the topics.
    pub fn join(connection: &Connection, group: &str, topics: &[&str]) -> Result<Self> {
        let config = connection.config(&[
            ("group.id", group),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "latest"),
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("session.timeout.ms", &SESSION_TIMEOUT_MS.to_string()),
            ("heartbeat.interval.ms", &HEARTBEAT_INTERVAL_MS.to_string()),
            ("max.poll.interval.ms", &POLL_INTERVAL_MAX_MS.to_string()),
        ]);
        let brokers = connection.brokers.clone();
        let refused = |error| Error::of_request(&error, &brokers, &format!("joining the group {group}"));
        let consumer: BaseConsumer<Rebalances> = config.create_with_context(Rebalances::default()).map_err(refused)?;
        consumer.subscribe(topics).map_err(refused)?;
        Ok(Self { consumer, seen: 0, brokers, partitions: BTreeSet::new() })
    }

    /// The partitions that are this process's, as of the last [`poll`](Self::poll).
    pub fn partitions(&self) -> &BTreeSet<TopicPartition> {
        &self.partitions
    }

    /// Takes part in the group, waiting up to `timeout`: to be called every few seconds. True if the partitions have changed. Those that have
    /// gone are nobody's until the next call, so that what is under way in them can be finished before.
    ///
    /// # Errors
    /// `Refused`, such as by missing rights on the group. An outage is none: the partitions stay until the group says otherwise.
    pub fn poll(&mut self, timeout: Duration) -> Result<bool> {
        self.let_go().map_err(|error| self.refused(&error))?;
        if let Some(Err(error)) = self.consumer.poll(timeout)
            && !is_outage(error.rdkafka_error_code())
        {
            return Err(self.refused(&error));
        }
        let seen = self.consumer.context().count.load(Ordering::Acquire);
        if seen == self.seen {
            return Ok(false);
        }
        self.seen = seen;
        let mut partitions = partitions_of(&self.consumer.assignment().map_err(|error| self.refused(&error))?);
        if let Some(going) = &*self.consumer.context().revoked() {
            let going = partitions_of(going);
            partitions.retain(|partition| !going.contains(partition));
        }
        let has_changed = partitions != self.partitions;
        self.partitions = partitions;
        Ok(has_changed)
    }

    /// Gives the partitions that are to go to the group.
    fn let_go(&self) -> std::result::Result<(), KafkaError> {
        let going = self.consumer.context().revoked().take();
        going.map_or(Ok(()), |going| self.consumer.incremental_unassign(&going))
    }

    fn refused(&self, error: &KafkaError) -> Error {
        Error::of_request(error, &self.brokers, "taking part in a group")
    }
}

impl Drop for GroupMember {
    fn drop(&mut self) {
        self.consumer.context().is_leaving.store(true, Ordering::Release);
        // If it fails, the group finds out by itself.
        drop(self.let_go());
    }
}

fn partitions_of(list: &TopicPartitionList) -> BTreeSet<TopicPartition> {
    list.elements().iter().map(|element| TopicPartition::new(element.topic(), element.partition())).collect()
}
