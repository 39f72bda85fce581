//! The process stage on Apache Spark: the same validated records in, the same result records out, worked out by Spark.
//!
//! | file | does |
//! | --- | --- |
//! | `place` | where the queries run: sessions by the project's name |
//! | `plan` | a query's source, sink and reference tables as the `spark` crate prints them |
//! | `written` | the schemas that validated records may have been written with |
//! | `kafka_options` | our Kafka connection as Spark's Kafka client needs it |
//! | `batch` | a drain: all validated records at once |
//! | `streams` | streaming queries: started, found again, watched, stopped |
//! | `names` | what Spark knows them by |
//! | `watch` | what Spark reports of one |
//! | `real_time` | which run in Real-Time Mode, and whether Spark has room for it |
//! | `rebuilds` | which are built anew |
//! | `tables` | the rows of reference tables that queries run with |
//! | `queries` | those that run, for people |

mod batch;
mod kafka_options;
mod names;
mod place;
mod plan;
pub(crate) mod queries;
mod real_time;
mod rebuilds;
mod streams;
mod tables;
mod watch;
mod written;

use std::sync::Arc;
use std::time::Duration;

use project::{Project, Stream};
use state::SnapshotStore;
use tokio::runtime::Handle;

use crate::error::{Error, Result};
use crate::run::context::Context;
use crate::run::layout::PipelineStream;
use crate::run::process::NAME;
use crate::run::references::Feeds;
use crate::run::results::ResultTopic;
use crate::run::sharing::{Share, Sharing};
use tables::Tables;

pub(crate) use place::{Place, open_session, session_conf};
pub(crate) use plan::{PlanParts, PlanStream, print, reference_rows};
pub(crate) use queries::QueryState;

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
    pub(crate) work: Work,
    place: Place,
    snapshots: Arc<SnapshotStore>,
    /// Where checkpoints are, without a slash at the end.
    checkpoints: String,
    streams: Vec<SparkStream>,
    results: Vec<ResultTopic>,
    tables: Tables,
}

/// A stream that queries read.
#[derive(Debug, Clone)]
struct SparkStream {
    stream: PipelineStream,
    event_time: String,
    /// How far behind the newest event Spark's watermark stays.
    watermark_delay_ms: u64,
}

/// How far Spark's watermark stays behind the newest event of a stream.
pub(crate) fn watermark_delay(project: &Project, stream: &Stream) -> Duration {
    // Spark drops a row at its watermark, too, and validation accepts one there.
    let least = stream.lateness.0 + stream.max_skew.0 + Duration::from_millis(1);
    project.settings.spark.watermark_delay.map_or(least, |delay| delay.0)
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
        snapshots: Arc<SnapshotStore>,
    ) -> Result<Self> {
        let place = Place::of(project, runtime)?;
        let settings = &place.settings;
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
            let delay_ms = watermark_delay(project, known).as_millis();
            Some(SparkStream {
                stream: stream.clone(),
                event_time: known.event_time.clone(),
                watermark_delay_ms: u64::try_from(delay_ms).unwrap_or(u64::MAX),
            })
        };
        Ok(Self {
            context: context.clone(),
            work,
            snapshots,
            checkpoints,
            streams: streams.iter().filter_map(of_stream).collect(),
            results: results.to_vec(),
            tables: Tables::default(),
            place,
        })
    }

    /// The same with the reference tables that its queries join.
    pub(crate) fn joining(self, feeds: Feeds) -> Self {
        Self { tables: Tables::new(feeds), ..self }
    }

    /// What one process watches while others stand by.
    pub(crate) fn sharing(&self, group: Option<String>) -> Sharing {
        Sharing::led(group, self.streams.first().map(|stream| &stream.stream.topics))
    }

    /// Runs one epoch of the stage.
    pub(crate) fn run_epoch(&self, share: &mut Share) -> Result<()> {
        match self.work {
            Work::Drain => share.run(|_, _| batch::run(self)),
            Work::Stream => {
                let watched = share.run(|_, share| streams::run(self, share));
                streams::end(self, share, watched)
            }
        }
    }

    /// Starts the streaming queries that don't run yet, and leaves them running; gives their names.
    pub(crate) fn submit(&self) -> Result<Vec<String>> {
        let mut session = self.place.streaming_session()?;
        let loads = self.tables.newest();
        Ok(streams::start(self, &mut session, &loads)?.iter().map(|watched| watched.name.lasting()).collect())
    }

    /// The streams that a query reads.
    fn streams_of<'a>(&'a self, result: &'a ResultTopic) -> impl Iterator<Item = &'a SparkStream> {
        self.streams.iter().filter(|stream| result.query.reads(&stream.stream.name))
    }

    fn is_up(&self) {
        self.context.status.step(NAME);
        self.context.status.set_trouble(NAME, None);
    }
}
