//! The sessions that are held, with their state.

use std::collections::BTreeSet;

use crate::accumulator::Accumulator;
use crate::cold::{InPart, KeptKeys};
use crate::error::Cause;
use crate::window::key_table::KeyTable;

/// Merged and closed sessions leave holes; they are closed up when there are this many and most are holes.
const HOLES_MIN: usize = 1024;

/// One session.
#[derive(Debug, Clone, Default)]
pub(super) struct Session {
    /// Number of its key.
    pub(super) key: u32,
    pub(super) start_us: i64,
    /// Time of its last row.
    pub(super) last_us: i64,
    /// Rows folded in.
    pub(super) rows: u64,
    /// False for a hole.
    pub(super) is_held: bool,
    /// Whether it is among `changed`.
    pub(super) is_changed: bool,
    /// Starts under which a published row stands, or may stand.
    pub(super) standing: Vec<i64>,
    /// Times of rows that came during a replay: starts that may have been published before it.
    pub(super) replayed: Vec<i64>,
}

impl Session {
    fn heap_bytes(&self) -> usize {
        (self.standing.capacity() + self.replayed.capacity()) * size_of::<i64>()
    }

    /// Once all rows of before are there again, those of their times that aren't starts count as published.
    pub(super) fn settle_replayed(&mut self) {
        let replayed = std::mem::take(&mut self.replayed);
        self.standing.extend(replayed);
    }

    /// Takes over what is known of a session that is merged into this one.
    pub(super) fn absorb(&mut self, other: Self) {
        self.start_us = self.start_us.min(other.start_us);
        self.last_us = self.last_us.max(other.last_us);
        self.rows += other.rows;
        self.standing.extend(other.standing);
        self.replayed.extend(other.replayed);
    }
}

/// Sessions by key, numbered from 0; the aggregates of session `n` are in group `n` of the accumulators.
#[derive(Debug)]
pub(super) struct SessionTable {
    pub(super) keys: KeyTable,
    /// Hash of each key.
    pub(super) hashes: Vec<u64>,
    /// Sessions of each key, ascending.
    pub(super) of_key: Vec<Vec<u32>>,
    /// Whether rows of a key have come since keys were last moved to the disk.
    pub(super) is_hot: Vec<bool>,
    /// Where the last snapshot has each key, if its sessions haven't changed since and it is in a part.
    in_part: Vec<Option<InPart>>,
    /// The parts of snapshots that have some of the keys.
    pub(super) kept: KeptKeys,
    pub(super) sessions: Vec<Session>,
    pub(super) accumulators: Vec<Box<dyn Accumulator>>,
    /// Sessions by the time of their last row.
    pub(super) by_last: BTreeSet<(i64, u32)>,
    /// Sessions with rows that weren't published, each once. May name holes.
    pub(super) changed: Vec<u32>,
    /// One group, on the way from one session to another.
    pub(super) carrier: Vec<Box<dyn Accumulator>>,
    heap_bytes: usize,
}

/// Bytes that a session takes besides its key and aggregates.
pub(super) const SESSION_BYTES: usize =
    size_of::<Session>() + 4 * size_of::<u32>() + 2 * size_of::<(i64, u32)>() + size_of::<Option<InPart>>();

impl SessionTable {
    pub(super) fn new(accumulators: Vec<Box<dyn Accumulator>>, carrier: Vec<Box<dyn Accumulator>>) -> Self {
        Self {
            keys: KeyTable::default(),
            hashes: Vec::new(),
            of_key: Vec::new(),
            is_hot: Vec::new(),
            in_part: Vec::new(),
            kept: KeptKeys::default(),
            sessions: Vec::new(),
            accumulators,
            by_last: BTreeSet::new(),
            changed: Vec::new(),
            carrier,
            heap_bytes: 0,
        }
    }

    /// The number of a key, a new one if it wasn't there.
    pub(super) fn key(&mut self, hash: u64, key: Option<&[u8]>) -> Result<u32, Cause> {
        let number = self.keys.find_or_insert(hash, key)?;
        if number as usize == self.of_key.len() {
            self.of_key.push(Vec::new());
            self.is_hot.push(false);
            self.in_part.push(None);
            self.hashes.push(hash);
        }
        Ok(number)
    }

    /// Notes that a key's sessions change: from here on it is in no part.
    fn cross_out(&mut self, key: u32) {
        if let Some(at) = self.in_part[key as usize].take() {
            self.kept.cross_out(at);
        }
    }

    /// Lets parts go that aren't worth their keeping, and gives the keys that are in none, ascending.
    pub(super) fn unkept(&mut self) -> Vec<u32> {
        let keys = (0_u32..).zip(&self.of_key).zip(&self.in_part).filter(|((_, numbers), _)| !numbers.is_empty());
        self.kept.unkept(keys.map(|((key, _), at)| (key, *at)))
    }

    /// Notes that a part has these keys, in this order.
    pub(super) fn note_kept(&mut self, name: String, keys: &[u32], is_full: bool) {
        for (key, at) in keys.iter().zip(self.kept.add(name, keys.len(), is_full)) {
            self.in_part[*key as usize] = Some(at);
        }
    }

