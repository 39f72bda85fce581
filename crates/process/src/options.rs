//! Settings of an operator and the positions of a batch.

/// Settings of one query's operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperatorOptions {
    /// Generation of the query, the first part of each version.
    pub generation: u32,
    /// Cap of the state in bytes: windows with their groups, or results that wait. Buffers, bounded by the size of a batch, come on top.
    pub state_bytes_max: usize,
}

impl Default for OperatorOptions {
    fn default() -> Self {
        Self { generation: 1, state_bytes_max: 1 << 30 }
    }
}

/// Where the rows of a batch come from.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Raw partition of all rows.
    pub partition: i32,
    /// Raw offset of each row.
    pub raw_offsets: &'a [i64],
}
