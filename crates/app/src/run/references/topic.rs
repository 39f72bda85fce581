//! A compacted topic, read to its end and then followed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use arrow_array::RecordBatch;
use ingest::compacted::{CompactedTable, RecordKey};
use kafka::{Admin, Reader, ReaderOptions, Start};
use model::TopicPartition;
use project::{Reference, settings};

use super::source::of_table;
use crate::error::{Error, Result};
use crate::run::context::Context;

const POLL: Duration = Duration::from_millis(100);
/// Polls without a record after a partition's end was told, after which what lacks counts as no records: compaction leaves empty batches.
/// The end may have been told before records came that are on their way.
const EMPTY_POLLS: u32 = 10;

/// A reference table in a topic.
#[derive(Debug)]
pub(crate) struct TopicTable {
    reference: Reference,
    topic: String,
    record_key: RecordKey,
    context: Context,
    following: Option<Following>,
}

#[derive(Debug)]
struct Following {
    reader: Reader,
    rows: CompactedTable,
    /// Next offset of each partition.
    positions: Vec<i64>,
    /// Ends below which nothing comes past the position.
    empty_to: BTreeMap<i32, i64>,
    /// Whether there is something that the last batch of rows doesn't have.
    has_changed: bool,
}

impl Following {
    /// The partitions that aren't read to these ends, with the ends.
    fn lacks<'a>(&'a self, ends: &'a [i64]) -> impl Iterator<Item = (i32, i64)> + 'a {
        let all = (0..).zip(self.positions.iter().zip(ends));
        all.filter(|(number, (position, end))| position < end && self.empty_to.get(number) != Some(end))
            .map(|(number, (_, &end))| (number, end))
    }
}

impl TopicTable {
    pub(crate) fn new(
        reference: &Reference,
        topic: &str,
        record_key: Option<settings::RecordKey>,
        context: &Context,
    ) -> Self {
        let record_key = match record_key {
            None => RecordKey::InValue,
            Some(settings::RecordKey::Text) => RecordKey::Text,
            Some(settings::RecordKey::Avro) => RecordKey::Avro,
        };
        Self {
            reference: reference.clone(),
            topic: topic.to_owned(),
            record_key,
            context: context.clone(),
            following: None,
        }
    }

    /// Reads to the present end of the topic. All rows, if records have come since they were given last.
    ///
    /// # Errors
    /// `Project` for what can't be a table, `Unavailable` and Kafka's while peers are away. After one of the reader the topic is read anew.
    pub(crate) fn read_changed(&mut self, bytes_max: usize) -> Result<Option<RecordBatch>> {
        let mut following = match self.following.take() {
            Some(following) => following,
            None => self.open(bytes_max)?,
        };
        let name = self.reference.name.as_str();
        self.read_to_end(&mut following)?;
        let rows = if following.has_changed {
            let rows = following.rows.rows(&*self.context.schemas).map_err(|error| of_table(name, &error));
            following.has_changed = rows.is_err();
            Some(rows)
        } else {
            None
        };
        self.following = Some(following);
        rows.transpose()
    }

    /// Lets the next call give all rows in any case.
    pub(crate) fn forget(&mut self) {
        if let Some(following) = &mut self.following {
            following.has_changed = true;
        }
    }

    fn open(&self, bytes_max: usize) -> Result<Following> {
        let Reference { name, schema, key, .. } = &self.reference;
        let connection = &self.context.connection;
        let found = Admin::new(connection)?.topic(&self.topic)?;
        let missing = || Error::Project(format!("reference table {name}: there is no topic {}", self.topic));
        let partitions = found.ok_or_else(missing)?.partitions;
        let rows = CompactedTable::new(name, &self.topic, schema.clone(), key, self.record_key, bytes_max);
        let rows = rows.map_err(|error| of_table(name, &error))?;
        let options = ReaderOptions { notes_ends: true, ..ReaderOptions::default() };
        let mut reader = Reader::new(connection, &options)?;
        let topic: std::sync::Arc<str> = self.topic.as_str().into();
        let assignment: Vec<_> =
            (0..partitions).map(|number| (TopicPartition::new(topic.clone(), number), Start::Beginning)).collect();
        reader.assign(&assignment)?;
        // An empty topic is an empty table.
        let positions = vec![0; assignment.len()];
        Ok(Following { reader, rows, positions, empty_to: BTreeMap::new(), has_changed: true })
    }

    fn read_to_end(&self, following: &mut Following) -> Result<()> {
        let name = self.reference.name.as_str();
        let mut ends = Vec::with_capacity(following.positions.len());
        for number in 0..i32::try_from(following.positions.len()).unwrap_or(0) {
            let (start, end) = following.reader.range(&TopicPartition::new(self.topic.as_str(), number))?;
            ends.push(if start == end { 0 } else { end });
        }
        let (mut ended, mut empty_polls) = (BTreeSet::new(), 0);
        while following.lacks(&ends).next().is_some() {
            let blocks = following.reader.poll(model::limits::BATCH_RECORDS_MAX, POLL)?;
            if let Some(outage) = following.reader.outage() {
                return Err(Error::Unavailable(format!("reference table {name}: waiting for kafka: {outage}")));
            }
            if self.context.stop.is_set() {
                // Half of the topic is no table.
                return Err(Error::Unavailable(format!(
                    "reference table {name}: stopped while reading {}",
                    self.topic
                )));
            }
            empty_polls = if blocks.is_empty() { empty_polls + 1 } else { 0 };
            for block in blocks {
                following.has_changed |= following.rows.apply(&block).map_err(|error| of_table(name, &error))?;
            }
            for (partition, next) in following.reader.positions()? {
                let index = usize::try_from(partition.partition).unwrap_or(usize::MAX);
                if let Some(position) = following.positions.get_mut(index) {
                    *position = next;
                }
            }
            ended.extend(following.reader.take_ended());
            if empty_polls >= EMPTY_POLLS {
                let empty: Vec<_> = following.lacks(&ends).filter(|(number, _)| ended.contains(number)).collect();
                following.empty_to.extend(empty);
            }
        }
        Ok(())
    }
}
