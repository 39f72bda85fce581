//! A pattern's state out to a snapshot and in again.

use arrow_array::{ArrayRef, RecordBatch};
use model::Version;
use sql::{Pattern, Query};
use state::{CodecError, SnapshotReader, SnapshotWriter};

use super::advance::live_places;
use super::attempt::{Attempt, Run};
use super::key::{KeyState, Match, Row};
use super::limits::{LimitEvent, LimitReason};
use super::matches::Finished;
use super::operator::{PatternOperator, PendingRow};
use super::store::{Place, RowStore};
use super::table::KeyTable;
use crate::error::{Cause, Result};

/// Layout of the section. The first had all keys in one piece.
const VERSION: u32 = 2;
/// The first version that has keys in pieces.
const PIECES: u32 = 2;

fn section(query: &Query, generation: u32) -> String {
    format!("pattern {} g{generation}", query.name)
}

/// Tells apart states that can't stand for each other.
pub(super) fn fingerprint(query: &Query, generation: u32) -> String {
    crate::operator::fingerprint(query, generation)
}

impl PatternOperator {
    /// Writes the whole state as a section named after the pattern.
    ///
    /// # Errors
    /// A column that can't be written.
    pub fn snapshot(&mut self, writer: &mut SnapshotWriter) -> Result<()> {
        let name = section(&self.query, self.options.generation);
        let written = writer.section(&name, VERSION, &self.fingerprint, |inner| self.save(inner));
        written.map_err(|cause| cause.of(&self.query.name))
    }

    /// Replaces the state by that of a snapshot of the same pattern: same name and generation, state of the same shape, same partition.
    ///
    /// # Errors
    /// [`Cause::Snapshot`] when it is another pattern's, a newer build's, or damaged.
    pub fn restore(&mut self, reader: &mut SnapshotReader<'_>) -> Result<()> {
        let (name, fingerprint) = (section(&self.query, self.options.generation), self.fingerprint.clone());
        let query = self.query.clone();
        let mut fresh = Self::new(self.query.clone(), self.options)?;
        if let Some(cold) = &self.cold {
            fresh.spill_to(cold.spill.clone())?;
        }
        let read = reader.section(&name, VERSION, &fingerprint, |inner, version| fresh.load(inner, version));
        read.map_err(|cause| cause.of(&query.name))?;
        *self = fresh;
        Ok(())
    }

    fn save(&self, writer: &mut SnapshotWriter) -> std::result::Result<(), Cause> {
        writer.i32(self.options.partition);
        writer.optional_i64(self.watermark_us);
        writer.bool(true);
        self.save_piece(&self.keys, &self.pending, &self.store, writer)?;
        self.read_cold(|held| {
            writer.bool(true);
            self.save_piece(&held.keys, &held.pending, &held.store, writer)
        })?;
        writer.bool(false);
        self.save_waiting(writer)
    }

    fn save_piece(
        &self,
        table: &KeyTable,
        pending: &[PendingRow],
        store: &RowStore,
        writer: &mut SnapshotWriter,
    ) -> std::result::Result<(), Cause> {
        let keys: Vec<(usize, &KeyState)> = table.iter().enumerate().filter(|(_, key)| !key.is_empty()).collect();
        let mut numbers = vec![0_u32; table.end() as usize];
        for (number, (at, _)) in (0..).zip(&keys) {
            if let Some(slot) = numbers.get_mut(*at) {
                *slot = number;
            }
        }
        writer.u64(keys.len() as u64);
        for column in self.codec.decode(keys.iter().map(|(_, key)| key.key.as_deref()))? {
            writer.column(&column)?;
        }
        for (_, key) in &keys {
            save_key(key, writer);
        }
        writer.u64(pending.len() as u64);
        for row in pending {
            writer.u32(numbers.get(row.key as usize).copied().unwrap_or(0));
            save_row(&row.as_row(), writer);
        }
        let places: Vec<Place> = live_places(table, pending).collect();
        writer.u64(places.len() as u64);
        for column in store.columns_of(&places)? {
            writer.column(&column)?;
        }
        Ok(())
    }

