use bytes::Bytes;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, StrBytes};
use proptest::prelude::*;

use super::*;
use crate::dispatch::SERVED;

/// A request of an API, as full as a version allows, encoded.
fn sample(api: ApiKey, version: i16) -> Option<Bytes> {
    fn encode<R: Encodable>(request: R, version: i16) -> Option<Bytes> {
        let mut out = Vec::new();
        request.encode(&mut out, version).unwrap();
        Some(out.into())
    }
    let name = || TopicName(StrBytes::from_static_str("a-topic"));
    let group = || GroupId(StrBytes::from_static_str("a-group"));
    let word = || StrBytes::from_static_str("a-word");
    match api {
        ApiKey::Produce => {
            let partition =
                produce_request::PartitionProduceData::default().with_records(Some(Bytes::from_static(&[1; 99])));
            let topic =
                produce_request::TopicProduceData::default().with_name(name()).with_partition_data(vec![partition; 3]);
            encode(ProduceRequest::default().with_topic_data(vec![topic; 2]), version)
        }
        ApiKey::Fetch => {
            let mut topic =
                fetch_request::FetchTopic::default().with_partitions(vec![fetch_request::FetchPartition::default(); 3]);
            let mut forgotten = fetch_request::ForgottenTopic::default().with_partitions(vec![1, 2]);
            if version < 13 {
                topic.topic = name();
                forgotten.topic = name();
            }
            let mut request = FetchRequest::default().with_topics(vec![topic; 2]);
            if version >= 7 {
                request.forgotten_topics_data = vec![forgotten];
            }
            encode(request, version)
        }
        ApiKey::ListOffsets => {
            let topic = list_offsets_request::ListOffsetsTopic::default()
                .with_name(name())
                .with_partitions(vec![Default::default(); 3]);
            encode(ListOffsetsRequest::default().with_topics(vec![topic; 2]), version)
        }
        ApiKey::Metadata => {
            let topic = metadata_request::MetadataRequestTopic::default().with_name(Some(name()));
            encode(MetadataRequest::default().with_topics(Some(vec![topic; 3])), version)
        }
        ApiKey::OffsetCommit => {
            let partition =
                offset_commit_request::OffsetCommitRequestPartition::default().with_committed_metadata(Some(word()));
            let topic = offset_commit_request::OffsetCommitRequestTopic::default()
                .with_name(name())
                .with_partitions(vec![partition; 2]);
            encode(OffsetCommitRequest::default().with_group_id(group()).with_topics(vec![topic; 2]), version)
        }
        ApiKey::OffsetFetch if version < 8 => {
            let topic = offset_fetch_request::OffsetFetchRequestTopic::default()
                .with_name(name())
                .with_partition_indexes(vec![1, 2]);
            encode(OffsetFetchRequest::default().with_group_id(group()).with_topics(Some(vec![topic; 2])), version)
        }
        ApiKey::OffsetFetch => {
            let topic = offset_fetch_request::OffsetFetchRequestTopics::default()
                .with_name(name())
                .with_partition_indexes(vec![1, 2]);
            let of_group = offset_fetch_request::OffsetFetchRequestGroup::default()
                .with_group_id(group())
                .with_topics(Some(vec![topic; 2]));
            encode(OffsetFetchRequest::default().with_groups(vec![of_group; 2]), version)
        }
        ApiKey::FindCoordinator if version < 4 => encode(FindCoordinatorRequest::default().with_key(word()), version),
        ApiKey::FindCoordinator => {
            encode(FindCoordinatorRequest::default().with_coordinator_keys(vec![word(); 2]), version)
        }
        ApiKey::JoinGroup => {
            let protocol = join_group_request::JoinGroupRequestProtocol::default()
                .with_name(word())
                .with_metadata(Bytes::from_static(b"xyz"));
            encode(JoinGroupRequest::default().with_group_id(group()).with_protocols(vec![protocol; 2]), version)
        }
        ApiKey::Heartbeat => encode(HeartbeatRequest::default().with_group_id(group()), version),
        ApiKey::LeaveGroup if version < 3 => {
            encode(LeaveGroupRequest::default().with_group_id(group()).with_member_id(word()), version)
        }
        ApiKey::LeaveGroup => {
            let member = leave_group_request::MemberIdentity::default().with_member_id(word());
            encode(LeaveGroupRequest::default().with_group_id(group()).with_members(vec![member; 2]), version)
        }
        ApiKey::SyncGroup => {
            let assignment = sync_group_request::SyncGroupRequestAssignment::default()
                .with_member_id(word())
                .with_assignment(Bytes::from_static(b"xyz"));
            encode(SyncGroupRequest::default().with_group_id(group()).with_assignments(vec![assignment; 2]), version)
        }
        ApiKey::DescribeGroups => encode(DescribeGroupsRequest::default().with_groups(vec![group(); 2]), version),
        ApiKey::ListGroups if version < 4 => encode(ListGroupsRequest::default(), version),
        ApiKey::ListGroups => encode(ListGroupsRequest::default().with_states_filter(vec![word(); 2]), version),
        ApiKey::ApiVersions => encode(ApiVersionsRequest::default().with_client_software_name(word()), version),
        _ => sample_admin(api, version, &encode_admin),
    }
}

