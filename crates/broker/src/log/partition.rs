//! One partition's log: appends in order, offsets given out, readers woken.
//!
//! Appending holds the writer's lock while it writes; readers only ever take the view's lock, which is held for look-ups and never
//! during I/O.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use tokio::sync::Notify;

use super::batch::{BatchHeader, HEADER_LEN, stamped};
use super::flush::GroupCommit;
use super::read::{Place, ReadFrom};
use super::segment::{Segment, file_name};
use super::{files, recovery};
use crate::metrics::Metrics;
use crate::options::FlushPolicy;
use crate::producer_state::{ProducerTable, Sequenced};
use crate::sync::{lock, read, write};

/// Places remembered where a reader will probably go on.
const HINTS: usize = 16;

const OPEN: u8 = 0;
/// The disk failed in a way that leaves the file's end unknown: no more appends until a restart reads the file again.
const FAILED: u8 = 1;
const DELETED: u8 = 2;

/// A partition's log.
#[derive(Debug)]
pub(crate) struct PartitionLog {
    /// `topic[partition]`, for messages.
    label: String,
    dir: PathBuf,
    flush: FlushPolicy,
    metrics: Arc<Metrics>,
    writer: Mutex<Writer>,
    view: RwLock<View>,
    hints: Mutex<Vec<Place>>,
    waiters: Mutex<Vec<Arc<Notify>>>,
    commit: GroupCommit,
    state: AtomicU8,
    /// Whether something was appended since the last flush.
    dirty: AtomicBool,
}

#[derive(Debug)]
struct Writer {
    producers: ProducerTable,
    /// Finished segments that aren't flushed yet.
    unflushed: Vec<Arc<File>>,
}

#[derive(Debug)]
struct View {
    /// Never empty.
    segments: Vec<Segment>,
    start_offset: i64,
    /// Readers see what is before it.
    visible: Place,
}

impl View {
    fn end(&self) -> Place {
        self.segments.last().map_or(self.visible, end_of)
    }

    /// Reading of `segment` from `position` on, without records before the log's start.
    fn from(&self, segment: &Segment, position: u64) -> ReadFrom {
        ReadFrom {
            file: segment.file.clone(),
            segment: segment.base_offset,
            offset: self.start_offset,
            position,
            limit: limit_of(segment, self.visible),
        }
    }
}

fn end_of(segment: &Segment) -> Place {
    Place { offset: segment.next_offset, segment: segment.base_offset, position: segment.size }
}

/// What an append needs to know of its topic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AppendOptions {
    pub(crate) segment_bytes: u64,
    /// The time to stamp on the batch, where the topic wants the broker's time.
    pub(crate) append_time_ms: Option<i64>,
}

/// A batch that is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) base_offset: i64,
    pub(crate) start_offset: i64,
    /// The batch is on the disk once everything before this offset is.
    pub(crate) durable_from: i64,
    pub(crate) is_duplicate: bool,
}

/// Why a batch isn't in the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    #[error("the sequence number isn't the next one; expected {expected}")]
    OutOfOrder { expected: i32 },
    #[error("a producer with the newer epoch {epoch} has written")]
    Fenced { epoch: i16 },
    #[error("the disk failed: {0}")]
    Storage(io::Error),
    #[error("the partition was deleted")]
    Deleted,
}

/// The first and the last offset that a reader may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) start: i64,
    pub(crate) high_watermark: i64,
}

/// Where to find an offset.
#[derive(Debug)]
pub(crate) enum Located {
    /// Nothing is there yet.
    AtEnd,
    Found(ReadFrom),
    OutOfRange,
}

impl PartitionLog {
    /// Opens the log in `dir`, which is made if it isn't there.
    pub(crate) fn open(
        label: String,
        dir: PathBuf,
        flush: FlushPolicy,
        clean: bool,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let recovered = recovery::open(&dir, clean)?;
        let mut unflushed: Vec<_> = recovered.segments.iter().map(|segment| segment.file.clone()).collect();
        unflushed.pop();
        let visible = recovered.segments.last().map(end_of).unwrap_or(Place { offset: 0, segment: 0, position: 0 });
        if flush == FlushPolicy::EveryBatch {
            // What a killed process wrote may not be on the disk yet, and readers are about to see it.
            for segment in &recovered.segments {
                segment.file.sync_data()?;
            }
        }
        Ok(Self {
            label,
            dir,
            flush,
            metrics,
            writer: Mutex::new(Writer { producers: recovered.producers, unflushed }),
            view: RwLock::new(View { segments: recovered.segments, start_offset: recovered.start_offset, visible }),
            hints: Mutex::new(Vec::new()),
            waiters: Mutex::new(Vec::new()),
            commit: GroupCommit::new(0),
            state: AtomicU8::new(OPEN),
            dirty: AtomicBool::new(true),
        })
    }

