//! A pattern's state out to a snapshot and in again.

use arrow_array::{ArrayRef, RecordBatch};
use model::Version;
use sql::Query;
use state::{CodecError, PartStore, SnapshotReader, SnapshotWriter};

use super::key::KeyState;
use super::limits::{LimitEvent, LimitReason};
use super::matches::Finished;
use super::operator::{PatternOperator, PendingRow};
use super::piece::{invalid, save_piece};
use super::spill::ColdPattern;
use crate::cold::{read_parts, write_parts};
use crate::error::{Cause, Result};

/// Layout of the section. The first had all keys in one piece.
const VERSION: u32 = 3;
/// The first version that has keys in pieces, and the first that has some in parts.
const PIECES: u32 = 2;
const PARTS: u32 = 3;

/// Keys and rows of a part at most; one key may come with more.
const PART_KEYS: usize = 32_768;
const PART_ROWS: usize = 65_536;

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
        self.write(writer, None)
    }

    /// As [`snapshot`](Self::snapshot), with the keys on the disk in parts, and those in memory where they are many: those that are in none yet or
    /// have changed since are kept now, and of the others the snapshot names the parts that they are in.
    ///
    /// # Errors
    /// A column that can't be written, a failure of the storage.
    pub fn snapshot_in_parts(&mut self, writer: &mut SnapshotWriter, parts: &dyn PartStore) -> Result<()> {
        self.write(writer, Some(parts))
    }

    /// Names of the parts that the last snapshot is made of. One that was restored isn't: its keys come into parts of their own.
    pub fn part_names(&self) -> impl Iterator<Item = String> {
        self.parts().map(|(name, _)| name.to_owned())
    }

    /// Replaces the state by that of a snapshot of the same pattern: same name and generation, state of the same shape, same partition.
    ///
    /// # Errors
    /// [`Cause::Snapshot`] when it is another pattern's, a newer build's, or damaged.
    pub fn restore(&mut self, reader: &mut SnapshotReader<'_>) -> Result<()> {
        self.read(reader, None)
    }

    /// As [`restore`](Self::restore), for a snapshot that may be made of parts.
    ///
    /// # Errors
    /// As [`restore`](Self::restore), and a part that can't be read.
    pub fn restore_from_parts(&mut self, reader: &mut SnapshotReader<'_>, parts: &dyn PartStore) -> Result<()> {
        self.read(reader, Some(parts))
    }

    fn write(&mut self, writer: &mut SnapshotWriter, parts: Option<&dyn PartStore>) -> Result<()> {
        let (name, fingerprint) = (section(&self.query, self.options.generation), self.fingerprint.clone());
        let written = writer.section(&name, VERSION, &fingerprint, |inner| self.save(inner, parts));
        written.map_err(|cause| cause.of(&self.query.name))
    }

    fn read(&mut self, reader: &mut SnapshotReader<'_>, parts: Option<&dyn PartStore>) -> Result<()> {
        let (name, fingerprint) = (section(&self.query, self.options.generation), self.fingerprint.clone());
        let query = self.query.clone();
        let mut fresh = Self::new(self.query.clone(), self.options)?;
        if let Some(cold) = &self.cold {
            fresh.spill_to(cold.spill.clone())?;
        }
        let read = reader.section(&name, VERSION, &fingerprint, |inner, version| fresh.load(inner, version, parts));
        read.map_err(|cause| cause.of(&query.name))?;
        *self = fresh;
        Ok(())
    }

    fn save(&mut self, writer: &mut SnapshotWriter, parts: Option<&dyn PartStore>) -> std::result::Result<(), Cause> {
        writer.i32(self.options.partition);
        writer.optional_i64(self.watermark_us);
        writer.bool(true);
        self.save_memory(writer, parts)?;
        match parts {
            None => self.read_cold(|held| {
                writer.bool(true);
                held.save(&self.codec, writer)
            })?,
            Some(parts) => {
                let Self { cold, codec, pattern, store, .. } = self;
                let kept = |cold: &mut ColdPattern| cold.keep_parts(parts, codec, pattern, store.schema());
                cold.as_mut().map_or(Ok(()), kept)?;
            }
        }
        writer.bool(false);
        match parts {
            None => writer.u64(0),
            Some(_) => write_parts(writer, self.parts()),
        }
        self.save_waiting(writer)
    }

    /// Each part that the last snapshot is made of, with the places of keys that aren't in it any more, as bits.
    fn parts(&self) -> impl Iterator<Item = (&str, Vec<u64>)> {
        self.keys.kept().parts().chain(self.cold.iter().flat_map(ColdPattern::parts))
    }

    /// Writes the keys that are in memory. If there is a place for parts, many of them go there.
    fn save_memory(
        &mut self,
        writer: &mut SnapshotWriter,
        parts: Option<&dyn PartStore>,
    ) -> std::result::Result<(), Cause> {
        let parts = parts.filter(|_| self.keys.len() >= self.options.parts_from_keys);
        let Some(parts) = parts else {
            self.keys.forget_parts();
            let numbers = self.keys.unkept();
            let pending = self.pending_of(|_| true);
            return self.save_keys(&numbers, &mut pending.as_slice(), writer);
        };
        let going = self.keys.unkept();
        let pending = self.pending_of(|key| !self.keys.kept().holds(key.in_part));
        let (mut going, mut pending) = (going.as_slice(), pending.as_slice());
        while !going.is_empty() {
            let (part, rest) = going.split_at(self.part_keys(going));
            let mut bytes = SnapshotWriter::values(Vec::new());
            self.save_keys(part, &mut pending, &mut bytes)?;
            self.keys.note_kept(parts.keep(&bytes.finish())?, part, !rest.is_empty());
            going = rest;
        }
        self.save_keys(&[], &mut pending, writer)
    }

    /// How many of these keys go to one part.
    fn part_keys(&self, numbers: &[u32]) -> usize {
        let mut rows = 0;
        let fits = |number: &&u32| {
            let has_room = rows < PART_ROWS;
            rows += self.keys.get(**number).map_or(0, |key| key.rows.len() + key.pending);
            has_room
        };
        numbers.iter().take(PART_KEYS).take_while(fits).count()
    }

    /// The rows of these keys that wait for the watermark, in the order of the keys' numbers.
    fn pending_of(&self, is_wanted: impl Fn(&KeyState) -> bool) -> Vec<PendingRow> {
        let of_wanted = |row: &&PendingRow| self.keys.get(row.key).is_some_and(&is_wanted);
        let mut pending: Vec<PendingRow> = self.pending.iter().filter(of_wanted).copied().collect();
        pending.sort_by_key(|row| row.key);
        pending
    }

    /// Writes keys by their numbers, with their rows, which are the first that wait.
    fn save_keys(
        &self,
        numbers: &[u32],
        waiting: &mut &[PendingRow],
        writer: &mut SnapshotWriter,
    ) -> std::result::Result<(), Cause> {
        let keys: Vec<&KeyState> = numbers.iter().filter_map(|number| self.keys.get(*number)).collect();
        let mut pending = Vec::new();
        for (place, number) in (0..).zip(numbers) {
            let (own, rest) = waiting.split_at(waiting.partition_point(|row| row.key <= *number));
            pending.extend(own.iter().map(|row| (place, *row)));
            *waiting = rest;
        }
        save_piece(&keys, &pending, &self.store, &self.codec, writer)
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

    fn load(
        &mut self,
        reader: &mut SnapshotReader<'_>,
        version: u32,
        parts: Option<&dyn PartStore>,
    ) -> std::result::Result<(), Cause> {
        let partition = reader.i32()?;
        if partition != self.options.partition {
            let reason = format!("it is of partition {partition}, not {}", self.options.partition);
            return Err(CodecError::Invalid { what: "pattern", reason }.into());
        }
        self.watermark_us = reader.optional_i64()?;
        // The first piece was always there.
        let mut follows = version < PIECES || reader.bool()?;
        while follows {
            self.load_piece(reader, None)?;
            self.make_room()?;
            follows = version >= PIECES && reader.bool()?;
        }
        if version >= PARTS {
            read_parts(reader, parts, |part, bytes| {
                let mut reader = SnapshotReader::values(bytes);
                self.load_piece(&mut reader, Some(part))?;
                reader.finish()?;
                self.make_room()
            })?;
        }
        self.load_waiting(reader)
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
