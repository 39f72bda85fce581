//! Which partitions are this process's: all of them, or those that a consumer group gives it. The same for every stage.
//!
//! The group only says who should have a partition. That nobody else works on it is up to its owner's epoch: an object in the snapshot store
//! (patterns, process), the position's row in PostgreSQL (store), the claim in the progress topic (validate). Whoever claims the next one goes on
//! from what was saved, and the process before is refused. It then asks the group again.
//!
//! A stage that can't be shared is led: the group has one partition to give, and whoever has that does all of it, while the others stand by.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka::GroupMember;
use model::TopicPartition;

use crate::error::{Error, Result};
use crate::run::context::Context;
use crate::run::topics::StreamTopics;

/// Longest wait for the group.
const WAIT: Duration = Duration::from_millis(100);

/// What a stage has to share, and whether it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sharing {
    /// The consumer group; without one this process has all partitions, and no other process may run the stage.
    pub(crate) group: Option<String>,
    /// All partitions.
    pub(crate) partitions: BTreeSet<TopicPartition>,
    /// Whether the partition stands for all of the stage's work.
    pub(crate) is_led: bool,
}

impl Sharing {
    /// A stage that works on each partition by itself.
    pub(crate) fn partitions(group: Option<String>, partitions: impl IntoIterator<Item = TopicPartition>) -> Self {
        Self { group, partitions: partitions.into_iter().collect(), is_led: false }
    }

    /// A stage that is done by one process, which has the partition of this stream's progress topic.
    pub(crate) fn led(group: Option<String>, stream: Option<&StreamTopics>) -> Self {
        let partition = stream.map(|topics| TopicPartition::new(topics.progress.as_str(), 0));
        Self { group, partitions: partition.into_iter().collect(), is_led: true }
    }
}

/// The consumer group of the processes that share a stage of a project. `part` is the stage's name, or that of a part of it.
pub(crate) fn group(project: &project::Project, part: &str) -> String {
    let prefix = &project.settings.connections.kafka.topic_prefix;
    format!("{prefix}tillstream-{}-{}", part.replace(' ', "-"), project.name)
}

/// This process's part of a stage.
#[derive(Debug)]
pub(crate) struct Share {
    context: Context,
    /// Name of the stage.
    stage: String,
    sharing: Sharing,
    /// From the first run on, if there is a group. An epoch that fails doesn't leave it.
    member: Option<GroupMember>,
    /// When the group was last asked.
    asked_at: Duration,
}

impl Share {
    pub(crate) fn new(context: &Context, stage: &str, sharing: Sharing) -> Self {
        Self { context: context.clone(), stage: stage.to_owned(), sharing, member: None, asked_at: Duration::ZERO }
    }

    /// Works on the partitions that are this process's until the stop switch is thrown; when the group gives it others, on those. `work` is
    /// to come back once [`has_changed`](Self::has_changed) says so, with nothing under way in the partitions that it no longer has.
    ///
    /// # Errors
    /// Those of the group and of `work`, but for that another process of the group has claimed what was this one's.
    pub(crate) fn run(
        &mut self,
        mut work: impl FnMut(&BTreeSet<TopicPartition>, &mut Self) -> Result<()>,
    ) -> Result<()> {
        self.join()?;
        while !self.context.stop.is_set() {
            let own = self.partitions();
            self.tell(&own);
            if own.is_empty() {
                if self.member.is_none() {
                    self.context.stop.wait(WAIT);
                }
                self.poll(WAIT)?;
                self.context.status.set_trouble(&self.stage, None);
                self.context.status.step(&self.stage);
                continue;
            }
            match work(&own, self) {
                Err(error) if self.has_lost(&error) => {
                    tracing::info!(stage = %self.stage, %error, "another process has taken over partitions");
                    self.hear()?;
                }
                ended => ended?,
            }
            // Lets go of what is to go.
            self.poll(Duration::ZERO)?;
        }
        Ok(())
    }

    /// The partitions that are this process's: none before it has joined the group, if there is one.
    pub(crate) fn partitions(&self) -> BTreeSet<TopicPartition> {
        match (&self.member, &self.sharing.group) {
            (Some(member), _) => member.partitions().intersection(&self.sharing.partitions).cloned().collect(),
            (None, Some(_)) => BTreeSet::new(),
            (None, None) => self.sharing.partitions.clone(),
        }
    }

