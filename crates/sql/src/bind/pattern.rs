//! Expressions of DEFINE and MEASURES: which row of the match each column is read of.
//!
//! A column without navigation is that of the last row that is mapped to its variable, in DEFINE that is the row being tested if it is the
//! variable's own. What isn't of the row being tested becomes a [`ValueDraft`], and the expression reads it as a column of that name.

use std::ops::Range;

use arrow_schema::DataType;
use datafusion_common::ScalarValue;
use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, Spanned as _, Value,
    ValueWithSpan,
};

use super::{Binder, Bound, Call, Reported, aggregate};
use crate::diagnostic::{list, nearest};
use crate::pattern::{Automaton, End, RowPlace, VariableSet};
use crate::plan::AggregateFunction;
use crate::typed::{Kind, Typed};

/// Most rows that FIRST and LAST pass over, and most steps of PREV and NEXT.
const OFFSET_MAX: u32 = 100;

/// What expressions of a pattern may name, and what they were found to read.
#[derive(Debug)]
pub(crate) struct PatternScope {
    /// Names of the variables by number.
    pub(crate) variables: Vec<String>,
    /// Names of SUBSET with their variables.
    pub(crate) subsets: Vec<(String, VariableSet)>,
    /// All variables.
    pub(crate) universe: VariableSet,
    pub(crate) automaton: Automaton,
    /// The variable that is being defined; `None` in MEASURES.
    pub(crate) defining: Option<u8>,
    /// Whether values are asked for at the end of the match only.
    pub(crate) is_at_end: bool,
    /// Calls with RUNNING or FINAL before them: place of the name, and whether it is FINAL.
    pub(crate) semantics: Vec<(usize, bool)>,
    /// Values found, each once.
    pub(crate) values: Vec<ValueDraft>,
    /// Within the argument of a call: the variables whose row is meant, once one is named.
    pub(crate) argument: Option<Option<VariableSet>>,
}

/// A value of a match before it is compiled.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ValueDraft {
    pub(crate) name: String,
    pub(crate) kind: DraftKind,
    pub(crate) data_type: DataType,
    pub(crate) is_final: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum DraftKind {
    Row(RowPlace, RowDraft),
    Aggregate(VariableSet, Call),
    MatchNumber,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RowDraft {
    Expression(Typed),
    Classifier,
}

impl PatternScope {
    fn set(&self, name: &str) -> Option<VariableSet> {
        let number = self.variables.iter().position(|known| known.eq_ignore_ascii_case(name));
        let subset = || self.subsets.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, set)| *set);
        number.map(|number| 1 << number).or_else(subset)
    }

    /// What stands before a column of these variables: `A.`, or nothing for any variable.
    fn label(&self, set: VariableSet) -> String {
        if set == self.universe {
            return String::new();
        }
        if let Some((name, _)) = self.subsets.iter().find(|(_, known)| *known == set) {
            return format!("{name}.");
        }
        let names = self.variables.iter().enumerate().filter(|(number, _)| set >> number & 1 == 1);
        let names: Vec<&str> = names.map(|(_, name)| name.as_str()).collect();
        format!("{}.", names.join("|"))
    }

    /// Whether there is a row of these variables wherever the value is asked for.
    fn is_there(&self, set: VariableSet, is_final: bool) -> bool {
        set == self.universe || ((self.is_at_end || is_final) && !self.automaton.can_do_without(set))
    }

    /// Whether the place is the row being tested.
    fn is_tested_row(&self, place: RowPlace) -> bool {
        let own = self.defining.is_some_and(|variable| place.of >> variable & 1 == 1);
        own && place.end == End::Last && place.skip == 0 && place.step == 0
    }
}

/// A call that leads to a row, before its argument is bound.
struct Navigation<'e> {
    end: End,
    skip: u32,
    step: i32,
    argument: &'e Expr,
    is_final: bool,
}

