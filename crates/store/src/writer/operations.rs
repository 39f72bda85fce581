//! Rejected records and progress on their way into `ops`.

use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use chrono::{DateTime, Utc};
use model::Progress;
use tokio_postgres::Client;

use super::staging::{RejectedStaging, column_error, copy_rows};
use crate::batch::RejectedRow;
use crate::column::ColumnType;
use crate::copy::{Cells, Rows};
use crate::error::{Error, Result};

/// Longest key or value of a rejected record that is kept in PostgreSQL.
pub const REJECTED_PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// Longest message of a rejected record that is kept in PostgreSQL.
pub const REJECTED_MESSAGE_BYTES_MAX: usize = 8 * 1024;

pub(super) const CREATE_STAGING: &str = "CREATE TEMPORARY TABLE staging_rejected (stream text, raw_partition integer, raw_offset bigint, \
     reason text, rule text, message text, first_offset bigint, raw_key bytea, raw_value bytea, raw_value_bytes bigint, \
     raw_timestamp timestamptz, rejected_at timestamptz) ON COMMIT DELETE ROWS";
pub(super) const COPY: &str = "COPY pg_temp.staging_rejected FROM STDIN (FORMAT binary)";
pub(super) const INSERT: &str = "INSERT INTO ops.rejected_records (stream, raw_partition, raw_offset, reason, rule, message, first_offset, \
     raw_key, raw_value, raw_value_bytes, raw_timestamp, rejected_at) SELECT stream, raw_partition, raw_offset, reason, rule, message, \
     first_offset, raw_key, raw_value, raw_value_bytes, raw_timestamp, rejected_at FROM pg_temp.staging_rejected \
     ON CONFLICT (stream, raw_partition, raw_offset) DO NOTHING";

/// A partition's progress never goes back: what is behind is ignored.
const PROGRESS: &str = "INSERT INTO ops.stream_progress AS p (stream, partition, raw_offset, validated_offset, rejected_offset, watermark, \
     idle, validated, rejected, updated_at) \
     SELECT stream, partition, raw_offset, validated_offset, rejected_offset, watermark, idle, validated, rejected::jsonb, now() \
     FROM unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[], $5::bigint[], $6::timestamptz[], $7::boolean[], $8::bigint[], $9::text[]) \
         AS new(stream, partition, raw_offset, validated_offset, rejected_offset, watermark, idle, validated, rejected) \
     ON CONFLICT (stream, partition) DO UPDATE SET raw_offset = excluded.raw_offset, validated_offset = excluded.validated_offset, \
         rejected_offset = excluded.rejected_offset, watermark = excluded.watermark, idle = excluded.idle, \
         validated = excluded.validated, rejected = excluded.rejected, updated_at = excluded.updated_at \
     WHERE p.raw_offset <= excluded.raw_offset AND coalesce(p.watermark <= excluded.watermark, p.watermark IS NULL)";

/// Text that PostgreSQL can hold, at most `bytes_max` long. Messages may quote the very input that was wrong.
fn printable(text: &str, bytes_max: usize) -> String {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().replace('\0', "\u{fffd}")
}

fn payload(bytes: Option<&Vec<u8>>) -> Option<&[u8]> {
    bytes.map(Vec::as_slice).filter(|bytes| bytes.len() <= REJECTED_PAYLOAD_BYTES_MAX)
}

