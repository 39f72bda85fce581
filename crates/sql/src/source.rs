//! The text: its tokens, places in it, and what is refused before it is parsed.

use std::ops::Range;

use model::limits::SQL_BYTES_MAX;
use sqlparser::parser::ParserError;
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer, Whitespace};

use crate::diagnostic::{Diagnostic, nearest};
use crate::dialect::Portable;
use crate::interval;

/// Tokens of a text.
const TOKENS_MAX: usize = 6_000;
/// Operators of a text. A chain of them is a tree as deep as it is long, and trees are walked by recursion: this bounds the stack.
const OPERATORS_MAX: usize = 1_000;

/// A tokenised text.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(crate) text: &'a str,
    line_starts: Vec<usize>,
    /// Tokens without white space and comments.
    pub(crate) tokens: Vec<TokenWithSpan>,
    is_pattern: bool,
}

impl<'a> Source<'a> {
    /// Tokenises a text.
    pub(crate) fn new(text: &'a str) -> Result<Self, Vec<Diagnostic>> {
        if text.len() > SQL_BYTES_MAX {
            let message = format!("the text has {} bytes, the most is {SQL_BYTES_MAX}", text.len());
            return Err(vec![Diagnostic::new(0..0, message)]);
        }
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let mut source = Self { text, line_starts, tokens: Vec::new(), is_pattern: false };
        let tokens = Tokenizer::new(&Portable, text).tokenize_with_location().map_err(|error| {
            let at = source.offset(error.location);
            let end = source.char_end(at);
            let help = if error.message.contains("string literal") { "close the text with '" } else { "remove it" };
            vec![Diagnostic::new(at..end, decapitalise(&error.message)).with_help(help)]
        })?;
        let blank = |token: &Token| {
            matches!(
                token,
                Token::Whitespace(
                    Whitespace::Space
                        | Whitespace::Newline
                        | Whitespace::Tab
                        | Whitespace::SingleLineComment { .. }
                        | Whitespace::MultiLineComment(_)
                )
            )
        };
        source.tokens = tokens.into_iter().filter(|token| !blank(&token.token)).collect();
        let problems = source.problems();
        if problems.is_empty() { Ok(source) } else { Err(problems) }
    }

    /// Tokenises the text of a pattern.
    pub(crate) fn of_pattern(text: &'a str) -> Result<Self, Vec<Diagnostic>> {
        Self::new(text).map(|source| Self { is_pattern: true, ..source })
    }

    /// Byte of a place; the end of the text for a place beyond it.
    pub(crate) fn offset(&self, location: Location) -> usize {
        let line = usize::try_from(location.line).unwrap_or(usize::MAX).max(1) - 1;
        let column = usize::try_from(location.column).unwrap_or(usize::MAX).max(1) - 1;
        let Some(start) = self.line_starts.get(line) else { return self.text.len() };
        let rest = self.text.get(*start..).unwrap_or("");
        rest.char_indices().nth(column).map_or(self.text.len(), |(at, _)| start + at)
    }

    fn char_end(&self, at: usize) -> usize {
        self.text.get(at..).and_then(|rest| rest.chars().next()).map_or(at, |c| at + c.len_utf8())
    }

    /// Bytes of a span; `None` for the empty span that sqlparser has for what it keeps no place of.
    pub(crate) fn span(&self, span: Span) -> Option<Range<usize>> {
        if span == Span::empty() {
            return None;
        }
        let (start, end) = (self.offset(span.start), self.offset(span.end));
        (start <= end).then_some(start..end)
    }

    /// The span of a call that begins with its name: up to the parenthesis that closes it.
    pub(crate) fn call(&self, name: Range<usize>) -> Range<usize> {
        let mut depth = 0_usize;
        for token in &self.tokens {
            if self.offset(token.span.start) < name.end {
                continue;
            }
            match token.token {
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                let is_end = matches!(token.token, Token::RParen);
                return if is_end { name.start..self.offset(token.span.end) } else { name };
            }
        }
        name
    }

    /// A span and the word just before it: `INTERVAL '5 minutes'` has a place only for its text.
    pub(crate) fn with_word_before(&self, span: Range<usize>) -> Range<usize> {
        let before = self.tokens.iter().take_while(|token| self.offset(token.span.end) <= span.start).last();
        match before {
            Some(token) if matches!(token.token, Token::Word(_)) => self.offset(token.span.start)..span.end,
            _ => span,
        }
    }

