//! Keys with their rows on the disk, and back: those that rows come for, and those that the watermark makes something due of.

use std::collections::BTreeMap;

use arrow_schema::SchemaRef;
use sql::Pattern;
use state::{PartStore, SnapshotReader, SnapshotWriter};

use super::key::{KeyState, Row};
use super::operator::{PatternOperator, PendingRow};
use super::piece::{load_key, load_row, save_key, save_piece, save_row};
use super::store::{Place, RowStore};
use super::table::KeyTable;
use crate::cold::{Chunk, ColdKeys, Entry, RowCodec};
use crate::error::{Cause, Result};
use crate::keys::KeyCodec;
use crate::options::Spill;

/// Keys that are read at a time for a snapshot.
const PIECE_KEYS: usize = 4_096;
/// Where there is a disk, time moves in steps, so many as a match spans: what comes due needn't be in memory all at once.
const STEPS: i64 = 16;

/// Keys on the disk, and how their rows are written.
#[derive(Debug)]
pub(super) struct ColdPattern {
    pub(super) spill: Spill,
    keys: ColdKeys,
    codec: RowCodec,
}

/// A key that comes from the disk.
struct Found {
    state: KeyState,
    pending: Vec<Row>,
    /// The bytes of its rows: those that the watermark has passed, then the others.
    rows: Vec<Vec<u8>>,
}

/// What the disk holds of a few keys, each under the number of its place there.
#[derive(Debug)]
pub(super) struct Held {
    keys: KeyTable,
    pending: Vec<PendingRow>,
    store: RowStore,
}

impl Held {
    fn of(chunk: &Chunk, codec: &RowCodec, pattern: &Pattern, schema: &SchemaRef) -> std::result::Result<Self, Cause> {
        let found = chunk.entries().map(|entry| parse(entry, pattern));
        let found = found.collect::<std::result::Result<_, Cause>>()?;
        let mut held = Self { keys: KeyTable::default(), pending: Vec::new(), store: RowStore::new(schema.clone()) };
        adopt(found, codec, &mut held.keys, &mut held.pending, &mut held.store)?;
        Ok(held)
    }

    /// Writes it as another process can read it, keys in their order.
    pub(super) fn save(&self, codec: &KeyCodec, writer: &mut SnapshotWriter) -> std::result::Result<(), Cause> {
        let keys: Vec<&KeyState> = self.keys.iter().collect();
        let pending: Vec<(u32, PendingRow)> = self.pending.iter().map(|row| (row.key, *row)).collect();
        save_piece(&keys, &pending, &self.store, codec, writer)
    }
}

impl ColdPattern {
    /// Keeps its keys that aren't in a part yet.
    pub(super) fn keep_parts(
        &mut self,
        parts: &dyn PartStore,
        key_codec: &KeyCodec,
        pattern: &Pattern,
        schema: &SchemaRef,
    ) -> std::result::Result<(), Cause> {
        let codec = &self.codec;
        self.keys.keep_parts(parts, |chunk, out| Held::of(chunk, codec, pattern, schema)?.save(key_codec, out))
    }

    /// Each part that has its keys, with the places of those that were brought back, as bits.
    pub(super) fn parts(&self) -> impl Iterator<Item = (&str, Vec<u64>)> {
        self.keys.parts()
    }
}

impl PatternOperator {
    /// Moves keys to the disk from now on where they don't fit into memory. Rows with columns that can't be written stay in memory.
    ///
    /// # Errors
    /// A plan that can't be run.
    pub fn spill_to(&mut self, spill: Spill) -> Result<()> {
        let codec = RowCodec::new(self.store.schema()).map_err(|cause| cause.of(&self.query.name))?;
        self.cold = codec.map(|codec| ColdPattern { keys: ColdKeys::new(spill.clone()), spill, codec });
        Ok(())
    }

    /// Keys that are on the disk, and the bytes of its files.
    pub(super) fn spilled(&self) -> (u64, u64) {
        self.cold.as_ref().map_or((0, 0), |cold| (cold.keys.len() as u64, cold.keys.disk_bytes()))
    }

    /// Bytes of rows and keys.
    pub(super) fn held_bytes(&self) -> usize {
        let cold = self.cold.as_ref().map_or(0, |cold| cold.keys.memory_bytes());
        self.store.bytes() + self.keys.bytes() + self.pending.len() * size_of::<PendingRow>() + cold
    }

