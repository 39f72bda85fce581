//! Patterns: `SELECT … FROM stream MATCH_RECOGNIZE ( … )`, SQL:2016's row pattern recognition with a mandatory WITHIN.
//!
//! sqlparser's tree lacks WITHIN, SUBSET and reluctant quantifiers, so the clause is read here, and its expressions by sqlparser. The rest
//! of the text is an ordinary SELECT over what the clause gives.
//!
//! | file | says |
//! | --- | --- |
//! | `plan` | the result: `Pattern` and its parts; what the operator does with it |
//! | `cursor`, `clause`, `syntax` | a walk over tokens; the parts of the clause; the row pattern |
//! | `automaton` | the row pattern as states, and what can be told from them |
//! | `compile` | text to plan: what stands around the clause |
//! | `check` | what the parts of the clause bind to |
//!
//! Expressions of DEFINE and MEASURES are bound in `bind/pattern`.

mod automaton;
mod check;
mod clause;
mod compile;
mod cursor;
mod plan;
mod syntax;

pub use automaton::{Automaton, State};
pub use compile::compile_pattern;
pub use plan::{
    End, FIRST_OFFSET, LAST_OFFSET, MatchValue, MatchValueKind, Pattern, RowPlace, RowValue, RowsPerMatch, Skip,
    Variable, VariableSet,
};
