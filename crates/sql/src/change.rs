//! What the text of a query has changed since an earlier one: nothing, further columns, or its meaning.

use std::fmt::Write as _;

use arrow_schema::Field;

use crate::plan::{Aggregate, Branch, InnerAggregate, Join, Query, StreamJoin};

/// What a query's present text changes of an earlier one, both compiled against the same catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Nothing that a result shows: comments, spaces, the case of keywords, the options that say where results are kept.
    None,
    /// Row-by-row results have these further columns; the others are as they were, in whatever order. State and rows stay valid.
    Adds(Vec<String>),
    /// Rows, windows or columns: earlier state and results are those of another query.
    Other,
}

impl Query {
    /// What this query changes of `earlier`.
    ///
    /// An aggregate or a pattern that gains a column is [`Change::Other`]: windows and matches that are over have no state left to work the
    /// column out from, so its table would hold values that no recomputation gives.
    pub fn change_from(&self, earlier: &Self) -> Change {
        if rows_of(self) != rows_of(earlier) {
            return Change::Other;
        }
        let (now, before) = (columns(self), columns(earlier));
        if now == before {
            return Change::None;
        }
        if !self.may_gain_columns() || !before.iter().all(|column| now.contains(column)) {
            return Change::Other;
        }
        let added = now.iter().filter(|column| !before.contains(column));
        Change::Adds(added.map(|(name, _)| name.clone()).collect())
    }

    /// Whether [`Change::Adds`] is possible: nothing is kept between its rows that would lack the column, and the branches of UNION ALL are
    /// one piece with what they give.
    pub fn may_gain_columns(&self) -> bool {
        let is_plain = |branch: &Branch| branch.stream_join.is_none() && branch.columns.is_none();
        self.aggregate.is_none() && self.pattern.is_none() && self.branches.iter().all(is_plain)
    }

    /// The columns that the query reads, with their types: what it takes its meaning from besides its text.
    pub fn inputs(&self) -> String {
        let inputs = |branch: &Branch| {
            let mut out = branch.stream.clone();
            // Writing to a String can't fail.
            if let Some(join) = &branch.stream_join {
                _ = write!(out, " with {}", join.stream);
            }
            for field in branch.row_schema.fields() {
                _ = write!(out, ", {}", typed_name(field));
            }
            out
        };
        self.branches.iter().map(inputs).collect::<Vec<_>>().join("; ")
    }
}

/// A column with its type in Spark SQL, as [`Query::inputs`] has it.
pub fn typed_name(field: &Field) -> String {
    let null = if field.is_nullable() { "" } else { " not null" };
    format!("{} {}{null}", field.name(), crate::types::name(field.data_type()))
}

/// Which rows there are and what tells them apart: everything but the result's columns. A field that is added to the plan has to be
/// thought of here, so the plan is taken apart whole.
fn rows_of(query: &Query) -> String {
    let Query {
        name: _,
        text: _,
        options,
        branches,
        inner,
        aggregate,
        having,
        output: _,
        schema: _,
        identity,
        time_column: _,
        pattern,
        warnings: _,
    } = query;
    let mut out = format!("{:?} {:?} {identity:?} {having:?}", options.emit, options.key);
    branches.iter().for_each(|branch| rows_of_branch(&mut out, branch));
    let inner = inner.iter().map(|InnerAggregate { aggregate }| aggregate);
    for Aggregate { window, keys, calls, grouped_schema: _ } in inner.chain(aggregate) {
        _ = write!(out, " group {keys:?} {window:?}");
        for call in calls {
            _ = write!(out, " {:?} {:?} {:?} {}", call.function, call.argument, call.order, call.result);
        }
    }
    if let Some(pattern) = pattern {
        _ = write!(out, " {pattern:?}");
    }
    out
}

