//! Rejected records as rows for people.

use model::provenance::{self, Provenance, decimal};
use model::{RecordBlock, RejectReason};
use store::RejectedRow;

use crate::error::{Error, Result};

/// The rows of a block of a rejected topic.
///
/// # Errors
/// `Position` when a record isn't one that validation writes.
pub(crate) fn rows(stream: &str, block: &RecordBlock) -> Result<Vec<RejectedRow>> {
    let mut rows = Vec::with_capacity(block.len());
    for index in 0..block.len() {
        let row = row(stream, block, index).ok_or_else(|| {
            let offset = block.offsets.get(index).copied().unwrap_or(-1);
            Error::Position(format!(
                "{}[{}] at offset {offset}: the headers of a rejection are missing; only validation may write here",
                block.topic, block.partition
            ))
        })?;
        rows.push(row);
    }
    Ok(rows)
}

fn row(stream: &str, block: &RecordBlock, index: usize) -> Option<RejectedRow> {
    let provenance = Provenance::from_headers(block.headers(index))?;
    let text = |name| block.header(index, name).map(|value| String::from_utf8_lossy(value).into_owned());
    let reason = RejectReason::from_name(&text(provenance::REASON)?)?;
    Some(RejectedRow {
        stream: stream.to_owned(),
        raw_partition: block.partition,
        raw_offset: provenance.raw_offset,
        reason,
        rule: text(provenance::RULE),
        message: text(provenance::MESSAGE).unwrap_or_default(),
        first_offset: block.header(index, provenance::FIRST_OFFSET).and_then(decimal),
        key: block.keys.get(index).map(<[u8]>::to_vec),
        value: block.values.get(index).map(<[u8]>::to_vec),
        raw_timestamp_ms: block.header(index, provenance::RAW_TIMESTAMP_MS).and_then(decimal),
        rejected_at_us: block.timestamps_ms.get(index).copied().unwrap_or(-1).saturating_mul(1_000),
    })
}
