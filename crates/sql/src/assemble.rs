//! A bound query as the plan that operators run.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema};

use crate::bind::{Binder, Bound, Reported, WindowKind};
use crate::diagnostic::list;
use crate::expression::Expression;
use crate::from::reported;
use crate::group::{aggregate, with_window_columns};
use crate::options::Parsed;
use crate::plan::{
    Branch, Emit, InnerAggregate, JOINED_OFFSET, JOINED_PARTITION, Join, JoinKind, Query, SOURCE_BRANCH, SOURCE_OFFSET,
    SOURCE_PARTITION, StreamJoin, WINDOW_END, WINDOW_START,
};
use crate::relation::{BranchDraft, Groups, Input, Relation, Rows};
use crate::select::Column;
use crate::stream_join::StreamJoinDraft;
use crate::typed::{Kind, Typed};

/// Compiles a query.
pub(crate) fn assemble(binder: &mut Binder<'_>, name: &str, options: &Parsed, relation: Relation) -> Bound<Query> {
    left_join_is_final(binder, options, &relation)?;
    let query = match relation {
        Relation::Rows(rows) => row_by_row(binder, rows)?,
        Relation::Groups(groups) => groups_of(binder, *groups)?,
    };
    check_key(binder, options, &query.columns)?;
    let (output, schema) = result_columns(binder, query.columns)?;
    Ok(Query {
        name: name.to_owned(),
        text: binder.source.text.to_owned(),
        options: options.options.clone(),
        branches: query.branches,
        inner: query.inner,
        aggregate: query.aggregate,
        having: query.having,
        output,
        schema: Arc::new(schema),
        identity: query.identity,
        time_column: query.time_column,
        pattern: None,
        warnings: std::mem::take(&mut binder.warnings),
    })
}

/// That a left row has no partner is known only when the time for it is over.
fn left_join_is_final(binder: &mut Binder<'_>, options: &Parsed, relation: &Relation) -> Bound<()> {
    let branches = match relation {
        Relation::Rows(rows) => &rows.branches,
        Relation::Groups(groups) => match &groups.input {
            Input::Rows(branches) => branches,
            Input::Groups(_) => return Ok(()),
        },
    };
    let mut joins = branches.iter().filter_map(|branch| branch.stream_join.as_ref());
    let Some(join) = joins.find(|join| join.kind == JoinKind::Left) else { return Ok(()) };
    if options.options.emit == Emit::Final {
        return Ok(());
    }
    let message = "a LEFT JOIN of two streams knows only when the time is over that a row has no partner";
    binder.report(join.span.clone(), message, "write `--! emit: final` into the first line, or JOIN")
}

/// A query but for its output expressions.
struct Parts {
    branches: Vec<Branch>,
    inner: Option<InnerAggregate>,
    aggregate: Option<crate::plan::Aggregate>,
    having: Option<Expression>,
    columns: Vec<Column>,
    identity: Vec<String>,
    time_column: Option<String>,
}

fn row_by_row(binder: &mut Binder<'_>, rows: Rows) -> Bound<Parts> {
    let event_times = rows.event_times();
    let Rows { branches, mut columns } = rows;
    let time_column =
        columns.iter().find(|column| event_times.contains(&column.value)).map(|column| column.name.clone());
    let over_row: Vec<Typed> = columns.iter().map(|column| column.value.clone()).collect();
    let mut positions = vec![(SOURCE_PARTITION, DataType::Int32, false), (SOURCE_OFFSET, DataType::Int64, false)];
    if branches.len() > 1 {
        positions.insert(0, (SOURCE_BRANCH, DataType::Int32, false));
    }
    if let Some(join) = branches.first().and_then(|branch| branch.stream_join.as_ref()) {
        let nullable = join.kind == JoinKind::Left;
        positions.extend([(JOINED_PARTITION, DataType::Int32, nullable), (JOINED_OFFSET, DataType::Int64, nullable)]);
    }
    let identity = positions.iter().map(|(name, ..)| (*name).to_owned()).collect();
    for (name, data_type, nullable) in positions {
        let value = Typed::column(name, data_type, nullable, 0..0);
        columns.push(Column { name: name.to_owned(), value, span: 0..0 });
    }
    let branches = compiled_branches(binder, branches, &over_row)?;
    Ok(Parts { branches, inner: None, aggregate: None, having: None, columns, identity, time_column })
}

