//! The rows of reference tables that queries run with.
//!
//! Those that a query was started with last are kept beyond the process. What Spark broke off when it was stopped is finished with them before
//! the query goes on with others: a result that the broken-off batch has published would come again with other values and the same version.

use std::collections::BTreeMap;
use std::sync::Arc;

use process::{read_rows, write_rows};
use serde::{Deserialize, Serialize};
use spark::print::ReferenceRows;
use sql::Query;
use state::SnapshotStore;

use super::plan::reference_rows;
use crate::error::{Error, Result};
use crate::run::references::{Feeds, Loaded};

const OWNER: &str = "spark-tables";

/// A load of each table that queries join.
pub(super) type Loads = BTreeMap<String, Arc<Loaded>>;

/// Where the loads of tables come from.
#[derive(Debug, Clone, Default)]
pub(super) struct Tables(Feeds);

impl Tables {
    pub(super) fn new(feeds: Feeds) -> Self {
        Self(feeds)
    }

    /// The newest load of each.
    pub(super) fn newest(&self) -> Loads {
        self.0.iter().filter_map(|(table, feed)| Some((table.clone(), feed.newest()?))).collect()
    }

    /// Whether there are newer ones.
    pub(super) fn have_changed(&self, since: &Loads) -> bool {
        let number = |table: &String| since.get(table).map_or(0, |load| load.data.version());
        self.0.iter().any(|(table, feed)| feed.version() != number(table))
    }
}

/// The rows that queries are printed with.
pub(super) fn rows(loads: &Loads) -> BTreeMap<String, ReferenceRows> {
    loads.iter().map(|(table, load)| (table.clone(), reference_rows(&load.data))).collect()
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Version {
    number: u64,
    hash: String,
}

/// By the query's lasting name, the versions of the tables that it joins.
type Record = BTreeMap<String, BTreeMap<String, Version>>;

/// What queries were started with last.
pub(super) struct LastLoads<'a> {
    store: &'a SnapshotStore,
    record: Record,
}

impl<'a> LastLoads<'a> {
    /// Reads what is kept.
    pub(super) fn read(store: &'a SnapshotStore) -> Result<Self> {
        let Some(saved) = store.load_log(OWNER)? else { return Ok(Self { store, record: Record::new() }) };
        let record = serde_json::from_slice(&saved.bytes);
        let record =
            record.map_err(|error| Error::Internal(format!("the record of tables on Apache Spark: {error}")))?;
        Ok(Self { store, record })
    }

    /// The rows that a query was started with last, if they are others than these.
    pub(super) fn others(
        &self,
        name: &str,
        query: &Query,
        loads: &Loads,
        tables: &Tables,
    ) -> Result<Option<BTreeMap<String, ReferenceRows>>> {
        let Some(last) = self.record.get(name).filter(|last| **last != versions(query, loads)) else { return Ok(None) };
        let mut found = BTreeMap::new();
        for (table, Version { number, hash }) in last {
            let Some(feed) = tables.0.get(table) else { return Ok(None) };
            let bytes = self.store.content(OWNER, hash)?;
            // Of a table whose columns were changed meanwhile there is no earlier version any more.
            let Ok(read) = read_rows(&bytes, &feed.schema) else { return Ok(None) };
            let Ok(data) = feed.index(table, *number, read) else { return Ok(None) };
            found.insert(table.clone(), reference_rows(&data));
        }
        Ok(Some(found))
    }

    /// Keeps what a query is started with: before it is.
    pub(super) fn keep(&mut self, name: &str, query: &Query, loads: &Loads) -> Result<()> {
        let now = versions(query, loads);
        if now.is_empty() || self.record.get(name) == Some(&now) {
            return Ok(());
        }
        for load in query.references().filter_map(|table| loads.get(table)) {
            self.store.keep_content(OWNER, &write_rows(load.data.batch())?)?;
        }
        self.record.insert(name.to_owned(), now);
        self.save()
    }

    /// Forgets queries other than these.
    pub(super) fn retain(&mut self, names: &[String]) -> Result<()> {
        let before = self.record.len();
        self.record.retain(|name, _| names.contains(name));
        if self.record.len() == before { Ok(()) } else { self.save() }
    }

    fn save(&self) -> Result<()> {
        let record = serde_json::to_vec(&self.record).map_err(|error| Error::Internal(error.to_string()))?;
        let epoch = self.store.claim_epoch(OWNER)?;
        self.store.save_log(OWNER, epoch, 1, &record)?;
        for hash in self.store.contents(OWNER)? {
            if !self.record.values().flat_map(BTreeMap::values).any(|version| version.hash == hash) {
                self.store.forget_content(OWNER, &hash)?;
            }
        }
        Ok(())
    }
}

