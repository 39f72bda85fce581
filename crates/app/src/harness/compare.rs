//! Expected rows against actual ones.

use project::testfile::{Expectation, ExpectedRow, ExpectedRows, Spot, Target};

use crate::harness::rows::{self, Row};

/// An expectation that didn't come true.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// Where it stands in the file.
    pub(crate) spot: Spot,
    /// What was looked at, as the file names it.
    pub(crate) target: String,
    /// What is wrong in a few words.
    pub(crate) summary: String,
    /// Columns that are shown.
    pub(crate) columns: Vec<String>,
    /// Rows, expected and actual.
    pub(crate) rows: Vec<DiffRow>,
    /// The rows as they would be expected rightly, for `--update`.
    pub(crate) repair: Repair,
}

/// A row of the difference.
#[derive(Debug, Clone)]
pub(crate) enum DiffRow {
    /// Expected, and there.
    Same(Vec<String>),
    /// Expected at this line, and not there.
    Missing(Vec<String>, usize),
    /// There, and not expected.
    Unexpected(Vec<String>),
}

/// How to make the expectation come true.
#[derive(Debug, Clone)]
pub(crate) enum Repair {
    /// The number that is expected.
    Count(usize),
    /// For each expected row what becomes of it, and the rows to add.
    Rows {
        /// In the order of the file.
        kept: Vec<Kept>,
        /// Actual rows that have no expected one.
        added: Vec<Row>,
    },
}

/// What becomes of an expected row.
#[derive(Debug, Clone)]
pub(crate) enum Kept {
    /// It is right.
    Right,
    /// It takes the values of this row.
    Changed(Row),
    /// There is nothing like it.
    Gone,
}

/// What is wrong with an expectation; `None` if it came true.
pub(crate) fn compare(expectation: &Expectation, actual: Vec<Row>) -> Option<Failure> {
    let target = match &expectation.target {
        Target::Table(query) => query.clone(),
        Target::Emitted(query) => format!("emitted {query}"),
        Target::Validated(stream) => format!("validated {stream}"),
        Target::Rejected => "rejected".to_owned(),
    };
    let spot = expectation.spot.clone();
    match &expectation.rows {
        ExpectedRows::Count { count, .. } if *count == actual.len() => None,
        ExpectedRows::Count { count, .. } => Some(Failure {
            spot,
            summary: format!("{target} has {}, and {count} were expected", count_of(actual.len(), "row")),
            target,
            columns: columns(&[], &actual),
            rows: actual.iter().map(|row| DiffRow::Unexpected(cells(row, &columns(&[], &actual)))).collect(),
            repair: Repair::Count(actual.len()),
        }),
        ExpectedRows::Rows { rows: expected, .. } => {
            let matched = if expectation.ordered { in_order(expected, &actual) } else { matching(expected, &actual) };
            let is_right = expected.len() == actual.len() && matched.iter().all(Option::is_some);
            if is_right {
                return None;
            }
            Some(difference(spot, target, expected, actual, &matched))
        }
    }
}

fn difference(
    spot: Spot,
    target: String,
    expected: &[ExpectedRow],
    actual: Vec<Row>,
    matched: &[Option<usize>],
) -> Failure {
    let columns = columns(expected, &actual);
    let mut unused: Vec<usize> = (0..actual.len()).filter(|index| !matched.contains(&Some(*index))).collect();
    let mut rows = Vec::new();
    let mut kept = Vec::new();
    let (mut missing, mut unexpected) = (0, 0);
    for (row, matched) in expected.iter().zip(matched) {
        if let Some(found) = matched.and_then(|index| actual.get(index)) {
            rows.push(DiffRow::Same(cells(found, &columns)));
            kept.push(Kept::Right);
            continue;
        }
        missing += 1;
        rows.push(DiffRow::Missing(expected_cells(row, &columns), row.spot.line));
        // The unexpected row that is most like it stands right below.
        let nearest = unused.iter().copied().max_by_key(|index| {
            let likeness = actual.get(*index).map_or(0, |found| likeness(row, found));
            (likeness, std::cmp::Reverse(*index))
        });
        match nearest.and_then(|index| actual.get(index).map(|found| (index, found))) {
            Some((index, found)) => {
                unexpected += 1;
                unused.retain(|other| *other != index);
                rows.push(DiffRow::Unexpected(cells(found, &columns)));
                kept.push(Kept::Changed(found.clone()));
            }
            None => kept.push(Kept::Gone),
        }
    }
    let added: Vec<Row> = unused.iter().filter_map(|index| actual.get(*index)).cloned().collect();
    unexpected += added.len();
    rows.extend(added.iter().map(|row| DiffRow::Unexpected(cells(row, &columns))));
    let summary = match (missing, unexpected) {
        (0, 0) => format!("{target} has these rows in another order"),
        (0, _) => format!("{target} has {} that {} expected", count_of(unexpected, "row"), was_not(unexpected)),
        (_, 0) => format!("{target} lacks {}", count_of(missing, "expected row")),
        _ => format!("{target}: {} not there, {unexpected} others are", count_of(missing, "expected row")),
    };
    Failure { spot, target, summary, columns, rows, repair: Repair::Rows { kept, added } }
}

fn was_not(count: usize) -> &'static str {
    if count == 1 { "wasn't" } else { "weren't" }
}

