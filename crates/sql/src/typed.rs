//! The typed tree of an expression: names resolved, implicit casts written out, one type and honest nullability per node.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use datafusion_common::ScalarValue;
use datafusion_expr::ScalarUDF;

use crate::kernel::Kernel;
use crate::types;

/// A node of the tree.
#[derive(Clone, Debug)]
pub(crate) struct Typed {
    pub(crate) kind: Kind,
    pub(crate) data_type: DataType,
    pub(crate) nullable: bool,
    /// Bytes of the query's text it comes from.
    pub(crate) span: Range<usize>,
}

/// What a node does. Operands have the types the node needs: binding has put casts in between.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// A column of the row or of the grouped batch.
    Column(String),
    Literal(ScalarValue),
    Compare(Comparison, Box<Typed>, Box<Typed>),
    And(Box<Typed>, Box<Typed>),
    Or(Box<Typed>, Box<Typed>),
    Not(Box<Typed>),
    IsNull {
        operand: Box<Typed>,
        negated: bool,
    },
    Case {
        branches: Vec<(Typed, Typed)>,
        otherwise: Option<Box<Typed>>,
    },
    /// The list holds literals only.
    InList {
        value: Box<Typed>,
        list: Vec<Typed>,
        negated: bool,
    },
    Like {
        value: Box<Typed>,
        /// With `\` as the escape character.
        pattern: String,
        negated: bool,
        case_insensitive: bool,
    },
    /// To the node's type; what can't be converted becomes NULL.
    Cast(Box<Typed>),
    /// A function or operator of ours.
    Kernel(Kernel, Vec<Typed>),
    /// A function of DataFusion that means what Spark's does.
    Library(Arc<ScalarUDF>, &'static str, Vec<Typed>),
    /// Aggregate call by number; replaced by a column when the grouping is known.
    Call(usize),
    /// Start of the query's window; replaced by a column when the grouping is known.
    WindowStart,
    /// End of the query's window.
    WindowEnd,
}

/// Comparison operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// `<=>`: NULL equals NULL.
    NullSafeEqual,
}

impl Comparison {
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::NullSafeEqual => "<=>",
        }
    }
}

/// Same meaning; where it stands in the text doesn't matter.
impl PartialEq for Typed {
    fn eq(&self, other: &Self) -> bool {
        self.data_type == other.data_type && self.kind == other.kind
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Column(a), Self::Column(b)) => a == b,
            (Self::Literal(a), Self::Literal(b)) => a == b,
            (Self::Compare(op, a, b), Self::Compare(op2, a2, b2)) => op == op2 && a == a2 && b == b2,
            (Self::And(a, b), Self::And(a2, b2)) | (Self::Or(a, b), Self::Or(a2, b2)) => a == a2 && b == b2,
            (Self::Not(a), Self::Not(b)) | (Self::Cast(a), Self::Cast(b)) => a == b,
            (Self::IsNull { operand, negated }, Self::IsNull { operand: other, negated: other_negated }) => {
                operand == other && negated == other_negated
            }
            (Self::Case { branches: a, otherwise: x }, Self::Case { branches: b, otherwise: y }) => a == b && x == y,
            (Self::InList { value: a, list: x, negated: n }, Self::InList { value: b, list: y, negated: m }) => {
                a == b && x == y && n == m
            }
            (
                Self::Like { value: a, pattern: p, negated: n, case_insensitive: i },
                Self::Like { value: b, pattern: q, negated: m, case_insensitive: j },
            ) => a == b && p == q && n == m && i == j,
            (Self::Kernel(a, x), Self::Kernel(b, y)) => a == b && x == y,
            (Self::Library(_, a, x), Self::Library(_, b, y)) => a == b && x == y,
            (Self::Call(a), Self::Call(b)) => a == b,
            (Self::WindowStart, Self::WindowStart) | (Self::WindowEnd, Self::WindowEnd) => true,
            _ => false,
        }
    }
}

impl Typed {
    pub(crate) fn column(name: &str, data_type: DataType, nullable: bool, span: Range<usize>) -> Self {
        Self { kind: Kind::Column(name.to_owned()), data_type, nullable, span }
    }

    pub(crate) fn literal(value: ScalarValue, span: Range<usize>) -> Self {
        Self { data_type: value.data_type(), nullable: value.is_null(), kind: Kind::Literal(value), span }
    }

