//! The log in memory: events are applied and forgotten.

use std::sync::{Arc, PoisonError, RwLock};

use avro::compatibility::Level;

use super::{Appended, View};
use crate::machine::Event;

#[derive(Debug)]
pub(crate) struct MemoryStore {
    view: Arc<RwLock<View>>,
}

impl MemoryStore {
    pub(crate) fn new(default_level: Level) -> Self {
        Self { view: Arc::new(RwLock::new(View::new(default_level, String::new()))) }
    }

    pub(super) fn view(&self) -> &Arc<RwLock<View>> {
        &self.view
    }

    /// The same rule as with Kafka: a decision on an older state does not count.
    pub(super) fn append(&self, events: &[Event], expected: i64) -> Appended {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        if view.next_offset != expected {
            return Appended::Overtaken;
        }
        for event in events {
            view.apply(event);
        }
        Appended::Done
    }
}
