//! Makes pairs, and rows of the left side that found no partner.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::{Array as _, ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::interleave::interleave;
use sql::{Expression, JoinKind};

use super::kept::InParts;
use super::side::{At, Kept, ROW_BYTES, Side};
use super::spill::ColdRows;
use crate::error::Cause;
use crate::keys::KeyCodec;
use crate::metrics::Metrics;
use crate::options::Source;

/// Rows are let go in slices of time, so many as bounds span.
const SLICES: i64 = 16;
/// Begins the key that a row without a partner has for itself. Neither a text nor what arrow-row makes of columns begins so: it is no UTF-8,
/// and no mark of NULLs that come first.
const ALONE: u8 = 0xff;
/// The time of a row that has none, which is before all others; bounds can be added to it.
const NO_TIME_US: i64 = i64::MIN / 4;

/// A join's state.
#[derive(Debug)]
pub(crate) struct StreamJoin {
    kind: JoinKind,
    pub(super) left: Input,
    pub(super) right: Input,
    /// Least and greatest time of the right row minus that of the left.
    pub(super) lower_us: i64,
    pub(super) upper_us: i64,
    delay_us: i64,
    pub(super) watermark_us: Option<i64>,
    pub(super) codec: KeyCodec,
    /// Positions and columns of both.
    schema: SchemaRef,
    /// Number of the next row in the order of arrival.
    pub(super) next_number: u64,
    /// Where keys go that don't fit into memory; without it a batch that doesn't fit is refused.
    pub(super) cold: Option<ColdRows>,
    /// Which keys in memory are in parts of snapshots.
    pub(super) in_parts: InParts,
    /// Rows in memory from which on a snapshot has them in parts.
    pub(super) parts_from: usize,
}

/// One side: how its rows are made, and those that are kept.
#[derive(Debug)]
pub(super) struct Input {
    stream: String,
    columns: Vec<String>,
    keys: Vec<Expression>,
    time: Expression,
    /// Partition, offset, and the columns as they are called in the row.
    pub(super) schema: SchemaRef,
    pub(super) side: Side,
}

/// A batch of one side with what decides about partners.
pub(super) struct Rows {
    pub(super) batch: RecordBatch,
    pub(super) times_us: Vec<i64>,
    pub(super) keys: crate::keys::Keys,
}

/// Rows of the left and the right side that belong together.
type Pairs = Vec<(At, Option<At>)>;

impl Input {
    fn new(
        stream: &str,
        columns: &[String],
        names: (&str, &str),
        fields: &[Arc<Field>],
        keys: Vec<Expression>,
        time: &Expression,
    ) -> Self {
        let positions =
            [Field::new(names.0, DataType::Int32, false), Field::new(names.1, DataType::Int64, false)].map(Arc::new);
        let schema = Schema::new(positions.into_iter().chain(fields.iter().cloned()).collect::<Vec<_>>());
        Self {
            stream: stream.to_owned(),
            columns: columns.to_vec(),
            keys,
            time: time.clone(),
            schema: Arc::new(schema),
            side: Side::default(),
        }
    }

    /// The side's columns of a batch of its stream.
    fn rows(&self, batch: &RecordBatch, source: &Source<'_>) -> Result<RecordBatch, Cause> {
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(vec![source.partition; batch.num_rows()])),
            Arc::new(Int64Array::from(source.raw_offsets.to_vec())),
        ];
        for name in &self.columns {
            let found = batch.column_by_name(name);
            columns.push(Arc::clone(found.ok_or_else(|| Cause::Batch(format!("it has no column {name}")))?));
        }
        RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(|error| Cause::Batch(error.to_string()))
    }

    /// The rows that may have a partner, and a mask of all rows that tells them.
    pub(super) fn split(&self, batch: &RecordBatch, codec: &KeyCodec) -> Result<(Rows, BooleanArray), Cause> {
        let mut keys: Vec<ArrayRef> = self.keys.iter().map(|key| key.evaluate(batch)).collect::<Result<_, _>>()?;
        let mut time = self.time.evaluate(batch)?;
        let is_there = |row: usize| time.is_valid(row) && keys.iter().all(|key| key.is_valid(row));
        let there: BooleanArray = (0..batch.num_rows()).map(|row| Some(is_there(row))).collect();
        let kept = crate::rows::keep(batch, &there)?;
        if kept.num_rows() < batch.num_rows() {
            keys = self.keys.iter().map(|key| key.evaluate(&kept)).collect::<Result<_, _>>()?;
            time = self.time.evaluate(&kept)?;
        }
        let times = times_of(&time)?;
        let mut encoded = codec.keys();
        codec.encode(&keys, kept.num_rows(), &mut encoded)?;
        Ok((Rows { times_us: times.values().to_vec(), batch: kept, keys: encoded }, there))
    }

    /// Keeps rows with NULL in their key or time, which never have a partner: they wait for their time like the others, each under a key of its
    /// own, so that none is looked for and each may go to the disk. `numbers` are theirs in the order of arrival.
    pub(super) fn keep_alone(
        &mut self,
        rows: &RecordBatch,
        numbers: impl Iterator<Item = u64>,
        codec: &KeyCodec,
    ) -> Result<(), Cause> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let time = self.time.evaluate(rows)?;
        let times = times_of(&time)?;
        let batch = self.side.keep_batch(rows);
        for ((row, time_us), number) in (0_u32..).zip(times).zip(numbers) {
            let mut key = [ALONE; 1 + size_of::<u64>()];
            key[1..].copy_from_slice(&number.to_be_bytes());
            let time_us = time_us.unwrap_or(NO_TIME_US);
            let kept = Kept { time_us, number, at: At { batch, row }, is_matched: false };
            self.side.insert(codec.hash(&key), &key, kept);
        }
        Ok(())
    }
}

