//! Text to plan: the clause, and the SELECT around it.

use std::ops::Range;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema};
use sqlparser::ast::{GroupByExpr, Select, SelectItem, Spanned as _, TableFactor};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::check::{Checked, check};
use super::clause::{self, Clause};
use super::cursor::{is_word, nesting};
use super::plan::{FIRST_OFFSET, LAST_OFFSET, Pattern, RowsPerMatch};
use super::syntax::fail;
use crate::assemble::{check_key, expression, result_columns};
use crate::bind::{Binder, Bound, Place, Reported};
use crate::compile::finish;
use crate::diagnostic::Diagnostic;
use crate::dialect::Portable;
use crate::options::{self, Parsed};
use crate::plan::{Branch, Catalog, Emit, Query, SOURCE_OFFSET, SOURCE_PARTITION, StreamTable};
use crate::scope::{Scope, ScopeTable};
use crate::select::Column;
use crate::source::Source;
use crate::typed::{Kind, Typed};

/// Compiles a pattern: `name` is its file's name, `text` begins with its options.
///
/// # Errors
/// All that is wrong, in the order of the text.
pub fn compile_pattern(name: &str, text: &str, catalog: &Catalog) -> Result<Query, Vec<Diagnostic>> {
    let mut diagnostics = Vec::new();
    let mut options = options::parse(text, &mut diagnostics);
    if let Some(span) = options.emit_span.take() {
        let message = "a match is published once, as soon as it is certain, so `emit` has no meaning here";
        diagnostics.push(Diagnostic::new(span, message).with_help("remove the line"));
    }
    options.options.emit = Emit::Final;
    let source = Source::of_pattern(text).map_err(|problems| diagnostics.extend(problems));
    let result =
        source.map_err(|()| Reported).and_then(|source| compile(name, &options, &source, catalog, &mut diagnostics));
    finish(result, diagnostics)
}

fn compile(
    name: &str,
    options: &Parsed,
    source: &Source<'_>,
    catalog: &Catalog,
    diagnostics: &mut Vec<Diagnostic>,
) -> Bound<Query> {
    let parts = take_apart(source, diagnostics)?;
    let end = source.token_span(parts.close).start;
    let clause = clause::parse(source, parts.inside, end, diagnostics);
    let mut parser = Parser::new(&Portable).with_tokens_with_locations(parts.around);
    let statements = parser.parse_statements().map_err(|error| {
        diagnostics.push(source.parse_error(&error));
        Reported
    })?;
    let select = crate::gate::select(&statements, source, diagnostics).ok_or(Reported)?;
    let mut binder = Binder::new(source, Scope::default(), Place::Join);
    binder.catalog = Some(catalog);
    let query = bind(name, options, &mut binder, select, clause, catalog, parts.word.start, end);
    diagnostics.append(&mut binder.diagnostics);
    query
}

/// The tokens of a text with one clause.
struct Parts<'s> {
    /// All but the clause.
    around: Vec<TokenWithSpan>,
    /// Those within the clause's parentheses.
    inside: &'s [TokenWithSpan],
    /// The parenthesis that closes it.
    close: &'s TokenWithSpan,
    /// Place of the word MATCH_RECOGNIZE.
    word: Range<usize>,
}

fn take_apart<'s>(source: &'s Source<'_>, diagnostics: &mut Vec<Diagnostic>) -> Bound<Parts<'s>> {
    let tokens = &source.tokens;
    let Some(at) = tokens.iter().position(|token| is_word(&token.token, "MATCH_RECOGNIZE")) else {
        let whole = 0..source.text.trim_end().len();
        let message = "there is no MATCH_RECOGNIZE clause";
        return fail(diagnostics, whole, message, "move a plain SELECT to the folder `queries/`");
    };
    let word = tokens.get(at).map_or(0..0, |token| source.token_span(token));
    if tokens.get(at + 1).is_none_or(|token| token.token != Token::LParen) {
        return fail(
            diagnostics,
            word,
            "MATCH_RECOGNIZE is followed by its clause in parentheses",
            "write MATCH_RECOGNIZE ( … )",
        );
    }
    let mut depth = 0_i32;
    for (close_at, close) in tokens.iter().enumerate().skip(at + 1) {
        depth += nesting(&close.token);
        if depth == 0 {
            let before = tokens.get(..at).unwrap_or_default();
            let after = tokens.get(close_at + 1..).unwrap_or_default();
            if let Some(second) = after.iter().find(|token| is_word(&token.token, "MATCH_RECOGNIZE")) {
                let span = source.token_span(second);
                return fail(diagnostics, span, "a pattern has one MATCH_RECOGNIZE clause", "write a file for each");
            }
            let inside = tokens.get(at + 2..close_at).unwrap_or_default();
            return Ok(Parts { around: before.iter().chain(after).cloned().collect(), inside, close, word });
        }
    }
    fail(diagnostics, word, "the clause's parenthesis isn't closed", "close it after DEFINE")
}

