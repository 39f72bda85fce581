//! Our Kafka connection as options of Spark's source and sink, whose client is Java's.

use std::collections::BTreeMap;

use kafka::Connection;

/// Options for Spark: addresses and sign-in of `connection`, then `further` properties of Java's client.
///
/// Paths of certificates aren't carried over: they are files on Spark's machines.
pub(super) fn options(connection: &Connection, further: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut options = BTreeMap::new();
    let mut set = |key: &str, value: String| options.insert(format!("kafka.{key}"), value);
    set("bootstrap.servers", connection.brokers.clone());
    // Java's client refuses more than a megabyte by default, which the result topics take.
    set("max.request.size", kafka::RECORD_BYTES_MAX.to_string());
    let property = |key: &str| connection.properties.get(key);
    if let Some(protocol) = property("security.protocol") {
        set("security.protocol", protocol.to_uppercase());
    }
    if let Some(mechanism) = property("sasl.mechanism") {
        set("sasl.mechanism", mechanism.clone());
        if let (Some(user), Some(password)) = (property("sasl.username"), property("sasl.password")) {
            let module = if mechanism == "PLAIN" { "plain.PlainLoginModule" } else { "scram.ScramLoginModule" };
            let login = format!(
                "org.apache.kafka.common.security.{module} required username={} password={};",
                quoted(user),
                quoted(password)
            );
            set("sasl.jaas.config", login);
        }
    }
    for (key, value) in further {
        set(key, value.clone());
    }
    options
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sign_in_is_javas() {
        let properties = [
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", "app"),
            ("sasl.password", "a\"b"),
            ("ssl.ca.location", "/ca.pem"),
        ];
        let connection = Connection {
            brokers: "kafka:9092".to_owned(),
            properties: properties.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            client_id: "x".to_owned(),
        };
        let further = BTreeMap::from([("ssl.truststore.location".to_owned(), "/spark/ca.pem".to_owned())]);
        let options = options(&connection, &further);
        assert_eq!(options["kafka.bootstrap.servers"], "kafka:9092");
        assert_eq!(options["kafka.max.request.size"], "33554432");
        assert_eq!(options["kafka.security.protocol"], "SASL_SSL");
        assert_eq!(
            options["kafka.sasl.jaas.config"],
            "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"app\" password=\"a\\\"b\";"
        );
        assert_eq!(options["kafka.ssl.truststore.location"], "/spark/ca.pem");
        assert!(!options.contains_key("kafka.ssl.ca.location"));
    }
}
