//! Which groups go to the disk, and which runs are merged then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use state::spill::BlobWriter;

use super::chunk::Chunk;
use super::merge::Merge;
use super::run::{ColdRun, NewRun};
use crate::error::Cause;
use crate::options::Spill;
use crate::window::plan::Plan;
use crate::window::table::{Window, flag};

/// Files open at once; past them an eviction writes everything into one.
const FILES_MAX: usize = 64;

/// What is to become of a window.
struct Evicted {
    start_us: i64,
    /// Runs that stay; the others are merged with what goes.
    runs_kept: usize,
    run: NewRun,
    /// Groups that stay in memory.
    kept: Vec<u32>,
}

/// Writes at least half of the groups in memory to the disk: those for which no row has come since the last time, or all. On an error nothing
/// has changed. Gives the bytes of all windows.
pub(in crate::window) fn evict(
    plan: &Plan,
    spill: &Spill,
    windows: &mut BTreeMap<i64, Window>,
) -> Result<usize, Cause> {
    let count = |wanted: fn(u8) -> bool| -> usize {
        windows.values().map(|window| window.flags.iter().filter(|flags| wanted(**flags)).count()).sum()
    };
    let keeps_hot = 2 * count(|flags| flags & flag::HOT != 0) <= count(|_| true);
    let files: BTreeSet<_> = windows.values().flat_map(|window| &window.runs).map(file_of).collect();
    let merges_all = files.len() >= FILES_MAX;
    let mut writer = BlobWriter::create(&spill.directory)?;
    let (mut chunk, mut buffer) = (Chunk::new(plan.accumulators()?), Vec::new());
    let mut all = Vec::new();
    // One that is being closed goes soon anyway.
    for (start_us, window) in windows.iter().filter(|(_, window)| window.closed == 0) {
        let is_kept = |group: &u32| keeps_hot && window.flags[*group as usize] & flag::HOT != 0;
        let (kept, going): (Vec<u32>, Vec<u32>) = window.all().into_iter().partition(is_kept);
        if going.is_empty() && (!merges_all || window.runs.is_empty()) {
            continue;
        }
        let runs_kept = if merges_all { 0 } else { runs_kept(&window.runs, going.len()) };
        let mut merge = Merge::shadowed_by(&window.keys);
        merge.memory(window, going, Chunk::new(plan.accumulators()?))?;
        for run in window.runs.iter().skip(runs_kept).rev() {
            merge.run(run, Chunk::new(plan.accumulators()?))?;
        }
        let run = NewRun::write(&mut merge, &mut writer, &mut chunk, &mut buffer)?;
        all.push(Evicted { start_us: *start_us, runs_kept, run, kept });
    }
    let file = Arc::new(writer.finish()?);
    for evicted in all {
        let Some(window) = windows.get_mut(&evicted.start_us) else { continue };
        let mut left = Window::new(plan.accumulators()?);
        left.adopt(window.groups(), &evicted.kept)?;
        left.cold_groups = window.cold_groups + window.keys.len() - evicted.kept.len();
        left.runs = std::mem::take(&mut window.runs);
        left.runs.truncate(evicted.runs_kept);
        left.runs.push(evicted.run.within(&file));
        *window = left;
    }
    for window in windows.values_mut() {
        // Who stays has to earn it anew.
        window.flags.iter_mut().for_each(|flags| *flags &= !flag::HOT);
    }
    forget_fingerprints(windows, spill.bytes_max / 4);
    Ok(windows.values_mut().map(Window::count_bytes).sum())
}

/// Runs are merged from the newest on as long as the next older one isn't larger than all of them together: then each is larger than those
/// after it, there are few, and a group is written again a few times at most.
fn runs_kept(runs: &[ColdRun], going: usize) -> usize {
    let (mut kept, mut groups) = (runs.len(), going);
    while let Some(run) = kept.checked_sub(1).and_then(|before| runs.get(before)).filter(|run| run.len() <= groups) {
        groups += run.len();
        kept -= 1;
    }
    kept
}

/// Gives up the fingerprints of runs, of the oldest window first, where all runs take more memory than this.
fn forget_fingerprints(windows: &mut BTreeMap<i64, Window>, bytes_max: usize) {
    let runs = windows.values().flat_map(|window| &window.runs);
    let mut bytes: usize = runs.map(ColdRun::memory_bytes).sum();
    for run in windows.values_mut().flat_map(|window| &mut window.runs) {
        if bytes <= bytes_max {
            return;
        }
        bytes -= run.memory_bytes();
        run.forget_fingerprints();
        bytes += run.memory_bytes();
    }
}

fn file_of(run: &ColdRun) -> *const state::spill::BlobFile {
    Arc::as_ptr(run.file())
}