    fn save_waiting(&self, writer: &mut SnapshotWriter) -> std::result::Result<(), Cause> {
        let batches: Vec<&RecordBatch> = self.waiting.iter().map(|finished| &finished.rows).collect();
        let rows = arrow_select::concat::concat_batches(&self.query.schema, batches)?;
        writer.u64s(&self.waiting.iter().flat_map(|finished| finished.counts.clone()).collect::<Vec<_>>());
        for column in rows.columns() {
            writer.column(column)?;
        }
        writer.u64(self.limits.len() as u64);
        for limit in &self.limits {
            writer.text(&limit.key);
            writer.i64s(&[limit.first_offset, limit.last_offset, limit.first_time_us, limit.last_time_us]);
            writer.bool(limit.reason == LimitReason::Rows);
            writer.u64(limit.rows);
        }
        Ok(())
    }

    fn load(&mut self, reader: &mut SnapshotReader<'_>, version: u32) -> std::result::Result<(), Cause> {
        let partition = reader.i32()?;
        if partition != self.options.partition {
            let reason = format!("it is of partition {partition}, not {}", self.options.partition);
            return Err(CodecError::Invalid { what: "pattern", reason }.into());
        }
        self.watermark_us = reader.optional_i64()?;
        // The first piece was always there.
        let mut follows = version < PIECES || reader.bool()?;
        while follows {
            self.load_piece(reader)?;
            self.make_room()?;
            follows = version >= PIECES && reader.bool()?;
        }
        self.load_waiting(reader)
    }

    fn load_piece(&mut self, reader: &mut SnapshotReader<'_>) -> std::result::Result<(), Cause> {
        let count = reader.count(1)?;
        let columns: std::result::Result<Vec<ArrayRef>, CodecError> =
            self.codec.types().iter().map(|data_type| reader.column(data_type)).collect();
        let mut encoded = self.codec.keys();
        self.codec.encode(&columns?, count, &mut encoded)?;
        let (mut next_place, mut states, mut pending) = (0, Vec::new(), Vec::new());
        for number in 0..count {
            let key = encoded.get(number).map(<[u8]>::to_vec);
            let hash = encoded.hashes.get(number).copied().unwrap_or(0);
            let state = load_key(reader, &mut next_place, &self.pattern)?;
            states.push(KeyState { key, hash, ..state });
        }
        for _ in 0..reader.count(4)? {
            let key = reader.u32()?;
            let slot = usize::try_from(key).ok().and_then(|key| states.get_mut(key));
            slot.ok_or_else(|| invalid("a row of a key that isn't there"))?.pending += 1;
            pending.push((key, load_row(reader, &mut next_place)?));
        }
        let rows = reader.u64()?;
        if rows != next_place as u64 {
            return Err(invalid("it has other rows than its keys").into());
        }
        let fields = self.store.schema().fields().clone();
        let columns: std::result::Result<Vec<ArrayRef>, CodecError> =
            fields.iter().map(|field| reader.column(field.data_type())).collect();
        let columns = columns?;
        if columns.iter().any(|column| column.len() != next_place) {
            return Err(invalid("its columns are of other rows").into());
        }
        let segment = if next_place > 0 { self.store.add_columns(columns, next_place)? } else { 0 };
        let mut places = (0..).map(|row| RowStore::place(segment, row));
        let mut placed = |row: Row| Row { place: places.next().unwrap_or(row.place), ..row };
        let mut numbers = Vec::with_capacity(count);
        for mut state in states {
            state.rows.iter_mut().for_each(|row| *row = placed(*row));
            numbers.push(self.keys.insert(state));
        }
        let pending = pending.into_iter().map(|(key, row)| (numbers.get(key as usize).copied().unwrap_or(0), row));
        self.pending.extend(pending.map(|(key, row)| PendingRow::of(key, placed(row))));
        let watermark_us = self.watermark_us.unwrap_or(i64::MIN);
        numbers.into_iter().for_each(|number| self.leave(number, watermark_us));
        Ok(())
    }

