//! The caps that keep memory bounded. Settings may lower them.

/// Largest record value that validation decodes; a larger one is rejected as `too_large`.
pub const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Deepest nesting of a schema or a value.
pub const NESTING_DEPTH_MAX: usize = 64;
/// Records in one micro-batch while draining.
pub const BATCH_RECORDS_MAX: usize = 65_536;
/// Bytes of records in one micro-batch.
pub const BATCH_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Longest SQL text of a query or rule.
pub const SQL_BYTES_MAX: usize = 256 * 1024;
/// Columns of a stream or a result.
pub const COLUMNS_MAX: usize = 1_000;
