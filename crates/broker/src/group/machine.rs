//! The rules of one consumer group, without I/O: requests and the time go in, answers come out.
//!
//! Follows Apache Kafka's coordinator for the classic protocol. A rebalance has two halves. First all members join (`Preparing`): those
//! that don't within the rebalance timeout are out. Then the leader says who gets what (`Completing`), and all are told (`Stable`).
//! What an assignment means, and whether the protocol is eager or cooperative, is between the clients.

mod rebalance;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;

use super::member::{Answer, Identity, Join, Joined, Member, Synced, Token};

/// Where a group stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Empty,
    Preparing,
    Completing,
    Stable,
}

impl State {
    /// Kafka's name for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Preparing => "PreparingRebalance",
            Self::Completing => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// A consumer group.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    state: State,
    generation: i32,
    protocol_type: Option<String>,
    protocol: Option<String>,
    leader: Option<String>,
    members: BTreeMap<String, Member>,
    /// Ids given out to members that haven't come back with them yet, and until when they may.
    pending: BTreeMap<String, Duration>,
    /// Static members: member id by instance id.
    instances: BTreeMap<String, String>,
    initial_delay: Duration,
    /// While preparing: not before, and at the latest.
    window: (Duration, Duration),
    /// While completing: when those that haven't synced are out.
    sync_deadline: Duration,
    rebalances: u64,
}

