//! What is published when.
//!
//! `emit: changes` publishes each group that rows were folded into since it was last published; `emit: final` publishes nothing of an open
//! window, unless it is drained. A window that the watermark has passed is published whole, as final, and dropped. A group that HAVING
//! refuses is deleted if a row of it was published, and else has no result. After a restart it isn't known what was published past the
//! snapshot: until the rows that were read before have been read again, groups that HAVING refuses are in doubt, and deleted then.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use model::Version;
use sql::Emit;

use super::aggregation::WindowAggregation;
use super::spill::{Closing, recall};
use super::table::{Window, flag};
use crate::emission::Emission;
use crate::error::Cause;
use crate::metrics::Metrics;
use crate::rows::{keep, project};

/// Groups that are published at a time: what is made of them on the way takes several times the room that they have in memory.
pub(super) const GROUPS_MAX: usize = 65_536;

/// Groups of one window that are to be published.
struct Part {
    start_us: i64,
    groups: Vec<u32>,
    is_final: bool,
    then: Then,
}

/// What becomes of the window.
#[derive(PartialEq, Eq)]
enum Then {
    /// It stays.
    Stays,
    /// More of it comes.
    GoesOn,
    /// It has ended, and that was all.
    Ends,
}

impl WindowAggregation {
    /// Publishes windows that are closed and, with `emit: changes`, what changed in the others. `drain` publishes the latter in any case.
    /// What is left for the next call isn't empty.
    pub(crate) fn emit(&mut self, drain: bool, empty: Emission, metrics: &mut Metrics) -> Result<Emission, Cause> {
        self.publish_next(drain || self.plan.emit == Emit::Changes, &empty, metrics)
    }

    /// Publishes windows that are closed alone. What is left for the next call isn't empty.
    pub(super) fn emit_closed(&mut self, empty: &Emission, metrics: &mut Metrics) -> Result<Emission, Cause> {
        self.publish_next(false, empty, metrics)
    }

    fn publish_next(&mut self, publish_open: bool, empty: &Emission, metrics: &mut Metrics) -> Result<Emission, Cause> {
        if self.assign.shares_panes() {
            return self.publish_combined(publish_open, empty, metrics);
        }
        loop {
            self.make_room()?;
            let parts = self.parts(publish_open, metrics)?;
            if parts.is_empty() {
                return Ok(empty.clone());
            }
            let emission = self.publish(&parts, empty, metrics)?;
            // HAVING may have refused all of it.
            if !emission.is_empty() {
                return Ok(emission);
            }
        }
    }

    fn publish(&mut self, parts: &[Part], empty: &Emission, metrics: &mut Metrics) -> Result<Emission, Cause> {
        let grouped = self.grouped(parts)?;
        let passes = self.plan.passes(&grouped)?;
        let settled = self.settle(parts, &passes);
        let emission = self.emission(&grouped, &passes, settled, empty, metrics)?;
        for part in parts.iter().filter(|part| part.then != Then::Stays) {
            metrics.windows_closed += u64::from(part.then == Then::Ends);
            if let Some(window) = self.windows.remove(&part.start_us) {
                self.window_bytes -= window.counted_bytes;
            }
        }
        Ok(emission)
    }

    /// The groups that pass HAVING as results, and the deletes of others.
    pub(super) fn emission(
        &self,
        grouped: &RecordBatch,
        passes: &BooleanArray,
        settled: Settled,
        empty: &Emission,
        metrics: &mut Metrics,
    ) -> Result<Emission, Cause> {
        let rows = project(&keep(grouped, passes)?, &self.plan.output, &self.plan.schema)?;
        let deletes = if settled.delete_versions.is_empty() {
            empty.deletes.clone()
        } else {
            let deleted = keep(grouped, &BooleanArray::from(settled.deleted))?;
            project(&deleted, &self.plan.identity, &self.plan.identity_schema)?
        };
        metrics.rows_published += settled.versions.len() as u64;
        metrics.deletes_published += settled.delete_versions.len() as u64;
        Ok(Emission { rows, versions: settled.versions, deletes, delete_versions: settled.delete_versions })
    }

