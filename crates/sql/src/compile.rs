//! Text to plan.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use crate::bind::{Binder, Bound, Place, Reported};
use crate::diagnostic::{Diagnostic, list};
use crate::dialect::Portable;
use crate::expression::Expression;
use crate::from::{From, both, reported};
use crate::options::{self, Parsed};
use crate::plan::{Catalog, Join, Query, SOURCE_OFFSET, SOURCE_PARTITION, StreamTable};
use crate::scope::{Scope, ScopeTable};
use crate::select::{Column, Selected};
use crate::source::Source;
use crate::typed::{Kind, Typed};

/// Compiles a query: `name` is its file's name, `text` begins with its options.
///
/// # Errors
/// All that is wrong, in the order of the text.
pub fn compile(name: &str, text: &str, catalog: &Catalog) -> Result<Query, Vec<Diagnostic>> {
    let mut diagnostics = Vec::new();
    let options = options::parse(text, &mut diagnostics);
    let result = parsed(text, &mut diagnostics).and_then(|(source, statements)| {
        let select = crate::gate::select(&statements, &source, &mut diagnostics).ok_or(Reported)?;
        let mut binder = Binder::new(&source, Scope::default(), Place::Select);
        let query = bind_query(name, &options, select, catalog, &mut binder);
        diagnostics.append(&mut binder.diagnostics);
        query
    });
    finish(result, diagnostics)
}

/// Compiles a rule over the columns of a stream.
pub(crate) fn compile_condition(text: &str, schema: &SchemaRef) -> Result<Expression, Vec<Diagnostic>> {
    let mut diagnostics = Vec::new();
    let scope = Scope { tables: vec![ScopeTable::stream("", schema)] };
    let result =
        Source::new(text).map_err(|problems| diagnostics.extend(problems)).map_err(|()| Reported).and_then(|source| {
            let mut parser = Parser::new(&Portable).with_tokens_with_locations(source.tokens.clone());
            let expr = parser.parse_expr().and_then(|expr| parser.expect_token(&Token::EOF).map(|_| expr));
            let expr = expr.map_err(|error| {
                diagnostics.push(source.parse_error(&error));
                Reported
            })?;
            let mut binder = Binder::new(&source, scope, Place::Rule);
            let bound = binder.condition(&expr, "a rule").and_then(|tree| expression(&mut binder, tree));
            diagnostics.append(&mut binder.diagnostics);
            bound
        });
    finish(result, diagnostics)
}

/// The result if nothing is wrong.
pub(crate) fn finish<T>(result: Bound<T>, mut diagnostics: Vec<Diagnostic>) -> Result<T, Vec<Diagnostic>> {
    diagnostics.sort_by_key(|diagnostic| (diagnostic.span.start, diagnostic.span.end));
    diagnostics.dedup();
    match result {
        Ok(value) if diagnostics.is_empty() => Ok(value),
        _ if diagnostics.is_empty() => {
            Err(vec![Diagnostic::new(0..0, "the text could not be compiled, and no reason is known")])
        }
        _ => Err(diagnostics),
    }
}

fn parsed<'a>(text: &'a str, diagnostics: &mut Vec<Diagnostic>) -> Bound<(Source<'a>, Vec<sqlparser::ast::Statement>)> {
    let source = Source::new(text).map_err(|problems| {
        diagnostics.extend(problems);
        Reported
    })?;
    let mut parser = Parser::new(&Portable).with_tokens_with_locations(source.tokens.clone());
    match parser.parse_statements() {
        Ok(statements) => Ok((source, statements)),
        Err(error) => {
            diagnostics.push(source.parse_error(&error));
            Err(Reported)
        }
    }
}

fn bind_query(
    name: &str,
    options: &Parsed,
    select: &sqlparser::ast::Select,
    catalog: &Catalog,
    binder: &mut Binder<'_>,
) -> Bound<Query> {
    let from = binder.from(&select.from, catalog)?;
    let stream = catalog.streams.get(&from.stream).ok_or(Reported)?;
    binder.place = Place::Where;
    binder.alias_names =
        select.projection.iter().filter_map(crate::select::alias).map(|alias| alias.value.clone()).collect();
    let filter = select.selection.as_ref().map(|filter| binder.condition(filter, "WHERE")).transpose();
    let selected = binder.selected(select);
    let (filter, selected) = (filter?, selected?);
    let condition = from.conditions.iter().cloned().fold(None, |all, next| Some(both(all, next)));
    let filter = match filter {
        Some(filter) => Some(both(condition, filter)),
        None => condition,
    };
    let parts = if selected.is_aggregate {
        crate::group::aggregate(binder, selected, stream)?
    } else {
        row_by_row(binder, selected, stream)?
    };
    check_key(binder, options, &parts.columns)?;
    assemble(name, options, binder, from, stream, filter, parts)
}

/// What a query does with the joined rows.
pub(crate) struct Parts {
    pub(crate) aggregate: Option<crate::plan::Aggregate>,
    pub(crate) having: Option<Expression>,
    pub(crate) columns: Vec<Column>,
    pub(crate) identity: Vec<String>,
    pub(crate) time_column: Option<String>,
    /// Trees over the joined row, which tell the columns that are read.
    pub(crate) over_row: Vec<Typed>,
}

