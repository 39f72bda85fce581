//! DescribeConfigs, AlterConfigs, IncrementalAlterConfigs.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, alter_configs_response,
    incremental_alter_configs_request::AlterableConfig, incremental_alter_configs_response,
};

use super::{blocking, text, topic_error};
use crate::NODE_ID;
use crate::broker::Shared;
use crate::topic_config::{Kind, SETTINGS, Setting, TopicConfig, check, setting};
use crate::topics::Topic;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

const SOURCE_TOPIC: i8 = 1;
const SOURCE_BROKER: i8 = 4;
const SOURCE_DEFAULT: i8 = 5;

/// What a request is refused with.
type Refusal = (ResponseError, String);

/// A setting as it holds for a topic.
pub(crate) struct Effective {
    pub(crate) setting: &'static Setting,
    pub(crate) value: String,
    pub(crate) source: i8,
}

/// All settings as they hold for a topic.
pub(crate) fn effective(shared: &Shared, config: &TopicConfig) -> Vec<Effective> {
    let all = SETTINGS.iter().map(|setting| match config.overrides.get(setting.name) {
        Some(value) => Effective { setting, value: value.clone(), source: SOURCE_TOPIC },
        None => Effective { setting, value: shared.topics.defaults.value(setting), source: SOURCE_DEFAULT },
    });
    all.collect()
}

