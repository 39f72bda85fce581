//! A walk over the tokens of a part of the text.

use std::ops::Range;

use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::source::Source;

/// Tokens of a part of the text, and a place between them.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'s, 'a> {
    pub(crate) source: &'s Source<'a>,
    pub(crate) tokens: &'s [TokenWithSpan],
    at: usize,
    /// Where the part ends in the text.
    end: usize,
}

impl<'s, 'a> Cursor<'s, 'a> {
    /// A walk over `tokens`, which end at the byte `end`.
    pub(crate) fn new(source: &'s Source<'a>, tokens: &'s [TokenWithSpan], end: usize) -> Self {
        Self { source, tokens, at: 0, end }
    }

    pub(crate) fn peek(&self) -> Option<&'s Token> {
        self.tokens.get(self.at).map(|token| &token.token)
    }

    /// Whether the next tokens are these.
    pub(crate) fn next_are(&self, tokens: &[&Token]) -> bool {
        let next = self.tokens.get(self.at..).unwrap_or_default();
        next.len() >= tokens.len() && next.iter().zip(tokens).all(|(next, token)| next.token == **token)
    }

    /// Steps over the next token, which is there or not.
    pub(crate) fn advance(&mut self) -> bool {
        self.at += 1;
        true
    }

    /// Steps over the next token if it is this one.
    pub(crate) fn take(&mut self, token: &Token) -> bool {
        self.peek() == Some(token) && self.advance()
    }

    /// Steps over these words, if all of them come next.
    pub(crate) fn take_words(&mut self, words: &[&str]) -> bool {
        let next = self.tokens.get(self.at..).unwrap_or_default();
        let found =
            next.len() >= words.len() && next.iter().zip(words).all(|(token, word)| is_word(&token.token, word));
        if found {
            self.at += words.len();
        }
        found
    }

    /// A name, in backticks or not, with its place.
    pub(crate) fn take_name(&mut self) -> Option<(String, Range<usize>)> {
        match self.peek() {
            Some(Token::Word(word)) => {
                let (span, _) = self.here();
                self.advance();
                Some((word.value.clone(), span))
            }
            _ => None,
        }
    }

    /// Place and text of the next token; the end of the part, and no text, after the last.
    pub(crate) fn here(&self) -> (Range<usize>, String) {
        match self.tokens.get(self.at) {
            Some(token) => {
                let span = self.source.token_span(token);
                let text = self.source.text.get(span.clone()).unwrap_or("").to_owned();
                (span, text)
            }
            None => (self.end..self.end, String::new()),
        }
    }

    /// Where the last token that was stepped over ends.
    pub(crate) fn behind(&self) -> usize {
        let before = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        before.map_or(self.end, |token| self.source.token_span(token).end)
    }

    /// The tokens from here on.
    pub(crate) fn rest(&self) -> &'s [TokenWithSpan] {
        self.tokens.get(self.at..).unwrap_or_default()
    }

    /// The parts between commas outside of parentheses, each with the byte at which it ends.
    pub(crate) fn parts(&self) -> Vec<Self> {
        let mut parts = Vec::new();
        let (mut depth, mut from) = (0_i32, self.at);
        for (at, token) in self.tokens.iter().enumerate().skip(self.at) {
            depth += nesting(&token.token);
            if depth == 0 && token.token == Token::Comma {
                let end = self.source.token_span(token).start;
                parts.push(Self::new(self.source, self.tokens.get(from..at).unwrap_or_default(), end));
                from = at + 1;
            }
        }
        parts.push(Self::new(self.source, self.tokens.get(from..).unwrap_or_default(), self.end));
        parts
    }

    /// Where the part ends.
    pub(crate) fn end(&self) -> usize {
        self.end
    }

    /// Place of all that is left, without the space around it.
    pub(crate) fn span(&self) -> Range<usize> {
        match (self.rest().first(), self.rest().last()) {
            (Some(first), Some(last)) => self.source.token_span(first).start..self.source.token_span(last).end,
            _ => self.end..self.end,
        }
    }
}

/// Whether a token is this word, without quotes and in any case.
pub(crate) fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
}

/// By how much a token goes deeper into parentheses.
pub(crate) fn nesting(token: &Token) -> i32 {
    match token {
        Token::LParen | Token::LBracket | Token::LBrace => 1,
        Token::RParen | Token::RBracket | Token::RBrace => -1,
        _ => 0,
    }
}
