//! Reading a known piece of a partition.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use kafka::{Connection, Reader, ReaderOptions, Start};
use model::{RecordBlock, TopicPartition};

use crate::error::{Error, Result};
use crate::run::stop::Stop;

const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Bytes fetched ahead where several ranges are read side by side.
const SIDE_BY_SIDE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Reads the records of a partition from `from` up to `to` (exclusive) and gives them block by block.
///
/// # Errors
/// Those of Kafka and of `take`; `Unavailable` when nothing comes for half a minute.
pub(crate) fn read_range(
    connection: &Connection,
    partition: &TopicPartition,
    range: (i64, i64),
    stop: &Stop,
    mut take: impl FnMut(&RecordBlock) -> Result<()>,
) -> Result<()> {
    if range.0 >= range.1 {
        return Ok(());
    }
    let reader = Reader::new(connection, &ReaderOptions::default())?;
    let mut reader = RangeReader::start(reader, partition, range, stop)?;
    while let Some(block) = reader.next()? {
        take(&block)?;
    }
    Ok(())
}

/// A piece of a partition, block by block.
#[derive(Debug)]
pub(crate) struct RangeReader {
    reader: Reader,
    partition: TopicPartition,
    range: (i64, i64),
    stop: Stop,
    waiting: VecDeque<RecordBlock>,
    heard: Instant,
    is_over: bool,
}

impl RangeReader {
    /// All that is there now.
    ///
    /// # Errors
    /// Those of Kafka.
    pub(crate) fn whole(connection: &Connection, partition: &TopicPartition, stop: &Stop) -> Result<Self> {
        let options = ReaderOptions { queued_bytes_max: SIDE_BY_SIDE_BYTES_MAX, ..ReaderOptions::default() };
        let reader = Reader::new(connection, &options)?;
        let range = reader.range(partition)?;
        Self::start(reader, partition, range, stop)
    }

    #[allow(clippy::disallowed_methods, reason = "a time-out on the machine's own clock, not a decision about data")]
    fn start(mut reader: Reader, partition: &TopicPartition, range: (i64, i64), stop: &Stop) -> Result<Self> {
        let is_over = range.0 >= range.1;
        if !is_over {
            reader.assign(&[(partition.clone(), Start::Offset(range.0))])?;
        }
        let (partition, stop, waiting) = (partition.clone(), stop.clone(), VecDeque::new());
        Ok(Self { reader, partition, range, stop, waiting, heard: Instant::now(), is_over })
    }

    /// First offset, and the offset after the last.
    pub(crate) fn range(&self) -> (i64, i64) {
        self.range
    }

    /// The next records; `None` after the last.
    ///
    /// # Errors
    /// Those of Kafka; `Unavailable` when nothing comes for half a minute; `Interrupted` when the switch is thrown.
    #[allow(clippy::disallowed_methods, reason = "a time-out on the machine's own clock, not a decision about data")]
    pub(crate) fn next(&mut self) -> Result<Option<RecordBlock>> {
        let (from, to) = self.range;
        // Time that the caller took is no silence.
        self.heard = Instant::now();
        loop {
            if let Some(block) = self.waiting.pop_front() {
                self.is_over = block.next_offset().is_none_or(|next| next >= to);
                let block = below(block, to);
                if !block.is_empty() {
                    return Ok(Some(block));
                }
            }
            if self.is_over {
                return Ok(None);
            }
            if !self.waiting.is_empty() {
                continue;
            }
            if self.stop.is_set() {
                return Err(Error::Interrupted(format!("reading {} was stopped", self.partition)));
            }
            self.waiting.extend(self.reader.poll(model::limits::BATCH_RECORDS_MAX, Duration::from_millis(200))?);
            if !self.waiting.is_empty() {
                continue;
            }
            // A range may end in markers that a reader never shows.
            if self.reader.positions()?.iter().any(|&(_, position)| position >= to) {
                self.is_over = true;
            } else if self.heard.elapsed() > SILENCE_MAX {
                let why = self.reader.outage().unwrap_or("no records came").to_owned();
                return Err(Error::Unavailable(format!("reading {} from {from} to {to}: {why}", self.partition)));
            }
        }
    }
}

/// The block's records below an offset.
fn below(block: RecordBlock, to: i64) -> RecordBlock {
    if block.next_offset().is_none_or(|next| next <= to) {
        return block;
    }
    let mut head = RecordBlock::new(block.topic.clone(), block.partition);
    for (index, &offset) in block.offsets.iter().enumerate().take_while(|&(_, &offset)| offset < to) {
        let (timestamp, key, value) = (block.timestamps_ms[index], block.keys.get(index), block.values.get(index));
        head.push(offset, timestamp, key, value, block.headers(index));
    }
    head
}
