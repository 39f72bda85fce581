//! The ids accepted last, in memory.
//!
//! Records lie one after the other in chunks, so that an id costs no allocation of its own, and leave from the front. A table leads from
//! the hash of an id to its records.

use std::collections::VecDeque;

use hashbrown::HashTable;

/// Greatest size of a chunk, but for an id that is longer.
const CHUNK_BYTES_MAX: usize = 1024 * 1024;
const CHUNK_BYTES_MIN: usize = 4 * 1024;
/// A chunk is this part of the cap, so that memory is given back in small pieces.
const CHUNKS_PER_CAP: usize = 64;
/// Entries start at multiples of this, so that 32 bits tell their place.
const ALIGNMENT: u64 = 8;
/// Most bytes that 32 bits reach, with room to spare.
pub(super) const BYTES_MAX: usize = 16 << 30;

/// What is kept of an accepted record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept<'a> {
    pub(super) content: u128,
    pub(super) event_time_us: i64,
    pub(super) raw_offset: i64,
    pub(super) id: &'a [u8],
}

impl<'a> Kept<'a> {
    /// Bytes before the id.
    const HEADER_BYTES: usize = 32;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.content.to_le_bytes());
        out.extend_from_slice(&self.event_time_us.to_le_bytes());
        out.extend_from_slice(&self.raw_offset.to_le_bytes());
        out.extend_from_slice(self.id);
    }

    /// Reads what [`Kept::write`] wrote; `None` if there are too few bytes.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (content, rest) = bytes.split_first_chunk()?;
        let (event_time_us, rest) = rest.split_first_chunk()?;
        let (raw_offset, id) = rest.split_first_chunk()?;
        Some(Self {
            content: u128::from_le_bytes(*content),
            event_time_us: i64::from_le_bytes(*event_time_us),
            raw_offset: i64::from_le_bytes(*raw_offset),
            id,
        })
    }
}

/// A record in a chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) hash: u64,
    pub(super) validated_offset: i64,
    /// A [`Kept`], written.
    pub(super) kept: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Bytes before what is kept.
    const HEADER_BYTES: usize = 20;

    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (hash, rest) = bytes.split_first_chunk()?;
        let (validated_offset, rest) = rest.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        Some(Self {
            hash: u64::from_le_bytes(*hash),
            validated_offset: i64::from_le_bytes(*validated_offset),
            kept: rest.get(..u32::from_le_bytes(*len) as usize)?,
        })
    }

    /// Bytes in its chunk.
    fn len(&self) -> u64 {
        ((Self::HEADER_BYTES + self.kept.len()) as u64).next_multiple_of(ALIGNMENT)
    }
}

/// What the table holds of an entry: enough of the hash to tell nearly all others apart and to move within the table, without a look at
/// the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    hash: u32,
    /// Place in units of [`ALIGNMENT`]; it wraps around.
    place: u32,
}

impl Slot {
    fn new(hash: u64, place: u64) -> Self {
        Self { hash: (hash >> 32) as u32, place: (place / ALIGNMENT) as u32 }
    }

    /// Hash for the table, which takes the place in it from the low bits and more from the high ones.
    fn table_hash(&self) -> u64 {
        u64::from(self.hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// Place of the entry, given that of one before it.
    fn place(self, front: u64) -> u64 {
        let front = front / ALIGNMENT;
        (front + u64::from(self.place.wrapping_sub(front as u32))) * ALIGNMENT
    }
}

#[derive(Debug)]
struct Chunk {
    /// Place of its first byte among all bytes ever kept.
    start: u64,
    bytes: Vec<u8>,
}

/// Records by the hash of their id.
#[derive(Debug)]
pub(super) struct Memory {
    chunk_bytes: usize,
    /// Entries by hash; an id that came again after the bound has several.
    table: HashTable<Slot>,
    chunks: VecDeque<Chunk>,
    /// Place of the oldest entry.
    front: u64,
    /// Place after the newest entry.
    end: u64,
}

impl Memory {
    /// Room for about `bytes_max` bytes; keeping to it is up to the caller.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            chunk_bytes: (bytes_max / CHUNKS_PER_CAP).clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX),
            table: HashTable::new(),
            chunks: VecDeque::new(),
            front: 0,
            end: 0,
        }
    }

