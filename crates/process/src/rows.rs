//! The row part of a query: joins, filter, and row-by-row results.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::{Array as _, ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::filter::{FilterBuilder, FilterPredicate};
use arrow_select::take::take;
use model::Version;
use sql::{Branch, Expression, JoinKind, Query};
use state::{CodecError, SnapshotReader, SnapshotWriter};

use crate::emission::Emission;
use crate::error::Cause;
use crate::metrics::Metrics;
use crate::options::Source;
use crate::reference::{self, ReferenceData};
use crate::stream_join::StreamJoin;

/// Makes the rows that a query folds or projects: the stream's columns, those of the joins, and `source_offset`.
#[derive(Debug)]
pub(crate) struct RowPipeline {
    stream: String,
    stream_join: Option<StreamJoin>,
    input_columns: Vec<String>,
    joins: Vec<Join>,
    filter: Option<Expression>,
    /// Number of joins that the filter waits for: it runs as soon as its columns are there, so that joins see fewer rows.
    filter_after: usize,
    /// Schema before any join and after each.
    schemas: Vec<SchemaRef>,
    shared: Option<Shared>,
}

/// What a branch of UNION ALL makes of its row: the columns that all branches share, and its number.
#[derive(Debug)]
struct Shared {
    branch: i32,
    columns: Vec<(String, Expression)>,
    schema: SchemaRef,
}

