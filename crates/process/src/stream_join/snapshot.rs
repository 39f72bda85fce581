//! Waiting rows out and in: those in memory, and those on the disk a few keys at a time.

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::SchemaRef;
use state::{CodecError, PartStore, SnapshotReader, SnapshotWriter};

use super::join::{Input, StreamJoin, gather};
use super::side::{At, Kept, Side};
use crate::cold::{Part, read_parts, write_parts};
use crate::error::Cause;
use crate::keys::KeyCodec;

/// The first version that has rows in pieces, with their numbers.
const PIECES: u32 = 6;
/// The first version that has keys in parts.
const PARTS: u32 = 7;
/// The first version that has rows with NULL in their key among the others.
const ALONE: u32 = 8;

impl StreamJoin {
    /// Writes the state: the rows in memory, and those on the disk. If there is a place for parts, these go there, and those in memory where they
    /// are many.
    pub(crate) fn save(&mut self, writer: &mut SnapshotWriter, parts: Option<&dyn PartStore>) -> Result<(), Cause> {
        writer.optional_i64(self.watermark_us);
        writer.bool(true);
        match parts.filter(|_| self.left.side.len() + self.right.side.len() >= self.parts_from) {
            Some(parts) => {
                self.keep_memory(parts)?;
                save_side(&Side::default(), &self.left.schema, writer)?;
                save_side(&Side::default(), &self.right.schema, writer)?;
            }
            None => {
                self.in_parts.clear();
                save_side(&self.left.side, &self.left.schema, writer)?;
                save_side(&self.right.side, &self.right.schema, writer)?;
            }
        }
        match parts {
            None => self.read_cold(|left, right| {
                writer.bool(true);
                save_side(left, &self.left.schema, writer)?;
                save_side(right, &self.right.schema, writer)
            })?,
            Some(parts) => self.cold.as_mut().map_or(Ok(()), |cold| cold.keep_parts(parts))?,
        }
        writer.bool(false);
        match parts {
            None => writer.u64(0),
            Some(_) => write_parts(writer, self.parts()),
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
        self.watermark_us = reader.optional_i64()?;
        (self.left.side, self.right.side, self.next_number) = (Side::default(), Side::default(), 0);
        self.in_parts.clear();
        // The first piece was always there.
        let mut follows = version < PIECES || reader.bool()?;
        while follows {
            let Self { left, right, codec, next_number, .. } = self;
            for input in [left, right] {
                load_side(input, codec, reader, version, next_number)?;
            }
            self.make_room(0)?;
            follows = version >= PIECES && reader.bool()?;
        }
        if version >= PARTS {
            read_parts(reader, parts, |part, bytes| {
                let mut reader = SnapshotReader::values(bytes);
                let Self { left, right, codec, next_number, .. } = self;
                for input in [left, right] {
                    load_part(input, codec, &mut reader, part, next_number)?;
                }
                reader.finish()?;
                self.make_room(0)
            })?;
        }
        if version < ALONE {
            let alone = read(reader, &self.left.schema)?;
            self.left.keep_alone(&alone, self.next_number.., &self.codec)?;
            self.next_number += alone.num_rows() as u64;
        }
        Ok(())
    }
}

fn save_side(side: &Side, schema: &SchemaRef, writer: &mut SnapshotWriter) -> Result<(), Cause> {
    let kept: Vec<&Kept> = side.all().collect();
    writer.bools(&kept.iter().map(|kept| kept.is_matched).collect::<Vec<_>>());
    writer.u64s(&kept.iter().map(|kept| kept.number).collect::<Vec<_>>());
    for column in gather(side, schema, kept.iter().map(|kept| Some(kept.at)))? {
        writer.column(&column)?;
    }
    Ok(())
}

fn load_side(
    input: &mut Input,
    codec: &KeyCodec,
    reader: &mut SnapshotReader<'_>,
    version: u32,
    next_number: &mut u64,
) -> Result<(), Cause> {
    let matched = reader.bools()?;
    let numbers = if version < PIECES { (*next_number..).take(matched.len()).collect() } else { reader.u64s()? };
    let batch = read(reader, &input.schema)?;
    insert(input, codec, &batch, &matched, &numbers, next_number)
}

/// Takes in the rows of keys that are in a part still.
fn load_part(
    input: &mut Input,
    codec: &KeyCodec,
    reader: &mut SnapshotReader<'_>,
    part: &Part,
    next_number: &mut u64,
) -> Result<(), Cause> {
    let of_key = reader.u64s()?;
    let is_there: Vec<bool> = of_key.iter().map(|at| usize::try_from(*at).is_ok_and(|at| !part.is_taken(at))).collect();
    let (matched, numbers) = (reader.bools()?, reader.u64s()?);
    let batch = read(reader, &input.schema)?;
    if is_there.len() != batch.num_rows() {
        return Err(invalid("its rows and their keys differ in number").into());
    }
    let there = || is_there.iter().copied();
    let matched: Vec<bool> =
        matched.into_iter().zip(there()).filter(|(_, is_there)| *is_there).map(|(it, _)| it).collect();
    let numbers: Vec<u64> =
        numbers.into_iter().zip(there()).filter(|(_, is_there)| *is_there).map(|(it, _)| it).collect();
    let batch = crate::rows::keep(&batch, &BooleanArray::from(is_there))?;
    insert(input, codec, &batch, &matched, &numbers, next_number)
}

fn insert(
    input: &mut Input,
    codec: &KeyCodec,
    batch: &RecordBatch,
    matched: &[bool],
    numbers: &[u64],
    next_number: &mut u64,
) -> Result<(), Cause> {
    if [matched.len(), numbers.len()].iter().any(|length| *length != batch.num_rows()) {
        return Err(invalid("its rows and what is known of them differ in number").into());
    }
    let (rows, there) = input.split(batch, codec)?;
    *next_number = numbers.iter().map(|number| number + 1).fold(*next_number, u64::max);
    let not_there = BooleanArray::new(!there.values(), None);
    let of_alone = not_there.values().set_indices().map(|row| numbers[row]);
    input.keep_alone(&crate::rows::keep(batch, &not_there)?, of_alone, codec)?;
    if rows.batch.num_rows() == 0 {
        return Ok(());
    }
    let batch = input.side.keep_batch(&rows.batch);
    let known = there.values().set_indices().map(|row| (matched[row], numbers[row]));
    for ((row, time_us), (is_matched, number)) in (0_u32..).zip(&rows.times_us).zip(known) {
        let key = rows.keys.get(row as usize).unwrap_or_default();
        let hash = rows.keys.hashes.get(row as usize).copied().unwrap_or(0);
        input.side.insert(hash, key, Kept { time_us: *time_us, number, at: At { batch, row }, is_matched });
    }
    Ok(())
}

fn invalid(reason: &str) -> CodecError {
    CodecError::Invalid { what: "join", reason: reason.to_owned() }
}

fn read(reader: &mut SnapshotReader<'_>, schema: &SchemaRef) -> Result<RecordBatch, Cause> {
    let columns: Result<Vec<_>, CodecError> =
        schema.fields().iter().map(|field| reader.column(field.data_type())).collect();
    Ok(RecordBatch::try_new(schema.clone(), columns?)?)
}
