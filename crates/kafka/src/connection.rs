//! How to reach a cluster.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

/// How to reach a cluster: the same for readers, writers and admin.
#[derive(Clone, Default)]
pub struct Connection {
    /// `host:port`, several separated by commas.
    pub brokers: String,
    /// Any property of librdkafka's CONFIGURATION.md: security, SASL, TLS. It overrides ours.
    pub properties: BTreeMap<String, String>,
    /// Name shown in the broker's logs and quotas.
    pub client_id: String,
}

impl fmt::Debug for Connection {
    /// Shows the names of properties only, since their values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("brokers", &self.brokers)
            .field("properties", &self.properties.keys().collect::<Vec<_>>())
            .field("client_id", &self.client_id)
            .finish()
    }
}

impl Connection {
    /// A connection without security.
    pub fn plain(brokers: impl Into<String>) -> Self {
        Self { brokers: brokers.into(), properties: BTreeMap::new(), client_id: "tillstream".to_owned() }
    }

    /// librdkafka's configuration with `defaults`, then the user's properties over them.
    pub(crate) fn config(&self, defaults: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config.set("client.id", &self.client_id);
        // A broker that comes back is noticed within a second.
        config.set("reconnect.backoff.ms", "50");
        config.set("reconnect.backoff.max.ms", "1000");
        config.set("socket.keepalive.enable", "true");
        // Replies to small requests aren't held back by Nagle's algorithm.
        config.set("socket.nagle.disable", "true");
        for (name, value) in defaults {
            config.set(*name, *value);
        }
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config.set_log_level(RDKafkaLogLevel::Warning);
        config
    }
}
