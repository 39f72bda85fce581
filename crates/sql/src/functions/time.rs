//! Functions of dates and timestamps, in UTC.

use arrow_schema::DataType;

use super::{Arguments, Function};
use crate::bind::Bound;
use crate::kernel::{Kernel, time as kernels};
use crate::types;

pub(super) const FUNCTIONS: &[Function] = &[
    of_day("year", &[], "year(date)", "year", |arguments| day_part(arguments, kernels::YEAR)),
    of_day("quarter", &[], "quarter(date)", "quarter, 1 to 4", |arguments| day_part(arguments, kernels::QUARTER)),
    of_day("month", &[], "month(date)", "month, 1 to 12", |arguments| day_part(arguments, kernels::MONTH)),
    of_day("weekofyear", &[], "weekofyear(date)", "ISO week, 1 to 53", |arguments| {
        day_part(arguments, kernels::WEEK_OF_YEAR)
    }),
    of_day("day", &["dayofmonth"], "day(date)", "day of the month", |arguments| day_part(arguments, kernels::DAY)),
    of_day("dayofweek", &[], "dayofweek(date)", "1 (Sunday) to 7", |arguments| {
        day_part(arguments, kernels::DAY_OF_WEEK)
    }),
    of_day("weekday", &[], "weekday(date)", "0 (Monday) to 6", |arguments| day_part(arguments, kernels::WEEKDAY)),
    of_day("dayofyear", &[], "dayofyear(date)", "1 to 366", |arguments| day_part(arguments, kernels::DAY_OF_YEAR)),
    of_day("hour", &[], "hour(timestamp)", "0 to 23", |arguments| time_part(arguments, kernels::HOUR)),
    of_day("minute", &[], "minute(timestamp)", "0 to 59", |arguments| time_part(arguments, kernels::MINUTE)),
    of_day("second", &[], "second(timestamp)", "0 to 59", |arguments| time_part(arguments, kernels::SECOND)),
    Function {
        name: "date_trunc",
        aliases: &[],
        syntax: "date_trunc('unit', timestamp)",
        result: "timestamp",
        meaning: "cut to year, quarter, month, week, day, hour, minute, second, millisecond or microsecond",
        arity: 2..=2,
        build: |mut arguments| {
            arguments.timestamp(1)?;
            unit(&mut arguments, 0, false)?;
            arguments.call(kernels::DATE_TRUNC, types::timestamp())
        },
    },
    Function {
        name: "trunc",
        aliases: &[],
        syntax: "trunc(date, 'unit')",
        result: "date",
        meaning: "cut to year, quarter, month or week",
        arity: 2..=2,
        build: |mut arguments| {
            arguments.date(0)?;
            unit(&mut arguments, 1, true)?;
            arguments.call(kernels::TRUNC, DataType::Date32)
        },
    },
    Function {
        name: "to_date",
        aliases: &["date"],
        syntax: "to_date(value)",
        result: "date",
        meaning: "CAST(value AS DATE): the day of a timestamp, or text such as 2026-01-31; NULL if it isn't one",
        arity: 1..=1,
        build: |arguments| converted(arguments, &DataType::Date32),
    },
    Function {
        name: "to_timestamp",
        aliases: &["timestamp"],
        syntax: "to_timestamp(value)",
        result: "timestamp",
        meaning: "CAST(value AS TIMESTAMP): a date's midnight, or text such as 2026-01-31 12:00:00; NULL if it isn't one",
        arity: 1..=1,
        build: |arguments| converted(arguments, &types::timestamp()),
    },
    Function {
        name: "date_add",
        aliases: &["dateadd"],
        syntax: "date_add(date, days)",
        result: "date",
        meaning: "so many days later",
        arity: 2..=2,
        build: |arguments| moved(arguments, kernels::DATE_ADD),
    },
    Function {
        name: "date_sub",
        aliases: &[],
        syntax: "date_sub(date, days)",
        result: "date",
        meaning: "so many days earlier",
        arity: 2..=2,
        build: |arguments| moved(arguments, kernels::DATE_SUBTRACT),
    },
    Function {
        name: "add_months",
        aliases: &[],
        syntax: "add_months(date, months)",
        result: "date",
        meaning: "so many months later, on the same day of the month or its last",
        arity: 2..=2,
        build: |arguments| moved(arguments, kernels::ADD_MONTHS),
    },
    Function {
        name: "datediff",
        aliases: &["date_diff"],
        syntax: "datediff(end, start)",
        result: "int",
        meaning: "days between two dates",
        arity: 2..=2,
        build: |mut arguments| {
            arguments.date(0)?;
            arguments.date(1)?;
            arguments.call(kernels::DATE_DIFFERENCE, DataType::Int32)
        },
    },
    Function {
        name: "last_day",
        aliases: &[],
        syntax: "last_day(date)",
        result: "date",
        meaning: "the last day of its month",
        arity: 1..=1,
        build: |mut arguments| {
            arguments.date(0)?;
            arguments.call(kernels::LAST_DAY, DataType::Date32)
        },
    },
    of_unix("unix_seconds", &[], "unix_seconds(timestamp)", "seconds since 1970, rounded down", |arguments| {
        unix(arguments, kernels::UNIX_SECONDS)
    }),
    of_unix("unix_millis", &[], "unix_millis(timestamp)", "milliseconds since 1970, rounded down", |arguments| {
        unix(arguments, kernels::UNIX_MILLIS)
    }),
    of_unix("unix_micros", &[], "unix_micros(timestamp)", "microseconds since 1970", |arguments| {
        unix(arguments, kernels::UNIX_MICROS)
    }),
    of_number("timestamp_seconds", "timestamp_seconds(n)", "n seconds since 1970", |arguments| {
        at(arguments, kernels::TIMESTAMP_SECONDS)
    }),
    of_number("timestamp_millis", "timestamp_millis(n)", "n milliseconds since 1970", |arguments| {
        at(arguments, kernels::TIMESTAMP_MILLIS)
    }),
    of_number("timestamp_micros", "timestamp_micros(n)", "n microseconds since 1970", |arguments| {
        at(arguments, kernels::TIMESTAMP_MICROS)
    }),
];

