//! Aggregate calls.

use std::ops::Range;

use arrow_schema::DataType;
use datafusion_common::ScalarValue;
use sqlparser::ast::{DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments};

use super::{Binder, Bound, Place, Reported, case};
use crate::lower::normalized;
use crate::plan::AggregateFunction;
use crate::typed::{Kind, Typed};

/// An aggregate call of the query.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub(crate) function: AggregateFunction,
    pub(crate) argument: Option<Typed>,
    pub(crate) order: Option<Typed>,
    pub(crate) result: DataType,
    pub(crate) nullable: bool,
}

/// What a name of an aggregate means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    /// Of one value.
    Function(AggregateFunction),
    /// Counts a condition, which is made NULL where it is false.
    CountIf,
    /// A value and what it goes by.
    By(AggregateFunction),
    /// A value and how exactly.
    ApproxCountDistinct,
    /// A value, which percentile, and how exactly.
    Percentile,
}

fn named(name: &str) -> Option<Named> {
    Some(match name {
        "count" => Named::Function(AggregateFunction::Count),
        "sum" => Named::Function(AggregateFunction::Sum),
        "min" => Named::Function(AggregateFunction::Min),
        "max" => Named::Function(AggregateFunction::Max),
        "avg" | "mean" => Named::Function(AggregateFunction::Avg),
        "bool_and" | "every" => Named::Function(AggregateFunction::BoolAnd),
        "bool_or" | "some" | "any" => Named::Function(AggregateFunction::BoolOr),
        "stddev" | "stddev_samp" | "std" => Named::Function(AggregateFunction::StddevSamp),
        "stddev_pop" => Named::Function(AggregateFunction::StddevPop),
        "variance" | "var_samp" => Named::Function(AggregateFunction::VarSamp),
        "var_pop" => Named::Function(AggregateFunction::VarPop),
        "min_by" => Named::By(AggregateFunction::MinBy),
        "max_by" => Named::By(AggregateFunction::MaxBy),
        "approx_count_distinct" => Named::ApproxCountDistinct,
        "percentile_approx" | "approx_percentile" => Named::Percentile,
        "count_if" => Named::CountIf,
        _ => return None,
    })
}

/// Names of aggregates, for suggestions.
pub(super) const NAMES: [&str; 15] = [
    "count",
    "count_if",
    "sum",
    "min",
    "max",
    "avg",
    "bool_and",
    "bool_or",
    "stddev",
    "variance",
    "min_by",
    "max_by",
    "approx_count_distinct",
    "percentile_approx",
    "collect_list",
];

/// Whether a function is an aggregate.
pub(super) fn is_aggregate(name: &str) -> bool {
    named(name).is_some()
}

/// Least and most bits of a HyperLogLog's register numbers.
const SKETCH_BITS: std::ops::RangeInclusive<u8> = 4..=16;
/// Standard error of `approx_count_distinct` if none is given, as Spark's.
const DISTINCT_ERROR: f64 = 0.05;
/// Accuracy of `percentile_approx` if none is given, as Spark's.
const ACCURACY: u32 = 10_000;
const ACCURACY_MAX: u32 = 1_000_000;

/// An aggregate call's parts.
struct Parts {
    function: AggregateFunction,
    argument: Option<Typed>,
    order: Option<Typed>,
}

