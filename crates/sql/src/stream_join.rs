//! Joins of two streams: equal keys, and event times that lie within bounds of each other.

use std::ops::Range;

use datafusion_common::ScalarValue;
use sqlparser::ast::JoinConstraint;

use crate::bind::{Binder, Bound};
use crate::from::{Named, free_prefix};
use crate::lower::normalized;
use crate::plan::{JoinKind, StreamTable};
use crate::relation::BranchDraft;
use crate::scope::{ScopeColumn, ScopeTable};
use crate::typed::{Comparison, Kind, Typed};
use crate::types;

/// A join with a second stream before it is known which columns are read.
#[derive(Debug, Clone)]
pub(crate) struct StreamJoinDraft {
    pub(crate) stream: String,
    pub(crate) kind: JoinKind,
    /// The second stream's columns as they are called in the row.
    pub(crate) columns: Vec<ScopeColumn>,
    /// Pairs of equal values, over the first stream's row and over the second's columns.
    pub(crate) keys: Vec<(Typed, Typed)>,
    pub(crate) left_time: Typed,
    pub(crate) right_time: Typed,
    /// Least and greatest `right_time - left_time`.
    pub(crate) lower_us: i64,
    pub(crate) upper_us: i64,
    pub(crate) span: Range<usize>,
}

/// What ON says.
#[derive(Debug, Default)]
struct Conditions {
    keys: Vec<(Typed, Typed)>,
    lower_us: Option<i64>,
    upper_us: Option<i64>,
    others: Vec<Typed>,
}

/// Which of the two event times a value is, moved by some microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moved {
    is_left: bool,
    by_us: i64,
}

impl Binder<'_> {
    /// Binds a join with a second stream, which must come before any other join.
    pub(crate) fn stream_join(
        &mut self,
        table: &Named,
        (name, stream): (&str, &StreamTable),
        kind: JoinKind,
        constraint: &JoinConstraint,
        branches: &mut [BranchDraft],
        conditions: &mut Vec<Typed>,
    ) -> Bound<()> {
        let [branch] = branches else {
            let help = "write a query for each of the streams, and put their rows together where they are read";
            return self.report(table.span.clone(), "what UNION ALL gives can't be joined with a stream", help);
        };
        if branch.stream_join.is_some() {
            let help = "join two here, and look the third one up where the result is read";
            return self.report(table.span.clone(), "a query joins two streams at most", help);
        }
        if !branch.joins.is_empty() {
            let help = "write FROM stream JOIN stream … JOIN reference …";
            return self.report(table.span.clone(), "streams are joined before reference tables", help);
        }
        if self.scope.table(&table.alias).is_some() {
            let message = format!("the name `{}` is there twice", table.alias);
            return self.report(table.span.clone(), message, format!("give it an alias: {} AS other", table.name));
        }
        let prefix = free_prefix(&table.alias, std::slice::from_ref(branch));
        let scope_table = ScopeTable::reference(&table.alias, &prefix, &stream.schema, kind == JoinKind::Left);
        let columns = scope_table.columns.clone();
        let left_time = branch.event_time.clone();
        let right_time = scope_table.column(&stream.event_time).map(|column| column.value.clone());
        self.scope.tables.push(scope_table);
        let JoinConstraint::On(condition) = constraint else {
            let help = self.bounds_help(&left_time, table, stream);
            return self.report(table.span.clone(), "a join of two streams needs its condition in ON", help);
        };
        let bound = self.condition(condition, "ON")?;
        let Some(right_time) = right_time else { return Err(crate::bind::Reported) };
        let mut found = Conditions::default();
        found.take(bound, &format!("{prefix}."), &left_time, &right_time);
        let Conditions { keys, lower_us, upper_us, others } = found;
        if keys.is_empty() {
            let message = format!("the join with `{}` has no equality of keys", table.name);
            return self.report(table.span.clone(), message, "write ON a.key = b.key AND …, with bounds on the times");
        }
        let (Some(lower_us), Some(upper_us)) = (lower_us, upper_us) else {
            let help = self.bounds_help(&left_time, table, stream);
            let message = "a join of two streams needs both a lower and an upper bound between their event times, \
                           since it would have to keep every row else";
            return self.report(table.span.clone(), message, help);
        };
        if lower_us > upper_us {
            return self.report(table.span.clone(), "no two times lie within these bounds", "exchange the bounds");
        }
        match (kind, others.first()) {
            (JoinKind::Left, Some(other)) => {
                let help = "use CASE in SELECT for other conditions, or WHERE to drop rows";
                let message = "ON of a LEFT JOIN of streams holds only equalities and bounds of the times";
                return self.report(other.span.clone(), message, help);
            }
            (JoinKind::Left, None) => {}
            (JoinKind::Inner, _) => self.event_times.push(right_time.clone()),
        }
        conditions.extend(others);
        branch.stream_join = Some(StreamJoinDraft {
            stream: name.to_owned(),
            kind,
            columns,
            keys,
            left_time,
            right_time,
            lower_us,
            upper_us,
            span: table.span.clone(),
        });
        Ok(())
    }

    fn bounds_help(&self, left_time: &Typed, table: &Named, stream: &StreamTable) -> String {
        let first = self.scope.tables.first().map_or("", |table| table.alias.as_str());
        format!(
            "write ON {first}.key = {alias}.key AND {alias}.{time} BETWEEN {first}.{left_time} AND {first}.{left_time} + INTERVAL '5 minutes'",
            alias = table.alias,
            time = stream.event_time
        )
    }
}

