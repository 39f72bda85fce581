//! The SQL of queries and rules: text in, a checked, typed plan and compiled expressions out.
//!
//! **In**: the text of a query or rule and the schemas it may use. **Out**: [`Query`] with its [`Expression`]s, or all that is wrong
//! at once as [`Diagnostic`]s, each with its place, the reason and what to write instead. **Promised**: what is accepted means what
//! Spark SQL means by it (ANSI mode off, time zone UTC); what could mean something else is refused; nothing in a compiled expression
//! fails or panics because of data.
//!
//! The text is parsed by sqlparser; everything from there on is ours: the gate is an allow-list, names and types are bound by Spark's
//! rules into a typed tree, and the tree is lowered to DataFusion's physical expressions, with kernels of our own where DataFusion
//! means something else (arithmetic, decimals, casts, most functions).
//!
//! | file | says |
//! | --- | --- |
//! | `plan` | the result: `Query` and its parts; what operators do with it |
//! | `describe` | the plan as a tree for people |
//! | `expression` | compiled expressions and conditions |
//! | `change` | what a query's text has changed since an earlier one |
//! | `diagnostic` | findings, carets, suggestions |
//! | `compile` | text to plan |
//! | `options`, `dialect`, `source` | the leading lines; how the text is read; its tokens and places |
//! | `gate`, `relation`, `from`, `select`, `group` | the clauses and queries within queries that are let through, and what they bind to |
//! | `assemble` | the bound query as a plan |
//! | `stream_join` | joins of two streams |
//! | `pattern/` | `MATCH_RECOGNIZE`: its clause, its row pattern, its plan |
//! | `bind/` | expressions: names, types, implicit casts |
//! | `functions/` | the allow-list of functions, and the list of those that are refused by name |
//! | `typed`, `types`, `interval` | the typed tree; Spark's types and decimal rules; durations |
//! | `monotone` | whether more rows can take a group's result back |
//! | `spark` | the tree as text for Apache Spark |
//! | `lower`, `kernel/` | the tree as DataFusion's physical expressions, and our own kernels |

mod assemble;
mod bind;
mod change;
mod compile;
mod describe;
pub mod diagnostic;
mod dialect;
pub mod expression;
mod from;
mod functions;
mod gate;
mod group;
mod interval;
mod kernel;
mod lower;
mod monotone;
mod options;
mod pattern;
pub mod plan;
mod relation;
mod scope;
mod select;
mod source;
pub mod spark;
mod stream_join;
mod typed;
mod types;

pub use change::{Change, typed_name};
pub use compile::compile;
pub use diagnostic::Diagnostic;
pub use expression::{Condition, EvaluateError, Expression};
pub use functions::reference as function_reference;
pub use pattern::{
    Automaton, End, FIRST_OFFSET, LAST_OFFSET, MatchValue, MatchValueKind, Pattern, RowPlace, RowValue, RowsPerMatch,
    Skip, State, Variable, VariableSet, compile_pattern,
};
pub use plan::{
    Aggregate, AggregateCall, AggregateFunction, Branch, Catalog, Emit, FixedWindow, InnerAggregate, JOINED_OFFSET,
    JOINED_PARTITION, Join, JoinKind, Query, QueryOptions, ReferenceTable, SOURCE_BRANCH, SOURCE_OFFSET,
    SOURCE_PARTITION, SessionWindow, StreamJoin, StreamTable, WINDOW_END, WINDOW_START, Window,
};
