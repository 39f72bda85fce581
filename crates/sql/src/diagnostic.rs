//! What is wrong with a text, where, and what to write instead.

use std::fmt::Write as _;
use std::ops::Range;

/// One finding about a query's or rule's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Bytes of the text it is about. Within the text, on character boundaries; empty at the end of the text.
    pub span: Range<usize>,
    /// What is wrong and why.
    pub message: String,
    /// What to write instead, where that is known.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A finding without advice.
    pub fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), help: None }
    }

    /// The same finding with advice.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Line and column where it begins, both from 1, the column in characters.
    pub fn position(&self, text: &str) -> (usize, usize) {
        let before = text.get(..self.span.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before.get(line_start..).map_or(0, |line| line.chars().count());
        (before.matches('\n').count() + 1, column + 1)
    }

    /// The finding as plain text with the line it is about and carets beneath, for logs and tests.
    pub fn render(&self, text: &str, name: &str) -> String {
        let (line_number, column) = self.position(text);
        let line = text.lines().nth(line_number - 1).unwrap_or("");
        let gutter = line_number.to_string();
        let marked = text.get(self.span.clone()).map_or(0, |part| part.lines().next().unwrap_or("").chars().count());
        let carets = "^".repeat(marked.max(1));
        let margin = " ".repeat(gutter.len());
        let indent: String = line.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let mut out = String::new();
        // Writing to a String can't fail.
        _ = writeln!(out, "{name}:{line_number}:{column}: {}", self.message);
        _ = writeln!(out, "{gutter} | {line}");
        _ = writeln!(out, "{margin} | {indent}{carets}");
        if let Some(help) = &self.help {
            _ = writeln!(out, "{margin} = help: {help}");
        }
        out
    }
}

/// The known name that a misspelt one most likely means, if one is near enough.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let reach = match word.chars().count() {
        0..=3 => 1,
        4..=6 => 2,
        _ => 3,
    };
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&word, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= reach && *distance < name.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Names as people list them: "`a`, `b` and `c`"; the rest is counted when there are many.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN_MAX: usize = 12;
    let quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [first @ .., last] if quoted.len() <= SHOWN_MAX => format!("{} and {last}", first.join(", ")),
        all => format!("{} and {} more", all[..SHOWN_MAX].join(", "), all.len() - SHOWN_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carets_stand_under_the_text_also_after_wide_characters() {
        let text = "SELECT 'é', amuont\nFROM t";
        let start = text.find("amuont").unwrap();
        let diagnostic = Diagnostic::new(start..start + 6, "there is no column `amuont`");
        assert_eq!(diagnostic.position(text), (1, 13));
        let rendered = diagnostic.render(text, "q.sql");
        assert!(rendered.contains("1 | SELECT 'é', amuont\n  |             ^^^^^^\n"), "{rendered}");
    }

    #[test]
    fn only_near_names_are_suggested() {
        assert_eq!(nearest("amuont", ["amount", "account"]), Some("amount"));
        assert_eq!(nearest("AMOUNT_", ["amount", "account"]), Some("amount"));
        assert_eq!(nearest("zebra", ["amount", "account"]), None);
        assert_eq!(nearest("x", ["y"]), None);
        assert_eq!(nearest("mod", ["pow", "min"]), None);
    }
}
