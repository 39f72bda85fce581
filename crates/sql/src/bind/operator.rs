//! Operators: arithmetic with Spark's result types, comparisons, logic, BETWEEN, IN, LIKE.

use std::ops::Range;

use arrow_schema::DataType;
use datafusion_common::ScalarValue;
use sqlparser::ast::{BinaryOperator, Expr, UnaryOperator, Value, ValueWithSpan};

use super::{Binder, Bound, a_type, coerce};
use crate::kernel::{Kernel, arithmetic, decimal, text};
use crate::lower::fold;
use crate::typed::{Comparison, Kind, Typed};
use crate::types::{self, DecimalOperation, decimal_result};

/// Arithmetic operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arithmetic {
    Decimal(DecimalOperation),
    /// `div`.
    Whole,
}

impl Binder<'_> {
    pub(super) fn unary(&mut self, operator: UnaryOperator, operand: &Expr, span: Range<usize>) -> Bound {
        match (operator, operand) {
            (UnaryOperator::Not | UnaryOperator::BangNot, _) => {
                let operand = self.condition(operand, "NOT")?;
                let nullable = operand.nullable;
                Ok(Typed::boolean(Kind::Not(Box::new(operand)), nullable, span))
            }
            (UnaryOperator::Minus, Expr::Value(ValueWithSpan { value: Value::Number(digits, long), .. })) => {
                self.number(&format!("-{digits}"), *long, &span)
            }
            (UnaryOperator::Minus | UnaryOperator::Plus, _) => {
                let operand = self.bind(operand)?;
                if !types::is_numeric(&operand.data_type) {
                    let message = format!("a sign belongs before a number, and this is {}", a_type(&operand.data_type));
                    return self.report(span, message, "cast it: CAST(… AS DECIMAL(10, 2))");
                }
                if operator == UnaryOperator::Plus {
                    return Ok(operand);
                }
                let (data_type, nullable) = (operand.data_type.clone(), operand.nullable);
                Ok(fold(Typed { kind: Kind::Kernel(arithmetic::NEGATE, vec![operand]), data_type, nullable, span }))
            }
            _ => self.report(
                span,
                format!("the operator `{operator}` isn't supported"),
                "the operators stand in docs/sql.md",
            ),
        }
    }

    pub(super) fn binary(&mut self, left: &Expr, operator: &BinaryOperator, right: &Expr, span: Range<usize>) -> Bound {
        let decimal = |operation| Some(Arithmetic::Decimal(operation));
        let comparison = match operator {
            BinaryOperator::And | BinaryOperator::Or => {
                let word = if *operator == BinaryOperator::And { "AND" } else { "OR" };
                let (left, right) = (self.condition(left, word), self.condition(right, word));
                let (left, right) = (Box::new(left?), Box::new(right?));
                let nullable = left.nullable || right.nullable;
                let kind = if word == "AND" { Kind::And(left, right) } else { Kind::Or(left, right) };
                return Ok(Typed::boolean(kind, nullable, span));
            }
            BinaryOperator::Eq => Comparison::Equal,
            BinaryOperator::NotEq => Comparison::NotEqual,
            BinaryOperator::Lt => Comparison::Less,
            BinaryOperator::LtEq => Comparison::LessOrEqual,
            BinaryOperator::Gt => Comparison::Greater,
            BinaryOperator::GtEq => Comparison::GreaterOrEqual,
            BinaryOperator::Spaceship => Comparison::NullSafeEqual,
            BinaryOperator::StringConcat => {
                let (left, right) = (self.bind(left), self.bind(right));
                let operands = vec![left?, right?];
                for operand in &operands {
                    if !matches!(operand.data_type, DataType::Utf8 | DataType::Null) {
                        let message = format!("`||` joins texts, and this is {}", a_type(&operand.data_type));
                        return self.report(operand.span.clone(), message, "write CAST(… AS STRING)");
                    }
                }
                let operands: Vec<Typed> =
                    operands.into_iter().map(|operand| coerce(operand, &DataType::Utf8)).collect();
                let nullable = operands.iter().any(|operand| operand.nullable);
                let kind = Kind::Kernel(text::CONCAT, operands);
                return Ok(fold(Typed { kind, data_type: DataType::Utf8, nullable, span }));
            }
            other => {
                let arithmetic = match other {
                    BinaryOperator::Plus => decimal(DecimalOperation::Add),
                    BinaryOperator::Minus => decimal(DecimalOperation::Subtract),
                    BinaryOperator::Multiply => decimal(DecimalOperation::Multiply),
                    BinaryOperator::Divide => decimal(DecimalOperation::Divide),
                    BinaryOperator::Modulo => decimal(DecimalOperation::Remainder),
                    BinaryOperator::MyIntegerDivide => Some(Arithmetic::Whole),
                    _ => None,
                };
                return match arithmetic {
                    Some(operation) => self.arithmetic(left, operation, right, span),
                    None => {
                        let message = format!("the operator `{other}` isn't supported");
                        self.report(span, message, "the operators stand in docs/sql.md")
                    }
                };
            }
        };
        self.compare(left, comparison, right, span)
    }

    fn arithmetic(&mut self, left: &Expr, operation: Arithmetic, right: &Expr, span: Range<usize>) -> Bound {
        let is_sum = matches!(operation, Arithmetic::Decimal(DecimalOperation::Add | DecimalOperation::Subtract));
        let is_addition = operation == Arithmetic::Decimal(DecimalOperation::Add);
        match (left, right) {
            (time, Expr::Interval(interval)) if is_sum => return self.shift(time, interval, right, !is_addition, span),
            (Expr::Interval(interval), time) if is_addition => return self.shift(time, interval, left, false, span),
            _ => {}
        }
        let (left, right) = (self.bind(left), self.bind(right));
        let (left, right) = (left?, right?);
        for operand in [&left, &right] {
            if !types::is_numeric(&operand.data_type) && operand.data_type != DataType::Null {
                let (message, help) = not_a_number(operand, is_sum);
                return self.report(operand.span.clone(), message, help);
            }
        }
        // NULL takes the other's type.
        let (left, right) = match (&left.data_type, &right.data_type) {
            (DataType::Null, DataType::Null) => (coerce(left, &DataType::Int32), coerce(right, &DataType::Int32)),
            (DataType::Null, other) => (Typed::null(other, left.span.clone()), right),
            (other, DataType::Null) => {
                let null = Typed::null(other, right.span.clone());
                (left, null)
            }
            _ => (left, right),
        };
        self.typed_arithmetic(left, operation, right, span)
    }

    fn typed_arithmetic(&mut self, left: Typed, operation: Arithmetic, right: Typed, span: Range<usize>) -> Bound {
        let any = |data_type: &DataType| left.data_type == *data_type || right.data_type == *data_type;
        let integers = types::is_integer(&left.data_type) && types::is_integer(&right.data_type);
        let (kernel, operation) = match operation {
            Arithmetic::Whole if integers => {
                let nullable = left.nullable || right.nullable || !is_nonzero(&right);
                let operands = vec![coerce(left, &DataType::Int64), coerce(right, &DataType::Int64)];
                return Ok(node(arithmetic::WHOLE_DIVIDE, operands, DataType::Int64, nullable, span));
            }
            Arithmetic::Whole => {
                return self.report(span, "`div` divides whole numbers", "write `/`, or cast both to BIGINT");
            }
            Arithmetic::Decimal(operation) => (kernel_of(operation), operation),
        };
        let divides = matches!(operation, DecimalOperation::Divide | DecimalOperation::Remainder);
        let by_zero = divides && !is_nonzero(&right);
        let nullable = left.nullable || right.nullable || by_zero;
        if any(&DataType::Float64) || (integers && operation == DecimalOperation::Divide) {
            let operands = vec![coerce(left, &DataType::Float64), coerce(right, &DataType::Float64)];
            return Ok(node(kernel, operands, DataType::Float64, nullable, span));
        }
        if integers {
            let wider = if any(&DataType::Int64) { DataType::Int64 } else { DataType::Int32 };
            let operands = vec![coerce(left, &wider), coerce(right, &wider)];
            return Ok(node(kernel, operands, wider, nullable, span));
        }
        let operands = [into_decimal(left), into_decimal(right)];
        let shape = |operand: &Typed| types::as_decimal(&operand.data_type).unwrap_or((types::PRECISION_MAX, 0));
        let [left, right] = &operands;
        let result = decimal_result(operation, shape(left), shape(right));
        let data_type = DataType::Decimal128(result.precision, result.scale);
        Ok(node(kernel, operands.into(), data_type, nullable || result.cut, span))
    }

    /// A timestamp moved by an interval.
    fn shift(
        &mut self,
        time: &Expr,
        interval: &sqlparser::ast::Interval,
        interval_expr: &Expr,
        back: bool,
        span: Range<usize>,
    ) -> Bound {
        let interval_span = self.span_of(interval_expr);
        let (time, us) = (self.bind(time), self.interval_us(interval, &interval_span));
        let (time, us) = (time?, us?);
        if time.data_type != types::timestamp() {
            let message = format!("an interval is added to a timestamp, and this is {}", a_type(&time.data_type));
            let help = match time.data_type {
                DataType::Date32 => "use date_add(date, days), or CAST(… AS TIMESTAMP)",
                _ => "write CAST(… AS TIMESTAMP)",
            };
            return self.report(time.span, message, help);
        }
        let nullable = time.nullable;
        let kernel = if back { arithmetic::SUBTRACT } else { arithmetic::ADD };
        let us = Typed::literal(ScalarValue::Int64(Some(us)), interval_span);
        Ok(node(kernel, vec![time, us], types::timestamp(), nullable, span))
    }

    pub(super) fn compare(&mut self, left: &Expr, comparison: Comparison, right: &Expr, span: Range<usize>) -> Bound {
        let (left, right) = (self.bind(left), self.bind(right));
        self.typed_compare(left?, comparison, right?, span)
    }

    /// A comparison of bound operands.
    pub(crate) fn typed_compare(
        &mut self,
        left: Typed,
        comparison: Comparison,
        right: Typed,
        span: Range<usize>,
    ) -> Bound {
        let is_null = |operand: &Typed| operand.data_type == DataType::Null;
        if is_null(&left) || is_null(&right) {
            let other = if is_null(&left) { right } else { left };
            if comparison == Comparison::NullSafeEqual {
                return Ok(Typed::boolean(Kind::IsNull { operand: Box::new(other), negated: false }, false, span));
            }
            let test = if comparison == Comparison::NotEqual { "IS NOT NULL" } else { "IS NULL" };
            let message = format!("`{} NULL` is NULL for every row, never true", comparison.symbol());
            return self.report(span, message, format!("write `{other} {test}`"));
        }
        let (left, right) = self.comparable(left, right)?;
        let nullable = comparison != Comparison::NullSafeEqual && (left.nullable || right.nullable);
        if left.data_type != right.data_type {
            // Decimals without a common type: their order is found exactly.
            if comparison == Comparison::NullSafeEqual {
                return self.report(span, "these decimals have too many digits for `<=>`", "cast one to fewer digits");
            }
            let order = node(ORDER, vec![left, right], DataType::Int32, nullable, span.clone());
            let zero = Typed::literal(ScalarValue::Int32(Some(0)), span.clone());
            return Ok(Typed::boolean(Kind::Compare(comparison, Box::new(order), Box::new(zero)), nullable, span));
        }
        Ok(Typed::boolean(Kind::Compare(comparison, Box::new(left), Box::new(right)), nullable, span))
    }

    /// Both operands in the type they are compared in; decimals of more than 38 digits together stay as they are.
    fn comparable(&mut self, left: Typed, right: Typed) -> Bound<(Typed, Typed)> {
        if let (Some(text), true) = (right.as_text(), types::is_time(&left.data_type)) {
            let right = self.time_literal(text, &left.data_type, &right.span)?;
            return Ok((left, right));
        }
        if let (Some(text), true) = (left.as_text(), types::is_time(&right.data_type)) {
            let left = self.time_literal(text, &right.data_type, &left.span)?;
            return Ok((left, right));
        }
        let (left, right) = match (&left.data_type, &right.data_type) {
            (DataType::Decimal128(..), other) if types::is_integer(other) => (left, into_decimal(right)),
            (other, DataType::Decimal128(..)) if types::is_integer(other) => (into_decimal(left), right),
            _ => (left, right),
        };
        match types::common(&left.data_type, &right.data_type) {
            Ok(common) => Ok((coerce(left, &common), coerce(right, &common))),
            Err(types::NoCommonType::Digits) => Ok((left, right)),
            Err(types::NoCommonType::Kinds) => {
                let message =
                    format!("{} can't be compared with {}", a_type(&left.data_type), a_type(&right.data_type));
                let help = compare_help(&left, &right);
                self.report(left.span.start..right.span.end.max(left.span.end), message, help)
            }
        }
    }

    pub(super) fn between(
        &mut self,
        value: &Expr,
        negated: bool,
        low: &Expr,
        high: &Expr,
        span: Range<usize>,
    ) -> Bound {
        let above = self.compare(value, Comparison::GreaterOrEqual, low, span.clone());
        let below = self.compare(value, Comparison::LessOrEqual, high, span.clone());
        let (above, below) = (Box::new(above?), Box::new(below?));
        let nullable = above.nullable || below.nullable;
        let within = Typed::boolean(Kind::And(above, below), nullable, span.clone());
        Ok(if negated { Typed::boolean(Kind::Not(Box::new(within)), nullable, span) } else { within })
    }

    pub(super) fn in_list(&mut self, value: &Expr, list: &[Expr], negated: bool, span: Range<usize>) -> Bound {
        let value = self.bind(value);
        let items: Vec<Bound> = list.iter().map(|item| self.bind(item)).collect();
        let (value, items) = (value?, items.into_iter().collect::<Bound<Vec<_>>>()?);
        if value.data_type == DataType::Null {
            return self.report(value.span, "NULL is in no list", "write a column before IN");
        }
        // One type for all, found pair by pair.
        let mut pairs = Vec::new();
        for item in items {
            let pair = if item.data_type == DataType::Null {
                Ok((value.clone(), item))
            } else {
                self.comparable(value.clone(), item)
            };
            pairs.push(pair);
        }
        let pairs = pairs.into_iter().collect::<Bound<Vec<_>>>()?;
        let mut common = Ok(value.data_type.clone());
        for (value, item) in &pairs {
            common = common
                .and_then(|common| types::common(&common, &value.data_type))
                .and_then(|common| types::common(&common, &item.data_type));
        }
        let nullable = value.nullable || pairs.iter().any(|(_, item)| item.nullable);
        let literals = pairs.iter().all(|(_, item)| item.as_literal().is_some());
        if let (Ok(common), true) = (&common, literals) {
            let list = pairs.into_iter().map(|(_, item)| coerce(item, common)).collect();
            let value = Box::new(coerce(value, common));
            return Ok(Typed::boolean(Kind::InList { value, list, negated }, nullable, span));
        }
        let mut any: Option<Typed> = None;
        for (_, item) in pairs {
            let equal = if item.data_type == DataType::Null {
                Typed::null(&DataType::Boolean, item.span)
            } else {
                self.typed_compare(value.clone(), Comparison::Equal, item, span.clone())?
            };
            any = Some(match any {
                Some(any) => Typed::boolean(Kind::Or(Box::new(any), Box::new(equal)), nullable, span.clone()),
                None => equal,
            });
        }
        let Some(any) = any else { return self.report(span, "the list is empty", "write at least one value") };
        Ok(if negated { Typed::boolean(Kind::Not(Box::new(any)), nullable, span) } else { any })
    }

    pub(super) fn like(
        &mut self,
        value: &Expr,
        pattern: &Expr,
        escape: Option<&ValueWithSpan>,
        negated: bool,
        case_insensitive: bool,
        span: Range<usize>,
    ) -> Bound {
        let (value, pattern) = (self.bind(value), self.bind(pattern));
        let (value, pattern) = (value?, pattern?);
        if value.data_type != DataType::Utf8 {
            let message = format!("LIKE matches text, and this is {}", a_type(&value.data_type));
            return self.report(value.span, message, "write CAST(… AS STRING)");
        }
        let Some(text) = pattern.as_text() else {
            return self.report(
                pattern.span,
                "the pattern of LIKE is a literal",
                "such as LIKE 'EUR%'; for columns use contains(…)",
            );
        };
        let escape = match escape.map(|escape| &escape.value) {
            None => '\\',
            Some(Value::SingleQuotedString(text)) => match (text.chars().next(), text.chars().nth(1)) {
                (Some(escape), None) => escape,
                _ => return self.report(span, "ESCAPE is followed by one character", "such as ESCAPE '!'"),
            },
            Some(_) => return self.report(span, "ESCAPE is followed by one character", "such as ESCAPE '!'"),
        };
        let Some(pattern) = with_backslashes(text, escape) else {
            let message = format!("in the pattern `{escape}` stands before something else than %, _ or itself");
            return self.report(pattern.span, message, format!("write {escape}{escape} for the character itself"));
        };
        let nullable = value.nullable;
        Ok(Typed::boolean(Kind::Like { value: Box::new(value), pattern, negated, case_insensitive }, nullable, span))
    }
}

