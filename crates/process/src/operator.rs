//! One query's operator: the parts put together.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use sql::{Query, Window};
use state::{PartStore, SnapshotReader, SnapshotWriter};

use crate::emission::Emission;
use crate::error::{Cause, Result};
use crate::metrics::Metrics;
use crate::options::{OperatorOptions, Source, Spill};
use crate::reference::ReferenceData;
use crate::rows::{Projection, RowPipeline};
use crate::stream_join::StreamJoin;
use crate::window::{ChainedAggregation, Plan, SNAPSHOT_VERSION, SessionAggregation, WindowAggregation, shares_panes};

/// Runs one query over the accepted rows of its stream.
///
/// Rows come by [`push`](Self::push), time by [`advance`](Self::advance); [`emit`](Self::emit) hands over what is to be published. The
/// caller publishes an emission wholly before it saves a snapshot taken after it, and on a failure goes back to the last snapshot: the same
/// rows then give the same results and versions.
#[derive(Debug)]
pub struct QueryOperator {
    query: Arc<Query>,
    options: OperatorOptions,
    /// One per branch.
    rows: Vec<RowPipeline>,
    results: Results,
    identity_schema: SchemaRef,
    fingerprint: String,
    metrics: Metrics,
    restored_references: BTreeMap<String, u64>,
}

#[derive(Debug)]
enum Results {
    /// One per row.
    Rows(Projection),
    /// One per window and group.
    Windows(Box<WindowAggregation>),
    /// One per session.
    Sessions(Box<SessionAggregation>),
    /// One per window of windows.
    Chained(Box<ChainedAggregation>),
}

impl QueryOperator {
    /// An operator without state.
    ///
    /// # Errors
    /// A reference table that isn't given or has changed since the query was compiled; a plan that this engine can't run.
    pub fn new(
        query: Arc<Query>,
        references: &BTreeMap<String, Arc<ReferenceData>>,
        options: OperatorOptions,
    ) -> Result<Self> {
        let failed = |cause: Cause| cause.of(&query.name);
        let fields: std::result::Result<Vec<_>, _> =
            query.identity.iter().map(|name| query.schema.field_with_name(name)).collect();
        let fields = fields.map_err(|error| failed(error.into()))?;
        let identity_schema = Arc::new(Schema::new(fields.into_iter().cloned().collect::<Vec<_>>()));
        let branches = (0..).zip(&query.branches);
        let rows = branches.map(|(number, branch)| RowPipeline::new(branch, number, references));
        let mut rows: Vec<RowPipeline> = rows.collect::<std::result::Result<_, _>>().map_err(failed)?;
        let mut results = Results::new(&query, &identity_schema, options.generation).map_err(failed)?;
        results.parts_from(options.parts_from_groups);
        let joins = rows.iter_mut().filter_map(RowPipeline::stream_join_mut);
        joins.for_each(|join| join.parts_from(options.parts_from_groups));
        if let Some(spill) = &options.spill {
            // Rows that wait for partners have half of the room, and what is made of them the other half.
            let mut joins: Vec<_> = rows.iter_mut().filter_map(RowPipeline::stream_join_mut).collect();
            let parts = if results.is_grouped() { 2 } else { 1 };
            let bytes_max = if joins.is_empty() { spill.bytes_max } else { spill.bytes_max / 2 };
            results.spill_to(&Spill { bytes_max, ..spill.clone() });
            let bytes_max = spill.bytes_max / parts / joins.len().max(1);
            for join in &mut joins {
                join.spill_to(Spill { bytes_max, ..spill.clone() }).map_err(failed)?;
            }
        }
        let fingerprint = fingerprint(&query, options.generation);
        Ok(Self {
            query,
            options,
            rows,
            results,
            identity_schema,
            fingerprint,
            metrics: Metrics::default(),
            restored_references: BTreeMap::new(),
        })
    }

    /// The query it runs.
    pub fn query(&self) -> &Arc<Query> {
        &self.query
    }

    /// Takes accepted rows of the stream: all of one raw partition, with the columns that the query reads by name.
    ///
    /// # Errors
    /// [`Cause::StateFull`] when there is no room: nothing of the batch was taken. [`Cause::Late`], [`Cause::TimeRange`] and all others mean
    /// that the stage has to stop.
    pub fn push(&mut self, batch: &RecordBatch, source: &Source<'_>) -> Result<()> {
        let mut metrics = self.metrics;
        metrics.rows_in += batch.num_rows() as u64;
        self.take(batch, source, &mut metrics).map_err(|cause| cause.of(&self.query.name))?;
        self.metrics = metrics;
        Ok(())
    }

