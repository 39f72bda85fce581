//! A bound query as the plan that operators run.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};

use crate::bind::{Binder, Bound, Reported, WindowKind};
use crate::diagnostic::list;
use crate::expression::Expression;
use crate::from::reported;
use crate::group::{aggregate, with_window_columns};
use crate::options::Parsed;
use crate::plan::{Aggregate, Join, Query, SOURCE_OFFSET, SOURCE_PARTITION, WINDOW_END, WINDOW_START};
use crate::relation::{Groups, Relation, Rows, StreamDraft};
use crate::select::Column;
use crate::typed::{Kind, Typed};

/// Compiles a query.
pub(crate) fn assemble(binder: &mut Binder<'_>, name: &str, options: &Parsed, relation: Relation) -> Bound<Query> {
    let parts = match relation {
        Relation::Rows(rows) => row_by_row(binder, *rows)?,
        Relation::Groups(groups) => groups_of(binder, *groups)?,
    };
    let Parts { row, aggregate, having, columns, identity, time_column } = parts;
    check_key(binder, options, &columns)?;
    let (output, schema) = result_columns(binder, columns)?;
    Ok(Query {
        name: name.to_owned(),
        text: binder.source.text.to_owned(),
        options: options.options.clone(),
        stream: row.stream,
        input_columns: row.input_columns,
        joins: row.joins,
        row_schema: row.schema,
        filter: row.filter,
        aggregate,
        having,
        output,
        schema: Arc::new(schema),
        identity,
        time_column,
        pattern: None,
        warnings: std::mem::take(&mut binder.warnings),
    })
}

/// A query but for its output expressions.
struct Parts {
    row: Row,
    aggregate: Option<Aggregate>,
    having: Option<Expression>,
    columns: Vec<Column>,
    identity: Vec<String>,
    time_column: Option<String>,
}

/// The joined row.
struct Row {
    stream: String,
    input_columns: Vec<String>,
    joins: Vec<Join>,
    schema: SchemaRef,
    filter: Option<Expression>,
}

fn row_by_row(binder: &mut Binder<'_>, rows: Rows) -> Bound<Parts> {
    let Rows { input, mut columns } = rows;
    let time_column = columns.iter().find(|column| column.value == input.event_time).map(|column| column.name.clone());
    let over_row: Vec<Typed> = columns.iter().map(|column| column.value.clone()).collect();
    for (name, data_type) in [(SOURCE_PARTITION, DataType::Int32), (SOURCE_OFFSET, DataType::Int64)] {
        let value = Typed::column(name, data_type, false, 0..0);
        columns.push(Column { name: name.to_owned(), value, span: 0..0 });
    }
    let identity = vec![SOURCE_PARTITION.to_owned(), SOURCE_OFFSET.to_owned()];
    let row = row(binder, input, &over_row)?;
    Ok(Parts { row, aggregate: None, having: None, columns, identity, time_column })
}

fn groups_of(binder: &mut Binder<'_>, groups: Groups) -> Bound<Parts> {
    let columns = with_bounds(&groups);
    binder.check_unique(&columns)?;
    let identity = identity(binder, &groups, &columns)?;
    let aggregate = aggregate(binder, &groups)?;
    let read = over_row(&groups);
    let having = groups.having.map(|having| expression(binder, having)).transpose()?;
    let row = row(binder, groups.input, &read)?;
    let time_column = Some(WINDOW_START.to_owned());
    Ok(Parts { row, aggregate: Some(aggregate), having, columns, identity, time_column })
}

/// The columns with both bounds of the window, which an outer query may have left out.
fn with_bounds(groups: &Groups) -> Vec<Column> {
    let mut columns = with_window_columns(groups.columns.clone());
    for column in &mut columns {
        let name = match column.value.kind {
            Kind::WindowStart => WINDOW_START,
            Kind::WindowEnd => WINDOW_END,
            _ => continue,
        };
        column.value = Typed::column(name, column.value.data_type.clone(), false, column.span.clone());
    }
    columns
}

/// The columns that tell groups apart: the window's bounds and the keys under the names that they have in the result.
fn identity(binder: &mut Binder<'_>, groups: &Groups, columns: &[Column]) -> Bound<Vec<String>> {
    // A session's end moves with each of its rows.
    let mut identity = match groups.window.kind {
        WindowKind::Fixed { .. } => vec![WINDOW_START.to_owned(), WINDOW_END.to_owned()],
        WindowKind::Session { .. } => vec![WINDOW_START.to_owned()],
    };
    let mut failed = false;
    for (name, key) in &groups.keys {
        let is_key = |column: &&Column| matches!(&column.value.kind, Kind::Column(found) if found == name);
        match columns.iter().find(is_key) {
            Some(column) => identity.push(column.name.clone()),
            None => {
                let message = format!(
                    "`{name}` is grouped by and isn't a column of the result, so its rows couldn't be told apart"
                );
                let help = format!("add {name} to the outer SELECT");
                failed |= reported(binder.report::<()>(key.span.clone(), message, help)).is_none();
            }
        }
    }
    if failed { Err(Reported) } else { Ok(identity) }
}

/// What a grouping reads of its input.
fn over_row(groups: &Groups) -> Vec<Typed> {
    let mut trees: Vec<Typed> = groups.keys.iter().map(|(_, key)| key.clone()).collect();
    trees.extend(groups.calls.iter().flat_map(|(_, call)| [call.argument.clone(), call.order.clone()]).flatten());
    trees.push(groups.window.time.clone());
    trees
}

/// The joined row with the columns that `read` and its own filter and joins need, and no more.
fn row(binder: &mut Binder<'_>, draft: StreamDraft, read: &[Typed]) -> Bound<Row> {
    let of_joins = draft.joins.iter().flat_map(|join| join.keys.iter().chain(&join.as_of));
    let names: Vec<String> =
        read.iter().chain(&draft.filter).chain(of_joins).flat_map(|tree| tree.read_columns().0).collect();
    let is_read = |column: &str| names.iter().any(|name| name == column);
    let fields = draft.schema.fields().iter().filter(|field| is_read(field.name()));
    let mut row_fields: Vec<Field> = fields.map(|field| field.as_ref().clone()).collect();
    let input_columns = row_fields.iter().map(|field| field.name().clone()).collect();
    let mut joins = Vec::new();
    for join in draft.joins {
        let (mut reference_columns, mut output_columns) = (Vec::new(), Vec::new());
        for column in &join.columns {
            let Some(row_name) = column.row_name().filter(|name| is_read(name)) else { continue };
            row_fields.push(Field::new(row_name, column.value.data_type.clone(), column.value.nullable));
            reference_columns.push(column.name.clone());
            output_columns.push(row_name.to_owned());
        }
        let mut stream_keys = Vec::new();
        for key in join.keys {
            stream_keys.push(expression(binder, key)?);
        }
        let as_of = join.as_of.map(|time| expression(binder, time)).transpose()?;
        let (reference, kind) = (join.reference, join.kind);
        joins.push(Join { reference, kind, stream_keys, as_of, reference_columns, output_columns });
    }
    let filter = draft.filter.map(|filter| expression(binder, filter)).transpose()?;
    Ok(Row { stream: draft.stream, input_columns, joins, schema: Arc::new(Schema::new(row_fields)), filter })
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
