//! Runs a project's tests: the pipeline's own code over a log in memory, with a clock that stands still until it is moved.
//!
//! **In**: a checked project and [`project::testfile::TestCase`]s. **Out**: what didn't come as expected. **Promised**: no broker, registry,
//! PostgreSQL or thread, and the same outcome each time. Validation, encoding, the engine with its watermarks, snapshots and versions are
//! those of `run`; only reading, writing and waiting are replaced.
//!
//! | file | does |
//! | --- | --- |
//! | `source` | which files hold tests, and the projects that they are about |
//! | `log`, `schemas` | topics and a schema registry in memory |
//! | `prepare` | records of a test as a producer would send them |
//! | `validation`, `pipeline`, `patterns` | the stages over the log, with restarts and crashes |
//! | `tables`, `rows` | results merged as the store merges them; Arrow values as cells |
//! | `run` | the steps of a case |
//! | `shuffle` | another order of arrival with the same verdicts |
//! | `compare` | expected rows against actual ones |
//! | `on_spark` | the same queries on Apache Spark |
//! | `report`, `update` | what is shown, and expected rows rewritten |

mod compare;
mod log;
mod on_spark;
mod patterns;
mod pipeline;
mod prepare;
pub(crate) mod report;
mod rows;
mod run;
mod schemas;
mod shuffle;
pub(crate) mod source;
mod tables;
pub(crate) mod update;
mod validation;

pub(crate) use compare::{DiffRow, Failure};
#[cfg(test)]
pub(crate) use log::MemoryLog;
pub(crate) use on_spark::{Compared, OnSpark};
pub(crate) use rows::Row;
pub(crate) use run::{Outcome, run};
#[cfg(test)]
pub(crate) use schemas::MemorySchemas;

/// How tests are run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// Crash and go on wherever a process can crash: amid writes, before and after each checkpoint, between any two steps.
    pub(crate) restart_everywhere: bool,
    /// Let records arrive in another order, drawn with this seed.
    pub(crate) shuffle: Option<u64>,
    /// Into how many pieces each batch is cut; pieces of partitions alternate.
    pub(crate) parallelism: usize,
    /// Keep all groups of windows, sessions, waiting rows and keys of patterns on the disk but those of the batch at hand.
    pub(crate) spill: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { restart_everywhere: false, shuffle: None, parallelism: 1, spill: false }
    }
}
