//! Streaming SQL: accepted rows in, results with versions out.
//!
//! **In:** batches of a stream's accepted rows with their raw positions ([`QueryOperator::push`]), watermarks
//! ([`QueryOperator::advance`]), reference tables. **Out:** [`Emission`]s: result rows, deletes, and the version of each.
//!
//! **Promised:**
//! - A state machine without I/O, clock or thread: the same calls give the same results.
//! - A window's last version equals a batch computation over all rows pushed into it, whatever the batches, and whatever restarts from
//!   [`QueryOperator::snapshot`]s lie between (sums of floating-point numbers up to rounding).
//! - Versions of a result ascend; nothing that is unchanged is published twice, except that its finality is.
//! - No row is dropped in silence: a row for a window that is closed is an error, and what SQL itself leaves out (a filter, an inner join
//!   without partner, a NULL event time) is counted in [`Metrics`].
//! - State is bounded: groups of windows, and keys of sessions, joins of two streams and patterns, go to the disk where they don't fit into
//!   memory, and change nothing by that. Without a disk, for results that wait and for the pairs of one batch, a push over
//!   `state_bytes_max` is refused before it changes anything.
//!
//! A call that returns an error other than [`Cause::StateFull`] leaves the operator unusable: start again from the last snapshot.
//!
//! | file | does |
//! | --- | --- |
//! | `options`, `error`, `metrics` | settings, failures, counters |
//! | `bound` | what a query's state may cost, before it runs |
//! | `operator` | the parts of one query put together |
//! | `reference/` | reference tables, the join with them, and the log of their versions |
//! | `cold/*` | keys on the disk, and back, when a row comes or something is due |
//! | `stream_join/*` | joins of two streams: rows that wait for partners, pairs |
//! | `rows` | joins and filter; row-by-row results |
//! | `keys` | rows' keys as bytes with their hashes |
//! | `growth` | how vectors of state grow |
//! | `place` | where a row stands: event time, partition, offset |
//! | `window/assign` | which windows a row is in |
//! | `window/groups` | the groups of one batch |
//! | `window/key_table` | keys numbered, and found by their hashes |
//! | `window/table` | the groups of one window with their state |
//! | `window/spill/*` | groups on the disk, and back |
//! | `window/plan` | keys, aggregates and result columns of a query |
//! | `window/aggregation` | folds batches into windows |
//! | `window/panes/*` | hopping windows put together from panes that they share |
//! | `window/chain`, `window/inner` | windows over windows |
//! | `window/emit` | what is published when |
//! | `window/snapshot`, `window/parts` | state out and in, that of many groups in parts |
//! | `window/session/*` | sessions: what belongs together by time, their state, what is published and deleted |
//! | `pattern/*` | rows of one partition matched with a row pattern |
//! | `accumulator/*` | the aggregates over columns, a file for each kind of state |

mod accumulator;
mod bound;
mod cold;
mod emission;
mod error;
mod growth;
mod keys;
mod metrics;
mod operator;
mod options;
mod pattern;
mod place;
mod reference;
mod rows;
mod stream_join;
mod window;

pub use bound::{WAITING_ROW_BYTES, bytes_per_group_max};
pub use emission::Emission;
pub use error::{Cause, Error, ReferenceError, Result};
pub use metrics::Metrics;
pub use operator::QueryOperator;
pub use options::{OperatorOptions, Source, Spill};
pub use pattern::{LimitEvent, LimitReason, PatternOperator, PatternOptions};
pub use reference::ReferenceData;
pub use reference::content::{in_key_order, read_rows, row_order, write_rows};
pub use reference::log::{LoggedVersion, ReferenceLog, beyond_doubt};
pub use reference::validity::Validity;
pub use window::shares_panes;
