//! How a new generation of a pattern takes over: when it has caught up, and when the one before it ends.

use std::time::Duration;

use kafka::Reader;
use model::TopicPartition;

use super::{PatternEngine, PatternsStage};
use crate::error::Result;
use crate::run::generations::Role;

/// How often the record of generations is read while one waits for its end.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Follows generations that fill, and those that they replace.
#[derive(Debug)]
pub(super) struct Takeover {
    /// What there was when this epoch began: a generation that has taken it is up with the others.
    targets: Vec<(TopicPartition, i64)>,
    has_announced: bool,
    ask_at: Duration,
}

impl Takeover {
    /// `None` when no pattern of the stage changes its generation.
    pub(super) fn new(stage: &PatternsStage, engine: &PatternEngine, reader: &Reader) -> Result<Option<Self>> {
        if stage.plan.results.iter().all(|result| result.role == Role::Shown) {
            return Ok(None);
        }
        let mut targets = Vec::new();
        for (partition, _) in engine.positions() {
            let end = reader.range(&partition)?.1;
            targets.push((partition, end));
        }
        Ok(Some(Self { targets, has_announced: false, ask_at: Duration::ZERO }))
    }

    /// Whether the generation that the stage fills has just caught up: all its rows are taken, with the watermarks that go with them. What it
    /// has found must be published before that is announced.
    pub(super) fn is_due(&self, stage: &PatternsStage, engine: &PatternEngine) -> bool {
        stage.is_filler()
            && !self.has_announced
            && self.targets.iter().all(|(partition, end)| engine.has_settled(partition, *end))
    }

    /// Announces that it has caught up, with the ends of its topic now.
    pub(super) fn announce(&mut self, stage: &PatternsStage, reader: &Reader) -> Result<()> {
        for result in stage.plan.results.iter().filter(|result| result.role == Role::Filling) {
            let (pattern, generation) = (&result.query.name, result.generation);
            let mut ends = Vec::new();
            for number in 0..result.partitions {
                ends.push(reader.range(&TopicPartition::new(result.topic.as_str(), number))?.1);
            }
            stage.generations.caught_up(pattern, generation, &ends)?;
            tracing::info!(pattern, generation, "the new generation has caught up");
            if !result.query.options.table {
                // Nobody waits for rows of it.
                stage.generations.shown(pattern, generation)?;
            }
        }
        self.has_announced = true;
        Ok(())
    }

    /// Drops the generations that readers are no longer shown. True once nothing is left to wait for.
    pub(super) fn retire(&mut self, stage: &PatternsStage, engine: &mut PatternEngine) -> Result<bool> {
        let now = stage.context.clock.elapsed();
        if now < self.ask_at {
            return Ok(false);
        }
        self.ask_at = now + ASK_EVERY;
        let record = stage.generations.read()?;
        let shown = |name: &str| record.shown_number(name);
        engine.retain(|result| shown(&result.query.name) <= Some(result.generation));
        let mut is_over = true;
        for result in stage.plan.results.iter().filter(|result| result.role != Role::Shown) {
            let name = &result.query.name;
            is_over &= match result.role {
                Role::Filling if shown(name) == Some(result.generation) => {
                    stage.context.status.set_shown(name, result.generation);
                    true
                }
                Role::Filling => false,
                _ => shown(name) > Some(result.generation),
            };
        }
        Ok(is_over)
    }
}
