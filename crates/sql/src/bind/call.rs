//! Calls: of scalar functions, of aggregates, and of `window`.

use std::ops::Range;

use sqlparser::ast::{
    AccessExpr, CeilFloorKind, DateTimeField, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    TrimWhereField,
};

use super::{Binder, Bound, Place, aggregate};
use crate::functions::{self, Arguments};
use crate::interval;
use crate::typed::{Kind, Typed};
use crate::types;

/// Most windows that one row may be in.
const WINDOWS_PER_ROW_MAX: i64 = 86_400;

/// A window over the event time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WindowShape {
    pub(crate) time: Typed,
    pub(crate) size_us: i64,
    pub(crate) slide_us: i64,
    pub(crate) offset_us: i64,
}

/// The call if the expression is one of `window`.
pub(crate) fn as_window(expr: &Expr) -> Option<&Function> {
    match expr {
        Expr::Nested(inner) => as_window(inner),
        Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("window") => Some(function),
        _ => None,
    }
}

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
            return self.report(span, "this form of call isn't supported", "remove what stands after the parentheses");
        }
        if name == "window" {
            return self.report(
                span,
                "a window isn't a value to compute with",
                "put window(…) into GROUP BY, and use window.start and window.end",
            );
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
            let known = functions::names().chain(aggregate::NAMES).chain(["window"]);
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
            return self.window_field(value, span);
        }
        self.report(
            span,
            "fields and elements of values aren't supported",
            "streams and reference tables have plain columns",
        )
    }

    pub(crate) fn window_field(&mut self, field: &str, span: Range<usize>) -> Bound {
        let kind = match field.to_ascii_lowercase().as_str() {
            "start" => Kind::WindowStart,
            "end" => Kind::WindowEnd,
            _ => return self.report(span, format!("a window has no `{field}`"), "it has window.start and window.end"),
        };
        if self.in_aggregate || !matches!(self.place, Place::Select | Place::Having) {
            let message = format!(
                "the window isn't known yet in {}",
                if self.in_aggregate { "an aggregate" } else { self.place.name() }
            );
            return self.report(span, message, "compare the event time itself");
        }
        if self.window.is_none() {
            let help = "write GROUP BY window(event_time, '1 minute')";
            return self.report(span, "there is no window in GROUP BY", help);
        }
        Ok(Typed { kind, data_type: types::timestamp(), nullable: false, span })
    }

    /// The window that a call of `window` describes.
    pub(crate) fn window_shape(&mut self, function: &Function) -> Bound<WindowShape> {
        use sqlparser::ast::Spanned as _;
        let name = self.source.span(function.name.span()).unwrap_or(0..0);
        let span = self.source.call(name);
        let arguments: Vec<&Expr> = match &function.args {
            FunctionArguments::List(list) => list
                .args
                .iter()
                .filter_map(|argument| match argument {
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        };
        let (time, durations) = match arguments.as_slice() {
            [time, durations @ ..] if (1..=3).contains(&durations.len()) => (time, durations),
            _ => {
                let help = "write window(event_time, '1 minute') or window(event_time, '1 minute', '10 seconds')";
                return self.report(span, "`window` takes a time, a length, and optionally a slide and a shift", help);
            }
        };
        let time = self.window_time(time);
        let mut lengths = Vec::new();
        for duration in durations {
            lengths.push((self.duration(duration), self.span_of(duration)));
        }
        let time = time?;
        let mut known = Vec::new();
        for (length, length_span) in lengths {
            known.push((length?, length_span));
        }
        let fallback = || (0, span.clone());
        let size = known.first().cloned().unwrap_or_else(fallback);
        let slide = known.get(1).cloned().unwrap_or_else(|| size.clone());
        let offset = known.get(2).cloned().unwrap_or_else(fallback);
        self.checked_window(time, size, slide, offset)
    }

    fn window_time(&mut self, time: &Expr) -> Bound {
        let time = self.bind(time)?;
        let Some(event_time) = self.event_time.clone() else { return Ok(time) };
        if matches!(&time.kind, Kind::Column(name) if *name == event_time) {
            return Ok(time);
        }
        let message = "windows go by the stream's event time, since its watermark closes them";
        self.report(
            time.span,
            message,
            format!("write window({event_time}, …); the event time is set in tillstream.yaml"),
        )
    }

    fn duration(&mut self, expr: &Expr) -> Bound<i64> {
        let span = self.span_of(expr);
        if let Expr::Interval(interval) = expr {
            return self.interval_us(interval, &span);
        }
        let bound = self.bind(expr)?;
        match bound.as_text() {
            Some(text) => interval::parse_us(text).or_else(|error| self.duration_error(text, &error, &span)),
            None => self.report(span, "the length of a window is written as text", "such as '10 seconds'"),
        }
    }

    fn checked_window(
        &mut self,
        time: Typed,
        (size_us, size_span): (i64, Range<usize>),
        (slide_us, slide_span): (i64, Range<usize>),
        (offset_us, offset_span): (i64, Range<usize>),
    ) -> Bound<WindowShape> {
        let show = interval::display_us;
        if size_us <= 0 {
            return self.report(size_span, "a window has a length above zero", "such as '10 seconds'");
        }
        if slide_us <= 0 {
            return self.report(slide_span, "a window slides by more than zero", "such as '10 seconds'");
        }
        if slide_us > size_us {
            let message =
                format!("sliding by {} would leave gaps between windows of {}", show(slide_us), show(size_us));
            return self.report(slide_span, message, format!("slide by {} or less", show(size_us)));
        }
        if size_us % slide_us != 0 {
            let near = near_divisor(size_us, slide_us);
            let message =
                format!("windows of {} can't be put together from slides of {}", show(size_us), show(slide_us));
            return self.report(
                slide_span,
                message,
                format!("slide by a length that divides it, such as {}", show(near)),
            );
        }
        if size_us / slide_us > WINDOWS_PER_ROW_MAX {
            let message = format!("each row would be in {} windows", size_us / slide_us);
            return self.report(
                slide_span,
                message,
                format!("slide by {} or more", show(size_us / WINDOWS_PER_ROW_MAX + 1)),
            );
        }
        if offset_us.abs() >= slide_us {
            let message = format!("the shift {} isn't less than the slide {}", show(offset_us), show(slide_us));
            return self.report(offset_span, message, "leave it out, or write less");
        }
        Ok(WindowShape { time, size_us, slide_us, offset_us: offset_us.rem_euclid(slide_us) })
    }
}

/// A divisor of `size` near `slide`, in whole units of both where there is one.
fn near_divisor(size: i64, slide: i64) -> i64 {
    const UNITS_US: [i64; 7] = [604_800_000_000, 86_400_000_000, 3_600_000_000, 60_000_000, 1_000_000, 1_000, 1];
    let unit = UNITS_US.into_iter().find(|unit| size % unit == 0 && slide % unit == 0).unwrap_or(1);
    let count = slide / unit;
    (1..=count.min(100_000))
        .flat_map(|step| [count - step, count + step])
        .map(|count| count * unit)
        .find(|slide| *slide > 0 && size % slide == 0)
        .unwrap_or(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_slide_is_found() {
        let second = 1_000_000;
        assert_eq!(near_divisor(60 * second, 7 * second), 6 * second);
        assert_eq!(near_divisor(3_600 * second, 7 * 60 * second), 6 * 60 * second);
        assert_eq!(near_divisor(10 * second, 4 * second), 5 * second);
    }
}
