//! Folds batches into sessions.

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray as _;
use arrow_array::types::TimestampMicrosecondType;
use sql::SessionWindow;

use super::batch::{Run, Runs};
use super::table::{SESSION_BYTES, Session, SessionTable};
use crate::accumulator::Accumulator;
use crate::cold::ColdKeys;
use crate::error::Cause;
use crate::keys::Keys;
use crate::metrics::Metrics;
use crate::place::Places;
use crate::window::aggregation::offset;
use crate::window::groups::BatchGroups;
use crate::window::plan::Plan;
use crate::window::table::group_bytes_max;

/// The aggregate part of a query over sessions.
#[derive(Debug)]
pub(crate) struct SessionAggregation {
    pub(super) plan: Plan,
    pub(super) gap_us: i64,
    pub(super) table: SessionTable,
    pub(super) watermark_us: Option<i64>,
    /// Whether rows may come that were folded, and published, before the last restart.
    pub(super) is_replaying: bool,
    /// Where keys go that don't fit into memory; without it a batch that doesn't fit is refused.
    pub(super) cold: Option<ColdKeys>,
    /// Sessions that are there.
    pub(super) cold_sessions: usize,
    /// Sessions in memory from which on a snapshot has them in parts.
    pub(super) parts_from: usize,
    pub(super) scratch: Scratch,
}

/// Buffers and the aggregates of one batch, reused from batch to batch.
#[derive(Debug)]
pub(super) struct Scratch {
    /// All rows are in one pane.
    panes: Vec<i64>,
    pub(super) keys: Keys,
    pub(super) groups: BatchGroups,
    runs: Runs,
    partials: Vec<Box<dyn Accumulator>>,
}

impl SessionAggregation {
    pub(crate) fn new(plan: Plan, window: &SessionWindow) -> Result<Self, Cause> {
        if window.gap_us <= 0 {
            return Err(Cause::Plan(format!("a session with a gap of {} µs", window.gap_us)));
        }
        let scratch = Scratch {
            panes: Vec::new(),
            keys: plan.codec.keys(),
            groups: BatchGroups::default(),
            runs: Runs::default(),
            partials: plan.accumulators()?,
        };
        let table = plan.sessions()?;
        Ok(Self {
            plan,
            gap_us: window.gap_us,
            table,
            watermark_us: None,
            is_replaying: false,
            cold: None,
            cold_sessions: 0,
            parts_from: usize::MAX,
            scratch,
        })
    }

    /// Folds rows into their sessions; before the first change it is known that none is late and that there is room.
    pub(crate) fn fold(
        &mut self,
        rows: &RecordBatch,
        partition: i32,
        bytes_max: usize,
        metrics: &mut Metrics,
    ) -> Result<(), Cause> {
        let (rows, time) = self.plan.timed(rows, metrics)?;
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let times = time.as_primitive::<TimestampMicrosecondType>().values();
        self.refuse_late(&rows, times, partition)?;
        let Scratch { panes, keys, groups, runs, partials } = &mut self.scratch;
        self.plan.codec.encode(&self.plan.key_columns(&rows)?, rows.num_rows(), keys)?;
        panes.clear();
        panes.resize(rows.num_rows(), 0);
        groups.assign(panes, keys, None)?;
        runs.cut(groups, times, self.gap_us);
        let places = Places::of(&rows, partition, times);
        self.plan.fold_batch(&rows, &places, &runs.of_row, runs.runs.len(), partials)?;
        let needed = self.needed();
        match &self.cold {
            Some(_) => self.make_room(needed)?,
            None => self.refuse_overflow(needed, bytes_max)?,
        }
        self.recall_keys()?;
        for number in 0..self.scratch.runs.runs.len() {
            self.fold_run(number, times)?;
        }
        self.scratch.keys.release();
        self.table.compact(false, || self.plan.accumulators())
    }

    /// A row below the watermark might belong to a session that is closed.
    fn refuse_late(&self, rows: &RecordBatch, times: &[i64], partition: i32) -> Result<(), Cause> {
        let least = self.watermark_us.unwrap_or(i64::MIN);
        let most = i64::MAX - self.gap_us;
        let Some(row) = times.iter().position(|time| *time < least || *time > most) else { return Ok(()) };
        let (time_us, offset) = (times.get(row).copied().unwrap_or_default(), offset(rows, row));
        if time_us > most {
            return Err(Cause::TimeRange { partition, offset, time_us });
        }
        let window_end_us = time_us + self.gap_us;
        Err(Cause::Late { partition, offset, window_start_us: time_us, window_end_us, watermark_us: least })
    }