/// The exact order of two decimals: -1, 0 or 1.
const ORDER: Kernel = Kernel::function("decimal_order", decimal::order);

fn node(kernel: Kernel, operands: Vec<Typed>, data_type: DataType, nullable: bool, span: Range<usize>) -> Typed {
    fold(Typed { kind: Kind::Kernel(kernel, operands), data_type, nullable, span })
}

fn kernel_of(operation: DecimalOperation) -> Kernel {
    match operation {
        DecimalOperation::Add => arithmetic::ADD,
        DecimalOperation::Subtract => arithmetic::SUBTRACT,
        DecimalOperation::Multiply => arithmetic::MULTIPLY,
        DecimalOperation::Divide => arithmetic::DIVIDE,
        DecimalOperation::Remainder => arithmetic::REMAINDER,
    }
}

/// An integer beside a decimal: a literal has as many digits as are written (`spark.sql.legacy.literal.pickMinimumPrecision`).
fn into_decimal(value: Typed) -> Typed {
    let shape = match value.as_literal() {
        Some(ScalarValue::Int32(Some(number))) => Some(types::literal_decimal(i128::from(*number), 0)),
        Some(ScalarValue::Int64(Some(number))) => Some(types::literal_decimal(i128::from(*number), 0)),
        _ => types::as_decimal(&value.data_type),
    };
    match shape {
        Some((precision, scale)) => coerce(value, &DataType::Decimal128(precision, scale)),
        None => value,
    }
}

