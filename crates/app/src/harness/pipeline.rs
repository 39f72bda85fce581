//! The stages of a project over a log in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::provenance::Provenance;
use model::{Clock as _, ManualClock, RecordBlock, TopicPartition};
use process::Spill;
use project::Project;
use project::testfile::Cell;
use state::MemoryParts;

use crate::error::{Error, Result};
use crate::harness::Options;
use crate::harness::log::MemoryLog;
use crate::harness::patterns::TestPatterns;
use crate::harness::prepare::{self, Prepared};
use crate::harness::rows::{self, Row};
use crate::harness::tables::ResultTable;
use crate::harness::validation::{StreamValidation, World, share};
use crate::run::layout::{PipelineStream, lay_out_in_memory};
use crate::run::patterns::PatternPlan;
use crate::run::process::{Engine, ProcessPlan};
use crate::run::references;
use crate::run::results::ResultTopic;
use crate::run::stages::process_plan;
use crate::run::store::rejected;
use crate::run::topics::StreamTopics;

/// A project's stages, driven step by step.
#[derive(Debug)]
pub(crate) struct TestPipeline<'p> {
    project: &'p Project,
    options: Options,
    world: World,
    streams: Vec<PipelineStream>,
    validations: Vec<StreamValidation>,
    plan: Arc<ProcessPlan>,
    engine: Engine,
    /// Next offset of each progress topic that the engine reads.
    progress_read: BTreeMap<String, i64>,
    snapshot: Option<Vec<u8>>,
    parts: MemoryParts,
    patterns: Option<TestPatterns>,
    saved_at: Duration,
    tables: Vec<ResultTable>,
}

impl<'p> TestPipeline<'p> {
    /// A pipeline whose clock stands at `now_us`.
    ///
    /// # Errors
    /// A reference table that can't be loaded, or a plan that can't run.
    pub(crate) fn new(project: &'p Project, now_us: i64, options: Options) -> Result<Self> {
        let world = World { log: Arc::default(), schemas: Arc::default(), clock: Arc::new(ManualClock::at(now_us)) };
        world.log.set_now_ms(now_us / 1_000);
        let (streams, results) = lay_out_in_memory(project, &*world.schemas)?;
        let plan = process_plan(project, &streams, &results, references::of_files(project)?);
        // A test leaves nothing behind in the project.
        let directory = std::env::temp_dir().into();
        let bytes_max = if options.spill { 1 } else { plan.state_bytes_max };
        // Snapshots are tried with parts and without.
        let in_parts = options.spill || options.parallelism > 1;
        let parts_from_groups = if in_parts { 1 } else { plan.parts_from_groups };
        let spill = Some(Spill { directory, bytes_max });
        let plan = Arc::new(ProcessPlan { spill: spill.clone(), parts_from_groups, ..plan });
        let mut validations = Vec::new();
        for (stream, settings) in streams.iter().zip(&project.streams) {
            validations.push(StreamValidation::new(&world, project, stream, settings)?);
        }
        let tables = results.iter().map(ResultTable::new).collect::<Result<_>>()?;
        let parts = MemoryParts::default();
        let engine = Engine::open(plan.clone(), world.schemas.clone(), None, &parts)?;
        let patterns = PatternPlan::of(project, &streams, &results);
        let of_project = |plan| PatternPlan { spill, parts_from_keys: parts_from_groups, ..plan };
        let patterns = patterns.map(|plan| TestPatterns::new(of_project(plan), &world)).transpose()?;
        let progress_read = BTreeMap::new();
        let (snapshot, saved_at) = (None, Duration::ZERO);
        Ok(Self {
            project,
            options,
            world,
            streams,
            validations,
            plan,
            engine,
            progress_read,
            snapshot,
            parts,
            patterns,
            saved_at,
            tables,
        })
    }

