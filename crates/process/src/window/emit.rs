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
use super::table::Window;
use crate::emission::Emission;
use crate::error::Cause;
use crate::metrics::Metrics;
use crate::rows::{keep, project};

/// Groups of one window that are to be published.
struct Part {
    start_us: i64,
    groups: Vec<u32>,
    is_final: bool,
}

impl WindowAggregation {
    /// Publishes windows that are closed and, with `emit: changes`, what changed in the others. `drain` publishes the latter in any case.
    pub(crate) fn emit(&mut self, drain: bool, empty: Emission, metrics: &mut Metrics) -> Result<Emission, Cause> {
        let publish_open = drain || self.plan.emit == Emit::Changes;
        let mut parts = Vec::new();
        for (start_us, window) in &mut self.windows {
            let start_us = *start_us;
            if self.assign.is_closed(start_us, self.watermark_us) {
                parts.push(Part { start_us, groups: window.all(), is_final: true });
            } else if publish_open && !window.changed.is_empty() {
                parts.push(Part { start_us, groups: std::mem::take(&mut window.changed), is_final: false });
            }
        }
        if parts.is_empty() {
            return Ok(empty);
        }
        let grouped = self.grouped(&parts)?;
        let passes = self.plan.passes(&grouped)?;
        let settled = self.settle(&parts, &passes);
        let rows = project(&keep(&grouped, &passes)?, &self.plan.output, &self.plan.schema)?;
        let deletes = if settled.delete_versions.is_empty() {
            empty.deletes
        } else {
            let deleted = keep(&grouped, &BooleanArray::from(settled.deleted))?;
            project(&deleted, &self.plan.identity, &self.plan.identity_schema)?
        };
        metrics.rows_published += settled.versions.len() as u64;
        metrics.deletes_published += settled.delete_versions.len() as u64;
        for part in parts.iter().filter(|part| part.is_final) {
            metrics.windows_closed += 1;
            if let Some(window) = self.windows.remove(&part.start_us) {
                self.window_bytes -= window.counted_bytes;
            }
        }
        Ok(Emission { rows, versions: settled.versions, deletes, delete_versions: settled.delete_versions })
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
                // Before a restart the group may have been published with rows that are yet to come again.
                let is_doubtful = !passes && !window.is_visible[at] && self.is_replaying;
                if is_doubtful && !part.is_final {
                    window.doubtful.push(*group);
                }
                let is_deleted = !passes && (window.is_visible[at] || (is_doubtful && part.is_final));
                if passes {
                    settled.versions.push(version);
                } else if is_deleted {
                    settled.delete_versions.push(version);
                }
                settled.deleted.push(is_deleted);
                window.is_visible[at] = passes;
                window.settled[at] = window.rows[at];
            }
            window.changed.clear();
        }
        settled
    }
}

#[derive(Default)]
struct Settled {
    versions: Vec<Version>,
    /// For each row of the grouped batch whether it is a delete.
    deleted: Vec<bool>,
    delete_versions: Vec<Version>,
}

fn concat(arrays: &[ArrayRef]) -> Result<ArrayRef, Cause> {
    match arrays {
        [one] => Ok(Arc::clone(one)),
        many => Ok(arrow_select::concat::concat(&many.iter().map(AsRef::as_ref).collect::<Vec<_>>())?),
    }
}
