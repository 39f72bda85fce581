//! What a start needs of a progress topic, found from its end: the topic grows for ever where nothing compacts it.
//!
//! Validation publishes a partition's progress when it changes, and again once [`REPEAT_AFTER`] records of others have followed, so the end
//! of the topic always tells of all partitions.

use std::collections::BTreeMap;

use kafka::{Connection, Reader};
use model::progress::ProgressLedger;
use model::{Progress, RecordBlock, TopicPartition};

use crate::error::{Error, Result};
use crate::run::read_range::read_range;
use crate::run::stop::Stop;

/// Records of other partitions after which a partition's progress is published again, changed or not.
pub(crate) const REPEAT_AFTER: u64 = 256;
/// Records read in the first step back; each further step doubles them.
const FIRST_STEP: i64 = 1_024;

/// A piece of a progress topic.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    /// First progress of each partition in it.
    pub(crate) first: BTreeMap<i32, Progress>,
    /// The last word on each partition in it.
    pub(crate) last: ProgressLedger,
}

impl Piece {
    fn take(&mut self, block: &RecordBlock) -> Result<()> {
        for progress in parse(block) {
            let progress = progress?;
            self.first.entry(progress.partition).or_insert_with(|| progress.clone());
            self.last.take(&progress);
        }
        Ok(())
    }
}

/// The records of a block of a progress topic, each with its epoch.
pub(crate) fn parse(block: &RecordBlock) -> impl Iterator<Item = Result<Progress>> + '_ {
    block.values.iter().zip(&block.offsets).filter_map(|(value, &offset)| {
        let progress = Progress::from_json(value?).map(|progress| match progress.is_claim {
            true => Progress { epoch: Some(offset), ..progress },
            false => progress,
        });
        Some(progress.map_err(|error| Error::Position(format!("{} holds something else: {error}", block.topic))))
    })
}

/// Reads the topic piece by piece from its end until `is_enough`. Gives the offset where the last piece begins, and the end of the topic.
///
/// # Errors
/// Those of Kafka; `Position` when the topic holds something else.
pub(crate) fn read_back(
    connection: &Connection,
    reader: &Reader,
    topic: &str,
    stop: &Stop,
    mut is_enough: impl FnMut(&Piece) -> bool,
) -> Result<(i64, i64)> {
    let partition = TopicPartition::new(topic, 0);
    let (first, end) = reader.range(&partition)?;
    let (mut from, mut step) = (end, FIRST_STEP);
    while from > first {
        let to = from;
        from = (to - step).max(first);
        step *= 2;
        let mut piece = Piece::default();
        read_range(connection, &partition, (from, to), stop, |block| piece.take(block))?;
        if is_enough(&piece) {
            break;
        }
    }
    Ok((from, end))
}

/// The last word on each partition, none of those that have none; and the end of the topic.
///
/// # Errors
/// As [`read_back`].
pub(crate) fn latest(
    connection: &Connection,
    reader: &Reader,
    topic: &str,
    partitions: i32,
    stop: &Stop,
) -> Result<(ProgressLedger, i64)> {
    let mut latest = ProgressLedger::default();
    let (_, end) = read_back(connection, reader, topic, stop, |piece| {
        let newer = std::mem::replace(&mut latest, piece.last.clone());
        newer.iter().for_each(|progress| {
            latest.take(progress);
        });
        (0..partitions).all(|partition| latest.get(partition).is_some_and(|progress| !progress.is_claim))
    })?;
    Ok((latest, end))
}