    /// Appends a batch that [`super::batch::check_incoming`] has passed. Blocks for the write, not for a flush.
    pub(crate) fn append(
        &self,
        batch: &[u8],
        header: &BatchHeader,
        options: AppendOptions,
    ) -> Result<Appended, AppendError> {
        let mut writer = lock(&self.writer);
        match self.state.load(Ordering::Acquire) {
            OPEN => {}
            DELETED => return Err(AppendError::Deleted),
            _ => return Err(AppendError::Storage(io::Error::other("an earlier failure; restart the broker"))),
        }
        let (start_offset, end) = {
            let view = read(&self.view);
            (view.start_offset, view.end())
        };
        match writer.producers.check(header) {
            Sequenced::Next => {}
            Sequenced::Gap { expected } => return Err(AppendError::OutOfOrder { expected }),
            Sequenced::Fenced { epoch } => return Err(AppendError::Fenced { epoch }),
            Sequenced::Duplicate(first) => {
                self.metrics.batches_duplicate.add(1);
                let (base_offset, durable_from) = (first.base_offset, end.offset);
                return Ok(Appended { base_offset, start_offset, durable_from, is_duplicate: true });
            }
        }
        if end.position > 0 && end.position + header.size as u64 > options.segment_bytes {
            self.roll(&mut writer).map_err(|error| self.storage(error))?;
        }
        let placed = self.write_batch(batch, header, end.offset, options)?;
        writer.producers.record(&placed);
        drop(writer);

        self.dirty.store(true, Ordering::Release);
        if self.flush != FlushPolicy::EveryBatch {
            self.wake();
        }
        let (base_offset, durable_from) = (placed.base_offset, placed.next_offset());
        Ok(Appended { base_offset, start_offset, durable_from, is_duplicate: false })
    }

    /// Writes the batch at the end of the last segment and takes note of it. Returns its header as it stands in the log.
    fn write_batch(
        &self,
        batch: &[u8],
        header: &BatchHeader,
        base_offset: i64,
        options: AppendOptions,
    ) -> Result<BatchHeader, AppendError> {
        let broken = || AppendError::Storage(io::Error::other("the batch has no header"));
        let head = stamped(batch, base_offset, options.append_time_ms).ok_or_else(broken)?;
        let tail = batch.get(HEADER_LEN..).ok_or_else(broken)?;
        let (file, size) = {
            let view = read(&self.view);
            let last = view.segments.last().ok_or_else(broken)?;
            (last.file.clone(), last.size)
        };
        match files::append(&file, size, &head, tail) {
            Ok(()) => {}
            Err(Ok(error)) => return Err(self.storage(error)),
            Err(Err(error)) => {
                self.fail();
                return Err(self.storage(error));
            }
        }
        let placed = BatchHeader {
            base_offset,
            max_timestamp: options.append_time_ms.unwrap_or(header.max_timestamp),
            ..*header
        };
        let mut view = write(&self.view);
        if let Some(last) = view.segments.last_mut() {
            last.note(&placed);
        }
        if self.flush != FlushPolicy::EveryBatch {
            view.visible = view.end();
        }
        Ok(placed)
    }

    /// Finishes the last segment and begins another.
    fn roll(&self, writer: &mut Writer) -> io::Result<()> {
        let Some(finished) = read(&self.view).segments.last().cloned() else { return Ok(()) };
        let path = self.dir.join(file_name(finished.next_offset));
        let file = Arc::new(files::open_append(&path)?);
        files::flush_directory_of(&path)?;
        let state = recovery::encode_state(&finished, &writer.producers);
        write(&self.view).segments.push(Segment::new(finished.next_offset, file));
        writer.unflushed.push(finished.file.clone());

        let (dir, label) = (self.dir.clone(), self.label.clone());
        let save = move || {
            // Without the file the segment is read again at the next start, no more.
            if let Err(error) = recovery::save_state(&dir, &finished, &state) {
                tracing::warn!(partition = label, %error, "the index of a finished segment couldn't be saved");
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(save)),
            Err(_) => save(),
        }
        Ok(())
    }

