//! The keys of a pattern, by number and by their bytes.

use hashbrown::HashTable;

use super::key::KeyState;
use crate::cold::KeptKeys;

/// Keys by number. The number of a key that is gone is given to another one.
#[derive(Debug, Default)]
pub(super) struct KeyTable {
    index: HashTable<u32>,
    slots: Vec<KeyState>,
    free: Vec<u32>,
    bytes: usize,
    /// The parts of snapshots that have some of them.
    kept: KeptKeys,
}

impl KeyTable {
    /// The number of a key.
    pub(super) fn find(&self, hash: u64, bytes: Option<&[u8]>) -> Option<u32> {
        let is_it = |number: &u32| self.get(*number).is_some_and(|key| key.key.as_deref() == bytes);
        self.index.find(hash, is_it).copied()
    }

    /// Takes a key in that isn't there; gives its number.
    pub(super) fn insert(&mut self, key: KeyState) -> u32 {
        let hash = key.hash;
        let number = match self.free.pop() {
            Some(number) => {
                if let Some(slot) = self.get_mut(number) {
                    *slot = key;
                }
                number
            }
            None => {
                self.slots.push(key);
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let slots = &self.slots;
        self.index.insert_unique(hash, number, |number| slots.get(*number as usize).map_or(0, |key| key.hash));
        number
    }

    /// Forgets a key.
    pub(super) fn remove(&mut self, number: u32) {
        let Some(key) = self.get_mut(number) else { return };
        let key = std::mem::take(key);
        self.bytes -= key.bytes;
        if let Ok(entry) = self.index.find_entry(key.hash, |known| *known == number) {
            entry.remove();
        }
        self.free.push(number);
    }

    pub(super) fn get(&self, number: u32) -> Option<&KeyState> {
        self.slots.get(number as usize)
    }

    /// A key that may be changed: from here on it is in no part.
    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut KeyState> {
        let key = self.slots.get_mut(number as usize)?;
        if let Some(at) = key.in_part.take() {
            self.kept.cross_out(at);
        }
        Some(key)
    }

    /// Measures a key again, after it changed.
    pub(super) fn measure(&mut self, number: u32) {
        let Some(key) = self.slots.get_mut(number as usize) else { return };
        let size = key.size();
        self.bytes = self.bytes + size - key.bytes;
        key.bytes = size;
    }

    /// The numbers of the keys that are there.
    pub(super) fn numbers(&self) -> Vec<u32> {
        let mut numbers: Vec<u32> = self.index.iter().copied().collect();
        numbers.sort_unstable();
        numbers
    }

    /// All keys by number; a number that isn't given has an empty one.
    pub(super) fn iter(&self) -> impl Iterator<Item = &KeyState> {
        self.slots.iter()
    }

    /// As [`Self::iter`], to change what snapshots don't have.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut KeyState> {
        self.slots.iter_mut()
    }

    /// Lets parts go that aren't worth their keeping, and gives the numbers of the keys that are in none, ascending.
    pub(super) fn unkept(&mut self) -> Vec<u32> {
        let keys = (0_u32..).zip(&self.slots).filter(|(_, key)| !key.is_empty());
        self.kept.unkept(keys.map(|(number, key)| (number, key.in_part)))
    }

    /// Notes that a part has these keys, in this order.
    pub(super) fn note_kept(&mut self, name: String, numbers: &[u32], is_full: bool) {
        for (number, at) in numbers.iter().zip(self.kept.add(name, numbers.len(), is_full)) {
            if let Some(key) = self.slots.get_mut(*number as usize) {
                key.in_part = Some(at);
            }
        }
    }

    /// The parts of snapshots that have some of its keys.
    pub(super) fn kept(&self) -> &KeptKeys {
        &self.kept
    }

    /// Has the next snapshot name no part of those before.
    pub(super) fn forget_parts(&mut self) {
        self.kept.clear();
    }

    /// Keys that are there.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Bytes of the keys as last measured.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