#[allow(clippy::too_many_arguments, reason = "each is a part of the text")]
fn bind(
    name: &str,
    options: &Parsed,
    binder: &mut Binder<'_>,
    select: &Select,
    clause: Bound<Clause>,
    catalog: &Catalog,
    word: usize,
    end: usize,
) -> Bound<Query> {
    let input = input(binder, select, word)?;
    let stream = catalog.streams.get(&input.stream).ok_or(Reported)?;
    let alias =
        std::mem::take(&mut binder.scope).tables.into_iter().next().map(|table| table.alias).unwrap_or_default();
    binder.scope = Scope { tables: vec![ScopeTable::stream("", &stream.schema)] };
    let clause = clause?;
    let checked = check(binder, &clause, stream, end)?;
    let matched = matched_columns(binder, &clause, &checked, stream)?;
    let columns = outer(binder, select, &alias, &matched)?;
    check_key(binder, options, &columns.columns)?;
    assemble(name, options, binder, Bind { input, stream, clause: &clause, checked, columns, matched })
}

/// FROM: the stream, and which of its rows.
struct Input {
    stream: String,
    filter: Option<Typed>,
}

fn input(binder: &mut Binder<'_>, select: &Select, word: usize) -> Bound<Input> {
    let from = match select.from.as_slice() {
        [one] if one.joins.is_empty() => one,
        [] => {
            let end = binder.source.text.trim_end().len();
            return binder.report(
                end..end,
                "the pattern reads no stream",
                "write SELECT … FROM stream MATCH_RECOGNIZE ( … )",
            );
        }
        [_, second, ..] => return no_joins(binder, second.relation.span()),
        [one] => return no_joins(binder, one.joins.first().map_or_else(|| one.span(), |join| join.relation.span())),
    };
    let (alias, inner) = match &from.relation {
        TableFactor::Derived { subquery, alias, lateral: false, .. } => (alias, Some(subquery)),
        TableFactor::Table { alias, .. } => (alias, None),
        _ => (&None, None),
    };
    if let Some(alias) = alias
        && let Some(span) = binder.source.span(alias.name.span).filter(|span| span.start < word)
    {
        let help = format!("write MATCH_RECOGNIZE ( … ) AS {}", alias.name.value);
        return binder.report(span, "an alias stands after the clause: it names the matches", help);
    }
    let Some(inner) = inner else {
        let table = binder.table(&from.relation)?;
        return Ok(Input { stream: binder.only_stream(&table)?, filter: None });
    };
    let mut diagnostics = Vec::new();
    let inner = crate::gate::inner(inner, binder.source, &mut diagnostics);
    binder.diagnostics.append(&mut diagnostics);
    let inner = inner.ok_or(Reported)?;
    let is_star = matches!(inner.projection.as_slice(), [SelectItem::Wildcard(_)]);
    let groups =
        !matches!(&inner.group_by, GroupByExpr::Expressions(list, _) if list.is_empty()) || inner.having.is_some();
    let table = match inner.from.as_slice() {
        [one] if one.joins.is_empty() && is_star && !groups && inner.distinct.is_none() => &one.relation,
        _ => {
            let span = binder.source.span(inner.span()).unwrap_or(0..0);
            let message = "the query before MATCH_RECOGNIZE may leave out rows and do nothing else";
            return binder.report(span, message, "write (SELECT * FROM stream WHERE condition)");
        }
    };
    let table = binder.table(table)?;
    let stream = binder.only_stream(&table)?;
    binder.place = Place::Where;
    let filter = inner.selection.as_ref().map(|filter| binder.condition(filter, "WHERE")).transpose()?;
    if let (Some(table), Some(alias)) = (binder.scope.tables.first_mut(), alias) {
        table.alias.clone_from(&alias.name.value);
    }
    Ok(Input { stream, filter })
}

