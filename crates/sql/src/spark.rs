//! The typed tree as text for Apache Spark.
//!
//! The text is for Spark's expression parser with ANSI mode off, case-sensitive names and no variable substitution. Each node is
//! printed with the type that it has here: nothing is left to Spark's own coercion.

use std::fmt::{self, Write as _};

use arrow_schema::DataType;
use datafusion_common::ScalarValue;

use crate::diagnostic::Diagnostic;
use crate::expression::Expression;
use crate::kernel::number_text;
use crate::lower::NORMALIZE;
use crate::plan::{Aggregate, Branch, Emit, Query, Window};
use crate::typed::{Kind, Typed};
use crate::types;

/// Beginning of the names that columns of our own have within a printed query.
pub const OWN_PREFIX: &str = "__ts_";

/// What of a query Apache Spark would not compute as the local engine does: each with its place, the reason and what to write instead.
/// Patterns aren't looked at, since they run in Tillstream's own stage.
pub fn refusals(query: &Query) -> Vec<Diagnostic> {
    if query.pattern.is_some() {
        return Vec::new();
    }
    let mut found: Vec<Diagnostic> = query.branches.iter().flat_map(refusals_of_branch).collect();
    let aggregates = query.inner.iter().map(|inner| &inner.aggregate).chain(&query.aggregate);
    found.extend(aggregates.flat_map(|aggregate| refusals_of_grouping(aggregate, query.options.emit)));
    let results = query.output.iter().map(|(_, value)| value).chain(&query.having);
    found.extend(results.flat_map(refusals_of));
    found.extend(query.output.iter().filter_map(|(name, _)| own_name(name)));
    found.sort_by_key(|diagnostic| diagnostic.span.start);
    found.dedup();
    found
}

fn refusals_of_branch(branch: &Branch) -> Vec<Diagnostic> {
    let shared = branch.columns.iter().flatten().map(|(_, value)| value);
    let of_pairs = branch.stream_join.iter().flat_map(|join| &join.keys).flat_map(|(left, right)| [left, right]);
    let of_joins = branch.joins.iter().flat_map(|join| join.stream_keys.iter().chain(&join.as_of));
    let values = shared.chain(of_pairs).chain(of_joins).chain(&branch.filter);
    let mut found: Vec<Diagnostic> = values.flat_map(refusals_of).collect();
    let shared = branch.columns.iter().flatten().map(|(name, _)| name);
    found.extend(
        branch.row_schema.fields().iter().map(|field| field.name()).chain(shared).filter_map(|name| own_name(name)),
    );
    found
}

fn refusals_of_grouping(aggregate: &Aggregate, emit: Emit) -> Vec<Diagnostic> {
    let arguments = aggregate.calls.iter().flat_map(|call| call.argument.iter().chain(&call.order));
    let mut found: Vec<Diagnostic> =
        aggregate.keys.iter().map(|(_, key)| key).chain(arguments).flat_map(refusals_of).collect();
    found.extend(aggregate.keys.iter().filter_map(|(name, _)| own_name(name)));
    found.extend(refusals_of_sessions(aggregate, emit));
    found
}

/// A column whose name is one of those that are added on Apache Spark.
fn own_name(name: &str) -> Option<Diagnostic> {
    let message = format!("the column `{name}` begins with {OWN_PREFIX} as Tillstream's own do on Apache Spark");
    name.starts_with(OWN_PREFIX).then(|| Diagnostic::new(0..0, message).with_help("give it another name"))
}

/// What of one expression Apache Spark would not compute as the local engine does.
pub fn refusals_of(expression: &Expression) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    expression.tree().walk(&mut |node| {
        if let Some((reason, help)) = refusal_of_node(node) {
            found.push(Diagnostic::new(node.span.clone(), format!("Apache Spark {reason}")).with_help(help));
        }
    });
    found
}

/// The expression as Spark SQL.
pub(crate) fn print(tree: &Typed) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    _ = write(&mut out, tree);
    out
}

/// Digits that Java's `MathContext.DECIMAL128` keeps, which Spark changes signs with.
const SIGNED_PRECISION_MAX: u8 = 34;

