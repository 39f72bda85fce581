//! The parts of a `MATCH_RECOGNIZE` clause, in the order of SQL:2016 with WITHIN after PATTERN.

use std::ops::Range;

use sqlparser::ast::Expr;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use super::cursor::{Cursor, is_word, nesting};
use super::plan::RowsPerMatch;
use super::syntax::{PatternParser, RowPattern, fail};
use crate::bind::{Bound, Reported};
use crate::diagnostic::{Diagnostic, nearest};
use crate::dialect::Portable;
use crate::source::Source;

/// A clause as written.
#[derive(Debug)]
pub(crate) struct Clause {
    pub(crate) partition_by: Vec<(Expr, Range<usize>)>,
    pub(crate) order_by: Vec<(Expr, Range<usize>)>,
    pub(crate) measures: Vec<NamedExpr>,
    pub(crate) rows: RowsPerMatch,
    pub(crate) skip: SkipTo,
    pub(crate) pattern: RowPattern,
    /// Place of the whole row pattern.
    pub(crate) pattern_span: Range<usize>,
    pub(crate) variables: Vec<String>,
    pub(crate) within: (Expr, Range<usize>),
    pub(crate) subsets: Vec<Subset>,
    pub(crate) definitions: Vec<NamedExpr>,
}

/// `name AS expression` of DEFINE, `expression AS name` of MEASURES.
#[derive(Debug)]
pub(crate) struct NamedExpr {
    pub(crate) name: String,
    pub(crate) name_span: Range<usize>,
    pub(crate) expr: Expr,
    /// Where calls begin that RUNNING or FINAL stands before: place of the call's name, and whether it is FINAL.
    pub(crate) semantics: Vec<(usize, bool)>,
}

/// AFTER MATCH SKIP as written.
#[derive(Debug)]
pub(crate) enum SkipTo {
    PastLastRow,
    ToNextRow,
    First(String, Range<usize>),
    Last(String, Range<usize>),
}

/// `name = (variable, …)` of SUBSET.
#[derive(Debug)]
pub(crate) struct Subset {
    pub(crate) name: String,
    pub(crate) span: Range<usize>,
    pub(crate) members: Vec<(String, Range<usize>)>,
}

/// The kinds of parts in their order, each with the words that it begins with.
const PARTS: [(Part, &[&str]); 10] = [
    (Part::PartitionBy, &["PARTITION", "BY"]),
    (Part::OrderBy, &["ORDER", "BY"]),
    (Part::Measures, &["MEASURES"]),
    (Part::OneRow, &["ONE", "ROW", "PER", "MATCH"]),
    (Part::AllRows, &["ALL", "ROWS", "PER", "MATCH"]),
    (Part::Skip, &["AFTER", "MATCH"]),
    (Part::Pattern, &["PATTERN"]),
    (Part::Within, &["WITHIN"]),
    (Part::Subset, &["SUBSET"]),
    (Part::Define, &["DEFINE"]),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    PartitionBy,
    OrderBy,
    Measures,
    OneRow,
    AllRows,
    Skip,
    Pattern,
    Within,
    Subset,
    Define,
}

/// A part with its tokens, without the words that it begins with.
struct Found<'s, 'a> {
    part: Part,
    span: Range<usize>,
    cursor: Cursor<'s, 'a>,
}

