//! Windows over windows: the groups of an inner grouping, once they are final, are the rows of an outer one.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use sql::{Query, Window};
use state::{SnapshotReader, SnapshotWriter};

use super::aggregation::WindowAggregation;
use super::plan::Plan;
use crate::emission::Emission;
use crate::error::Cause;
use crate::metrics::Metrics;

/// Two groupings, one after the other.
#[derive(Debug)]
pub(crate) struct ChainedAggregation {
    inner: WindowAggregation,
    outer: WindowAggregation,
    watermark_us: Option<i64>,
    /// Whether nothing has come since the last drain.
    is_drained: bool,
    query: Arc<Query>,
    identity_schema: SchemaRef,
    generation: u32,
}

impl ChainedAggregation {
    pub(crate) fn new(query: &Arc<Query>, identity_schema: &SchemaRef, generation: u32) -> Result<Self, Cause> {
        let inner = query.inner.as_ref().ok_or_else(|| Cause::Plan("it has no inner grouping".into()))?;
        let Some(Window::Fixed(window)) = &inner.aggregate.window else {
            return Err(Cause::Plan("an inner grouping by something else than windows".into()));
        };
        Ok(Self {
            inner: WindowAggregation::new(Plan::inner(&inner.aggregate, generation)?, window)?,
            outer: outer(query, identity_schema, generation)?,
            watermark_us: None,
            is_drained: false,
            query: Arc::clone(query),
            identity_schema: Arc::clone(identity_schema),
            generation,
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

    /// Folds inner groups that are final into the outer windows, and publishes of these what is closed or has changed. `drain` also publishes
    /// what the outer windows would hold if the inner ones ended now; that is computed on the side, and the state stays as it is.
    pub(crate) fn emit(&mut self, drain: bool, empty: Emission, metrics: &mut Metrics) -> Result<Emission, Cause> {
        if let Some((groups, rows)) = self.inner.take_closed()? {
            // They have left the inner state, so there is room.
            self.outer.fold_weighted(&groups, Some(&rows), 0, usize::MAX, metrics)?;
        }
        if let Some(watermark_us) = self.watermark_us {
            self.outer.advance(watermark_us);
        }
        let was_drained = std::mem::replace(&mut self.is_drained, drain);
        if !drain {
            return self.outer.emit(false, empty, metrics);
        }
        let Some((groups, rows)) = self.inner.open_groups()? else { return self.outer.emit(true, empty, metrics) };
        if was_drained {
            return self.outer.emit_closed(&empty, metrics);
        }
        let mut published = empty.clone();
        loop {
            let next = self.outer.emit_closed(&empty, metrics)?;
            if next.is_empty() {
                break;
            }
            published = both(published, &next)?;
        }
        let mut writer = SnapshotWriter::new("drain", "");
        self.outer.save(&mut writer, None)?;
        let bytes = writer.finish();
        let mut reader = SnapshotReader::open(&bytes, "drain", "")?;
        let mut side = outer(&self.query, &self.identity_schema, self.generation)?;
        side.load(&mut reader, super::SNAPSHOT_VERSION, None)?;
        side.fold_weighted(&groups, Some(&rows), 0, usize::MAX, metrics)?;
        let last_start_us = side.last_start_us();
        loop {
            let next = side.emit(true, empty.clone(), metrics)?;
            if next.is_empty() {
                break;
            }
            published = both(published, &next)?;
        }
        self.outer.doubt(last_start_us);
        Ok(published)
    }

    pub(crate) fn set_replaying(&mut self, is_replaying: bool) {
        self.outer.set_replaying(is_replaying);
    }

    pub(crate) fn save(&mut self, writer: &mut SnapshotWriter) -> Result<(), Cause> {
        writer.optional_i64(self.watermark_us);
        self.inner.save(writer, None)?;
        self.outer.save(writer, None)
    }

    pub(crate) fn load(&mut self, reader: &mut SnapshotReader<'_>, version: u32) -> Result<(), Cause> {
        let watermark_us = reader.optional_i64()?;
        self.inner.load(reader, version, None)?;
        self.outer.load(reader, version, None)?;
        self.watermark_us = watermark_us;
        Ok(())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.inner.bytes() + self.outer.bytes()
    }

    /// Windows and groups held by both.
    pub(crate) fn held(&self) -> (u64, u64) {
        let (inner, outer) = (self.inner.held(), self.outer.held());
        (inner.0 + outer.0, inner.1 + outer.1)
    }
}

/// The outer grouping.
fn outer(query: &Arc<Query>, identity_schema: &SchemaRef, generation: u32) -> Result<WindowAggregation, Cause> {
    let window = query.aggregate.as_ref().and_then(|aggregate| aggregate.window.as_ref());
    let Some(Window::Fixed(window)) = window else {
        return Err(Cause::Plan("an outer grouping by something else than windows".into()));
    };
    WindowAggregation::new(Plan::new(query, identity_schema, generation)?, window)
}

/// Two emissions without a common identity as one.
fn both(first: Emission, second: &Emission) -> Result<Emission, Cause> {
    if second.is_empty() {
        return Ok(first);
    }
    let concat = |a: &RecordBatch, b: &RecordBatch| arrow_select::concat::concat_batches(&a.schema(), [a, b]);
    Ok(Emission {
        rows: concat(&first.rows, &second.rows)?,
        versions: [first.versions, second.versions.clone()].concat(),
        deletes: concat(&first.deletes, &second.deletes)?,
        delete_versions: [first.delete_versions, second.delete_versions.clone()].concat(),
    })
}
