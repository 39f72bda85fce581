//! The plan of a pattern: what the operator runs.
//!
//! # How the operator uses it
//! 1. Rows of the stream that `Query::filter` keeps are ordered by event time within their keys (`partition_by`).
//! 2. From a first row, [`Automaton`] says which variables the next row may be mapped to, best first. A row may be mapped to a variable if the
//!    variable's `row_condition` and `condition` are true. The first is over the row's own columns; the second also reads
//!    [`MatchValue`]s of the match so far, the row included, by their names.
//! 3. All rows of a match lie at most `within_us` after its first row. `PREV` and `NEXT` reach rows of the same key that lie at most
//!    `within_us` from where they start; beyond, they are NULL.
//! 4. `measures` are evaluated over a batch of `measured` values, one row per result row. `Query::having` and `Query::output` are then
//!    evaluated over `matched_schema`: the `carried` columns, the measures, and the columns of the identity.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use arrow_schema::{DataType, SchemaRef};

use super::automaton::Automaton;
use crate::expression::Expression;
use crate::plan::AggregateCall;

/// Column of a match: raw offset of its first row (Int64).
pub const FIRST_OFFSET: &str = "first_offset";
/// Column of a match: raw offset of its last row (Int64).
pub const LAST_OFFSET: &str = "last_offset";

/// A set of pattern variables: bit `n` stands for the variable with the number `n`.
pub type VariableSet = u64;

/// A checked `MATCH_RECOGNIZE` clause.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// Columns of the stream that tell the keys apart; the stream's own key is among them.
    pub partition_by: Vec<String>,
    /// The stream's event-time column.
    pub event_time: String,
    /// Longest time from the first to the last row of a match, in microseconds, inclusive. Above zero.
    pub within_us: i64,
    /// The variables in the order of their first appearance in PATTERN.
    pub variables: Vec<Variable>,
    /// Which variable may follow which.
    pub automaton: Automaton,
    /// Where matching goes on after a match.
    pub skip: Skip,
    /// What a match gives.
    pub rows: RowsPerMatch,
    /// Values that the variables' conditions read, named in `MatchValue::name`.
    pub tested: Vec<MatchValue>,
    /// Values that the measures read.
    pub measured: Vec<MatchValue>,
    /// The measures with their names.
    pub measures: Vec<(String, Expression)>,
    /// Columns of the stream that a result row carries: those of `partition_by`, and with ALL ROWS PER MATCH others that SELECT reads.
    pub carried: Vec<String>,
    /// What SELECT and its WHERE read: `carried`, the measures, `source_partition`, `first_offset`, `last_offset`, and with ALL ROWS PER
    /// MATCH `source_offset`.
    pub matched_schema: SchemaRef,
}

/// A pattern variable.
#[derive(Debug, Clone)]
pub struct Variable {
    /// As written where it first appears in PATTERN.
    pub name: String,
    /// What must be true of the row alone; `None` if nothing.
    pub row_condition: Option<Expression>,
    /// What must be true of the row and the match so far; `None` if nothing.
    pub condition: Option<Expression>,
}

/// AFTER MATCH SKIP: the next match may begin at …
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// … the row after the last row of the match.
    PastLastRow,
    /// … the row after the first row of the match.
    ToNextRow,
    /// … the first row that is mapped to one of these variables. It is there and isn't the first row of the match, whatever the match.
    ToFirst(VariableSet),
    /// … the last such row.
    ToLast(VariableSet),
}

/// What a match gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsPerMatch {
    /// One row, with the values at the last row of the match.
    One,
    /// A row for each row of the match that isn't in an exclusion, each with the values as of that row.
    All,
}

/// A value of a match, or of the match so far.
#[derive(Debug, Clone)]
pub struct MatchValue {
    /// Name of its column, such as `LAST(A.amount)`; unique among the values of a pattern.
    pub name: String,
    /// What it is.
    pub kind: MatchValueKind,
    /// Type.
    pub data_type: DataType,
    /// Whether it is that of the whole match, whichever row it is asked for (FINAL).
    pub is_final: bool,
}

/// What a value of a match is.
#[derive(Debug, Clone)]
pub enum MatchValueKind {
    /// Something of one row; NULL if there is no such row.
    Row(RowPlace, RowValue),
    /// An aggregate over the rows that are mapped to one of these variables, in order.
    Aggregate(VariableSet, AggregateCall),
    /// Number of the match among those of its key, from 1 (Int64).
    MatchNumber,
}

