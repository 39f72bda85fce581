//! A member of a consumer group: which partitions are this process's while others share the topics with it.
//!
//! It reads nothing: whoever has a partition reads it with a [`Reader`](crate::Reader) from a position of its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::TopicPartition;
use rdkafka::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};

use crate::connection::Connection;
use crate::error::{Error, Result, is_outage};

/// How long the group waits for a member that says nothing.
const SESSION_TIMEOUT_MS: &str = "10000";
const HEARTBEAT_INTERVAL_MS: &str = "3000";

#[derive(Debug, Default)]
struct Rebalances(Arc<AtomicU64>);

impl ClientContext for Rebalances {}

impl ConsumerContext for Rebalances {
    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            // Nothing is fetched here. If this fails, a few records are fetched and thrown away.
            drop(consumer.pause(partitions));
        }
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// A member of a group.
pub struct GroupMember {
    consumer: BaseConsumer<Rebalances>,
    rebalances: Arc<AtomicU64>,
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
            ("partition.assignment.strategy", "roundrobin"),
            ("session.timeout.ms", SESSION_TIMEOUT_MS),
            ("heartbeat.interval.ms", HEARTBEAT_INTERVAL_MS),
        ]);
        let context = Rebalances::default();
        let rebalances = context.0.clone();
        let brokers = connection.brokers.clone();
        let refused = |error| Error::of_request(&error, &brokers, &format!("joining the group {group}"));
        let consumer: BaseConsumer<Rebalances> = config.create_with_context(context).map_err(refused)?;
        consumer.subscribe(topics).map_err(refused)?;
        Ok(Self { consumer, rebalances, seen: 0, brokers, partitions: BTreeSet::new() })
    }

    /// The partitions that are this process's, as of the last [`poll`](Self::poll).
    pub fn partitions(&self) -> &BTreeSet<TopicPartition> {
        &self.partitions
    }

    /// Takes part in the group, waiting up to `timeout`: to be called every few seconds. True if the partitions have changed.
    ///
    /// # Errors
    /// `Refused`, such as by missing rights on the group. An outage is none: the partitions stay until the group says otherwise.
    pub fn poll(&mut self, timeout: Duration) -> Result<bool> {
        if let Some(Err(error)) = self.consumer.poll(timeout)
            && !is_outage(error.rdkafka_error_code())
        {
            return Err(Error::of_request(&error, &self.brokers, "taking part in a group"));
        }
        let seen = self.rebalances.load(Ordering::Acquire);
        if seen == self.seen {
            return Ok(false);
        }
        self.seen = seen;
        let refused = |error| Error::of_request(&error, &self.brokers, "asking for the partitions of a group");
        let assigned = self.consumer.assignment().map_err(refused)?;
        let partitions: BTreeSet<TopicPartition> = assigned
            .elements()
            .iter()
            .map(|element| TopicPartition::new(element.topic(), element.partition()))
            .collect();
        let has_changed = partitions != self.partitions;
        self.partitions = partitions;
        Ok(has_changed)
    }
}
