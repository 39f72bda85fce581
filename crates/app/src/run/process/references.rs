//! Versions of reference tables: which one each row is joined with, made durable before the first row is.
//!
//! The log lies beside the stage's snapshots, and the rows of each version that a replay may need. A version that is found while the
//! stage runs takes effect where each query stands. One that is found at a start takes effect where the query was stopped in order, or,
//! after a crash, behind everything that may have been joined before it: the present end of the validated topic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::Epoch;
use process::{LoggedVersion, ReferenceData, ReferenceLog, beyond_doubt, read_rows};
use sql::Query;
use state::SnapshotStore;

use super::queries::QueryRun;
use crate::error::{Error, Result};
use crate::run::references::{Feed, Loaded};

/// Versions of one table that a replay may need, at most: a further one waits for the next checkpoint, so that memory is bounded.
const VERSIONS_MAX: usize = 8;

/// The log with the tables that it names. It never changes; queries share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Versions {
    log: ReferenceLog,
    data: BTreeMap<(String, u64), Arc<ReferenceData>>,
}

impl Versions {
    /// The version of a table that a query's row is joined with.
    pub(crate) fn of_row(&self, query: &str, table: &str, partition: i32, offset: i64) -> Result<&Arc<ReferenceData>> {
        let version = self.log.in_effect(query, table, partition, offset);
        let data = version.and_then(|version| self.data.get(&(table.to_owned(), version.number)));
        data.ok_or_else(|| {
            Error::Internal(format!("no version of {table} for offset {offset} of partition {partition}"))
        })
    }

    /// The first offset after this one that is joined with other versions.
    pub(crate) fn next_change(&self, query: &str, partition: i32, offset: i64) -> Option<i64> {
        self.log.next_change(query, partition, offset)
    }
}

/// The stage's hold on the log.
#[derive(Debug)]
pub(crate) struct References {
    snapshots: Arc<SnapshotStore>,
    /// The stage, beside whose snapshots the log lies.
    owner: String,
    feeds: BTreeMap<String, Arc<Feed>>,
    versions: Versions,
    epoch: Epoch,
    sequence: u64,
    /// Hashes that the saved log names.
    named: BTreeSet<String>,
    /// The newest load of each table that was taken in.
    newest: BTreeMap<String, Arc<Loaded>>,
    /// Up to where rows of each query may have been joined before this epoch, by a process that wasn't stopped in order.
    in_doubt: BTreeMap<String, Vec<i64>>,
    /// Where the two newest snapshots stand, the older one first; `None` while it isn't known, since an earlier process saved it.
    floors: [Option<BTreeMap<String, Vec<i64>>>; 2],
}

impl References {
    /// Reads the log of a stage, and takes the newest load of each table that its queries join.
    pub(crate) fn open(
        snapshots: &Arc<SnapshotStore>,
        owner: &str,
        feeds: &BTreeMap<String, Arc<Feed>>,
        epoch: Epoch,
    ) -> Result<Self> {
        let (log, sequence) = read_log(snapshots, owner)?;
        let named = log.versions().into_iter().map(|(_, version)| version.hash).collect();
        let versions = Versions { log, data: BTreeMap::new() };
        let mut opened = Self {
            snapshots: snapshots.clone(),
            owner: owner.to_owned(),
            feeds: feeds.clone(),
            versions,
            epoch,
            sequence,
            named,
            newest: BTreeMap::new(),
            in_doubt: BTreeMap::new(),
            floors: Default::default(),
        };
        for (table, feed) in feeds {
            if let Some(loaded) = feed.newest() {
                opened.newest.insert(table.clone(), loaded);
            }
        }
        Ok(opened)
    }

    /// The newest version of each table, for making the operators.
    pub(crate) fn newest(&self) -> BTreeMap<String, Arc<ReferenceData>> {
        self.newest.iter().map(|(table, loaded)| (table.clone(), loaded.data.clone())).collect()
    }

    /// Takes over what the log of the stage that filled a query says of it, and the rows of those versions. It is durable once [`begin`]
    /// has returned.
    ///
    /// [`begin`]: References::begin
    pub(crate) fn adopt(&mut self, owner: &str, query: &str) -> Result<()> {
        let (log, _) = read_log(&self.snapshots, owner)?;
        if !self.versions.log.adopt(query, &log) {
            return Ok(());
        }
        for (_, version) in self.versions.log.versions_of(query) {
            if !self.named.contains(&version.hash) {
                let rows = self.snapshots.content(owner, &version.hash)?;
                self.snapshots.keep_content(&self.owner, &rows)?;
            }
        }
        Ok(())
    }

