//! Sessions out and in. Holes aren't written.

use arrow_array::Array as _;
use state::{CodecError, PartStore, SnapshotReader, SnapshotWriter};

use super::fold::SessionAggregation;
use super::spill::{adopt, write_key};
use super::table::{Session, SessionTable};
use crate::cold::{Chunk, ColdKeys, Entry, Part, read_parts, write_parts};
use crate::error::Cause;
use crate::window::plan::Plan;

/// Keys of a piece that comes from the disk.
const PIECE_KEYS: usize = 4_096;
/// The first version that has sessions in pieces, and the first that has keys in parts.
const PIECES: u32 = 6;
const PARTS: u32 = 7;

impl SessionAggregation {
    /// Closes up the holes, so that the sessions are written as they are numbered.
    pub(crate) fn prepare_save(&mut self) -> Result<(), Cause> {
        self.table.compact(true, || self.plan.accumulators())
    }

    /// Writes the state: the sessions in memory, and those on the disk. If there is a place for parts, these go there, and those in memory where
    /// they are many.
    pub(crate) fn save(&mut self, writer: &mut SnapshotWriter, parts: Option<&dyn PartStore>) -> Result<(), Cause> {
        writer.optional_i64(self.watermark_us);
        writer.bool(true);
        match parts.filter(|_| self.table.by_last.len() >= self.parts_from) {
            Some(parts) => {
                self.keep_memory(parts)?;
                self.save_piece(&self.plan.sessions()?, writer)?;
            }
            None => {
                self.table.kept.clear();
                self.save_piece(&self.table, writer)?;
            }
        }
        match parts {
            None => self.read_cold(PIECE_KEYS, |table| {
                writer.bool(true);
                self.save_piece(table, writer)
            })?,
            Some(parts) => {
                let Self { plan, cold, .. } = self;
                let keep = |cold: &mut ColdKeys| cold.keep_parts(parts, |chunk, out| save_part(plan, chunk, out));
                cold.as_mut().map_or(Ok(()), keep)?;
            }
        }
        writer.bool(false);
        match parts {
            None => writer.u64(0),
            Some(_) => write_parts(writer, self.parts()),
        }
        Ok(())
    }

    /// Keeps the keys in memory that are in no part in parts of their own.
    fn keep_memory(&mut self, parts: &dyn PartStore) -> Result<(), Cause> {
        let (keys, mut picked, mut chunk) = (self.table.unkept(), self.plan.accumulators()?, Chunk::default());
        let mut going = keys.as_slice();
        while !going.is_empty() {
            chunk.clear();
            for key in going {
                if chunk.is_full_part() {
                    break;
                }
                write_key(&self.table, *key, self.gap_us, &mut picked, &mut chunk)?;
            }
            let (part, rest) = going.split_at(chunk.len());
            let mut bytes = SnapshotWriter::values(Vec::new());
            save_part(&self.plan, &chunk, &mut bytes)?;
            self.table.note_kept(parts.keep(&bytes.finish())?, part, !rest.is_empty());
            going = rest;
        }
        Ok(())
    }

    /// Writes a table without holes.
    fn save_piece(&self, table: &SessionTable, writer: &mut SnapshotWriter) -> Result<(), Cause> {
        save_sessions(&table.sessions.iter().collect::<Vec<_>>(), writer);
        for column in self.plan.codec.decode(table.sessions.iter().map(|session| table.keys.get(session.key)))? {
            writer.column(&column)?;
        }
        for accumulator in &table.accumulators {
            accumulator.save(writer)?;
        }
        Ok(())
    }

    /// Replaces the state by one in this version of the layout. On an error the state isn't to be used.
    pub(crate) fn load(
        &mut self,
        reader: &mut SnapshotReader<'_>,
        version: u32,
        parts: Option<&dyn PartStore>,
    ) -> Result<(), Cause> {
        let watermark_us = reader.optional_i64()?;
        // The first piece was always there.
        let mut follows = version < PIECES || reader.bool()?;
        self.table = self.plan.sessions()?;
        self.is_replaying = true;
        while follows {
            let mut piece = self.load_piece(reader)?;
            if self.table.by_last.is_empty() {
                self.table = piece;
            } else {
                self.table.take_in(&mut piece, |_| true)?;
            }
            self.make_room(0)?;
            follows = version >= PIECES && reader.bool()?;
        }
        if version >= PARTS {
            read_parts(reader, parts, |part, bytes| self.load_part(part, bytes))?;
        }
        self.watermark_us = watermark_us;
        Ok(())
    }

    /// Takes in the keys of a part that are in it still.
    fn load_part(&mut self, part: &Part, bytes: &[u8]) -> Result<(), Cause> {
        let mut reader = SnapshotReader::values(bytes);
        let count = reader.count(0)?;
        let columns: Result<Vec<_>, CodecError> =
            self.plan.codec.types().iter().map(|kind| reader.column(kind)).collect();
        let mut keys = self.plan.codec.keys();
        self.plan.codec.encode(&columns?, count, &mut keys)?;
        for row in 0..count {
            let value = reader.bytes()?;
            if !part.is_taken(row) {
                let entry = Entry { hash: keys.hashes[row], key: keys.get(row), due_us: 0, marks: 0, value };
                adopt(&mut self.table, entry, true)?;
            }
            if row % PIECE_KEYS == 0 {
                self.make_room(0)?;
            }
        }
        self.make_room(0)?;
        Ok(reader.finish()?)
    }

