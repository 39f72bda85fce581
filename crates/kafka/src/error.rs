//! What can go wrong with Kafka.

use model::{Classified, Domain, Retry, TopicPartition};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

/// Result of a Kafka call.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong with Kafka.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// librdkafka refused a setting.
    #[error("kafka setting refused: {reason}")]
    Setting {
        /// librdkafka's words.
        reason: String,
    },
    /// The cluster didn't answer in time.
    #[error("kafka at {brokers} is unavailable while {doing}: {reason}")]
    Unavailable {
        /// Bootstrap brokers.
        brokers: String,
        /// What was attempted.
        doing: String,
        /// librdkafka's words.
        reason: String,
    },
    /// The position isn't in the log any more (retention), or not yet (the topic was re-created, or lost its tail).
    #[error("a position lies outside the log of {topic}: {reason}")]
    OutOfRange {
        /// Topic, with the partition where known.
        topic: String,
        /// librdkafka's words.
        reason: String,
    },
    /// The topic doesn't exist.
    #[error("topic {topic} doesn't exist")]
    UnknownTopic {
        /// Topic.
        topic: String,
    },
    /// A record was not acknowledged. What happened to it and to those after it is unknown: the epoch ends here.
    #[error("a record for {partition} was not acknowledged: {reason}")]
    Delivery {
        /// Where it was meant to go; partition -1 if it was not chosen yet.
        partition: TopicPartition,
        /// librdkafka's words.
        reason: String,
        /// Whether the broker said no for good (too large, no rights) or the outcome is unknown.
        refused: bool,
    },
    /// Acknowledgements didn't come in time; the records are still being tried.
    #[error("{outstanding} records were not acknowledged within {timeout_ms} ms")]
    FlushTimeout {
        /// Records not acknowledged yet.
        outstanding: usize,
        /// How long was waited.
        timeout_ms: u128,
    },
    /// The cluster refused a request.
    #[error("kafka refused {doing}: {reason}")]
    Refused {
        /// What was attempted.
        doing: String,
        /// The broker's or librdkafka's words.
        reason: String,
    },
}

impl Classified for Error {
    fn domain(&self) -> Domain {
        match self {
            Self::Setting { .. } | Self::UnknownTopic { .. } => Domain::User,
            _ => Domain::External,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Unavailable { .. } | Self::FlushTimeout { .. } | Self::Delivery { refused: false, .. } => {
                Retry::Backoff
            }
            _ => Retry::Never,
        }
    }
}

impl Error {
    /// The error of a request to the cluster as a whole.
    pub(crate) fn of_request(error: &KafkaError, brokers: &str, doing: &str) -> Self {
        match error {
            KafkaError::ClientConfig(_, reason, name, value) => {
                Self::Setting { reason: format!("{name} = {value:?}: {reason}") }
            }
            KafkaError::ClientCreation(reason) => Self::Setting { reason: reason.clone() },
            _ if is_outage(error.rdkafka_error_code()) => {
                Self::Unavailable { brokers: brokers.to_owned(), doing: doing.to_owned(), reason: error.to_string() }
            }
            _ => Self::Refused { doing: doing.to_owned(), reason: error.to_string() },
        }
    }
}

/// Whether librdkafka's code means that a broker is away or not ready, so that waiting helps.
pub(crate) fn is_outage(code: Option<RDKafkaErrorCode>) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Some(
            Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::Resolve
                | Code::OperationTimedOut
                | Code::TimedOutQueue
                | Code::MessageTimedOut
                | Code::RequestTimedOut
                | Code::NotLeaderForPartition
                | Code::LeaderNotAvailable
                | Code::BrokerNotAvailable
                | Code::ReplicaNotAvailable
                | Code::NetworkException
                | Code::CoordinatorNotAvailable
                | Code::CoordinatorLoadInProgress
                | Code::NotCoordinator
                | Code::NotEnoughReplicas
                | Code::NotEnoughReplicasAfterAppend
                | Code::KafkaStorageError
                | Code::NotController
        )
    )
}
