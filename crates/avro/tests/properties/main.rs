//! Properties of the codec over random schemas and rows: round trips, agreement with apache-avro, damage.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod corruption;
mod differential;
mod round_trip;
mod tables;
