//! Functions of dates and timestamps, in UTC and the proleptic Gregorian calendar.

use std::sync::Arc;

use arrow_array::types::{Date32Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{ArrayRef, ArrowPrimitiveType, PrimitiveArray};
use arrow_schema::DataType;
use datafusion_common::Result;

use super::time_text::{DAY_US, civil, days, days_in_month, split};
use super::{Kernel, Operands, map1, map2};

const SECOND_US: i64 = 1_000_000;

/// An Int32 of the day.
fn of_day(operands: &Operands, part: fn(i32) -> i32) -> Result<ArrayRef> {
    let days = operands.numbers::<Date32Type>(0)?;
    Ok(Arc::new(map1::<Date32Type, Int32Type>(operands.rows, &days, part)))
}

/// An Int32 of the microseconds since midnight.
fn of_time(operands: &Operands, part: fn(i64) -> i64) -> Result<ArrayRef> {
    let times = operands.numbers::<TimestampMicrosecondType>(0)?;
    // At most 86,400.
    Ok(Arc::new(map1::<TimestampMicrosecondType, Int32Type>(operands.rows, &times, |us| part(split(us).1) as i32)))
}

/// Days since Monday, 0 to 6.
fn weekday(day: i32) -> i32 {
    day.wrapping_add(3).rem_euclid(7)
}

fn day_of_year(day: i32) -> i32 {
    day.wrapping_sub(first_of_year(day)) + 1
}

fn first_of_year(day: i32) -> i32 {
    days(civil(day).0, 1, 1).unwrap_or(day)
}

/// The ISO week, which belongs to the year of its Thursday.
fn week_of_year(day: i32) -> i32 {
    let thursday = day.wrapping_sub(weekday(day)).wrapping_add(3);
    (day_of_year(thursday) - 1) / 7 + 1
}

pub(crate) const YEAR: Kernel = Kernel::function("year", |operands, _| of_day(operands, |day| civil(day).0));
pub(crate) const QUARTER: Kernel =
    Kernel::function("quarter", |operands, _| of_day(operands, |day| (civil(day).1 as i32 + 2) / 3));
pub(crate) const MONTH: Kernel = Kernel::function("month", |operands, _| of_day(operands, |day| civil(day).1 as i32));
pub(crate) const DAY: Kernel = Kernel::function("day", |operands, _| of_day(operands, |day| civil(day).2 as i32));
/// Sunday is 1.
pub(crate) const DAY_OF_WEEK: Kernel =
    Kernel::function("dayofweek", |operands, _| of_day(operands, |day| (weekday(day) + 1) % 7 + 1));
/// Monday is 0.
pub(crate) const WEEKDAY: Kernel = Kernel::function("weekday", |operands, _| of_day(operands, weekday));
pub(crate) const DAY_OF_YEAR: Kernel = Kernel::function("dayofyear", |operands, _| of_day(operands, day_of_year));
pub(crate) const WEEK_OF_YEAR: Kernel = Kernel::function("weekofyear", |operands, _| of_day(operands, week_of_year));
pub(crate) const HOUR: Kernel =
    Kernel::function("hour", |operands, _| of_time(operands, |us| us / (3_600 * SECOND_US)));
pub(crate) const MINUTE: Kernel =
    Kernel::function("minute", |operands, _| of_time(operands, |us| us / (60 * SECOND_US) % 60));
pub(crate) const SECOND: Kernel = Kernel::function("second", |operands, _| of_time(operands, |us| us / SECOND_US % 60));

pub(crate) const LAST_DAY: Kernel = Kernel::function("last_day", |operands, to| {
    days_of(operands, to, |day| {
        let (year, month, _) = civil(day);
        days(year, month, days_in_month(year, month)).unwrap_or(day)
    })
});

fn days_of(operands: &Operands, to: &DataType, map: impl Fn(i32) -> i32) -> Result<ArrayRef> {
    let array = map1::<Date32Type, Date32Type>(operands.rows, &operands.numbers(0)?, map);
    Ok(Arc::new(array.with_data_type(to.clone())))
}

pub(crate) const DATE_ADD: Kernel = Kernel::function("date_add", |operands, _| move_days(operands, i32::wrapping_add));
pub(crate) const DATE_SUBTRACT: Kernel =
    Kernel::function("date_sub", |operands, _| move_days(operands, i32::wrapping_sub));

fn move_days(operands: &Operands, moved: fn(i32, i32) -> i32) -> Result<ArrayRef> {
    let (days, by) = (operands.numbers::<Date32Type>(0)?, operands.numbers::<Int32Type>(1)?);
    Ok(Arc::new(map2::<Date32Type, Int32Type, Date32Type>(operands.rows, &days, &by, moved)))
}

/// `datediff(end, start)`.
pub(crate) const DATE_DIFFERENCE: Kernel = Kernel::function("datediff", |operands, _| {
    let (end, start) = (operands.numbers::<Date32Type>(0)?, operands.numbers::<Date32Type>(1)?);
    Ok(Arc::new(map2::<Date32Type, Date32Type, Int32Type>(operands.rows, &end, &start, i32::wrapping_sub)))
});

/// `months` later, on the same day of the month or on its last.
pub(crate) const ADD_MONTHS: Kernel = Kernel::function("add_months", |operands, _| {
    let (start, months) = (operands.numbers::<Date32Type>(0)?, operands.numbers::<Int32Type>(1)?);
    let added = |day, by: i32| {
        let (year, month, day_of_month) = civil(day);
        let total = i64::from(year) * 12 + i64::from(month) - 1 + i64::from(by);
        let year = i32::try_from(total.div_euclid(12)).unwrap_or(year);
        let month = total.rem_euclid(12) as u32 + 1;
        days(year, month, day_of_month.min(days_in_month(year, month))).unwrap_or(day)
    };
    Ok(Arc::new(map2::<Date32Type, Int32Type, Date32Type>(operands.rows, &start, &months, added)))
});

/// What `date_trunc` and `trunc` cut to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A fixed length in microseconds, up to a day.
    Fixed(i64),
    Week,
    Month,
    Quarter,
    Year,
}

