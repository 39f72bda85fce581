//! Reference tables of a running pipeline, up to the stage that joins them.
//!
//! | file | does |
//! | --- | --- |
//! | `source` | reads a table's rows from its file, from PostgreSQL, or from a topic |
//! | `topic` | reads a compacted topic to its end and follows it |
//! | `watch` | looks for changes, on a thread for each table |
//! | `registry` | gives versions their numbers, and keeps the newest |
//! | `feed` | hands the newest load to the process stage |
//! | `check` | asks PostgreSQL whether tables are as the project declares them |

use std::collections::BTreeMap;
use std::sync::Arc;

use process::ReferenceData;
use project::{Project, ReferenceSource};
use state::SnapshotStore;
use tokio::runtime::Handle;

use crate::error::{Error, Result};
use crate::run::context::Context;
use crate::run::results::ResultTopic;

pub(crate) mod check;
mod feed;
mod registry;
mod source;
mod topic;
mod watch;

pub(crate) use feed::{Feed, Loaded};
pub(crate) use source::is_own;
pub(crate) use watch::Watcher;

use registry::Registry;

/// The watchers of all tables that queries join, each having read its table. One that can't be read now is passed over if an earlier
/// version of it is kept, which then stays in use.
///
/// # Errors
/// When a table can't be read and there is no earlier version.
pub(crate) fn start(
    project: &Project,
    context: &Context,
    own_url: Option<&str>,
    results: &[ResultTopic],
    snapshots: &Arc<SnapshotStore>,
    runtime: &Handle,
) -> Result<Vec<Watcher>> {
    let registry = Arc::new(Registry::open(snapshots)?);
    let mut watchers = Vec::new();
    for reference in &project.references {
        let joined = |result: &ResultTopic| result.query.references().any(|joined| joined == reference.name);
        if !results.iter().any(joined) {
            continue;
        }
        let mut watcher = Watcher::new(project, reference, own_url, &registry, context, runtime)?;
        if let Err(error) = first_look(&mut watcher, context) {
            let feed = watcher.feed();
            let Ok(Some(kept)) = registry.newest(&reference.name, &feed) else { return Err(error) };
            feed.offer(kept);
            watcher.show(&error);
        }
        watchers.push(watcher);
    }
    Ok(watchers)
}

/// Where the watchers leave their loads, by table.
pub(crate) type Feeds = BTreeMap<String, Arc<Feed>>;

/// The feeds of watchers.
pub(crate) fn feeds(watchers: &[Watcher]) -> Feeds {
    watchers.iter().map(|watcher| (watcher.table.clone(), watcher.feed())).collect()
}

/// Looks until there are rows: a file may be in the middle of being written.
fn first_look(watcher: &mut Watcher, context: &Context) -> Result<()> {
    loop {
        let wait = watcher.look()?;
        if watcher.feed().newest().is_some() || context.stop.wait(wait) {
            return Ok(());
        }
    }
}

/// The tables in files that the project's queries join, as they are now, for what runs once and without peers.
///
/// # Errors
/// `Project` for a table that can't be read, or that isn't in a file.
pub(crate) fn of_files(project: &Project) -> Result<BTreeMap<String, Arc<ReferenceData>>> {
    let mut tables = BTreeMap::new();
    let is_joined = |name: &str| {
        let mut joins = project.queries.iter().flat_map(|query| &query.branches).flat_map(|branch| &branch.joins);
        joins.any(|join| join.reference == name)
    };
    for reference in project.references.iter().filter(|reference| is_joined(&reference.name)) {
        let name = &reference.name;
        let ReferenceSource::File(path) = &reference.source else {
            let message = "tests read reference tables from files: lay one over it by a profile";
            return Err(Error::Project(format!("reference table {name}: {message}")));
        };
        let rows = ingest::reference::load(path, &source::file_options(reference));
        let rows = rows.map_err(|error| source::of_table(name, &error))?.batch;
        let data = Feed::new(reference).index(name, 1, rows).map_err(|error| source::of_table(name, &error))?;
        tables.insert(name.clone(), Arc::new(data));
    }
    Ok(tables)
}
