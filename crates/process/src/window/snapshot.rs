//! State of windows out and in.
//!
//! Keys are written as columns and numbered anew on the way in, since their bytes mean nothing to another build. The groups of a window come
//! in pieces, so that those on the disk pass through memory a few at a time.

use std::collections::BTreeMap;

use state::{CodecError, PartStore, SnapshotReader, SnapshotWriter};

use super::aggregation::WindowAggregation;
use super::panes::Sharing;
use super::parts::SavedParts;
use super::plan::Plan;
use super::spill::{Chunk, Merge};
use super::table::{Groups, Window, flag};
use crate::error::Cause;

/// Groups of a piece that comes from the disk.
const PIECE_GROUPS: usize = 16_384;
/// What is saved of a group's flags.
const SAVED: u8 = flag::VISIBLE | flag::CHANGED | flag::DOUBTFUL;

impl WindowAggregation {
    /// Writes the state; that of many groups goes to parts if there is a place for them.
    pub(crate) fn save(&mut self, writer: &mut SnapshotWriter, parts: Option<&dyn PartStore>) -> Result<(), Cause> {
        if self.closing.is_some() || self.sharing.is_amid_emission() {
            return Err(Cause::Internal("it was saved before all of an emission was taken".into()));
        }
        writer.optional_i64(self.watermark_us);
        writer.optional_i64(self.drained_start_us);
        if self.assign.shares_panes() {
            self.sharing.save(&self.plan, writer)?;
        }
        let (_, groups) = self.held();
        let parts = parts.filter(|_| usize::try_from(groups).is_ok_and(|groups| groups >= self.parts_from_groups));
        match parts {
            Some(parts) => self.save_parts(parts)?,
            None => self.saved = SavedParts::default(),
        }
        writer.u64(self.saved.names().count() as u64);
        self.saved.names().for_each(|name| writer.text(name));
        writer.u64(self.windows.len() as u64);
        for (start_us, window) in &self.windows {
            writer.i64(*start_us);
            if parts.is_some() {
                writer.bool(false);
                continue;
            }
            writer.bool(true);
            save_groups(&self.plan, window.groups(), writer)?;
            if window.cold_groups > 0 {
                let mut merge = Merge::shadowed_by(&window.keys);
                for run in window.runs.iter().rev() {
                    merge.run(run, Chunk::new(self.plan.accumulators()?))?;
                }
                let mut chunk = Chunk::new(self.plan.accumulators()?);
                loop {
                    merge.fill(PIECE_GROUPS, &mut chunk)?;
                    if chunk.len() == 0 {
                        break;
                    }
                    writer.bool(true);
                    save_groups(&self.plan, chunk.groups(), writer)?;
                }
            }
            writer.bool(false);
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
        let drained_start_us = if version > 4 { reader.optional_i64()? } else { None };
        self.sharing = match self.assign.shares_panes() {
            true => Sharing::load(&self.plan, reader)?,
            false => Sharing::default(),
        };
        let mut names = Vec::new();
        if version > 3 {
            for _ in 0..reader.count(size_of::<u64>())? {
                names.push(reader.text()?.to_owned());
            }
        }
        let count = reader.count(size_of::<i64>())?;
        (self.windows, self.closing, self.window_bytes) = (BTreeMap::new(), None, 0);
        for _ in 0..count {
            let start_us = reader.i64()?;
            let window = Window::new(self.plan.accumulators()?);
            if self.windows.insert(start_us, window).is_some() {
                return Err(invalid(format!("it occurs twice, from {start_us} µs")).into());
            }
            // The first piece was always there.
            let mut follows = version < 4 || reader.bool()?;
            while follows {
                self.load_piece(start_us, reader, version)?;
                self.make_room()?;
                follows = version > 2 && reader.bool()?;
            }
        }
        let missing = || Cause::Internal("its snapshot has parts, and nothing that keeps them".into());
        // The newest of a group counts.
        for name in names.iter().rev() {
            self.load_part(&parts.ok_or_else(missing)?.part(name)?, version)?;
        }
        self.saved = SavedParts::restored(names);
        (self.watermark_us, self.drained_start_us) = (watermark_us, drained_start_us);
        Ok(())
    }

    fn load_piece(&mut self, start_us: i64, reader: &mut SnapshotReader<'_>, version: u32) -> Result<(), Cause> {
        let piece = load_groups(&self.plan, reader, version)?;
        let Some(window) = self.windows.get_mut(&start_us) else { return Ok(()) };
        if window.len() == 0 {
            window.begin_with(piece).ok_or_else(|| invalid("a key occurs twice".into()))?;
        } else {
            let numbers: Vec<u32> = (0_u32..).take(piece.len()).collect();
            window.adopt(piece.groups(), &numbers)?;
        }
        let before = window.counted_bytes;
        self.window_bytes = self.window_bytes + window.count_bytes() - before;
        Ok(())
    }
}

pub(super) fn save_groups(plan: &Plan, groups: Groups<'_>, writer: &mut SnapshotWriter) -> Result<(), Cause> {
    writer.u64s(groups.rows);
    writer.bytes(&groups.flags.iter().map(|flags| flags & SAVED).collect::<Vec<_>>());
    let numbers = (0_u32..).take(groups.rows.len());
    for column in plan.codec.decode(numbers.map(|number| groups.keys.get(number)))? {
        writer.column(&column)?;
    }
    for accumulator in groups.accumulators {
        accumulator.save(writer)?;
    }
    Ok(())
}

pub(super) fn load_groups(plan: &Plan, reader: &mut SnapshotReader<'_>, version: u32) -> Result<Chunk, Cause> {
    let mut chunk = Chunk::new(plan.accumulators()?);
    chunk.rows = reader.u64s()?;
    let groups = chunk.rows.len();
    chunk.flags = if version < 3 { load_lists(&chunk.rows, reader, version)? } else { reader.bytes()?.to_vec() };
    if chunk.flags.len() != groups || chunk.flags.iter().any(|flags| flags & !SAVED != 0) {
        return Err(invalid("its lists differ in length, or hold what can't be".into()).into());
    }
    let columns: Result<Vec<_>, CodecError> = plan.codec.types().iter().map(|kind| reader.column(kind)).collect();
    let mut keys = plan.codec.keys();
    plan.codec.encode(&columns?, groups, &mut keys).map_err(|error| invalid(error.to_string()))?;
    for row in 0..groups {
        chunk.keys.push(keys.hashes[row], keys.get(row))?;
    }
    for accumulator in &mut chunk.accumulators {
        accumulator.load(reader, groups)?;
    }
    Ok(chunk)
}

/// The first versions had lists in the place of flags.
fn load_lists(rows: &[u64], reader: &mut SnapshotReader<'_>, version: u32) -> Result<Vec<u8>, Cause> {
    let (settled, is_visible) = (reader.u64s()?, reader.bools()?);
    if settled.len() != rows.len() || is_visible.len() != rows.len() {
        return Err(invalid("its lists differ in length".into()).into());
    }
    let flags = |((rows, settled), is_visible): ((&u64, u64), bool)| {
        let changed = if *rows > settled { flag::CHANGED } else { 0 };
        changed | if is_visible { flag::VISIBLE } else { 0 }
    };
    let mut all: Vec<u8> = rows.iter().zip(settled).zip(is_visible).map(flags).collect();
    if version > 1 {
        for group in reader.u64s()? {
            let flags = usize::try_from(group).ok().and_then(|group| all.get_mut(group));
            *flags.ok_or_else(|| invalid("it has doubts about groups that aren't there".into()))? |= flag::DOUBTFUL;
        }
    }
    Ok(all)
}

fn invalid(reason: String) -> CodecError {
    CodecError::Invalid { what: "window", reason }
}
