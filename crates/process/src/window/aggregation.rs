//! Folds batches into windows.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use sql::FixedWindow;

use super::assign::Windows;
use super::groups::BatchGroups;
use super::panes::Sharing;
use super::parts::SavedParts;
use super::plan::Plan;
use super::spill::{self, Closing, recall};
use super::table::{Window, group_bytes_max};
use crate::accumulator::Accumulator;
use crate::error::Cause;
use crate::keys::Keys;
use crate::metrics::Metrics;
use crate::options::Spill;
use crate::place::Places;

/// The aggregate part of a query.
#[derive(Debug)]
pub(crate) struct WindowAggregation {
    pub(super) plan: Plan,
    pub(super) assign: Windows,
    /// By their starts; panes where windows share them.
    pub(super) windows: BTreeMap<i64, Window>,
    pub(super) watermark_us: Option<i64>,
    /// Bytes of `windows`.
    pub(super) window_bytes: usize,
    /// Whether rows may come that were folded, and published, before the last restart.
    pub(super) is_replaying: bool,
    /// Where groups go that don't fit into memory; without it a batch that doesn't fit is refused.
    pub(super) spill: Option<Spill>,
    /// Groups from which on a snapshot is made of parts, and the parts of the last one.
    pub(super) parts_from_groups: usize,
    pub(super) saved: SavedParts,
    /// The window that is being read through from the disk to be published.
    pub(super) closing: Option<Closing>,
    /// Windows that start here or before may have been published by a drain that this state doesn't know of.
    pub(super) drained_start_us: Option<i64>,
    /// What there is beside `windows` where these are panes.
    pub(super) sharing: Sharing,
    scratch: Scratch,
}

/// Buffers and the aggregates of one batch, reused from batch to batch.
#[derive(Debug)]
struct Scratch {
    panes: Vec<i64>,
    keys: Keys,
    groups: BatchGroups,
    partials: Vec<Box<dyn Accumulator>>,
    into: Vec<u32>,
}

impl WindowAggregation {
    pub(crate) fn new(plan: Plan, window: &FixedWindow) -> Result<Self, Cause> {
        Self::of(plan, Windows::new(window.size_us, window.slide_us, window.offset_us)?)
    }

    fn of(plan: Plan, assign: Windows) -> Result<Self, Cause> {
        let scratch = Scratch {
            panes: Vec::new(),
            keys: plan.codec.keys(),
            groups: BatchGroups::default(),
            partials: plan.accumulators()?,
            into: Vec::new(),
        };
        Ok(Self {
            plan,
            assign,
            windows: BTreeMap::new(),
            watermark_us: None,
            window_bytes: 0,
            is_replaying: false,
            spill: None,
            parts_from_groups: usize::MAX,
            saved: SavedParts::default(),
            closing: None,
            drained_start_us: None,
            sharing: Sharing::default(),
            scratch,
        })
    }

    /// As [`new`](Self::new), with windows that share panes.
    pub(crate) fn sharing_panes(plan: Plan, window: &FixedWindow) -> Result<Self, Cause> {
        let own = Self::new(plan, window)?;
        Ok(Self { assign: own.assign.sharing_panes(), ..own })
    }

    /// Has snapshots of so many groups made of parts.
    pub(crate) fn parts_from(&mut self, groups: usize) {
        self.parts_from_groups = groups;
    }

    /// Names of the parts that the last snapshot is made of.
    pub(crate) fn part_names(&self) -> impl Iterator<Item = &String> {
        self.saved.names()
    }

    /// Has the next snapshot name no part of those before.
    pub(crate) fn forget_parts(&mut self) {
        self.saved = SavedParts::default();
    }

    /// Moves groups to the disk from now on where they don't fit into memory.
    pub(crate) fn spill_to(&mut self, spill: Spill) {
        self.spill = Some(spill);
    }

    /// A copy of its windows and their time. What is on the disk is shared.
    pub(super) fn copy(&self) -> Result<Self, Cause> {
        let (watermark_us, drained_start_us) = (self.watermark_us, self.drained_start_us);
        let empty = Self::of(self.plan.clone(), self.assign)?;
        let mut copy = Self { watermark_us, drained_start_us, spill: self.spill.clone(), ..empty };
        for (start_us, window) in &self.windows {
            let mut window = window.copy(self.plan.accumulators()?)?;
            copy.window_bytes += window.count_bytes();
            copy.windows.insert(*start_us, window);
            copy.make_room()?;
        }
        Ok(copy)
    }

