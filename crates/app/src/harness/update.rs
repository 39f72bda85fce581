//! Expected rows rewritten as they came: values in place, so that comments and layout stay; rows that are new or gone in the style around them.

use std::ops::Range;

use project::testfile::{Expectation, ExpectedRow, ExpectedRows, StepKind, TestFile};

use crate::harness::compare::{Failure, Kept, Repair};
use crate::harness::rows::{self, Row};

/// Bytes of a text and what stands there from now on.
type Edit = (Range<usize>, String);

/// The file's text with each failed expectation made right.
pub(crate) fn updated<'f>(file: &TestFile, failures: impl IntoIterator<Item = &'f Failure>) -> String {
    let steps = file.cases.iter().flat_map(|case| &case.steps);
    let expectations: Vec<&Expectation> = steps
        .filter_map(|step| match &step.kind {
            StepKind::Expect(expectations) => Some(expectations),
            _ => None,
        })
        .flatten()
        .collect();
    let mut edits: Vec<Edit> = Vec::new();
    for failure in failures {
        let Some(expectation) = expectations.iter().find(|expectation| expectation.spot == failure.spot) else {
            continue;
        };
        match (&failure.repair, &expectation.rows) {
            (Repair::Count(count), ExpectedRows::Count { spot, .. }) => {
                edits.push((spot.bytes.clone(), count.to_string()));
            }
            (Repair::Rows { kept, added }, ExpectedRows::Rows { spot, rows }) => {
                edit_rows(&file.text, spot.bytes.start, rows, kept, added, &failure.columns, &mut edits);
            }
            _ => {}
        }
    }
    apply(&file.text, edits)
}

fn edit_rows(
    text: &str,
    list_start: usize,
    expected: &[ExpectedRow],
    kept: &[Kept],
    added: &[Row],
    columns: &[String],
    edits: &mut Vec<Edit>,
) {
    let has_changed_in_number = !added.is_empty() || kept.iter().any(|kept| matches!(kept, Kept::Gone));
    let mut values = Vec::new();
    for (row, kept) in expected.iter().zip(kept) {
        let Kept::Changed(actual) = kept else { continue };
        for cell in &row.cells {
            let Some(value) = rows::value(actual, &cell.column).filter(|value| !value.matches(&cell.value)) else {
                continue;
            };
            values.push((cell.spot.bytes.clone(), value.to_yaml()));
        }
    }
    if !has_changed_in_number {
        edits.append(&mut values);
        return;
    }
    if text.get(list_start..).is_some_and(|rest| rest.starts_with('[')) {
        edits.push(flow_list(text, list_start, expected, kept, added, columns, &values));
    } else {
        block_list(text, expected, kept, added, columns, &values, edits);
    }
}

/// A list in brackets is written anew, with the rows that stay as they are.
fn flow_list(
    text: &str,
    start: usize,
    expected: &[ExpectedRow],
    kept: &[Kept],
    added: &[Row],
    columns: &[String],
    values: &[Edit],
) -> Edit {
    let end = flow_end(text, start);
    let inside = text.get(start..end).unwrap_or_default();
    let mut rows: Vec<String> = Vec::new();
    for (row, kept) in expected.iter().zip(kept) {
        if matches!(kept, Kept::Gone) {
            continue;
        }
        let range = row.spot.bytes.start..flow_end(text, row.spot.bytes.start);
        rows.push(edited(text, range, values));
    }
    rows.extend(added.iter().map(|row| flow_row(row, columns)));
    let joined = if inside.contains('\n') || rows.len() > 1 {
        let indent = format!("{}  ", indent_of(text, start));
        let lines: Vec<String> = rows.iter().map(|row| format!("{indent}{row},\n")).collect();
        format!("[\n{}{}]", lines.concat(), indent_of(text, start))
    } else {
        format!("[{}]", rows.join(", "))
    };
    (start..end, joined)
}

