//! Keys with their hashes, numbered from 0, and how they are found.

use hashbrown::HashTable;

use crate::error::Cause;
use crate::growth;

/// Keys, one after another.
#[derive(Debug, Default)]
pub(super) struct KeyList {
    pub(super) hashes: Vec<u64>,
    /// All keys' bytes.
    pub(super) data: Vec<u8>,
    /// End of each key in `data`.
    pub(super) ends: Vec<usize>,
    /// The number of the NULL key.
    pub(super) null: Option<u32>,
}

impl KeyList {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn clear(&mut self) {
        self.hashes.clear();
        self.data.clear();
        self.ends.clear();
        self.null = None;
    }

    /// A key by its number; `None` is the NULL of a single text column.
    pub(super) fn get(&self, number: u32) -> Option<&[u8]> {
        if self.null == Some(number) { None } else { Self::slice(&self.data, &self.ends, number) }
    }

    fn slice<'a>(data: &'a [u8], ends: &[usize], number: u32) -> Option<&'a [u8]> {
        let at = number as usize;
        let begin = at.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
        data.get(begin..*ends.get(at)?)
    }

    /// Appends a key that isn't among them, and gives its number.
    pub(super) fn push(&mut self, hash: u64, key: Option<&[u8]>) -> Result<u32, Cause> {
        let number = u32::try_from(self.len()).map_err(|_| Cause::Internal("a window has 4294967295 groups".into()))?;
        match key {
            None => self.null = Some(number),
            Some(key) => {
                growth::reserve(&mut self.data, key.len());
                self.data.extend_from_slice(key);
            }
        }
        growth::reserve(&mut self.hashes, 1);
        growth::reserve(&mut self.ends, 1);
        self.hashes.push(hash);
        self.ends.push(self.data.len());
        Ok(number)
    }

    fn bytes(&self) -> usize {
        self.hashes.capacity() * size_of::<u64>() + self.data.capacity() + self.ends.capacity() * size_of::<usize>()
    }
}

/// Keys that are found by their hashes, numbered in the order in which they come.
#[derive(Debug, Default)]
pub(super) struct KeyTable {
    /// Of all keys but NULL.
    index: HashTable<u32>,
    pub(super) list: KeyList,
}

impl KeyTable {
    /// Keys that are named by their numbers alone.
    pub(super) fn of(list: KeyList) -> Self {
        Self { index: HashTable::new(), list }
    }

    /// Keys that are found; `None` if one occurs twice.
    pub(super) fn indexed(list: KeyList) -> Option<Self> {
        let mut table = Self::of(list);
        for (number, hash) in (0_u32..).zip(&table.list.hashes) {
            let KeyList { hashes, data, ends, null } = &table.list;
            if *null == Some(number) {
                continue;
            }
            let key = KeyList::slice(data, ends, number);
            let is_same = |other: &u32| hashes[*other as usize] == *hash && KeyList::slice(data, ends, *other) == key;
            if table.index.find(*hash, is_same).is_some() {
                return None;
            }
            table.index.insert_unique(*hash, number, |other| hashes[*other as usize]);
        }
        Some(table)
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// A key by its number; `None` is the NULL of a single text column.
    pub(super) fn get(&self, number: u32) -> Option<&[u8]> {
        self.list.get(number)
    }

    pub(super) fn find(&self, hash: u64, key: Option<&[u8]>) -> Option<u32> {
        let Some(key) = key else { return self.list.null };
        let KeyList { hashes, data, ends, .. } = &self.list;
        let same = |number: &u32| hashes[*number as usize] == hash && KeyList::slice(data, ends, *number) == Some(key);
        self.index.find(hash, same).copied()
    }

    /// The number of a key, a new one if it wasn't there.
    pub(super) fn find_or_insert(&mut self, hash: u64, key: Option<&[u8]>) -> Result<u32, Cause> {
        match self.find(hash, key) {
            Some(number) => Ok(number),
            None => self.insert(hash, key),
        }
    }

    /// Adds a key that isn't there.
    pub(super) fn insert(&mut self, hash: u64, key: Option<&[u8]>) -> Result<u32, Cause> {
        let number = self.list.push(hash, key)?;
        if key.is_some() {
            let hashes = &self.list.hashes;
            self.index.insert_unique(hash, number, |other| hashes.get(*other as usize).copied().unwrap_or(hash));
        }
        Ok(number)
    }

    pub(super) fn bytes(&self) -> usize {
        self.index.allocation_size() + self.list.bytes()
    }
}