/// A row, seen from a match: the nth of the rows that are mapped to one of some variables, and then steps from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RowPlace {
    /// The variables.
    pub of: VariableSet,
    /// From which end rows are counted.
    pub end: End,
    /// How many of them are passed over.
    pub skip: u32,
    /// Steps from there to other rows of the key, mapped or not: backwards if negative.
    pub step: i32,
}

/// An end of a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// Its first row.
    First,
    /// Its last row so far.
    Last,
}

/// What is taken of a row.
#[derive(Debug, Clone)]
pub enum RowValue {
    /// An expression over the row's columns.
    Expression(Expression),
    /// The name of the variable that it is mapped to; NULL if it isn't in the match.
    Classifier,
}

impl Pattern {
    /// All variables.
    pub fn universe(&self) -> VariableSet {
        universe(self.variables.len())
    }

    /// The clause as a part of the plan's tree for people.
    pub(crate) fn write_tree(&self, out: &mut String) -> std::fmt::Result {
        let rows = match self.rows {
            RowsPerMatch::One => "one row per match",
            RowsPerMatch::All => "all rows per match",
        };
        writeln!(out, "   └─ match_recognize, {rows}")?;
        writeln!(out, "      │  key ({})", self.partition_by.join(", "))?;
        let within = crate::interval::display_us(self.within_us);
        writeln!(out, "      │  ordered by {}, within {within}, {}", self.event_time, self.describe_skip())?;
        for (name, measure) in &self.measures {
            writeln!(out, "      │  measure {name} = {measure}")?;
        }
        for variable in &self.variables {
            let conditions: Vec<String> =
                variable.row_condition.iter().chain(&variable.condition).map(ToString::to_string).collect();
            let conditions = if conditions.is_empty() { "any row".to_owned() } else { conditions.join(" AND ") };
            writeln!(out, "      │  {} is {conditions}", variable.name)?;
        }
        write!(out, "{}", self.describe_states())
    }

    fn describe_skip(&self) -> String {
        let names = |set: VariableSet| {
            let members = self.variables.iter().enumerate().filter(|(number, _)| set >> number & 1 == 1);
            members.map(|(_, variable)| variable.name.as_str()).collect::<Vec<_>>().join("|")
        };
        match self.skip {
            Skip::PastLastRow => "on past the last row".to_owned(),
            Skip::ToNextRow => "on at the next row".to_owned(),
            Skip::ToFirst(set) => format!("on at the first {}", names(set)),
            Skip::ToLast(set) => format!("on at the last {}", names(set)),
        }
    }

    /// The states, each with what may follow, best first.
    fn describe_states(&self) -> String {
        let list = |numbers: &[u16]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let mut out = format!("      │  begins at {}\n", list(&self.automaton.start));
        for (number, state) in self.automaton.states.iter().enumerate() {
            let name = self.variables.get(usize::from(state.variable)).map_or("", |variable| &variable.name);
            let name = if state.excluded { format!("{{- {name} -}}") } else { name.to_owned() };
            let end = if state.ends { "end" } else { "" };
            let next = [list(&state.next), end.to_owned()].join(" ");
            out.push_str(&format!("      │  {number} {name}, then {}\n", next.trim()));
        }
        out
    }

    /// How many rows conditions and measures reach beyond the match: least and greatest step of PREV and NEXT.
    pub fn reach(&self) -> RangeInclusive<i32> {
        reach(self.tested.iter().chain(&self.measured))
    }

    /// How many rows after a row its conditions reach.
    pub fn reach_ahead_tested(&self) -> i32 {
        *reach(&self.tested).end()
    }

    /// How many rows after the last row of a match its measures reach.
    pub fn reach_ahead_measured(&self) -> i32 {
        *reach(&self.measured).end()
    }

    /// Whether a value counts the matches of a key.
    pub fn counts_matches(&self) -> bool {
        self.tested.iter().chain(&self.measured).any(|value| matches!(value.kind, MatchValueKind::MatchNumber))
    }
}

/// The set of the first `count` variables.
pub(super) fn universe(count: usize) -> VariableSet {
    match count {
        0..64 => (1 << count) - 1,
        _ => VariableSet::MAX,
    }
}

fn reach<'v>(values: impl IntoIterator<Item = &'v MatchValue>) -> RangeInclusive<i32> {
    let steps = values.into_iter().map(|value| match &value.kind {
        MatchValueKind::Row(place, _) => place.step,
        _ => 0,
    });
    steps.fold(0..=0, |reach, step| *reach.start().min(&step)..=*reach.end().max(&step))
}