impl Group {
    /// An empty group, whose first member waits `initial_delay` for others.
    pub(crate) fn new(initial_delay: Duration) -> Self {
        Self {
            state: State::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            pending: BTreeMap::new(),
            instances: BTreeMap::new(),
            initial_delay,
            window: (Duration::ZERO, Duration::ZERO),
            sync_deadline: Duration::ZERO,
            rebalances: 0,
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    pub(crate) fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    pub(crate) fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    pub(crate) fn members(&self) -> &BTreeMap<String, Member> {
        &self.members
    }

    /// Rebalances begun so far.
    pub(crate) fn rebalances(&self) -> u64 {
        self.rebalances
    }

    /// Whether nobody is in it or about to be.
    pub(crate) fn is_idle(&self) -> bool {
        self.members.is_empty() && self.pending.is_empty()
    }

    /// A member wants in, or in again. The answer may come later, from any call.
    pub(crate) fn join(&mut self, now: Duration, join: &Join, token: Token) -> Vec<Answer> {
        let mut answers = Vec::new();
        if let Err(error) = self.try_join(now, join, token, &mut answers) {
            let id = if error == ResponseError::MemberIdRequired { &join.new_member_id } else { &join.member_id };
            answers.push(Answer::Join(token, Joined::refused(error, id)));
        }
        self.complete_if_due(now, &mut answers);
        answers
    }

    fn try_join(
        &mut self,
        now: Duration,
        join: &Join,
        token: Token,
        answers: &mut Vec<Answer>,
    ) -> Result<(), ResponseError> {
        if !self.fits(join) {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        if join.member_id.is_empty() {
            if let Some(instance) = &join.instance_id {
                if let Some(old) = self.instances.get(instance).cloned() {
                    self.replace_static(now, &old, join, token, answers);
                    return Ok(());
                }
            } else if join.must_return {
                self.pending.insert(join.new_member_id.clone(), now + join.session_timeout);
                return Err(ResponseError::MemberIdRequired);
            }
            self.add(now, &join.new_member_id, join, token, answers);
            return Ok(());
        }
        if self.pending.remove(&join.member_id).is_some() {
            self.add(now, &join.member_id, join, token, answers);
            return Ok(());
        }
        self.check_identity(Identity { member_id: &join.member_id, instance_id: join.instance_id.as_deref() })?;
        self.rejoin(now, join, token, answers);
        Ok(())
    }

    /// Whether the member has an assignor in common with all others.
    fn fits(&self, join: &Join) -> bool {
        if join.protocol_type.is_empty() || join.protocols.is_empty() {
            return false;
        }
        if self.members.is_empty() {
            return true;
        }
        let others = || self.members.iter().filter(|(id, _)| **id != join.member_id).map(|(_, member)| member);
        self.protocol_type.as_deref() == Some(join.protocol_type.as_str())
            && join.protocols.iter().any(|(name, _)| others().all(|member| member.supports(name)))
    }

    fn add(&mut self, now: Duration, id: &str, join: &Join, token: Token, answers: &mut Vec<Answer>) {
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type.clone());
        }
        if let Some(instance) = &join.instance_id {
            self.instances.insert(instance.clone(), id.to_owned());
        }
        self.leader.get_or_insert_with(|| id.to_owned());
        self.members.insert(id.to_owned(), Member::new(now, join, token));
        self.rebalance(now, answers);
    }

    /// A known member joins again.
    fn rejoin(&mut self, now: Duration, join: &Join, token: Token, answers: &mut Vec<Answer>) {
        let is_leader = self.leader.as_deref() == Some(join.member_id.as_str());
        let Some(member) = self.members.get_mut(&join.member_id) else { return };
        member.seen(now);
        let is_same = member.protocols == join.protocols;
        let knows_already = match self.state {
            // The answer to its join was lost.
            State::Completing => is_same,
            State::Stable => is_same && !is_leader,
            State::Empty | State::Preparing => false,
        };
        if knows_already {
            let joined = self.joined(&join.member_id);
            answers.push(Answer::Join(token, joined));
            return;
        }
        member.protocols.clone_from(&join.protocols);
        member.session_timeout = join.session_timeout;
        member.rebalance_timeout = join.rebalance_timeout;
        if let Some(older) = member.awaits_join.replace(token) {
            let refused = Joined::refused(ResponseError::RebalanceInProgress, &join.member_id);
            answers.push(Answer::Join(older, refused));
        }
        self.rebalance(now, answers);
    }

    /// A static member comes back under a new member id; the old one is fenced.
    fn replace_static(&mut self, now: Duration, old: &str, join: &Join, token: Token, answers: &mut Vec<Answer>) {
        let new = join.new_member_id.clone();
        let Some(before) = self.members.remove(old) else { return };
        let was_leader = self.leader.as_deref() == Some(old);
        answers.extend(
            before.awaits_join.map(|token| Answer::Join(token, Joined::refused(ResponseError::FencedInstanceId, old))),
        );
        answers.extend(
            before.awaits_sync.map(|token| Answer::Sync(token, Synced::refused(ResponseError::FencedInstanceId))),
        );
        let mut member = Member::new(now, join, token);
        member.assignment = before.assignment;
        if let Some(instance) = &join.instance_id {
            self.instances.insert(instance.clone(), new.clone());
        }
        if was_leader {
            self.leader = Some(new.clone());
        }
        // With the same subscription the assignment stands, and the group isn't disturbed.
        let keeps = self.state == State::Stable && before.protocols == join.protocols;
        if keeps {
            member.awaits_join = None;
        }
        self.members.insert(new.clone(), member);
        if !keeps {
            self.rebalance(now, answers);
            return;
        }
        let mut joined = self.joined(&new);
        if was_leader && join.may_skip_assignment {
            joined.skip_assignment = true;
        } else if was_leader {
            // An older client would assign anew if it were told that it leads.
            joined.leader = old.to_owned();
            joined.members.clear();
        }
        answers.push(Answer::Join(token, joined));
    }

    /// A member asks for its assignment; the leader brings everybody's.
    pub(crate) fn sync(
        &mut self,
        now: Duration,
        who: Identity<'_>,
        generation: i32,
        protocol: (Option<&str>, Option<&str>),
        assignments: &BTreeMap<String, Bytes>,
        token: Token,
    ) -> Vec<Answer> {
        let mut answers = Vec::new();
        if let Err(error) = self.try_sync(now, who, generation, protocol, assignments, token, &mut answers) {
            answers.push(Answer::Sync(token, Synced::refused(error)));
        }
        answers
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one request")]
    fn try_sync(
        &mut self,
        now: Duration,
        who: Identity<'_>,
        generation: i32,
        (protocol_type, protocol): (Option<&str>, Option<&str>),
        assignments: &BTreeMap<String, Bytes>,
        token: Token,
        answers: &mut Vec<Answer>,
    ) -> Result<(), ResponseError> {
        self.check_identity(who)?;
        if generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        let differs = |said: Option<&str>, known: Option<&str>| said.is_some() && said != known;
        if differs(protocol_type, self.protocol_type.as_deref()) || differs(protocol, self.protocol.as_deref()) {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        match self.state {
            State::Empty => return Err(ResponseError::UnknownMemberId),
            State::Preparing => return Err(ResponseError::RebalanceInProgress),
            State::Completing | State::Stable => {}
        }
        let is_leader = self.leader.as_deref() == Some(who.member_id);
        if let Some(member) = self.members.get_mut(who.member_id) {
            member.seen(now);
            if let Some(older) = member.awaits_sync.replace(token) {
                answers.push(Answer::Sync(older, Synced::refused(ResponseError::RebalanceInProgress)));
            }
        }
        if self.state == State::Completing && is_leader {
            for (id, member) in &mut self.members {
                member.assignment = assignments.get(id).cloned().unwrap_or_default();
            }
            self.state = State::Stable;
        }
        if self.state == State::Stable {
            self.hand_out(now, answers);
        }
        Ok(())
    }

    fn hand_out(&mut self, now: Duration, answers: &mut Vec<Answer>) {
        for member in self.members.values_mut() {
            if let Some(token) = member.awaits_sync.take() {
                member.seen(now);
                let synced = Synced {
                    error: None,
                    protocol_type: self.protocol_type.clone(),
                    protocol: self.protocol.clone(),
                    assignment: member.assignment.clone(),
                };
                answers.push(Answer::Sync(token, synced));
            }
        }
    }

    /// A member says that it lives.
    pub(crate) fn heartbeat(&mut self, now: Duration, who: Identity<'_>, generation: i32) -> Result<(), ResponseError> {
        self.check_identity(who)?;
        if generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        if let Some(member) = self.members.get_mut(who.member_id) {
            member.seen(now);
        }
        match self.state {
            State::Empty => Err(ResponseError::UnknownMemberId),
            State::Preparing => Err(ResponseError::RebalanceInProgress),
            State::Completing | State::Stable => Ok(()),
        }
    }

    /// A member leaves.
    pub(crate) fn leave(&mut self, now: Duration, who: Identity<'_>) -> (Result<(), ResponseError>, Vec<Answer>) {
        let mut answers = Vec::new();
        let result = self.try_leave(now, who, &mut answers);
        self.complete_if_due(now, &mut answers);
        (result, answers)
    }

    fn try_leave(&mut self, now: Duration, who: Identity<'_>, answers: &mut Vec<Answer>) -> Result<(), ResponseError> {
        if who.instance_id.is_none() && self.pending.remove(who.member_id).is_some() {
            return Ok(());
        }
        let id = match who.instance_id {
            // An administrator removes a static member by its instance id alone.
            Some(instance) if who.member_id.is_empty() => {
                self.instances.get(instance).cloned().ok_or(ResponseError::UnknownMemberId)?
            }
            _ => {
                self.check_identity(who)?;
                who.member_id.to_owned()
            }
        };
        self.remove(now, &id, answers);
        Ok(())
    }

    /// Whether an offset may be committed by `who`, who says to be of `generation`. Counts as a sign of life.
    pub(crate) fn may_commit(
        &mut self,
        now: Duration,
        who: Identity<'_>,
        generation: i32,
    ) -> Result<(), ResponseError> {
        if generation < 0 && self.members.is_empty() {
            return Ok(()); // The group is used to keep offsets, by clients that assign partitions themselves.
        }
        self.check_identity(who)?;
        if generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        if self.state == State::Completing {
            return Err(ResponseError::RebalanceInProgress);
        }
        if let Some(member) = self.members.get_mut(who.member_id) {
            member.seen(now);
        }
        Ok(())
    }

    /// When [`Group::tick`] is due.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let expiries = self.members.values().filter(|member| !member.waits()).map(|member| member.expires);
        let pendings = self.pending.values().copied();
        let own = match self.state {
            State::Preparing if self.all_joined() => Some(self.window.0),
            State::Preparing => Some(self.window.1),
            State::Completing => Some(self.sync_deadline),
            State::Empty | State::Stable => None,
        };
        expiries.chain(pendings).chain(own).min()
    }

    /// Does what is due by now.
    pub(crate) fn tick(&mut self, now: Duration) -> Vec<Answer> {
        let mut answers = Vec::new();
        self.pending.retain(|_, until| *until > now);
        let gone = self.members.iter().filter(|(_, member)| !member.waits() && member.expires <= now);
        let gone: Vec<String> = gone.map(|(id, _)| id.clone()).collect();
        for id in gone {
            self.remove(now, &id, &mut answers);
        }
        if self.state == State::Completing && self.sync_deadline <= now {
            let silent = self.members.iter().filter(|(_, member)| member.awaits_sync.is_none());
            let silent: Vec<String> = silent.map(|(id, _)| id.clone()).collect();
            for id in silent {
                self.remove(now, &id, &mut answers);
            }
            if self.state == State::Completing {
                self.rebalance(now, &mut answers);
            }
        }
        self.complete_if_due(now, &mut answers);
        answers
    }

    fn check_identity(&self, who: Identity<'_>) -> Result<(), ResponseError> {
        if let Some(instance) = who.instance_id {
            match self.instances.get(instance) {
                None => return Err(ResponseError::UnknownMemberId),
                Some(id) if id != who.member_id => return Err(ResponseError::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(who.member_id) { Ok(()) } else { Err(ResponseError::UnknownMemberId) }
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