/// Whether a divisor is a literal other than zero and NULL.
fn is_nonzero(divisor: &Typed) -> bool {
    match divisor.as_literal() {
        Some(ScalarValue::Int32(Some(value))) => *value != 0,
        Some(ScalarValue::Int64(Some(value))) => *value != 0,
        Some(ScalarValue::Float64(Some(value))) => *value != 0.0,
        Some(ScalarValue::Decimal128(Some(value), _, _)) => *value != 0,
        _ => false,
    }
}

fn not_a_number(operand: &Typed, is_sum: bool) -> (String, &'static str) {
    let message = format!("arithmetic needs numbers, and this is {}", a_type(&operand.data_type));
    let help = match &operand.data_type {
        DataType::Utf8 if is_sum => "join texts with `||`, or make a number of it: CAST(… AS DECIMAL(10, 2))",
        DataType::Utf8 => "make a number of it: CAST(… AS DECIMAL(10, 2))",
        DataType::Boolean => "make a number of it: CAST(… AS INT)",
        DataType::Date32 => "use date_add(date, days) or datediff(end, start)",
        other if *other == types::timestamp() => {
            "add an interval: `… + INTERVAL '5 minutes'`; for a difference subtract unix_micros(…)"
        }
        _ => "the casts there are stand in docs/sql.md",
    };
    (message, help)
}

