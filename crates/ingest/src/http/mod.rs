//! The HTTP door: `POST /v1/streams/{name}/records`.
//!
//! In: one JSON object, an array of them, or one per line. Out: for each record its partition and offset, once the broker has
//! acknowledged it, or what is wrong with it. The door writes through a [`RecordSink`], which the app builds over Kafka.
//!
//! | request | |
//! | --- | --- |
//! | `content-type: application/json` | an object or an array of objects |
//! | `content-type: application/x-ndjson`, `application/ndjson` or `application/jsonl` | one object per line |
//!
//! | status | means |
//! | --- | --- |
//! | 200 | all records were appended |
//! | 422 | some records were refused; the others were appended; the answer says which |
//! | 503 | Kafka could not be reached, or did not answer in time; the answer says what is known of each record; `retry-after` |
//! | 400 | the body is not JSON, or not one of the forms above; nothing was appended |
//! | 404 | there is no such stream |
//! | 408, 413, 415 | the body came too slowly, is too large, is of another type |
//! | 429 | too much is under way at once; `retry-after` |
//!
//! Promised: a record is told as appended only after the broker's acknowledgement; records are appended in the order of the request; and
//! memory is bounded by the options, whatever clients do. A client that gets 503 or no answer sends again: validation drops the
//! records that it has seen, by their id.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{DefaultBodyLimit, FromRequest as _, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use model::{Classified, Domain, Retry};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

mod body;
mod convert;
mod respond;

pub use convert::{DoorError, StreamDoor};

use body::BodyForm;
use respond::{Outcome, Problem, RecordProblem};

/// A record to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingRecord {
    /// Text of the stream's key column; `None` where it is NULL.
    pub key: Option<Vec<u8>>,
    /// Avro in the wire format.
    pub value: Vec<u8>,
    /// Headers in order.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// Where a record went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Partition of the raw topic.
    pub partition: i32,
    /// Offset in it.
    pub offset: i64,
}

/// Why a record wasn't acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// Kafka can't be reached; the record was not appended.
    #[error("kafka is unavailable: {reason}")]
    Unavailable {
        /// What was seen.
        reason: String,
    },
    /// The record was sent, and no answer came: it may have been appended.
    #[error("kafka did not answer: {reason}; the record may have been appended")]
    Unknown {
        /// What was seen.
        reason: String,
    },
    /// Kafka refused the record, and would again: it is too large, say.
    #[error("kafka refused the record: {reason}")]
    Refused {
        /// Kafka's words.
        reason: String,
    },
}

impl Classified for SinkError {
    fn domain(&self) -> Domain {
        match self {
            Self::Unavailable { .. } | Self::Unknown { .. } => Domain::External,
            Self::Refused { .. } => Domain::User,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Unavailable { .. } | Self::Unknown { .. } => Retry::Backoff,
            Self::Refused { .. } => Retry::Never,
        }
    }
}

/// Appends records to the raw topics of streams.
#[async_trait]
pub trait RecordSink: Send + Sync + 'static {
    /// Appends records to a stream's raw topic and waits for the broker's acknowledgement of each. The answer has one entry per record,
    /// in their order.
    async fn send(&self, stream: &str, records: Vec<OutgoingRecord>) -> Vec<Result<Appended, SinkError>>;
}

/// Limits of the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoorOptions {
    /// Largest body, in bytes.
    pub body_bytes_max: usize,
    /// Most records in a request.
    pub records_max: usize,
    /// Most bytes of all bodies that are under way at once. A request takes several times its body in memory. At least one body of
    /// the largest size is let in.
    pub in_flight_bytes_max: usize,
    /// Most requests that are under way at once.
    pub in_flight_requests_max: usize,
    /// How long a body may take to come in.
    pub body_timeout: Duration,
    /// What `retry-after` says, in whole seconds.
    pub retry_after_s: u32,
}

impl Default for DoorOptions {
    fn default() -> Self {
        Self {
            body_bytes_max: 8 * 1024 * 1024,
            records_max: 10_000,
            in_flight_bytes_max: 64 * 1024 * 1024,
            in_flight_requests_max: 1_000,
            body_timeout: Duration::from_secs(30),
            retry_after_s: 1,
        }
    }
}

/// Bodies are counted in units of this many bytes.
const UNIT_BYTES: usize = 1_024;
/// From this size on, a body is converted beside the server's threads, which have other requests to serve.
const CONVERT_ASIDE_BYTES: usize = 64 * 1_024;

struct Door {
    streams: BTreeMap<String, Arc<StreamDoor>>,
    sink: Arc<dyn RecordSink>,
    options: DoorOptions,
    bytes: Arc<Semaphore>,
    requests: Arc<Semaphore>,
}

/// The door's routes: `POST /v1/streams/{name}/records`, and `GET /v1/streams` and `GET /v1/streams/{name}`, which say what there is to
/// write to and in which form.
pub fn router(streams: BTreeMap<String, StreamDoor>, sink: Arc<dyn RecordSink>, options: DoorOptions) -> Router {
    let body_bytes_max = options.body_bytes_max;
    let units = options.in_flight_bytes_max.max(body_bytes_max).div_ceil(UNIT_BYTES);
    let door = Door {
        streams: streams.into_iter().map(|(name, stream)| (name, Arc::new(stream))).collect(),
        sink,
        bytes: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))),
        requests: Arc::new(Semaphore::new(options.in_flight_requests_max.clamp(1, Semaphore::MAX_PERMITS))),
        options,
    };
    Router::new()
        .route("/v1/streams", get(list))
        .route("/v1/streams/{name}", get(describe))
        .route("/v1/streams/{name}/records", post(append))
        .layer(DefaultBodyLimit::max(body_bytes_max))
        .with_state(Arc::new(door))
}

