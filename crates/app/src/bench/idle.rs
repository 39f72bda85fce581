//! Memory at rest, and the time from `tillstream up` to the first row on a warm data directory.

use std::time::Duration;

use model::{Clock as _, SystemClock};
use serde::Serialize;
use store::{Store, StoreOptions};
use tokio::runtime::Runtime;

use super::child::Running;
use super::example::{Example, Queries};
use super::{Plan, machine};
use crate::cli::runtime;
use crate::error::{Error, Result};

/// How long the process rests before it is looked at, and over which its processor time is counted.
const REST: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(5);
const ROW_TIMEOUT: Duration = Duration::from_secs(60);
/// An `emit: changes` query, and so a table that gets rows while its windows are open.
const TABLE: &str = "spend_by_category";
const RATE: &str = "3000";

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Idle {
    /// Resident memory of the process, without PostgreSQL, after resting.
    pub(crate) resident_bytes: u64,
    /// The highest since its start.
    pub(crate) resident_bytes_max: u64,
    /// Processor time per second while it rests, without PostgreSQL.
    pub(crate) cores: f64,
    /// From the start of the process until everything is up.
    pub(crate) up_s: f64,
    /// From the start of the process, with a generator, until another session sees the first row written since.
    pub(crate) first_row_s: f64,
}

/// Measures on a data directory that an earlier run has left.
pub(crate) fn measure(plan: &Plan) -> Result<Idle> {
    eprintln!("idle: memory at rest, and the time to the first row");
    let example = Example::new(plan, Queries::All)?;
    let runtime = runtime()?;
    let warming = Running::start(&example, &["--generate", RATE])?;
    first_row(&runtime, &warming.database_url()?, 0)?;
    std::thread::sleep(Duration::from_secs(2));
    warming.stop()?;

    let resting = Running::start(&example, &[])?;
    resting.database_url()?;
    std::thread::sleep(REST);
    let id = resting.id().to_string();
    let before = machine::cpu_time(&id);
    let (resident_bytes, resident_bytes_max) = machine::resident_bytes(&id);
    std::thread::sleep(REST);
    let cores = machine::cpu_time(&id).saturating_sub(before).as_secs_f64() / REST.as_secs_f64();
    resting.stop()?;

    let clock = SystemClock::new();
    let started_us = clock.now_us();
    let starting = Running::start(&example, &["--generate", RATE])?;
    let url = starting.database_url()?;
    let up_s = clock.elapsed().as_secs_f64();
    first_row(&runtime, &url, started_us)?;
    let first_row_s = clock.elapsed().as_secs_f64();
    starting.stop()?;
    Ok(Idle { resident_bytes, resident_bytes_max, cores, up_s, first_row_s })
}

/// Waits for a row that was written since a time, microseconds since 1970.
fn first_row(runtime: &Runtime, url: &str, since_us: i64) -> Result<()> {
    let options =
        StoreOptions { pool_size: 1, application_name: "tillstream bench".to_owned(), ..StoreOptions::default() };
    let internal = |error: &dyn std::fmt::Display| Error::Internal(format!("looking for the first row: {error}"));
    let query =
        format!("SELECT 1 FROM results.{TABLE} WHERE updated_at >= to_timestamp($1::bigint / 1000000.0) LIMIT 1");
    let clock = SystemClock::new();
    runtime.block_on(async {
        let store = Store::connect(url, options).await?;
        let client = store.client().await?;
        let query = client.prepare_cached(&query).await.map_err(|error| internal(&error))?;
        while clock.elapsed() < ROW_TIMEOUT {
            if client.query_opt(&query, &[&since_us]).await.map_err(|error| internal(&error))?.is_some() {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Err(Error::Unavailable(format!("no row came into {TABLE} within {} s", ROW_TIMEOUT.as_secs())))
    })
}