/// Reads a clause: `tokens` are those between its parentheses, which close at the byte `end`. Mistakes in one part don't hide those in
/// another.
pub(crate) fn parse(
    source: &Source<'_>,
    tokens: &[TokenWithSpan],
    end: usize,
    diagnostics: &mut Vec<Diagnostic>,
) -> Bound<Clause> {
    let found = split(source, tokens, end, diagnostics)?;
    check_order(source, &found, diagnostics);
    let before = diagnostics.len();
    let part = |part: Part| found.iter().find(|found| found.part == part).map(|found| found.cursor.clone());
    let missing = |diagnostics: &mut Vec<Diagnostic>, message: &str, help: &str| {
        diagnostics.push(Diagnostic::new(end..end, message).with_help(help));
    };
    let list = |part: Option<Cursor<'_, '_>>, diagnostics: &mut Vec<Diagnostic>| match part {
        Some(cursor) => expressions(&cursor, diagnostics),
        None => Ok(Vec::new()),
    };
    let partition_by = list(part(Part::PartitionBy), diagnostics);
    let order_by = match part(Part::OrderBy) {
        Some(cursor) => ascending(&cursor, diagnostics),
        None => Ok(Vec::new()),
    };
    let measures = named(part(Part::Measures), false, diagnostics);
    let rows = match part(Part::AllRows) {
        Some(cursor) => all_rows(cursor, diagnostics),
        None => {
            part(Part::OneRow).map_or(Ok(()), |cursor| nothing_left(&cursor, diagnostics)).map(|()| RowsPerMatch::One)
        }
    };
    let skip = part(Part::Skip).map_or(Ok(SkipTo::PastLastRow), |cursor| skip_to(cursor, diagnostics));
    let pattern = match part(Part::Pattern) {
        Some(cursor) => row_pattern(cursor, diagnostics),
        None => {
            missing(diagnostics, "the clause has no PATTERN", "add PATTERN (A B+) before DEFINE");
            Err(Reported)
        }
    };
    let within = match part(Part::Within) {
        Some(cursor) => expression(&cursor, diagnostics).map(|expr| (expr, cursor.span())),
        None => {
            let message = "the pattern has no WITHIN: a match that never completes would be kept for ever";
            missing(
                diagnostics,
                message,
                "add WITHIN INTERVAL '10 minutes' after PATTERN (…): the longest time from first to last row",
            );
            Err(Reported)
        }
    };
    let subsets = part(Part::Subset).map_or(Ok(Vec::new()), |cursor| subsets(&cursor, diagnostics));
    if part(Part::Define).is_none() {
        missing(diagnostics, "the clause has no DEFINE", "add DEFINE A AS condition, …: what rows each variable takes");
    }
    let definitions = named(part(Part::Define), true, diagnostics);
    let (pattern, variables, pattern_span) = pattern?;
    let clause = Clause {
        partition_by: partition_by?,
        order_by: order_by?,
        measures: measures?,
        rows: rows?,
        skip: skip?,
        pattern,
        pattern_span,
        variables,
        within: within?,
        subsets: subsets?,
        definitions: definitions?,
    };
    if diagnostics.len() > before { Err(Reported) } else { Ok(clause) }
}

/// Takes the clause apart at the words that parts begin with.
fn split<'s, 'a>(
    source: &'s Source<'a>,
    tokens: &'s [TokenWithSpan],
    end: usize,
    diagnostics: &mut Vec<Diagnostic>,
) -> Bound<Vec<Found<'s, 'a>>> {
    let begins = |at: usize| {
        let next = tokens.get(at..).unwrap_or_default();
        let is = |words: &[&str]| {
            next.len() >= words.len() && next.iter().zip(words).all(|(token, word)| is_word(&token.token, word))
        };
        PARTS.iter().find(|(_, words)| is(words)).map(|(part, words)| (*part, words.len()))
    };
    let mut starts = Vec::new();
    let (mut depth, mut at) = (0_i32, 0);
    while let Some(token) = tokens.get(at) {
        depth += nesting(&token.token);
        match begins(at).filter(|_| depth == 0) {
            Some((part, words)) => {
                starts.push((part, at, at + words));
                at += words;
            }
            None => at += 1,
        }
    }
    let first = starts.first().map_or(tokens.len(), |(_, from, _)| *from);
    if first > 0 || starts.is_empty() {
        let (span, word) = Cursor::new(source, tokens, end).here();
        let near = nearest(&word, PARTS.iter().filter_map(|(_, words)| words.first().copied()));
        let help = match near {
            Some(near) => format!("did you mean {near}?"),
            None => {
                "it begins with PARTITION BY, ORDER BY, MEASURES, … PATTERN, WITHIN, DEFINE, in this order".to_owned()
            }
        };
        let message = if word.is_empty() {
            "the clause is empty".to_owned()
        } else {
            format!("`{word}` can't stand at the start of the clause")
        };
        return fail(diagnostics, span, message, help);
    }
    let ends = starts.iter().skip(1).map(|(_, from, _)| *from).chain([tokens.len()]);
    let found = starts.iter().zip(ends).map(|((part, from, inner), to)| {
        let end = tokens.get(to).map_or(end, |token| source.token_span(token).start);
        let inner = (*inner).min(to);
        let words = tokens.get(*from..inner).unwrap_or_default();
        let span = Cursor::new(source, words, end).span();
        Found { part: *part, span, cursor: Cursor::new(source, tokens.get(inner..to).unwrap_or_default(), end) }
    });
    Ok(found.collect())
}

