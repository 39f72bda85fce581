//! Windows, groups and aggregates.

use arrow_schema::DataType;
use spark_connect_proto::aggregate::GroupType;
use spark_connect_proto::relation::RelType;
use spark_connect_proto::{Aggregate as AggregateRelation, Relation};
use sql::spark::name;
use sql::{
    Aggregate, AggregateCall, AggregateFunction, Emit, Expression, FixedWindow, Query, SOURCE_OFFSET, SOURCE_PARTITION,
    SessionWindow, WINDOW_END, WINDOW_START, Window,
};

use super::{Read, own};
use crate::error::{Error, Result};
use crate::print::relation::{filter, named, project, relation};
use crate::print::sink::{IS_DELETED, VERSION};

const WINDOW: &str = "window";
const ROWS: &str = "rows";

/// Groups with the columns of the grouped batch, and the number of rows folded in.
///
/// # Errors
/// `Plan` for an aggregate that goes by the places of rows in a grouping without a window, which the subset doesn't have.
pub(super) fn groups(rows: Relation, query: &str, aggregate: &Aggregate) -> Result<Relation> {
    let Aggregate { window, keys, calls, grouped_schema: _ } = aggregate;
    let mut grouping = Vec::new();
    let mut columns = Vec::new();
    if let Some(window) = window {
        grouping.push(named(&own(WINDOW), &window_of(window)));
        let window = name(&own(WINDOW));
        columns.push((WINDOW_START.to_owned(), format!("{window}.start")));
        columns.push((WINDOW_END.to_owned(), format!("{window}.end")));
    }
    // Keys and calls get names of our own while Spark resolves them, since their own may be those of the row's columns.
    for (index, (key, value)) in keys.iter().enumerate() {
        let own_name = own(&format!("key{index}"));
        grouping.push(named(&own_name, &value.to_spark()));
        columns.push((key.clone(), name(&own_name)));
    }
    let mut aggregates = vec![named(&own(ROWS), "count(1)")];
    for (index, call) in calls.iter().enumerate() {
        let own_name = own(&format!("call{index}"));
        aggregates.push(named(&own_name, &aggregate_call(query, call, window.as_ref())?));
        columns.push((call.name.clone(), name(&own_name)));
    }
    columns.push((own(ROWS), name(&own(ROWS))));
    let aggregate = AggregateRelation {
        input: Some(Box::new(rows)),
        group_type: GroupType::Groupby.into(),
        grouping_expressions: grouping,
        aggregate_expressions: aggregates,
        ..AggregateRelation::default()
    };
    Ok(project(relation(RelType::Aggregate(Box::new(aggregate))), &columns))
}

/// Spark's expression for the window of a row.
fn window_of(window: &Window) -> String {
    match window {
        Window::Fixed(FixedWindow { time, size_us, slide_us, offset_us }) => format!(
            "window({}, '{size_us} microseconds', '{slide_us} microseconds', '{offset_us} microseconds')",
            time.to_spark()
        ),
        Window::Session(SessionWindow { time, gap_us }) => {
            format!("session_window({}, '{gap_us} microseconds')", time.to_spark())
        }
    }
}

fn aggregate_call(query: &str, call: &AggregateCall, window: Option<&Window>) -> Result<String> {
    let AggregateCall { function, argument, order, result: _, nullable: _, name } = call;
    let place = || {
        let time = window.map(|window| window.time().to_spark()).ok_or_else(|| Error::Plan {
            query: query.to_owned(),
            reason: format!("`{name}` goes by event time, and its rows have none"),
        })?;
        Ok(format!("{time}, {}, {}", sql::spark::name(SOURCE_PARTITION), sql::spark::name(SOURCE_OFFSET)))
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
/// condition true, it is left out instead.
pub(super) fn results(
    groups: Relation,
    query: &Query,
    having: Option<&Expression>,
    output: &[(String, Expression)],
    read: &Read,
) -> Relation {
    let (groups, is_deleted) = match having {
        None => (groups, "FALSE".to_owned()),
        Some(having) if query.having_only_turns_true() || query.options.emit == Emit::Final => {
            (filter(groups, &having.to_spark()), "FALSE".to_owned())
        }
        Some(having) => (groups, format!("NOT coalesce({}, FALSE)", having.to_spark())),
    };
    // A row at the end of a session still belongs to it, one at the end of another window doesn't.
    let is_session =
        matches!(query.aggregate.as_ref().and_then(|grouped| grouped.window.as_ref()), Some(Window::Session(_)));
    let is_over = if is_session { "<" } else { "<=" };
    let is_final = match (read, query.options.emit) {
        (Read::Batch { watermark_us: Some(us), .. } | Read::Records { watermark_us: Some(us), .. }, _) => {
            format!("if({} {is_over} timestamp_micros({us}L), '1', '0')", name(WINDOW_END))
        }
        (Read::Stream { .. }, Emit::Final) => "'1'".to_owned(),
        (Read::Batch { .. } | Read::Records { .. }, _) | (Read::Stream { .. }, Emit::Changes) => "'0'".to_owned(),
    };
    let mut columns: Vec<(String, String)> =
        output.iter().map(|(name, value)| (name.clone(), value.to_spark())).collect();
    columns.push((own(VERSION), format!("concat({}, ':', {is_final})", name(&own(ROWS)))));
    columns.push((own(IS_DELETED), is_deleted));
    project(groups, &columns)
}