impl Binder<'_> {
    /// Binds what means something of its own in a pattern; `None` for everything else, and outside of patterns.
    pub(super) fn in_pattern(&mut self, expr: &Expr, span: &Range<usize>) -> Option<Bound> {
        self.pattern.as_ref()?;
        match expr {
            Expr::Identifier(column) => Some(self.pattern_column(None, column, span)),
            Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [variable, column] => Some(self.pattern_column(Some(variable), column, span)),
                _ => None,
            },
            Expr::Function(function) if function.over.is_none() => self.pattern_call(function, span),
            _ => None,
        }
    }

    fn pattern_column(&mut self, variable: Option<&Ident>, column: &Ident, span: &Range<usize>) -> Bound {
        let set = match variable {
            Some(variable) => self.variable_set(variable)?,
            None => self.pattern.as_ref().map_or(0, |scope| scope.universe),
        };
        let bound = self.column(None, column)?;
        let Some(scope) = &mut self.pattern else { return Ok(bound) };
        match scope.argument {
            None => {
                let place = RowPlace { of: set, end: End::Last, skip: 0, step: 0 };
                Ok(self.row_value(place, RowDraft::Expression(bound), false, span))
            }
            Some(None) => {
                scope.argument = Some(Some(set));
                Ok(bound)
            }
            Some(Some(known)) if known == set => Ok(bound),
            Some(Some(_)) => {
                let message = "the columns in one call are of different variables, so of different rows";
                self.report(span.clone(), message, "write a call for each: LAST(A.amount) + LAST(B.amount)")
            }
        }
    }

    /// The variables that a name stands for.
    pub(crate) fn variable_set(&mut self, name: &Ident) -> Bound<VariableSet> {
        let Some(scope) = &self.pattern else { return Err(Reported) };
        if let Some(set) = scope.set(&name.value) {
            return Ok(set);
        }
        let names = || scope.variables.iter().chain(scope.subsets.iter().map(|(name, _)| name)).map(String::as_str);
        let help = match nearest(&name.value, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                format!("the variables are {}; a column without a variable is that of the row at hand", list(names()))
            }
        };
        let span = self.ident_span(name);
        self.report(span, format!("the pattern has no variable `{}`", name.value), help)
    }

    fn pattern_call(&mut self, function: &Function, span: &Range<usize>) -> Option<Bound> {
        let name = function.name.to_string().to_ascii_lowercase();
        let bound = match name.as_str() {
            "first" | "last" | "prev" | "next" | "classifier" | "match_number" => {
                if self.pattern.as_ref().is_some_and(|scope| scope.argument.is_some()) {
                    self.nested_call(&name, span)
                } else if name == "match_number" {
                    self.match_number(function, span)
                } else {
                    self.navigated(function, &name, span)
                }
            }
            name if aggregate::is_aggregate(name) => {
                if self.pattern.as_ref().is_some_and(|scope| scope.argument.is_some()) {
                    self.nested_call(name, span)
                } else {
                    self.pattern_aggregate(name, function, span)
                }
            }
            _ => {
                if self.has_semantics(function) {
                    let message =
                        format!("RUNNING and FINAL stand before FIRST, LAST and aggregates, and `{name}` is none");
                    return Some(self.report(span.clone(), message, "remove the word"));
                }
                return None;
            }
        };
        Some(bound)
    }

    fn nested_call(&mut self, name: &str, span: &Range<usize>) -> Bound {
        let message = format!("`{name}` can't stand within another call that leads to rows");
        self.report(span.clone(), message, "only PREV and NEXT take FIRST and LAST: PREV(FIRST(A.amount))")
    }

    fn name_start(&self, function: &Function) -> Option<usize> {
        self.source.span(function.name.span()).map(|span| span.start)
    }

    fn has_semantics(&self, function: &Function) -> bool {
        let start = self.name_start(function);
        self.pattern.as_ref().is_some_and(|scope| scope.semantics.iter().any(|(at, _)| Some(*at) == start))
    }

    /// Whether FINAL stands before a call.
    fn is_final(&mut self, function: &Function, span: &Range<usize>) -> Bound<bool> {
        let start = self.name_start(function);
        let Some(scope) = &self.pattern else { return Ok(false) };
        let is_final = scope.semantics.iter().any(|(at, is_final)| Some(*at) == start && *is_final);
        if is_final && scope.defining.is_some() {
            let message = "FINAL can't stand in DEFINE: the match isn't known yet";
            return self.report(span.clone(), message, "remove FINAL");
        }
        Ok(is_final)
    }

    fn match_number(&mut self, function: &Function, span: &Range<usize>) -> Bound {
        if !arguments(function).is_some_and(|arguments| arguments.is_empty()) {
            return self.report(span.clone(), "MATCH_NUMBER takes no argument", "write MATCH_NUMBER()");
        }
        Ok(self.value(DraftKind::MatchNumber, DataType::Int64, false, false, span))
    }

    /// FIRST, LAST, PREV, NEXT, CLASSIFIER.
    fn navigated(&mut self, function: &Function, name: &str, span: &Range<usize>) -> Bound {
        let navigation = if name == "classifier" {
            let is_final = self.is_final(function, span)?;
            return self.classifier(function, RowPlace { of: 0, end: End::Last, skip: 0, step: 0 }, is_final, span);
        } else if matches!(name, "first" | "last") {
            self.logical(function, name, span)?
        } else {
            self.physical(function, name, span)?
        };
        let place = RowPlace { of: 0, end: navigation.end, skip: navigation.skip, step: navigation.step };
        if let Expr::Function(inner) = navigation.argument
            && inner.name.to_string().eq_ignore_ascii_case("classifier")
        {
            return self.classifier(inner, place, navigation.is_final, span);
        }
        let (bound, set) = self.of_one_row(|binder| binder.bind(navigation.argument))?;
        let Some(of) = set else {
            let help = format!("write {}(A.amount)", name.to_ascii_uppercase());
            return self.report(span.clone(), format!("`{name}` leads to a row, and names no column of it"), help);
        };
        Ok(self.row_value(RowPlace { of, ..place }, RowDraft::Expression(bound), navigation.is_final, span))
    }

    /// Binds what is of one row; gives the variables whose row is meant, if a column is named.
    fn of_one_row<T>(&mut self, bind: impl FnOnce(&mut Self) -> Bound<T>) -> Bound<(T, Option<VariableSet>)> {
        if let Some(scope) = &mut self.pattern {
            scope.argument = Some(None);
        }
        let bound = bind(self);
        let set = self.pattern.as_mut().and_then(|scope| scope.argument.take()).flatten();
        Ok((bound?, set))
    }

    /// FIRST(argument, skip) and LAST(argument, skip).
    fn logical<'e>(&mut self, function: &'e Function, name: &str, span: &Range<usize>) -> Bound<Navigation<'e>> {
        let is_final = self.is_final(function, span)?;
        let (argument, skip) = self.argument_and_offset(function, name, 0, span)?;
        let end = if name == "first" { End::First } else { End::Last };
        Ok(Navigation { end, skip, step: 0, argument, is_final })
    }

    /// PREV(argument, steps) and NEXT(argument, steps), where the argument may be FIRST or LAST.
    fn physical<'e>(&mut self, function: &'e Function, name: &str, span: &Range<usize>) -> Bound<Navigation<'e>> {
        let (argument, steps) = self.argument_and_offset(function, name, 1, span)?;
        let steps = i32::try_from(steps).unwrap_or(0);
        let step = if name == "prev" { -steps } else { steps };
        if self.is_final(function, span)? {
            let message = "FINAL stands before FIRST, LAST and aggregates, not before PREV and NEXT";
            return self.report(span.clone(), message, format!("write {name}(FINAL LAST(…))"));
        }
        if let Expr::Function(inner) = argument {
            let inner_name = inner.name.to_string().to_ascii_lowercase();
            if matches!(inner_name.as_str(), "first" | "last") {
                return Ok(Navigation { step, ..self.logical(inner, &inner_name, span)? });
            }
        }
        Ok(Navigation { end: End::Last, skip: 0, step, argument, is_final: false })
    }

    fn argument_and_offset<'e>(
        &mut self,
        function: &'e Function,
        name: &str,
        default: u32,
        span: &Range<usize>,
    ) -> Bound<(&'e Expr, u32)> {
        let name = name.to_ascii_uppercase();
        match arguments(function).as_deref() {
            Some([argument]) => Ok((*argument, default)),
            Some([argument, Expr::Value(ValueWithSpan { value: Value::Number(digits, _), .. })]) => {
                match digits.parse::<u32>() {
                    Ok(offset) if offset <= OFFSET_MAX => Ok((*argument, offset)),
                    _ => {
                        let message = format!("{name} goes over a whole number of rows up to {OFFSET_MAX}");
                        self.report(span.clone(), message, format!("such as {name}(A.amount, 2)"))
                    }
                }
            }
            _ => {
                let message = format!("{name} takes a value and optionally a number of rows, written out");
                self.report(span.clone(), message, format!("write {name}(A.amount) or {name}(A.amount, 2)"))
            }
        }
    }

    fn classifier(&mut self, function: &Function, place: RowPlace, is_final: bool, span: &Range<usize>) -> Bound {
        let of = match arguments(function).as_deref() {
            Some([]) => self.pattern.as_ref().map_or(0, |scope| scope.universe),
            Some([Expr::Identifier(name)]) => self.variable_set(name)?,
            _ => {
                let message = "CLASSIFIER takes nothing, or a variable or subset";
                return self.report(span.clone(), message, "write CLASSIFIER()");
            }
        };
        Ok(self.row_value(RowPlace { of, ..place }, RowDraft::Classifier, is_final, span))
    }

    fn pattern_aggregate(&mut self, name: &str, function: &Function, span: &Range<usize>) -> Bound {
        let is_final = self.is_final(function, span)?;
        let (call, set) = match counted_variable(name, function) {
            Some(variable) => {
                let set = self.variable_set(variable)?;
                let function = AggregateFunction::CountStar;
                (Call { function, argument: None, order: None, result: DataType::Int64, nullable: false }, Some(set))
            }
            None => {
                let (bound, set) = self.of_one_row(|binder| binder.aggregate(name, function, span.clone()))?;
                let Kind::Call(number) = bound.kind else { return Err(Reported) };
                (self.calls.get(number).cloned().ok_or(Reported)?, set)
            }
        };
        let Some(scope) = &self.pattern else { return Err(Reported) };
        let set = set.unwrap_or(scope.universe);
        if call.function.needs_places() {
            let message = format!("`{name}` isn't supported in a pattern");
            let help = "write FIRST(…) or LAST(…), which go by the order of the match";
            return self.report(span.clone(), message, help);
        }
        let nullable = call.nullable || !(call.function.counts() || scope.is_there(set, is_final));
        let data_type = call.result.clone();
        Ok(self.value(DraftKind::Aggregate(set, call), data_type, nullable, is_final, span))
    }

    fn row_value(&mut self, place: RowPlace, row: RowDraft, is_final: bool, span: &Range<usize>) -> Typed {
        let Some(scope) = &self.pattern else { return Typed::null(&DataType::Null, span.clone()) };
        let is_there = place.skip == 0 && place.step == 0 && scope.is_there(place.of, is_final);
        if scope.is_tested_row(place) {
            return match row {
                RowDraft::Expression(tree) => Typed { span: span.clone(), ..tree },
                RowDraft::Classifier => {
                    let name = scope.defining.and_then(|variable| scope.variables.get(usize::from(variable))).cloned();
                    Typed::literal(ScalarValue::Utf8(name), span.clone())
                }
            };
        }
        let (data_type, nullable) = match &row {
            RowDraft::Expression(tree) => (tree.data_type.clone(), tree.nullable || !is_there),
            RowDraft::Classifier => (DataType::Utf8, !is_there),
        };
        self.value(DraftKind::Row(place, row), data_type, nullable, is_final, span)
    }

    /// The column that stands for a value, which is noted once.
    fn value(
        &mut self,
        kind: DraftKind,
        data_type: DataType,
        nullable: bool,
        is_final: bool,
        span: &Range<usize>,
    ) -> Typed {
        let Some(scope) = &mut self.pattern else { return Typed::null(&data_type, span.clone()) };
        let is_final = is_final && !scope.is_at_end;
        let known = scope.values.iter().find(|known| known.kind == kind && known.is_final == is_final);
        let name = match known {
            Some(known) => known.name.clone(),
            None => {
                let mut name = value_name(scope, &kind, is_final);
                while scope.values.iter().any(|known| known.name == name) {
                    name.push('\'');
                }
                scope.values.push(ValueDraft { name: name.clone(), kind, data_type: data_type.clone(), is_final });
                name
            }
        };
        Typed::column(&name, data_type, nullable, span.clone())
    }
}

