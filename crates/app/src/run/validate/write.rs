//! Verdicts on their way into the outputs.

use kafka::OutRecord;
use model::RecordBlock;
use validate::{Outcome, Verdicts};

use crate::error::Result;
use crate::run::reject::RejectHeaders;
use crate::run::sink::RecordSink;
use crate::run::topics::StreamTopics;

/// Queues the outcomes of a block for writing.
pub(crate) fn write(
    writer: &impl RecordSink,
    topics: &StreamTopics,
    block: &RecordBlock,
    verdicts: &Verdicts,
    headers: &mut RejectHeaders,
) -> Result<()> {
    let mut payloads = verdicts.payloads.iter();
    for (index, outcome) in verdicts.outcomes.iter().enumerate() {
        let raw_offset = block.offsets.get(index).copied().unwrap_or(-1);
        match outcome {
            Outcome::Published => {}
            Outcome::Accepted { previous } => {
                let value = payloads.next().flatten();
                let (at, before) = headers.offsets(raw_offset, *previous);
                writer.send(&OutRecord {
                    topic: &topics.validated,
                    partition: Some(block.partition),
                    key: block.keys.get(index),
                    value,
                    headers: &[
                        (model::provenance::RAW_OFFSET, Some(at.as_bytes())),
                        (model::provenance::PREVIOUS_RAW_OFFSET, Some(before.as_bytes())),
                    ],
                    timestamp_ms: None,
                })?;
            }
            Outcome::Rejected { previous, rejection } => {
                headers.send(writer, &topics.rejected, block, index, *previous, rejection)?;
            }
        }
    }
    Ok(())
}
