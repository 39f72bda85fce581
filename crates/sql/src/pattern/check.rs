//! The clause bound: columns, variables, conditions and measures with their types.

use std::ops::Range;

use arrow_schema::DataType;
use sqlparser::ast::{Expr, Ident};

use super::automaton::{Automaton, Impossible, STATES_MAX};
use super::clause::{Clause, NamedExpr, SkipTo};
use super::plan::{MatchValue, MatchValueKind, RowValue, RowsPerMatch, Skip, Variable, VariableSet, universe};
use crate::assemble::expression;
use crate::bind::{Binder, Bound, DraftKind, PatternScope, Place, Reported, RowDraft, ValueDraft, a_type};
use crate::diagnostic::{list, nearest};
use crate::group::compiled_call;
use crate::interval;
use crate::plan::StreamTable;
use crate::typed::{Kind, Typed};

/// The clause with everything in it bound over the stream's columns.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) partition_by: Vec<String>,
    pub(crate) within_us: i64,
    pub(crate) variables: Vec<Variable>,
    pub(crate) automaton: Automaton,
    pub(crate) skip: Skip,
    pub(crate) tested: Vec<MatchValue>,
    pub(crate) measured: Vec<MatchValue>,
    pub(crate) measures: Vec<Measure>,
    /// Columns of the stream that conditions and values read.
    pub(crate) read: Vec<String>,
}

/// A measure, bound over the columns of values.
#[derive(Debug)]
pub(crate) struct Measure {
    pub(crate) name: String,
    pub(crate) span: Range<usize>,
    pub(crate) tree: Typed,
    /// Whether it is the event time of the first or last row of the match.
    pub(crate) is_time: bool,
}

/// Binds a clause over `stream`, whose columns are the binder's scope.
pub(crate) fn check(binder: &mut Binder<'_>, clause: &Clause, stream: &StreamTable, end: usize) -> Bound<Checked> {
    let partition_by = partition_by(binder, clause, stream, end);
    let ordered = order_by(binder, clause, stream, end);
    let within_us = within(binder, clause);
    let automaton = automaton(binder, clause);
    let subsets = subsets(binder, clause);
    let definitions = definitions(binder, clause);
    let (automaton, subsets, definitions) = (automaton?, subsets?, definitions?);
    binder.pattern = Some(Box::new(PatternScope {
        variables: clause.variables.clone(),
        subsets,
        universe: universe(clause.variables.len()),
        automaton,
        defining: None,
        is_at_end: false,
        semantics: Vec::new(),
        values: Vec::new(),
        argument: None,
    }));
    let skip = skip(binder, clause);
    let mut read = Vec::new();
    let variables = variables(binder, clause, &definitions, &mut read);
    let tested = take_values(binder, &mut read);
    let measures = measures(binder, clause, stream);
    let measured = take_values(binder, &mut read);
    let scope = binder.pattern.take();
    ordered?;
    Ok(Checked {
        partition_by: partition_by?,
        within_us: within_us?,
        variables: variables?,
        automaton: scope.ok_or(Reported)?.automaton,
        skip: skip?,
        tested: tested?,
        measured: measured?,
        measures: measures?,
        read,
    })
}

fn column_of(binder: &Binder<'_>, expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(Ident { value, .. }) => {
            binder.scope.resolve(None, value).ok().map(|column| column.name.clone())
        }
        _ => None,
    }
}

fn partition_by(binder: &mut Binder<'_>, clause: &Clause, stream: &StreamTable, end: usize) -> Bound<Vec<String>> {
    let key = &stream.key;
    let mut columns = Vec::new();
    let mut failed = false;
    for (expr, span) in &clause.partition_by {
        match column_of(binder, expr) {
            Some(column) => columns.push(column),
            None if matches!(expr, Expr::Identifier(_)) => failed |= binder.bind(expr).is_err(),
            None => {
                let message = "PARTITION BY names columns of the stream";
                failed |= binder.report::<()>(span.clone(), message, format!("write PARTITION BY {key}")).is_err();
            }
        }
    }
    if failed {
        return Err(Reported);
    }
    if columns.contains(key) {
        return Ok(columns);
    }
    let span = match (clause.partition_by.first(), clause.partition_by.last()) {
        (Some((_, first)), Some((_, last))) => first.start..last.end,
        _ => end..end,
    };
    let message =
        format!("a pattern is matched within the stream's key `{key}`: rows of other keys have no order among them");
    let help = if columns.is_empty() {
        format!("begin the clause with PARTITION BY {key}")
    } else {
        format!("write PARTITION BY {key}, {}", columns.join(", "))
    };
    binder.report(span, message, help)
}

