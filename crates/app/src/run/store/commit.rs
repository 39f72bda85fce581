//! The transaction that PostgreSQL is working on, one at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use model::TopicPartition;
use store::{Applied, StoreBatch, Writer};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::NAME;
use crate::error::{Error, Result};
use crate::run::context::Context;

/// How long a transaction may take before that is shown as a trouble.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Hands batches to PostgreSQL and tells the status what it holds.
#[derive(Debug)]
pub(crate) struct Commits {
    context: Context,
    runtime: Handle,
    state: State,
}

#[derive(Debug)]
enum State {
    Idle(Box<Writer>),
    Busy {
        task: JoinHandle<(Box<Writer>, store::Result<Applied>)>,
        /// Positions once it is committed.
        positions: BTreeMap<TopicPartition, i64>,
        begun_at: Duration,
    },
    /// An error has ended the epoch.
    Ended,
}

impl Commits {
    pub(crate) fn new(writer: Writer, context: Context, runtime: Handle) -> Self {
        Self { context, runtime, state: State::Idle(Box::new(writer)) }
    }

    /// Starts a transaction; `positions` are those after it. The one before must have ended.
    pub(crate) fn begin(&mut self, batch: StoreBatch, positions: BTreeMap<TopicPartition, i64>) -> Result<()> {
        self.state = match std::mem::replace(&mut self.state, State::Ended) {
            State::Idle(mut writer) => {
                let task = self.runtime.spawn(async move {
                    let applied = writer.apply(batch).await;
                    (writer, applied)
                });
                State::Busy { task, positions, begun_at: self.context.clock.elapsed() }
            }
            _ => return Err(Error::Internal("a transaction was begun before the last one had ended".to_owned())),
        };
        Ok(())
    }

    /// What is wrong when PostgreSQL takes very long over the present transaction: it hangs, or somebody holds a lock. Nothing else tells.
    pub(crate) fn trouble(&self) -> Option<String> {
        let State::Busy { begun_at, .. } = &self.state else { return None };
        let waited = self.context.clock.elapsed().saturating_sub(*begun_at);
        (waited >= SILENCE_MAX).then(|| format!("PostgreSQL hasn't answered for {} s", waited.as_secs()))
    }

    /// Waits up to `timeout` for the present transaction; true once there is none.
    ///
    /// # Errors
    /// Why it failed, which ends the epoch.
    pub(crate) fn poll(&mut self, timeout: Duration) -> Result<bool> {
        if let State::Busy { task, .. } = &mut self.state
            && !task.is_finished()
        {
            if timeout.is_zero() {
                return Ok(false);
            }
            let ended = self.runtime.block_on(async { tokio::time::timeout(timeout, &mut *task).await.ok() });
            let Some(ended) = ended else { return Ok(false) };
            return self.ended(ended);
        }
        self.finish()
    }

    /// Waits for the present transaction, if there is one.
    ///
    /// # Errors
    /// Why it failed, which ends the epoch.
    pub(crate) fn finish(&mut self) -> Result<bool> {
        let State::Busy { task, .. } = &mut self.state else { return Ok(true) };
        let ended = self.runtime.block_on(task);
        self.ended(ended)
    }

    fn ended(
        &mut self,
        ended: std::result::Result<(Box<Writer>, store::Result<Applied>), tokio::task::JoinError>,
    ) -> Result<bool> {
        let State::Busy { positions, .. } = std::mem::replace(&mut self.state, State::Ended) else {
            return Ok(true);
        };
        let (writer, applied) =
            ended.map_err(|error| Error::Internal(format!("the task of a transaction of {NAME}: {error}")))?;
        let applied = applied?;
        self.context.status.set_stored(&positions, &applied.tables, self.context.clock.now_us());
        self.state = State::Idle(writer);
        Ok(true)
    }
}
