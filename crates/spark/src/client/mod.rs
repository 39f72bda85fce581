//! A session of Spark Connect.

mod arrow;
mod query;
mod slots;

use std::collections::BTreeMap;
use std::time::Duration;

use arrow_array::RecordBatch;
use md5::Digest as _;
use spark_connect_proto::config_request::{self, operation::OpType as ConfigOperation};
use spark_connect_proto::execute_plan_response::ResponseType;
use spark_connect_proto::spark_connect_service_client::SparkConnectServiceClient;
use spark_connect_proto::{
    AnalyzePlanRequest, Command, ConfigRequest, ExecutePlanRequest, KeyValue, Plan, Relation, ReleaseSessionRequest,
    UserContext, analyze_plan_request, analyze_plan_response, command, plan,
};
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

pub(crate) use arrow::to_stream as to_arrow_stream;
pub use query::{RunningQuery, StartedQuery};

use crate::error::{Error, Result};
use crate::options::Address;

/// Longest time to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Greatest message either way: Spark's own limit.
const MESSAGE_BYTES_MAX: usize = 128 << 20;

/// Settings of each session: what the meaning of expressions and windows rests on.
const MEANING: [(&str, &str); 6] = [
    ("spark.sql.ansi.enabled", "false"),
    ("spark.sql.caseSensitive", "true"),
    ("spark.sql.decimalOperations.allowPrecisionLoss", "true"),
    ("spark.sql.session.timeZone", "UTC"),
    // A query's time is the least of its streams'.
    ("spark.sql.streaming.multipleWatermarkPolicy", "min"),
    ("spark.sql.variable.substitute", "false"),
];

/// A session of a Spark Connect server. The server keeps it, with its queries, beyond the connection.
#[derive(Debug, Clone)]
pub struct Session {
    client: SparkConnectServiceClient<Channel>,
    address: String,
    id: String,
    user: String,
    token: Option<String>,
}

impl Session {
    /// Connects and sets what expressions need. `id` is a UUID; the same one finds the same session again.
    ///
    /// # Errors
    /// `Unavailable` when nobody answers, `SessionClosed` when the server has closed the session of this id.
    pub async fn open(address: &Address, id: &str, conf: &BTreeMap<String, String>) -> Result<Self> {
        let shown = format!("{}:{}", address.host, address.port);
        let unavailable =
            |error: &dyn std::error::Error| Error::Unavailable { address: shown.clone(), message: causes(error) };
        let scheme = if address.tls { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{shown}"))
            .map_err(|error| Error::Settings(format!("connections.spark.url: {error}")))?
            .connect_timeout(CONNECT_TIMEOUT)
            // Not while idle, which Spark's server takes for a fault of the client, and closes the connection.
            .http2_keep_alive_interval(Duration::from_secs(30));
        if address.tls {
            let tls = ClientTlsConfig::new().with_native_roots();
            endpoint = endpoint.tls_config(tls).map_err(|error| unavailable(&error))?;
        }
        let channel = endpoint.connect().await.map_err(|error| unavailable(&error))?;
        let client = SparkConnectServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let mut session = Self {
            client,
            address: shown,
            id: id.to_owned(),
            user: address.user.clone(),
            token: address.token.clone(),
        };
        let pairs = conf.iter().map(|(key, value)| (key.as_str(), value.as_str())).chain(MEANING);
        session.set(pairs).await?;
        Ok(session)
    }

    /// Gives the session up: the server stops its queries and forgets it.
    ///
    /// # Errors
    /// When Spark isn't there.
    pub async fn close(mut self) -> Result<()> {
        let request = ReleaseSessionRequest {
            session_id: self.id.clone(),
            user_context: Some(self.user_context()),
            ..ReleaseSessionRequest::default()
        };
        let request = self.request(request)?;
        self.client.release_session(request).await.map_err(|status| self.failed(&status))?;
        Ok(())
    }

    /// The UUID of the session.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Version of Spark.
    ///
    /// # Errors
    /// When Spark isn't there.
    pub async fn version(&mut self) -> Result<String> {
        let analyze = analyze_plan_request::Analyze::SparkVersion(analyze_plan_request::SparkVersion {});
        match self.analyze(analyze).await? {
            analyze_plan_response::Result::SparkVersion(found) => Ok(found.version),
            _ => Err(Error::Protocol("no version in the answer to a question for it".to_owned())),
        }
    }

    async fn set(&mut self, pairs: impl Iterator<Item = (&str, &str)>) -> Result<()> {
        let pairs = pairs.map(|(key, value)| KeyValue { key: key.to_owned(), value: Some(value.to_owned()) }).collect();
        let operation = config_request::Operation {
            op_type: Some(ConfigOperation::Set(config_request::Set { pairs, silent: None })),
        };
        let request = ConfigRequest {
            session_id: self.id.clone(),
            user_context: Some(self.user_context()),
            operation: Some(operation),
            ..ConfigRequest::default()
        };
        let request = self.request(request)?;
        self.client.config(request).await.map_err(|status| self.failed(&status))?;
        Ok(())
    }

    async fn analyze(&mut self, analyze: analyze_plan_request::Analyze) -> Result<analyze_plan_response::Result> {
        let request = AnalyzePlanRequest {
            session_id: self.id.clone(),
            user_context: Some(self.user_context()),
            analyze: Some(analyze),
            ..AnalyzePlanRequest::default()
        };
        let request = self.request(request)?;
        let answer = self.client.analyze_plan(request).await.map_err(|status| self.failed(&status))?;
        answer.into_inner().result.ok_or_else(|| Error::Protocol("an empty analysis".to_owned()))
    }

    /// The rows of a relation.
    ///
    /// # Errors
    /// What Spark says about the plan or the data.
    pub async fn collect(&mut self, relation: Relation) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        for response in self.execute(plan::OpType::Root(relation)).await? {
            if let ResponseType::ArrowBatch(batch) = response {
                arrow::read(&batch.data, &mut batches)?;
            }
        }
        Ok(batches)
    }

