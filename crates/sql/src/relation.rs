//! SELECT, WITH and queries in FROM: what each gives, bound and not yet compiled.
//!
//! A query in FROM isn't a step of its own: the columns of the outer query that name its columns become their expressions, so that
//! projections, filters and joins of all levels end up in one row.

use arrow_schema::SchemaRef;
use sqlparser::ast::{self, SetExpr};

use crate::bind::{Binder, Bound, Call, Place, Reported, WindowShape};
use crate::from::{JoinDraft, Origin, both, reported};
use crate::select::{Column, Selected};
use crate::typed::Typed;

/// What a query gives.
#[derive(Debug, Clone)]
pub(crate) enum Relation {
    Rows(Box<Rows>),
    Groups(Box<Groups>),
}

/// Rows of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    pub(crate) input: StreamDraft,
    /// Over the joined row.
    pub(crate) columns: Vec<Column>,
}

/// A stream with its joins and filter.
#[derive(Debug, Clone)]
pub(crate) struct StreamDraft {
    pub(crate) stream: String,
    pub(crate) schema: SchemaRef,
    pub(crate) joins: Vec<JoinDraft>,
    pub(crate) filter: Option<Typed>,
    /// The event time of its rows.
    pub(crate) event_time: Typed,
}

/// Groups of rows.
#[derive(Debug, Clone)]
pub(crate) struct Groups {
    pub(crate) input: StreamDraft,
    pub(crate) window: WindowShape,
    pub(crate) keys: Vec<(String, Typed)>,
    pub(crate) calls: Vec<(String, Call)>,
    /// Over the grouped batch.
    pub(crate) having: Option<Typed>,
    /// Over the grouped batch.
    pub(crate) columns: Vec<Column>,
}

impl Relation {
    pub(crate) fn columns(&self) -> &[Column] {
        match self {
            Self::Rows(rows) => &rows.columns,
            Self::Groups(groups) => &groups.columns,
        }
    }
}

impl Binder<'_> {
    /// Binds a whole query.
    pub(crate) fn query(&mut self, query: &ast::Query) -> Bound<Relation> {
        let outer = self.tables.len();
        let mut failed = false;
        crate::gate::query(query, self.source, &mut self.diagnostics);
        if let Some(with) = &query.with {
            for table in &with.cte_tables {
                failed |= reported(self.named_query(with.recursive, table)).is_none();
            }
        }
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
            SetExpr::Select(select) => self.within(|binder| binder.select(select)),
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation { op, .. } => {
                let word = op.to_string();
                let span = self.source.word(&word);
                self.report(span, format!("{word} isn't supported yet"), "write two queries")
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

    fn select(&mut self, select: &ast::Select) -> Bound<Relation> {
        crate::gate::clauses(select, self.source, &mut self.diagnostics);
        let (origin, conditions) = self.from(&select.from)?;
        self.place = Place::Where;
        self.alias_names =
            select.projection.iter().filter_map(crate::select::alias).map(|alias| alias.value.clone()).collect();
        let filter = select.selection.as_ref().map(|filter| self.condition(filter, "WHERE")).transpose();
        let selected = self.selected(select);
        let (filter, selected) = (filter?, selected?);
        self.check_unique(&selected.columns)?;
        let condition = conditions.into_iter().chain(filter).fold(None, |all, next| Some(both(all, next)));
        match origin {
            Origin::Rows(mut input) => {
                if let Some(condition) = condition {
                    input.filter = Some(both(input.filter.take(), condition));
                }
                if selected.is_aggregate {
                    return self.grouped(selected, *input);
                }
                Ok(Relation::Rows(Box::new(Rows { input: *input, columns: selected.columns })))
            }
            Origin::Groups(_) if selected.is_aggregate => self.groups_again(&selected),
            Origin::Groups(mut groups) => {
                if let Some(condition) = condition {
                    groups.having = Some(both(groups.having.take(), condition));
                }
                groups.columns = selected.columns;
                Ok(Relation::Groups(groups))
            }
        }
    }

    fn groups_again<T>(&mut self, selected: &Selected) -> Bound<T> {
        let group_by = self.source.words(&["GROUP", "BY"]);
        let span = selected.keys.first().map_or(group_by, |key| key.span.clone());
        self.report(span, "groups can't be grouped again yet", "group once, or group the result where it is read")
    }
}