    /// Folds rows into their windows; before the first change it is known that none is late and that there is room.
    pub(crate) fn fold(
        &mut self,
        rows: &RecordBatch,
        partition: i32,
        bytes_max: usize,
        metrics: &mut Metrics,
    ) -> Result<(), Cause> {
        self.fold_weighted(rows, None, partition, bytes_max, metrics)
    }

    /// As [`fold`](Self::fold), for rows that stand for several accepted rows each.
    pub(super) fn fold_weighted(
        &mut self,
        rows: &RecordBatch,
        weights: Option<&[u64]>,
        partition: i32,
        bytes_max: usize,
        metrics: &mut Metrics,
    ) -> Result<(), Cause> {
        let (rows, time) = self.plan.timed(rows, metrics)?;
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let times = time.as_primitive::<TimestampMicrosecondType>().values();
        if let Err(row) = self.assign.panes(times, &mut self.scratch.panes) {
            let time_us = times.get(row).copied().unwrap_or_default();
            return Err(Cause::TimeRange { partition, offset: offset(&rows, row), time_us });
        }
        self.refuse_late(&rows, partition)?;
        let keys = self.plan.key_columns(&rows)?;
        self.plan.codec.encode(&keys, rows.num_rows(), &mut self.scratch.keys)?;
        self.scratch.groups.assign(&self.scratch.panes, &self.scratch.keys, weights)?;
        let Scratch { groups, partials, .. } = &mut self.scratch;
        self.plan.fold_batch(&rows, &Places::of(&rows, partition, times), &groups.of_row, groups.len(), partials)?;
        self.sharing.bytes_max = self.spill.as_ref().map_or(bytes_max, |spill| spill.bytes_max);
        if self.spill.is_none() {
            self.refuse_overflow(bytes_max)?;
        }
        let folded = self.merge_into_windows();
        self.scratch.keys.release();
        folded
    }

    fn refuse_late(&self, rows: &RecordBatch, partition: i32) -> Result<(), Cause> {
        let windows = &self.assign;
        let (Some(watermark_us), Some(earliest)) = (self.watermark_us, self.scratch.panes.iter().min()) else {
            return Ok(());
        };
        if !windows.is_closed(windows.first_holding(*earliest), self.watermark_us) {
            return Ok(());
        }
        let row = self.scratch.panes.iter().position(|pane| pane == earliest).unwrap_or_default();
        let window_start_us = windows.first_holding(*earliest);
        let window_end_us = windows.end(window_start_us).unwrap_or(i64::MAX);
        Err(Cause::Late { partition, offset: offset(rows, row), window_start_us, window_end_us, watermark_us })
    }

    /// Refuses the batch if its new groups don't fit. Groups are looked up one by one only when the rough bound doesn't do.
    fn refuse_overflow(&self, bytes_max: usize) -> Result<(), Cause> {
        let Scratch { groups, keys, partials, .. } = &self.scratch;
        // Buffers don't count: they are bounded by the batch, and keep their size.
        let held = self.window_bytes;
        let cost = |group: u32| group_bytes_max(keys.get(groups.first_row(group)).map_or(0, <[u8]>::len), partials);
        let bound: usize = groups.panes().flat_map(|(_, members)| members).map(|group| cost(*group)).sum();
        // Values that are kept beside the groups may be new in each window.
        let values: usize = partials.iter().map(|partial| partial.heap_bytes()).sum();
        let values = values.saturating_mul(self.assign.tables_per_row());
        if held.saturating_add(bound.saturating_mul(self.assign.tables_per_row())).saturating_add(values) <= bytes_max {
            return Ok(());
        }
        let mut needed = held.saturating_add(values);
        for (pane, members) in groups.panes() {
            for start in self.assign.tables(pane) {
                let window = self.windows.get(&start);
                let is_new = |group: &&u32| {
                    let row = groups.first_row(**group);
                    window.is_none_or(|window| window.keys.find(keys.hashes[row], keys.get(row)).is_none())
                };
                needed += members.iter().filter(is_new).map(|group| cost(*group)).sum::<usize>();
            }
        }
        if needed > bytes_max { Err(Cause::StateFull { bytes: needed, bytes_max }) } else { Ok(()) }
    }

