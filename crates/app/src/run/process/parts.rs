//! The parts that snapshots are made of: where they are kept, whether they are good, and when they go.

use std::collections::BTreeSet;

use state::{OwnedParts, PartStore as _, SnapshotStore};

use super::{ProcessStage, checkpoint};
use crate::error::Result;

/// Whose the parts of a stage's snapshots are. The stage's own contents are others.
pub(super) fn parts_of(stage: &str) -> String {
    format!("{stage}.parts")
}

/// Snapshots whose parts stay: as many as are kept, since a damaged one is passed over for the one before it.
const SNAPSHOTS: usize = 2;

/// The parts of the last snapshots that this epoch has saved, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Kept(Vec<BTreeSet<String>>);

impl Kept {
    /// Notes that a snapshot of these parts is saved, and removes those that only older snapshots name.
    pub(super) fn saved(&mut self, snapshots: &SnapshotStore, owner: &str, parts: BTreeSet<String>) -> Result<()> {
        self.0.push(parts);
        if self.0.len() < SNAPSHOTS {
            return Ok(());
        }
        // Once this epoch's own are the ones that are kept, there may be parts of before.
        let is_first = self.0.len() == SNAPSHOTS;
        let dropped = if is_first { BTreeSet::new() } else { self.0.remove(0) };
        let is_named = |name: &String| self.0.iter().any(|parts| parts.contains(name));
        if is_first || !dropped.iter().all(is_named) {
            for name in snapshots.contents(owner)?.iter().filter(|name| !is_named(name)) {
                snapshots.forget_content(owner, name)?;
            }
        }
        Ok(())
    }
}

impl ProcessStage {
    /// The parts of an owner's snapshots.
    pub(super) fn parts<'a>(&'a self, owner: &'a str) -> OwnedParts<'a> {
        OwnedParts { store: &self.snapshots, owner }
    }

    /// Refuses a snapshot of a stage that isn't this pipeline's, or of which a part can't be read.
    pub(super) fn is_usable(&self, stage: &str, bytes: &[u8]) -> std::result::Result<(), String> {
        let names = checkpoint::part_names((stage, &self.plan.pipeline), bytes).map_err(|error| error.to_string())?;
        let owner = parts_of(stage);
        names.iter().try_for_each(|name| self.parts(&owner).part(name).map(drop).map_err(|error| error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_stays_as_long_as_one_of_two_snapshots_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let store = SnapshotStore::open(&directory.path().to_string_lossy()).unwrap();
        let owner = parts_of("process");
        let [a, b, c] = ["a", "b", "c"].map(|text| store.keep_content(&owner, text.as_bytes()).unwrap());
        let names = || store.contents(&owner).unwrap().into_iter().collect::<BTreeSet<_>>();
        let set = |names: &[&String]| names.iter().map(|name| (*name).clone()).collect::<BTreeSet<_>>();
        let mut kept = Kept::default();
        // Nobody knows yet what the snapshot before this epoch names.
        kept.saved(&store, &owner, set(&[&b])).unwrap();
        assert_eq!(names(), set(&[&a, &b, &c]));
        kept.saved(&store, &owner, set(&[&b, &c])).unwrap();
        assert_eq!(names(), set(&[&b, &c]));
        kept.saved(&store, &owner, set(&[&c])).unwrap();
        assert_eq!(names(), set(&[&b, &c]));
        kept.saved(&store, &owner, set(&[&c])).unwrap();
        assert_eq!(names(), set(&[&c]));
    }
}