async fn list(State(door): State<Arc<Door>>) -> Response {
    let streams: Vec<_> = door.streams.iter().map(|(name, stream)| stream.describe(name)).collect();
    respond::json(StatusCode::OK, &serde_json::json!({ "streams": streams }))
}

async fn describe(State(door): State<Arc<Door>>, Path(name): Path<String>) -> Response {
    match door.stream(&name) {
        Ok(stream) => respond::json(StatusCode::OK, &stream.describe(&name)),
        Err(problem) => problem.response(),
    }
}

async fn append(State(door): State<Arc<Door>>, Path(name): Path<String>, request: Request) -> Response {
    match door.append(&name, request).await {
        Ok(outcome) => outcome.response(door.options.retry_after_s),
        Err(problem) => problem.response(),
    }
}

impl Door {
    fn stream(&self, name: &str) -> Result<&Arc<StreamDoor>, Problem> {
        self.streams.get(name).ok_or_else(|| {
            let closest = crate::files::closest(name, self.streams.keys().map(String::as_str));
            let help = match closest {
                Some(closest) => format!("; did you mean {closest}?"),
                None => format!("; there are: {}", self.streams.keys().cloned().collect::<Vec<_>>().join(", ")),
            };
            Problem::new(StatusCode::NOT_FOUND, "unknown_stream", format!("there is no stream {name}{help}"))
        })
    }

    async fn append(&self, name: &str, request: Request) -> Result<Outcome, Problem> {
        let stream = Arc::clone(self.stream(name)?);
        let form = BodyForm::of(request.headers())?;
        let headers = forwarded_headers(request.headers());
        let _permits = self.admit(request.headers())?;
        let body = self.read_body(request).await?;
        let records_max = self.options.records_max;
        let converted = if body.len() < CONVERT_ASIDE_BYTES {
            convert::convert(&stream, form, &body, &headers, records_max)?
        } else {
            let converted =
                tokio::task::spawn_blocking(move || convert::convert(&stream, form, &body, &headers, records_max));
            converted.await.map_err(|error| {
                let message = format!("converting the records failed: {error}");
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
            })??
        };
        Ok(self.send(name, converted).await)
    }

    /// Lets a request in, if memory for its body is left.
    fn admit(&self, headers: &HeaderMap) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), Problem> {
        let stated = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if stated.is_some_and(|length| length > self.options.body_bytes_max) {
            return Err(self.too_large());
        }
        let units = stated.unwrap_or(self.options.body_bytes_max).div_ceil(UNIT_BYTES);
        let busy = |_| {
            let message = "too much is under way at once; send again later, or with fewer requests in parallel";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "busy", message.to_owned())
                .retry_after(self.options.retry_after_s)
        };
        let request = Arc::clone(&self.requests).try_acquire_owned().map_err(busy)?;
        let bytes =
            Arc::clone(&self.bytes).try_acquire_many_owned(u32::try_from(units).unwrap_or(u32::MAX)).map_err(busy)?;
        Ok((request, bytes))
    }

    async fn read_body(&self, request: Request) -> Result<Bytes, Problem> {
        let read = tokio::time::timeout(self.options.body_timeout, Bytes::from_request(request, &())).await;
        match read {
            Err(_) => Err(Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "slow_body",
                format!("the body did not come in within {} s", self.options.body_timeout.as_secs()),
            )),
            Ok(Err(BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)))) => {
                Err(self.too_large())
            }
            Ok(Err(error)) => Err(Problem::new(StatusCode::BAD_REQUEST, "broken_body", error.body_text())),
            Ok(Ok(body)) => Ok(body),
        }
    }

    fn too_large(&self) -> Problem {
        let message =
            format!("the body is larger than {} bytes; send fewer records at once", self.options.body_bytes_max);
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    /// Sends what could be converted, and joins the answers with what couldn't.
    async fn send(&self, name: &str, converted: Vec<Result<OutgoingRecord, RecordProblem>>) -> Outcome {
        let mut sound = Vec::with_capacity(converted.len());
        let refused: Vec<Option<RecordProblem>> =
            converted.into_iter().map(|record| record.map(|record| sound.push(record)).err()).collect();
        let answers = if sound.is_empty() { Vec::new() } else { self.sink.send(name, sound).await };
        let mut answers = answers.into_iter();
        let records = refused
            .into_iter()
            .map(|problem| match problem {
                Some(problem) => Err(problem),
                None => match answers.next() {
                    Some(answer) => answer.map_err(RecordProblem::from),
                    None => {
                        Err(RecordProblem::from(SinkError::Unknown { reason: "there was no answer for it".into() }))
                    }
                },
            })
            .collect();
        Outcome { records }
    }
}

/// The W3C trace context goes along with the record (<https://www.w3.org/TR/trace-context/>).
fn forwarded_headers(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    const VALUE_BYTES_MAX: usize = 512;
    ["traceparent", "tracestate"]
        .into_iter()
        .filter_map(|name| headers.get(name).map(|value| (name.to_owned(), value.as_bytes().to_vec())))
        .filter(|(_, value)| value.len() <= VALUE_BYTES_MAX)
        .collect()
}
