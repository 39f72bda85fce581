//! The HTTP door's way to Kafka: requests from many connections go through one writer, and each record's fate comes back to its request.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use async_trait::async_trait;
use ingest::http::{Appended, DoorOptions, OutgoingRecord, RecordSink, SinkError, StreamDoor};
use kafka::{OutRecord, Writer, WriterOptions, partition_of};
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::run::context::Context;
use crate::run::layout::PipelineStream;

pub(crate) const NAME: &str = "door";
/// Requests that may wait for the writer; further ones wait in their connections.
const WAITING_MAX: usize = 256;
/// Requests that share one wait for acknowledgements.
const TOGETHER_MAX: usize = 64;
/// How long a request waits for Kafka before it is answered that the outcome is unknown.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(10);

type Outcomes = Vec<std::result::Result<Appended, SinkError>>;

#[derive(Debug)]
struct Request {
    stream: String,
    records: Vec<OutgoingRecord>,
    answer: oneshot::Sender<Outcomes>,
}

/// The door's side of the channel.
#[derive(Debug)]
struct Sink(SyncSender<Request>);

#[async_trait]
impl RecordSink for Sink {
    async fn send(&self, stream: &str, records: Vec<OutgoingRecord>) -> Outcomes {
        let count = records.len();
        let (answer, outcomes) = oneshot::channel();
        let request = Request { stream: stream.to_owned(), records, answer };
        if self.0.try_send(request).is_err() {
            return unavailable(count, "too many requests wait for kafka");
        }
        outcomes.await.unwrap_or_else(|_| unavailable(count, "the door is closing"))
    }
}

fn unavailable(count: usize, reason: &str) -> Outcomes {
    (0..count).map(|_| Err(SinkError::Unavailable { reason: reason.to_owned() })).collect()
}

/// The door: its HTTP routes, and the thread's work that carries the records to Kafka.
pub(crate) struct Door {
    pub(crate) router: axum::Router,
    requests: Receiver<Request>,
    context: Context,
    streams: BTreeMap<String, PipelineStream>,
}

impl Door {
    pub(crate) fn new(context: &Context, streams: &[PipelineStream], body_bytes_max: usize) -> Result<Self> {
        let (sender, requests) = sync_channel(WAITING_MAX);
        let mut doors = BTreeMap::new();
        for stream in streams {
            let door = StreamDoor::new(stream.schema.clone(), stream.raw_schema_id, &stream.key)
                .map_err(|error| Error::Project(error.to_string()))?;
            doors.insert(stream.name.clone(), door);
        }
        let options = DoorOptions { body_bytes_max, ..DoorOptions::default() };
        Ok(Self {
            router: ingest::http::router(doors, Arc::new(Sink(sender)), options),
            requests,
            context: context.clone(),
            streams: streams.iter().map(|stream| (stream.name.clone(), stream.clone())).collect(),
        })
    }

    /// Splits the routes from the work.
    pub(crate) fn split(self) -> (axum::Router, Carrier) {
        (self.router, Carrier { requests: self.requests, context: self.context, streams: self.streams })
    }
}

/// Carries records from requests to Kafka.
pub(crate) struct Carrier {
    requests: Receiver<Request>,
    context: Context,
    streams: BTreeMap<String, PipelineStream>,
}

impl Carrier {
    /// Runs one epoch: one writer, until the stop switch is thrown or a record's outcome stays unknown.
    pub(crate) fn run_epoch(&self) -> Result<()> {
        let writer =
            Writer::new(&self.context.connection, &WriterOptions { linger_ms: 1, ..WriterOptions::default() })?;
        let mut number = 0;
        while !self.context.stop.is_set() {
            let first = match self.requests.recv_timeout(Duration::from_millis(50)) {
                Ok(request) => request,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            let mut together = vec![first];
            while together.len() < TOGETHER_MAX
                && let Ok(request) = self.requests.try_recv()
            {
                together.push(request);
            }
            self.carry(&writer, together, &mut number)?;
            self.context.status.step(NAME);
            self.context.status.set_trouble(NAME, None);
        }
        Ok(())
    }

    fn carry(&self, writer: &Writer, requests: Vec<Request>, number: &mut usize) -> Result<()> {
        let first_number = *number + 1;
        let mut refused = BTreeMap::new();
        for request in &requests {
            let stream = self.streams.get(&request.stream);
            for record in &request.records {
                *number += 1;
                let Some(stream) = stream else { continue };
                if let Err(error) = send(writer, stream, record, *number) {
                    refused.insert(*number, SinkError::Refused { reason: error.to_string() });
                }
            }
        }
        let flushed = writer.flush(ACKNOWLEDGE_TIMEOUT);
        let mut appended = BTreeMap::new();
        for report in writer.reports() {
            match report.outcome {
                Ok((partition, offset)) => {
                    appended.insert(report.number, Appended { partition, offset });
                }
                Err(kafka::Error::Delivery { reason, refused: true, .. }) => {
                    refused.insert(report.number, SinkError::Refused { reason });
                }
                Err(error) => {
                    refused.insert(report.number, SinkError::Unknown { reason: error.to_string() });
                }
            }
        }
        let mut next = first_number;
        for request in requests {
            let outcomes = (next..next + request.records.len())
                .map(|number| match appended.remove(&number) {
                    Some(appended) => Ok(appended),
                    None => Err(refused.remove(&number).unwrap_or_else(|| SinkError::Unknown {
                        reason: format!("no answer came within {} s", ACKNOWLEDGE_TIMEOUT.as_secs()),
                    })),
                })
                .collect();
            next += request.records.len();
            // A client that has gone away doesn't want its answer.
            drop(request.answer.send(outcomes));
        }
        flushed.map(|_| ()).map_err(Error::from)
    }
}

fn send(writer: &Writer, stream: &PipelineStream, record: &OutgoingRecord, number: usize) -> kafka::Result<()> {
    let headers: Vec<(&str, Option<&[u8]>)> =
        record.headers.iter().map(|(name, value)| (name.as_str(), Some(value.as_slice()))).collect();
    writer.send_tracked(
        &OutRecord {
            topic: &stream.topics.raw,
            partition: record.key.as_deref().map(|key| partition_of(key, stream.topics.partitions)),
            key: record.key.as_deref(),
            value: Some(&record.value),
            headers: &headers,
            timestamp_ms: None,
        },
        number,
    )
}
