//! Keys with the rows of both sides on the disk, and back: those that rows come for, and those whose rows can have no partner any more.

use std::collections::{BTreeSet, HashMap};

use arrow_array::RecordBatch;
use state::{PartStore, SnapshotReader, SnapshotWriter};

use super::join::{Input, StreamJoin, gather};
use super::side::{At, Kept, Side};
use crate::cold::{Chunk, ColdKeys, Entry, RowCodec};
use crate::error::Cause;
use crate::keys::Keys;
use crate::options::Spill;

/// Keys that are read at a time for a snapshot.
const PIECE_KEYS: usize = 4_096;

/// Keys on the disk, and how the rows of both sides are written.
#[derive(Debug)]
pub(super) struct ColdRows {
    pub(super) keys: ColdKeys,
    left: RowCodec,
    right: RowCodec,
}

/// A row that comes from the disk.
struct Found {
    hash: u64,
    key: Vec<u8>,
    kept: Kept,
    row: Vec<u8>,
}

/// Rows of the left and the right side.
type BothSides = [Vec<Found>; 2];

impl StreamJoin {
    /// Moves keys to the disk from now on where they don't fit into memory. Rows with columns that can't be written stay in memory.
    pub(crate) fn spill_to(&mut self, spill: Spill) -> Result<(), Cause> {
        let codecs = (RowCodec::new(&self.left.schema)?, RowCodec::new(&self.right.schema)?);
        if let (Some(left), Some(right)) = codecs {
            self.cold = Some(ColdRows { keys: ColdKeys::new(spill), left, right });
        }
        Ok(())
    }

    /// Each part that the last snapshot is made of, with the places of keys that aren't in it any more, as bits.
    pub(super) fn parts(&self) -> impl Iterator<Item = (&str, Vec<u64>)> {
        self.in_parts.parts().chain(self.cold.iter().flat_map(|cold| cold.keys.parts()))
    }

    /// Names of the parts that the last snapshot is made of.
    pub(crate) fn part_names(&self) -> impl Iterator<Item = String> {
        self.parts().map(|(name, _)| name.to_owned())
    }

    /// Has the next snapshot name no part of those before.
    pub(crate) fn forget_parts(&mut self) {
        self.in_parts.clear();
        self.cold.iter_mut().for_each(|cold| cold.keys.forget_parts());
    }

    /// Keys that are on the disk, and the bytes of its files.
    pub(crate) fn spilled(&self) -> (u64, u64) {
        self.cold.as_ref().map_or((0, 0), |cold| (cold.keys.len() as u64, cold.keys.disk_bytes()))
    }

    /// Makes room for so many bytes more where there is a disk: keys for which no rows have come since the last time go, or all if most have
    /// had some.
    pub(super) fn make_room(&mut self, needed: usize) -> Result<(), Cause> {
        let bytes = self.bytes().saturating_add(needed);
        let Self { left, right, cold, in_parts, lower_us, upper_us, .. } = self;
        let Some(cold) = cold.as_mut().filter(|cold| bytes > cold.keys.bytes_max()) else { return Ok(()) };
        let mut all: HashMap<&[u8], (u64, bool)> = HashMap::new();
        for (key, of_key) in left.side.keys().chain(right.side.keys()) {
            all.entry(key).or_insert((of_key.hash, false)).1 |= of_key.is_hot;
        }
        if all.is_empty() {
            return Ok(());
        }
        let hot = all.values().filter(|(_, is_hot)| *is_hot).count();
        let keeps_hot = 2 * hot <= all.len();
        let going: Vec<(&[u8], u64)> = all
            .iter()
            .filter(|(_, (_, is_hot))| !(keeps_hot && *is_hot))
            .map(|(key, (hash, _))| (*key, *hash))
            .collect();
        let numbers = (0_u32..).zip(&going).map(|(number, (_, hash))| (*hash, number)).collect();
        let ColdRows { keys, left: left_codec, right: right_codec } = cold;
        keys.write(numbers, &mut |numbers, chunk| {
            let keys: Vec<(&[u8], u64)> =
                numbers.iter().filter_map(|number| going.get(*number as usize)).copied().collect();
            let sides = [(&*left, &*left_codec, *upper_us), (&*right, &*right_codec, lower_us.saturating_neg())];
            write_keys(&keys, sides, chunk)
        })?;
        let gone: BTreeSet<Vec<u8>> = going.into_iter().map(|(key, _)| key.to_vec()).collect();
        gone.iter().for_each(|key| in_parts.cross_out(key));
        for input in [left, right] {
            let Input { side, schema, .. } = input;
            side.keep(
                |key| !gone.contains(key),
                |side, places| {
                    Ok(RecordBatch::try_new(schema.clone(), gather(side, schema, places.iter().copied().map(Some))?)?)
                },
            )?;
        }
        Ok(())
    }

