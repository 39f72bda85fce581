//! The keys of an operator that are on the disk.

use super::chunk::{Chunk, Entry};
use super::merge::{FromMemory, Merge};
use super::run::{Run, Scratch};
use crate::error::Cause;
use crate::options::Spill;

/// Keys on the disk, in runs, the oldest first.
#[derive(Debug)]
pub(crate) struct ColdKeys {
    spill: Spill,
    pub(super) runs: Vec<Run>,
    pub(super) scratch: Scratch,
}

impl ColdKeys {
    pub(crate) fn new(spill: Spill) -> Self {
        Self { spill, runs: Vec::new(), scratch: Scratch::default() }
    }

    /// Bytes of memory past which keys are moved.
    pub(crate) fn bytes_max(&self) -> usize {
        self.spill.bytes_max
    }

    /// Writes keys to the disk. `going` has the hash and the number of each; `from_memory` gives what there is of them, in the order of their numbers.
    /// On an error nothing has changed.
    pub(crate) fn write(&mut self, mut going: Vec<(u64, u32)>, from_memory: FromMemory<'_>) -> Result<(), Cause> {
        going.sort_unstable();
        // A run is merged with those before as long as they aren't larger: then there are few, and a key is written again a few times at most.
        let (mut merged, mut keys) = (vec![false; self.runs.len()], going.len());
        for (merged, run) in merged.iter_mut().zip(&self.runs).rev() {
            *merged = run.live() <= keys || run.is_sparse();
            keys += if *merged { run.live() } else { 0 };
        }
        let of_merge = self.runs.iter().zip(&merged).filter(|(_, merged)| **merged).map(|(run, _)| run);
        let mut merge = Merge::new(of_merge, &going, from_memory)?;
        let run = Run::write(&mut merge, &self.spill)?;
        let mut stays = merged.into_iter().map(|merged| !merged);
        self.runs.retain(|_| stays.next().unwrap_or(true));
        if run.live() > 0 {
            self.runs.push(run);
        }
        self.forget_fingerprints();
        Ok(())
    }

    /// Gives up the fingerprints of the oldest runs where all take more than a quarter of the memory.
    fn forget_fingerprints(&mut self) {
        let mut bytes = self.memory_bytes();
        for run in &mut self.runs {
            if bytes <= self.spill.bytes_max / 4 {
                return;
            }
            bytes -= run.memory_bytes();
            run.forget_fingerprints();
            bytes += run.memory_bytes();
        }
    }

    /// Brings keys back, those that there are of the wanted: hash and number of each. `key` gives the key behind a number.
    pub(crate) fn take<'k>(
        &mut self,
        mut wanted: Vec<(u64, u32)>,
        key: impl Fn(u32) -> Option<&'k [u8]>,
        mut found: impl FnMut(Entry<'_>) -> Result<(), Cause>,
    ) -> Result<(), Cause> {
        wanted.sort_unstable();
        for run in self.runs.iter_mut().rev().filter(|run| run.live() > 0) {
            if wanted.is_empty() {
                break;
            }
            run.search(&mut wanted, &key, &mut self.scratch, &mut found)?;
        }
        self.drop_empty();
        Ok(())
    }

    /// A time before which nothing is due.
    pub(crate) fn first_due_us(&self) -> Option<i64> {
        self.runs.iter().filter_map(Run::first_due_us).min()
    }

