//! All groups together: requests wait here for their group's answer, timers run, committed offsets are kept.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use model::clock::Clock;
use tokio::sync::{Notify, oneshot};

use super::machine::Group;
use super::member::{Answer, Identity, Join, Joined, Synced, Token};
use super::store::{Committed, OffsetStore, PartitionKey};
use crate::metrics::Metrics;
use crate::sync::lock;

/// Longest time that the timer sleeps without looking.
const IDLE: Duration = Duration::from_secs(3_600);

/// All consumer groups of the broker.
#[derive(Debug)]
pub(crate) struct Coordinator {
    inner: Mutex<Inner>,
    /// A deadline may have come nearer.
    changed: Notify,
    pub(crate) offsets: Arc<OffsetStore>,
    clock: Arc<dyn Clock>,
    initial_delay: Duration,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Inner {
    groups: HashMap<String, Group>,
    joins: HashMap<Token, oneshot::Sender<Box<Joined>>>,
    syncs: HashMap<Token, oneshot::Sender<Box<Synced>>>,
    last_token: Token,
}

impl Inner {
    fn next_token(&mut self) -> Token {
        self.last_token += 1;
        self.last_token
    }

    fn deliver(&mut self, answers: Vec<Answer>) {
        for answer in answers {
            // A client that has hung up meanwhile will be given up when its session ends.
            let heard = match answer {
                Answer::Join(token, joined) => {
                    self.joins.remove(&token).is_some_and(|waiter| waiter.send(Box::new(joined)).is_ok())
                }
                Answer::Sync(token, synced) => {
                    self.syncs.remove(&token).is_some_and(|waiter| waiter.send(Box::new(synced)).is_ok())
                }
            };
            if !heard {
                tracing::debug!("a member of a group hung up before it had its answer");
            }
        }
    }
}

impl Coordinator {
    /// A coordinator of no group yet, with the offsets of the store.
    pub(crate) fn new(
        offsets: Arc<OffsetStore>,
        clock: Arc<dyn Clock>,
        initial_delay: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { inner: Mutex::default(), changed: Notify::new(), offsets, clock, initial_delay, metrics }
    }

    /// Lets a member join; waits for the group.
    pub(crate) async fn join(&self, group: &str, join: Join) -> Joined {
        let (sender, receiver) = oneshot::channel();
        let member_id = join.member_id.clone();
        {
            let mut inner = lock(&self.inner);
            let token = inner.next_token();
            inner.joins.insert(token, sender);
            let initial_delay = self.initial_delay;
            let entry = inner.groups.entry(group.to_owned()).or_insert_with(|| Group::new(initial_delay));
            let before = entry.rebalances();
            let answers = entry.join(self.clock.elapsed(), &join, token);
            self.metrics.rebalances.add(entry.rebalances() - before);
            inner.deliver(answers);
        }
        self.changed.notify_one();
        match receiver.await {
            Ok(joined) => *joined,
            Err(_) => Joined::refused(ResponseError::CoordinatorNotAvailable, &member_id),
        }
    }

    /// Gives a member its assignment; waits for the leader's.
    pub(crate) async fn sync(
        &self,
        group: &str,
        who: Identity<'_>,
        generation: i32,
        protocol: (Option<&str>, Option<&str>),
        assignments: &BTreeMap<String, Bytes>,
    ) -> Synced {
        let (sender, receiver) = oneshot::channel();
        {
            let mut inner = lock(&self.inner);
            let token = inner.next_token();
            let Some(entry) = inner.groups.get_mut(group) else {
                return Synced::refused(ResponseError::UnknownMemberId);
            };
            let answers = entry.sync(self.clock.elapsed(), who, generation, protocol, assignments, token);
            inner.syncs.insert(token, sender);
            inner.deliver(answers);
        }
        self.changed.notify_one();
        receiver.await.map_or_else(|_| Synced::refused(ResponseError::CoordinatorNotAvailable), |synced| *synced)
    }

    /// Takes note of a member's heartbeat.
    pub(crate) fn heartbeat(&self, group: &str, who: Identity<'_>, generation: i32) -> Result<(), ResponseError> {
        let mut inner = lock(&self.inner);
        let entry = inner.groups.get_mut(group).ok_or(ResponseError::UnknownMemberId)?;
        entry.heartbeat(self.clock.elapsed(), who, generation)
    }

