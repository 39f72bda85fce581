//! Windowed aggregation.

mod aggregation;
mod assign;
mod emit;
mod groups;
mod snapshot;
mod table;

pub(crate) use aggregation::WindowAggregation;
pub(crate) use table::group_bytes_max;
