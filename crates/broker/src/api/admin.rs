//! CreateTopics, DeleteTopics, CreatePartitions.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest,
    DeleteTopicsResponse,
};

use super::configs::effective;
use super::{blocking, text, topic_error};
use crate::NODE_ID;
use crate::broker::Shared;
use crate::topic_config::{self, TopicConfig};

/// Names of a resource in DeleteTopics by id since this version.
const DELETE_BY_ID_SINCE: i16 = 6;

/// What a request is refused with.
type Refusal = (ResponseError, String);

/// Creates topics.
pub(crate) async fn create_topics(shared: &Arc<Shared>, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut times: HashMap<String, usize> = HashMap::new();
    for topic in &request.topics {
        *times.entry(topic.name.to_string()).or_default() += 1;
    }
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let name = topic.name.clone();
        let created = if times.get(name.as_str()).copied().unwrap_or(0) > 1 {
            Err((ResponseError::InvalidRequest, format!("topic {} stands in the request twice", name.as_str())))
        } else {
            create_topic(shared, topic, request.validate_only).await
        };
        topics.push(match created {
            Ok(result) => result.with_name(name),
            Err((error, message)) => CreatableTopicResult::default()
                .with_name(name)
                .with_error_code(error.code())
                .with_error_message(Some(text(message)))
                .with_num_partitions(-1)
                .with_replication_factor(-1),
        });
    }
    CreateTopicsResponse::default().with_topics(topics)
}

async fn create_topic(
    shared: &Arc<Shared>,
    topic: CreatableTopic,
    only_check: bool,
) -> Result<CreatableTopicResult, Refusal> {
    let partitions = partition_count(shared, &topic)?;
    let mut overrides = BTreeMap::new();
    for config in &topic.configs {
        let invalid = |message: String| (ResponseError::InvalidConfig, message);
        let value = config.value.as_deref().ok_or_else(|| invalid(format!("{} has no value", &*config.name)))?;
        topic_config::check(&config.name, value).map_err(invalid)?;
        overrides.insert(config.name.to_string(), value.to_owned());
    }
    let name = topic.name.to_string();
    let result = CreatableTopicResult::default()
        .with_num_partitions(partitions)
        .with_replication_factor(1)
        .with_configs(Some(config_list(shared, &overrides)));
    let refusal = |error: &_| (topic_error(error), error.to_string());
    if only_check {
        shared.topics.check_new(&name, partitions).map_err(|error| refusal(&error))?;
        return Ok(result);
    }
    let creating = shared.clone();
    let created = blocking(move || creating.topics.create(&name, partitions, overrides)).await;
    let created = created.map_err(|error| (error, "the topic couldn't be created".to_owned()))?;
    let topic = created.map_err(|error| refusal(&error))?;
    Ok(result.with_topic_id(topic.id))
}

fn partition_count(shared: &Shared, topic: &CreatableTopic) -> Result<i32, Refusal> {
    if topic.assignments.is_empty() {
        if !matches!(topic.replication_factor, -1 | 1) {
            let message = format!("replication factor {}: there is one broker", topic.replication_factor);
            return Err((ResponseError::InvalidReplicationFactor, message));
        }
        return Ok(if topic.num_partitions == -1 { shared.options.default_partitions } else { topic.num_partitions });
    }
    let numbers: BTreeSet<i32> = topic.assignments.iter().map(|assignment| assignment.partition_index).collect();
    let count = i32::try_from(topic.assignments.len()).unwrap_or(i32::MAX);
    let on_us = topic.assignments.iter().all(|assignment| assignment.broker_ids.iter().map(|id| id.0).eq([NODE_ID]));
    if on_us && numbers.into_iter().eq(0..count) {
        Ok(count)
    } else {
        let message = format!("partitions must be numbered from 0 and assigned to broker {NODE_ID} alone");
        Err((ResponseError::InvalidReplicaAssignment, message))
    }
}

fn config_list(shared: &Shared, overrides: &BTreeMap<String, String>) -> Vec<CreatableTopicConfigs> {
    let config = TopicConfig::new(overrides.clone(), shared.topics.defaults);
    let all = effective(shared, &config).into_iter().map(|entry| {
        CreatableTopicConfigs::default()
            .with_name(text(entry.setting.name))
            .with_value(Some(text(entry.value)))
            .with_config_source(entry.source)
    });
    all.collect()
}

/// Deletes topics.
pub(crate) async fn delete_topics(
    shared: &Arc<Shared>,
    version: i16,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let asked = if version >= DELETE_BY_ID_SINCE {
        request.topics
    } else {
        request.topic_names.into_iter().map(|name| DeleteTopicState::default().with_name(Some(name))).collect()
    };
    let mut responses = Vec::with_capacity(asked.len());
    for topic in asked {
        responses.push(delete_topic(shared, topic).await);
    }
    DeleteTopicsResponse::default().with_responses(responses)
}

async fn delete_topic(shared: &Arc<Shared>, asked: DeleteTopicState) -> DeletableTopicResult {
    let result = DeletableTopicResult::default().with_name(asked.name.clone()).with_topic_id(asked.topic_id);
    let found = match &asked.name {
        Some(name) => shared.topics.by_name(name).ok_or(ResponseError::UnknownTopicOrPartition),
        None => shared.topics.by_id(asked.topic_id).ok_or(ResponseError::UnknownTopicId),
    };
    let topic = match found {
        Ok(topic) => topic,
        Err(error) => {
            return result.with_error_code(error.code()).with_error_message(Some(text("there is no such topic")));
        }
    };
    let result =
        result.with_name(Some(kafka_protocol::messages::TopicName(text(&*topic.name)))).with_topic_id(topic.id);
    let deleting = shared.clone();
    let deleted = move || {
        deleting.topics.delete(&topic)?;
        // A topic of the same name that comes later must not begin at the old one's offsets.
        let forgotten = deleting.groups.offsets.remove_topic(&topic.name);
        forgotten.map(drop).map_err(crate::Error::storage("write", &deleting.options.data_dir)).map_err(Into::into)
    };
    match blocking(deleted).await {
        Ok(Ok(())) => result,
        Ok(Err(error)) => {
            result.with_error_code(topic_error(&error).code()).with_error_message(Some(text(error.to_string())))
        }
        Err(error) => result.with_error_code(error.code()),
    }
}

/// Adds partitions to topics.
pub(crate) async fn create_partitions(
    shared: &Arc<Shared>,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let mut results = Vec::with_capacity(request.topics.len());
    for asked in request.topics {
        let result = CreatePartitionsTopicResult::default().with_name(asked.name.clone());
        let Some(topic) = shared.topics.by_name(&asked.name) else {
            results.push(result.with_error_code(ResponseError::UnknownTopicOrPartition.code()));
            continue;
        };
        let (adding, only_check) = (shared.clone(), request.validate_only);
        let added = blocking(move || adding.topics.add_partitions(&topic, asked.count, only_check)).await;
        results.push(match added {
            Ok(Ok(())) => result,
            Ok(Err(error)) => {
                result.with_error_code(topic_error(&error).code()).with_error_message(Some(text(error.to_string())))
            }
            Err(error) => result.with_error_code(error.code()),
        });
    }
    CreatePartitionsResponse::default().with_results(results)
}