fn compare_help(left: &Typed, right: &Typed) -> String {
    let cast = |value: &Typed, other: &Typed| match (value.as_text(), types::is_numeric(&other.data_type)) {
        (Some(text), true) if text.parse::<f64>().is_ok() => format!("write the number without quotes: {text}"),
        _ => format!("write CAST({value} AS {})", types::name(&other.data_type).to_uppercase()),
    };
    if types::is_time(&left.data_type) || types::is_time(&right.data_type) {
        let text = if left.data_type == DataType::Utf8 || right.data_type == DataType::Utf8 {
            "write CAST(… AS TIMESTAMP)"
        } else {
            "write a time as '2026-01-31 12:00:00', or make one of a number: timestamp_seconds(…)"
        };
        text.to_owned()
    } else if left.data_type == DataType::Utf8 {
        cast(left, right)
    } else if right.data_type == DataType::Utf8 {
        cast(right, left)
    } else if left.data_type == DataType::Boolean {
        format!("a boolean is a condition by itself: write `{left}`, or CAST({left} AS INT)")
    } else if right.data_type == DataType::Boolean {
        format!("a boolean is a condition by itself: write `{right}`, or CAST({right} AS INT)")
    } else {
        "cast one to the other's type".to_owned()
    }
}

/// A pattern with the backslash as its escape character; `None` if its own is followed by something else than `%`, `_` or itself.
fn with_backslashes(pattern: &str, escape: char) -> Option<String> {
    let mut out = String::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        if c == escape {
            let escaped = characters.next().filter(|c| matches!(c, '%' | '_') || *c == escape)?;
            if matches!(escaped, '%' | '_' | '\\') {
                out.push('\\');
            }
            out.push(escaped);
        } else if c == '\\' {
            out.push_str("\\\\");
        } else {
            out.push(c);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_escaped_with_backslashes() {
        assert_eq!(with_backslashes("a%b_", '\\').as_deref(), Some("a%b_"));
        assert_eq!(with_backslashes("100!%", '!').as_deref(), Some("100\\%"));
        assert_eq!(with_backslashes("a!!b", '!').as_deref(), Some("a!b"));
        assert_eq!(with_backslashes("a\\b", '!').as_deref(), Some("a\\\\b"));
        assert_eq!(with_backslashes("a\\b", '\\'), None);
        assert_eq!(with_backslashes("a\\", '\\'), None);
    }
}