    /// The call around what stands first in its parentheses: `CAST(x AS INT)` has a place only for `x`.
    pub(crate) fn call_around(&self, inner: Range<usize>) -> Range<usize> {
        let first = self.tokens.iter().position(|token| self.offset(token.span.start) >= inner.start);
        let before =
            |back: usize| first.and_then(|first| first.checked_sub(back)).and_then(|index| self.tokens.get(index));
        match (before(2), before(1)) {
            (Some(name), Some(open)) if matches!((&name.token, &open.token), (Token::Word(_), Token::LParen)) => {
                self.call(self.token_span(name))
            }
            _ => inner,
        }
    }

    /// The place of the first token that is this word.
    pub(crate) fn word(&self, word: &str) -> Range<usize> {
        self.words(&[word])
    }

    /// The place of the first sequence of these words.
    pub(crate) fn words(&self, words: &[&str]) -> Range<usize> {
        self.places(words).next().unwrap_or(0..0)
    }

    /// The place of the last sequence of these words.
    pub(crate) fn last_words(&self, words: &[&str]) -> Range<usize> {
        self.places(words).next_back().unwrap_or(0..0)
    }

    fn places<'w>(&'w self, words: &'w [&str]) -> impl DoubleEndedIterator<Item = Range<usize>> + 'w {
        let is = |token: &TokenWithSpan, word: &str| matches!(&token.token, Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word));
        self.tokens
            .windows(words.len().max(1))
            .filter(move |tokens| tokens.iter().zip(words).all(|(token, word)| is(token, word)))
            .filter_map(|tokens| Some(self.offset(tokens.first()?.span.start)..self.offset(tokens.last()?.span.end)))
    }

    /// What a parser's error says, at its place.
    pub(crate) fn parse_error(&self, error: &ParserError) -> Diagnostic {
        let message = match error {
            ParserError::TokenizerError(message) | ParserError::ParserError(message) => message.as_str(),
            ParserError::RecursionLimitExceeded => {
                return Diagnostic::new(0..self.text.len(), "the expression is nested too deeply")
                    .with_help("split it into several conditions joined by AND, or into two queries");
            }
        };
        let (message, location) = split_location(message);
        let at = location.map_or(self.text.len(), |location| self.offset(location));
        let (message, found) = readable(message);
        let index = self.found_token(at, found.as_deref());
        let span = match index.and_then(|index| self.tokens.get(index)) {
            Some(token) if token.token != Token::EOF => self.token_span(token),
            _ => {
                let end = self.text.trim_end().len();
                end..end
            }
        };
        let previous = index.unwrap_or(self.tokens.len()).checked_sub(1).and_then(|index| self.tokens.get(index));
        let word = self.text.get(span.clone()).unwrap_or("").to_ascii_uppercase();
        let before = previous.map(|token| self.text.get(self.token_span(token)).unwrap_or("").to_ascii_uppercase());
        let diagnostic = match message.starts_with("no infix parser") {
            true => Diagnostic::new(span, format!("the operator `{word}` isn't supported")),
            false => Diagnostic::new(span, message),
        };
        if let Some(help) = self.advice(&word, before.as_deref().unwrap_or("")) {
            return diagnostic.with_help(help);
        }
        if let Some(near) = misspelt(&word) {
            return diagnostic.with_help(format!("did you mean `{near}`?"));
        }
        // A misspelt keyword was read as an alias, and what follows it was not expected.
        match (previous, before.as_deref().and_then(misspelt)) {
            (Some(token), Some(near)) => {
                let diagnostic = Diagnostic { span: self.token_span(token), ..diagnostic };
                diagnostic.with_help(format!("did you mean `{near}`?"))
            }
            _ if diagnostic.message.starts_with("the text ends") => {
                diagnostic.with_help("complete it, or remove what has nothing after it")
            }
            _ => diagnostic.with_help("what stands right before it may lack a comma, an operator or a parenthesis"),
        }
    }

    /// What to do about a word that the parser doesn't expect.
    fn advice(&self, word: &str, before: &str) -> Option<String> {
        if before == "," && matches!(word, "FROM" | "WHERE" | "GROUP" | "HAVING" | "") {
            return Some("remove the comma before it".to_owned());
        }
        if !self.is_pattern && !self.word("MATCH_RECOGNIZE").is_empty() {
            return Some("patterns aren't queries: they have a folder of their own, `patterns/`".to_owned());
        }
        if before == "WHEN" && self.places(&["CASE"]).count() > self.places(&["END"]).count() {
            return Some("close CASE: CASE WHEN condition THEN value ELSE value END".to_owned());
        }
        const OTHER_WINDOWS: [&[&str]; 4] =
            [&["WINDOW", "TUMBLING"], &["WINDOW", "HOPPING"], &["WINDOW", "SESSION"], &["DESCRIPTOR"]];
        if OTHER_WINDOWS.iter().any(|words| !self.words(words).is_empty()) {
            let window = "write GROUP BY window(event_time, '1 minute') or session_window(event_time, '5 minutes')";
            return Some(window.to_owned());
        }
        let is_number = !before.is_empty() && before.bytes().all(|byte| byte.is_ascii_digit());
        if is_number && interval::unit_us(word).is_ok() {
            return Some(format!("durations are texts: '{before} {}'", word.to_lowercase()));
        }
        if !self.word("ASOF").is_empty() {
            let help =
                "write JOIN: of a reference table with valid_from, the row that is valid at the event time is joined";
            return Some(help.to_owned());
        }
        match word {
            "<<" | ">>" => Some("the operators stand in docs/sql.md".to_owned()),
            "*" if before == "*" => Some("write power(base, exponent)".to_owned()),
            "WITHIN" | "EMIT" | "WATERMARK" => {
                let emit = "when results are published is an option in the first line: `--! emit: final`";
                Some(format!("{emit}; lateness is set in tillstream.yaml"))
            }
            "WHERE" => Some("a query has one WHERE, before GROUP BY: join its conditions by AND".to_owned()),
            "FROM" | "GROUP" | "HAVING" => {
                Some("the clauses come in this order: SELECT, FROM, JOIN, WHERE, GROUP BY, HAVING".to_owned())
            }
            _ => None,
        }
    }

    /// Bytes of a token.
    pub(crate) fn token_span(&self, token: &TokenWithSpan) -> Range<usize> {
        self.offset(token.span.start)..self.offset(token.span.end)
    }

    /// The token that a parser's error is about: at its place, or ending there if it is the one named.
    fn found_token(&self, at: usize, found: Option<&str>) -> Option<usize> {
        let next = self.tokens.iter().position(|token| self.offset(token.span.start) >= at);
        let is_found = |index: &usize| {
            let token = self.tokens.get(*index).map(|token| token.token.to_string());
            found.is_some() && token.as_deref() == found
        };
        // Some errors have the place after the token that they name.
        let previous = next.unwrap_or(self.tokens.len()).checked_sub(1).filter(is_found);
        if next.as_ref().is_some_and(is_found) { next } else { previous.or(next) }
    }

    /// What is refused token by token, since the parser would read something else into it.
    fn problems(&self) -> Vec<Diagnostic> {
        let mut problems = Vec::new();
        if self.tokens.len() > TOKENS_MAX {
            let message = format!("the text has {} words and signs, the most is {TOKENS_MAX}", self.tokens.len());
            problems
                .push(Diagnostic::new(0..0, message).with_help("put long lists into a reference table and join it"));
        }
        let operators = self.tokens.iter().filter(|token| is_operator(&token.token)).count();
        if operators > OPERATORS_MAX {
            let message = format!("the text has {operators} operators, the most is {OPERATORS_MAX}");
            problems.push(
                Diagnostic::new(0..0, message).with_help("use IN (…) instead of long chains, or a reference table"),
            );
        }
        for (index, token) in self.tokens.iter().enumerate() {
            let span = self.offset(token.span.start)..self.offset(token.span.end);
            let raw = self.text.get(span.clone()).unwrap_or("");
            let adjacent = self.tokens.get(index + 1).filter(|next| next.span.start == token.span.end);
            match (&token.token, adjacent.map(|next| &next.token)) {
                (Token::DoubleQuotedString(text), _) => problems.push(
                    Diagnostic::new(
                        span,
                        "double quotes mean text in Spark and a name in PostgreSQL, so they are refused",
                    )
                    .with_help(format!("write '{text}' for text or `{text}` for a column")),
                ),
                (Token::Number(..), Some(Token::Word(suffix))) => problems.push(
                    Diagnostic::new(
                        span.start..span.end + suffix.value.len(),
                        format!("`{raw}{}` isn't a number", suffix.value),
                    )
                    .with_help(format!(
                        "write the type out, such as CAST({raw} AS DOUBLE), or put a space before `{}`",
                        suffix.value
                    )),
                ),
                (Token::SingleQuotedString(_), _) => {
                    if let Some(escape) = unknown_escape(raw) {
                        problems.push(
                            Diagnostic::new(span, format!("the escape `{escape}` in the text isn't supported"))
                                .with_help("write the character itself; a backslash is written \\\\"),
                        );
                    }
                }
                _ => {}
            }
        }
        problems
    }
}

