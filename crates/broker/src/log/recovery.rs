//! What a partition's directory holds after a start: finished segments by their saved index, others by reading them.
//!
//! A finished segment has a `.state` file beside it, written after the segment was flushed to the disk. A segment without one (the last
//! one after a crash) is read and checked batch by batch, and cut after the last good one: what follows was never acknowledged, since a
//! record is acknowledged after all bytes before it are written. What is cut off is kept in a file beside it.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::batch::checksum_holds;
use super::files;
use super::read::Walker;
use super::segment::{IndexEntry, Segment, base_offset_of, file_name};
use crate::producer_state::ProducerTable;

const STATE_MAGIC: &[u8; 8] = b"tsstate1";
/// File with the offset of the first record that still counts.
const START_FILE: &str = "start-offset";
const SCAN_CHUNK_BYTES: usize = 1024 * 1024;

/// What a directory held.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// In order; the last one is appended to. Never empty.
    pub(crate) segments: Vec<Segment>,
    pub(crate) producers: ProducerTable,
    pub(crate) start_offset: i64,
    /// Bytes cut off behind the last good batch.
    pub(crate) dropped_bytes: u64,
}

/// Opens a partition's directory, which is made if it isn't there. `clean` says that the broker closed it properly.
pub(crate) fn open(dir: &Path, clean: bool) -> io::Result<Recovered> {
    fs::create_dir_all(dir)?;
    let start_offset = read_start(dir)?;
    let mut recovered =
        Recovered { segments: Vec::new(), producers: ProducerTable::default(), start_offset, dropped_bytes: 0 };
    let bases = segment_bases(dir)?;
    for (at, base) in bases.iter().enumerate() {
        let is_last = at + 1 == bases.len();
        let follows = recovered.segments.last().is_none_or(|before| before.next_offset == *base);
        if !follows {
            set_aside(dir, *base)?;
            continue;
        }
        let mut segment = Segment::new(*base, Arc::new(files::open_append(&dir.join(file_name(*base)))?));
        let saved = if is_last && !clean { None } else { load_state(dir, &mut segment)? };
        match saved {
            Some(producers) => recovered.producers = producers,
            None => recovered.dropped_bytes += scan(dir, &mut segment, &mut recovered.producers)?,
        }
        recovered.segments.push(segment);
    }
    // After a power cut the log may end before the start that was set.
    let end = recovered.segments.last().map_or(0, |segment| segment.next_offset);
    if recovered.segments.is_empty() || end < start_offset {
        for segment in recovered.segments.drain(..) {
            set_aside(dir, segment.base_offset)?;
        }
        let file = files::open_append(&dir.join(file_name(start_offset)))?;
        recovered.segments.push(Segment::new(start_offset, Arc::new(file)));
        files::flush_directory_of(&dir.join(START_FILE))?;
    }
    if let Some(first) = recovered.segments.first() {
        recovered.start_offset = recovered.start_offset.max(first.base_offset);
    }
    Ok(recovered)
}

/// Saves the offset of the first record that still counts.
pub(crate) fn save_start(dir: &Path, offset: i64) -> io::Result<()> {
    files::replace(&dir.join(START_FILE), offset.to_string().as_bytes())
}

