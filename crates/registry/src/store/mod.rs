//! Where the events are kept, and the view that follows them.
//!
//! # Writing without a leader
//! Confluent elects one writer through a group protocol. Here each record carries, in the header `ts.registry.expected`, the offset that its
//! writer expected it to get: the end of the log when the command was decided. A record that landed later was overtaken by someone else's, and
//! every reader leaves it out. Its writer sees that, and decides again on what now holds. So the log's own order is the lock, with any Kafka, any
//! number of servers and no time-outs. The header names the cluster, so that the records of a topic that was copied elsewhere still count.
//!
//! A record that does not count may still be the last one of its key, and compaction would then drop the one that does. So whoever writes next
//! writes such keys again first.

pub(crate) mod kafka;
mod memory;
mod topic;
mod view;

use std::sync::{Arc, RwLock};

use crate::error::Error;
use crate::machine::{Event, State};
use crate::options::{Options, Storage};
pub use kafka::StorageError;
pub(crate) use view::View;

/// What came of writing events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Appended {
    /// They are in the log, and the view has them.
    Done,
    /// Someone else wrote first, so they don't count (all of them, or those after the first ones). The view has what was written.
    Overtaken,
}

/// The log of events with the view that follows it.
#[derive(Debug)]
pub(crate) enum Store {
    Memory(memory::MemoryStore),
    Kafka(kafka::KafkaStore),
}

impl Store {
    /// Opens the storage and replays what is in it. Blocks; not to be called on a runtime's thread.
    pub(crate) fn open(options: &Options) -> Result<Self, StorageError> {
        match &options.storage {
            Storage::Memory => Ok(Self::Memory(memory::MemoryStore::new(options.default_level))),
            Storage::Kafka(storage) => kafka::KafkaStore::open(storage, options.default_level).map(Self::Kafka),
        }
    }

    fn view(&self) -> &Arc<RwLock<View>> {
        match self {
            Self::Memory(store) => store.view(),
            Self::Kafka(store) => store.view(),
        }
    }

    /// Asks the state something, together with the offset that it stands at. It must be quick, and must not ask again inside.
    pub(crate) fn read<T>(&self, ask: impl FnOnce(&State, i64) -> T) -> T {
        let view = self.view().read().unwrap_or_else(std::sync::PoisonError::into_inner);
        ask(&view.state, view.next_offset)
    }

    /// Waits until the view has everything that was written before this call, by anyone.
    pub(crate) async fn catch_up(&self) -> Result<(), Error> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Kafka(store) => store.catch_up().await,
        }
    }

    /// Writes events that were decided on the state at offset `expected`, and waits until the view has them.
    pub(crate) async fn append(&self, events: Vec<Event>, expected: i64) -> Result<Appended, Error> {
        match self {
            Self::Memory(store) => Ok(store.append(&events, expected)),
            Self::Kafka(store) => store.append(events, expected).await,
        }
    }

    /// Why the registry can't be trusted to be up to date, if so.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.view().read().unwrap_or_else(std::sync::PoisonError::into_inner).trouble.clone()
    }

    /// Ends the store's threads. Blocks for a moment.
    pub(crate) fn close(&self) {
        if let Self::Kafka(store) = self {
            store.close();
        }
    }
}
