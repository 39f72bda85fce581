//! What is shown of a run of tests: for people, as JSON, and as JUnit's XML for build servers.

mod json;
mod junit;
mod text;

use std::time::Duration;

use crate::harness::Outcome;

pub(crate) use json::json;
pub(crate) use junit::junit;
pub(crate) use text::text;

/// A case that was run.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The file as the user would type it.
    pub(crate) file: String,
    /// Line of the case.
    pub(crate) line: usize,
    pub(crate) name: String,
    pub(crate) took: Duration,
    pub(crate) outcome: Outcome,
}

impl Ran {
    pub(crate) fn has_passed(&self) -> bool {
        self.outcome.error.is_none() && self.outcome.failures.is_empty()
    }
}
