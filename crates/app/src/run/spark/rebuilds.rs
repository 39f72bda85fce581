//! Which queries are built anew because Spark dropped rows of theirs: each time from an empty checkpoint.
//!
//! What a query publishes then has at least as many rows folded in as before, so the store takes it over.

use std::collections::BTreeMap;

use state::SnapshotStore;

use super::names::QueryName;
use crate::error::{Error, Result};

const OWNER: &str = "spark-rebuilds";

/// How often each query of a generation was built anew, by [`QueryName::key`].
#[derive(Debug, Clone, Default)]
pub(super) struct Rebuilds(BTreeMap<String, u32>);

impl Rebuilds {
    pub(super) fn load(store: &SnapshotStore) -> Result<Self> {
        let Some(snapshot) = store.load(OWNER)? else { return Ok(Self::default()) };
        let counts = serde_json::from_slice(&snapshot.bytes);
        counts.map(Self).map_err(|error| Error::Internal(format!("the record of rebuilt queries: {error}")))
    }

    pub(super) fn count(&self, key: &str) -> u32 {
        self.0.get(key).copied().unwrap_or(0)
    }

    /// Notes that a query which ran under this name has to be built anew; once, however often it is noted.
    pub(super) fn note(store: &SnapshotStore, name: &QueryName) -> Result<()> {
        let epoch = store.claim_epoch(OWNER)?;
        let mut known = Self::load(store)?;
        let next = name.rebuild + 1;
        if known.count(&name.key) >= next {
            return Ok(());
        }
        known.0.insert(name.key.clone(), next);
        let bytes = serde_json::to_vec(&known.0).map_err(|error| Error::Internal(error.to_string()))?;
        store.save(OWNER, epoch, 1, &bytes)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_generation_is_counted_by_itself_and_each_run_once() {
        let directory = tempfile::tempdir().unwrap();
        let store = SnapshotStore::open(&directory.path().to_string_lossy()).unwrap();
        let note = |generation, rebuild| {
            let key = QueryName::key("spend", generation);
            Rebuilds::note(&store, &QueryName { key, rebuild, digest: String::new() }).unwrap();
        };
        note(1, 0);
        note(1, 0);
        note(1, 1);
        note(2, 0);
        let known = Rebuilds::load(&store).unwrap();
        assert_eq!((known.count("spend.g1"), known.count("spend.g2"), known.count("other.g1")), (2, 1, 0));
    }
}