impl Binder<'_> {
    /// Binds an aggregate call; the result stands for its column.
    pub(super) fn aggregate(&mut self, name: &str, function: &Function, span: Range<usize>) -> Bound {
        let Some(kind) = named(name) else { return Err(Reported) };
        self.aggregate_place(name, &span)?;
        let FunctionArguments::List(list) = &function.args else {
            return self.report(span, format!("`{name}` needs an argument"), format!("write {name}(column)"));
        };
        if !list.clauses.is_empty() {
            let help =
                "for the first or last value by time write min_by(value, event_time) or max_by(value, event_time)";
            return self.report(span, format!("`{name}` takes no clause within its parentheses"), help);
        }
        let is_distinct = match list.duplicate_treatment {
            Some(DuplicateTreatment::Distinct) => true,
            Some(DuplicateTreatment::All) | None => false,
        };
        if is_distinct && kind != Named::Function(AggregateFunction::Count) {
            let help = format!("write {name}(…), or count(DISTINCT …) for the number of different values");
            return self.report(span, format!("{name}(DISTINCT …) isn't supported"), help);
        }
        let filter =
            function.filter.as_ref().map(|filter| self.inside(|binder| binder.condition(filter, "FILTER (WHERE …)")));
        let parts = self.parts(name, kind, &list.args, &span)?;
        let mut parts = filtered(parts, filter.transpose()?, &span);
        if is_distinct {
            parts = self.distinct(parts, &span)?;
        }
        self.call_of(parts, span)
    }

    /// The call of an aggregate with its type.
    fn call_of(&mut self, parts: Parts, span: Range<usize>) -> Bound {
        let Parts { function, argument, order } = parts;
        let (argument, order) = (argument.map(normal_argument(function)), order.map(normalized));
        let (result, nullable, argument) = self.aggregate_type(function, argument, order.as_ref(), &span)?;
        Ok(self.register(Call { function, argument, order, result, nullable }, span))
    }

    /// What the arguments say, before FILTER.
    fn parts(&mut self, name: &str, kind: Named, arguments: &[FunctionArg], span: &Range<usize>) -> Bound<Parts> {
        let (first, further) = match (arguments, kind) {
            ([first], Named::Function(_) | Named::CountIf | Named::ApproxCountDistinct) => (first, &[][..]),
            ([first, further @ ..], Named::By(_)) if further.len() == 1 => (first, further),
            ([first, further @ ..], Named::ApproxCountDistinct) if further.len() == 1 => (first, further),
            ([first, further @ ..], Named::Percentile) if (1..=2).contains(&further.len()) => (first, further),
            _ => return self.wrong_count(name, kind, arguments.len(), span),
        };
        let argument = self.argument(name, kind, first, span)?;
        let plain = |function| Ok(Parts { function, argument: argument.clone(), order: None });
        match kind {
            Named::CountIf => {
                let argument = argument.map(|condition| one_where(condition, span));
                Ok(Parts { function: AggregateFunction::Count, argument, order: None })
            }
            Named::Function(AggregateFunction::Count) if argument.is_none() => plain(AggregateFunction::CountStar),
            Named::Function(function) => plain(function),
            Named::By(function) => {
                let order = further.first().map(|order| self.argument(name, kind, order, span)).transpose()?.flatten();
                Ok(Parts { function, argument, order })
            }
            Named::ApproxCountDistinct => {
                let error = match further.first() {
                    Some(error) => {
                        self.written_number(error, span, 0.001..=0.3, "the error of `approx_count_distinct`", "0.05")?
                    }
                    None => DISTINCT_ERROR,
                };
                plain(AggregateFunction::ApproxCountDistinct { bits: sketch_bits(error) })
            }
            Named::Percentile => {
                let [percentage, accuracy @ ..] = further else { return Err(Reported) };
                let what = "the percentage of `percentile_approx`";
                let percentage = self.written_number(percentage, span, 0.0..=1.0, what, "0.95")?;
                let accuracy = match accuracy.first() {
                    Some(accuracy) => {
                        let range = 1.0..=f64::from(ACCURACY_MAX);
                        self.written_number(accuracy, span, range, "the accuracy of `percentile_approx`", "10000")?
                    }
                    None => f64::from(ACCURACY),
                };
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "both ranges were checked")]
                let (billionths, accuracy) = ((percentage * 1e9).round() as u32, accuracy as u32);
                plain(AggregateFunction::PercentileApprox { billionths, accuracy })
            }
        }
    }

    fn wrong_count<T>(&mut self, name: &str, kind: Named, count: usize, span: &Range<usize>) -> Bound<T> {
        let (takes, help) = match kind {
            Named::Function(_) | Named::CountIf => ("one argument", "write one call for each column".to_owned()),
            Named::By(_) => ("two arguments: a value and what it goes by", format!("write {name}(value, event_time)")),
            Named::ApproxCountDistinct => ("a value and optionally an error", format!("write {name}(value)")),
            Named::Percentile => {
                ("a value, a percentage and optionally an accuracy", format!("write {name}(value, 0.95)"))
            }
        };
        self.report(span.clone(), format!("`{name}` takes {takes}, and this has {count}"), help)
    }

    /// A number that the query holds.
    fn written_number(
        &mut self,
        argument: &FunctionArg,
        span: &Range<usize>,
        range: std::ops::RangeInclusive<f64>,
        what: &str,
        example: &str,
    ) -> Bound<f64> {
        let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument else {
            return self.report(span.clone(), format!("{what} is a number, written out"), format!("such as {example}"));
        };
        let bound = self.inside(|binder| binder.bind(expr))?;
        let number = match bound.as_literal() {
            Some(ScalarValue::Int32(Some(value))) => Some(f64::from(*value)),
            Some(ScalarValue::Float64(Some(value))) => Some(*value),
            Some(ScalarValue::Decimal128(Some(value), _, scale)) => Some(*value as f64 / 10f64.powi((*scale).into())),
            _ => None,
        };
        match number {
            Some(number) if range.contains(&number) => Ok(number),
            _ => {
                let message = format!("{what} is a number from {} to {}, written out", range.start(), range.end());
                self.report(bound.span, message, format!("such as {example}"))
            }
        }
    }

    fn distinct(&mut self, parts: Parts, span: &Range<usize>) -> Bound<Parts> {
        match (parts.function, &parts.argument) {
            (AggregateFunction::Count, Some(_)) => Ok(Parts { function: AggregateFunction::CountDistinct, ..parts }),
            _ => self.report(
                span.clone(),
                "DISTINCT needs a column to tell rows apart by",
                "write count(DISTINCT column)",
            ),
        }
    }

    /// `array_join(slice(collect_list(text), 1, n), separator)`: the list, of at most n texts. `None` if the expression isn't one.
    pub(super) fn collected(&mut self, list: &Expr) -> Bound<Option<Typed>> {
        const HELP: &str = "write array_join(slice(collect_list(text), 1, 100), ', '): the first 100 by event time";
        let span = self.span_of(list);
        let (inner, bounds) = match called(list, "slice").as_deref() {
            Some([inner, from, count]) => (*inner, Some((*from, *count))),
            _ => (list, None),
        };
        let Some(arguments) = called(inner, "collect_list") else { return Ok(None) };
        self.aggregate_place("collect_list", &span)?;
        if self.pattern.is_some() {
            let help = "write FIRST(…) or LAST(…), which go by the order of the match";
            return self.report(span, "`collect_list` isn't supported in a pattern", help);
        }
        let Some((from, count)) = bounds else {
            return self.report(span, "a list without a limit could grow beyond the memory", HELP);
        };
        let (from, count) = (self.bind(from)?, self.bind(count)?);
        let items_max = match (from.as_literal(), count.as_literal()) {
            (Some(ScalarValue::Int32(Some(1))), Some(ScalarValue::Int32(Some(count)))) => {
                u32::try_from(*count).ok().filter(|count| (1..=10_000).contains(count))
            }
            _ => None,
        };
        let Some(items_max) = items_max else {
            return self.report(span, "a list is cut by slice(list, 1, n) with n from 1 to 10000, written out", HELP);
        };
        let [value] = arguments.as_slice() else {
            return self.report(span, "`collect_list` takes one argument", HELP);
        };
        let argument = self.inside(|binder| binder.bind(value))?;
        let filter = match inner {
            Expr::Function(Function { filter: Some(filter), .. }) => {
                Some(self.inside(|binder| binder.condition(filter, "FILTER (WHERE …)"))?)
            }
            _ => None,
        };
        let function = AggregateFunction::CollectList { items_max };
        let parts = filtered(Parts { function, argument: Some(argument), order: None }, filter, &span);
        self.call_of(parts, span).map(Some)
    }

    fn aggregate_place(&mut self, name: &str, span: &Range<usize>) -> Bound<()> {
        let help = match self.place {
            Place::Define | Place::Measures if self.in_aggregate => {
                "aggregate columns of the rows of a match: max(A.amount)"
            }
            Place::Select | Place::Having if self.in_aggregate => {
                "group in a query in FROM, and its windows again: GROUP BY window(window_time(window), '1 hour')"
            }
            Place::Select | Place::Having | Place::Define | Place::Measures => return Ok(()),
            Place::Where => "conditions on aggregates stand in HAVING, after GROUP BY",
            Place::Group => "group by the column itself",
            Place::Join => "join first, aggregate in SELECT",
            Place::Rule => "a rule sees one record at a time; aggregate in a query",
        };
        let place = if self.in_aggregate { "another aggregate" } else { self.place.name() };
        self.report(span.clone(), format!("the aggregate `{name}` can't stand in {place}"), help)
    }

    /// Binds within an aggregate, where columns of the row are meant and no further aggregate may stand.
    fn inside<T>(&mut self, bind: impl FnOnce(&mut Self) -> T) -> T {
        let outer = std::mem::replace(&mut self.in_aggregate, true);
        let result = bind(self);
        self.in_aggregate = outer;
        result
    }

    /// An argument; `None` for `*` and for literals, which count every row.
    fn argument(
        &mut self,
        name: &str,
        kind: Named,
        argument: &FunctionArg,
        span: &Range<usize>,
    ) -> Bound<Option<Typed>> {
        let is_count = kind == Named::Function(AggregateFunction::Count);
        match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) if is_count => Ok(None),
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => {
                let bound = self.inside(|binder| match kind {
                    Named::CountIf => binder.condition(expr, "`count_if`"),
                    _ => binder.bind(expr),
                })?;
                let counts_all = is_count && bound.as_literal().is_some_and(|value| !value.is_null());
                Ok(if counts_all { None } else { Some(bound) })
            }
            _ => self.report(
                span.clone(),
                format!("`{name}` takes a column or an expression"),
                format!("write {name}(column)"),
            ),
        }
    }

    fn register(&mut self, call: Call, span: Range<usize>) -> Typed {
        let (data_type, nullable) = (call.result.clone(), call.nullable);
        let number = self.calls.iter().position(|known| *known == call).unwrap_or_else(|| {
            self.calls.push(call);
            self.calls.len() - 1
        });
        Typed { kind: Kind::Call(number), data_type, nullable, span }
    }

    /// Whether an expression is a call of an aggregate or holds one, as far as names tell.
    pub(crate) fn names_aggregate(expr: &Expr) -> bool {
        match expr {
            Expr::Function(function) => {
                function.over.is_none() && is_aggregate(&function.name.to_string().to_ascii_lowercase())
            }
            Expr::Nested(inner) | Expr::UnaryOp { expr: inner, .. } | Expr::Cast { expr: inner, .. } => {
                Self::names_aggregate(inner)
            }
            Expr::BinaryOp { left, right, .. } => Self::names_aggregate(left) || Self::names_aggregate(right),
            _ => false,
        }
    }
}