fn order_by(binder: &mut Binder<'_>, clause: &Clause, stream: &StreamTable, end: usize) -> Bound<()> {
    let time = &stream.event_time;
    let help = format!("write ORDER BY {time}");
    match clause.order_by.as_slice() {
        [(expr, span)] => match column_of(binder, expr) {
            Some(column) if column == *time => Ok(()),
            _ => {
                let message = format!(
                    "rows are ordered by the stream's event time `{time}`, since its watermark tells when no more come"
                );
                binder.report(span.clone(), message, help)
            }
        },
        [] => binder.report(end..end, "the clause has no ORDER BY", format!("{help} after PARTITION BY")),
        [_, (_, second), ..] => {
            let message = "rows of the same time are ordered as they came in, and by nothing else";
            binder.report(second.clone(), message, help)
        }
    }
}

fn within(binder: &mut Binder<'_>, clause: &Clause) -> Bound<i64> {
    let (expr, span) = &clause.within;
    let parsed = match expr {
        Expr::Interval(interval) => binder.interval_us(interval, span)?,
        expr => {
            let bound = binder.bind(expr)?;
            match bound.as_text().map(interval::parse_us) {
                Some(Ok(us)) => us,
                _ => {
                    let message = "WITHIN is followed by a length of time";
                    return binder.report(span.clone(), message, "such as WITHIN INTERVAL '10 minutes'");
                }
            }
        }
    };
    if parsed > 0 {
        return Ok(parsed);
    }
    binder.report(span.clone(), "WITHIN is a length above zero", "such as WITHIN INTERVAL '10 minutes'")
}

fn automaton(binder: &mut Binder<'_>, clause: &Clause) -> Bound<Automaton> {
    let span = clause.pattern_span.clone();
    Automaton::new(&clause.pattern).or_else(|impossible| match impossible {
        Impossible::Empty => {
            let message = "the pattern can match without any row, so there would be a match everywhere";
            binder.report(span, message, "let one variable be there in any case: + instead of *, or no ?")
        }
        Impossible::TooLarge => {
            let message = format!("written out, the pattern has more than {STATES_MAX} places for rows");
            let help = "PERMUTE of n parts writes out all their orders, {n} writes its group out n times: use fewer, or + with a condition on count(*)";
            binder.report(span, message, help)
        }
    })
}

fn number_of(variables: &[String], name: &str) -> Option<usize> {
    variables.iter().position(|known| known.eq_ignore_ascii_case(name))
}

fn unknown_variable<T>(binder: &mut Binder<'_>, variables: &[String], name: &str, span: Range<usize>) -> Bound<T> {
    let names = || variables.iter().map(String::as_str);
    let help = match nearest(name, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the variables in PATTERN are {}", list(names())),
    };
    binder.report(span, format!("there is no variable `{name}` in PATTERN"), help)
}

fn subsets(binder: &mut Binder<'_>, clause: &Clause) -> Bound<Vec<(String, VariableSet)>> {
    let mut subsets: Vec<(String, VariableSet)> = Vec::new();
    let mut failed = false;
    for subset in &clause.subsets {
        let taken = number_of(&clause.variables, &subset.name).is_some()
            || subsets.iter().any(|(known, _)| known.eq_ignore_ascii_case(&subset.name));
        if taken {
            let message = format!("the name `{}` is taken", subset.name);
            failed |= binder.report::<()>(subset.span.clone(), message, "give the subset another name").is_err();
        }
        let mut set = 0;
        for (name, span) in &subset.members {
            match number_of(&clause.variables, name) {
                Some(number) => set |= 1 << number,
                None => failed |= unknown_variable::<()>(binder, &clause.variables, name, span.clone()).is_err(),
            }
        }
        subsets.push((subset.name.clone(), set));
    }
    if failed { Err(Reported) } else { Ok(subsets) }
}

