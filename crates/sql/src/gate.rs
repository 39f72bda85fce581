//! The clauses a query may have. The patterns name every field of sqlparser's trees, so that a new one can't slip through.

use sqlparser::ast::{Distinct, LimitClause, Query, Select, SelectFlavor, SetExpr, Statement};

use crate::diagnostic::Diagnostic;
use crate::source::Source;

/// The SELECT of a text that is one query and nothing else. What is outside the subset is reported; the SELECT is returned all the
/// same where there is one, so that its expressions are checked too.
pub(crate) fn select<'a>(
    statements: &'a [Statement],
    source: &Source<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<&'a Select> {
    let whole = 0..source.text.trim_end().len();
    let query = match statements {
        [Statement::Query(query)] => query,
        [] => {
            diagnostics.push(
                Diagnostic::new(whole.end..whole.end, "there is no query").with_help("write SELECT … FROM stream"),
            );
            return None;
        }
        [_] => {
            let message = "only SELECT is supported";
            diagnostics.push(
                Diagnostic::new(whole, message).with_help("tables and topics are made from queries by themselves"),
            );
            return None;
        }
        _ => {
            let message = "there are several statements";
            diagnostics.push(Diagnostic::new(whole, message).with_help("put each query into a file of its own"));
            return None;
        }
    };
    let select = body(query, source, diagnostics)?;
    clauses(select, source, diagnostics);
    // The tables that WITH makes would all be unknown.
    query.with.is_none().then_some(select)
}

/// The SELECT of a query that stands within another, under the same rules.
pub(crate) fn inner<'a>(
    query: &'a Query,
    source: &Source<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<&'a Select> {
    let select = body(query, source, diagnostics)?;
    clauses(select, source, diagnostics);
    query.with.is_none().then_some(select)
}

fn body<'a>(query: &'a Query, source: &Source<'_>, diagnostics: &mut Vec<Diagnostic>) -> Option<&'a Select> {
    let Query { with, body, order_by, limit_clause, fetch, locks, for_clause, settings, format_clause, pipe_operators } =
        query;
    let mut refuse = |found: bool, words: &[&str], message: &str, help: &str| {
        if found {
            diagnostics.push(Diagnostic::new(source.words(words), message).with_help(help));
        }
    };
    refuse(with.is_some(), &["WITH"], "WITH isn't supported yet", "write the query in FROM as a query file of its own");
    refuse(
        order_by.is_some(),
        &["ORDER", "BY"],
        "a stream's results have no order",
        "remove ORDER BY, and order where the result is read: in PostgreSQL or the dashboard",
    );
    let limit_word = match limit_clause {
        Some(LimitClause::LimitOffset { limit: None, .. }) => "OFFSET",
        _ => "LIMIT",
    };
    refuse(
        limit_clause.is_some() || fetch.is_some(),
        &[if fetch.is_some() { "FETCH" } else { limit_word }],
        "a stream never ends, so its results can't be cut off by number",
        "remove it, and limit where the result is read",
    );
    let other = !locks.is_empty()
        || for_clause.is_some()
        || settings.is_some()
        || format_clause.is_some()
        || !pipe_operators.is_empty();
    refuse(other, &[], "the clause after the query isn't supported", "remove it");
    match &**body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(inner) => self::body(inner, source, diagnostics),
        SetExpr::SetOperation { op, .. } => {
            let word = op.to_string();
            let message = format!("{word} isn't supported yet");
            diagnostics.push(Diagnostic::new(source.word(&word), message).with_help("write two queries"));
            None
        }
        _ => {
            let whole = 0..source.text.trim_end().len();
            diagnostics
                .push(Diagnostic::new(whole, "only SELECT is supported").with_help("write SELECT … FROM stream"));
            None
        }
    }
}

fn clauses(select: &Select, source: &Source<'_>, diagnostics: &mut Vec<Diagnostic>) {
    // What is bound elsewhere is named without a use here.
    let Select {
        select_token: _,
        optimizer_hints: _,
        distinct,
        select_modifiers,
        top,
        top_before_distinct: _,
        projection: _,
        exclude,
        into,
        from: _,
        lateral_views,
        prewhere,
        selection: _,
        connect_by,
        group_by: _,
        cluster_by,
        distribute_by,
        sort_by,
        having: _,
        named_window,
        qualify,
        window_before_qualify: _,
        value_table_mode,
        flavor,
    } = select;
    let mut refuse = |found: bool, word: &str, message: &str, help: &str| {
        if found {
            let words: Vec<&str> = word.split(' ').filter(|word| !word.is_empty()).collect();
            diagnostics.push(Diagnostic::new(source.words(&words), message).with_help(help));
        }
    };
    refuse(
        matches!(distinct, Some(Distinct::On(_))),
        "DISTINCT",
        "DISTINCT ON isn't Spark's",
        "group by the columns and a window, and take min_by(value, event_time) of the others",
    );
    refuse(top.is_some(), "TOP", "TOP isn't supported", "limit where the result is read");
    refuse(into.is_some(), "INTO", "INTO isn't supported", "the file's name is the name of the result");
    refuse(!lateral_views.is_empty(), "LATERAL VIEW", "LATERAL VIEW isn't supported", "streams have plain columns");
    refuse(prewhere.is_some(), "PREWHERE", "PREWHERE isn't supported", "write WHERE");
    refuse(!connect_by.is_empty(), "CONNECT BY", "CONNECT BY isn't supported", "join a reference table instead");
    let help = "remove it: where work is done is decided by the engine";
    refuse(!cluster_by.is_empty(), "CLUSTER BY", "CLUSTER BY isn't supported", help);
    refuse(!distribute_by.is_empty(), "DISTRIBUTE BY", "DISTRIBUTE BY isn't supported", help);
    refuse(
        !sort_by.is_empty(),
        "SORT BY",
        "a stream's results have no order",
        "remove it, and order where the result is read",
    );
    refuse(
        !named_window.is_empty(),
        "WINDOW",
        "window functions aren't supported",
        "group by window(event_time, '1 minute')",
    );
    refuse(qualify.is_some(), "QUALIFY", "QUALIFY isn't supported", "use HAVING for conditions on aggregates");
    refuse(exclude.is_some(), "EXCLUDE", "EXCLUDE isn't supported", "list the columns");
    refuse(
        select_modifiers.is_some() || value_table_mode.is_some() || *flavor != SelectFlavor::Standard,
        "SELECT",
        "this form of SELECT isn't supported",
        "write SELECT … FROM …",
    );
}
