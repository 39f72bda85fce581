//! Starting the embedded systems, or connecting to the given ones. Above this file nothing knows which they are.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, FlushPolicy};
use kafka::{Admin, Connection};
use project::Project;
use project::settings::{Flush, KafkaConnection};
use registry::{Authentication, BlockingClient, ClientOptions, KafkaStorage, Server, Storage};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use store::private_server::{self, PrivateServer, Programs, ServerOptions};
use store::{Store, StoreOptions, SynchronousCommit};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::run::stop::Stop;

/// Where the embedded systems of a running project are, for other commands on the same project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Addresses {
    pub(crate) process_id: u32,
    pub(crate) kafka: String,
    pub(crate) registry: String,
}

/// An embedded system that runs in this process.
#[derive(Debug)]
struct EmbeddedServer {
    name: &'static str,
    stop: Stop,
    task: JoinHandle<Result<()>>,
}

/// The systems that a project runs on.
#[derive(Debug)]
pub(crate) struct Peers {
    pub(crate) connection: Connection,
    pub(crate) schemas: Arc<BlockingClient>,
    pub(crate) registry_url: String,
    runtime: Handle,
    servers: Vec<EmbeddedServer>,
    /// What the broker counts, where this process runs it.
    pub(crate) broker: Option<Arc<broker::Metrics>>,
    address_file: Option<PathBuf>,
}

impl Peers {
    /// Starts broker and registry where they are embedded and not already run by another process of this project, and connects.
    pub(crate) fn start(project: &Project, runtime: &Handle) -> Result<Self> {
        std::fs::create_dir_all(&project.data_dir)
            .map_err(|error| Error::system(format!("making {}", project.data_dir.display()), error))?;
        let file = project.data_dir.join("addresses.json");
        let running = running(&file);
        let mut servers = Vec::new();
        let mut broker = None;
        let settings = &project.settings;
        let brokers = match (&running, settings.connections.kafka.is_embedded()) {
            (_, false) => settings.connections.kafka.brokers.clone(),
            (Some(running), true) => running.kafka.clone(),
            (None, true) => {
                let (address, metrics) = start_broker(project, runtime, &mut servers)?;
                broker = Some(metrics);
                address
            }
        };
        let connection = kafka_connection(project, brokers)?;
        Admin::new(&connection)?.ping(Duration::from_secs(30))?;
        let registry_url = match (&running, settings.connections.registry.is_embedded()) {
            (_, false) => settings.connections.registry.url.clone(),
            (Some(running), true) => running.registry.clone(),
            (None, true) => start_registry(project, &connection, runtime, &mut servers)?,
        };
        let schemas = connect_registry(project, &registry_url)?;
        let address_file = if running.is_none() && !servers.is_empty() {
            let addresses = Addresses {
                process_id: std::process::id(),
                kafka: connection.brokers.clone(),
                registry: registry_url.clone(),
            };
            write_addresses(&file, &addresses)?;
            Some(file)
        } else {
            None
        };
        Ok(Self {
            connection,
            schemas: Arc::new(schemas),
            registry_url,
            runtime: runtime.clone(),
            servers,
            broker,
            address_file,
        })
    }

    /// Starts the peers, does the work, and stops them whatever its outcome.
    pub(crate) fn with<T>(project: &Project, runtime: &Handle, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let peers = Self::start(project, runtime)?;
        let worked = work(&peers);
        let stopped = peers.stop();
        // The work's own error says more.
        let worked = worked?;
        stopped.map(|()| worked)
    }

    /// Stops what this process has started: the registry first, since it writes to the broker.
    pub(crate) fn stop(self) -> Result<()> {
        if let Some(file) = &self.address_file {
            // It may be gone already; a stale one is recognised by its process id anyway.
            drop(std::fs::remove_file(file));
        }
        for EmbeddedServer { name, stop, task } in self.servers.into_iter().rev() {
            stop.now();
            let ended = self.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), task).await });
            match ended {
                Ok(Ok(ended)) => ended?,
                Ok(Err(error)) => return Err(Error::Internal(format!("the embedded {name} ended badly: {error}"))),
                Err(_) => tracing::warn!("the embedded {name} did not end within 20 s and is left"),
            }
        }
        Ok(())
    }
}

