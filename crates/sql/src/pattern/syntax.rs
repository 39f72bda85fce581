//! The row pattern: what stands in the parentheses of PATTERN.

use std::ops::Range;

use sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use crate::bind::{Bound, Reported};
use crate::diagnostic::Diagnostic;

/// Most variables of a pattern.
pub(crate) const VARIABLES_MAX: usize = 64;
/// Most rounds that a quantifier may name.
const ROUNDS_MAX: u32 = 1_000;
/// Deepest nesting of groups.
const DEPTH_MAX: usize = 50;

/// A row pattern. Variables are numbered in the order of their first appearance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RowPattern {
    Variable(u8),
    Sequence(Vec<Self>),
    Alternation(Vec<Self>),
    Permute(Vec<Self>),
    Exclusion(Box<Self>),
    Quantified { inner: Box<Self>, least: u32, most: Option<u32>, reluctant: bool },
}

impl RowPattern {
    /// Whether rows can be mapped to it in one way only: it leaves nothing to prefer.
    pub(crate) fn has_one_way(&self) -> bool {
        match self {
            Self::Variable(_) => true,
            Self::Sequence(parts) => parts.iter().all(Self::has_one_way),
            Self::Alternation(_) | Self::Permute(_) => false,
            Self::Exclusion(inner) => inner.has_one_way(),
            Self::Quantified { inner, least, most, .. } => *most == Some(*least) && inner.has_one_way(),
        }
    }
}

/// Reads a row pattern.
#[derive(Debug)]
pub(crate) struct PatternParser<'c, 's, 'a> {
    cursor: &'c mut Cursor<'s, 'a>,
    /// Names as they first appear.
    pub(crate) variables: Vec<String>,
    depth: usize,
}

impl<'c, 's, 'a> PatternParser<'c, 's, 'a> {
    pub(crate) fn new(cursor: &'c mut Cursor<'s, 'a>) -> Self {
        Self { cursor, variables: Vec::new(), depth: 0 }
    }

    /// The whole pattern, up to the end of the tokens.
    pub(crate) fn whole(&mut self, diagnostics: &mut Vec<Diagnostic>) -> Bound<RowPattern> {
        let pattern = self.alternation(diagnostics)?;
        match self.cursor.peek() {
            None => Ok(pattern),
            Some(_) => {
                let (span, found) = self.cursor.here();
                let help = match found.as_str() {
                    ")" => "remove it, or open the group it closes",
                    "-" | "}" => "an exclusion begins with {- and ends with -}",
                    "?" | "*" | "+" | "{" => {
                        "a variable or group has one quantifier; put it into parentheses to repeat it again"
                    }
                    "||" => "write one bar between alternatives: (A | B)",
                    "," => "variables that follow each other stand side by side: A B; PERMUTE(A, B) is any order",
                    _ => "a pattern is made of variables, ( ), |, PERMUTE( , ), {- -} and the quantifiers * + ? {n,m}",
                };
                fail(diagnostics, span, format!("`{found}` can't stand here in a pattern"), help)
            }
        }
    }

