//! What members of a consumer group ask: FindCoordinator, JoinGroup, SyncGroup, Heartbeat, LeaveGroup, OffsetCommit, OffsetFetch.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    BrokerId, FindCoordinatorRequest, FindCoordinatorResponse, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, OffsetCommitRequest, OffsetCommitResponse,
    OffsetFetchRequest, OffsetFetchResponse, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::cluster::advertised;
use super::{code, text};
use crate::NODE_ID;
use crate::broker::Shared;
use crate::dispatch::Context;
use crate::group::member::{Identity, Join, Joined};
use crate::group::store::{Committed, GroupOffsets};

const KEY_GROUP: i8 = 0;
const SEVERAL_KEYS_SINCE: i16 = 4;
const MEMBER_ID_REQUIRED_SINCE: i16 = 4;
const SKIP_ASSIGNMENT_SINCE: i16 = 9;
const SEVERAL_LEAVE_SINCE: i16 = 3;
const SEVERAL_GROUPS_SINCE: i16 = 8;
const SESSION_MS: std::ops::RangeInclusive<i32> = 100..=1_800_000;
/// Kafka's `offset.metadata.max.bytes`.
const METADATA_BYTES_MAX: usize = 4_096;

/// Who looks after a group: we do.
pub(crate) fn find_coordinator(
    shared: &Shared,
    context: &Context,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let (host, port) = advertised(shared, context);
    let error = (request.key_type != KEY_GROUP).then_some(ResponseError::InvalidRequest);
    let message = error.map(|_| text("this broker coordinates consumer groups only; transactions aren't supported"));
    let (node, host, port) = if error.is_some() { (-1, text(""), -1) } else { (NODE_ID, text(host), port) };
    if context.version < SEVERAL_KEYS_SINCE {
        return FindCoordinatorResponse::default()
            .with_error_code(code(error))
            .with_error_message(message)
            .with_node_id(BrokerId(node))
            .with_host(host)
            .with_port(port);
    }
    let coordinators = request.coordinator_keys.into_iter().map(|key| {
        Coordinator::default()
            .with_key(key)
            .with_error_code(code(error))
            .with_error_message(message.clone())
            .with_node_id(BrokerId(node))
            .with_host(host.clone())
            .with_port(port)
    });
    FindCoordinatorResponse::default().with_coordinators(coordinators.collect())
}

/// A member joins; waits until all have.
pub(crate) async fn join(shared: &Shared, context: &Context, request: JoinGroupRequest) -> JoinGroupResponse {
    let joined = match check_join(&request) {
        Err(error) => Joined::refused(error, &request.member_id),
        Ok(()) => {
            let millis = |millis: i32| Duration::from_millis(u64::try_from(millis).unwrap_or(0));
            // Version 0 has one timeout for both.
            let rebalance_ms =
                if context.version == 0 { request.session_timeout_ms } else { request.rebalance_timeout_ms };
            let join = Join {
                member_id: request.member_id.to_string(),
                new_member_id: new_member_id(context, request.group_instance_id.as_deref()),
                instance_id: request.group_instance_id.map(|id| id.to_string()),
                client_id: context.client_id.clone(),
                client_host: format!("/{}", context.ends.peer.ip().to_canonical()),
                session_timeout: millis(request.session_timeout_ms),
                rebalance_timeout: millis(rebalance_ms),
                protocol_type: request.protocol_type.to_string(),
                protocols: request.protocols.into_iter().map(|it| (it.name.to_string(), it.metadata)).collect(),
                must_return: context.version >= MEMBER_ID_REQUIRED_SINCE,
                may_skip_assignment: context.version >= SKIP_ASSIGNMENT_SINCE,
            };
            shared.groups.join(&request.group_id, join).await
        }
    };
    let members = joined.members.into_iter().map(|member| {
        JoinGroupResponseMember::default()
            .with_member_id(text(member.member_id))
            .with_group_instance_id(member.instance_id.map(text))
            .with_metadata(member.metadata)
    });
    JoinGroupResponse::default()
        .with_error_code(code(joined.error))
        .with_generation_id(joined.generation)
        .with_protocol_type(joined.protocol_type.map(text))
        .with_protocol_name(Some(text(joined.protocol.unwrap_or_default())))
        .with_leader(text(joined.leader))
        .with_skip_assignment(joined.skip_assignment)
        .with_member_id(text(joined.member_id))
        .with_members(members.collect())
}

