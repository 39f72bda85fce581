//! From a URL to sessions: TLS, timeouts, and the settings that every session of ours has.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, Config};

use crate::error::{Error, Result};
use crate::tls::{MakeRustls, TlsSettings, Verify};

/// What every session starts with. Text output of times must not depend on the server's or database's settings.
const SESSION: &str = "SET TIME ZONE 'UTC'; SET datestyle = 'ISO, YMD'; SET intervalstyle = 'iso_8601'; \
     SET bytea_output = 'hex'; SET extra_float_digits = 1; SET client_encoding = 'UTF8'; SET standard_conforming_strings = on";

/// Gives up what a server that hangs doesn't answer: it takes connections, and whoever waits would wait for ever.
///
/// # Errors
/// `Unavailable` once the limit has passed; else those of what is waited for.
pub(crate) async fn within<T>(limit: Duration, doing: &str, answer: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| {
        let message = format!("the server didn't answer within {} s", limit.as_secs_f64());
        Err(Error::Unavailable { doing: doing.to_owned(), message })
    })
}

/// Makes sessions with one PostgreSQL database.
#[derive(Clone)]
pub(crate) struct Connector {
    config: Config,
    tls: MakeRustls,
}

// The client library hides the password when it prints its configuration.
impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Connector {
    /// Reads a URL (`postgres://user:password@host:port/database?sslmode=…`) or libpq's `key=value` form.
    pub(crate) fn new(url: &str, application_name: &str, connect_timeout: Duration) -> Result<Self> {
        let (text, tls) = take_tls_settings(url)?;
        let mut config: Config = text.parse().map_err(|error| Error::Settings {
            message: format!("the URL can't be read: {}", crate::error::chain(&error)),
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(Error::Settings {
                message: "the URL names no host: write postgres://user@host:5432/database".into(),
            });
        }
        if config.get_application_name().is_none() {
            config.application_name(application_name);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(connect_timeout);
        }
        // Find out within a minute that a peer went away without a word.
        config.keepalives_idle(Duration::from_secs(20));
        config.keepalives_interval(Duration::from_secs(10));
        config.keepalives_retries(3);
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(Duration::from_secs(30));
        }
        Ok(Self { config, tls: tls.connector()? })
    }

    /// How long a session may take to begin: the time for a connection to each host, of which one may have several addresses, and as much for
    /// what the server says then.
    fn session_limit(&self) -> Duration {
        let hosts = self.config.get_hosts().len().max(self.config.get_hostaddrs().len()).max(1);
        let connect = self.config.get_connect_timeout().copied().unwrap_or_default();
        connect.saturating_mul(3 * u32::try_from(hosts).unwrap_or(u32::MAX))
    }

    /// The database's name, or the user's if the URL has none, as PostgreSQL does.
    pub(crate) fn database(&self) -> &str {
        self.config.get_dbname().or(self.config.get_user()).unwrap_or("postgres")
    }

    /// A new session under another application name. The task ends when the client is dropped or the connection breaks.
    pub(crate) async fn session(&self, application_name: &str) -> Result<(Client, JoinHandle<()>)> {
        let mut config = self.config.clone();
        config.application_name(application_name);
        let opened = async { self.open(&config).await.map_err(|error| Error::postgres("connecting", &error)) };
        within(self.session_limit(), "connecting", opened).await
    }

    /// A new session that tells `heard` of each notification, and when it ends.
    pub(crate) async fn listening_session(&self, application_name: &str, heard: Arc<Notify>) -> Result<Client> {
        within(self.session_limit(), "connecting", self.listening(application_name, heard)).await
    }

    async fn listening(&self, application_name: &str, heard: Arc<Notify>) -> Result<Client> {
        let failed = |error: tokio_postgres::Error| Error::postgres("connecting", &error);
        let mut config = self.config.clone();
        config.application_name(application_name);
        let (client, mut connection) = config.connect(self.tls.clone()).await.map_err(failed)?;
        tokio::spawn(async move {
            while let Some(message) = std::future::poll_fn(|context| connection.poll_message(context)).await {
                match message {
                    Ok(AsyncMessage::Notification(_)) => heard.notify_one(),
                    Ok(_) => {}
                    Err(error) => {
                        tracing::debug!(error = crate::error::chain(&error), "connection to PostgreSQL ended");
                        break;
                    }
                }
            }
            // The client sees the end before its owner is woken.
            drop(connection);
            heard.notify_one();
        });
        client.batch_execute(SESSION).await.map_err(failed)?;
        Ok(client)
    }

    async fn open(&self, config: &Config) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
        let (client, connection) = config.connect(self.tls.clone()).await?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = crate::error::chain(&error), "connection to PostgreSQL ended");
            }
        });
        client.batch_execute(SESSION).await?;
        Ok((client, task))
    }
}

type Connecting<'a> =
    Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), tokio_postgres::Error>> + Send + 'a>>;

impl deadpool_postgres::Connect for Connector {
    fn connect(&self, config: &Config) -> Connecting<'_> {
        let config = config.clone();
        Box::pin(async move { self.open(&config).await })
    }
}

