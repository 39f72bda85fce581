//! Which partitions are this process's: all of them, or those that a consumer group gives it.
//!
//! The group only says who should have a partition. That nobody else has it is up to its epoch: whoever claims the next one goes on from the
//! newest snapshot, and the process before can't save any more. What both have published in between is the same, with the same versions.

use std::sync::Arc;
use std::time::Duration;

use kafka::GroupMember;

use super::{PartitionId, PatternPlan, PatternsStage};
use crate::error::{Error, Result};
use crate::run::topics::StreamTopics;

/// Longest wait for the group.
const WAIT: Duration = Duration::from_millis(100);

/// This process's part of the partitions.
#[derive(Debug)]
pub(super) struct Share {
    plan: Arc<PatternPlan>,
    is_filler: bool,
    member: Option<GroupMember>,
}

impl Share {
    /// Joins the group, if there is one.
    pub(super) fn open(stage: &PatternsStage) -> Result<Self> {
        let is_filler = stage.is_filler();
        // What fills a generation is for one process: that which is given the one partition of the progress topic.
        let topic =
            |topics: &'_ StreamTopics| if is_filler { topics.progress.clone() } else { topics.validated.clone() };
        let topics: Vec<String> = stage.plan.streams.iter().map(|stream| topic(&stream.topics)).collect();
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        let member = stage.group.as_ref().map(|group| GroupMember::join(&stage.context.connection, group, &topics));
        Ok(Self { plan: stage.plan.clone(), is_filler, member: member.transpose()? })
    }

    /// The partitions that are this process's.
    pub(super) fn partitions(&self) -> Vec<PartitionId> {
        let mut all = self.plan.partitions();
        if let Some(member) = &self.member {
            let is_given = |id: &PartitionId| match self.is_filler {
                true => !member.partitions().is_empty(),
                false => self.plan.validated(*id).is_some_and(|partition| member.partitions().contains(&partition)),
            };
            all.retain(is_given);
        }
        all
    }

    /// Waits a little for the group.
    pub(super) fn wait(&mut self) -> Result<()> {
        if let Some(member) = &mut self.member {
            member.poll(WAIT)?;
        }
        Ok(())
    }

    /// Whether the group has given this process other partitions.
    pub(super) fn has_changed(&mut self) -> Result<bool> {
        let Some(member) = &mut self.member else { return Ok(false) };
        Ok(member.poll(Duration::ZERO)?)
    }

    /// Whether an error means that another process of the group has claimed a partition that was this one's.
    pub(super) fn has_lost(&self, error: &Error) -> bool {
        self.member.is_some() && matches!(error, Error::State(state::Error::Fenced { .. }))
    }
}
