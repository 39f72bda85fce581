//! How a rebalance begins and ends.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;

use super::{Group, State};
use crate::group::member::{Answer, Joined, JoinedMember, Synced};

impl Group {
    pub(super) fn remove(&mut self, now: Duration, id: &str, answers: &mut Vec<Answer>) {
        let Some(member) = self.members.remove(id) else { return };
        answers.extend(
            member.awaits_join.map(|token| Answer::Join(token, Joined::refused(ResponseError::UnknownMemberId, id))),
        );
        answers.extend(
            member.awaits_sync.map(|token| Answer::Sync(token, Synced::refused(ResponseError::UnknownMemberId))),
        );
        if let Some(instance) = &member.instance_id {
            self.instances.remove(instance);
        }
        if self.leader.as_deref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
        if matches!(self.state, State::Stable | State::Completing) {
            self.rebalance(now, answers);
        }
    }

    /// Begins a rebalance, if none is being prepared.
    pub(super) fn rebalance(&mut self, now: Duration, answers: &mut Vec<Answer>) {
        if self.state == State::Preparing {
            return;
        }
        for member in self.members.values_mut() {
            if let Some(token) = member.awaits_sync.take() {
                member.seen(now);
                answers.push(Answer::Sync(token, Synced::refused(ResponseError::RebalanceInProgress)));
            }
        }
        let delay = if self.state == State::Empty { self.initial_delay } else { Duration::ZERO };
        self.window = (now + delay, now + self.rebalance_timeout().max(delay));
        self.state = State::Preparing;
        self.rebalances += 1;
    }

    fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default()
    }

    pub(super) fn all_joined(&self) -> bool {
        self.pending.is_empty() && self.members.values().all(|member| member.awaits_join.is_some())
    }

    pub(super) fn complete_if_due(&mut self, now: Duration, answers: &mut Vec<Answer>) {
        let (not_before, at_the_latest) = self.window;
        let is_due = now >= at_the_latest || self.all_joined() && (now >= not_before || self.members.is_empty());
        if self.state != State::Preparing || !is_due {
            return;
        }
        let late =
            self.members.iter().filter(|(_, member)| member.awaits_join.is_none() && member.instance_id.is_none());
        let late: Vec<String> = late.map(|(id, _)| id.clone()).collect();
        for id in late {
            self.remove(now, &id, answers);
        }
        let has_joined = |id: &String| self.members.get(id).is_some_and(|member| member.awaits_join.is_some());
        if !self.leader.as_ref().is_some_and(has_joined) {
            let joined = self.members.iter().find(|(_, member)| member.awaits_join.is_some());
            match joined {
                Some((id, _)) => self.leader = Some(id.clone()),
                None if !self.members.is_empty() => {
                    // Only static members are left, and all are away: they have until their sessions end.
                    self.window = (now, now + self.rebalance_timeout().max(Duration::from_millis(1)));
                    return;
                }
                None => {}
            }
        }
        self.complete(now, answers);
    }

    fn complete(&mut self, now: Duration, answers: &mut Vec<Answer>) {
        self.generation = self.generation.wrapping_add(1).max(1);
        if self.members.is_empty() {
            self.state = State::Empty;
            (self.protocol, self.leader) = (None, None);
            return;
        }
        self.protocol = self.elect_protocol();
        self.state = State::Completing;
        self.sync_deadline = now + self.rebalance_timeout();
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let joined = self.joined(&id);
            if let Some(member) = self.members.get_mut(&id) {
                member.assignment = Bytes::new();
                if let Some(token) = member.awaits_join.take() {
                    member.seen(now);
                    answers.push(Answer::Join(token, joined));
                }
            }
        }
    }

    /// The assignor that most members want most, of those that all have.
    fn elect_protocol(&self) -> Option<String> {
        let common = |name: &str| self.members.values().all(|member| member.supports(name));
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| common(name)) {
                *votes.entry(name.as_str()).or_default() += 1;
            }
        }
        votes.into_iter().max_by_key(|(_, votes)| *votes).map(|(name, _)| name.to_owned())
    }

    /// The present generation as the answer to a member's join.
    pub(super) fn joined(&self, id: &str) -> Joined {
        let leader = self.leader.clone().unwrap_or_default();
        let protocol = self.protocol.clone().unwrap_or_default();
        let members = if leader == id {
            let all = self.members.iter().map(|(id, member)| JoinedMember {
                member_id: id.clone(),
                instance_id: member.instance_id.clone(),
                metadata: member.metadata(&protocol),
            });
            all.collect()
        } else {
            Vec::new()
        };
        Joined {
            error: None,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: Some(protocol),
            leader,
            member_id: id.to_owned(),
            skip_assignment: false,
            members,
        }
    }
}
