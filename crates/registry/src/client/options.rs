//! What a client is made from.

use std::fmt;
use std::time::Duration;

use reqwest::Url;
use secrecy::SecretString;

use super::ClientError;

/// How to reach a registry.
#[derive(Clone)]
pub struct ClientOptions {
    /// `http://host:port` or `https://host:port/path`. User and password in it are taken as basic authentication.
    pub url: String,
    /// Who we are to the registry.
    pub authentication: Authentication,
    /// Certificates, PEM, that the registry's certificate may be signed by besides those of the system.
    pub certificate_authorities_pem: Option<Vec<u8>>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long a request may take in all.
    pub request_timeout: Duration,
    /// Largest answer that is read, in bytes.
    pub response_bytes_max: usize,
    /// Schemas, and ids of registered schemas, that are remembered.
    pub cache_entries_max: usize,
}

/// Who the client is to the registry. Secrets are never shown.
#[derive(Debug, Clone, Default)]
pub enum Authentication {
    /// Nobody.
    #[default]
    None,
    /// User and password, or an API key and its secret.
    Basic {
        /// User.
        user: String,
        /// Password.
        password: SecretString,
    },
    /// A token.
    Bearer {
        /// Token.
        token: SecretString,
    },
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password until the client is made.
        let url = match self.url.rsplit_once('@') {
            Some((_, host)) => format!("***@{host}"),
            None => self.url.clone(),
        };
        f.debug_struct("ClientOptions")
            .field("url", &url)
            .field("authentication", &self.authentication)
            .field("connect_timeout", &self.connect_timeout)
            .field("request_timeout", &self.request_timeout)
            .field("response_bytes_max", &self.response_bytes_max)
            .field("cache_entries_max", &self.cache_entries_max)
            .finish_non_exhaustive()
    }
}

impl ClientOptions {
    /// A registry at `url`, with usual time-outs and caps.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            authentication: Authentication::None,
            certificate_authorities_pem: None,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            response_bytes_max: 64 * 1024 * 1024,
            cache_entries_max: 10_000,
        }
    }

    /// The options with the URL parsed, its credentials moved to where they are not shown.
    pub(super) fn checked(mut self) -> Result<(Self, Url), ClientError> {
        // The text itself is not shown: it may hold a password.
        let mut url = Url::parse(self.url.trim()).map_err(|error| ClientError::Setup {
            reason: format!("the URL can't be read ({error}); write http://HOST:PORT or https://HOST:PORT"),
        })?;
        if !["http", "https"].contains(&url.scheme()) || url.host_str().is_none() {
            let reason =
                format!("the URL begins with {}:, and only http:// and https:// with a host are known", url.scheme());
            return Err(ClientError::Setup { reason });
        }
        if !url.username().is_empty() || url.password().is_some() {
            if matches!(self.authentication, Authentication::None) {
                // A URL holds them percent-coded; its query is decoded by the same rules, but for the plus sign.
                let decoded = |part: &str| {
                    let pairs = format!("x={}", part.replace('+', "%2B"));
                    let mut probe = url.clone();
                    probe.set_query(Some(&pairs));
                    let value = probe.query_pairs().next().map(|(_, value)| value.into_owned());
                    value.unwrap_or_default()
                };
                let password = SecretString::from(decoded(url.password().unwrap_or_default()));
                self.authentication = Authentication::Basic { user: decoded(url.username()), password };
            }
            if url.set_username("").is_err() || url.set_password(None).is_err() {
                return Err(ClientError::Setup {
                    reason: "user and password can't be taken out of the URL".to_owned(),
                });
            }
        }
        url.set_query(None);
        url.set_fragment(None);
        self.url = url.to_string();
        Ok((self, url))
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn credentials_in_the_url_are_used_and_never_shown() {
        let options = ClientOptions::new("https://key:s%23cret+1@registry.example:8081/base");
        assert!(!format!("{options:?}").contains("cret+"));
        let (options, url) = options.checked().unwrap();
        assert_eq!(url.as_str(), "https://registry.example:8081/base");
        let Authentication::Basic { user, password } = &options.authentication else { panic!("{options:?}") };
        assert_eq!((user.as_str(), password.expose_secret()), ("key", "s#cret+1"));
        assert!(!format!("{options:?}").contains("cret+"));
    }

    #[test]
    fn urls_that_can_not_be_used() {
        for url in ["registry:8081", "ftp://host/", "", "http://"] {
            assert!(matches!(ClientOptions::new(url).checked(), Err(ClientError::Setup { .. })), "{url}");
        }
    }
}