    /// Decides from where on the newest versions apply to the restored queries, and makes that durable. `ends` has the next offset of each
    /// validated partition of a stream, as of after this epoch was claimed.
    pub(crate) fn begin(&mut self, queries: &mut [QueryRun], ends: &BTreeMap<String, Vec<i64>>) -> Result<()> {
        if self.feeds.is_empty() {
            return Ok(());
        }
        for query in &*queries {
            let stopped_at = self.versions.log.resume(&query.key);
            let mut is_known = false;
            for table in tables(&query.result.query) {
                is_known |= self.versions.log.latest(&query.key, table).is_some();
            }
            // A query that has no entry has taken nothing yet.
            let from = match (is_known, stopped_at) {
                (false, _) => vec![0; query.positions().len()],
                (true, Some(stopped_at)) => stopped_at,
                (true, None) => ends_of(query, ends),
            };
            for table in tables(&query.result.query) {
                let Some(version) = self.newest.get(table).map(|loaded| loaded.version()) else { continue };
                self.versions.log.apply(&query.key, table, &version, &from);
            }
            self.in_doubt.insert(query.key.clone(), from);
        }
        self.floors = [None, Some(positions(queries))];
        self.make_durable()?;
        // What an earlier process kept and didn't come to name.
        for orphan in self.snapshots.contents(&self.owner)?.iter().filter(|hash| !self.named.contains(*hash)) {
            self.snapshots.forget_content(&self.owner, orphan)?;
        }
        self.load_missing(queries)?;
        self.share(queries);
        Ok(())
    }

    /// Takes new loads in, if there are any: they apply from where each query stands. Call it between two blocks of rows.
    pub(crate) fn take_changes(&mut self, queries: &mut [QueryRun]) -> Result<()> {
        let mut has_changed = false;
        let is_new = |(table, feed): &(&String, &Arc<Feed>)| {
            self.newest.get(*table).is_none_or(|newest| newest.data.version() != feed.version())
        };
        let found: Vec<_> =
            self.feeds.iter().filter(is_new).map(|(table, feed)| (table.clone(), feed.clone())).collect();
        for (table, feed) in &found {
            if self.held(table) >= VERSIONS_MAX {
                self.forget_unneeded();
                if self.held(table) >= VERSIONS_MAX {
                    continue;
                }
            }
            let Some(loaded) = feed.newest() else { continue };
            let (version, rows) = (loaded.version(), loaded.data.batch().num_rows());
            for query in queries.iter().filter(|query| tables(&query.result.query).any(|joined| joined == table)) {
                let from = beyond_doubt(&query.positions(), self.in_doubt(&query.key));
                self.versions.log.apply(&query.key, table, &version, &from);
            }
            tracing::info!(table, version = version.number, rows, "a new version of a reference table");
            self.newest.insert(table.clone(), loaded);
            has_changed = true;
        }
        if has_changed {
            self.make_durable()?;
            self.share(queries);
        }
        Ok(())
    }

    /// Notes that a snapshot of the queries was saved.
    pub(crate) fn saved(&mut self, queries: &[QueryRun]) {
        let [_, newer] = std::mem::take(&mut self.floors);
        self.floors = [newer, Some(positions(queries))];
    }

    /// Notes that the queries were stopped in order, and that their state is saved.
    pub(crate) fn stopped(&mut self, queries: &[QueryRun]) -> Result<()> {
        if self.feeds.is_empty() {
            return Ok(());
        }
        for (query, positions) in positions(queries) {
            let in_doubt = self.in_doubt(&query).to_vec();
            self.versions.log.stop(&query, &positions, &in_doubt);
        }
        self.make_durable()
    }

    fn in_doubt(&self, query: &str) -> &[i64] {
        self.in_doubt.get(query).map(Vec::as_slice).unwrap_or_default()
    }

    /// Versions of a table that are held in memory.
    fn held(&self, table: &str) -> usize {
        self.versions.data.keys().filter(|(name, _)| name == table).count()
    }

