//! The store stage: result, rejected and progress topics in, PostgreSQL out, rows and positions in one transaction.
//!
//! | file | does |
//! | --- | --- |
//! | `results` | result records as rows with versions |
//! | `rejected` | rejected records as rows for people |
//! | `batch` | what one transaction holds |

mod batch;
mod rejected;
mod results;

use std::collections::BTreeMap;
use std::time::Duration;

use kafka::{Admin, Reader, ReaderOptions, Start};
use model::{RecordBlock, TopicId, TopicPartition};
use store::{PositionClaim, Store, TableSpec, Writer};
use tokio::runtime::Handle;

use crate::error::{Error, Result};
use crate::run::context::Context;
use crate::run::results::ResultTopic;
use crate::run::topics::StreamTopics;
use batch::BatchBuilder;
use results::ResultReader;

pub(crate) const NAME: &str = "store";
const POLL: Duration = Duration::from_millis(20);

/// What the stage needs to know of its project.
#[derive(Debug, Clone)]
pub(crate) struct StoreStage {
    pub(crate) context: Context,
    pub(crate) store: Store,
    pub(crate) runtime: Handle,
    /// Streams by name with their topics.
    pub(crate) streams: Vec<(String, StreamTopics)>,
    /// Results that are kept in tables.
    pub(crate) results: Vec<ResultTopic>,
    /// Records in one transaction at most.
    pub(crate) batch_rows: usize,
}

impl StoreStage {
    /// Makes schemas and tables; for start-up, before the stage's first epoch.
    pub(crate) async fn prepare(&self) -> Result<()> {
        self.store.migrate().await?;
        for result in &self.results {
            self.store.ensure_table(&result.table()).await?;
            // A new generation fills a table of its own; the view leads to it from now on.
            if result.generation > 1 {
                self.store.show_in_view(&result.table()).await?;
            }
        }
        Ok(())
    }

    /// Runs one epoch: claims the positions, then stores until the stop switch is thrown.
    pub(crate) fn run_epoch(&self) -> Result<()> {
        let mut session = Session::open(self)?;
        while !self.context.stop.is_set() {
            session.step()?;
            self.context.status.step(NAME);
        }
        Ok(())
    }
}

/// One epoch of the stage.
struct Session<'a> {
    stage: &'a StoreStage,
    reader: Reader,
    writer: Writer,
    positions: BTreeMap<TopicPartition, i64>,
    topic_ids: BTreeMap<String, TopicId>,
    results: Vec<ResultReader>,
}

impl<'a> Session<'a> {
    fn open(stage: &'a StoreStage) -> Result<Self> {
        let admin = Admin::new(&stage.context.connection)?;
        let mut claims = Vec::new();
        let mut topic_ids = BTreeMap::new();
        let topics = stage.results.iter().map(|result| result.topic.clone());
        let outputs = stage.streams.iter().flat_map(|(_, topics)| [topics.rejected.clone(), topics.progress.clone()]);
        for topic in topics.chain(outputs) {
            let info = admin.topic(&topic)?.ok_or_else(|| Error::Position(format!("topic {topic} doesn't exist")))?;
            for number in 0..info.partitions {
                let partition = TopicPartition::new(topic.as_str(), number);
                claims.push(PositionClaim { partition, topic_id: Some(info.id.clone()), start: 0 });
            }
            topic_ids.insert(topic, info.id);
        }
        let tables: Vec<TableSpec> = stage.results.iter().map(ResultTopic::table).collect();
        let writer = stage.runtime.block_on(stage.store.open_writer(NAME, &claims, &tables))?;
        let owned = writer.positions();
        let mut positions = BTreeMap::new();
        let mut assignment = Vec::new();
        for claim in claims {
            let offset = owned.get(&claim.partition).copied().unwrap_or(0);
            // A partition that nothing was stored of begins with the first record that is there.
            let start = if offset == 0 { Start::Beginning } else { Start::Offset(offset) };
            assignment.push((claim.partition.clone(), start));
            positions.insert(claim.partition, offset);
        }
        let options = ReaderOptions { fetch_wait_ms: 100, ..ReaderOptions::default() };
        let mut reader = Reader::new(&stage.context.connection, &options)?;
        reader.assign(&assignment)?;
        let results = stage.results.iter().map(ResultReader::new).collect::<Result<_>>()?;
        stage.context.status.set_stored(&positions, &[], stage.context.clock.now_us());
        tracing::info!(epoch = %writer.epoch(), tables = tables.len(), "the store stage starts");
        Ok(Self { stage, reader, writer, positions, topic_ids, results })
    }

    fn step(&mut self) -> Result<()> {
        let blocks = self.reader.poll(self.stage.batch_rows, POLL)?;
        let outage = self.reader.outage().map(|outage| format!("waiting for kafka: {outage}"));
        self.stage.context.status.set_trouble(NAME, outage);
        if blocks.is_empty() {
            return Ok(());
        }
        let mut builder = BatchBuilder::default();
        for block in &blocks {
            self.add(block, &mut builder)?;
        }
        let batch = builder.finish(&mut self.positions, &self.topic_ids)?;
        let applied = self.stage.runtime.block_on(self.writer.apply(batch))?;
        let context = &self.stage.context;
        context.status.set_stored(&self.positions, &applied.tables, context.clock.now_us());
        Ok(())
    }

    fn add(&mut self, block: &RecordBlock, builder: &mut BatchBuilder) -> Result<()> {
        builder.moved(block);
        if let Some(result) = self.results.iter_mut().find(|result| *result.topic() == *block.topic) {
            let upserts = result.read(block, &*self.stage.context.schemas)?;
            builder.rows(result.table(), upserts);
            return Ok(());
        }
        for (stream, topics) in &self.stage.streams {
            if *topics.rejected == *block.topic {
                builder.rejected(rejected::rows(stream, block)?);
            } else if *topics.progress == *block.topic {
                builder.progress(stream, block)?;
            }
        }
        Ok(())
    }
}