    /// Makes a record ready to be sent.
    ///
    /// # Errors
    /// As [`prepare::prepare`].
    pub(crate) fn prepare(&self, record: &project::testfile::SentRecord) -> Result<Prepared> {
        prepare::prepare(record, self.project, &self.streams, &self.world.schemas)
    }

    /// Appends records to the raw topics, and works off what is there.
    ///
    /// # Errors
    /// Those of the stages.
    pub(crate) fn send(&mut self, records: &[Prepared]) -> Result<()> {
        for record in records {
            if let Some(stream) = self.validations.get_mut(record.stream) {
                stream.send(record.partition, record.key.as_deref(), record.value.as_deref());
            }
        }
        self.work_off()
    }

    /// Moves the wall clock: quiet partitions become idle, schemas are asked for again, a checkpoint may be due.
    ///
    /// # Errors
    /// Those of the stages.
    pub(crate) fn advance(&mut self, by: Duration) -> Result<()> {
        self.world.clock.advance(by);
        self.world.log.set_now_ms(self.world.clock.now_us() / 1_000);
        self.work_off()?;
        for stream in &mut self.validations {
            stream.declare_idle();
            stream.publish_progress()?;
        }
        self.work_off()?;
        let since = self.world.clock.elapsed().saturating_sub(self.saved_at);
        if since >= self.project.settings.process.checkpoint_interval.0 {
            self.save()?;
        }
        Ok(())
    }

    /// Publishes open windows with their present content, as `up --drain` does, and saves the state.
    ///
    /// # Errors
    /// Those of the stages.
    pub(crate) fn drain(&mut self) -> Result<()> {
        self.publish_all()?;
        if self.options.restart_everywhere {
            self.reopen()?;
            self.take()?;
            self.publish_all()?;
        }
        self.save()?;
        self.merge()
    }

