//! Windows: `window(time, length, slide, shift)` and `session_window(time, gap)`.

use std::ops::Range;

use datafusion_common::ScalarValue;
use sqlparser::ast::{Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments};

use super::{Binder, Bound, Place};
use crate::interval;
use crate::plan::{WINDOW_END, WINDOW_START};
use crate::typed::{Kind, Typed};
use crate::types;

/// Most windows that one row may be in.
const WINDOWS_PER_ROW_MAX: i64 = 86_400;

/// A window over the event time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WindowShape {
    pub(crate) time: Typed,
    pub(crate) kind: WindowKind,
}

/// How far a window reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WindowKind {
    Fixed { size_us: i64, slide_us: i64, offset_us: i64 },
    Session { gap_us: i64 },
}

impl WindowKind {
    /// The name of its function.
    pub(crate) fn function(self) -> &'static str {
        match self {
            Self::Fixed { .. } => "window",
            Self::Session { .. } => "session_window",
        }
    }
}

/// The call if the expression is one of `window` or `session_window`.
pub(crate) fn as_window(expr: &Expr) -> Option<&Function> {
    match expr {
        Expr::Nested(inner) => as_window(inner),
        Expr::Function(function) => {
            let name = function.name.to_string().to_ascii_lowercase();
            matches!(name.as_str(), "window" | "session_window").then_some(function)
        }
        _ => None,
    }
}

/// `window`, or `x.window` where x is the query in FROM.
fn is_inner_window(expr: &Expr) -> bool {
    let ident = match expr {
        Expr::Identifier(ident) => Some(ident),
        Expr::CompoundIdentifier(parts) => parts.last(),
        _ => None,
    };
    ident.is_some_and(|ident| {
        ident.value.eq_ignore_ascii_case("window") || ident.value.eq_ignore_ascii_case("session_window")
    })
}

/// The event time of an inner query's groups: the last microsecond of their window.
pub(crate) fn window_time(span: Range<usize>) -> Typed {
    let end = Typed::column(WINDOW_END, types::timestamp(), false, span.clone());
    let one = Typed::literal(ScalarValue::Int64(Some(1)), span.clone());
    let kind = Kind::Kernel(crate::kernel::arithmetic::SUBTRACT, vec![end, one]);
    Typed { kind, data_type: types::timestamp(), nullable: false, span }
}

impl Binder<'_> {
    /// `window_time(window)`: the time of an inner query's groups.
    pub(super) fn inner_window_time(&mut self, function: &Function, span: Range<usize>) -> Bound {
        let window = match &function.args {
            FunctionArguments::List(list) => match list.args.as_slice() {
                [FunctionArg::Unnamed(FunctionArgExpr::Expr(window))] if is_inner_window(window) => Some(window),
                _ => None,
            },
            _ => None,
        };
        match (window, self.inner_window) {
            (Some(_), Some(WindowKind::Fixed { .. })) => Ok(window_time(span)),
            (Some(_), Some(WindowKind::Session { .. })) => {
                let help = "group fixed windows: window(event_time, '1 minute')";
                self.report(span, "sessions can't be grouped by a further window", help)
            }
            _ => {
                let message = "`window_time` takes the window of a query in FROM";
                let help = "write FROM (SELECT window, … GROUP BY window(event_time, '1 minute')) AS minutes \
                            GROUP BY window(window_time(window), '1 hour')";
                self.report(span, message, help)
            }
        }
    }

    /// `start` or `end` of the window, which is called as its function.
    pub(crate) fn window_field(&mut self, name: &str, field: &str, span: Range<usize>) -> Bound {
        if let (None, Some(inner)) = (&self.window, self.inner_window)
            && name.eq_ignore_ascii_case(inner.function())
        {
            let column = match field.to_ascii_lowercase().as_str() {
                "start" => Some(WINDOW_START),
                "end" => Some(WINDOW_END),
                _ => None,
            };
            if let Some(column) = column {
                return Ok(Typed::column(column, types::timestamp(), false, span));
            }
        }
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
        let Some(window) = &self.window else {
            let help = "write GROUP BY window(event_time, '1 minute')";
            return self.report(span, "there is no window in GROUP BY", help);
        };
        let function = window.kind.function();
        if !name.eq_ignore_ascii_case(function) {
            let message = format!("the window of GROUP BY is called `{function}`");
            return self.report(span, message, format!("write {function}.{field}"));
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
        if function.name.to_string().eq_ignore_ascii_case("session_window") {
            return self.session_shape(&arguments, span);
        }
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

    fn session_shape(&mut self, arguments: &[&Expr], span: Range<usize>) -> Bound<WindowShape> {
        let [time, gap] = arguments else {
            let help = "write session_window(event_time, '5 minutes')";
            return self.report(span, "`session_window` takes a time and the gap that ends a session", help);
        };
        let (time, gap_us) = (self.window_time(time), self.duration(gap));
        let (time, gap_us) = (time?, gap_us?);
        if gap_us <= 0 {
            let gap = self.span_of(gap);
            return self.report(gap, "the gap of a session is above zero", "such as '5 minutes'");
        }
        Ok(WindowShape { time, kind: WindowKind::Session { gap_us } })
    }

    fn window_time(&mut self, time: &Expr) -> Bound {
        if is_inner_window(time) && matches!(self.inner_window, Some(WindowKind::Fixed { .. })) {
            // As in Spark, a window stands for its time.
            return Ok(window_time(self.span_of(time)));
        }
        let time = self.bind(time)?;
        if self.event_times.contains(&time) {
            return Ok(time);
        }
        let (message, help) = match (self.inner_window, self.event_times.first()) {
            (Some(WindowKind::Fixed { .. }), _) => (
                "the time of groups is that of their window",
                "write window(window_time(window), …), where the inner query selects window".to_owned(),
            ),
            (Some(WindowKind::Session { .. }), _) => (
                "sessions can't be grouped by a further window",
                "group fixed windows: window(event_time, '1 minute')".to_owned(),
            ),
            (None, Some(event_time)) => (
                "windows go by the stream's event time, since its watermark closes them",
                format!("write window({event_time}, …); the event time is set in tillstream.yaml"),
            ),
            (None, None) => (
                "windows go by the event time, which the queries of UNION ALL don't have in one column",
                "select the event time of each in the same column".to_owned(),
            ),
        };
        self.report(time.span, message, help)
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
        let kind = WindowKind::Fixed { size_us, slide_us, offset_us: offset_us.rem_euclid(slide_us) };
        Ok(WindowShape { time, kind })
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