impl Shared {
    fn new(branch: i32, columns: &[(String, Expression)]) -> Self {
        // Nullable, so that batches of all branches can be put together.
        let shared = columns.iter().map(|(name, value)| Field::new(name, value.data_type().clone(), true));
        let fields = [(sql::SOURCE_OFFSET, DataType::Int64), (sql::SOURCE_BRANCH, DataType::Int32)];
        let fields = fields.into_iter().map(|(name, data_type)| Field::new(name, data_type, false)).chain(shared);
        Self { branch, columns: columns.to_vec(), schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())) }
    }

    fn of(&self, rows: &RecordBatch) -> Result<RecordBatch, Cause> {
        let branch: ArrayRef = Arc::new(Int32Array::from(vec![self.branch; rows.num_rows()]));
        let mut columns = vec![Arc::clone(rows.column(0)), branch];
        for (_, value) in &self.columns {
            columns.push(value.evaluate(rows)?);
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

#[derive(Debug)]
struct Join {
    data: Arc<ReferenceData>,
    kind: JoinKind,
    keys: Vec<Expression>,
    as_of: Option<Expression>,
    /// Names and types of the table's columns that the query reads.
    wanted: Vec<(String, DataType)>,
    /// Their indexes in the table as it is now.
    columns: Vec<usize>,
}

impl RowPipeline {
    /// The pipeline of a branch, which has this number among the query's.
    pub(crate) fn new(
        branch: &Branch,
        number: i32,
        references: &BTreeMap<String, Arc<ReferenceData>>,
    ) -> Result<Self, Cause> {
        let fields = branch.row_schema.fields();
        let stream_join = branch.stream_join.as_ref().map(|join| StreamJoin::new(join, branch)).transpose()?;
        let mut width = branch.input_columns.len();
        width += branch.stream_join.as_ref().map_or(0, |join| join.output_columns.len());
        let is_joined = stream_join.is_some();
        let with_offset = |fields: &[Arc<Field>]| with_positions(fields, is_joined);
        let mut schemas = vec![with_offset(fields.get(..width).unwrap_or_default())];
        let mut joins = Vec::with_capacity(branch.joins.len());
        for join in &branch.joins {
            let data = references
                .get(&join.reference)
                .ok_or_else(|| Cause::ReferenceMissing { reference: join.reference.clone() })?;
            let appended = fields.get(width..width + join.output_columns.len()).unwrap_or_default();
            let wanted = join
                .reference_columns
                .iter()
                .zip(appended)
                .map(|(name, field)| (name.clone(), field.data_type().clone()));
            let mut bound = Join {
                data: Arc::clone(data),
                kind: join.kind,
                keys: join.stream_keys.clone(),
                as_of: join.as_of.clone(),
                wanted: wanted.collect(),
                columns: Vec::new(),
            };
            bound.columns = bound.bind(data)?;
            joins.push(bound);
            width += join.output_columns.len();
            schemas.push(with_offset(fields.get(..width).unwrap_or_default()));
        }
        if width != fields.len() {
            return Err(Cause::Plan("its row schema isn't the columns of the stream and of the joins".into()));
        }
        let filter_after = branch.filter.as_ref().map_or(0, |filter| {
            let reads =
                |schema: &SchemaRef| filter.columns().iter().all(|column| schema.column_with_name(column).is_some());
            schemas.iter().position(reads).unwrap_or(branch.joins.len())
        });
        let filter = branch.filter.clone();
        let (stream, input_columns) = (branch.stream.clone(), branch.input_columns.clone());
        let shared = branch.columns.as_ref().map(|columns| Shared::new(number, columns));
        Ok(Self { stream, stream_join, input_columns, joins, filter, filter_after, schemas, shared })
    }

    /// Whether it reads a stream.
    pub(crate) fn reads(&self, stream: &str) -> bool {
        self.stream == stream || self.stream_join.as_ref().is_some_and(|join| join.reads(stream))
    }

    /// Uses another version of a reference table from the next batch on. Whether the query joins it.
    pub(crate) fn replace_reference(&mut self, data: &Arc<ReferenceData>) -> Result<bool, Cause> {
        let mut bound = Vec::new();
        for (at, join) in self.joins.iter().enumerate() {
            if join.data.name() == data.name() {
                bound.push((at, join.bind(data)?));
            }
        }
        let joined = !bound.is_empty();
        for (at, columns) in bound {
            if let Some(join) = self.joins.get_mut(at) {
                join.columns = columns;
                join.data = Arc::clone(data);
            }
        }
        Ok(joined)
    }

    /// Versions of the reference tables in use.
    pub(crate) fn reference_versions(&self) -> BTreeMap<String, u64> {
        self.joins.iter().map(|join| (join.data.name().to_owned(), join.data.version())).collect()
    }

    /// The join of two streams, if it has one.
    pub(crate) fn stream_join(&self) -> Option<&StreamJoin> {
        self.stream_join.as_ref()
    }

    /// The join of two streams, if it has one.
    pub(crate) fn stream_join_mut(&mut self) -> Option<&mut StreamJoin> {
        self.stream_join.as_mut()
    }

    /// Joins and filters a batch of a stream. The state of a join of two streams takes up to `bytes_max` bytes.
    pub(crate) fn run(
        &mut self,
        batch: &RecordBatch,
        source: &Source<'_>,
        bytes_max: usize,
        metrics: &mut Metrics,
    ) -> Result<RecordBatch, Cause> {
        if source.raw_offsets.len() != batch.num_rows() {
            let (offsets, rows) = (source.raw_offsets.len(), batch.num_rows());
            return Err(Cause::Batch(format!("it has {rows} rows and {offsets} raw offsets")));
        }
        if let Some(join) = &mut self.stream_join {
            let pairs = join.push(batch, source, bytes_max, metrics)?;
            return self.finish(&pairs, metrics);
        }
        let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(source.raw_offsets.to_vec()))];
        for name in &self.input_columns {
            let found = batch.column_by_name(name);
            columns.push(Arc::clone(found.ok_or_else(|| Cause::Batch(format!("it has no column {name}")))?));
        }
        let rows = self.batch(0, columns)?;
        self.joined(rows, metrics)
    }

    /// Moves the watermark of a join of two streams. Gives the rows that found no partner, joined and filtered.
    pub(crate) fn advance(&mut self, watermark_us: i64, metrics: &mut Metrics) -> Result<Option<RecordBatch>, Cause> {
        let Some(join) = &mut self.stream_join else { return Ok(None) };
        match join.advance(watermark_us, metrics)? {
            None => Ok(None),
            Some(rows) => self.finish(&rows, metrics).map(Some),
        }
    }

    /// Rows of two joined streams: positions, then columns.
    fn finish(&self, rows: &RecordBatch, metrics: &mut Metrics) -> Result<RecordBatch, Cause> {
        let schema = self.schemas.first().ok_or_else(|| Cause::Internal("a branch without a schema".into()))?;
        let column = |field: &Arc<Field>| {
            let found = rows.column_by_name(field.name()).cloned();
            found.ok_or_else(|| Cause::Internal(format!("a pair without {}", field.name())))
        };
        let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?;
        let rows = self.batch(0, columns)?;
        self.joined(rows, metrics)
    }

    /// Joins reference tables and filters.
    fn joined(&self, mut rows: RecordBatch, metrics: &mut Metrics) -> Result<RecordBatch, Cause> {
        for at in 0..=self.joins.len() {
            if let (Some(filter), true) = (&self.filter, at == self.filter_after) {
                let before = rows.num_rows();
                rows = keep(&rows, &truths(&filter.evaluate(&rows)?))?;
                metrics.rows_filtered += (before - rows.num_rows()) as u64;
            }
            if let Some(join) = self.joins.get(at) {
                rows = self.join(at, join, &rows, metrics)?;
            }
        }
        match &self.shared {
            None => Ok(rows),
            Some(shared) => shared.of(&rows),
        }
    }

    fn join(&self, at: usize, join: &Join, rows: &RecordBatch, metrics: &mut Metrics) -> Result<RecordBatch, Cause> {
        let keys: Result<Vec<_>, _> = join.keys.iter().map(|key| key.evaluate(rows)).collect();
        let times = join.as_of.as_ref().map(|time| time.evaluate(rows)).transpose()?;
        let joined = reference::join(&join.data, join.kind, &keys?, rows.num_rows(), times.as_ref(), &join.columns)?;
        let mut columns = match joined.kept {
            None => rows.columns().to_vec(),
            Some(kept) => {
                metrics.rows_unmatched += (rows.num_rows() - kept.len()) as u64;
                rows.columns().iter().map(|column| take(column, &kept, None)).collect::<Result<_, _>>()?
            }
        };
        columns.extend(joined.columns);
        self.batch(at + 1, columns)
    }

    fn batch(&self, stage: usize, columns: Vec<ArrayRef>) -> Result<RecordBatch, Cause> {
        let schema = self.schemas.get(stage).ok_or_else(|| Cause::Internal("a join without a schema".into()))?;
        RecordBatch::try_new(Arc::clone(schema), columns).map_err(|error| Cause::Batch(error.to_string()))
    }
}