    /// A NULL of a type.
    pub(crate) fn null(data_type: &DataType, span: Range<usize>) -> Self {
        let value = ScalarValue::try_from(data_type).unwrap_or(ScalarValue::Null);
        Self { kind: Kind::Literal(value), data_type: data_type.clone(), nullable: true, span }
    }

    pub(crate) fn boolean(kind: Kind, nullable: bool, span: Range<usize>) -> Self {
        Self { kind, data_type: DataType::Boolean, nullable, span }
    }

    pub(crate) fn as_literal(&self) -> Option<&ScalarValue> {
        match &self.kind {
            Kind::Literal(value) => Some(value),
            _ => None,
        }
    }

    /// The text of a literal that is one.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self.as_literal() {
            Some(ScalarValue::Utf8(Some(text))) => Some(text),
            _ => None,
        }
    }

    /// The direct operands in order.
    pub(crate) fn children(&self) -> Vec<&Self> {
        match &self.kind {
            Kind::Column(_) | Kind::Literal(_) | Kind::Call(_) | Kind::WindowStart | Kind::WindowEnd => Vec::new(),
            Kind::Compare(_, a, b) | Kind::And(a, b) | Kind::Or(a, b) => vec![a, b],
            Kind::Not(a) | Kind::Cast(a) => vec![a],
            Kind::IsNull { operand, .. } => vec![operand],
            Kind::Case { branches, otherwise } => {
                branches.iter().flat_map(|(when, then)| [when, then]).chain(otherwise.as_deref()).collect()
            }
            Kind::InList { value, list, .. } => std::iter::once(&**value).chain(list).collect(),
            Kind::Like { value, .. } => vec![value],
            Kind::Kernel(_, arguments) | Kind::Library(_, _, arguments) => arguments.iter().collect(),
        }
    }

    /// The direct operands in order, to be replaced.
    pub(crate) fn children_mut(&mut self) -> Vec<&mut Self> {
        match &mut self.kind {
            Kind::Column(_) | Kind::Literal(_) | Kind::Call(_) | Kind::WindowStart | Kind::WindowEnd => Vec::new(),
            Kind::Compare(_, a, b) | Kind::And(a, b) | Kind::Or(a, b) => vec![a, b],
            Kind::Not(a) | Kind::Cast(a) => vec![a],
            Kind::IsNull { operand, .. } => vec![operand],
            Kind::Case { branches, otherwise } => {
                branches.iter_mut().flat_map(|(when, then)| [when, then]).chain(otherwise.as_deref_mut()).collect()
            }
            Kind::InList { value, list, .. } => std::iter::once(&mut **value).chain(list).collect(),
            Kind::Like { value, .. } => vec![value],
            Kind::Kernel(_, arguments) | Kind::Library(_, _, arguments) => arguments.iter_mut().collect(),
        }
    }

    /// Calls `visit` for this node and all below it.
    pub(crate) fn walk<'a>(&'a self, visit: &mut impl FnMut(&'a Self)) {
        visit(self);
        for child in self.children() {
            child.walk(visit);
        }
    }

    /// Names and types of the columns that are read, each once, in order of appearance.
    pub(crate) fn read_columns(&self) -> (Vec<String>, SchemaRef) {
        let mut fields: Vec<Field> = Vec::new();
        self.walk(&mut |node| {
            if let Kind::Column(name) = &node.kind
                && !fields.iter().any(|field| field.name() == name)
            {
                // Nullable, so that a batch from elsewhere is never refused for its declarations.
                fields.push(Field::new(name, node.data_type.clone(), true));
            }
        });
        let names = fields.iter().map(|field| field.name().clone()).collect();
        (names, Arc::new(Schema::new(fields)))
    }
}

