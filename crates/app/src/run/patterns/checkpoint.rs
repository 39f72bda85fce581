//! Positions and operator states of a partition out to a snapshot and in again.

use std::collections::BTreeMap;

use model::TopicId;
use state::{CodecError, PartStore, SnapshotReader, SnapshotWriter};

use super::NAME;
use super::partition::{PartitionRun, PatternRun};
use super::plan::PatternPlan;
use crate::error::Result;
use crate::run::parts::{PARTS, write_names};
use crate::run::process::checkpoint::{TOPICS, check_topics, write_topics};
use crate::run::process::queries::Taken;

const POSITIONS_VERSION: u32 = 1;

/// Name of a pattern's section with its position.
fn section(pattern: &PatternRun) -> String {
    format!("position of {}", pattern.operator.query().name)
}

/// What makes a snapshot of a pattern usable: its generation, which changes with its text, its stream's schema and its partitions.
fn fingerprint(plan: &PatternPlan, pattern: &PatternRun) -> String {
    format!("generation {}", plan.results.get(pattern.result).map_or(0, |result| result.generation))
}

/// The bytes of a partition's snapshot. What its patterns have on the disk goes to `parts`.
pub(super) fn write(
    plan: &PatternPlan,
    topic_ids: &BTreeMap<String, TopicId>,
    parts: &dyn PartStore,
    partition: &mut PartitionRun,
) -> Result<Vec<u8>> {
    let mut writer = SnapshotWriter::new(NAME, &plan.pipeline);
    write_topics(&mut writer, topic_ids)?;
    for pattern in &mut partition.patterns {
        let (name, print) = (section(pattern), fingerprint(plan, pattern));
        writer.section(&name, POSITIONS_VERSION, &print, |inner| -> std::result::Result<(), CodecError> {
            inner.i64(pattern.taken.next_offset);
            inner.i64(pattern.taken.last_raw_offset);
            Ok(())
        })?;
        pattern.operator.snapshot_in_parts(&mut writer, parts)?;
    }
    write_names(&mut writer, &partition.part_names())?;
    Ok(writer.finish())
}

/// Restores a snapshot's bytes into the patterns of a partition that have no state yet; one that isn't in it starts from the beginning.
///
/// # Errors
/// `Position` when a topic isn't the one that the snapshot's positions mean; a snapshot that can't be read.
pub(super) fn restore(
    plan: &PatternPlan,
    topic_ids: &BTreeMap<String, TopicId>,
    (bytes, parts): (&[u8], &dyn PartStore),
    partition: &mut PartitionRun,
) -> Result<()> {
    let mut reader = SnapshotReader::open(bytes, NAME, &plan.pipeline)?;
    while let Some(name) = reader.next_section()? {
        if name == TOPICS {
            check_topics(&mut reader, NAME, topic_ids)?;
            continue;
        }
        if name == PARTS {
            reader.skip_section()?;
            continue;
        }
        let fresh = partition.patterns.iter_mut().filter(|pattern| !pattern.is_restored);
        let restored = match fresh.into_iter().find(|pattern| section(pattern) == name) {
            Some(pattern) => restore_pattern(plan, &mut reader, pattern, parts)?,
            None => false,
        };
        if !restored {
            tracing::info!(section = name, "the snapshot's state of this pattern is no longer used");
            reader.skip_section()?;
            reader.skip_section()?;
        }
    }
    Ok(())
}

