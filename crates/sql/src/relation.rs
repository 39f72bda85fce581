//! SELECT, WITH, UNION ALL and queries in FROM: what each gives, bound and not yet compiled.
//!
//! A query in FROM isn't a step of its own: the columns of the outer query that name its columns become their expressions, so that
//! projections, filters and joins of all levels end up in one row.

use std::ops::Range;

use arrow_schema::{DataType, SchemaRef};
use sqlparser::ast::{self, SetExpr, SetOperator, SetQuantifier, Spanned as _};

use crate::bind::{Binder, Bound, Call, Place, Reported, WindowKind, WindowShape, a_type, coerce};
use crate::from::{JoinDraft, Origin, both, reported};
use crate::select::{Column, Selected};
use crate::stream_join::StreamJoinDraft;
use crate::typed::{Kind, Typed};
use crate::types;

/// What a query gives.
#[derive(Debug, Clone)]
pub(crate) enum Relation {
    Rows(Rows),
    Groups(Box<Groups>),
}

/// Rows of one stream, or of several under UNION ALL.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    pub(crate) branches: Vec<BranchDraft>,
    /// Over the row of the one branch, or over the columns that the branches share.
    pub(crate) columns: Vec<Column>,
}

/// A stream with its joins and filter.
#[derive(Debug, Clone)]
pub(crate) struct BranchDraft {
    pub(crate) stream: String,
    pub(crate) schema: SchemaRef,
    pub(crate) stream_join: Option<StreamJoinDraft>,
    pub(crate) joins: Vec<JoinDraft>,
    pub(crate) filter: Option<Typed>,
    /// The event time of its rows.
    pub(crate) event_time: Typed,
    /// The columns that the branches share, over this branch's row; empty for an only branch.
    pub(crate) values: Vec<(String, Typed)>,
}

/// Groups of rows, or of the groups of an inner query.
#[derive(Debug, Clone)]
pub(crate) struct Groups {
    pub(crate) input: Input,
    pub(crate) window: WindowShape,
    pub(crate) keys: Vec<(String, Typed)>,
    pub(crate) calls: Vec<(String, Call)>,
    /// Over the grouped batch.
    pub(crate) having: Option<Typed>,
    /// Over the grouped batch.
    pub(crate) columns: Vec<Column>,
}

/// What is grouped.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    Rows(Vec<BranchDraft>),
    Groups(Box<Groups>),
}

impl Relation {
    pub(crate) fn columns(&self) -> &[Column] {
        match self {
            Self::Rows(rows) => &rows.columns,
            Self::Groups(groups) => &groups.columns,
        }
    }
}

impl Rows {
    /// The event time as the columns of the relation are expressed: none if the branches don't share it.
    pub(crate) fn event_times(&self) -> Vec<Typed> {
        match self.branches.as_slice() {
            [only] => vec![only.event_time.clone()],
            branches => self
                .columns
                .iter()
                .filter(|column| {
                    branches.iter().all(|branch| {
                        let value = branch.values.iter().find(|(name, _)| *name == column.name);
                        value.is_some_and(|(_, value)| *value == branch.event_time)
                    })
                })
                .map(|column| column.value.clone())
                .collect(),
        }
    }
}

impl BranchDraft {
    /// An expression over the shared columns as one over this branch's row.
    pub(crate) fn over_row(&self, mut tree: Typed) -> Typed {
        if let Kind::Column(name) = &tree.kind
            && let Some((_, value)) = self.values.iter().find(|(shared, _)| shared == name)
        {
            return Typed { span: tree.span, ..value.clone() };
        }
        for child in tree.children_mut() {
            let placeholder = Typed::null(&DataType::Null, child.span.clone());
            *child = self.over_row(std::mem::replace(child, placeholder));
        }
        tree
    }

    pub(crate) fn keep(&mut self, condition: Typed) {
        let condition = self.over_row(condition);
        self.filter = Some(both(self.filter.take(), condition));
    }
}

