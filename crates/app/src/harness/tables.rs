//! Results, merged by version as the store merges them.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use model::{TopicPartition, Version};
use project::testfile::Cell;

use crate::error::Result;
use crate::harness::rows::{self, Row};
use crate::harness::validation::World;
use crate::run::results::ResultTopic;
use crate::run::store::results::ResultReader;

/// The result of one query: its rows now, and what was published since somebody looked.
#[derive(Debug)]
pub(crate) struct ResultTable {
    pub(crate) name: String,
    identity: Vec<String>,
    topic: TopicPartition,
    reader: ResultReader,
    read_to: i64,
    /// By identity: the version, and the row unless it is deleted.
    rows: BTreeMap<String, (Version, Option<Row>)>,
    emitted: Vec<Row>,
}

impl ResultTable {
    pub(crate) fn new(result: &ResultTopic) -> Result<Self> {
        Ok(Self {
            name: result.query.name.clone(),
            identity: result.query.identity.clone(),
            topic: TopicPartition::new(result.topic.as_str(), 0),
            reader: ResultReader::new(result)?,
            read_to: 0,
            rows: BTreeMap::new(),
            emitted: Vec::new(),
        })
    }

    /// Merges what was published: a version that isn't greater than the one that is there changes nothing.
    ///
    /// # Errors
    /// A record that can't be read back.
    pub(crate) fn merge(&mut self, world: &World) -> Result<()> {
        let end = world.log.end(&self.topic);
        let block = world.log.read(&self.topic, self.read_to, end);
        self.read_to = end;
        if block.is_empty() {
            return Ok(());
        }
        let upserts = self.reader.read(&block, &*world.schemas)?;
        self.apply(&upserts.rows, &upserts.versions, false);
        self.apply(&upserts.deletes, &upserts.delete_versions, true);
        Ok(())
    }

    fn apply(&mut self, batch: &RecordBatch, versions: &[Version], is_delete: bool) {
        for (mut row, version) in rows::rows(batch).into_iter().zip(versions) {
            let key = self.key(&row);
            if self.rows.get(&key).is_some_and(|(present, _)| present >= version) {
                continue;
            }
            row.push(("final".to_owned(), Cell::Boolean(version.is_final)));
            row.push(("folded_rows".to_owned(), Cell::integer(version.rows)));
            row.push(("generation".to_owned(), Cell::integer(version.generation)));
            self.rows.insert(key, (*version, (!is_delete).then(|| row.clone())));
            row.push(("deleted".to_owned(), Cell::Boolean(is_delete)));
            self.emitted.push(row);
        }
    }

    fn key(&self, row: &Row) -> String {
        let part = |column: &String| format!("{:?}", rows::value(row, column));
        self.identity.iter().map(part).collect::<Vec<_>>().join("\u{1f}")
    }

    /// The rows that are there now, ordered by their identity.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let mut present: Vec<Row> = self.rows.values().filter_map(|(_, row)| row.clone()).collect();
        present.sort_by(|a, b| {
            let orders = self.identity.iter().map(|column| match (rows::value(a, column), rows::value(b, column)) {
                (Some(a), Some(b)) => a.order(b),
                _ => std::cmp::Ordering::Equal,
            });
            orders.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
        });
        present
    }

    /// What was published since the last call, in order and without repeats.
    pub(crate) fn take_emitted(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.emitted)
    }
}