/// How the project's Kafka is reached at `brokers`, with the security settings.
pub(crate) fn kafka_connection(project: &Project, brokers: String) -> Result<Connection> {
    let settings = &project.settings.connections.kafka;
    let properties = settings.librdkafka_properties(&project.directory);
    let properties = properties.map_err(|error| Error::Project(error.to_string()))?;
    Ok(Connection { brokers, properties, client_id: format!("tillstream-{}", project.name) })
}

/// A setting of the form `HOST:PORT`.
pub(crate) fn listen_address(what: &str, text: &str) -> Result<SocketAddr> {
    text.parse()
        .map_err(|_| Error::Project(format!("{what}.listen is {text:?}, which isn't HOST:PORT with a numeric host")))
}

/// An address that a server of ours can't have, with what to do. `setting` is where the address stands.
pub(crate) fn cannot_listen(what: &str, setting: &str, address: SocketAddr, source: &std::io::Error) -> Error {
    Error::Unavailable(format!(
        "the {what} can't listen on {address}: {source}; stop what listens there, or choose another address: --set {setting}=127.0.0.1:0 takes a free port"
    ))
}

/// The address of a broker started here, and what it counts.
fn start_broker(
    project: &Project,
    runtime: &Handle,
    servers: &mut Vec<EmbeddedServer>,
) -> Result<(String, Arc<broker::Metrics>)> {
    let settings = &project.settings.broker;
    let listen = listen_address("broker", &settings.listen)?;
    let mut options = broker::Options::new(listen, project.data_dir.join("broker"));
    options.advertised.clone_from(&settings.advertised);
    options.auto_create_topics = false;
    options.flush = match settings.flush {
        Flush::Each => FlushPolicy::EveryBatch,
        Flush::Every(interval) => FlushPolicy::Interval(u64::try_from(interval.0.as_millis()).unwrap_or(u64::MAX)),
        Flush::System => FlushPolicy::Os,
    };
    let broker = runtime.block_on(Broker::bind(options)).map_err(|error| match error {
        broker::Error::Listen { address, source } => cannot_listen("broker", "broker.listen", address, &source),
        error => Error::Unavailable(error.to_string()),
    })?;
    let (address, metrics) = (broker.address(), broker.metrics());
    let stop = Stop::default();
    let shutdown = stop.clone().thrown();
    let task =
        runtime.spawn(async move { broker.run(shutdown).await.map_err(|error| Error::Unavailable(error.to_string())) });
    servers.push(EmbeddedServer { name: "broker", stop, task });
    Ok((address.to_string(), metrics))
}

fn start_registry(
    project: &Project,
    connection: &Connection,
    runtime: &Handle,
    servers: &mut Vec<EmbeddedServer>,
) -> Result<String> {
    let kafka: &KafkaConnection = &project.settings.connections.kafka;
    let listen = listen_address("registry", &project.settings.registry.listen)?;
    let storage = KafkaStorage {
        properties: connection.properties.clone(),
        topic: format!("{}{}", kafka.topic_prefix, registry::SCHEMAS_TOPIC),
        replication: u16::try_from(kafka.replication).unwrap_or(1),
        ..KafkaStorage::new(connection.brokers.clone())
    };
    let options = registry::Options::new(listen, Storage::Kafka(storage));
    let server = runtime.block_on(Server::bind(options)).map_err(|error| match error {
        registry::ServerError::Listen { address, source } => {
            cannot_listen("registry", "registry.listen", address, &source)
        }
        error => Error::Unavailable(error.to_string()),
    })?;
    let url = server.url();
    let stop = Stop::default();
    let shutdown = stop.clone().thrown();
    let task =
        runtime.spawn(async move { server.run(shutdown).await.map_err(|error| Error::Unavailable(error.to_string())) });
    servers.push(EmbeddedServer { name: "registry", stop, task });
    Ok(url)
}

/// A client of the registry at `url`, with the settings' user or token.
pub(crate) fn connect_registry(project: &Project, url: &str) -> Result<BlockingClient> {
    let settings = &project.settings.connections.registry;
    let resolve = |name: &str, secret: &project::Secret| {
        let setting = format!("connections.registry.{name}");
        secret
            .resolve(&setting, &project.directory, &project::settings::process_environment)
            .map_err(|error| Error::Project(error.to_string()))
    };
    let authentication = match (&settings.username, &settings.password, &settings.token) {
        (Some(user), Some(password), _) => {
            Authentication::Basic { user: user.clone(), password: resolve("password", password)? }
        }
        (_, _, Some(token)) => Authentication::Bearer { token: resolve("token", token)? },
        _ => Authentication::None,
    };
    let options = ClientOptions { authentication, ..ClientOptions::new(url) };
    BlockingClient::new(options).map_err(|error| Error::Project(error.to_string()))
}