type Build = fn(Arguments<'_, '_>) -> Bound;

const fn of_day(
    name: &'static str,
    aliases: &'static [&'static str],
    syntax: &'static str,
    meaning: &'static str,
    build: Build,
) -> Function {
    Function { name, aliases, syntax, result: "int", meaning, arity: 1..=1, build }
}

const fn of_unix(
    name: &'static str,
    aliases: &'static [&'static str],
    syntax: &'static str,
    meaning: &'static str,
    build: Build,
) -> Function {
    Function { name, aliases, syntax, result: "bigint", meaning, arity: 1..=1, build }
}

const fn of_number(name: &'static str, syntax: &'static str, meaning: &'static str, build: Build) -> Function {
    Function { name, aliases: &[], syntax, result: "timestamp", meaning, arity: 1..=1, build }
}

fn day_part(mut arguments: Arguments<'_, '_>, kernel: Kernel) -> Bound {
    arguments.date(0)?;
    arguments.call(kernel, DataType::Int32)
}

fn time_part(mut arguments: Arguments<'_, '_>, kernel: Kernel) -> Bound {
    arguments.timestamp(0)?;
    arguments.call(kernel, DataType::Int32)
}

fn moved(mut arguments: Arguments<'_, '_>, kernel: Kernel) -> Bound {
    arguments.date(0)?;
    arguments.int(1)?;
    arguments.call(kernel, DataType::Date32)
}

fn unix(mut arguments: Arguments<'_, '_>, kernel: Kernel) -> Bound {
    arguments.timestamp(0)?;
    arguments.call(kernel, DataType::Int64)
}

fn at(mut arguments: Arguments<'_, '_>, kernel: Kernel) -> Bound {
    arguments.bigint(0)?;
    arguments.call(kernel, types::timestamp())
}

fn converted(mut arguments: Arguments<'_, '_>, to: &DataType) -> Bound {
    let found = arguments.data_type(0);
    if !types::is_time(&found) && !matches!(found, DataType::Utf8 | DataType::Null) {
        let message = format!(
            "`{}` takes text, a date or a timestamp, and this is {}",
            arguments.name,
            crate::bind::a_type(&found)
        );
        return arguments.binder.report(arguments.span, message, "use timestamp_seconds(…) for a number of seconds");
    }
    let span = arguments.span.clone();
    Ok(crate::typed::Typed { span, ..crate::bind::coerce(arguments.take(0), to) })
}

/// The unit is text that the query holds, and one that there is.
fn unit(arguments: &mut Arguments<'_, '_>, index: usize, of_dates: bool) -> Bound<()> {
    let argument = arguments.list.get(index);
    let span = argument.map_or_else(|| arguments.span.clone(), |argument| argument.span.clone());
    let text = argument.and_then(|argument| argument.as_text()).map(str::to_owned);
    let names = || kernels::UNIT_NAMES.into_iter().take(if of_dates { 4 } else { kernels::UNIT_NAMES.len() });
    let Some(text) = text else {
        return arguments.binder.report(
            span,
            format!("the unit of `{}` is a literal", arguments.name),
            "such as 'hour'",
        );
    };
    match kernels::unit(&text) {
        Some(kernels::Unit::Fixed(_)) if of_dates => {}
        Some(_) => return Ok(()),
        None => {}
    }
    let help = match crate::diagnostic::nearest(&text, names()) {
        Some(near) => format!("did you mean '{near}'?"),
        None => format!("the units are {}", crate::diagnostic::list(names())),
    };
    arguments.binder.report(span, format!("'{text}' isn't a unit of `{}`", arguments.name), help)
}
