//! Which version of each reference table applies to which rows, as a log that is made durable before the rows are joined.
//!
//! A version takes effect for a query at a position of each partition: rows from there on are joined with it, rows before with the one
//! before, however often and in whatever interleaving of the partitions they are read again. So a replay after a crash gives the
//! results that were published.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// The log of a stage's queries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceLog {
    /// By query, with its generation.
    queries: BTreeMap<String, QueryLog>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct QueryLog {
    /// By table, oldest first.
    tables: BTreeMap<String, Vec<Effect>>,
    /// Where the query stood when it was last stopped in order: no row past it was ever joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stopped_at: Option<Vec<i64>>,
}

/// A version of a table: its number, and the hash of its rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LoggedVersion {
    /// Ascends with each load that has another content than the one before.
    pub number: u64,
    /// Under which the rows are kept.
    pub hash: String,
}

/// From where on a version applies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Effect {
    version: LoggedVersion,
    /// Validated offset per partition of the first row that is joined with it.
    from: Vec<i64>,
}

impl ReferenceLog {
    /// Reads a log as [`to_json`](Self::to_json) writes it.
    ///
    /// # Errors
    /// A sentence when it is something else.
    pub fn from_json(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    /// The log as JSON, which people may read too.
    ///
    /// # Errors
    /// None that is known; the type is that of the serializer.
    pub fn to_json(&self) -> Result<Vec<u8>, String> {
        serde_json::to_vec(self).map_err(|error| error.to_string())
    }

    /// The version that a query is to join its next rows with; `None` if it has never joined the table.
    pub fn latest(&self, query: &str, table: &str) -> Option<&LoggedVersion> {
        self.queries.get(query)?.tables.get(table)?.last().map(|effect| &effect.version)
    }

    /// Lets a version take effect for a query from these positions on (next offset per partition), but nowhere before the one that is in
    /// effect. Without effect if that is the same version.
    pub fn apply(&mut self, query: &str, table: &str, version: &LoggedVersion, from: &[i64]) {
        let effects = self.queries.entry(query.to_owned()).or_default().tables.entry(table.to_owned()).or_default();
        let mut from = from.to_vec();
        if let Some(last) = effects.last() {
            if last.version == *version {
                return;
            }
            for (at, last) in from.iter_mut().zip(&last.from) {
                *at = (*at).max(*last);
            }
        }
        effects.push(Effect { version: version.clone(), from });
    }

    /// The version that a row is joined with; the oldest that is known if the row is older than the log.
    pub fn in_effect(&self, query: &str, table: &str, partition: i32, offset: i64) -> Option<&LoggedVersion> {
        let effects = self.queries.get(query)?.tables.get(table)?;
        let holds = |effect: &&Effect| effect.at(partition).is_none_or(|from| from <= offset);
        effects.iter().rev().find(holds).or(effects.first()).map(|effect| &effect.version)
    }

    /// The first offset after this one at which another version of any of the query's tables takes effect.
    pub fn next_change(&self, query: &str, partition: i32, offset: i64) -> Option<i64> {
        let effects = self.queries.get(query)?.tables.values().flatten();
        effects.filter_map(|effect| effect.at(partition)).filter(|from| *from > offset).min()
    }

    /// Notes that a query has been stopped in order at these positions, with [`beyond_doubt`].
    pub fn stop(&mut self, query: &str, positions: &[i64], in_doubt: &[i64]) {
        self.queries.entry(query.to_owned()).or_default().stopped_at = Some(beyond_doubt(positions, in_doubt));
    }

    /// Where a query was stopped in order, which is forgotten since it goes on now.
    pub fn resume(&mut self, query: &str) -> Option<Vec<i64>> {
        self.queries.get_mut(query)?.stopped_at.take()
    }

    /// Takes over what another stage's log says of a query, unless this one knows the query already; true if it did.
    pub fn adopt(&mut self, query: &str, other: &Self) -> bool {
        match other.queries.get(query) {
            Some(log) if !self.queries.contains_key(query) => {
                self.queries.insert(query.to_owned(), log.clone());
                true
            }
            _ => false,
        }
    }

    /// Forgets what no replay from `floors` (next offset per partition, by query) can need: queries that aren't there, versions that
    /// rows before the floor were joined with.
    pub fn prune(&mut self, floors: &BTreeMap<String, Vec<i64>>) {
        self.queries.retain(|query, _| floors.contains_key(query));
        for (query, log) in &mut self.queries {
            let floor = floors.get(query).map(Vec::as_slice).unwrap_or_default();
            for effects in log.tables.values_mut() {
                let passed = |effect: &Effect| effect.from.iter().zip(floor).all(|(from, floor)| from <= floor);
                let first = effects.iter().rposition(passed).unwrap_or(0);
                effects.drain(..first);
            }
        }
    }

    /// All versions of tables that it names, by table and number.
    pub fn versions(&self) -> BTreeSet<(String, LoggedVersion)> {
        self.queries.values().flat_map(QueryLog::versions).collect()
    }

    /// As [`versions`](Self::versions), of one query.
    pub fn versions_of(&self, query: &str) -> BTreeSet<(String, LoggedVersion)> {
        self.queries.get(query).into_iter().flat_map(QueryLog::versions).collect()
    }
}

/// From where on another version may apply to a query that stands at `positions`. Rows from there up to `in_doubt` may have been joined
/// before a crash, and stay so where the replay hasn't come as far.
pub fn beyond_doubt(positions: &[i64], in_doubt: &[i64]) -> Vec<i64> {
    let doubts = in_doubt.iter().copied().chain(std::iter::repeat(0));
    positions.iter().zip(doubts).map(|(&at, doubt)| at.max(doubt)).collect()
}

impl QueryLog {
    fn versions(&self) -> impl Iterator<Item = (String, LoggedVersion)> + '_ {
        let of_table = |(table, effects): (&'_ String, &'_ Vec<Effect>)| -> Vec<_> {
            effects.iter().map(|effect| (table.clone(), effect.version.clone())).collect()
        };
        self.tables.iter().flat_map(of_table)
    }
}

