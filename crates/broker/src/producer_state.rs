//! What idempotent producers wrote last to a partition, so that a batch sent twice is there once and a lost one is noticed.
//!
//! Rules as in Apache Kafka's `ProducerStateManager`: the last five batches of a producer are remembered, since a client has at most
//! five requests in flight.

use std::collections::{HashMap, VecDeque};

use crate::log::batch::{BatchHeader, NO_PRODUCER, add_sequence};

/// Batches remembered per producer.
const BATCHES: usize = 5;
/// Producers remembered per partition; beyond that the one that was quiet for longest is forgotten, and may go on with any sequence.
const PRODUCERS_MAX: usize = 10_000;

/// A batch that was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AppendedBatch {
    pub(crate) first_sequence: i32,
    pub(crate) last_sequence: i32,
    pub(crate) base_offset: i64,
    pub(crate) max_timestamp: i64,
}

/// What one producer wrote last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProducerEntry {
    pub(crate) epoch: i16,
    /// Offset after the producer's last record; the least one is forgotten first.
    pub(crate) next_offset: i64,
    /// Oldest first; never empty.
    pub(crate) batches: VecDeque<AppendedBatch>,
}

/// What to do with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sequenced {
    /// Append it.
    Next,
    /// It is there already.
    Duplicate(AppendedBatch),
    /// A batch before it is missing.
    Gap { expected: i32 },
    /// A newer incarnation of the producer has written.
    Fenced { epoch: i16 },
}

/// The producers of a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ProducerTable {
    entries: HashMap<i64, ProducerEntry>,
}

impl ProducerTable {
    /// Where a batch stands in its producer's sequence. Nothing is changed.
    pub(crate) fn check(&self, header: &BatchHeader) -> Sequenced {
        if header.producer_id == NO_PRODUCER {
            return Sequenced::Next;
        }
        // A producer that isn't known may go on anywhere: what it wrote before may have been deleted.
        let Some(entry) = self.entries.get(&header.producer_id) else { return Sequenced::Next };
        if header.producer_epoch < entry.epoch {
            return Sequenced::Fenced { epoch: entry.epoch };
        }
        if header.producer_epoch > entry.epoch {
            return if header.base_sequence == 0 { Sequenced::Next } else { Sequenced::Gap { expected: 0 } };
        }
        let (first, last) = (header.base_sequence, header.last_sequence());
        let repeated = entry.batches.iter().find(|batch| batch.first_sequence == first && batch.last_sequence == last);
        if let Some(batch) = repeated {
            return Sequenced::Duplicate(*batch);
        }
        let expected = entry.batches.back().map_or(0, |batch| add_sequence(batch.last_sequence, 1));
        if first == expected { Sequenced::Next } else { Sequenced::Gap { expected } }
    }

    /// Remembers a batch that was appended; its header has the offset that it got.
    pub(crate) fn record(&mut self, header: &BatchHeader) {
        if header.producer_id == NO_PRODUCER {
            return;
        }
        if self.entries.len() >= PRODUCERS_MAX && !self.entries.contains_key(&header.producer_id) {
            self.forget_quietest();
        }
        let entry = self.entries.entry(header.producer_id).or_insert_with(|| ProducerEntry {
            epoch: header.producer_epoch,
            next_offset: 0,
            batches: VecDeque::with_capacity(BATCHES),
        });
        if entry.epoch != header.producer_epoch {
            entry.epoch = header.producer_epoch;
            entry.batches.clear();
        }
        if entry.batches.len() == BATCHES {
            entry.batches.pop_front();
        }
        entry.next_offset = header.next_offset();
        entry.batches.push_back(AppendedBatch {
            first_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            base_offset: header.base_offset,
            max_timestamp: header.max_timestamp,
        });
    }

    /// Greatest producer id seen; -1 for none.
    pub(crate) fn greatest_id(&self) -> i64 {
        self.entries.keys().copied().max().unwrap_or(NO_PRODUCER)
    }