    /// Lets a member go.
    pub(crate) fn leave(&self, group: &str, who: Identity<'_>) -> Result<(), ResponseError> {
        let result = {
            let mut inner = lock(&self.inner);
            let entry = inner.groups.get_mut(group).ok_or(ResponseError::UnknownMemberId)?;
            let (result, answers) = entry.leave(self.clock.elapsed(), who);
            inner.deliver(answers);
            result
        };
        self.changed.notify_one();
        result
    }

    /// Commits offsets; returns when they are as safe as the flush policy wants.
    pub(crate) async fn commit(
        &self,
        group: &str,
        who: Identity<'_>,
        generation: i32,
        offsets: Vec<(PartitionKey, Committed)>,
    ) -> Result<(), ResponseError> {
        let change = {
            // The lock is held over the write, so that a fenced member's commit can't come in behind a newer one.
            let mut inner = lock(&self.inner);
            match inner.groups.get_mut(group) {
                Some(entry) => entry.may_commit(self.clock.elapsed(), who, generation)?,
                None if generation < 0 => {}
                None => return Err(ResponseError::UnknownMemberId),
            }
            if offsets.is_empty() {
                return Ok(());
            }
            self.offsets.commit(group, offsets).map_err(unavailable)?
        };
        self.offsets.durable(change).await.map_err(unavailable)
    }

    /// Removes a group that has no members.
    pub(crate) async fn delete_group(&self, group: &str) -> Result<(), ResponseError> {
        let change = {
            let mut inner = lock(&self.inner);
            match inner.groups.get(group) {
                Some(entry) if !entry.is_idle() => return Err(ResponseError::NonEmptyGroup),
                None if !self.offsets.knows(group) => return Err(ResponseError::GroupIdNotFound),
                _ => {}
            }
            inner.groups.remove(group);
            self.offsets.remove_group(group).map_err(unavailable)?
        };
        self.offsets.durable(change).await.map_err(unavailable)
    }

    /// Removes committed offsets of a group without members.
    pub(crate) async fn delete_offsets(&self, group: &str, partitions: Vec<PartitionKey>) -> Result<(), ResponseError> {
        let change = {
            let inner = lock(&self.inner);
            match inner.groups.get(group) {
                Some(entry) if !entry.is_idle() => return Err(ResponseError::NonEmptyGroup),
                None if !self.offsets.knows(group) => return Err(ResponseError::GroupIdNotFound),
                _ => {}
            }
            self.offsets.remove(group, partitions).map_err(unavailable)?
        };
        self.offsets.durable(change).await.map_err(unavailable)
    }

    /// Shows a group to `look`: `None` if it isn't known, `Some(None)` if it has only committed offsets.
    pub(crate) fn with_group<T>(&self, group: &str, look: impl FnOnce(Option<Option<&Group>>) -> T) -> T {
        let inner = lock(&self.inner);
        match inner.groups.get(group) {
            Some(entry) => look(Some(Some(entry))),
            None if self.offsets.knows(group) => look(Some(None)),
            None => look(None),
        }
    }

    /// Names of all groups.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = self.offsets.names();
        names.extend(lock(&self.inner).groups.keys().cloned());
        names.into_iter().collect()
    }

    /// Runs the timers of all groups, for ever.
    pub(crate) async fn run_timers(&self) {
        loop {
            let next = self.tick();
            let wait = next.map_or(IDLE, |next| next.saturating_sub(self.clock.elapsed()));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// Does what is due, forgets groups without members, and returns when the next thing is due.
    fn tick(&self) -> Option<Duration> {
        let mut inner = lock(&self.inner);
        let now = self.clock.elapsed();
        let mut answers = Vec::new();
        let mut next: Option<Duration> = None;
        inner.groups.retain(|_, group| {
            if group.next_deadline().is_some_and(|deadline| deadline <= now) {
                let before = group.rebalances();
                answers.extend(group.tick(now));
                self.metrics.rebalances.add(group.rebalances() - before);
            }
            let deadline = group.next_deadline();
            next = next.into_iter().chain(deadline).min();
            !group.is_idle()
        });
        inner.deliver(answers);
        next
    }
}

/// A commit that the disk refused may be tried again.
#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn unavailable(error: io::Error) -> ResponseError {
    tracing::error!(%error, "committed offsets couldn't be written");
    ResponseError::CoordinatorNotAvailable
}