fn rows_of_branch(out: &mut String, branch: &Branch) {
    let Branch { stream, input_columns: _, stream_join, joins, row_schema: _, filter, columns } = branch;
    // What branches share is computed in each of them, and what comes after reads it by name.
    _ = write!(out, " from {stream} {filter:?} {columns:?}");
    if let Some(StreamJoin {
        stream,
        kind,
        input_columns,
        output_columns: _,
        keys,
        left_time,
        right_time,
        lower_us,
        upper_us,
    }) = stream_join
    {
        // Rows that wait for partners have these columns.
        _ = write!(out, " with {stream} {kind:?} {:?} {input_columns:?} {keys:?}", branch.input_columns);
        _ = write!(out, " {left_time:?} {right_time:?} {lower_us} {upper_us}");
    }
    for Join { reference, kind, stream_keys, as_of, reference_columns: _, output_columns: _ } in joins {
        // The columns that are taken from the reference show in the expressions that read them.
        _ = write!(out, " join {reference} {kind:?} {stream_keys:?} {as_of:?}");
    }
}

/// Each result column with what it is computed from.
fn columns(query: &Query) -> Vec<(String, String)> {
    query.output.iter().map(|(name, expression)| (name.clone(), format!("{expression:?}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Catalog, ReferenceTable, StreamTable};
    use arrow_schema::{DataType, Field, Schema, TimeUnit};
    use std::sync::Arc;

    fn query(text: &str) -> Query {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let schema = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Utf8, false),
            Field::new("amount", DataType::Decimal128(10, 2), true),
            Field::new("quantity", DataType::Int32, false),
            Field::new("at", time, false),
        ]));
        let products = Schema::new(vec![
            Field::new("product", DataType::Utf8, false),
            Field::new("category", DataType::Utf8, true),
        ]);
        let mut catalog = Catalog::default();
        let orders = StreamTable { schema, event_time: "at".into(), key: "id".into() };
        catalog.streams.insert("returns".into(), orders.clone());
        catalog.streams.insert("orders".into(), orders);
        let products = ReferenceTable { schema: Arc::new(products), key: vec!["product".into()], has_validity: false };
        catalog.references.insert("products".into(), products);
        if text.contains("MATCH_RECOGNIZE") {
            return crate::compile_pattern("q", text, &catalog).unwrap();
        }
        crate::compile("q", text, &catalog).unwrap()
    }

    fn change(before: &str, now: &str) -> Change {
        query(now).change_from(&query(before))
    }

    const ROWS: &str = "SELECT id, amount FROM orders WHERE quantity > 1";
    const WINDOWS: &str =
        "SELECT window(at, '1 minute'), id, sum(amount) AS total FROM orders GROUP BY window(at, '1 minute'), id";

    #[test]
    fn comments_spaces_and_cases_change_nothing() {
        for (before, now) in [
            (ROWS, "-- all orders\nselect id,\n  amount -- money\nfrom orders\nwhere (quantity > 1)"),
            (ROWS, "--! table: false\nSELECT o.id, o.amount FROM orders o WHERE o.quantity > 1"),
            (
                WINDOWS,
                "/* a */ SELECT window(at, '60 seconds'), id, sum(amount) AS total FROM orders\nGROUP BY window(at, '60 seconds'), id",
            ),
        ] {
            assert_eq!(change(before, now), Change::None, "{now}");
        }
    }

    #[test]
    fn further_columns_of_rows_are_added_and_further_columns_of_windows_are_not() {
        let added =
            change(ROWS, "SELECT amount * 2 AS twice, amount, id, upper(id) AS big FROM orders WHERE quantity > 1");
        assert_eq!(added, Change::Adds(vec!["twice".into(), "big".into()]));
        assert_eq!(change(ROWS, "SELECT amount, id FROM orders WHERE quantity > 1"), Change::Adds(vec![]));
        let more = WINDOWS.replace("AS total", "AS total, count(*) AS orders");
        assert_eq!(change(WINDOWS, &more), Change::Other);
        let same_state = WINDOWS.replace("AS total", "AS total, sum(amount) * 2 AS twice");
        assert_eq!(change(WINDOWS, &same_state), Change::Other);
    }

    #[test]
    fn whatever_a_result_shows_is_another_query() {
        let latest = "SELECT id, max_by(amount, at) AS latest, percentile_approx(quantity, 0.5) AS middle \
             FROM orders GROUP BY window(at, '1 minute'), id";
        let joined = "SELECT o.id, p.category FROM orders o JOIN products p ON o.id = p.product";
        for (before, now) in [
            (ROWS, ROWS.replace("> 1", "> 2")),
            (ROWS, ROWS.replace(", amount", "")),
            (ROWS, ROWS.replace("amount", "amount + 1 AS amount")),
            (ROWS, ROWS.replace("amount", "amount AS total")),
            (WINDOWS, WINDOWS.replace("1 minute", "2 minutes")),
            (WINDOWS, WINDOWS.replace("sum", "max")),
            (WINDOWS, WINDOWS.replace("window(at, '1 minute')", "session_window(at, '1 minute')")),
            (latest, latest.replace("(amount, at", "(amount, quantity")),
            (latest, latest.replace("0.5", "0.6")),
            (WINDOWS, format!("{WINDOWS} HAVING sum(amount) > 1")),
            (WINDOWS, format!("--! emit: final\n{WINDOWS}")),
            (WINDOWS, format!("--! key: id\n{WINDOWS}")),
            (joined, joined.replace("JOIN", "LEFT JOIN")),
            (joined, joined.replace("= p.product", "= p.product AND p.category = 'a'")),
        ] {
            assert_eq!(change(before, &now), Change::Other, "{now}");
        }
    }

    #[test]
    fn of_several_streams_every_column_is_part_of_the_meaning() {
        let union = "SELECT id, amount FROM orders UNION ALL SELECT id, -amount FROM returns WHERE quantity > 1";
        let joined = "SELECT o.id, r.amount FROM orders AS o JOIN returns AS r \
             ON r.id = o.id AND r.at BETWEEN o.at AND o.at + INTERVAL '1 hour'";
        let again = "SELECT max(n) AS most FROM (SELECT window, count(*) AS n FROM orders GROUP BY window(at, '1 minute')) AS minutes \
             GROUP BY window(window_time(window), '1 hour')";
        for text in [union, joined, again] {
            assert_eq!(change(text, &text.replace("SELECT", "select  -- which\n ")), Change::None, "{text}");
        }
        for (text, from, to) in [
            (union, "-amount", "amount"),
            (union, "> 1", "> 2"),
            (union, "FROM returns", "FROM orders"),
            (union, "id, ", "id, at, "),
            (joined, "JOIN", "LEFT JOIN"),
            (joined, "1 hour", "2 hours"),
            (joined, "r.id = o.id", "r.id = upper(o.id)"),
            (joined, "r.amount", "r.amount, r.quantity"),
            (again, "1 minute", "2 minutes"),
            (again, "count(*)", "sum(quantity)"),
        ] {
            assert!(text.contains(from));
            let emit = if to == "LEFT JOIN" { "--! emit: final\n" } else { "" };
            let before = format!("{emit}{text}");
            assert_eq!(change(&before, &before.replace(from, to)), Change::Other, "{text}: {to}");
        }
    }

    #[test]
    fn what_a_pattern_matches_is_its_meaning_and_its_layout_is_not() {
        let text = "SELECT id, total FROM orders MATCH_RECOGNIZE (PARTITION BY id ORDER BY at \
             MEASURES sum(B.amount) AS total PATTERN (A B{2,}) WITHIN INTERVAL '5' MINUTE \
             DEFINE A AS A.quantity > 1, B AS B.quantity = 1)";
        assert_eq!(change(text, &text.replace("DEFINE", "-- which\n  DEFINE")), Change::None);
        for (from, to) in [
            ("{2,}", "{3,}"),
            ("> 1", "> 2"),
            ("'5'", "'6'"),
            ("sum(B", "max(B"),
            ("SELECT id, total", "SELECT id, total, total * 2 AS twice"),
        ] {
            assert!(text.contains(from));
            assert_eq!(change(text, &text.replace(from, to)), Change::Other, "{to}");
        }
    }

    #[test]
    fn inputs_name_what_is_read_with_its_type() {
        assert_eq!(query(ROWS).inputs(), "orders, id string not null, amount decimal(10,2), quantity int not null");
        let joined = "SELECT o.id FROM orders AS o JOIN returns AS r ON r.id = o.id AND r.at = o.at";
        assert_eq!(
            query(joined).inputs(),
            "orders with returns, id string not null, at timestamp not null, r.id string not null, r.at timestamp not null"
        );
        let union = "SELECT id FROM orders UNION ALL SELECT id FROM returns";
        assert_eq!(query(union).inputs(), "orders, id string not null; returns, id string not null");
    }
}