impl StreamJoin {
    /// The join of a plan, whose row begins with the columns of both sides.
    pub(crate) fn new(plan: &sql::StreamJoin, branch: &sql::Branch) -> Result<Self, Cause> {
        let fields = branch.row_schema.fields();
        let (left_width, right_width) = (branch.input_columns.len(), plan.output_columns.len());
        let (Some(left), Some(right)) = (fields.get(..left_width), fields.get(left_width..left_width + right_width))
        else {
            return Err(Cause::Plan("its row schema isn't the columns of both streams".into()));
        };
        let types: Vec<DataType> = plan.keys.iter().map(|(left, _)| left.data_type().clone()).collect();
        if plan.keys.iter().any(|(left, right)| left.data_type() != right.data_type()) {
            return Err(Cause::Plan("keys of two types are joined".into()));
        }
        let left_names = (sql::SOURCE_PARTITION, sql::SOURCE_OFFSET);
        let right_names = (sql::JOINED_PARTITION, sql::JOINED_OFFSET);
        let left_keys = plan.keys.iter().map(|(left, _)| left.clone()).collect();
        let right_keys = plan.keys.iter().map(|(_, right)| right.clone()).collect();
        let left = Input::new(&branch.stream, &branch.input_columns, left_names, left, left_keys, &plan.left_time);
        let right = Input::new(&plan.stream, &plan.input_columns, right_names, right, right_keys, &plan.right_time);
        let is_left_join = plan.kind == JoinKind::Left;
        let of_right = right.schema.fields().iter().map(|field| {
            let nullable = field.is_nullable() || is_left_join;
            Arc::new(field.as_ref().clone().with_nullable(nullable))
        });
        let all: Vec<Arc<Field>> = left.schema.fields().iter().cloned().chain(of_right).collect();
        Ok(Self {
            kind: plan.kind,
            left,
            right,
            lower_us: plan.lower_us,
            upper_us: plan.upper_us,
            delay_us: plan.delay_us(),
            watermark_us: None,
            codec: KeyCodec::new(types)?,
            schema: Arc::new(Schema::new(all)),
            next_number: 0,
            cold: None,
            in_parts: InParts::default(),
            parts_from: usize::MAX,
        })
    }

    /// Whether it reads a stream.
    pub(crate) fn reads(&self, stream: &str) -> bool {
        self.left.stream == stream || self.right.stream == stream
    }

    /// Takes rows of one of the streams, or of both if they are one, and gives the pairs that they complete. Refused, with nothing changed,
    /// if the rows don't fit, or their pairs with rows that are kept don't.
    pub(crate) fn push(
        &mut self,
        batch: &RecordBatch,
        source: &Source<'_>,
        bytes_max: usize,
        metrics: &mut Metrics,
    ) -> Result<RecordBatch, Cause> {
        let sides = [self.left.stream == source.stream, self.right.stream == source.stream];
        let room = sides.iter().filter(|reads| **reads).count()
            * (batch.get_array_memory_size() + batch.num_rows() * 2 * ROW_BYTES);
        self.make_room(room)?;
        // Where there is a disk, one batch may come on top.
        let bytes = self.bytes() + if self.cold.is_some() { 0 } else { room };
        if bytes > bytes_max {
            return Err(Cause::StateFull { bytes, bytes_max });
        }
        let side = |input: &Input| input.split(&input.rows(batch, source)?, &self.codec);
        let left = if sides[0] { Some(side(&self.left)?) } else { None };
        let right = if sides[1] { Some(side(&self.right)?) } else { None };
        self.recall(left.iter().chain(&right).map(|(rows, _)| &rows.keys))?;
        for (rows, is_left) in
            left.iter().map(|(rows, _)| (rows, true)).chain(right.iter().map(|(rows, _)| (rows, false)))
        {
            self.refuse_pairs(rows, is_left, bytes_max)?;
        }
        let mut pairs = Vec::new();
        if let Some((rows, there)) = left {
            let alone = batch.num_rows() - rows.batch.num_rows();
            if self.kind == JoinKind::Left && alone > 0 {
                let not_there = BooleanArray::new(!there.values(), None);
                let rows = crate::rows::keep(&self.left.rows(batch, source)?, &not_there)?;
                self.left.keep_alone(&rows, numbers(self.next_number, &not_there), &self.codec)?;
            } else {
                metrics.rows_unmatched += alone as u64;
            }
            self.take(&rows, &there, true, &mut pairs);
        }
        if let Some((rows, there)) = right {
            self.take(&rows, &there, false, &mut pairs);
        }
        self.joined(&pairs)
    }

