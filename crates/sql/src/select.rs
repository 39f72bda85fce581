//! SELECT, GROUP BY and HAVING: the columns of the result.

use std::ops::Range;

use sqlparser::ast::{
    Distinct, Expr, GroupByExpr, Ident, Select, SelectItem, SelectItemQualifiedWildcardKind, Spanned as _, Value,
    ValueWithSpan, WildcardAdditionalOptions,
};

use crate::bind::{Binder, Bound, Place, Reported, WindowShape, as_window};
use crate::diagnostic::list;
use crate::from::reported;
use crate::plan::{
    JOINED_OFFSET, JOINED_PARTITION, SOURCE_BRANCH, SOURCE_OFFSET, SOURCE_PARTITION, WINDOW_END, WINDOW_START,
};
use crate::scope::ScopeColumn;
use crate::typed::{Kind, Typed};

/// Columns that the store adds to a table, or that stand for the row itself.
const RESERVED: [&str; 12] = [
    WINDOW_START,
    WINDOW_END,
    SOURCE_PARTITION,
    SOURCE_OFFSET,
    SOURCE_BRANCH,
    JOINED_PARTITION,
    JOINED_OFFSET,
    "generation",
    "folded_rows",
    "is_final",
    "is_deleted",
    "updated_at",
];

/// Longest name of a column in PostgreSQL, in bytes.
const NAME_BYTES_MAX: usize = 63;

/// A column of the result.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) value: Typed,
    pub(crate) span: Range<usize>,
}

/// What SELECT, GROUP BY and HAVING say, bound over the row.
#[derive(Debug)]
pub(crate) struct Selected {
    pub(crate) columns: Vec<Column>,
    /// Group keys without the window.
    pub(crate) keys: Vec<Typed>,
    pub(crate) window: Option<WindowShape>,
    pub(crate) having: Option<Typed>,
    pub(crate) is_aggregate: bool,
}

