//! The schemas that a block's records were written with.

use std::collections::HashMap;
use std::time::Duration;

use avro::Decoder;
use model::{RecordBlock, Schemas};

use crate::error::{Error, Result};

/// Longest time between two questions for an id that was unknown for good, in microseconds.
const ASK_AGAIN_US: i64 = 1_000_000;

#[derive(Debug, Clone, Copy)]
struct Unknown {
    since_us: i64,
    asked_us: i64,
}

/// Looks writer schemas up and hands them to the decoder.
#[derive(Debug, Default)]
pub(crate) struct Writers {
    unknown: HashMap<u32, Unknown>,
}

impl Writers {
    /// Makes sure that the decoder knows every schema id of the block that can be known.
    ///
    /// # Errors
    /// `Registry` while it is away, `SchemaGrace` while an unknown id is waited for.
    pub(crate) fn prepare(
        &mut self,
        block: &RecordBlock,
        decoder: &mut Decoder,
        schemas: &dyn Schemas,
        now_us: i64,
        grace: Duration,
    ) -> Result<()> {
        for id in decoder.missing(&block.values) {
            self.look_up(id, decoder, schemas, now_us, grace)?;
        }
        Ok(())
    }

    fn look_up(
        &mut self,
        id: u32,
        decoder: &mut Decoder,
        schemas: &dyn Schemas,
        now_us: i64,
        grace: Duration,
    ) -> Result<()> {
        let grace_us = i64::try_from(grace.as_micros()).unwrap_or(i64::MAX);
        let in_grace = |unknown: &Unknown| now_us.saturating_sub(unknown.since_us) < grace_us;
        if let Some(unknown) = self.unknown.get(&id)
            && !in_grace(unknown)
            && now_us.saturating_sub(unknown.asked_us) < ASK_AGAIN_US
        {
            return Ok(());
        }
        match schemas.by_id(id) {
            Ok(text) => {
                self.unknown.remove(&id);
                add(decoder, id, &text);
                Ok(())
            }
            Err(model::SchemaError::Unknown { .. }) => {
                let unknown = self.unknown.entry(id).or_insert(Unknown { since_us: now_us, asked_us: now_us });
                unknown.asked_us = now_us;
                if in_grace(unknown) {
                    let waited_ms = u64::try_from((now_us - unknown.since_us) / 1_000).unwrap_or(0);
                    return Err(Error::SchemaGrace { id, waited_ms, grace_ms: grace.as_millis() as u64 });
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Makes the schemas known to the decoder that records of our own, from before the stream's schema changed, were written with. One that the
/// registry doesn't have stays unknown.
///
/// # Errors
/// `Registry` while it is away.
pub(crate) fn prepare_own(block: &RecordBlock, decoder: &mut Decoder, schemas: &dyn Schemas) -> Result<()> {
    for id in decoder.missing(&block.values) {
        match schemas.by_id(id) {
            Ok(text) => add(decoder, id, &text),
            Err(model::SchemaError::Unknown { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn add(decoder: &mut Decoder, id: u32, text: &str) {
    match avro::Schema::parse(text) {
        // One that doesn't resolve is remembered by the decoder, with the reason.
        Ok(writer) => drop(decoder.add_writer(id, &writer)),
        Err(error) => decoder.refuse_writer(id, &error.to_string()),
    }
}