/// Of a list with a line per row, the lines of rows that are gone are taken out, and new ones follow the last.
fn block_list(
    text: &str,
    expected: &[ExpectedRow],
    kept: &[Kept],
    added: &[Row],
    columns: &[String],
    values: &[Edit],
    edits: &mut Vec<Edit>,
) {
    let line_start = |at: usize| text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |found| found + 1);
    let line_end =
        |at: usize| text.get(at..).and_then(|rest| rest.find('\n')).map_or(text.len(), |found| at + found + 1);
    let row_end = |row: &ExpectedRow| {
        let start = row.spot.bytes.start;
        let last = row.cells.iter().map(|cell| cell.spot.bytes.end).max().unwrap_or(start).max(start);
        let is_flow = text.get(start..).is_some_and(|rest| rest.starts_with('{'));
        line_end(if is_flow { flow_end(text, start) } else { last })
    };
    for (row, kept) in expected.iter().zip(kept) {
        let range = line_start(row.spot.bytes.start)..row_end(row);
        match kept {
            Kept::Gone => edits.push((range, String::new())),
            Kept::Right => {}
            Kept::Changed(_) => {
                edits.extend(values.iter().filter(|(at, _)| range.contains(&at.start)).cloned());
            }
        }
    }
    if let (Some(last), false) = (expected.last(), added.is_empty()) {
        let start = line_start(last.spot.bytes.start);
        let indent: String = text.get(start..).unwrap_or_default().chars().take_while(|c| *c == ' ').collect();
        let end = row_end(last);
        let newline = if text.get(..end).is_some_and(|before| before.ends_with('\n')) { "" } else { "\n" };
        let lines: Vec<String> = added.iter().map(|row| format!("{indent}- {}\n", flow_row(row, columns))).collect();
        edits.push((end..end, format!("{newline}{}", lines.concat())));
    }
}

/// A row in one line, with the columns that are compared.
fn flow_row(row: &Row, columns: &[String]) -> String {
    let cell = |column: &String| rows::value(row, column).map(|value| format!("{column}: {}", value.to_yaml()));
    let cells: Vec<String> = columns.iter().filter_map(cell).collect();
    format!("{{ {} }}", cells.join(", "))
}

/// The end of what begins with a bracket: behind its partner. Quoted texts and comments are passed over.
fn flow_end(text: &str, start: usize) -> usize {
    let mut depth = 0_usize;
    let mut quote: Option<char> = None;
    let mut before = ' ';
    let mut characters = text.get(start..).unwrap_or_default().char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match (quote, character) {
            (Some('"'), '\\') => _ = characters.next(),
            (Some(open), character) if character == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') if !before.is_alphanumeric() => quote = Some(character),
            (None, '#') if before.is_whitespace() => {
                while characters.next_if(|(_, character)| *character != '\n').is_some() {}
            }
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return start + at + character.len_utf8();
                }
            }
            (None, _) => {}
        }
        before = character;
    }
    text.len()
}

/// The spaces at the start of the line that a place is in.
fn indent_of(text: &str, at: usize) -> String {
    let line = text.get(..at).unwrap_or_default().rsplit('\n').next().unwrap_or_default();
    // The entries of a list stand behind its dash.
    line.chars().take_while(|c| *c == ' ' || *c == '-').map(|_| ' ').collect()
}

/// A part of the text with those edits that fall into it.
fn edited(text: &str, range: Range<usize>, edits: &[Edit]) -> String {
    let inner = edits.iter().filter(|(at, _)| range.start <= at.start && at.end <= range.end);
    let moved = inner.map(|(at, value)| (at.start - range.start..at.end - range.start, value.clone()));
    apply(text.get(range.clone()).unwrap_or_default(), moved.collect())
}

fn apply(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|(range, _)| (range.start, range.end));
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for (range, value) in edits {
        if range.start < at {
            continue;
        }
        out.push_str(text.get(at..range.start).unwrap_or_default());
        out.push_str(&value);
        at = range.end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bracket_ends_at_its_partner() {
        let text = "x: [ { a: \"]\" }, {b: it's} ] # ]\ny: 1";
        let end = flow_end(text, 3);
        assert_eq!(&text[3..end], "[ { a: \"]\" }, {b: it's} ]");
        assert_eq!(flow_end("{ a: 1 # }\n}", 0), 12);
    }

    #[test]
    fn edits_do_not_disturb_each_other() {
        assert_eq!(apply("abcdef", vec![(4..5, "E".into()), (0..1, String::new()), (6..6, "!".into())]), "bcdEf!");
    }
}
