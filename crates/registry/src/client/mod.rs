//! The client of any registry with Confluent's REST API.
//!
//! What can't change is asked for once: a schema under its id, and the id of a schema under a subject. An answer is told apart by whose
//! fault it is: `Unknown` and `Refused` are the registry's word, everything else (no connection, a proxy's page, 5xx, no credentials) is
//! `Unavailable`, so that an outage never passes for a bad record.

mod blocking;
mod cache;
mod options;

use std::sync::{Arc, Mutex, PoisonError};

use model::{Classified, Domain, Retry, SchemaError};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use secrecy::ExposeSecret as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use blocking::BlockingClient;
use cache::Cache;
pub use options::{Authentication, ClientOptions};

use crate::machine::values::Reference;

const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";
/// Longest part of an answer that is no registry's that is shown in an error, in characters.
const SHOWN_CHARS_MAX: usize = 200;

/// Why the registry did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The registry says that it has no such subject, version or schema.
    #[error("the schema registry does not have it: {message} (code {code})")]
    Unknown {
        /// Confluent's code: 40401 subject, 40402 version, 40403 schema.
        code: u32,
        /// The registry's words.
        message: String,
    },
    /// The registry says no: the schema is invalid or incompatible, or the mode forbids it.
    #[error("the schema registry refused: {message} (code {code})")]
    Refused {
        /// Confluent's code: 409, 40901 incompatible, 42201 invalid, 42205 not permitted.
        code: u32,
        /// The registry's words.
        message: String,
    },
    /// The registry has it, but it is no Avro schema.
    #[error("the schema is {kind}, not Avro")]
    NotAvro {
        /// Confluent's word for what it is, such as PROTOBUF.
        kind: String,
    },
    /// No answer of a registry: it can't be reached, is failing, or something else answers.
    #[error("the schema registry at {url} is unavailable: {reason}")]
    Unavailable {
        /// Address, without credentials.
        url: String,
        /// What was seen.
        reason: String,
    },
    /// The client can't be made from its options.
    #[error("the schema registry's settings: {reason}")]
    Setup {
        /// What is wrong, and what to write instead.
        reason: String,
    },
}

impl Classified for ClientError {
    fn domain(&self) -> Domain {
        if matches!(self, Self::Unavailable { .. }) { Domain::External } else { Domain::User }
    }

    fn retry(&self) -> Retry {
        if matches!(self, Self::Unavailable { .. }) { Retry::Backoff } else { Retry::Never }
    }
}

impl ClientError {
    /// The same as the stages know it, for a question about an id.
    pub(crate) fn for_id(self, id: u32) -> SchemaError {
        match self {
            Self::Unknown { code: 40403, .. } => SchemaError::Unknown { id },
            Self::NotAvro { kind } => SchemaError::Unusable { id, reason: format!("it is {kind}, not Avro") },
            other => SchemaError::Unavailable { reason: other.to_string() },
        }
    }

    /// The same as the stages know it, for a registration.
    pub(crate) fn for_subject(self, subject: &str) -> SchemaError {
        match self {
            Self::Refused { message, .. } | Self::Unknown { message, .. } => {
                SchemaError::Refused { subject: subject.to_owned(), reason: message }
            }
            other => SchemaError::Unavailable { reason: other.to_string() },
        }
    }
}

/// A version of a subject as the registry tells it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SubjectSchema {
    /// Subject.
    pub subject: String,
    /// Version.
    pub version: u32,
    /// Id.
    pub id: u32,
    /// Text of the schema.
    pub schema: String,
}

/// The outcome of a compatibility check.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Compatibility {
    /// Whether the schema would be accepted.
    pub is_compatible: bool,
    /// Why not, in the registry's words.
    #[serde(default)]
    pub messages: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SchemaBody<'a> {
    schema: &'a str,
    schema_type: &'static str,
}

#[derive(Deserialize)]
struct Id {
    id: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ById {
    schema: String,
    schema_type: Option<String>,
    #[serde(default)]
    references: Option<Vec<Reference>>,
}

#[derive(Deserialize)]
struct ErrorBody {
    error_code: u32,
    #[serde(default)]
    message: String,
}

/// An async client. Clones share connections and caches.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    options: Arc<ClientOptions>,
    base: Url,
    by_id: Arc<Mutex<Cache<u32, Arc<str>>>>,
    registered: Arc<Mutex<Cache<(String, String), u32>>>,
}

