//! Settings that only make sense together.

use crate::load::Loader;
use crate::mask::is_secret_key;
use crate::problem::Found;
use crate::settings::{Secret, SecurityProtocol};

/// Properties of librdkafka that Tillstream sets itself, with the reason or the setting to use.
const OWN_PROPERTIES: [(&str, &str); 13] = [
    ("bootstrap.servers", "use `connections.kafka.brokers`"),
    ("metadata.broker.list", "use `connections.kafka.brokers`"),
    ("group.id", "each stage has its own group"),
    ("client.id", "each stage has its own name"),
    ("acks", "records count as written only when all in-sync replicas have them"),
    ("request.required.acks", "records count as written only when all in-sync replicas have them"),
    ("enable.idempotence", "a record must not be written twice"),
    ("enable.auto.commit", "positions move only after what was made of them is safe"),
    ("enable.auto.offset.store", "positions move only after what was made of them is safe"),
    ("auto.offset.reset", "a position outside the log stops the stage instead of losing records"),
    ("isolation.level", "it follows from how the topic is written"),
    ("partitioner", "keys go to partitions as Java's clients put them"),
    ("max.in.flight.requests.per.connection", "it would put records out of order"),
];

/// Least time between two checkpoints of Spark's Real-Time Mode (`spark.sql.streaming.realTimeMode.minBatchDuration`).
const REAL_TIME_MIN: std::time::Duration = std::time::Duration::from_secs(5);

impl Loader {
    /// Checks what a single setting can't tell.
    pub(crate) fn check_connections(&mut self) {
        self.check_kafka_security();
        self.check_kafka_properties();
        self.check_passwords();
        self.check_ports();
        self.check_real_time();
    }

    fn check_kafka_security(&mut self) {
        let Some(security) = self.settings.connections.kafka.security.clone() else { return };
        let base = ["connections", "kafka", "security"];
        let place = self.place(&base);
        let mut report = |message: String, help: &str| self.found.push(Found::error(place, message).help(help));
        if security.protocol.has_sign_in() {
            for (setting, missing) in [
                ("mechanism", security.mechanism.is_none()),
                ("username", security.username.is_none()),
                ("password", security.password.is_none()),
            ] {
                if missing && !self.left_out.contains(&format!("connections.kafka.security.{setting}")) {
                    let message = format!("`protocol: {}` needs `{setting}`", security.protocol.name());
                    report(message, "a sign-in needs `mechanism`, `username` and `password: env:NAME`");
                }
            }
        } else if security.username.is_some() || security.mechanism.is_some() {
            let message =
                format!("`protocol: {}` has no sign-in, so the user would not be used", security.protocol.name());
            report(message, "write `protocol: sasl_ssl`, or take mechanism, username and password out");
        }
        if security.certificate.is_some() != security.private_key.is_some() {
            report(
                "a certificate and its private key belong together".into(),
                "give both `certificate` and `private_key`",
            );
        }
        if security.protocol == SecurityProtocol::Plaintext && (security.ca.is_some() || security.certificate.is_some())
        {
            report(
                "`protocol: plaintext` isn't encrypted, so certificates would not be used".into(),
                "write `protocol: ssl`",
            );
        }
        for (setting, path) in
            [("ca", &security.ca), ("certificate", &security.certificate), ("private_key", &security.private_key)]
        {
            let Some(path) = path else { continue };
            if !self.directory.join(path).is_file() {
                let place = self.tree.place(&["connections", "kafka", "security", setting]);
                let message = format!("the file `{}` doesn't exist", self.shown(path));
                self.found.push(Found::error(place, message).help(self.missing_file_help(path)));
            }
        }
    }

    fn check_kafka_properties(&mut self) {
        for (key, value) in self.settings.connections.kafka.properties.clone() {
            let path = ["connections", "kafka", "properties", &key];
            let key_place = self.tree.key_place(&path);
            if let Some((_, why)) = OWN_PROPERTIES.iter().find(|(name, _)| *name == key) {
                let message = format!("the property `{key}` is set by Tillstream");
                self.found.push(Found::error(key_place, message).help(*why));
            }
            let path_of_file = key.ends_with(".location");
            if is_secret_key(&key) && !path_of_file && value.parse::<Secret>().is_err() {
                let place = self.place(&path);
                if let Some(place) = place {
                    self.sources.mask(place);
                }
                let found =
                    Found::error(place, format!("the property `{key}` is a secret, and secrets aren't written here"));
                self.found.push(found.help("write `env:NAME` (an environment variable) or `file:PATH`"));
            }
        }
    }

    fn check_passwords(&mut self) {
        let registry = &self.settings.connections.registry;
        let message = if registry.token.is_some() && registry.username.is_some() {
            Some("the registry's sign-in is either a token, or a user and a password")
        } else if registry.username.is_some() != registry.password.is_some() {
            Some("the registry's `username` and `password` belong together")
        } else {
            None
        };
        if let Some(message) = message
            && !self.left_out.contains("connections.registry.password")
        {
            self.found.push(Found::error(self.place(&["connections", "registry"]), message));
        }
        let postgres = &self.settings.connections.postgres;
        if postgres.is_embedded()
            && !postgres.replicas.is_empty()
            && !self.left_out.contains("connections.postgres.url")
        {
            let place = self.place(&["connections", "postgres", "replicas"]);
            let found = Found::error(place, "the embedded PostgreSQL has no replicas");
            self.found.push(found.help("give the first server's `url`, or take `replicas` out"));
        }
    }

    /// Spark refuses checkpoints that are closer than that, once a query is started.
    fn check_real_time(&mut self) {
        let Some(every) = self.settings.spark.real_time.filter(|every| every.0 < REAL_TIME_MIN) else { return };
        let place = self.place(&["spark", "real_time"]);
        let message =
            format!("`real_time` is {every}, and Spark's Real-Time Mode writes a checkpoint every 5s at most");
        let help =
            "results don't wait for it: write 5s or more; a longer time means more work done again after a crash";
        self.found.push(Found::error(place, message).help(help));
    }

    /// Two servers can't listen on one port.
    fn check_ports(&mut self) {
        let settings = &self.settings;
        let mut listeners = vec![("serve", settings.serve.listen.clone()), ("ingest", settings.ingest.listen.clone())];
        if settings.connections.kafka.is_embedded() {
            listeners.push(("broker", settings.broker.listen.clone()));
        }
        if settings.connections.registry.is_embedded() {
            listeners.push(("registry", settings.registry.listen.clone()));
        }
        let port = |address: &str| address.rsplit_once(':').map(|(_, port)| port.to_owned());
        for (index, (section, address)) in listeners.iter().enumerate() {
            let earlier = listeners.iter().take(index).find(|(_, other)| port(other) == port(address));
            let Some((other, _)) = earlier.filter(|_| port(address).as_deref() != Some("0")) else { continue };
            let set = [*section, *other].into_iter().find(|name| self.tree.find(&[name, "listen"]).is_some());
            let place = set.and_then(|name| self.place(&[name, "listen"]));
            let message = format!("`{section}.listen` and `{other}.listen` have the same port");
            self.found.push(Found::error(place, message).help("give one of them another port"));
        }
    }
}
