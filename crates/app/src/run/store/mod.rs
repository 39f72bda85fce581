//! The store stage: result, rejected and progress topics in, PostgreSQL out, rows and positions in one transaction.
//!
//! While PostgreSQL works on one transaction, the next one is read and decoded.
//!
//! | file | does |
//! | --- | --- |
//! | `results` | result records as rows with versions |
//! | `rejected` | rejected records as rows for people |
//! | `batch` | what one transaction holds |
//! | `commit` | the transaction that PostgreSQL is working on |
//! | `held` | result records that wait for the schema registry |
//! | `swap` | lets views show a new generation when it has caught up |

mod batch;
mod commit;
mod held;
pub(crate) mod rejected;
pub(crate) mod results;
mod swap;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka::{Admin, Reader, ReaderOptions, Start};
use model::{RecordBlock, SchemaError, TopicId, TopicPartition};
use store::{GenerationNote, PositionClaim, Store, TableSpec};
use tokio::runtime::Handle;

use crate::error::{Error, Result};
use crate::run::context::{Context, outage};
use crate::run::generations::{Generations, Role};
use crate::run::positions::Stand;
use crate::run::results::ResultTopic;
use crate::run::sharing::{Share, Sharing};
use crate::run::topics::StreamTopics;
use batch::BatchBuilder;
use commit::Commits;
use held::Held;
use results::ResultReader;
use swap::Swaps;

pub(crate) const NAME: &str = "store";
const POLL: Duration = Duration::from_millis(20);
/// How long progress waits for rows to share a transaction with; nobody looks at it sooner.
const PROGRESS_WAIT: Duration = Duration::from_millis(200);
/// How long a transaction is waited for before the topics are looked at again.
const COMMIT_STEP: Duration = Duration::from_millis(1);

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
    pub(crate) generations: Generations,
    /// The consumer group of the processes that share the partitions; without it this one takes them all.
    pub(crate) group: Option<String>,
    /// Records in one transaction at most.
    pub(crate) batch_rows: usize,
    /// Whether to go on where records were deleted before they were stored.
    pub(crate) accepts_loss: bool,
}

impl StoreStage {
    /// Makes schemas and tables; for start-up, before the stage's first epoch.
    pub(crate) async fn prepare(&self) -> Result<()> {
        self.store.migrate().await?;
        for result in &self.results {
            self.refuse_lost(result).await?;
            self.store.ensure_table(&result.table()).await?;
            // Mostly it does so already; not where an engine takes over at once, or the table wasn't kept until now.
            if result.role == Role::Shown && result.generation > 1 {
                self.show_in_view(result).await?;
            }
        }
        let of_project = self.results.iter().filter(|result| result.query.name != project::pattern_limits::NAME);
        let notes: Vec<GenerationNote> = of_project.map(note).collect();
        Ok(self.store.note_generations(&notes).await?)
    }

    async fn refuse_lost(&self, result: &ResultTopic) -> Result<()> {
        let (table, topic) = (result.table(), &result.topic);
        if !self.store.has_lost_table(NAME, topic, &table).await? {
            return Ok(());
        }
        Err(Error::Position(format!(
            "table results.{} is gone, but rows of {topic} were stored in it, and would be missing in a new one; restore it, or have \
             all stored anew that is still in Kafka: DELETE FROM ops.positions WHERE owner = '{NAME}' AND topic = '{topic}'",
            table.name
        )))
    }

    /// Waits for readers in the way for a minute: each try waits two seconds and lets them by again.
    async fn show_in_view(&self, result: &ResultTopic) -> Result<()> {
        for _ in 0..30 {
            match self.store.show_in_view(&result.table()).await {
                Err(error @ store::Error::TryLater { .. }) => {
                    tracing::warn!(%error, "the view is in use, trying again")
                }
                shown => return Ok(shown?),
            }
        }
        Ok(self.store.show_in_view(&result.table()).await?)
    }

