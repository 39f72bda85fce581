//! The plan of a query: what the operators, the store and `explain` read.
//!
//! # How the operators use it
//! 1. Each [`Branch`] takes batches with its stream's columns `input_columns` (more columns do no harm: expressions find columns by name).
//!    With a `stream_join`, it pairs them with rows of the second stream, whose columns it appends.
//! 2. Each join in order evaluates `stream_keys` over the row so far and appends the reference's columns under `output_columns`.
//!    The row is then that of `row_schema`.
//! 3. The branch's `filter` keeps the rows for which it is true (NULL counts as false).
//!    With several branches, each then evaluates its `columns`, and what follows is over those.
//! 4. A row-by-row query has no `aggregate`: `output` is evaluated over the row with the columns `source_partition` (Int32) and
//!    `source_offset` (Int64) appended, `source_branch` (Int32) if there are several branches, and `joined_partition` (Int32) and
//!    `joined_offset` (Int64) if two streams are joined. An aggregate query folds rows by window and keys, and `having` and `output` are
//!    evaluated over batches of `Aggregate::grouped_schema`: `window_start`, `window_end`, the keys by name, the calls by name. With
//!    `inner`, rows are folded by that first, and its final groups by `aggregate`.
//! 5. The batch of all `output` expressions in order has the schema `schema`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_schema::{DataType, SchemaRef};

use crate::diagnostic::Diagnostic;
use crate::expression::Expression;
use crate::pattern::Pattern;

/// Column of a result: start of the window, inclusive.
pub const WINDOW_START: &str = "window_start";
/// Column of a result: end of the window, exclusive.
pub const WINDOW_END: &str = "window_end";
/// Column of a row-by-row result: raw partition (Int32).
pub const SOURCE_PARTITION: &str = "source_partition";
/// Column of a row-by-row result of UNION ALL: which branch the row is of (Int32), counted from 0 in the order of the text.
pub const SOURCE_BRANCH: &str = "source_branch";
/// Column of a row-by-row result: raw offset (Int64).
pub const SOURCE_OFFSET: &str = "source_offset";

/// Column of a row of two joined streams: raw partition of the second stream's row (Int32); NULL without a partner.
pub const JOINED_PARTITION: &str = "joined_partition";
/// Column of a row of two joined streams: raw offset of the second stream's row (Int64).
pub const JOINED_OFFSET: &str = "joined_offset";

/// What a query may read.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Streams by name.
    pub streams: BTreeMap<String, StreamTable>,
    /// Reference tables by name.
    pub references: BTreeMap<String, ReferenceTable>,
}

/// A stream as queries see it.
#[derive(Debug, Clone)]
pub struct StreamTable {
    /// Columns of the accepted records.
    pub schema: SchemaRef,
    /// Name of the event-time column.
    pub event_time: String,
    /// Name of the column that decides a record's partition.
    pub key: String,
}

/// A reference table as queries see it.
#[derive(Debug, Clone)]
pub struct ReferenceTable {
    /// Columns.
    pub schema: SchemaRef,
    /// Columns of the key, which is unique at any time.
    pub key: Vec<String>,
    /// Whether its rows are valid for a time: a row of the stream is joined with the one that is valid at its event time.
    pub has_validity: bool,
}

/// When a window's content is published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Emit {
    /// A new version at every micro-batch that changed it.
    #[default]
    Changes,
    /// Once, when the watermark passes the window.
    Final,
}

/// The options in a query's leading lines `--! key: value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryOptions {
    /// `emit`, default `changes`.
    pub emit: Emit,
    /// `table`, default `true`: whether the result is kept in PostgreSQL.
    pub table: bool,
    /// `key`: result columns to key the result topic by, instead of the identity.
    pub key: Option<Vec<String>>,
}

impl Default for QueryOptions {
    fn default() -> Self {
        Self { emit: Emit::Changes, table: true, key: None }
    }
}

