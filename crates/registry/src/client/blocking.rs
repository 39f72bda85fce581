//! The client for threads that are not async: the stages' look-ups.

use std::collections::HashMap;
use std::future::Future;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::{SchemaError, Schemas};
use tokio::runtime::{Builder, Runtime};

use super::{Client, ClientError, ClientOptions};

/// How long who has other things to do waits for an answer.
const SOON: Duration = Duration::from_millis(200);

/// What the registry answers, once it does.
type Answer<T> = Receiver<Result<T, ClientError>>;

/// A client whose calls block. It runs the async one on a small runtime of its own, so it may be used from any thread, also from one of
/// another runtime (which it then blocks).
#[derive(Debug)]
pub struct BlockingClient {
    client: Client,
    runtime: Option<Runtime>,
    /// Answers to [`Schemas::by_id_soon`] that are still to come.
    asked: Mutex<HashMap<u32, Answer<Arc<str>>>>,
    /// What [`Schemas::ids`] gave last, by subject.
    known_ids: Mutex<HashMap<String, Vec<u32>>>,
}

impl BlockingClient {
    /// A client for the registry at `options.url`. Nothing is asked yet.
    ///
    /// # Errors
    /// `Setup` for options that can't be used.
    pub fn new(options: ClientOptions) -> Result<Self, ClientError> {
        let client = Client::new(options)?;
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("registry-client").enable_all().build();
        let runtime =
            runtime.map_err(|error| ClientError::Setup { reason: format!("no thread to be had: {error}") })?;
        Ok(Self { client, runtime: Some(runtime), asked: Mutex::default(), known_ids: Mutex::default() })
    }

    /// The async client, with the same caches.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Runs calls of the async client and waits for what they give: `blocking.call(|client| async move { client.latest("s").await })`.
    ///
    /// # Errors
    /// What the call says.
    pub fn call<T, F>(&self, ask: impl FnOnce(Client) -> F) -> Result<T, ClientError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ClientError>> + Send + 'static,
    {
        self.ask(ask)?.recv().map_err(|_| self.unavailable("the client has ended"))?
    }

    fn ask<T, F>(&self, ask: impl FnOnce(Client) -> F) -> Result<Answer<T>, ClientError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ClientError>> + Send + 'static,
    {
        let runtime = self.runtime.as_ref().ok_or_else(|| self.unavailable("the client has ended"))?;
        let (done, answer) = sync_channel(1);
        let asking = ask(self.client.clone());
        runtime.spawn(async move {
            // Who asked may have gone.
            drop(done.send(asking.await));
        });
        Ok(answer)
    }

    fn unavailable(&self, reason: &str) -> ClientError {
        ClientError::Unavailable { url: self.client.url().to_owned(), reason: reason.to_owned() }
    }

    fn text_soon(&self, id: u32) -> Result<Arc<str>, ClientError> {
        if let Some(text) = self.client.cached(id) {
            return Ok(text);
        }
        let asked = || self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let earlier = asked().remove(&id);
        let (answer, patience) = match earlier {
            Some(answer) => (answer, Duration::ZERO),
            None => (self.ask(move |client| async move { client.by_id(id).await })?, SOON),
        };
        match answer.recv_timeout(patience) {
            Ok(text) => text,
            Err(RecvTimeoutError::Timeout) => {
                asked().insert(id, answer);
                Err(self.unavailable("it hasn't answered yet"))
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.unavailable("the client has ended")),
        }
    }
}

impl Schemas for BlockingClient {
    fn by_id(&self, id: u32) -> Result<Arc<str>, SchemaError> {
        if let Some(text) = self.client.cached(id) {
            return Ok(text);
        }
        self.call(move |client| async move { client.by_id(id).await }).map_err(|error| error.for_id(id))
    }

    fn by_id_soon(&self, id: u32) -> Result<Arc<str>, SchemaError> {
        self.text_soon(id).map_err(|error| error.for_id(id))
    }

    fn register(&self, subject: &str, schema: &str) -> Result<u32, SchemaError> {
        if let Some(id) = self.client.cached_id(subject, schema) {
            return Ok(id);
        }
        let (name, text) = (subject.to_owned(), schema.to_owned());
        self.call(move |client| async move { client.register(&name, &text).await })
            .map_err(|error| error.for_subject(subject))
    }

    fn ids(&self, subject: &str) -> Result<Vec<u32>, SchemaError> {
        let name = subject.to_owned();
        let answer = self.call(move |client| async move { client.ids(&name).await });
        let mut known = self.known_ids.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(ids) => {
                known.insert(subject.to_owned(), ids.clone());
                Ok(ids)
            }
            Err(error) => match (error.for_subject(subject), known.get(subject)) {
                (SchemaError::Unavailable { .. }, Some(ids)) => Ok(ids.clone()),
                (error, _) => Err(error),
            },
        }
    }
}

impl Drop for BlockingClient {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for the runtime's end is not allowed on a thread of another runtime.
            runtime.shutdown_background();
        }
    }
}
