//! What is published of windows that share panes.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use model::Version;

use super::super::aggregation::WindowAggregation;
use super::super::emit::{GROUPS_MAX, Settled};
use super::super::spill::ColdRun;
use super::super::table::{Window, flag};
use super::combiner::Source;
use super::sweep::{Stretch, Sweep};
use super::table::Combined;
use super::walk::Walk;
use crate::emission::Emission;
use crate::error::Cause;
use crate::metrics::Metrics;

impl WindowAggregation {
    /// Publishes windows that are closed and, if they are to be published, what changed in the others. What is left for the next call isn't
    /// empty.
    pub(in crate::window) fn publish_combined(
        &mut self,
        publish_open: bool,
        empty: &Emission,
        metrics: &mut Metrics,
    ) -> Result<Emission, Cause> {
        if !self.sharing.is_amid_emission() {
            self.make_room()?;
        }
        loop {
            let combined = self.combine_next(publish_open, metrics)?;
            if combined.len() == 0 {
                self.sharing.forget_published();
                return Ok(empty.clone());
            }
            let grouped = self.grouped_of(&combined)?;
            let passes = self.plan.passes(&grouped)?;
            let settled = self.settle_combined(&combined, &passes);
            let emission = self.emission(&grouped, &passes, settled, empty, metrics)?;
            // HAVING may have refused all of it.
            if !emission.is_empty() {
                return Ok(emission);
            }
        }
    }

    /// The groups that are published next.
    fn combine_next(&mut self, publish_open: bool, metrics: &mut Metrics) -> Result<Combined, Cause> {
        let mut out = Combined::new(&self.plan)?;
        while out.len() < GROUPS_MAX {
            let stretch = match self.sharing.sweep.as_ref().map(|sweep| sweep.stretch) {
                Some(stretch) => stretch,
                None => match self.next_stretch(publish_open) {
                    Some(stretch) => stretch,
                    None => break,
                },
            };
            let is_all = self.combine(stretch, &mut out)?;
            if stretch.is_final {
                out.finals = out.len();
            }
            match (is_all, stretch.is_final) {
                (false, _) => {}
                (true, true) => self.end_windows(stretch, metrics),
                (true, false) => self.settle_changes(),
            }
        }
        Ok(out)
    }

    /// The windows that are published next.
    fn next_stretch(&self, publish_open: bool) -> Option<Stretch> {
        let (first_us, _) = self.windows.first_key_value()?;
        let from_us = self.sharing.next_start_us.unwrap_or(i64::MIN);
        if let Some(until_us) = self.watermark_us.map(|watermark_us| self.assign.closed_until(watermark_us))
            && self.assign.first_holding_from(*first_us, from_us) < until_us
        {
            return Some(Stretch { from_us, until_us, is_final: true });
        }
        let has_changes = |pane: &Window| !pane.changed.is_empty() || pane.runs.iter().any(ColdRun::may_have_changes);
        let is_due = publish_open && self.windows.values().any(has_changes);
        is_due.then_some(Stretch { from_us, until_us: i64::MAX, is_final: false })
    }

    /// Puts windows together until there are as many groups as are published at a time. Whether that was all.
    fn combine(&mut self, stretch: Stretch, out: &mut Combined) -> Result<bool, Cause> {
        let keeps_walk = self.sharing.sweep.is_none() && stretch.is_final && self.has_room_for_walk();
        let Self { plan, assign, windows, sharing, window_bytes, .. } = self;
        let source = Source { windows: assign, panes: windows, plan };
        if !keeps_walk {
            if stretch.is_final {
                sharing.walk = None;
            }
            let sweep = sharing.sweep.get_or_insert_with(|| Sweep::new(stretch, assign, windows));
            let is_all = sweep.fill(GROUPS_MAX, source, out)?;
            if is_all {
                sharing.sweep = None;
            }
            return Ok(is_all);
        }
        let walk = match &mut sharing.walk {
            Some(walk) => walk,
            free => free.insert(Walk::new(plan, stretch.from_us)?),
        };
        let is_all = walk.fill(stretch.until_us, false, GROUPS_MAX, source, out)?;
        sharing.is_walking = !is_all;
        if is_all && window_bytes.saturating_add(walk.bytes()) > sharing.bytes_max {
            sharing.walk = None;
        }
        Ok(is_all)
    }

