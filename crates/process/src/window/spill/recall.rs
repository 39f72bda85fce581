//! Groups brought back from the disk.

use std::ops::RangeInclusive;

use super::chunk::Chunk;
use super::merge::Merge;
use super::run::{ColdRun, Scratch};
use crate::error::Cause;
use crate::keys::Keys;
use crate::window::groups::BatchGroups;
use crate::window::key_table::KeyList;
use crate::window::plan::Plan;
use crate::window::table::{Window, flag};

/// Brings those of a batch's groups to memory that the disk has of a window.
pub(in crate::window) fn members(
    window: &mut Window,
    plan: &Plan,
    keys: &Keys,
    groups: &BatchGroups,
    members: &[u32],
) -> Result<(), Cause> {
    let key = |member: u32| keys.get(groups.first_row(member));
    let hash = |member: u32| keys.hashes[groups.first_row(member)];
    let mut wanted: Vec<(u64, u32)> = members
        .iter()
        .map(|member| (hash(*member), *member))
        .filter(|(hash, member)| window.keys.find(*hash, key(*member)).is_none())
        .collect();
    wanted.sort_unstable();
    let mut scratch = Scratch::new(Chunk::new(plan.accumulators()?));
    let runs = std::mem::take(&mut window.runs);
    for run in runs.iter().rev() {
        let mut found = Vec::new();
        run.search(&wanted, key, &mut scratch, |chunk, numbers, members| {
            window.cold_groups -= numbers.len();
            found.extend_from_slice(members);
            window.adopt(chunk.groups(), numbers)
        })?;
        found.sort_unstable();
        wanted.retain(|(_, member)| found.binary_search(member).is_err());
        if wanted.is_empty() || window.cold_groups == 0 {
            break;
        }
    }
    window.runs = runs;
    Ok(())
}

/// Brings changed groups to memory, about as many as `limit`.
pub(in crate::window) fn changed(window: &mut Window, plan: &Plan, limit: usize) -> Result<(), Cause> {
    let mut runs = std::mem::take(&mut window.runs);
    let mut scratch = Scratch::new(Chunk::new(plan.accumulators()?));
    let mut other = Scratch::new(Chunk::new(plan.accumulators()?));
    let mut brought = 0;
    for at in (0..runs.len()).rev() {
        let mut next = 0;
        while brought < limit {
            let (older, newer) = runs.split_at_mut(at + 1);
            let Some(run) = older.last_mut() else { break };
            let Some(index) = run.load_changed(next, &mut scratch)? else { break };
            let is_changed = |flags| flags & flag::CHANGED != 0;
            let numbers = absent(window, &scratch.chunk, newer, is_changed, &mut other)?;
            window.adopt(scratch.chunk.groups(), &numbers)?;
            window.cold_groups -= numbers.len();
            brought += numbers.len();
            run.has_no_changes(index);
            next = index + 1;
        }
    }
    window.runs = runs;
    Ok(())
}

/// A copy of all groups with these hashes, wherever they are.
pub(in crate::window) fn of_hashes(
    window: &Window,
    plan: &Plan,
    hashes: &RangeInclusive<u64>,
) -> Result<Window, Cause> {
    let mut found = Window::new(plan.accumulators()?);
    let within = |keys: &KeyList| -> Vec<u32> {
        let numbered = (0_u32..).zip(&keys.hashes);
        numbered.filter(|(_, hash)| hashes.contains(hash)).map(|(number, _)| number).collect()
    };
    let groups = window.groups();
    found.adopt(groups, &within(groups.keys))?;
    let mut scratch = Scratch::new(Chunk::new(plan.accumulators()?));
    for run in window.runs.iter().rev() {
        for index in run.chunks_of(hashes) {
            run.load(index, &mut scratch)?;
            let keys = &scratch.chunk.keys;
            let is_new = |number: &u32| found.keys.find(keys.hashes[*number as usize], keys.get(*number)).is_none();
            let numbers: Vec<u32> = within(keys).into_iter().filter(is_new).collect();
            found.adopt(scratch.chunk.groups(), &numbers)?;
        }
    }
    found.count_bytes();
    Ok(found)
}

/// The groups of a chunk with wanted flags that are neither in memory nor in these runs.
pub(in crate::window) fn absent(
    window: &Window,
    chunk: &Chunk,
    runs: &[ColdRun],
    is_wanted: impl Fn(u8) -> bool,
    scratch: &mut Scratch,
) -> Result<Vec<u32>, Cause> {
    let keys = &chunk.keys;
    let mut wanted: Vec<(u64, u32)> = (0_u32..)
        .zip(&chunk.flags)
        .filter(|(_, flags)| is_wanted(**flags))
        .map(|(number, _)| (keys.hashes[number as usize], number))
        .filter(|(hash, number)| window.keys.find(*hash, keys.get(*number)).is_none())
        .collect();
    wanted.sort_unstable();
    for run in runs {
        let mut found = Vec::new();
        run.search(
            &wanted,
            |number| keys.get(number),
            scratch,
            |_, _, numbers| {
                found.extend_from_slice(numbers);
                Ok(())
            },
        )?;
        found.sort_unstable();
        wanted.retain(|(_, number)| found.binary_search(number).is_err());
    }
    Ok(wanted.into_iter().map(|(_, number)| number).collect())
}

/// A window that has ended, read through in the order of hashes.
#[derive(Debug)]
pub(in crate::window) struct Closing {
    /// Its start, microseconds since 1970.
    pub(in crate::window) start_us: i64,
    merge: Merge<'static>,
    out: Chunk,
}

impl Closing {
    /// Takes everything that a window has.
    pub(in crate::window) fn of(start_us: i64, mut window: Window, plan: &Plan) -> Result<Self, Cause> {
        let mut merge = Merge::default();
        let (numbers, runs) = (window.all(), std::mem::take(&mut window.runs));
        merge.memory(window, numbers, Chunk::new(plan.accumulators()?))?;
        for run in runs.into_iter().rev() {
            merge.run(run, Chunk::new(plan.accumulators()?))?;
        }
        Ok(Self { start_us, merge, out: Chunk::new(plan.accumulators()?) })
    }

    /// The next groups as a window of their own, about `limit` of them; none at the end.
    pub(in crate::window) fn next(&mut self, plan: &Plan, limit: usize) -> Result<Option<Window>, Cause> {
        self.merge.fill(limit, &mut self.out)?;
        if self.out.len() == 0 {
            return Ok(None);
        }
        let fresh = Chunk::new(plan.accumulators()?);
        Ok(Some(Window::of(std::mem::replace(&mut self.out, fresh))))
    }
}