    /// Stops in order, which saves the state, and starts again.
    ///
    /// # Errors
    /// Those of the stages.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.emit()?;
        self.save()?;
        self.crash()
    }

    /// Dies, and goes on from the outputs and the last saved state.
    ///
    /// # Errors
    /// Those of the stages.
    pub(crate) fn crash(&mut self) -> Result<()> {
        for stream in &mut self.validations {
            stream.restart()?;
        }
        self.reopen()?;
        self.work_off()
    }

    fn emit(&mut self) -> Result<()> {
        self.engine.emit(&*self.world.log)?;
        self.patterns.as_mut().map_or(Ok(()), |patterns| patterns.emit(&self.world))
    }

    /// Open windows too; a match that isn't certain is never published.
    fn publish_all(&mut self) -> Result<()> {
        self.engine.drain(&*self.world.log)?;
        self.patterns.as_mut().map_or(Ok(()), |patterns| patterns.emit(&self.world))
    }

    fn save(&mut self) -> Result<()> {
        self.snapshot = Some(self.engine.snapshot(&self.parts)?);
        self.patterns.as_mut().map_or(Ok(()), TestPatterns::save)?;
        self.saved_at = self.world.clock.elapsed();
        Ok(())
    }

    /// Stages after validation die, and start from what was saved last.
    fn reopen(&mut self) -> Result<()> {
        let (schemas, snapshot) = (self.world.schemas.clone(), self.snapshot.as_deref());
        self.engine = Engine::open(self.plan.clone(), schemas, snapshot, &self.parts)?;
        self.progress_read.clear();
        let ends = self.engine.positions().map(|(partition, _)| (partition.clone(), self.world.log.end(&partition)));
        let ends = ends.collect();
        self.engine.replay_up_to(ends);
        self.patterns.as_mut().map_or(Ok(()), |patterns| patterns.reopen(&self.world))
    }

    /// Everything that is there goes through all stages.
    fn work_off(&mut self) -> Result<()> {
        for stream in &mut self.validations {
            if self.options.restart_everywhere {
                die_while_writing(stream, &self.world)?;
            }
            stream.validate(self.options.parallelism)?;
            if self.options.restart_everywhere {
                // The verdicts are written and the progress is not: they are found in the outputs.
                stream.restart()?;
                stream.validate(self.options.parallelism)?;
            }
            stream.publish_progress()?;
        }
        self.take()?;
        if self.options.restart_everywhere {
            self.reopen()?;
            self.take()?;
            self.emit()?;
            self.reopen()?;
            self.take()?;
        }
        self.emit()?;
        if self.options.restart_everywhere {
            self.save()?;
            self.reopen()?;
            self.take()?;
        }
        self.merge()
    }

    /// Hands the stages after validation what it has published, in pieces, and then the watermarks.
    fn take(&mut self) -> Result<()> {
        let log = self.world.log.clone();
        let positions = self.engine.positions().collect();
        let streams = self.streams.iter().map(|stream| &stream.topics);
        let news = News { log: &log, pieces: self.options.parallelism };
        news.hand_over(positions, streams.clone(), &mut self.progress_read, |block| self.engine.take(block))?;
        if let Some(full) = self.engine.full() {
            return Err(Error::Data(full.to_owned()));
        }
        self.engine.apply_watermarks()?;
        self.patterns.as_mut().map_or(Ok(()), |patterns| patterns.take(&news, streams))
    }

    fn merge(&mut self) -> Result<()> {
        self.tables.iter_mut().try_for_each(|table| table.merge(&self.world))
    }

    pub(crate) fn project(&self) -> &'p Project {
        self.project
    }

    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    pub(crate) fn results(&self) -> &[ResultTopic] {
        &self.plan.results
    }

    pub(crate) fn stream(&self, name: &str) -> Option<&PipelineStream> {
        self.streams.iter().find(|stream| stream.name == name)
    }

    /// The accepted records of a stream as they are in its validated topic.
    pub(crate) fn accepted(&self, stream: &PipelineStream) -> Vec<RecordBlock> {
        self.blocks(&stream.topics.validated, &stream.topics).collect()
    }

    /// The watermark that validation has published of a stream.
    pub(crate) fn watermark_us(&self, stream: &str) -> Option<i64> {
        self.validations.iter().find(|validation| validation.name() == stream)?.watermark_us()
    }

    pub(crate) fn table(&mut self, query: &str) -> Option<&mut ResultTable> {
        self.tables.iter_mut().find(|table| table.name == query)
    }

    /// The query or pattern of this name.
    pub(crate) fn query(&self, name: &str) -> Option<&'p sql::Query> {
        self.project.query(name).map(|query| &**query)
    }

    /// The accepted records of a stream, with their raw positions.
    ///
    /// # Errors
    /// A record that can't be read back.
    pub(crate) fn validated(&self, stream: &str) -> Result<Vec<Row>> {
        let found = self.streams.iter().find(|known| known.name == stream);
        let mut all = Vec::new();
        for block in found.into_iter().flat_map(|stream| self.blocks(&stream.topics.validated, &stream.topics)) {
            for index in 0..block.len() {
                let schema = found.map(|stream| &stream.schema);
                let Some(schema) = schema else { continue };
                let mut row = prepare::decode(schema, block.values.get(index), &self.world.schemas)?;
                let offset = Provenance::from_headers(block.headers(index)).map_or(-1, |found| found.raw_offset);
                row.push(("partition".to_owned(), Cell::integer(block.partition)));
                row.push(("offset".to_owned(), Cell::integer(offset)));
                all.push(row);
            }
        }
        Ok(all)
    }

    /// The rejected records of all streams, with what is known of them.
    ///
    /// # Errors
    /// A record that can't be read back.
    pub(crate) fn rejected(&self) -> Result<Vec<Row>> {
        let mut all = Vec::new();
        for (stream, settings) in self.streams.iter().zip(&self.project.streams) {
            for block in self.blocks(&stream.topics.rejected, &stream.topics) {
                for rejected in rejected::rows(&stream.name, &block)? {
                    let raw = TopicPartition::new(stream.topics.raw.as_str(), rejected.raw_partition);
                    let sent = self.world.log.read(&raw, rejected.raw_offset, rejected.raw_offset + 1);
                    let columns = prepare::decode(&settings.schema, sent.values.get(0), &self.world.schemas)?;
                    let text = |value: Option<String>| value.map_or(Cell::Null, Cell::Text);
                    let ids: Vec<String> =
                        settings.id.iter().filter_map(|id| rows::value(&columns, id)).map(Cell::to_string).collect();
                    let key = rejected.key.map(|key| String::from_utf8_lossy(&key).into_owned());
                    let mut row: Row = vec![
                        ("stream".to_owned(), Cell::Text(rejected.stream)),
                        ("id".to_owned(), text((!ids.is_empty()).then(|| ids.join(",")))),
                        ("reason".to_owned(), Cell::Text(rejected.reason.name().to_owned())),
                        ("rule".to_owned(), text(rejected.rule)),
                        ("message".to_owned(), Cell::Text(rejected.message)),
                        ("partition".to_owned(), Cell::integer(rejected.raw_partition)),
                        ("offset".to_owned(), Cell::integer(rejected.raw_offset)),
                        ("first_offset".to_owned(), rejected.first_offset.map_or(Cell::Null, Cell::integer)),
                        ("key".to_owned(), text(key)),
                    ];
                    row.extend(columns);
                    all.push(row);
                }
            }
        }
        Ok(all)
    }

    fn blocks<'s>(&'s self, topic: &'s str, topics: &StreamTopics) -> impl Iterator<Item = RecordBlock> + 's {
        (0..topics.partitions).map(move |number| {
            let partition = TopicPartition::new(topic, number);
            self.world.log.read(&partition, 0, self.world.log.end(&partition))
        })
    }
}