    fn take(
        &mut self,
        batch: &RecordBatch,
        source: &Source<'_>,
        metrics: &mut Metrics,
    ) -> std::result::Result<(), Cause> {
        let bytes_max = self.options.state_bytes_max;
        if let Results::Rows(projection) = &self.results {
            let bytes = projection.bytes();
            if bytes > bytes_max {
                return Err(Cause::StateFull { bytes, bytes_max });
            }
        }
        // All branches together, so that a batch is taken wholly or not at all.
        let mut parts = Vec::new();
        let bytes_left = bytes_max.saturating_sub(self.results.bytes());
        for pipeline in self.rows.iter_mut().filter(|pipeline| pipeline.reads(source.stream)) {
            parts.push(pipeline.run(batch, source, bytes_left, metrics)?);
        }
        // A join has taken its rows, so what they give is taken too; the next batch is refused then.
        let is_joined = self.rows.iter().any(|pipeline| pipeline.stream_join().is_some());
        let bytes_max = if is_joined { usize::MAX } else { bytes_max };
        let rows = match parts.as_slice() {
            [] => return Ok(()),
            [only] => only.clone(),
            [first, ..] => arrow_select::concat::concat_batches(first.schema_ref(), &parts)?,
        };
        self.results.take(&rows, source.partition, bytes_max, metrics)
    }

    /// Bytes of rows that wait for partners of another stream.
    fn join_bytes(&self) -> usize {
        self.rows.iter().filter_map(RowPipeline::stream_join).map(StreamJoin::bytes).sum()
    }

    /// Moves the watermark, in microseconds since 1970: windows that end at or before it are over, and the next emission publishes them as
    /// final. A watermark below the present one changes nothing.
    ///
    /// # Errors
    /// Where two streams are joined, those of [`push`](Self::push): rows that found no partner are taken now.
    pub fn advance(&mut self, watermark_us: i64) -> Result<()> {
        let mut metrics = self.metrics;
        self.pass(watermark_us, &mut metrics).map_err(|cause| cause.of(&self.query.name))?;
        self.metrics = metrics;
        Ok(())
    }

    fn pass(&mut self, watermark_us: i64, metrics: &mut Metrics) -> std::result::Result<(), Cause> {
        let mut delay_us = 0;
        for at in 0..self.rows.len() {
            let Some(pipeline) = self.rows.get_mut(at) else { continue };
            delay_us = delay_us.max(pipeline.stream_join().map_or(0, StreamJoin::delay_us));
            while let Some(rows) = pipeline.advance(watermark_us, metrics)? {
                // They have left the join's state, so there is room.
                self.results.take(&rows, 0, usize::MAX, metrics)?;
            }
        }
        // Pairs to come may have times below the watermark.
        self.results.advance(watermark_us.saturating_sub(delay_us));
        Ok(())
    }

    /// Says whether rows may come that an earlier run has already folded and published past the snapshot. [`restore`](Self::restore) says
    /// so itself; say it of an operator without a snapshot that isn't the first to run. Once all rows are there that the earlier run may
    /// have read, say that it is over: the next emission deletes results that it published and that don't hold.
    pub fn set_replaying(&mut self, is_replaying: bool) {
        match &mut self.results {
            Results::Rows(_) => {}
            Results::Windows(windows) => windows.set_replaying(is_replaying),
            Results::Sessions(sessions) => sessions.set_replaying(is_replaying),
            Results::Chained(windows) => windows.set_replaying(is_replaying),
        }
    }

    /// What is to be published since the last emission: row-by-row results, windows that are over, and, with `emit: changes`, each group of
    /// an open window that rows were folded into. Where that is much, it comes in several emissions: call again until one is empty, and
    /// before anything else.
    ///
    /// # Errors
    /// An expression or a column that can't be computed.
    pub fn emit(&mut self) -> Result<Emission> {
        self.publish(false)
    }