/// A checked query.
#[derive(Debug, Clone)]
pub struct Query {
    /// Name: of the file, the result topic, the table and the view.
    pub name: String,
    /// The text it was compiled from, options included.
    pub text: String,
    /// Options.
    pub options: QueryOptions,
    /// Where its rows come from. At least one; several are the branches of UNION ALL, in the order of the text.
    pub branches: Vec<Branch>,
    /// The grouping whose groups `aggregate` groups again.
    pub inner: Option<InnerAggregate>,
    /// Grouping; `None` for a row-by-row query.
    pub aggregate: Option<Aggregate>,
    /// Condition on groups; a group for which it isn't true has no result row.
    pub having: Option<Expression>,
    /// The result's columns in order, with their expressions.
    pub output: Vec<(String, Expression)>,
    /// Schema of the result, one field per `output`. A column is nullable only if it can be NULL.
    pub schema: SchemaRef,
    /// Result columns that identify a row: `window_start`, `window_end` (not for sessions) and the group keys, or `source_partition`
    /// and `source_offset`.
    pub identity: Vec<String>,
    /// Result column that tells the row's time: `window_start`, or the stream's event time where it is selected.
    pub time_column: Option<String>,
    /// The `MATCH_RECOGNIZE` clause of a pattern; `None` for a query. `filter` is then over rows before they are matched, `having` and
    /// `output` are over `Pattern::matched_schema`, and there are no joins and no `aggregate`.
    pub pattern: Option<Arc<Pattern>>,
    /// Doubts that don't hinder the query, such as sums over floating point.
    pub warnings: Vec<Diagnostic>,
}

/// Rows of one stream, with reference tables joined to them.
#[derive(Debug, Clone)]
pub struct Branch {
    /// The stream.
    pub stream: String,
    /// Columns of the stream that are read, in the stream's order. May be empty (`count(*)` alone reads the event time).
    pub input_columns: Vec<String>,
    /// A second stream, joined before all else.
    pub stream_join: Option<StreamJoin>,
    /// Joins with reference tables, applied in order.
    pub joins: Vec<Join>,
    /// The row after all joins: `input_columns`, then each join's `output_columns`.
    pub row_schema: SchemaRef,
    /// Condition on the row; `None` keeps all.
    pub filter: Option<Expression>,
    /// The columns that all branches of a UNION ALL share, by name and over this branch's row; the same names and types in each branch.
    /// `None` for an only branch, whose row is read as it is.
    pub columns: Option<Vec<(String, Expression)>>,
}

/// An aggregation whose groups are the rows of the query's `aggregate`, once they are final: windows over windows. Its grouped batch is
/// that row, so expressions of the outer aggregation read `window_start`, `window_end`, and its keys and calls by name; their time is
/// `window_end - INTERVAL '1 microsecond'`, Spark's `window_time(window)`. Locally `emit: changes`
/// publishes the outer window whenever an inner one is over; Spark has it in append mode alone, and publishes it once.
#[derive(Debug, Clone)]
pub struct InnerAggregate {
    /// The inner grouping, over rows of the branches; never over sessions.
    pub aggregate: Aggregate,
}

/// Which rows of the stream a join keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinKind {
    /// Those with a partner.
    Inner,
    /// All; without a partner the reference's columns are NULL.
    Left,
}

