//! One raw partition: decode, rules, times, duplicates, in this order.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array as _, BooleanArray, PrimitiveArray};
use avro::{DecodeFailure, Decoder, Reencoder};
use model::{BytesColumn, Progress, RecordBlock, RejectReason, Rejection, Schemas};

use crate::duplicates::{At, Duplicates, DuplicatesMetrics, Found, RoomError};
use crate::error::{Error, Result};
use crate::ids::{IdReader, Ids};
use crate::options::StreamRules;
use crate::restore::{Decided, Settled};
use crate::writers::{Writers, prepare_own};

/// What is to be done with a raw record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Write it to the validated output; its payload is the next one in [`Verdicts::payloads`].
    Accepted {
        /// Raw offset of the record before it in the validated output; -1 for the first.
        previous: i64,
    },
    /// Write it to the rejected output.
    Rejected {
        /// Raw offset of the record before it in the rejected output; -1 for the first.
        previous: i64,
        /// Why.
        rejection: Box<Rejection>,
    },
    /// Nothing: its verdict stands in an output since before the restart.
    Published,
}

/// The verdicts on a block.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// One for each record of the block, in order.
    pub outcomes: Vec<Outcome>,
    /// For each accepted record, in order, its value in the stream's own schema and Confluent's wire format.
    pub payloads: BytesColumn,
}

/// The state of one raw partition.
#[derive(Debug)]
pub struct PartitionValidator {
    rules: Arc<StreamRules>,
    decoder: Decoder,
    payload_encoder: Reencoder,
    ids: Option<IdReader>,
    writers: Writers,
    duplicates: Option<Duplicates>,
    settled: Option<Settled>,
    progress: Progress,
    greatest_us: Option<i64>,
}

/// What decoding made of a record.
#[derive(Debug, Clone)]
enum Slot {
    /// This row of the batch.
    Row(usize),
    /// Nothing, for this reason.
    Failed(Box<Rejection>),
}

/// A block's decoded rows with what is looked at row by row.
struct Decoded {
    /// For each record of the block its decoded row, or why it has none.
    slots: Vec<Slot>,
    event_times: PrimitiveArray<TimestampMicrosecondType>,
    /// Payloads of the decoded rows in the stream's schema, with the wire format's header.
    payloads: BytesColumn,
    /// For each rule, which rows satisfy it.
    passed: Vec<BooleanArray>,
    ids: Option<Ids>,
}

impl PartitionValidator {
    /// A partition as its last published progress left it; [`Progress::start`] for one of which nothing has been read.
    ///
    /// Give it then the validated records from `progress.duplicates_from_offset` up to `progress.validated_offset` by
    /// [`PartitionValidator::recall`], the outputs past the progress by [`PartitionValidator::settle`], and raw records from
    /// `progress.raw_offset` on.
    ///
    /// # Errors
    /// `Internal` when the rules don't fit the schema, which `check` rules out.
    pub fn resume(rules: Arc<StreamRules>, progress: Progress) -> Result<Self> {
        let internal =
            |reason: String| Error::Internal { stream: rules.stream.clone(), partition: progress.partition, reason };
        let mut decoder =
            Decoder::new(&rules.schema, None, avro::Limits::default()).map_err(|error| internal(error.to_string()))?;
        // Our own records need no look-up.
        decoder.add_writer(rules.schema_id, &rules.schema).map_err(|error| internal(error.to_string()))?;
        let payload_encoder =
            Reencoder::new(&rules.schema, rules.schema_id).map_err(|error| internal(error.to_string()))?;
        let arrow = rules.schema.arrow().map_err(|error| internal(error.to_string()))?;
        let id_columns = if rules.duplicates.is_some() { rules.id.as_slice() } else { &[] };
        let ids = IdReader::new(id_columns, &arrow).map_err(internal)?;
        let duplicates = ids.as_ref().and(rules.duplicates.clone()).map(Duplicates::new);
        let greatest_us = progress.watermark_us.map(|watermark| watermark.saturating_add(micros(rules.lateness)));
        Ok(Self {
            decoder,
            payload_encoder,
            ids,
            writers: Writers::default(),
            duplicates,
            settled: None,
            progress,
            greatest_us,
            rules,
        })
    }