/// What Spark does otherwise at this node, and what to write instead: it rounds decimals of more than 34 digits in places, or fails on them.
fn refusal_of_node(tree: &Typed) -> Option<(&'static str, &'static str)> {
    let Kind::Kernel(kernel, arguments) = &tree.kind else { return None };
    let shape = |argument: &Typed| types::as_decimal(&argument.data_type).unwrap_or((0, 0));
    let is_decimal = matches!(tree.data_type, DataType::Decimal128(..));
    match (kernel.name, arguments.as_slice()) {
        ("decimal_order", _) => Some((
            "rounds decimals that have more than 38 digits together before it compares them",
            "cast one of them to fewer digits",
        )),
        ("-" | "abs", [a]) if is_decimal && shape(a).0 > SIGNED_PRECISION_MAX => {
            Some(("rounds decimals of more than 34 digits when it changes their sign", "cast it to fewer digits"))
        }
        ("%", [a, b])
            if is_decimal && whole_digits(shape(a)) + i16::from(shape(b).1) > i16::from(types::PRECISION_MAX) =>
        {
            Some(("fails on remainders of decimals with so many digits", "cast them to fewer digits"))
        }
        ("round", [a, digits])
            if whole_digits(shape(a)) >= i16::from(types::PRECISION_MAX)
                && matches!(digits.as_literal(), Some(ScalarValue::Int32(Some(digits))) if *digits < 0) =>
        {
            Some(("fails where rounding gives more than 38 digits", "cast it to fewer digits"))
        }
        _ => None,
    }
}

/// What Spark's streams can't do with sessions.
fn refusals_of_sessions(aggregate: &Aggregate, emit: Emit) -> Vec<Diagnostic> {
    let Some(Window::Session(window)) = &aggregate.window else { return Vec::new() };
    let mut found = Vec::new();
    let mut refuse = |message: &str, help: &str| {
        found.push(Diagnostic::new(window.time.tree().span.clone(), message).with_help(help));
    };
    if emit == Emit::Changes {
        refuse(
            "Apache Spark publishes a session once, when it is over, and has no way to publish how it changes",
            "write `--! emit: final` above the query, or use `engine: local`",
        );
    }
    let is_constant = |key: &Expression| key.tree().as_literal().is_some();
    if aggregate.keys.iter().all(|(_, key)| is_constant(key)) {
        refuse(
            "Apache Spark computes no sessions over all rows of a stream together",
            "group by a column beside the session, or use `engine: local`",
        );
    }
    found
}

fn whole_digits((precision, scale): (u8, i8)) -> i16 {
    i16::from(precision) - i16::from(scale)
}

/// A column's name as it stands in Spark SQL; dots are part of it.
pub fn name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text literal of Spark SQL.
pub fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0' => out.push_str("\\u0000"),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// A type of Arrow by its name in Spark SQL.
pub fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Float32 => "FLOAT".to_owned(),
        other => types::name(other).to_uppercase(),
    }
}

fn write(out: &mut String, tree: &Typed) -> fmt::Result {
    match &tree.kind {
        Kind::Column(column) => out.write_str(&name(column)),
        Kind::Literal(value) => write_literal(out, value),
        Kind::Compare(comparison, a, b) => write_infix(out, a, comparison.symbol(), b),
        Kind::And(a, b) => write_infix(out, a, "AND", b),
        Kind::Or(a, b) => write_infix(out, a, "OR", b),
        Kind::Not(a) => write_parts(out, "(NOT ", &[a], ")"),
        Kind::IsNull { operand, negated: false } => write_parts(out, "(", &[operand], " IS NULL)"),
        Kind::IsNull { operand, negated: true } => write_parts(out, "(", &[operand], " IS NOT NULL)"),
        Kind::Case { branches, otherwise } => {
            out.write_str("(CASE")?;
            for (when, then) in branches {
                write_parts(out, " WHEN ", &[when], " THEN ")?;
                write(out, then)?;
            }
            if let Some(otherwise) = otherwise {
                write_parts(out, " ELSE ", &[otherwise], "")?;
            }
            out.write_str(" END)")
        }
        Kind::InList { value, list, negated } => {
            write_parts(out, "(", &[value], if *negated { " NOT IN (" } else { " IN (" })?;
            write_list(out, list)?;
            out.write_str("))")
        }
        Kind::Like { value, pattern, negated, case_insensitive } => {
            write_parts(out, "(", &[value], if *negated { " NOT " } else { " " })?;
            write!(out, "{} {})", if *case_insensitive { "ILIKE" } else { "LIKE" }, text(pattern))
        }
        // Of a time without a date Spark would make one of today.
        Kind::Cast(operand) if operand.data_type == DataType::Utf8 && tree.data_type == types::timestamp() => {
            write_parts(out, "if(", &[operand], " RLIKE '^[\\\\s\\\\p{Cntrl}]*[+-]?[0-9]{4}', CAST(")?;
            write_parts(out, "", &[operand], " AS TIMESTAMP), NULL)")
        }
        Kind::Cast(operand) => {
            write_parts(out, "CAST(", &[operand], " AS ")?;
            write!(out, "{})", type_name(&tree.data_type))
        }
        // Spark knows one zero and one NaN in groups, joins and comparisons by itself.
        Kind::Kernel(kernel, arguments) if *kernel == NORMALIZE => arguments.iter().try_for_each(|a| write(out, a)),
        Kind::Kernel(kernel, arguments) => match (kernel.infix, arguments.as_slice()) {
            (true, [time, Typed { kind: Kind::Literal(ScalarValue::Int64(Some(us))), .. }])
                if tree.data_type == types::timestamp() =>
            {
                write_parts(out, "(", &[time], " ")?;
                write!(out, "{} INTERVAL '{us} microseconds')", kernel.name)
            }
            (true, [a, b]) => write_infix(out, a, kernel.name, b),
            (true, [a]) => write_parts(out, &format!("({} ", kernel.name), &[a], ")"),
            _ => write_call(out, kernel.name, arguments),
        },
        Kind::Library(_, function, arguments) => write_call(out, function, arguments),
        // Compiled expressions have none of these: grouping has made columns of them.
        Kind::Call(number) => write!(out, "aggregate_{number}"),
        Kind::WindowStart => out.write_str("window.start"),
        Kind::WindowEnd => out.write_str("window.end"),
    }
}