/// A join of two streams: rows with equal keys whose event times lie within bounds of each other.
///
/// A pair is a row with the identity of both raw positions (`source_partition`, `source_offset`, `joined_partition`, `joined_offset`). A
/// left row that can't find a partner any more, by the lesser watermark of both streams, is a row with NULL for the second stream's columns;
/// such joins need `emit: final`, on Spark too.
#[derive(Debug, Clone)]
pub struct StreamJoin {
    /// Name of the second stream; it may be the first one again.
    pub stream: String,
    /// Which rows of the first stream are kept.
    pub kind: JoinKind,
    /// Columns of the second stream that are read, in its order.
    pub input_columns: Vec<String>,
    /// Names under which they are in the row: `<alias>.<column>`, one per `input_columns`.
    pub output_columns: Vec<String>,
    /// Pairs of equal values: over `input_columns` of the branch, and over `output_columns`. NULL equals nothing. Both have one type.
    pub keys: Vec<(Expression, Expression)>,
    /// Event time of the first stream's row.
    pub left_time: Expression,
    /// Event time of the second stream's row, over `output_columns`.
    pub right_time: Expression,
    /// Least `right_time - left_time` in microseconds, inclusive.
    pub lower_us: i64,
    /// Greatest `right_time - left_time` in microseconds, inclusive.
    pub upper_us: i64,
}

impl StreamJoin {
    /// How far, in microseconds, the times of pairs that are yet to come may lie below the lesser watermark of both streams.
    pub fn delay_us(&self) -> i64 {
        self.upper_us.max(self.lower_us.saturating_neg()).max(0)
    }
}

/// A join with a reference table by the table's whole key.
#[derive(Debug, Clone)]
pub struct Join {
    /// Name of the reference table.
    pub reference: String,
    /// Which rows are kept.
    pub kind: JoinKind,
    /// Expressions over the row so far (the stream's columns and those of earlier joins), one per column of the reference's key and
    /// in the key's order, each of that column's type. A NULL in any of them has no partner.
    pub stream_keys: Vec<Expression>,
    /// The time at which the table's row must be valid, for a table whose rows have a validity.
    pub as_of: Option<Expression>,
    /// Columns of the reference that the query reads, in the reference's order; may be empty.
    pub reference_columns: Vec<String>,
    /// Names under which they are appended to the row: `<alias>.<column>`, one per `reference_columns`.
    pub output_columns: Vec<String>,
}

/// Grouping by window and keys.
#[derive(Debug, Clone)]
pub struct Aggregate {
    /// The window. Always there as long as unwindowed grouping is refused.
    pub window: Option<Window>,
    /// Group keys over the row, each named as its result column. NULL is a group of its own. Floating-point keys are normalised
    /// (-0.0 is 0.0, one NaN), so that equal keys have equal bytes.
    pub keys: Vec<(String, Expression)>,
    /// Aggregate calls, each once.
    pub calls: Vec<AggregateCall>,
    /// The batch that `having` and `output` are evaluated over: `window_start`, `window_end` (with a window), keys, calls.
    pub grouped_schema: SchemaRef,
}

/// Which rows of a key belong together by their time.
#[derive(Debug, Clone)]
pub enum Window {
    /// Windows of a fixed length.
    Fixed(FixedWindow),
    /// Sessions: rows that follow one another within a gap.
    Session(SessionWindow),
}

impl Window {
    /// The event time that it goes by (microseconds since 1970). A row whose time is NULL is in no window, as in Spark.
    pub fn time(&self) -> &Expression {
        match self {
            Self::Fixed(window) => &window.time,
            Self::Session(window) => &window.time,
        }
    }
}

/// Sessions of a key: its rows in order of time, cut where the next one comes more than `gap_us` after the one before. As in Spark, a row
/// exactly `gap_us` later still belongs to the session. A session starts with its first row (`window_start`) and ends `gap_us` after its
/// last (`window_end`).
///
/// A row may join two sessions or begin one earlier: then the results under the starts that are no longer one are deleted. Spark has no
/// update mode for sessions: with it, a query needs `emit: final`.
#[derive(Debug, Clone)]
pub struct SessionWindow {
    /// The event time.
    pub time: Expression,
    /// Microseconds without a row that end a session, above 0.
    pub gap_us: i64,
}