fn groups_of(binder: &mut Binder<'_>, groups: Groups) -> Bound<Parts> {
    let columns = with_bounds(&groups);
    binder.check_unique(&columns)?;
    let identity = identity(binder, &groups, &columns)?;
    let grouped = aggregate(binder, &groups)?;
    let having = groups.having.clone().map(|having| expression(binder, having)).transpose()?;
    let (branches, inner) = match &groups.input {
        Input::Rows(branches) => (compiled_branches(binder, branches.clone(), &over_row(&groups))?, None),
        Input::Groups(inner) => {
            let Input::Rows(branches) = &inner.input else { return Err(Reported) };
            let branches = compiled_branches(binder, branches.clone(), &over_row(inner))?;
            (branches, Some(InnerAggregate { aggregate: aggregate(binder, inner)? }))
        }
    };
    let time_column = Some(WINDOW_START.to_owned());
    Ok(Parts { branches, inner, aggregate: Some(grouped), having, columns, identity, time_column })
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

fn names(trees: &[Typed]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in trees.iter().flat_map(|tree| tree.read_columns().0) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The branches, each reading no more than it needs for `read`, which is expressed over what the branches share.
fn compiled_branches(binder: &mut Binder<'_>, branches: Vec<BranchDraft>, read: &[Typed]) -> Bound<Vec<Branch>> {
    let is_union = branches.len() > 1;
    let shared = names(read);
    let mut compiled = Vec::new();
    for draft in branches {
        let columns = is_union.then(|| {
            let column = |name: &String| {
                let tree = read.iter().find_map(|tree| column_of(tree, name))?;
                Some((name.clone(), draft.over_row(tree)))
            };
            shared.iter().filter_map(column).collect::<Vec<_>>()
        });
        compiled.push(branch(binder, draft, read, columns)?);
    }
    Ok(compiled)
}

/// The column of this name where the tree reads it.
fn column_of(tree: &Typed, name: &str) -> Option<Typed> {
    let mut found = None;
    tree.walk(&mut |node| {
        if matches!(&node.kind, Kind::Column(column) if column == name) && found.is_none() {
            found = Some(node.clone());
        }
    });
    found
}

fn branch(
    binder: &mut Binder<'_>,
    draft: BranchDraft,
    read: &[Typed],
    columns: Option<Vec<(String, Typed)>>,
) -> Bound<Branch> {
    let mut trees: Vec<Typed> = match &columns {
        Some(columns) => columns.iter().map(|(_, value)| value.clone()).collect(),
        None => read.to_vec(),
    };
    trees.extend(draft.filter.clone());
    trees.extend(draft.joins.iter().flat_map(|join| join.keys.iter().chain(&join.as_of).cloned()));
    if let Some(join) = &draft.stream_join {
        trees.extend(join.keys.iter().flat_map(|(left, right)| [left.clone(), right.clone()]));
        trees.extend([join.left_time.clone(), join.right_time.clone()]);
    }
    let read = names(&trees);
    let is_read = |column: &str| read.iter().any(|name| name == column);
    let fields = draft.schema.fields().iter().filter(|field| is_read(field.name()));
    let mut row_fields: Vec<Field> = fields.map(|field| field.as_ref().clone()).collect();
    let input_columns = row_fields.iter().map(|field| field.name().clone()).collect();
    let stream_join = match draft.stream_join {
        Some(join) => Some(stream_join(binder, join, &is_read, &mut row_fields)?),
        None => None,
    };
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
    let columns = match columns {
        None => None,
        Some(columns) => {
            let mut compiled = Vec::new();
            for (name, value) in columns {
                compiled.push((name, expression(binder, value)?));
            }
            Some(compiled)
        }
    };
    let row_schema = Arc::new(Schema::new(row_fields));
    Ok(Branch { stream: draft.stream, input_columns, stream_join, joins, row_schema, filter, columns })
}

/// A join of two streams, whose columns are appended to the row.
fn stream_join(
    binder: &mut Binder<'_>,
    draft: StreamJoinDraft,
    is_read: &impl Fn(&str) -> bool,
    row_fields: &mut Vec<Field>,
) -> Bound<StreamJoin> {
    let (mut input_columns, mut output_columns) = (Vec::new(), Vec::new());
    for column in &draft.columns {
        let Some(row_name) = column.row_name().filter(|name| is_read(name)) else { continue };
        row_fields.push(Field::new(row_name, column.value.data_type.clone(), column.value.nullable));
        input_columns.push(column.name.clone());
        output_columns.push(row_name.to_owned());
    }
    let mut keys = Vec::new();
    for (left, right) in draft.keys {
        keys.push((expression(binder, left)?, expression(binder, right)?));
    }
    Ok(StreamJoin {
        stream: draft.stream,
        kind: draft.kind,
        input_columns,
        output_columns,
        keys,
        left_time: expression(binder, draft.left_time)?,
        right_time: expression(binder, draft.right_time)?,
        lower_us: draft.lower_us,
        upper_us: draft.upper_us,
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
