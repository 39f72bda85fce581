//! The process stage on Apache Spark: the same validated records in, the same result records out, worked out by Spark.
//!
//! | file | does |
//! | --- | --- |
//! | `plan` | a query's source, sink and reference tables as the `spark` crate prints them |
//! | `kafka_options` | our Kafka connection as Spark's Kafka client needs it |
//! | `batch` | a drain: all validated records at once |
//! | `streams` | streaming queries: started, found again, watched, stopped |

mod batch;
mod kafka_options;
mod plan;
mod streams;

use std::collections::BTreeMap;

use spark::{Address, Session};
use tokio::runtime::Handle;

use crate::error::{Error, Result};
use crate::run::context::Context;
use crate::run::pipeline::PipelineStream;
use crate::run::process::NAME;
use crate::run::results::ResultTopic;
use project::Project;
use project::settings::SparkSettings;

pub(crate) use plan::{PlanParts, load_references, print};

/// Sessions that the server has closed are not opened again; the next one has another number.
const SESSION_ATTEMPTS: u32 = 1_000;

/// What a run of the stage does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Streaming queries, until the stop switch is thrown.
    Stream,
    /// What a drain asks for, as a batch.
    Drain,
}

/// What the stage needs to know of its project.
#[derive(Debug, Clone)]
pub(crate) struct SparkStage {
    pub(crate) context: Context,
    pub(crate) runtime: Handle,
    pub(crate) work: Work,
    /// Tells the project's session and queries from others on the same Spark: its topic prefix and name.
    pipeline: String,
    address: Address,
    settings: SparkSettings,
    /// Where checkpoints are, without a slash at the end.
    checkpoints: String,
    streams: Vec<SparkStream>,
    results: Vec<ResultTopic>,
    references: BTreeMap<String, spark::print::ReferenceRows>,
}

/// A stream that queries read.
#[derive(Debug, Clone)]
struct SparkStream {
    stream: PipelineStream,
    event_time: String,
    /// How far behind the newest event Spark's watermark stays.
    watermark_delay_ms: u64,
}

impl SparkStage {
    /// Gathers what the stage needs.
    pub(crate) fn new(
        project: &Project,
        context: &Context,
        runtime: &Handle,
        work: Work,
        streams: &[PipelineStream],
        results: &[ResultTopic],
    ) -> Result<Self> {
        let settings = project.settings.spark.clone();
        let connection = &project.settings.connections.spark;
        let token = connection.resolve_token(&project.directory).map_err(|error| Error::Project(error.to_string()))?;
        let address = Address {
            token: token.map(|token| secrecy::ExposeSecret::expose_secret(&token).to_owned()),
            ..Address::parse(&connection.url)?
        };
        let checkpoints = match &settings.checkpoints {
            Some(location) => location.trim_end_matches('/').to_owned(),
            None => {
                let directory = std::path::absolute(project.data_dir.join("spark"))
                    .map_err(|error| Error::system("finding the data directory", error))?;
                directory.display().to_string()
            }
        };
        let of_stream = |stream: &PipelineStream| {
            let known = project.stream(&stream.name)?;
            let delay = settings.watermark_delay.map_or(known.lateness.0 + known.max_skew.0, |delay| delay.0);
            Some(SparkStream {
                stream: stream.clone(),
                event_time: known.event_time.clone(),
                watermark_delay_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
            })
        };
        Ok(Self {
            context: context.clone(),
            runtime: runtime.clone(),
            work,
            pipeline: format!("{}{}", project.settings.connections.kafka.topic_prefix, project.name),
            address,
            checkpoints,
            streams: streams.iter().filter_map(of_stream).collect(),
            results: results.to_vec(),
            references: load_references(project)?,
            settings,
        })
    }

    /// Runs one epoch of the stage.
    pub(crate) fn run_epoch(&self) -> Result<()> {
        match self.work {
            Work::Drain => batch::run(self),
            Work::Stream => streams::run(self),
        }
    }

    fn session(&self, name: &str) -> Result<Session> {
        open_session(&self.runtime, &self.address, name, &session_conf(&self.settings))
    }

    fn stream_of(&self, result: &ResultTopic) -> Result<&SparkStream> {
        self.streams
            .iter()
            .find(|stream| stream.stream.name == result.query.stream)
            .ok_or_else(|| Error::Internal(format!("query {} reads no stream", result.query.name)))
    }

    fn is_up(&self) {
        self.context.status.step(NAME);
        self.context.status.set_trouble(NAME, None);
    }
}

/// Configuration of a session: the project's settings, and what else it says itself.
pub(crate) fn session_conf(settings: &SparkSettings) -> BTreeMap<String, String> {
    let mut conf = BTreeMap::from(
        [
            ("spark.sql.shuffle.partitions", settings.shuffle_partitions.to_string().as_str()),
            (
                "spark.sql.streaming.stateStore.providerClass",
                "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider",
            ),
            ("spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled", "true"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    conf.extend(settings.conf.clone());
    conf
}

/// Opens a session by name, or the next one if the server has closed it.
pub(crate) fn open_session(
    runtime: &Handle,
    address: &Address,
    name: &str,
    conf: &BTreeMap<String, String>,
) -> Result<Session> {
    for attempt in 0..SESSION_ATTEMPTS {
        let id = spark::client::session_id(name, attempt);
        match runtime.block_on(Session::open(address, &id, conf)) {
            Err(spark::Error::SessionClosed { .. }) => {}
            opened => return Ok(opened?),
        }
    }
    Err(Error::Unavailable(format!("Apache Spark has closed {SESSION_ATTEMPTS} sessions of {name}")))
}