/// The definitions by number of their variable.
fn definitions<'c>(binder: &mut Binder<'_>, clause: &'c Clause) -> Bound<Vec<(usize, &'c NamedExpr)>> {
    let mut found: Vec<(usize, &NamedExpr)> = Vec::new();
    let mut failed = false;
    for definition in &clause.definitions {
        let (name, span) = (&definition.name, definition.name_span.clone());
        let is_subset = clause.subsets.iter().any(|subset| subset.name.eq_ignore_ascii_case(name));
        failed |= match number_of(&clause.variables, name) {
            Some(number) if found.iter().all(|(known, _)| *known != number) => {
                found.push((number, definition));
                false
            }
            Some(_) => {
                binder.report::<()>(span, format!("`{name}` is defined twice"), "join both conditions by AND").is_err()
            }
            None if is_subset => {
                let message = format!("`{name}` is a subset, and conditions belong to its variables");
                binder.report::<()>(span, message, "define each variable").is_err()
            }
            None => unknown_variable::<()>(binder, &clause.variables, name, span).is_err(),
        };
    }
    if failed { Err(Reported) } else { Ok(found) }
}

fn skip(binder: &mut Binder<'_>, clause: &Clause) -> Bound<Skip> {
    let (name, span, is_first) = match &clause.skip {
        SkipTo::PastLastRow => return Ok(Skip::PastLastRow),
        SkipTo::ToNextRow => return Ok(Skip::ToNextRow),
        SkipTo::First(name, span) => (name, span, true),
        SkipTo::Last(name, span) => (name, span, false),
    };
    let set = binder.variable_set(&Ident::new(name.clone())).map_err(|Reported| {
        // The place isn't in the identifier, which is made here.
        if let Some(last) = binder.diagnostics.last_mut() {
            last.span = span.clone();
        }
        Reported
    })?;
    let Some(scope) = &binder.pattern else { return Err(Reported) };
    let automaton = &scope.automaton;
    let problem = if automaton.can_do_without(set) {
        Some(format!("a match may have no row of `{name}` to go on at"))
    } else if is_first && automaton.can_begin_with(set) || automaton.can_end_after_first_of(set) {
        Some(format!("`{name}` may be the first row of the match, and going on there would find the same match again"))
    } else {
        None
    };
    match problem {
        Some(message) => {
            let help = "skip to a variable that each match has after its first row, or write SKIP TO NEXT ROW or SKIP PAST LAST ROW";
            binder.report(span.clone(), message, help)
        }
        None if is_first => Ok(Skip::ToFirst(set)),
        None => Ok(Skip::ToLast(set)),
    }
}

fn variables(
    binder: &mut Binder<'_>,
    clause: &Clause,
    definitions: &[(usize, &NamedExpr)],
    read: &mut Vec<String>,
) -> Bound<Vec<Variable>> {
    let mut variables = Vec::new();
    let mut failed = false;
    for (number, variable) in clause.variables.iter().enumerate() {
        let Some((_, definition)) = definitions.iter().find(|(known, _)| *known == number) else {
            variables.push(Variable { name: variable.clone(), row_condition: None, condition: None });
            continue;
        };
        binder.place = Place::Define;
        if let Some(scope) = &mut binder.pattern {
            scope.defining = u8::try_from(number).ok();
            scope.semantics.clone_from(&definition.semantics);
        }
        let bound = binder.condition(&definition.expr, "DEFINE");
        match bound.and_then(|tree| conditions(binder, tree, read)) {
            Ok((row_condition, condition)) => {
                variables.push(Variable { name: variable.clone(), row_condition, condition });
            }
            Err(Reported) => failed = true,
        }
    }
    if failed { Err(Reported) } else { Ok(variables) }
}

type Compiled = Option<crate::expression::Expression>;