    fn forget_quietest(&mut self) {
        let quietest = self.entries.iter().min_by_key(|(_, entry)| entry.next_offset).map(|(id, _)| *id);
        if let Some(id) = quietest {
            self.entries.remove(&id);
        }
    }

    /// Bytes that [`ProducerTable::decode`] reads back.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put(out, self.entries.len() as i64);
        for (id, entry) in &self.entries {
            for number in [*id, i64::from(entry.epoch), entry.next_offset, entry.batches.len() as i64] {
                put(out, number);
            }
            for batch in &entry.batches {
                for number in [
                    i64::from(batch.first_sequence),
                    i64::from(batch.last_sequence),
                    batch.base_offset,
                    batch.max_timestamp,
                ] {
                    put(out, number);
                }
            }
        }
    }

    /// Reads a table from the start of `bytes`, which it moves on; `None` if the bytes aren't one.
    pub(crate) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let mut entries = HashMap::new();
        for _ in 0..take(bytes)? {
            let id = take(bytes)?;
            let epoch = i16::try_from(take(bytes)?).ok()?;
            let next_offset = take(bytes)?;
            let mut batches = VecDeque::with_capacity(BATCHES);
            for _ in 0..take(bytes)? {
                batches.push_back(AppendedBatch {
                    first_sequence: i32::try_from(take(bytes)?).ok()?,
                    last_sequence: i32::try_from(take(bytes)?).ok()?,
                    base_offset: take(bytes)?,
                    max_timestamp: take(bytes)?,
                });
            }
            entries.insert(id, ProducerEntry { epoch, next_offset, batches });
        }
        Some(Self { entries })
    }
}

fn put(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(&number.to_be_bytes());
}

fn take(bytes: &mut &[u8]) -> Option<i64> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(i64::from_be_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::batch::testing::{Producer, batch};

    fn header(sequence: i32, epoch: i16, offset: i64) -> BatchHeader {
        let bytes = batch(2, 9, b"", Some(Producer { id: 7, epoch, sequence }));
        BatchHeader { base_offset: offset, ..BatchHeader::parse(&bytes).unwrap() }
    }

    #[test]
    fn repeats_gaps_and_old_epochs_are_told_apart() {
        let mut table = ProducerTable::default();
        for (number, sequence) in (0..14).step_by(2).enumerate() {
            let header = header(sequence, 1, 100 + number as i64);
            assert_eq!(table.check(&header), Sequenced::Next);
            table.record(&header);
        }
        let Sequenced::Duplicate(first) = table.check(&header(12, 1, -1)) else { panic!("not seen as a repeat") };
        assert_eq!(first.base_offset, 106);
        assert!(matches!(table.check(&header(4, 1, -1)), Sequenced::Duplicate(_)), "the fifth last is remembered");
        assert_eq!(table.check(&header(2, 1, -1)), Sequenced::Gap { expected: 14 }, "older ones aren't");
        assert_eq!(table.check(&header(16, 1, -1)), Sequenced::Gap { expected: 14 });
        assert_eq!(table.check(&header(14, 0, -1)), Sequenced::Fenced { epoch: 1 });
        assert_eq!(table.check(&header(14, 2, -1)), Sequenced::Gap { expected: 0 });
        assert_eq!(table.check(&header(0, 2, -1)), Sequenced::Next);
    }

    #[test]
    fn an_unknown_producer_may_go_on_anywhere_and_sequences_wrap() {
        let mut table = ProducerTable::default();
        let last = header(i32::MAX - 1, 0, 5);
        assert_eq!(table.check(&last), Sequenced::Next);
        table.record(&last);
        assert_eq!(table.check(&header(0, 0, -1)), Sequenced::Next);
    }

    #[test]
    fn bytes_round_trip() {
        let mut table = ProducerTable::default();
        table.record(&header(0, 1, 4));
        table.record(&header(2, 1, 6));
        let mut bytes = Vec::new();
        table.encode(&mut bytes);
        assert_eq!(ProducerTable::decode(&mut bytes.as_slice()), Some(table));
        assert_eq!(ProducerTable::decode(&mut &bytes[..bytes.len() - 1]), None);
    }
}