    /// Whether the group has given this process other partitions. Asked between two steps: those that have gone are nobody's until it is
    /// asked again.
    pub(crate) fn has_changed(&mut self) -> Result<bool> {
        self.poll(Duration::ZERO)
    }

    /// Asked before something is written that no one could refuse.
    ///
    /// # Errors
    /// `Fenced` when this process has stood still for so long that the group may have given its partitions to another.
    pub(crate) fn check(&self) -> Result<()> {
        let silence = self.context.clock.elapsed().saturating_sub(self.asked_at);
        if self.member.is_none() || silence <= GroupMember::SILENCE_MAX {
            return Ok(());
        }
        Err(Error::Fenced(format!(
            "{} stood still for {} ms, and its partitions may have gone to another process",
            self.stage,
            silence.as_millis()
        )))
    }

    fn join(&mut self) -> Result<()> {
        let Some(group) = self.sharing.group.as_ref().filter(|_| self.member.is_none()) else { return Ok(()) };
        let topics: BTreeSet<&str> = self.sharing.partitions.iter().map(|partition| &*partition.topic).collect();
        let topics: Vec<&str> = topics.into_iter().collect();
        self.member = Some(GroupMember::join(&self.context.connection, group, &topics)?);
        Ok(())
    }

    fn poll(&mut self, wait: Duration) -> Result<bool> {
        let Some(member) = &mut self.member else { return Ok(false) };
        let has_changed = member.poll(wait)?;
        self.asked_at = self.context.clock.elapsed();
        Ok(has_changed)
    }

    /// Whether an error means that another process of the group has claimed what was this one's.
    fn has_lost(&self, error: &Error) -> bool {
        self.member.is_some() && error.is_fenced()
    }

    /// Waits for what the group has to say to a member that may have been taken for dead.
    fn hear(&mut self) -> Result<()> {
        let from = self.context.clock.elapsed();
        while self.context.clock.elapsed().saturating_sub(from) < GroupMember::WORD_WITHIN {
            if self.poll(WAIT)? || self.context.stop.is_set() {
                break;
            }
        }
        Ok(())
    }

    /// Tells the status which partitions are this process's.
    fn tell(&self, own: &BTreeSet<TopicPartition>) {
        self.context.status.set_share(&self.stage, own.clone(), described(&self.sharing, own));
    }
}

/// A share for people, and its numbers.
fn described(sharing: &Sharing, own: &BTreeSet<TopicPartition>) -> serve::ShareNumbers {
    let count = |partitions: &BTreeSet<TopicPartition>| u64::try_from(partitions.len()).unwrap_or(u64::MAX);
    let (partitions, of) = (count(own), count(&sharing.partitions));
    let mut topics: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for partition in own {
        topics.entry(&partition.topic).or_default().push(partition.partition.to_string());
    }
    let text = match sharing.is_led {
        _ if sharing.group.is_none() => String::new(),
        true if own.is_empty() => "stands by while another process does it".to_owned(),
        true => "does it while others stand by".to_owned(),
        false if own.is_empty() => format!("has none of {of} partitions"),
        false => {
            let topics: Vec<String> =
                topics.into_iter().map(|(topic, numbers)| format!("{topic} {}", numbers.join(", "))).collect();
            format!("has {partitions} of {of} partitions: {}", topics.join("; "))
        }
    };
    serve::ShareNumbers { partitions, of, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions(topic: &str, numbers: &[i32]) -> BTreeSet<TopicPartition> {
        numbers.iter().map(|&number| TopicPartition::new(topic, number)).collect()
    }

    #[test]
    fn a_share_says_what_it_has_of_what() {
        let group = || Some("g".to_owned());
        let sharing = Sharing::partitions(group(), partitions("orders.raw", &[0, 1, 2, 3]));
        let said = described(&sharing, &partitions("orders.raw", &[0, 2]));
        assert_eq!((said.partitions, said.of), (2, 4));
        assert_eq!(said.text, "has 2 of 4 partitions: orders.raw 0, 2");
        assert_eq!(described(&sharing, &BTreeSet::new()).text, "has none of 4 partitions");
        let led = Sharing::led(group(), Some(&StreamTopics::of("", "orders", 4)));
        assert_eq!(led.partitions, partitions("orders.progress", &[0]));
        assert!(described(&led, &BTreeSet::new()).text.starts_with("stands by"));
        assert!(described(&led, &led.partitions).text.starts_with("does it"));
        assert_eq!(described(&Sharing { group: None, ..led.clone() }, &led.partitions).text, "");
    }
}
