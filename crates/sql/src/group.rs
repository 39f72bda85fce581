//! Aggregate queries: from expressions over the row to expressions over the grouped batch.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema};

use crate::assemble::expression;
use crate::bind::{Binder, Bound, Call, Reported, WindowKind};
use crate::diagnostic::Diagnostic;
use crate::from::reported;
use crate::lower::normalized;
use crate::plan::{Aggregate, AggregateCall, FixedWindow, SessionWindow, WINDOW_END, WINDOW_START, Window};
use crate::relation::{Groups, Input, Relation};
use crate::select::{Column, Selected};
use crate::typed::{Kind, Typed};
use crate::types;

impl Binder<'_> {
    /// Groups the input as SELECT, GROUP BY and HAVING say.
    pub(crate) fn grouped(&mut self, selected: Selected, input: Input) -> Bound<Relation> {
        let columns = with_window_columns(selected.columns);
        self.check_unique(&columns)?;
        let Some(window) = selected.window else { return self.no_window() };
        let keys = named_keys(self, &selected.keys, &columns)?;
        let calls = named_calls(&self.calls, &keys);
        let mut grouping = Grouping { keys: &keys, calls: &calls, binder: &mut *self };
        let mut outputs = Vec::new();
        let mut failed = false;
        for column in columns {
            match grouping.over_groups(column.value) {
                Ok(value) => outputs.push(Column { value, ..column }),
                Err(Reported) => failed = true,
            }
        }
        let having = selected.having.map(|having| grouping.over_groups(having)).transpose()?;
        if failed {
            return Err(Reported);
        }
        Ok(Relation::Groups(Box::new(Groups { input, window, keys, calls, having, columns: outputs })))
    }

    fn no_window<T>(&mut self) -> Bound<T> {
        let words = ["GROUP", "BY"];
        let is_outer = self.inner_window.is_some();
        let group_by = if is_outer { self.source.last_words(&words) } else { self.source.words(&words) };
        let (span, message) = if group_by.is_empty() {
            (self.source.word("SELECT"), "an aggregate over the whole stream never ends")
        } else {
            (group_by, "groups of a stream never end without a window, so their number would grow for ever")
        };
        let help = match (self.inner_window, self.event_times.first()) {
            (Some(_), _) => {
                "add a window over the inner one: GROUP BY window(window_time(window), '1 hour')".to_owned()
            }
            (None, Some(time)) => format!("add a window: GROUP BY window({time}, '1 minute')"),
            (None, None) => "add a window over the event time".to_owned(),
        };
        self.report(span, message, help)
    }
}

/// The grouping as operators run it.
pub(crate) fn aggregate(binder: &mut Binder<'_>, groups: &Groups) -> Bound<Aggregate> {
    let Groups { window, keys, calls, .. } = groups;
    let grouped_schema = Arc::new(grouped_schema(keys, calls));
    let time = expression(binder, window.time.clone())?;
    let window = match window.kind {
        WindowKind::Fixed { size_us, slide_us, offset_us } => {
            Window::Fixed(FixedWindow { time, size_us, slide_us, offset_us })
        }
        WindowKind::Session { gap_us } => Window::Session(SessionWindow { time, gap_us }),
    };
    let mut key_expressions = Vec::new();
    for (name, key) in keys {
        let key = normal_key(binder, key.clone())?;
        key_expressions.push((name.clone(), expression(binder, key)?));
    }
    let mut compiled_calls = Vec::new();
    for (name, call) in calls {
        compiled_calls.push(compiled_call(binder, name.clone(), call.clone())?);
    }
    Ok(Aggregate { window: Some(window), keys: key_expressions, calls: compiled_calls, grouped_schema })
}

/// A call whose result is the column `name`.
pub(crate) fn compiled_call(binder: &mut Binder<'_>, name: String, call: Call) -> Bound<AggregateCall> {
    let Call { function, argument, order, result, nullable } = call;
    let argument = argument.map(|argument| expression(binder, argument)).transpose()?;
    let order = order.map(|order| expression(binder, order)).transpose()?;
    Ok(AggregateCall { function, argument, order, result, nullable, name })
}

/// The columns with both of the window: those that SELECT doesn't name stand first, or next to the one it names.
pub(crate) fn with_window_columns(mut columns: Vec<Column>) -> Vec<Column> {
    let place = |columns: &[Column], name: &str| columns.iter().position(|column| column.name == name);
    let column = |name: &str, kind| {
        let value = Typed { kind, data_type: types::timestamp(), nullable: false, span: 0..0 };
        Column { name: name.to_owned(), value, span: 0..0 }
    };
    if place(&columns, WINDOW_START).is_none() {
        let at = place(&columns, WINDOW_END).unwrap_or(0);
        columns.insert(at, column(WINDOW_START, Kind::WindowStart));
    }
    if place(&columns, WINDOW_END).is_none() {
        let at = place(&columns, WINDOW_START).map_or(0, |at| at + 1);
        columns.insert(at, column(WINDOW_END, Kind::WindowEnd));
    }
    columns
}