impl Binder<'_> {
    /// Binds all of it; what is wrong in one part doesn't hide what is wrong in another.
    pub(crate) fn selected(&mut self, select: &Select) -> Bound<Selected> {
        self.is_distinct = matches!(select.distinct, Some(Distinct::Distinct));
        let keys = if self.is_distinct { self.distinct_window(select) } else { self.group_by(select) };
        self.place = Place::Select;
        let mut columns = Some(Vec::new());
        for item in &select.projection {
            match self.item(item) {
                Ok(found) => {
                    if let Some(columns) = &mut columns {
                        columns.extend(found);
                    }
                }
                Err(Reported) => columns = None,
            }
        }
        if let Some(columns) = &columns {
            self.aliases = columns.iter().map(|column| (column.name.clone(), column.value.clone())).collect();
        }
        self.place = Place::Having;
        let having = select.having.as_ref().map(|having| self.condition(having, "HAVING")).transpose();
        let (mut keys, having) = (keys?, having?);
        let columns = columns.ok_or(Reported)?;
        if self.is_distinct {
            keys = self.distinct_keys(&columns, having.is_some())?;
        }
        let grouped = !keys.is_empty() || self.window.is_some();
        let is_aggregate = grouped || !self.calls.is_empty();
        if let (Some(having), false) = (&having, is_aggregate) {
            return self.report(having.span.clone(), "HAVING without GROUP BY", "write WHERE for conditions on rows");
        }
        Ok(Selected { columns, keys, window: self.window.clone(), having, is_aggregate })
    }

    /// SELECT DISTINCT groups by its columns, one of which is the window.
    fn distinct_window(&mut self, select: &Select) -> Bound<Vec<Typed>> {
        let span = self.source.word("DISTINCT");
        if !matches!(&select.group_by, GroupByExpr::Expressions(expressions, _) if expressions.is_empty()) {
            return self.report(span, "DISTINCT beside GROUP BY removes nothing", "remove DISTINCT");
        }
        self.place = Place::Group;
        for function in select.projection.iter().filter_map(expression_of).filter_map(as_window) {
            let shape = self.window_shape(function)?;
            self.window = Some(shape);
        }
        if self.window.is_some() || self.inner_window.is_some() {
            return Ok(Vec::new());
        }
        let time = self.event_times.first().map_or_else(|| "event_time".to_owned(), ToString::to_string);
        let help = format!(
            "write SELECT DISTINCT window({time}, '1 hour'), …; repeated records are removed by `duplicates` in tillstream.yaml"
        );
        self.report(span, "DISTINCT over the whole stream would have to keep every row ever seen", help)
    }

    fn distinct_keys(&mut self, columns: &[Column], has_having: bool) -> Bound<Vec<Typed>> {
        if !self.calls.is_empty() || has_having {
            let span = self.source.word("DISTINCT");
            return self.report(span, "DISTINCT beside aggregates", "remove DISTINCT, and write GROUP BY");
        }
        if self.window.is_none() {
            let span = self.source.word("DISTINCT");
            return self.report(span, "groups are told apart already", "remove DISTINCT");
        }
        let mut keys: Vec<Typed> = Vec::new();
        for column in columns {
            let is_window = matches!(column.value.kind, Kind::WindowStart | Kind::WindowEnd);
            if !is_window && column.value.as_literal().is_none() && !keys.contains(&column.value) {
                keys.push(column.value.clone());
            }
        }
        Ok(keys)
    }

    fn group_by(&mut self, select: &Select) -> Bound<Vec<Typed>> {
        self.place = Place::Group;
        let (expressions, modifiers) = match &select.group_by {
            GroupByExpr::Expressions(expressions, modifiers) => (expressions, modifiers.len()),
            GroupByExpr::All(_) => {
                let span = self.source.words(&["GROUP", "BY", "ALL"]);
                return self.report(span, "GROUP BY ALL isn't supported", "list the columns");
            }
        };
        if modifiers > 0 {
            let span = self.source.words(&["GROUP", "BY"]);
            return self.report(
                span,
                "ROLLUP, CUBE and grouping sets aren't supported",
                "write a query for each grouping",
            );
        }
        let mut keys = Vec::new();
        let mut failed = false;
        for expression in expressions {
            match self.group_item(expression, select) {
                Ok(Some(key)) if keys.contains(&key) => {}
                Ok(Some(key)) => keys.push(key),
                Ok(None) => {}
                Err(Reported) => failed = true,
            }
        }
        if failed { Err(Reported) } else { Ok(keys) }
    }

    /// A group key; `None` for the window.
    fn group_item(&mut self, expression: &Expr, select: &Select) -> Bound<Option<Typed>> {
        let span = self.span_of(expression);
        let meant = self.group_meaning(expression, select, &span)?;
        if let Some(function) = as_window(meant) {
            let shape = self.window_shape(function)?;
            if self.window.as_ref().is_some_and(|window| *window != shape) {
                return self.report(span, "a query has one window", "write a query for each window");
            }
            self.window = Some(shape);
            return Ok(None);
        }
        if matches!(meant, Expr::Rollup(_) | Expr::Cube(_) | Expr::GroupingSets(_)) {
            return self.report(
                span,
                "ROLLUP, CUBE and grouping sets aren't supported",
                "write a query for each grouping",
            );
        }
        let key = self.bind(meant)?;
        if key.as_literal().is_some() {
            return self.report(span, "a group key is a column or an expression of columns", "remove the literal");
        }
        Ok(Some(Typed { span, ..key }))
    }

    /// What a group item means: a place in SELECT, an alias of SELECT where there is no such column, or itself.
    fn group_meaning<'e>(&mut self, item: &'e Expr, select: &'e Select, span: &Range<usize>) -> Bound<&'e Expr> {
        match item {
            Expr::Value(ValueWithSpan { value: Value::Number(digits, false), .. }) => {
                let place = digits.parse::<usize>().ok().and_then(|place| place.checked_sub(1));
                let expression = place.and_then(|place| select.projection.get(place)).and_then(expression_of);
                let Some(expression) = expression else {
                    let message = format!("there is no column {digits} in SELECT");
                    return self.report(
                        span.clone(),
                        message,
                        format!("write a number from 1 to {}", select.projection.len()),
                    );
                };
                if Self::names_aggregate(expression) {
                    let message = format!("column {digits} of SELECT is an aggregate");
                    return self.report(span.clone(), message, "group by columns that aren't aggregated");
                }
                Ok(expression)
            }
            Expr::Identifier(ident) if !self.scope.has(&ident.value) => {
                let named = select
                    .projection
                    .iter()
                    .find(|item| alias(item).is_some_and(|alias| alias.value.eq_ignore_ascii_case(&ident.value)));
                Ok(named.and_then(expression_of).unwrap_or(item))
            }
            _ => Ok(item),
        }
    }

    fn item(&mut self, item: &SelectItem) -> Bound<Vec<Column>> {
        match item {
            SelectItem::UnnamedExpr(expression) => self.expression_item(expression, None),
            SelectItem::ExprWithAlias { expr, alias } => self.expression_item(expr, Some(alias)),
            SelectItem::Wildcard(options) => {
                let span = self.source.span(options.wildcard_token.0.span).unwrap_or(0..0);
                self.all_columns(None, options, span)
            }
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                let span = self.source.span(name.span()).unwrap_or(0..0);
                let alias = name.to_string();
                self.all_columns(Some(&alias), options, span)
            }
            SelectItem::ExprWithAliases { expr, .. } => {
                let span = self.span_of(expr);
                self.report(span, "several aliases for one value", "write one alias")
            }
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(expr), _) => {
                let span = self.span_of(expr);
                self.report(span, "`*` stands after a table's name", "write table.*")
            }
        }
    }

    fn expression_item(&mut self, expression: &Expr, alias: Option<&Ident>) -> Bound<Vec<Column>> {
        let span = self.span_of(expression);
        if let Some(columns) = self.window_item(expression, &span)? {
            return Ok(columns);
        }
        let value = self.bind(expression)?;
        if let Some(alias) = alias {
            let alias_span = self.source.span(alias.span).unwrap_or_else(|| span.clone());
            if alias.quote_style == Some('\'') {
                let help = format!("write AS {}", alias.value);
                return self.report(alias_span, "an alias in single quotes is text, not a name", help);
            }
            let name = self.result_name(&alias.value, &value, alias_span.clone())?;
            return Ok(vec![Column { name, value, span: alias_span }]);
        }
        let name = match (&value.kind, expression) {
            (Kind::Column(column), _) if self.is_inner_bound(column) => column.clone(),
            (Kind::WindowStart, _) => WINDOW_START.to_owned(),
            (Kind::WindowEnd, _) => WINDOW_END.to_owned(),
            (_, Expr::Identifier(ident)) => self.result_name(&ident.value, &value, span.clone())?,
            (_, Expr::CompoundIdentifier(parts)) => {
                let name = parts.last().map(|part| part.value.clone()).unwrap_or_default();
                self.result_name(&name, &value, span.clone())?
            }
            _ if self.is_by_place => suggested_name(expression),
            _ => {
                let example = suggested_name(expression);
                let text = self.source.text.get(span.clone()).unwrap_or("…").to_owned();
                let help = format!("write {} AS {example}", one_line(&text));
                return self.report(span, "an expression needs a name for its column", help);
            }
        };
        Ok(vec![Column { name, value, span }])
    }

    /// Whether a column is a bound of the inner query's window.
    fn is_inner_bound(&self, column: &str) -> bool {
        self.inner_window.is_some() && matches!(column, WINDOW_START | WINDOW_END)
    }

    /// `window`, `window(…)`: the columns `window_start` and `window_end`.
    fn window_item(&mut self, expression: &Expr, span: &Range<usize>) -> Bound<Option<Vec<Column>>> {
        let named = match expression {
            Expr::Identifier(ident) if ident.value.eq_ignore_ascii_case("window") => Some("window"),
            Expr::Identifier(ident) if ident.value.eq_ignore_ascii_case("session_window") => Some("session_window"),
            _ => None,
        };
        let named = named.filter(|name| !self.scope.has(name));
        if let (Some(named), None, Some(inner)) = (named, &self.window, self.inner_window)
            && named == inner.function()
        {
            return self.window_columns(named, span).map(Some);
        }
        if let Some(function) = as_window(expression) {
            let shape = self.window_shape(function)?;
            match &self.window {
                None => {
                    let help = "add it to GROUP BY; a window in SELECT alone groups nothing";
                    return self.report(span.clone(), "the window isn't in GROUP BY", help);
                }
                Some(window) if *window != shape => {
                    let help = "a query has one window: write the same in both";
                    return self.report(span.clone(), "this window isn't the one of GROUP BY", help);
                }
                Some(_) => {}
            }
        } else if named.is_none() {
            return Ok(None);
        }
        let name = named.or_else(|| self.window.as_ref().map(|window| window.kind.function())).unwrap_or("window");
        self.window_columns(name, span).map(Some)
    }

    fn window_columns(&mut self, name: &str, span: &Range<usize>) -> Bound<Vec<Column>> {
        let mut columns = Vec::new();
        for (column, field) in [(WINDOW_START, "start"), (WINDOW_END, "end")] {
            let value = self.window_field(name, field, span.clone())?;
            columns.push(Column { name: column.to_owned(), value, span: span.clone() });
        }
        Ok(columns)
    }

    fn all_columns(
        &mut self,
        table: Option<&str>,
        options: &WildcardAdditionalOptions,
        span: Range<usize>,
    ) -> Bound<Vec<Column>> {
        if self.window.is_some() && !self.is_distinct {
            let help = "list the group keys, and aggregates of the other columns";
            return self.report(span, "`*` is every column of a row, and a group has many rows", help);
        }
        let WildcardAdditionalOptions {
            wildcard_token: _,
            opt_ilike,
            opt_exclude,
            opt_except,
            opt_replace,
            opt_rename,
            opt_alias,
        } = options;
        let plain = opt_ilike.is_none()
            && opt_exclude.is_none()
            && opt_except.is_none()
            && opt_replace.is_none()
            && opt_rename.is_none()
            && opt_alias.is_none();
        if !plain {
            return self.report(span, "nothing stands after `*`", "list the columns instead");
        }
        if let Some(table) = table
            && self.scope.table(table).is_none()
        {
            let help =
                format!("the tables here are {}", list(self.scope.tables.iter().map(|table| table.alias.as_str())));
            return self.report(span, format!("there is no table `{table}` in FROM"), help);
        }
        let found: Vec<ScopeColumn> = self
            .scope
            .tables
            .iter()
            .filter(|known| table.is_none_or(|table| known.alias.eq_ignore_ascii_case(table)))
            .flat_map(|known| known.columns.iter().filter(|column| table.is_some() || !column.hidden).cloned())
            .collect();
        let mut columns = Vec::new();
        for column in found {
            let value = self.typed_column(&column, span.clone())?;
            let name = self.result_name(&column.name, &value, span.clone())?;
            columns.push(Column { name, value, span: span.clone() });
        }
        Ok(columns)
    }

    /// A name that Kafka's records and PostgreSQL's tables can have.
    fn result_name(&mut self, name: &str, value: &Typed, span: Range<usize>) -> Bound<String> {
        let own = match value.kind {
            Kind::WindowStart => name.eq_ignore_ascii_case(WINDOW_START),
            Kind::WindowEnd => name.eq_ignore_ascii_case(WINDOW_END),
            // The bounds of an inner query's window keep their names.
            Kind::Column(ref column) if matches!(column.as_str(), WINDOW_START | WINDOW_END) => {
                self.is_inner_bound(column) && name.eq_ignore_ascii_case(column)
            }
            _ => false,
        };
        if own {
            return Ok(name.to_ascii_lowercase());
        }
        if let Some(reserved) = RESERVED.iter().find(|reserved| name.eq_ignore_ascii_case(reserved)) {
            let message = format!("`{reserved}` is a column that results have of their own");
            return self.report(span, message, format!("choose another name: AS {reserved}_value"));
        }
        let plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && name.len() <= NAME_BYTES_MAX;
        if plain {
            return Ok(name.to_owned());
        }
        let message = format!("`{name}` can't be a column of Avro records and PostgreSQL tables");
        let help = format!("use letters, digits and _, at most {NAME_BYTES_MAX}, not a digit first");
        self.report(span, message, help)
    }

    /// Reports names that are there twice, in whatever case.
    pub(crate) fn check_unique(&mut self, columns: &[Column]) -> Bound<()> {
        if self.is_by_place {
            return Ok(());
        }
        let mut failed = false;
        for (index, column) in columns.iter().enumerate() {
            if columns.iter().take(index).any(|earlier| earlier.name.eq_ignore_ascii_case(&column.name)) {
                let message = format!("the result has two columns `{}`", column.name);
                let text = self.source.text.get(column.span.clone()).unwrap_or("");
                let help = if text.ends_with('*') || self.scope.table(text).is_some() {
                    "list the columns, and give one of them another name by AS"
                } else {
                    "give one of them another name by AS"
                };
                failed |= reported(self.report::<()>(column.span.clone(), message, help)).is_none();
            }
        }
        if failed { Err(Reported) } else { Ok(()) }
    }
}

pub(crate) fn alias(item: &SelectItem) -> Option<&Ident> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias),
        _ => None,
    }
}

fn expression_of(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A name that an expression might have, for advice.
fn suggested_name(expression: &Expr) -> String {
    match expression {
        Expr::Function(function) => {
            let name = function.name.to_string().to_ascii_lowercase();
            let arguments = function.args.to_string();
            let column = arguments.trim_matches(['(', ')']).rsplit('.').next().unwrap_or_default();
            if name == "count" {
                "n".to_owned()
            } else if !column.is_empty() && column.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
            {
                format!("{name}_{column}")
            } else {
                format!("{name}_value")
            }
        }
        _ => "name".to_owned(),
    }
}