impl Join {
    /// Indexes of the wanted columns in a version of the table, which must still be what the query was compiled for.
    fn bind(&self, data: &ReferenceData) -> Result<Vec<usize>, Cause> {
        let changed = |reason: String| Cause::ReferenceChanged { reference: data.name().to_owned(), reason };
        let keys: Vec<_> = self.keys.iter().map(|key| key.data_type().clone()).collect();
        if keys != data.key_types() {
            return Err(changed(format!(
                "its key has the types {:?}, and the query looks up {keys:?}",
                data.key_types()
            )));
        }
        let bind = |(name, data_type): &(String, DataType)| match data.batch().schema_ref().column_with_name(name) {
            Some((at, field)) if field.data_type() == data_type => Ok(at),
            Some((_, field)) => Err(changed(format!("column {name} is {}, not {data_type}", field.data_type()))),
            None => Err(changed(format!("it has no column {name}"))),
        };
        self.wanted.iter().map(bind).collect()
    }
}

/// The raw offset comes first, so that there is always a column that tells the number of rows. Rows of two joined streams have all their
/// positions: they are of several partitions.
fn with_positions(fields: &[Arc<Field>], is_joined: bool) -> SchemaRef {
    let mut positions = vec![Field::new(sql::SOURCE_OFFSET, DataType::Int64, false)];
    if is_joined {
        positions.push(Field::new(sql::SOURCE_PARTITION, DataType::Int32, false));
        positions.push(Field::new(sql::JOINED_PARTITION, DataType::Int32, true));
        positions.push(Field::new(sql::JOINED_OFFSET, DataType::Int64, true));
    }
    let positions = positions.into_iter().map(Arc::new);
    Arc::new(Schema::new(positions.chain(fields.iter().cloned()).collect::<Vec<_>>()))
}

