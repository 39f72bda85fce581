//! What a query does, reads, keeps and costs, for `tillstream explain`.

mod seen;
mod state;

use std::fmt::Write as _;
use std::time::Duration;

use project::{Project, Stream};
use serde::Serialize;
use sql::{Emit, Query};

use crate::error::{Error, Result};
use crate::run::statistics::Seen;
use seen::Needed;
pub(crate) use seen::seen;
pub(crate) use state::State;

/// What there is to say of a query.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Explained {
    /// Name.
    pub(crate) query: String,
    /// The plan as a tree, the last step first.
    pub(crate) plan: String,
    /// The streams, and their columns that are read.
    pub(crate) reads: Vec<Reads>,
    /// Reference tables that are held in memory for it.
    pub(crate) joins: Vec<String>,
    /// Result columns that tell its rows apart.
    pub(crate) identity: Vec<String>,
    /// When results are published.
    pub(crate) emit: &'static str,
    /// Topic of the first generation.
    pub(crate) topic: String,
    /// View in PostgreSQL, if the result is kept there.
    pub(crate) view: Option<String>,
    /// What is kept between rows, in the order in which rows go through it; nothing for a row-by-row query.
    pub(crate) state: Vec<State>,
    /// What the state has needed so far; nothing before the query has run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seen: Option<Needed>,
    /// Whether columns can be added to it within a generation.
    pub(crate) may_gain_columns: bool,
}

/// What of a stream is read.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Reads {
    pub(crate) stream: String,
    pub(crate) columns: Vec<String>,
    /// Columns of a record, read or not.
    pub(crate) of: usize,
}

/// Explains a query. `seen` is what its state has needed so far.
///
/// # Errors
/// `Internal` when the query can't run, which `check` rules out.
pub(crate) fn explain(project: &Project, query: &Query, seen: Option<Seen>) -> Result<Explained> {
    let find = |name| project.stream(name).ok_or_else(|| Error::Internal(format!("{} reads no stream", query.name)));
    let streams: Vec<&Stream> = query.streams().into_iter().map(find).collect::<Result<_>>()?;
    let reads = |stream: &&Stream| Reads {
        stream: stream.name.clone(),
        columns: query.columns_of(&stream.name).into_iter().map(str::to_owned).collect(),
        of: stream.arrow.fields().len(),
    };
    let state = state::of(project, &streams, query)?;
    // Of another engine it says nothing.
    let seen = seen.filter(|_| query.pattern.is_some() || state::is_local(project));
    Ok(Explained {
        query: query.name.clone(),
        plan: query.describe(),
        reads: streams.iter().map(reads).collect(),
        joins: query.references().map(str::to_owned).collect(),
        identity: query.identity.clone(),
        emit: match query.options.emit {
            _ if query.pattern.is_some() => "once certain",
            Emit::Changes => "changes",
            Emit::Final => "final",
        },
        topic: project.result_topic(&query.name, 1),
        view: query.options.table.then(|| format!("bi.{}", query.name)),
        seen: seen.map(|seen| Needed::of(seen, &state)),
        state,
        may_gain_columns: query.may_gain_columns(),
    })
}

impl Explained {
    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String can't fail.
        _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "{}", self.plan.trim_end())?;
        writeln!(out)?;
        let mut title = "reads";
        for Reads { stream, columns, of } in &self.reads {
            let shown = columns.join(", ");
            writeln!(out, "  {title:9} {} of the {of} columns of {stream}: {shown}", columns.len())?;
            title = "";
        }
        if !self.joins.is_empty() {
            writeln!(out, "  joins     {}, held in memory", self.joins.join(", "))?;
        }
        let view = self.view.as_ref().map_or("no table".to_owned(), |view| format!("view {view}"));
        writeln!(out, "  writes    topic {}, {view}; a row is told apart by {}", self.topic, self.identity.join(", "))?;
        if self.state.is_empty() {
            writeln!(out, "  keeps     nothing between rows")?;
        }
        self.state.iter().try_for_each(|state| state.write(out))?;
        self.seen.iter().try_for_each(|seen| seen.write(out))?;
        self.write_edits(out)
    }

    /// What follows from a change: the rules are in `docs/generations.md`.
    fn write_edits(&self, out: &mut String) -> std::fmt::Result {
        let stream = self.reads.iter().map(|reads| reads.stream.as_str()).collect::<Vec<_>>().join(" and ");
        let hold = if self.reads.len() > 1 { "hold" } else { "holds" };
        writeln!(out, "  an edit   of comments and spaces changes nothing")?;
        if self.may_gain_columns {
            writeln!(
                out,
                "            that adds columns adds them to the table, where rows that are there have NULL in them"
            )?;
        }
        let tables = match self.joins.as_slice() {
            [] => String::new(),
            joins => format!(", of the key or validity of {}", joins.join(", ")),
        };
        writeln!(
            out,
            "            of anything else here, of the type of a column that it reads, of the key or the partitions of {stream}{tables},\n            \
             starts a new generation: filled from the records that {stream} still {hold}, while the view shows the one before\n            \
             of lateness, rules or other queries leaves its state as it is"
        )
    }
}

fn duration(milliseconds: u64) -> String {
    project::settings::Duration(Duration::from_millis(milliseconds)).to_string()
}

fn size(bytes: u64) -> String {
    project::settings::ByteSize(bytes).to_string()
}

/// A number with commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([7, 1_000, 1_234_567].map(super::grouped), ["7", "1,000", "1,234,567"]);
    }
}
