//! Windowed aggregation.

mod aggregation;
mod assign;
mod chain;
mod emit;
mod groups;
mod inner;
mod key_table;
mod panes;
mod parts;
mod plan;
mod session;
mod snapshot;
mod spill;
mod table;

pub(crate) use aggregation::WindowAggregation;
pub(crate) use chain::ChainedAggregation;
pub use panes::shares_panes;
pub(crate) use plan::Plan;
pub(crate) use session::SessionAggregation;
pub(crate) use table::group_bytes_max;

/// Layout of a query's section in a snapshot. The first had no groups in doubt, the second had each window in one piece, the third no
/// parts beside it, the fourth no drains in doubt, the fifth all sessions in one piece, the sixth no parts of keys, the
/// seventh rows with NULL in the key of a join apart from the others.
pub(crate) const SNAPSHOT_VERSION: u32 = 8;
