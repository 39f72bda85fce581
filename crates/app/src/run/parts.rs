//! The parts that snapshots are made of: where they are kept, whether they are good, and when they go.

use std::collections::BTreeSet;

use model::Epoch;
use state::{CodecError, OwnedParts, PartStore as _, Snapshot, SnapshotReader, SnapshotStore, SnapshotWriter};

use crate::error::Result;

/// Section with the names of the parts that the snapshot is made of besides its own bytes.
pub(crate) const PARTS: &str = "parts";
const PARTS_VERSION: u32 = 1;

/// The parts of an owner's snapshots. They are contents of another owner, so that nothing else is among them.
pub(crate) fn parts_of<'a>(snapshots: &'a SnapshotStore, owner: &str) -> OwnedParts<'a> {
    OwnedParts { store: snapshots, owner: format!("{owner}.parts") }
}

/// Removes what is kept of an owner: its snapshots and their parts.
pub(crate) fn forget(snapshots: &SnapshotStore, owner: &str) -> Result<()> {
    snapshots.forget(owner)?;
    Ok(snapshots.forget(&parts_of(snapshots, owner).owner)?)
}

/// Writes of which parts a snapshot is made.
pub(crate) fn write_names(writer: &mut SnapshotWriter, names: &BTreeSet<String>) -> Result<()> {
    writer.section(PARTS, PARTS_VERSION, "", |inner| -> std::result::Result<(), CodecError> {
        inner.u64(names.len() as u64);
        names.iter().for_each(|name| inner.text(name));
        Ok(())
    })?;
    Ok(())
}

/// The names of the parts that a snapshot is made of.
fn names((stage, pipeline): (&str, &str), bytes: &[u8]) -> std::result::Result<Vec<String>, CodecError> {
    let mut reader = SnapshotReader::open(bytes, stage, pipeline)?;
    while let Some(name) = reader.next_section()? {
        if name != PARTS {
            reader.skip_section()?;
            continue;
        }
        return reader.section(PARTS, PARTS_VERSION, "", |inner, _| {
            let mut names = Vec::new();
            for _ in 0..inner.count(size_of::<u64>())? {
                names.push(inner.text()?.to_owned());
            }
            Ok(names)
        });
    }
    Ok(Vec::new())
}

/// The newest good snapshot of an owner. One that isn't of this stage and pipeline is passed over, and so is one that is damaged or of which a
/// part is.
///
/// # Errors
/// None of those that are there is good, or a failure of the storage.
pub(crate) fn newest(
    snapshots: &SnapshotStore,
    owner: &str,
    (stage, pipeline): (&str, &str),
) -> Result<Option<Snapshot>> {
    let parts = parts_of(snapshots, owner);
    let snapshot = snapshots.load_accepted(owner, |bytes| {
        let names = names((stage, pipeline), bytes).map_err(|error| error.to_string())?;
        names.iter().try_for_each(|name| parts.part(name).map(drop).map_err(|error| error.to_string()))
    })?;
    for skipped in snapshot.iter().flat_map(|snapshot| &snapshot.skipped) {
        tracing::warn!(%skipped, "a snapshot can't be used; the one before it is taken and the rest is replayed");
    }
    Ok(snapshot)
}

/// Snapshots whose parts stay: as many as are kept, since a damaged one is passed over for the one before it.
const SNAPSHOTS: usize = 2;

/// The parts of the last snapshots that this epoch has saved, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Kept(Vec<BTreeSet<String>>);

impl Kept {
    /// Saves a snapshot that is made of these parts, and removes those that only older snapshots name.
    ///
    /// # Errors
    /// As [`SnapshotStore::save`]. Then the epoch is over.
    pub(crate) fn save(
        &mut self,
        snapshots: &SnapshotStore,
        (owner, epoch, sequence): (&str, Epoch, u64),
        bytes: &[u8],
        names: BTreeSet<String>,
    ) -> Result<()> {
        let parts = parts_of(snapshots, owner);
        self.0.push(names);
        // Once this epoch's own are the ones that are kept, there may be parts of before.
        let is_first = self.0.len() == SNAPSHOTS;
        let dropped = if self.0.len() > SNAPSHOTS { self.0.remove(0) } else { BTreeSet::new() };
        let is_named = |name: &String| self.0.iter().any(|names| names.contains(name));
        let mut unneeded = Vec::new();
        // Found before it is saved: once another process has claimed, it keeps parts that are none of ours, and no snapshot of ours is saved.
        if is_first || !dropped.iter().all(is_named) {
            unneeded = snapshots.contents(&parts.owner)?;
            unneeded.retain(|name| !is_named(name));
        }
        snapshots.save(owner, epoch, sequence, bytes)?;
        for name in unneeded {
            snapshots.forget_content(&parts.owner, &name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_stays_as_long_as_one_of_two_snapshots_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let store = SnapshotStore::open(&directory.path().to_string_lossy()).unwrap();
        let parts = parts_of(&store, "process");
        let [a, b, c] = ["a", "b", "c"].map(|text| parts.keep(text.as_bytes()).unwrap());
        let names = || store.contents(&parts.owner).unwrap().into_iter().collect::<BTreeSet<_>>();
        let set = |names: &[&String]| names.iter().map(|name| (*name).clone()).collect::<BTreeSet<_>>();
        let (mut kept, epoch) = (Kept::default(), store.claim_epoch("process").unwrap());
        let mut save = |sequence, names: &[&String]| {
            let names = names.iter().map(|name| (*name).clone()).collect();
            kept.save(&store, ("process", epoch, sequence), b"state", names)
        };
        // Nobody knows yet what the snapshot before this epoch names.
        save(1, &[&b]).unwrap();
        assert_eq!(names(), set(&[&a, &b, &c]));
        save(2, &[&b, &c]).unwrap();
        assert_eq!(names(), set(&[&b, &c]));
        save(3, &[&c]).unwrap();
        assert_eq!(names(), set(&[&b, &c]));
        // Another process has taken over: what it keeps isn't ours.
        let other = store.claim_epoch("process").unwrap();
        let d = parts.keep(b"d").unwrap();
        save(4, &[&c]).unwrap_err();
        assert_eq!(names(), set(&[&b, &c, &d]));
        let mut of_other = Kept::default();
        for sequence in [1, 2] {
            of_other.save(&store, ("process", other, sequence), b"state", set(&[&d])).unwrap();
        }
        assert_eq!(names(), set(&[&d]));
        forget(&store, "process").unwrap();
        assert_eq!(names(), set(&[]));
        assert!(newest(&store, "process", ("process", "test")).unwrap().is_none());
    }
}