    /// Whether all panes are in memory, and what is made of them may stay there beside them.
    fn has_room_for_walk(&mut self) -> bool {
        if self.sharing.is_walking {
            return true;
        }
        if self.sharing.may_be_on_disk {
            self.sharing.may_be_on_disk = self.windows.values().any(|pane| !pane.runs.is_empty());
        }
        !self.sharing.may_be_on_disk && self.window_bytes.saturating_mul(2) <= self.sharing.bytes_max
    }

    /// Notes that windows have been published as final, and drops the panes that no other window needs.
    fn end_windows(&mut self, stretch: Stretch, metrics: &mut Metrics) {
        metrics.windows_closed += self.windows_with_rows(stretch.from_us, stretch.until_us);
        self.sharing.next_start_us = Some(stretch.until_us);
        while let Some(first) = self.windows.first_entry().filter(|first| *first.key() < stretch.until_us) {
            self.window_bytes -= first.remove().counted_bytes;
        }
    }

    /// Notes that all open windows have been published as they are.
    fn settle_changes(&mut self) {
        for pane in self.windows.values_mut() {
            for group in std::mem::take(&mut pane.changed) {
                let flags = &mut pane.flags[group as usize];
                *flags = (*flags & !flag::CHANGED) | flag::UNSAVED;
            }
            pane.runs.iter_mut().for_each(ColdRun::settle_changes);
        }
    }

    /// Windows with rows that start from `from_us` on and before `until_us`.
    fn windows_with_rows(&self, from_us: i64, until_us: i64) -> u64 {
        let (mut count, mut next_us) = (0, from_us);
        for pane_us in self.windows.range(from_us..).map(|(pane_us, _)| *pane_us) {
            if next_us >= until_us || self.assign.first_holding_from(pane_us, next_us) >= until_us {
                break;
            }
            count += self.assign.count_holding(pane_us, next_us, until_us);
            next_us = next_us.max(pane_us.saturating_add(self.assign.slide_us()));
        }
        count
    }

    /// Windows that have rows and haven't been published as final.
    pub(in crate::window) fn open_windows(&self) -> u64 {
        self.windows_with_rows(self.sharing.next_start_us.unwrap_or(i64::MIN), i64::MAX)
    }

    /// The batch that HAVING and the result's columns are evaluated over.
    fn grouped_of(&self, combined: &Combined) -> Result<RecordBatch, Cause> {
        let plan = &self.plan;
        let ends = combined.starts_us.iter().map(|start_us| self.assign.end(*start_us).unwrap_or(i64::MAX));
        let mut columns: Vec<ArrayRef> =
            vec![plan.time_column(0, combined.starts_us.clone()), plan.time_column(1, ends.collect())];
        columns.extend(plan.codec.decode(combined.keys.iter())?);
        let all: Vec<u32> = (0_u32..).take(combined.len()).collect();
        for accumulator in &combined.table.accumulators {
            columns.push(accumulator.evaluate(&all)?);
        }
        Ok(RecordBatch::try_new(Arc::clone(&plan.grouped_schema), columns)?)
    }

    /// Notes the groups as published, row by row of the grouped batch.
    fn settle_combined(&mut self, combined: &Combined, passes: &BooleanArray) -> Settled {
        let generation = self.plan.generation;
        let mut settled = Settled { deleted: Vec::with_capacity(passes.len()), ..Settled::default() };
        let groups = combined.starts_us.iter().zip(combined.keys.iter()).zip(&combined.table.rows);
        for (at, (((start_us, key), rows), passes)) in groups.zip(passes.values()).enumerate() {
            let is_final = at < combined.finals;
            let version = Version { generation, rows: *rows, is_final };
            let mut is_deleted = false;
            if passes {
                settled.versions.push(version);
                if !is_final && self.plan.having.is_some() {
                    self.sharing.shown.add(*start_us, key);
                }
            } else {
                is_deleted = self.sharing.shown.remove(*start_us, key);
                let is_doubtful = !is_deleted && (self.is_replaying || self.drained_start_us >= Some(*start_us));
                if is_doubtful && is_final {
                    is_deleted = true;
                } else if is_doubtful {
                    // It isn't known whether it was published before: its window's end decides.
                    self.drained_start_us = self.drained_start_us.max(Some(*start_us));
                }
                if is_deleted {
                    settled.delete_versions.push(version);
                }
            }
            settled.deleted.push(is_deleted);
        }
        settled
    }
}
