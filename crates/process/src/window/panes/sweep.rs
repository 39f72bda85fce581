//! Windows put together for some of the keys at a time, by their hashes: where panes are on the disk, or would take too much memory beside what is
//! made of them; and for drains, which leave the state as it is.

use std::collections::BTreeMap;

use super::super::assign::Windows;
use super::super::spill::recall;
use super::super::table::Window;
use super::combiner::Source;
use super::table::Combined;
use super::walk::Walk;
use crate::error::Cause;

/// Groups of panes that are in memory beside the state.
const PART_GROUPS: usize = 65_536;

/// Which windows are gone through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    /// Those that start here or later,
    pub(super) from_us: i64,
    /// and before this.
    pub(super) until_us: i64,
    /// Whether they are over: then all of their groups are published, and else those that have changed.
    pub(super) is_final: bool,
}

/// A pass over all keys.
#[derive(Debug)]
pub(super) struct Sweep {
    pub(super) stretch: Stretch,
    /// Parts in all, and those that have begun.
    parts: u64,
    begun: u64,
    part: Option<Part>,
}

#[derive(Debug)]
struct Part {
    walk: Walk,
    /// The panes with the part's groups alone; `None` where it has all of them.
    panes: Option<BTreeMap<i64, Window>>,
}

impl Sweep {
    pub(super) fn new(stretch: Stretch, windows: &Windows, panes: &BTreeMap<i64, Window>) -> Self {
        let held = within(stretch, windows, panes);
        let (mut groups, mut is_on_disk) = (0, false);
        for (_, pane) in held {
            groups += pane.len();
            is_on_disk |= !pane.runs.is_empty();
        }
        let parts = groups.div_ceil(PART_GROUPS).max(1) as u64;
        // More than one part, or one that is copied.
        let parts = if parts == 1 && is_on_disk { 2 } else { parts };
        Self { stretch, parts, begun: 0, part: None }
    }

    /// Adds groups to those that are to be published, until there are `groups_max`. Whether that was all.
    pub(super) fn fill(&mut self, groups_max: usize, source: Source<'_>, out: &mut Combined) -> Result<bool, Cause> {
        let Stretch { until_us, is_final, .. } = self.stretch;
        loop {
            let Some(part) = &mut self.part else {
                if self.begun == self.parts {
                    return Ok(true);
                }
                self.part = Some(self.load(source)?);
                self.begun += 1;
                continue;
            };
            let panes = part.panes.as_ref().unwrap_or(source.panes);
            if !part.walk.fill(until_us, !is_final, groups_max, Source { panes, ..source }, out)? {
                return Ok(false);
            }
            self.part = None;
        }
    }

    /// The next part.
    fn load(&self, source: Source<'_>) -> Result<Part, Cause> {
        let walk = Walk::new(source.plan, self.stretch.from_us)?;
        if self.parts == 1 {
            return Ok(Part { walk, panes: None });
        }
        let hashes = first_hash(self.begun, self.parts)..=first_hash(self.begun + 1, self.parts).wrapping_sub(1);
        let mut panes = BTreeMap::new();
        for (pane_us, pane) in within(self.stretch, source.windows, source.panes) {
            let groups = recall::of_hashes(pane, source.plan, &hashes)?;
            if groups.len() > 0 {
                panes.insert(*pane_us, groups);
            }
        }
        Ok(Part { walk, panes: Some(panes) })
    }

    pub(super) fn bytes(&self) -> usize {
        let panes = self.part.iter().flat_map(|part| &part.panes).flat_map(BTreeMap::values);
        panes.map(|pane| pane.counted_bytes).sum::<usize>() + self.part.as_ref().map_or(0, |part| part.walk.bytes())
    }
}

/// The panes of the windows of a stretch.
fn within<'p>(
    stretch: Stretch,
    windows: &Windows,
    panes: &'p BTreeMap<i64, Window>,
) -> impl Iterator<Item = (&'p i64, &'p Window)> {
    let Stretch { from_us, until_us, .. } = stretch;
    let end_us = windows.end(until_us).unwrap_or(i64::MAX).max(from_us);
    panes.range(from_us..end_us)
}

/// First hash of a part; 0 for the one after the last.
fn first_hash(part: u64, parts: u64) -> u64 {
    let first = (u128::from(part) << u64::BITS) / u128::from(parts);
    u64::try_from(first).unwrap_or(0)
}
