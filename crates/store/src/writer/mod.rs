//! One writer: a session that owns some positions and stores batches, each in one transaction.

mod apply;
mod claim;
mod operations;
mod staging;

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Epoch, TopicId, TopicPartition};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Statement};

pub use operations::{REJECTED_MESSAGE_BYTES_MAX, REJECTED_PAYLOAD_BYTES_MAX};

use crate::batch::{Applied, StoreBatch};
use crate::error::{Error, Result, commit_surely_failed};
use crate::store::{Store, StoreOptions};
use crate::table::TableSpec;
use staging::{RejectedStaging, TableStaging};

/// Application name of writers' sessions, by which one of them recognises another that is in its way.
const WRITER_NAME: &str = "tillstream writer";

/// After this time the server ends a writer's session that holds a transaction open and sends nothing.
const IDLE_IN_TRANSACTION_MAX: Duration = Duration::from_secs(60);

/// A position that a writer wants to own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PositionClaim {
    /// Topic and partition.
    pub partition: TopicPartition,
    /// The topic's id, where Kafka has one.
    pub topic_id: Option<TopicId>,
    /// Where to start if nothing is stored for it yet.
    pub start: i64,
}

#[derive(Debug, Clone)]
struct Owned {
    topic_id: Option<TopicId>,
    next_offset: i64,
}

/// Owns positions in PostgreSQL under an epoch, and stores batches.
///
/// After any error it takes nothing more: its transaction is rolled back (or of unknown outcome), and a new writer is to be opened,
/// which reads the positions anew.
#[derive(Debug)]
pub struct Writer {
    owner: String,
    epoch: Epoch,
    client: Client,
    connection: JoinHandle<()>,
    owned: BTreeMap<TopicPartition, Owned>,
    tables: Vec<TableStaging>,
    rejected: Option<RejectedStaging>,
    move_positions: Statement,
    statement_timeout: Duration,
    notify: bool,
    closed: bool,
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Nothing may be sent any more in this writer's name; the server rolls back what isn't committed.
        self.connection.abort();
    }
}

impl Writer {
    pub(crate) async fn open(
        store: &Store,
        owner: &str,
        claims: &[PositionClaim],
        tables: &[TableSpec],
    ) -> Result<Self> {
        let (mut client, connection) = store.connector().session(WRITER_NAME).await?;
        let failed = |error| Error::postgres("setting up a writer's session", &error);
        client.batch_execute(&session_settings(store.options())).await.map_err(failed)?;
        let (epoch, owned) = claim::claim(store, &mut client, owner, claims).await?;
        let mut staged = Vec::with_capacity(tables.len());
        for (index, spec) in tables.iter().enumerate() {
            staged.push(TableStaging::prepare(&client, spec, index).await?);
        }
        let move_positions = client.prepare(apply::MOVE_POSITIONS).await.map_err(failed)?;
        tracing::debug!(owner, %epoch, positions = owned.len(), tables = tables.len(), "opened a writer");
        Ok(Self {
            owner: owner.to_owned(),
            epoch,
            client,
            connection,
            owned,
            tables: staged,
            rejected: None,
            move_positions,
            statement_timeout: store.options().statement_timeout,
            notify: store.options().notify,
            closed: false,
        })
    }

    /// The name under which it owns its positions.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Its epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Its positions: the offset of the next record to store of each partition. They move with each batch.
    pub fn positions(&self) -> BTreeMap<TopicPartition, i64> {
        self.owned.iter().map(|(partition, owned)| (partition.clone(), owned.next_offset)).collect()
    }

    /// Stores a batch in one transaction: positions, rows, deletes, rejected records, progress, and the announcement.
    ///
    /// # Errors
    /// `Fenced` when another writer has a position, or it isn't at `from`; `UnknownOutcome` when the reply to COMMIT was lost;
    /// `Data` and `Batch` for values and shapes that can't be stored; `TableDiffers` when a table was changed or dropped; `Unavailable`
    /// and `TryLater` for what passes. In all cases but `UnknownOutcome` nothing is stored. The writer is closed by any of them.
    pub async fn apply(&mut self, batch: StoreBatch) -> Result<Applied> {
        if self.closed {
            return Err(Error::Closed { owner: self.owner.clone() });
        }
        // Also when this future is dropped half-way, the session is in the middle of something.
        self.closed = true;
        let limit = self.statement_timeout;
        let applied = match tokio::time::timeout(limit.saturating_mul(2), self.write(&batch)).await {
            Ok(applied) => applied?,
            Err(_) => {
                let message = format!("the server didn't answer within {} s", limit.as_secs() * 2);
                return Err(Error::Unavailable { doing: "storing a batch".into(), message });
            }
        };
        match tokio::time::timeout(limit, self.client.batch_execute("COMMIT")).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if commit_surely_failed(&error) => {
                return Err(Error::postgres("committing a batch", &error));
            }
            Ok(Err(error)) => return Err(Error::UnknownOutcome { message: crate::error::chain(&error) }),
            Err(_) => {
                return Err(Error::UnknownOutcome {
                    message: format!("no reply to COMMIT within {} s", limit.as_secs()),
                });
            }
        }
        for moved in &batch.positions {
            if let Some(owned) = self.owned.get_mut(&moved.partition) {
                owned.next_offset = moved.to;
            }
        }
        self.closed = false;
        Ok(applied)
    }
}

/// Settings of a writer's session.
fn session_settings(options: &StoreOptions) -> String {
    let timeout_ms = options.statement_timeout.as_millis();
    let idle_ms = IDLE_IN_TRANSACTION_MAX.as_millis();
    // Statistics of staging tables are guesses, so JIT would be started for nothing. Temporary buffers can only be set before the
    // first temporary table.
    let mut settings = format!(
        "SET jit = off; SET temp_buffers = '32MB'; SET statement_timeout = {timeout_ms}; SET search_path = pg_catalog; \
         SET idle_in_transaction_session_timeout = {idle_ms}"
    );
    if let Some(commit) = options.synchronous_commit {
        settings.push_str("; SET synchronous_commit = ");
        settings.push_str(commit.setting());
    }
    settings
}
