//! What a query's state may cost, before it runs.

use sql::Query;

use crate::accumulator;
use crate::error::{Cause, Result};
use crate::window::group_bytes_max;

/// Bytes that one group of a window takes at most, with a key of so many bytes; 0 for a row-by-row query, which keeps nothing.
///
/// # Errors
/// An aggregate that this engine doesn't have.
pub fn bytes_per_group_max(query: &Query, key_bytes: usize) -> Result<usize> {
    let Some(aggregate) = &query.aggregate else { return Ok(0) };
    let accumulators: std::result::Result<Vec<_>, Cause> =
        aggregate.calls.iter().map(accumulator::accumulator).collect();
    let accumulators = accumulators.map_err(|cause| cause.of(&query.name))?;
    Ok(group_bytes_max(key_bytes, &accumulators))
}