    /// Runs a command to its end and gives its answers.
    pub(crate) async fn command(&mut self, command: command::CommandType) -> Result<Vec<ResponseType>> {
        self.execute(plan::OpType::Command(Command { command_type: Some(command) })).await
    }

    async fn execute(&mut self, operation: plan::OpType) -> Result<Vec<ResponseType>> {
        let request = ExecutePlanRequest {
            session_id: self.id.clone(),
            user_context: Some(self.user_context()),
            plan: Some(Plan { op_type: Some(operation) }),
            client_type: Some("tillstream".to_owned()),
            ..ExecutePlanRequest::default()
        };
        let request = self.request(request)?;
        let mut stream = self.client.execute_plan(request).await.map_err(|status| self.failed(&status))?.into_inner();
        let mut responses = Vec::new();
        while let Some(response) = stream.message().await.map_err(|status| self.failed(&status))? {
            responses.extend(response.response_type);
        }
        Ok(responses)
    }

    fn user_context(&self) -> UserContext {
        UserContext { user_id: self.user.clone(), user_name: self.user.clone(), ..UserContext::default() }
    }

    fn request<T>(&self, message: T) -> Result<Request<T>> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            let value = MetadataValue::try_from(format!("Bearer {token}"))
                .map_err(|_| Error::Settings("connections.spark.token has characters that no token has".to_owned()))?;
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }

    fn failed(&self, status: &tonic::Status) -> Error {
        Error::of_status(&self.address, status)
    }
}

/// The UUID of a session that is found again by its name; `attempt` tells those apart that the server has closed.
pub fn session_id(name: &str, attempt: u32) -> String {
    let digest = md5::Md5::digest(format!("tillstream/{name}/{attempt}"));
    uuid::Builder::from_md5_bytes(digest.into()).into_uuid().to_string()
}

/// An error with its causes: gRPC's own texts say little.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Some errors say the same as what caused them.
        let inner = error.to_string();
        if !text.ends_with(&inner) {
            text = format!("{text}: {inner}");
        }
        cause = error.source();
    }
    text
}