    /// What is published next.
    fn parts(&mut self, publish_open: bool, metrics: &mut Metrics) -> Result<Vec<Part>, Cause> {
        self.begin_closing()?;
        while let Some(closing) = &mut self.closing {
            if let Some(window) = closing.next(&self.plan, GROUPS_MAX)? {
                let start_us = closing.start_us;
                let part = Part { start_us, groups: window.all(), is_final: true, then: Then::GoesOn };
                self.windows.insert(start_us, window);
                return Ok(vec![part]);
            }
            self.closing = None;
            metrics.windows_closed += 1;
            self.begin_closing()?;
        }
        let (mut parts, mut room) = (Vec::new(), GROUPS_MAX);
        for (start_us, window) in &mut self.windows {
            let start_us = *start_us;
            if room == 0 {
                break;
            }
            if self.assign.is_closed(start_us, self.watermark_us) {
                let all = window.all();
                let groups: Vec<u32> = all.into_iter().skip(window.closed).take(room).collect();
                window.closed += groups.len();
                let then = if window.closed == window.keys.len() { Then::Ends } else { Then::Stays };
                room -= groups.len();
                parts.push(Part { start_us, groups, is_final: true, then });
            } else if publish_open {
                if window.cold_groups > 0 {
                    recall::changed(window, &self.plan, room)?;
                    let before = window.counted_bytes;
                    self.window_bytes = self.window_bytes + window.count_bytes() - before;
                }
                let rest = window.changed.split_off(room.min(window.changed.len()));
                let groups = std::mem::replace(&mut window.changed, rest);
                if !groups.is_empty() {
                    room -= groups.len();
                    parts.push(Part { start_us, groups, is_final: false, then: Then::Stays });
                }
            }
        }
        Ok(parts)
    }

    /// Begins to read a closed window through of which there are groups on the disk.
    fn begin_closing(&mut self) -> Result<(), Cause> {
        let is_closed = |start_us: i64| self.assign.is_closed(start_us, self.watermark_us);
        let is_due = |(start_us, window): &(&i64, &Window)| is_closed(**start_us) && !window.runs.is_empty();
        let found = self.windows.iter().find(is_due).map(|(start_us, _)| *start_us);
        if let Some(start_us) = found.filter(|_| self.closing.is_none())
            && let Some(window) = self.windows.remove(&start_us)
        {
            self.window_bytes -= window.counted_bytes;
            self.closing = Some(Closing::of(start_us, window, &self.plan)?);
        }
        Ok(())
    }

    /// The batch that HAVING and the result's columns are evaluated over.
    fn grouped(&self, parts: &[Part]) -> Result<RecordBatch, Cause> {
        let plan = &self.plan;
        let windows: Vec<&Window> = parts.iter().filter_map(|part| self.windows.get(&part.start_us)).collect();
        let each = || parts.iter().zip(&windows);
        let starts = each().flat_map(|(part, _)| std::iter::repeat_n(part.start_us, part.groups.len()));
        let ends = starts.clone().map(|start| self.assign.end(start).unwrap_or(i64::MAX));
        let mut columns: Vec<ArrayRef> =
            vec![plan.time_column(0, starts.collect()), plan.time_column(1, ends.collect())];
        let keys = each().flat_map(|(part, window)| part.groups.iter().map(|group| window.keys.get(*group)));
        columns.extend(plan.codec.decode(keys)?);
        for call in 0..plan.calls.len() {
            let values: Result<Vec<ArrayRef>, Cause> =
                each().map(|(part, window)| window.accumulators[call].evaluate(&part.groups)).collect();
            columns.push(concat(&values?)?);
        }
        Ok(RecordBatch::try_new(Arc::clone(&plan.grouped_schema), columns)?)
    }

    /// Notes the groups as published, row by row of the grouped batch.
    fn settle(&mut self, parts: &[Part], passes: &BooleanArray) -> Settled {
        let mut settled = Settled { deleted: Vec::with_capacity(passes.len()), ..Settled::default() };
        let mut pass = passes.values().iter();
        for part in parts {
            let Some(window) = self.windows.get_mut(&part.start_us) else { continue };
            for group in &part.groups {
                let version = window.version(*group, self.plan.generation, part.is_final);
                let at = *group as usize;
                let passes = pass.next().unwrap_or(false);
                let flags = &mut window.flags[at];
                let is_visible = *flags & flag::VISIBLE != 0;
                // Before a restart the group may have been published with rows that are yet to come again.
                let was_drained = self.drained_start_us >= Some(part.start_us);
                let is_doubtful = !passes && !is_visible && (self.is_replaying || was_drained);
                *flags = (*flags & !(flag::CHANGED | flag::VISIBLE)) | flag::UNSAVED;
                if is_doubtful && self.is_replaying && !part.is_final {
                    *flags |= flag::DOUBTFUL;
                }
                let is_deleted = !passes && (is_visible || (is_doubtful && part.is_final));
                if passes {
                    *flags |= flag::VISIBLE;
                    settled.versions.push(version);
                } else if is_deleted {
                    settled.delete_versions.push(version);
                }
                settled.deleted.push(is_deleted);
            }
        }
        settled
    }
}

/// Versions of what is published.
#[derive(Default)]
pub(super) struct Settled {
    pub(super) versions: Vec<Version>,
    /// For each row of the grouped batch whether it is a delete.
    pub(super) deleted: Vec<bool>,
    pub(super) delete_versions: Vec<Version>,
}

fn concat(arrays: &[ArrayRef]) -> Result<ArrayRef, Cause> {
    match arrays {
        [one] => Ok(Arc::clone(one)),
        many => Ok(arrow_select::concat::concat(&many.iter().map(AsRef::as_ref).collect::<Vec<_>>())?),
    }
}