/// Parts come once and in their order.
fn check_order(source: &Source<'_>, found: &[Found<'_, '_>], diagnostics: &mut Vec<Diagnostic>) {
    for (at, later) in found.iter().enumerate() {
        let name = |found: &Found<'_, '_>| source.text.get(found.span.clone()).unwrap_or("").to_ascii_uppercase();
        let earlier = found.get(..at).unwrap_or_default();
        if earlier.iter().any(|earlier| earlier.part == later.part) {
            let message = format!("{} is there twice", name(later));
            diagnostics.push(Diagnostic::new(later.span.clone(), message).with_help("keep one"));
        } else if let Some(before) = earlier.iter().find(|earlier| earlier.part > later.part) {
            let message = format!("{} stands after {}", name(later), name(before));
            let help = "the order is PARTITION BY, ORDER BY, MEASURES, ONE ROW or ALL ROWS PER MATCH, AFTER MATCH SKIP, PATTERN, WITHIN, SUBSET, DEFINE";
            diagnostics.push(Diagnostic::new(later.span.clone(), message).with_help(help));
        }
    }
    let both = |part: Part| found.iter().find(|found| found.part == part);
    if let (Some(_), Some(all)) = (both(Part::OneRow), both(Part::AllRows)) {
        let message = "ONE ROW PER MATCH and ALL ROWS PER MATCH exclude each other";
        diagnostics.push(Diagnostic::new(all.span.clone(), message).with_help("keep one"));
    }
}

/// An expression that is all of a part.
fn expression(cursor: &Cursor<'_, '_>, diagnostics: &mut Vec<Diagnostic>) -> Bound<Expr> {
    expression_of(cursor.source, cursor.rest().to_vec(), cursor.end(), diagnostics)
}

fn expression_of(
    source: &Source<'_>,
    mut tokens: Vec<TokenWithSpan>,
    end: usize,
    diagnostics: &mut Vec<Diagnostic>,
) -> Bound<Expr> {
    let Some(last) = tokens.last() else {
        return fail(diagnostics, end..end, "an expression is missing", "write one, or remove what stands before");
    };
    let last_end = source.token_span(last).end;
    // So that the parser's place for the end of the text is the end of the part.
    let span = Span { start: last.span.end, end: last.span.end };
    tokens.push(TokenWithSpan { token: Token::EOF, span });
    let mut parser = Parser::new(&Portable).with_tokens_with_locations(tokens);
    let parsed = parser.parse_expr().and_then(|expr| parser.expect_token(&Token::EOF).map(|_| expr));
    parsed.map_err(|error| {
        let diagnostic = source.parse_error(&error);
        diagnostics.push(if diagnostic.message.starts_with("the text ends") {
            let message = diagnostic.message.replace("the text ends", "the expression ends");
            Diagnostic { span: last_end..last_end, message, ..diagnostic }
        } else {
            diagnostic
        });
        Reported
    })
}

fn expressions(cursor: &Cursor<'_, '_>, diagnostics: &mut Vec<Diagnostic>) -> Bound<Vec<(Expr, Range<usize>)>> {
    let mut out = Vec::new();
    let mut failed = false;
    for part in cursor.parts() {
        match expression(&part, diagnostics) {
            Ok(expr) => out.push((expr, part.span())),
            Err(Reported) => failed = true,
        }
    }
    if failed { Err(Reported) } else { Ok(out) }
}

