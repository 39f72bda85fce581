//! Calls: of scalar functions, of aggregates, and of `window`.

use std::ops::Range;

use sqlparser::ast::{
    AccessExpr, CeilFloorKind, DateTimeField, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    TrimWhereField,
};

use super::{Binder, Bound, aggregate, as_window};
use crate::functions::{self, Arguments};

impl Binder<'_> {
    pub(super) fn call(&mut self, expr: &Expr, span: Range<usize>) -> Bound {
        match expr {
            Expr::Function(function) => self.function(function, span),
            Expr::Ceil { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                self.scalar("ceil", &[expr], span)
            }
            Expr::Floor { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                self.scalar("floor", &[expr], span)
            }
            Expr::Ceil { .. } | Expr::Floor { .. } => self.report(
                span,
                "ceil and floor take one argument here",
                "use round(number, digits), or date_trunc('hour', time)",
            ),
            Expr::Substring { expr, substring_from: Some(from), substring_for, .. } => {
                let mut arguments: Vec<&Expr> = vec![expr, from];
                arguments.extend(substring_for.as_deref());
                self.scalar("substring", &arguments, span)
            }
            Expr::Substring { .. } => {
                self.report(span, "`substring` needs a position", "write substring(text, position, length)")
            }
            Expr::Trim { expr, trim_where, trim_what: None, trim_characters: None } => {
                let name = match trim_where {
                    Some(TrimWhereField::Leading) => "ltrim",
                    Some(TrimWhereField::Trailing) => "rtrim",
                    _ => "trim",
                };
                self.scalar(name, &[expr], span)
            }
            Expr::Trim { .. } => self.report(span, "`trim` removes spaces only", "use replace(text, 'x', '')"),
            Expr::Extract { field, expr, .. } => self.extract(field, expr, span),
            Expr::Position { expr, r#in } => self.scalar("instr", &[r#in, expr], span),
            _ => Err(super::Reported),
        }
    }

    fn function(&mut self, function: &Function, span: Range<usize>) -> Bound {
        let name = function.name.to_string().to_ascii_lowercase();
        if function.over.is_some() {
            return self.report(
                span,
                "window functions (OVER) aren't supported: they would need all rows of the stream",
                "group by window(event_time, '1 minute') instead",
            );
        }
        if function.null_treatment.is_some() || !function.within_group.is_empty() {
            if let Some((message, help)) = functions::refusal(&name) {
                return self.report(span, message, help);
            }
            return self.report(span, "this form of call isn't supported", "remove what stands after the parentheses");
        }
        if matches!(name.as_str(), "window" | "session_window") {
            return self.report(
                span,
                "a window isn't a value to compute with",
                format!("put {name}(…) into GROUP BY, and use {name}.start and {name}.end"),
            );
        }
        if name == "window_time" {
            return self.inner_window_time(function, span);
        }
        if aggregate::is_aggregate(&name) {
            return self.aggregate(&name, function, span);
        }
        if name == "array_join"
            && let FunctionArguments::List(list) = &function.args
            && let [
                FunctionArg::Unnamed(FunctionArgExpr::Expr(list)),
                FunctionArg::Unnamed(FunctionArgExpr::Expr(separator)),
            ] = list.args.as_slice()
            && let Some(list) = self.collected(list)?
        {
            let separator = self.bind(separator)?;
            let arguments = Arguments { binder: self, name: "array_join", list: vec![list, separator], span };
            return functions::array_join(arguments);
        }
        if function.filter.is_some() {
            return self.report(
                span,
                format!("FILTER stands after an aggregate, and `{name}` isn't one"),
                "use CASE WHEN … END",
            );
        }
        if let Some((message, help)) = functions::refusal(&name) {
            return self.report(span, message, help);
        }
        let FunctionArguments::List(list) = &function.args else {
            return self.report(span, format!("`{name}` needs parentheses"), format!("write {name}(…)"));
        };
        let mut arguments = Vec::new();
        for argument in &list.args {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => arguments.push(expr),
                _ => {
                    return self.report(
                        span,
                        format!("`{name}` takes expressions as arguments"),
                        "remove names and stars",
                    );
                }
            }
        }
        if list.duplicate_treatment.is_some() || !list.clauses.is_empty() {
            return self.report(
                span,
                format!("`{name}` isn't an aggregate"),
                "remove DISTINCT or ORDER BY from the call",
            );
        }
        self.scalar(&name, &arguments, span)
    }

    /// A scalar function of the allow-list.
    fn scalar(&mut self, name: &str, arguments: &[&Expr], span: Range<usize>) -> Bound {
        let Some(function) = functions::find(name) else {
            let known = functions::names().chain(aggregate::NAMES).chain(["window", "session_window"]);
            let help = match crate::diagnostic::nearest(name, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "the functions there are stand in docs/sql.md".to_owned(),
            };
            let name_span = span.start..(span.start + name.len()).min(span.end);
            return self.report(name_span, format!("there is no function `{name}`"), help);
        };
        let bound: Vec<Bound> = arguments.iter().map(|argument| self.bind(argument)).collect();
        let list = bound.into_iter().collect::<Bound<Vec<_>>>()?;
        if !function.arity.contains(&list.len()) {
            let message =
                format!("`{name}` doesn't take {} argument{}", list.len(), if list.len() == 1 { "" } else { "s" });
            return self.report(span, message, format!("write {}", function.syntax));
        }
        (function.build)(Arguments { binder: self, name: function.name, list, span })
    }

    fn extract(&mut self, field: &DateTimeField, expr: &Expr, span: Range<usize>) -> Bound {
        let field = field.to_string().to_ascii_lowercase();
        let name = match field.trim_end_matches('s') {
            "doy" => "dayofyear",
            "dow" | "dayofweek" => "dayofweek",
            "week" => "weekofyear",
            other => other,
        };
        let parts = ["year", "quarter", "month", "weekofyear", "day", "dayofweek", "dayofyear", "hour", "minute"];
        if !parts.contains(&name) {
            let help = "use year, quarter, month, week, day, dow, doy, hour or minute; second(…) gives whole seconds";
            return self.report(span, format!("`{field}` can't be extracted"), help);
        }
        self.scalar(name, &[expr], span)
    }

    /// `window(…).start` and the like.
    pub(super) fn field(&mut self, root: &Expr, chain: &[AccessExpr], span: Range<usize>) -> Bound {
        if let (Some(function), [AccessExpr::Dot(Expr::Identifier(Ident { value, .. }))]) = (as_window(root), chain) {
            let shape = self.window_shape(function)?;
            if self.window.as_ref().is_some_and(|window| *window != shape) {
                return self.report(
                    span,
                    "this window isn't the one of GROUP BY",
                    "a query has one window: write the same in both",
                );
            }
            let name = function.name.to_string();
            return self.window_field(&name, value, span);
        }
        self.report(
            span,
            "fields and elements of values aren't supported",
            "streams and reference tables have plain columns",
        )
    }
}
