//! Where the systems are.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::secret::{Secret, SecretError, process_environment};

/// The word that stands for the system which Tillstream brings itself.
pub const EMBEDDED: &str = "embedded";

fn embedded() -> String {
    EMBEDDED.into()
}

/// Where the systems are.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Connections {
    /// The Kafka cluster.
    pub kafka: KafkaConnection,
    /// The schema registry.
    pub registry: RegistryConnection,
    /// The PostgreSQL server that keeps the results.
    pub postgres: PostgresConnection,
    /// The Spark Connect server, for `engine: spark`.
    pub spark: SparkConnection,
}

/// The Kafka cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaConnection {
    /// `embedded`, or the cluster's first addresses as host:port,host:port.
    #[schemars(extend("format" = "brokers", "examples" = ["embedded", "kafka-1:9092,kafka-2:9092"]))]
    pub brokers: String,
    /// Put before the name of each topic, so that several projects can share a cluster.
    #[schemars(extend("format" = "topic-prefix", "pattern" = "^[a-zA-Z0-9._-]*$"))]
    pub topic_prefix: String,
    /// How many brokers keep each record, for topics that don't say it themselves. 3 is usual in production.
    #[schemars(range(min = 1, max = 100))]
    pub replication: i16,
    /// Encryption and sign-in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security: Option<KafkaSecurity>,
    /// Further properties of librdkafka, such as socket.keepalive.enable. Values that are secrets are written as env:NAME or file:PATH.
    #[schemars(extend("x-dotted-keys" = true))]
    pub properties: BTreeMap<String, String>,
}

impl Default for KafkaConnection {
    fn default() -> Self {
        Self {
            brokers: embedded(),
            topic_prefix: String::new(),
            replication: 1,
            security: None,
            properties: BTreeMap::new(),
        }
    }
}

impl KafkaConnection {
    /// True if the embedded broker is meant.
    pub fn is_embedded(&self) -> bool {
        self.brokers == EMBEDDED
    }

    /// The properties for librdkafka: security, then `properties`, with secrets resolved. They must not be printed.
    ///
    /// `directory` is the project directory, which paths are relative to.
    ///
    /// # Errors
    /// When a secret can't be read.
    pub fn librdkafka_properties(&self, directory: &Path) -> Result<BTreeMap<String, String>, SecretError> {
        let mut properties = BTreeMap::new();
        if let Some(security) = &self.security {
            security.add_properties(directory, &mut properties)?;
        }
        for (key, value) in &self.properties {
            let value = match value.parse::<Secret>() {
                Ok(secret) => {
                    let setting = format!("connections.kafka.properties.{key}");
                    secret.resolve(&setting, directory, &process_environment)?.expose_secret().to_owned()
                }
                Err(_) => value.clone(),
            };
            properties.insert(key.clone(), value);
        }
        Ok(properties)
    }
}

/// Encryption and sign-in of the Kafka connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaSecurity {
    /// Whether the connection is encrypted, and whether there is a sign-in.
    pub protocol: SecurityProtocol,
    /// How to sign in, for sasl_plaintext and sasl_ssl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mechanism: Option<SaslMechanism>,
    /// The user to sign in as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The user's password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// A file with the certificates (PEM) of the authorities to trust, when they aren't the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub ca: Option<String>,
    /// A file with our own certificate (PEM), for mutual TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub certificate: Option<String>,
    /// A file with our own private key (PEM), for mutual TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub private_key: Option<String>,
    /// The password of the private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key_password: Option<Secret>,
}

impl KafkaSecurity {
    fn add_properties(&self, directory: &Path, properties: &mut BTreeMap<String, String>) -> Result<(), SecretError> {
        let mut set = |key: &str, value: String| properties.insert(key.to_owned(), value);
        set("security.protocol", self.protocol.name().to_owned());
        if let Some(mechanism) = self.mechanism {
            set("sasl.mechanism", mechanism.name().to_owned());
        }
        if let Some(username) = &self.username {
            set("sasl.username", username.clone());
        }
        for (key, path) in [
            ("ssl.ca.location", &self.ca),
            ("ssl.certificate.location", &self.certificate),
            ("ssl.key.location", &self.private_key),
        ] {
            if let Some(path) = path {
                set(key, directory.join(path).display().to_string());
            }
        }
        for (key, setting, secret) in [
            ("sasl.password", "connections.kafka.security.password", &self.password),
            ("ssl.key.password", "connections.kafka.security.private_key_password", &self.private_key_password),
        ] {
            if let Some(secret) = secret {
                let secret = secret.resolve(setting, directory, &process_environment)?;
                set(key, secret.expose_secret().to_owned());
            }
        }
        Ok(())
    }
}