/// Each key with the name of the first column that is it.
fn named_keys(binder: &mut Binder<'_>, keys: &[Typed], columns: &[Column]) -> Bound<Vec<(String, Typed)>> {
    let mut named = Vec::new();
    let mut failed = false;
    for key in keys {
        if let Some(column) = columns.iter().find(|column| column.value == *key) {
            named.push((column.name.clone(), key.clone()));
            continue;
        }
        let text = binder.source.text.get(key.span.clone()).unwrap_or("").to_owned();
        let message =
            format!("`{text}` is grouped by and isn't a column of the result, so its rows couldn't be told apart");
        let help = match &key.kind {
            Kind::Column(_) => format!("add {text} to SELECT"),
            _ => format!("add {text} AS name to SELECT"),
        };
        failed |= reported(binder.report::<()>(key.span.clone(), message, help)).is_none();
    }
    if failed { Err(Reported) } else { Ok(named) }
}

/// Each call with a name that no key has.
fn named_calls(calls: &[Call], keys: &[(String, Typed)]) -> Vec<(String, Call)> {
    let mut named: Vec<(String, Call)> = Vec::new();
    for call in calls {
        let text = |tree: &Option<Typed>| tree.as_ref().map(ToString::to_string);
        let mut name = call.function.display(text(&call.argument).as_deref(), text(&call.order).as_deref());
        while named.iter().any(|(known, _)| *known == name) || keys.iter().any(|(known, _)| *known == name) {
            name.push('\'');
        }
        named.push((name, call.clone()));
    }
    named
}

fn grouped_schema(keys: &[(String, Typed)], calls: &[(String, Call)]) -> Schema {
    let windows = [WINDOW_START, WINDOW_END].map(|name| Field::new(name, types::timestamp(), false));
    let keys = keys.iter().map(|(name, key)| Field::new(name, key.data_type.clone(), key.nullable));
    let calls = calls.iter().map(|(name, call)| Field::new(name, call.result.clone(), call.nullable));
    Schema::new(windows.into_iter().chain(keys).chain(calls).collect::<Vec<_>>())
}

/// A key whose equal values have equal bytes.
fn normal_key(binder: &mut Binder<'_>, key: Typed) -> Bound {
    if key.data_type != DataType::Float64 {
        return Ok(key);
    }
    let message = "groups of doubles are told apart by their last digit";
    let help = "round it to a decimal: CAST(… AS DECIMAL(10, 2))";
    binder.warnings.push(Diagnostic::new(key.span.clone(), message).with_help(help));
    Ok(normalized(key))
}

struct Grouping<'g, 'b, 'a> {
    keys: &'g [(String, Typed)],
    calls: &'g [(String, Call)],
    binder: &'b mut Binder<'a>,
}

impl Grouping<'_, '_, '_> {
    /// A tree over the row as one over the grouped batch: keys, calls and the window become its columns.
    fn over_groups(&mut self, tree: Typed) -> Bound {
        let column =
            |name: &str, tree: &Typed| Typed::column(name, tree.data_type.clone(), tree.nullable, tree.span.clone());
        if let Some((name, _)) = self.keys.iter().find(|(_, key)| *key == tree) {
            return Ok(column(name, &tree));
        }
        match &tree.kind {
            Kind::WindowStart => return Ok(column(WINDOW_START, &tree)),
            Kind::WindowEnd => return Ok(column(WINDOW_END, &tree)),
            Kind::Call(number) => {
                return match self.calls.get(*number) {
                    Some((name, _)) => Ok(column(name, &tree)),
                    None => Err(Reported),
                };
            }
            Kind::Column(name) => {
                let message =
                    format!("`{name}` is neither grouped by nor aggregated, so a group has many values of it");
                let help = format!("add {name} to GROUP BY, or take one value: max({name})");
                return self.binder.report(tree.span, message, help);
            }
            _ => {}
        }
        let mut tree = tree;
        let mut failed = false;
        for child in tree.children_mut() {
            let placeholder = Typed::null(&DataType::Null, child.span.clone());
            match self.over_groups(std::mem::replace(child, placeholder)) {
                Ok(value) => *child = value,
                Err(Reported) => failed = true,
            }
        }
        if failed { Err(Reported) } else { Ok(tree) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_columns_stand_first_or_together() {
        let column =
            |name: &str| Column { name: name.to_owned(), value: Typed::null(&DataType::Int32, 0..0), span: 0..0 };
        let names = |columns: Vec<Column>| columns.into_iter().map(|column| column.name).collect::<Vec<_>>();
        assert_eq!(names(with_window_columns(vec![column("a")])), ["window_start", "window_end", "a"]);
        assert_eq!(
            names(with_window_columns(vec![column("a"), column("window_end")])),
            ["a", "window_start", "window_end"]
        );
        assert_eq!(
            names(with_window_columns(vec![column("a"), column("window_start"), column("b")])),
            ["a", "window_start", "window_end", "b"]
        );
    }
}