/// Tumbling (`slide_us == size_us`) or hopping windows. A window `[start, end)` has
/// `start = offset_us + n * slide_us` for a whole `n` (also negative) and `end = start + size_us`.
///
/// `0 < slide_us <= size_us`, `size_us % slide_us == 0`, `0 <= offset_us < slide_us`.
#[derive(Debug, Clone)]
pub struct FixedWindow {
    /// The event time.
    pub time: Expression,
    /// Length in microseconds.
    pub size_us: i64,
    /// Distance of starts in microseconds.
    pub slide_us: i64,
    /// Shift of starts in microseconds.
    pub offset_us: i64,
}

/// One aggregate over the rows of a group. `FILTER (WHERE …)` and `count_if` are folded into the argument, or into the order where there
/// is one, so NULL arguments (NULL orders) are skipped and that is all an operator has to know.
#[derive(Debug, Clone)]
pub struct AggregateCall {
    /// What is computed.
    pub function: AggregateFunction,
    /// Over what, evaluated on the row; `None` for `CountStar`.
    pub argument: Option<Expression>,
    /// What `MinBy` and `MaxBy` go by, evaluated on the row; `None` for all others.
    pub order: Option<Expression>,
    /// Type of the result, see [`AggregateFunction`].
    pub result: DataType,
    /// Whether the result can be NULL (all arguments of a group are NULL).
    pub nullable: bool,
    /// Column in the grouped batch, such as `sum(amount)`; unique.
    pub name: String,
}

/// The aggregate functions, with Spark's result types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AggregateFunction {
    /// Rows whose argument isn't NULL: Int64.
    Count,
    /// Rows: Int64.
    CountStar,
    /// Sum of the arguments that aren't NULL; NULL if there are none.
    /// Int32 and Int64 give Int64 and wrap around. Decimal128(p, s) gives Decimal128(p + 10, s); p is at most 26, so that an i128
    /// adds up 10^12 rows exactly. Float64 gives Float64.
    Sum,
    /// Least argument that isn't NULL, of the argument's type. NaN is greater than all numbers; text is ordered by bytes.
    Min,
    /// Greatest argument that isn't NULL, of the argument's type.
    Max,
    /// Mean of the arguments that aren't NULL; NULL if there are none.
    /// Decimal128(p, s) gives Decimal128(p + 4, s + 4), rounded half up (away from zero); numbers of other types give Float64.
    Avg,
    /// Whether all arguments that aren't NULL are true: Boolean; NULL if there are none.
    BoolAnd,
    /// Whether one argument is true: Boolean; NULL if all are NULL.
    BoolOr,
    /// Standard deviation of a sample of Float64s: Float64; NULL for fewer than two.
    StddevSamp,
    /// Standard deviation of Float64s: Float64; NULL if there are none.
    StddevPop,
    /// Variance of a sample of Float64s: Float64; NULL for fewer than two.
    VarSamp,
    /// Variance of Float64s: Float64; NULL if there are none.
    VarPop,
    /// Different arguments that aren't NULL, exactly: Int64. In Spark `CAST(size(collect_set(x)) AS BIGINT)`, since its streams take no
    /// DISTINCT in aggregates.
    CountDistinct,
    /// Different arguments that aren't NULL, by HyperLogLog with `2^bits` registers: Int64. The standard error is 1.04 / sqrt(2^bits), the
    /// one asked for or less; up to an eighth of the registers the number is exact.
    ApproxCountDistinct {
        /// 4 to 16.
        bits: u8,
    },
    /// A value of the argument's type whose rank is off by at most `rows / accuracy` from that of the percentile; NULL if there are none.
    PercentileApprox {
        /// The percentage in billionths, 0 to 10^9.
        billionths: u32,
        /// The reciprocal of the relative error, 1 to 1,000,000.
        accuracy: u32,
    },
    /// The argument (also NULL) of the row whose `order` is least; rows whose order is NULL are skipped. Of equal orders the row that is
    /// first by (event time, partition, offset). In Spark `min_by(x, IF(o IS NULL, NULL, struct(o, event_time, partition, offset)))`.
    MinBy,
    /// The argument of the row whose `order` is greatest, of equal ones the row that is last by (event time, partition, offset).
    MaxBy,
    /// The first `items_max` arguments that aren't NULL, by (event time, partition, offset): a list of the argument's type, empty if
    /// there are none. In Spark `slice(transform(array_sort(collect_list(struct(event_time, partition, offset, x))), …), 1, items_max)`.
    CollectList {
        /// Most items, 1 to 10,000.
        items_max: u32,
    },
}

