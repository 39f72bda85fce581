//! The dashboard and the metrics: numbers gathered from the stages a few times a second, and the servers that show them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use kafka::{Reader, ReaderOptions};
use model::TopicPartition;
use project::settings::Settings;
use serve::{Live, PartitionNumbers, QueryNumbers, Server, StageNumbers, StreamNumbers};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::run::context::Context;
use crate::run::generations::Role;
use crate::run::layout::PipelineStream;
use crate::run::peers::{cannot_listen, listen_address};
use crate::run::pipeline::Pipeline;
use crate::run::results::ResultTopic;
use crate::run::supervise::{self, StageThread};
use crate::run::validate;

const EVERY: Duration = Duration::from_millis(250);
/// Between two questions to Kafka for the ends of the raw topics; the rates shown are averages over some seconds.
const ENDS_EVERY: Duration = Duration::from_secs(1);

/// So long after the last write that the broker's disk failed it is still shown; producers try again more often than that.
const STORAGE_TROUBLE_FOR: Duration = Duration::from_secs(5);

/// Longest wait for a question to Kafka that is under way at the end.
const GATHERER_PATIENCE: Duration = Duration::from_secs(3);

/// The ports of a pipeline's servers. They are taken before the pipeline claims anything, so that a start which can't have them does no harm
/// to a process that runs the same project.
#[derive(Debug)]
pub(crate) struct Listeners {
    dashboard: Server,
    door: TcpListener,
    door_address: SocketAddr,
}

impl Listeners {
    /// Takes `serve.listen` and `ingest.listen`.
    ///
    /// # Errors
    /// `Project` for a text that is no address, `Unavailable` when a port is taken.
    pub(crate) fn bind(settings: &Settings, runtime: &Handle) -> Result<Self> {
        let dashboard = listen_address("serve", &settings.serve.listen)?;
        let dashboard = runtime.block_on(Server::bind(dashboard)).map_err(|error| match error {
            serve::Error::PortTaken { address } => {
                cannot_listen("dashboard", "serve.listen", address, &std::io::ErrorKind::AddrInUse.into())
            }
            serve::Error::Bind { address, source } => cannot_listen("dashboard", "serve.listen", address, &source),
            error => Error::Unavailable(error.to_string()),
        })?;
        let listen = listen_address("ingest", &settings.ingest.listen)?;
        let door = runtime
            .block_on(TcpListener::bind(listen))
            .map_err(|error| cannot_listen("door for records", "ingest.listen", listen, &error))?;
        let door_address = door.local_addr().map_err(|error| Error::system("asking for the door's address", error))?;
        Ok(Self { dashboard, door, door_address })
    }
}

/// The servers of a running pipeline: the dashboard's, and the HTTP door's.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) dashboard: SocketAddr,
    pub(crate) door: SocketAddr,
    tasks: Vec<JoinHandle<Result<()>>>,
    gatherer: StageThread,
}

impl Servers {
    /// Starts serving on both listeners; they stop when the pipeline does. `router` is the door's.
    ///
    /// # Errors
    /// `System` if the machine has no thread left.
    pub(crate) fn start(
        name: &str,
        pipeline: &Pipeline,
        runtime: &Handle,
        listeners: Listeners,
        router: axum::Router,
    ) -> Result<Self> {
        let context = &pipeline.context;
        let live = Live::new(name, context.clock.clone());
        let Listeners { dashboard: server, door: listener, door_address: door } = listeners;
        let (dashboard, shown) = (server.address(), live.clone());
        let (stop, door_stop) = (context.stop.clone().thrown(), pipeline.intake.stop.clone().thrown());
        let tasks = vec![
            runtime.spawn(async move {
                server.run(shown, stop).await.map_err(|error| Error::Unavailable(error.to_string()))
            }),
            runtime.spawn(async move {
                let served = axum::serve(listener, router).with_graceful_shutdown(door_stop).await;
                served.map_err(|error| Error::system("serving the door for records", error))
            }),
        ];
        let gatherer = Gatherer {
            context: context.clone(),
            live,
            streams: pipeline.streams.clone(),
            results: pipeline.results.clone(),
        };
        let gatherer =
            supervise::spawn("numbers".to_owned(), context.stop.clone(), context.status.clone(), move || {
                gatherer.run()
            })?;
        Ok(Self { dashboard, door, tasks, gatherer })
    }

    /// Waits for the servers' ends, once the stop switch is thrown.
    pub(crate) fn join(self, runtime: &Handle) -> Result<()> {
        let gathered = self.gatherer.join(GATHERER_PATIENCE);
        for task in self.tasks {
            // Clients that hold a connection open don't hold the process.
            let ended = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(3), task).await });
            if let Ok(Ok(Err(error))) = ended {
                return Err(error);
            }
        }
        gathered
    }
}

/// Whether the embedded broker's disk takes what is written.
#[derive(Debug, Default)]
struct BrokerDisk {
    errors: u64,
    failed_at: Option<Duration>,
}

impl BrokerDisk {
    /// What went wrong lately, for people. `now` is the clock's elapsed time.
    fn trouble(&mut self, broker: &broker::Metrics, now: Duration) -> Option<String> {
        let errors = broker.storage_errors.get();
        if errors != self.errors {
            self.errors = errors;
            self.failed_at = Some(now);
        }
        let is_recent = self.failed_at.is_some_and(|at| now.saturating_sub(at) < STORAGE_TROUBLE_FOR);
        let error = broker.last_storage_error().filter(|_| is_recent)?;
        Some(format!("the broker can't write {error}; records wait with their producers until it can"))
    }
}

