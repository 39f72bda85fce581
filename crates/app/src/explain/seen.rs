//! What the state of a query has needed while it ran, and what it may come to need if its groups stay as many.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use ::state::SnapshotStore;
use project::Project;
use serde::Serialize;

use super::state::State;
use super::{grouped, size};
use crate::error::Result;
use crate::run::generations::{Generations, Role};
use crate::run::statistics::{self, Seen};

/// What a state has needed, and its bound by that.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Needed {
    /// The state when it was largest.
    #[serde(flatten)]
    pub(crate) largest: Seen,
    /// Bytes that all windows open at once take with as many groups in each, of as many bytes; for queries of one level of windows alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes_bound: Option<u64>,
    /// Windows that the bound is for.
    #[serde(skip)]
    windows_open: u64,
    /// Whether these are panes that windows share.
    #[serde(skip)]
    are_panes: bool,
}

/// What was seen of the project's queries as their text is now, by name. Nothing is made on the disk.
///
/// # Errors
/// Those of the snapshot store.
pub(crate) fn seen(project: &Project) -> Result<BTreeMap<String, Seen>> {
    let directory = project.snapshot_dir();
    if !directory.is_dir() {
        return Ok(BTreeMap::new());
    }
    let store = Arc::new(SnapshotStore::open(&directory.to_string_lossy())?);
    let all = statistics::read(&store)?;
    let prefix = &project.settings.connections.kafka.topic_prefix;
    let mut shown = Generations::new(store).shown_results(project, prefix)?;
    // One that retires is of an earlier text.
    shown.retain(|result| result.role == Role::Shown);
    let of = |name: String, result: String| Some((name, *all.get(&result)?));
    Ok(shown.into_iter().filter_map(|result| of(result.query.name.clone(), result.name())).collect())
}

impl Needed {
    pub(super) fn of(largest: Seen, state: &[State]) -> Self {
        let (windows_open, are_panes) = match state {
            [State::Windows(kept)] if kept.session_gap_ms.is_none() => (kept.windows_open, kept.shares_panes),
            _ => (0, false),
        };
        let bytes_per_group = largest.bytes.div_ceil(largest.groups.max(1));
        let bound = largest.groups_per_window.saturating_mul(windows_open).saturating_mul(bytes_per_group);
        Self { largest, bytes_bound: (bound > 0).then_some(bound), windows_open, are_panes }
    }

    /// For people.
    pub(super) fn write(&self, out: &mut String) -> std::fmt::Result {
        let Seen { windows, groups, bytes, groups_per_window } = self.largest;
        let counted = match (groups, windows) {
            (0, _) => String::new(),
            (groups, 0) => format!(" for {} keys", grouped(groups)),
            (groups, windows) => format!(" for {} groups in {} windows", grouped(groups), grouped(windows)),
        };
        writeln!(out, "  seen      {} at most{counted}", rounded(bytes))?;
        if let Some(bound) = self.bytes_bound {
            let (one, all) = if self.are_panes { ("pane", "panes kept") } else { ("window", "windows open") };
            let (groups, number) = (grouped(groups_per_window), grouped(self.windows_open));
            writeln!(
                out,
                "            with {groups} groups a {one} and {number} {all} it comes to {}",
                rounded(bound)
            )?;
        }
        Ok(())
    }
}

/// Bytes to three digits or so.
fn rounded(bytes: u64) -> String {
    let unit = [1_000_000_000, 1_000_000, 1_000].into_iter().find(|unit| bytes >= 10 * unit).unwrap_or(1);
    size(bytes.div_ceil(unit) * unit)
}
