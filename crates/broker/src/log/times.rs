//! Finding an offset by time: the one place where the broker looks into batches, and decompresses those that it must.

use std::io::{self, Read};

use super::batch::{BatchHeader, HEADER_LEN};
use super::partition::PartitionLog;
use super::read::{ReadFrom, Walker};

/// Bytes that a batch may have when decompressed; of a larger one only the header's times are known.
const DECOMPRESSED_BYTES_MAX: u64 = 64 * 1024 * 1024;
const CHUNK_BYTES: usize = 64 * 1024;

/// A record's place and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimedOffset {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
}

/// The first record whose timestamp is at least `timestamp`; `None` if there is none. Blocks.
pub(crate) fn first_at_or_after(log: &PartitionLog, timestamp: i64) -> io::Result<Option<TimedOffset>> {
    for from in log.locate_time(timestamp) {
        let found = search(&from, |header, batch| {
            if header.max_timestamp < timestamp {
                return None;
            }
            first_record(header, batch, |record| record.timestamp >= timestamp && record.offset >= from.offset)
        })?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The first record with the greatest timestamp; `None` if there is no record. Blocks.
pub(crate) fn greatest(log: &PartitionLog) -> io::Result<Option<TimedOffset>> {
    let Some(from) = log.locate_max_timestamp() else { return Ok(None) };
    search(&from, |header, batch| first_record(header, batch, |record| record.timestamp >= header.max_timestamp))
}

/// Walks over batches until `choose` finds a record in one.
fn search(
    from: &ReadFrom,
    mut choose: impl FnMut(&BatchHeader, &[u8]) -> Option<TimedOffset>,
) -> io::Result<Option<TimedOffset>> {
    let mut walker = Walker::new(&from.file, from.limit, CHUNK_BYTES);
    let mut position = from.position;
    while let Some(header) = walker.header(position)? {
        if header.next_offset() > from.offset {
            let Some(batch) = walker.slice(position, header.size)? else { break };
            if let Some(found) = choose(&header, batch) {
                return Ok(Some(found));
            }
        }
        position += header.size as u64;
    }
    Ok(None)
}

/// The first record of a batch that is `wanted`. A batch that can't be looked into answers with its first offset, which is never
/// too late.
fn first_record(header: &BatchHeader, batch: &[u8], wanted: impl Fn(&TimedOffset) -> bool) -> Option<TimedOffset> {
    if header.is_log_append_time() {
        let first = TimedOffset { offset: header.base_offset, timestamp: header.max_timestamp };
        return Some(first).filter(&wanted);
    }
    let first = TimedOffset { offset: header.base_offset, timestamp: header.base_timestamp };
    if wanted(&first) {
        return Some(first);
    }
    let Ok(records) = decompress(header.codec(), batch.get(HEADER_LEN..)?) else { return Some(first) };
    let mut bytes = records.as_slice();
    for _ in 0..header.record_count {
        let Some(record) = next_record(header, &mut bytes) else { return Some(first) };
        if wanted(&record) {
            return Some(record);
        }
    }
    None
}

/// Reads a record's time and offset, and moves `bytes` behind it.
fn next_record(header: &BatchHeader, bytes: &mut &[u8]) -> Option<TimedOffset> {
    let length = usize::try_from(varint(bytes)?).ok()?;
    let (mut record, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    record = record.get(1..)?; // attributes, unused
    let timestamp_delta = varint(&mut record)?;
    let offset_delta = varint(&mut record)?;
    Some(TimedOffset {
        offset: header.base_offset.checked_add(offset_delta)?,
        timestamp: header.base_timestamp.checked_add(timestamp_delta)?,
    })
}

/// A zigzag variable-length number.
fn varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
        }
    }
    None
}

fn decompress(codec: i16, bytes: &[u8]) -> io::Result<Vec<u8>> {
    match codec {
        0 => Ok(bytes.to_vec()),
        1 => read_bounded(flate2::read::GzDecoder::new(bytes)),
        2 => decompress_snappy(bytes),
        3 => read_bounded(lz4_flex::frame::FrameDecoder::new(bytes)),
        4 => read_bounded(zstd::stream::read::Decoder::new(bytes)?),
        other => Err(io::Error::new(io::ErrorKind::Unsupported, format!("codec {other}"))),
    }
}

fn read_bounded(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let read = reader.take(DECOMPRESSED_BYTES_MAX + 1).read_to_end(&mut out)?;
    if read as u64 > DECOMPRESSED_BYTES_MAX { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(out) }
}

/// Snappy as Java's client writes it, in blocks behind a header, or as one raw block.
fn decompress_snappy(bytes: &[u8]) -> io::Result<Vec<u8>> {
    const JAVA_MAGIC: &[u8] = b"\x82SNAPPY\0";
    const JAVA_HEADER_LEN: usize = 16;
    let mut out = Vec::new();
    if !bytes.starts_with(JAVA_MAGIC) {
        snappy_block(bytes, &mut out)?;
        return Ok(out);
    }
    let mut rest = bytes.get(JAVA_HEADER_LEN..).ok_or(io::ErrorKind::UnexpectedEof)?;
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        let (block, after) = after.split_at_checked(length).ok_or(io::ErrorKind::UnexpectedEof)?;
        snappy_block(block, &mut out)?;
        rest = after;
    }
    Ok(out)
}

fn snappy_block(block: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let length = snap::raw::decompress_len(block).map_err(io::Error::other)?;
    if (out.len() + length) as u64 > DECOMPRESSED_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    out.extend(snap::raw::Decoder::new().decompress_vec(block).map_err(io::Error::other)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_zigzag() {
        for (bytes, number) in [(&[0u8][..], 0), (&[1], -1), (&[2], 1), (&[0xac, 0x02], 150), (&[0xab, 0x02], -150)] {
            assert_eq!(varint(&mut &bytes[..]), Some(number));
        }
        assert_eq!(varint(&mut &[0x80][..]), None);
    }
}