    /// Brings those of these keys to memory that the disk has.
    pub(super) fn recall<'k>(&mut self, batches: impl Iterator<Item = &'k Keys>) -> Result<(), Cause> {
        let Self { left, right, cold, .. } = self;
        let Some(cold) = cold.as_mut().filter(|cold| cold.keys.len() > 0) else { return Ok(()) };
        let mut wanted: HashMap<&[u8], u64> = HashMap::new();
        for keys in batches {
            for (row, hash) in keys.hashes.iter().enumerate() {
                let key = keys.get(row).unwrap_or_default();
                if !left.side.has_key(key) && !right.side.has_key(key) {
                    wanted.insert(key, *hash);
                }
            }
        }
        let wanted: Vec<(&[u8], u64)> = wanted.into_iter().collect();
        let numbers = (0_u32..).zip(&wanted).map(|(number, (_, hash))| (*hash, number)).collect();
        let mut found = BothSides::default();
        let key = |number: u32| wanted.get(number as usize).map(|(key, _)| *key);
        cold.keys.take(numbers, key, |entry| parse(entry, &mut found))?;
        cold.bring(found, left, right)
    }

    /// Brings keys to memory of which a row can have no partner any more at a watermark.
    pub(super) fn recall_due(&mut self, watermark_us: i64) -> Result<(), Cause> {
        let Self { left, right, cold, .. } = self;
        let Some(cold) = cold else { return Ok(()) };
        let mut found = BothSides::default();
        while cold.keys.take_due(watermark_us, |entry| parse(entry, &mut found))? {}
        cold.bring(found, left, right)
    }

    /// Gives the rows of the disk as sides, some keys at a time.
    pub(super) fn read_cold(&self, mut take: impl FnMut(&Side, &Side) -> Result<(), Cause>) -> Result<(), Cause> {
        let Some(cold) = &self.cold else { return Ok(()) };
        cold.keys.read(PIECE_KEYS, |chunk| {
            let mut found = BothSides::default();
            chunk.entries().try_for_each(|entry| parse(entry, &mut found))?;
            let [of_left, of_right] = found;
            let (mut left, mut right) = (Side::default(), Side::default());
            insert(of_left, &cold.left, &self.left, &mut left)?;
            insert(of_right, &cold.right, &self.right, &mut right)?;
            take(&left, &right)
        })
    }
}

impl ColdRows {
    /// Keeps its keys that aren't in a part yet.
    pub(super) fn keep_parts(&mut self, parts: &dyn PartStore) -> Result<(), Cause> {
        let codecs = [&self.left, &self.right];
        self.keys.keep_parts(parts, |chunk, out| {
            let (mut found, mut of_key) = (BothSides::default(), [Vec::new(), Vec::new()]);
            for (at, entry) in (0_u64..).zip(chunk.entries()) {
                parse(entry, &mut found)?;
                of_key.iter_mut().zip(&found).for_each(|(of_key, found)| of_key.resize(found.len(), at));
            }
            for ((found, of_key), codec) in found.iter().zip(of_key).zip(codecs) {
                out.u64s(&of_key);
                out.bools(&found.iter().map(|found| found.kept.is_matched).collect::<Vec<_>>());
                out.u64s(&found.iter().map(|found| found.kept.number).collect::<Vec<_>>());
                for column in codec.decode(found.iter().map(|found| found.row.as_slice()))? {
                    out.column(&column)?;
                }
            }
            Ok(())
        })
    }

