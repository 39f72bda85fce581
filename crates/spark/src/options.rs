//! Where Spark is.

use crate::error::{Error, Result};

/// Port of a Spark Connect server that names none.
const DEFAULT_PORT: u16 = 15_002;

/// A Spark Connect server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Host name or IP address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// User that the server knows the session by.
    pub user: String,
    /// Bearer token; must not be printed.
    pub token: Option<String>,
}

impl Address {
    /// Reads Spark's own form, `sc://host:port/;use_ssl=true;user_id=name`.
    ///
    /// # Errors
    /// `Settings` when it is something else.
    pub fn parse(url: &str) -> Result<Self> {
        let wrong = |reason: &str| {
            Error::Settings(format!(
                "connections.spark.url is {url}: {reason}; write sc://host:port, for TLS sc://host:port/;use_ssl=true"
            ))
        };
        let rest = url.strip_prefix("sc://").ok_or_else(|| wrong("it doesn't begin with sc://"))?;
        let (authority, parameters) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| wrong("the port isn't a number"))?),
            None => (authority, DEFAULT_PORT),
        };
        if host.is_empty() {
            return Err(wrong("it names no host"));
        }
        let mut address = Self { host: host.to_owned(), port, tls: false, user: "tillstream".to_owned(), token: None };
        for parameter in parameters.split(';').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("use_ssl", value)) => address.tls = value == "true",
                Some(("user_id", value)) => value.clone_into(&mut address.user),
                Some(("token", _)) => return Err(wrong("a token belongs into connections.spark.token")),
                _ => return Err(wrong(&format!("the parameter {parameter} isn't known"))),
            }
        }
        Ok(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let address = Address::parse("sc://spark:15002").unwrap();
        assert_eq!((address.host.as_str(), address.port, address.tls), ("spark", 15_002, false));
        let address = Address::parse("sc://spark/;use_ssl=true;user_id=app").unwrap();
        assert_eq!((address.port, address.tls, address.user.as_str()), (15_002, true, "app"));
        for wrong in ["http://spark", "sc://", "sc://spark:x", "sc://spark/;token=x", "sc://spark/;x=y"] {
            assert!(Address::parse(wrong).unwrap_err().to_string().contains("sc://host:port"), "{wrong}");
        }
    }
}
