//! Runs of a window, and its memory, gone through together in the order of hashes: of each group what is newest.

use std::borrow::Borrow;
use std::fmt::Debug;

use super::chunk::Chunk;
use super::run::{ColdRun, Scratch};
use crate::error::Cause;
use crate::window::key_table::KeyTable;
use crate::window::table::Window;

/// Groups of memory that are gone through at a time.
const MEMORY_GROUPS: usize = 256;

/// A merge of sources, the newest first.
#[derive(Debug, Default)]
pub(in crate::window) struct Merge<'a> {
    cursors: Vec<Cursor<'a>>,
    /// Groups that are passed over in all runs, since they are in memory.
    shadow: Option<&'a KeyTable>,
}

/// Where a source stands.
#[derive(Debug)]
struct Cursor<'a> {
    source: Box<dyn Source + Send + 'a>,
    scratch: Scratch,
    at: usize,
    is_at_end: bool,
    is_of_memory: bool,
    /// Groups of the present chunk that were taken, and their numbers where they went.
    taken: (Vec<u32>, Vec<u32>),
}

/// Gives groups chunk by chunk, ascending by hash.
trait Source: Debug {
    /// Replaces the content of the chunk by what comes next; false at the end.
    fn next(&mut self, scratch: &mut Scratch) -> Result<bool, Cause>;
}

#[derive(Debug)]
struct OfMemory<W> {
    window: W,
    /// The groups, ascending by hash.
    numbers: Vec<u32>,
    from: usize,
}

#[derive(Debug)]
struct OfRun<R> {
    run: R,
    next: usize,
    /// Leaves chunks out that a part of a snapshot with this share doesn't need.
    share: Option<u64>,
}

impl<W: Borrow<Window> + Debug> Source for OfMemory<W> {
    fn next(&mut self, scratch: &mut Scratch) -> Result<bool, Cause> {
        let to = (self.from + MEMORY_GROUPS).min(self.numbers.len());
        let numbers = self.numbers.get(self.from..to).unwrap_or_default();
        scratch.chunk.fill(self.window.borrow().groups(), numbers)?;
        self.from = to;
        Ok(!numbers.is_empty())
    }
}

impl<R: Borrow<ColdRun> + Debug> Source for OfRun<R> {
    fn next(&mut self, scratch: &mut Scratch) -> Result<bool, Cause> {
        let run = self.run.borrow();
        while self.share.is_some_and(|share| run.has(self.next) && !run.may_need(self.next, share)) {
            self.next += 1;
        }
        self.next += 1;
        run.load(self.next - 1, scratch)
    }
}

impl<'a> Merge<'a> {
    /// Passes over groups that are in memory.
    pub(in crate::window) fn shadowed_by(keys: &'a KeyTable) -> Self {
        Self { cursors: Vec::new(), shadow: Some(keys) }
    }

    /// Adds groups of memory, which are newer than all runs.
    pub(in crate::window) fn memory<W>(&mut self, window: W, mut numbers: Vec<u32>, chunk: Chunk) -> Result<(), Cause>
    where
        W: Borrow<Window> + Debug + Send + 'a,
    {
        let hashes = &window.borrow().keys.list.hashes;
        numbers.sort_unstable_by_key(|number| hashes[*number as usize]);
        self.add(Box::new(OfMemory { window, numbers, from: 0 }), chunk, true)
    }

    /// Adds a run that is older than those added before.
    pub(in crate::window) fn run<R>(&mut self, run: R, chunk: Chunk) -> Result<(), Cause>
    where
        R: Borrow<ColdRun> + Debug + Send + 'a,
    {
        self.add(Box::new(OfRun { run, next: 0, share: None }), chunk, false)
    }

    /// As [`run`](Self::run), without chunks that a part of a snapshot with this share doesn't need, if one is given.
    pub(in crate::window) fn needed_of_run(
        &mut self,
        run: &'a ColdRun,
        share: Option<u64>,
        chunk: Chunk,
    ) -> Result<(), Cause> {
        self.add(Box::new(OfRun { run, next: 0, share }), chunk, false)
    }

    fn add(&mut self, source: Box<dyn Source + Send + 'a>, chunk: Chunk, is_of_memory: bool) -> Result<(), Cause> {
        let scratch = Scratch::new(chunk);
        let taken = <(Vec<u32>, Vec<u32>)>::default();
        let mut cursor = Cursor { source, scratch, at: 0, is_at_end: false, is_of_memory, taken };
        cursor.is_at_end = !cursor.source.next(&mut cursor.scratch)?;
        self.cursors.push(cursor);
        Ok(())
    }

    /// Replaces the content of `out` by the next groups, about `limit` of them; none at the end.
    pub(in crate::window) fn fill(&mut self, limit: usize, out: &mut Chunk) -> Result<(), Cause> {
        out.clear();
        while out.len() < limit {
            let Some(hash) = self.cursors.iter().filter_map(Cursor::hash).min() else { break };
            let begin = out.len();
            for cursor in &mut self.cursors {
                let shadow = self.shadow.filter(|_| !cursor.is_of_memory);
                while cursor.hash() == Some(hash) {
                    cursor.pass(shadow, begin, out)?;
                }
            }
        }
        self.cursors.iter_mut().try_for_each(|cursor| cursor.hand_over(out))
    }
}

impl Cursor<'_> {
    fn hash(&self) -> Option<u64> {
        if self.is_at_end { None } else { self.scratch.chunk.keys.hashes.get(self.at).copied() }
    }

    /// Takes the present group unless it is among those that `out` has from `begin` on, or in memory; then goes on to the next.
    fn pass(&mut self, shadow: Option<&KeyTable>, begin: usize, out: &mut Chunk) -> Result<(), Cause> {
        let number = u32::try_from(self.at).map_err(|_| Cause::Internal("a chunk has 4294967295 groups".into()))?;
        let keys = &self.scratch.chunk.keys;
        let (hash, key) = (keys.hashes[self.at], keys.get(number));
        let is_newer = |at: usize| u32::try_from(at).is_ok_and(|at| out.keys.get(at) == key);
        let is_old = (begin..out.len()).any(is_newer) || shadow.is_some_and(|keys| keys.find(hash, key).is_some());
        if !is_old {
            let into = out.push(self.scratch.chunk.groups(), number)?;
            self.taken.0.push(number);
            self.taken.1.push(into);
        }
        self.at += 1;
        if self.at == self.scratch.chunk.len() {
            self.hand_over(out)?;
            self.is_at_end = !self.source.next(&mut self.scratch)?;
            self.at = 0;
        }
        Ok(())
    }

    /// Brings the aggregates of the groups that were taken.
    fn hand_over(&mut self, out: &mut Chunk) -> Result<(), Cause> {
        let (numbers, into) = &mut self.taken;
        out.merge(self.scratch.chunk.groups(), numbers, into)?;
        numbers.clear();
        into.clear();
        Ok(())
    }
}