    fn bring(&self, found: BothSides, left: &mut Input, right: &mut Input) -> Result<(), Cause> {
        let [of_left, of_right] = found;
        for (found, codec, input) in [(of_left, &self.left, left), (of_right, &self.right, right)] {
            let mut side = std::mem::take(&mut input.side);
            insert(found, codec, input, &mut side)?;
            input.side = side;
        }
        Ok(())
    }
}

/// Writes the rows of keys, given with their hashes. A row of a side can have no partner once the watermark is above its time by so much.
fn write_keys(keys: &[(&[u8], u64)], sides: [(&Input, &RowCodec, i64); 2], chunk: &mut Chunk) -> Result<(), Cause> {
    let mut encoded = Vec::new();
    for (input, codec, _) in sides {
        let places = keys.iter().flat_map(|(key, _)| input.side.of_key(key)).map(|kept| Some(kept.at));
        encoded.push(codec.encode(&gather(&input.side, &input.schema, places)?)?);
    }
    let mut rows: Vec<_> = encoded.iter().map(|rows| rows.iter()).collect();
    for (key, hash) in keys {
        let mut writer = SnapshotWriter::values(Vec::new());
        let mut due_us = i64::MAX;
        for ((input, _, kept_us), rows) in sides.iter().zip(&mut rows) {
            let kept: Vec<&Kept> = input.side.of_key(key).collect();
            writer.i64s(&kept.iter().map(|kept| kept.time_us).collect::<Vec<_>>());
            writer.u64s(&kept.iter().map(|kept| kept.number).collect::<Vec<_>>());
            writer.bools(&kept.iter().map(|kept| kept.is_matched).collect::<Vec<_>>());
            rows.by_ref().take(kept.len()).for_each(|row| writer.bytes(row.as_ref()));
            due_us = kept.first().map_or(due_us, |first| due_us.min(first.time_us.saturating_add(*kept_us)));
        }
        chunk.push(Entry { hash: *hash, key: Some(key), due_us, marks: 0, value: &writer.finish() });
    }
    Ok(())
}

fn parse(entry: Entry<'_>, found: &mut BothSides) -> Result<(), Cause> {
    let mut reader = SnapshotReader::values(entry.value);
    let key = entry.key.unwrap_or_default();
    for found in found {
        let (times_us, numbers, matched) = (reader.i64s()?, reader.u64s()?, reader.bools()?);
        for ((time_us, number), is_matched) in times_us.into_iter().zip(numbers).zip(matched) {
            let kept = Kept { time_us, number, at: At { batch: 0, row: 0 }, is_matched };
            found.push(Found { hash: entry.hash, key: key.to_vec(), kept, row: reader.bytes()?.to_vec() });
        }
    }
    Ok(reader.finish()?)
}

/// Has a side keep rows that come from the disk, as one batch.
fn insert(found: Vec<Found>, codec: &RowCodec, input: &Input, side: &mut Side) -> Result<(), Cause> {
    if found.is_empty() {
        return Ok(());
    }
    let columns = codec.decode(found.iter().map(|found| found.row.as_slice()))?;
    let batch = side.keep_batch(&RecordBatch::try_new(input.schema.clone(), columns)?);
    for (row, found) in (0_u32..).zip(found) {
        side.insert(found.hash, &found.key, Kept { at: At { batch, row }, ..found.kept });
    }
    Ok(())
}