/// Settings of topics and of the broker.
pub(crate) fn describe(shared: &Shared, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let results = request.resources.into_iter().map(|resource| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        let described = match resource.resource_type {
            TOPIC => describe_topic(shared, &resource, request.include_synonyms),
            BROKER => describe_broker(shared, &resource),
            other => Err((ResponseError::InvalidRequest, format!("resources of type {other} have no settings here"))),
        };
        match described {
            Ok(configs) => {
                let wanted = |name: &str| match &resource.configuration_keys {
                    Some(keys) if !keys.is_empty() => keys.iter().any(|key| &**key == name),
                    _ => true,
                };
                result.with_configs(configs.into_iter().filter(|config| wanted(&config.name)).collect())
            }
            Err((error, message)) => result.with_error_code(error.code()).with_error_message(Some(text(message))),
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn find_topic(shared: &Shared, name: &str) -> Result<Arc<Topic>, Refusal> {
    let unknown = || (ResponseError::UnknownTopicOrPartition, format!("there is no topic {name}"));
    shared.topics.by_name(name).ok_or_else(unknown)
}

fn describe_topic(
    shared: &Shared,
    resource: &DescribeConfigsResource,
    with_synonyms: bool,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    let topic = find_topic(shared, &resource.resource_name)?;
    let described = effective(shared, &topic.config()).into_iter().map(|entry| {
        let synonym = |value: String, source| {
            let name = text(entry.setting.name);
            DescribeConfigsSynonym::default().with_name(name).with_value(Some(text(value))).with_source(source)
        };
        let mut synonyms = Vec::new();
        if with_synonyms {
            if entry.source == SOURCE_TOPIC {
                synonyms.push(synonym(entry.value.clone(), SOURCE_TOPIC));
            }
            synonyms.push(synonym(shared.topics.defaults.value(entry.setting), SOURCE_DEFAULT));
        }
        DescribeConfigsResourceResult::default()
            .with_name(text(entry.setting.name))
            .with_value(Some(text(entry.value)))
            .with_config_source(entry.source)
            .with_config_type(entry.setting.kind as i8)
            .with_synonyms(synonyms)
    });
    Ok(described.collect())
}

fn describe_broker(
    shared: &Shared,
    resource: &DescribeConfigsResource,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    if !resource.resource_name.is_empty() && resource.resource_name.parse() != Ok(NODE_ID) {
        let message = format!("there is no broker {}; the only one is {NODE_ID}", &*resource.resource_name);
        return Err((ResponseError::InvalidRequest, message));
    }
    let options = &shared.options;
    let settings = [
        ("auto.create.topics.enable", Kind::Boolean, options.auto_create_topics.to_string()),
        ("broker.id", Kind::Int, NODE_ID.to_string()),
        ("default.replication.factor", Kind::Int, "1".to_owned()),
        ("log.dirs", Kind::Text, options.data_dir.display().to_string()),
        ("log.segment.bytes", Kind::Int, options.segment_bytes.to_string()),
        ("max.connections", Kind::Int, options.connections_max.to_string()),
        ("message.max.bytes", Kind::Int, options.message_bytes_max.to_string()),
        ("min.insync.replicas", Kind::Int, "1".to_owned()),
        ("num.partitions", Kind::Int, options.default_partitions.to_string()),
        ("socket.request.max.bytes", Kind::Int, options.request_bytes_max.to_string()),
    ];
    let described = settings.into_iter().map(|(name, kind, value)| {
        DescribeConfigsResourceResult::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
            .with_read_only(true)
            .with_config_source(SOURCE_BROKER)
            .with_config_type(kind as i8)
    });
    Ok(described.collect())
}

/// Replaces all settings of topics.
pub(crate) async fn alter(shared: &Arc<Shared>, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in request.resources {
        let mut overrides = BTreeMap::new();
        for config in resource.configs {
            if let Some(value) = config.value {
                overrides.insert(config.name.to_string(), value.to_string());
            }
        }
        let (kind, name) = (resource.resource_type, resource.resource_name);
        let changed = set(shared, kind, &name, request.validate_only, move |_| Ok(overrides)).await;
        let (error, message) = outcome(changed);
        responses.push(
            alter_configs_response::AlterConfigsResourceResponse::default()
                .with_resource_type(kind)
                .with_resource_name(name)
                .with_error_code(error)
                .with_error_message(message.map(text)),
        );
    }
    AlterConfigsResponse::default().with_responses(responses)
}

/// Changes some settings of topics.
pub(crate) async fn alter_incrementally(
    shared: &Arc<Shared>,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in request.resources {
        let (kind, name, changes) = (resource.resource_type, resource.resource_name, resource.configs);
        let defaults = shared.topics.defaults;
        let changed = set(shared, kind, &name, request.validate_only, move |before| {
            let mut after = before;
            for change in changes {
                let default = setting(&change.name).map(|setting| defaults.value(setting)).unwrap_or_default();
                apply(&mut after, &change, &default)?;
            }
            Ok(after)
        });
        let (error, message) = outcome(changed.await);
        responses.push(
            incremental_alter_configs_response::AlterConfigsResourceResponse::default()
                .with_resource_type(kind)
                .with_resource_name(name)
                .with_error_code(error)
                .with_error_message(message.map(text)),
        );
    }
    IncrementalAlterConfigsResponse::default().with_responses(responses)
}

/// Applies one change to what is set.
fn apply(overrides: &mut BTreeMap<String, String>, change: &AlterableConfig, default: &str) -> Result<(), Refusal> {
    const SET: i8 = 0;
    const DELETE: i8 = 1;
    const APPEND: i8 = 2;
    const SUBTRACT: i8 = 3;
    let name = change.name.to_string();
    let invalid = |message: String| (ResponseError::InvalidConfig, message);
    if change.config_operation == DELETE {
        overrides.remove(&name);
        return Ok(());
    }
    let value = change.value.as_deref().ok_or_else(|| invalid(format!("{name} has no value")))?;
    if change.config_operation == SET {
        overrides.insert(name, value.to_owned());
        return Ok(());
    }
    if !matches!(change.config_operation, APPEND | SUBTRACT) || setting(&name).is_none_or(|it| it.kind != Kind::List) {
        return Err(invalid(format!("operation {} can't be done to {name}", change.config_operation)));
    }
    let present = overrides.get(&name).map_or(default, String::as_str);
    let mut words: Vec<&str> = present.split(',').filter(|word| !word.is_empty()).collect();
    for word in value.split(',') {
        words.retain(|present| *present != word);
        if change.config_operation == APPEND {
            words.push(word);
        }
    }
    let joined = words.join(",");
    overrides.insert(name, joined);
    Ok(())
}

async fn set(
    shared: &Arc<Shared>,
    kind: i8,
    name: &str,
    only_check: bool,
    change: impl FnOnce(BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Refusal>,
) -> Result<(), Refusal> {
    if kind != TOPIC {
        let message = "only settings of topics can be changed while the broker runs".to_owned();
        return Err((ResponseError::InvalidRequest, message));
    }
    let topic = find_topic(shared, name)?;
    let after = change(topic.config().overrides.clone())?;
    for (name, value) in &after {
        check(name, value).map_err(|message| (ResponseError::InvalidConfig, message))?;
    }
    if only_check {
        return Ok(());
    }
    let changing = shared.clone();
    let changed = blocking(move || changing.topics.set_config(&topic, after)).await;
    let changed = changed.map_err(|error| (error, "the settings couldn't be changed".to_owned()))?;
    changed.map_err(|error| (topic_error(&error), error.to_string()))
}

fn outcome(changed: Result<(), Refusal>) -> (i16, Option<String>) {
    match changed {
        Ok(()) => (0, None),
        Err((error, message)) => (error.code(), Some(message)),
    }
}