fn write_parts(out: &mut String, before: &str, operands: &[&Typed], after: &str) -> fmt::Result {
    out.write_str(before)?;
    operands.iter().try_for_each(|operand| write(out, operand))?;
    out.write_str(after)
}

fn write_infix(out: &mut String, a: &Typed, operator: &str, b: &Typed) -> fmt::Result {
    write_parts(out, "(", &[a], " ")?;
    out.write_str(operator)?;
    write_parts(out, " ", &[b], ")")
}

fn write_call(out: &mut String, function: &str, arguments: &[Typed]) -> fmt::Result {
    write!(out, "{function}(")?;
    write_list(out, arguments)?;
    out.write_str(")")
}

fn write_list(out: &mut String, list: &[Typed]) -> fmt::Result {
    for (index, item) in list.iter().enumerate() {
        if index > 0 {
            out.write_str(", ")?;
        }
        write(out, item)?;
    }
    Ok(())
}

fn write_literal(out: &mut String, value: &ScalarValue) -> fmt::Result {
    match value {
        ScalarValue::Utf8(Some(value)) => out.write_str(&text(value)),
        ScalarValue::Boolean(Some(value)) => out.write_str(if *value { "TRUE" } else { "FALSE" }),
        ScalarValue::Int32(Some(value)) => write!(out, "({value})"),
        ScalarValue::Int64(Some(value)) => write!(out, "({value}L)"),
        ScalarValue::Float64(Some(value)) if value.is_finite() => write!(out, "({}D)", number_text::double(*value)),
        ScalarValue::Float64(Some(value)) => write!(out, "CAST('{}' AS DOUBLE)", number_text::double(*value)),
        ScalarValue::Decimal128(Some(value), precision, scale) => {
            let digits = number_text::decimal_plain(*value, *scale);
            write!(out, "CAST('{digits}' AS DECIMAL({precision},{scale}))")
        }
        ScalarValue::Date32(Some(days)) => write!(out, "date_from_unix_date({days})"),
        ScalarValue::TimestampMicrosecond(Some(us), _) => write!(out, "timestamp_micros({us}L)"),
        ScalarValue::Binary(Some(bytes)) => {
            out.write_str("X'")?;
            bytes.iter().try_for_each(|byte| write!(out, "{byte:02X}"))?;
            out.write_str("'")
        }
        ScalarValue::Null => out.write_str("NULL"),
        // Literals have no other types, and of these only NULLs are left.
        null => write!(out, "CAST(NULL AS {})", type_name(&null.data_type())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_names_can_hold_anything() {
        assert_eq!(text("it's a \\ and\n\0"), "'it\\'s a \\\\ and\\n\\u0000'");
        assert_eq!(name("m.`x`"), "`m.``x```");
    }
}
