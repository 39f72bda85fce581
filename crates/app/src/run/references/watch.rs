//! Looking for changes of a reference table, on a thread of its own.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use process::{in_key_order, row_order, write_rows};
use project::{Project, Reference};
use store::Listener;
use tokio::runtime::Handle;

use super::feed::{Feed, Loaded};
use super::registry::Registry;
use super::source::{Announcements, Look, Source, of_table};
use crate::error::{Error, Result};
use crate::run::context::Context;

/// How soon a source that couldn't be read is asked again, if `refresh` isn't sooner.
const RETRY: Duration = Duration::from_secs(5);
/// How soon a file is looked at again that is being written.
const SETTLE: Duration = Duration::from_millis(250);
/// How often the stop switch is looked at while listening.
const LISTEN_STEP: Duration = Duration::from_millis(200);

/// Reads a table again whenever it may have changed, and offers each new load.
#[derive(Debug)]
pub(crate) struct Watcher {
    /// Name of the thread, and of the part of the status that shows its trouble.
    pub(crate) name: String,
    pub(crate) table: String,
    source: Source,
    announcements: Option<Announcements>,
    listener: Option<Listener>,
    refresh: Duration,
    feed: Arc<Feed>,
    registry: Arc<Registry>,
    context: Context,
    runtime: Handle,
}

impl Watcher {
    /// A watcher of a project's table, which has read nothing yet.
    ///
    /// # Errors
    /// As [`Source::new`].
    pub(crate) fn new(
        project: &Project,
        reference: &Reference,
        own_url: Option<&str>,
        registry: &Arc<Registry>,
        context: &Context,
        runtime: &Handle,
    ) -> Result<Self> {
        Ok(Self {
            name: format!("reference {}", reference.name),
            table: reference.name.clone(),
            source: Source::new(project, reference, own_url, context, runtime)?,
            announcements: Announcements::of(project, reference, own_url)?,
            listener: None,
            refresh: reference.refresh.0.max(Duration::from_millis(10)),
            feed: Arc::new(Feed::new(reference)),
            registry: registry.clone(),
            context: context.clone(),
            runtime: runtime.clone(),
        })
    }

    /// Where the loads go.
    pub(crate) fn feed(&self) -> Arc<Feed> {
        self.feed.clone()
    }

    /// Reads the table if it may have changed. Gives how long to wait before the next look.
    ///
    /// # Errors
    /// When it can't be read or isn't a table; the load before stays.
    pub(crate) fn look(&mut self) -> Result<Duration> {
        self.listen()?;
        let rows = match self.source.look(&*self.context.clock)? {
            Look::Unchanged => return Ok(self.refresh),
            Look::Unsettled => return Ok(SETTLE),
            Look::Rows(rows) => rows,
        };
        if let Err(error) = self.take(&rows) {
            // The next look must not find it unchanged and well.
            self.source.forget();
            return Err(error);
        }
        Ok(self.refresh)
    }

    /// Offers rows that differ from those offered last.
    fn take(&self, rows: &RecordBatch) -> Result<()> {
        let table = self.table.as_str();
        let order = row_order(&self.feed.key, self.feed.validity.as_ref());
        let rows = in_key_order(table, rows, &order).map_err(|error| of_table(table, &error))?;
        let bytes = write_rows(&rows)?;
        let hash = state::content_hash(&bytes);
        if self.feed.newest().is_none_or(|newest| newest.hash != hash) {
            // Before it has a number it must be known to be good.
            let data = self.feed.index(table, 0, rows).map_err(|error| of_table(table, &error))?;
            let version = self.registry.number(table, &hash, &bytes)?;
            tracing::info!(table, version, rows = data.batch().num_rows(), hash, "reference table read");
            self.feed.offer(Loaded { hash, data: Arc::new(data.numbered(version)) });
        }
        Ok(())
    }

    /// Looks again and again until the stop switch is thrown. Trouble is shown and never ends it: the load before stays in use.
    ///
    /// # Errors
    /// None; the type is that of a stage.
    pub(crate) fn run(&mut self) -> Result<()> {
        let mut wait = self.refresh;
        while !self.wait(wait) {
            wait = match self.look() {
                Ok(wait) => {
                    self.context.status.set_trouble(&self.name, None);
                    wait
                }
                Err(error) => {
                    self.show(&error);
                    self.refresh.min(RETRY)
                }
            };
            self.context.status.step(&self.name);
        }
        Ok(())
    }

    /// Tells of a look that failed.
    pub(crate) fn show(&self, error: &Error) {
        let trouble = format!("{error}; the rows read before stay in use");
        tracing::warn!(table = %self.table, %error, "a reference table can't be read; the rows read before stay in use");
        self.context.status.set_trouble(&self.name, Some(trouble));
    }

    /// Listens if the table's changes are announced. What changed while nobody listened is found by the look that follows.
    fn listen(&mut self) -> Result<()> {
        let Some(Announcements { url, channel }) = &self.announcements else { return Ok(()) };
        if self.listener.as_ref().is_none_or(Listener::is_closed) {
            let opened = self.runtime.block_on(Listener::open(url, channel, super::source::CONNECT_TIMEOUT));
            self.listener = Some(opened?);
        }
        Ok(())
    }

    /// Waits for so long, or until a change is announced; true if the stop switch is thrown.
    fn wait(&self, duration: Duration) -> bool {
        let stop = &self.context.stop;
        let Some(listener) = self.listener.as_ref().filter(|listener| !listener.is_closed()) else {
            return stop.wait(duration);
        };
        let clock = &self.context.clock;
        let start = clock.elapsed();
        while !stop.is_set() {
            let left = duration.saturating_sub(clock.elapsed().saturating_sub(start));
            let heard = async { tokio::time::timeout(left.min(LISTEN_STEP), listener.heard()).await.is_ok() };
            if left.is_zero() || self.runtime.block_on(heard) {
                break;
            }
        }
        stop.is_set()
    }
}