/// Where to begin reading so that no watermark comes later than it has to for a reader that goes on at `positions`, the next validated offset of
/// each partition.
///
/// # Errors
/// As [`read_back`].
pub(crate) fn start_for(
    connection: &Connection,
    reader: &Reader,
    topic: &str,
    positions: &[i64],
    stop: &Stop,
) -> Result<i64> {
    let mut covered = vec![false; positions.len()];
    let (from, _) = read_back(connection, reader, topic, stop, |piece| {
        for ((partition, &position), covered) in (0..).zip(positions).zip(&mut covered) {
            *covered |= piece.first.get(&partition).is_some_and(|progress| progress.validated_offset <= position);
        }
        covered.iter().all(|covered| *covered)
    })?;
    Ok(from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka::{Admin, OutRecord, ReaderOptions, TopicSpec, Writer, WriterOptions};
    use std::time::Duration;

    #[test]
    fn the_end_is_enough_where_it_tells_of_all_and_else_older_records_are_found() {
        let connection = Connection::plain(testkit::kafka::bootstrap());
        let topic = testkit::unique_name("progress");
        let spec = TopicSpec { name: topic.clone(), partitions: 1, replication: 1, config: BTreeMap::new() };
        Admin::new(&connection).unwrap().create_topics(&[spec]).unwrap();
        let writer = Writer::new(&connection, &WriterOptions::default()).unwrap();
        // Partition 1 has been quiet since its 40 records; partition 0 goes on and on.
        for (partition, validated_offset) in [(1, 40)].into_iter().chain((1..=6_000).map(|offset| (0, offset))) {
            let progress = Progress { validated_offset, ..Progress::start(partition) };
            let value = progress.to_json().unwrap();
            writer.send(&OutRecord { topic: &topic, value: Some(&value), ..OutRecord::default() }).unwrap();
        }
        writer.flush(Duration::from_secs(30)).unwrap();
        let reader = Reader::new(&connection, &ReaderOptions::default()).unwrap();
        let stop = Stop::default();
        let (found, end) = latest(&connection, &reader, &topic, 2, &stop).unwrap();
        let offsets: Vec<i64> = found.iter().map(|progress| progress.validated_offset).collect();
        assert_eq!((offsets, end), (vec![6_000, 40], 6_001));
        let (found, _) = latest(&connection, &reader, &topic, 3, &stop).unwrap();
        assert_eq!(found.iter().count(), 2, "one that never had any");
        let start = |positions: &[i64]| start_for(&connection, &reader, &topic, positions, &stop).unwrap();
        // What lies before the first step back isn't read.
        assert_eq!(start(&[5_990]), 6_001 - FIRST_STEP);
        assert_eq!(start(&[4_000]), 6_001 - 3 * FIRST_STEP);
        assert_eq!(start(&[5_990, 40]), 0);
        assert_eq!(start(&[0]), 0, "nothing is at or below it");
    }

    #[test]
    fn a_claim_at_the_end_has_the_epoch_and_what_lies_before_it_the_rest() {
        let connection = Connection::plain(testkit::kafka::bootstrap());
        let topic = testkit::unique_name("progress");
        let spec = TopicSpec { name: topic.clone(), partitions: 1, replication: 1, config: BTreeMap::new() };
        Admin::new(&connection).unwrap().create_topics(&[spec]).unwrap();
        let writer = Writer::new(&connection, &WriterOptions::default()).unwrap();
        let said = |epoch, validated_offset| Progress { epoch, validated_offset, ..Progress::start(0) };
        let claim = || Progress { is_claim: true, ..Progress::start(0) };
        let others = (0..1_100).map(|offset| Progress { validated_offset: offset, ..Progress::start(1) });
        // The claim lies in the last piece, what was said before it in the one before.
        for progress in [claim(), said(Some(0), 7)].into_iter().chain(others).chain([claim(), said(Some(0), 9)]) {
            let value = progress.to_json().unwrap();
            writer.send(&OutRecord { topic: &topic, value: Some(&value), ..OutRecord::default() }).unwrap();
        }
        writer.flush(Duration::from_secs(30)).unwrap();
        let reader = Reader::new(&connection, &ReaderOptions::default()).unwrap();
        let (found, _) = latest(&connection, &reader, &topic, 2, &Stop::default()).unwrap();
        assert_eq!(found.get(0), Some(&said(Some(1_102), 7)));
    }
}