impl Binder<'_> {
    /// Binds a whole query.
    pub(crate) fn query(&mut self, query: &ast::Query) -> Bound<Relation> {
        let outer = self.tables.len();
        let mut failed = false;
        let is_by_place = std::mem::take(&mut self.is_by_place);
        crate::gate::query(query, self.source, &mut self.diagnostics);
        if let Some(with) = &query.with {
            for table in &with.cte_tables {
                failed |= reported(self.named_query(with.recursive, table)).is_none();
            }
        }
        self.is_by_place = is_by_place;
        let relation = self.body(&query.body);
        self.tables.truncate(outer);
        if failed { Err(Reported) } else { relation }
    }

    /// Binds a query of WITH and remembers it under its name.
    fn named_query(&mut self, is_recursive: bool, table: &ast::Cte) -> Bound<()> {
        let span = self.ident_span(&table.alias.name);
        if is_recursive {
            return self.report(span, "recursive queries aren't supported", "write the steps one by one");
        }
        if !table.alias.columns.is_empty() {
            return self.report(span, "columns aren't named here", "name them within: SELECT … AS name");
        }
        let name = table.alias.name.value.clone();
        if self.tables.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name)) {
            return self.report(span, format!("`{name}` is there twice in WITH"), "give it another name");
        }
        let relation = self.query(&table.query);
        // A query that is wrong is known by its name all the same, so that its uses aren't reported too.
        self.tables.push((name, reported(relation)));
        if self.tables.last().is_some_and(|(_, relation)| relation.is_none()) { Err(Reported) } else { Ok(()) }
    }

    fn body(&mut self, body: &SetExpr) -> Bound<Relation> {
        match body {
            SetExpr::Select(select) => {
                let is_by_place = std::mem::take(&mut self.is_by_place);
                self.within(|binder| binder.select(select, is_by_place))
            }
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation { op: SetOperator::Union, set_quantifier: SetQuantifier::All, left, right } => {
                let left_side = self.body(left);
                self.is_by_place = true;
                let right_side = self.body(right);
                self.is_by_place = false;
                let span = self.source.span(right.span()).unwrap_or(0..0);
                let (left, right) = (left_side?, right_side?);
                self.union(left, right, span)
            }
            SetExpr::SetOperation { op, .. } => {
                let word = op.to_string();
                let span = self.source.word(&word);
                let (message, help) = match op {
                    SetOperator::Union => (
                        "UNION would have to keep every row ever seen to remove the repeated ones".to_owned(),
                        "write UNION ALL",
                    ),
                    _ => (format!("{word} would have to keep every row ever seen"), "write two queries"),
                };
                self.report(span, message, help)
            }
            _ => {
                let whole = 0..self.source.text.trim_end().len();
                self.report(whole, "only SELECT is supported", "write SELECT … FROM stream")
            }
        }
    }

    /// Binds a SELECT with names of its own.
    fn within<T>(&mut self, bind: impl FnOnce(&mut Self) -> T) -> T {
        let mut inner = Self::new(self.source, crate::scope::Scope::default(), Place::Select);
        inner.catalog = self.catalog;
        inner.tables = std::mem::take(&mut self.tables);
        let result = bind(&mut inner);
        self.tables = std::mem::take(&mut inner.tables);
        self.diagnostics.append(&mut inner.diagnostics);
        self.warnings.append(&mut inner.warnings);
        result
    }

    fn select(&mut self, select: &ast::Select, is_by_place: bool) -> Bound<Relation> {
        crate::gate::clauses(select, self.source, &mut self.diagnostics);
        let (source, conditions) = self.from(&select.from)?;
        self.is_by_place = is_by_place;
        self.place = Place::Where;
        self.alias_names =
            select.projection.iter().filter_map(crate::select::alias).map(|alias| alias.value.clone()).collect();
        let filter = select.selection.as_ref().map(|filter| self.condition(filter, "WHERE")).transpose();
        let selected = self.selected(select);
        let (filter, selected) = (filter?, selected?);
        self.check_unique(&selected.columns)?;
        let condition = conditions.into_iter().chain(filter).fold(None, |all, next| Some(both(all, next)));
        match source {
            Origin::Rows(mut branches) => {
                if let Some(condition) = condition {
                    branches.iter_mut().for_each(|branch| branch.keep(condition.clone()));
                }
                if selected.is_aggregate {
                    return self.grouped(selected, Input::Rows(branches));
                }
                Ok(Relation::Rows(Rows { branches, columns: selected.columns }))
            }
            Origin::Groups(groups) if selected.is_aggregate => self.chained(*groups, selected, condition),
            Origin::Groups(mut groups) => {
                if let Some(condition) = condition {
                    groups.having = Some(both(groups.having.take(), condition));
                }
                groups.columns = selected.columns;
                Ok(Relation::Groups(groups))
            }
        }
    }

    /// Groups of groups.
    fn chained(&mut self, inner: Groups, selected: Selected, condition: Option<Typed>) -> Bound<Relation> {
        if matches!(inner.input, Input::Groups(_)) {
            let span = self.source.last_words(&["GROUP", "BY"]);
            let help = "group the outer windows where the result is read, or write a query with longer windows";
            return self.report(span, "windows over windows over windows aren't supported", help);
        }
        if let Some(window) =
            selected.window.as_ref().filter(|window| matches!(window.kind, WindowKind::Session { .. }))
        {
            let help = "group by window(window_time(window), '1 hour')";
            return self.report(window.time.span.clone(), "windows can't be grouped by sessions", help);
        }
        if let Some(condition) = condition.or_else(|| inner.having.clone()) {
            let help = "put it into the aggregates: sum(x) FILTER (WHERE condition)";
            return self.report(
                condition.span,
                "groups can't be left out before they are grouped again, since they may come and go",
                help,
            );
        }
        if let Some(call) = self.calls.iter().find(|call| call.function.needs_places()) {
            let name = call.function.name();
            let span = call.argument.as_ref().map_or(0..0, |argument| argument.span.clone());
            return self.report(
                span,
                format!("`{name}` over groups has no order to go by: they all end at the same time"),
                "use min or max",
            );
        }
        self.grouped(selected, Input::Groups(Box::new(inner)))
    }

    fn union(&mut self, left: Relation, right: Relation, span: Range<usize>) -> Bound<Relation> {
        let (Relation::Rows(left), Relation::Rows(right)) = (left, right) else {
            let help = "group what UNION ALL gives: SELECT … FROM (SELECT … UNION ALL SELECT …) AS both GROUP BY …";
            return self.report(span, "groups can't be put together by UNION ALL", help);
        };
        if left.branches.iter().chain(&right.branches).any(|branch| branch.stream_join.is_some()) {
            let help = "write a query for each, and put their results together in a third";
            return self.report(span, "a join of two streams can't be under UNION ALL", help);
        }
        if left.columns.len() != right.columns.len() {
            let message = format!("UNION ALL puts {} and {} columns together", left.columns.len(), right.columns.len());
            return self.report(span, message, "select as many columns on both sides");
        }
        let mut columns = Vec::new();
        for (one, other) in left.columns.iter().zip(&right.columns) {
            let (a, b) = (&one.value.data_type, &other.value.data_type);
            let Ok(data_type) = types::common(a, b) else {
                let message = format!("the column `{}` is {} above and {} here", one.name, a_type(a), a_type(b));
                let help = format!("write CAST(… AS {}) AS {}", types::name(a).to_uppercase(), other.name);
                return self.report(other.span.clone(), message, help);
            };
            let nullable = one.value.nullable || other.value.nullable;
            let value = Typed::column(&one.name, data_type, nullable, one.span.clone());
            columns.push(Column { name: one.name.clone(), value, span: one.span.clone() });
        }
        let branches = shared(left, &columns).into_iter().chain(shared(right, &columns)).collect();
        Ok(Relation::Rows(Rows { branches, columns }))
    }
}

/// The branches of one side of UNION ALL, with the columns of the whole.
fn shared(rows: Rows, columns: &[Column]) -> Vec<BranchDraft> {
    let Rows { branches, columns: own } = rows;
    let share = |branch: BranchDraft| {
        let value = |(own, whole): (&Column, &Column)| {
            let value = branch.over_row(own.value.clone());
            (whole.name.clone(), coerce(value, &whole.value.data_type))
        };
        let values = own.iter().zip(columns).map(value).collect();
        BranchDraft { values, ..branch }
    };
    branches.into_iter().map(share).collect()
}
