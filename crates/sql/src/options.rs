//! The options in a query's leading lines: `--! emit: final`.

use std::ops::Range;

use crate::diagnostic::{Diagnostic, list, nearest};
use crate::plan::{Emit, QueryOptions};

const KEYS: [&str; 3] = ["emit", "table", "key"];

/// The options, and where each column of `key` stands.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) options: QueryOptions,
    pub(crate) key_spans: Vec<Range<usize>>,
    /// Where `emit` stands, if it is given.
    pub(crate) emit_span: Option<Range<usize>>,
}

/// Reads the options. They stand before the first word of SQL; comments and empty lines may come between.
pub(crate) fn parse(text: &str, diagnostics: &mut Vec<Diagnostic>) -> Parsed {
    let mut parsed = Parsed::default();
    let mut seen: Vec<&str> = Vec::new();
    let mut leading = true;
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let start = offset + (line.len() - line.trim_start().len());
        offset += line.len();
        let line = line.trim();
        let Some(option) = line.strip_prefix("--!") else {
            leading &= line.is_empty() || line.starts_with("--");
            continue;
        };
        let whole = start..start + line.len();
        if !leading {
            diagnostics.push(
                Diagnostic::new(whole, "an option stands after the SQL has begun")
                    .with_help("move it to the first lines"),
            );
            continue;
        }
        let Some((key, value)) = option.split_once(':') else {
            diagnostics.push(
                Diagnostic::new(whole, "an option has a name, a colon and a value")
                    .with_help("such as `--! emit: final`"),
            );
            continue;
        };
        let place = |part: &str, within: usize| {
            let at = within + (part.len() - part.trim_start().len());
            at..at + part.trim().len()
        };
        let key_span = place(key, start + 3);
        let value_span = place(value, start + 3 + key.len() + 1);
        let (key, value) = (key.trim(), value.trim());
        if seen.contains(&key) {
            diagnostics
                .push(Diagnostic::new(key_span, format!("the option `{key}` is given twice")).with_help("keep one"));
            continue;
        }
        seen.push(key);
        if key == "emit" {
            parsed.emit_span = Some(whole);
        }
        set(&mut parsed, key, key_span, value, value_span, diagnostics);
    }
    parsed
}

fn set(
    parsed: &mut Parsed,
    key: &str,
    key_span: Range<usize>,
    value: &str,
    value_span: Range<usize>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let mut wrong = |values: &[&str]| {
        let diagnostic = Diagnostic::new(value_span.clone(), format!("`{value}` isn't a value of `{key}`"));
        diagnostics.push(match nearest(value, values.iter().copied()) {
            Some(near) => diagnostic.with_help(format!("did you mean `{near}`?")),
            None => diagnostic.with_help(format!("write {}", values.join(" or "))),
        });
    };
    match (key, value) {
        ("emit", "changes") => parsed.options.emit = Emit::Changes,
        ("emit", "final") => parsed.options.emit = Emit::Final,
        ("emit", _) => wrong(&["changes", "final"]),
        ("table", "true") => parsed.options.table = true,
        ("table", "false") => parsed.options.table = false,
        ("table", _) => wrong(&["true", "false"]),
        ("key", _) => {
            let mut columns = Vec::new();
            let mut at = value_span.start;
            for part in value.split(',') {
                let column = part.trim();
                let start = at + (part.len() - part.trim_start().len());
                at += part.len() + 1;
                if column.is_empty() {
                    let message = "a column's name is missing in `key`";
                    diagnostics
                        .push(Diagnostic::new(value_span.clone(), message).with_help("such as `--! key: category`"));
                    return;
                }
                parsed.key_spans.push(start..start + column.len());
                columns.push(column.to_owned());
            }
            parsed.options.key = Some(columns);
        }
        _ => {
            let diagnostic = Diagnostic::new(key_span, format!("there is no option `{key}`"));
            diagnostics.push(match nearest(key, KEYS) {
                Some(near) => diagnostic.with_help(format!("did you mean `{near}`?")),
                None => diagnostic.with_help(format!("the options are {}", list(KEYS))),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_before_the_sql() {
        let mut diagnostics = Vec::new();
        let text = "--! emit: final\n-- a comment\n\n  --! key: a,  b\n--! table:false\nSELECT 1";
        let parsed = parse(text, &mut diagnostics);
        assert_eq!(diagnostics, []);
        assert_eq!(parsed.options.emit, Emit::Final);
        assert!(!parsed.options.table);
        assert_eq!(parsed.options.key, Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(parsed.key_spans.iter().map(|span| &text[span.clone()]).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn each_mistake_has_its_place() {
        let mut diagnostics = Vec::new();
        let text = "--! emitt: final\n--! emit: finl\n--! nothing\nSELECT 1\n--! table: true";
        parse(text, &mut diagnostics);
        let places: Vec<&str> = diagnostics.iter().map(|diagnostic| &text[diagnostic.span.clone()]).collect();
        assert_eq!(places, ["emitt", "finl", "--! nothing", "--! table: true"]);
        assert_eq!(diagnostics[0].help.as_deref(), Some("did you mean `emit`?"));
        assert_eq!(diagnostics[1].help.as_deref(), Some("did you mean `final`?"));
    }
}