    /// What it has to share: the partitions of all topics that it reads.
    pub(crate) fn sharing(&self) -> Sharing {
        let results = self.results.iter().map(|result| (result.topic.as_str(), result.partitions));
        let outputs = self
            .streams
            .iter()
            .flat_map(|(_, topics)| [(topics.rejected.as_str(), topics.partitions), (topics.progress.as_str(), 1)]);
        let partitions = results
            .chain(outputs)
            .flat_map(|(topic, count)| (0..count).map(move |number| TopicPartition::new(topic, number)));
        Sharing::partitions(self.group.clone(), partitions)
    }

    /// Runs one epoch: claims the positions that are this process's, then stores until the stop switch is thrown, or it is given others. The
    /// last transaction has ended when it returns.
    pub(crate) fn run_epoch(&self, share: &mut Share) -> Result<()> {
        share.run(|own, share| {
            let mut session = Session::open(self, own)?;
            let stored = session.run(share);
            let ended = session.commits.finish();
            stored.and(ended.map(|_| ()))
        })
    }
}

fn note(result: &ResultTopic) -> GenerationNote {
    GenerationNote {
        query: result.query.name.clone(),
        generation: result.generation,
        table: result.name(),
        topic: result.topic.clone(),
        text: result.query.text.clone(),
        is_filling: result.role == Role::Filling,
    }
}

/// One epoch of the stage.
struct Session<'a> {
    stage: &'a StoreStage,
    reader: Reader,
    commits: Commits,
    /// Positions after all batches handed over.
    positions: BTreeMap<TopicPartition, i64>,
    topic_ids: BTreeMap<String, TopicId>,
    results: Vec<ResultReader>,
    held: Held,
    /// The batch that is being filled, and since when.
    pending: BatchBuilder,
    pending_since: Duration,
    swaps: Swaps,
}

impl<'a> Session<'a> {
    fn open(stage: &'a StoreStage, own: &BTreeSet<TopicPartition>) -> Result<Self> {
        let admin = Admin::new(&stage.context.connection)?;
        let options = ReaderOptions { fetch_wait_ms: 100, ..ReaderOptions::default() };
        let mut reader = Reader::new(&stage.context.connection, &options)?;
        let mut claims = Vec::new();
        let mut topic_ids = BTreeMap::new();
        let mut ranges = BTreeMap::new();
        for partition in own {
            let topic = &*partition.topic;
            let id = match topic_ids.get(topic) {
                Some(id) => TopicId::clone(id),
                None => {
                    let missing = || Error::Position(format!("topic {topic} doesn't exist"));
                    let id = admin.topic(topic)?.ok_or_else(missing)?.id;
                    topic_ids.insert(topic.to_owned(), id.clone());
                    id
                }
            };
            let range = reader.range(partition)?;
            ranges.insert(partition.clone(), range);
            // A partition that nothing was stored of begins with the first record that is there.
            claims.push(PositionClaim { partition: partition.clone(), topic_id: Some(id), start: range.0 });
        }
        let tables: Vec<TableSpec> = stage.results.iter().map(ResultTopic::table).collect();
        let writer = stage.runtime.block_on(stage.store.open_writer(NAME, &claims, &tables))?;
        let owned = writer.positions();
        let mut positions = BTreeMap::new();
        let mut assignment = Vec::new();
        let stand = Stand { stage: NAME, done: "stored", accepts_loss: stage.accepts_loss };
        for claim in claims {
            let (offset, range) = match (owned.get(&claim.partition), ranges.get(&claim.partition)) {
                (Some(&offset), Some(&range)) => (offset, range),
                _ => return Err(Error::Internal(format!("{} was claimed and isn't owned", claim.partition))),
            };
            // Until the claim another writer went on, perhaps past the end that was seen before it.
            let range = if offset > range.1 { reader.range(&claim.partition)? } else { range };
            let start = Start::Offset(stand.start(&claim.partition, offset, range)?);
            assignment.push((claim.partition.clone(), start));
            positions.insert(claim.partition, offset);
        }
        reader.assign(&assignment)?;
        let results = stage.results.iter().map(ResultReader::new).collect::<Result<_>>()?;
        stage.context.status.set_stored(&positions, &[], stage.context.clock.now_us());
        tracing::info!(epoch = %writer.epoch(), tables = tables.len(), partitions = own.len(), "the store stage starts");
        Ok(Self {
            stage,
            reader,
            commits: Commits::new(writer, stage.context.clone(), stage.runtime.clone()),
            positions,
            topic_ids,
            results,
            held: Held::default(),
            pending: BatchBuilder::default(),
            pending_since: Duration::ZERO,
            swaps: Swaps::new(stage),
        })
    }

