//! FROM: a stream or a query, and reference tables joined by their keys.

use std::ops::Range;
use std::sync::Arc;

use arrow_schema::DataType;
use datafusion_common::ScalarValue;
use sqlparser::ast::{
    BinaryOperator, Expr, Join as SqlJoin, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, Spanned as _,
    TableFactor, TableWithJoins,
};

use crate::bind::{Binder, Bound, Place, Reported, WindowKind, a_type, case, coerce, window_time};
use crate::diagnostic::{list, nearest};
use crate::plan::{Catalog, JoinKind, ReferenceTable};
use crate::relation::{BranchDraft, Groups, Relation};
use crate::scope::{Scope, ScopeColumn, ScopeTable};
use crate::select::Column;
use crate::typed::{Comparison, Kind, Typed};
use crate::types;

/// A join before it is known which columns are read.
#[derive(Debug, Clone)]
pub(crate) struct JoinDraft {
    pub(crate) reference: String,
    /// What its columns are called in the row: `prefix.column`.
    pub(crate) prefix: String,
    pub(crate) kind: JoinKind,
    /// The table's columns.
    pub(crate) columns: Vec<ScopeColumn>,
    /// One per key column of the reference, of that column's type.
    pub(crate) keys: Vec<Typed>,
    /// The stream's event time, if the table's rows are valid for a time.
    pub(crate) as_of: Option<Typed>,
}

/// What FROM gives.
#[derive(Debug)]
pub(crate) enum Origin {
    Rows(Vec<BranchDraft>),
    Groups(Box<Groups>),
}

/// A table's name and alias as written.
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) alias: String,
    pub(crate) span: Range<usize>,
}

