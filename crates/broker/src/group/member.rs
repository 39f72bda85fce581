//! A member of a group, and what goes in and out of the group's machine.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;

/// Names a request that waits for its answer.
pub(crate) type Token = u64;

/// A request to join.
#[derive(Debug, Clone)]
pub(crate) struct Join {
    /// Empty for one that has no id yet.
    pub(crate) member_id: String,
    /// Id to give to one that has none.
    pub(crate) new_member_id: String,
    /// Name of a static member, which keeps its assignment over a restart.
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) session_timeout: Duration,
    pub(crate) rebalance_timeout: Duration,
    pub(crate) protocol_type: String,
    /// Names of assignors with the member's subscription for each, most wanted first.
    pub(crate) protocols: Vec<(String, Bytes)>,
    /// Whether one without an id must come again with the id that it is given (KIP-394).
    pub(crate) must_return: bool,
    /// Whether the member knows that a leader may be told to assign nothing (KIP-814).
    pub(crate) may_skip_assignment: bool,
}

/// What a member says of itself in later requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity<'a> {
    pub(crate) member_id: &'a str,
    pub(crate) instance_id: Option<&'a str>,
}

/// The answer to a join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) error: Option<ResponseError>,
    pub(crate) generation: i32,
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol: Option<String>,
    pub(crate) leader: String,
    pub(crate) member_id: String,
    pub(crate) skip_assignment: bool,
    /// For the leader: every member with its subscription.
    pub(crate) members: Vec<JoinedMember>,
}

/// A member as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JoinedMember {
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) metadata: Bytes,
}

impl Joined {
    /// A refusal.
    pub(crate) fn refused(error: ResponseError, member_id: &str) -> Self {
        Self {
            error: Some(error),
            generation: -1,
            protocol_type: None,
            protocol: None,
            leader: String::new(),
            member_id: member_id.to_owned(),
            skip_assignment: false,
            members: Vec::new(),
        }
    }
}

/// The answer to a sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Synced {
    pub(crate) error: Option<ResponseError>,
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol: Option<String>,
    pub(crate) assignment: Bytes,
}

impl Synced {
    /// A refusal.
    pub(crate) fn refused(error: ResponseError) -> Self {
        Self { error: Some(error), protocol_type: None, protocol: None, assignment: Bytes::new() }
    }
}

/// An answer that the machine gives to a waiting request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Join(Token, Joined),
    Sync(Token, Synced),
}

/// A member.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) session_timeout: Duration,
    pub(crate) rebalance_timeout: Duration,
    pub(crate) protocols: Vec<(String, Bytes)>,
    pub(crate) assignment: Bytes,
    /// When it is given up, unless it waits for an answer.
    pub(crate) expires: Duration,
    pub(crate) awaits_join: Option<Token>,
    pub(crate) awaits_sync: Option<Token>,
}

impl Member {
    /// A member that has just asked to join.
    pub(crate) fn new(now: Duration, join: &Join, token: Token) -> Self {
        Self {
            instance_id: join.instance_id.clone(),
            client_id: join.client_id.clone(),
            client_host: join.client_host.clone(),
            session_timeout: join.session_timeout,
            rebalance_timeout: join.rebalance_timeout,
            protocols: join.protocols.clone(),
            assignment: Bytes::new(),
            expires: now + join.session_timeout,
            awaits_join: Some(token),
            awaits_sync: None,
        }
    }

    /// Whether it waits for us, which proves it alive.
    pub(crate) fn waits(&self) -> bool {
        self.awaits_join.is_some() || self.awaits_sync.is_some()
    }

    /// Takes note of a sign of life.
    pub(crate) fn seen(&mut self, now: Duration) {
        self.expires = now + self.session_timeout;
    }

    pub(crate) fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }

    pub(crate) fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols.iter().find(|(name, _)| name == protocol).map(|(_, bytes)| bytes.clone()).unwrap_or_default()
    }
}
