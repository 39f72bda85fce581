//! The patterns stage over the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use state::MemoryParts;

use crate::error::{Error, Result};
use crate::harness::pipeline::News;
use crate::harness::validation::World;
use crate::run::patterns::{PartitionId, PatternEngine, PatternPlan};
use crate::run::topics::StreamTopics;

/// The patterns of a project, with all partitions in one process.
#[derive(Debug)]
pub(super) struct TestPatterns {
    plan: Arc<PatternPlan>,
    engine: PatternEngine,
    /// Next offset of each progress topic.
    progress_read: BTreeMap<String, i64>,
    snapshots: BTreeMap<PartitionId, Vec<u8>>,
    parts: MemoryParts,
}

impl TestPatterns {
    pub(super) fn new(plan: PatternPlan, world: &World) -> Result<Self> {
        let (plan, snapshots, parts) = (Arc::new(plan), BTreeMap::new(), MemoryParts::default());
        let engine = open(&plan, world, &snapshots, &parts)?;
        Ok(Self { plan, engine, progress_read: BTreeMap::new(), snapshots, parts })
    }

    /// Takes what validation has published, and the watermarks.
    pub(super) fn take<'s>(&mut self, news: &News<'_>, streams: impl Iterator<Item = &'s StreamTopics>) -> Result<()> {
        let positions = self.engine.positions();
        news.hand_over(positions, streams, &mut self.progress_read, |block| self.engine.take(block))?;
        if let Some(full) = self.engine.full() {
            return Err(Error::Data(full.to_owned()));
        }
        self.engine.apply_watermarks()
    }

    pub(super) fn emit(&mut self, world: &World) -> Result<()> {
        self.engine.emit(&*world.log).map(drop)
    }

    pub(super) fn save(&mut self) -> Result<()> {
        for id in self.engine.unsaved() {
            let (snapshot, _) = self.engine.snapshot(id, &self.parts)?;
            self.snapshots.insert(id, snapshot);
            self.engine.saved(id);
        }
        Ok(())
    }

    /// Dies, and starts from what was saved last.
    pub(super) fn reopen(&mut self, world: &World) -> Result<()> {
        self.progress_read.clear();
        self.engine = open(&self.plan, world, &self.snapshots, &self.parts)?;
        Ok(())
    }
}

fn open(
    plan: &Arc<PatternPlan>,
    world: &World,
    snapshots: &BTreeMap<PartitionId, Vec<u8>>,
    parts: &MemoryParts,
) -> Result<PatternEngine> {
    let snapshot = |id| Ok(snapshots.get(&id).map(|bytes| (bytes.clone(), parts)).into_iter().collect());
    let mut engine =
        PatternEngine::open(plan.clone(), world.schemas.clone(), BTreeMap::new(), &plan.partitions(), snapshot)?;
    engine.begin()?;
    Ok(engine)
}
