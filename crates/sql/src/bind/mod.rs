//! sqlparser's expression trees as typed trees: names, types, implicit casts and the allow-list of constructs.

mod aggregate;
mod aggregate_type;
mod call;
mod literal;
mod operator;
mod pattern;
mod window;

use std::ops::Range;

use arrow_schema::DataType;
use datafusion_common::ScalarValue;
use sqlparser::ast::{self, CaseWhen, CastKind, Expr, Ident, Spanned as _};

pub(crate) use aggregate::Call;
pub(crate) use pattern::{DraftKind, PatternScope, RowDraft, ValueDraft};
pub(crate) use window::{WindowKind, WindowShape, as_window, window_time};

use crate::diagnostic::Diagnostic;
use crate::lower::fold;
use crate::plan::Catalog;
use crate::relation::Relation;
use crate::scope::Scope;
use crate::source::Source;
use crate::typed::{Comparison, Kind, Typed};
use crate::types::{self, NoCommonType};

/// Deepest tree; far beyond what people write and well within the stack.
const DEPTH_MAX: usize = 250;

/// What is wrong has been reported.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reported;

pub(crate) type Bound<T = Typed> = Result<T, Reported>;

/// The clause that an expression stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Rule,
    Join,
    Where,
    Group,
    Select,
    Having,
    Define,
    Measures,
}

impl Place {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rule => "a rule",
            Self::Join => "ON",
            Self::Where => "WHERE",
            Self::Group => "GROUP BY",
            Self::Select => "SELECT",
            Self::Having => "HAVING",
            Self::Define => "DEFINE",
            Self::Measures => "MEASURES",
        }
    }
}

/// Binds the expressions of one query or rule and gathers what is wrong.
#[derive(Debug)]
pub(crate) struct Binder<'a> {
    pub(crate) source: &'a Source<'a>,
    pub(crate) scope: Scope,
    pub(crate) diagnostics: Vec<Diagnostic>,
    pub(crate) warnings: Vec<Diagnostic>,
    pub(crate) place: Place,
    /// Aggregate calls found so far, each once.
    pub(crate) calls: Vec<Call>,
    /// The window of GROUP BY.
    pub(crate) window: Option<WindowShape>,
    /// What queries may read; `None` for rules.
    pub(crate) catalog: Option<&'a Catalog>,
    /// Queries of WITH by name; `None` for one that is wrong.
    pub(crate) tables: Vec<(String, Option<Relation>)>,
    /// The event times that windows go by.
    pub(crate) event_times: Vec<Typed>,
    /// The window of the query in FROM, if that gives groups.
    pub(crate) inner_window: Option<WindowKind>,
    /// Whether the columns of SELECT are known by their place alone: it is under UNION ALL and not the first.
    pub(crate) is_by_place: bool,
    /// Names that SELECT gives, for advice where they aren't known.
    pub(crate) alias_names: Vec<String>,
    /// Names that SELECT gives, with their values: HAVING knows them.
    pub(crate) aliases: Vec<(String, Typed)>,
    /// What DEFINE and MEASURES of a pattern may name.
    pub(crate) pattern: Option<Box<PatternScope>>,
    /// Whether it is SELECT DISTINCT.
    pub(crate) is_distinct: bool,
    in_aggregate: bool,
    depth: usize,
    here: Range<usize>,
}

impl<'a> Binder<'a> {
    pub(crate) fn new(source: &'a Source<'a>, scope: Scope, place: Place) -> Self {
        Self {
            source,
            scope,
            diagnostics: Vec::new(),
            warnings: Vec::new(),
            place,
            calls: Vec::new(),
            window: None,
            catalog: None,
            tables: Vec::new(),
            event_times: Vec::new(),
            inner_window: None,
            is_by_place: false,
            alias_names: Vec::new(),
            aliases: Vec::new(),
            pattern: None,
            is_distinct: false,
            in_aggregate: false,
            depth: 0,
            here: 0..0,
        }
    }

