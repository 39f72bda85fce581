//! The log in a topic of a Kafka.
//!
//! Threads: one reads the topic into the view, one asks the broker for the end of the log, and librdkafka's own deliver what is written.
//! The async side only hands over and waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use avro::compatibility::Level;
use model::{Classified, Clock as _, Domain, Retry, SystemClock};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, NoCustomPartitioner, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};
use tokio::sync::{mpsc, oneshot, watch};

use super::view::EXPECTED_HEADER;
use super::{Appended, View, topic};
use crate::error::Error;
use crate::machine::Event;
use crate::options::KafkaStorage;

/// Questions for the end of the log that may wait; they are answered together.
const QUESTIONS_MAX: usize = 256;
/// Pause of the reader between looks at whether to stop.
const POLL: Duration = Duration::from_millis(100);
/// Pause between attempts to reach Kafka at the start.
const START_PAUSE: Duration = Duration::from_millis(250);

/// Why the storage can't be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the registry's storage: {reason}")]
pub struct StorageError {
    reason: String,
    domain: Domain,
}

impl StorageError {
    /// Something that a person has to set right.
    pub(crate) fn setup(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), domain: Domain::User }
    }

    /// Kafka is away or failing.
    pub(crate) fn unavailable(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), domain: Domain::External }
    }
}

impl Classified for StorageError {
    fn domain(&self) -> Domain {
        self.domain
    }

    fn retry(&self) -> Retry {
        if self.domain == Domain::External { Retry::Backoff } else { Retry::Never }
    }
}

type KafkaProducer = ThreadedProducer<Deliveries>;
type Delivered = Result<i64, KafkaError>;
type Question = oneshot::Sender<Result<i64, KafkaError>>;

/// Hands the outcome of each record to the one who waits for it.
#[derive(Debug)]
struct Deliveries;

impl ClientContext for Deliveries {}

impl ProducerContext<NoCustomPartitioner> for Deliveries {
    type DeliveryOpaque = Box<oneshot::Sender<Delivered>>;

    fn delivery(&self, result: &DeliveryResult<'_>, waiting: Self::DeliveryOpaque) {
        let outcome = match result {
            Ok(message) => Ok(message.offset()),
            Err((error, _)) => Err(error.clone()),
        };
        // Nobody waits any more when the request was given up.
        drop(waiting.send(outcome));
    }
}

pub(crate) struct KafkaStore {
    view: Arc<RwLock<View>>,
    position: watch::Receiver<i64>,
    producer: Mutex<Arc<KafkaProducer>>,
    questions: mpsc::Sender<Question>,
    storage: KafkaStorage,
    stop: Arc<AtomicBool>,
    reader: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for KafkaStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaStore")
            .field("storage", &self.storage)
            .field("position", &*self.position.borrow())
            .finish()
    }
}

impl KafkaStore {
    /// Makes the topic if need be, reads it to its end, and goes on reading. Blocks.
    pub(crate) fn open(storage: &KafkaStorage, default_level: Level) -> Result<Self, StorageError> {
        let clock = SystemClock::new();
        let consumer = Arc::new(consumer(storage)?);
        let cluster = until_reachable(&clock, storage.start_timeout, || {
            topic::prepare(
                &consumer,
                &base_config(storage),
                storage,
                Duration::from_secs(10).min(storage.start_timeout),
            )
        })?;
        // Known before reading starts: at the first end of the log, everything before it has been read, even where compaction left gaps.
        let (start, end) = until_reachable(&clock, storage.start_timeout, || {
            let asked = consumer.fetch_watermarks(&storage.topic, 0, Duration::from_secs(5));
            asked.map_err(|error| StorageError::unavailable(format!("topic {}: {error}", storage.topic)))
        })?;
        assign(&consumer, &storage.topic, start)?;
        let view = Arc::new(RwLock::new(View::new(default_level, cluster.id)));
        let (moved, position) = watch::channel(-1);
        let stop = Arc::new(AtomicBool::new(false));
        let reader = Reader {
            consumer: Arc::clone(&consumer),
            view: Arc::clone(&view),
            moved,
            end_at_start: end,
            stop: Arc::clone(&stop),
        };
        let reader = spawn("schemas-reader", move || reader.run())?;
        let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
        let topic = storage.topic.clone();
        spawn("schemas-end", move || answer_end(&consumer, &topic, asked))?;
        let store = Self {
            view,
            position,
            producer: Mutex::new(Arc::new(producer(storage)?)),
            questions,
            storage: storage.clone(),
            stop,
            reader: Mutex::new(Some(reader)),
        };
        while *store.position.borrow() < end {
            if clock.elapsed() > storage.start_timeout {
                store.close();
                return Err(StorageError::unavailable(format!(
                    "topic {} could not be read to its end (offset {end}) within {:?}",
                    storage.topic, storage.start_timeout
                )));
            }
            std::thread::sleep(POLL / 10);
        }
        Ok(store)
    }