/// What validation has published since a stage last looked.
pub(super) struct News<'l> {
    log: &'l MemoryLog,
    /// Into how many pieces it is cut; pieces of partitions alternate.
    pieces: usize,
}

impl News<'_> {
    /// Gives records from these positions on, then the progress that wasn't read yet.
    pub(super) fn hand_over<'s>(
        &self,
        positions: Vec<(TopicPartition, i64)>,
        streams: impl Iterator<Item = &'s StreamTopics>,
        progress_read: &mut BTreeMap<String, i64>,
        mut take: impl FnMut(&RecordBlock) -> Result<()>,
    ) -> Result<()> {
        let part = |(partition, next)| {
            let end = self.log.end(&partition);
            (partition, next, end)
        };
        let mut parts: Vec<(TopicPartition, i64, i64)> = positions.into_iter().map(part).collect();
        for piece in (1..=self.pieces).rev() {
            for (partition, from, end) in &mut parts {
                let to = share(*from, *end, piece);
                let block = self.log.read(partition, *from, to);
                if !block.is_empty() {
                    take(&block)?;
                }
                *from = to;
            }
        }
        for topics in streams {
            let topic = TopicPartition::new(topics.progress.as_str(), 0);
            let read = progress_read.entry(topics.progress.clone()).or_insert(0);
            let end = self.log.end(&topic);
            let block = self.log.read(&topic, *read, end);
            *read = end;
            if !block.is_empty() {
                take(&block)?;
            }
        }
        Ok(())
    }
}

/// Lets the process die after half of the verdicts are written, and takes them up.
fn die_while_writing(stream: &mut StreamValidation, world: &World) -> Result<()> {
    let backlog = stream.backlog();
    if backlog < 2 {
        return Ok(());
    }
    world.log.fail_after(Some(backlog / 2));
    let died = stream.validate(1);
    world.log.fail_after(None);
    match died {
        Err(crate::error::Error::Unavailable(_)) => stream.restart(),
        other => other,
    }
}
