//! The topics of a project, and the schemas registered for them.

use std::collections::BTreeMap;

use kafka::{Admin, TopicSpec};
use model::{Schemas, topics};

use crate::error::{Error, Result};

pub(crate) const BYTES_MAX: &str = "max.message.bytes";
/// Kafka's default of `max.message.bytes`.
const KAFKA_BYTES_MAX: u64 = 1_048_588;
/// Room for the headers of a rejected record; its message is bounded.
const HEADERS_BYTES_MAX: u64 = 1_048_576;

/// The subject of a topic's values: Confluent's `TopicNameStrategy`.
pub(crate) fn value_subject(topic: &str) -> String {
    format!("{topic}-value")
}

/// The topics of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamTopics {
    pub(crate) raw: String,
    pub(crate) validated: String,
    pub(crate) rejected: String,
    pub(crate) progress: String,
    pub(crate) partitions: i32,
}

impl StreamTopics {
    pub(crate) fn of(prefix: &str, stream: &str, partitions: i32) -> Self {
        Self {
            raw: topics::raw(prefix, stream),
            validated: topics::validated(prefix, stream),
            rejected: topics::rejected(prefix, stream),
            progress: topics::progress(prefix, stream),
            partitions,
        }
    }

    /// What to create. `config` holds the stream's retention and further settings; progress is compacted whatever they say.
    pub(crate) fn specs(&self, replication: i32, config: &BTreeMap<String, String>) -> Vec<TopicSpec> {
        let record_topic = |name: &String, config: &BTreeMap<String, String>| TopicSpec {
            name: name.clone(),
            partitions: self.partitions,
            replication,
            config: config.clone(),
        };
        // A record that fits the raw topic must fit the outputs too, with the headers that validation adds.
        let mut roomy = config.clone();
        let raw_bytes_max = config.get(BYTES_MAX).and_then(|bytes| bytes.parse().ok()).unwrap_or(KAFKA_BYTES_MAX);
        roomy.insert(BYTES_MAX.to_owned(), (raw_bytes_max + HEADERS_BYTES_MAX).to_string());
        let mut specs = vec![
            record_topic(&self.raw, config),
            record_topic(&self.validated, &roomy),
            record_topic(&self.rejected, &roomy),
        ];
        specs.push(TopicSpec {
            name: self.progress.clone(),
            partitions: 1,
            replication,
            config: BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]),
        });
        specs
    }

    /// Registers the stream's schema for the raw and the validated topic; gives both ids.
    pub(crate) fn register(&self, schemas: &dyn Schemas, schema: &str) -> Result<(u32, u32)> {
        let raw = schemas.register(&value_subject(&self.raw), schema)?;
        let validated = schemas.register(&self.validated_subject(), schema)?;
        Ok((raw, validated))
    }

    /// The subject that has the schemas of validated records.
    pub(crate) fn validated_subject(&self) -> String {
        value_subject(&self.validated)
    }

    /// Checks that topics which were there before have the partitions that the project asks for: positions and keys depend on them.
    pub(crate) fn check(&self, admin: &Admin) -> Result<()> {
        for (name, partitions) in [
            (&self.raw, self.partitions),
            (&self.validated, self.partitions),
            (&self.rejected, self.partitions),
            (&self.progress, 1),
        ] {
            let found = admin.topic(name)?.map(|info| info.partitions);
            if found != Some(partitions) {
                return Err(Error::Position(format!(
                    "topic {name} has {} partitions, but the project asks for {partitions}; keys and positions depend on the number, so set \
                     topic.partitions to what is there or choose another topic_prefix",
                    found.map_or("no".to_owned(), |found| found.to_string())
                )));
            }
        }
        Ok(())
    }
}
