//! Files that were loaded to their end: remembered, so that the next start doesn't read them only to find every row there.
//!
//! What is remembered holds as long as the file is the same (its size, inode, and the times of its last modification and change, which the
//! system sets) and the raw topic still is the one that the rows went to: the same topic, with the last row of each partition at its
//! offset, unless retention has removed it. In any other case the load looks the rows up as if nothing were remembered.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;

use kafka::{Admin, Reader, ReaderOptions};
use model::TopicPartition;
use serde::{Deserialize, Serialize};

use super::Load;
use crate::error::{Error, Result};
use crate::run::context::Context;
use crate::run::read_range::read_range;

/// A file's last row in a raw partition, and where it lies; the offset is known once Kafka has acknowledged it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct LastRow {
    pub(super) row: u64,
    pub(super) offset: Option<i64>,
}

/// The state of a file and of the topic that it is loaded into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Done {
    raw_topic_id: String,
    bytes: u64,
    inode: u64,
    /// Seconds and nanoseconds since 1970.
    modified: (i64, i64),
    changed: (i64, i64),
    /// Rows of the file, all in the raw topic.
    #[serde(default)]
    rows: u64,
    /// The last row in each partition.
    #[serde(default)]
    last_rows: Vec<Option<LastRow>>,
}

impl Done {
    /// The present state, with nothing loaded; `None` when the file or the topic can't be looked at, which the load itself will report.
    pub(super) fn of(load: &Load, context: &Context) -> Result<Option<Self>> {
        let Some(topic) = Admin::new(&context.connection)?.topic(&load.topics.raw)? else { return Ok(None) };
        let Ok(metadata) = std::fs::metadata(&load.file) else { return Ok(None) };
        Ok(Some(Self {
            raw_topic_id: topic.id.0,
            bytes: metadata.len(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            rows: 0,
            last_rows: Vec::new(),
        }))
    }

    /// The file's rows, if an earlier load has remembered this very state and the rows are still where they were.
    pub(super) fn still_holds(&self, load: &Load, context: &Context) -> Option<u64> {
        let known: Self = serde_json::from_slice(&std::fs::read(&load.done).ok()?).ok()?;
        let state = Self { rows: 0, last_rows: Vec::new(), ..known.clone() };
        if state != *self {
            return None;
        }
        let reader = Reader::new(&context.connection, &ReaderOptions::default()).ok()?;
        for (number, last) in (0..).zip(&known.last_rows) {
            let Some(LastRow { row, offset }) = *last else { continue };
            let offset = offset?;
            let partition = TopicPartition::new(load.topics.raw.as_str(), number);
            let (start, end) = reader.range(&partition).ok()?;
            if offset >= end {
                return None;
            }
            let mut is_there = offset < start;
            if !is_there {
                read_range(&context.connection, &partition, (offset, offset + 1), &context.stop, |block| {
                    is_there |= load.row_of(block, 0) == Some(row);
                    Ok(())
                })
                .ok()?;
            }
            if !is_there {
                return None;
            }
        }
        Some(known.rows)
    }

    /// Remembers that all rows of the file are in the raw topic; `ends` says where the last ones sent lie. A file that was written to
    /// meanwhile isn't remembered.
    pub(super) fn remember(
        self,
        load: &Load,
        last_rows: &[Option<LastRow>],
        ends: &BTreeMap<TopicPartition, i64>,
        rows: u64,
    ) -> Result<()> {
        let has_changed = std::fs::metadata(&load.file).map_or(true, |now| {
            (now.len(), now.ctime(), now.ctime_nsec()) != (self.bytes, self.changed.0, self.changed.1)
        });
        if has_changed {
            return Ok(());
        }
        let mut done = Self { rows, last_rows: last_rows.to_vec(), ..self };
        for (number, last) in (0..).zip(&mut done.last_rows) {
            let Some(last) = last else { continue };
            let end = ends.get(&TopicPartition::new(load.topics.raw.as_str(), number));
            last.offset = end.map(|end| end - 1).or(last.offset);
        }
        let failed = |error| Error::system(format!("writing {}", load.done.display()), error);
        let text = serde_json::to_vec(&done).map_err(|error| Error::Internal(error.to_string()))?;
        if let Some(parent) = load.done.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        let beside = load.done.with_extension("new");
        std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, &load.done)).map_err(failed)
    }
}
