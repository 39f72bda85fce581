//! The topic that keeps the schemas: made if it is missing, refused if it would lose or reorder them.

use std::time::Duration;

use futures::executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;

use super::kafka::StorageError;
use crate::options::KafkaStorage;

/// What is known of the cluster and its topic.
#[derive(Debug)]
pub(super) struct Cluster {
    /// The cluster's own id; empty if it tells none.
    pub(super) id: String,
}

/// Makes sure that the topic is there, has one partition and is compacted.
pub(super) fn prepare(
    consumer: &BaseConsumer,
    config: &ClientConfig,
    storage: &KafkaStorage,
    timeout: Duration,
) -> Result<Cluster, StorageError> {
    let admin: AdminClient<DefaultClientContext> = config
        .create()
        .map_err(|error| StorageError::setup(format!("the connection settings are refused: {error}")))?;
    // Asked through a consumer: for anyone else, brokers that make topics by themselves would make it now, without compaction.
    let metadata = consumer
        .fetch_metadata(Some(&storage.topic), timeout)
        .map_err(|error| StorageError::unavailable(format!("Kafka at {} does not answer: {error}", storage.brokers)))?;
    let partitions = metadata
        .topics()
        .iter()
        .find(|topic| topic.name() == storage.topic)
        .map_or(0, |topic| topic.partitions().len());
    match partitions {
        0 => create(&admin, storage, metadata.brokers().len(), timeout)?,
        1 => check_cleanup(&admin, storage, timeout)?,
        more => {
            return Err(StorageError::setup(format!(
                "topic {} has {more} partitions, so its records have no order; a registry's topic has one. Name another topic",
                storage.topic
            )));
        }
    }
    let id = consumer.client().fetch_cluster_id(timeout).unwrap_or_default();
    Ok(Cluster { id })
}

fn create(
    admin: &AdminClient<DefaultClientContext>,
    storage: &KafkaStorage,
    brokers: usize,
    timeout: Duration,
) -> Result<(), StorageError> {
    let copies = usize::from(storage.replication).clamp(1, brokers.max(1));
    if copies < usize::from(storage.replication) {
        tracing::warn!(
            topic = storage.topic,
            copies,
            wanted = storage.replication,
            "the schemas topic has fewer copies than wanted, since there are fewer brokers"
        );
    }
    let copies = i32::try_from(copies).unwrap_or(1);
    let topic = NewTopic::new(&storage.topic, 1, TopicReplication::Fixed(copies)).set("cleanup.policy", "compact");
    let options = AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout));
    let results = block_on(admin.create_topics([&topic], &options))
        .map_err(|error| StorageError::unavailable(format!("topic {} could not be made: {error}", storage.topic)))?;
    match results.into_iter().next() {
        None | Some(Ok(_)) => Ok(()),
        // Somebody has just made it, perhaps in another way: it is looked at once the brokers show it.
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Err(StorageError::unavailable(format!(
            "topic {} exists, and the brokers don't show it to us yet; if it stays so, allow us to describe it",
            storage.topic
        ))),
        Some(Err((_, RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed))) => {
            Err(StorageError::setup(format!(
                "topic {} is missing and we may not make it; make it with 1 partition and cleanup.policy=compact, or allow us to",
                storage.topic
            )))
        }
        Some(Err((_, code))) => {
            Err(StorageError::unavailable(format!("topic {} could not be made: {code}", storage.topic)))
        }
    }
}

/// With any policy but compaction the topic would lose schemas after its retention.
fn check_cleanup(
    admin: &AdminClient<DefaultClientContext>,
    storage: &KafkaStorage,
    timeout: Duration,
) -> Result<(), StorageError> {
    let options = AdminOptions::new().request_timeout(Some(timeout));
    let described = block_on(admin.describe_configs([&ResourceSpecifier::Topic(&storage.topic)], &options));
    let resource = described.ok().and_then(|results| results.into_iter().next()).and_then(Result::ok);
    let policy = resource.and_then(|resource| resource.get("cleanup.policy").and_then(|entry| entry.value.clone()));
    match policy.as_deref() {
        Some("compact") => Ok(()),
        Some(other) => Err(StorageError::setup(format!(
            "topic {} has cleanup.policy={other}, with which schemas are lost after the retention; set it to compact",
            storage.topic
        ))),
        None => {
            tracing::warn!(
                topic = storage.topic,
                "cleanup.policy of the schemas topic can't be read; it must be compact"
            );
            Ok(())
        }
    }
}