    /// As [`emit`](Self::emit), and with `emit: final` too what changed in open windows since it was last published, as not final. The
    /// watermark stays where it is, so later rows give higher versions.
    ///
    /// # Errors
    /// As [`emit`](Self::emit).
    pub fn drain(&mut self) -> Result<Emission> {
        self.publish(true)
    }

    fn publish(&mut self, drain: bool) -> Result<Emission> {
        let empty = Emission::empty(&self.query.schema, &self.identity_schema);
        let published = match &mut self.results {
            Results::Rows(projection) => projection.emit(self.options.generation, empty, &mut self.metrics),
            Results::Windows(windows) => windows.emit(drain, empty, &mut self.metrics),
            Results::Sessions(sessions) => sessions.emit(drain, &empty, &mut self.metrics),
            Results::Chained(windows) => windows.emit(drain, empty, &mut self.metrics),
        };
        published.map_err(|cause| cause.of(&self.query.name))
    }

    /// Uses another version of a reference table from the next batch on. Whether the query joins that table.
    ///
    /// # Errors
    /// [`Cause::ReferenceChanged`] when its columns aren't those that the query was compiled for; then the present version stays.
    pub fn replace_reference(&mut self, data: &Arc<ReferenceData>) -> Result<bool> {
        let mut is_joined = false;
        for pipeline in &mut self.rows {
            is_joined |= pipeline.replace_reference(data).map_err(|cause| cause.of(&self.query.name))?;
        }
        Ok(is_joined)
    }

    /// Versions of the reference tables in use.
    pub fn reference_versions(&self) -> BTreeMap<String, u64> {
        self.rows.iter().flat_map(RowPipeline::reference_versions).collect()
    }

    /// Versions of the reference tables that the restored snapshot was taken with; empty without one. Where they differ from
    /// [`reference_versions`](Self::reference_versions), rows from here on are joined with another load than before.
    pub fn restored_references(&self) -> &BTreeMap<String, u64> {
        &self.restored_references
    }

    /// Writes the whole state as a section named after the query.
    ///
    /// # Errors
    /// A column that can't be written.
    pub fn snapshot(&mut self, writer: &mut SnapshotWriter) -> Result<()> {
        self.save(writer, None)
    }

    /// As [`snapshot`](Self::snapshot), with the groups of large windows in parts: those that have changed since the last snapshot are kept now,
    /// and of the others the snapshot names the parts that they are in.
    ///
    /// # Errors
    /// A column that can't be written, a failure of the storage.
    pub fn snapshot_in_parts(&mut self, writer: &mut SnapshotWriter, parts: &dyn PartStore) -> Result<()> {
        self.save(writer, Some(parts))
    }

    /// Names of the parts that the last snapshot is made of: taken or restored.
    pub fn part_names(&self) -> Vec<String> {
        let mut names: Vec<String> = match &self.results {
            Results::Windows(windows) => windows.part_names().cloned().collect(),
            Results::Chained(windows) => windows.part_names().cloned().collect(),
            Results::Sessions(sessions) => sessions.part_names().collect(),
            Results::Rows(_) => Vec::new(),
        };
        names.extend(self.rows.iter().filter_map(RowPipeline::stream_join).flat_map(StreamJoin::part_names));
        names
    }

    /// Has the next snapshot name no part of those before, such as when they are kept elsewhere.
    pub fn forget_parts(&mut self) {
        match &mut self.results {
            Results::Windows(windows) => windows.forget_parts(),
            Results::Chained(windows) => windows.forget_parts(),
            Results::Sessions(sessions) => sessions.forget_parts(),
            Results::Rows(_) => {}
        }
        self.rows.iter_mut().filter_map(RowPipeline::stream_join_mut).for_each(StreamJoin::forget_parts);
    }

    fn save(&mut self, writer: &mut SnapshotWriter, parts: Option<&dyn PartStore>) -> Result<()> {
        if let Results::Sessions(sessions) = &mut self.results {
            sessions.prepare_save().map_err(|cause| cause.of(&self.query.name))?;
        }
        let references = self.reference_versions();
        let written = writer.section(
            &section(&self.query, self.options.generation),
            SNAPSHOT_VERSION,
            &self.fingerprint,
            |inner| {
                inner.u64(references.len() as u64);
                for (name, version) in references {
                    inner.text(&name);
                    inner.u64(version);
                }
                for join in self.rows.iter_mut().filter_map(RowPipeline::stream_join_mut) {
                    join.save(inner, parts)?;
                }
                match &mut self.results {
                    Results::Rows(projection) => projection.save(inner),
                    Results::Windows(windows) => windows.save(inner, parts),
                    Results::Sessions(sessions) => sessions.save(inner, parts),
                    Results::Chained(windows) => windows.save(inner, parts),
                }
            },
        );
        written.map_err(|cause| cause.of(&self.query.name))
    }