fn encode_admin(out: Vec<u8>) -> Option<Bytes> {
    Some(out.into())
}

fn sample_admin(api: ApiKey, version: i16, done: &dyn Fn(Vec<u8>) -> Option<Bytes>) -> Option<Bytes> {
    let mut out = Vec::new();
    let name = || TopicName(StrBytes::from_static_str("a-topic"));
    let word = || StrBytes::from_static_str("a-word");
    let encoded = match api {
        ApiKey::CreateTopics => {
            let assignment =
                create_topics_request::CreatableReplicaAssignment::default().with_broker_ids(vec![BrokerId(1)]);
            let config =
                create_topics_request::CreatableTopicConfig::default().with_name(word()).with_value(Some(word()));
            let topic = create_topics_request::CreatableTopic::default()
                .with_name(name())
                .with_assignments(vec![assignment; 2])
                .with_configs(vec![config; 2]);
            CreateTopicsRequest::default().with_topics(vec![topic; 2]).encode(&mut out, version)
        }
        ApiKey::DeleteTopics if version < 6 => {
            DeleteTopicsRequest::default().with_topic_names(vec![name(); 2]).encode(&mut out, version)
        }
        ApiKey::DeleteTopics => {
            let topic = delete_topics_request::DeleteTopicState::default().with_name(Some(name()));
            DeleteTopicsRequest::default().with_topics(vec![topic; 2]).encode(&mut out, version)
        }
        ApiKey::DeleteRecords => {
            let topic = delete_records_request::DeleteRecordsTopic::default()
                .with_name(name())
                .with_partitions(vec![Default::default(); 2]);
            DeleteRecordsRequest::default().with_topics(vec![topic; 2]).encode(&mut out, version)
        }
        ApiKey::InitProducerId => {
            InitProducerIdRequest::default().with_transactional_id(None).encode(&mut out, version)
        }
        ApiKey::OffsetForLeaderEpoch => {
            let topic = offset_for_leader_epoch_request::OffsetForLeaderTopic::default()
                .with_topic(name())
                .with_partitions(vec![Default::default(); 2]);
            OffsetForLeaderEpochRequest::default().with_topics(vec![topic; 2]).encode(&mut out, version)
        }
        ApiKey::DescribeConfigs => {
            let resource = describe_configs_request::DescribeConfigsResource::default()
                .with_resource_name(word())
                .with_configuration_keys(Some(vec![word(); 2]));
            DescribeConfigsRequest::default().with_resources(vec![resource; 2]).encode(&mut out, version)
        }
        ApiKey::AlterConfigs => {
            let config = alter_configs_request::AlterableConfig::default().with_name(word()).with_value(None);
            let resource = alter_configs_request::AlterConfigsResource::default()
                .with_resource_name(word())
                .with_configs(vec![config; 2]);
            AlterConfigsRequest::default().with_resources(vec![resource; 2]).encode(&mut out, version)
        }
        ApiKey::CreatePartitions => {
            let assignment =
                create_partitions_request::CreatePartitionsAssignment::default().with_broker_ids(vec![BrokerId(1)]);
            let topic = create_partitions_request::CreatePartitionsTopic::default()
                .with_name(name())
                .with_assignments(Some(vec![assignment; 2]));
            CreatePartitionsRequest::default().with_topics(vec![topic; 2]).encode(&mut out, version)
        }
        ApiKey::DeleteGroups => {
            DeleteGroupsRequest::default().with_groups_names(vec![GroupId(word()); 2]).encode(&mut out, version)
        }
        ApiKey::IncrementalAlterConfigs => {
            let config = incremental_alter_configs_request::AlterableConfig::default()
                .with_name(word())
                .with_value(Some(word()));
            let resource = incremental_alter_configs_request::AlterConfigsResource::default()
                .with_resource_name(word())
                .with_configs(vec![config; 2]);
            IncrementalAlterConfigsRequest::default().with_resources(vec![resource; 2]).encode(&mut out, version)
        }
        ApiKey::OffsetDelete => {
            let topic = offset_delete_request::OffsetDeleteRequestTopic::default()
                .with_name(name())
                .with_partitions(vec![Default::default(); 2]);
            OffsetDeleteRequest::default()
                .with_group_id(GroupId(word()))
                .with_topics(vec![topic; 2])
                .encode(&mut out, version)
        }
        ApiKey::DescribeCluster => DescribeClusterRequest::default().encode(&mut out, version),
        _ => return None,
    };
    encoded.unwrap();
    done(out)
}

