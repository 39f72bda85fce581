//! The schemas that a block's records were written with.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use avro::Decoder;
use model::{RecordBlock, Schemas};

use crate::error::{Error, Result};

/// Longest time between two questions for an id that was unknown for good, in microseconds.
const ASK_AGAIN_US: i64 = 1_000_000;

/// Questions for one block at a time; the other partitions get their turn between them.
const QUESTIONS_MAX: usize = 64;

/// Ids that were given up for good and are remembered, at most.
const UNKNOWN_MAX: usize = 65_536;

#[derive(Debug, Clone, Copy)]
struct Unknown {
    since_us: i64,
    asked_us: Option<i64>,
}

/// Looks writer schemas up and hands them to the decoder.
#[derive(Debug, Default)]
pub(crate) struct Writers {
    unknown: HashMap<u32, Unknown>,
    /// Ids of the block that were given up for good.
    given_up: BTreeSet<u32>,
}

impl Writers {
    /// Makes sure that the decoder knows every schema id of the block that can be known.
    ///
    /// # Errors
    /// `Registry` while it is away, `SchemaGrace` while unknown ids are waited for, `SchemaQuestions` while there are more to ask for.
    pub(crate) fn prepare(
        &mut self,
        block: &RecordBlock,
        decoder: &mut Decoder,
        schemas: &dyn Schemas,
        now_us: i64,
        grace: Duration,
    ) -> Result<()> {
        let missing = decoder.missing(&block.values);
        let open: Vec<u32> = missing.into_iter().filter(|id| !self.given_up.contains(id)).collect();
        for id in open.iter().take(QUESTIONS_MAX) {
            let looked_up = self.look_up(*id, decoder, schemas, now_us, grace);
            if matches!(looked_up, Err(Error::SchemaGrace { .. })) {
                self.wait_for(open.iter().copied(), now_us);
            }
            looked_up?;
        }
        if open.len() > QUESTIONS_MAX {
            return Err(Error::SchemaQuestions { left: open.len() - QUESTIONS_MAX });
        }
        self.given_up.clear();
        self.forget(now_us, grace);
        Ok(())
    }

    /// Begins the grace period of ids that haven't been asked for: records that wait behind others with an unknown id then wait no longer
    /// than these.
    pub(crate) fn wait_for(&mut self, ids: impl Iterator<Item = u32>, now_us: i64) {
        for id in ids {
            self.unknown.entry(id).or_insert(Unknown { since_us: now_us, asked_us: None });
        }
    }

    /// Lets ids go that were asked for and given up, when they are many: somebody makes them up.
    fn forget(&mut self, now_us: i64, grace: Duration) {
        if self.unknown.len() > UNKNOWN_MAX {
            self.unknown.retain(|_, unknown| unknown.asked_us.is_none() || unknown.is_in_grace(now_us, grace));
        }
    }

    fn look_up(
        &mut self,
        id: u32,
        decoder: &mut Decoder,
        schemas: &dyn Schemas,
        now_us: i64,
        grace: Duration,
    ) -> Result<()> {
        if let Some(Unknown { asked_us: Some(asked_us), .. }) =
            self.unknown.get(&id).filter(|unknown| !unknown.is_in_grace(now_us, grace))
            && now_us.saturating_sub(*asked_us) < ASK_AGAIN_US
        {
            self.given_up.insert(id);
            return Ok(());
        }
        match schemas.by_id_soon(id) {
            Ok(text) => {
                self.unknown.remove(&id);
                add(decoder, id, &text);
                Ok(())
            }
            Err(model::SchemaError::Unusable { reason, .. }) => {
                self.unknown.remove(&id);
                decoder.refuse_writer(id, &reason);
                Ok(())
            }
            Err(model::SchemaError::Unknown { .. }) => {
                let unknown = self.unknown.entry(id).or_insert(Unknown { since_us: now_us, asked_us: None });
                unknown.asked_us = Some(now_us);
                if unknown.is_in_grace(now_us, grace) {
                    let waited_ms = u64::try_from((now_us - unknown.since_us) / 1_000).unwrap_or(0);
                    return Err(Error::SchemaGrace { id, waited_ms, grace_ms: grace.as_millis() as u64 });
                }
                self.given_up.insert(id);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Unknown {
    fn is_in_grace(&self, now_us: i64, grace: Duration) -> bool {
        now_us.saturating_sub(self.since_us) < i64::try_from(grace.as_micros()).unwrap_or(i64::MAX)
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
            Err(model::SchemaError::Unusable { reason, .. }) => decoder.refuse_writer(id, &reason),
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