    /// Brings a few keys back of which something is due below a time; false if there is none.
    pub(crate) fn take_due(
        &mut self,
        below_us: i64,
        mut found: impl FnMut(Entry<'_>) -> Result<(), Cause>,
    ) -> Result<bool, Cause> {
        let mut is_found = false;
        for run in &mut self.runs {
            if run.take_due(below_us, &mut self.scratch, &mut found)? {
                is_found = true;
                break;
            }
        }
        self.drop_empty();
        Ok(is_found)
    }

    /// Brings a few keys back that have one of these marks; false if there is none.
    pub(crate) fn take_marked(
        &mut self,
        marks: u8,
        mut found: impl FnMut(Entry<'_>) -> Result<(), Cause>,
    ) -> Result<bool, Cause> {
        let mut is_found = false;
        for run in &mut self.runs {
            if run.take_marked(marks, &mut self.scratch, &mut found)? {
                is_found = true;
                break;
            }
        }
        self.drop_empty();
        Ok(is_found)
    }

    /// Gives all keys, so many at a time about, and leaves them where they are.
    pub(crate) fn read(&self, keys: usize, mut take: impl FnMut(&Chunk) -> Result<(), Cause>) -> Result<(), Cause> {
        let mut nothing = |_: &[u32], _: &mut Chunk| Ok(());
        let mut merge = Merge::new(self.runs.iter(), &[], &mut nothing)?;
        let mut chunk = Chunk::default();
        loop {
            merge.fill(keys, usize::MAX, &mut chunk)?;
            if chunk.len() == 0 {
                return Ok(());
            }
            take(&chunk)?;
        }
    }

    fn drop_empty(&mut self) {
        self.runs.retain(|run| run.live() > 0);
    }

    /// Keys on the disk.
    pub(crate) fn len(&self) -> usize {
        self.runs.iter().map(Run::live).sum()
    }

    /// Bytes of the index.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.runs.iter().map(Run::memory_bytes).sum()
    }

    /// Bytes of the files.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.runs.iter().map(Run::disk_bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// What is expected to be there: due time, mark and value by key.
    type Model = BTreeMap<u32, (i64, u8, Vec<u8>)>;

    #[derive(Debug, Clone)]
    enum Step {
        /// Keys with their due times and marks.
        Write(BTreeMap<u32, (i64, u8)>),
        Take(Vec<u32>),
        Due(i64),
        Marked(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let due = prop_oneof![4 => 0..100_i64, 1 => Just(i64::MAX)];
        let keys = prop::collection::btree_map(0..300_u32, (due, prop_oneof![8 => Just(0_u8), 1 => 1..4_u8]), 0..120);
        let step = prop_oneof![
            3 => keys.prop_map(Step::Write),
            3 => prop::collection::vec(0..300_u32, 0..60).prop_map(Step::Take),
            1 => (0..100_i64).prop_map(Step::Due),
            1 => (1..4_u8).prop_map(Step::Marked),
        ];
        prop::collection::vec(step, 0..20)
    }

    /// Few hashes, so that keys share some.
    fn hash(key: u32) -> u64 {
        u64::from(key / 3).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    fn bytes(key: u32) -> Option<Vec<u8>> {
        (key != 7).then(|| key.to_be_bytes().to_vec())
    }

    /// Takes an entry out of what is expected to be there.
    fn check(entry: Entry<'_>, model: &mut Model) -> u8 {
        let key = entry.key.map_or(7, |key| u32::from_be_bytes(key.try_into().unwrap()));
        let (due_us, marks, value) = model.remove(&key).expect("a key that isn't there");
        assert_eq!((entry.hash, entry.due_us, entry.marks, entry.value), (hash(key), due_us, marks, &value[..]));
        marks
    }

    proptest! {
        #[test]
        fn what_was_written_comes_back_once(steps in steps(), bytes_max in prop_oneof![Just(1_usize), Just(1 << 20)]) {
            let mut cold = ColdKeys::new(Spill { directory: std::env::temp_dir().into(), bytes_max });
            let (mut model, mut version) = (Model::new(), 0_u8);
            for step in steps {
                match step {
                    Step::Write(keys) => {
                        version += 1;
                        let new: Vec<(u32, (i64, u8))> = keys.into_iter().filter(|(key, _)| !model.contains_key(key)).collect();
                        for (key, (due_us, marks)) in &new {
                            let value = vec![version; (*key as usize * 37) % 500];
                            model.insert(*key, (*due_us, *marks, value));
                        }
                        let numbers = new.iter().map(|(key, _)| (hash(*key), *key)).collect();
                        cold.write(numbers, &mut |numbers, chunk| {
                            for key in numbers {
                                let (due_us, marks, value) = &model[key];
                                let (key, hash) = (bytes(*key), hash(*key));
                                chunk.push(Entry { hash, key: key.as_deref(), due_us: *due_us, marks: *marks, value });
                            }
                            Ok(())
                        }).unwrap();
                    }
                    Step::Take(keys) => {
                        let all: Vec<Option<Vec<u8>>> = (0..300).map(bytes).collect();
                        let wanted: std::collections::BTreeSet<u32> = keys.into_iter().collect();
                        let numbers = wanted.iter().map(|key| (hash(*key), *key)).collect();
                        cold.take(numbers, |key| all[key as usize].as_deref(), |entry| { check(entry, &mut model); Ok(()) }).unwrap();
                        prop_assert!(wanted.iter().all(|key| !model.contains_key(key)));
                    }
                    Step::Due(below_us) => {
                        while cold.take_due(below_us, |entry| { check(entry, &mut model); Ok(()) }).unwrap() {}
                        prop_assert!(model.values().all(|(due_us, ..)| *due_us >= below_us));
                    }
                    Step::Marked(marks) => {
                        while cold.take_marked(marks, |entry| { assert_ne!(check(entry, &mut model) & marks, 0); Ok(()) }).unwrap() {}
                        prop_assert!(model.values().all(|(_, of_key, _)| of_key & marks == 0));
                    }
                }
                prop_assert_eq!(cold.len(), model.len());
                // A run that is smaller than all before it stays on its own, which many in a row hardly are.
                prop_assert!(cold.runs.len() < 16, "{} runs", cold.runs.len());
                let mut read = model.clone();
                cold.read(50, |chunk| { chunk.entries().for_each(|entry| { check(entry, &mut read); }); Ok(()) }).unwrap();
                prop_assert!(read.is_empty(), "{read:?}");
            }
            if model.is_empty() {
                prop_assert_eq!(cold.disk_bytes(), 0);
            }
        }
    }
}
