//! Functions that choose among values.

use arrow_schema::DataType;

use super::{Arguments, Function};
use crate::bind::{Bound, case};
use crate::kernel::choose;
use crate::typed::{Comparison, Kind, Typed};

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "coalesce",
        aliases: &["ifnull", "nvl"],
        syntax: "coalesce(value, …)",
        result: "the common type",
        meaning: "the first value that isn't NULL",
        arity: 1..=64,
        build: coalesce,
    },
    Function {
        name: "nullif",
        aliases: &[],
        syntax: "nullif(value, other)",
        result: "as the value",
        meaning: "NULL if both are equal, else the value",
        arity: 2..=2,
        build: |mut arguments| {
            let (value, other) = (arguments.take(0), arguments.take(1));
            let equal =
                arguments.binder.typed_compare(value.clone(), Comparison::Equal, other, arguments.span.clone())?;
            let null = Typed::null(&value.data_type, arguments.span.clone());
            Ok(case(vec![(equal, null)], Some(Box::new(value)), arguments.span))
        },
    },
    Function {
        name: "nvl2",
        aliases: &[],
        syntax: "nvl2(value, if_present, if_null)",
        result: "the common type of the last two",
        meaning: "the second if the first isn't NULL, else the third",
        arity: 3..=3,
        build: |mut arguments| {
            arguments.unify_from(1)?;
            let (value, present, absent) = (arguments.take(0), arguments.take(1), arguments.take(2));
            let test = Kind::IsNull { operand: Box::new(value), negated: true };
            let test = Typed::boolean(test, false, arguments.span.clone());
            Ok(case(vec![(test, present)], Some(Box::new(absent)), arguments.span))
        },
    },
    Function {
        name: "if",
        aliases: &[],
        syntax: "if(condition, value, otherwise)",
        result: "the common type",
        meaning: "the value if the condition is true, else the other",
        arity: 3..=3,
        build: |mut arguments| {
            arguments.boolean(0)?;
            arguments.unify_from(1)?;
            let (condition, value, otherwise) = (arguments.take(0), arguments.take(1), arguments.take(2));
            Ok(case(vec![(condition, value)], Some(Box::new(otherwise)), arguments.span))
        },
    },
    Function {
        name: "isnull",
        aliases: &[],
        syntax: "isnull(value)",
        result: "boolean",
        meaning: "whether the value is NULL",
        arity: 1..=1,
        build: |mut arguments| is_null(&mut arguments, false),
    },
    Function {
        name: "isnotnull",
        aliases: &[],
        syntax: "isnotnull(value)",
        result: "boolean",
        meaning: "whether the value isn't NULL",
        arity: 1..=1,
        build: |mut arguments| is_null(&mut arguments, true),
    },
    Function {
        name: "greatest",
        aliases: &[],
        syntax: "greatest(value, …)",
        result: "the common type",
        meaning: "the greatest value; NULLs are skipped; NaN is greater than all numbers",
        arity: 2..=64,
        build: |arguments| extreme(arguments, choose::GREATEST),
    },
    Function {
        name: "least",
        aliases: &[],
        syntax: "least(value, …)",
        result: "the common type",
        meaning: "the least value; NULLs are skipped",
        arity: 2..=64,
        build: |arguments| extreme(arguments, choose::LEAST),
    },
];

fn is_null(arguments: &mut Arguments<'_, '_>, negated: bool) -> Bound {
    let operand = Box::new(arguments.take(0));
    Ok(Typed::boolean(Kind::IsNull { operand, negated }, false, arguments.span.clone()))
}

fn coalesce(mut arguments: Arguments<'_, '_>) -> Bound {
    let common = arguments.unify_from(0)?;
    let nullable = arguments.list.iter().all(|argument| argument.nullable);
    arguments.call_nullable(choose::COALESCE, common, nullable)
}

fn extreme(mut arguments: Arguments<'_, '_>, kernel: crate::kernel::Kernel) -> Bound {
    let common = arguments.unify_from(0)?;
    if matches!(common, DataType::Null | DataType::Binary) {
        let message = format!("`{}` has no order to go by", arguments.name);
        return arguments.binder.report(arguments.span, message, "give it numbers, texts, dates or timestamps");
    }
    let nullable = arguments.list.iter().all(|argument| argument.nullable);
    arguments.call_nullable(kernel, common, nullable)
}