impl Effect {
    /// Where it takes effect in a partition; `None` if it knows nothing of the partition.
    fn at(&self, partition: i32) -> Option<i64> {
        self.from.get(usize::try_from(partition).ok()?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: u64) -> LoggedVersion {
        LoggedVersion { number, hash: format!("hash {number}") }
    }

    fn floors(query: &str, positions: &[i64]) -> BTreeMap<String, Vec<i64>> {
        [(query.to_owned(), positions.to_vec())].into()
    }

    fn numbers(log: &ReferenceLog) -> Vec<u64> {
        log.versions().into_iter().map(|(_, version)| version.number).collect()
    }

    #[test]
    fn rows_are_joined_with_the_version_of_their_position() {
        let mut log = ReferenceLog::default();
        log.apply("q", "m", &version(1), &[0, 0]);
        log.apply("q", "m", &version(2), &[10, 4]);
        log.apply("q", "m", &version(2), &[11, 5]);
        // Found while a replay is still before what version 2 was given.
        log.apply("q", "m", &version(3), &[7, 9]);
        let of = |partition, offset| log.in_effect("q", "m", partition, offset).unwrap().number;
        assert_eq!([of(0, 9), of(0, 10), of(0, 99)], [1, 3, 3]);
        assert_eq!([of(1, 3), of(1, 4), of(1, 8), of(1, 9)], [1, 2, 2, 3]);
        assert_eq!(log.next_change("q", 1, 3), Some(4));
        assert_eq!(log.next_change("q", 1, 4), Some(9));
        assert_eq!(log.next_change("q", 1, 9), None);
        assert_eq!((log.latest("q", "m"), log.latest("other", "m")), (Some(&version(3)), None));
    }

    #[test]
    fn what_no_replay_needs_is_forgotten() {
        let mut log = ReferenceLog::default();
        log.apply("q", "m", &version(1), &[0, 0]);
        log.apply("q", "m", &version(2), &[10, 4]);
        log.apply("gone", "m", &version(3), &[0, 0]);
        log.prune(&floors("q", &[10, 3]));
        assert_eq!(numbers(&log), [1, 2]);
        log.prune(&floors("q", &[10, 4]));
        assert_eq!(numbers(&log), [2]);
        assert_eq!(log.in_effect("q", "m", 0, 10), Some(&version(2)));
    }

    #[test]
    fn a_stop_amid_a_replay_leaves_in_doubt_what_the_crash_did() {
        let mut log = ReferenceLog::default();
        log.stop("q", &[5, 9], &[12, 3]);
        assert_eq!(log.resume("q"), Some(vec![12, 9]));
    }

    #[test]
    fn a_query_is_adopted_once() {
        let (mut log, mut other) = (ReferenceLog::default(), ReferenceLog::default());
        other.apply("q", "m", &version(4), &[0]);
        assert!(log.adopt("q", &other));
        assert!(!log.adopt("absent", &other));
        log.apply("q", "m", &version(5), &[3]);
        log.apply("r", "m", &version(6), &[0]);
        assert!(!log.adopt("q", &other));
        assert_eq!(numbers(&log), [4, 5, 6]);
        assert_eq!(log.versions_of("q").into_iter().map(|(_, version)| version.number).collect::<Vec<_>>(), [4, 5]);
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let mut log = ReferenceLog::default();
        log.apply("q", "m", &version(1), &[0, 7]);
        log.stop("q", &[3, 9], &[3, 2]);
        let mut read = ReferenceLog::from_json(&log.to_json().unwrap()).unwrap();
        assert_eq!(read, log);
        assert_eq!((read.resume("q"), read.resume("q")), (Some(vec![3, 9]), None));
        assert!(ReferenceLog::from_json(b"{\"queries\":3}").is_err());
    }
}
