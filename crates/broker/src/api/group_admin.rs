//! What administrators ask about consumer groups: DescribeGroups, ListGroups, DeleteGroups, OffsetDelete.

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, GroupId,
    ListGroupsRequest, ListGroupsResponse, OffsetDeleteRequest, OffsetDeleteResponse,
};

use super::{code, text};
use crate::broker::Shared;
use crate::group::machine::{Group, State};

/// Protocol type of a group that has only committed offsets: that of consumers.
const CONSUMER: &str = "consumer";
const CLASSIC: &str = "classic";
/// Since this version an unknown group is an error and not a dead group.
const NOT_FOUND_SINCE: i16 = 6;

/// Groups with their members.
pub(crate) fn describe(shared: &Shared, version: i16, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let groups = request.groups.into_iter().map(|id| {
        let described = shared.groups.with_group(&id, |group| match group {
            Some(Some(group)) => describe_group(group),
            Some(None) => {
                DescribedGroup::default().with_group_state(text(State::Empty.name())).with_protocol_type(text(CONSUMER))
            }
            None if version >= NOT_FOUND_SINCE => DescribedGroup::default()
                .with_error_code(ResponseError::GroupIdNotFound.code())
                .with_error_message(Some(text(format!("group {} isn't known", id.as_str()))))
                .with_group_state(text("Dead")),
            None => DescribedGroup::default().with_group_state(text("Dead")),
        });
        described.with_group_id(id)
    });
    DescribeGroupsResponse::default().with_groups(groups.collect())
}

fn describe_group(group: &Group) -> DescribedGroup {
    let protocol = group.protocol().unwrap_or_default();
    let is_stable = group.state() == State::Stable;
    let members = group.members().iter().map(|(id, member)| {
        let (metadata, assignment) = if is_stable {
            (member.metadata(protocol), member.assignment.clone())
        } else {
            (Bytes::new(), Bytes::new())
        };
        DescribedGroupMember::default()
            .with_member_id(text(id))
            .with_group_instance_id(member.instance_id.clone().map(text))
            .with_client_id(text(&member.client_id))
            .with_client_host(text(&member.client_host))
            .with_member_metadata(metadata)
            .with_member_assignment(assignment)
    });
    DescribedGroup::default()
        .with_group_state(text(group.state().name()))
        .with_protocol_type(text(group.protocol_type().unwrap_or_default()))
        .with_protocol_data(text(if is_stable { protocol } else { "" }))
        .with_members(members.collect())
}

/// All groups.
pub(crate) fn list(shared: &Shared, request: &ListGroupsRequest) -> ListGroupsResponse {
    let passes = |filter: &[kafka_protocol::protocol::StrBytes], value: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
    };
    let groups = shared.groups.names().into_iter().filter_map(|name| {
        let (state, protocol_type) = shared.groups.with_group(&name, |group| {
            let group = group?;
            let state = group.map_or(State::Empty, Group::state);
            let protocol_type = group.map_or(CONSUMER, |group| group.protocol_type().unwrap_or_default());
            Some((state, protocol_type.to_owned()))
        })?;
        let wanted = passes(&request.states_filter, state.name()) && passes(&request.types_filter, CLASSIC);
        wanted.then(|| {
            ListedGroup::default()
                .with_group_id(GroupId(text(name)))
                .with_protocol_type(text(protocol_type))
                .with_group_state(text(state.name()))
                .with_group_type(text(CLASSIC))
        })
    });
    ListGroupsResponse::default().with_groups(groups.collect())
}

/// Deletes groups without members.
pub(crate) async fn delete(shared: &Shared, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut results = Vec::with_capacity(request.groups_names.len());
    for id in request.groups_names {
        let result = shared.groups.delete_group(&id).await;
        results.push(DeletableGroupResult::default().with_group_id(id).with_error_code(code(result.err())));
    }
    DeleteGroupsResponse::default().with_results(results)
}

/// Deletes committed offsets.
pub(crate) async fn delete_offsets(shared: &Shared, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let keys = request
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.name.to_string(), partition.partition_index)));
    if let Err(error) = shared.groups.delete_offsets(&request.group_id, keys.collect()).await {
        return OffsetDeleteResponse::default().with_error_code(error.code());
    }
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic
            .partitions
            .iter()
            .map(|partition| OffsetDeleteResponsePartition::default().with_partition_index(partition.partition_index));
        let partitions = partitions.collect();
        OffsetDeleteResponseTopic::default().with_name(topic.name).with_partitions(partitions)
    });
    OffsetDeleteResponse::default().with_topics(topics.collect())
}