fn count_of(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn fits(expected: &ExpectedRow, actual: &Row) -> bool {
    expected.cells.iter().all(|cell| rows::value(actual, &cell.column).is_some_and(|value| value.matches(&cell.value)))
}

fn likeness(expected: &ExpectedRow, actual: &Row) -> usize {
    let fits = |cell: &&project::testfile::ExpectedCell| {
        rows::value(actual, &cell.column).is_some_and(|value| value.matches(&cell.value))
    };
    expected.cells.iter().filter(fits).count()
}

fn in_order(expected: &[ExpectedRow], actual: &[Row]) -> Vec<Option<usize>> {
    let at =
        |(index, row): (usize, &ExpectedRow)| actual.get(index).is_some_and(|found| fits(row, found)).then_some(index);
    expected.iter().enumerate().map(at).collect()
}

/// A greatest assignment of actual rows to expected ones, by augmenting paths: a row that names few columns must not take the only partner of
/// one that names many.
fn matching(expected: &[ExpectedRow], actual: &[Row]) -> Vec<Option<usize>> {
    let mut owner: Vec<Option<usize>> = vec![None; actual.len()];
    for row in 0..expected.len() {
        let mut seen = vec![false; actual.len()];
        assign(row, expected, actual, &mut owner, &mut seen);
    }
    let mut matched = vec![None; expected.len()];
    for (index, row) in owner.iter().enumerate() {
        if let Some(slot) = row.and_then(|row| matched.get_mut(row)) {
            *slot = Some(index);
        }
    }
    matched
}

fn assign(
    row: usize,
    expected: &[ExpectedRow],
    actual: &[Row],
    owner: &mut [Option<usize>],
    seen: &mut [bool],
) -> bool {
    let Some(wanted) = expected.get(row) else { return false };
    for (index, found) in actual.iter().enumerate() {
        if seen.get(index).copied().unwrap_or(true) || !fits(wanted, found) {
            continue;
        }
        seen[index] = true;
        let is_free = match owner[index] {
            None => true,
            Some(other) => assign(other, expected, actual, owner, seen),
        };
        if is_free {
            owner[index] = Some(row);
            return true;
        }
    }
    false
}

/// The columns that the expectation names; those of the results where it names none.
fn columns(expected: &[ExpectedRow], actual: &[Row]) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    let named = expected.iter().flat_map(|row| &row.cells).map(|cell| &cell.column);
    for column in named {
        if !columns.contains(column) {
            columns.push(column.clone());
        }
    }
    if columns.is_empty() {
        let of_rows = actual.first().into_iter().flatten().map(|(column, _)| column);
        columns.extend(of_rows.filter(|column| !["folded_rows", "generation"].contains(&column.as_str())).cloned());
    }
    columns
}

fn cells(row: &Row, columns: &[String]) -> Vec<String> {
    columns.iter().map(|column| rows::value(row, column).map_or_else(String::new, ToString::to_string)).collect()
}

/// What isn't compared stays empty.
fn expected_cells(row: &ExpectedRow, columns: &[String]) -> Vec<String> {
    let value = |column: &String| row.cells.iter().find(|cell| cell.column == *column);
    columns.iter().map(|column| value(column).map_or_else(String::new, |cell| cell.value.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use project::testfile::{Cell, ExpectedCell};

    fn spot() -> Spot {
        Spot { line: 1, bytes: 0..0 }
    }

    fn expected(cells: &[(&str, i64)]) -> ExpectedRow {
        let cell = |(column, value): &(&str, i64)| ExpectedCell {
            column: (*column).to_owned(),
            value: Cell::integer(*value),
            spot: spot(),
        };
        ExpectedRow { spot: spot(), cells: cells.iter().map(cell).collect() }
    }

    fn row(a: i64, b: i64) -> Row {
        vec![("a".to_owned(), Cell::integer(a)), ("b".to_owned(), Cell::integer(b))]
    }

    fn check(rows: Vec<ExpectedRow>, ordered: bool, actual: Vec<Row>) -> Option<Failure> {
        let target = Target::Table("t".to_owned());
        let rows = ExpectedRows::Rows { spot: spot(), rows };
        compare(&Expectation { spot: spot(), target, ordered, rows }, actual)
    }

    #[test]
    fn rows_that_name_few_columns_leave_partners_to_those_that_name_many() {
        let loose = expected(&[("a", 1)]);
        let strict = expected(&[("a", 1), ("b", 1)]);
        assert!(check(vec![loose.clone(), strict.clone()], false, vec![row(1, 1), row(1, 2)]).is_none());
        assert!(check(vec![strict.clone(), strict], false, vec![row(1, 1), row(1, 2)]).is_some());
        assert!(check(vec![loose], false, vec![row(1, 1), row(1, 2)]).is_some(), "all rows have to be expected");
    }

    #[test]
    fn order_counts_only_when_it_is_asked_for() {
        let rows = || vec![expected(&[("a", 1)]), expected(&[("a", 2)])];
        let actual = || vec![row(2, 0), row(1, 0)];
        assert!(check(rows(), false, actual()).is_none());
        assert!(check(rows(), true, actual()).is_some());
    }

    #[test]
    fn the_most_similar_row_stands_below_the_missing_one() {
        let failure = check(vec![expected(&[("a", 1), ("b", 5)])], false, vec![row(9, 9), row(1, 6)]).unwrap();
        assert_eq!(failure.columns, ["a", "b"]);
        let shown: Vec<String> = failure.rows.iter().map(|row| format!("{row:?}")).collect();
        assert_eq!(shown, [r#"Missing(["1", "5"], 1)"#, r#"Unexpected(["1", "6"])"#, r#"Unexpected(["9", "9"])"#]);
    }
}
