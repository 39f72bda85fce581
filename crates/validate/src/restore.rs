//! Taking up a partition where its outputs end.
//!
//! The outputs are the truth: progress says where they stood when it was last published, and what lies past that are verdicts which were
//! published and whose progress was not. They are kept, also where a rule has changed since.

use std::collections::BTreeSet;

use model::provenance::{Continuity, Provenance};
use model::{Progress, RecordBlock};

use crate::error::{Error, Result};

/// What is already decided about a raw record after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decided {
    /// Nothing.
    Open,
    /// It stands in the validated output.
    Accepted,
    /// It stands in the rejected output.
    Rejected,
    /// The rejected output has gone past it without it, so it was accepted, but its record was lost: publish it.
    AcceptedUnpublished,
    /// The validated output has gone past it without it, so it was rejected, but its record was lost: publish it.
    RejectedUnpublished,
}

/// The verdicts found in the outputs past the last published progress.
#[derive(Debug, Clone, Default)]
pub struct Settled {
    validated: Output,
    rejected: Output,
}

#[derive(Debug, Clone, Default)]
struct Output {
    raw_offsets: BTreeSet<i64>,
    /// Raw offset of the last record of the output, also before the ones found; -1 if there is none.
    last: i64,
    /// End of the output.
    end: i64,
}

impl Output {
    fn take(&mut self, block: &RecordBlock) -> Result<()> {
        for (index, &offset) in block.offsets.iter().enumerate() {
            let broken = |reason: String| Error::BrokenOutput {
                topic: format!("{}[{}]", block.topic, block.partition),
                offset,
                reason,
            };
            let provenance = Provenance::from_headers(block.headers(index))
                .ok_or_else(|| broken("the headers with the raw offsets are missing".to_owned()))?;
            match provenance.follows(self.last) {
                Continuity::Next => {
                    self.raw_offsets.insert(provenance.raw_offset);
                    self.last = provenance.raw_offset;
                }
                Continuity::Repeat => {}
                Continuity::Break => {
                    return Err(broken(format!(
                        "it follows raw offset {}, but the last one seen is {}",
                        provenance.previous_raw_offset, self.last
                    )));
                }
            }
            self.end = offset + 1;
        }
        Ok(())
    }
}

impl Settled {
    /// Nothing found yet past `progress`.
    pub fn after(progress: &Progress) -> Self {
        let output = |last, end| Output { raw_offsets: BTreeSet::new(), last, end };
        Self {
            validated: output(progress.last_validated_raw_offset, progress.validated_offset),
            rejected: output(progress.last_rejected_raw_offset, progress.rejected_offset),
        }
    }

    /// Takes the records of the validated output from `progress.validated_offset` on.
    ///
    /// # Errors
    /// `BrokenOutput` when a record lacks its headers or doesn't follow the one before.
    pub fn validated(&mut self, block: &RecordBlock) -> Result<()> {
        self.validated.take(block)
    }

    /// Takes the records of the rejected output from `progress.rejected_offset` on.
    ///
    /// # Errors
    /// As [`Settled::validated`].
    pub fn rejected(&mut self, block: &RecordBlock) -> Result<()> {
        self.rejected.take(block)
    }

    /// Ends of the validated and the rejected output.
    pub(crate) fn ends(&self) -> (i64, i64) {
        (self.validated.end, self.rejected.end)
    }

    /// Raw offsets of the last validated and the last rejected record.
    pub(crate) fn last_raw_offsets(&self) -> (i64, i64) {
        (self.validated.last, self.rejected.last)
    }

    pub(crate) fn decided(&self, raw_offset: i64) -> Decided {
        if self.validated.raw_offsets.contains(&raw_offset) {
            Decided::Accepted
        } else if self.rejected.raw_offsets.contains(&raw_offset) {
            Decided::Rejected
        } else if raw_offset <= self.validated.last {
            Decided::RejectedUnpublished
        } else if raw_offset <= self.rejected.last {
            Decided::AcceptedUnpublished
        } else {
            Decided::Open
        }
    }

    /// Whether nothing at or past `raw_offset` is decided, so that this can be forgotten.
    pub(crate) fn is_over(&self, raw_offset: i64) -> bool {
        raw_offset > self.validated.last.max(self.rejected.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(records: &[(i64, i64)]) -> RecordBlock {
        let mut block = RecordBlock::new("t".into(), 0);
        for (offset, &(raw, previous)) in records.iter().enumerate() {
            let (raw, previous) = (raw.to_string(), previous.to_string());
            let headers = [
                (model::provenance::RAW_OFFSET, Some(raw.as_bytes())),
                (model::provenance::PREVIOUS_RAW_OFFSET, Some(previous.as_bytes())),
            ];
            block.push(offset as i64, 0, None, None, headers);
        }
        block
    }

    #[test]
    fn each_output_vouches_for_what_it_has_gone_past() {
        let mut settled = Settled::after(&Progress::start(0));
        settled.validated(&block(&[(0, -1), (3, 0)])).unwrap();
        settled.rejected(&block(&[(1, -1), (5, 1)])).unwrap();
        let decided: Vec<Decided> = (0..7).map(|raw| settled.decided(raw)).collect();
        assert_eq!(
            decided,
            [
                Decided::Accepted,
                Decided::Rejected,
                Decided::RejectedUnpublished,
                Decided::Accepted,
                Decided::AcceptedUnpublished,
                Decided::Rejected,
                Decided::Open,
            ]
        );
        assert!(!settled.is_over(5));
        assert!(settled.is_over(6));
    }

    #[test]
    fn repeats_are_fine_and_breaks_are_not() {
        let mut settled = Settled::after(&Progress::start(0));
        settled.validated(&block(&[(0, -1), (0, -1), (3, 0)])).unwrap();
        let error = settled.validated(&block(&[(9, 7)])).unwrap_err();
        assert!(error.to_string().contains("follows raw offset 7, but the last one seen is 3"), "{error}");
    }
}
