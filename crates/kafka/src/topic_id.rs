//! Kafka's id of a topic.
//!
//! rdkafka 0.39 doesn't wrap librdkafka's `DescribeTopics`, the only call that tells a topic's id, so this file calls the C functions.
//! Each handle is owned by a guard that destroys it; no pointer outlives the call.
#![allow(
    unsafe_code,
    reason = "librdkafka's DescribeTopics has no safe wrapper; the handles live and die in this file"
)]

use std::ffi::{CStr, CString};
use std::time::Duration;

use model::TopicId;
use rdkafka::bindings as sys;
use rdkafka::client::{Client, DefaultClientContext};
use rdkafka::types::RDKafkaErrorCode;

use crate::admin::TopicInfo;

/// Why a description could not be had.
pub(crate) struct Failure {
    pub(crate) code: Option<RDKafkaErrorCode>,
    pub(crate) reason: String,
}

impl Failure {
    fn new(reason: &str) -> Self {
        Self { code: None, reason: reason.to_owned() }
    }
}

/// Destroys a C handle when it goes out of scope.
struct Guard<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the pointer came from the matching constructor and is destroyed once.
            unsafe { (self.1)(self.0) }
        }
    }
}

/// Asks for a topic's id and number of partitions; `None` if there is no such topic.
pub(crate) fn describe(
    client: &Client<DefaultClientContext>,
    topic: &str,
    timeout: Duration,
) -> Result<Option<TopicInfo>, Failure> {
    let name = CString::new(topic).map_err(|_| Failure::new("the topic's name holds a NUL"))?;
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: `client` outlives this call; every handle below is checked for null where C may return it and destroyed by its guard after
    // the last use; strings and arrays that librdkafka returns live as long as the event, which outlives their use.
    unsafe {
        let rk = client.native_ptr();
        let queue = Guard(sys::rd_kafka_queue_new(rk), sys::rd_kafka_queue_destroy);
        let mut names = [name.as_ptr()];
        let topics = Guard(
            sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len()),
            sys::rd_kafka_TopicCollection_destroy,
        );
        let options = Guard(
            sys::rd_kafka_AdminOptions_new(rk, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS),
            sys::rd_kafka_AdminOptions_destroy,
        );
        let mut message = [0; 256];
        sys::rd_kafka_AdminOptions_set_request_timeout(options.0, timeout_ms, message.as_mut_ptr(), message.len());
        sys::rd_kafka_DescribeTopics(rk, topics.0, options.0, queue.0);
        let event =
            Guard(sys::rd_kafka_queue_poll(queue.0, timeout_ms.saturating_add(1_000)), sys::rd_kafka_event_destroy);
        if event.0.is_null() {
            return Err(Failure {
                code: Some(RDKafkaErrorCode::OperationTimedOut),
                reason: "no answer in time".to_owned(),
            });
        }
        let code = sys::rd_kafka_event_error(event.0);
        if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(Failure { code: Some(code.into()), reason: "the request failed".to_owned() });
        }
        let result = sys::rd_kafka_event_DescribeTopics_result(event.0);
        if result.is_null() {
            return Err(Failure::new("librdkafka answered with another event"));
        }
        let mut count = 0;
        let descriptions = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if descriptions.is_null() || count == 0 {
            return Ok(None);
        }
        read(*descriptions)
    }
}

/// Reads a description.
///
/// # Safety
/// `description` points to a topic description that lives through the call.
unsafe fn read(description: *const sys::rd_kafka_TopicDescription_t) -> Result<Option<TopicInfo>, Failure> {
    // SAFETY: as the caller promises; the error, id and partitions belong to the description.
    unsafe {
        let error = sys::rd_kafka_TopicDescription_error(description);
        let code: RDKafkaErrorCode =
            if error.is_null() { RDKafkaErrorCode::NoError } else { sys::rd_kafka_error_code(error).into() };
        match code {
            RDKafkaErrorCode::NoError => {}
            RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => return Ok(None),
            code => return Err(Failure { code: Some(code), reason: "the topic can't be described".to_owned() }),
        }
        let mut partitions = 0;
        sys::rd_kafka_TopicDescription_partitions(description, &raw mut partitions);
        let uuid = sys::rd_kafka_TopicDescription_topic_id(description);
        let text = if uuid.is_null() { std::ptr::null() } else { sys::rd_kafka_Uuid_base64str(uuid) };
        if text.is_null() {
            return Err(Failure::new("the cluster gives topics no ids; Kafka 2.8 or newer does"));
        }
        let id = CStr::from_ptr(text).to_string_lossy().into_owned();
        Ok(Some(TopicInfo { id: TopicId(id), partitions: i32::try_from(partitions).unwrap_or(i32::MAX) }))
    }
}