impl Binder<'_> {
    /// Binds FROM and puts its tables into the scope. Gives the rows, and the conditions in ON of inner joins that aren't key equalities:
    /// they filter the joined rows.
    pub(crate) fn from(&mut self, from: &[TableWithJoins]) -> Bound<(Origin, Vec<Typed>)> {
        self.place = Place::Join;
        let first = match from {
            [first] => first,
            [] => {
                let end = self.source.text.trim_end().len();
                let streams = self.catalog.map(|catalog| list(catalog.streams.keys().map(String::as_str)));
                let help = format!("write FROM and the stream: {}", streams.unwrap_or_default());
                return self.report(end..end, "the query reads no stream", help);
            }
            [_, second, ..] => {
                let span = self.source.span(second.relation.span()).unwrap_or(0..0);
                return self.report(
                    span,
                    "tables are joined by JOIN … ON, not by commas",
                    "write JOIN table ON stream.key = table.key",
                );
            }
        };
        let mut origin = self.first(&first.relation)?;
        let mut conditions = Vec::new();
        for join in &first.joins {
            match &mut origin {
                Origin::Rows(branches) => self.join(join, branches, &mut conditions)?,
                Origin::Groups(_) => {
                    let span = self.source.span(join.relation.span()).unwrap_or(0..0);
                    let help = "join in the inner query, before its GROUP BY";
                    return self.report(span, "groups can't be joined any more", help);
                }
            }
        }
        Ok((origin, conditions))
    }

    /// What stands first in FROM: a stream, a query, or one of WITH.
    fn first(&mut self, factor: &TableFactor) -> Bound<Origin> {
        if let TableFactor::Derived { lateral: false, subquery, alias, sample: None } = factor {
            let span = self.source.span(factor.span()).unwrap_or(0..0);
            if alias.as_ref().is_some_and(|alias| !alias.columns.is_empty()) {
                return self.report(span, "columns aren't named here", "name them within: SELECT … AS name");
            }
            let alias = alias.as_ref().map_or_else(String::new, |alias| alias.name.value.clone());
            let relation = self.query(subquery)?;
            return Ok(self.origin(&alias, relation));
        }
        let table = self.table(factor)?;
        let named = self.tables.iter().find(|(name, _)| name.eq_ignore_ascii_case(&table.name)).cloned();
        match named {
            Some((_, Some(relation))) => Ok(self.origin(&table.alias, relation)),
            Some((_, None)) => Err(Reported),
            None => self.stream(&table),
        }
    }

    /// Puts the columns of a query into the scope.
    fn origin(&mut self, alias: &str, relation: Relation) -> Origin {
        let column = |column: &Column| ScopeColumn::of(&column.name, column.value.clone());
        let columns = relation.columns().iter().map(column).collect();
        self.scope = Scope { tables: vec![ScopeTable { alias: alias.to_owned(), columns }] };
        match relation {
            Relation::Rows(rows) => {
                self.event_times = rows.event_times();
                Origin::Rows(rows.branches)
            }
            Relation::Groups(groups) => {
                self.inner_window = Some(groups.window.kind);
                self.event_times = match groups.window.kind {
                    WindowKind::Fixed { .. } => vec![window_time(0..0)],
                    WindowKind::Session { .. } => Vec::new(),
                };
                Origin::Groups(groups)
            }
        }
    }

    pub(crate) fn table(&mut self, factor: &TableFactor) -> Bound<Named> {
        let span = self.source.span(factor.span()).unwrap_or(0..0);
        let TableFactor::Table {
            name,
            alias,
            args: None,
            with_hints,
            version: None,
            with_ordinality: false,
            partitions,
            json_path: None,
            sample: None,
            index_hints,
        } = factor
        else {
            let (message, help) = match factor {
                TableFactor::Derived { .. } => {
                    ("a query can't be joined here", "put it first in FROM, and join reference tables to it")
                }
                TableFactor::Table { args: Some(_), .. }
                | TableFactor::TableFunction { .. }
                | TableFactor::Function { .. } => (
                    "functions of tables aren't supported",
                    "for windows write GROUP BY window(event_time, '1 minute')",
                ),
                TableFactor::MatchRecognize { .. } => {
                    ("patterns aren't queries", "they have a folder of their own, `patterns/`")
                }
                _ => ("this form of FROM isn't supported", "write FROM stream [JOIN reference ON …]"),
            };
            return self.report(span, message, help);
        };
        let plain = with_hints.is_empty() && partitions.is_empty() && index_hints.is_empty();
        if !plain || alias.as_ref().is_some_and(|alias| !alias.columns.is_empty() || alias.at.is_some()) {
            return self.report(span, "this form of FROM isn't supported", "write FROM stream AS alias");
        }
        let Some(name) = plain_name(name) else {
            return self.report(
                span,
                "a table has a plain name",
                "streams and reference tables are named in tillstream.yaml",
            );
        };
        if let Some(alias) = alias
            && alias.name.value.eq_ignore_ascii_case("asof")
        {
            let span = self.ident_span(&alias.name);
            return self.report(
                span,
                "ASOF joins aren't supported",
                "reference tables join by key, at the version of the row's time",
            );
        }
        let alias = alias.as_ref().map_or_else(|| name.clone(), |alias| alias.name.value.clone());
        Ok(Named { name, alias, span })
    }

    /// The stream of this name, whose columns become the scope.
    pub(crate) fn only_stream(&mut self, table: &Named) -> Bound<String> {
        match self.stream(table)? {
            Origin::Rows(branches) => branches.into_iter().next().map(|branch| branch.stream).ok_or(Reported),
            Origin::Groups(_) => Err(Reported),
        }
    }

    fn stream(&mut self, table: &Named) -> Bound<Origin> {
        let Some(catalog) = self.catalog else { return Err(Reported) };
        let found = catalog.streams.iter().find(|(name, _)| name.eq_ignore_ascii_case(&table.name));
        if let Some((name, stream)) = found {
            let column = stream.schema.field_with_name(&stream.event_time).ok();
            let (data_type, nullable) =
                column.map_or((types::timestamp(), true), |field| (field.data_type().clone(), field.is_nullable()));
            let event_time = Typed::column(&stream.event_time, data_type, nullable, 0..0);
            self.event_times = vec![event_time.clone()];
            self.scope = Scope { tables: vec![ScopeTable::stream(&table.alias, &stream.schema)] };
            return Ok(Origin::Rows(vec![BranchDraft {
                stream: name.clone(),
                schema: Arc::clone(&stream.schema),
                stream_join: None,
                joins: Vec::new(),
                filter: None,
                event_time,
                values: Vec::new(),
            }]));
        }
        let streams = || catalog.streams.keys().map(String::as_str);
        if catalog.references.keys().any(|name| name.eq_ignore_ascii_case(&table.name)) {
            let help =
                format!("put the stream first: FROM {} JOIN {}", streams().next().unwrap_or("stream"), table.name);
            return self.report(
                table.span.clone(),
                format!("`{}` is a reference table, and a query reads a stream", table.name),
                help,
            );
        }
        let help = match nearest(&table.name, streams().chain(self.tables.iter().map(|(name, _)| name.as_str()))) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the streams are {}", list(streams())),
        };
        self.report(table.span.clone(), format!("there is no stream `{}`", table.name), help)
    }

    fn join(&mut self, join: &SqlJoin, branches: &mut [BranchDraft], conditions: &mut Vec<Typed>) -> Bound<()> {
        let Some(catalog) = self.catalog else { return Err(Reported) };
        let table = self.table(&join.relation)?;
        let (kind, constraint) = match &join.join_operator {
            JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => (JoinKind::Inner, constraint),
            JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => (JoinKind::Left, constraint),
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) | JoinOperator::FullOuter(_) => {
                let message = "a stream joins by INNER or LEFT: rows of a reference table alone have no time";
                return self.report(table.span, message, "write JOIN or LEFT JOIN");
            }
            _ => {
                return self.report(
                    table.span,
                    "this kind of join isn't supported",
                    "write JOIN or LEFT JOIN … ON stream.key = table.key",
                );
            }
        };
        let stream = catalog.streams.iter().find(|(name, _)| name.eq_ignore_ascii_case(&table.name));
        if let Some((name, stream)) = stream {
            return self.stream_join(&table, (name, stream), kind, constraint, branches, conditions);
        }
        let found = catalog.references.iter().find(|(name, _)| name.eq_ignore_ascii_case(&table.name));
        let Some((name, reference)) = found else { return self.unknown_reference(&table, catalog) };
        if self.scope.table(&table.alias).is_some() {
            let message = format!("the name `{}` is there twice", table.alias);
            return self.report(table.span, message, format!("give it an alias: {} AS other", table.name));
        }
        let using = self.using(constraint, &table, reference)?;
        let nullable = kind == JoinKind::Left;
        let prefix = free_prefix(&table.alias, branches);
        let mut scope_table = ScopeTable::reference(&table.alias, &prefix, &reference.schema, nullable);
        let columns = scope_table.columns.clone();
        for (column, _) in &using {
            scope_table.columns.iter_mut().filter(|known| known.name == *column).for_each(|known| known.hidden = true);
        }
        self.scope.tables.push(scope_table);
        let mut equalities = using;
        match constraint {
            JoinConstraint::On(condition) => self.on(condition, &prefix, kind, &mut equalities, conditions)?,
            JoinConstraint::Using(_) => {}
            JoinConstraint::Natural | JoinConstraint::None => {
                let key = reference.key.first().map_or("key", String::as_str);
                let message = format!("the join with `{}` has no condition", table.name);
                let help = self.key_advice(&table, key);
                return self.report(table.span, message, help);
            }
        }
        let keys = self.key(&table, reference, kind, equalities, conditions)?;
        for branch in branches {
            let keys = keys.iter().map(|key| branch.over_row(key.clone())).collect();
            let as_of = reference.has_validity.then(|| branch.event_time.clone());
            let (reference, prefix, columns) = (name.clone(), prefix.clone(), columns.clone());
            branch.joins.push(JoinDraft { reference, prefix, kind, columns, keys, as_of });
        }
        Ok(())
    }

    fn unknown_reference(&mut self, table: &Named, catalog: &Catalog) -> Bound<()> {
        if self.tables.iter().any(|(name, _)| name.eq_ignore_ascii_case(&table.name)) {
            let help = "put it first in FROM, and join reference tables to it";
            return self.report(table.span.clone(), "a query can't be joined here", help);
        }
        let names = || catalog.references.keys().map(String::as_str);
        let help = match nearest(&table.name, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the reference tables are {}", list(names())),
        };
        self.report(table.span.clone(), format!("there is no reference table `{}`", table.name), help)
    }

    /// The columns of USING with their values on the left.
    fn using(
        &mut self,
        constraint: &JoinConstraint,
        table: &Named,
        reference: &ReferenceTable,
    ) -> Bound<Vec<(String, Typed)>> {
        let JoinConstraint::Using(columns) = constraint else { return Ok(Vec::new()) };
        let mut equalities = Vec::new();
        for column in columns {
            let span = self.source.span(column.span()).unwrap_or_else(|| table.span.clone());
            let name = plain_name(column).unwrap_or_default();
            let right = reference.schema.fields().iter().find(|field| field.name().eq_ignore_ascii_case(&name));
            let Some(right) = right else {
                let help = format!("its key is {}", list(reference.key.iter().map(String::as_str)));
                return self.report(span, format!("`{}` has no column `{name}`", table.name), help);
            };
            let ident = sqlparser::ast::Ident::with_span(column.span(), name);
            equalities.push((right.name().clone(), self.bind(&Expr::Identifier(ident))?));
        }
        Ok(equalities)
    }

    /// Takes ON apart: equalities of a column of the table with a value of the row so far, and other conditions.
    fn on(
        &mut self,
        condition: &Expr,
        prefix: &str,
        kind: JoinKind,
        equalities: &mut Vec<(String, Typed)>,
        conditions: &mut Vec<Typed>,
    ) -> Bound<()> {
        match condition {
            Expr::Nested(inner) => return self.on(inner, prefix, kind, equalities, conditions),
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                let left = self.on(left, prefix, kind, equalities, conditions);
                let right = self.on(right, prefix, kind, equalities, conditions);
                return left.and(right);
            }
            Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
                let (left, right) = (self.bind(left), self.bind(right));
                let (left, right) = (left?, right?);
                let own = format!("{prefix}.");
                let of_table = |side: &Typed| match &side.kind {
                    Kind::Column(name) => name.strip_prefix(&own).map(str::to_owned),
                    _ => None,
                };
                let reads_table = |side: &Typed| side.read_columns().0.iter().any(|name| name.starts_with(&own));
                match (of_table(&left), of_table(&right)) {
                    (Some(column), None) if !reads_table(&right) => {
                        equalities.push((column, right));
                        return Ok(());
                    }
                    (None, Some(column)) if !reads_table(&left) => {
                        equalities.push((column, left));
                        return Ok(());
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        let bound = self.condition(condition, "ON")?;
        if kind == JoinKind::Left {
            let message = "ON of a LEFT JOIN holds only equalities with the table's key";
            let help = "use CASE in SELECT for other conditions, or WHERE to drop rows";
            return self.report(bound.span, message, help);
        }
        conditions.push(bound);
        Ok(())
    }

    /// The values for the reference's key, in its order.
    fn key(
        &mut self,
        table: &Named,
        reference: &ReferenceTable,
        kind: JoinKind,
        mut equalities: Vec<(String, Typed)>,
        conditions: &mut Vec<Typed>,
    ) -> Bound<Vec<Typed>> {
        let mut keys = Vec::new();
        for column in &reference.key {
            let Some(at) = equalities.iter().position(|(name, _)| name == column) else {
                let key = list(reference.key.iter().map(String::as_str));
                let message = match equalities.first() {
                    Some((other, _)) if reference.key.len() == 1 => {
                        format!("`{}` is joined by `{other}`, and its key is {key}", table.name)
                    }
                    _ => format!(
                        "the join with `{}` doesn't name its key column `{column}`; the key is {key}",
                        table.name
                    ),
                };
                let help = self.key_advice(table, column);
                return self.report(table.span.clone(), message, help);
            };
            let (_, value) = equalities.remove(at);
            let to = reference.schema.field_with_name(column).map_or(DataType::Null, |field| field.data_type().clone());
            keys.push(self.key_value(value, &to, table, column)?);
        }
        for (column, value) in equalities {
            let Some(right) = self.scope.table(&table.alias).and_then(|table| table.column(&column)).cloned() else {
                continue;
            };
            let span = value.span.clone();
            if kind == JoinKind::Left {
                let message = format!("`{column}` isn't part of the key of `{}`", table.name);
                let help = "use CASE in SELECT for other conditions, or WHERE to drop rows";
                return self.report(span, message, help);
            }
            let right = Typed { span: span.clone(), ..right.value };
            let equal = self.typed_compare(value, Comparison::Equal, right, span)?;
            conditions.push(equal);
        }
        Ok(keys)
    }

    /// How a key column may be joined: with the column of the same name of a table before, if one has it.
    fn key_advice(&self, table: &Named, column: &str) -> String {
        let before = self.scope.tables.iter().filter(|known| !known.alias.eq_ignore_ascii_case(&table.alias));
        let left = before.filter(|known| known.column(column).is_some()).map(|known| known.alias.as_str()).next();
        match left {
            Some(left) => format!("write ON {left}.{column} = {}.{column}", table.alias),
            None => format!("write ON stream.column = {}.{column}", table.alias),
        }
    }

    /// A value as the type of the key column it is looked up in; what that type can't hold has no partner.
    fn key_value(&mut self, value: Typed, to: &DataType, table: &Named, column: &str) -> Bound {
        if value.data_type == *to {
            return Ok(value);
        }
        if value.data_type == DataType::Int64 && *to == DataType::Int32 {
            let limit = |limit: i32| Typed::literal(ScalarValue::Int64(Some(i64::from(limit))), value.span.clone());
            let (low, high) = (limit(i32::MIN), limit(i32::MAX));
            let compare = |comparison, limit| {
                let kind = Kind::Compare(comparison, Box::new(value.clone()), Box::new(limit));
                Typed::boolean(kind, value.nullable, value.span.clone())
            };
            let above = compare(Comparison::GreaterOrEqual, low);
            let below = compare(Comparison::LessOrEqual, high);
            let fits = Typed::boolean(Kind::And(Box::new(above), Box::new(below)), value.nullable, value.span.clone());
            let span = value.span.clone();
            return Ok(case(vec![(fits, coerce(value.clone(), to))], None, span));
        }
        match types::common(&value.data_type, to) {
            Ok(common) if common == *to => Ok(coerce(value, to)),
            _ => {
                let message = format!(
                    "`{}.{column}` is {} and is compared with {}",
                    table.alias,
                    a_type(to),
                    a_type(&value.data_type)
                );
                let help = format!("write CAST({value} AS {})", types::name(to).to_uppercase());
                self.report(value.span, message, help)
            }
        }
    }
}

/// A name for the columns of a joined table that no other table of the rows has.
pub(crate) fn free_prefix(alias: &str, branches: &[BranchDraft]) -> String {
    let own = |branch: &BranchDraft| {
        let second = branch.stream_join.iter().flat_map(|join| &join.columns).filter_map(|column| column.row_name());
        let prefixes = second.filter_map(|name| name.split_once('.')).map(|(prefix, _)| prefix.to_owned());
        prefixes.chain(branch.joins.iter().map(|join| join.prefix.clone())).collect::<Vec<_>>()
    };
    let taken: Vec<String> = branches.iter().flat_map(own).collect();
    let is_taken = |prefix: &str| taken.iter().any(|known| known == prefix);
    let numbered = (2..).map(|number| format!("{alias}_{number}"));
    std::iter::once(alias.to_owned()).chain(numbered).find(|prefix| !is_taken(prefix)).unwrap_or_default()
}

/// A name of one part.
fn plain_name(name: &ObjectName) -> Option<String> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(ident)] => Some(ident.value.clone()),
        _ => None,
    }
}

/// Both conditions.
pub(crate) fn both(left: Option<Typed>, right: Typed) -> Typed {
    match left {
        None => right,
        Some(left) => {
            let (nullable, span) = (left.nullable || right.nullable, left.span.clone());
            Typed::boolean(Kind::And(Box::new(left), Box::new(right)), nullable, span)
        }
    }
}

/// Nothing more to say about an expression that has been reported.
pub(crate) fn reported<T>(bound: Bound<T>) -> Option<T> {
    bound.map_err(|Reported| ()).ok()
}