    /// Replaces the state by that of a snapshot of the same query: same name and generation, and state of the same shape. The caller
    /// gives another generation to a query that means something else.
    ///
    /// # Errors
    /// [`Cause::Snapshot`] when it is another query's, a newer build's, or damaged.
    pub fn restore(&mut self, reader: &mut SnapshotReader<'_>) -> Result<()> {
        self.load(reader, None)
    }

    /// As [`restore`](Self::restore), for a snapshot that may be made of parts.
    ///
    /// # Errors
    /// As [`restore`](Self::restore), and a part that can't be read.
    pub fn restore_from_parts(&mut self, reader: &mut SnapshotReader<'_>, parts: &dyn PartStore) -> Result<()> {
        self.load(reader, Some(parts))
    }

    fn load(&mut self, reader: &mut SnapshotReader<'_>, parts: Option<&dyn PartStore>) -> Result<()> {
        let Self { results, rows, .. } = self;
        let read = reader.section(
            &section(&self.query, self.options.generation),
            SNAPSHOT_VERSION,
            &self.fingerprint,
            |inner, version| {
                let count = inner.count(2 * size_of::<u64>())?;
                let mut references = BTreeMap::new();
                for _ in 0..count {
                    references.insert(inner.text()?.to_owned(), inner.u64()?);
                }
                for join in rows.iter_mut().filter_map(RowPipeline::stream_join_mut) {
                    join.load(inner, version, parts)?;
                }
                match results {
                    Results::Rows(projection) => projection.load(inner)?,
                    Results::Windows(windows) => windows.load(inner, version, parts)?,
                    Results::Sessions(sessions) => sessions.load(inner, version, parts)?,
                    Results::Chained(windows) => windows.load(inner, version, parts)?,
                }
                Ok::<_, Cause>(references)
            },
        );
        self.restored_references = read.map_err(|cause| cause.of(&self.query.name))?;
        self.set_replaying(true);
        let present = self.reference_versions();
        if self.restored_references != present {
            let (query, before) = (&self.query.name, &self.restored_references);
            tracing::info!(%query, ?before, ?present, "the snapshot was taken with other loads of the reference tables");
        }
        Ok(())
    }

    /// Bytes of state: groups, aggregates, results not yet published, and buffers. Reference tables are shared and not counted.
    pub fn state_bytes(&self) -> usize {
        self.results.bytes() + self.join_bytes()
    }

    /// Counters since it was made, and present sizes.
    pub fn metrics(&self) -> Metrics {
        let mut metrics = self.metrics;
        metrics.state_bytes = self.state_bytes() as u64;
        (metrics.windows_open, metrics.groups_open) = match &self.results {
            Results::Rows(_) => (0, 0),
            Results::Windows(windows) => windows.held(),
            Results::Sessions(sessions) => (sessions.held(), sessions.held()),
            Results::Chained(windows) => windows.held(),
        };
        let results = match &self.results {
            Results::Rows(_) => (0, 0),
            Results::Windows(windows) => windows.spilled(),
            Results::Sessions(sessions) => sessions.spilled(),
            Results::Chained(windows) => windows.spilled(),
        };
        let joins = self.rows.iter().filter_map(RowPipeline::stream_join).map(StreamJoin::spilled);
        (metrics.groups_spilled, metrics.spilled_bytes) =
            joins.fold(results, |(keys, bytes), (of_join, of_files)| (keys + of_join, bytes + of_files));
        metrics
    }
}

impl Results {
    fn parts_from(&mut self, groups: usize) {
        match self {
            Self::Rows(_) => {}
            Self::Sessions(sessions) => sessions.parts_from(groups),
            Self::Windows(windows) => windows.parts_from(groups),
            Self::Chained(windows) => windows.parts_from(groups),
        }
    }

    fn is_grouped(&self) -> bool {
        !matches!(self, Self::Rows(_))
    }

