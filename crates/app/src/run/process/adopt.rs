//! Taking over what a stage of its own has filled: its state, and its log of reference versions.
//!
//! A crash between any two steps leaves either what was taken over or what it was taken from: the contents are kept here before the log
//! that names them, the log before the first row is joined, the state at the next two checkpoints, and only then the other stage's own is
//! removed. A log that was taken over is never taken again, since this stage has added to it.

use state::SnapshotStore;

use super::engine::Engine;
use super::references::References;
use super::{ProcessStage, filler};
use crate::error::Result;
use crate::run::parts::{self, parts_of};

/// Snapshots that must hold what was taken over: as many as are kept, since a damaged one is passed over for the one before it.
const SNAPSHOTS: u32 = 2;

/// Stages whose results are worked out here now.
#[derive(Debug, Default)]
pub(super) struct Adopted {
    owners: Vec<String>,
    /// Snapshots that hold what was taken over from all of them.
    saved: u32,
}

impl Adopted {
    /// Takes over what the queries that have no state here were filled with, if they were.
    pub(super) fn take(stage: &ProcessStage, engine: &mut Engine, references: &mut References) -> Result<Self> {
        let mut adopted = Self::default();
        let mut fresh = Vec::new();
        for query in &engine.queries {
            let owner = filler(&query.result);
            if owner != stage.name && stage.snapshots.holds(&owner)? {
                if !query.is_restored {
                    fresh.push((owner.clone(), query.key.clone()));
                }
                adopted.owners.push(owner);
            }
        }
        for (owner, query) in fresh {
            // Whoever still runs it can't save any more, and so can't join rows with versions that aren't read here.
            stage.snapshots.claim_epoch(&owner)?;
            references.adopt(&owner, &query)?;
            if let Some(snapshot) = stage.newest(&owner)? {
                engine.restore(&owner, &snapshot.bytes, &parts_of(&stage.snapshots, &owner))?;
                // Those parts go with the other stage's own.
                let query = engine.queries.iter_mut().find(|other| other.key == query);
                query.into_iter().for_each(|query| query.operator.forget_parts());
            }
        }
        Ok(adopted)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }

