//! Windows over windows: the groups of an inner grouping, once they are final, are the rows of an outer one.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use sql::{Query, Window};
use state::{PartStore, SnapshotReader, SnapshotWriter};

use super::aggregation::WindowAggregation;
use super::plan::Plan;
use crate::emission::Emission;
use crate::error::Cause;
use crate::metrics::Metrics;
use crate::options::Spill;

/// Two groupings, one after the other.
#[derive(Debug)]
pub(crate) struct ChainedAggregation {
    inner: WindowAggregation,
    outer: WindowAggregation,
    watermark_us: Option<i64>,
    /// Whether nothing has come since the last drain.
    is_drained: bool,
    /// What the present drain publishes: the outer windows as they would be if the inner ones ended.
    draining: Option<Box<WindowAggregation>>,
}

impl ChainedAggregation {
    pub(crate) fn new(query: &Query, identity_schema: &SchemaRef, generation: u32) -> Result<Self, Cause> {
        let inner = query.inner.as_ref().ok_or_else(|| Cause::Plan("it has no inner grouping".into()))?;
        let Some(Window::Fixed(window)) = &inner.aggregate.window else {
            return Err(Cause::Plan("an inner grouping by something else than windows".into()));
        };
        let over = query.aggregate.as_ref().and_then(|aggregate| aggregate.window.as_ref());
        let Some(Window::Fixed(over)) = over else {
            return Err(Cause::Plan("an outer grouping by something else than windows".into()));
        };
        Ok(Self {
            inner: WindowAggregation::new(Plan::inner(&inner.aggregate, generation)?, window)?,
            outer: WindowAggregation::new(Plan::new(query, identity_schema, generation)?, over)?,
            watermark_us: None,
            is_drained: false,
            draining: None,
        })
    }

    /// Folds rows into the inner windows.
    pub(crate) fn fold(
        &mut self,
        rows: &RecordBatch,
        partition: i32,
        bytes_max: usize,
        metrics: &mut Metrics,
    ) -> Result<(), Cause> {
        self.is_drained = false;
        self.inner.fold(rows, partition, bytes_max.saturating_sub(self.outer.bytes()), metrics)
    }

    pub(crate) fn advance(&mut self, watermark_us: i64) {
        self.is_drained = false;
        self.watermark_us = self.watermark_us.max(Some(watermark_us));
        self.inner.advance(watermark_us);
    }

    /// Moves groups of both to the disk from now on where they don't fit into memory; each has half of the room.
    pub(crate) fn spill_to(&mut self, spill: &Spill) {
        for windows in [&mut self.inner, &mut self.outer] {
            windows.spill_to(Spill { bytes_max: spill.bytes_max / 2, ..spill.clone() });
        }
    }

    /// Has snapshots of so many groups made of parts.
    pub(crate) fn parts_from(&mut self, groups: usize) {
        self.inner.parts_from(groups);
        self.outer.parts_from(groups);
    }

    /// Names of the parts that the last snapshot is made of.
    pub(crate) fn part_names(&self) -> impl Iterator<Item = &String> {
        self.inner.part_names().chain(self.outer.part_names())
    }

    /// Has the next snapshot name no part of those before.
    pub(crate) fn forget_parts(&mut self) {
        self.inner.forget_parts();
        self.outer.forget_parts();
    }

    /// Folds inner groups that are final into the outer windows, and publishes of these what is closed or has changed. `drain` also publishes
    /// what the outer windows would hold if the inner ones ended now; that is computed on the side, and the state stays as it is. What is
    /// left for the next call isn't empty.
    pub(crate) fn emit(&mut self, drain: bool, empty: Emission, metrics: &mut Metrics) -> Result<Emission, Cause> {
        while let Some((groups, rows)) = self.inner.take_closed()? {
            // They have left the inner state, so there is room.
            self.outer.fold_weighted(&groups, Some(&rows), 0, usize::MAX, metrics)?;
        }
        if let Some(watermark_us) = self.watermark_us {
            self.outer.advance(watermark_us);
        }
        if !drain {
            (self.is_drained, self.draining) = (false, None);
            return self.outer.emit(false, empty, metrics);
        }
        if self.inner.held().0 == 0 {
            return self.outer.emit(true, empty, metrics);
        }
        let closed = self.outer.emit_closed(&empty, metrics)?;
        if self.is_drained || !closed.is_empty() {
            return Ok(closed);
        }
        let mut side = match self.draining.take() {
            Some(side) => side,
            None => self.if_all_ended(metrics)?,
        };
        let emission = side.emit(true, empty, metrics)?;
        match emission.is_empty() {
            true => self.is_drained = true,
            false => self.draining = Some(side),
        }
        Ok(emission)
    }

    /// The outer windows as they would be if the inner ones ended now.
    fn if_all_ended(&mut self, metrics: &mut Metrics) -> Result<Box<WindowAggregation>, Cause> {
        let mut side = Box::new(self.outer.copy()?);
        self.inner.give_open(|(groups, rows)| side.fold_weighted(groups, Some(rows), 0, usize::MAX, metrics))?;
        self.outer.doubt(side.last_start_us());
        Ok(side)
    }

    pub(crate) fn set_replaying(&mut self, is_replaying: bool) {
        self.outer.set_replaying(is_replaying);
    }

    /// Writes the state; that of many groups goes to parts if there is a place for them.
    pub(crate) fn save(&mut self, writer: &mut SnapshotWriter, parts: Option<&dyn PartStore>) -> Result<(), Cause> {
        writer.optional_i64(self.watermark_us);
        self.inner.save(writer, parts)?;
        self.outer.save(writer, parts)
    }

    /// Replaces the state by one in this version of the layout. On an error the state isn't to be used.
    pub(crate) fn load(
        &mut self,
        reader: &mut SnapshotReader<'_>,
        version: u32,
        parts: Option<&dyn PartStore>,
    ) -> Result<(), Cause> {
        let watermark_us = reader.optional_i64()?;
        self.inner.load(reader, version, parts)?;
        self.outer.load(reader, version, parts)?;
        self.watermark_us = watermark_us;
        Ok(())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.inner.bytes() + self.outer.bytes() + self.draining.as_ref().map_or(0, |side| side.bytes())
    }

    /// Groups of both that are on the disk, and the bytes of their files.
    pub(crate) fn spilled(&self) -> (u64, u64) {
        let (inner, outer) = (self.inner.spilled(), self.outer.spilled());
        (inner.0 + outer.0, inner.1 + outer.1)
    }

    /// Windows and groups held by both.
    pub(crate) fn held(&self) -> (u64, u64) {
        let (inner, outer) = (self.inner.held(), self.outer.held());
        (inner.0 + outer.0, inner.1 + outer.1)
    }
}