/// The addresses of another live process of this project, if there is one.
pub(crate) fn running(file: &Path) -> Option<Addresses> {
    let addresses: Addresses = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    let is_alive = Path::new("/proc").join(addresses.process_id.to_string()).exists();
    (is_alive && addresses.process_id != std::process::id()).then_some(addresses)
}

fn write_addresses(file: &Path, addresses: &Addresses) -> Result<()> {
    let text = serde_json::to_vec_pretty(addresses).map_err(|error| Error::Internal(error.to_string()))?;
    let beside = file.with_extension("json.new");
    std::fs::write(&beside, text)
        .and_then(|()| std::fs::rename(&beside, file))
        .map_err(|error| Error::system(format!("writing {}", file.display()), error))
}

/// PostgreSQL as the project uses it: a private server or one given by URL.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) store: Store,
    pub(crate) url: String,
    server: Option<PrivateServer>,
}

impl Database {
    /// Starts the private server, or takes the given one, and connects.
    pub(crate) fn start(project: &Project, runtime: &Handle) -> Result<Self> {
        let settings = &project.settings;
        let connection = &settings.connections.postgres;
        let commit = if settings.store.synchronous_commit { SynchronousCommit::On } else { SynchronousCommit::Off };
        let (url, server) = if connection.is_embedded() {
            let options = ServerOptions {
                database: project.name.clone(),
                synchronous_commit: commit,
                programs: match connection.programs.as_str() {
                    "auto" => Programs::Any,
                    "installed" => Programs::Installed,
                    "downloaded" => Programs::Downloaded,
                    path => Programs::Directory(project.directory.join(path)),
                },
                ..ServerOptions::default()
            };
            let server = runtime.block_on(private_server::start(&project.data_dir.join("postgres"), options))?;
            (server.url(), Some(server))
        } else {
            (given_postgres_url(project)?.unwrap_or_default(), None)
        };
        let options = StoreOptions {
            pool_size: usize::from(settings.store.connections.max(2)),
            synchronous_commit: Some(commit),
            ..StoreOptions::default()
        };
        let store = runtime.block_on(Store::connect(&url, options))?;
        Ok(Self { store, url, server })
    }

    /// Starts or takes PostgreSQL, does the work, and stops it whatever its outcome.
    pub(crate) fn with<T>(project: &Project, runtime: &Handle, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let database = Self::start(project, runtime)?;
        let worked = work(&database);
        let stopped = database.stop(runtime);
        let worked = worked?;
        stopped.map(|()| worked)
    }

    pub(crate) fn stop(self, runtime: &Handle) -> Result<()> {
        drop(self.store);
        match self.server {
            Some(server) => Ok(runtime.block_on(server.stop())?),
            None => Ok(()),
        }
    }
}

/// The URL of the PostgreSQL server that the project names, with its password; `None` for the private one.
pub(crate) fn given_postgres_url(project: &Project) -> Result<Option<String>> {
    let connection = &project.settings.connections.postgres;
    if connection.is_embedded() {
        return Ok(None);
    }
    let password =
        connection.resolve_password(&project.directory).map_err(|error| Error::Project(error.to_string()))?;
    let password = password.as_ref().map(|password| password.expose_secret());
    with_password("connections.postgres.url", &connection.url, password).map(Some)
}

/// The URL with a password that stood elsewhere. `setting` is where the URL stands.
pub(crate) fn with_password(setting: &str, url: &str, password: Option<&str>) -> Result<String> {
    let Some(password) = password else { return Ok(url.to_owned()) };
    let wrong = || Error::Project(format!("{setting} has no user to go with the password"));
    let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
    let (user, host) = rest.split_once('@').ok_or_else(wrong)?;
    let mut quoted = String::new();
    for byte in password.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            quoted.push(char::from(byte));
        } else {
            quoted.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(format!("{scheme}://{user}:{quoted}@{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_quoted_into_the_url() {
        let url = with_password("url", "postgres://app@db:5432/shop?sslmode=require", Some("p@ss/w:rd")).unwrap();
        assert_eq!(url, "postgres://app:p%40ss%2Fw%3Ard@db:5432/shop?sslmode=require");
        assert!(with_password("url", "postgres://db/shop", Some("x")).is_err());
    }
}