    pub(super) fn view(&self) -> &Arc<RwLock<View>> {
        &self.view
    }

    pub(super) async fn catch_up(&self) -> Result<(), Error> {
        let (question, answer) = oneshot::channel();
        let end = async {
            self.questions.send(question).await.map_err(|_| Error::store("the registry is shutting down"))?;
            let answer = answer.await.map_err(|_| Error::store("the registry is shutting down"))?;
            answer.map_err(|error| Error::store(format!("the end of topic {} is unknown: {error}", self.storage.topic)))
        };
        let timeout = self.storage.write_timeout;
        let end = tokio::time::timeout(timeout, end)
            .await
            .unwrap_or_else(|_| Err(Error::timeout("Kafka does not tell the end of the log")))?;
        self.wait_for(end).await
    }

    pub(super) async fn append(&self, events: Vec<Event>, expected: i64) -> Result<Appended, Error> {
        if let Some(trouble) = self.view.read().unwrap_or_else(PoisonError::into_inner).trouble.clone() {
            return Err(Error::store(trouble));
        }
        let producer = self.working_producer()?;
        let outcomes = self.send(&producer, events, expected)?;
        // librdkafka gives up after the write's time-out and says so; this one is for when it doesn't.
        let patience = self.storage.write_timeout + Duration::from_secs(1);
        let mut overtaken = false;
        for (outcome, expected) in outcomes.into_iter().zip(expected..) {
            let delivered = tokio::time::timeout(patience, outcome).await;
            let delivered =
                delivered.map_err(|_| Error::timeout("Kafka has not acknowledged the write; it may still happen"))?;
            let delivered = delivered.map_err(|_| Error::store("the write was given up"))?;
            let offset = delivered.map_err(|error| write_error(&error))?;
            if offset < expected {
                return Err(Error::store(
                    self.in_trouble(&format!("a record landed at offset {offset} before {expected}")),
                ));
            }
            overtaken |= offset > expected;
            self.wait_for(offset + 1).await?;
        }
        Ok(if overtaken { Appended::Overtaken } else { Appended::Done })
    }

    /// The producer; a new one if the old one has failed for good.
    fn working_producer(&self) -> Result<Arc<KafkaProducer>, Error> {
        let mut current = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((code, reason)) = current.client().fatal_error() {
            tracing::warn!(%code, reason, "the producer of the schemas topic failed for good; a new one takes over");
            *current = Arc::new(producer(&self.storage).map_err(Error::store)?);
        }
        Ok(Arc::clone(&current))
    }

    fn in_trouble(&self, what: &str) -> String {
        let trouble = format!(
            "the schemas topic was deleted, cut off or made anew ({what}); restore it, then restart the registry"
        );
        tracing::error!(trouble);
        self.view.write().unwrap_or_else(PoisonError::into_inner).trouble = Some(trouble.clone());
        trouble
    }

    /// Hands the records over to librdkafka, those that repair earlier ones first.
    fn send(
        &self,
        producer: &KafkaProducer,
        mut events: Vec<Event>,
        expected: i64,
    ) -> Result<Vec<oneshot::Receiver<Delivered>>, Error> {
        let expectations: Vec<String> = {
            let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
            events.splice(0..0, view.repairs(&events));
            (expected..).take(events.len()).map(|offset| view.expectation(offset)).collect()
        };
        let mut outcomes = Vec::with_capacity(events.len());
        for (event, expectation) in events.iter().zip(&expectations) {
            let Some(key) = event.key.to_bytes() else { continue };
            let value = event.value_bytes();
            let (waiting, outcome) = oneshot::channel();
            let headers = OwnedHeaders::new().insert(Header { key: EXPECTED_HEADER, value: Some(expectation) });
            let mut record = BaseRecord::with_opaque_to(&self.storage.topic, Box::new(waiting))
                .partition(0)
                .key(&key)
                .headers(headers);
            if let Some(value) = &value {
                record = record.payload(value);
            }
            producer.send(record).map_err(|(error, _)| write_error(&error))?;
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    async fn wait_for(&self, end: i64) -> Result<(), Error> {
        let mut position = self.position.clone();
        let reached =
            tokio::time::timeout(self.storage.write_timeout, position.wait_for(|position| *position >= end)).await;
        match reached {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Error::store("the reader of the schemas topic has ended")),
            Err(_) => Err(Error::timeout(format!("the own reader has not reached offset {end}"))),
        }
    }

    pub(super) fn close(&self) {
        self.stop.store(true, Ordering::Release);
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(reader) = reader
            && reader.join().is_err()
        {
            tracing::error!("the reader of the schemas topic has panicked");
        }
        let producer = Arc::clone(&self.producer.lock().unwrap_or_else(PoisonError::into_inner));
        if let Err(error) = producer.flush(Duration::from_secs(1)) {
            tracing::warn!(%error, "writes to the schemas topic were still under way at the end");
        }
    }
}

impl Drop for KafkaStore {
    fn drop(&mut self) {
        // The threads see it within a poll; nobody has to wait for them here.
        self.stop.store(true, Ordering::Release);
    }
}

/// Reads the topic into the view.
struct Reader {
    consumer: Arc<BaseConsumer>,
    view: Arc<RwLock<View>>,
    moved: watch::Sender<i64>,
    end_at_start: i64,
    stop: Arc<AtomicBool>,
}

impl Reader {
    fn run(self) {
        let mut at_start = true;
        while !self.stop.load(Ordering::Acquire) {
            match self.consumer.poll(POLL) {
                None => {}
                Some(Ok(message)) => self.take(&message),
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
                    if std::mem::take(&mut at_start) {
                        view.next_offset = view.next_offset.max(self.end_at_start);
                    }
                    self.moved.send_replace(view.next_offset);
                }
                Some(Err(error)) => self.failed(&error),
            }
        }
    }