fn row_by_row(binder: &mut Binder<'_>, selected: Selected, stream: &StreamTable) -> Bound<Parts> {
    let mut columns = selected.columns;
    binder.check_unique(&columns)?;
    let over_row = columns.iter().map(|column| column.value.clone()).collect();
    let is_time = |column: &&Column| matches!(&column.value.kind, Kind::Column(name) if *name == stream.event_time);
    let time_column = columns.iter().find(is_time).map(|column| column.name.clone());
    for (name, data_type) in [(SOURCE_PARTITION, DataType::Int32), (SOURCE_OFFSET, DataType::Int64)] {
        columns.push(Column { name: name.to_owned(), value: Typed::column(name, data_type, false, 0..0), span: 0..0 });
    }
    Ok(Parts {
        aggregate: None,
        having: None,
        columns,
        identity: vec![SOURCE_PARTITION.to_owned(), SOURCE_OFFSET.to_owned()],
        time_column,
        over_row,
    })
}

/// The columns of the option `key` are columns of the result.
pub(crate) fn check_key(binder: &mut Binder<'_>, options: &Parsed, columns: &[Column]) -> Bound<()> {
    let Some(key) = &options.options.key else { return Ok(()) };
    let names = || columns.iter().map(|column| column.name.as_str());
    let mut failed = false;
    for (name, span) in key.iter().zip(&options.key_spans) {
        if names().any(|known| known == name) {
            continue;
        }
        let help = match crate::diagnostic::nearest(name, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("its columns are {}", list(names())),
        };
        failed |=
            reported(binder.report::<()>(span.clone(), format!("the result has no column `{name}`"), help)).is_none();
    }
    if failed { Err(Reported) } else { Ok(()) }
}

#[allow(clippy::too_many_arguments, reason = "each is a clause of the query")]
fn assemble(
    name: &str,
    options: &Parsed,
    binder: &mut Binder<'_>,
    from: From,
    stream: &StreamTable,
    filter: Option<Typed>,
    parts: Parts,
) -> Bound<Query> {
    let mut read: Vec<String> = Vec::new();
    let of_joins = from.joins.iter().flat_map(|join| join.keys.iter().chain(&join.as_of));
    let trees = parts.over_row.iter().chain(&filter).chain(of_joins);
    for tree in trees {
        read.extend(tree.read_columns().0);
    }
    let is_read = |column: &str| read.iter().any(|name| name == column);
    let fields = stream.schema.fields().iter().filter(|field| is_read(field.name()));
    let mut row_fields: Vec<Field> = fields.map(|field| field.as_ref().clone()).collect();
    let input_columns = row_fields.iter().map(|field| field.name().clone()).collect();
    let mut joins = Vec::new();
    for draft in from.joins {
        let (mut reference_columns, mut output_columns) = (Vec::new(), Vec::new());
        let table = binder.scope.table(&draft.alias).cloned();
        for column in table.iter().flat_map(|table| &table.columns).filter(|column| is_read(&column.row_name)) {
            row_fields.push(Field::new(&column.row_name, column.data_type.clone(), column.nullable));
            reference_columns.push(column.name.clone());
            output_columns.push(column.row_name.clone());
        }
        let mut stream_keys = Vec::new();
        for key in draft.keys {
            stream_keys.push(expression(binder, key)?);
        }
        let as_of = draft.as_of.map(|time| expression(binder, time)).transpose()?;
        let reference = draft.reference;
        joins.push(Join { reference, kind: draft.kind, stream_keys, as_of, reference_columns, output_columns });
    }
    let filter = filter.map(|filter| expression(binder, filter)).transpose()?;
    let (output, schema) = result_columns(binder, parts.columns)?;
    Ok(Query {
        name: name.to_owned(),
        text: binder.source.text.to_owned(),
        options: options.options.clone(),
        stream: from.stream,
        input_columns,
        joins,
        row_schema: Arc::new(Schema::new(row_fields)),
        filter,
        aggregate: parts.aggregate,
        having: parts.having,
        output,
        schema: Arc::new(schema),
        identity: parts.identity,
        time_column: parts.time_column,
        pattern: None,
        warnings: std::mem::take(&mut binder.warnings),
    })
}

/// The columns of a result with their expressions, and their schema.
pub(crate) fn result_columns(
    binder: &mut Binder<'_>,
    columns: Vec<Column>,
) -> Bound<(Vec<(String, Expression)>, Schema)> {
    let mut output = Vec::new();
    let mut fields = Vec::new();
    for column in columns {
        if column.value.data_type == DataType::Null {
            let message = format!("the column `{}` is NULL without a type", column.name);
            return binder.report(column.span, message, "write CAST(NULL AS STRING) or another type");
        }
        fields.push(Field::new(&column.name, column.value.data_type.clone(), column.value.nullable));
        output.push((column.name, expression(binder, column.value)?));
    }
    Ok((output, Schema::new(fields)))
}

/// Compiles a tree; that it can't be is a bug, which is reported like a mistake rather than by a panic.
pub(crate) fn expression(binder: &mut Binder<'_>, tree: Typed) -> Bound<Expression> {
    let span = tree.span.clone();
    match Expression::new(tree) {
        Ok(expression) => Ok(expression),
        Err(message) => {
            let help = "this is a fault of Tillstream: please report it with the query";
            binder.report(span, format!("the expression could not be compiled: {message}"), help)
        }
    }
}