    fn spill_to(&mut self, spill: &Spill) {
        match self {
            Self::Rows(_) => {}
            Self::Windows(windows) => windows.spill_to(spill.clone()),
            Self::Sessions(sessions) => sessions.spill_to(spill.clone()),
            Self::Chained(windows) => windows.spill_to(spill),
        }
    }

    fn take(
        &mut self,
        rows: &RecordBatch,
        partition: i32,
        bytes_max: usize,
        metrics: &mut Metrics,
    ) -> std::result::Result<(), Cause> {
        match self {
            Self::Rows(projection) => projection.push(rows, partition),
            Self::Windows(windows) => windows.fold(rows, partition, bytes_max, metrics),
            Self::Sessions(sessions) => sessions.fold(rows, partition, bytes_max, metrics),
            Self::Chained(windows) => windows.fold(rows, partition, bytes_max, metrics),
        }
    }

    fn advance(&mut self, watermark_us: i64) {
        match self {
            Self::Rows(_) => {}
            Self::Windows(windows) => windows.advance(watermark_us),
            Self::Sessions(sessions) => sessions.advance(watermark_us),
            Self::Chained(windows) => windows.advance(watermark_us),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Rows(projection) => projection.bytes(),
            Self::Windows(windows) => windows.bytes(),
            Self::Sessions(sessions) => sessions.bytes(),
            Self::Chained(windows) => windows.bytes(),
        }
    }

    fn new(query: &Arc<Query>, identity_schema: &SchemaRef, generation: u32) -> std::result::Result<Self, Cause> {
        let Some(aggregate) = &query.aggregate else { return Ok(Self::Rows(Projection::new(query))) };
        if query.inner.is_some() {
            return Ok(Self::Chained(Box::new(ChainedAggregation::new(query, identity_schema, generation)?)));
        }
        let plan = Plan::new(query, identity_schema, generation)?;
        match &aggregate.window {
            Some(Window::Fixed(window)) => Ok(Self::Windows(Box::new(match shares_panes(query) {
                true => WindowAggregation::sharing_panes(plan, window)?,
                false => WindowAggregation::new(plan, window)?,
            }))),
            Some(Window::Session(window)) => Ok(Self::Sessions(Box::new(SessionAggregation::new(plan, window)?))),
            None => Err(Cause::Plan("grouping without a window".into())),
        }
    }
}

fn section(query: &Query, generation: u32) -> String {
    format!("query {} g{generation}", query.name)
}

/// Tells apart states that can't stand for each other: what the generation promises, and the shape. FNV-1a, 128 bits: stable across
/// builds, and nobody attacks it.
pub(crate) fn fingerprint(query: &Query, generation: u32) -> String {
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    let mut add = |text: &str| {
        for byte in text.bytes().chain([0xff]) {
            hash ^= u128::from(byte);
            hash = hash.wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    };
    // The result's own columns are no state: row-by-row results may gain some within a generation.
    for aggregate in query.inner.iter().map(|inner| &inner.aggregate).chain(&query.aggregate) {
        match &aggregate.window {
            Some(Window::Fixed(window)) => {
                add(&format!("{} {} {}", window.size_us, window.slide_us, window.offset_us));
            }
            Some(Window::Session(window)) => add(&format!("sessions {}", window.gap_us)),
            None => {}
        }
        if shares_panes(query) {
            add("panes");
        }
        for field in aggregate.grouped_schema.fields() {
            add(&format!("{} {} {}", field.name(), field.data_type(), field.is_nullable()));
        }
    }
    let of_rows = query.branches.iter().map(|branch| &branch.row_schema);
    if let Some(pattern) = &query.pattern {
        for field in of_rows.chain([&pattern.matched_schema, &query.schema]).flat_map(|schema| schema.fields()) {
            add(&format!("{} {} {}", field.name(), field.data_type(), field.is_nullable()));
        }
    } else {
        for (branch, join) in query.branches.iter().filter_map(|branch| Some((branch, branch.stream_join.as_ref()?))) {
            add(&format!(
                "{} {} with {} {}",
                branch.stream,
                branch.input_columns.len(),
                join.stream,
                join.input_columns.len()
            ));
            for field in branch.row_schema.fields() {
                add(&format!("{} {} {}", field.name(), field.data_type(), field.is_nullable()));
            }
        }
    }
    format!("{} g{generation} {hash:032x}", query.name)
}