/// Whether a token can make a tree deeper without parentheses.
fn is_operator(token: &Token) -> bool {
    const WORDS: [&str; 24] = [
        "AND",
        "OR",
        "NOT",
        "IS",
        "IN",
        "LIKE",
        "ILIKE",
        "RLIKE",
        "REGEXP",
        "MATCH",
        "SIMILAR",
        "MEMBER",
        "BETWEEN",
        "DIV",
        "XOR",
        "OVERLAPS",
        "COLLATE",
        "AT",
        "NOTNULL",
        "UNION",
        "EXCEPT",
        "INTERSECT",
        "MINUS",
        "OPERATOR",
    ];
    match token {
        Token::Word(word) => WORDS.iter().any(|known| word.value.eq_ignore_ascii_case(known)),
        Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::Comma
        | Token::LParen
        | Token::RParen
        | Token::Period
        | Token::SemiColon
        | Token::EOF => false,
        _ => true,
    }
}

/// The first escape in a quoted text that Spark and sqlparser read differently, or that can't be stored.
fn unknown_escape(raw: &str) -> Option<String> {
    let mut characters = raw.chars();
    while let Some(c) = characters.next() {
        if c == '\\' {
            let escaped = characters.next()?;
            if !matches!(escaped, '\\' | '\'' | '"' | 'n' | 'r' | 't' | '%' | '_' | '.' | '-' | '/') {
                return Some(format!("\\{escaped}"));
            }
        }
    }
    None
}

