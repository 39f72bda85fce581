//! JUnit's XML, as build servers read it.

use std::fmt::Write as _;

use super::{Ran, text};

/// The document: a suite per file, a test case per test.
pub(crate) fn junit(all: &[Ran]) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    _ = write_document(&mut out, all);
    out
}

fn write_document(out: &mut String, all: &[Ran]) -> std::fmt::Result {
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    writeln!(out, "<testsuites tests=\"{}\" failures=\"{}\">", all.len(), failed(all))?;
    for suite in all.chunk_by(|a, b| a.file == b.file) {
        let file = suite.first().map(|ran| escaped(&ran.file)).unwrap_or_default();
        writeln!(out, "  <testsuite name=\"{file}\" tests=\"{}\" failures=\"{}\">", suite.len(), failed(suite))?;
        for ran in suite {
            let (name, seconds) = (escaped(&ran.name), ran.took.as_secs_f64());
            write!(out, "    <testcase classname=\"{file}\" name=\"{name}\" file=\"{file}\" line=\"{}\" ", ran.line)?;
            write!(out, "time=\"{seconds:.3}\"")?;
            if ran.has_passed() {
                writeln!(out, "/>")?;
                continue;
            }
            let first = ran.outcome.failures.first().map(|failure| failure.summary.clone());
            let message = first.or_else(|| ran.outcome.error.clone()).unwrap_or_default();
            writeln!(out, ">")?;
            write!(out, "      <failure message=\"{}\">", escaped(&message))?;
            writeln!(out, "{}</failure>", escaped(&text::failure(ran)))?;
            writeln!(out, "    </testcase>")?;
        }
        writeln!(out, "  </testsuite>")?;
    }
    writeln!(out, "</testsuites>")
}

fn failed(all: &[Ran]) -> usize {
    all.iter().filter(|ran| !ran.has_passed()).count()
}

/// Text within XML 1.0, which has no place for most control characters.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(character),
            control if control.is_control() || matches!(control, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_xml_cannot_hold_is_replaced() {
        assert_eq!(super::escaped("a<b> & \"c\"\u{1}\n"), "a&lt;b&gt; &amp; &quot;c&quot;\u{fffd}\n");
    }
}