/// Restores one pattern; false if the snapshot is of another generation, and then nothing was taken.
fn restore_pattern(
    plan: &PatternPlan,
    reader: &mut SnapshotReader<'_>,
    pattern: &mut PatternRun,
    parts: &dyn PartStore,
) -> Result<bool> {
    let (name, print) = (section(pattern), fingerprint(plan, pattern));
    let found = reader.clone().section(&name, POSITIONS_VERSION, &print, |inner, _| {
        Ok::<_, CodecError>(Taken { next_offset: inner.i64()?, last_raw_offset: inner.i64()? })
    });
    let taken = match found {
        Err(CodecError::Foreign { .. }) => return Ok(false),
        found => found?,
    };
    reader.skip_section()?;
    pattern.operator.restore_from_parts(reader, parts)?;
    pattern.taken = taken;
    pattern.is_restored = true;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
    use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
    use model::Epoch;
    use process::Spill;
    use state::{Snapshot, SnapshotStore};

    use super::*;
    use crate::run::generations::{Role, Run};
    use crate::run::parts::{self, Kept, parts_of};
    use crate::run::patterns::PartitionId;
    use crate::run::process::ProcessStream;
    use crate::run::process::input::Rows;
    use crate::run::results::ResultTopic;
    use crate::run::topics::StreamTopics;

    const ACCOUNTS: i64 = 2_000;

    fn schema() -> SchemaRef {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        Arc::new(Schema::new(vec![
            Field::new("at", time, false),
            Field::new("account", DataType::Utf8, false),
            Field::new("q", DataType::Int64, false),
        ]))
    }

    fn plan() -> PatternPlan {
        let text = "SELECT * FROM s MATCH_RECOGNIZE (PARTITION BY account ORDER BY at MEASURES count(*) AS n \
             PATTERN (A B) WITHIN INTERVAL '1 hour' DEFINE B AS q > 1)";
        let stream = sql::StreamTable { schema: schema(), event_time: "at".into(), key: "account".into() };
        let catalog = sql::Catalog { streams: [("s".into(), stream)].into(), references: [].into() };
        let query = Arc::new(sql::compile_pattern("p", text, &catalog).unwrap());
        let result = ResultTopic::of("", Run { query, number: 1, role: Role::Shown, added: Vec::new() }, 1).unwrap();
        let schema = avro::schema_for("s", "t", None, &schema()).unwrap();
        PatternPlan {
            pipeline: "test".into(),
            streams: vec![ProcessStream { name: "s".into(), topics: StreamTopics::of("", "s", 1), schema }],
            limits: result.clone(),
            results: vec![result],
            state_bytes_max: 100_000,
            spill: Some(Spill { directory: std::env::temp_dir().into(), bytes_max: 100_000 }),
            parts_from_keys: usize::MAX,
        }
    }

    /// A partition that saves its snapshots in a directory.
    struct World {
        plan: PatternPlan,
        store: SnapshotStore,
        owner: String,
        directory: PathBuf,
        epoch: Epoch,
        kept: Kept,
        sequence: u64,
    }

    impl World {
        fn new(directory: &Path) -> Self {
            let (plan, store) = (plan(), SnapshotStore::open(&directory.to_string_lossy()).unwrap());
            let owner = plan.owner(NAME, PartitionId { stream: 0, number: 0 });
            let (epoch, kept, directory) = (store.claim_epoch(&owner).unwrap(), Kept::default(), directory.to_owned());
            Self { plan, store, owner, directory, epoch, kept, sequence: 0 }
        }

        fn partition(&self) -> PartitionRun {
            PartitionRun::new(&self.plan, PartitionId { stream: 0, number: 0 }).unwrap()
        }

        /// Saves a snapshot; gives the names of its parts.
        fn save(&mut self, partition: &mut PartitionRun) -> BTreeSet<String> {
            let parts = parts_of(&self.store, &self.owner);
            let bytes = write(&self.plan, &BTreeMap::new(), &parts, partition).unwrap();
            self.sequence += 1;
            let names = partition.part_names();
            let at = (self.owner.as_str(), self.epoch, self.sequence);
            self.kept.save(&self.store, at, &bytes, names.clone()).unwrap();
            names
        }

        fn newest(&self) -> Option<Snapshot> {
            parts::newest(&self.store, &self.owner, (NAME, &self.plan.pipeline)).unwrap()
        }

        fn part(&self, name: &str) -> PathBuf {
            self.directory.join(format!("{}.parts/contents/{name}", self.owner))
        }
    }

    /// A row of each of these accounts.
    fn push(partition: &mut PartitionRun, accounts: std::ops::Range<i64>) {
        let from = partition.first_taken().unwrap().next_offset;
        let offsets: Vec<i64> = (from..).take(accounts.clone().count()).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from(offsets.clone()).with_timezone("UTC")),
            Arc::new(accounts.clone().map(|account| Some(format!("account {account}"))).collect::<StringArray>()),
            Arc::new(accounts.map(|account| Some(account % 2)).collect::<Int64Array>()),
        ];
        let next_offset = from + offsets.len() as i64;
        let rows = Rows {
            partition: 0,
            batch: RecordBatch::try_new(schema(), columns).unwrap(),
            raw_offsets: offsets.clone(),
            offsets,
            next_offset,
            last_raw_offset: next_offset - 1,
        };
        partition.push(rows).unwrap();
        assert_eq!(partition.full(), None);
    }

    #[test]
    fn parts_stay_while_they_are_named_and_without_one_the_snapshot_before_is_used() {
        for is_removed in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let mut world = World::new(directory.path());
            let mut partition = world.partition();
            let mut saved = Vec::new();
            for round in 0..6 {
                for begin in (0..ACCOUNTS).step_by(500) {
                    push(&mut partition, round * ACCOUNTS + begin..round * ACCOUNTS + begin + 500);
                }
                saved.push(world.save(&mut partition));
            }
            let [.., before, last] = &saved[..] else { panic!("{saved:?}") };
            let kept = world.store.contents(&parts_of(&world.store, &world.owner).owner).unwrap();
            assert_eq!(kept.into_iter().collect::<BTreeSet<_>>(), before | last);
            assert!(saved.iter().any(|names| !names.is_subset(&(before | last))), "no part was removed: {saved:?}");
            let newest = world.newest().unwrap();
            assert_eq!((newest.sequence, newest.skipped.len()), (6, 0));

            let part = world.part(last.difference(before).next().expect("a part that the last one alone has"));
            let mut bytes = std::fs::read(&part).unwrap();
            if is_removed {
                std::fs::remove_file(&part).unwrap();
            } else {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                std::fs::write(&part, bytes).unwrap();
            }
            let newest = world.newest().unwrap();
            assert_eq!((newest.sequence, newest.skipped.len()), (5, 1));
            let mut restored = world.partition();
            let parts = parts_of(&world.store, &world.owner);
            restore(&world.plan, &BTreeMap::new(), (&newest.bytes, &parts), &mut restored).unwrap();
            assert_eq!(restored.first_taken().unwrap().next_offset, 5 * ACCOUNTS);
            // What came after it comes again.
            for begin in (0..ACCOUNTS).step_by(500) {
                push(&mut restored, 5 * ACCOUNTS + begin..5 * ACCOUNTS + begin + 500);
            }
            let held = |partition: &PartitionRun| partition.patterns[0].operator.metrics().groups_open;
            assert_eq!((held(&partition), held(&restored)), (6 * ACCOUNTS as u64, 6 * ACCOUNTS as u64));
            assert!(restored.patterns[0].operator.metrics().groups_spilled > 5 * ACCOUNTS as u64);
        }
    }
}