    /// From when to when the partners of a row are: those of a left row `lower` to `upper` later, those of a right row that much earlier.
    fn bounds(&self, is_left: bool) -> (i64, i64) {
        if is_left { (self.lower_us, self.upper_us) } else { (-self.upper_us, -self.lower_us) }
    }

    /// Refuses rows whose pairs don't fit. A row by itself is taken whatever it gives: nothing could be made smaller, and the rows of its key are
    /// in memory anyway.
    fn refuse_pairs(&self, rows: &Rows, is_left: bool, bytes_max: usize) -> Result<(), Cause> {
        if rows.batch.num_rows() <= 1 {
            return Ok(());
        }
        let (from_us, to_us) = self.bounds(is_left);
        let other = if is_left { &self.right.side } else { &self.left.side };
        let partners = |(row, time_us): (usize, &i64)| {
            let key = rows.keys.get(row).unwrap_or_default();
            other.partners(key, time_us.saturating_add(from_us), time_us.saturating_add(to_us)).count()
        };
        let pairs: usize = rows.times_us.iter().enumerate().map(partners).sum();
        // Both rows of a pair are copied.
        let row_bytes = rows.batch.get_array_memory_size() / rows.batch.num_rows().max(1);
        let bytes = pairs.saturating_mul(size_of::<(At, Option<At>)>() + 2 * row_bytes);
        if bytes > bytes_max { Err(Cause::StateFull { bytes, bytes_max }) } else { Ok(()) }
    }

    /// Keeps rows of one side, which are those that are there in its batch, and finds their partners.
    fn take(&mut self, rows: &Rows, there: &BooleanArray, is_left: bool, pairs: &mut Pairs) {
        let first_number = self.next_number;
        self.next_number += there.len() as u64;
        if rows.batch.num_rows() == 0 {
            return;
        }
        let (from_us, to_us) = self.bounds(is_left);
        let (own, other) = if is_left {
            (&mut self.left.side, &mut self.right.side)
        } else {
            (&mut self.right.side, &mut self.left.side)
        };
        let batch = own.keep_batch(&rows.batch);
        for ((row, time_us), number) in (0_u32..).zip(&rows.times_us).zip(numbers(first_number, there)) {
            let key = rows.keys.get(row as usize).unwrap_or_default();
            // Partners have the same key.
            self.in_parts.cross_out(key);
            let at = At { batch, row };
            let (from_us, to_us) = (time_us.saturating_add(from_us), time_us.saturating_add(to_us));
            let partners: Vec<u32> = other.partners(key, from_us, to_us).collect();
            for partner in &partners {
                let Some(there) = other.row(*partner).map(|kept| kept.at) else { continue };
                pairs.push(if is_left { (at, Some(there)) } else { (there, Some(at)) });
                other.mark_matched(*partner);
            }
            let hash = rows.keys.hashes.get(row as usize).copied().unwrap_or(0);
            let kept = Kept { time_us: *time_us, number, at, is_matched: !partners.is_empty() };
            own.insert(hash, key, kept);
        }
        own.drop_if_unused(batch);
    }

    /// Moves the watermark, the lesser of both streams: rows that can have no partner any more are let go. Gives rows of the left side that
    /// never had one, for a left join, and is to be called again until it gives none.
    ///
    /// Rows are let go a slice of time after the other, which depends on their times alone: those of the disk then needn't be in memory all at
    /// once, and what is made of the rows is the same whether they were there or not.
    pub(crate) fn advance(&mut self, watermark_us: i64, metrics: &mut Metrics) -> Result<Option<RecordBatch>, Cause> {
        if self.watermark_us > Some(watermark_us) {
            return Ok(None);
        }
        self.watermark_us = Some(watermark_us);
        let slice_us = (self.upper_us.saturating_sub(self.lower_us) / SLICES).max(1);
        while let Some(first_us) = self.first_due_us().filter(|first_us| *first_us < watermark_us) {
            let slice_end_us = first_us.div_euclid(slice_us).saturating_add(1).saturating_mul(slice_us);
            let until_us = watermark_us.min(slice_end_us);
            self.recall_due(until_us)?;
            let rows = self.let_go(until_us, metrics)?;
            self.make_room(0)?;
            if rows.num_rows() > 0 {
                return Ok(Some(rows));
            }
        }
        Ok(None)
    }