fn no_joins<T>(binder: &mut Binder<'_>, span: sqlparser::tokenizer::Span) -> Bound<T> {
    let span = binder.source.span(span).unwrap_or(0..0);
    let message = "a pattern reads one stream; joins with it aren't supported";
    binder.report(span, message, "join in a row-by-row query, or where the result is read")
}

/// What SELECT may name: columns that rows carry, then measures. With ALL ROWS PER MATCH all columns of the stream are there.
fn matched_columns(
    binder: &mut Binder<'_>,
    clause: &Clause,
    checked: &Checked,
    stream: &StreamTable,
) -> Bound<Vec<Field>> {
    let is_key = |field: &Field| checked.partition_by.contains(field.name());
    let by_name = |name: &String| stream.schema.field_with_name(name).ok().cloned();
    let mut fields: Vec<Field> = checked.partition_by.iter().filter_map(by_name).collect();
    if clause.rows == RowsPerMatch::All {
        fields.extend(stream.schema.fields().iter().filter(|field| !is_key(field)).map(|field| field.as_ref().clone()));
    }
    let mut failed = false;
    for measure in &checked.measures {
        if fields.iter().any(|field| field.name().eq_ignore_ascii_case(&measure.name)) {
            let message = format!("`{}` is also a column that each row of the result carries", measure.name);
            failed |= binder.report::<()>(measure.span.clone(), message, "give the measure another name").is_err();
        }
    }
    if failed {
        return Err(Reported);
    }
    let measures = checked.measures.iter();
    fields.extend(
        measures.map(|measure| Field::new(&measure.name, measure.tree.data_type.clone(), measure.tree.nullable)),
    );
    Ok(fields)
}

/// What SELECT and WHERE around the clause say.
struct Outer {
    columns: Vec<Column>,
    filter: Option<Typed>,
}

fn outer(binder: &mut Binder<'_>, select: &Select, alias: &str, matched: &[Field]) -> Bound<Outer> {
    binder.scope = Scope { tables: vec![ScopeTable::stream(alias, &Schema::new(matched.to_vec()))] };
    binder.event_times.clear();
    binder.calls.clear();
    if select.distinct.is_some() {
        let span = binder.source.word("DISTINCT");
        return binder.report(span, "matches are told apart already", "remove DISTINCT");
    }
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(list, _) if list.is_empty());
    if grouped || select.having.is_some() {
        let words: &[&str] = if grouped { &["GROUP", "BY"] } else { &["HAVING"] };
        let span = binder.source.words(words);
        let message = "matches can't be grouped here";
        return binder.report(
            span,
            message,
            "aggregate within a match by MEASURES, and over matches where the result is read",
        );
    }
    binder.place = Place::Where;
    let filter = select.selection.as_ref().map(|filter| binder.condition(filter, "WHERE")).transpose();
    let selected = binder.selected(select);
    let (filter, selected) = (filter?, selected?);
    if selected.is_aggregate {
        let span = selected
            .columns
            .iter()
            .find(|column| holds_call(&column.value))
            .map_or(0..0, |column| column.value.span.clone());
        let message = "an aggregate over matches isn't supported";
        return binder.report(
            span,
            message,
            "aggregate within a match by MEASURES, and over matches where the result is read",
        );
    }
    binder.check_unique(&selected.columns)?;
    for column in &selected.columns {
        if let Some(own) = [FIRST_OFFSET, LAST_OFFSET].iter().find(|own| column.name.eq_ignore_ascii_case(own)) {
            let message = format!("`{own}` is a column that matches have of their own");
            return binder.report(column.span.clone(), message, format!("choose another name: AS {own}_value"));
        }
    }
    Ok(Outer { columns: selected.columns, filter })
}

fn holds_call(tree: &Typed) -> bool {
    let mut holds = false;
    tree.walk(&mut |node| holds |= matches!(node.kind, Kind::Call(_)));
    holds
}

