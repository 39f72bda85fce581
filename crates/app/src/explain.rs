//! What a query does, reads, keeps and costs, for `tillstream explain`.

use std::fmt::Write as _;
use std::time::Duration;

use process::PatternOptions;
use project::settings::StateOverflow;
use project::{Project, Stream};
use serde::Serialize;
use sql::{Emit, Pattern, Query, Window};

use crate::error::{Error, Result};

/// What there is to say of a query.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Explained {
    /// Name.
    pub(crate) query: String,
    /// The plan as a tree, the last step first.
    pub(crate) plan: String,
    /// The stream, and its columns that are read.
    pub(crate) reads: Reads,
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
    /// What is kept between rows; none for a row-by-row query.
    pub(crate) state: Option<State>,
    /// Whether columns can be added to it within a generation.
    pub(crate) may_gain_columns: bool,
}

/// What is kept between rows.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(crate) enum State {
    Windows(Kept),
    Rows(Held),
}

/// The state of a pattern.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Held {
    /// Columns that tell sequences apart.
    pub(crate) keys: Vec<String>,
    /// Longest time from the first to the last row of a match, in milliseconds.
    pub(crate) within_ms: u64,
    /// How long after its event time a row is kept at most: until the watermark is so far that no match can need it, in milliseconds.
    pub(crate) kept_ms: u64,
    /// Ways to map the rows of a key that may be open at one time.
    pub(crate) runs_per_key_max: u64,
    /// Rows of a match.
    pub(crate) rows_per_match_max: u64,
    /// Whether a few bytes are kept for ever for each key that has had a match, since matches are numbered.
    pub(crate) counts_matches: bool,
    /// Bytes that the state may take in each partition; past them reading stops until there is room.
    pub(crate) bytes_max: u64,
}

/// What of a stream is read.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Reads {
    pub(crate) stream: String,
    pub(crate) columns: Vec<String>,
    /// Columns of a record, read or not.
    pub(crate) of: usize,
}

/// The state of a windowed query.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Kept {
    /// Group keys beside the window.
    pub(crate) keys: Vec<String>,
    /// Length of a window, in milliseconds.
    pub(crate) window_ms: u64,
    /// Distance from the start of one window to that of the next, in milliseconds.
    pub(crate) slide_ms: u64,
    /// How long after a window's start, by event time, it is kept: until the watermark has reached its end, in milliseconds.
    pub(crate) kept_ms: u64,
    /// Windows that are open at once while all partitions are equally far.
    pub(crate) windows_open: u64,
    /// For sessions, how long without a row ends one, in milliseconds; they have neither length nor slide of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_gap_ms: Option<u64>,
    /// Bytes of one key in one window at most, without the key's own bytes.
    pub(crate) bytes_per_group_max: usize,
    /// Bytes of memory that the state may take.
    pub(crate) bytes_max: u64,
    /// Groups that surely fit, with keys of 32 bytes.
    pub(crate) groups_that_fit: u64,
    /// What happens past that.
    pub(crate) past_limit: PastLimit,
}

/// What happens to a query whose state outgrows its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PastLimit {
    /// Groups for which no row has come for a while go to the disk.
    Spill,
    /// Reading stops until there is room.
    Pause,
}

/// Length of a key for which it is said how many fit.
const KEY_BYTES: usize = 32;

/// Explains a query.
///
/// # Errors
/// `Internal` when the query can't run, which `check` rules out.
pub(crate) fn explain(project: &Project, query: &Query) -> Result<Explained> {
    let stream =
        project.stream(&query.stream).ok_or_else(|| Error::Internal(format!("{} reads no stream", query.name)))?;
    Ok(Explained {
        query: query.name.clone(),
        plan: query.describe(),
        reads: Reads {
            stream: stream.name.clone(),
            columns: query.input_columns.clone(),
            of: stream.arrow.fields().len(),
        },
        joins: query.joins.iter().map(|join| join.reference.clone()).collect(),
        identity: query.identity.clone(),
        emit: match query.options.emit {
            _ if query.pattern.is_some() => "once certain",
            Emit::Changes => "changes",
            Emit::Final => "final",
        },
        topic: project.result_topic(&query.name, 1),
        view: query.options.table.then(|| format!("bi.{}", query.name)),
        state: kept(project, stream, query)?,
        may_gain_columns: query.aggregate.is_none() && query.pattern.is_none(),
    })
}

fn kept(project: &Project, stream: &Stream, query: &Query) -> Result<Option<State>> {
    if let Some(pattern) = &query.pattern {
        return Ok(Some(State::Rows(held(project, stream, pattern))));
    }
    Ok(windows(project, stream, query)?.map(State::Windows))
}

fn held(project: &Project, stream: &Stream, pattern: &Pattern) -> Held {
    let whole = |value: i64| u64::try_from(value / 1_000).unwrap_or(0);
    let PatternOptions { runs_max, rows_max, .. } = PatternOptions::default();
    // A match that begins with a row lasts so long; PREV and NEXT reach as far again.
    let (back, ahead) = (*pattern.reach().start() < 0, *pattern.reach().end() > 0);
    let spans = 1 + i64::from(back) + i64::from(ahead);
    let kept_us = pattern.within_us.saturating_mul(spans).saturating_add(stream.lateness.as_micros());
    Held {
        keys: pattern.partition_by.clone(),
        within_ms: whole(pattern.within_us),
        kept_ms: whole(kept_us),
        runs_per_key_max: u64::try_from(runs_max).unwrap_or(u64::MAX),
        rows_per_match_max: rows_max,
        counts_matches: pattern.counts_matches(),
        bytes_max: project.settings.process.state_limit.0,
    }
}

