//! Whether a condition on groups can only turn from false to true as rows come.

use arrow_schema::DataType;

use crate::plan::{Aggregate, AggregateFunction, Query};
use crate::typed::{Comparison, Kind, Typed};

/// Where a value moves as rows come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moves {
    Never,
    Up,
    Down,
    Anywhere,
}

impl Query {
    /// Whether HAVING, once true for a group, stays true: then no result is ever taken back. True without HAVING.
    pub fn having_only_turns_true(&self) -> bool {
        match (&self.having, &self.aggregate) {
            (Some(having), Some(aggregate)) => only_turns_true(having.tree(), aggregate),
            _ => true,
        }
    }
}

fn only_turns_true(tree: &Typed, aggregate: &Aggregate) -> bool {
    match &tree.kind {
        Kind::And(a, b) | Kind::Or(a, b) => only_turns_true(a, aggregate) && only_turns_true(b, aggregate),
        Kind::Compare(comparison, a, b) => {
            let moves = (moves(a, aggregate), moves(b, aggregate));
            match comparison {
                Comparison::Greater | Comparison::GreaterOrEqual => {
                    matches!(moves, (Moves::Up | Moves::Never, Moves::Down | Moves::Never))
                }
                Comparison::Less | Comparison::LessOrEqual => {
                    matches!(moves, (Moves::Down | Moves::Never, Moves::Up | Moves::Never))
                }
                _ => moves == (Moves::Never, Moves::Never),
            }
        }
        _ => moves(tree, aggregate) == Moves::Never,
    }
}

fn moves(tree: &Typed, aggregate: &Aggregate) -> Moves {
    match &tree.kind {
        Kind::Column(name) => match aggregate.calls.iter().find(|call| call.name == *name).map(|call| call.function) {
            Some(
                AggregateFunction::Count
                | AggregateFunction::CountStar
                | AggregateFunction::CountDistinct
                | AggregateFunction::Max,
            ) => Moves::Up,
            Some(AggregateFunction::Min) => Moves::Down,
            Some(_) => Moves::Anywhere,
            // Keys and windows are the group's own.
            None => Moves::Never,
        },
        Kind::Cast(operand) if keeps_order(&operand.data_type, &tree.data_type) => moves(operand, aggregate),
        _ if tree.children().iter().all(|child| moves(child, aggregate) == Moves::Never) => Moves::Never,
        _ => Moves::Anywhere,
    }
}

/// Casts under which a greater value stays greater or equal.
fn keeps_order(from: &DataType, to: &DataType) -> bool {
    use DataType::{Decimal128, Float64, Int32, Int64};
    match (from, to) {
        (Int32, Int64 | Float64) | (Int64 | Decimal128(..), Float64) => true,
        (Int32, Decimal128(precision, scale)) => i32::from(*precision) - i32::from(*scale) >= 10,
        (Int64, Decimal128(precision, scale)) => i32::from(*precision) - i32::from(*scale) >= 19,
        (Decimal128(p1, s1), Decimal128(p2, s2)) => {
            // Rounding away digits may need one digit more before the point.
            let whole = |precision: &u8, scale: &i8| i32::from(*precision) - i32::from(*scale);
            whole(p2, s2) > whole(p1, s1) || (whole(p2, s2) == whole(p1, s1) && s2 >= s1)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_schema::{Field, Schema};

    use super::*;
    use crate::plan::{Catalog, StreamTable};

    fn only_turns_true(having: &str) -> bool {
        let schema = Arc::new(Schema::new(vec![
            Field::new("t", crate::types::timestamp(), false),
            Field::new("k", DataType::Utf8, false),
            Field::new("n", DataType::Int32, false),
        ]));
        let stream = StreamTable { schema, event_time: "t".to_owned(), key: "t".to_owned() };
        let catalog = Catalog { streams: [("s".to_owned(), stream)].into(), ..Catalog::default() };
        let text = format!("SELECT k, count(*) AS c FROM s GROUP BY window(t, '1 minute'), k HAVING {having}");
        crate::compile("q", &text, &catalog).unwrap().having_only_turns_true()
    }

    #[test]
    fn what_grows_stays_above_a_bound() {
        for stays in
            ["count(*) > 12", "12 <= count(n) AND max(n) >= 3", "min(n) < 0 OR k = 'x'", "count(*) > 1.5", "k <> 'a'"]
        {
            assert!(only_turns_true(stays), "{stays}");
        }
        for turns in [
            "count(*) < 12",
            "sum(n) > 0",
            "count(*) = 3",
            "NOT (count(*) > 3)",
            "max(n) < 9",
            "avg(n) > 1",
            "count(*) > max(n)",
        ] {
            assert!(!only_turns_true(turns), "{turns}");
        }
    }
}