    fn take(&self, message: &BorrowedMessage<'_>) {
        let headers = message.headers();
        let expected = headers.and_then(|headers| headers.iter().find(|header| header.key == EXPECTED_HEADER)?.value);
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        view.record(message.offset(), message.key(), message.payload(), expected);
        self.moved.send_replace(view.next_offset);
    }

    /// Brokers that are away come back by themselves; a log that is not the one that was read does not.
    fn failed(&self, error: &KafkaError) {
        let lost = [RDKafkaErrorCode::AutoOffsetReset, RDKafkaErrorCode::OffsetOutOfRange];
        if error.rdkafka_error_code().is_some_and(|code| lost.contains(&code)) {
            let trouble = format!(
                "the schemas topic was deleted, cut off or made anew ({error}); restore it, then restart the registry"
            );
            tracing::error!(trouble);
            self.view.write().unwrap_or_else(PoisonError::into_inner).trouble = Some(trouble);
        } else {
            tracing::warn!(%error, "reading the schemas topic");
        }
    }
}

/// Answers questions for the end of the log, all that wait with one look.
fn answer_end(consumer: &BaseConsumer, topic: &str, mut questions: mpsc::Receiver<Question>) {
    while let Some(first) = questions.blocking_recv() {
        let mut waiting = vec![first];
        while let Ok(more) = questions.try_recv() {
            waiting.push(more);
        }
        let end = consumer.fetch_watermarks(topic, 0, Duration::from_secs(5)).map(|(_, end)| end);
        for question in waiting {
            drop(question.send(end.clone()));
        }
    }
}

fn base_config(storage: &KafkaStorage) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (key, value) in &storage.properties {
        config.set(key, value);
    }
    config.set("bootstrap.servers", &storage.brokers).set("client.id", "tillstream-registry");
    config
}

fn consumer(storage: &KafkaStorage) -> Result<BaseConsumer, StorageError> {
    let mut config = base_config(storage);
    // The group is never joined: partitions are assigned by hand, and positions are not committed.
    config
        .set("group.id", "tillstream-registry")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        .set("fetch.wait.max.ms", "100")
        .set("fetch.error.backoff.ms", "50")
        .set("isolation.level", "read_committed");
    config.create().map_err(|error| StorageError::setup(format!("the connection settings are refused: {error}")))
}

/// Starts reading at a known offset: for a word like `beginning` librdkafka asks the leader, and pauses for half a second if it does not
/// know it yet.
fn assign(consumer: &BaseConsumer, topic: &str, offset: i64) -> Result<(), StorageError> {
    let refused = |error: KafkaError| StorageError::setup(format!("topic {topic} can't be read: {error}"));
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(topic, 0, Offset::Offset(offset)).map_err(refused)?;
    consumer.assign(&partitions).map_err(refused)
}

fn producer(storage: &KafkaStorage) -> Result<KafkaProducer, StorageError> {
    base_config(storage)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .set("message.timeout.ms", storage.write_timeout.as_millis().max(1_000).to_string())
        .create_with_context(Deliveries)
        .map_err(|error| StorageError::setup(format!("the connection settings are refused: {error}")))
}

fn write_error(error: &KafkaError) -> Error {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => Error::too_large(),
        Some(RDKafkaErrorCode::MessageTimedOut | RDKafkaErrorCode::RequestTimedOut) => Error::timeout(error),
        _ => Error::store(error),
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StorageError> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.map_err(|error| StorageError::unavailable(format!("no thread to be had: {error}")))
}

/// Repeats what fails because Kafka is away, until the time is up.
fn until_reachable<T>(
    clock: &SystemClock,
    timeout: Duration,
    mut attempt: impl FnMut() -> Result<T, StorageError>,
) -> Result<T, StorageError> {
    loop {
        match attempt() {
            Err(error) if error.retry() == Retry::Backoff && clock.elapsed() < timeout => {
                tracing::debug!(%error, "trying again");
                std::thread::sleep(START_PAUSE);
            }
            outcome => return outcome,
        }
    }
}
