//! Keys with their sessions on the disk, and back: those that rows come for, those of which a session ends, those to be published.

use state::{SnapshotReader, SnapshotWriter};

use super::fold::SessionAggregation;
use super::snapshot::{load_sessions, save_sessions};
use super::table::{SESSION_BYTES, Session, SessionTable};
use crate::cold::{Chunk, ColdKeys, Entry};
use crate::error::Cause;
use crate::options::Spill;
use crate::window::plan::Plan;

/// A session of the key has rows that weren't published.
pub(super) const CHANGED: u8 = 1;
/// What is brought back for one emission may take this share of the limit, also where memory is full.
const ROOM_SHARE: usize = 16;
/// Rows of the key came during a replay.
const REPLAYED: u8 = 2;

impl SessionAggregation {
    /// Moves keys to the disk from now on where they don't fit into memory.
    pub(crate) fn spill_to(&mut self, spill: Spill) {
        self.cold = Some(ColdKeys::new(spill));
    }

    /// Has snapshots keep sessions in parts if there are so many in memory.
    pub(crate) fn parts_from(&mut self, sessions: usize) {
        self.parts_from = sessions;
    }

    /// Each part that the last snapshot is made of, with the places of keys that aren't in it any more, as bits.
    pub(super) fn parts(&self) -> impl Iterator<Item = (&str, Vec<u64>)> {
        self.table.kept.parts().chain(self.cold.iter().flat_map(ColdKeys::parts))
    }

    /// Names of the parts that the last snapshot is made of.
    pub(crate) fn part_names(&self) -> impl Iterator<Item = String> {
        self.parts().map(|(name, _)| name.to_owned())
    }

    /// Has the next snapshot name no part of those before.
    pub(crate) fn forget_parts(&mut self) {
        self.table.kept.clear();
        self.cold.iter_mut().for_each(ColdKeys::forget_parts);
    }

    /// Makes room for so many bytes more where there is a disk: keys for which no rows have come since the last time go, or all if most have
    /// had some.
    pub(super) fn make_room(&mut self, needed: usize) -> Result<(), Cause> {
        let Self { plan, cold, table, gap_us, .. } = self;
        let Some(cold) = cold else { return Ok(()) };
        let is_full = table.bytes().saturating_add(cold.memory_bytes()).saturating_add(needed) > cold.bytes_max();
        if !is_full || table.by_last.is_empty() {
            return Ok(());
        }
        let held = || table.of_key.iter().zip(&table.is_hot).filter(|(numbers, _)| !numbers.is_empty());
        let keeps_hot = 2 * held().filter(|(_, is_hot)| **is_hot).count() <= held().count();
        let stays = |key: u32| keeps_hot && table.is_hot.get(key as usize).is_some_and(|is_hot| *is_hot);
        let keys = (0_u32..).zip(&table.of_key).filter(|(key, numbers)| !numbers.is_empty() && !stays(*key));
        let going: Vec<(u64, u32)> = keys.clone().map(|(key, _)| (table.hashes[key as usize], key)).collect();
        let sessions: usize = keys.map(|(_, numbers)| numbers.len()).sum();
        let mut picked = plan.accumulators()?;
        cold.write(going, &mut |keys, chunk| {
            keys.iter().try_for_each(|key| write_key(table, *key, *gap_us, &mut picked, chunk))
        })?;
        let hot = std::mem::take(&mut table.is_hot);
        let stays = |key: u32| keeps_hot && hot.get(key as usize).is_some_and(|is_hot| *is_hot);
        // Who stays has to earn it anew.
        table.keep(plan.accumulators()?, stays)?;
        self.cold_sessions += sessions;
        Ok(())
    }

    /// Brings those of the present batch's keys to memory that the disk has.
    pub(super) fn recall_keys(&mut self) -> Result<(), Cause> {
        let Self { cold, table, cold_sessions, is_replaying, scratch, .. } = self;
        let Some(cold) = cold.as_mut().filter(|cold| cold.len() > 0) else { return Ok(()) };
        let (keys, groups) = (&scratch.keys, &scratch.groups);
        let key = |group: u32| keys.get(groups.first_row(group));
        let hash = |group: u32| keys.hashes[groups.first_row(group)];
        let all = (0..groups.len()).filter_map(|group| u32::try_from(group).ok());
        let wanted = all.filter(|group| table.keys.find(hash(*group), key(*group)).is_none());
        let wanted = wanted.map(|group| (hash(group), group)).collect();
        cold.take(wanted, key, |entry| {
            *cold_sessions -= adopt(table, entry, *is_replaying)?;
            Ok(())
        })
    }