impl Client {
    /// A client for the registry at `options.url`. Nothing is asked yet.
    ///
    /// # Errors
    /// `Setup` for a URL or certificate that can't be used.
    pub fn new(options: ClientOptions) -> Result<Self, ClientError> {
        let (options, base) = options.checked()?;
        // Another part of the program may have chosen a provider already, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut http = reqwest::Client::builder()
            .connect_timeout(options.connect_timeout)
            .timeout(options.request_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("tillstream/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = &options.certificate_authorities_pem {
            let refused = |error: reqwest::Error| ClientError::Setup {
                reason: format!("the CA certificates can't be read: {error}"),
            };
            for certificate in reqwest::Certificate::from_pem_bundle(pem).map_err(refused)? {
                http = http.add_root_certificate(certificate);
            }
        }
        let http = http.build().map_err(|error| ClientError::Setup { reason: without_url(error) })?;
        let cache_entries_max = options.cache_entries_max;
        Ok(Self {
            http,
            options: Arc::new(options),
            base,
            by_id: Arc::new(Mutex::new(Cache::new(cache_entries_max))),
            registered: Arc::new(Mutex::new(Cache::new(cache_entries_max))),
        })
    }

    /// The address of the registry, without credentials.
    pub fn url(&self) -> &str {
        self.base.as_str()
    }

    /// The text of the schema with an id, with its references written out. Cached.
    ///
    /// # Errors
    /// `Unknown` with code 40403 when the registry has no such id, `NotAvro` when it is of another kind.
    pub async fn by_id(&self, id: u32) -> Result<Arc<str>, ClientError> {
        if let Some(text) = self.cached(id) {
            return Ok(text);
        }
        if i32::try_from(id).is_err() {
            // Ids are Java's `int`: a registry takes a greater one for a path that it doesn't have.
            return Err(ClientError::Unknown { code: 40403, message: format!("Schema {id} not found") });
        }
        let path = ["schemas", "ids", &id.to_string()];
        let mut answer: ById = self.ask(self.request(Method::GET, &path, &[])?).await?;
        if let Some(kind) = answer.schema_type.filter(|kind| kind != "AVRO") {
            return Err(ClientError::NotAvro { kind });
        }
        if answer.references.as_ref().is_some_and(|references| !references.is_empty()) {
            answer = self.ask(self.request(Method::GET, &path, &[("format", "resolved")])?).await?;
        }
        let text: Arc<str> = answer.schema.into();
        lock(&self.by_id).insert(id, Arc::clone(&text));
        Ok(text)
    }

    /// The text of a schema if it is in the cache.
    pub fn cached(&self, id: u32) -> Option<Arc<str>> {
        lock(&self.by_id).get(&id).cloned()
    }

    /// Registers an Avro schema under a subject and gives its id. Cached, also for [`by_id`](Self::by_id); the same text again gives the same id.
    ///
    /// # Errors
    /// `Refused` when it is invalid or incompatible.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32, ClientError> {
        if let Some(id) = self.cached_id(subject, schema) {
            return Ok(id);
        }
        let body = SchemaBody { schema, schema_type: "AVRO" };
        let request = self.request(Method::POST, &["subjects", subject, "versions"], &[])?;
        let Id { id } = self.ask(self.with_body(request, &body)?).await?;
        lock(&self.registered).insert((subject.to_owned(), schema.to_owned()), id);
        // What was looked up has its references written out, so it stays.
        if self.cached(id).is_none() {
            lock(&self.by_id).insert(id, schema.into());
        }
        Ok(id)
    }

    pub(crate) fn cached_id(&self, subject: &str, schema: &str) -> Option<u32> {
        lock(&self.registered).get(&(subject.to_owned(), schema.to_owned())).copied()
    }

    /// The version of a subject that holds this very schema.
    ///
    /// # Errors
    /// `Unknown` when there is none.
    pub async fn look_up(&self, subject: &str, schema: &str) -> Result<SubjectSchema, ClientError> {
        let request = self.request(Method::POST, &["subjects", subject], &[])?;
        self.ask(self.with_body(request, &SchemaBody { schema, schema_type: "AVRO" })?).await
    }

    /// The newest version of a subject.
    ///
    /// # Errors
    /// `Unknown` when the subject is not there.
    pub async fn latest(&self, subject: &str) -> Result<SubjectSchema, ClientError> {
        self.ask(self.request(Method::GET, &["subjects", subject, "versions", "latest"], &[])?).await
    }

    /// A version of a subject.
    ///
    /// # Errors
    /// `Unknown` when it is not there.
    pub async fn version(&self, subject: &str, version: u32) -> Result<SubjectSchema, ClientError> {
        self.ask(self.request(Method::GET, &["subjects", subject, "versions", &version.to_string()], &[])?).await
    }