    /// Bytes that the batch may take: each of its runs may be a session of its own.
    fn needed(&self) -> usize {
        let Scratch { keys, groups, runs, partials, .. } = &self.scratch;
        let key_bytes = |run: &Run| keys.get(groups.first_row(run.group)).map_or(0, <[u8]>::len);
        let of_runs = runs.runs.iter().map(|run| group_bytes_max(key_bytes(run) + SESSION_BYTES, partials));
        let values: usize = partials.iter().map(|partial| partial.heap_bytes()).sum();
        of_runs.sum::<usize>() + values
    }

    /// Refuses the batch if it might not fit.
    fn refuse_overflow(&self, needed: usize, bytes_max: usize) -> Result<(), Cause> {
        let bytes = self.table.bytes() + needed;
        if bytes > bytes_max { Err(Cause::StateFull { bytes, bytes_max }) } else { Ok(()) }
    }

    fn fold_run(&mut self, number: usize, times: &[i64]) -> Result<(), Cause> {
        let Scratch { keys, groups, runs, partials, .. } = &self.scratch;
        let Some(run) = runs.runs.get(number).copied() else { return Ok(()) };
        let replayed = if self.is_replaying { runs.times(&run, times) } else { Vec::new() };
        let row = groups.first_row(run.group);
        let key = self.table.key(keys.hashes[row], keys.get(row))?;
        self.table.is_hot[key as usize] = true;
        // Sessions of a key lie further apart than the gap, so those that the run touches follow one another.
        let (of_key, gap_us) = (&self.table.of_key[key as usize], self.gap_us);
        let session = |number: &u32| &self.table.sessions[*number as usize];
        let begin = of_key.partition_point(|number| session(number).last_us.saturating_add(gap_us) < run.start_us);
        let end = of_key.partition_point(|number| session(number).start_us <= run.last_us.saturating_add(gap_us));
        let touched: Vec<u32> = of_key.get(begin..end).unwrap_or_default().to_vec();
        let found = Session {
            key,
            start_us: run.start_us,
            last_us: run.last_us,
            rows: run.rows,
            replayed,
            ..Session::default()
        };
        let into = match touched.first() {
            Some(first) => {
                self.table.update(*first, |session| session.absorb(found));
                *first
            }
            None => {
                let inserted = self.table.insert(begin, Session { is_held: true, ..found })?;
                self.table.update(inserted, |_| {});
                inserted
            }
        };
        let number = u32::try_from(number).map_err(|_| Cause::Batch("it has more than 4294967295 rows".into()))?;
        for (accumulator, partial) in self.table.accumulators.iter_mut().zip(partials) {
            accumulator.merge(partial.as_ref(), &[number], &[into])?;
        }
        for other in touched.iter().skip(1) {
            self.table.merge(*other, into)?;
        }
        Ok(())
    }

    /// Moves the watermark; it never goes back.
    pub(crate) fn advance(&mut self, watermark_us: i64) {
        self.watermark_us = Some(self.watermark_us.map_or(watermark_us, |present| present.max(watermark_us)));
    }

    /// Whether rows may come that were published before. Once all are there, their times that aren't starts count as published, so that the
    /// next emission deletes them.
    pub(crate) fn set_replaying(&mut self, is_replaying: bool) {
        self.is_replaying = is_replaying;
        if is_replaying {
            return;
        }
        let held: Vec<u32> = self.table.by_last.iter().map(|(_, number)| *number).collect();
        for number in held {
            if !self.table.sessions[number as usize].replayed.is_empty() {
                self.table.update(number, Session::settle_replayed);
            }
        }
    }

    /// Bytes of state, with the buffers kept between batches.
    pub(crate) fn bytes(&self) -> usize {
        let Scratch { panes, keys, groups, runs, partials } = &self.scratch;
        let partials: usize = partials.iter().map(|each| each.bytes()).sum();
        self.table.bytes()
            + self.cold.as_ref().map_or(0, ColdKeys::memory_bytes)
            + panes.capacity() * size_of::<i64>()
            + keys.bytes()
            + groups.bytes()
            + runs.bytes()
            + partials
    }

    /// Sessions held.
    pub(crate) fn held(&self) -> u64 {
        (self.table.by_last.len() + self.cold_sessions) as u64
    }

    /// Sessions that are on the disk, and the bytes of its files.
    pub(crate) fn spilled(&self) -> (u64, u64) {
        (self.cold_sessions as u64, self.cold.as_ref().map_or(0, ColdKeys::disk_bytes))
    }
}