/// The versions of the tables that a query joins.
fn versions(query: &Query, loads: &Loads) -> BTreeMap<String, Version> {
    let version = |load: &Arc<Loaded>| Version { number: load.data.version(), hash: load.hash.clone() };
    query.references().filter_map(|table| Some((table.to_owned(), version(loads.get(table)?)))).collect()
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, RecordBatch, StringArray};
    use arrow_schema::{DataType, Field, Schema};
    use project::{Reference, ReferenceSource};

    use super::*;
    use crate::run::references::Feed;

    fn columns(names: [&str; 2]) -> Arc<Schema> {
        Arc::new(Schema::new(names.map(|name| Field::new(name, DataType::Utf8, false)).to_vec()))
    }

    fn feed(schema: &Arc<Schema>) -> Arc<Feed> {
        Arc::new(Feed::new(&Reference {
            name: "m".into(),
            source: ReferenceSource::File("m.csv".into()),
            key: vec!["id".into()],
            schema: schema.clone(),
            validity: None,
            delimiter: b',',
            refresh: project::settings::Duration(std::time::Duration::ZERO),
            memory_bytes: 0,
        }))
    }

    /// The table has other rows.
    fn offer(feed: &Feed, version: u64) {
        let columns: [ArrayRef; 2] =
            [Arc::new(StringArray::from(vec!["a"])), Arc::new(StringArray::from(vec![format!("name {version}")]))];
        let rows = RecordBatch::try_new(feed.schema.clone(), columns.to_vec()).unwrap();
        let hash = state::content_hash(&write_rows(&rows).unwrap());
        feed.offer(Loaded { hash, data: Arc::new(feed.index("m", version, rows).unwrap()) });
    }

    fn query(schema: &Arc<Schema>) -> Query {
        let time = DataType::Timestamp(arrow_schema::TimeUnit::Microsecond, Some("UTC".into()));
        let stream = Arc::new(Schema::new(vec![Field::new("k", DataType::Utf8, false), Field::new("at", time, false)]));
        let mut catalog = sql::Catalog::default();
        let stream = sql::StreamTable { schema: stream, event_time: "at".into(), key: "k".into() };
        catalog.streams.insert("s".into(), stream);
        let table = sql::ReferenceTable { schema: schema.clone(), key: vec!["id".into()], has_validity: false };
        catalog.references.insert("m".into(), table);
        sql::compile("q", "SELECT k, name FROM s JOIN m ON k = id", &catalog).unwrap()
    }

    #[test]
    fn the_rows_that_a_query_ran_with_are_there_until_it_runs_with_others() {
        let directory = tempfile::tempdir().unwrap();
        let store = SnapshotStore::open(&directory.path().to_string_lossy()).unwrap();
        let schema = columns(["id", "name"]);
        let (feed, query) = (feed(&schema), query(&schema));
        let tables = Tables::new([("m".to_owned(), feed.clone())].into());
        offer(&feed, 1);
        let first = tables.newest();
        let others = |name: &str, loads: &Loads, tables: &Tables| {
            LastLoads::read(&store).unwrap().others(name, &query, loads, tables).unwrap()
        };
        assert_eq!(others("q.g1", &first, &tables), None, "it never ran");
        LastLoads::read(&store).unwrap().keep("q.g1", &query, &first).unwrap();
        assert!(!tables.have_changed(&first));
        assert_eq!(others("q.g1", &first, &tables), None, "it ran with these");

        offer(&feed, 2);
        assert!(tables.have_changed(&first));
        let second = tables.newest();
        assert_eq!(others("q.g1", &second, &tables), Some(rows(&first)));
        assert_eq!(others("q.g2", &second, &tables), None, "another query");
        LastLoads::read(&store).unwrap().keep("q.g1", &query, &second).unwrap();
        assert_eq!(others("q.g1", &second, &tables), None);
        assert_eq!(others("q.g1", &first, &tables), Some(rows(&second)), "back to what it was");
        assert_eq!(store.contents(OWNER).unwrap().len(), 1, "only what a query ran with last is kept");

        // Of a table with other columns there are no earlier rows.
        let renamed = Tables::new([("m".to_owned(), self::feed(&columns(["id", "title"])))].into());
        assert_eq!(others("q.g1", &first, &renamed), None);
        LastLoads::read(&store).unwrap().retain(&["q.g2".to_owned()]).unwrap();
        assert_eq!(others("q.g1", &first, &tables), None);
        assert_eq!(store.contents(OWNER).unwrap().len(), 0);
    }
}
