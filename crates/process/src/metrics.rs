//! What an operator counts. Plain numbers since it was made; whoever exports them adds names and labels.

/// Counters and sizes of one query's operator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Rows pushed.
    pub rows_in: u64,
    /// Rows for which the filter wasn't true.
    pub rows_filtered: u64,
    /// Rows without a partner in an inner join.
    pub rows_unmatched: u64,
    /// Rows whose event time is NULL, which are in no window.
    pub rows_without_time: u64,
    /// Result rows published.
    pub rows_published: u64,
    /// Deletes published.
    pub deletes_published: u64,
    /// Windows that were closed by the watermark and published as final.
    pub windows_closed: u64,
    /// Windows held now.
    pub windows_open: u64,
    /// Groups held now, over all windows.
    pub groups_open: u64,
    /// Bytes of state now.
    pub state_bytes: u64,
}