    /// Keeps the ids of records that were accepted before the restart, also of those with an earlier schema of the stream.
    ///
    /// # Errors
    /// `BrokenOutput` when a record isn't one that validation wrote; `Registry` while that is away; `SpillWrite` and `DuplicatesFull` when
    /// there is no room for the ids.
    pub fn recall(&mut self, block: &RecordBlock, schemas: &dyn Schemas) -> Result<()> {
        if self.duplicates.is_none() {
            return Ok(());
        }
        self.make_room()?;
        prepare_own(block, &mut self.decoder, schemas)?;
        let decoded = self.decode(block)?;
        if let (Some(duplicates), Some(ids)) = (&mut self.duplicates, &decoded.ids) {
            duplicates.take_up(ids, &decoded.payloads);
        }
        let horizon_us = self.duplicates_horizon_us();
        for (index, slot) in decoded.slots.iter().enumerate() {
            let broken = |reason: &str| Error::BrokenOutput {
                topic: format!("{}[{}]", block.topic, block.partition),
                offset: block.offsets.get(index).copied().unwrap_or(-1),
                reason: reason.to_owned(),
            };
            let row = match slot {
                Slot::Row(row) => *row,
                Slot::Failed(rejection) => return Err(broken(&rejection.message)),
            };
            let provenance = model::Provenance::from_headers(block.headers(index))
                .ok_or_else(|| broken("the headers with the raw offsets are missing"))?;
            if decoded.event_times.value(row) >= horizon_us {
                let at = At { raw_offset: provenance.raw_offset, validated_offset: block.offsets[index] };
                self.keep_id(&decoded, row, at);
            }
        }
        Ok(())
    }

    /// Keeps the verdicts that stand in the outputs past the progress.
    pub fn settle(&mut self, settled: Settled) {
        self.settled = Some(settled);
    }

    /// How far the partition is. Publish it once the outcomes so far are acknowledged.
    pub fn progress(&self) -> Progress {
        let mut progress = self.progress.clone();
        let oldest = self.duplicates.as_ref().and_then(Duplicates::oldest_validated_offset);
        progress.duplicates_from_offset = oldest.unwrap_or(progress.validated_offset);
        progress
    }

    /// Passes over the part of the raw log before `raw_offset`, all of which the validator has seen but for markers of transactions,
    /// which have no verdict.
    pub fn pass(&mut self, raw_offset: i64) {
        self.progress.raw_offset = self.progress.raw_offset.max(raw_offset);
    }

    /// Declares the partition idle: caught up with raw and quiet for the stream's `idle_timeout`. Its watermark follows the others',
    /// and rows that come later below it are late.
    pub fn declare_idle(&mut self, others_watermark_us: Option<i64>) {
        self.progress.idle = true;
        self.progress.watermark_us = self.progress.watermark_us.max(others_watermark_us);
    }

    /// Tells of a block that waits behind one with a schema id that the registry doesn't have (`SchemaGrace`): ids that it may not have either
    /// are waited for at the same time. So records with ids that somebody made up don't hold the partition once each.
    pub fn expect(&mut self, block: &RecordBlock, now_us: i64) {
        self.writers.wait_for(self.decoder.missing(&block.values).into_iter(), now_us);
    }

    /// The verdicts on the next block of raw records; `now_us` is the wall clock in microseconds since 1970.
    ///
    /// # Errors
    /// `Registry`, `SchemaGrace`, `SchemaQuestions` and `SpillWrite` mean that nothing has changed: call again with the same block. All others end the
    /// partition.
    pub fn validate(&mut self, block: &RecordBlock, now_us: i64, schemas: &dyn Schemas) -> Result<Verdicts> {
        self.make_room()?;
        let grace = self.rules.unknown_schema_grace;
        self.writers.prepare(block, &mut self.decoder, schemas, now_us, grace)?;
        let decoded = self.decode(block)?;
        if let (Some(duplicates), Some(ids)) = (&mut self.duplicates, &decoded.ids) {
            let (stream, partition) = (&self.rules.stream, self.progress.partition);
            let read = duplicates.look_up(ids, &decoded.payloads);
            read.map_err(|source| Error::SpillRead { stream: stream.clone(), partition, source })?;
        }
        let mut verdicts = Verdicts {
            outcomes: Vec::with_capacity(block.len()),
            payloads: BytesColumn::with_capacity(block.len(), decoded.payloads.byte_len()),
        };
        for (index, slot) in decoded.slots.iter().enumerate() {
            let raw_offset = block.offsets.get(index).copied().unwrap_or(-1);
            if raw_offset < self.progress.raw_offset {
                verdicts.outcomes.push(Outcome::Published);
                continue;
            }
            let outcome = self.decide(raw_offset, slot, &decoded, now_us, &mut verdicts.payloads);
            verdicts.outcomes.push(outcome);
            self.progress.raw_offset = raw_offset + 1;
        }
        self.progress.idle = self.progress.idle && block.is_empty();
        let horizon_us = self.duplicates_horizon_us();
        if let Some(duplicates) = &mut self.duplicates {
            duplicates.expire(horizon_us);
        }
        if self.settled.as_ref().is_some_and(|settled| settled.is_over(self.progress.raw_offset)) {
            self.go_past_published();
            self.settled = None;
        }
        Ok(verdicts)
    }

