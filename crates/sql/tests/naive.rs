//! Random expressions over random rows equal a naive evaluator: one value at a time, with schoolbook arithmetic on strings of digits
//! and Spark's rules written down a second time. It shares no code with the library.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Decimal128Type, Int32Type, Int64Type};
use arrow_array::{Array, Decimal128Array, Int32Array, Int64Array, RecordBatch, new_null_array};
use arrow_schema::{DataType, Field, Schema};
use proptest::prelude::*;
use sql::{Catalog, StreamTable};

/// A whole number of any size: sign, and digits from the least.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Big {
    negative: bool,
    digits: Vec<u8>,
}

impl Big {
    fn new(negative: bool, mut digits: Vec<u8>) -> Self {
        while digits.last() == Some(&0) {
            digits.pop();
        }
        Self { negative: negative && !digits.is_empty(), digits }
    }

    fn of(value: i128) -> Self {
        Self::new(value < 0, value.unsigned_abs().to_string().bytes().rev().map(|byte| byte - b'0').collect())
    }

    fn to_i128(&self) -> i128 {
        let text: String = self.digits.iter().rev().map(|digit| char::from(digit + b'0')).collect();
        let value: i128 = if text.is_empty() { 0 } else { text.parse().unwrap() };
        if self.negative { -value } else { value }
    }

    fn is_zero(&self) -> bool {
        self.digits.is_empty()
    }

    fn shifted(&self, by: usize) -> Self {
        let digits = std::iter::repeat_n(0, by).chain(self.digits.iter().copied()).collect();
        Self::new(self.negative, digits)
    }

    fn negated(&self) -> Self {
        Self::new(!self.negative, self.digits.clone())
    }

    fn magnitude(&self) -> Self {
        Self::new(false, self.digits.clone())
    }

    fn compare_magnitude(&self, other: &Self) -> Ordering {
        self.digits.len().cmp(&other.digits.len()).then_with(|| self.digits.iter().rev().cmp(other.digits.iter().rev()))
    }

