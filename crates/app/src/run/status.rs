//! What the stages of this process know of themselves: for the drain, the health page and the dashboard.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::{Progress, TopicPartition};

/// Shared by all threads of the process. Locked a few times per micro-batch, never per record.
#[derive(Debug, Default)]
pub(crate) struct Status(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Successful steps of each stage: a stage that made one is up.
    steps: BTreeMap<String, u64>,
    trouble: BTreeMap<String, String>,
    validated: BTreeMap<(String, i32), Progress>,
    /// Next validated offset that the process stage takes.
    processed: BTreeMap<TopicPartition, i64>,
    /// Next offset that is stored in PostgreSQL.
    stored: BTreeMap<TopicPartition, i64>,
    /// What the last drain of the process stage covered.
    drained: Option<Drained>,
    drain_wanted: Option<BTreeMap<TopicPartition, i64>>,
}

/// What a drain of the process stage has published.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drained {
    /// The validated offsets that it was asked for.
    pub(crate) up_to: BTreeMap<TopicPartition, i64>,
}

impl Status {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a step of a stage that went well and forgets its trouble.
    pub(crate) fn step(&self, stage: &str) {
        let mut inner = self.lock();
        inner.trouble.remove(stage);
        match inner.steps.get_mut(stage) {
            Some(steps) => *steps += 1,
            None => {
                inner.steps.insert(stage.to_owned(), 1);
            }
        }
    }

    pub(crate) fn steps(&self, stage: &str) -> u64 {
        self.lock().steps.get(stage).copied().unwrap_or(0)
    }

    pub(crate) fn set_trouble(&self, stage: &str, trouble: Option<String>) {
        let mut inner = self.lock();
        match trouble {
            Some(trouble) => inner.trouble.insert(stage.to_owned(), trouble),
            None => inner.trouble.remove(stage),
        };
    }

    /// Stages that wait for something, with what they wait for.
    pub(crate) fn troubles(&self) -> BTreeMap<String, String> {
        self.lock().trouble.clone()
    }

    pub(crate) fn set_validated(&self, stream: &str, progress: Progress) {
        self.lock().validated.insert((stream.to_owned(), progress.partition), progress);
    }

    pub(crate) fn validated(&self, stream: &str) -> Vec<Progress> {
        let inner = self.lock();
        inner.validated.iter().filter(|((name, _), _)| name == stream).map(|(_, progress)| progress.clone()).collect()
    }

    pub(crate) fn set_processed(&self, positions: impl IntoIterator<Item = (TopicPartition, i64)>) {
        self.lock().processed.extend(positions);
    }

    pub(crate) fn processed(&self) -> BTreeMap<TopicPartition, i64> {
        self.lock().processed.clone()
    }

    pub(crate) fn set_stored(&self, positions: BTreeMap<TopicPartition, i64>) {
        self.lock().stored = positions;
    }

    pub(crate) fn stored(&self) -> BTreeMap<TopicPartition, i64> {
        self.lock().stored.clone()
    }

    /// Asks the process stage to publish every window's content once it has taken all validated records below these offsets.
    pub(crate) fn ask_drain(&self, up_to: BTreeMap<TopicPartition, i64>) {
        let mut inner = self.lock();
        inner.drained = None;
        inner.drain_wanted = Some(up_to);
    }

    /// The drain that was asked for and not done yet.
    pub(crate) fn drain_wanted(&self) -> Option<BTreeMap<TopicPartition, i64>> {
        self.lock().drain_wanted.clone()
    }

    pub(crate) fn set_drained(&self, drained: Drained) {
        let mut inner = self.lock();
        inner.drain_wanted = None;
        inner.drained = Some(drained);
    }

    pub(crate) fn drained(&self) -> Option<Drained> {
        self.lock().drained.clone()
    }
}
