//! Aggregate calls, with Spark's result types.

use std::ops::Range;

use arrow_schema::DataType;
use datafusion_common::ScalarValue;
use sqlparser::ast::{Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments};

use super::{Binder, Bound, Place, a_type, case};
use crate::diagnostic::Diagnostic;
use crate::plan::AggregateFunction;
use crate::typed::{Kind, Typed};
use crate::types;

/// An aggregate call of the query.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub(crate) function: AggregateFunction,
    pub(crate) argument: Option<Typed>,
    pub(crate) result: DataType,
    pub(crate) nullable: bool,
}

/// Most digits that a decimal may have to be summed: 10^12 rows then fit 38 digits.
const SUMMED_PRECISION_MAX: u8 = 26;

/// What a name of an aggregate means; `count_if` counts a condition that is made NULL where it is false.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    Function(AggregateFunction),
    CountIf,
}

fn named(name: &str) -> Option<Named> {
    Some(match name {
        "count" => Named::Function(AggregateFunction::Count),
        "sum" => Named::Function(AggregateFunction::Sum),
        "min" => Named::Function(AggregateFunction::Min),
        "max" => Named::Function(AggregateFunction::Max),
        "avg" | "mean" => Named::Function(AggregateFunction::Avg),
        "count_if" => Named::CountIf,
        _ => return None,
    })
}

/// Whether a function is an aggregate.
pub(super) fn is_aggregate(name: &str) -> bool {
    named(name).is_some()
}

impl Binder<'_> {
    /// Binds an aggregate call; the result stands for its column.
    pub(super) fn aggregate(&mut self, name: &str, function: &Function, span: Range<usize>) -> Bound {
        let Some(kind) = named(name) else { return Err(super::Reported) };
        self.aggregate_place(name, &span)?;
        let FunctionArguments::List(list) = &function.args else {
            return self.report(span, format!("`{name}` needs an argument"), format!("write {name}(column)"));
        };
        if list.duplicate_treatment.is_some() {
            let help = "group by that column as well and count the rows of the result, or leave DISTINCT out";
            return self.report(
                span,
                format!("{name}(DISTINCT …) isn't supported: it would keep each value seen"),
                help,
            );
        }
        let [argument] = list.args.as_slice() else {
            let message = format!("`{name}` takes one argument, and this has {}", list.args.len());
            return self.report(span, message, "write one call for each column");
        };
        let filter =
            function.filter.as_ref().map(|filter| self.inside(|binder| binder.condition(filter, "FILTER (WHERE …)")));
        let argument = self.argument(name, kind, argument, &span)?;
        let filter = filter.transpose()?;
        let (aggregate, argument) = match (kind, argument) {
            (Named::CountIf, Some(condition)) => (AggregateFunction::Count, Some(one_where(condition, &span))),
            (Named::CountIf, None) => {
                return self.report(span, "`count_if` counts a condition", "write count_if(amount > 100)");
            }
            (Named::Function(AggregateFunction::Count), None) => (AggregateFunction::CountStar, None),
            (Named::Function(function), argument) => (function, argument),
        };
        let (aggregate, argument) = match (filter, argument) {
            (None, argument) => (aggregate, argument),
            (Some(filter), None) => (AggregateFunction::Count, Some(one_where(filter, &span))),
            (Some(filter), Some(argument)) => (aggregate, Some(case(vec![(filter, argument)], None, span.clone()))),
        };
        let (result, nullable) = self.aggregate_result(aggregate, argument.as_ref(), &span)?;
        Ok(self.register(Call { function: aggregate, argument, result, nullable }, span))
    }

    fn aggregate_place(&mut self, name: &str, span: &Range<usize>) -> Bound<()> {
        let help = match self.place {
            Place::Select | Place::Having | Place::Define | Place::Measures if self.in_aggregate => {
                "aggregate in one query and aggregate its result in another"
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

    /// The argument; `None` for `*` and for literals, which count every row.
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
                    Named::Function(_) => binder.bind(expr),
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

    fn aggregate_result(
        &mut self,
        function: AggregateFunction,
        argument: Option<&Typed>,
        span: &Range<usize>,
    ) -> Bound<(DataType, bool)> {
        let Some(argument) = argument else { return Ok((DataType::Int64, false)) };
        let name = function.name();
        let sums = matches!(function, AggregateFunction::Sum | AggregateFunction::Avg);
        if sums && argument.data_type == DataType::Float64 {
            let message = format!("`{name}` over doubles depends on the order of the rows in its last digits");
            let help = "sum money as decimals: CAST(… AS DECIMAL(18, 2))";
            self.warnings.push(Diagnostic::new(span.clone(), message).with_help(help));
        }
        let result = match (function, &argument.data_type) {
            (AggregateFunction::Count | AggregateFunction::CountStar, _) => return Ok((DataType::Int64, false)),
            (AggregateFunction::Min | AggregateFunction::Max, DataType::Null | DataType::Binary) => {
                let message = format!("`{name}` has no order to go by: this is {}", a_type(&argument.data_type));
                return self.report(span.clone(), message, "give it a number, text, date or timestamp");
            }
            (AggregateFunction::Min | AggregateFunction::Max, other) => other.clone(),
            (_, DataType::Decimal128(precision, _)) if *precision > SUMMED_PRECISION_MAX => {
                let message = format!(
                    "`{name}` over {} could overflow: 10^12 rows of it don't fit 38 digits",
                    a_type(&argument.data_type)
                );
                let scale = types::as_decimal(&argument.data_type).map_or(0, |(_, scale)| scale.min(18));
                let help = format!(
                    "cast to fewer digits: {name}(CAST({argument} AS DECIMAL({SUMMED_PRECISION_MAX}, {scale})))"
                );
                return self.report(span.clone(), message, help);
            }
            (AggregateFunction::Sum, DataType::Decimal128(precision, scale)) => {
                DataType::Decimal128(precision + 10, *scale)
            }
            (AggregateFunction::Avg, DataType::Decimal128(precision, scale)) => {
                DataType::Decimal128(precision + 4, scale + 4)
            }
            (AggregateFunction::Sum, DataType::Int32 | DataType::Int64) => DataType::Int64,
            (_, DataType::Int32 | DataType::Int64 | DataType::Float64) => DataType::Float64,
            (_, other) => {
                let message = format!("`{name}` needs numbers, and this is {}", a_type(other));
                let help = match other {
                    DataType::Boolean => format!("count them: count_if({argument})"),
                    DataType::Utf8 => format!("make numbers of them: {name}(CAST({argument} AS DECIMAL(18, 2)))"),
                    _ => "min and max take any type with an order".to_owned(),
                };
                return self.report(span.clone(), message, help);
            }
        };
        Ok((result, argument.nullable))
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