    /// Adds a session without aggregates at a place among those of its key.
    pub(super) fn insert(&mut self, at: usize, session: Session) -> Result<u32, Cause> {
        let number =
            u32::try_from(self.sessions.len()).map_err(|_| Cause::Internal("there are 4294967295 sessions".into()))?;
        self.cross_out(session.key);
        self.by_last.insert((session.last_us, number));
        self.of_key[session.key as usize].insert(at, number);
        self.heap_bytes += session.heap_bytes();
        self.sessions.push(session);
        for accumulator in &mut self.accumulators {
            accumulator.resize(number as usize + 1);
        }
        Ok(number)
    }

    /// Changes what is known of a session.
    pub(super) fn update(&mut self, number: u32, change: impl FnOnce(&mut Session)) {
        self.cross_out(self.sessions[number as usize].key);
        let session = &mut self.sessions[number as usize];
        let (before, bytes) = (session.last_us, session.heap_bytes());
        change(session);
        self.heap_bytes = self.heap_bytes + session.heap_bytes() - bytes;
        if session.last_us != before {
            self.by_last.remove(&(before, number));
            self.by_last.insert((session.last_us, number));
        }
        if !session.is_changed {
            session.is_changed = true;
            self.changed.push(number);
        }
    }

    /// Merges one session into another of the same key.
    pub(super) fn merge(&mut self, from: u32, into: u32) -> Result<(), Cause> {
        for (accumulator, carrier) in self.accumulators.iter_mut().zip(&mut self.carrier) {
            carrier.resize(0);
            carrier.resize(1);
            carrier.merge(accumulator.as_ref(), &[from], &[0])?;
            accumulator.merge(carrier.as_ref(), &[0], &[into])?;
        }
        let merged = self.remove(from);
        self.update(into, |session| session.absorb(merged));
        Ok(())
    }

    /// Takes a session out and leaves a hole.
    pub(super) fn remove(&mut self, number: u32) -> Session {
        let session = std::mem::take(&mut self.sessions[number as usize]);
        self.cross_out(session.key);
        self.heap_bytes -= session.heap_bytes();
        self.by_last.remove(&(session.last_us, number));
        self.of_key[session.key as usize].retain(|other| *other != number);
        session
    }

    /// Closes up the holes if that pays, or in any case.
    pub(super) fn compact(
        &mut self,
        always: bool,
        fresh: impl FnOnce() -> Result<Vec<Box<dyn Accumulator>>, Cause>,
    ) -> Result<(), Cause> {
        let held = self.by_last.len();
        let holes = self.sessions.len() - held;
        let pays = holes >= HOLES_MIN && holes > held;
        if !(pays || always && (holes > 0 || self.of_key.iter().any(Vec::is_empty))) {
            return Ok(());
        }
        self.keep(fresh()?, |_| true)
    }

    /// Keeps the sessions of these keys alone, in fresh accumulators, and closes up the holes.
    pub(super) fn keep(&mut self, fresh: Vec<Box<dyn Accumulator>>, stays: impl Fn(u32) -> bool) -> Result<(), Cause> {
        let mut table = Self::new(fresh, std::mem::take(&mut self.carrier));
        (0_u32..).take(self.of_key.len()).filter(|key| !stays(*key)).for_each(|key| self.cross_out(key));
        table.take_in(self, stays)?;
        table.kept = std::mem::take(&mut self.kept);
        *self = table;
        Ok(())
    }

    /// Takes the sessions of these keys over from another table, of keys that have none here. The parts that have them stay there.
    pub(super) fn take_in(&mut self, other: &mut Self, wanted: impl Fn(u32) -> bool) -> Result<(), Cause> {
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for (key, numbers) in (0_u32..).zip(&other.of_key).filter(|(key, numbers)| !numbers.is_empty() && wanted(*key))
        {
            let own = self.key(other.hashes[key as usize], other.keys.get(key))?;
            for number in numbers {
                let session = std::mem::take(&mut other.sessions[*number as usize]);
                new.push(self.append(own, session)?);
                old.push(*number);
            }
            self.in_part[own as usize] = other.in_part[key as usize];
        }
        for (accumulator, before) in self.accumulators.iter_mut().zip(&other.accumulators) {
            accumulator.merge(before.as_ref(), &old, &new)?;
        }
        Ok(())
    }

    /// Adds a session without aggregates after those of its key.
    pub(super) fn append(&mut self, key: u32, session: Session) -> Result<u32, Cause> {
        let (at, is_changed) = (self.of_key[key as usize].len(), session.is_changed);
        let number = self.insert(at, Session { key, ..session })?;
        if is_changed {
            self.changed.push(number);
        }
        Ok(number)
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let aggregates: usize = self.accumulators.iter().map(|each| each.bytes()).sum();
        // A tree's nodes are at least half full.
        let by_last = 2 * self.by_last.len() * size_of::<(i64, u32)>();
        self.keys.bytes()
            + self.hashes.capacity() * size_of::<u64>()
            + self.of_key.capacity() * (size_of::<Vec<u32>>() + size_of::<bool>() + size_of::<Option<InPart>>())
            + self.sessions.capacity() * (size_of::<Session>() + size_of::<u32>())
            + self.changed.capacity() * size_of::<u32>()
            + by_last
            + aggregates
            + self.heap_bytes
    }
}