    /// `topic[partition]`, for messages.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Whether [`PartitionLog::durable`] would wait for `offset`.
    pub(crate) fn must_wait(&self, offset: i64) -> bool {
        self.flush == FlushPolicy::EveryBatch && !self.commit.has_reached(offset.cast_unsigned())
    }

    /// Waits until everything before `offset` is on the disk, where the policy is to wait for that.
    pub(crate) async fn durable(self: &Arc<Self>, offset: i64) -> io::Result<()> {
        if self.flush != FlushPolicy::EveryBatch {
            return Ok(());
        }
        let log = self.clone();
        self.commit.wait(offset.cast_unsigned(), move || log.flush_now()).await
    }

    /// Flushes everything written so far; returns the offset before which all is on the disk. Blocks.
    pub(crate) fn flush_now(&self) -> io::Result<u64> {
        let (finished, last, end) = {
            let mut writer = lock(&self.writer);
            self.dirty.store(false, Ordering::Release);
            let view = read(&self.view);
            (std::mem::take(&mut writer.unflushed), view.segments.last().map(|s| s.file.clone()), view.end())
        };
        if self.state.load(Ordering::Acquire) == DELETED {
            return Ok(end.offset.cast_unsigned());
        }
        for file in finished.iter().chain(&last) {
            if let Err(error) = file.sync_data() {
                // After a failed flush nobody knows what is on the disk; a later one that succeeds would prove nothing.
                self.fail();
                self.metrics.storage_failed(&self.label, &error);
                return Err(error);
            }
        }
        if self.flush == FlushPolicy::EveryBatch {
            let mut view = write(&self.view);
            if end.offset > view.visible.offset {
                view.visible = end;
            }
            drop(view);
            self.wake();
        }
        Ok(end.offset.cast_unsigned())
    }