/// How a value is shown, such as `PREV(LAST(A.amount))`.
fn value_name(scope: &PatternScope, kind: &DraftKind, is_final: bool) -> String {
    let shown = match kind {
        DraftKind::MatchNumber => "MATCH_NUMBER()".to_owned(),
        DraftKind::Aggregate(set, call) => {
            let argument = call.argument.as_ref().map_or_else(|| "*".to_owned(), ToString::to_string);
            call.function.display(Some(&format!("{}{argument}", scope.label(*set))), None)
        }
        DraftKind::Row(place, row) => {
            let what = match row {
                RowDraft::Expression(tree) => format!("{}{tree}", scope.label(place.of)),
                RowDraft::Classifier => format!("{}CLASSIFIER()", scope.label(place.of)),
            };
            let end = if place.end == End::First { "FIRST" } else { "LAST" };
            let skip = if place.skip > 0 { format!(", {}", place.skip) } else { String::new() };
            let at = format!("{end}({what}{skip})");
            match place.step {
                0 => at,
                step if step < 0 => format!("PREV({at}, {})", -step),
                step => format!("NEXT({at}, {step})"),
            }
        }
    };
    if is_final { format!("FINAL {shown}") } else { shown }
}

/// The plain arguments of a call; `None` if there are others.
fn arguments(function: &Function) -> Option<Vec<&Expr>> {
    match &function.args {
        FunctionArguments::None => Some(Vec::new()),
        FunctionArguments::List(list) if list.duplicate_treatment.is_none() && list.clauses.is_empty() => {
            list.args.iter().map(argument).collect()
        }
        _ => None,
    }
}

fn argument(argument: &FunctionArg) -> Option<&Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}

/// The variable of `count(A.*)`.
fn counted_variable<'e>(name: &str, function: &'e Function) -> Option<&'e Ident> {
    let FunctionArguments::List(list) = &function.args else { return None };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(ObjectName(parts)))]
            if name == "count" && function.filter.is_none() =>
        {
            match parts.as_slice() {
                [part] => part.as_ident(),
                _ => None,
            }
        }
        _ => None,
    }
}
