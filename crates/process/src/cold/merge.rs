//! Runs, and memory, gone through together in the order of hashes.

use super::chunk::Chunk;
use super::run::Run;
use crate::error::Cause;

/// Keys of memory that are written out at a time.
const MEMORY_KEYS: usize = 256;

/// Writes what there is in memory of keys, given by their numbers, to the end of a chunk.
pub(super) type FromMemory<'a> = &'a mut dyn FnMut(&[u32], &mut Chunk) -> Result<(), Cause>;

/// Where a run stands.
#[derive(Debug)]
struct Cursor<'a> {
    run: &'a Run,
    next_chunk: usize,
    chunk: Chunk,
    at: usize,
    buffer: Vec<u8>,
}

impl Cursor<'_> {
    /// Goes to the first key from the present one on that isn't crossed out.
    fn settle(&mut self) -> Result<(), Cause> {
        loop {
            while self.at < self.chunk.len() {
                if !self.run.is_taken(self.next_chunk - 1, self.at) {
                    return Ok(());
                }
                self.at += 1;
            }
            self.at = 0;
            if !self.run.load(self.next_chunk, &mut self.chunk, &mut self.buffer)? {
                self.chunk.clear();
                return Ok(());
            }
            self.next_chunk += 1;
        }
    }

    fn hash(&self) -> Option<u64> {
        self.chunk.hashes.get(self.at).copied()
    }
}

/// A merge. No key is in two of its sources.
pub(super) struct Merge<'a> {
    cursors: Vec<Cursor<'a>>,
    /// Hash and number of keys in memory, ascending.
    numbers: &'a [(u64, u32)],
    from_memory: FromMemory<'a>,
    memory: Chunk,
    at: usize,
}

impl<'a> Merge<'a> {
    pub(super) fn new(
        runs: impl Iterator<Item = &'a Run>,
        numbers: &'a [(u64, u32)],
        from_memory: FromMemory<'a>,
    ) -> Result<Self, Cause> {
        let mut cursors = Vec::new();
        for run in runs {
            let mut cursor = Cursor { run, next_chunk: 0, chunk: Chunk::default(), at: 0, buffer: Vec::new() };
            cursor.settle()?;
            cursors.push(cursor);
        }
        let mut merge = Self { cursors, numbers, from_memory, memory: Chunk::default(), at: 0 };
        merge.refill()?;
        Ok(merge)
    }

    fn refill(&mut self) -> Result<(), Cause> {
        if self.at < self.memory.len() {
            return Ok(());
        }
        let (now, rest) = self.numbers.split_at(MEMORY_KEYS.min(self.numbers.len()));
        self.memory.clear();
        (self.numbers, self.at) = (rest, 0);
        if !now.is_empty() {
            (self.from_memory)(&now.iter().map(|(_, number)| *number).collect::<Vec<_>>(), &mut self.memory)?;
        }
        Ok(())
    }

    /// Replaces the content of `out` by the next keys, up to so many or so many bytes; none at the end.
    pub(super) fn fill(&mut self, keys_max: usize, bytes_max: usize, out: &mut Chunk) -> Result<(), Cause> {
        out.clear();
        while out.len() < keys_max && out.byte_len() < bytes_max {
            let first = self.cursors.iter().enumerate().filter_map(|(at, cursor)| Some((cursor.hash()?, at))).min();
            let of_memory = self.memory.hashes.get(self.at).copied();
            match (first, of_memory) {
                (Some((hash, at)), memory) if memory.is_none_or(|memory| hash <= memory) => {
                    let Some(cursor) = self.cursors.get_mut(at) else { return Ok(()) };
                    cursor.chunk.get(cursor.at).into_iter().for_each(|entry| out.push(entry));
                    cursor.at += 1;
                    cursor.settle()?;
                }
                (_, Some(_)) => {
                    self.memory.get(self.at).into_iter().for_each(|entry| out.push(entry));
                    self.at += 1;
                    self.refill()?;
                }
                _ => return Ok(()),
            }
        }
        Ok(())
    }
}
