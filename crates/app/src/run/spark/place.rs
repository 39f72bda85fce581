//! Where a project's queries run on Spark: sessions by the project's name.

use std::collections::BTreeMap;

use project::Project;
use project::settings::SparkSettings;
use spark::{Address, Session};
use tokio::runtime::Handle;

use crate::error::{Error, Result};

/// Sessions that the server has closed are not opened again; the next one has another number.
const SESSION_ATTEMPTS: u32 = 1_000;

/// A project on a Spark.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(super) runtime: Handle,
    /// Tells the project's session and queries from others on the same Spark: its topic prefix and name.
    pipeline: String,
    address: Address,
    pub(super) settings: SparkSettings,
}

impl Place {
    /// The place that the project's settings name.
    ///
    /// # Errors
    /// A URL or a token that can't be used.
    pub(crate) fn of(project: &Project, runtime: &Handle) -> Result<Self> {
        let connection = &project.settings.connections.spark;
        let token = connection.resolve_token(&project.directory).map_err(|error| Error::Project(error.to_string()))?;
        let address = Address {
            token: token.map(|token| secrecy::ExposeSecret::expose_secret(&token).to_owned()),
            ..Address::parse(&connection.url)?
        };
        Ok(Self {
            runtime: runtime.clone(),
            pipeline: format!("{}{}", project.settings.connections.kafka.topic_prefix, project.name),
            address,
            settings: project.settings.spark.clone(),
        })
    }

    /// What the names of the project's queries on Spark begin with.
    pub(super) fn prefix(&self) -> String {
        format!("{}.", self.pipeline)
    }

    /// The session that the project's streaming queries run in; another process finds the same one.
    pub(crate) fn streaming_session(&self) -> Result<Session> {
        self.session(&self.pipeline)
    }

    /// A session of this process alone.
    pub(crate) fn own_session(&self) -> Result<Session> {
        self.session(&format!("{}/process/{}", self.pipeline, std::process::id()))
    }

    fn session(&self, name: &str) -> Result<Session> {
        open_session(&self.runtime, &self.address, name, &session_conf(&self.settings))
    }
}

/// Configuration of a session: the project's settings, and what else it says itself.
pub(crate) fn session_conf(settings: &SparkSettings) -> BTreeMap<String, String> {
    let mut conf = BTreeMap::from(
        [
            ("spark.sql.shuffle.partitions", settings.shuffle_partitions.to_string().as_str()),
            // What was dropped while nobody watched is still told to who comes later.
            ("spark.sql.streaming.numRecentProgressUpdates", "1000"),
            (
                "spark.sql.streaming.stateStore.providerClass",
                "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider",
            ),
            ("spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled", "true"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    conf.extend(settings.conf.clone());
    conf
}

/// Opens a session by name, or the next one if the server has closed it.
pub(crate) fn open_session(
    runtime: &Handle,
    address: &Address,
    name: &str,
    conf: &BTreeMap<String, String>,
) -> Result<Session> {
    for attempt in 0..SESSION_ATTEMPTS {
        let id = spark::client::session_id(name, attempt);
        match runtime.block_on(Session::open(address, &id, conf)) {
            Err(spark::Error::SessionClosed { .. }) => {}
            opened => return Ok(opened?),
        }
    }
    Err(Error::Unavailable(format!("Apache Spark has closed {SESSION_ATTEMPTS} sessions of {name}")))
}
