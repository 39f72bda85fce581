//! The registry as a state machine, without HTTP and without Kafka.
//!
//! **In**: events, which are the records of `_schemas` in their order, and commands. **Out**: answers to questions, and for a command either
//! an error or the events that carry it out. A command changes nothing by itself: its events come back through the log like everyone else's.
//!
//! | file | does |
//! | --- | --- |
//! | `keys`, `values` | the records of the topic as bytes and as events |
//! | `subject` | names of subjects and contexts |
//! | `state` | what holds after the events so far |
//! | `content` | one schema text with its references: its identity, its parsed form |
//! | `query` | answers to questions |
//! | `register`, `delete`, `settings` | decide commands |
//! | `compatibility` | the check of a new schema against those before it |

pub mod compatibility;
pub mod content;
pub mod delete;
pub mod keys;
pub mod query;
pub mod register;
pub mod settings;
pub mod state;
pub mod subject;
pub mod values;

pub use register::{Request, prepare};
pub use state::State;
pub use values::Event;

/// What a command comes to: the events that carry it out, in order, and what is answered once they are in the log.
/// No events: what was asked for holds already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<T> {
    /// Events to write.
    pub events: Vec<Event>,
    /// Answer.
    pub reply: T,
}

impl<T> Decision<T> {
    /// A decision that writes nothing.
    pub fn nothing(reply: T) -> Self {
        Self { events: Vec::new(), reply }
    }
}

#[cfg(test)]
mod tests;
