//! Result records whose schema can't be looked up while the registry is away: their partitions wait, all others go on.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use model::{RecordBlock, TopicPartition};

/// How long the registry is left alone before it is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The blocks of the partitions that wait, each partition's in their order.
#[derive(Debug, Default)]
pub(crate) struct Held {
    blocks: BTreeMap<TopicPartition, VecDeque<RecordBlock>>,
    ask_again_at: Duration,
    trouble: Option<String>,
}

impl Held {
    /// Whether blocks of the partition wait; a later one must then wait behind them.
    pub(crate) fn holds(&self, partition: &TopicPartition) -> bool {
        self.blocks.contains_key(partition)
    }

    /// Lets a block wait; whether it is the first of its partition.
    pub(crate) fn hold(&mut self, partition: TopicPartition, block: RecordBlock) -> bool {
        let waiting = self.blocks.entry(partition).or_default();
        waiting.push_back(block);
        waiting.len() == 1
    }

    /// Notes at what time of the clock the registry was asked in vain, and what was seen.
    pub(crate) fn asked_in_vain(&mut self, now: Duration, trouble: String) {
        self.ask_again_at = now + ASK_AGAIN;
        self.trouble = Some(trouble);
    }

    /// What people should be told while something waits.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.clone().filter(|_| !self.blocks.is_empty())
    }

    /// What waits, once it is time to ask again; nothing is held then.
    pub(crate) fn take_due(&mut self, now: Duration) -> BTreeMap<TopicPartition, VecDeque<RecordBlock>> {
        if now < self.ask_again_at { BTreeMap::new() } else { std::mem::take(&mut self.blocks) }
    }
}