    fn alternation(&mut self, diagnostics: &mut Vec<Diagnostic>) -> Bound<RowPattern> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let (span, _) = self.cursor.here();
            return fail(diagnostics, span, "the pattern is nested too deeply", "write it with fewer groups");
        }
        let mut branches = vec![self.sequence(diagnostics)?];
        while self.cursor.take(&Token::Pipe) {
            branches.push(self.sequence(diagnostics)?);
        }
        self.depth -= 1;
        Ok(match branches.pop() {
            Some(one) if branches.is_empty() => one,
            last => RowPattern::Alternation(branches.into_iter().chain(last).collect()),
        })
    }

    fn sequence(&mut self, diagnostics: &mut Vec<Diagnostic>) -> Bound<RowPattern> {
        let mut parts = Vec::new();
        while let Some(part) = self.factor(diagnostics)? {
            parts.push(part);
        }
        match parts.pop() {
            Some(one) if parts.is_empty() => Ok(one),
            Some(last) => Ok(RowPattern::Sequence(parts.into_iter().chain([last]).collect())),
            None => {
                let (span, found) = self.cursor.here();
                let message = match found.as_str() {
                    "" => "the pattern ends where a variable is expected".to_owned(),
                    "^" | "$" => format!("`{found}` isn't supported: a stream has no first and no last row"),
                    found => format!("a variable is expected, and this is `{found}`"),
                };
                let help = match found.as_str() {
                    "^" | "$" => "remove it; WITHIN bounds a match in time",
                    _ => "such as PATTERN (SMALL{3,} LARGE)",
                };
                fail(diagnostics, span, message, help)
            }
        }
    }

    /// A primary with its quantifier; `None` if there is none here.
    fn factor(&mut self, diagnostics: &mut Vec<Diagnostic>) -> Bound<Option<RowPattern>> {
        let Some(primary) = self.primary(diagnostics)? else { return Ok(None) };
        let Some((least, most)) = self.quantifier(diagnostics)? else { return Ok(Some(primary)) };
        let (span, mark) = self.cursor.here();
        let reluctant = mark == "?" && self.cursor.advance();
        if reluctant && most == Some(least) {
            let message =
                format!("`{{{least}}}` takes one number of rounds, so there is nothing to be reluctant about");
            return fail(diagnostics, span, message, "remove the ?, or put what is optional into parentheses: (A{2})?");
        }
        Ok(Some(RowPattern::Quantified { inner: Box::new(primary), least, most, reluctant }))
    }

    fn primary(&mut self, diagnostics: &mut Vec<Diagnostic>) -> Bound<Option<RowPattern>> {
        if let Some((name, span)) = self.cursor.take_name() {
            if name.eq_ignore_ascii_case("PERMUTE") && self.cursor.take(&Token::LParen) {
                return self.permute(diagnostics).map(Some);
            }
            return self.variable(name, span, diagnostics).map(Some);
        }
        if self.cursor.take(&Token::LParen) {
            let inner = self.alternation(diagnostics)?;
            self.close(&Token::RParen, ")", diagnostics)?;
            return Ok(Some(inner));
        }
        if self.cursor.next_are(&[&Token::LBrace, &Token::Minus]) {
            self.cursor.advance();
            self.cursor.advance();
            let inner = self.alternation(diagnostics)?;
            self.close(&Token::Minus, "-}", diagnostics)?;
            self.close(&Token::RBrace, "-}", diagnostics)?;
            return Ok(Some(RowPattern::Exclusion(Box::new(inner))));
        }
        Ok(None)
    }

    fn permute(&mut self, diagnostics: &mut Vec<Diagnostic>) -> Bound<RowPattern> {
        let mut parts = vec![self.alternation(diagnostics)?];
        while self.cursor.take(&Token::Comma) {
            parts.push(self.alternation(diagnostics)?);
        }
        self.close(&Token::RParen, ")", diagnostics)?;
        Ok(RowPattern::Permute(parts))
    }

    fn close(&mut self, token: &Token, shown: &str, diagnostics: &mut Vec<Diagnostic>) -> Bound<()> {
        if self.cursor.take(token) {
            return Ok(());
        }
        let (span, found) = self.cursor.here();
        let message = if found.is_empty() {
            format!("the pattern ends where `{shown}` is expected")
        } else {
            format!("`{shown}` is expected, and this is `{found}`")
        };
        fail(diagnostics, span, message, format!("close it with {shown}"))
    }

    fn variable(&mut self, name: String, span: Range<usize>, diagnostics: &mut Vec<Diagnostic>) -> Bound<RowPattern> {
        let known = self.variables.iter().position(|known| known.eq_ignore_ascii_case(&name));
        let number = known.unwrap_or(self.variables.len());
        match u8::try_from(number) {
            Ok(number) if usize::from(number) < VARIABLES_MAX => {
                if known.is_none() {
                    self.variables.push(name);
                }
                Ok(RowPattern::Variable(number))
            }
            _ => {
                let message = format!("the pattern has more than {VARIABLES_MAX} variables");
                fail(diagnostics, span, message, "use one variable for rows with the same condition")
            }
        }
    }

    /// Least and greatest number of rounds, if a quantifier stands here.
    fn quantifier(&mut self, diagnostics: &mut Vec<Diagnostic>) -> Bound<Option<(u32, Option<u32>)>> {
        for (token, rounds) in [(Token::Mul, (0, None)), (Token::Plus, (1, None))] {
            if self.cursor.take(&token) {
                return Ok(Some(rounds));
            }
        }
        let (span, mark) = self.cursor.here();
        if mark == "?" {
            self.cursor.advance();
            return Ok(Some((0, Some(1))));
        }
        if mark != "{" || self.cursor.next_are(&[&Token::LBrace, &Token::Minus]) {
            return Ok(None);
        }
        self.cursor.advance();
        let least = self.rounds(diagnostics)?;
        let (least, most) = if self.cursor.take(&Token::Comma) {
            (least.unwrap_or(0), self.rounds(diagnostics)?)
        } else if least.is_some() {
            (least.unwrap_or(0), least)
        } else {
            return fail(diagnostics, span, "a quantifier in braces has a number", "write {3}, {3,}, {3,5} or {,5}");
        };
        self.close(&Token::RBrace, "}", diagnostics)?;
        let span = span.start..self.cursor.behind();
        match most {
            Some(0) => fail(diagnostics, span, "this quantifier allows no row at all", "remove what it stands after"),
            Some(most) if most < least => {
                let message = format!("at least {least} and at most {most} can't both be");
                fail(diagnostics, span, message, format!("write {{{most},{least}}}"))
            }
            _ => Ok(Some((least, most))),
        }
    }

    fn rounds(&mut self, diagnostics: &mut Vec<Diagnostic>) -> Bound<Option<u32>> {
        let (span, digits) = self.cursor.here();
        if !digits.starts_with(|c: char| c.is_ascii_digit()) {
            return Ok(None);
        }
        self.cursor.advance();
        match digits.parse::<u32>() {
            Ok(rounds) if rounds <= ROUNDS_MAX => Ok(Some(rounds)),
            _ => {
                let message = format!("`{digits}` isn't a whole number up to {ROUNDS_MAX}");
                fail(diagnostics, span, message, "count longer matches by a condition on count(*) in DEFINE")
            }
        }
    }
}

/// Reports what is wrong and what to write instead.
pub(super) fn fail<T>(
    diagnostics: &mut Vec<Diagnostic>,
    span: Range<usize>,
    message: impl Into<String>,
    help: impl Into<String>,
) -> Bound<T> {
    diagnostics.push(Diagnostic::new(span, message).with_help(help));
    Err(Reported)
}
