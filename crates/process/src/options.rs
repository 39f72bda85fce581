//! Settings of an operator and the positions of a batch.

use std::path::Path;
use std::sync::Arc;

/// Settings of one query's operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorOptions {
    /// Generation of the query, the first part of each version.
    pub generation: u32,
    /// Cap of the state in bytes: windows with their groups, or results that wait. Buffers, bounded by the size of a batch, come on top.
    pub state_bytes_max: usize,
    /// Moves state to the disk; `None` refuses a batch that doesn't fit instead.
    pub spill: Option<Spill>,
    /// Groups of windows, or sessions or rows of a join in memory, from which on a snapshot has them in parts, so that it needn't hold everything
    /// each time.
    pub parts_from_groups: usize,
}

/// Where state goes that doesn't fit into memory, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spill {
    /// Directory of the files, made when it is needed. Nothing has a name in it, so nothing is left over, however the process ends.
    pub directory: Arc<Path>,
    /// Bytes of memory past which it is moved. What one batch needs of one window, or of keys, may come on top.
    pub bytes_max: usize,
}

impl Default for OperatorOptions {
    fn default() -> Self {
        Self { generation: 1, state_bytes_max: 1 << 30, spill: None, parts_from_groups: 50_000 }
    }
}

/// Where the rows of a batch come from.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Name of the stream.
    pub stream: &'a str,
    /// Raw partition of all rows.
    pub partition: i32,
    /// Raw offset of each row.
    pub raw_offsets: &'a [i64],
}