/// Stores rejected records; returns how many are new, and the bytes sent.
pub(super) async fn store_rejected(
    client: &Client,
    staging: &RejectedStaging,
    rows: &[RejectedRow],
) -> Result<(u64, u64)> {
    let text = |of: &dyn Fn(&RejectedRow) -> Option<String>| {
        Arc::new(rows.iter().map(of).collect::<StringArray>()) as ArrayRef
    };
    let columns: [(&str, ColumnType, ArrayRef); 12] = [
        ("stream", ColumnType::Text, text(&|row| Some(printable(&row.stream, 1024)))),
        (
            "raw_partition",
            ColumnType::Integer,
            Arc::new(rows.iter().map(|row| Some(row.raw_partition)).collect::<Int32Array>()),
        ),
        (
            "raw_offset",
            ColumnType::Bigint,
            Arc::new(rows.iter().map(|row| Some(row.raw_offset)).collect::<Int64Array>()),
        ),
        ("reason", ColumnType::Text, text(&|row| Some(row.reason.name().to_owned()))),
        ("rule", ColumnType::Text, text(&|row| row.rule.as_ref().map(|rule| printable(rule, 1024)))),
        ("message", ColumnType::Text, text(&|row| Some(printable(&row.message, REJECTED_MESSAGE_BYTES_MAX)))),
        ("first_offset", ColumnType::Bigint, Arc::new(rows.iter().map(|row| row.first_offset).collect::<Int64Array>())),
        (
            "raw_key",
            ColumnType::Bytes,
            Arc::new(rows.iter().map(|row| payload(row.key.as_ref())).collect::<BinaryArray>()),
        ),
        (
            "raw_value",
            ColumnType::Bytes,
            Arc::new(rows.iter().map(|row| payload(row.value.as_ref())).collect::<BinaryArray>()),
        ),
        ("raw_value_bytes", ColumnType::Bigint, Arc::new(rows.iter().map(value_bytes).collect::<Int64Array>())),
        ("raw_timestamp", ColumnType::Timestamp, times(rows.iter().map(|row| raw_timestamp_us(row.raw_timestamp_ms)))),
        ("rejected_at", ColumnType::Timestamp, times(rows.iter().map(|row| Some(row.rejected_at_us)))),
    ];
    let table = "ops.rejected_records";
    let mut cells = Vec::with_capacity(columns.len());
    for (name, kind, array) in &columns {
        cells.push(Cells::new(array, *kind).map_err(|error| column_error(table, name, error))?);
    }
    let names = columns.each_ref().map(|(name, _, _)| *name);
    let parts = [Rows { cells, versions: None, deleted: false, selection: None, count: rows.len() }];
    let bytes =
        copy_rows(client, &staging.copy, table, &names, &parts).await.map_err(|failure| failure.report(table))?;
    let inserted = client.execute(&staging.insert, &[]).await;
    Ok((inserted.map_err(|error| Error::postgres("storing rejected records", &error))?, bytes))
}

fn value_bytes(row: &RejectedRow) -> Option<i64> {
    row.value.as_ref().map(|value| i64::try_from(value.len()).unwrap_or(i64::MAX))
}

fn times(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    // A producer may send any timestamp; one that PostgreSQL doesn't have is left out.
    let known = |us: i64| DateTime::from_timestamp_micros(us).is_some();
    Arc::new(values.map(|us| us.filter(|us| known(*us))).collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

/// Microseconds of a Kafka timestamp; `None` if the record has none.
fn raw_timestamp_us(ms: Option<i64>) -> Option<i64> {
    ms.filter(|ms| *ms >= 0)?.checked_mul(1_000)
}

/// Stores progress.
pub(super) async fn store_progress(client: &Client, progress: &[(String, Progress)]) -> Result<()> {
    // One statement can't touch a row twice: the last of each partition counts.
    let mut last = std::collections::BTreeMap::new();
    for (stream, progress) in progress {
        last.insert((stream.as_str(), progress.partition), progress);
    }
    let streams: Vec<&str> = last.keys().map(|(stream, _)| *stream).collect();
    let partitions: Vec<i32> = last.keys().map(|(_, partition)| *partition).collect();
    let offsets = |of: fn(&Progress) -> i64| -> Vec<i64> { last.values().map(|progress| of(progress)).collect() };
    let watermarks: Vec<Option<DateTime<Utc>>> =
        last.values().map(|progress| DateTime::from_timestamp_micros(progress.watermark_us?)).collect();
    let idle: Vec<bool> = last.values().map(|progress| progress.idle).collect();
    let validated = offsets(|progress| i64::try_from(progress.validated).unwrap_or(i64::MAX));
    let mut rejected = Vec::with_capacity(last.len());
    for progress in last.values() {
        let json = serde_json::to_string(&progress.rejected);
        rejected.push(
            json.map_err(|error| Error::Internal { doing: "storing progress".into(), message: error.to_string() })?,
        );
    }
    let stored = client
        .execute(
            PROGRESS,
            &[
                &streams,
                &partitions,
                &offsets(|progress| progress.raw_offset),
                &offsets(|progress| progress.validated_offset),
                &offsets(|progress| progress.rejected_offset),
                &watermarks,
                &idle,
                &validated,
                &rejected,
            ],
        )
        .await;
    stored.map_err(|error| Error::postgres("storing progress", &error))?;
    Ok(())
}
