//! The allow-list of functions: ONE table, from which calls are bound and the reference in docs/sql.md is made.

mod choose;
mod mathematics;
mod refused;
mod text;
mod time;

use std::fmt::Write as _;
use std::ops::{Range, RangeInclusive};

use arrow_schema::DataType;
use datafusion_common::ScalarValue;

pub(crate) use refused::refusal;
pub(crate) use text::array_join;

use crate::bind::{Binder, Bound, a_type, coerce};
use crate::kernel::Kernel;
use crate::lower::fold;
use crate::typed::{Kind, Typed};
use crate::types;

/// A function that queries may call, with Spark's meaning.
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) aliases: &'static [&'static str],
    /// How a call is written.
    pub(crate) syntax: &'static str,
    /// Type of the result.
    pub(crate) result: &'static str,
    /// What it gives.
    pub(crate) meaning: &'static str,
    /// How many arguments it takes.
    pub(crate) arity: RangeInclusive<usize>,
    pub(crate) build: fn(Arguments<'_, '_>) -> Bound,
}

/// All functions, by group.
const GROUPS: [(&str, &[Function]); 4] = [
    ("Choosing", choose::FUNCTIONS),
    ("Numbers", mathematics::FUNCTIONS),
    ("Text", text::FUNCTIONS),
    ("Dates and times", time::FUNCTIONS),
];

/// Aggregates are bound elsewhere; these rows are for the reference.
const AGGREGATES: &[(&str, &str, &str)] = &[
    ("`count(*)`", "bigint", "rows"),
    ("`count(value)`", "bigint", "rows whose value isn't NULL"),
    ("`count_if(condition)`", "bigint", "rows for which the condition is true"),
    (
        "`sum(number)`",
        "bigint; decimal(p+10,s); double",
        "sum; NULL if all are NULL. Decimals have at most 26 digits, so that 10^12 rows add up exactly. Over doubles with a warning",
    ),
    ("`min(value)`", "as the value", "least; NULL if all are NULL"),
    ("`max(value)`", "as the value", "greatest; NULL if all are NULL"),
    (
        "`avg(number)`, `mean(number)`",
        "decimal(p+4,s+4); double",
        "mean; NULL if all are NULL. Decimals are rounded half up",
    ),
    ("`bool_and(condition)`, `every`", "boolean", "whether all that aren't NULL are true; NULL if all are NULL"),
    ("`bool_or(condition)`, `some`, `any`", "boolean", "whether one is true; NULL if all are NULL"),
    (
        "`stddev(number)`, `stddev_samp`, `std`; `variance(number)`, `var_samp`",
        "double",
        "standard deviation and variance of a sample, computed as doubles; NULL for fewer than two values",
    ),
    (
        "`stddev_pop(number)`; `var_pop(number)`",
        "double",
        "standard deviation and variance of all values, computed as doubles; NULL if all are NULL",
    ),
    (
        "`count(DISTINCT value)`",
        "bigint",
        "different values that aren't NULL, exactly: each is kept as long as its window",
    ),
    (
        "`approx_count_distinct(value, error)`",
        "bigint",
        "about how many different values; the standard error is 0.05 of it if none is given, and at least 0.001. The local engine gives small numbers exactly",
    ),
    (
        "`percentile_approx(number, percentage, accuracy)`, `approx_percentile`",
        "as the value",
        "a value whose rank is off by 1/accuracy of the rows at most; the percentage is from 0 to 1, the accuracy 10000 if none is given. Dates and timestamps have percentiles too",
    ),
    (
        "`min_by(value, order)`",
        "as the value",
        "the value of the row whose order is least, of equal ones the first by event time, partition and offset; `min_by(value, event_time)` is the first value. Rows without an order are skipped, values may be NULL",
    ),
    (
        "`max_by(value, order)`",
        "as the value",
        "the value of the row whose order is greatest, of equal ones the last by event time, partition and offset; `max_by(value, event_time)` is the last value",
    ),
    (
        "`array_join(slice(collect_list(text), 1, n), separator)`",
        "text",
        "the first n texts that aren't NULL, by event time, partition and offset, with a separator between; n is 1 to 10000",
    ),
];

