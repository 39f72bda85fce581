//! For people: where, what, and the rows that differ.

use std::fmt::Write as _;

use super::Ran;
use crate::harness::{DiffRow, Failure};

/// Rows that are shown of one expectation.
const ROWS_MAX: usize = 40;

/// All that failed, and how many passed.
pub(crate) fn text(all: &[Ran]) -> String {
    let mut out = String::new();
    for ran in all.iter().filter(|ran| !ran.has_passed()) {
        out.push_str(&failure(ran));
        out.push('\n');
    }
    out.push_str(&summary(all));
    out
}

/// A failed case with all that is wrong.
pub(super) fn failure(ran: &Ran) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    _ = write_failure(&mut out, ran);
    out
}

/// `3 tests passed`, or what failed.
fn summary(all: &[Ran]) -> String {
    let failed = all.iter().filter(|ran| !ran.has_passed()).count();
    let tests = |count: usize| if count == 1 { "1 test".to_owned() } else { format!("{count} tests") };
    if failed == 0 {
        format!("{} passed", tests(all.len()))
    } else {
        format!("{} passed, {failed} failed", tests(all.len() - failed))
    }
}

fn write_failure(out: &mut String, ran: &Ran) -> std::fmt::Result {
    writeln!(out, "FAILED {}:{} {}", ran.file, ran.line, ran.name)?;
    for failure in &ran.outcome.failures {
        write_rows(out, &ran.file, failure)?;
    }
    if let Some(error) = &ran.outcome.error {
        writeln!(out, "  the pipeline stopped: {error}")?;
    }
    Ok(())
}

/// A table with a mark before each row: `-` expected and not there, `+` there and not expected.
fn write_rows(out: &mut String, file: &str, failure: &Failure) -> std::fmt::Result {
    writeln!(out, "  {file}:{}: {}", failure.spot.line, failure.summary)?;
    let mut lines: Vec<(char, &[String], Option<usize>)> = vec![(' ', &failure.columns, None)];
    for row in failure.rows.iter().take(ROWS_MAX) {
        lines.push(match row {
            DiffRow::Same(cells) => (' ', cells, None),
            DiffRow::Missing(cells, line) => ('-', cells, Some(*line)),
            DiffRow::Unexpected(cells) => ('+', cells, None),
        });
    }
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|(_, cells, _)| cells.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..failure.columns.len()).map(width).collect();
    for (mark, cells, line) in &lines {
        let mut shown = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            write!(shown, "{cell:width$}  ")?;
        }
        let note = line.map(|line| format!("  (line {line})")).unwrap_or_default();
        writeln!(out, "    {mark} {}", format!("{}{note}", shown.trim_end()).trim_end())?;
    }
    if failure.rows.len() > ROWS_MAX {
        writeln!(out, "      … and {} more", failure.rows.len() - ROWS_MAX)?;
    }
    Ok(())
}