    /// The records with this id.
    pub(super) fn find(&self, hash: u64, id: &[u8]) -> impl Iterator<Item = Kept<'_>> {
        let wanted = Slot::new(hash, 0);
        let slots = self.table.iter_hash(wanted.table_hash()).filter(move |slot| slot.hash == wanted.hash);
        slots
            .filter_map(|slot| entry_at(&self.chunks, slot.place(self.front)))
            .filter(move |entry| entry.hash == hash)
            .filter_map(|entry| Kept::read(entry.kept))
            .filter(move |kept| kept.id == id)
    }

    pub(super) fn insert(&mut self, hash: u64, validated_offset: i64, kept: &Kept<'_>) {
        let kept_len = Kept::HEADER_BYTES + kept.id.len();
        let len = (Entry::HEADER_BYTES + kept_len).next_multiple_of(ALIGNMENT as usize);
        let has_room = self.chunks.back().is_some_and(|chunk| chunk.bytes.capacity() - chunk.bytes.len() >= len);
        if !has_room {
            let bytes = Vec::with_capacity(self.chunk_bytes.max(len));
            self.chunks.push_back(Chunk { start: self.end, bytes });
        }
        if let Some(Chunk { bytes, .. }) = self.chunks.back_mut() {
            bytes.extend_from_slice(&hash.to_le_bytes());
            bytes.extend_from_slice(&validated_offset.to_le_bytes());
            bytes.extend_from_slice(&(kept_len as u32).to_le_bytes());
            kept.write(bytes);
            bytes.resize(bytes.len().next_multiple_of(ALIGNMENT as usize), 0);
        }
        let slot = Slot::new(hash, self.end);
        self.table.insert_unique(slot.table_hash(), slot, Slot::table_hash);
        self.end += len as u64;
    }

    /// The oldest entry.
    pub(super) fn front(&self) -> Option<Entry<'_>> {
        entry_at(&self.chunks, self.front)
    }

    /// Removes the oldest entry.
    pub(super) fn pop_front(&mut self) {
        let Some(entry) = entry_at(&self.chunks, self.front) else { return };
        let slot = Slot::new(entry.hash, self.front);
        self.front += entry.len();
        if let Ok(found) = self.table.find_entry(slot.table_hash(), |&other| other == slot) {
            found.remove();
        }
        let is_over = |chunk: &Chunk| chunk.start + chunk.bytes.len() as u64 <= self.front;
        if self.chunks.front().is_some_and(is_over) {
            self.chunks.pop_front();
        }
    }

    /// The oldest entries, up to about `bytes` bytes of them, oldest first.
    pub(super) fn oldest(&self, bytes: usize) -> impl Iterator<Item = (u64, Entry<'_>)> {
        let mut place = self.front;
        let end = self.front + bytes as u64;
        std::iter::from_fn(move || {
            let at = place;
            let entry = entry_at(&self.chunks, at).filter(|_| at < end)?;
            place += entry.len();
            Some((at, entry))
        })
    }

    /// The entry at a place that [`Memory::oldest`] gave.
    pub(super) fn at(&self, place: u64) -> Option<Entry<'_>> {
        entry_at(&self.chunks, place)
    }

    /// Number of records.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes.capacity()).sum::<usize>() + self.table.allocation_size()
    }
}

fn entry_at(chunks: &VecDeque<Chunk>, place: u64) -> Option<Entry<'_>> {
    let index = chunks.partition_point(|chunk| chunk.start <= place).checked_sub(1)?;
    let chunk = chunks.get(index)?;
    let start = usize::try_from(place - chunk.start).ok()?;
    Entry::read(chunk.bytes.get(start..)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(id: &[u8], number: i64) -> Kept<'_> {
        Kept { content: number as u128, event_time_us: number * 2, raw_offset: number * 3, id }
    }

    #[test]
    fn several_records_of_an_id_and_of_a_hash_are_told_apart() {
        let mut memory = Memory::new(1 << 20);
        for (number, id) in [(1, &b"a"[..]), (2, b"b"), (3, b"a"), (4, b"")] {
            memory.insert(77, number, &kept(id, number));
        }
        memory.insert(78, 5, &kept(b"a", 5));
        let mut found: Vec<Kept<'_>> = memory.find(77, b"a").collect();
        found.sort_by_key(|kept| kept.raw_offset);
        assert_eq!(found, [kept(b"a", 1), kept(b"a", 3)]);
        assert_eq!(memory.find(77, b"").count(), 1);
        assert_eq!(memory.find(77, b"c").count(), 0);
    }

    #[test]
    fn memory_is_given_back() {
        let mut memory = Memory::new(1 << 20);
        for number in 0..200_000_i64 {
            let id = format!("transaction-{number:020}");
            memory.insert((number as u64) << 32, number, &kept(id.as_bytes(), number));
            if memory.len() > 1_000 {
                memory.pop_front();
            }
        }
        assert_eq!(memory.len(), 1_000);
        assert_eq!(memory.front().map(|entry| entry.validated_offset), Some(199_000));
        assert!(memory.bytes() < 200_000, "{} bytes", memory.bytes());
        while memory.front().is_some() {
            memory.pop_front();
        }
        assert!(memory.chunks.is_empty() && memory.len() == 0);
    }

    #[test]
    fn an_id_longer_than_a_chunk_is_kept_whole() {
        let mut memory = Memory::new(0);
        let long = vec![7; 3 * CHUNK_BYTES_MIN];
        memory.insert(1, 0, &kept(b"short", 0));
        memory.insert(2, 1, &kept(&long, 1));
        memory.insert(3, 2, &kept(b"short", 2));
        assert_eq!(memory.find(2, &long).next(), Some(kept(&long, 1)));
        assert_eq!(memory.oldest(usize::MAX / 2).count(), 3);
        assert_eq!(memory.oldest(1).count(), 1);
    }
}