fn check_join(request: &JoinGroupRequest) -> Result<(), ResponseError> {
    if request.group_id.is_empty() {
        Err(ResponseError::InvalidGroupId)
    } else if !SESSION_MS.contains(&request.session_timeout_ms) {
        Err(ResponseError::InvalidSessionTimeout)
    } else {
        Ok(())
    }
}

/// An id that tells people whose it is and that was never given out before.
fn new_member_id(context: &Context, instance: Option<&str>) -> String {
    format!("{}-{}", instance.unwrap_or(&context.client_id), Uuid::new_v4())
}

/// A member asks for its assignment.
pub(crate) async fn sync(shared: &Shared, request: SyncGroupRequest) -> SyncGroupResponse {
    let who = Identity { member_id: &request.member_id, instance_id: request.group_instance_id.as_deref() };
    let protocol = (request.protocol_type.as_deref(), request.protocol_name.as_deref());
    let assignments = request.assignments.into_iter().map(|it| (it.member_id.to_string(), it.assignment));
    let assignments: BTreeMap<_, _> = assignments.collect();
    let synced = shared.groups.sync(&request.group_id, who, request.generation_id, protocol, &assignments).await;
    SyncGroupResponse::default()
        .with_error_code(code(synced.error))
        .with_protocol_type(synced.protocol_type.map(text))
        .with_protocol_name(synced.protocol.map(text))
        .with_assignment(synced.assignment)
}

/// A member says that it lives.
pub(crate) fn heartbeat(shared: &Shared, request: &HeartbeatRequest) -> HeartbeatResponse {
    let who = Identity { member_id: &request.member_id, instance_id: request.group_instance_id.as_deref() };
    let result = shared.groups.heartbeat(&request.group_id, who, request.generation_id);
    HeartbeatResponse::default().with_error_code(code(result.err()))
}

/// Members leave.
pub(crate) fn leave(shared: &Shared, version: i16, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let leave = |member_id: &str, instance_id: Option<&str>| {
        let result = shared.groups.leave(&request.group_id, Identity { member_id, instance_id });
        code(result.err())
    };
    if version < SEVERAL_LEAVE_SINCE {
        return LeaveGroupResponse::default().with_error_code(leave(&request.member_id, None));
    }
    let members = request.members.iter().map(|member: &MemberIdentity| {
        MemberResponse::default()
            .with_member_id(member.member_id.clone())
            .with_group_instance_id(member.group_instance_id.clone())
            .with_error_code(leave(&member.member_id, member.group_instance_id.as_deref()))
    });
    LeaveGroupResponse::default().with_members(members.collect())
}

/// Offsets are committed.
pub(crate) async fn commit(shared: &Shared, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let committed_ms = shared.options.clock.now_us().div_euclid(1_000);
    let mut offsets = Vec::new();
    // Each partition's own error; the group's comes on top.
    let mut errors: Vec<Vec<Option<ResponseError>>> = Vec::new();
    for topic in &request.topics {
        let known = shared.topics.by_name(&topic.name);
        let of_topic = topic.partitions.iter().map(|partition| {
            if known.as_ref().and_then(|topic| topic.partition(partition.partition_index)).is_none() {
                return Some(ResponseError::UnknownTopicOrPartition);
            }
            let metadata = partition.committed_metadata.as_deref().unwrap_or_default().to_owned();
            if metadata.len() > METADATA_BYTES_MAX {
                return Some(ResponseError::OffsetMetadataTooLarge);
            }
            let committed = Committed {
                offset: partition.committed_offset,
                leader_epoch: partition.committed_leader_epoch,
                metadata,
                committed_ms,
            };
            offsets.push(((topic.name.to_string(), partition.partition_index), committed));
            None
        });
        errors.push(of_topic.collect());
    }
    let who = Identity { member_id: &request.member_id, instance_id: request.group_instance_id.as_deref() };
    let result = if request.group_id.is_empty() {
        Err(ResponseError::InvalidGroupId)
    } else {
        shared.groups.commit(&request.group_id, who, request.generation_id_or_member_epoch, offsets).await
    };
    let of_group = result.err();
    let topics = request.topics.into_iter().zip(errors).map(|(topic, errors)| {
        let partitions = topic.partitions.iter().zip(errors).map(|(partition, error)| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code(of_group.or(error)))
        });
        let partitions = partitions.collect();
        OffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions)
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

