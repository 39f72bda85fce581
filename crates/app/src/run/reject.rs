//! The record of a rejection: the raw record as it came, and why.

use std::fmt::Write as _;

use kafka::OutRecord;
use model::{RecordBlock, RejectReason, Rejection, provenance};

use crate::error::Result;
use crate::run::sink::RecordSink;

/// Buffers for headers, so that an accepted record costs no allocation.
#[derive(Debug, Default)]
pub(crate) struct RejectHeaders {
    at: String,
    before: String,
}

impl RejectHeaders {
    /// The texts of both provenance headers.
    pub(crate) fn offsets(&mut self, raw_offset: i64, previous: i64) -> (&str, &str) {
        self.at.clear();
        self.before.clear();
        // Writing to a String can't fail.
        let written = write!(self.at, "{raw_offset}").and_then(|()| write!(self.before, "{previous}"));
        debug_assert!(written.is_ok());
        (&self.at, &self.before)
    }

    /// Writes record `index` of a block to the rejected topic. A duplicate goes without its payload: the first one has it.
    pub(crate) fn send(
        &mut self,
        writer: &impl RecordSink,
        topic: &str,
        block: &RecordBlock,
        index: usize,
        previous: i64,
        rejection: &Rejection,
    ) -> Result<()> {
        let raw_offset = block.offsets.get(index).copied().unwrap_or(-1);
        let partition = block.partition.to_string();
        let timestamp_ms = block.timestamps_ms.get(index).copied().unwrap_or(-1).to_string();
        let first = rejection.first_offset.map(|offset| offset.to_string());
        let (at, before) = self.offsets(raw_offset, previous);
        // The raw record's own headers, but none that pretends to be ours.
        let mut headers: Vec<(&str, Option<&[u8]>)> = block.headers(index).filter(|(name, _)| !is_ours(name)).collect();
        headers.push((provenance::RAW_OFFSET, Some(at.as_bytes())));
        headers.push((provenance::PREVIOUS_RAW_OFFSET, Some(before.as_bytes())));
        headers.push((provenance::REASON, Some(rejection.reason.name().as_bytes())));
        if let Some(rule) = &rejection.rule {
            headers.push((provenance::RULE, Some(rule.as_bytes())));
        }
        headers.push((provenance::MESSAGE, Some(rejection.message.as_bytes())));
        headers.push((provenance::RAW_TOPIC, Some(block.topic.as_bytes())));
        headers.push((provenance::RAW_PARTITION, Some(partition.as_bytes())));
        headers.push((provenance::RAW_TIMESTAMP_MS, Some(timestamp_ms.as_bytes())));
        if let Some(first) = &first {
            headers.push((provenance::FIRST_OFFSET, Some(first.as_bytes())));
        }
        let value = if rejection.reason == RejectReason::Duplicate { None } else { block.values.get(index) };
        writer.send(&OutRecord {
            topic,
            partition: Some(block.partition),
            key: block.keys.get(index),
            value,
            headers: &headers,
            timestamp_ms: None,
        })
    }
}

fn is_ours(name: &str) -> bool {
    [
        provenance::RAW_OFFSET,
        provenance::PREVIOUS_RAW_OFFSET,
        provenance::REASON,
        provenance::RULE,
        provenance::MESSAGE,
        provenance::RAW_TOPIC,
        provenance::RAW_PARTITION,
        provenance::RAW_TIMESTAMP_MS,
        provenance::FIRST_OFFSET,
    ]
    .contains(&name)
}
