//! One PostgreSQL database with Tillstream's schemas.

use std::time::Duration;

use deadpool_postgres::{Pool, PoolError, TimeoutType};
use model::{Epoch, TopicId, TopicPartition};

use crate::connect::Connector;
use crate::error::{Error, Result};
use crate::identifier::Identifier;
use crate::table::{Table, TableSpec};
use crate::writer::{PositionClaim, Writer};
use crate::{ensure, generations, migrate};

/// When a commit counts as done (`synchronous_commit`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SynchronousCommit {
    /// When it is on disk, and on the standbys that the server is set to wait for.
    On,
    /// When it is on this server's disk.
    Local,
    /// At once. A crash of the server may lose the last moments: rows and positions alike, so they are stored again.
    Off,
}

impl SynchronousCommit {
    /// The word in PostgreSQL's settings.
    pub fn setting(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Local => "local",
            Self::Off => "off",
        }
    }
}

/// How to work with the database.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Sessions in the pool; each writer has one more of its own.
    pub pool_size: usize,
    /// Longest time to make a connection, or to wait for one of the pool's.
    pub connect_timeout: Duration,
    /// Longest time for one step of a transaction; also the longest wait for the reply to COMMIT.
    pub statement_timeout: Duration,
    /// Name that the sessions show to administrators.
    pub application_name: String,
    /// When a commit counts as done; the server's setting if `None`.
    pub synchronous_commit: Option<SynchronousCommit>,
    /// A role that may read the views in `bi`. It must exist.
    pub reader_role: Option<String>,
    /// Whether to announce each batch on [`crate::NOTIFY_CHANNEL`].
    pub notify: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            pool_size: 8,
            connect_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(60),
            application_name: "tillstream".into(),
            synchronous_commit: None,
            reader_role: None,
            notify: true,
        }
    }
}

/// Up to where a topic partition is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPosition {
    /// Topic and partition.
    pub partition: TopicPartition,
    /// The topic's id, where Kafka has one.
    pub topic_id: Option<TopicId>,
    /// Offset of the next record to store.
    pub next_offset: i64,
    /// Epoch of the writer that owns it.
    pub epoch: Epoch,
}

/// One PostgreSQL database with Tillstream's schemas. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    connector: Connector,
    pool: Pool,
    options: StoreOptions,
    reader_role: Option<Identifier>,
}

impl Store {
    /// Connects and checks the server's version. `url` is `postgres://user:password@host:port/database?sslmode=…`, or libpq's
    /// `key=value` form; `sslmode` has libpq's meanings, with `sslrootcert`, `sslcert` and `sslkey`.
    ///
    /// # Errors
    /// `Settings` for a URL that can't be read or a server older than 15; `Permission` for a wrong password or an unknown database;
    /// `Unavailable` when there is no server.
    pub async fn connect(url: &str, options: StoreOptions) -> Result<Self> {
        let connector = Connector::new(url, &options.application_name, options.connect_timeout)?;
        let pool = connector.pool(options.pool_size, options.connect_timeout)?;
        let reader_role = options.reader_role.as_deref().map(Identifier::new).transpose()?;
        let store = Self { connector, pool, options, reader_role };
        let client = store.client().await?;
        migrate::check_version(&**client).await?;
        Ok(store)
    }