impl AggregateFunction {
    /// Name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Count | Self::CountStar | Self::CountDistinct => "count",
            Self::Sum => "sum",
            Self::Min => "min",
            Self::Max => "max",
            Self::Avg => "avg",
            Self::BoolAnd => "bool_and",
            Self::BoolOr => "bool_or",
            Self::StddevSamp => "stddev_samp",
            Self::StddevPop => "stddev_pop",
            Self::VarSamp => "var_samp",
            Self::VarPop => "var_pop",
            Self::ApproxCountDistinct { .. } => "approx_count_distinct",
            Self::PercentileApprox { .. } => "percentile_approx",
            Self::MinBy => "min_by",
            Self::MaxBy => "max_by",
            Self::CollectList { .. } => "collect_list",
        }
    }

    /// Whether its result depends on where rows stand in their stream: by (event time, partition, offset).
    pub fn needs_places(self) -> bool {
        matches!(self, Self::MinBy | Self::MaxBy | Self::CollectList { .. })
    }

    /// Whether its result is a number of rows or values, 0 without any.
    pub(crate) fn counts(self) -> bool {
        matches!(self, Self::Count | Self::CountStar | Self::CountDistinct | Self::ApproxCountDistinct { .. })
    }

    /// A call of it, as people read it.
    pub(crate) fn display(self, argument: Option<&str>, order: Option<&str>) -> String {
        let (name, argument) = (self.name(), argument.unwrap_or("*"));
        match self {
            Self::CountDistinct => format!("count(DISTINCT {argument})"),
            Self::ApproxCountDistinct { bits } => format!("{name}({argument}, 2^{bits} registers)"),
            Self::PercentileApprox { billionths, accuracy } => {
                format!("{name}({argument}, {}, {accuracy})", f64::from(billionths) / 1e9)
            }
            Self::MinBy | Self::MaxBy => format!("{name}({argument}, {})", order.unwrap_or("")),
            Self::CollectList { items_max } => format!("slice({name}({argument}), 1, {items_max})"),
            _ => format!("{name}({argument})"),
        }
    }
}

impl Query {
    /// Names of the streams that it reads, each once.
    pub fn streams(&self) -> Vec<&str> {
        let mut streams: Vec<&str> = Vec::new();
        for branch in &self.branches {
            let second = branch.stream_join.as_ref().map(|join| &join.stream);
            for stream in std::iter::once(&branch.stream).chain(second) {
                if !streams.contains(&stream.as_str()) {
                    streams.push(stream);
                }
            }
        }
        streams
    }

    /// Whether it reads a stream.
    pub fn reads(&self, stream: &str) -> bool {
        self.streams().contains(&stream)
    }

    /// Names of the reference tables that it joins, in the order of the text.
    pub fn references(&self) -> impl Iterator<Item = &str> {
        self.branches.iter().flat_map(|branch| &branch.joins).map(|join| join.reference.as_str())
    }

    /// Columns that it reads of a stream, each once.
    pub fn columns_of(&self, stream: &str) -> Vec<&str> {
        let mut columns: Vec<&str> = Vec::new();
        for branch in &self.branches {
            let first = (&branch.stream, &branch.input_columns);
            let second = branch.stream_join.as_ref().map(|join| (&join.stream, &join.input_columns));
            let read = std::iter::once(first).chain(second).filter(|(name, _)| *name == stream);
            for column in read.flat_map(|(_, columns)| columns) {
                if !columns.contains(&column.as_str()) {
                    columns.push(column);
                }
            }
        }
        columns
    }
}