fn all() -> impl Iterator<Item = &'static Function> {
    GROUPS.iter().flat_map(|(_, functions)| functions.iter())
}

/// The function with this name, in lower case.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    all().find(|function| function.name == name || function.aliases.contains(&name))
}

/// All names, for suggestions.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    all().flat_map(|function| std::iter::once(function.name).chain(function.aliases.iter().copied()))
}

/// The reference of functions and aggregates as Markdown tables: what docs/sql.md holds between its markers.
pub fn reference() -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    _ = write_reference(&mut out);
    out
}

fn write_reference(out: &mut String) -> std::fmt::Result {
    writeln!(out, "### Aggregates\n\n| call | result | gives |\n| --- | --- | --- |")?;
    for (call, result, meaning) in AGGREGATES.iter() {
        writeln!(out, "| {call} | {result} | {meaning} |")?;
    }
    for (group, functions) in GROUPS {
        writeln!(out, "\n### {group}\n\n| call | result | gives |\n| --- | --- | --- |")?;
        for function in functions {
            let aliases: Vec<String> = function.aliases.iter().map(|alias| format!("`{alias}`")).collect();
            let also = if aliases.is_empty() { String::new() } else { format!("; also {}", aliases.join(", ")) };
            writeln!(out, "| `{}`{also} | {} | {} |", function.syntax, function.result, function.meaning)?;
        }
    }
    Ok(())
}

/// The bound arguments of a call. Each method gives one argument the type that the function needs, or reports why it can't.
pub(crate) struct Arguments<'b, 'a> {
    pub(crate) binder: &'b mut Binder<'a>,
    pub(crate) name: &'static str,
    pub(crate) list: Vec<Typed>,
    pub(crate) span: Range<usize>,
}

impl Arguments<'_, '_> {
    /// The type of an argument.
    pub(crate) fn data_type(&self, index: usize) -> DataType {
        self.list.get(index).map_or(DataType::Null, |argument| argument.data_type.clone())
    }

    fn wrong<T>(&mut self, index: usize, needed: &str, help: impl Into<String>) -> Bound<T> {
        let span = self.list.get(index).map_or_else(|| self.span.clone(), |argument| argument.span.clone());
        let found = a_type(&self.data_type(index));
        let message = format!("argument {} of `{}` must be {needed}, and this is {found}", index + 1, self.name);
        self.binder.report(span, message, help)
    }

    fn convert(&mut self, index: usize, to: &DataType) {
        if let Some(argument) = self.list.get_mut(index) {
            let value = std::mem::replace(argument, Typed::null(to, 0..0));
            *argument = coerce(value, to);
        }
    }

    /// Text.
    pub(crate) fn text(&mut self, index: usize) -> Bound<()> {
        match self.data_type(index) {
            DataType::Utf8 => Ok(()),
            DataType::Null => {
                self.convert(index, &DataType::Utf8);
                Ok(())
            }
            _ => self.wrong(index, "text", "write CAST(… AS STRING)"),
        }
    }

    /// A number of any type; NULL becomes an int.
    pub(crate) fn number(&mut self, index: usize) -> Bound<()> {
        match self.data_type(index) {
            DataType::Null => {
                self.convert(index, &DataType::Int32);
                Ok(())
            }
            other if types::is_numeric(&other) => Ok(()),
            _ => self.wrong(index, "a number", "write CAST(… AS DECIMAL(10, 2))"),
        }
    }

    /// A double; other numbers are converted.
    pub(crate) fn double(&mut self, index: usize) -> Bound<()> {
        self.number(index)?;
        self.convert(index, &DataType::Float64);
        Ok(())
    }

    /// An int.
    pub(crate) fn int(&mut self, index: usize) -> Bound<()> {
        match self.data_type(index) {
            DataType::Int32 => Ok(()),
            DataType::Null => {
                self.convert(index, &DataType::Int32);
                Ok(())
            }
            _ => self.wrong(index, "an int", "write CAST(… AS INT)"),
        }
    }

