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
    /// Matches of a pattern, whether or not WHERE keeps them.
    pub matches: u64,
    /// Times that a pattern gave up rows of a key at one of its caps.
    pub limits_reached: u64,
    /// Windows held now.
    pub windows_open: u64,
    /// Groups held now, over all windows; keys of a pattern.
    pub groups_open: u64,
    /// Bytes of state in memory now.
    pub state_bytes: u64,
    /// Groups and sessions that are on the disk now, and keys of joins and patterns.
    pub groups_spilled: u64,
    /// Bytes of their files.
    pub spilled_bytes: u64,
}

impl Metrics {
    /// Both together, such as those of the partitions of a pattern.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            rows_in: self.rows_in + other.rows_in,
            rows_filtered: self.rows_filtered + other.rows_filtered,
            rows_unmatched: self.rows_unmatched + other.rows_unmatched,
            rows_without_time: self.rows_without_time + other.rows_without_time,
            rows_published: self.rows_published + other.rows_published,
            deletes_published: self.deletes_published + other.deletes_published,
            windows_closed: self.windows_closed + other.windows_closed,
            matches: self.matches + other.matches,
            limits_reached: self.limits_reached + other.limits_reached,
            windows_open: self.windows_open + other.windows_open,
            groups_open: self.groups_open + other.groups_open,
            state_bytes: self.state_bytes + other.state_bytes,
            groups_spilled: self.groups_spilled + other.groups_spilled,
            spilled_bytes: self.spilled_bytes + other.spilled_bytes,
        }
    }
}