fn windows(project: &Project, stream: &Stream, query: &Query) -> Result<Option<Kept>> {
    let Some(aggregate) = &query.aggregate else { return Ok(None) };
    let Some(window) = &aggregate.window else { return Ok(None) };
    let lateness_us = stream.lateness.as_micros();
    let (size_us, slide_us, session_gap_us) = match window {
        Window::Fixed(window) => (window.size_us, window.slide_us, None),
        Window::Session(window) => (window.gap_us, window.gap_us, Some(window.gap_us)),
    };
    let spanned_us = size_us.saturating_add(lateness_us);
    let bytes_per_group_max = process::bytes_per_group_max(query, 0)?;
    let with_key = process::bytes_per_group_max(query, KEY_BYTES)?;
    let bytes_max = project.settings.process.state_limit.0;
    let whole = |value: i64| u64::try_from(value).unwrap_or(0);
    Ok(Some(Kept {
        keys: aggregate.keys.iter().map(|(name, _)| name.clone()).collect(),
        window_ms: whole(size_us / 1_000),
        slide_ms: whole(slide_us / 1_000),
        kept_ms: whole(spanned_us / 1_000),
        // The windows that hold a time between the watermark and the newest event.
        windows_open: whole((spanned_us + slide_us - 1) / slide_us.max(1)),
        session_gap_ms: session_gap_us.map(|gap_us| whole(gap_us / 1_000)),
        bytes_per_group_max,
        bytes_max,
        groups_that_fit: bytes_max / u64::try_from(with_key.max(1)).unwrap_or(u64::MAX),
        past_limit: match project.settings.process.state_overflow {
            StateOverflow::Spill if session_gap_us.is_none() => PastLimit::Spill,
            StateOverflow::Spill | StateOverflow::Pause => PastLimit::Pause,
        },
    }))
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
        let Reads { stream, columns, of } = &self.reads;
        writeln!(out, "  reads     {} of the {of} columns of {stream}: {}", columns.len(), columns.join(", "))?;
        if !self.joins.is_empty() {
            writeln!(out, "  joins     {}, held in memory", self.joins.join(", "))?;
        }
        let view = self.view.as_ref().map_or("no table".to_owned(), |view| format!("view {view}"));
        writeln!(out, "  writes    topic {}, {view}; a row is told apart by {}", self.topic, self.identity.join(", "))?;
        match &self.state {
            None => writeln!(out, "  keeps     nothing between rows")?,
            Some(State::Windows(state)) => write_state(out, state)?,
            Some(State::Rows(state)) => write_held(out, state)?,
        }
        self.write_edits(out)
    }

    /// What follows from a change: the rules are in `docs/generations.md`.
    fn write_edits(&self, out: &mut String) -> std::fmt::Result {
        let stream = &self.reads.stream;
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
             starts a new generation: filled from the records that {stream} still holds, while the view shows the one before\n            \
             of lateness, rules or other queries leaves its state as it is"
        )
    }
}

fn write_state(out: &mut String, state: &Kept) -> std::fmt::Result {
    let keys = if state.keys.is_empty() { "no key".to_owned() } else { state.keys.join(", ") };
    if let Some(gap_ms) = state.session_gap_ms {
        writeln!(
            out,
            "  keeps     the sessions of {keys} that a row may still join: {} without one ends them",
            duration(gap_ms)
        )?;
        return write_costs(out, state);
    }
    writeln!(
        out,
        "  keeps     a group per window and {keys}: windows of {}{}",
        duration(state.window_ms),
        if state.window_ms == state.slide_ms {
            String::new()
        } else {
            format!(" every {}, {} per row", duration(state.slide_ms), state.window_ms / state.slide_ms.max(1))
        }
    )?;
    writeln!(
        out,
        "  until     the watermark has reached the window's end: {} after its start by event time, so about {} open at once",
        duration(state.kept_ms),
        if state.windows_open == 1 { "1 window is".to_owned() } else { format!("{} windows are", state.windows_open) }
    )?;
    write_costs(out, state)
}

fn write_costs(out: &mut String, state: &Kept) -> std::fmt::Result {
    writeln!(
        out,
        "  costs     at most {} bytes per group, and one and a half times its key and texts; {} of state_limit hold {} groups with keys of {KEY_BYTES} bytes;\n            {}",
        state.bytes_per_group_max,
        size(state.bytes_max),
        grouped(state.groups_that_fit),
        match state.past_limit {
            PastLimit::Spill => "past that, groups for which no row has come for a while go to the disk",
            PastLimit::Pause => "past that, reading stops until there is room",
        }
    )
}

fn write_held(out: &mut String, state: &Held) -> std::fmt::Result {
    let keys = state.keys.join(", ");
    writeln!(
        out,
        "  keeps     the rows of each {keys} from the first that may begin a match; a match spans at most {}\n  \
           until     no match can need a row any more: at most {} after it by event time\n  \
           costs     at most {} ways to match per {keys} and {} rows per match: past them a key gives up and it is in pattern_limits;\n            \
           past {} in a partition reading stops until there is room",
        duration(state.within_ms),
        duration(state.kept_ms),
        grouped(state.runs_per_key_max),
        grouped(state.rows_per_match_max),
        size(state.bytes_max)
    )?;
    if state.counts_matches {
        writeln!(
            out,
            "            and a few bytes for ever per {keys} that had a match, since MATCH_NUMBER() counts them"
        )?;
    }
    Ok(())
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
