//! Where a payment's time went, from the timestamps that each system leaves: Kafka's time of producing, PostgreSQL's time of transaction.

use kafka::Reader;
use model::{Provenance, TopicPartition};
use serde::Serialize;

use super::latency::{Percentiles, Sights, Times};
use crate::error::Result;
use crate::run::layout::PipelineStream;
use crate::run::pipeline::Pipeline;
use crate::run::read_range::read_range;

/// One hop after the other; Kafka's timestamps are whole milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Hops {
    /// From the intended time of sending until the generator hands the payment to its producer.
    pub(crate) sent_ms: Percentiles,
    /// From there until validation hands its verdict to its producer.
    pub(crate) validated_ms: Percentiles,
    /// From there until the store begins the transaction with the row: processing, the result topic, and waiting for the one before.
    pub(crate) processed_ms: Percentiles,
    /// From there until the observer sees the row: COPY, merge, commit, and the observer's pause.
    pub(crate) stored_ms: Percentiles,
}

/// Reads the topics again and works out the hops of the payments that were due at or after `from_us`.
pub(super) fn measure(pipeline: &Pipeline, stream: &PipelineStream, sights: &Sights, from_us: i64) -> Result<Hops> {
    let [mut sent, mut validated, mut processed, mut stored] =
        [Times::new()?, Times::new()?, Times::new()?, Times::new()?];
    for (number, sights) in (0..stream.topics.partitions).zip(sights) {
        let raw_us = timestamps_us(pipeline, &stream.topics.raw, number, sights.len(), |_, offset| Some(offset))?;
        let validated_us = timestamps_us(pipeline, &stream.topics.validated, number, sights.len(), |provenance, _| {
            provenance.map(|provenance| provenance.raw_offset)
        })?;
        for ((sight, raw_us), validated_us) in sights.iter().zip(raw_us).zip(validated_us) {
            let Some(sight) = sight.filter(|sight| sight.intended_us >= from_us) else { continue };
            sent.add_us(raw_us - sight.intended_us);
            validated.add_us(validated_us - raw_us);
            processed.add_us(sight.stored_us - validated_us);
            stored.add_us(sight.seen_us - sight.stored_us);
        }
    }
    Ok(Hops {
        sent_ms: sent.percentiles(),
        validated_ms: validated.percentiles(),
        processed_ms: processed.percentiles(),
        stored_ms: stored.percentiles(),
    })
}

/// Kafka's timestamps of a partition by raw offset, which `raw_offset` finds from a record's provenance and own offset.
fn timestamps_us(
    pipeline: &Pipeline,
    topic: &str,
    number: i32,
    count: usize,
    raw_offset: impl Fn(Option<Provenance>, i64) -> Option<i64>,
) -> Result<Vec<i64>> {
    let context = &pipeline.context;
    let partition = TopicPartition::new(topic, number);
    let range = Reader::new(&context.connection, &kafka::ReaderOptions::default())?.range(&partition)?;
    let mut times_us = vec![0; count];
    read_range(&context.connection, &partition, range, &context.stop, |block| {
        for (index, (&offset, &timestamp_ms)) in block.offsets.iter().zip(&block.timestamps_ms).enumerate() {
            let raw = raw_offset(Provenance::from_headers(block.headers(index)), offset);
            let slot = raw.and_then(|raw| times_us.get_mut(usize::try_from(raw).ok()?));
            if let Some(slot) = slot {
                *slot = timestamp_ms * 1_000;
            }
        }
        Ok(())
    })?;
    Ok(times_us)
}
