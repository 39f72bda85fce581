//! What is published of sessions, and which starts are deleted.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{Field, Schema};
use model::Version;
use sql::Emit;

use super::fold::SessionAggregation;
use crate::emission::Emission;
use crate::error::Cause;
use crate::metrics::Metrics;
use crate::rows::{keep, project};

/// Starts that are deleted.
#[derive(Debug, Default)]
struct Deletes {
    starts: Vec<i64>,
    keys: Vec<u32>,
    versions: Vec<Version>,
}

impl SessionAggregation {
    /// Publishes sessions that are closed and, with `emit: changes`, those that changed. `drain` publishes the latter in any case. What is left
    /// for the next call isn't empty.
    pub(crate) fn emit(&mut self, drain: bool, empty: &Emission, metrics: &mut Metrics) -> Result<Emission, Cause> {
        let publishes_changed = drain || self.plan.emit == Emit::Changes;
        loop {
            let has_more = self.recall_due(publishes_changed)?;
            let emission = self.publish(publishes_changed, empty.clone(), metrics)?;
            self.make_room(0)?;
            if !emission.is_empty() || !has_more {
                return Ok(emission);
            }
        }
    }

    /// Publishes those that are in memory.
    fn publish(&mut self, publishes_changed: bool, empty: Emission, metrics: &mut Metrics) -> Result<Emission, Cause> {
        let closed = self.closed();
        let mut numbers = closed.clone();
        if publishes_changed {
            let changed = std::mem::take(&mut self.table.changed);
            let is_open = |number: &u32| {
                let session = &self.table.sessions[*number as usize];
                session.is_held && !self.is_over(session.last_us)
            };
            numbers.extend(changed.iter().copied().filter(is_open));
        }
        if numbers.is_empty() {
            return Ok(empty);
        }
        let final_from = closed.len();
        let grouped = self.grouped(&numbers)?;
        let passes = self.plan.passes(&grouped)?;
        let (mut versions, mut deletes) = (Vec::new(), Deletes::default());
        for (at, number) in numbers.iter().enumerate() {
            let is_final = at < final_from;
            let version = self.version(*number, is_final);
            let passes = passes.value(at);
            if passes {
                versions.push(version);
            }
            self.settle(*number, passes, is_final, version, &mut deletes);
        }
        let rows = project(&keep(&grouped, &passes)?, &self.plan.output, &self.plan.schema)?;
        let deleted = if deletes.versions.is_empty() { empty.deletes } else { self.deleted(&deletes)? };
        metrics.rows_published += versions.len() as u64;
        metrics.deletes_published += deletes.versions.len() as u64;
        metrics.windows_closed += closed.len() as u64;
        for number in closed {
            self.table.remove(number);
        }
        Ok(Emission { rows, versions, deletes: deleted, delete_versions: deletes.versions })
    }

    /// Sessions that no row can join any more: one at the watermark could still join a session whose gap ends there.
    fn closed(&self) -> Vec<u32> {
        let closed = self.table.by_last.iter().take_while(|(last_us, _)| self.is_over(*last_us));
        closed.map(|(_, number)| *number).collect()
    }

    fn is_over(&self, last_us: i64) -> bool {
        self.watermark_us.is_some_and(|watermark_us| last_us.saturating_add(self.gap_us) < watermark_us)
    }

    fn version(&self, number: u32, is_final: bool) -> Version {
        let session = &self.table.sessions[number as usize];
        Version { generation: self.plan.generation, rows: session.rows, is_final }
    }

    /// Notes a session as published and its other starts as to be deleted.
    fn settle(&mut self, number: u32, passes: bool, is_final: bool, version: Version, deletes: &mut Deletes) {
        let key = self.table.sessions[number as usize].key;
        let is_replaying = self.is_replaying;
        self.table.update(number, |session| {
            let mut starts = std::mem::take(&mut session.standing);
            if is_final {
                // The session is complete, so no start of it was ever published with more rows.
                starts.append(&mut session.replayed);
            }
            starts.sort_unstable();
            starts.dedup();
            if passes {
                starts.retain(|start| *start != session.start_us);
                session.standing.push(session.start_us);
            }
            if is_replaying {
                // Before the restart it may have been published with as many rows as it has now: once more when all are there.
                session.replayed.extend(&starts);
            }
            deletes.keys.extend(std::iter::repeat_n(key, starts.len()));
            deletes.versions.extend(std::iter::repeat_n(version, starts.len()));
            deletes.starts.extend(starts);
        });
        // What was just published is no change.
        self.table.sessions[number as usize].is_changed = false;
        if self.table.changed.last() == Some(&number) {
            self.table.changed.pop();
        }
    }

    /// The batch that HAVING and the result's columns are evaluated over.
    fn grouped(&self, numbers: &[u32]) -> Result<RecordBatch, Cause> {
        let plan = &self.plan;
        let sessions = || numbers.iter().map(|number| &self.table.sessions[*number as usize]);
        let mut columns: Vec<ArrayRef> = vec![
            plan.time_column(0, sessions().map(|session| session.start_us).collect()),
            plan.time_column(1, sessions().map(|session| session.last_us.saturating_add(self.gap_us)).collect()),
        ];
        columns.extend(plan.codec.decode(sessions().map(|session| self.table.keys.get(session.key)))?);
        for accumulator in &self.table.accumulators {
            columns.push(accumulator.evaluate(numbers)?);
        }
        Ok(RecordBatch::try_new(Arc::clone(&plan.grouped_schema), columns)?)
    }

    /// The identity columns of deleted starts, which are columns of the grouped batch: the start and the keys.
    fn deleted(&self, deletes: &Deletes) -> Result<RecordBatch, Cause> {
        let plan = &self.plan;
        let mut columns = vec![plan.time_column(0, deletes.starts.clone())];
        columns.extend(plan.codec.decode(deletes.keys.iter().map(|key| self.table.keys.get(*key)))?);
        let fields = plan.grouped_schema.fields();
        let keys = fields.iter().skip(2).take(columns.len() - 1);
        let fields: Vec<Arc<Field>> = fields.iter().take(1).chain(keys).cloned().collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
        project(&batch, &plan.identity, &plan.identity_schema)
    }
}
