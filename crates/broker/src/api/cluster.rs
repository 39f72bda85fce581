//! ApiVersions, Metadata, DescribeCluster: what a client asks first.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiVersionsResponse, BrokerId, DescribeClusterRequest, DescribeClusterResponse, MetadataRequest, MetadataResponse,
    TopicName,
};
use uuid::Uuid;

use super::{blocking, code, text, topic_error};
use crate::broker::Shared;
use crate::dispatch::{Context, SERVED};
use crate::topics::{Topic, TopicError};
use crate::{LEADER_EPOCH, NODE_ID};

/// The APIs and versions served. `unsupported` says that the client asked in a version that isn't.
pub(crate) fn api_versions(unsupported: bool) -> ApiVersionsResponse {
    let keys = SERVED.iter().map(|(api, least, greatest)| {
        ApiVersion::default().with_api_key(*api as i16).with_min_version(*least).with_max_version(*greatest)
    });
    let error = unsupported.then_some(ResponseError::UnsupportedVersion);
    ApiVersionsResponse::default().with_error_code(code(error)).with_api_keys(keys.collect())
}

/// Host and port that a client is told to connect to: what was set, or the address at which it reached us.
pub(crate) fn advertised(shared: &Shared, context: &Context) -> (String, i32) {
    match &shared.advertised {
        Some((host, port)) => (host.clone(), i32::from(*port)),
        None => {
            let local = context.ends.local;
            (local.ip().to_canonical().to_string(), i32::from(local.port()))
        }
    }
}

/// Topics with their partitions, and the one broker.
pub(crate) async fn metadata(shared: &Arc<Shared>, context: &Context, request: MetadataRequest) -> MetadataResponse {
    let (host, port) = advertised(shared, context);
    let broker =
        MetadataResponseBroker::default().with_node_id(BrokerId(NODE_ID)).with_host(text(host)).with_port(port);
    // Version 0 asks for all by an empty list, later ones by none.
    let asked = request.topics.filter(|topics| context.version > 0 || !topics.is_empty());
    let mut topics = Vec::new();
    match asked {
        None => topics.extend(shared.topics.all().iter().map(|topic| describe(topic))),
        Some(asked) => {
            let may_create = shared.options.auto_create_topics && request.allow_auto_topic_creation;
            // Versions below 4 can't say that they don't want it.
            let may_create = may_create || context.version < 4 && shared.options.auto_create_topics;
            for topic in asked {
                // Java's client sends an empty name with an id.
                topics.push(match topic.name {
                    Some(name) if topic.topic_id.is_nil() => by_name(shared, &name, may_create).await,
                    _ => by_id(shared, topic.topic_id),
                });
            }
        }
    }
    MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(text(shared.topics.cluster_id())))
        .with_controller_id(BrokerId(NODE_ID))
        .with_topics(topics)
}

async fn by_name(shared: &Arc<Shared>, name: &str, may_create: bool) -> MetadataResponseTopic {
    if let Some(topic) = shared.topics.by_name(name) {
        return describe(&topic);
    }
    let created = if may_create { create(shared, name).await } else { Err(ResponseError::UnknownTopicOrPartition) };
    match created {
        Ok(topic) => describe(&topic),
        Err(error) => unknown(error).with_name(Some(TopicName(text(name)))),
    }
}

async fn create(shared: &Arc<Shared>, name: &str) -> Result<Arc<Topic>, ResponseError> {
    let (shared, name) = (shared.clone(), name.to_owned());
    let created = move || match shared.topics.create(&name, shared.options.default_partitions, BTreeMap::new()) {
        // Another client was faster.
        Err(TopicError::Exists(name)) => shared.topics.by_name(&name).ok_or(TopicError::Unknown(name)),
        created => created,
    };
    blocking(created).await?.map_err(|error| {
        tracing::warn!(%error, "a topic couldn't be created on demand");
        topic_error(&error)
    })
}

fn by_id(shared: &Shared, id: Uuid) -> MetadataResponseTopic {
    match shared.topics.by_id(id) {
        Some(topic) => describe(&topic),
        None => unknown(ResponseError::UnknownTopicId).with_topic_id(id),
    }
}

fn unknown(error: ResponseError) -> MetadataResponseTopic {
    // Versions below 12 can't say that there is no name.
    MetadataResponseTopic::default().with_error_code(error.code()).with_name(Some(TopicName::default()))
}

fn describe(topic: &Topic) -> MetadataResponseTopic {
    let us = || vec![BrokerId(NODE_ID)];
    let count = i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX);
    let partitions = (0..count).map(|number| {
        MetadataResponsePartition::default()
            .with_partition_index(number)
            .with_leader_id(BrokerId(NODE_ID))
            .with_leader_epoch(LEADER_EPOCH)
            .with_replica_nodes(us())
            .with_isr_nodes(us())
    });
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(&*topic.name))))
        .with_topic_id(topic.id)
        .with_partitions(partitions.collect())
}

/// The one broker.
pub(crate) fn describe_cluster(
    shared: &Shared,
    context: &Context,
    request: &DescribeClusterRequest,
) -> DescribeClusterResponse {
    const BROKERS: i8 = 1;
    if context.version >= 1 && request.endpoint_type != BROKERS {
        let error = ResponseError::UnsupportedEndpointType;
        return DescribeClusterResponse::default()
            .with_error_code(error.code())
            .with_error_message(Some(text("there are no controllers to connect to")));
    }
    let (host, port) = advertised(shared, context);
    let broker =
        DescribeClusterBroker::default().with_broker_id(BrokerId(NODE_ID)).with_host(text(host)).with_port(port);
    DescribeClusterResponse::default()
        .with_cluster_id(text(shared.topics.cluster_id()))
        .with_controller_id(BrokerId(NODE_ID))
        .with_brokers(vec![broker])
}
