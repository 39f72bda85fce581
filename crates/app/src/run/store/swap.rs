//! Swapping a query's view to a new generation once all is stored that its topic held when it had caught up, by whichever process sees that
//! first. Where several do, the later ones find it done.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Classified as _, Retry, TopicPartition};

use super::{NAME, StoreStage};
use crate::error::{Error, Result};
use crate::run::generations::Role;
use crate::run::results::ResultTopic;

/// How often the record of generations is read while there is something to swap.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// How long a swap that PostgreSQL refused is left alone.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);
/// How long one that failed is, such as while a reader's transaction holds the view.
const FAILED_PAUSE: Duration = Duration::from_secs(5);

/// The generations whose views are still to be swapped.
#[derive(Debug)]
pub(super) struct Swaps {
    waiting: Vec<Waiting>,
    ask_at: Duration,
}

#[derive(Debug)]
struct Waiting {
    result: ResultTopic,
    not_before: Duration,
}

impl Swaps {
    pub(super) fn new(stage: &StoreStage) -> Self {
        let filling = stage.results.iter().filter(|result| result.role == Role::Filling);
        let waiting = filling.map(|result| Waiting { result: result.clone(), not_before: Duration::ZERO }).collect();
        Self { waiting, ask_at: Duration::ZERO }
    }

    /// Swaps what is due. Done again after a crash at any point, it comes to the same.
    pub(super) fn step(&mut self, stage: &StoreStage) -> Result<()> {
        let now = stage.context.clock.elapsed();
        if self.waiting.is_empty() || now < self.ask_at {
            return Ok(());
        }
        self.ask_at = now + ASK_EVERY;
        let record = stage.generations.read()?;
        let is_over =
            |waiting: &Waiting| record.shown_number(&waiting.result.query.name) >= Some(waiting.result.generation);
        self.waiting.retain(|waiting| !is_over(waiting));
        let positions = self.stored(stage)?;
        for mut waiting in std::mem::take(&mut self.waiting) {
            let result = &waiting.result;
            let ends = record.caught_up_at(&result.query.name, result.generation);
            if now >= waiting.not_before && ends.is_some_and(|ends| is_stored(&result.topic, ends, &positions)) {
                match swap(stage, result)? {
                    None => continue,
                    Some(pause) => waiting.not_before = now + pause,
                }
            }
            self.waiting.push(waiting);
        }
        Ok(())
    }
}

impl Swaps {
    /// What all processes have stored; asked for only while something has been filled.
    fn stored(&self, stage: &StoreStage) -> Result<BTreeMap<TopicPartition, i64>> {
        if self.waiting.is_empty() {
            return Ok(BTreeMap::new());
        }
        let stored = stage.runtime.block_on(stage.store.positions(NAME))?;
        Ok(stored.into_iter().map(|position| (position.partition, position.next_offset)).collect())
    }
}

/// Lets the view show the generation. Gives how long to leave it alone if PostgreSQL refuses since others need the view as it is, or if that
/// can't be done at present: rows are stored meanwhile.
fn swap(stage: &StoreStage, result: &ResultTopic) -> Result<Option<Duration>> {
    let (query, generation) = (&result.query.name, result.generation);
    let swapped = stage.runtime.block_on(stage.store.show_in_view(&result.table())).map_err(Error::from);
    match swapped.and_then(|()| stage.generations.shown(query, generation)) {
        Ok(()) => {
            stage.context.status.set_refused_view(query, false);
            tracing::info!(query, generation, "the view shows the new generation");
            Ok(None)
        }
        Err(Error::Store(error @ store::Error::TableDiffers { .. })) => {
            tracing::warn!(query, generation, %error, "the view stays with the generation before, which goes on");
            stage.context.status.set_refused_view(query, true);
            Ok(Some(REFUSED_PAUSE))
        }
        Err(error) if error.retry() == Retry::Never => Err(error),
        Err(error) => {
            tracing::warn!(query, generation, %error, "the view can't show the new generation yet");
            Ok(Some(FAILED_PAUSE))
        }
    }
}

fn is_stored(topic: &str, ends: &[i64], positions: &BTreeMap<TopicPartition, i64>) -> bool {
    (0..).zip(ends).all(|(number, &end)| {
        positions.get(&TopicPartition::new(topic, number)).is_some_and(|&position| position >= end)
    })
}
