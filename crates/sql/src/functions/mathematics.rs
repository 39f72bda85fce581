//! Functions of numbers.

use arrow_schema::DataType;
use datafusion_common::ScalarValue;

use super::{Arguments, Function};
use crate::bind::Bound;
use crate::kernel::{Kernel, arithmetic, mathematics as kernels};
use crate::typed::Typed;
use crate::types::PRECISION_MAX;

const fn of_double(
    name: &'static str,
    aliases: &'static [&'static str],
    syntax: &'static str,
    meaning: &'static str,
    build: fn(Arguments<'_, '_>) -> Bound,
) -> Function {
    Function { name, aliases, syntax, result: "double", meaning, arity: 1..=1, build }
}

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "abs",
        aliases: &[],
        syntax: "abs(number)",
        result: "as the number",
        meaning: "the number without its sign",
        arity: 1..=1,
        build: |mut arguments| {
            arguments.number(0)?;
            let data_type = arguments.data_type(0);
            arguments.call(arithmetic::ABSOLUTE, data_type)
        },
    },
    Function {
        name: "round",
        aliases: &[],
        syntax: "round(number, digits)",
        result: "decimal(p',s') for decimals, else as the number",
        meaning: "rounded half up (away from zero) to so many digits after the point, 0 if left out; the digits are a literal",
        arity: 1..=2,
        build: round,
    },
    Function {
        name: "floor",
        aliases: &[],
        syntax: "floor(number)",
        result: "bigint; decimal(p-s+1,0) for decimals",
        meaning: "the next whole number below",
        arity: 1..=1,
        build: |arguments| whole(arguments, kernels::FLOOR),
    },
    Function {
        name: "ceil",
        aliases: &["ceiling"],
        syntax: "ceil(number)",
        result: "bigint; decimal(p-s+1,0) for decimals",
        meaning: "the next whole number above",
        arity: 1..=1,
        build: |arguments| whole(arguments, kernels::CEILING),
    },
    of_double("sign", &["signum"], "sign(number)", "-1.0, 0.0 or 1.0", |arguments| double(arguments, kernels::SIGN)),
    of_double("sqrt", &[], "sqrt(number)", "square root; NaN below zero", |arguments| {
        double(arguments, kernels::SQUARE_ROOT)
    }),
    of_double("exp", &[], "exp(number)", "e to this power", |arguments| double(arguments, kernels::EXPONENTIAL)),
    of_double("ln", &[], "ln(number)", "natural logarithm; NULL for zero and below", |arguments| {
        logarithm(arguments, kernels::LOGARITHM)
    }),
    of_double("log10", &[], "log10(number)", "logarithm to base 10; NULL for zero and below", |arguments| {
        logarithm(arguments, kernels::LOGARITHM_10)
    }),
    Function {
        name: "power",
        aliases: &["pow"],
        syntax: "power(base, exponent)",
        result: "double",
        meaning: "the base to this power",
        arity: 2..=2,
        build: |mut arguments| {
            arguments.double(0)?;
            arguments.double(1)?;
            arguments.call(kernels::POWER, DataType::Float64)
        },
    },
];

fn double(mut arguments: Arguments<'_, '_>, kernel: Kernel) -> Bound {
    arguments.double(0)?;
    arguments.call(kernel, DataType::Float64)
}

fn logarithm(mut arguments: Arguments<'_, '_>, kernel: Kernel) -> Bound {
    arguments.double(0)?;
    arguments.call_nullable(kernel, DataType::Float64, true)
}

fn round(mut arguments: Arguments<'_, '_>) -> Bound {
    arguments.number(0)?;
    if arguments.list.len() == 1 {
        let zero = Typed::literal(ScalarValue::Int32(Some(0)), arguments.span.clone());
        arguments.list.push(zero);
    }
    let digits = arguments.int_literal(1)?;
    let data_type = arguments.data_type(0);
    let (result, nullable) = match data_type {
        DataType::Decimal128(precision, scale) => {
            let (precision, scale) = rounded_shape(precision, scale, digits);
            // Only a result that was cut to 38 digits can overflow.
            (DataType::Decimal128(precision, scale), arguments.nullable() || precision == PRECISION_MAX)
        }
        other => (other, arguments.nullable()),
    };
    arguments.call_nullable(kernels::ROUND, result, nullable)
}

/// Spark's `RoundBase.dataType`.
fn rounded_shape(precision: u8, scale: i8, digits: i32) -> (u8, i8) {
    let whole = i32::from(precision) - i32::from(scale) + 1;
    let (precision, scale) = if digits < 0 {
        (whole.max(-digits + 1), 0)
    } else {
        let scale = i32::from(scale).min(digits);
        (whole + scale, scale)
    };
    (u8::try_from(precision.min(i32::from(PRECISION_MAX))).unwrap_or(PRECISION_MAX), i8::try_from(scale).unwrap_or(0))
}

fn whole(mut arguments: Arguments<'_, '_>, kernel: Kernel) -> Bound {
    arguments.number(0)?;
    match arguments.data_type(0) {
        DataType::Decimal128(_, 0) => Ok(arguments.take(0)),
        DataType::Decimal128(precision, scale) => {
            let precision = precision.saturating_sub(scale.unsigned_abs()) + 1;
            arguments.call(kernel, DataType::Decimal128(precision.min(PRECISION_MAX), 0))
        }
        DataType::Float64 => arguments.call(kernel, DataType::Int64),
        _ => {
            arguments.bigint(0)?;
            arguments.call(kernel, DataType::Int64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounded_shapes_are_sparks() {
        assert_eq!(rounded_shape(10, 2, 1), (10, 1));
        assert_eq!(rounded_shape(10, 2, 0), (9, 0));
        assert_eq!(rounded_shape(10, 2, 4), (11, 2));
        assert_eq!(rounded_shape(10, 2, -3), (9, 0));
        assert_eq!(rounded_shape(3, 2, -5), (6, 0));
        assert_eq!(rounded_shape(38, 10, 10), (38, 10));
    }
}