    fn run(&mut self, share: &mut Share) -> Result<()> {
        while !self.stage.context.stop.is_set() && !share.has_changed()? {
            self.step()?;
            self.stage.context.status.step(NAME);
        }
        Ok(())
    }

    fn step(&mut self) -> Result<()> {
        self.swaps.step(self.stage)?;
        self.read()?;
        let outage = outage(&self.reader);
        let trouble = outage.or_else(|| self.commits.trouble()).or_else(|| self.held.trouble());
        self.stage.context.status.set_trouble(NAME, trouble);
        if self.pending.is_empty() {
            return self.commits.poll(Duration::ZERO).map(|_| ());
        }
        let waited = self.stage.context.clock.elapsed().saturating_sub(self.pending_since);
        if !self.pending.has_rows() && waited < PROGRESS_WAIT {
            return self.commits.poll(Duration::ZERO).map(|_| ());
        }
        if self.commits.poll(COMMIT_STEP)? {
            let batch = std::mem::take(&mut self.pending).finish(&mut self.positions, &self.topic_ids)?;
            self.commits.begin(batch, self.positions.clone())?;
        }
        Ok(())
    }

    /// Reads what is there into the pending batch, if it has room.
    fn read(&mut self) -> Result<()> {
        let room = self.pending.room(self.stage.batch_rows);
        if room == 0 {
            return Ok(());
        }
        let wait = if self.pending.has_rows() { Duration::ZERO } else { POLL };
        let blocks = self.reader.poll(room, wait)?;
        if self.pending.is_empty() {
            self.pending_since = self.stage.context.clock.elapsed();
        }
        self.retry_held()?;
        blocks.into_iter().try_for_each(|block| self.add_or_hold(block))
    }

    /// Takes what waited for the registry, once it is time to ask it again.
    fn retry_held(&mut self) -> Result<()> {
        for (partition, blocks) in self.held.take_due(self.stage.context.clock.elapsed()) {
            blocks.into_iter().try_for_each(|block| self.add_or_hold(block))?;
            if !self.held.holds(&partition) {
                self.reader.resume(&[partition])?;
            }
        }
        Ok(())
    }

    /// Adds a block to the pending batch; if the registry has to say what it is and is away, its partition waits.
    fn add_or_hold(&mut self, block: RecordBlock) -> Result<()> {
        let partition = TopicPartition::new(block.topic.clone(), block.partition);
        if !self.held.holds(&partition) {
            match self.add(&block) {
                Err(Error::Schema(error @ SchemaError::Unavailable { .. })) => {
                    tracing::debug!(stage = NAME, %partition, %error, "waiting");
                    self.held.asked_in_vain(self.stage.context.clock.elapsed(), error.to_string());
                }
                added => return added,
            }
        }
        if self.held.hold(partition.clone(), block) {
            self.reader.pause(&[partition])?;
        }
        Ok(())
    }

    fn add(&mut self, block: &RecordBlock) -> Result<()> {
        let builder = &mut self.pending;
        if let Some(result) = self.results.iter_mut().find(|result| *result.topic() == *block.topic) {
            let upserts = result.read(block, &*self.stage.context.schemas)?;
            builder.rows(result.table(), upserts);
        }
        for (stream, topics) in &self.stage.streams {
            if *topics.rejected == *block.topic {
                builder.rejected(rejected::rows(stream, block)?);
            } else if *topics.progress == *block.topic {
                builder.progress(stream, block)?;
            }
        }
        builder.moved(block);
        Ok(())
    }
}
