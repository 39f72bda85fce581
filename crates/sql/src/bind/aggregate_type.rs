//! Result types of aggregates, as Spark has them.

use std::ops::Range;
use std::sync::Arc;

use arrow_schema::{DataType, Field};

use super::{Binder, Bound, a_type, coerce};
use crate::diagnostic::Diagnostic;
use crate::plan::AggregateFunction;
use crate::typed::Typed;
use crate::types;

/// Most digits that a decimal may have to be summed: 10^12 rows then fit 38 digits.
const SUMMED_PRECISION_MAX: u8 = 26;
/// Most digits of a decimal whose percentiles are the same on Spark, which computes them over doubles.
const PERCENTILE_PRECISION_MAX: u8 = 15;

impl Binder<'_> {
    /// Type and nullability of a call's result, and the argument as the type that the function takes.
    pub(super) fn aggregate_type(
        &mut self,
        function: AggregateFunction,
        argument: Option<Typed>,
        order: Option<&Typed>,
        span: &Range<usize>,
    ) -> Bound<(DataType, bool, Option<Typed>)> {
        use AggregateFunction as F;
        let Some(argument) = argument else { return Ok((DataType::Int64, false, None)) };
        let nullable = argument.nullable;
        let name = function.name();
        match function {
            F::Count | F::CountStar => Ok((DataType::Int64, false, Some(argument))),
            F::CountDistinct | F::ApproxCountDistinct { .. } => {
                if argument.data_type == DataType::Null {
                    return self.report(span.clone(), format!("`{name}` of NULL is always 0"), "count a column");
                }
                Ok((DataType::Int64, false, Some(argument)))
            }
            F::Sum | F::Avg => {
                let result = self.total_type(function, &argument, span)?;
                Ok((result, nullable, Some(argument)))
            }
            F::Min | F::Max => {
                self.ordered(name, &argument, span)?;
                Ok((argument.data_type.clone(), nullable, Some(argument)))
            }
            F::BoolAnd | F::BoolOr => match &argument.data_type {
                DataType::Boolean | DataType::Null => {
                    Ok((DataType::Boolean, nullable, Some(coerce(argument, &DataType::Boolean))))
                }
                other => {
                    let message = format!("`{name}` needs a condition, and this is {}", a_type(other));
                    self.report(span.clone(), message, format!("compare it, such as {name}({argument} > 0)"))
                }
            },
            F::StddevSamp | F::StddevPop | F::VarSamp | F::VarPop => {
                if !types::is_numeric(&argument.data_type) {
                    return self.not_a_number(name, &argument, span);
                }
                let of_sample = matches!(function, F::StddevSamp | F::VarSamp);
                Ok((DataType::Float64, nullable || of_sample, Some(coerce(argument, &DataType::Float64))))
            }
            F::PercentileApprox { .. } => {
                self.percentile_argument(name, &argument, span)?;
                Ok((argument.data_type.clone(), nullable, Some(argument)))
            }
            F::MinBy | F::MaxBy => {
                if argument.data_type == DataType::Null {
                    let help = "give it a column, or CAST(NULL AS STRING) or another type";
                    return self.report(span.clone(), format!("`{name}` takes a value with a type"), help);
                }
                let Some(order) = order else { return Err(super::Reported) };
                self.ordered(name, order, span)?;
                Ok((argument.data_type.clone(), nullable || order.nullable, Some(argument)))
            }
            F::CollectList { .. } => match &argument.data_type {
                DataType::Utf8 => {
                    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, false)));
                    Ok((list, false, Some(argument)))
                }
                other => {
                    let message = format!("a list is joined from texts, and this is {}", a_type(other));
                    self.report(span.clone(), message, format!("write collect_list(CAST({argument} AS STRING))"))
                }
            },
        }
    }

    fn ordered(&mut self, name: &str, value: &Typed, span: &Range<usize>) -> Bound<()> {
        if !matches!(value.data_type, DataType::Null | DataType::Binary) {
            return Ok(());
        }
        let message = format!("`{name}` has no order to go by: this is {}", a_type(&value.data_type));
        self.report(span.clone(), message, "give it a number, text, date or timestamp")
    }

    fn percentile_argument(&mut self, name: &str, argument: &Typed, span: &Range<usize>) -> Bound<()> {
        match &argument.data_type {
            DataType::Decimal128(precision, scale) if *precision > PERCENTILE_PRECISION_MAX => {
                let message =
                    format!("`{name}` over {} would be cut to a double on Spark", a_type(&argument.data_type));
                let help =
                    format!("cast to fewer digits: CAST({argument} AS DECIMAL({PERCENTILE_PRECISION_MAX}, {scale}))");
                self.report(span.clone(), message, help)
            }
            data_type if types::is_numeric(data_type) || types::is_time(data_type) => Ok(()),
            _ => self.not_a_number(name, argument, span),
        }
    }

    fn not_a_number<T>(&mut self, name: &str, argument: &Typed, span: &Range<usize>) -> Bound<T> {
        let message = format!("`{name}` needs numbers, and this is {}", a_type(&argument.data_type));
        let help = match &argument.data_type {
            DataType::Boolean => format!("count them: count_if({argument})"),
            DataType::Utf8 => format!("make numbers of them: {name}(CAST({argument} AS DECIMAL(18, 2)))"),
            _ => "min and max take any type with an order".to_owned(),
        };
        self.report(span.clone(), message, help)
    }

    /// The type of a sum or an average.
    fn total_type(&mut self, function: AggregateFunction, argument: &Typed, span: &Range<usize>) -> Bound<DataType> {
        let name = function.name();
        if argument.data_type == DataType::Float64 {
            let message = format!("`{name}` over doubles depends on the order of the rows in its last digits");
            let help = "sum money as decimals: CAST(… AS DECIMAL(18, 2))";
            self.warnings.push(Diagnostic::new(span.clone(), message).with_help(help));
        }
        match (function, &argument.data_type) {
            (_, DataType::Decimal128(precision, _)) if *precision > SUMMED_PRECISION_MAX => {
                let message = format!(
                    "`{name}` over {} could overflow: 10^12 rows of it don't fit 38 digits",
                    a_type(&argument.data_type)
                );
                let scale = types::as_decimal(&argument.data_type).map_or(0, |(_, scale)| scale.min(18));
                let help = format!(
                    "cast to fewer digits: {name}(CAST({argument} AS DECIMAL({SUMMED_PRECISION_MAX}, {scale})))"
                );
                self.report(span.clone(), message, help)
            }
            (AggregateFunction::Sum, DataType::Decimal128(precision, scale)) => {
                Ok(DataType::Decimal128(precision + 10, *scale))
            }
            (_, DataType::Decimal128(precision, scale)) => Ok(DataType::Decimal128(precision + 4, scale + 4)),
            (AggregateFunction::Sum, DataType::Int32 | DataType::Int64) => Ok(DataType::Int64),
            (_, DataType::Int32 | DataType::Int64 | DataType::Float64) => Ok(DataType::Float64),
            _ => self.not_a_number(name, argument, span),
        }
    }
}