impl Connector {
    /// A pool of at most `size` sessions; asking for one waits at most `wait`.
    pub(crate) fn pool(&self, size: usize, wait: Duration) -> Result<deadpool_postgres::Pool> {
        let manager = deadpool_postgres::Manager::from_connect(
            self.config.clone(),
            self.clone(),
            deadpool_postgres::ManagerConfig::default(),
        );
        deadpool_postgres::Pool::builder(manager)
            .max_size(size)
            .wait_timeout(Some(wait))
            .create_timeout(Some(self.session_limit()))
            .runtime(deadpool_postgres::Runtime::Tokio1)
            .build()
            .map_err(|error| Error::Settings { message: error.to_string() })
    }
}

/// Takes the settings that the client library doesn't know out of the text: `sslmode=verify-*`, `sslrootcert`, `sslcert`, `sslkey`.
fn take_tls_settings(url: &str) -> Result<(String, TlsSettings)> {
    let is_url = url.starts_with("postgres://") || url.starts_with("postgresql://");
    let (head, pairs): (&str, Vec<&str>) = if is_url {
        match url.split_once('?') {
            Some((head, query)) => (head, query.split('&').filter(|pair| !pair.is_empty()).collect()),
            None => (url, Vec::new()),
        }
    } else {
        // In the key=value form a value with spaces is quoted; the settings we take have no quotes in practice.
        ("", url.split(' ').collect())
    };
    let mut tls = TlsSettings::default();
    let mut rest = Vec::with_capacity(pairs.len());
    let mut require = false;
    for pair in pairs {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let path = || -> Result<Option<std::path::PathBuf>> { Ok(Some(percent_decoded(value)?.into())) };
        match key {
            "sslrootcert" => tls.root_certificates = path()?,
            "sslcert" => tls.certificate = path()?,
            "sslkey" => tls.key = path()?,
            "sslmode" => match value {
                "verify-ca" | "verify-full" => {
                    tls.verify = if value == "verify-ca" { Verify::Authority } else { Verify::Full };
                    rest.push("sslmode=require");
                }
                "require" => {
                    require = true;
                    rest.push(pair);
                }
                "disable" | "prefer" => rest.push(pair),
                "allow" => rest.push("sslmode=prefer"),
                other => {
                    return Err(Error::Settings {
                        message: format!(
                            "sslmode {other} is unknown: write disable, prefer, require, verify-ca or verify-full"
                        ),
                    });
                }
            },
            _ => rest.push(pair),
        }
    }
    if require && tls.verify == Verify::Nothing && tls.root_certificates.is_some() {
        tls.verify = Verify::Authority;
    }
    let text = match (is_url, rest.is_empty()) {
        (true, true) => head.to_owned(),
        (true, false) => format!("{head}?{}", rest.join("&")),
        (false, _) => rest.join(" "),
    };
    Ok((text, tls))
}

/// Decodes `%2F` and the like.
fn percent_decoded(text: &str) -> Result<String> {
    let bad = || Error::Settings { message: format!("{text} isn't a well-formed part of a URL") };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or_else(bad)?;
            bytes.push(u8::from_str_radix(digits, 16).map_err(|_| bad())?);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_settings_are_taken_from_the_url() {
        let (text, tls) =
            take_tls_settings("postgres://u:p@h:1/d?sslmode=verify-full&sslrootcert=%2Fca.pem&connect_timeout=3")
                .unwrap();
        assert_eq!(text, "postgres://u:p@h:1/d?sslmode=require&connect_timeout=3");
        assert_eq!((tls.verify, tls.root_certificates.unwrap().to_str()), (Verify::Full, Some("/ca.pem")));
        let (_, tls) = take_tls_settings("host=h sslmode=require sslrootcert=/ca.pem").unwrap();
        assert_eq!(tls.verify, Verify::Authority);
        assert_eq!(take_tls_settings("postgres://h/d").unwrap().1.verify, Verify::Nothing);
        assert!(take_tls_settings("postgres://h/d?sslmode=always").is_err());
    }

    #[test]
    fn a_bad_url_is_a_mistake_of_the_user() {
        use model::{Classified as _, Domain};
        for url in ["postgres:///d", "nonsense", "postgres://h/d?no_such=1"] {
            let error = Connector::new(url, "test", Duration::from_secs(1)).unwrap_err();
            assert_eq!(error.domain(), Domain::User, "{url}: {error}");
        }
    }

    #[tokio::test]
    async fn a_server_that_takes_connections_and_says_nothing_is_given_up() {
        let hanging = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("postgres://u@{}/d?sslmode=disable", hanging.local_addr().unwrap());
        let connector = Connector::new(&url, "test", Duration::from_millis(100)).unwrap();
        let error = connector.session("test").await.unwrap_err();
        assert!(error.to_string().contains("didn't answer"), "{error}");
        let error = connector.listening_session("test", Arc::default()).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error}");
        let pool = connector.pool(1, Duration::from_secs(60)).unwrap();
        assert!(matches!(pool.get().await, Err(deadpool_postgres::PoolError::Timeout(_))));
    }

    #[test]
    fn the_password_is_never_printed() {
        let connector = Connector::new("postgres://u:canary@h/d", "test", Duration::from_secs(1)).unwrap();
        assert!(!format!("{connector:?}").contains("canary"));
    }
}
