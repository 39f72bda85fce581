//! What a writer is given: rows, deletes and positions that belong together.

use arrow_array::RecordBatch;
use model::{Progress, RejectReason, TopicId, TopicPartition, Version};

/// Versions of rows of one result.
#[derive(Debug, Clone)]
pub struct Upserts {
    /// Rows, with the columns of the table's schema by name.
    pub rows: RecordBatch,
    /// Version of each row.
    pub versions: Vec<Version>,
    /// Identity columns of deleted rows, by name; may be empty with any schema.
    pub deletes: RecordBatch,
    /// Version of each delete.
    pub delete_versions: Vec<Version>,
}

impl Upserts {
    /// Rows without deletes.
    pub fn rows(rows: RecordBatch, versions: Vec<Version>) -> Self {
        let deletes = RecordBatch::new_empty(rows.schema());
        Self { rows, versions, deletes, delete_versions: Vec::new() }
    }
}

/// A position that moves with the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PositionMove {
    /// Topic and partition that the rows came from.
    pub partition: TopicPartition,
    /// The topic's id, where Kafka has one.
    pub topic_id: Option<TopicId>,
    /// Next offset before the batch: where the writer must stand.
    pub from: i64,
    /// Next offset after the batch.
    pub to: i64,
}

/// A rejected record as it is kept for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRow {
    /// Stream.
    pub stream: String,
    /// Raw partition.
    pub raw_partition: i32,
    /// Raw offset.
    pub raw_offset: i64,
    /// Why.
    pub reason: RejectReason,
    /// Name of the rule, where a rule rejected it.
    pub rule: Option<String>,
    /// What was wrong, for people. NUL characters become U+FFFD; it is cut after [`crate::REJECTED_MESSAGE_BYTES_MAX`].
    pub message: String,
    /// Raw offset of the record that came first, for duplicates and conflicts.
    pub first_offset: Option<i64>,
    /// Raw key; kept when it is at most [`crate::REJECTED_PAYLOAD_BYTES_MAX`] long.
    pub key: Option<Vec<u8>>,
    /// Raw value; kept when it is at most [`crate::REJECTED_PAYLOAD_BYTES_MAX`] long. The topic has all of it.
    pub value: Option<Vec<u8>>,
    /// Kafka's timestamp of the raw record, milliseconds since 1970; `None` or negative if there is none.
    pub raw_timestamp_ms: Option<i64>,
    /// When it was rejected, microseconds since 1970.
    pub rejected_at_us: i64,
}

/// What one transaction stores.
#[derive(Debug, Clone, Default)]
pub struct StoreBatch {
    /// For each result its table's name and its rows. A table may come more than once.
    pub tables: Vec<(String, Upserts)>,
    /// Positions that move. Each partition at most once.
    pub positions: Vec<PositionMove>,
    /// Rejected records; one that is there already is left as it is.
    pub rejected: Vec<RejectedRow>,
    /// Progress of streams' partitions; one that is behind what is there is ignored.
    pub progress: Vec<(String, Progress)>,
}

/// What a transaction did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Rows and deletes in the batch.
    pub rows_given: u64,
    /// Rows that were inserted or replaced; the others were there already or superseded.
    pub rows_changed: u64,
    /// The same for each table, in the order in which the tables were first named in the batch.
    pub tables: Vec<(String, u64)>,
    /// Rejected records that are new.
    pub rejected: u64,
    /// Bytes sent by COPY.
    pub bytes: u64,
}