    /// Whether something was appended since the last flush.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty.load(Ordering::Acquire)
    }

    /// Flushes, and saves what the next start needs to go on without reading the log. Returns whether the log is whole; one that failed
    /// earlier must be read at the next start.
    pub(crate) fn close(&self) -> io::Result<bool> {
        match self.state.load(Ordering::Acquire) {
            OPEN => {}
            state => return Ok(state == DELETED),
        }
        self.flush_now()?;
        let writer = lock(&self.writer);
        let last = read(&self.view).segments.last().cloned();
        match last {
            Some(last) => {
                let state = recovery::encode_state(&last, &writer.producers);
                recovery::save_state(&self.dir, &last, &state).map(|()| true)
            }
            None => Ok(true),
        }
    }

    /// The offsets that a reader may ask for.
    pub(crate) fn bounds(&self) -> Bounds {
        let view = read(&self.view);
        Bounds { start: view.start_offset, high_watermark: view.visible.offset }
    }

    /// Where to read from to get `offset`.
    pub(crate) fn locate(&self, offset: i64) -> Located {
        let view = read(&self.view);
        if offset < view.start_offset || offset > view.visible.offset {
            return Located::OutOfRange;
        }
        if offset == view.visible.offset {
            return Located::AtEnd;
        }
        let after = view.segments.partition_point(|segment| segment.base_offset <= offset);
        let Some(segment) = after.checked_sub(1).and_then(|at| view.segments.get(at)) else {
            return Located::OutOfRange;
        };
        let limit = limit_of(segment, view.visible);
        let hint = lock(&self.hints).iter().find(|hint| hint.offset == offset).copied();
        let position = match hint {
            Some(hint) if hint.segment == segment.base_offset => hint.position,
            _ => segment.position_before(offset),
        };
        Located::Found(ReadFrom { file: segment.file.clone(), segment: segment.base_offset, offset, position, limit })
    }

    /// Bytes from about `offset` to the end of what is visible.
    pub(crate) fn bytes_from(&self, offset: i64) -> u64 {
        let Located::Found(from) = self.locate(offset) else { return 0 };
        let view = read(&self.view);
        let later = view.segments.iter().rev().take_while(|segment| segment.base_offset > from.segment);
        let later: u64 = later.map(|segment| limit_of(segment, view.visible)).sum();
        from.limit.saturating_sub(from.position) + later
    }

    /// Where the first record with a timestamp of at least `timestamp` may be: segments to search, in order.
    pub(crate) fn locate_time(&self, timestamp: i64) -> Vec<ReadFrom> {
        let view = read(&self.view);
        let with_it = view.segments.iter().filter(|segment| segment.max_timestamp >= timestamp);
        with_it.map(|segment| view.from(segment, segment.position_before_time(timestamp))).collect()
    }

    /// Where the first batch with the greatest timestamp is; `None` if there is no record.
    pub(crate) fn locate_max_timestamp(&self) -> Option<ReadFrom> {
        let view = read(&self.view);
        let mut greatest: Option<&Segment> = None;
        for segment in view.segments.iter().filter(|segment| segment.next_offset > view.start_offset) {
            if segment.size > 0 && greatest.is_none_or(|before| segment.max_timestamp > before.max_timestamp) {
                greatest = Some(segment);
            }
        }
        greatest.map(|segment| view.from(segment, segment.max_timestamp_position))
    }

    /// Remembers where a reader will go on.
    pub(crate) fn remember(&self, place: Place) {
        let mut hints = lock(&self.hints);
        hints.retain(|hint| hint.offset != place.offset);
        if hints.len() == HINTS {
            hints.remove(0);
        }
        hints.push(place);
    }

    /// Makes the records before `offset` unreadable, and removes the segments that hold only such. Blocks.
    pub(crate) fn advance_start(&self, offset: i64) -> io::Result<i64> {
        let _writer = lock(&self.writer);
        recovery::save_start(&self.dir, offset)?;
        let removed: Vec<i64> = {
            let mut view = write(&self.view);
            view.start_offset = offset.max(view.start_offset);
            let last = view.segments.len().saturating_sub(1);
            let whole = view.segments.iter().take(last).take_while(|segment| segment.next_offset <= offset).count();
            view.segments.drain(..whole).map(|segment| segment.base_offset).collect()
        };
        for base_offset in removed {
            recovery::remove_segment(&self.dir, base_offset)?;
        }
        Ok(self.bounds().start)
    }

    /// Refuses appends from now on, wakes readers and removes the files. Blocks.
    pub(crate) fn delete(&self) -> io::Result<()> {
        let _writer = lock(&self.writer);
        self.state.store(DELETED, Ordering::Release);
        self.wake();
        fs::remove_dir_all(&self.dir)
    }

    /// Whether the partition was deleted.
    pub(crate) fn is_deleted(&self) -> bool {
        self.state.load(Ordering::Acquire) == DELETED
    }

    /// Greatest id of a producer that has written; -1 for none.
    pub(crate) fn greatest_producer_id(&self) -> i64 {
        lock(&self.writer).producers.greatest_id()
    }

    /// `waiter` is notified at the next append.
    pub(crate) fn register(&self, waiter: &Arc<Notify>) {
        let mut waiters = lock(&self.waiters);
        if !waiters.iter().any(|other| Arc::ptr_eq(other, waiter)) {
            waiters.push(waiter.clone());
        }
    }

    /// Takes back a registration.
    pub(crate) fn deregister(&self, waiter: &Arc<Notify>) {
        lock(&self.waiters).retain(|other| !Arc::ptr_eq(other, waiter));
    }

    fn wake(&self) {
        for waiter in lock(&self.waiters).drain(..) {
            waiter.notify_one();
        }
    }

    fn fail(&self) {
        tracing::error!(partition = self.label, "the partition takes no more records until the broker is restarted");
        // A deleted partition stays deleted.
        let _kept = self.state.compare_exchange(OPEN, FAILED, Ordering::AcqRel, Ordering::Acquire);
    }

    fn storage(&self, error: io::Error) -> AppendError {
        tracing::error!(partition = self.label, %error, "a record batch couldn't be written");
        self.metrics.storage_failed(&self.label, &error);
        AppendError::Storage(error)
    }
}

/// End of what may be read of a segment.
fn limit_of(segment: &Segment, visible: Place) -> u64 {
    match segment.base_offset.cmp(&visible.segment) {
        std::cmp::Ordering::Less => segment.size,
        std::cmp::Ordering::Equal => visible.position,
        std::cmp::Ordering::Greater => 0,
    }
}

#[cfg(test)]
#[path = "partition_tests.rs"]
mod tests;
