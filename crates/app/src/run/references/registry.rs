//! The numbers of versions: which load of each table is the newest, with its rows, so that numbers go on after a restart and a source
//! that is away at a start can be done without.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use model::Epoch;
use process::read_rows;
use serde::{Deserialize, Serialize};
use state::SnapshotStore;

use super::feed::{Feed, Loaded};
use super::source::of_table;
use crate::error::{Error, Result};

const OWNER: &str = "references";

/// The newest version of each table. Processes that read the same tables give them the same numbers: whoever finds that another one was
/// quicker looks at what that has recorded, and tries again.
#[derive(Debug)]
pub(crate) struct Registry {
    snapshots: Arc<SnapshotStore>,
    state: Mutex<State>,
}

/// What is recorded, as of the epoch in which it was read.
#[derive(Debug)]
struct State {
    epoch: Epoch,
    sequence: u64,
    newest: BTreeMap<String, Version>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Version {
    number: u64,
    hash: String,
}

impl Registry {
    /// Reads what is recorded.
    ///
    /// # Errors
    /// Those of the snapshot store, or `Internal` when the record can't be read.
    pub(crate) fn open(snapshots: &Arc<SnapshotStore>) -> Result<Self> {
        let state = read(snapshots)?;
        // What a process kept and didn't come to record. One that is about to finds itself fenced, and keeps it again.
        for orphan in snapshots.contents(OWNER)? {
            if state.newest.values().all(|version| version.hash != orphan) {
                snapshots.forget_content(OWNER, &orphan)?;
            }
        }
        Ok(Self { snapshots: snapshots.clone(), state: Mutex::new(state) })
    }

    /// The number of a load, given its rows as bytes: that of the newest version if the content is the same, else the next, which is
    /// recorded with its rows.
    ///
    /// # Errors
    /// Those of the snapshot store.
    pub(crate) fn number(&self, table: &str, hash: &str, bytes: &[u8]) -> Result<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match self.try_number(&mut state, table, hash, bytes) {
                Err(error) if error.is_fenced() => *state = read(&self.snapshots)?,
                numbered => return numbered,
            }
        }
    }

    fn try_number(&self, state: &mut State, table: &str, hash: &str, bytes: &[u8]) -> Result<u64> {
        let before = state.newest.get(table).cloned();
        if let Some(before) = &before
            && before.hash == hash
        {
            return Ok(before.number);
        }
        let number = before.as_ref().map_or(1, |before| before.number + 1);
        self.snapshots.keep_content(OWNER, bytes)?;
        let mut newest = state.newest.clone();
        newest.insert(table.to_owned(), Version { number, hash: hash.to_owned() });
        let record = serde_json::to_vec(&newest).map_err(|error| Error::Internal(error.to_string()))?;
        let sequence = state.sequence + 1;
        self.snapshots.save_log(OWNER, state.epoch, sequence, &record)?;
        (state.sequence, state.newest) = (sequence, newest);
        if let Some(before) = before
            && state.newest.values().all(|version| version.hash != before.hash)
        {
            self.snapshots.forget_content(OWNER, &before.hash)?;
        }
        Ok(number)
    }

    /// The newest version that was recorded; `None` if there never was one.
    ///
    /// # Errors
    /// When its rows can't be read, or have other columns than the table has now.
    pub(crate) fn newest(&self, table: &str, feed: &Feed) -> Result<Option<Loaded>> {
        let newest = self.state.lock().unwrap_or_else(PoisonError::into_inner).newest.get(table).cloned();
        let Some(Version { number, hash }) = newest else { return Ok(None) };
        let rows = read_rows(&self.snapshots.content(OWNER, &hash)?, &feed.schema)?;
        let data = feed.index(table, number, rows).map_err(|error| of_table(table, &error))?;
        Ok(Some(Loaded { hash, data: Arc::new(data) }))
    }
}

/// Takes the record over from whichever process had it.
fn read(snapshots: &SnapshotStore) -> Result<State> {
    let epoch = snapshots.claim_epoch(OWNER)?;
    let Some(saved) = snapshots.load_log(OWNER)? else {
        return Ok(State { epoch, sequence: 0, newest: BTreeMap::new() });
    };
    let newest = serde_json::from_slice(&saved.bytes);
    let newest = newest.map_err(|error| Error::Internal(format!("the record of reference versions: {error}")))?;
    Ok(State { epoch, sequence: saved.sequence, newest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_on_and_only_the_newest_rows_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let snapshots = Arc::new(SnapshotStore::open(&directory.path().to_string_lossy()).unwrap());
        let number = |registry: &Registry, table: &str, rows: &str| {
            registry.number(table, &state::content_hash(rows.as_bytes()), rows.as_bytes())
        };
        let first = Registry::open(&snapshots).unwrap();
        assert_eq!(number(&first, "m", "a").unwrap(), 1);
        assert_eq!(number(&first, "m", "a").unwrap(), 1);
        assert_eq!(number(&first, "n", "a").unwrap(), 1);
        assert_eq!(number(&first, "m", "b").unwrap(), 2);
        assert_eq!(snapshots.contents(OWNER).unwrap().len(), 2);
        let second = Registry::open(&snapshots).unwrap();
        assert_eq!(number(&second, "m", "b").unwrap(), 2);
        assert_eq!(number(&second, "m", "a").unwrap(), 3);
        // The first goes on with what the second has recorded, and the other way round.
        assert_eq!(number(&first, "m", "c").unwrap(), 4);
        assert_eq!(number(&second, "m", "c").unwrap(), 4);
        assert_eq!(number(&second, "n", "b").unwrap(), 2);
        Registry::open(&snapshots).unwrap();
        assert_eq!(snapshots.contents(OWNER).unwrap().len(), 2);
    }
}