    /// A session of the pool.
    ///
    /// # Errors
    /// `Unavailable` when none can be had in time, `Permission` when the server refuses us.
    pub async fn client(&self) -> Result<deadpool_postgres::Client> {
        self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => Error::postgres("connecting", &error),
            PoolError::Timeout(TimeoutType::Create) => Error::Unavailable {
                doing: "connecting".into(),
                message: "the server takes connections and doesn't answer".into(),
            },
            other => Error::Unavailable {
                doing: "waiting for a free connection of the pool".into(),
                message: other.to_string(),
            },
        })
    }

    /// The database's name.
    pub fn database(&self) -> &str {
        self.connector.database()
    }

    pub(crate) fn connector(&self) -> &Connector {
        &self.connector
    }

    pub(crate) fn options(&self) -> &StoreOptions {
        &self.options
    }

    /// Makes the schemas `results`, `bi`, `ops` and the tables of `ops`, or brings them up to date. Safe to call from many processes.
    ///
    /// # Errors
    /// `Permission` when the user may not create schemas and they aren't there; `Settings` when a newer Tillstream was here.
    pub async fn migrate(&self) -> Result<()> {
        let mut client = self.client().await?;
        migrate::migrate(&mut client).await
    }

    /// Whether `owner` has stored rows of a topic whose table is gone. Made anew, it would lack them.
    ///
    /// # Errors
    /// `Specification` for names that can't be; else as any statement.
    pub async fn has_lost_table(&self, owner: &str, topic: &str, spec: &TableSpec) -> Result<bool> {
        let path = Table::new(spec)?.path();
        let query = "SELECT to_regclass($1) IS NULL AND EXISTS \
             (SELECT FROM ops.positions WHERE owner = $2 AND topic = $3 AND next_offset > 0)";
        let row = self.client().await?.query_one(query, &[&path, &owner, &topic]).await;
        Ok(row.map_err(|error| Error::postgres(format!("looking for table {path}"), &error))?.get(0))
    }

    /// Makes the table of a result with its indexes, comments and view, or adds the columns that are new. A view that shows another
    /// table stays as it is: see [`Store::show_in_view`].
    ///
    /// # Errors
    /// `Specification` for names and types that can't be; `TableDiffers`, naming the difference, when the change doesn't only add.
    pub async fn ensure_table(&self, spec: &TableSpec) -> Result<()> {
        let table = Table::new(spec)?;
        let mut client = self.client().await?;
        let doing = |error| Error::postgres(format!("preparing table {}", table.path()), &error);
        let transaction = client.transaction().await.map_err(doing)?;
        ensure::table(&*transaction, &table, self.reader_role.as_ref()).await?;
        transaction.commit().await.map_err(doing)
    }

    /// Lets the result's view show this table and notes it in `ops.generations`, in one transaction: how a new generation takes over.
    /// Who may read the view may read it afterwards, too.
    ///
    /// # Errors
    /// `TableDiffers` when the view's columns change in a way that other objects which need it don't allow; `TryLater` while somebody reads it.
    pub async fn show_in_view(&self, spec: &TableSpec) -> Result<()> {
        let table = Table::new(spec)?;
        let mut client = self.client().await?;
        let doing = |error| Error::postgres(format!("preparing view {}", table.view), &error);
        let transaction = client.transaction().await.map_err(doing)?;
        // A reader's long transaction mustn't hold up who stores, nor all readers that come after us.
        transaction.batch_execute("SET LOCAL lock_timeout = '2s'").await.map_err(doing)?;
        migrate::lock_ddl(&*transaction).await?;
        ensure::view(&*transaction, &table, self.reader_role.as_ref()).await?;
        generations::shown(&*transaction, &spec.view, spec.generation).await?;
        transaction.commit().await.map_err(doing)
    }

    /// Opens a writer: takes the claimed positions away from whoever had them, under a new epoch, and prepares staging for the tables.
    /// The tables must be there ([`Store::ensure_table`]).
    ///
    /// A claim says where to start if the position is new. An earlier writer that hangs in a transaction with one of these positions,
    /// waiting for its own process, is ended after some seconds.
    ///
    /// # Errors
    /// `TopicRecreated` when a position was made in a topic of the same name with another id; `Fenced` when a newer writer came in
    /// between; else as any statement.
    pub async fn open_writer(&self, owner: &str, claims: &[PositionClaim], tables: &[TableSpec]) -> Result<Writer> {
        Writer::open(self, owner, claims, tables).await
    }

    /// The positions of an owner, whoever holds them now.
    ///
    /// # Errors
    /// As any statement.
    pub async fn positions(&self, owner: &str) -> Result<Vec<StoredPosition>> {
        let client = self.client().await?;
        let query =
            "SELECT topic, partition, topic_id, next_offset, epoch FROM ops.positions WHERE owner = $1 ORDER BY 1, 2";
        let rows =
            client.query(query, &[&owner]).await.map_err(|error| Error::postgres("reading positions", &error))?;
        Ok(rows
            .iter()
            .map(|row| StoredPosition {
                partition: TopicPartition::new(row.get::<_, String>(0), row.get(1)),
                topic_id: Some(row.get::<_, String>(2)).filter(|id| !id.is_empty()).map(TopicId),
                next_offset: row.get(3),
                epoch: Epoch(u64::try_from(row.get::<_, i64>(4)).unwrap_or_default()),
            })
            .collect())
    }

    /// Forgets the positions of a topic, so that the next writer starts where its claim says. Returns how many there were.
    ///
    /// # Errors
    /// As any statement.
    pub async fn forget_positions(&self, owner: &str, topic: &str) -> Result<u64> {
        let client = self.client().await?;
        let delete = "DELETE FROM ops.positions WHERE owner = $1 AND topic = $2";
        client.execute(delete, &[&owner, &topic]).await.map_err(|error| Error::postgres("forgetting positions", &error))
    }

    /// Deletes rejected records from before a time, microseconds since 1970. Returns how many there were.
    ///
    /// # Errors
    /// As any statement.
    pub async fn prune_rejected(&self, before_us: i64) -> Result<u64> {
        let client = self.client().await?;
        let before = chrono::DateTime::from_timestamp_micros(before_us);
        let delete = "DELETE FROM ops.rejected_records WHERE rejected_at < $1";
        client
            .execute(delete, &[&before])
            .await
            .map_err(|error| Error::postgres("deleting old rejected records", &error))
    }
}