    fn load_waiting(&mut self, reader: &mut SnapshotReader<'_>) -> std::result::Result<(), Cause> {
        let counts = reader.u64s()?;
        let fields = self.query.schema.fields().clone();
        let columns: std::result::Result<Vec<ArrayRef>, CodecError> =
            fields.iter().map(|field| reader.column(field.data_type())).collect();
        let rows = RecordBatch::try_new(self.query.schema.clone(), columns?)?;
        if rows.num_rows() != counts.len() {
            return Err(invalid("its results are of other matches").into());
        }
        if !counts.is_empty() {
            self.waiting.push(Finished { rows, counts });
        }
        for _ in 0..reader.count(8)? {
            let key = reader.text()?.to_owned();
            let numbers = reader.i64s()?;
            let [first_offset, last_offset, first_time_us, last_time_us] = numbers.as_slice() else {
                return Err(invalid("a limit without its place").into());
            };
            let reason = if reader.bool()? { LimitReason::Rows } else { LimitReason::Runs };
            let rows = reader.u64()?;
            self.limits.push(LimitEvent {
                key,
                partition: self.options.partition,
                first_offset: *first_offset,
                last_offset: *last_offset,
                first_time_us: *first_time_us,
                last_time_us: *last_time_us,
                reason,
                rows,
                version: Version { generation: self.options.generation, rows, is_final: true },
            });
        }
        Ok(())
    }
}

fn invalid(reason: &str) -> CodecError {
    CodecError::Invalid { what: "pattern", reason: reason.to_owned() }
}

pub(super) fn save_row(row: &Row, writer: &mut SnapshotWriter) {
    writer.i64(row.time_us);
    writer.i64(row.offset);
    writer.u64(row.may_be);
}

/// Rows come back in one segment, in the order in which they were written.
pub(super) fn load_row(
    reader: &mut SnapshotReader<'_>,
    next_place: &mut usize,
) -> std::result::Result<Row, CodecError> {
    let place = RowStore::place(0, *next_place);
    *next_place += 1;
    Ok(Row { time_us: reader.i64()?, offset: reader.i64()?, may_be: reader.u64()?, place })
}

pub(super) fn save_key(key: &KeyState, writer: &mut SnapshotWriter) {
    writer.u64(key.matches);
    writer.u64(key.first_row);
    writer.u64(key.next_start);
    writer.u64(key.rows.len() as u64);
    key.rows.iter().for_each(|row| save_row(row, writer));
    writer.u64(key.attempts.len() as u64);
    for attempt in &key.attempts {
        writer.u64(attempt.start);
        writer.u64(attempt.taken);
        writer.bool(attempt.best.is_some());
        writer.bytes(attempt.best.as_deref().unwrap_or_default());
        writer.u64(attempt.runs.len() as u64);
        for run in &attempt.runs {
            writer.u32(u32::from(run.state));
            writer.bytes(&run.path);
        }
    }
    writer.u64(key.decided.len() as u64);
    for decided in &key.decided {
        writer.u64(decided.start);
        writer.u64(decided.number);
        writer.bytes(&decided.path);
    }
}

pub(super) fn load_key(
    reader: &mut SnapshotReader<'_>,
    next_place: &mut usize,
    pattern: &Pattern,
) -> std::result::Result<KeyState, CodecError> {
    let mut key =
        KeyState { matches: reader.u64()?, first_row: reader.u64()?, next_start: reader.u64()?, ..KeyState::default() };
    for _ in 0..reader.count(24)? {
        key.rows.push_back(load_row(reader, next_place)?);
    }
    for _ in 0..reader.count(16)? {
        let (start, taken, has_best) = (reader.u64()?, reader.u64()?, reader.bool()?);
        let best = reader.bytes()?.to_vec();
        let mut runs = Vec::new();
        for _ in 0..reader.count(12)? {
            let state = u16::try_from(reader.u32()?).map_err(|_| invalid("a run in a state that isn't there"))?;
            if usize::from(state) >= pattern.automaton.states.len() {
                return Err(invalid("a run in a state that isn't there"));
            }
            runs.push(Run { state, path: reader.bytes()?.to_vec() });
        }
        key.attempts.push(Attempt { start, taken, runs, best: has_best.then_some(best) });
    }
    for _ in 0..reader.count(16)? {
        let (start, number) = (reader.u64()?, reader.u64()?);
        key.decided.push_back(Match { start, path: reader.bytes()?.to_vec(), number });
    }
    Ok(key)
}