/// 1 where the condition is true, else NULL.
fn one_where(condition: Typed, span: &Range<usize>) -> Typed {
    let one = Typed::literal(ScalarValue::Int32(Some(1)), span.clone());
    case(vec![(condition, one)], None, span.clone())
}

/// FILTER as NULLs of what is skipped where it is NULL.
fn filtered(parts: Parts, filter: Option<Typed>, span: &Range<usize>) -> Parts {
    let Parts { function, argument, order } = parts;
    let Some(filter) = filter else { return Parts { function, argument, order } };
    let only = |value: Typed| case(vec![(filter.clone(), value)], None, span.clone());
    match (argument, order) {
        (None, _) => Parts { function: AggregateFunction::Count, argument: Some(one_where(filter, span)), order: None },
        (argument, Some(order)) => Parts { function, argument, order: Some(only(order)) },
        (Some(argument), None) => Parts { function, argument: Some(only(argument)), order: None },
    }
}

/// Values that are told apart need equal bits where they are equal.
fn normal_argument(function: AggregateFunction) -> fn(Typed) -> Typed {
    match function {
        AggregateFunction::CountDistinct | AggregateFunction::ApproxCountDistinct { .. } => normalized,
        _ => std::convert::identity,
    }
}

/// Bits of the sketch whose standard error is this or less, by Spark's rule.
fn sketch_bits(error: f64) -> u8 {
    let bits = (2.0 * (1.106 / error).log2()).ceil();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float becomes the nearest u8")]
    let bits = bits as u8;
    bits.clamp(*SKETCH_BITS.start(), *SKETCH_BITS.end())
}

/// The arguments if the expression is a plain call of this function.
fn called<'e>(expr: &'e Expr, name: &str) -> Option<Vec<&'e Expr>> {
    let Expr::Function(function) = expr else { return None };
    let FunctionArguments::List(list) = &function.args else { return None };
    let is_plain = function.over.is_none() && list.duplicate_treatment.is_none() && list.clauses.is_empty();
    if !is_plain || !function.name.to_string().eq_ignore_ascii_case(name) {
        return None;
    }
    list.args
        .iter()
        .map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
            _ => None,
        })
        .collect()
}
