//! Windows, groups and aggregates.

use arrow_schema::DataType;
use spark_connect_proto::aggregate::GroupType;
use spark_connect_proto::relation::RelType;
use spark_connect_proto::{Aggregate as AggregateRelation, Relation};
use sql::spark::name;
use sql::{
    Aggregate, AggregateCall, AggregateFunction, Expression, FixedWindow, InnerAggregate, Query, SessionWindow,
    StreamJoin, WINDOW_END, WINDOW_START, Window,
};

use super::branches::positions;
use super::{Read, is_published_once, own};
use crate::error::{Error, Result};
use crate::print::relation::{filter, named, project, relation};
use crate::print::sink::{IS_DELETED, VERSION};

const WINDOW: &str = "window";
const ROWS: &str = "rows";
const WINDOW_TIME: &str = "window_time";

/// What is grouped.
struct Grouped<'a> {
    query: &'a str,
    /// The event time of a row, as Spark SQL.
    time: String,
    /// What counts the records behind a row, as an aggregate.
    count: String,
    /// Columns that decide between rows of one time.
    positions: Vec<&'static str>,
}

/// Groups with the columns of the grouped batch, and the number of records behind them. With `inner`, those are the groups of its groups.
///
/// # Errors
/// `Plan` for a grouping without a window, or an aggregate that goes by the places of rows outside of windows of windows, which the subset
/// doesn't have.
pub(super) fn groups(
    rows: Relation,
    query: &Query,
    inner: Option<&InnerAggregate>,
    aggregate: &Aggregate,
) -> Result<Relation> {
    let first = inner.map_or(aggregate, |inner| &inner.aggregate);
    let no_window = || Error::Plan { query: query.name.clone(), reason: "it groups without a window".to_owned() };
    let grouped = Grouped {
        query: &query.name,
        time: first.window.as_ref().map(|window| window.time().to_spark()).ok_or_else(no_window)?,
        count: "count(1)".to_owned(),
        positions: positions(query),
    };
    if inner.is_none() {
        return level(rows, aggregate, &grouped, &[]);
    }
    // The time of a group is that of its window: Spark closes the outer window by it.
    let time = (own(WINDOW_TIME), format!("window_time({})", name(&own(WINDOW))));
    let rows = level(rows, first, &grouped, std::slice::from_ref(&time))?;
    let grouped =
        Grouped { time: name(&time.0), count: format!("sum({})", name(&own(ROWS))), positions: Vec::new(), ..grouped };
    level(rows, aggregate, &grouped, &[])
}

/// One grouping, with `further` columns over its own.
fn level(
    rows: Relation,
    aggregate: &Aggregate,
    grouped: &Grouped<'_>,
    further: &[(String, String)],
) -> Result<Relation> {
    let Aggregate { window, keys, calls, grouped_schema: _ } = aggregate;
    let mut grouping = Vec::new();
    let mut columns = Vec::new();
    if let Some(window) = window {
        grouping.push(named(&own(WINDOW), &window_of(window, &grouped.time)));
        let window = name(&own(WINDOW));
        columns.push((WINDOW_START.to_owned(), format!("{window}.start")));
        columns.push((WINDOW_END.to_owned(), format!("{window}.end")));
    }
    // Keys and calls get names of our own while Spark resolves them, since their own may be those of the row's columns.
    for (index, (key, value)) in keys.iter().enumerate() {
        let own_name = own(&format!("key{index}"));
        let is_time = matches!(value.data_type(), DataType::Timestamp(..));
        let mut value = value.to_spark();
        if is_time {
            // Spark takes one event time among the keys, the window, and the event time stays that through a change of name.
            value = format!("timestamp_micros(unix_micros({value}))");
        }
        grouping.push(named(&own_name, &value));
        columns.push((key.clone(), name(&own_name)));
    }
    let mut aggregates = vec![named(&own(ROWS), &grouped.count)];
    for (index, call) in calls.iter().enumerate() {
        let own_name = own(&format!("call{index}"));
        aggregates.push(named(&own_name, &aggregate_call(call, grouped)?));
        columns.push((call.name.clone(), name(&own_name)));
    }
    columns.push((own(ROWS), name(&own(ROWS))));
    columns.extend(further.iter().cloned());
    let aggregate = AggregateRelation {
        input: Some(Box::new(rows)),
        group_type: GroupType::Groupby.into(),
        grouping_expressions: grouping,
        aggregate_expressions: aggregates,
        ..AggregateRelation::default()
    };
    Ok(project(relation(RelType::Aggregate(Box::new(aggregate))), &columns))
}

/// Spark's expression for the window of a row with this event time.
fn window_of(window: &Window, time: &str) -> String {
    match window {
        Window::Fixed(FixedWindow { time: _, size_us, slide_us, offset_us }) => {
            format!("window({time}, '{size_us} microseconds', '{slide_us} microseconds', '{offset_us} microseconds')")
        }
        Window::Session(SessionWindow { time: _, gap_us }) => {
            format!("session_window({time}, '{gap_us} microseconds')")
        }
    }
}

