//! One private server for all tests, and a database for each.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

pub mod proxy;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use model::{TopicId, TopicPartition, Version};
use store::private_server::{self, PrivateServer, Programs, ServerOptions};
use store::{PositionClaim, PositionMove, Store, StoreBatch, StoreOptions, TableSpec, Upserts};

/// A directory that an unprivileged server may reach, deleted with its owner.
pub fn open_tempdir() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    tempfile::Builder::new()
        .prefix("tillstream-store-")
        .permissions(std::fs::Permissions::from_mode(0o755))
        .tempdir()
        .unwrap()
}

pub fn fast_options(database: &str) -> ServerOptions {
    ServerOptions { database: database.into(), fsync: false, programs: Programs::Installed, ..ServerOptions::default() }
}

/// The directory of the server that all tests share, also those in other processes.
fn shared_directory() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("store-tests-postgres")
}

/// A test's own database on the shared server.
pub struct Database {
    pub server: PrivateServer,
    pub url: String,
    pub store: Store,
}

impl Database {
    pub async fn new() -> Self {
        Self::with(StoreOptions::default()).await
    }

    pub async fn with(options: StoreOptions) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let server = private_server::start(&shared_directory(), fast_options("postgres")).await.unwrap();
        let admin =
            Store::connect(&server.url(), StoreOptions { pool_size: 1, ..StoreOptions::default() }).await.unwrap();
        // A process id may come again.
        admin.query(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"), 0).await.unwrap();
        admin.query(&format!("CREATE DATABASE {name}"), 0).await.unwrap();
        let url = server.url().replace("/postgres", &format!("/{name}")).replace(&format!("{name}://"), "postgres://");
        let store = Store::connect(&url, options).await.unwrap();
        store.migrate().await.unwrap();
        Self { server, url, store }
    }

    pub async fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        self.store.query(sql, 1_000_000).await.unwrap().rows
    }

    /// Rows with NULL as `-`, columns joined by a space.
    pub async fn lines(&self, sql: &str) -> Vec<String> {
        let rows = self.rows(sql).await;
        rows.iter()
            .map(|row| row.iter().map(|value| value.as_deref().unwrap_or("-")).collect::<Vec<_>>().join(" "))
            .collect()
    }

    pub async fn execute(&self, sql: &str) {
        self.store.query(sql, 0).await.unwrap();
    }

    /// Deletes the database.
    pub async fn close(self) {
        let name = self.store.database().to_owned();
        drop(self.store);
        let admin =
            Store::connect(&self.server.url(), StoreOptions { pool_size: 1, ..StoreOptions::default() }).await.unwrap();
        // It waits for the sessions that it ends for some seconds only.
        let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        wait_until("the database is dropped", || async { admin.query(&drop, 0).await.is_ok() }).await;
        self.server.stop().await.unwrap();
    }
}

pub fn spec(name: &str, schema: SchemaRef, identity: &[&str]) -> TableSpec {
    TableSpec {
        name: name.into(),
        view: name.into(),
        generation: 1,
        schema,
        identity: identity.iter().map(|name| (*name).to_owned()).collect(),
        time_column: None,
        comment: None,
        column_comments: BTreeMap::new(),
    }
}

pub fn version(rows: u64, is_final: bool) -> Version {
    Version { generation: 1, rows, is_final }
}

pub fn claim(topic: &str, partition: i32) -> PositionClaim {
    PositionClaim {
        partition: TopicPartition::new(topic, partition),
        topic_id: Some(TopicId(format!("id-of-{topic}"))),
        start: 0,
    }
}

pub fn step(topic: &str, partition: i32, from: i64, to: i64) -> PositionMove {
    PositionMove { partition: TopicPartition::new(topic, partition), topic_id: None, from, to }
}

pub fn batch(table: &str, rows: RecordBatch, versions: Vec<Version>, positions: Vec<PositionMove>) -> StoreBatch {
    StoreBatch { tables: vec![(table.into(), Upserts::rows(rows, versions))], positions, ..StoreBatch::default() }
}

/// Waits until a condition holds, at most for 30 s.
pub async fn wait_until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !holds().await {
        assert!(Instant::now() < deadline, "waited too long: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
