//! Running a stage on its thread: outages are waited for and the stage starts a new epoch; anything else ends the pipeline.
//! A thread that doesn't end in time, because a peer is away, is left behind: what it has not acknowledged is done again at the next start.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::{Classified as _, Retry};

use crate::error::{Error, Result};
use crate::run::status::Status;
use crate::run::stop::Stop;

const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// A stage's thread; joining it tells how it ended.
#[derive(Debug)]
pub(crate) struct StageThread {
    name: String,
    handle: JoinHandle<Result<()>>,
}

impl StageThread {
    /// Waits for the end of the stage, but not past `patience`: a call to a peer that is away can last longer.
    pub(crate) fn join(self, patience: Duration) -> Result<()> {
        let name = self.name;
        let started = Instant::now();
        while !self.handle.is_finished() {
            if started.elapsed() > patience {
                tracing::warn!(stage = %name, "still waits for a peer and is left; it goes on from its position at the next start");
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.handle.join().unwrap_or_else(|_| Err(Error::Internal(format!("the thread of {name} panicked"))))
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }
}

/// Stops everything when a stage's thread panics.
struct StopOnPanic(Stop);

impl Drop for StopOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.everything();
        }
    }
}

/// Runs `epoch` again and again, each time a new epoch of the stage, until it is done, the stop switch is thrown, or an error is final.
/// A final error stops everything.
pub(crate) fn spawn(
    name: String,
    stop: Stop,
    status: Arc<Status>,
    mut epoch: impl FnMut() -> Result<()> + Send + 'static,
) -> Result<StageThread> {
    let thread_name = name.clone();
    let work = move || {
        let _guard = StopOnPanic(stop.clone());
        let mut backoff = BACKOFF_FIRST;
        loop {
            let steps_before = status.steps(&name);
            match epoch() {
                Ok(()) => return Ok(()),
                Err(error) if stop.is_set() => {
                    tracing::debug!(stage = %name, %error, "ended while stopping");
                    return Ok(());
                }
                Err(error) if error.retry() == Retry::Backoff => {
                    if status.steps(&name) > steps_before {
                        backoff = BACKOFF_FIRST;
                    }
                    tracing::warn!(stage = %name, %error, retry_in_ms = backoff.as_millis(), "the stage starts a new epoch");
                    status.set_trouble(&name, Some(error.to_string()));
                    stop.wait(backoff);
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
                Err(error) => {
                    tracing::error!(stage = %name, %error, "the stage can't go on");
                    status.set_trouble(&name, Some(error.to_string()));
                    stop.everything();
                    return Err(error);
                }
            }
        }
    };
    let handle = std::thread::Builder::new()
        .name(thread_name.clone())
        .spawn(work)
        .map_err(|error| Error::system(format!("starting the thread of {thread_name}"), error))?;
    Ok(StageThread { name: thread_name, handle })
}