    fn load_piece(&self, reader: &mut SnapshotReader<'_>) -> Result<SessionTable, Cause> {
        let sessions = load_sessions(reader)?;
        let count = sessions.len();
        let columns: Result<Vec<_>, CodecError> =
            self.plan.codec.types().iter().map(|kind| reader.column(kind)).collect();
        let columns = columns?;
        if columns.iter().any(|column| column.len() != count) {
            return Err(invalid("their keys aren't as many").into());
        }
        let mut keys = self.plan.codec.keys();
        self.plan.codec.encode(&columns, count, &mut keys)?;
        let mut table = self.plan.sessions()?;
        for (row, session) in sessions.into_iter().enumerate() {
            let key = table.key(keys.hashes[row], keys.get(row))?;
            let of_key = &table.of_key[key as usize];
            let known = |number: &u32| &table.sessions[*number as usize];
            let at = of_key.partition_point(|number| known(number).start_us < session.start_us);
            let before = at.checked_sub(1).and_then(|before| of_key.get(before)).map(known);
            let overlaps = before.is_some_and(|before| before.last_us >= session.start_us)
                || of_key.get(at).map(known).is_some_and(|after| after.start_us <= session.last_us);
            if session.last_us < session.start_us || overlaps {
                return Err(invalid("sessions of a key overlap").into());
            }
            let is_changed = session.is_changed;
            let number = table.insert(at, Session { key, ..session })?;
            if is_changed {
                table.changed.push(number);
            }
        }
        for accumulator in &mut table.accumulators {
            accumulator.load(reader, count)?;
        }
        Ok(table)
    }
}

/// Writes keys with their sessions.
fn save_part(plan: &Plan, chunk: &Chunk, writer: &mut SnapshotWriter) -> Result<(), Cause> {
    writer.u64(chunk.len() as u64);
    for column in plan.codec.decode(chunk.entries().map(|entry| entry.key))? {
        writer.column(&column)?;
    }
    chunk.entries().for_each(|entry| writer.bytes(entry.value));
    Ok(())
}

/// Writes what is known of sessions besides their keys and aggregates.
pub(super) fn save_sessions(sessions: &[&Session], writer: &mut SnapshotWriter) {
    writer.i64s(&sessions.iter().map(|session| session.start_us).collect::<Vec<_>>());
    writer.i64s(&sessions.iter().map(|session| session.last_us).collect::<Vec<_>>());
    writer.u64s(&sessions.iter().map(|session| session.rows).collect::<Vec<_>>());
    writer.bools(&sessions.iter().map(|session| session.is_changed).collect::<Vec<_>>());
    let starts: [fn(&Session) -> &Vec<i64>; 2] = [|session| &session.standing, |session| &session.replayed];
    for lists in starts {
        writer.u64s(&sessions.iter().map(|session| lists(session).len() as u64).collect::<Vec<_>>());
        writer.i64s(&sessions.iter().flat_map(|session| lists(session)).copied().collect::<Vec<_>>());
    }
}

/// What [`save_sessions`] has written, without keys.
pub(super) fn load_sessions(reader: &mut SnapshotReader<'_>) -> Result<Vec<Session>, CodecError> {
    let (starts, lasts, rows) = (reader.i64s()?, reader.i64s()?, reader.u64s()?);
    let changed = reader.bools()?;
    let count = starts.len();
    if lasts.len() != count || rows.len() != count || changed.len() != count {
        return Err(invalid("their lists differ in length"));
    }
    let (mut standing, mut replayed) = (lists(reader, count)?.into_iter(), lists(reader, count)?.into_iter());
    let session = |at: usize| Session {
        key: 0,
        start_us: starts[at],
        last_us: lasts[at],
        rows: rows[at],
        is_held: true,
        is_changed: changed[at],
        standing: standing.next().unwrap_or_default(),
        replayed: replayed.next().unwrap_or_default(),
    };
    Ok((0..count).map(session).collect())
}

/// A list of times for each session.
fn lists(reader: &mut SnapshotReader<'_>, count: usize) -> Result<Vec<Vec<i64>>, CodecError> {
    let (lengths, times) = (reader.u64s()?, reader.i64s()?);
    let total = lengths.iter().try_fold(0_u64, |sum, length| sum.checked_add(*length));
    if lengths.len() != count || total != Some(times.len() as u64) {
        return Err(invalid("their lists of starts differ in length"));
    }
    let mut times = times.into_iter();
    let length = |length: u64| usize::try_from(length).unwrap_or(usize::MAX);
    Ok(lengths.into_iter().map(|count| times.by_ref().take(length(count)).collect()).collect())
}

fn invalid(reason: &str) -> CodecError {
    CodecError::Invalid { what: "sessions", reason: reason.to_owned() }
}