    fn merge_into_windows(&mut self) -> Result<(), Cause> {
        let Self { plan, windows, window_bytes, spill, sharing, scratch, .. } = self;
        let Scratch { keys, groups, partials, into, .. } = scratch;
        let values: usize = partials.iter().map(|partial| partial.heap_bytes()).sum();
        let cost = |group: &u32| group_bytes_max(keys.get(groups.first_row(*group)).map_or(0, <[u8]>::len), partials);
        for (pane, members) in groups.panes() {
            let bound = values + members.iter().map(cost).sum::<usize>();
            for start in self.assign.tables(pane) {
                if let Some(spill) = spill.as_ref().filter(|spill| *window_bytes + bound > spill.bytes_max) {
                    // Roughly it doesn't fit: now one by one.
                    let window = windows.get(&start);
                    let is_new = |group: &&u32| {
                        let row = groups.first_row(**group);
                        window.is_none_or(|window| window.keys.find(keys.hashes[row], keys.get(row)).is_none())
                    };
                    let needed = values + members.iter().filter(is_new).map(cost).sum::<usize>();
                    let is_empty = windows.values().all(|window| window.keys.len() == 0);
                    if *window_bytes + needed > spill.bytes_max && !is_empty {
                        *window_bytes = spill::evict(plan, spill, windows)?;
                        sharing.may_be_on_disk = true;
                    }
                }
                let window = match windows.entry(start) {
                    std::collections::btree_map::Entry::Occupied(there) => there.into_mut(),
                    std::collections::btree_map::Entry::Vacant(free) => free.insert(Window::new(plan.accumulators()?)),
                };
                if window.cold_groups > 0 {
                    recall::members(window, plan, keys, groups, members)?;
                }
                window.fold(keys, groups, members, partials, into)?;
                let before = window.counted_bytes;
                *window_bytes = *window_bytes + window.count_bytes() - before;
            }
        }
        Ok(())
    }

    /// Makes room where memory holds more than it may.
    pub(super) fn make_room(&mut self) -> Result<(), Cause> {
        if let Some(spill) = self.spill.as_ref().filter(|spill| self.window_bytes > spill.bytes_max)
            && self.windows.values().any(|window| window.keys.len() > 0)
        {
            self.window_bytes = spill::evict(&self.plan, spill, &mut self.windows)?;
            self.sharing.may_be_on_disk = true;
        }
        Ok(())
    }

    /// Moves the watermark; it never goes back.
    pub(crate) fn advance(&mut self, watermark_us: i64) {
        self.watermark_us = Some(self.watermark_us.map_or(watermark_us, |present| present.max(watermark_us)));
    }

    /// Says that windows were published by a drain whose state is gone: what HAVING refuses of them in the end is deleted.
    pub(super) fn doubt(&mut self, last_start_us: Option<i64>) {
        self.drained_start_us = self.drained_start_us.max(last_start_us);
    }

    /// Start of the last window.
    pub(super) fn last_start_us(&self) -> Option<i64> {
        self.windows.last_key_value().map(|(start_us, _)| *start_us)
    }

    /// Whether rows may come that were published before.
    pub(crate) fn set_replaying(&mut self, is_replaying: bool) {
        self.is_replaying = is_replaying;
        if !is_replaying {
            self.windows.values_mut().for_each(Window::settle_doubts);
        }
    }

    /// Bytes of state, with the buffers kept between batches.
    pub(crate) fn bytes(&self) -> usize {
        let Scratch { panes, keys, groups, partials, into } = &self.scratch;
        let partials: usize = partials.iter().map(|each| each.bytes()).sum();
        let buffers = panes.capacity() * size_of::<i64>() + into.capacity() * size_of::<u32>() + partials;
        self.window_bytes + self.sharing.bytes() + buffers + keys.bytes() + groups.bytes()
    }

    /// Windows and groups held.
    pub(crate) fn held(&self) -> (u64, u64) {
        let windows = if self.assign.shares_panes() { self.open_windows() } else { self.windows.len() as u64 };
        (windows, self.windows.values().map(|window| window.len() as u64).sum())
    }

    /// Groups that are on the disk, and the bytes of its files.
    pub(crate) fn spilled(&self) -> (u64, u64) {
        let groups = self.windows.values().map(|window| window.cold_groups as u64).sum();
        (groups, spill::disk_bytes(self.windows.values()))
    }
}

/// The raw offset of a row.
pub(super) fn offset(rows: &RecordBatch, row: usize) -> i64 {
    let column = rows.column_by_name(sql::SOURCE_OFFSET).and_then(|column| column.as_primitive_opt::<Int64Type>());
    column.and_then(|offsets| offsets.values().get(row).copied()).unwrap_or(-1)
}
