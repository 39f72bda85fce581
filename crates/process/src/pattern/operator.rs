//! One pattern over one partition: rows in, matches out.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array as _, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{Schema, SchemaRef};
use hashbrown::HashTable;
use model::Version;
use sql::{Pattern, Query, Skip, VariableSet};

use super::key::{KeyState, Next, Row};
use super::limits::{LimitEvent, LimitReason, PatternOptions};
use super::matches::{Finished, publish};
use super::store::{Place, RowStore};
use super::values::{self, View};
use crate::emission::Emission;
use crate::error::{Cause, Result};
use crate::keys::{KeyCodec, Keys};
use crate::metrics::Metrics;
use crate::rows::{keep, truths};

/// A row that the watermark hasn't passed.
#[derive(Debug, Clone, Copy)]
pub(super) struct PendingRow {
    pub(super) time_us: i64,
    pub(super) offset: i64,
    pub(super) key: u32,
    pub(super) may_be: VariableSet,
    pub(super) place: Place,
}

/// What a variable's condition has to judge: views, and for each the step and the run that its verdict belongs to.
#[derive(Debug, Default)]
struct Open<'a> {
    views: Vec<View<'a>>,
    places: Vec<(usize, usize)>,
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
    batch_keys: Keys,
    index: HashTable<u32>,
    pub(super) keys: Vec<KeyState>,
    free: Vec<u32>,
    pub(super) pending: Vec<PendingRow>,
    pub(super) watermark_us: Option<i64>,
    /// Keys with the time at which they are to be looked at.
    wakes: BinaryHeap<Reverse<(i64, u32)>>,
    queue: Vec<u32>,
    key_bytes: usize,
    /// Variables that a match can begin with.
    begins: VariableSet,
    /// Variables that conditions look back at.
    observed: VariableSet,
    side_by_side: bool,
    pub(super) waiting: Vec<Finished>,
    pub(super) limits: Vec<LimitEvent>,
    metrics: Metrics,
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
        let types: std::result::Result<Vec<_>, _> = pattern
            .partition_by
            .iter()
            .map(|name| query.row_schema.field_with_name(name).map(|field| field.data_type().clone()))
            .collect();
        let codec = KeyCodec::new(types?)?;
        let starts =
            pattern.automaton.start.iter().filter_map(|state| pattern.automaton.states.get(usize::from(*state)));
        let begins = starts.fold(0, |set, state| set | 1 << state.variable);
        Ok(Self {
            identity_schema,
            fingerprint: super::snapshot::fingerprint(query, options.generation),
            store: RowStore::new(Arc::clone(&query.row_schema)),
            batch_keys: codec.keys(),
            codec,
            index: HashTable::new(),
            keys: Vec::new(),
            free: Vec::new(),
            pending: Vec::new(),
            watermark_us: None,
            wakes: BinaryHeap::new(),
            queue: Vec::new(),
            key_bytes: 0,
            begins,
            observed: super::observed(&pattern),
            side_by_side: pattern.skip == Skip::ToNextRow && !pattern.counts_matches(),
            waiting: Vec::new(),
            limits: Vec::new(),
            metrics: Metrics::default(),
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
    /// [`Cause::StateFull`] when there is no room: nothing of the batch was taken. [`Cause::Late`] for a row below the watermark. All others mean
    /// that the stage has to stop.
    pub fn push(&mut self, batch: &RecordBatch, raw_offsets: &[i64]) -> Result<()> {
        self.take(batch, raw_offsets).map_err(|cause| cause.of(&self.query.name))
    }

    fn take(&mut self, batch: &RecordBatch, raw_offsets: &[i64]) -> std::result::Result<(), Cause> {
        if raw_offsets.len() != batch.num_rows() {
            let (offsets, rows) = (raw_offsets.len(), batch.num_rows());
            return Err(Cause::Batch(format!("it has {rows} rows and {offsets} raw offsets")));
        }
        let (bytes, bytes_max) = (self.state_bytes(), self.options.state_bytes_max);
        if bytes > bytes_max {
            return Err(Cause::StateFull { bytes, bytes_max });
        }
        self.metrics.rows_in += batch.num_rows() as u64;
        let (batch, kept) = match &self.query.filter {
            None => (batch.clone(), None),
            Some(filter) => {
                let mask = truths(&filter.evaluate(batch)?);
                self.metrics.rows_filtered += (batch.num_rows() - mask.true_count()) as u64;
                (keep(batch, &mask)?, Some(mask))
            }
        };
        let offsets =
            raw_offsets.iter().enumerate().filter(|(row, _)| kept.as_ref().is_none_or(|kept| kept.value(*row)));
        let offsets: Vec<i64> = offsets.map(|(_, offset)| *offset).collect();
        if offsets.is_empty() {
            return Ok(());
        }
        let may_be = self.judge_rows(&batch)?;
        let times = batch.column_by_name(&self.pattern.event_time);
        let times = times.and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
        let times = times.ok_or_else(|| Cause::Batch("it has no event times".into()))?.clone();
        let columns = self.pattern.partition_by.iter().map(|name| {
            batch.column_by_name(name).cloned().ok_or_else(|| Cause::Batch(format!("it has no column {name}")))
        });
        let columns = columns.collect::<std::result::Result<Vec<_>, Cause>>()?;
        self.codec.encode(&columns, batch.num_rows(), &mut self.batch_keys)?;
        let segment = self.store.add(&batch)?;
        for (row, (offset, may_be)) in offsets.into_iter().zip(may_be).enumerate() {
            let place = RowStore::place(segment, row);
            if times.is_null(row) {
                self.metrics.rows_without_time += 1;
                self.store.release(place);
                continue;
            }
            let time_us = times.value(row);
            if let Some(watermark_us) = self.watermark_us.filter(|watermark_us| time_us < *watermark_us) {
                let partition = self.options.partition;
                return Err(Cause::Passed { partition, offset, time_us, watermark_us });
            }
            let key = self.key_of(row);
            self.pending.push(PendingRow { time_us, offset, key, may_be, place });
        }
        self.batch_keys.release();
        Ok(())
    }

    /// For each row the variables whose condition on the row alone is true.
    fn judge_rows(&self, batch: &RecordBatch) -> std::result::Result<Vec<VariableSet>, Cause> {
        let mut sets = vec![0; batch.num_rows()];
        for (number, variable) in self.pattern.variables.iter().enumerate() {
            let bit: VariableSet = 1 << number;
            match &variable.row_condition {
                None => sets.iter_mut().for_each(|set| *set |= bit),
                Some(condition) => {
                    let values = truths(&condition.evaluate(batch)?);
                    sets.iter_mut()
                        .zip(values.values().iter())
                        .filter(|(_, value)| *value)
                        .for_each(|(set, _)| *set |= bit);
                }
            }
        }
        Ok(sets)
    }

    /// The key of a row of the present batch, which has one row more to come.
    fn key_of(&mut self, row: usize) -> u32 {
        let (hash, bytes) = (self.batch_keys.hashes.get(row).copied().unwrap_or(0), self.batch_keys.get(row));
        let keys = &self.keys;
        let found =
            self.index.find(hash, |number| keys.get(*number as usize).is_some_and(|key| key.key.as_deref() == bytes));
        let number = match found {
            Some(number) => *number,
            None => {
                let bytes = bytes.map(<[u8]>::to_vec);
                self.insert_key(KeyState { key: bytes, hash, ..KeyState::default() })
            }
        };
        if let Some(key) = self.keys.get_mut(number as usize) {
            key.pending += 1;
        }
        number
    }

    pub(super) fn insert_key(&mut self, key: KeyState) -> u32 {
        let hash = key.hash;
        let number = match self.free.pop() {
            Some(number) => {
                if let Some(slot) = self.keys.get_mut(number as usize) {
                    *slot = key;
                }
                number
            }
            None => {
                self.keys.push(key);
                u32::try_from(self.keys.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let keys = &self.keys;
        self.index.insert_unique(hash, number, |number| keys.get(*number as usize).map_or(0, |key| key.hash));
        number
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
        self.watermark_us = Some(watermark_us);
        self.pass(watermark_us).map_err(|cause| cause.of(&self.query.name))
    }

    fn pass(&mut self, watermark_us: i64) -> std::result::Result<(), Cause> {
        self.pending.sort_by_key(|row| (row.time_us, row.offset));
        let passed = self.pending.partition_point(|row| row.time_us < watermark_us);
        let passed: Vec<PendingRow> = self.pending.drain(..passed).collect();
        let reaches_back = *self.pattern.reach().start() < 0;
        for row in passed {
            let Some(key) = self.keys.get_mut(row.key as usize) else { continue };
            key.pending -= 1;
            // Most rows of most patterns begin nothing.
            if key.rows.is_empty() && row.may_be & self.begins == 0 && !reaches_back {
                self.store.release(row.place);
                if key.is_empty() && !key.is_queued {
                    self.drop_key(row.key);
                }
                continue;
            }
            key.rows.push_back(Row { time_us: row.time_us, offset: row.offset, may_be: row.may_be, place: row.place });
            self.enqueue(row.key);
        }
        while let Some(Reverse((time_us, number))) = self.wakes.peek().copied() {
            if time_us >= watermark_us {
                break;
            }
            self.wakes.pop();
            let slot = self.keys.get_mut(number as usize);
            if let Some(key) = slot.filter(|key| key.wakes_at_us == Some(time_us)) {
                key.wakes_at_us = None;
                self.enqueue(number);
            }
        }
        self.work(watermark_us)?;
        if self.store.is_sparse() { self.compact() } else { Ok(()) }
    }

    fn enqueue(&mut self, number: u32) {
        if let Some(key) = self.keys.get_mut(number as usize).filter(|key| !key.is_queued) {
            key.is_queued = true;
            self.queue.push(number);
        }
    }

    /// Works off the keys that have rows or times to look at, a row of each at a time, so that conditions are computed for many at once.
    fn work(&mut self, watermark_us: i64) -> std::result::Result<(), Cause> {
        let visited = std::mem::take(&mut self.queue);
        let mut busy = visited.clone();
        while !busy.is_empty() {
            let mut steps: Vec<(u32, u64)> = Vec::new();
            for number in std::mem::take(&mut busy) {
                if let Some(row) = self.next_row(number, watermark_us) {
                    steps.push((number, row));
                    busy.push(number);
                }
            }
            let verdicts = self.verdicts(&steps)?;
            for ((number, row), verdicts) in steps.into_iter().zip(verdicts) {
                self.take_row(number, row, &verdicts)?;
            }
        }
        self.publish_decided(&visited, watermark_us)?;
        for number in visited {
            self.leave(number, watermark_us);
        }
        Ok(())
    }

    /// The row that a key's attempts take next; what is over is resolved on the way.
    fn next_row(&mut self, number: u32, watermark_us: i64) -> Option<u64> {
        let key = self.keys.get_mut(number as usize)?;
        loop {
            match key.next(&self.pattern, self.side_by_side, watermark_us) {
                Next::Wait => return None,
                Next::Take(row) => return Some(row),
                Next::Resolve(at) => key.resolve(at, &self.pattern, self.side_by_side, self.pattern.counts_matches()),
            }
        }
    }

    /// For each step and each run of its attempts, in order, whether the row may be mapped to the variable of the run's state.
    fn verdicts(&self, steps: &[(u32, u64)]) -> std::result::Result<Vec<Vec<bool>>, Cause> {
        let mut verdicts = Vec::with_capacity(steps.len());
        let mut open: Vec<Open<'_>> = Vec::new();
        open.resize_with(self.pattern.variables.len(), Open::default);
        for (step, (number, row)) in steps.iter().enumerate() {
            let mut of_step = Vec::new();
            let Some((key, may_be)) =
                self.keys.get(*number as usize).and_then(|key| Some((key, key.row(*row)?.may_be)))
            else {
                verdicts.push(of_step);
                continue;
            };
            for attempt in &key.attempts {
                for run in &attempt.runs {
                    let state = self.pattern.automaton.states.get(usize::from(run.state));
                    let variable = state.map_or(0, |state| state.variable);
                    let passes = may_be >> variable & 1 == 1;
                    let definition = self.pattern.variables.get(usize::from(variable));
                    if passes && definition.is_some_and(|definition| definition.condition.is_some()) {
                        let (start, path) = (attempt.start, run.path.as_slice());
                        let view =
                            View { key, start, path, tested: Some(variable), whole: path, number: key.matches + 1 };
                        if let Some(open) = open.get_mut(usize::from(variable)) {
                            open.views.push(view);
                            open.places.push((step, of_step.len()));
                        }
                    }
                    of_step.push(passes);
                }
            }
            verdicts.push(of_step);
        }
        for (variable, Open { views, places }) in self.pattern.variables.iter().zip(open) {
            let (Some(condition), false) = (&variable.condition, views.is_empty()) else { continue };
            let batch = values::columns(&[condition], &self.pattern.tested, &views, &self.pattern, &self.store)?;
            let truths = truths(&condition.evaluate(&batch)?);
            for ((step, run), truth) in places.into_iter().zip(truths.values().iter()) {
                if let Some(verdict) = verdicts.get_mut(step).and_then(|verdicts| verdicts.get_mut(run)) {
                    *verdict = truth;
                }
            }
        }
        Ok(verdicts)
    }

    /// Lets the attempts of a key take a row; too many runs or rows are given up.
    fn take_row(&mut self, number: u32, row: u64, verdicts: &[bool]) -> std::result::Result<(), Cause> {
        let Some(key) = self.keys.get_mut(number as usize) else { return Ok(()) };
        let (mut verdicts, mut runs, mut reason) = (verdicts, 0, None);
        for attempt in &mut key.attempts {
            let (own, rest) = verdicts.split_at(attempt.runs.len().min(verdicts.len()));
            verdicts = rest;
            let taken = attempt.take(&self.pattern.automaton, own, self.observed, self.options.runs_max);
            runs += attempt.runs.len();
            if taken.is_err() || runs > self.options.runs_max {
                reason = Some(LimitReason::Runs);
                break;
            }
            if attempt.taken >= self.options.rows_max && !attempt.runs.is_empty() {
                reason = Some(LimitReason::Rows);
                break;
            }
        }
        match reason {
            Some(reason) => self.give_up(number, row, reason),
            None => Ok(()),
        }
    }

    /// Gives up what a key has under way, and records it. Matching goes on after the present row.
    fn give_up(&mut self, number: u32, row: u64, reason: LimitReason) -> std::result::Result<(), Cause> {
        let Some(key) = self.keys.get_mut(number as usize) else { return Ok(()) };
        let start = key.attempts.iter().map(|attempt| attempt.start).min().unwrap_or(row);
        key.attempts.clear();
        key.next_start = row + 1;
        let (Some(first), Some(last)) = (key.row(start).copied(), key.row(row).copied()) else { return Ok(()) };
        let bytes = key.key.clone();
        let columns = self.codec.decode(std::iter::once(bytes.as_deref()))?;
        let options = FormatOptions::default().with_null("NULL");
        let mut parts = Vec::new();
        for column in &columns {
            parts.push(ArrayFormatter::try_new(column.as_ref(), &options)?.value(0).to_string());
        }
        self.metrics.limits_reached += 1;
        self.limits.push(LimitEvent {
            key: parts.join(", "),
            partition: self.options.partition,
            first_offset: first.offset,
            last_offset: last.offset,
            first_time_us: first.time_us,
            last_time_us: last.time_us,
            reason,
            rows: row - start + 1,
            version: Version { generation: self.options.generation, rows: row - start + 1, is_final: true },
        });
        Ok(())
    }

    /// Computes the results of matches of these keys whose measures are known by now.
    fn publish_decided(&mut self, visited: &[u32], watermark_us: i64) -> std::result::Result<(), Cause> {
        let (within_us, ahead) = (self.pattern.within_us, self.pattern.reach_ahead_measured());
        let mut ready = Vec::new();
        for number in visited {
            let Some(key) = self.keys.get_mut(*number as usize) else { continue };
            while let Some(first) = key.decided.front() {
                let last = first.start + first.path.len() as u64 - 1;
                if ahead > 0 && !key.sees_ahead(last, ahead, within_us, watermark_us) {
                    break;
                }
                ready.extend(key.decided.pop_front().map(|decided| (*number, decided)));
            }
        }
        if ready.is_empty() {
            return Ok(());
        }
        self.metrics.matches += ready.len() as u64;
        let finished = super::matches::finish(self, &ready)?;
        self.waiting.extend(finished);
        Ok(())
    }

    /// Lets go of what a key no longer needs.
    fn leave(&mut self, number: u32, watermark_us: i64) {
        let Some(key) = self.keys.get_mut(number as usize) else { return };
        key.is_queued = false;
        let store = &mut self.store;
        key.take_unneeded(&self.pattern, watermark_us, |place| store.release(place));
        if key.is_empty() {
            self.drop_key(number);
            return;
        }
        let size = key.size();
        self.key_bytes = self.key_bytes + size - key.bytes;
        key.bytes = size;
        let wakes_at_us = key.wakes_at(&self.pattern, watermark_us);
        if let Some(time_us) = wakes_at_us.filter(|time_us| key.wakes_at_us.is_none_or(|known| *time_us < known)) {
            key.wakes_at_us = Some(time_us);
            self.wakes.push(Reverse((time_us, number)));
        }
    }

    fn drop_key(&mut self, number: u32) {
        let Some(key) = self.keys.get_mut(number as usize) else { return };
        let key = std::mem::take(key);
        self.key_bytes -= key.bytes;
        if let Ok(entry) = self.index.find_entry(key.hash, |known| *known == number) {
            entry.remove();
        }
        self.free.push(number);
    }

    /// Copies the rows that are needed into a segment of their own.
    pub(super) fn compact(&mut self) -> std::result::Result<(), Cause> {
        let places: Vec<Place> = self.live_places().collect();
        let columns = self.store.columns_of(&places)?;
        self.store.clear();
        let segment = self.store.add_columns(columns, places.len())?;
        let mut next = 0;
        let mut place = || {
            next += 1;
            RowStore::place(segment, next - 1)
        };
        self.keys.iter_mut().flat_map(|key| &mut key.rows).for_each(|row| row.place = place());
        self.pending.iter_mut().for_each(|row| row.place = place());
        if places.is_empty() {
            self.store.clear();
        }
        Ok(())
    }

    /// Places of all rows that are held: those of keys, then those that wait for the watermark.
    pub(super) fn live_places(&self) -> impl Iterator<Item = Place> + '_ {
        let rows = self.keys.iter().flat_map(|key| &key.rows).map(|row| row.place);
        rows.chain(self.pending.iter().map(|row| row.place))
    }

    /// Looks at each key once, after its state was read in.
    pub(super) fn wake_all(&mut self) {
        let watermark_us = self.watermark_us.unwrap_or(i64::MIN);
        for number in 0..u32::try_from(self.keys.len()).unwrap_or(u32::MAX) {
            self.leave(number, watermark_us);
        }
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
        let waiting: usize = self.waiting.iter().map(Finished::bytes).sum();
        self.store.bytes() + self.key_bytes + self.pending.len() * size_of::<PendingRow>() + waiting
    }

    /// Counters since it was made, and present sizes.
    pub fn metrics(&self) -> Metrics {
        let mut metrics = self.metrics;
        metrics.state_bytes = self.state_bytes() as u64;
        metrics.groups_open = (self.keys.len() - self.free.len()) as u64;
        metrics
    }
}