impl Conditions {
    fn take(&mut self, tree: Typed, right_prefix: &str, left_time: &Typed, right_time: &Typed) {
        let is_right = |tree: &Typed| tree.read_columns().0.iter().all(|name| name.starts_with(right_prefix));
        let is_left = |tree: &Typed| !tree.read_columns().0.iter().any(|name| name.starts_with(right_prefix));
        let reads = |tree: &Typed| !tree.read_columns().0.is_empty();
        match tree.kind {
            Kind::And(a, b) => {
                self.take(*a, right_prefix, left_time, right_time);
                self.take(*b, right_prefix, left_time, right_time);
            }
            Kind::Compare(comparison, a, b) => {
                let times = (moved(&a, left_time, right_time), moved(&b, left_time, right_time));
                if let (Some(x), Some(y)) = times
                    && x.is_left != y.is_left
                    && self.bound(comparison, x, y)
                {
                    return;
                }
                if comparison == Comparison::Equal && reads(&a) && reads(&b) {
                    if is_left(&a) && is_right(&b) {
                        return self.keys.push((normalized(*a), normalized(*b)));
                    }
                    if is_right(&a) && is_left(&b) {
                        return self.keys.push((normalized(*b), normalized(*a)));
                    }
                }
                self.others.push(Typed { kind: Kind::Compare(comparison, a, b), ..tree });
            }
            kind => self.others.push(Typed { kind, ..tree }),
        }
    }

    /// Takes `x comparison y` as a bound of right minus left; false if it isn't one.
    fn bound(&mut self, comparison: Comparison, x: Moved, y: Moved) -> bool {
        // right + r compared with left + l is right - left compared with l - r.
        let (right, left, comparison) = match (x.is_left, comparison) {
            (false, comparison) => (x, y, comparison),
            (true, Comparison::Less) => (y, x, Comparison::Greater),
            (true, Comparison::LessOrEqual) => (y, x, Comparison::GreaterOrEqual),
            (true, Comparison::Greater) => (y, x, Comparison::Less),
            (true, Comparison::GreaterOrEqual) => (y, x, Comparison::LessOrEqual),
            (true, comparison) => (y, x, comparison),
        };
        let Some(limit) = left.by_us.checked_sub(right.by_us) else { return false };
        let lower = |limit: i64, known: Option<i64>| Some(known.map_or(limit, |known| known.max(limit)));
        let upper = |limit: i64, known: Option<i64>| Some(known.map_or(limit, |known| known.min(limit)));
        match comparison {
            Comparison::Greater => self.lower_us = lower(limit.saturating_add(1), self.lower_us),
            Comparison::GreaterOrEqual => self.lower_us = lower(limit, self.lower_us),
            Comparison::Less => self.upper_us = upper(limit.saturating_sub(1), self.upper_us),
            Comparison::LessOrEqual => self.upper_us = upper(limit, self.upper_us),
            Comparison::Equal => {
                self.lower_us = lower(limit, self.lower_us);
                self.upper_us = upper(limit, self.upper_us);
            }
            Comparison::NotEqual | Comparison::NullSafeEqual => return false,
        }
        true
    }
}

/// The value as one of the event times, moved by an interval.
fn moved(tree: &Typed, left_time: &Typed, right_time: &Typed) -> Option<Moved> {
    if tree == left_time {
        return Some(Moved { is_left: true, by_us: 0 });
    }
    if tree == right_time {
        return Some(Moved { is_left: false, by_us: 0 });
    }
    let Kind::Kernel(kernel, arguments) = &tree.kind else { return None };
    let ([time, by], true) = (arguments.as_slice(), tree.data_type == types::timestamp()) else { return None };
    let Some(ScalarValue::Int64(Some(us))) = by.as_literal() else { return None };
    let by_us = match kernel.name {
        "+" => *us,
        "-" => us.checked_neg()?,
        _ => return None,
    };
    let time = moved(time, left_time, right_time)?;
    Some(Moved { by_us: time.by_us.checked_add(by_us)?, ..time })
}
