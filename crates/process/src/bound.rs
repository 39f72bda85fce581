//! What a query's state may cost, before it runs.

use sql::Aggregate;

use crate::accumulator;
use crate::error::{Cause, Result};
use crate::stream_join::ROW_BYTES;
use crate::window::group_bytes_max;

/// Bytes that a row takes while it waits for a partner of another stream, besides its columns and twice its key.
pub const WAITING_ROW_BYTES: usize = ROW_BYTES;

/// Bytes that one group of a window takes at most, with a key of so many bytes, in a grouping of this query.
///
/// # Errors
/// An aggregate that this engine doesn't have.
pub fn bytes_per_group_max(query: &str, aggregate: &Aggregate, key_bytes: usize) -> Result<usize> {
    let accumulators: std::result::Result<Vec<_>, Cause> =
        aggregate.calls.iter().map(accumulator::accumulator).collect();
    let accumulators = accumulators.map_err(|cause| cause.of(query))?;
    Ok(group_bytes_max(key_bytes, &accumulators))
}