/// sqlparser's message without the place, and the place.
fn split_location(message: &str) -> (&str, Option<Location>) {
    let Some((before, place)) = message.rsplit_once(" at Line: ") else { return (message, None) };
    let Some((line, column)) = place.split_once(", Column: ") else { return (message, None) };
    match (line.trim().parse(), column.trim().parse()) {
        (Ok(line), Ok(column)) => (before, Some(Location { line, column })),
        _ => (message, None),
    }
}

/// `Expected: X, found: Y` as a sentence, and Y.
fn readable(message: &str) -> (String, Option<String>) {
    let expected = message.strip_prefix("Expected: ").or_else(|| message.strip_prefix("Expected "));
    match expected.and_then(|rest| rest.rsplit_once(", found: ")) {
        Some(("EOF", found)) => (format!("expected the end, found `{found}`"), Some(found.to_owned())),
        Some((expected, "EOF")) => (format!("the text ends where {} is expected", decapitalise(expected)), None),
        Some((expected, found)) => {
            (format!("expected {}, found `{found}`", decapitalise(expected)), Some(found.to_owned()))
        }
        None => (decapitalise(message), None),
    }
}

/// The keyword that a word most likely means, if it isn't one.
fn misspelt(word: &str) -> Option<&'static str> {
    const KEYWORDS: [&str; 12] =
        ["SELECT", "FROM", "WHERE", "GROUP", "HAVING", "JOIN", "LEFT", "INNER", "AND", "BETWEEN", "CASE", "USING"];
    if word.len() < 3 || KEYWORDS.contains(&word) { None } else { nearest(word, KEYWORDS) }
}

/// Starts with a small letter, unless the first word is in capitals.
fn decapitalise(message: &str) -> String {
    let mut characters = message.chars();
    match (characters.next(), characters.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
            first.to_lowercase().chain(characters).collect()
        }
        _ => message.to_owned(),
    }
}