impl fmt::Display for Typed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Column(name) => write_name(f, name),
            Kind::Literal(value) => write_literal(f, value),
            Kind::Compare(comparison, a, b) => write!(f, "({a} {} {b})", comparison.symbol()),
            Kind::And(a, b) => write!(f, "({a} AND {b})"),
            Kind::Or(a, b) => write!(f, "({a} OR {b})"),
            Kind::Not(a) => write!(f, "(NOT {a})"),
            Kind::IsNull { operand, negated: false } => write!(f, "({operand} IS NULL)"),
            Kind::IsNull { operand, negated: true } => write!(f, "({operand} IS NOT NULL)"),
            Kind::Case { branches, otherwise } => {
                f.write_str("CASE")?;
                for (when, then) in branches {
                    write!(f, " WHEN {when} THEN {then}")?;
                }
                if let Some(otherwise) = otherwise {
                    write!(f, " ELSE {otherwise}")?;
                }
                f.write_str(" END")
            }
            Kind::InList { value, list, negated } => {
                write!(f, "({value} {}IN (", if *negated { "NOT " } else { "" })?;
                write_list(f, list)?;
                f.write_str("))")
            }
            Kind::Like { value, pattern, negated, case_insensitive } => {
                let not = if *negated { "NOT " } else { "" };
                let like = if *case_insensitive { "ILIKE" } else { "LIKE" };
                write!(f, "({value} {not}{like} ")?;
                write_text(f, pattern)?;
                f.write_str(")")
            }
            Kind::Cast(operand) => write!(f, "CAST({operand} AS {})", types::name(&self.data_type).to_uppercase()),
            Kind::Kernel(kernel, arguments) if kernel.infix && self.data_type == types::timestamp() => {
                match arguments.as_slice() {
                    [time, Self { kind: Kind::Literal(ScalarValue::Int64(Some(us))), .. }] => {
                        write!(f, "({time} {} INTERVAL '{}')", kernel.name, crate::interval::display_us(*us))
                    }
                    _ => write_call(f, kernel.name, arguments),
                }
            }
            Kind::Kernel(kernel, arguments) => match (kernel.infix, arguments.as_slice()) {
                (true, [a, b]) => write!(f, "({a} {} {b})", kernel.name),
                (true, [a]) => write!(f, "({} {a})", kernel.name),
                _ => write_call(f, kernel.name, arguments),
            },
            Kind::Library(_, name, arguments) => write_call(f, name, arguments),
            Kind::Call(number) => write!(f, "aggregate #{number}"),
            Kind::WindowStart => f.write_str("window.start"),
            Kind::WindowEnd => f.write_str("window.end"),
        }
    }
}

fn write_call(f: &mut fmt::Formatter<'_>, name: &str, arguments: &[Typed]) -> fmt::Result {
    write!(f, "{name}(")?;
    write_list(f, arguments)?;
    f.write_str(")")
}

fn write_list(f: &mut fmt::Formatter<'_>, list: &[Typed]) -> fmt::Result {
    for (index, item) in list.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}

/// A column of the row: `alias.column` for a reference's, in backticks where it isn't a plain word.
fn write_name(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
    if plain { f.write_str(name) } else { write!(f, "`{}`", name.replace('`', "``")) }
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    write!(f, "'{}'", text.replace('\\', "\\\\").replace('\'', "\\'").replace('\n', "\\n"))
}

fn write_literal(f: &mut fmt::Formatter<'_>, value: &ScalarValue) -> fmt::Result {
    match value {
        ScalarValue::Utf8(Some(text)) => write_text(f, text),
        ScalarValue::Boolean(Some(value)) => f.write_str(if *value { "TRUE" } else { "FALSE" }),
        ScalarValue::Int32(Some(value)) => write!(f, "{value}"),
        ScalarValue::Int64(Some(value)) => write!(f, "{value}L"),
        ScalarValue::Float64(Some(value)) => write!(f, "{}D", crate::kernel::number_text::double(*value)),
        ScalarValue::Decimal128(Some(value), _, scale) => {
            write!(f, "{}BD", crate::kernel::number_text::decimal_plain(*value, *scale))
        }
        ScalarValue::Date32(Some(days)) => write!(f, "DATE '{}'", crate::kernel::time_text::date(*days)),
        ScalarValue::TimestampMicrosecond(Some(us), _) => {
            write!(f, "TIMESTAMP '{}'", crate::kernel::time_text::timestamp(*us))
        }
        value if value.is_null() => {
            let data_type = value.data_type();
            if data_type == DataType::Null {
                f.write_str("NULL")
            } else {
                write!(f, "CAST(NULL AS {})", types::name(&data_type).to_uppercase())
            }
        }
        other => write!(f, "{other}"),
    }
}
