//! What tests need: the real peers that the test run started, names that no other test uses, and processes under control.
//!
//! `./dev test` starts one Apache Kafka, one PostgreSQL and one Apache Spark for the whole run and tells their addresses in the environment;
//! `./dev services` and `./dev spark` do the same for a developer's own runs. A test that finds neither fails: it never skips and never mocks.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "this crate serves tests alone, where a panic is the report"
)]

pub mod disk;
pub mod kafka;
pub mod names;
pub mod own;
pub mod postgres;
pub mod process;
pub mod project;
pub mod python;
pub mod random;
pub mod spark;
pub mod wait;

pub use names::{free_port, unique_name};
pub use wait::wait_for;

use std::path::PathBuf;

/// The address that the test run set under `variable`, or that `./dev services` left in its state file.
fn service_address(variable: &str) -> String {
    if let Ok(address) = std::env::var(variable) {
        return address;
    }
    ["services", "spark"]
        .into_iter()
        .filter_map(|folder| std::fs::read_to_string(cache_dir().join(folder).join("environment")).ok())
        .find_map(|text| text.lines().find_map(|line| line.strip_prefix(&format!("{variable}=")).map(str::to_owned)))
        .unwrap_or_else(|| {
            panic!(
                "{variable} is not set: run the tests by `./dev test`, or start the peers with `./dev services start` and `./dev spark start`"
            )
        })
}

/// Where the project keeps what outlives a checkout: build artifacts, jars, service data.
pub fn cache_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("TILLSTREAM_CACHE") {
        return PathBuf::from(dir);
    }
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    base.unwrap_or_else(std::env::temp_dir).join("tillstream")
}
