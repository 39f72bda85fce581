//! The clauses a query may have. The patterns name every field of sqlparser's trees, so that a new one can't slip through.

use sqlparser::ast::{Distinct, LimitClause, Query, Select, SelectFlavor, SetExpr, Statement};

use crate::diagnostic::Diagnostic;
use crate::source::Source;

/// The query of a text that is one query and nothing else.
pub(crate) fn statement<'a>(
    statements: &'a [Statement],
    source: &Source<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<&'a Query> {
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
    Some(query)
}

/// The SELECT of a text that is one SELECT and nothing else.
pub(crate) fn select<'a>(
    statements: &'a [Statement],
    source: &Source<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<&'a Select> {
    inner(statement(statements, source, diagnostics)?, source, diagnostics)
}

/// The SELECT of a query that is nothing else. What is outside the subset is reported; the SELECT is returned all the same where there is
/// one, so that its expressions are checked too.
pub(crate) fn inner<'a>(
    whole: &'a Query,
    source: &Source<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<&'a Select> {
    query(whole, source, diagnostics);
    let SetExpr::Select(select) = &*whole.body else {
        let end = source.text.trim_end().len();
        diagnostics
            .push(Diagnostic::new(0..end, "only SELECT is supported here").with_help("write SELECT … FROM stream"));
        return None;
    };
    if whole.with.is_some() {
        let message = "WITH isn't supported here";
        diagnostics.push(Diagnostic::new(source.word("WITH"), message).with_help("write the query in FROM"));
        return None;
    }
    clauses(select, source, diagnostics);
    Some(select)
}

/// Refuses clauses of a query that stand around its SELECT.
pub(crate) fn query(query: &Query, source: &Source<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let Query {
        with: _,
        body: _,
        order_by,
        limit_clause,
        fetch,
        locks,
        for_clause,
        settings,
        format_clause,
        pipe_operators,
    } = query;
    let mut refuse = |found: bool, words: &[&str], message: &str, help: &str| {
        if found {
            diagnostics.push(Diagnostic::new(source.words(words), message).with_help(help));
        }
    };
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
}

/// Refuses clauses of a SELECT.
pub(crate) fn clauses(select: &Select, source: &Source<'_>, diagnostics: &mut Vec<Diagnostic>) {
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