    /// Reports what is wrong and what to write instead.
    pub(crate) fn report<T>(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Bound<T> {
        self.diagnostics.push(Diagnostic::new(span, message).with_help(help));
        Err(Reported)
    }

    /// The bytes of an expression, or of the smallest one around it that has a place.
    pub(crate) fn span_of(&self, expr: &Expr) -> Range<usize> {
        match (expr, self.source.span(expr.span())) {
            (Expr::Function(function), _) => {
                self.source.span(function.name.span()).map_or_else(|| self.here.clone(), |name| self.source.call(name))
            }
            (Expr::Interval(_) | Expr::TypedString(_), Some(span)) => self.source.with_word_before(span),
            (
                Expr::Cast { .. }
                | Expr::Ceil { .. }
                | Expr::Floor { .. }
                | Expr::Substring { .. }
                | Expr::Trim { .. }
                | Expr::Position { .. },
                Some(span),
            ) => self.source.call_around(span),
            (_, Some(span)) => span,
            (_, None) => self.here.clone(),
        }
    }

    pub(crate) fn ident_span(&self, ident: &Ident) -> Range<usize> {
        self.source.span(ident.span).unwrap_or_else(|| self.here.clone())
    }

    /// Binds an expression.
    pub(crate) fn bind(&mut self, expr: &Expr) -> Bound {
        if self.depth >= DEPTH_MAX {
            let span = self.here.clone();
            return self.report(
                span,
                "the expression is nested too deeply",
                "use IN (…) for long chains of OR, or split the query",
            );
        }
        let span = self.span_of(expr);
        let outer = std::mem::replace(&mut self.here, span);
        self.depth += 1;
        let bound = self.bind_node(expr);
        self.depth -= 1;
        self.here = outer;
        bound
    }

    fn bind_node(&mut self, expr: &Expr) -> Bound {
        let span = self.here.clone();
        if let Some(bound) = self.in_pattern(expr, &span) {
            return bound;
        }
        match expr {
            Expr::Identifier(ident) => self.column(None, ident),
            Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [table, column] => self.qualified(table, column),
                _ => self.report(span, "a column's name has at most two parts", "write `table.column`"),
            },
            Expr::Nested(inner) => self.bind(inner),
            Expr::Value(value) => self.literal(value, &span),
            Expr::TypedString(typed) => self.typed_string(typed, &span),
            Expr::Interval(_) => self.report(
                span,
                "an interval can't stand alone",
                "add it to a timestamp or subtract it from one: `event_time - INTERVAL '5 minutes'`",
            ),
            Expr::UnaryOp { op, expr } => self.unary(*op, expr, span),
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right, span),
            Expr::IsNull(operand) => self.is_null(operand, false, span),
            Expr::IsUnknown(operand) => self.is_null(operand, false, span),
            Expr::IsNotNull(operand) => self.is_null(operand, true, span),
            Expr::IsNotUnknown(operand) => self.is_null(operand, true, span),
            Expr::IsTrue(operand) => self.is_truth(operand, true, false, span),
            Expr::IsNotTrue(operand) => self.is_truth(operand, true, true, span),
            Expr::IsFalse(operand) => self.is_truth(operand, false, false, span),
            Expr::IsNotFalse(operand) => self.is_truth(operand, false, true, span),
            Expr::IsDistinctFrom(left, right) => {
                let same = self.compare(left, Comparison::NullSafeEqual, right, span.clone())?;
                Ok(Typed::boolean(Kind::Not(Box::new(same)), false, span))
            }
            Expr::IsNotDistinctFrom(left, right) => self.compare(left, Comparison::NullSafeEqual, right, span),
            Expr::Between { expr, negated, low, high } => self.between(expr, *negated, low, high, span),
            Expr::InList { expr, list, negated } => self.in_list(expr, list, *negated, span),
            Expr::Like { negated, any: false, expr, pattern, escape_char } => {
                self.like(expr, pattern, escape_char.as_ref(), *negated, false, span)
            }
            Expr::ILike { negated, any: false, expr, pattern, escape_char } => {
                self.like(expr, pattern, escape_char.as_ref(), *negated, true, span)
            }
            Expr::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref(), span)
            }
            Expr::Cast { kind: CastKind::TryCast, .. } => self.report(
                span,
                "TRY_CAST differs from CAST in Spark: it follows ANSI's rules for what can't be converted",
                "write CAST, which gives NULL too",
            ),
            Expr::Cast { kind, expr, data_type, array: false, format: None } if *kind != CastKind::SafeCast => {
                self.cast(expr, data_type, span)
            }
            Expr::Function(_)
            | Expr::Ceil { .. }
            | Expr::Floor { .. }
            | Expr::Substring { .. }
            | Expr::Trim { .. }
            | Expr::Extract { .. }
            | Expr::Position { .. } => self.call(expr, span),
            Expr::CompoundFieldAccess { root, access_chain } => self.field(root, access_chain, span),
            other => self.refuse(other, span),
        }
    }

    /// What is outside the subset.
    fn refuse(&mut self, expr: &Expr, span: Range<usize>) -> Bound {
        match expr {
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => self.report(
                span,
                "a query within an expression isn't supported",
                "join the table instead, or list the values: `x IN (1, 2)`",
            ),
            Expr::RLike { .. } | Expr::SimilarTo { .. } => self.report(
                span,
                "regular expressions aren't supported, since engines differ in them",
                "use LIKE, startswith(…), endswith(…) or contains(…)",
            ),
            Expr::AtTimeZone { .. } => self.report(
                span,
                "timestamps are in UTC, here and in the results",
                "convert time zones where the result is shown",
            ),
            Expr::Tuple(_) => {
                self.report(span, "several values in parentheses aren't supported", "compare them one by one with AND")
            }
            _ => self.report(
                span,
                "this isn't part of the SQL that queries can use",
                "the supported constructs and functions are in docs/sql.md",
            ),
        }
    }

    /// A condition: boolean, or NULL.
    pub(crate) fn condition(&mut self, expr: &Expr, what: &str) -> Bound {
        let bound = self.bind(expr)?;
        match bound.data_type {
            DataType::Boolean => Ok(bound),
            DataType::Null => Ok(Typed::null(&DataType::Boolean, bound.span)),
            ref other => {
                let message = format!("{what} needs a condition, and this is {}", a_type(other));
                let help = if types::is_numeric(other) {
                    "compare it, such as `… > 0`"
                } else {
                    "compare it, such as `… = 'x'`"
                };
                self.report(bound.span, message, help)
            }
        }
    }

    fn column(&mut self, table: Option<&Ident>, column: &Ident) -> Bound {
        let span = self.here.clone();
        match self.scope.resolve(table.map(|table| table.value.as_str()), &column.value) {
            Ok(found) => {
                let found = found.clone();
                self.typed_column(&found, span)
            }
            Err(not_found) => {
                let known = |name: &str| table.is_none() && name.eq_ignore_ascii_case(&column.value);
                if self.place == Place::Having
                    && !self.in_aggregate
                    && let Some((_, value)) = self.aliases.iter().find(|(name, _)| known(name))
                {
                    return Ok(Typed { span, ..value.clone() });
                }
                if self.alias_names.iter().any(|name| known(name)) {
                    let message =
                        format!("`{}` is named in SELECT and isn't known in {}", column.value, self.place.name());
                    let help = match self.place {
                        Place::Where => "repeat the expression here; conditions on aggregates stand in HAVING",
                        _ => "repeat the expression here",
                    };
                    return self.report(span, message, help);
                }
                if table.is_none()
                    && let Some((message, help)) = crate::functions::refusal(&column.value)
                {
                    return self.report(span, message, help);
                }
                if table.is_none() {
                    let name = column.value.to_ascii_lowercase();
                    if let Some(part) = name.strip_prefix("window_").filter(|part| matches!(*part, "start" | "end")) {
                        return self.report(
                            span,
                            format!("there is no column `{}` before the result is made", column.value),
                            format!("write `window.{part}`"),
                        );
                    }
                }
                self.report(span, not_found.message, not_found.help)
            }
        }
    }

    pub(crate) fn typed_column(&mut self, column: &crate::scope::ScopeColumn, span: Range<usize>) -> Bound {
        let bound = Typed { span: span.clone(), ..column.value.clone() };
        let nullable = bound.nullable;
        if bound.data_type == DataType::Float32 {
            // Spark's float is read as double.
            return Ok(Typed { data_type: DataType::Float64, nullable, kind: Kind::Cast(Box::new(bound)), span });
        }
        // NULL has a type where it meets others.
        if types::supported(&bound.data_type) || bound.data_type == DataType::Null {
            return Ok(bound);
        }
        let message =
            format!("`{}` has the type {}, which queries can't use", column.name, types::name(&bound.data_type));
        self.report(span, message, "leave the column out, or give it another type in the schema")
    }

    /// `table.column`, or `window.start` and `window.end`.
    fn qualified(&mut self, table: &Ident, column: &Ident) -> Bound {
        let name = table.value.to_ascii_lowercase();
        let is_window = matches!(name.as_str(), "window" | "session_window");
        if is_window && self.scope.table(&name).is_none() && !self.scope.has(&name) {
            return self.window_field(&name, &column.value, self.here.clone());
        }
        self.column(Some(table), column)
    }

    fn is_null(&mut self, operand: &Expr, negated: bool, span: Range<usize>) -> Bound {
        let operand = Box::new(self.bind(operand)?);
        Ok(Typed::boolean(Kind::IsNull { operand, negated }, false, span))
    }

    fn is_truth(&mut self, operand: &Expr, truth: bool, negated: bool, span: Range<usize>) -> Bound {
        let operand = self.condition(operand, if truth { "IS TRUE" } else { "IS FALSE" })?;
        let truth = Typed::literal(ScalarValue::Boolean(Some(truth)), span.clone());
        let kind = Kind::Compare(Comparison::NullSafeEqual, Box::new(operand), Box::new(truth));
        let same = Typed::boolean(kind, false, span.clone());
        Ok(if negated { Typed::boolean(Kind::Not(Box::new(same)), false, span) } else { same })
    }

    fn case(
        &mut self,
        operand: Option<&Expr>,
        conditions: &[CaseWhen],
        otherwise: Option<&Expr>,
        span: Range<usize>,
    ) -> Bound {
        let mut whens = Vec::new();
        let mut values = Vec::new();
        for CaseWhen { condition, result } in conditions {
            let when = match operand {
                Some(operand) => self.compare(operand, Comparison::Equal, condition, self.span_of(condition)),
                None => self.condition(condition, "WHEN"),
            };
            whens.push(when);
            values.push(self.bind(result));
        }
        if let Some(otherwise) = otherwise {
            values.push(self.bind(otherwise));
        }
        let whens = whens.into_iter().collect::<Bound<Vec<_>>>()?;
        let mut values = self.unify(values.into_iter().collect::<Bound<Vec<_>>>()?, "the branches of CASE")?;
        let otherwise = if otherwise.is_some() { values.pop().map(Box::new) } else { None };
        Ok(case(whens.into_iter().zip(values).collect(), otherwise, span))
    }

    /// Gives all values their common type.
    pub(crate) fn unify(&mut self, values: Vec<Typed>, what: &str) -> Bound<Vec<Typed>> {
        let mut common = DataType::Null;
        for value in &values {
            common = match types::common(&common, &value.data_type) {
                Ok(wider) => wider,
                Err(reason) => {
                    let (left, right) = (a_type(&common), a_type(&value.data_type));
                    let message = format!("{what} have no common type: {left} and {right}");
                    let help = match reason {
                        NoCommonType::Kinds => format!("write CAST(… AS {})", types::name(&common).to_uppercase()),
                        NoCommonType::Digits => "cast one to a decimal of fewer digits".to_owned(),
                    };
                    return self.report(value.span.clone(), message, help);
                }
            };
        }
        Ok(values.into_iter().map(|value| coerce(value, &common)).collect())
    }

    fn cast(&mut self, operand: &Expr, target: &ast::DataType, span: Range<usize>) -> Bound {
        let to = self.type_name(target, &span);
        let operand = self.bind(operand)?;
        let to = to?;
        match crate::kernel::cast::fallible(&operand.data_type, &to) {
            // Written out, a cast of a literal isn't a literal, see `fold`.
            Some(fallible) if types::is_integer(&to) && operand.data_type != to => {
                let nullable = operand.nullable || fallible;
                Ok(Typed { kind: Kind::Cast(Box::new(operand)), data_type: to, nullable, span })
            }
            Some(_) => Ok(Typed { span, ..coerce(operand, &to) }),
            None => {
                let message = format!("{} can't be cast to {}", a_type(&operand.data_type), types::name(&to));
                let help = match (types::is_time(&operand.data_type), types::is_numeric(&to)) {
                    (true, true) => "unix_seconds(…), unix_millis(…) and unix_micros(…) make numbers of timestamps",
                    _ => "the casts there are stand in docs/sql.md",
                };
                self.report(span, message, help)
            }
        }
    }
}

