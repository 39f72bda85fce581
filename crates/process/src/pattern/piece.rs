//! Some keys with their rows, as snapshots and their parts have them: another process can read them.

use arrow_array::{ArrayRef, BooleanArray};
use arrow_select::filter::FilterBuilder;
use sql::Pattern;
use state::{CodecError, SnapshotReader, SnapshotWriter};

use super::attempt::{Attempt, Run};
use super::key::{KeyState, Match, Row};
use super::operator::{PatternOperator, PendingRow};
use super::store::{Place, RowStore};
use crate::cold::Part;
use crate::error::Cause;
use crate::keys::KeyCodec;

/// Keys with their rows as they were read. Rows are in the order of the columns: those of the keys, then those that wait for the watermark.
struct Piece {
    states: Vec<KeyState>,
    /// Each with the place of its key among the states.
    pending: Vec<(u32, Row)>,
    columns: Vec<ArrayRef>,
    rows: usize,
}

/// Writes keys, and rows of theirs that wait for the watermark, each with the place of its key among them.
pub(super) fn save_piece(
    keys: &[&KeyState],
    pending: &[(u32, PendingRow)],
    store: &RowStore,
    codec: &KeyCodec,
    writer: &mut SnapshotWriter,
) -> Result<(), Cause> {
    writer.u64(keys.len() as u64);
    for column in codec.decode(keys.iter().map(|key| key.key.as_deref()))? {
        writer.column(&column)?;
    }
    keys.iter().for_each(|key| save_key(key, writer));
    writer.u64(pending.len() as u64);
    for (key, row) in pending {
        writer.u32(*key);
        save_row(&row.as_row(), writer);
    }
    let of_keys = keys.iter().flat_map(|key| &key.rows).map(|row| row.place);
    let places: Vec<Place> = of_keys.chain(pending.iter().map(|(_, row)| row.place)).collect();
    writer.u64(places.len() as u64);
    for column in store.columns_of(&places)? {
        writer.column(&column)?;
    }
    Ok(())
}

impl PatternOperator {
    /// Takes in what [`save_piece`] has written; of a part, the keys that are in it still.
    pub(super) fn load_piece(&mut self, reader: &mut SnapshotReader<'_>, part: Option<&Part>) -> Result<(), Cause> {
        let mut piece = self.read_piece(reader)?;
        if let Some(part) = part {
            piece.keep(|key| !part.is_taken(key))?;
        }
        let Piece { states, pending, columns, rows } = piece;
        let segment = if rows > 0 { self.store.add_columns(columns, rows)? } else { 0 };
        let mut places = (0..).map(|row| RowStore::place(segment, row));
        let mut placed = |row: Row| Row { place: places.next().unwrap_or(row.place), ..row };
        let mut numbers = Vec::with_capacity(states.len());
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

    fn read_piece(&self, reader: &mut SnapshotReader<'_>) -> Result<Piece, Cause> {
        let count = reader.count(1)?;
        let columns: Result<Vec<ArrayRef>, CodecError> =
            self.codec.types().iter().map(|data_type| reader.column(data_type)).collect();
        let mut encoded = self.codec.keys();
        self.codec.encode(&columns?, count, &mut encoded)?;
        let (mut rows, mut states, mut pending) = (0, Vec::new(), Vec::new());
        for number in 0..count {
            let key = encoded.get(number).map(<[u8]>::to_vec);
            let hash = encoded.hashes.get(number).copied().unwrap_or(0);
            let state = load_key(reader, &mut rows, &self.pattern)?;
            states.push(KeyState { key, hash, ..state });
        }
        for _ in 0..reader.count(4)? {
            let key = reader.u32()?;
            let slot = usize::try_from(key).ok().and_then(|key| states.get_mut(key));
            slot.ok_or_else(|| invalid("a row of a key that isn't there"))?.pending += 1;
            pending.push((key, load_row(reader, &mut rows)?));
        }
        if reader.u64()? != rows as u64 {
            return Err(invalid("it has other rows than its keys").into());
        }
        let fields = self.store.schema().fields();
        let columns: Result<Vec<ArrayRef>, CodecError> =
            fields.iter().map(|field| reader.column(field.data_type())).collect();
        let columns = columns?;
        if columns.iter().any(|column| column.len() != rows) {
            return Err(invalid("its columns are of other rows").into());
        }
        Ok(Piece { states, pending, columns, rows })
    }
}

impl Piece {
    /// Leaves out the other keys with their rows.
    fn keep(&mut self, stays: impl Fn(usize) -> bool) -> Result<(), Cause> {
        if (0..self.states.len()).all(&stays) {
            return Ok(());
        }
        let of_keys = self.states.iter().enumerate().flat_map(|(key, state)| state.rows.iter().map(move |_| key));
        let of_pending = self.pending.iter().map(|(key, _)| *key as usize);
        let mask: BooleanArray = of_keys.chain(of_pending).map(|key| Some(stays(key))).collect();
        let filter = FilterBuilder::new(&mask).optimize().build();
        for column in &mut self.columns {
            *column = filter.filter(column)?;
        }
        self.rows = filter.count();
        let mut numbers = Vec::with_capacity(self.states.len());
        let mut next = 0;
        for key in 0..self.states.len() {
            numbers.push(stays(key).then_some(next));
            next += u32::from(stays(key));
        }
        let number = |key: u32| numbers.get(key as usize).copied().flatten();
        self.pending = self.pending.iter().filter_map(|(key, row)| Some((number(*key)?, *row))).collect();
        let mut key = 0..;
        self.states.retain(|_| key.next().is_some_and(&stays));
        Ok(())
    }
}

pub(super) fn invalid(reason: &str) -> CodecError {
    CodecError::Invalid { what: "pattern", reason: reason.to_owned() }
}

pub(super) fn save_row(row: &Row, writer: &mut SnapshotWriter) {
    writer.i64(row.time_us);
    writer.i64(row.offset);
    writer.u64(row.may_be);
}

/// Rows come back in one segment, in the order in which they were written.
pub(super) fn load_row(reader: &mut SnapshotReader<'_>, next_place: &mut usize) -> Result<Row, CodecError> {
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
) -> Result<KeyState, CodecError> {
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
