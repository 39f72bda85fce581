//! One pattern over one partition: rows in, matches out.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use sql::{Pattern, Query, Skip, VariableSet};

use super::key::Row;
use super::limits::{LimitEvent, PatternOptions};
use super::matches::{Finished, publish};
use super::spill::ColdPattern;
use super::store::{Place, RowStore};
use super::table::KeyTable;
use crate::emission::Emission;
use crate::error::{Cause, Result};
use crate::keys::{KeyCodec, Keys};
use crate::metrics::Metrics;

/// A row that the watermark hasn't passed.
#[derive(Debug, Clone, Copy)]
pub(super) struct PendingRow {
    pub(super) time_us: i64,
    pub(super) offset: i64,
    pub(super) key: u32,
    pub(super) may_be: VariableSet,
    pub(super) place: Place,
}

impl PendingRow {
    pub(super) fn of(key: u32, row: Row) -> Self {
        Self { time_us: row.time_us, offset: row.offset, key, may_be: row.may_be, place: row.place }
    }

    pub(super) fn as_row(&self) -> Row {
        Row { time_us: self.time_us, offset: self.offset, may_be: self.may_be, place: self.place }
    }
}

/// Runs one pattern over the accepted rows of one partition of its stream.
///
/// Rows come by [`push`](Self::push), time by [`advance`](Self::advance), which finds the matches that are certain by then;
/// [`emit`](Self::emit) hands them over, [`take_limits`](Self::take_limits) what was given up. The caller publishes both wholly before it saves a
/// snapshot taken after them, and on a failure goes back to the last snapshot: the same rows then give the same matches.
#[derive(Debug)]
pub struct PatternOperator {
    pub(super) query: Arc<Query>,
    pub(super) pattern: Arc<Pattern>,
    pub(super) options: PatternOptions,
    identity_schema: SchemaRef,
    pub(super) fingerprint: String,
    pub(super) store: RowStore,
    pub(super) codec: KeyCodec,
    pub(super) batch_keys: Keys,
    pub(super) keys: KeyTable,
    pub(super) pending: Vec<PendingRow>,
    pub(super) watermark_us: Option<i64>,
    /// Keys with the time at which they are to be looked at.
    pub(super) wakes: BinaryHeap<Reverse<(i64, u32)>>,
    /// Keys that have rows or times to look at.
    pub(super) queue: Vec<u32>,
    /// Variables that a match can begin with.
    pub(super) begins: VariableSet,
    /// Variables that conditions look back at.
    pub(super) observed: VariableSet,
    /// Whether attempts run side by side, each on its own.
    pub(super) side_by_side: bool,
    pub(super) waiting: Vec<Finished>,
    pub(super) limits: Vec<LimitEvent>,
    pub(super) metrics: Metrics,
    /// Where keys go that don't fit into memory; without it a batch is refused past the cap.
    pub(super) cold: Option<ColdPattern>,
}

impl PatternOperator {
    /// An operator without state.
    ///
    /// # Errors
    /// A query that has no `MATCH_RECOGNIZE` clause, or a plan that can't be run.
    pub fn new(query: Arc<Query>, options: PatternOptions) -> Result<Self> {
        Self::of(&query, options).map_err(|cause| cause.of(&query.name))
    }

    fn of(query: &Arc<Query>, options: PatternOptions) -> std::result::Result<Self, Cause> {
        let pattern = query.pattern.clone().ok_or_else(|| Cause::Plan("it has no MATCH_RECOGNIZE clause".into()))?;
        let fields: std::result::Result<Vec<_>, _> =
            query.identity.iter().map(|name| query.schema.field_with_name(name).cloned()).collect();
        let identity_schema = Arc::new(Schema::new(fields?));
        let rows = query.branches.first().ok_or_else(|| Cause::Plan("it reads no stream".into()))?;
        let types: std::result::Result<Vec<_>, _> = pattern
            .partition_by
            .iter()
            .map(|name| rows.row_schema.field_with_name(name).map(|field| field.data_type().clone()))
            .collect();
        let codec = KeyCodec::new(types?)?;
        let starts =
            pattern.automaton.start.iter().filter_map(|state| pattern.automaton.states.get(usize::from(*state)));
        let begins = starts.fold(0, |set, state| set | 1 << state.variable);
        Ok(Self {
            identity_schema,
            fingerprint: super::snapshot::fingerprint(query, options.generation),
            store: RowStore::new(Arc::clone(&rows.row_schema)),
            batch_keys: codec.keys(),
            codec,
            keys: KeyTable::default(),
            pending: Vec::new(),
            watermark_us: None,
            wakes: BinaryHeap::new(),
            queue: Vec::new(),
            begins,
            observed: super::observed(&pattern),
            side_by_side: pattern.skip == Skip::ToNextRow && !pattern.counts_matches(),
            waiting: Vec::new(),
            limits: Vec::new(),
            metrics: Metrics::default(),
            cold: None,
            query: Arc::clone(query),
            pattern,
            options,
        })
    }

    /// The query it runs.
    pub fn query(&self) -> &Arc<Query> {
        &self.query
    }

    /// Takes accepted rows of the partition, with the columns that the pattern reads by name and the raw offset of each.
    ///
    /// # Errors
    /// [`Cause::StateFull`] when there is no room: nothing of the batch was taken. [`Cause::Passed`] for a row below the watermark. All others mean
    /// that the stage has to stop.
    pub fn push(&mut self, batch: &RecordBatch, raw_offsets: &[i64]) -> Result<()> {
        self.take(batch, raw_offsets).map_err(|cause| cause.of(&self.query.name))
    }

    /// Moves the partition's watermark, in microseconds since 1970: rows below it are in order and none comes between them, so that they
    /// are matched. A watermark below the present one changes nothing.
    ///
    /// # Errors
    /// An expression or a column that can't be computed.
    pub fn advance(&mut self, watermark_us: i64) -> Result<()> {
        if self.watermark_us >= Some(watermark_us) {
            return Ok(());
        }
        self.pass_all(watermark_us).map_err(|cause| cause.of(&self.query.name))
    }

    /// The matches found since the last emission.
    ///
    /// # Errors
    /// An expression or a column that can't be computed.
    pub fn emit(&mut self) -> Result<Emission> {
        let empty = Emission::empty(&self.query.schema, &self.identity_schema);
        let waiting = std::mem::take(&mut self.waiting);
        let emission = publish(waiting, self.options.generation, empty).map_err(|cause| cause.of(&self.query.name))?;
        self.metrics.rows_published += emission.rows.num_rows() as u64;
        Ok(emission)
    }

    /// What was given up since the last call, since it would have taken more room than is allowed.
    pub fn take_limits(&mut self) -> Vec<LimitEvent> {
        std::mem::take(&mut self.limits)
    }

    /// Bytes of state: rows, keys with their runs, results not yet published.
    pub fn state_bytes(&self) -> usize {
        self.held_bytes() + self.waiting.iter().map(Finished::bytes).sum::<usize>()
    }

    /// Counters since it was made, and present sizes.
    pub fn metrics(&self) -> Metrics {
        let mut metrics = self.metrics;
        metrics.state_bytes = self.state_bytes() as u64;
        let (cold_keys, bytes) = self.spilled();
        metrics.groups_open = self.keys.len() as u64 + cold_keys;
        (metrics.groups_spilled, metrics.spilled_bytes) = (cold_keys, bytes);
        metrics
    }
}