    /// Moves keys to the disk, if there is one, where memory is full: those for which no rows have come since the last time, or all if that doesn't
    /// do or most have had some.
    pub(super) fn make_room(&mut self) -> std::result::Result<(), Cause> {
        while let Some(cold) = &self.cold
            && self.held_bytes() > cold.keys.bytes_max()
            && self.keys.len() > 0
        {
            self.evict()?;
        }
        Ok(())
    }

    fn evict(&mut self) -> std::result::Result<(), Cause> {
        let Self { keys, pending, store, cold, .. } = self;
        let Some(cold) = cold else { return Ok(()) };
        let all = keys.numbers();
        let is_hot = |number: &u32| keys.get(*number).is_some_and(|key| key.is_hot);
        let keeps_hot = 2 * all.iter().filter(|number| is_hot(number)).count() <= all.len();
        let going: Vec<u32> = all.into_iter().filter(|number| !(keeps_hot && is_hot(number))).collect();
        let mut waiting: BTreeMap<u32, Vec<PendingRow>> = going.iter().map(|number| (*number, Vec::new())).collect();
        for row in pending.iter() {
            waiting.entry(row.key).and_modify(|rows| rows.push(*row));
        }
        let numbers = going.iter().filter_map(|number| Some((keys.get(*number)?.hash, *number))).collect();
        let codec = &cold.codec;
        cold.keys.write(numbers, &mut |numbers, chunk| write_keys(numbers, (keys, &waiting), store, codec, chunk))?;
        pending.retain(|row| !waiting.contains_key(&row.key));
        for number in going {
            keys.remove(number);
        }
        // Who stays has to earn it anew.
        keys.iter_mut().for_each(|key| key.is_hot = false);
        self.wakes.retain(|wake| {
            let (time_us, number) = wake.0;
            keys.get(number).is_some_and(|key| key.wakes_at_us == Some(time_us))
        });
        self.compact()
    }

    /// Brings those of the present batch's keys to memory that the disk has.
    pub(super) fn recall_keys(&mut self) -> std::result::Result<(), Cause> {
        let Self { keys, batch_keys, cold, .. } = self;
        let Some(cold) = cold.as_mut().filter(|cold| cold.keys.len() > 0) else { return Ok(()) };
        let mut wanted: BTreeMap<(u64, Option<&[u8]>), u32> = BTreeMap::new();
        for (row, hash) in (0_u32..).zip(&batch_keys.hashes) {
            let key = batch_keys.get(row as usize);
            if keys.find(*hash, key).is_none() {
                wanted.entry((*hash, key)).or_insert(row);
            }
        }
        let wanted = wanted.into_iter().map(|((hash, _), row)| (hash, row)).collect();
        let mut found = Vec::new();
        let pattern = &self.pattern;
        cold.keys.take(
            wanted,
            |row| batch_keys.get(row as usize),
            |entry| {
                found.push(parse(entry, pattern)?);
                Ok(())
            },
        )?;
        self.bring(found)
    }

    /// Moves time, in steps if there are keys on the disk.
    pub(super) fn pass_all(&mut self, watermark_us: i64) -> std::result::Result<(), Cause> {
        let step_us = (self.pattern.within_us / STEPS).max(1);
        while let Some(due_us) = self.cold.as_ref().and_then(|cold| cold.keys.first_due_us())
            && due_us < watermark_us
        {
            let step_end_us = due_us.div_euclid(step_us).saturating_add(1).saturating_mul(step_us);
            // Memory may be behind the disk, and time never goes back.
            let until_us = watermark_us.min(step_end_us).max(self.watermark_us.unwrap_or(i64::MIN));
            self.recall_due(until_us)?;
            self.pass(until_us)?;
            self.make_room()?;
        }
        self.pass(watermark_us)?;
        self.make_room()
    }

    fn recall_due(&mut self, watermark_us: i64) -> std::result::Result<(), Cause> {
        let Some(cold) = &mut self.cold else { return Ok(()) };
        let (mut found, pattern) = (Vec::new(), &self.pattern);
        while cold.keys.take_due(watermark_us, |entry| {
            found.push(parse(entry, pattern)?);
            Ok(())
        })? {}
        self.bring(found)
    }

