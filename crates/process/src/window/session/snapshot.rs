//! Sessions out and in. Holes aren't written.

use arrow_array::Array as _;
use state::{CodecError, SnapshotReader, SnapshotWriter};

use super::fold::SessionAggregation;
use super::table::{Session, SessionTable};
use crate::error::Cause;

impl SessionAggregation {
    /// Closes up the holes, so that the sessions are written as they are numbered.
    pub(crate) fn prepare_save(&mut self) -> Result<(), Cause> {
        self.table.compact(true, || self.plan.accumulators())
    }

    pub(crate) fn save(&self, writer: &mut SnapshotWriter) -> Result<(), Cause> {
        let sessions = &self.table.sessions;
        writer.optional_i64(self.watermark_us);
        writer.i64s(&sessions.iter().map(|session| session.start_us).collect::<Vec<_>>());
        writer.i64s(&sessions.iter().map(|session| session.last_us).collect::<Vec<_>>());
        writer.u64s(&sessions.iter().map(|session| session.rows).collect::<Vec<_>>());
        writer.bools(&sessions.iter().map(|session| session.is_changed).collect::<Vec<_>>());
        let starts: [fn(&Session) -> &Vec<i64>; 2] = [|session| &session.standing, |session| &session.replayed];
        for lists in starts {
            writer.u64s(&sessions.iter().map(|session| lists(session).len() as u64).collect::<Vec<_>>());
            writer.i64s(&sessions.iter().flat_map(lists).copied().collect::<Vec<_>>());
        }
        for column in self.plan.codec.decode(sessions.iter().map(|session| self.table.keys.get(session.key)))? {
            writer.column(&column)?;
        }
        for accumulator in &self.table.accumulators {
            accumulator.save(writer)?;
        }
        Ok(())
    }

    /// Replaces the state. On an error the state is as it was.
    pub(crate) fn load(&mut self, reader: &mut SnapshotReader<'_>) -> Result<(), Cause> {
        let watermark_us = reader.optional_i64()?;
        let (starts, lasts, rows) = (reader.i64s()?, reader.i64s()?, reader.u64s()?);
        let changed = reader.bools()?;
        let count = starts.len();
        if lasts.len() != count || rows.len() != count || changed.len() != count {
            return Err(invalid("their lists differ in length").into());
        }
        let (mut standing, mut replayed) = (lists(reader, count)?.into_iter(), lists(reader, count)?.into_iter());
        let columns: Result<Vec<_>, CodecError> =
            self.plan.codec.types().iter().map(|kind| reader.column(kind)).collect();
        let columns = columns?;
        if columns.iter().any(|column| column.len() != count) {
            return Err(invalid("their keys aren't as many").into());
        }
        let mut keys = self.plan.codec.keys();
        self.plan.codec.encode(&columns, count, &mut keys)?;
        let mut table = SessionTable::new(self.plan.accumulators()?, self.plan.accumulators()?);
        for row in 0..count {
            let key = table.key(keys.hashes[row], keys.get(row))?;
            let session = Session {
                key,
                start_us: starts[row],
                last_us: lasts[row],
                rows: rows[row],
                is_held: true,
                is_changed: changed[row],
                standing: standing.next().unwrap_or_default(),
                replayed: replayed.next().unwrap_or_default(),
            };
            let of_key = &table.of_key[key as usize];
            let known = |number: &u32| &table.sessions[*number as usize];
            let at = of_key.partition_point(|number| known(number).start_us < session.start_us);
            let before = at.checked_sub(1).and_then(|before| of_key.get(before)).map(known);
            let overlaps = before.is_some_and(|before| before.last_us >= session.start_us)
                || of_key.get(at).map(known).is_some_and(|after| after.start_us <= session.last_us);
            if session.last_us < session.start_us || overlaps {
                return Err(invalid("sessions of a key overlap").into());
            }
            let number = table.insert(at, session)?;
            if changed[row] {
                table.changed.push(number);
            }
        }
        for accumulator in &mut table.accumulators {
            accumulator.load(reader, count)?;
        }
        (self.watermark_us, self.table) = (watermark_us, table);
        Ok(())
    }
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
