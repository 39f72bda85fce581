//! Text to plan.

use arrow_schema::SchemaRef;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use crate::assemble::{assemble, expression};
use crate::bind::{Binder, Bound, Place, Reported};
use crate::diagnostic::Diagnostic;
use crate::dialect::Portable;
use crate::expression::Expression;
use crate::options;
use crate::plan::{Catalog, Query};
use crate::scope::{Scope, ScopeTable};
use crate::source::Source;

/// Compiles a query: `name` is its file's name, `text` begins with its options.
///
/// # Errors
/// All that is wrong, in the order of the text.
pub fn compile(name: &str, text: &str, catalog: &Catalog) -> Result<Query, Vec<Diagnostic>> {
    let mut diagnostics = Vec::new();
    let options = options::parse(text, &mut diagnostics);
    let result = parsed(text, &mut diagnostics).and_then(|(source, statements)| {
        let query = crate::gate::statement(&statements, &source, &mut diagnostics).ok_or(Reported)?;
        let mut binder = Binder::new(&source, Scope::default(), Place::Select);
        binder.catalog = Some(catalog);
        let query = binder.query(query).and_then(|relation| assemble(&mut binder, name, &options, relation));
        diagnostics.append(&mut binder.diagnostics);
        query
    });
    finish(result, diagnostics)
}

/// Compiles a rule over the columns of a stream.
pub(crate) fn compile_condition(text: &str, schema: &SchemaRef) -> Result<Expression, Vec<Diagnostic>> {
    let mut diagnostics = Vec::new();
    let scope = Scope { tables: vec![ScopeTable::stream("", schema)] };
    let result =
        Source::new(text).map_err(|problems| diagnostics.extend(problems)).map_err(|()| Reported).and_then(|source| {
            let mut parser = Parser::new(&Portable).with_tokens_with_locations(source.tokens.clone());
            let expr = parser.parse_expr().and_then(|expr| parser.expect_token(&Token::EOF).map(|_| expr));
            let expr = expr.map_err(|error| {
                diagnostics.push(source.parse_error(&error));
                Reported
            })?;
            let mut binder = Binder::new(&source, scope, Place::Rule);
            let bound = binder.condition(&expr, "a rule").and_then(|tree| expression(&mut binder, tree));
            diagnostics.append(&mut binder.diagnostics);
            bound
        });
    finish(result, diagnostics)
}

/// The result if nothing is wrong.
pub(crate) fn finish<T>(result: Bound<T>, mut diagnostics: Vec<Diagnostic>) -> Result<T, Vec<Diagnostic>> {
    diagnostics.sort_by_key(|diagnostic| (diagnostic.span.start, diagnostic.span.end));
    diagnostics.dedup();
    match result {
        Ok(value) if diagnostics.is_empty() => Ok(value),
        _ if diagnostics.is_empty() => {
            Err(vec![Diagnostic::new(0..0, "the text could not be compiled, and no reason is known")])
        }
        _ => Err(diagnostics),
    }
}

fn parsed<'a>(text: &'a str, diagnostics: &mut Vec<Diagnostic>) -> Bound<(Source<'a>, Vec<sqlparser::ast::Statement>)> {
    let source = Source::new(text).map_err(|problems| {
        diagnostics.extend(problems);
        Reported
    })?;
    let mut parser = Parser::new(&Portable).with_tokens_with_locations(source.tokens.clone());
    match parser.parse_statements() {
        Ok(statements) => Ok((source, statements)),
        Err(error) => {
            diagnostics.push(source.parse_error(&error));
            Err(Reported)
        }
    }
}