/// A CASE of branches that share a type.
pub(crate) fn case(branches: Vec<(Typed, Typed)>, otherwise: Option<Box<Typed>>, span: Range<usize>) -> Typed {
    let data_type = branches.first().map_or(DataType::Null, |(_, then)| then.data_type.clone());
    let nullable =
        branches.iter().any(|(_, then)| then.nullable) || otherwise.as_ref().is_none_or(|value| value.nullable);
    let otherwise = otherwise.filter(|value| !value.as_literal().is_some_and(ScalarValue::is_null));
    Typed { kind: Kind::Case { branches, otherwise }, data_type, nullable, span }
}

/// The value as another type; the caller knows that there is such a cast.
pub(crate) fn coerce(value: Typed, to: &DataType) -> Typed {
    if value.data_type == *to {
        return value;
    }
    if value.data_type == DataType::Null {
        return Typed::null(to, value.span);
    }
    let nullable = value.nullable || crate::kernel::cast::fallible(&value.data_type, to).unwrap_or(true);
    let span = value.span.clone();
    fold(Typed { kind: Kind::Cast(Box::new(value)), data_type: to.clone(), nullable, span })
}

/// A type with its article, for messages.
pub(crate) fn a_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Null => "NULL".to_owned(),
        DataType::Utf8 => "text (string)".to_owned(),
        DataType::Boolean => "a boolean".to_owned(),
        DataType::Int32 => "an int".to_owned(),
        other => format!("a {}", types::name(other)),
    }
}