/// The columns of ORDER BY, which may say that they ascend.
fn ascending(cursor: &Cursor<'_, '_>, diagnostics: &mut Vec<Diagnostic>) -> Bound<Vec<(Expr, Range<usize>)>> {
    match cursor.rest() {
        [before @ .., last] if is_word(&last.token, "ASC") => {
            let start = cursor.source.token_span(last).start;
            expressions(&Cursor::new(cursor.source, before, start), diagnostics)
        }
        [.., last] if is_word(&last.token, "DESC") => {
            let message = "rows are matched in the order in which they happen";
            fail(diagnostics, cursor.source.token_span(last), message, "remove DESC")
        }
        _ => expressions(cursor, diagnostics),
    }
}

/// The items of DEFINE (`name AS expression`) or MEASURES (`expression AS name`).
fn named(part: Option<Cursor<'_, '_>>, name_first: bool, diagnostics: &mut Vec<Diagnostic>) -> Bound<Vec<NamedExpr>> {
    let Some(cursor) = part else { return Ok(Vec::new()) };
    let mut out = Vec::new();
    let mut failed = false;
    for item in cursor.parts() {
        match named_item(&item, name_first, diagnostics) {
            Ok(item) => out.push(item),
            Err(Reported) => failed = true,
        }
    }
    if failed { Err(Reported) } else { Ok(out) }
}

fn named_item(item: &Cursor<'_, '_>, name_first: bool, diagnostics: &mut Vec<Diagnostic>) -> Bound<NamedExpr> {
    let tokens = item.rest();
    let mut depth = 0_i32;
    let mut places = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        depth += nesting(&token.token);
        if depth == 0 && is_word(&token.token, "AS") {
            places.push(at);
        }
    }
    let place = if name_first { places.first() } else { places.last() };
    let complaint = |diagnostics: &mut Vec<Diagnostic>| {
        let (message, help) = if name_first {
            ("a definition is a variable, AS, and a condition", "such as DEFINE LARGE AS amount > 100")
        } else {
            ("a measure is an expression, AS, and a name", "such as MEASURES LAST(A.amount) AS amount")
        };
        fail(diagnostics, item.span(), message, help)
    };
    let Some(&at) = place else { return complaint(diagnostics) };
    let (before, after) = (tokens.get(..at).unwrap_or_default(), tokens.get(at + 1..).unwrap_or_default());
    let (name, expr) = if name_first { (before, after) } else { (after, before) };
    let [TokenWithSpan { token: Token::Word(word), .. }] = name else { return complaint(diagnostics) };
    let name_span = name.first().map_or(0..0, |token| item.source.token_span(token));
    let end = if name_first { item.end() } else { name_span.start };
    let (expr, semantics) = without_semantics(item.source, expr);
    let expr = expression_of(item.source, expr, end, diagnostics)?;
    Ok(NamedExpr { name: word.value.clone(), name_span, expr, semantics })
}

/// Takes RUNNING and FINAL out from before calls, which sqlparser doesn't know.
fn without_semantics(source: &Source<'_>, tokens: &[TokenWithSpan]) -> (Vec<TokenWithSpan>, Vec<(usize, bool)>) {
    let mut kept = Vec::with_capacity(tokens.len());
    let mut semantics = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let is_final = is_word(&token.token, "FINAL");
        let call = match tokens.get(at + 1..) {
            Some([name, open, ..]) if matches!(name.token, Token::Word(_)) && open.token == Token::LParen => Some(name),
            _ => None,
        };
        match call {
            Some(name) if is_final || is_word(&token.token, "RUNNING") => {
                semantics.push((source.token_span(name).start, is_final));
            }
            _ => kept.push(token.clone()),
        }
    }
    (kept, semantics)
}

fn nothing_left(cursor: &Cursor<'_, '_>, diagnostics: &mut Vec<Diagnostic>) -> Bound<()> {
    let (span, found) = cursor.here();
    if found.is_empty() {
        return Ok(());
    }
    fail(diagnostics, span, format!("`{found}` can't stand here"), "remove it")
}

