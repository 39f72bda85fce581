//! What doesn't change while a query groups: its keys, aggregates and result columns.

use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::{DataType, SchemaRef, TimeUnit};
use sql::{AggregateCall, Emit, Expression, Query};

use crate::accumulator::{self, Accumulator, Input};
use crate::error::Cause;
use crate::keys::KeyCodec;
use crate::metrics::Metrics;
use crate::place::Places;
use crate::rows;

/// The grouping of a query.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(super) generation: u32,
    pub(super) emit: Emit,
    pub(super) time: Expression,
    pub(super) keys: Vec<Expression>,
    /// Shared with copies, since each has its own hashes.
    pub(super) codec: Arc<KeyCodec>,
    pub(super) calls: Vec<AggregateCall>,
    pub(super) grouped_schema: SchemaRef,
    pub(super) having: Option<Expression>,
    pub(super) output: Vec<(String, Expression)>,
    pub(super) schema: SchemaRef,
    /// Output columns that identify a result.
    pub(super) identity: Vec<(String, Expression)>,
    pub(super) identity_schema: SchemaRef,
}

impl Plan {
    /// The grouping whose groups are rows for another one. It publishes nothing itself.
    pub(crate) fn inner(aggregate: &sql::Aggregate, generation: u32) -> Result<Self, Cause> {
        let window = aggregate.window.as_ref().ok_or_else(|| Cause::Plan("grouping without a window".into()))?;
        let types = aggregate.keys.iter().map(|(_, key)| key.data_type().clone()).collect();
        let nothing: SchemaRef = Arc::new(arrow_schema::Schema::empty());
        Ok(Self {
            generation,
            emit: Emit::Final,
            time: window.time().clone(),
            keys: aggregate.keys.iter().map(|(_, key)| key.clone()).collect(),
            codec: Arc::new(KeyCodec::ordered(types)?),
            calls: aggregate.calls.clone(),
            grouped_schema: Arc::clone(&aggregate.grouped_schema),
            having: None,
            output: Vec::new(),
            schema: Arc::clone(&nothing),
            identity: Vec::new(),
            identity_schema: nothing,
        })
    }

    pub(crate) fn new(query: &Query, identity_schema: &SchemaRef, generation: u32) -> Result<Self, Cause> {
        let aggregate = query.aggregate.as_ref().ok_or_else(|| Cause::Plan("it has no aggregate".into()))?;
        let window = aggregate.window.as_ref().ok_or_else(|| Cause::Plan("grouping without a window".into()))?;
        if !matches!(window.time().data_type(), DataType::Timestamp(TimeUnit::Microsecond, _)) {
            return Err(Cause::Plan(format!("a window over {}", window.time().data_type())));
        }
        let types = aggregate.keys.iter().map(|(_, key)| key.data_type().clone()).collect();
        let find = |name: &String| {
            let found = query.output.iter().find(|(output, _)| output == name).cloned();
            found.ok_or_else(|| Cause::Plan(format!("its identity column {name} isn't in its result")))
        };
        Ok(Self {
            generation,
            emit: query.options.emit,
            time: window.time().clone(),
            keys: aggregate.keys.iter().map(|(_, key)| key.clone()).collect(),
            codec: Arc::new(KeyCodec::new(types)?),
            calls: aggregate.calls.clone(),
            grouped_schema: Arc::clone(&aggregate.grouped_schema),
            having: query.having.clone(),
            output: query.output.clone(),
            schema: Arc::clone(&query.schema),
            identity: query.identity.iter().map(find).collect::<Result<_, _>>()?,
            identity_schema: Arc::clone(identity_schema),
        })
    }

    /// Aggregates of this query without groups.
    pub(super) fn accumulators(&self) -> Result<Vec<Box<dyn Accumulator>>, Cause> {
        self.calls.iter().map(accumulator::accumulator).collect()
    }

    /// The rows that have a time, with their times; the others are in no window.
    pub(super) fn timed(&self, rows: &RecordBatch, metrics: &mut Metrics) -> Result<(RecordBatch, ArrayRef), Cause> {
        let time = self.time.evaluate(rows)?;
        let Some(nulls) = time.nulls().filter(|nulls| nulls.null_count() > 0) else {
            return Ok((rows.clone(), time));
        };
        let kept = rows::keep(rows, &BooleanArray::new(nulls.inner().clone(), None))?;
        metrics.rows_without_time += (rows.num_rows() - kept.num_rows()) as u64;
        let time = self.time.evaluate(&kept)?;
        Ok((kept, time))
    }

    /// The keys of rows, column by column.
    pub(super) fn key_columns(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>, Cause> {
        Ok(self.keys.iter().map(|key| key.evaluate(rows)).collect::<Result<_, _>>()?)
    }

    /// Folds a batch into accumulators of its own: row `i` into group `of_row[i]`.
    pub(super) fn fold_batch(
        &self,
        rows: &RecordBatch,
        places: &Places<'_>,
        of_row: &[u32],
        groups: usize,
        partials: &mut [Box<dyn Accumulator>],
    ) -> Result<(), Cause> {
        for (partial, call) in partials.iter_mut().zip(&self.calls) {
            let argument = call.argument.as_ref().map(|argument| argument.evaluate(rows)).transpose()?;
            let order = call.order.as_ref().map(|order| order.evaluate(rows)).transpose()?;
            partial.resize(0);
            partial.resize(groups);
            partial.update(&Input { argument: argument.as_ref(), order: order.as_ref(), places }, of_row)?;
        }
        Ok(())
    }

    /// A bound of the window as the grouped schema has it.
    pub(super) fn time_column(&self, column: usize, times: Vec<i64>) -> ArrayRef {
        let array = TimestampMicrosecondArray::from(times);
        match self.grouped_schema.fields().get(column).map(|field| field.data_type()) {
            Some(DataType::Timestamp(_, Some(zone))) => Arc::new(array.with_timezone(Arc::clone(zone))),
            _ => Arc::new(array),
        }
    }

    /// Which groups have a result.
    pub(super) fn passes(&self, grouped: &RecordBatch) -> Result<BooleanArray, Cause> {
        match &self.having {
            None => Ok(BooleanArray::from(vec![true; grouped.num_rows()])),
            Some(having) => Ok(rows::truths(&having.evaluate(grouped)?)),
        }
    }
}