#[test]
fn every_version_of_every_served_request_passes() {
    for (api, least, greatest) in SERVED {
        let least = if *api == ApiKey::Produce { 3 } else { *least };
        for version in least..=*greatest {
            let body = sample(*api, version).unwrap_or_else(|| panic!("no sample of {api:?}"));
            assert_eq!(check(*api, version, &body), Ok(()), "{api:?} version {version}");
            if !body.is_empty() {
                let cut = body.slice(..body.len() - 1);
                assert!(check(*api, version, &cut).is_err(), "{api:?} version {version}, cut off");
            }
        }
    }
}

#[test]
fn an_array_that_claims_to_be_huge_is_refused() {
    // Metadata 1: an array of 2^31 - 1 topics in four bytes.
    let body = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff]);
    assert!(check(ApiKey::Metadata, 1, &body).is_err());
    // Metadata 12, whose lengths are variable.
    let body = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0]);
    assert!(check(ApiKey::Metadata, 12, &body).is_err());
}

#[test]
fn headers_are_read() {
    let mut frame = Bytes::from_static(&[0, 3, b'a', b'b', b'c', 0, 9]);
    assert_eq!(rest_of_header(&mut frame, 2).as_deref(), Some("abc"));
    assert_eq!(&frame[..], &[9]);
    let mut frame = Bytes::from_static(&[0xff, 0xff, 7]);
    assert_eq!(rest_of_header(&mut frame, 1).as_deref(), Some(""));
    assert_eq!(rest_of_header(&mut Bytes::from_static(&[0, 9, 1]), 1), None);
}

proptest! {
    /// What the walk lets through, the decoder can be given without fear for memory; it never panics itself.
    #[test]
    fn damaged_requests_are_refused_or_decoded(which in 0usize..SERVED.len(), at in any::<prop::sample::Index>(), to: u8) {
        let (api, _, greatest) = SERVED[which];
        let body = sample(api, greatest).unwrap();
        let mut bytes = body.to_vec();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        let mut bytes = Bytes::from(bytes);
        if check(api, greatest, &bytes).is_ok() {
            drop(RequestKind::decode(api, &mut bytes, greatest));
        }
    }
}