/// What stands after ALL ROWS PER MATCH. There are no empty matches, so showing or omitting them is the same.
fn all_rows(mut cursor: Cursor<'_, '_>, diagnostics: &mut Vec<Diagnostic>) -> Bound<RowsPerMatch> {
    if !cursor.take_words(&["SHOW", "EMPTY", "MATCHES"]) && !cursor.take_words(&["OMIT", "EMPTY", "MATCHES"]) {
        let span = cursor.span();
        if cursor.take_words(&["WITH", "UNMATCHED", "ROWS"]) {
            let message = "rows without a match aren't results of a pattern";
            return fail(diagnostics, span, message, "remove it; a row-by-row query gives all rows of the stream");
        }
    }
    nothing_left(&cursor, diagnostics)?;
    Ok(RowsPerMatch::All)
}

/// What stands after AFTER MATCH.
fn skip_to(mut cursor: Cursor<'_, '_>, diagnostics: &mut Vec<Diagnostic>) -> Bound<SkipTo> {
    let whole = cursor.span();
    let skip = if cursor.take_words(&["SKIP", "PAST", "LAST", "ROW"]) {
        SkipTo::PastLastRow
    } else if cursor.take_words(&["SKIP", "TO", "NEXT", "ROW"]) {
        SkipTo::ToNextRow
    } else {
        let first = cursor.take_words(&["SKIP", "TO", "FIRST"]);
        let known = first || cursor.take_words(&["SKIP", "TO", "LAST"]) || cursor.take_words(&["SKIP", "TO"]);
        match cursor.take_name().filter(|_| known) {
            Some((name, span)) if first => SkipTo::First(name, span),
            Some((name, span)) => SkipTo::Last(name, span),
            None => {
                let help =
                    "write SKIP PAST LAST ROW, SKIP TO NEXT ROW, SKIP TO FIRST variable or SKIP TO LAST variable";
                return fail(diagnostics, whole, "after AFTER MATCH stands where to go on", help);
            }
        }
    };
    nothing_left(&cursor, diagnostics)?;
    Ok(skip)
}

/// What stands after PATTERN: the row pattern in parentheses.
fn row_pattern(
    mut cursor: Cursor<'_, '_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Bound<(RowPattern, Vec<String>, Range<usize>)> {
    let whole = cursor.span();
    if !cursor.take(&Token::LParen) {
        let (span, _) = cursor.here();
        return fail(diagnostics, span, "the pattern stands in parentheses", "such as PATTERN (SMALL{3,} LARGE)");
    }
    let (inner, after) = match cursor.rest() {
        [inner @ .., close] if close.token == Token::RParen => (inner, close),
        _ => {
            let message = "the pattern ends with the parenthesis that closes it";
            return fail(diagnostics, whole, message, "such as PATTERN (SMALL{3,} LARGE)");
        }
    };
    let end = cursor.source.token_span(after).start;
    let mut inner = Cursor::new(cursor.source, inner, end);
    let mut parser = PatternParser::new(&mut inner);
    let pattern = parser.whole(diagnostics)?;
    Ok((pattern, parser.variables, whole))
}

/// What stands after SUBSET.
fn subsets(cursor: &Cursor<'_, '_>, diagnostics: &mut Vec<Diagnostic>) -> Bound<Vec<Subset>> {
    cursor.parts().into_iter().map(|part| subset(part, diagnostics)).collect()
}

fn subset(mut part: Cursor<'_, '_>, diagnostics: &mut Vec<Diagnostic>) -> Bound<Subset> {
    let whole = part.span();
    let name = part.take_name();
    let (Some((name, span)), true, true) = (name, part.take(&Token::Eq), part.take(&Token::LParen)) else {
        return fail(
            diagnostics,
            whole,
            "a subset is a name, =, and variables in parentheses",
            "such as SUBSET AB = (A, B)",
        );
    };
    let mut members = Vec::new();
    loop {
        match part.take_name() {
            Some(member) => members.push(member),
            None => {
                let (span, _) = part.here();
                return fail(
                    diagnostics,
                    span,
                    "a variable of the pattern is expected here",
                    "such as SUBSET AB = (A, B)",
                );
            }
        }
        if !part.take(&Token::Comma) {
            break;
        }
    }
    if !part.take(&Token::RParen) {
        let (span, _) = part.here();
        return fail(diagnostics, span, "`)` is expected here", "such as SUBSET AB = (A, B)");
    }
    nothing_left(&part, diagnostics)?;
    Ok(Subset { name, span, members })
}
