//! Windowed aggregation.

mod aggregation;
mod assign;
mod emit;
mod groups;
mod key_table;
mod parts;
mod plan;
mod session;
mod snapshot;
mod spill;
mod table;

pub(crate) use aggregation::WindowAggregation;
pub(crate) use plan::Plan;
pub(crate) use session::SessionAggregation;
pub(crate) use table::group_bytes_max;