    /// Brings keys to memory of which a session has ended, and those with changes if these are to be published, as far as there is room; whether
    /// there may be more.
    pub(super) fn recall_due(&mut self, wants_changed: bool) -> Result<bool, Cause> {
        let Self { cold, table, cold_sessions, is_replaying, watermark_us, .. } = self;
        let Some(cold) = cold.as_mut() else { return Ok(false) };
        // During a replay it isn't known yet which starts are none.
        let marks = if *is_replaying { CHANGED } else { CHANGED | REPLAYED };
        let room = cold.bytes_max().saturating_sub(table.bytes()).max(cold.bytes_max() / ROOM_SHARE);
        let mut brought = 0;
        while brought <= room {
            let mut adopt = |entry: Entry<'_>| {
                brought += 2 * entry.value.len() + SESSION_BYTES;
                *cold_sessions -= adopt(table, entry, *is_replaying)?;
                Ok(())
            };
            let is_due = match watermark_us {
                Some(watermark_us) => cold.take_due(*watermark_us, &mut adopt)?,
                None => false,
            };
            let is_found = is_due || (wants_changed && cold.take_marked(marks, &mut adopt)?);
            if !is_found {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Gives the sessions of the disk, so many keys at a time about, as tables.
    pub(super) fn read_cold(
        &self,
        keys: usize,
        mut take: impl FnMut(&SessionTable) -> Result<(), Cause>,
    ) -> Result<(), Cause> {
        let Some(cold) = &self.cold else { return Ok(()) };
        cold.read(keys, |chunk| {
            let mut table = self.plan.sessions()?;
            for entry in chunk.entries() {
                adopt(&mut table, entry, self.is_replaying)?;
            }
            take(&table)
        })
    }
}

impl Plan {
    /// No sessions.
    pub(super) fn sessions(&self) -> Result<SessionTable, Cause> {
        Ok(SessionTable::new(self.accumulators()?, self.accumulators()?))
    }
}

/// Writes a key's sessions. `picked` is scratch space.
pub(super) fn write_key(
    table: &SessionTable,
    key: u32,
    gap_us: i64,
    picked: &mut [Box<dyn crate::accumulator::Accumulator>],
    chunk: &mut Chunk,
) -> Result<(), Cause> {
    let numbers = table.of_key.get(key as usize).map_or(&[][..], Vec::as_slice);
    let sessions: Vec<&Session> = numbers.iter().map(|number| &table.sessions[*number as usize]).collect();
    let mut writer = SnapshotWriter::values(Vec::new());
    save_sessions(&sessions, &mut writer);
    let into: Vec<u32> = (0_u32..).take(numbers.len()).collect();
    for (picked, from) in picked.iter_mut().zip(&table.accumulators) {
        picked.resize(0);
        picked.resize(numbers.len());
        picked.merge(from.as_ref(), numbers, &into)?;
        picked.save(&mut writer)?;
    }
    let first_us = sessions.iter().map(|session| session.last_us).min();
    let mark = |is_set: bool, mark: u8| if is_set { mark } else { 0 };
    chunk.push(Entry {
        hash: table.hashes[key as usize],
        key: table.keys.get(key),
        due_us: first_us.map_or(i64::MAX, |last_us| last_us.saturating_add(gap_us)),
        marks: mark(sessions.iter().any(|session| session.is_changed), CHANGED)
            | mark(sessions.iter().any(|session| !session.replayed.is_empty()), REPLAYED),
        value: &writer.finish(),
    });
    Ok(())
}

/// Takes in what was written of a key; gives the number of its sessions.
pub(super) fn adopt(table: &mut SessionTable, entry: Entry<'_>, is_replaying: bool) -> Result<usize, Cause> {
    let mut reader = SnapshotReader::values(entry.value);
    let sessions = load_sessions(&mut reader)?;
    let key = table.key(entry.hash, entry.key)?;
    let mut into = Vec::with_capacity(sessions.len());
    for mut session in sessions {
        if !is_replaying && !session.replayed.is_empty() {
            session.settle_replayed();
            session.is_changed = true;
        }
        into.push(table.append(key, session)?);
    }
    let from: Vec<u32> = (0_u32..).take(into.len()).collect();
    for (accumulator, carrier) in table.accumulators.iter_mut().zip(&mut table.carrier) {
        carrier.load(&mut reader, into.len())?;
        accumulator.merge(carrier.as_ref(), &from, &into)?;
    }
    reader.finish()?;
    Ok(into.len())
}
