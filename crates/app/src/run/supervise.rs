//! Running a stage on its thread: outages are waited for and the stage starts a new epoch; anything else ends the pipeline.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

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
    /// Waits for the end of the stage.
    pub(crate) fn join(self) -> Result<()> {
        let name = self.name;
        self.handle.join().unwrap_or_else(|_| Err(Error::Internal(format!("the thread of {name} panicked"))))
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }
}

/// Runs `epoch` again and again, each time a new epoch of the stage, until the stop switch is thrown or an error is final. A final
/// error throws the switch, so that the other stages stop too.
pub(crate) fn spawn(
    name: String,
    stop: Stop,
    status: Arc<Status>,
    mut epoch: impl FnMut() -> Result<()> + Send + 'static,
) -> Result<StageThread> {
    let thread_name = name.clone();
    let work = move || {
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
                    stop.now();
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