fn aggregate_call(call: &AggregateCall, grouped: &Grouped<'_>) -> Result<String> {
    let AggregateCall { function, argument, order, result: _, nullable: _, name } = call;
    let place = || {
        if grouped.positions.is_empty() {
            let reason = format!("`{name}` goes by the places of rows, and groups have none");
            return Err(Error::Plan { query: grouped.query.to_owned(), reason });
        }
        let positions: Vec<String> = grouped.positions.iter().map(|position| sql::spark::name(position)).collect();
        Ok(format!("{}, {}", grouped.time, positions.join(", ")))
    };
    // Of rows with equal orders the place decides. A struct is never NULL by itself, and rows without an order have to be skipped.
    let by_order = || {
        let order = order.as_ref().map_or_else(|| "NULL".to_owned(), Expression::to_spark);
        Ok(format!("CASE WHEN {order} IS NOT NULL THEN struct({order}, {}) END", place()?))
    };
    let is_double = argument.as_ref().is_some_and(|argument| argument.data_type() == &DataType::Float64);
    let argument = argument.as_ref().map_or_else(|| "1".to_owned(), Expression::to_spark);
    match function {
        AggregateFunction::Count | AggregateFunction::CountStar => Ok(format!("count({argument})")),
        AggregateFunction::Sum => Ok(format!("sum({argument})")),
        AggregateFunction::Min => Ok(format!("min({argument})")),
        AggregateFunction::Max => Ok(format!("max({argument})")),
        AggregateFunction::Avg => Ok(format!("avg({argument})")),
        AggregateFunction::BoolAnd => Ok(format!("bool_and({argument})")),
        AggregateFunction::BoolOr => Ok(format!("bool_or({argument})")),
        AggregateFunction::StddevSamp => Ok(format!("stddev_samp({argument})")),
        AggregateFunction::StddevPop => Ok(format!("stddev_pop({argument})")),
        AggregateFunction::VarSamp => Ok(format!("var_samp({argument})")),
        AggregateFunction::VarPop => Ok(format!("var_pop({argument})")),
        // Spark's streams take no DISTINCT in aggregates. A set of doubles would hold each NaN, a set of texts holds one, and one zero.
        AggregateFunction::CountDistinct if is_double => {
            Ok(format!("CAST(size(collect_set(CAST(({argument} + 0D) AS STRING))) AS BIGINT)"))
        }
        AggregateFunction::CountDistinct => Ok(format!("CAST(size(collect_set({argument})) AS BIGINT)")),
        AggregateFunction::ApproxCountDistinct { bits } => {
            // Spark makes the same number of registers of this error.
            let error = 1.106 / 2f64.powf(f64::from(*bits) / 2.0);
            Ok(format!("approx_count_distinct({argument}, {error})"))
        }
        AggregateFunction::PercentileApprox { billionths, accuracy } => {
            let percentage = f64::from(*billionths) / 1e9;
            Ok(format!("percentile_approx({argument}, {percentage}D, {accuracy})"))
        }
        AggregateFunction::MinBy => Ok(format!("min_by({argument}, {})", by_order()?)),
        AggregateFunction::MaxBy => Ok(format!("max_by({argument}, {})", by_order()?)),
        AggregateFunction::CollectList { items_max } => {
            let item = format!("struct({}, {argument} AS item)", place()?);
            let items = format!("array_sort(collect_list(CASE WHEN {argument} IS NOT NULL THEN {item} END))");
            Ok(format!("slice(transform({items}, placed -> placed.item), 1, {items_max})"))
        }
    }
}

/// The results of groups.
///
/// A group that HAVING doesn't keep is deleted, since an earlier version of it may have been kept. Where rows can only make the
/// condition true, or each group is published once, it is left out instead.
pub(super) fn results(
    groups: Relation,
    query: &Query,
    having: Option<&Expression>,
    output: &[(String, Expression)],
    read: &Read,
) -> Relation {
    let is_once = *read == Read::Stream && is_published_once(query);
    // A batch shows groups of groups that aren't over, and what comes of those may be less.
    let only_turns_true = query.inner.is_none() && query.having_only_turns_true();
    let (groups, is_deleted) = match having {
        None => (groups, "FALSE".to_owned()),
        Some(having) if only_turns_true || is_once => (filter(groups, &having.to_spark()), "FALSE".to_owned()),
        Some(having) => (groups, format!("NOT coalesce({}, FALSE)", having.to_spark())),
    };
    // A row at the end of a session still belongs to it, one at the end of another window doesn't.
    let is_session =
        matches!(query.aggregate.as_ref().and_then(|grouped| grouped.window.as_ref()), Some(Window::Session(_)));
    let is_over = if is_session { "<" } else { "<=" };
    let is_final = match read {
        Read::Batch { watermark_us: Some(us) } => {
            let us = us.saturating_sub(delay_us(query));
            format!("if({} {is_over} timestamp_micros({us}L), '1', '0')", name(WINDOW_END))
        }
        Read::Stream if is_once => "'1'".to_owned(),
        Read::Batch { watermark_us: None } | Read::Stream | Read::RealTime => "'0'".to_owned(),
    };
    let mut columns: Vec<(String, String)> =
        output.iter().map(|(name, value)| (name.clone(), value.to_spark())).collect();
    columns.push((own(VERSION), format!("concat({}, ':', {is_final})", name(&own(ROWS)))));
    columns.push((own(IS_DELETED), is_deleted));
    project(groups, &columns)
}

/// How far, in microseconds, the times of rows that are yet to come may lie below the query's watermark.
fn delay_us(query: &Query) -> i64 {
    query.branches.iter().filter_map(|branch| branch.stream_join.as_ref()).map(StreamJoin::delay_us).max().unwrap_or(0)
}