    /// Judges a record; what was published of it before a restart overrules.
    fn decide(
        &mut self,
        raw_offset: i64,
        slot: &Slot,
        decoded: &Decoded,
        now_us: i64,
        payloads: &mut BytesColumn,
    ) -> Outcome {
        let decided = self.settled.as_ref().map_or(Decided::Open, |settled| settled.decided(raw_offset));
        let judged = match (decided, slot) {
            (Decided::Accepted | Decided::AcceptedUnpublished, Slot::Row(row)) => Ok(*row),
            (_, Slot::Row(row)) => self.judge(decoded, *row, now_us).map(|()| *row),
            (_, Slot::Failed(rejection)) => Err(rejection.clone()),
        };
        let judged = match (decided, judged) {
            (Decided::Rejected | Decided::RejectedUnpublished, Ok(_)) => {
                Err(Box::new(Rejection::new(RejectReason::Rule, "rejected under the rules in force before a restart")))
            }
            (_, judged) => judged,
        };
        let is_published = matches!(decided, Decided::Accepted | Decided::Rejected);
        if !is_published {
            self.go_past_published();
        }
        match judged {
            Ok(row) => {
                let at = At { raw_offset, validated_offset: self.progress.validated_offset };
                self.keep_id(decoded, row, at);
                self.advance(decoded.event_times.value(row));
                let previous = std::mem::replace(&mut self.progress.last_validated_raw_offset, raw_offset);
                self.progress.validated_offset += 1;
                self.progress.validated += 1;
                if is_published {
                    return Outcome::Published;
                }
                payloads.push(decoded.payloads.get(row));
                Outcome::Accepted { previous }
            }
            Err(rejection) => {
                let previous = std::mem::replace(&mut self.progress.last_rejected_raw_offset, raw_offset);
                self.progress.rejected_offset += 1;
                match self.progress.rejected.get_mut(rejection.reason.name()) {
                    Some(count) => *count += 1,
                    None => {
                        self.progress.rejected.insert(rejection.reason.name().to_owned(), 1);
                    }
                }
                if is_published { Outcome::Published } else { Outcome::Rejected { previous, rejection } }
            }
        }
    }

    /// What is written next lands behind all that stands in the outputs, repeats of an earlier process included.
    fn go_past_published(&mut self) {
        if let Some(settled) = &self.settled {
            let (validated_end, rejected_end) = settled.ends();
            if self.progress.last_validated_raw_offset == settled.last_raw_offsets().0 {
                self.progress.validated_offset = self.progress.validated_offset.max(validated_end);
            }
            if self.progress.last_rejected_raw_offset == settled.last_raw_offsets().1 {
                self.progress.rejected_offset = self.progress.rejected_offset.max(rejected_end);
            }
        }
    }

    fn keep_id(&mut self, decoded: &Decoded, row: usize, at: At) {
        if let (Some(duplicates), Some(ids)) = (&mut self.duplicates, &decoded.ids) {
            duplicates.insert(row, ids.get(row), decoded.event_times.value(row), at);
        }
    }

    fn advance(&mut self, event_time_us: i64) {
        let greatest_us = self.greatest_us.map_or(event_time_us, |greatest| greatest.max(event_time_us));
        self.greatest_us = Some(greatest_us);
        let watermark_us = greatest_us.saturating_sub(micros(self.rules.lateness));
        self.progress.watermark_us = self.progress.watermark_us.max(Some(watermark_us));
    }

    /// Rules first, then whether it is a repeat, then its time: a repeat is a repeat however late it comes.
    fn judge(&self, decoded: &Decoded, row: usize, now_us: i64) -> std::result::Result<(), Box<Rejection>> {
        for (rule, passed) in self.rules.rules.iter().zip(&decoded.passed) {
            if !passed.value(row) {
                let mut rejection =
                    Rejection::new(RejectReason::Rule, format!("rule {} isn't satisfied: {}", rule.name, rule.text));
                rejection.rule = Some(rule.name.clone());
                return Err(Box::new(rejection));
            }
        }
        let event_time_us = decoded.event_times.value(row);
        if let (Some(duplicates), Some(ids)) = (&self.duplicates, &decoded.ids) {
            let repeat = match duplicates.find(row, ids.get(row), event_time_us, self.duplicates_horizon_us()) {
                Found::Nothing => None,
                Found::Same { first_offset } => Some((RejectReason::Duplicate, first_offset, "content")),
                Found::Other { first_offset } => {
                    Some((RejectReason::IdConflict, first_offset, "id, but other content,"))
                }
            };
            if let Some((reason, first_offset, what)) = repeat {
                let message =
                    format!("a record with the same {what} was accepted before, at raw offset {first_offset}");
                let mut rejection = Rejection::new(reason, message);
                rejection.first_offset = Some(first_offset);
                return Err(Box::new(rejection));
            }
        }
        if event_time_us > now_us.saturating_add(micros(self.rules.future_skew)) {
            let message = format!(
                "{} is {} ms in the future; up to {} ms is accepted",
                self.rules.event_time,
                (event_time_us.saturating_sub(now_us)) / 1_000,
                self.rules.future_skew.as_millis()
            );
            return Err(Box::new(Rejection::new(RejectReason::Future, message)));
        }
        match self.progress.watermark_us {
            Some(watermark_us) if event_time_us < watermark_us => {
                let message = format!(
                    "{} is {} ms below the partition's watermark",
                    self.rules.event_time,
                    (watermark_us - event_time_us).max(1_000) / 1_000
                );
                Err(Box::new(Rejection::new(RejectReason::Late, message)))
            }
            _ => Ok(()),
        }
    }