    fn compare(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => self.compare_magnitude(other),
            (true, true) => other.compare_magnitude(self),
        }
    }

    fn plus(&self, other: &Self) -> Self {
        if self.negative == other.negative {
            let mut digits = Vec::new();
            let mut carry = 0;
            for place in 0..self.digits.len().max(other.digits.len()) + 1 {
                let digit = |number: &Self| number.digits.get(place).copied().unwrap_or(0);
                let sum = digit(self) + digit(other) + carry;
                digits.push(sum % 10);
                carry = sum / 10;
            }
            return Self::new(self.negative, digits);
        }
        if self.compare_magnitude(other) == Ordering::Less {
            return other.plus(self);
        }
        let mut digits = Vec::new();
        let mut borrow = 0;
        for (place, digit) in self.digits.iter().enumerate() {
            let taken = other.digits.get(place).copied().unwrap_or(0) + borrow;
            borrow = u8::from(*digit < taken);
            digits.push(digit + 10 * borrow - taken);
        }
        Self::new(self.negative, digits)
    }

    fn times(&self, other: &Self) -> Self {
        let mut sum = Self::of(0);
        for (place, digit) in other.digits.iter().enumerate() {
            for _ in 0..*digit {
                sum = sum.plus(&self.magnitude().shifted(place));
            }
        }
        Self::new(self.negative != other.negative, sum.digits)
    }

    /// Quotient cut towards zero and what remains, with the sign of `self`.
    fn divided(&self, other: &Self) -> (Self, Self) {
        let (mut quotient, mut rest) = (Vec::new(), Self::of(0));
        let divisor = other.magnitude().negated();
        for digit in self.digits.iter().rev() {
            rest = rest.shifted(1).plus(&Self::of(i128::from(*digit)));
            let mut count = 0;
            while rest.compare_magnitude(&divisor) != Ordering::Less {
                rest = rest.plus(&divisor);
                count += 1;
            }
            quotient.push(count);
        }
        quotient.reverse();
        (Self::new(self.negative != other.negative, quotient), Self::new(self.negative, rest.digits))
    }

    /// The quotient rounded half away from zero.
    fn divided_half_up(&self, other: &Self) -> Self {
        let (quotient, rest) = self.divided(other);
        if rest.plus(&rest).compare_magnitude(other) == Ordering::Less {
            return quotient;
        }
        let one = Self::of(1);
        let away = if self.negative != other.negative { one.negated() } else { one };
        quotient.plus(&away)
    }

    /// From one scale to another, half away from zero.
    fn rescaled(&self, from: i32, to: i32) -> Self {
        if to >= from {
            self.shifted((to - from) as usize)
        } else {
            self.divided_half_up(&Self::of(1).shifted((from - to) as usize))
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Int,
    Long,
    Decimal(i32, i32),
    Boolean,
}

impl Type {
    fn decimal(self) -> (i32, i32) {
        match self {
            Self::Int => (10, 0),
            Self::Long => (20, 0),
            Self::Decimal(precision, scale) => (precision, scale),
            Self::Boolean => unreachable!(),
        }
    }

    fn scale(self) -> i32 {
        self.decimal().1
    }
}

#[derive(Debug, Clone)]
enum Tree {
    Column(&'static str, Type),
    Int(i32),
    Decimal(i64, u8),
    Arithmetic(&'static str, Box<Tree>, Box<Tree>),
    Negate(Box<Tree>),
    Absolute(Box<Tree>),
    Choose(Box<Tree>, Box<Tree>, Box<Tree>),
    Coalesce(Box<Tree>, Box<Tree>),
    NullIf(Box<Tree>, Box<Tree>),
    Compare(&'static str, Box<Tree>, Box<Tree>),
    And(Box<Tree>, Box<Tree>),
    Or(Box<Tree>, Box<Tree>),
    Not(Box<Tree>),
    IsNull(Box<Tree>),
    In(Box<Tree>, Vec<i32>),
    Between(Box<Tree>, Box<Tree>, Box<Tree>),
}

/// The unscaled value; a boolean is 0 or 1.
type Value = Option<Big>;

/// The library refuses such an expression, since a common type would have too many digits.
struct TooWide;

impl Tree {
    fn sql(&self) -> String {
        match self {
            Self::Column(name, _) => (*name).to_owned(),
            Self::Int(value) => value.to_string(),
            Self::Decimal(value, scale) => {
                let digits = format!("{:0>width$}", value.unsigned_abs(), width = usize::from(*scale) + 1);
                let (whole, fraction) = digits.split_at(digits.len() - usize::from(*scale));
                format!("{}{whole}.{fraction}", if *value < 0 { "-" } else { "" })
            }
            Self::Arithmetic(operator, a, b) => format!("({} {operator} {})", a.sql(), b.sql()),
            Self::Negate(a) => format!("(-({}))", a.sql()),
            Self::Absolute(a) => format!("abs({})", a.sql()),
            Self::Choose(condition, a, b) => {
                format!("CASE WHEN {} THEN {} ELSE {} END", condition.sql(), a.sql(), b.sql())
            }
            Self::Coalesce(a, b) => format!("coalesce({}, {})", a.sql(), b.sql()),
            Self::NullIf(a, b) => format!("nullif({}, {})", a.sql(), b.sql()),
            Self::Compare(operator, a, b) => format!("({} {operator} {})", a.sql(), b.sql()),
            Self::And(a, b) => format!("({} AND {})", a.sql(), b.sql()),
            Self::Or(a, b) => format!("({} OR {})", a.sql(), b.sql()),
            Self::Not(a) => format!("(NOT {})", a.sql()),
            Self::IsNull(a) => format!("({} IS NULL)", a.sql()),
            Self::In(a, list) => {
                let list: Vec<String> = list.iter().map(ToString::to_string).collect();
                format!("({} IN ({}))", a.sql(), list.join(", "))
            }
            Self::Between(a, low, high) => format!("({} BETWEEN {} AND {})", a.sql(), low.sql(), high.sql()),
        }
    }

    /// Precision and scale beside a decimal: a literal has the digits that are written.
    fn beside_decimal(&self, own: Type) -> (i32, i32) {
        match self {
            Self::Int(value) => (value.unsigned_abs().to_string().len() as i32, 0),
            _ => own.decimal(),
        }
    }

    fn data_type(&self) -> Result<Type, TooWide> {
        Ok(match self {
            Self::Column(_, data_type) => *data_type,
            Self::Int(_) => Type::Int,
            Self::Decimal(value, scale) => {
                let digits = value.unsigned_abs().to_string().len() as i32;
                Type::Decimal(digits.max(i32::from(*scale)), i32::from(*scale))
            }
            Self::Arithmetic(operator, a, b) => arithmetic_type(operator, a, b)?,
            Self::Negate(a) | Self::Absolute(a) => a.data_type()?,
            Self::NullIf(a, b) => {
                b.data_type()?;
                a.data_type()?
            }
            Self::Choose(condition, a, b) => {
                condition.data_type()?;
                common(a.data_type()?, b.data_type()?)?
            }
            Self::Coalesce(a, b) => common(a.data_type()?, b.data_type()?)?,
            Self::Compare(_, a, b) | Self::And(a, b) | Self::Or(a, b) => {
                a.data_type()?;
                b.data_type()?;
                Type::Boolean
            }
            Self::Not(a) | Self::IsNull(a) | Self::In(a, _) => {
                a.data_type()?;
                Type::Boolean
            }
            Self::Between(a, low, high) => {
                for tree in [a, low, high] {
                    tree.data_type()?;
                }
                Type::Boolean
            }
        })
    }

    fn value(&self, row: &Row) -> Value {
        let data_type = |tree: &Self| tree.data_type().unwrap_or(Type::Int);
        let truth = |value: bool| Some(Big::of(i128::from(value)));
        match self {
            Self::Column(name, _) => row.iter().find(|(known, _)| known == name).unwrap().1.map(Big::of),
            Self::Int(value) => Some(Big::of(i128::from(*value))),
            Self::Decimal(value, _) => Some(Big::of(i128::from(*value))),
            Self::Arithmetic(operator, a, b) => {
                let (left, right) = (a.value(row)?, b.value(row)?);
                arithmetic(operator, (&left, data_type(a)), (&right, data_type(b)), data_type(self))
            }
            Self::Negate(a) => Some(wrapped(a.value(row)?.negated(), data_type(a))),
            Self::Absolute(a) => Some(wrapped(a.value(row)?.magnitude(), data_type(a))),
            Self::Choose(condition, a, b) => {
                let chosen = if condition.value(row) == truth(true) { a } else { b };
                Some(chosen.value(row)?.rescaled(data_type(chosen).scale(), data_type(self).scale()))
            }
            Self::Coalesce(a, b) => {
                let chosen = if a.value(row).is_some() { a } else { b };
                Some(chosen.value(row)?.rescaled(data_type(chosen).scale(), data_type(self).scale()))
            }
            Self::NullIf(a, b) => {
                let value = a.value(row)?;
                if compare(a, b, row) == Some(Ordering::Equal) { None } else { Some(value) }
            }
            Self::Compare("<=>", a, b) => match (a.value(row), b.value(row)) {
                (None, None) => truth(true),
                (Some(_), Some(_)) => truth(compare(a, b, row) == Some(Ordering::Equal)),
                _ => truth(false),
            },
            Self::Compare(operator, a, b) => {
                let order = compare(a, b, row)?;
                truth(match *operator {
                    "=" => order.is_eq(),
                    "<>" => order.is_ne(),
                    "<" => order.is_lt(),
                    "<=" => order.is_le(),
                    ">" => order.is_gt(),
                    _ => order.is_ge(),
                })
            }
            Self::And(a, b) => match (a.value(row), b.value(row)) {
                (a, b) if a == truth(false) || b == truth(false) => truth(false),
                (None, _) | (_, None) => None,
                _ => truth(true),
            },
            Self::Or(a, b) => match (a.value(row), b.value(row)) {
                (a, b) if a == truth(true) || b == truth(true) => truth(true),
                (None, _) | (_, None) => None,
                _ => truth(false),
            },
            Self::Not(a) => truth(a.value(row)?.is_zero()),
            Self::IsNull(a) => truth(a.value(row).is_none()),
            Self::In(a, list) => {
                a.value(row)?;
                truth(list.iter().any(|item| compare(a, &Self::Int(*item), row) == Some(Ordering::Equal)))
            }
            Self::Between(a, low, high) => {
                let above = Self::Compare(">=", a.clone(), low.clone());
                let below = Self::Compare("<=", a.clone(), high.clone());
                Self::And(Box::new(above), Box::new(below)).value(row)
            }
        }
    }
}

fn compare(a: &Tree, b: &Tree, row: &Row) -> Option<Ordering> {
    let (left, right) = (a.value(row)?, b.value(row)?);
    let (from, to) = (a.data_type().ok()?.scale(), b.data_type().ok()?.scale());
    let scale = from.max(to);
    Some(left.rescaled(from, scale).compare(&right.rescaled(to, scale)))
}

fn common(a: Type, b: Type) -> Result<Type, TooWide> {
    if a == b {
        return Ok(a);
    }
    if let (Type::Int | Type::Long, Type::Int | Type::Long) = (a, b) {
        return Ok(Type::Long);
    }
    let ((p1, s1), (p2, s2)) = (a.decimal(), b.decimal());
    let scale = s1.max(s2);
    let precision = (p1 - s1).max(p2 - s2) + scale;
    if precision > 38 { Err(TooWide) } else { Ok(Type::Decimal(precision, scale)) }
}

/// The table of <https://spark.apache.org/docs/latest/sql-ref-ansi-compliance.html> and `DecimalPrecision`'s comment.
fn arithmetic_type(operator: &str, a: &Tree, b: &Tree) -> Result<Type, TooWide> {
    let (left, right) = (a.data_type()?, b.data_type()?);
    if !matches!(left, Type::Decimal(..)) && !matches!(right, Type::Decimal(..)) {
        let long = operator == "div" || left == Type::Long || right == Type::Long;
        return Ok(if long { Type::Long } else { Type::Int });
    }
    let ((p1, s1), (p2, s2)) = (a.beside_decimal(left), b.beside_decimal(right));
    let (precision, scale) = match operator {
        "+" | "-" => (s1.max(s2) + (p1 - s1).max(p2 - s2) + 1, s1.max(s2)),
        "*" => (p1 + p2 + 1, s1 + s2),
        "/" => (p1 - s1 + s2 + 6.max(s1 + p2 + 1), 6.max(s1 + p2 + 1)),
        "%" => ((p1 - s1).min(p2 - s2) + s1.max(s2), s1.max(s2)),
        _ => unreachable!(),
    };
    Ok(if precision <= 38 {
        Type::Decimal(precision.max(1), scale)
    } else {
        Type::Decimal(38, (38 - (precision - scale)).max(scale.min(6)))
    })
}

fn arithmetic(operator: &str, (a, left): (&Big, Type), (b, right): (&Big, Type), result: Type) -> Value {
    if matches!(operator, "/" | "%" | "div") && b.is_zero() {
        return None;
    }
    let Type::Decimal(precision, scale) = result else {
        let exact = match operator {
            "+" => a.plus(b),
            "-" => a.plus(&b.negated()),
            "*" => a.times(b),
            "%" => a.divided(b).1,
            _ => a.divided(b).0,
        };
        return Some(wrapped(exact, result));
    };
    let (s1, s2) = (left.scale(), right.scale());
    let same = s1.max(s2);
    let (a_same, b_same) = (a.rescaled(s1, same), b.rescaled(s2, same));
    let exact = match operator {
        "+" => a_same.plus(&b_same).rescaled(same, scale),
        "-" => a_same.plus(&b_same.negated()).rescaled(same, scale),
        "*" => a.times(b).rescaled(s1 + s2, scale),
        "%" => a_same.divided(&b_same).1.rescaled(same, scale),
        _ => {
            // (a / 10^s1) / (b / 10^s2) * 10^scale, as one fraction.
            let up = scale + s2 - s1;
            let (numerator, denominator) =
                if up >= 0 { (a.shifted(up as usize), b.clone()) } else { (a.clone(), b.shifted(-up as usize)) };
            numerator.divided_half_up(&denominator)
        }
    };
    (exact.digits.len() as i32 <= precision).then_some(exact)
}

/// The low bits of a whole number, as two's complement; decimals as they are.
fn wrapped(value: Big, data_type: Type) -> Big {
    let bits = match data_type {
        Type::Int => 32,
        Type::Long => 64,
        _ => return value,
    };
    let (span, half) = (Big::of(1_i128 << bits), Big::of(1_i128 << (bits - 1)));
    let shifted = value.plus(&half).divided(&span).1;
    let shifted = if shifted.negative { shifted.plus(&span) } else { shifted };
    shifted.plus(&half.negated())
}

/// Values of the columns, unscaled.
type Row = Vec<(&'static str, Option<i128>)>;

const COLUMNS: [(&str, Type); 7] = [
    ("amount", Type::Decimal(10, 2)),
    ("rate", Type::Decimal(12, 6)),
    ("wide", Type::Decimal(38, 10)),
    ("fraction", Type::Decimal(30, 30)),
    ("whole", Type::Decimal(38, 0)),
    ("quantity", Type::Int),
    ("points", Type::Long),
];

fn arrow_type(data_type: Type) -> DataType {
    match data_type {
        Type::Int => DataType::Int32,
        Type::Long => DataType::Int64,
        Type::Decimal(precision, scale) => DataType::Decimal128(precision as u8, scale as i8),
        Type::Boolean => DataType::Boolean,
    }
}

fn catalog() -> Catalog {
    let mut fields: Vec<Field> =
        COLUMNS.iter().map(|(name, kind)| Field::new(*name, arrow_type(*kind), true)).collect();
    fields.push(Field::new("event_time", common::timestamp(), false));
    let schema = Arc::new(Schema::new(fields));
    let stream = StreamTable { schema, event_time: "event_time".to_owned(), key: "account_id".to_owned() };
    Catalog { streams: [("s".to_owned(), stream)].into(), ..Catalog::default() }
}

fn batch(rows: &[Row]) -> RecordBatch {
    let mut columns: Vec<(&str, Arc<dyn Array>)> = Vec::new();
    for (index, (name, data_type)) in COLUMNS.iter().enumerate() {
        let values = rows.iter().map(|row| row[index].1);
        columns.push((
            name,
            match arrow_type(*data_type) {
                DataType::Int32 => {
                    Arc::new(values.map(|value| value.map(|value| value as i32)).collect::<Int32Array>())
                }
                DataType::Int64 => {
                    Arc::new(values.map(|value| value.map(|value| value as i64)).collect::<Int64Array>())
                }
                other => Arc::new(values.collect::<Decimal128Array>().with_data_type(other)),
            },
        ));
    }
    columns.push(("unused", new_null_array(&DataType::Int32, rows.len())));
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

fn found(array: &dyn Array, row: usize) -> Value {
    if array.is_null(row) {
        return None;
    }
    Some(Big::of(match array.data_type() {
        DataType::Int32 => i128::from(array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => i128::from(array.as_primitive::<Int64Type>().value(row)),
        DataType::Boolean => i128::from(array.as_boolean().value(row)),
        _ => array.as_primitive::<Decimal128Type>().value(row),
    }))
}

/// Numbers near zero, near the ends, and anywhere.
fn number(limit: i128) -> impl Strategy<Value = i128> {
    prop_oneof![
        -20..=20_i128,
        -limit..=limit,
        (0..3_i128).prop_map(move |by| limit - by),
        (0..3_i128).prop_map(move |by| by - limit)
    ]
}

fn row() -> impl Strategy<Value = Row> {
    let limit = |data_type| match data_type {
        Type::Int => i128::from(i32::MAX),
        Type::Long => i128::from(i64::MAX),
        Type::Decimal(precision, _) => 10_i128.pow(precision as u32) - 1,
        Type::Boolean => 1,
    };
    let columns: Vec<_> = COLUMNS
        .iter()
        .map(|(_, kind)| prop_oneof![1 => Just(None), 6 => number(limit(*kind)).prop_map(Some)])
        .collect();
    columns.prop_map(|values| COLUMNS.iter().zip(values).map(|((name, _), value)| (*name, value)).collect())
}

fn leaf() -> impl Strategy<Value = Tree> {
    prop_oneof![
        4 => proptest::sample::select(COLUMNS.to_vec()).prop_map(|(name, data_type)| Tree::Column(name, data_type)),
        1 => (-1_000..1_000_i32).prop_map(Tree::Int),
        1 => (-100_000..100_000_i64, 1..5_u8).prop_map(|(value, scale)| Tree::Decimal(value, scale)),
    ]
}

fn number_tree() -> BoxedStrategy<Tree> {
    leaf()
        .prop_recursive(4, 24, 3, |inner| {
            let pair = (inner.clone(), inner.clone()).prop_map(|(a, b)| (Box::new(a), Box::new(b)));
            let operators = proptest::sample::select(vec!["+", "-", "*", "/", "%"]);
            prop_oneof![
                6 => (operators, pair.clone()).prop_map(|(operator, (a, b))| {
                    // Whole numbers divide to doubles; here they divide to whole numbers.
                    let both_whole = [&a, &b].iter().all(|tree| matches!(tree.data_type(), Ok(Type::Int | Type::Long)));
                    Tree::Arithmetic(if operator == "/" && both_whole { "div" } else { operator }, a, b)
                }),
                1 => inner.clone().prop_map(|a| Tree::Negate(Box::new(a))),
                1 => inner.clone().prop_map(|a| Tree::Absolute(Box::new(a))),
                1 => pair.clone().prop_map(|(a, b)| Tree::Coalesce(a, b)),
                1 => pair.clone().prop_map(|(a, b)| Tree::NullIf(a, b)),
                1 => (condition(inner), pair).prop_map(|(condition, (a, b))| Tree::Choose(Box::new(condition), a, b)),
            ]
        })
        .boxed()
}

fn condition(numbers: impl Strategy<Value = Tree> + Clone + 'static) -> BoxedStrategy<Tree> {
    let pair = (numbers.clone(), numbers.clone()).prop_map(|(a, b)| (Box::new(a), Box::new(b)));
    let operators = proptest::sample::select(vec!["=", "<>", "<", "<=", ">", ">="]);
    let base = prop_oneof![
        4 => (operators, pair.clone()).prop_map(|(operator, (a, b))| Tree::Compare(operator, a, b)),
        1 => numbers.clone().prop_map(|a| Tree::IsNull(Box::new(a))),
        1 => (numbers.clone(), proptest::collection::vec(-30..30_i32, 1..4)).prop_map(|(a, list)| Tree::In(Box::new(a), list)),
        1 => (numbers, pair).prop_map(|(a, (low, high))| Tree::Between(Box::new(a), low, high)),
    ];
    base.prop_recursive(2, 6, 2, |inner| {
        let pair = (inner.clone(), inner.clone()).prop_map(|(a, b)| (Box::new(a), Box::new(b)));
        prop_oneof![
            pair.clone().prop_map(|(a, b)| Tree::And(a, b)),
            pair.prop_map(|(a, b)| Tree::Or(a, b)),
            inner.prop_map(|a| Tree::Not(Box::new(a))),
        ]
    })
    .boxed()
}

fn check(tree: &Tree, rows: &[Row]) -> Result<(), TestCaseError> {
    let text = format!("SELECT {} AS x FROM s", tree.sql());
    let Ok(expected_type) = tree.data_type() else {
        prop_assert!(sql::compile("q", &text, &catalog()).is_err(), "{text} should be refused");
        return Ok(());
    };
    let query = sql::compile("q", &text, &catalog()).map_err(|diagnostics| {
        TestCaseError::fail(diagnostics.iter().map(|diagnostic| diagnostic.render(&text, "q")).collect::<String>())
    })?;
    let array = query.output[0].1.evaluate(&batch(rows)).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(array.data_type(), &arrow_type(expected_type), "{}", text);
    for (index, row) in rows.iter().enumerate() {
        let expected = tree.value(row);
        let found = found(&array, index);
        let show = |value: &Value| value.as_ref().map(|value| value.to_i128().to_string());
        prop_assert_eq!(
            &found,
            &expected,
            "{}\n{:?}\nfound {:?}, expected {:?}",
            text,
            row,
            show(&found),
            show(&expected)
        );
        prop_assert!(found.is_some() || query.schema.field(0).is_nullable(), "{text} is NULL and says it can't be");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn numbers(tree in number_tree(), rows in proptest::collection::vec(row(), 1..6)) {
        check(&tree, &rows)?;
    }

    #[test]
    fn conditions(tree in condition(number_tree()), rows in proptest::collection::vec(row(), 1..6)) {
        check(&tree, &rows)?;
    }

    /// Words and signs in any order never panic, and what is refused is refused with places within the text.
    #[test]
    fn nonsense_is_refused_politely(words in proptest::collection::vec(proptest::sample::select(WORDS.to_vec()), 0..25), lead in 0..4_usize) {
        let text = format!("{}{}", ["", "SELECT ", "SELECT quantity AS x FROM s ", "--! key: x\nSELECT count(*) AS n FROM s "][lead], words.join(" "));
        if let Err(diagnostics) = sql::compile("q", &text, &catalog()) {
            prop_assert!(!diagnostics.is_empty());
            for diagnostic in &diagnostics {
                prop_assert!(text.get(diagnostic.span.clone()).is_some(), "{:?} in {}", diagnostic, text);
                diagnostic.render(&text, "q");
            }
        }
        let schema = catalog().streams["s"].schema.clone();
        drop(sql::Condition::compile(&words.join(" "), &schema));
    }

    #[test]
    fn any_text_is_refused_politely(text in "\\PC{0,60}") {
        drop(sql::compile("q", &text, &catalog()));
        drop(sql::compile("q", &format!("SELECT {text} AS x FROM s"), &catalog()));
    }
}

const WORDS: [&str; 60] = [
    "SELECT",
    "FROM",
    "s",
    "WHERE",
    "GROUP BY",
    "HAVING",
    "JOIN",
    "LEFT JOIN",
    "ON",
    "AS",
    "x",
    "quantity",
    "amount",
    "points",
    "event_time",
    "window",
    "window(event_time, '1 minute')",
    "window.start",
    ".",
    ",",
    "(",
    ")",
    "+",
    "-",
    "*",
    "/",
    "%",
    "DIV",
    "=",
    "<=>",
    "<",
    "AND",
    "OR",
    "NOT",
    "IN",
    "BETWEEN",
    "LIKE",
    "IS",
    "NULL",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "CAST",
    "INT",
    "DECIMAL(5,2)",
    "1",
    "2.5",
    "1e3",
    "'text'",
    "'é'",
    "INTERVAL",
    "'1 day'",
    "sum",
    "count",
    "round",
    "substring",
    "::",
    "FILTER",
];