struct Gatherer {
    context: Context,
    live: Live,
    streams: Vec<PipelineStream>,
    results: Vec<ResultTopic>,
}

impl Gatherer {
    fn run(&self) -> Result<()> {
        let reader = Reader::new(&self.context.connection, &ReaderOptions::default())?;
        let mut ends = vec![BTreeMap::new(); self.streams.len()];
        let mut asked_at = None;
        let mut disk = BrokerDisk::default();
        loop {
            let now = self.context.clock.elapsed();
            if asked_at.is_none_or(|asked_at| now.saturating_sub(asked_at) >= ENDS_EVERY) {
                asked_at = Some(now);
                match self.streams.iter().map(|stream| raw_ends(&reader, stream)).collect::<Result<Vec<_>>>() {
                    Ok(found) => {
                        ends = found;
                        match self.context.broker.as_ref().and_then(|broker| disk.trouble(broker, now)) {
                            Some(trouble) => self.live.set_peer("kafka", false, &trouble),
                            None => self.live.set_peer("kafka", true, &self.context.connection.brokers),
                        }
                    }
                    Err(error) => self.live.set_peer("kafka", false, &error.to_string()),
                }
            }
            for (stream, ends) in self.streams.iter().zip(&ends) {
                self.show_stream(stream, ends);
            }
            self.show_queries();
            self.show_stages();
            self.live.record_latencies_ms(&self.context.status.take_latencies_ms());
            if self.context.stop.wait(EVERY) {
                return Ok(());
            }
        }
    }

    /// The partitions of a stream that this process validates.
    fn own(&self, stream: &PipelineStream) -> BTreeSet<i32> {
        let own = self.context.status.own(&validate::name_of(&stream.name));
        own.into_iter().map(|partition| partition.partition).collect()
    }

    fn show_stages(&self) {
        let status = &self.context.status;
        let (mut steps, troubles) = (status.all_steps(), status.troubles());
        for stage in troubles.keys() {
            steps.entry(stage.clone()).or_insert(0);
        }
        for (stage, steps) in steps {
            let (trouble, share) = (troubles.get(&stage).cloned(), status.share(&stage));
            self.live.set_stage(&stage, StageNumbers { steps, trouble, share });
        }
    }

    /// What this process does of a stream: the lag of others' partitions is theirs to show.
    fn show_stream(&self, stream: &PipelineStream, ends: &BTreeMap<i32, i64>) {
        let own = self.own(stream);
        let mut progress = self.context.status.validated(&stream.name);
        progress.retain(|progress| own.contains(&progress.partition));
        let known = own.iter().filter_map(|number| ends.get(number));
        let raw_end = known.map(|end| u64::try_from(*end).unwrap_or(0)).sum::<u64>();
        let raw_done: u64 = progress.iter().map(|progress| u64::try_from(progress.raw_offset).unwrap_or(0)).sum();
        let mut rejected = std::collections::BTreeMap::new();
        for (reason, count) in progress.iter().flat_map(|progress| &progress.rejected) {
            *rejected.entry(reason.clone()).or_insert(0) += count;
        }
        let partitions: Vec<PartitionNumbers> = progress
            .iter()
            .map(|progress| PartitionNumbers {
                partition: progress.partition,
                watermark_us: progress.watermark_us,
                idle: progress.idle,
            })
            .collect();
        let watermark_us = model::progress::stream_watermark_us(progress.iter().map(|progress| progress.watermark_us));
        self.live.set_stream(
            &stream.name,
            StreamNumbers {
                // Validation may have gone past the end as it was when last asked for.
                raw_end: raw_end.max(raw_done),
                raw_done,
                validated: progress.iter().map(|progress| progress.validated).sum(),
                rejected,
                watermark_us,
                partitions,
            },
        );
    }

    fn show_queries(&self) {
        let stored = self.context.status.stored_rows();
        let queries = self.context.status.queries();
        let shown = self.context.status.shown();
        for result in &self.results {
            let Some(label) = label(result, shown.get(&result.query.name).copied()) else { continue };
            let status = queries.get(&result.name()).cloned().unwrap_or_default();
            self.live.set_query(
                &label,
                QueryNumbers {
                    rows_published: status.metrics.rows_published,
                    windows_open: status.metrics.windows_open,
                    groups_open: status.metrics.groups_open,
                    state_bytes: status.metrics.state_bytes,
                    spilled_bytes: status.metrics.spilled_bytes,
                    limits_reached: status.metrics.limits_reached,
                    stored_rows: stored.get(&result.name()).copied().unwrap_or(0),
                    latest: status.latest,
                    batch: status.batch,
                },
            );
        }
    }
}

/// What a result is called: a generation that isn't shown yet has its table's name, one that was shown before has none.
fn label(result: &ResultTopic, shown: Option<u32>) -> Option<String> {
    match (result.role, shown) {
        (Role::Filling, shown) if shown != Some(result.generation) => Some(result.name()),
        (Role::Retiring, Some(_)) => None,
        _ => Some(result.query.name.clone()),
    }
}

/// The ends of the partitions of a stream's raw topic.
fn raw_ends(reader: &Reader, stream: &PipelineStream) -> Result<BTreeMap<i32, i64>> {
    let end = |number| Ok((number, reader.range(&TopicPartition::new(stream.topics.raw.as_str(), number))?.1));
    (0..stream.topics.partitions).map(end).collect()
}