/// Takes a condition apart into what is told by the row alone, and the rest.
fn conditions(binder: &mut Binder<'_>, tree: Typed, read: &mut Vec<String>) -> Bound<(Compiled, Compiled)> {
    let names: Vec<String> =
        binder.pattern.iter().flat_map(|scope| scope.values.iter().map(|value| value.name.clone())).collect();
    let (mut of_row, mut of_match) = (None, None);
    for part in conjuncts(tree) {
        let columns = part.read_columns().0;
        let place = if columns.iter().any(|column| names.contains(column)) { &mut of_match } else { &mut of_row };
        read.extend(columns.into_iter().filter(|column| !names.contains(column)));
        *place = Some(crate::from::both(place.take(), part));
    }
    let mut compiled = |tree: Option<Typed>| tree.map(|tree| expression(binder, tree)).transpose();
    Ok((compiled(of_row)?, compiled(of_match)?))
}

fn conjuncts(tree: Typed) -> Vec<Typed> {
    match tree.kind {
        Kind::And(left, right) => conjuncts(*left).into_iter().chain(conjuncts(*right)).collect(),
        kind => vec![Typed { kind, ..tree }],
    }
}

fn measures(binder: &mut Binder<'_>, clause: &Clause, stream: &StreamTable) -> Bound<Vec<Measure>> {
    let mut measures: Vec<Measure> = Vec::new();
    let mut failed = false;
    binder.place = Place::Measures;
    for measure in &clause.measures {
        if let Some(scope) = &mut binder.pattern {
            scope.defining = None;
            scope.is_at_end = clause.rows == RowsPerMatch::One;
            scope.semantics.clone_from(&measure.semantics);
        }
        let span = measure.name_span.clone();
        if measures.iter().any(|known| known.name.eq_ignore_ascii_case(&measure.name)) {
            let message = format!("there are two measures `{}`", measure.name);
            failed |= binder.report::<()>(span.clone(), message, "give one of them another name").is_err();
        }
        match binder.bind(&measure.expr) {
            Ok(tree) if tree.data_type == DataType::Null => {
                let message = format!("the measure `{}` is {}", measure.name, a_type(&tree.data_type));
                failed |= binder.report::<()>(span, message, "write CAST(NULL AS STRING) or another type").is_err();
            }
            Ok(tree) => {
                let is_time = is_time(binder, &tree, stream);
                measures.push(Measure { name: measure.name.clone(), span, tree, is_time });
            }
            Err(Reported) => failed = true,
        }
    }
    if failed { Err(Reported) } else { Ok(measures) }
}

/// Whether a measure is the event time of a row of the match.
fn is_time(binder: &Binder<'_>, tree: &Typed, stream: &StreamTable) -> bool {
    let Kind::Column(name) = &tree.kind else { return false };
    let mut values = binder.pattern.iter().flat_map(|scope| &scope.values);
    values.any(|value| match &value.kind {
        DraftKind::Row(place, RowDraft::Expression(Typed { kind: Kind::Column(column), .. })) => {
            value.name == *name && place.step == 0 && *column == stream.event_time
        }
        _ => false,
    })
}

/// The values found so far, compiled.
fn take_values(binder: &mut Binder<'_>, read: &mut Vec<String>) -> Bound<Vec<MatchValue>> {
    let drafts = binder.pattern.as_mut().map(|scope| std::mem::take(&mut scope.values)).unwrap_or_default();
    let mut values = Vec::new();
    for ValueDraft { name, kind, data_type, is_final } in drafts {
        let kind = match kind {
            DraftKind::MatchNumber => MatchValueKind::MatchNumber,
            DraftKind::Row(place, RowDraft::Classifier) => MatchValueKind::Row(place, RowValue::Classifier),
            DraftKind::Row(place, RowDraft::Expression(tree)) => {
                read.extend(tree.read_columns().0);
                MatchValueKind::Row(place, RowValue::Expression(expression(binder, tree)?))
            }
            DraftKind::Aggregate(set, call) => {
                read.extend(call.argument.iter().flat_map(|argument| argument.read_columns().0));
                MatchValueKind::Aggregate(set, compiled_call(binder, name.clone(), call)?)
            }
        };
        values.push(MatchValue { name, kind, data_type, is_final });
    }
    Ok(values)
}
