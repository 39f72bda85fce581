//! The last minutes, a point a second, so that a page that is opened now shows what came before.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Points that are kept: five minutes.
const POINTS_MAX: usize = 300;

/// The numbers of a moment.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub(crate) time_us: i64,
    pub(crate) input_per_second: f64,
    pub(crate) rejected_per_second: f64,
    pub(crate) lag: u64,
    pub(crate) p50_ms: Option<u64>,
    pub(crate) p99_ms: Option<u64>,
    pub(crate) queries: Vec<(Arc<str>, f64)>,
}

/// The points of the last minutes.
#[derive(Debug, Default)]
pub(crate) struct History {
    points: VecDeque<Point>,
    /// The second of the last point.
    second: Option<u64>,
}

/// The points as columns, which is what charts want. Columns have equal lengths; null where a number was not known.
#[derive(Debug, Default, serde::Serialize)]
pub(crate) struct Columns {
    time_us: Vec<i64>,
    input_per_second: Vec<f64>,
    rejected_per_second: Vec<f64>,
    lag: Vec<u64>,
    p50_ms: Vec<Option<u64>>,
    p99_ms: Vec<Option<u64>>,
    /// Result rows a second, by query.
    queries: BTreeMap<Arc<str>, Vec<Option<f64>>>,
}

impl History {
    /// Whether the second of `now` has no point yet.
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        self.second != Some(now.as_secs())
    }

    /// Adds the point of `now`.
    pub(crate) fn push(&mut self, now: Duration, point: Point) {
        self.second = Some(now.as_secs());
        if self.points.len() == POINTS_MAX {
            self.points.pop_front();
        }
        self.points.push_back(point);
    }

    /// All points, the oldest first.
    pub(crate) fn columns(&self) -> Columns {
        let mut columns = Columns::default();
        let count = self.points.len();
        for (index, point) in self.points.iter().enumerate() {
            columns.time_us.push(point.time_us);
            columns.input_per_second.push(point.input_per_second);
            columns.rejected_per_second.push(point.rejected_per_second);
            columns.lag.push(point.lag);
            columns.p50_ms.push(point.p50_ms);
            columns.p99_ms.push(point.p99_ms);
            for (name, rate) in &point.queries {
                let rates = columns.queries.entry(Arc::clone(name)).or_insert_with(|| vec![None; count]);
                if let Some(slot) = rates.get_mut(index) {
                    *slot = Some(*rate);
                }
            }
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(time_us: i64, queries: Vec<(Arc<str>, f64)>) -> Point {
        Point {
            time_us,
            input_per_second: 1.0,
            rejected_per_second: 0.0,
            lag: 0,
            p50_ms: None,
            p99_ms: Some(9),
            queries,
        }
    }

    #[test]
    fn columns_have_equal_lengths_also_for_a_query_that_came_later() {
        let mut history = History::default();
        history.push(Duration::from_secs(1), point(1, vec![]));
        assert!(!history.is_due(Duration::from_millis(1_999)));
        assert!(history.is_due(Duration::from_secs(2)));
        history.push(Duration::from_secs(2), point(2, vec![(Arc::from("q"), 5.0)]));
        let columns = history.columns();
        assert_eq!(columns.time_us, [1, 2]);
        assert_eq!(columns.queries.values().next().unwrap(), &[None, Some(5.0)]);
    }

    #[test]
    fn it_keeps_five_minutes() {
        let mut history = History::default();
        for second in 0..1_000 {
            history.push(Duration::from_secs(second), point(second as i64, vec![]));
        }
        let times = history.columns().time_us;
        assert_eq!((times.len(), times[0]), (POINTS_MAX, 700));
    }
}
