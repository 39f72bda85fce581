//! Reading batches from a segment file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use super::batch::{BatchHeader, HEADER_LEN};

/// A place between two batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Offset of the first record after it.
    pub(crate) offset: i64,
    /// Base offset of the segment it lies in.
    pub(crate) segment: i64,
    /// Where in the segment's file.
    pub(crate) position: u64,
}

/// Where to look for an offset.
#[derive(Debug, Clone)]
pub(crate) struct ReadFrom {
    pub(crate) file: Arc<File>,
    pub(crate) segment: i64,
    /// Offset wanted.
    pub(crate) offset: i64,
    /// Start of the batch that holds the offset, or of one before it.
    pub(crate) position: u64,
    /// End of what may be read.
    pub(crate) limit: u64,
}

/// Walks over the bytes of a file with few reads.
#[derive(Debug)]
pub(crate) struct Walker<'a> {
    file: &'a File,
    limit: u64,
    chunk: usize,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Walker<'a> {
    /// A walker over the first `limit` bytes of `file` that reads `chunk` bytes at a time, or more where one batch is larger.
    pub(crate) fn new(file: &'a File, limit: u64, chunk: usize) -> Self {
        Self { file, limit, chunk, start: 0, bytes: Vec::new() }
    }

    /// `len` bytes from position `at`; `None` if they reach beyond the limit.
    pub(crate) fn slice(&mut self, at: u64, len: usize) -> io::Result<Option<&[u8]>> {
        if self.limit.saturating_sub(at) < len as u64 {
            return Ok(None);
        }
        let end = self.start + self.bytes.len() as u64;
        if at < self.start || at + len as u64 > end {
            let wanted = u64::max(self.chunk as u64, len as u64).min(self.limit - at);
            self.bytes.resize(usize::try_from(wanted).unwrap_or(len), 0);
            self.start = at;
            self.file.read_exact_at(&mut self.bytes, at)?;
        }
        let from = usize::try_from(at - self.start).unwrap_or(usize::MAX);
        Ok(self.bytes.get(from..from.saturating_add(len)))
    }

    /// The header of the batch at `at`; `None` at the limit, or if there is no header.
    pub(crate) fn header(&mut self, at: u64) -> io::Result<Option<BatchHeader>> {
        Ok(self.slice(at, HEADER_LEN)?.and_then(BatchHeader::parse))
    }
}

/// Appends whole batches to `out`, from the one that holds the wanted offset, up to `bytes_max`; with `at_least_one`, the first batch
/// even if it is larger. Returns the place after them, or `None` if nothing fits.
pub(crate) fn read_batches(
    from: &ReadFrom,
    bytes_max: usize,
    at_least_one: bool,
    out: &mut Vec<u8>,
) -> io::Result<Option<Place>> {
    let Some(position) = skip_to(from)? else { return Ok(None) };
    let available = usize::try_from(from.limit - position).unwrap_or(usize::MAX);
    let begin = out.len();
    read_to(from, position, out, begin, bytes_max.max(HEADER_LEN).min(available))?;

    let first = out.get(begin..).and_then(BatchHeader::parse).ok_or_else(|| damaged(position))?;
    if first.size > available {
        return Err(damaged(position));
    }
    if first.size > bytes_max {
        if !at_least_one {
            out.truncate(begin);
            return Ok(None);
        }
        if out.len() - begin < first.size {
            let have = out.len();
            read_to(from, position + (have - begin) as u64, out, have, first.size - (have - begin))?;
        }
    }
    // Cut what follows the last whole batch.
    let mut end = begin;
    let mut next_offset = from.offset;
    while let Some(header) = out.get(end..).and_then(BatchHeader::parse) {
        if header.size > out.len() - end {
            break;
        }
        end += header.size;
        next_offset = header.next_offset();
    }
    out.truncate(end);
    Ok(Some(Place { offset: next_offset, segment: from.segment, position: position + (end - begin) as u64 }))
}

/// Where the batch begins that holds the wanted offset.
fn skip_to(from: &ReadFrom) -> io::Result<Option<u64>> {
    let mut walker = Walker::new(&from.file, from.limit, 4 * 1024);
    let mut position = from.position;
    while let Some(header) = walker.header(position)? {
        if header.next_offset() > from.offset {
            return Ok(Some(position));
        }
        position += header.size as u64;
    }
    if position >= from.limit { Ok(None) } else { Err(damaged(position)) }
}

fn read_to(from: &ReadFrom, position: u64, out: &mut Vec<u8>, at: usize, len: usize) -> io::Result<()> {
    out.resize(at + len, 0);
    match out.get_mut(at..) {
        Some(space) => from.file.read_exact_at(space, position),
        None => Ok(()),
    }
}

pub(crate) fn damaged(position: u64) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no record batch at byte {position}, where one should be"))
}
