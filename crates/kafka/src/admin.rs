//! Making and describing topics.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use model::TopicId;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::topic_id;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Pause between two looks for a topic that was just made.
const TOPIC_POLL: Duration = Duration::from_millis(20);

/// A topic to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Name.
    pub name: String,
    /// Number of partitions.
    pub partitions: i32,
    /// Copies of each partition.
    pub replication: i32,
    /// Topic configs such as `cleanup.policy`.
    pub config: BTreeMap<String, String>,
}

/// What the cluster says of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// The topic's id; a re-created topic has another.
    pub id: TopicId,
    /// Number of partitions.
    pub partitions: i32,
}

/// Makes, describes and deletes topics.
pub struct Admin {
    client: AdminClient<DefaultClientContext>,
    brokers: String,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("brokers", &self.brokers).finish_non_exhaustive()
    }
}

impl Admin {
    /// An admin client. It connects with the first request.
    ///
    /// # Errors
    /// `Setting` when librdkafka refuses a property.
    pub fn new(connection: &Connection) -> Result<Self> {
        let client = connection
            .config(&[])
            .create()
            .map_err(|error| Error::of_request(&error, &connection.brokers, "creating an admin client"))?;
        Ok(Self { client, brokers: connection.brokers.clone() })
    }

    /// Makes the topics, and waits until the cluster shows them: it may confirm a topic before the broker that is asked next knows of it.
    /// One that exists is left as it is.
    ///
    /// # Errors
    /// `Unavailable` when the cluster doesn't answer; `Refused` with its words for the first topic that it refuses.
    pub fn create_topics(&self, specs: &[TopicSpec]) -> Result<()> {
        if specs.is_empty() {
            return Ok(());
        }
        let topics: Vec<NewTopic<'_>> = specs.iter().map(new_topic).collect();
        let answers = block_on(self.client.create_topics(&topics, &options()))
            .map_err(|error| self.error(&error, "creating topics"))?;
        for answer in answers {
            match answer {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => {
                    return Err(self.error(&KafkaError::AdminOp(code), &format!("creating topic {topic}")));
                }
            }
        }
        specs.iter().try_for_each(|spec| self.wait_for_topic(&spec.name))
    }

    /// Waits until the cluster says how many partitions the topic has.
    fn wait_for_topic(&self, name: &str) -> Result<()> {
        let started = Instant::now();
        while self.topic(name)?.is_none_or(|info| info.partitions < 1) {
            if started.elapsed() > REQUEST_TIMEOUT {
                return Err(Error::Unavailable {
                    brokers: self.brokers.clone(),
                    doing: format!("creating topic {name}"),
                    reason: format!("it was confirmed, but isn't shown after {} s", REQUEST_TIMEOUT.as_secs()),
                });
            }
            std::thread::sleep(TOPIC_POLL);
        }
        Ok(())
    }

    /// Deletes the topics; one that doesn't exist is fine.
    ///
    /// # Errors
    /// `Unavailable` or `Refused`.
    pub fn delete_topics(&self, names: &[&str]) -> Result<()> {
        let answers = block_on(self.client.delete_topics(names, &options()))
            .map_err(|error| self.error(&error, "deleting topics"))?;
        for answer in answers {
            match answer {
                Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
                Err((topic, code)) => {
                    return Err(self.error(&KafkaError::AdminOp(code), &format!("deleting topic {topic}")));
                }
            }
        }
        Ok(())
    }

    /// What the cluster says of a topic; `None` if there is none.
    ///
    /// # Errors
    /// `Unavailable` when the cluster doesn't answer, `Refused` when it refuses.
    pub fn topic(&self, name: &str) -> Result<Option<TopicInfo>> {
        topic_id::describe(self.client.inner(), name, REQUEST_TIMEOUT).map_err(|failure| match failure.code {
            Some(code) => self.error(&KafkaError::AdminOp(code), &format!("describing topic {name}")),
            None => Error::Refused { doing: format!("describing topic {name}"), reason: failure.reason },
        })
    }

    /// Whether the cluster answers at all.
    ///
    /// # Errors
    /// `Unavailable` with librdkafka's words.
    pub fn ping(&self, timeout: Duration) -> Result<()> {
        match self.client.inner().fetch_metadata(None, timeout) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.error(&error, "asking for metadata")),
        }
    }

    fn error(&self, error: &KafkaError, doing: &str) -> Error {
        match error {
            KafkaError::AdminOp(code) if crate::error::is_outage(Some(*code)) => {
                Error::Unavailable { brokers: self.brokers.clone(), doing: doing.to_owned(), reason: error.to_string() }
            }
            _ => Error::of_request(error, &self.brokers, doing),
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT))
}

fn new_topic(spec: &TopicSpec) -> NewTopic<'_> {
    let mut topic = NewTopic::new(&spec.name, spec.partitions, TopicReplication::Fixed(spec.replication));
    for (name, value) in &spec.config {
        topic = topic.set(name, value);
    }
    topic
}