/// Whether the Kafka connection is encrypted, and whether there is a sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecurityProtocol {
    /// Neither.
    Plaintext,
    /// Encrypted; certificates may sign in.
    Ssl,
    /// Sign-in over an open connection.
    SaslPlaintext,
    /// Sign-in over an encrypted connection.
    SaslSsl,
}

impl SecurityProtocol {
    /// Kafka's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }

    /// True if it needs a mechanism and a user.
    pub fn has_sign_in(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

/// How to sign in to Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SaslMechanism {
    /// User and password as they are; only over an encrypted connection.
    #[serde(rename = "PLAIN")]
    Plain,
    /// Challenge and response with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// Challenge and response with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl SaslMechanism {
    /// Kafka's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// The schema registry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RegistryConnection {
    /// `embedded`, or the address of a registry with Confluent's API.
    #[schemars(extend("format" = "registry-url", "examples" = ["embedded", "https://registry.example.com"]))]
    pub url: String,
    /// The user to sign in as (HTTP basic authentication).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The user's password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// A bearer token, instead of user and password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
}

impl Default for RegistryConnection {
    fn default() -> Self {
        Self { url: embedded(), username: None, password: None, token: None }
    }
}

impl RegistryConnection {
    /// True if the embedded registry is meant.
    pub fn is_embedded(&self) -> bool {
        self.url == EMBEDDED
    }
}

/// The PostgreSQL server that keeps the results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresConnection {
    /// `embedded`, or postgres://user@host:port/database. The password isn't part of it; see `password`.
    #[schemars(extend("format" = "postgres-url", "examples" = ["embedded", "postgres://tillstream@db:5432/payments?sslmode=require"]))]
    pub url: String,
    /// The user's password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Servers that follow the first one, which the dashboard and the API may read from. They take the same password.
    #[schemars(extend("items" = { "type": "string", "format": "postgres-url" }))]
    pub replicas: Vec<String>,
    /// Where the programs of the embedded server come from: `installed` (the system's packages), `downloaded` (once, into the user's cache),
    /// `auto` (installed ones, and downloaded if there are none), or a directory that holds initdb and postgres.
    #[schemars(extend("examples" = ["auto", "installed", "downloaded", "/usr/lib/postgresql/17/bin"]))]
    pub programs: String,
}

impl Default for PostgresConnection {
    fn default() -> Self {
        Self { url: embedded(), password: None, replicas: Vec::new(), programs: "auto".into() }
    }
}

impl PostgresConnection {
    /// True if the private server is meant.
    pub fn is_embedded(&self) -> bool {
        self.url == EMBEDDED
    }

    /// The password, when the settings name one. `directory` is the project directory.
    ///
    /// # Errors
    /// When the secret can't be read.
    pub fn resolve_password(&self, directory: &Path) -> Result<Option<SecretString>, SecretError> {
        let resolve =
            |secret: &Secret| secret.resolve("connections.postgres.password", directory, &process_environment);
        self.password.as_ref().map(resolve).transpose()
    }
}

/// The Spark Connect server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SparkConnection {
    /// The server's address.
    #[schemars(extend("format" = "spark-url", "examples" = ["sc://localhost:15002"]))]
    pub url: String,
    /// A bearer token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
}

impl SparkConnection {
    /// The token, when the settings name one. `directory` is the project directory.
    ///
    /// # Errors
    /// When the secret can't be read.
    pub fn resolve_token(&self, directory: &Path) -> Result<Option<SecretString>, SecretError> {
        let resolve = |secret: &Secret| secret.resolve("connections.spark.token", directory, &process_environment);
        self.token.as_ref().map(resolve).transpose()
    }
}

impl Default for SparkConnection {
    fn default() -> Self {
        Self { url: "sc://localhost:15002".into(), token: None }
    }
}
