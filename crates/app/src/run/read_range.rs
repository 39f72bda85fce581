//! Reading a known piece of a partition at start-up.

use std::time::{Duration, Instant};

use kafka::{Connection, Reader, ReaderOptions, Start};
use model::{RecordBlock, TopicPartition};

use crate::error::{Error, Result};
use crate::run::stop::Stop;

const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Reads the records of a partition from `from` up to `to` (exclusive) and gives them block by block.
///
/// # Errors
/// Those of Kafka and of `take`; `Unavailable` when nothing comes for half a minute.
#[allow(clippy::disallowed_methods, reason = "a time-out on the machine's own clock, not a decision about data")]
pub(crate) fn read_range(
    connection: &Connection,
    partition: &TopicPartition,
    (from, to): (i64, i64),
    stop: &Stop,
    mut take: impl FnMut(&RecordBlock) -> Result<()>,
) -> Result<()> {
    if from >= to {
        return Ok(());
    }
    let mut reader = Reader::new(connection, &ReaderOptions::default())?;
    reader.assign(&[(partition.clone(), Start::Offset(from))])?;
    let mut heard = Instant::now();
    loop {
        for block in reader.poll(model::limits::BATCH_RECORDS_MAX, Duration::from_millis(200))? {
            heard = Instant::now();
            let block = below(block, to);
            if !block.is_empty() {
                take(&block)?;
            }
            if block.next_offset().is_none_or(|next| next >= to) {
                return Ok(());
            }
        }
        // A log may end in markers or compacted records that a reader never shows.
        if heard.elapsed() > Duration::from_secs(1) && reader.range(partition)?.1 <= to && reader.outage().is_none() {
            tracing::debug!(%partition, from, to, "the last records of the range are not shown to readers");
            return Ok(());
        }
        if stop.is_set() || heard.elapsed() > SILENCE_MAX {
            let why = reader.outage().unwrap_or("no records came").to_owned();
            return Err(Error::Unavailable(format!("reading {partition} from {from} to {to}: {why}")));
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