    /// The names of all subjects. It is also the cheapest question that shows whether the registry works.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn subjects(&self) -> Result<Vec<String>, ClientError> {
        self.ask(self.request(Method::GET, &["subjects"], &[])?).await
    }

    /// The version numbers of a subject.
    ///
    /// # Errors
    /// `Unknown` when the subject is not there.
    pub async fn versions(&self, subject: &str) -> Result<Vec<u32>, ClientError> {
        self.ask(self.request(Method::GET, &["subjects", subject, "versions"], &[])?).await
    }

    /// The ids of all versions that a subject has, and of those that were deleted and can still be read; the earliest version first. None of a
    /// subject that is not there.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn ids(&self, subject: &str) -> Result<Vec<u32>, ClientError> {
        const DELETED: [(&str, &str); 1] = [("deleted", "true")];
        let versions = self.ask::<Vec<u32>>(self.request(Method::GET, &["subjects", subject, "versions"], &DELETED)?);
        let mut ids = Vec::new();
        for version in known(versions.await)?.unwrap_or_default() {
            let path = ["subjects", subject, "versions", &version.to_string()];
            // One that was deleted for good meanwhile names nothing any more.
            let found = known(self.ask::<SubjectSchema>(self.request(Method::GET, &path, &DELETED)?).await)?;
            ids.extend(found.map(|version| version.id));
        }
        Ok(ids)
    }

    /// The compatibility level that holds for a subject, in Confluent's words.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn level(&self, subject: &str) -> Result<String, ClientError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Config {
            compatibility_level: String,
        }
        let request = self.request(Method::GET, &["config", subject], &[("defaultToGlobal", "true")])?;
        self.ask::<Config>(request).await.map(|config| config.compatibility_level)
    }

    /// Sets the compatibility level of a subject.
    ///
    /// # Errors
    /// `Refused` for a level that does not exist.
    pub async fn set_level(&self, subject: &str, level: &str) -> Result<(), ClientError> {
        let request = self.request(Method::PUT, &["config", subject], &[])?;
        let body = serde_json::json!({ "compatibility": level });
        self.ask::<serde_json::Value>(self.with_body(request, &body)?).await.map(drop)
    }

    /// Whether a schema would be accepted under a subject. A subject that is not there takes anything.
    ///
    /// # Errors
    /// `Refused` when it is no valid schema.
    pub async fn check(&self, subject: &str, schema: &str) -> Result<Compatibility, ClientError> {
        let path = ["compatibility", "subjects", subject, "versions"];
        let request = self.request(Method::POST, &path, &[("verbose", "true")])?;
        self.ask(self.with_body(request, &SchemaBody { schema, schema_type: "AVRO" })?).await
    }

    /// Deletes a subject, softly or for good, and gives the versions it had.
    ///
    /// # Errors
    /// `Unknown` when it is not there.
    pub async fn delete_subject(&self, subject: &str, permanent: bool) -> Result<Vec<u32>, ClientError> {
        let permanent = if permanent { "true" } else { "false" };
        let deleted =
            self.ask(self.request(Method::DELETE, &["subjects", subject], &[("permanent", permanent)])?).await;
        // An id that was given for the subject may not be its any more.
        lock(&self.registered).retain(|(name, _)| name != subject);
        deleted
    }

    fn request(&self, method: Method, path: &[&str], query: &[(&str, &str)]) -> Result<RequestBuilder, ClientError> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| ClientError::Setup { reason: format!("{} is no base of paths", self.base) })?
            .pop_if_empty()
            .extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.http.request(method, url).header(reqwest::header::ACCEPT, CONTENT_TYPE);
        Ok(match &self.options.authentication {
            Authentication::None => request,
            Authentication::Basic { user, password } => request.basic_auth(user, Some(password.expose_secret())),
            Authentication::Bearer { token } => request.bearer_auth(token.expose_secret()),
        })
    }

    fn with_body(&self, request: RequestBuilder, body: &impl Serialize) -> Result<RequestBuilder, ClientError> {
        let bytes = serde_json::to_vec(body).map_err(|error| self.unavailable(error.to_string()))?;
        Ok(request.header(reqwest::header::CONTENT_TYPE, CONTENT_TYPE).body(bytes))
    }

    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let response = request.send().await.map_err(|error| self.unavailable(without_url(error)))?;
        let status = response.status();
        let body = self.body(response).await?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| {
                self.unavailable(format!("its answer is not a registry's: {error}: {}", shown(&body)))
            });
        }
        Err(self.refusal(status, &body))
    }

    /// The body of an answer, as long as it stays below the cap.
    async fn body(&self, mut response: Response) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unavailable(without_url(error)))? {
            if body.len() + chunk.len() > self.options.response_bytes_max {
                let max = self.options.response_bytes_max;
                return Err(self.unavailable(format!("its answer is larger than {max} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> ClientError {
        let said = serde_json::from_slice::<ErrorBody>(body).ok();
        match (status.as_u16(), said) {
            (401 | 403, _) => {
                self.unavailable(format!("it refuses the credentials ({status}); check user and password or token"))
            }
            (404, Some(ErrorBody { error_code, message })) if error_code > 40400 => {
                ClientError::Unknown { code: error_code, message }
            }
            (409 | 422, Some(ErrorBody { error_code, message })) => ClientError::Refused { code: error_code, message },
            (400..500, Some(ErrorBody { error_code, message }))
                if status != StatusCode::NOT_FOUND && status != StatusCode::TOO_MANY_REQUESTS =>
            {
                ClientError::Refused { code: error_code, message }
            }
            (_, Some(ErrorBody { error_code, message })) => {
                self.unavailable(format!("{status}: {message} (code {error_code})"))
            }
            (_, None) => self.unavailable(format!("{status}, and the answer is not a registry's: {}", shown(body))),
        }
    }

    fn unavailable(&self, reason: String) -> ClientError {
        ClientError::Unavailable { url: self.base.to_string(), reason }
    }
}

/// What is there; `None` of what the registry says is not.
fn known<T>(answer: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    match answer {
        Err(ClientError::Unknown { .. }) => Ok(None),
        answer => answer.map(Some),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The error with what caused it, but without the URL, which may hold secrets in its query.
fn without_url(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}
