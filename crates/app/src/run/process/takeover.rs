//! How a new generation of a query takes over: when it has caught up, and when the one before it ends.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka::Reader;
use model::{RecordBlock, TopicPartition};

use super::engine::Engine;
use super::queries::QueryRun;
use super::{ProcessStage, ProcessStream};
use crate::error::Result;
use crate::run::generations::Role;

/// How often the record of generations is read while one waits for its end.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Follows generations that fill, and those that they replace.
#[derive(Debug)]
pub(super) struct Takeover {
    /// What there was when this epoch began: a generation that has taken it is up with the others.
    targets: BTreeMap<TopicPartition, i64>,
    /// Up to where topics have been read.
    read: BTreeMap<TopicPartition, i64>,
    announced: Vec<String>,
    ask_at: Duration,
}

impl Takeover {
    /// `None` when no query changes its generation.
    pub(super) fn new(stage: &ProcessStage, reader: &Reader) -> Result<Option<Self>> {
        if stage.plan.results.iter().all(|result| result.role == Role::Shown) {
            return Ok(None);
        }
        let mut targets = BTreeMap::new();
        for stream in &stage.plan.streams {
            for partition in validated(stream).chain([progress(stream)]) {
                let end = reader.range(&partition)?.1;
                targets.insert(partition, end);
            }
        }
        Ok(Some(Self { targets, read: BTreeMap::new(), announced: Vec::new(), ask_at: Duration::ZERO }))
    }

    /// Notes that a block has been read.
    pub(super) fn read(&mut self, block: &RecordBlock) {
        if let Some(next) = block.next_offset() {
            self.read.insert(TopicPartition::new(block.topic.clone(), block.partition), next);
        }
    }

    /// Whether a filling generation has just caught up. What it has taken must be published before that is announced.
    pub(super) fn is_due(&self, stage: &ProcessStage, engine: &Engine) -> bool {
        engine.queries.iter().any(|query| self.has_caught_up(stage, query, engine))
    }

    fn has_caught_up(&self, stage: &ProcessStage, query: &QueryRun, engine: &Engine) -> bool {
        if query.result.role != Role::Filling || self.announced.contains(&query.result.name()) {
            return false;
        }
        let target = |partition: &TopicPartition| self.targets.get(partition).copied().unwrap_or(0);
        query.inputs.iter().all(|input| {
            let found = stage.plan.streams.iter().find(|stream| stream.name == input.stream);
            let Some(stream) = found else { return false };
            let has_taken =
                validated(stream).zip(&input.taken).all(|(partition, taken)| taken.next_offset >= target(&partition));
            let at = progress(stream);
            let has_heard = self.read.get(&at).copied().unwrap_or(0) >= target(&at);
            // Windows that are over must have been published as final.
            has_taken && has_heard && input.watermark_us >= engine.watermarks.present(&stream.name)
        })
    }

    /// Announces the generations that have caught up, with the ends of their topics now.
    pub(super) fn announce(&mut self, stage: &ProcessStage, engine: &Engine, reader: &Reader) -> Result<()> {
        for query in engine.queries.iter().filter(|query| self.has_caught_up(stage, query, engine)).collect::<Vec<_>>()
        {
            let result = &query.result;
            let mut ends = Vec::new();
            for number in 0..result.partitions {
                ends.push(reader.range(&TopicPartition::new(result.topic.as_str(), number))?.1);
            }
            stage.generations.caught_up(&result.query.name, result.generation, &ends)?;
            tracing::info!(
                query = result.query.name,
                generation = result.generation,
                "the new generation has caught up"
            );
            if !result.query.options.table {
                // Nobody waits for rows of it.
                stage.generations.shown(&result.query.name, result.generation)?;
            }
            self.announced.push(result.name());
        }
        Ok(())
    }

    /// Drops the generations that readers are no longer shown; true if there were any.
    pub(super) fn retire(&mut self, stage: &ProcessStage, queries: &mut Vec<QueryRun>) -> Result<bool> {
        let now = stage.context.clock.elapsed();
        if now < self.ask_at || queries.iter().all(|query| query.result.role == Role::Shown) {
            return Ok(false);
        }
        self.ask_at = now + ASK_EVERY;
        let record = stage.generations.read()?;
        let before = queries.len();
        queries.retain(|query| record.shown_number(&query.result.query.name) <= Some(query.result.generation));
        for query in queries.iter_mut().filter(|query| query.result.role == Role::Filling) {
            let name = &query.result.query.name;
            if record.shown_number(name) == Some(query.result.generation) {
                stage.context.status.set_shown(name, query.result.generation);
                query.result.role = Role::Shown;
            }
        }
        Ok(queries.len() < before)
    }
}

fn validated(stream: &ProcessStream) -> impl Iterator<Item = TopicPartition> + '_ {
    (0..stream.topics.partitions).map(|number| TopicPartition::new(stream.topics.validated.as_str(), number))
}

fn progress(stream: &ProcessStream) -> TopicPartition {
    TopicPartition::new(stream.topics.progress.as_str(), 0)
}