    /// Writes the log without what no replay needs, and then removes the contents that it no longer names.
    fn make_durable(&mut self) -> Result<()> {
        self.forget_unneeded();
        let mut named = BTreeSet::new();
        for (table, version) in self.versions.log.versions() {
            if let Some(loaded) = self.newest.get(&table).filter(|loaded| loaded.hash == version.hash) {
                if !self.named.contains(&version.hash) {
                    self.snapshots.keep_content(&self.owner, &process::write_rows(loaded.data.batch())?)?;
                }
                self.versions.data.insert((table, version.number), loaded.data.clone());
            }
            named.insert(version.hash);
        }
        let internal = |reason: String| Error::Internal(format!("the log of reference versions: {reason}"));
        let bytes = self.versions.log.to_json().map_err(internal)?;
        self.sequence += 1;
        self.snapshots.save_log(&self.owner, self.epoch, self.sequence, &bytes)?;
        for hash in self.named.difference(&named) {
            self.snapshots.forget_content(&self.owner, hash)?;
        }
        self.named = named;
        Ok(())
    }

    /// Lets go of what no replay from the older of the two snapshots needs.
    fn forget_unneeded(&mut self) {
        let Versions { log, data } = &mut self.versions;
        if let Some(floor) = &self.floors[0] {
            log.prune(floor);
        }
        let named: BTreeSet<(String, u64)> =
            log.versions().into_iter().map(|(table, version)| (table, version.number)).collect();
        data.retain(|key, _| named.contains(key));
    }

    /// Reads the versions that rows from the queries' positions on are joined with.
    fn load_missing(&mut self, queries: &[QueryRun]) -> Result<()> {
        for query in queries {
            for table in tables(&query.result.query) {
                for (partition, next_offset) in (0..).zip(query.positions()) {
                    let mut offset = Some(next_offset);
                    while let Some(at) = offset {
                        if let Some(version) = self.versions.log.in_effect(&query.key, table, partition, at).cloned() {
                            self.load(table, &version)?;
                        }
                        offset = self.versions.log.next_change(&query.key, partition, at);
                    }
                }
            }
        }
        Ok(())
    }

    fn load(&mut self, table: &str, version: &LoggedVersion) -> Result<()> {
        let key = (table.to_owned(), version.number);
        if self.versions.data.contains_key(&key) {
            return Ok(());
        }
        let missing = || Error::Internal(format!("the reference table {table} isn't there"));
        let feed = self.feeds.get(table).ok_or_else(missing)?;
        let rows = read_rows(&self.snapshots.content(&self.owner, &version.hash)?, &feed.schema).map_err(|error| {
            Error::Project(format!(
                "reference table {table}: rows that were already processed are joined with its version {}, which had other columns: {error}; \
                 bring the columns back, or change the queries that join it so that they start anew",
                version.number
            ))
        })?;
        let data = feed.index(table, version.number, rows).map_err(|error| Error::Project(error.to_string()))?;
        self.versions.data.insert(key, Arc::new(data));
        Ok(())
    }

    fn share(&self, queries: &mut [QueryRun]) {
        let shared = Arc::new(self.versions.clone());
        queries.iter_mut().for_each(|query| query.versions = Some(shared.clone()));
    }
}

/// The log of a stage with its number; an empty one if there never was one.
fn read_log(snapshots: &SnapshotStore, owner: &str) -> Result<(ReferenceLog, u64)> {
    let Some(saved) = snapshots.load_log(owner)? else { return Ok((ReferenceLog::default(), 0)) };
    let broken = |reason: String| Error::Internal(format!("the log of reference versions: {reason}"));
    Ok((ReferenceLog::from_json(&saved.bytes).map_err(broken)?, saved.sequence))
}

/// Where the streams of a query end, stream after stream.
fn ends_of(query: &QueryRun, ends: &BTreeMap<String, Vec<i64>>) -> Vec<i64> {
    query.inputs.iter().filter_map(|input| ends.get(&input.stream)).flatten().copied().collect()
}

/// The tables that a query joins.
fn tables(query: &Query) -> impl Iterator<Item = &str> {
    query.references()
}

/// Where queries stand.
fn positions(queries: &[QueryRun]) -> BTreeMap<String, Vec<i64>> {
    queries.iter().map(|query| (query.key.clone(), query.positions())).collect()
}