fn read_start(dir: &Path) -> io::Result<i64> {
    match fs::read_to_string(dir.join(START_FILE)) {
        Ok(text) => text.trim().parse().map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, format!("the file {START_FILE} doesn't hold an offset"))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

fn segment_bases(dir: &Path) -> io::Result<Vec<i64>> {
    let mut bases = Vec::new();
    for entry in fs::read_dir(dir)? {
        if let Some(base) = entry?.file_name().to_str().and_then(base_offset_of) {
            bases.push(base);
        }
    }
    bases.sort_unstable();
    Ok(bases)
}

/// Renames a segment that doesn't follow the one before it, so that it isn't read and isn't lost either.
fn set_aside(dir: &Path, base: i64) -> io::Result<()> {
    let from = dir.join(file_name(base));
    tracing::error!(file = %from.display(), "a segment doesn't follow the one before it and is set aside");
    fs::rename(&from, from.with_extension("set-aside"))?;
    remove_if_there(&state_path(dir, base))
}

/// Reads a segment batch by batch and cuts it after the last good one. Returns the number of bytes cut off.
fn scan(dir: &Path, segment: &mut Segment, producers: &mut ProducerTable) -> io::Result<u64> {
    let file = segment.file.clone();
    let length = file.metadata()?.len();
    let mut walker = Walker::new(&file, length, SCAN_CHUNK_BYTES);
    while let Some(header) = walker.header(segment.size)? {
        // The base offset isn't covered by the checksum, so it is compared with what it must be.
        if header.magic != 2 || header.base_offset != segment.next_offset || header.last_offset_delta < 0 {
            break;
        }
        match walker.slice(segment.size, header.size)? {
            Some(bytes) if checksum_holds(bytes, &header) && leader_epoch_holds(bytes) => {}
            _ => break,
        }
        segment.note(&header);
        producers.record(&header);
    }
    let dropped = length - segment.size;
    if dropped > 0 {
        cut(dir, segment, dropped)?;
    }
    Ok(dropped)
}

fn leader_epoch_holds(batch: &[u8]) -> bool {
    batch.get(12..16) == Some(crate::LEADER_EPOCH.to_be_bytes().as_slice())
}

fn cut(dir: &Path, segment: &Segment, dropped: u64) -> io::Result<()> {
    let kept: PathBuf = dir.join(format!("{:020}.{}.cut-off", segment.base_offset, segment.size));
    tracing::warn!(
        file = %dir.join(file_name(segment.base_offset)).display(),
        from = segment.size, bytes = dropped, kept = %kept.display(),
        "the log ends in bytes that aren't a whole record batch; they are cut off"
    );
    // Best effort: there may be no room, and the bytes are no acknowledged record unless the disk has changed them.
    let mut tail = vec![0; usize::try_from(dropped).unwrap_or(0)];
    let copied = segment.file.read_exact_at(&mut tail, segment.size).and_then(|()| fs::write(&kept, &tail));
    if let Err(error) = copied {
        tracing::warn!(%error, "the bytes cut off couldn't be kept");
        remove_if_there(&kept)?;
    }
    segment.file.set_len(segment.size)?;
    segment.file.sync_all()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn state_path(dir: &Path, base_offset: i64) -> PathBuf {
    dir.join(format!("{base_offset:020}.state"))
}

/// Removes a segment's files.
pub(crate) fn remove_segment(dir: &Path, base_offset: i64) -> io::Result<()> {
    remove_if_there(&dir.join(file_name(base_offset)))?;
    remove_if_there(&state_path(dir, base_offset))
}

/// The bytes of a segment's `.state` file: its index, and the producers as they are at its end.
pub(crate) fn encode_state(segment: &Segment, producers: &ProducerTable) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64 + segment.index.len() * 24);
    bytes.extend_from_slice(STATE_MAGIC);
    let mut put = |number: i64| bytes.extend_from_slice(&number.to_be_bytes());
    put(segment.size.cast_signed());
    put(segment.next_offset);
    put(segment.max_timestamp);
    put(segment.max_timestamp_position.cast_signed());
    put(segment.index.len() as i64);
    for entry in &segment.index {
        put(entry.offset);
        put(entry.position.cast_signed());
        put(entry.timestamp_before);
    }
    producers.encode(&mut bytes);
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

/// Flushes a finished segment and saves its state.
pub(crate) fn save_state(dir: &Path, segment: &Segment, state: &[u8]) -> io::Result<()> {
    segment.file.sync_all()?;
    files::replace(&state_path(dir, segment.base_offset), state)
}

/// Fills `segment` from its `.state` file; `None` if that isn't there or doesn't fit the segment.
fn load_state(dir: &Path, segment: &mut Segment) -> io::Result<Option<ProducerTable>> {
    let bytes = match fs::read(state_path(dir, segment.base_offset)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut loaded = segment.clone();
    let Some(producers) = decode_state(&bytes, &mut loaded) else { return Ok(None) };
    if loaded.size != segment.file.metadata()?.len() {
        return Ok(None);
    }
    *segment = loaded;
    Ok(Some(producers))
}

fn decode_state(bytes: &[u8], segment: &mut Segment) -> Option<ProducerTable> {
    let (body, crc) = bytes.split_last_chunk()?;
    if crc32c::crc32c(body) != u32::from_be_bytes(*crc) {
        return None;
    }
    let mut rest = body.strip_prefix(STATE_MAGIC)?;
    let mut take = || {
        let (number, after) = rest.split_first_chunk()?;
        rest = after;
        Some(i64::from_be_bytes(*number))
    };
    segment.size = take()?.cast_unsigned();
    segment.next_offset = take()?;
    segment.max_timestamp = take()?;
    segment.max_timestamp_position = take()?.cast_unsigned();
    let entries = take()?;
    segment.index = Vec::new();
    for _ in 0..entries {
        let (offset, position, timestamp_before) = (take()?, take()?.cast_unsigned(), take()?);
        segment.index.push(IndexEntry { offset, position, timestamp_before });
    }
    ProducerTable::decode(&mut rest)
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
