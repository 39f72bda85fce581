//! What the app reports about the parts of a pipeline. Counters count since the start of the process and only grow.

use std::collections::BTreeMap;

/// Result rows that are kept of each query.
pub(crate) const ROWS_MAX: usize = 30;
/// Columns that are kept of each result row.
pub(crate) const COLUMNS_MAX: usize = 16;
/// Characters that are kept of each text.
pub(crate) const TEXT_CHARACTERS_MAX: usize = 200;

/// A stream: its raw topic and what validation made of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamNumbers {
    /// Sum of the raw topic's end offsets over the partitions that this process validates.
    pub raw_end: u64,
    /// Sum of the offsets that validation has finished. The lag is `raw_end` less this.
    pub raw_done: u64,
    /// Records that were accepted.
    pub validated: u64,
    /// Records that were rejected, by the name of the reason (`model::RejectReason::name`).
    pub rejected: BTreeMap<String, u64>,
    /// The stream's watermark in microseconds since 1970: no accepted record will be older. None before the first.
    pub watermark_us: Option<i64>,
    /// The partitions that this process validates, in order.
    pub partitions: Vec<PartitionNumbers>,
}

impl StreamNumbers {
    /// Records that wait for a verdict.
    pub fn lag(&self) -> u64 {
        self.raw_end.saturating_sub(self.raw_done)
    }

    /// The numbers of its partitions.
    pub(crate) fn partition_numbers(&self) -> impl Iterator<Item = i32> {
        self.partitions.iter().map(|of| of.partition)
    }

    /// Records that were rejected, whatever the reason.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.values().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

/// A partition of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartitionNumbers {
    /// Its number.
    pub partition: i32,
    /// Its watermark in microseconds since 1970, if it has one.
    pub watermark_us: Option<i64>,
    /// Whether it has been without records for so long that it no longer holds the stream's watermark back.
    pub idle: bool,
}

/// A query: what it holds and what it has published.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryNumbers {
    /// Result rows sent to the result topic.
    pub rows_published: u64,
    /// Windows that are open now.
    pub windows_open: u64,
    /// Groups that are open now, over all windows.
    pub groups_open: u64,
    /// Bytes of its state.
    pub state_bytes: u64,
    /// Bytes of state on the disk.
    pub spilled_bytes: u64,
    /// Rows that PostgreSQL has acknowledged.
    pub stored_rows: u64,
    /// Times that a pattern gave up rows at one of its caps; 0 for a query.
    pub limits_reached: u64,
    /// The newest result rows to show, the newest first: a label (its window and key), and the columns with their values as text.
    /// Only the first 30 rows, 16 columns and 200 characters of a text are kept.
    pub latest: Vec<(String, Vec<(String, String)>)>,
    /// The last micro-batch, for a query that Apache Spark runs.
    pub batch: Option<BatchNumbers>,
}

/// A micro-batch of a query on Apache Spark.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct BatchNumbers {
    /// Its number.
    pub number: u64,
    /// Records that it processed a second.
    pub input_per_second: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Spark's own watermark in microseconds since 1970, once it has one.
    pub watermark_us: Option<i64>,
    /// Rows of state.
    pub state_rows: u64,
}

impl QueryNumbers {
    /// Cuts what is shown down to its caps, so that wide results can't fill memory or the page.
    pub(crate) fn capped(mut self) -> Self {
        self.latest.truncate(ROWS_MAX);
        for (label, columns) in &mut self.latest {
            cap(label);
            columns.truncate(COLUMNS_MAX);
            for (column, value) in columns {
                cap(column);
                cap(value);
            }
        }
        self
    }
}

/// A stage: a part of the pipeline with its own threads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StageNumbers {
    /// Steps it has finished: polls, batches, commits.
    pub steps: u64,
    /// What it waits for, as a half sentence ("waiting for kafka: connection refused"); None while it works.
    pub trouble: Option<String>,
    /// What of it is this process's, for a stage that processes share; None for a part that isn't shared.
    pub share: Option<ShareNumbers>,
}

/// What of a stage is a process's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShareNumbers {
    /// Partitions that this process has.
    pub partitions: u64,
    /// Partitions that there are.
    pub of: u64,
    /// Which they are, as a half sentence ("has 2 of 4 partitions: orders.raw 0, 2"); empty where no other process may have some.
    pub text: String,
}

/// Cuts `text` to the cap, with an ellipsis.
pub(crate) fn cap(text: &mut String) {
    if let Some((at, _)) = text.char_indices().nth(TEXT_CHARACTERS_MAX) {
        text.truncate(at);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_results_are_cut() {
        let row = ("é".repeat(500), vec![("column".to_owned(), "ü".repeat(201)); 40]);
        let capped = QueryNumbers { latest: vec![row; 100], ..QueryNumbers::default() }.capped();
        assert_eq!(capped.latest.len(), ROWS_MAX);
        let (label, columns) = &capped.latest[0];
        assert_eq!(label.chars().count(), TEXT_CHARACTERS_MAX + 1);
        assert_eq!(columns.len(), COLUMNS_MAX);
        assert!(columns[0].1.ends_with("ü…"));
    }

    #[test]
    fn a_lag_is_never_negative() {
        let ahead = StreamNumbers { raw_end: 5, raw_done: 7, ..StreamNumbers::default() };
        assert_eq!(ahead.lag(), 0);
    }
}