/// A condition's values with NULL, and a bare NULL literal, as false.
pub(crate) fn truths(values: &ArrayRef) -> BooleanArray {
    match values.as_boolean_opt() {
        Some(values) if values.null_count() == 0 => values.clone(),
        Some(values) => arrow_select::filter::prep_null_mask_filter(values),
        None => BooleanArray::from(vec![false; values.len()]),
    }
}

/// The rows for which the mask is true.
pub(crate) fn keep(rows: &RecordBatch, mask: &BooleanArray) -> Result<RecordBatch, Cause> {
    if mask.true_count() == rows.num_rows() {
        return Ok(rows.clone());
    }
    let predicate: FilterPredicate = FilterBuilder::new(mask).optimize().build();
    Ok(predicate.filter_record_batch(rows)?)
}

/// Evaluates a result's columns.
pub(crate) fn project(
    rows: &RecordBatch,
    output: &[(String, Expression)],
    schema: &SchemaRef,
) -> Result<RecordBatch, Cause> {
    let columns: Result<Vec<_>, _> = output.iter().map(|(_, expression)| expression.evaluate(rows)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns?, &options)?)
}

/// Row-by-row results that wait for the next emission.
#[derive(Debug)]
pub(crate) struct Projection {
    output: Vec<(String, Expression)>,
    schema: SchemaRef,
    waiting: Vec<RecordBatch>,
    bytes: usize,
}

impl Projection {
    pub(crate) fn new(query: &Query) -> Self {
        Self { output: query.output.clone(), schema: Arc::clone(&query.schema), waiting: Vec::new(), bytes: 0 }
    }

    pub(crate) fn push(&mut self, rows: &RecordBatch, partition: i32) -> Result<(), Cause> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let mut fields = rows.schema_ref().fields().to_vec();
        let mut columns = rows.columns().to_vec();
        if rows.column_by_name(sql::SOURCE_PARTITION).is_none() {
            fields.push(Arc::new(Field::new(sql::SOURCE_PARTITION, DataType::Int32, false)));
            columns.push(Arc::new(Int32Array::from(vec![partition; rows.num_rows()])));
        }
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
        let results = project(&rows, &self.output, &self.schema)?;
        self.bytes += results.get_array_memory_size();
        self.waiting.push(results);
        Ok(())
    }

    pub(crate) fn emit(&mut self, generation: u32, empty: Emission, metrics: &mut Metrics) -> Result<Emission, Cause> {
        if self.waiting.is_empty() {
            return Ok(empty);
        }
        let rows = match self.waiting.as_slice() {
            [one] => one.clone(),
            many => arrow_select::concat::concat_batches(&self.schema, many)?,
        };
        self.waiting.clear();
        self.bytes = 0;
        metrics.rows_published += rows.num_rows() as u64;
        let versions = vec![Version { generation, rows: 1, is_final: true }; rows.num_rows()];
        Ok(Emission { rows, versions, ..empty })
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Without waiting rows nothing tells what columns there were, so that columns can be added between two runs.
    pub(crate) fn save(&self, writer: &mut SnapshotWriter) -> Result<(), Cause> {
        let rows = arrow_select::concat::concat_batches(&self.schema, &self.waiting)?;
        writer.u64(rows.num_rows() as u64);
        if rows.num_rows() == 0 {
            return Ok(());
        }
        writer.text(&shape(&self.schema));
        for column in rows.columns() {
            writer.column(column)?;
        }
        Ok(())
    }

    pub(crate) fn load(&mut self, reader: &mut SnapshotReader<'_>) -> Result<(), Cause> {
        self.waiting.clear();
        self.bytes = 0;
        if reader.u64()? == 0 {
            return Ok(());
        }
        let saved = reader.text()?;
        if saved != shape(&self.schema) {
            let reason = format!("its waiting rows have the columns {saved}, the query's are {}", shape(&self.schema));
            return Err(CodecError::Invalid { what: "row-by-row results", reason }.into());
        }
        let columns: Result<Vec<_>, CodecError> =
            self.schema.fields().iter().map(|field| reader.column(field.data_type())).collect();
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns?)?;
        self.bytes = rows.get_array_memory_size();
        self.waiting.push(rows);
        Ok(())
    }
}

/// Names and types of the columns.
fn shape(schema: &Schema) -> String {
    let columns: Vec<String> =
        schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
    columns.join(", ")
}
