//! Measuring the whole pipeline on a throw-away copy of `examples/payments`, with every system real.
//!
//! In: what to measure. Out: a report with the machine, the settings, the figures, and whether each floor is met. Nothing of a user's
//! project is touched: data lies in a directory of its own, which is removed at the end, and all ports are free ones.
//!
//! | file | does |
//! | --- | --- |
//! | `example` | the throw-away copy, and the systems for it |
//! | `latency` | open loop: from a payment's intended time of sending until another PostgreSQL session sees its row |
//! | `hops` | where that time went |
//! | `throughput` | a preloaded raw topic through to PostgreSQL |
//! | `idle` | memory at rest, and the time from `tillstream up` to the first row |
//! | `child` | the own binary as a process of its own |
//! | `machine` | what it was measured on |
//! | `report` | floors, and the report as text |

mod child;
mod example;
mod hops;
mod idle;
mod latency;
mod machine;
mod report;
mod throughput;

use std::path::PathBuf;

use serde::Serialize;

use crate::error::Result;
pub(crate) use idle::Idle;
pub(crate) use latency::{Latency, LatencyOptions};
pub(crate) use machine::Machine;
pub(crate) use report::{Floor, as_text, floors};
pub(crate) use throughput::{Throughput, ThroughputOptions};

/// What to measure, and where.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    /// Directory in which the throw-away copies are made; in the user's cache if `None`.
    pub(crate) directory: Option<PathBuf>,
    /// Settings to override, as `--set` does.
    pub(crate) sets: Vec<(String, String)>,
    pub(crate) latency: Option<LatencyOptions>,
    pub(crate) throughput: Option<ThroughputOptions>,
    pub(crate) idle: bool,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    /// Settings that decide the figures.
    pub(crate) settings: Settings,
    /// 1, 5 and 15 minute load before the first measurement: other work on the machine.
    pub(crate) load_average_before: Vec<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency: Option<Latency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) throughput: Option<Throughput>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) idle: Option<Idle>,
    pub(crate) floors: Vec<Floor>,
}

/// The settings that decide the figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Settings {
    /// Cargo profile, and whether debug assertions are on.
    pub(crate) build: String,
    /// When the embedded broker brings records to the disk.
    pub(crate) broker_flush: String,
    /// Whether a PostgreSQL commit waits for the disk.
    pub(crate) synchronous_commit: bool,
    pub(crate) batch_interval: String,
    pub(crate) checkpoint_interval: String,
    /// Rows in one transaction at most.
    pub(crate) batch_rows: u32,
    pub(crate) partitions: i32,
}

/// Measures what the plan names, one after the other.
pub(crate) fn run(plan: &Plan) -> Result<Report> {
    let load_average_before = machine::load_average();
    let settings = example::Example::new(plan, example::Queries::All)?.settings()?;
    let latency = plan.latency.as_ref().map(|options| latency::measure(plan, options)).transpose()?;
    let throughput = plan.throughput.as_ref().map(|options| throughput::measure(plan, options)).transpose()?;
    let idle = plan.idle.then(|| idle::measure(plan)).transpose()?;
    let mut report = Report {
        machine: Machine::here(),
        settings,
        load_average_before,
        latency,
        throughput,
        idle,
        floors: Vec::new(),
    };
    report.floors = floors(&report);
    Ok(report)
}