    /// When the first row can have no partner any more: once the watermark is above this time.
    fn first_due_us(&self) -> Option<i64> {
        // Rows to come are at the watermark or later. A left row's last partner is `upper` after it, a right row's `-lower`.
        let left = self.left.side.first_us().map(|time_us| time_us.saturating_add(self.upper_us));
        let right = self.right.side.first_us().map(|time_us| time_us.saturating_sub(self.lower_us));
        let cold = self.cold.as_ref().and_then(|cold| cold.keys.first_due_us());
        [left, right, cold].into_iter().flatten().min()
    }

    /// Lets rows in memory go at a watermark. Gives those of the left side that never had a partner, for a left join.
    fn let_go(&mut self, watermark_us: i64, metrics: &mut Metrics) -> Result<RecordBatch, Cause> {
        let mut gone = |key: &[u8]| self.in_parts.cross_out(key);
        let left = self.left.side.take_before(watermark_us.saturating_sub(self.upper_us), &mut gone);
        let right = self.right.side.take_before(watermark_us.saturating_add(self.lower_us), &mut gone);
        let mut unmatched: Pairs = left.iter().filter(|kept| !kept.is_matched).map(|kept| (kept.at, None)).collect();
        if self.kind == JoinKind::Inner {
            metrics.rows_unmatched += unmatched.len() as u64;
            unmatched.clear();
        }
        let rows = self.joined(&unmatched)?;
        self.left.side.release(&left);
        self.right.side.release(&right);
        Ok(rows)
    }

    /// How far the times of pairs to come may lie below the watermark.
    pub(crate) fn delay_us(&self) -> i64 {
        self.delay_us
    }

    /// The rows of pairs.
    fn joined(&self, pairs: &[(At, Option<At>)]) -> Result<RecordBatch, Cause> {
        if pairs.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.schema)));
        }
        let left = gather(&self.left.side, &self.left.schema, pairs.iter().map(|(left, _)| Some(*left)))?;
        let mut columns = left;
        columns.extend(gather(&self.right.side, &self.right.schema, pairs.iter().map(|(_, right)| *right))?);
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        let cold = self.cold.as_ref().map_or(0, |cold| cold.keys.memory_bytes());
        self.left.side.bytes() + self.right.side.bytes() + self.in_parts.bytes() + cold
    }
}

/// The values of a join's time.
fn times_of(time: &ArrayRef) -> Result<&TimestampMicrosecondArray, Cause> {
    time.as_primitive_opt().ok_or_else(|| Cause::Plan(format!("a join by the time {}", time.data_type())))
}

/// The numbers in the order of arrival of the rows of a batch that a mask tells: their places in it decide, however a batch is cut.
fn numbers(first: u64, mask: &BooleanArray) -> impl Iterator<Item = u64> {
    mask.values().set_indices().map(move |row| first + row as u64)
}

/// The columns of rows out of the kept batches; NULL where there is no row.
pub(super) fn gather(
    side: &Side,
    schema: &SchemaRef,
    rows: impl Iterator<Item = Option<At>>,
) -> Result<Vec<ArrayRef>, Cause> {
    let mut batches: Vec<&RecordBatch> = Vec::new();
    let mut number_of: HashMap<u32, usize> = HashMap::new();
    // The source before all batches is one NULL.
    let mut indices: Vec<(usize, usize)> = Vec::new();
    for at in rows {
        let Some(at) = at else {
            indices.push((0, 0));
            continue;
        };
        let batch = side.batch(at.batch).ok_or_else(|| Cause::Internal("a kept row without its batch".into()))?;
        let number = *number_of.entry(at.batch).or_insert_with(|| {
            batches.push(batch);
            batches.len()
        });
        indices.push((number, at.row as usize));
    }
    let mut columns = Vec::with_capacity(schema.fields().len());
    for (column, field) in schema.fields().iter().enumerate() {
        let null = arrow_array::new_null_array(field.data_type(), 1);
        let sources: Vec<&dyn arrow_array::Array> =
            std::iter::once(null.as_ref()).chain(batches.iter().map(|batch| batch.column(column).as_ref())).collect();
        columns.push(interleave(&sources, &indices)?);
    }
    Ok(columns)
}