struct Bind<'b> {
    input: Input,
    stream: &'b StreamTable,
    clause: &'b Clause,
    checked: Checked,
    columns: Outer,
    matched: Vec<Field>,
}

fn assemble(name: &str, options: &Parsed, binder: &mut Binder<'_>, bound: Bind<'_>) -> Bound<Query> {
    let Bind { input, stream, clause, checked, columns: Outer { mut columns, filter }, matched } = bound;
    let all = clause.rows == RowsPerMatch::All;
    let time_column = time_column(&columns, &checked, stream, all);
    let mut identity =
        vec![(SOURCE_PARTITION, DataType::Int32), (FIRST_OFFSET, DataType::Int64), (LAST_OFFSET, DataType::Int64)];
    if all {
        identity.push((SOURCE_OFFSET, DataType::Int64));
    }
    let outer = columns.iter().map(|column| &column.value).chain(&filter);
    let selected: Vec<String> = outer.flat_map(|tree| tree.read_columns().0).collect();
    let mut carried = checked.partition_by.clone();
    let is_of_stream = |field: &&Field| stream.schema.field_with_name(field.name()).is_ok();
    let is_measure = |name: &String| checked.measures.iter().any(|measure| measure.name == *name);
    for field in matched.iter().filter(is_of_stream) {
        let name = field.name();
        if selected.contains(name) && !carried.contains(name) && !is_measure(name) {
            carried.push(name.clone());
        }
    }
    let kept = |field: &&Field| carried.contains(field.name()) || is_measure(field.name());
    let mut matched_fields: Vec<Field> = matched.iter().filter(kept).cloned().collect();
    for (name, data_type) in &identity {
        matched_fields.push(Field::new(*name, data_type.clone(), false));
        columns.push(Column {
            name: (*name).to_owned(),
            value: Typed::column(name, data_type.clone(), false, 0..0),
            span: 0..0,
        });
    }
    let filter_columns = input.filter.iter().flat_map(|filter| filter.read_columns().0);
    let read: Vec<String> =
        filter_columns.chain(checked.read).chain(carried.iter().cloned()).chain([stream.event_time.clone()]).collect();
    let row_fields = stream.schema.fields().iter().filter(|field| read.contains(field.name()));
    let row_fields: Vec<Field> = row_fields.map(|field| field.as_ref().clone()).collect();
    let mut measures = Vec::new();
    for measure in checked.measures {
        measures.push((measure.name, expression(binder, measure.tree)?));
    }
    let pattern = Pattern {
        partition_by: checked.partition_by,
        event_time: stream.event_time.clone(),
        within_us: checked.within_us,
        variables: checked.variables,
        automaton: checked.automaton,
        skip: checked.skip,
        rows: clause.rows,
        tested: checked.tested,
        measured: checked.measured,
        measures,
        carried,
        matched_schema: Arc::new(Schema::new(matched_fields)),
    };
    let (output, schema) = result_columns(binder, columns)?;
    Ok(Query {
        name: name.to_owned(),
        text: binder.source.text.to_owned(),
        options: options.options.clone(),
        branches: vec![Branch {
            stream: input.stream,
            input_columns: row_fields.iter().map(|field| field.name().clone()).collect(),
            stream_join: None,
            joins: Vec::new(),
            row_schema: Arc::new(Schema::new(row_fields)),
            filter: input.filter.map(|filter| expression(binder, filter)).transpose()?,
            columns: None,
        }],
        inner: None,
        aggregate: None,
        having: filter.map(|filter| expression(binder, filter)).transpose()?,
        output,
        schema: Arc::new(schema),
        identity: identity.into_iter().map(|(name, _)| name.to_owned()).collect(),
        time_column,
        pattern: Some(Arc::new(pattern)),
        warnings: std::mem::take(&mut binder.warnings),
    })
}

/// The result column that tells the row's time: the event time of the row, or of the match's first or last row.
fn time_column(columns: &[Column], checked: &Checked, stream: &StreamTable, all: bool) -> Option<String> {
    let is_time = |column: &&Column| match &column.value.kind {
        Kind::Column(name) if all && *name == stream.event_time => true,
        Kind::Column(name) => checked.measures.iter().any(|measure| measure.name == *name && measure.is_time),
        _ => false,
    };
    columns.iter().find(is_time).map(|column| column.name.clone())
}
