//! What the state of each query has needed at most. It is kept beside the snapshots, so that it outlives the process: `tillstream explain`
//! works out from it what the state may come to need.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use process::Metrics;
use serde::{Deserialize, Serialize};
use state::SnapshotStore;

use crate::error::{Error, Result};
use crate::run::context::Context;

pub(crate) const NAME: &str = "statistics";
const EVERY: Duration = Duration::from_secs(10);

/// The state of a query when it was largest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Windows, or none of a query without.
    pub(crate) windows: u64,
    /// Groups over all windows; keys of a pattern.
    pub(crate) groups: u64,
    /// Bytes in memory and on the disk.
    pub(crate) bytes: u64,
    /// Most groups of a window, on average over the windows open at one time.
    pub(crate) groups_per_window: u64,
}

impl Seen {
    pub(crate) fn of(metrics: &Metrics) -> Self {
        let groups = metrics.groups_open + metrics.groups_spilled;
        Self {
            windows: metrics.windows_open,
            groups,
            bytes: metrics.state_bytes + metrics.spilled_bytes,
            groups_per_window: groups.div_ceil(metrics.windows_open.max(1)),
        }
    }

    /// The larger of two.
    pub(crate) fn or(self, other: Self) -> Self {
        let larger = if other.bytes > self.bytes { other } else { self };
        Self { groups_per_window: self.groups_per_window.max(other.groups_per_window), ..larger }
    }
}

/// Per result, by the name that no other generation has.
type AllSeen = BTreeMap<String, Seen>;

/// What was seen of each result, by any process at any time.
///
/// # Errors
/// Those of the snapshot store; `Internal` for a record of another kind.
pub(crate) fn read(store: &SnapshotStore) -> Result<AllSeen> {
    store.load(NAME)?.map_or(Ok(AllSeen::new()), |snapshot| parse(&snapshot.bytes))
}

/// Keeps what was seen, until the stop switch is thrown. A record that can't be kept is only told.
pub(crate) fn keep(context: &Context, store: &Arc<SnapshotStore>) -> Result<()> {
    let mut kept = AllSeen::new();
    loop {
        let is_last = context.stop.wait(EVERY);
        let peaks = context.status.peaks();
        if peaks != kept {
            match add(store, &peaks) {
                Ok(()) => kept = peaks,
                Err(error) => {
                    tracing::warn!(%error, "what the state of queries needs can't be kept for `tillstream explain`")
                }
            }
        }
        if is_last {
            return Ok(());
        }
    }
}

fn add(store: &SnapshotStore, peaks: &AllSeen) -> Result<()> {
    store.update(NAME, |bytes| {
        let before = bytes.map_or(Ok(AllSeen::new()), parse)?;
        let mut all = before.clone();
        for (result, &seen) in peaks {
            let kept = all.entry(result.clone()).or_default();
            *kept = kept.or(seen);
        }
        if all == before {
            return Ok(None);
        }
        let bytes = serde_json::to_vec(&all).map_err(|error| Error::Internal(error.to_string()))?;
        Ok::<_, Error>(Some(bytes))
    })
}

fn parse(bytes: &[u8]) -> Result<AllSeen> {
    serde_json::from_slice(bytes).map_err(|error| Error::Internal(format!("the statistics of queries: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_of_all_processes_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let store = SnapshotStore::open(&directory.path().to_string_lossy()).unwrap();
        assert_eq!(read(&store).unwrap(), AllSeen::new());
        let seen = |windows_open, groups_open, state_bytes| {
            Seen::of(&Metrics { windows_open, groups_open, state_bytes, ..Metrics::default() })
        };
        add(&store, &AllSeen::from([("spend".to_owned(), seen(1, 90, 1_000))])).unwrap();
        add(&store, &AllSeen::from([("spend".to_owned(), seen(4, 100, 2_000)), ("kpis".to_owned(), seen(0, 3, 50))]))
            .unwrap();
        add(&store, &AllSeen::from([("spend".to_owned(), seen(2, 20, 500))])).unwrap();
        let all = read(&store).unwrap();
        assert_eq!(all["spend"], Seen { windows: 4, groups: 100, bytes: 2_000, groups_per_window: 90 });
        assert_eq!(all["kpis"], Seen { windows: 0, groups: 3, bytes: 50, groups_per_window: 3 });
    }
}