/// The names of `date_trunc`'s units.
pub(crate) const UNIT_NAMES: [&str; 10] =
    ["year", "quarter", "month", "week", "day", "hour", "minute", "second", "millisecond", "microsecond"];

/// The unit with this name, in any case.
pub(crate) fn unit(name: &str) -> Option<Unit> {
    Some(match name.to_ascii_lowercase().as_str() {
        "year" | "yyyy" | "yy" => Unit::Year,
        "quarter" => Unit::Quarter,
        "month" | "mon" | "mm" => Unit::Month,
        "week" => Unit::Week,
        "day" | "dd" => Unit::Fixed(DAY_US),
        "hour" => Unit::Fixed(3_600 * SECOND_US),
        "minute" => Unit::Fixed(60 * SECOND_US),
        "second" => Unit::Fixed(SECOND_US),
        "millisecond" => Unit::Fixed(1_000),
        "microsecond" => Unit::Fixed(1),
        _ => return None,
    })
}

fn truncated_day(day: i32, unit: Unit) -> i32 {
    let (year, month, _) = civil(day);
    match unit {
        Unit::Fixed(_) => day,
        Unit::Week => day.wrapping_sub(weekday(day)),
        Unit::Month => days(year, month, 1).unwrap_or(day),
        Unit::Quarter => days(year, (month - 1) / 3 * 3 + 1, 1).unwrap_or(day),
        Unit::Year => first_of_year(day),
    }
}

fn unit_operand(operands: &Operands, index: usize) -> Result<Unit> {
    Ok(operands.texts(index)?.get(0).and_then(unit).unwrap_or(Unit::Fixed(1)))
}

/// `date_trunc('unit', timestamp)`; the unit is a literal.
pub(crate) const DATE_TRUNC: Kernel = Kernel::function("date_trunc", |operands, to| {
    let unit = unit_operand(operands, 0)?;
    let cut = |us: i64| match unit {
        Unit::Fixed(length) => us.wrapping_sub(us.rem_euclid(length)),
        longer => i64::from(truncated_day(split(us).0, longer)).wrapping_mul(DAY_US),
    };
    let array = map1::<TimestampMicrosecondType, TimestampMicrosecondType>(operands.rows, &operands.numbers(1)?, cut);
    Ok(Arc::new(array.with_data_type(to.clone())))
});

/// `trunc(date, 'unit')`; the unit is a literal.
pub(crate) const TRUNC: Kernel = Kernel::function("trunc", |operands, to| {
    let unit = unit_operand(operands, 1)?;
    days_of(operands, to, |day| truncated_day(day, unit))
});

/// Whole units since 1970, rounded down.
fn since<const UNIT_US: i64>(operands: &Operands, _: &DataType) -> Result<ArrayRef> {
    let times = operands.numbers::<TimestampMicrosecondType>(0)?;
    Ok(Arc::new(map1::<TimestampMicrosecondType, Int64Type>(operands.rows, &times, |us| us.div_euclid(UNIT_US))))
}

pub(crate) const UNIX_SECONDS: Kernel = Kernel::function("unix_seconds", since::<SECOND_US>);
pub(crate) const UNIX_MILLIS: Kernel = Kernel::function("unix_millis", since::<1_000>);
pub(crate) const UNIX_MICROS: Kernel = Kernel::function("unix_micros", since::<1>);

/// The timestamp of so many units since 1970; it stays within what a timestamp can hold.
fn at<const UNIT_US: i64>(operands: &Operands, to: &DataType) -> Result<ArrayRef> {
    let numbers = operands.numbers::<Int64Type>(0)?;
    let array: PrimitiveArray<TimestampMicrosecondType> =
        map1(operands.rows, &numbers, |number: <Int64Type as ArrowPrimitiveType>::Native| {
            number.saturating_mul(UNIT_US)
        });
    Ok(Arc::new(array.with_data_type(to.clone())))
}

pub(crate) const TIMESTAMP_SECONDS: Kernel = Kernel::function("timestamp_seconds", at::<SECOND_US>);
pub(crate) const TIMESTAMP_MILLIS: Kernel = Kernel::function("timestamp_millis", at::<1_000>);
pub(crate) const TIMESTAMP_MICROS: Kernel = Kernel::function("timestamp_micros", at::<1>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks_are_iso() {
        let week = |year, month, day| week_of_year(days(year, month, day).unwrap());
        assert_eq!(week(2026, 1, 1), 1);
        assert_eq!(week(2027, 1, 1), 53);
        assert_eq!(week(2024, 12, 30), 1);
        assert_eq!(week(2026, 12, 31), 53);
        assert_eq!(weekday(days(2026, 11, 22).unwrap()), 6);
    }

    #[test]
    fn truncation() {
        let day = days(2026, 8, 15).unwrap();
        assert_eq!(truncated_day(day, Unit::Quarter), days(2026, 7, 1).unwrap());
        assert_eq!(truncated_day(day, Unit::Week), days(2026, 8, 10).unwrap());
        assert_eq!(truncated_day(day, Unit::Year), days(2026, 1, 1).unwrap());
        for name in UNIT_NAMES {
            assert!(unit(name).is_some(), "{name}");
        }
        for extreme in [i32::MIN, i32::MAX] {
            for name in UNIT_NAMES {
                truncated_day(extreme, unit(name).unwrap());
            }
            week_of_year(extreme);
        }
    }
}