/// Committed offsets are asked for.
pub(crate) fn fetch_offsets(shared: &Shared, version: i16, request: OffsetFetchRequest) -> OffsetFetchResponse {
    if version >= SEVERAL_GROUPS_SINCE {
        let groups = request.groups.into_iter().map(|asked| {
            let offsets = shared.groups.offsets.group(&asked.group_id).unwrap_or_default();
            let topics = asked.topics.map(|topics| {
                topics.into_iter().map(|topic| (topic.name.to_string(), topic.partition_indexes)).collect()
            });
            let topics = answer(&offsets, topics).into_iter().map(|(name, partitions)| {
                let partitions = partitions.into_iter().map(|(number, committed)| {
                    let (offset, epoch, metadata) = fields(committed);
                    OffsetFetchResponsePartitions::default()
                        .with_partition_index(number)
                        .with_committed_offset(offset)
                        .with_committed_leader_epoch(epoch)
                        .with_metadata(Some(metadata))
                });
                let name = kafka_protocol::messages::TopicName(text(name));
                OffsetFetchResponseTopics::default().with_name(name).with_partitions(partitions.collect())
            });
            let topics = topics.collect();
            OffsetFetchResponseGroup::default().with_group_id(asked.group_id).with_topics(topics)
        });
        return OffsetFetchResponse::default().with_groups(groups.collect());
    }
    let offsets = shared.groups.offsets.group(&request.group_id).unwrap_or_default();
    let topics = request
        .topics
        .map(|topics| topics.into_iter().map(|topic| (topic.name.to_string(), topic.partition_indexes)).collect());
    let topics = answer(&offsets, topics).into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(number, committed)| {
            let (offset, epoch, metadata) = fields(committed);
            OffsetFetchResponsePartition::default()
                .with_partition_index(number)
                .with_committed_offset(offset)
                .with_committed_leader_epoch(epoch)
                .with_metadata(Some(metadata))
        });
        let name = kafka_protocol::messages::TopicName(text(name));
        OffsetFetchResponseTopic::default().with_name(name).with_partitions(partitions.collect())
    });
    OffsetFetchResponse::default().with_topics(topics.collect())
}

/// Per topic the partitions with what was committed.
type Answered<'a> = Vec<(String, Vec<(i32, Option<&'a Committed>)>)>;

/// What was committed of the partitions asked for, or of all.
fn answer(offsets: &GroupOffsets, asked: Option<Vec<(String, Vec<i32>)>>) -> Answered<'_> {
    match asked {
        Some(topics) => {
            let answered = topics.into_iter().map(|(name, numbers)| {
                let partitions = numbers.into_iter().map(|number| (number, offsets.get(&(name.clone(), number))));
                let partitions = partitions.collect();
                (name, partitions)
            });
            answered.collect()
        }
        None => {
            let mut by_topic: BTreeMap<&str, Vec<(i32, Option<&Committed>)>> = BTreeMap::new();
            for ((topic, number), committed) in offsets {
                by_topic.entry(topic).or_default().push((*number, Some(committed)));
            }
            by_topic.into_iter().map(|(topic, partitions)| (topic.to_owned(), partitions)).collect()
        }
    }
}

fn fields(committed: Option<&Committed>) -> (i64, i32, StrBytes) {
    match committed {
        Some(committed) => (committed.offset, committed.leader_epoch, text(&*committed.metadata)),
        None => (-1, -1, text("")),
    }
}
