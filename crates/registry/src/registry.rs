//! The registry over its store: answers questions, and carries commands out one after the other.

use std::time::Duration;

use model::{Clock as _, SystemClock};
use uuid::Uuid;

use crate::error::Error;
use crate::machine::{Decision, State};
use crate::options::Options;
use crate::store::{Appended, StorageError, Store};

/// How long a command is decided again because other servers write first.
const CONTEND_MAX: Duration = Duration::from_secs(20);
/// Longest pause before the second attempt; it doubles with each further one.
const PAUSE_FIRST_MS: u64 = 4;
/// Longest pause before any attempt.
const PAUSE_MAX_MS: u64 = 250;

/// A registry with its storage.
#[derive(Debug)]
pub struct Registry {
    store: Store,
    writing: tokio::sync::Mutex<()>,
}

impl Registry {
    /// Opens the storage and replays it.
    ///
    /// # Errors
    /// When the storage can't be reached in time or is not fit to keep schemas.
    pub async fn open(options: &Options) -> Result<Self, StorageError> {
        let options = options.clone();
        let opened = tokio::task::spawn_blocking(move || Store::open(&options)).await;
        let store = opened.map_err(|error| StorageError::unavailable(format!("opening it ended early: {error}")))??;
        Ok(Self { store, writing: tokio::sync::Mutex::new(()) })
    }

    /// Asks the state. What is not there is looked for once more after reading what other servers have written.
    ///
    /// # Errors
    /// What `ask` says, or that the storage fails.
    pub async fn read<T>(&self, ask: impl Fn(&State) -> Result<T, Error>) -> Result<T, Error> {
        match self.store.read(|state, _| ask(state)) {
            Err(error) if error.is_missing() => {
                self.store.catch_up().await?;
                self.store.read(|state, _| ask(state))
            }
            answer => answer,
        }
    }

    /// Carries a command out: decides it, writes its events, and answers once they can be read. If another server wrote in between, it is
    /// decided again.
    ///
    /// # Errors
    /// What `decide` says, or that the storage fails (50001) or does not answer in time (50002, the outcome is then unknown).
    pub async fn write<T>(&self, decide: impl Fn(&State) -> Result<Decision<T>, Error>) -> Result<T, Error> {
        // What holds already needs no turn: producers register the schema they know at every start.
        if let Ok(decision) = self.store.read(|state, _| decide(state))
            && decision.events.is_empty()
        {
            return Ok(decision.reply);
        }
        let _turn = self.writing.lock().await;
        let contending = SystemClock::new();
        let (mut caught_up, mut pause_ms) = (false, PAUSE_FIRST_MS);
        while contending.elapsed() < CONTEND_MAX {
            let (decision, at) = self.store.read(|state, at| (decide(state), at));
            let decision = match decision {
                Ok(decision) => decision,
                Err(_) if !caught_up => {
                    self.store.catch_up().await?;
                    caught_up = true;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if decision.events.is_empty() || self.store.append(decision.events, at).await? == Appended::Done {
                return Ok(decision.reply);
            }
            // Pauses of random length let one of several servers get ahead; a decision on less than all that was written loses for sure.
            tokio::time::sleep(Duration::from_millis(Uuid::new_v4().as_u64_pair().0 % pause_ms)).await;
            pause_ms = (pause_ms * 2).min(PAUSE_MAX_MS);
            self.store.catch_up().await?;
        }
        Err(Error::store(format!("other registries wrote first for {CONTEND_MAX:?}; try again")))
    }

    /// Why the answers may be wrong or old, if so.
    pub fn trouble(&self) -> Option<String> {
        self.store.trouble()
    }

    /// Ends the storage's threads.
    pub async fn close(self: std::sync::Arc<Self>) {
        if let Err(error) = tokio::task::spawn_blocking(move || self.store.close()).await {
            tracing::error!(%error, "closing the registry's storage");
        }
    }
}