    fn decode(&mut self, block: &RecordBlock) -> Result<Decoded> {
        let decoded = self.decoder.decode(&block.values);
        let mut payloads = BytesColumn::with_capacity(decoded.rows.len(), block.values.byte_len());
        self.payload_encoder
            .encode(&self.decoder, &block.values, &decoded, &mut payloads)
            .map_err(|error| self.internal(error.to_string()))?;
        let avro::Decoded { batch, rows, failures } = decoded;
        let internal = |reason: String| self.internal(reason);
        let event_times = batch
            .column_by_name(&self.rules.event_time)
            .and_then(|column| column.as_any().downcast_ref::<PrimitiveArray<TimestampMicrosecondType>>())
            .cloned()
            .ok_or_else(|| internal(format!("{} isn't a timestamp column", self.rules.event_time)))?;
        let slots = self.slots(block.len(), &rows, failures, &event_times)?;
        let mut passed = Vec::with_capacity(self.rules.rules.len());
        for rule in &self.rules.rules {
            let evaluated = rule.condition.evaluate(&batch);
            passed.push(evaluated.map_err(|error| internal(format!("rule {}: {error}", rule.name)))?);
        }
        let ids = match &self.ids {
            Some(ids) => Some(ids.read(&batch).map_err(internal)?),
            None => None,
        };
        Ok(Decoded { slots, event_times, payloads, passed, ids })
    }

    /// For each record its decoded row or the reason why it has none.
    fn slots(
        &self,
        records: usize,
        rows: &[u32],
        failures: Vec<(u32, DecodeFailure)>,
        event_times: &PrimitiveArray<TimestampMicrosecondType>,
    ) -> Result<Vec<Slot>> {
        let mut slots = Vec::with_capacity(records);
        let mut rows = rows.iter().copied().enumerate().peekable();
        let mut failures = failures.into_iter().peekable();
        for record in 0..records {
            if let Some((row, _)) = rows.next_if(|&(_, of)| of as usize == record) {
                if event_times.is_valid(row) {
                    slots.push(Slot::Row(row));
                } else {
                    let message = format!("{} is null, so the record belongs to no window", self.rules.event_time);
                    slots.push(Slot::Failed(Box::new(Rejection::new(RejectReason::InvalidValue, message))));
                }
            } else if let Some((_, failure)) = failures.next_if(|&(of, _)| of as usize == record) {
                slots.push(Slot::Failed(Box::new(failure.rejection())));
            } else {
                return Err(self.internal(format!("the decoder said nothing of record {record} of {records}")));
            }
        }
        Ok(slots)
    }

    fn internal(&self, reason: String) -> Error {
        Error::Internal { stream: self.rules.stream.clone(), partition: self.progress.partition, reason }
    }

    /// Event time before which no id matters: a record that old would be late by so much that no id within the bound of it can be.
    fn duplicates_horizon_us(&self) -> i64 {
        let within_us = self.rules.duplicates.as_ref().map_or(0, |rules| micros(rules.within));
        self.progress.watermark_us.map_or(i64::MIN, |watermark_us| watermark_us.saturating_sub(within_us))
    }

    /// Keeps the ids under their caps, before a block is touched.
    fn make_room(&mut self) -> Result<()> {
        let Some(duplicates) = &mut self.duplicates else { return Ok(()) };
        duplicates.make_room().map_err(|failed| {
            let (stream, partition) = (self.rules.stream.clone(), self.progress.partition);
            match failed {
                RoomError::Spill(source) => Error::SpillWrite { stream, partition, source },
                RoomError::Full => {
                    Error::DuplicatesFull { stream, partition, kept: duplicates.metrics(), caps: duplicates.caps() }
                }
            }
        })
    }

    /// How many ids are kept to find duplicates, and where.
    pub fn duplicates_metrics(&self) -> DuplicatesMetrics {
        self.duplicates.as_ref().map(Duplicates::metrics).unwrap_or_default()
    }

    /// The partition's watermark in microseconds since 1970; `None` before its first accepted record.
    pub fn watermark_us(&self) -> Option<i64> {
        self.progress.watermark_us
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