    fn bring(&mut self, found: Vec<Found>) -> std::result::Result<(), Cause> {
        let Self { keys, pending, store, cold, .. } = self;
        let Some(cold) = cold else { return Ok(()) };
        let brought = adopt(found, &cold.codec, keys, pending, store)?;
        let watermark_us = self.watermark_us.unwrap_or(i64::MIN);
        brought.into_iter().for_each(|number| self.leave(number, watermark_us));
        Ok(())
    }

    /// Gives what the disk holds, some keys at a time.
    pub(super) fn read_cold(
        &self,
        mut take: impl FnMut(&Held) -> std::result::Result<(), Cause>,
    ) -> std::result::Result<(), Cause> {
        let Some(cold) = &self.cold else { return Ok(()) };
        cold.keys.read(PIECE_KEYS, |chunk| take(&Held::of(chunk, &cold.codec, &self.pattern, self.store.schema())?))
    }
}

/// Writes keys with their rows, and those that wait for the watermark.
fn write_keys(
    numbers: &[u32],
    (keys, waiting): (&KeyTable, &BTreeMap<u32, Vec<PendingRow>>),
    store: &RowStore,
    codec: &RowCodec,
    chunk: &mut Chunk,
) -> std::result::Result<(), Cause> {
    let of = |number: &u32| Some((keys.get(*number)?, waiting.get(number)?.as_slice()));
    let places = |(key, pending): (&KeyState, &[PendingRow])| -> Vec<Place> {
        key.rows.iter().map(|row| row.place).chain(pending.iter().map(|row| row.place)).collect()
    };
    let all: Vec<Place> = numbers.iter().filter_map(of).flat_map(places).collect();
    let encoded = codec.encode(&store.columns_of(&all)?)?;
    let mut rows = encoded.iter();
    for (key, pending) in numbers.iter().filter_map(of) {
        let mut writer = SnapshotWriter::values(Vec::new());
        save_key(key, &mut writer);
        writer.u64(pending.len() as u64);
        pending.iter().for_each(|row| save_row(&row.as_row(), &mut writer));
        rows.by_ref().take(key.rows.len() + pending.len()).for_each(|row| writer.bytes(row.as_ref()));
        let first_us = pending.iter().map(|row| row.time_us).chain(key.wakes_at_us).min();
        let (due_us, value) = (first_us.unwrap_or(i64::MAX), writer.finish());
        chunk.push(Entry { hash: key.hash, key: key.key.as_deref(), due_us, marks: 0, value: &value });
    }
    Ok(())
}

fn parse(entry: Entry<'_>, pattern: &Pattern) -> std::result::Result<Found, Cause> {
    let mut reader = SnapshotReader::values(entry.value);
    let mut place = 0;
    let state = load_key(&mut reader, &mut place, pattern)?;
    let state = KeyState { key: entry.key.map(<[u8]>::to_vec), hash: entry.hash, ..state };
    let pending = reader.u64()?;
    let pending = (0..pending).map(|_| load_row(&mut reader, &mut place)).collect::<std::result::Result<_, _>>()?;
    let rows = (0..place).map(|_| Ok(reader.bytes()?.to_vec())).collect::<std::result::Result<_, Cause>>()?;
    reader.finish()?;
    Ok(Found { state, pending, rows })
}

/// Takes in keys that come from the disk; gives their numbers.
fn adopt(
    found: Vec<Found>,
    codec: &RowCodec,
    keys: &mut KeyTable,
    pending: &mut Vec<PendingRow>,
    store: &mut RowStore,
) -> std::result::Result<Vec<u32>, Cause> {
    let rows: Vec<&[u8]> = found.iter().flat_map(|found| &found.rows).map(Vec::as_slice).collect();
    let segment = match rows.len() {
        0 => 0,
        count => store.add_columns(codec.decode(rows.into_iter())?, count)?,
    };
    let mut numbers = Vec::with_capacity(found.len());
    let mut next = 0;
    let mut place = || {
        next += 1;
        RowStore::place(segment, next - 1)
    };
    for Found { mut state, pending: waiting, .. } in found {
        state.rows.iter_mut().for_each(|row| row.place = place());
        state.pending = waiting.len();
        let key = keys.insert(state);
        pending.extend(waiting.into_iter().map(|row| PendingRow::of(key, Row { place: place(), ..row })));
        numbers.push(key);
    }
    Ok(numbers)
}