    /// Notes that a snapshot of this stage was saved, and removes what isn't needed any more.
    pub(super) fn saved(&mut self, snapshots: &SnapshotStore) -> Result<()> {
        self.saved += 1;
        if self.saved >= SNAPSHOTS {
            for owner in self.owners.drain(..) {
                parts::forget(snapshots, &owner)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::Arc;

    use arrow_array::{RecordBatch, StringArray};
    use arrow_schema::{DataType, Field, Schema, TimeUnit};
    use project::{Reference, ReferenceSource};

    use super::*;
    use crate::harness::MemorySchemas;
    use crate::run::generations::{Role, Run};
    use crate::run::process::queries::{QueryRun, Taken};
    use crate::run::process::{ProcessPlan, ProcessStream};
    use crate::run::references::{Feed, Loaded};
    use crate::run::results::ResultTopic;
    use crate::run::topics::StreamTopics;

    const FILLER: &str = "fill_q__g2";
    const KEY: &str = "q g2";

    /// Where the process stands with a takeover when it is killed.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    enum Killed {
        BeforeTheLog,
        BeforeTheFirstSnapshot,
        BeforeTheSecondSnapshot,
        Never,
    }

    struct World {
        snapshots: Arc<SnapshotStore>,
        feed: Arc<Feed>,
        query: Arc<sql::Query>,
        schema: avro::Schema,
    }

    impl World {
        fn new(directory: &Path) -> Self {
            let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
            let columns =
                Arc::new(Schema::new(vec![Field::new("k", DataType::Utf8, false), Field::new("at", time, false)]));
            let table = Arc::new(Schema::new(vec![
                Field::new("id", DataType::Utf8, false),
                Field::new("name", DataType::Utf8, true),
            ]));
            let mut catalog = sql::Catalog::default();
            let stream = sql::StreamTable { schema: columns.clone(), event_time: "at".into(), key: "k".into() };
            catalog.streams.insert("s".into(), stream);
            let joined = sql::ReferenceTable { schema: table.clone(), key: vec!["id".into()], has_validity: false };
            catalog.references.insert("m".into(), joined);
            let query = sql::compile("q", "SELECT k, name FROM s JOIN m ON k = id", &catalog).unwrap();
            let reference = Reference {
                name: "m".into(),
                source: ReferenceSource::File("m.csv".into()),
                key: vec!["id".into()],
                schema: table,
                validity: None,
                delimiter: b',',
                refresh: project::settings::Duration(std::time::Duration::ZERO),
                memory_bytes: 0,
            };
            Self {
                snapshots: Arc::new(SnapshotStore::open(&directory.to_string_lossy()).unwrap()),
                feed: Arc::new(Feed::new(&reference)),
                query: Arc::new(query),
                schema: avro::schema_for("s", "t", None, &columns).unwrap(),
            }
        }

        /// The table has another content.
        fn offer(&self, version: u64) {
            let names: Vec<String> = vec![format!("name {version}")];
            let columns: Vec<arrow_array::ArrayRef> =
                vec![Arc::new(StringArray::from(vec!["a"])), Arc::new(StringArray::from(names))];
            let rows = RecordBatch::try_new(self.feed.schema.clone(), columns).unwrap();
            let hash = state::content_hash(&process::write_rows(&rows).unwrap());
            let data = Arc::new(self.feed.index("m", version, rows).unwrap());
            self.feed.offer(Loaded { hash, data });
        }

        fn open(&self, owner: &str) -> References {
            let epoch = self.snapshots.claim_epoch(owner).unwrap();
            let feeds = [("m".to_owned(), self.feed.clone())].into();
            References::open(&self.snapshots, owner, &feeds, epoch).unwrap()
        }

        /// The query where its newest snapshot has it.
        fn query_at(&self, references: &References, offset: i64) -> Vec<QueryRun> {
            let run = Run { query: self.query.clone(), number: 2, role: Role::Filling, added: Vec::new() };
            let result = ResultTopic::of("", run, 1).unwrap();
            let topics = StreamTopics::of("", "s", 1);
            let plan = ProcessPlan {
                pipeline: "p".into(),
                streams: vec![ProcessStream { name: "s".into(), topics, schema: self.schema.clone() }],
                results: vec![result.clone()],
                references: references.newest(),
                state_bytes_max: 1_000_000,
                spill: None,
                parts_from_groups: usize::MAX,
            };
            let mut query = QueryRun::new(&plan, &MemorySchemas::default(), &result).unwrap();
            query.inputs[0].taken = vec![Taken { next_offset: offset, last_raw_offset: offset - 1 }];
            vec![query]
        }

        /// A start of the process stage, after the stage that filled had taken offset 7 into its last snapshot.
        fn start(&self, killed: Killed) -> Vec<QueryRun> {
            let mut references = self.open("process");
            self.snapshots.claim_epoch(FILLER).unwrap();
            references.adopt(FILLER, KEY).unwrap();
            let mut queries = self.query_at(&references, 8);
            if killed > Killed::BeforeTheLog {
                references.begin(&mut queries, &ends(20)).unwrap();
            }
            let is_held = self.snapshots.holds(FILLER).unwrap();
            let owners = if is_held { vec![FILLER.to_owned()] } else { Vec::new() };
            let mut adopted = Adopted { owners, saved: 0 };
            for after in [Killed::BeforeTheFirstSnapshot, Killed::BeforeTheSecondSnapshot] {
                assert_eq!(self.snapshots.holds(FILLER).unwrap(), is_held, "until two snapshots have the state");
                if killed > after {
                    references.saved(&queries);
                    adopted.saved(&self.snapshots).unwrap();
                    references.take_changes(&mut queries).unwrap();
                }
            }
            queries
        }
    }

    fn ends(offset: i64) -> BTreeMap<String, Vec<i64>> {
        [("s".to_owned(), vec![offset])].into()
    }

    #[test]
    fn killed_between_any_two_steps_each_row_keeps_its_version() {
        for killed in
            [Killed::BeforeTheLog, Killed::BeforeTheFirstSnapshot, Killed::BeforeTheSecondSnapshot, Killed::Never]
        {
            let directory = tempfile::tempdir().unwrap();
            let world = World::new(directory.path());
            world.offer(1);
            let mut filling = world.open(FILLER);
            let mut queries = world.query_at(&filling, 0);
            filling.begin(&mut queries, &ends(0)).unwrap();
            queries[0].inputs[0].taken = vec![Taken { next_offset: 10, last_raw_offset: 9 }];
            world.offer(2);
            filling.take_changes(&mut queries).unwrap();
            world.snapshots.save(FILLER, world.snapshots.current_epoch(FILLER).unwrap(), 1, b"state").unwrap();
            // The filling stage is killed, having taken rows up to 20 at most.
            world.offer(3);
            world.start(killed);
            let queries = world.start(Killed::Never);
            let versions = queries[0].versions.clone().unwrap();
            let of = |offset| versions.of_row(KEY, "m", 0, offset).unwrap().version();
            assert_eq!([of(8), of(9), of(10), of(19), of(20)], [1, 1, 2, 2, 3]);
            assert!(!world.snapshots.holds(FILLER).unwrap());
            // Whoever still fills is fenced before it joins a row with a version that isn't known here.
            world.offer(4);
            let mut queries = world.query_at(&filling, 19);
            assert!(filling.take_changes(&mut queries).is_err());
        }
    }
}