    /// A bigint; an int is converted.
    pub(crate) fn bigint(&mut self, index: usize) -> Bound<()> {
        match self.data_type(index) {
            DataType::Int32 | DataType::Int64 | DataType::Null => {
                self.convert(index, &DataType::Int64);
                Ok(())
            }
            _ => self.wrong(index, "a whole number", "write CAST(… AS BIGINT)"),
        }
    }

    /// A whole number that the query holds.
    pub(crate) fn int_literal(&mut self, index: usize) -> Bound<i32> {
        match self.list.get(index).and_then(Typed::as_literal) {
            Some(ScalarValue::Int32(Some(value))) => Ok(*value),
            _ => {
                let span = self.list.get(index).map_or_else(|| self.span.clone(), |argument| argument.span.clone());
                let message = format!("argument {} of `{}` must be a whole number, written out", index + 1, self.name);
                self.binder.report(span, message, "such as 2")
            }
        }
    }

    /// A date; a timestamp is cut to its day, text that the query holds is read.
    pub(crate) fn date(&mut self, index: usize) -> Bound<()> {
        self.time(index, &DataType::Date32)
    }

    /// A timestamp; a date is its midnight, text that the query holds is read.
    pub(crate) fn timestamp(&mut self, index: usize) -> Bound<()> {
        self.time(index, &types::timestamp())
    }

    fn time(&mut self, index: usize, to: &DataType) -> Bound<()> {
        let found = self.data_type(index);
        let is_literal = self.list.get(index).is_some_and(|argument| argument.as_literal().is_some());
        if types::is_time(&found) || found == DataType::Null || (found == DataType::Utf8 && is_literal) {
            self.convert(index, to);
            return Ok(());
        }
        let name = types::name(to);
        self.wrong(index, &format!("a {name}"), format!("write CAST(… AS {})", name.to_uppercase()))
    }

    /// A condition.
    pub(crate) fn boolean(&mut self, index: usize) -> Bound<()> {
        match self.data_type(index) {
            DataType::Boolean => Ok(()),
            DataType::Null => {
                self.convert(index, &DataType::Boolean);
                Ok(())
            }
            _ => self.wrong(index, "a condition", "compare it, such as `… > 0`"),
        }
    }

    /// All arguments from one on get their common type, which is returned.
    pub(crate) fn unify_from(&mut self, first: usize) -> Bound<DataType> {
        let tail = self.list.split_off(first.min(self.list.len()));
        let tail = self.binder.unify(tail, &format!("the arguments of `{}`", self.name))?;
        let common = tail.first().map_or(DataType::Null, |value| value.data_type.clone());
        self.list.extend(tail);
        Ok(common)
    }

    /// Whether some argument can be NULL.
    pub(crate) fn nullable(&self) -> bool {
        self.list.iter().any(|argument| argument.nullable)
    }

    /// The call, with a result that is NULL only where an argument is.
    pub(crate) fn call(self, kernel: Kernel, data_type: DataType) -> Bound {
        let nullable = self.nullable();
        self.call_nullable(kernel, data_type, nullable)
    }

    /// The call with a nullability of its own.
    pub(crate) fn call_nullable(self, kernel: Kernel, data_type: DataType, nullable: bool) -> Bound {
        Ok(fold(Typed { kind: Kind::Kernel(kernel, self.list), data_type, nullable, span: self.span }))
    }

    /// One argument by value.
    pub(crate) fn take(&mut self, index: usize) -> Typed {
        match self.list.get_mut(index) {
            Some(argument) => std::mem::replace(argument, Typed::null(&DataType::Null, 0..0)),
            None => Typed::null(&DataType::Null, self.span.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_name_means_one_function_and_none_is_refused() {
        let mut seen = HashSet::new();
        for name in names() {
            assert!(seen.insert(name), "{name} is there twice");
            assert!(refusal(name).is_none(), "{name} is both allowed and refused");
            assert_eq!(name, name.to_lowercase());
        }
    }

    #[test]
    fn each_syntax_begins_with_the_name() {
        for function in all() {
            assert!(function.syntax.starts_with(&format!("{}(", function.name)), "{}", function.syntax);
        }
    }
}
