//! What a query keeps between rows, for how long, and what it costs.

use std::fmt::Write as _;

use process::PatternOptions;
use project::settings::{Engine, StateOverflow};
use project::{Project, Stream};
use serde::Serialize;
use sql::{Aggregate, Pattern, Query, StreamJoin, Window};

use super::{duration, grouped, size};
use crate::error::Result;
use crate::run::spark::watermark_delay;

/// What is kept between rows.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(crate) enum State {
    Waiting(Waiting),
    Windows(Kept),
    Rows(Held),
}

/// Rows of two streams that wait for partners.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Waiting {
    /// How long the rows of each stream are kept.
    pub(crate) rows: Vec<WaitingRows>,
    /// What they cost; nothing with `engine: spark`, which keeps them in its own way.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) costs: Option<RowCosts>,
}

/// What rows that wait cost on the local engine.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct RowCosts {
    /// Bytes of a row besides its columns and twice its key.
    pub(crate) bytes_per_row: usize,
    /// Bytes of memory that the state of the query may take.
    pub(crate) bytes_max: u64,
    /// What happens past that.
    pub(crate) past_limit: PastLimit,
}

/// Rows of one of two joined streams.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct WaitingRows {
    pub(crate) stream: String,
    /// How far the watermark of both streams has to be past a row before it is let go, in milliseconds.
    pub(crate) kept_ms: u64,
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
    /// Bytes of memory that the state may take in each partition.
    pub(crate) bytes_max: u64,
    /// What happens past that.
    pub(crate) past_limit: PastLimit,
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
    /// Whether there is a group per pane, as long as the slide, and windows are put together from these.
    pub(crate) shares_panes: bool,
    /// For sessions, how long without a row ends one, in milliseconds; they have neither length nor slide of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_gap_ms: Option<u64>,
    /// What groups cost; nothing with `engine: spark`, which keeps them in its own way.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) costs: Option<GroupCosts>,
}

/// What groups cost on the local engine.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct GroupCosts {
    /// Bytes of one key in one window, or in one pane, at most, without the key's own bytes.
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
    /// Groups or keys for which no row has come for a while go to the disk.
    Spill,
    /// Reading stops until there is room.
    Pause,
}

impl PastLimit {
    fn of(project: &Project) -> Self {
        match project.settings.process.state_overflow {
            StateOverflow::Spill => Self::Spill,
            StateOverflow::Pause => Self::Pause,
        }
    }

    /// What happens to `what` past the limit.
    fn words(self, what: &str) -> String {
        match self {
            Self::Spill => format!("{what} for which no row has come for a while go to the disk"),
            Self::Pause => "reading stops until there is room".to_owned(),
        }
    }
}

/// Length of a key for which it is said how many fit.
const KEY_BYTES: usize = 32;

/// The state of a query that reads these streams.
///
/// # Errors
/// `Internal` when the query can't run.
pub(super) fn of(project: &Project, streams: &[&Stream], query: &Query) -> Result<Vec<State>> {
    let Some(first) = streams.first() else { return Ok(Vec::new()) };
    if let Some(pattern) = &query.pattern {
        return Ok(vec![State::Rows(held(project, first, pattern))]);
    }
    let behind_us = streams.iter().map(|stream| behind_us(project, stream)).max().unwrap_or(0);
    let joins = query.branches.iter().filter_map(|branch| branch.stream_join.as_ref().map(|join| (branch, join)));
    let mut state: Vec<State> =
        joins.clone().map(|(branch, join)| State::Waiting(waiting(project, &branch.stream, join))).collect();
    // Pairs to come may have times so far below the watermark.
    let delay_us = joins.map(|(_, join)| join.delay_us()).max().unwrap_or(0);
    for aggregate in query.inner.iter().map(|inner| &inner.aggregate).chain(&query.aggregate) {
        state.extend(windows(project, query, aggregate, behind_us.saturating_add(delay_us))?.map(State::Windows));
    }
    Ok(state)
}

/// Whether the local engine works queries out; patterns always have a stage of ours.
pub(super) fn is_local(project: &Project) -> bool {
    project.engine == Engine::Local
}

/// How far the watermark is behind the newest event of a stream at most, in microseconds.
fn behind_us(project: &Project, stream: &Stream) -> i64 {
    match is_local(project) {
        true => stream.lateness.as_micros(),
        false => i64::try_from(watermark_delay(project, stream).as_micros()).unwrap_or(i64::MAX),
    }
}

fn waiting(project: &Project, stream: &str, join: &StreamJoin) -> Waiting {
    let rows =
        |stream: &str, kept_us: i64| WaitingRows { stream: stream.to_owned(), kept_ms: milliseconds(kept_us.max(0)) };
    Waiting {
        rows: vec![rows(stream, join.upper_us), rows(&join.stream, join.lower_us.saturating_neg())],
        costs: is_local(project).then(|| RowCosts {
            bytes_per_row: process::WAITING_ROW_BYTES,
            bytes_max: project.settings.process.state_limit.0,
            past_limit: PastLimit::of(project),
        }),
    }
}

fn milliseconds(us: i64) -> u64 {
    u64::try_from(us / 1_000).unwrap_or(0)
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
        past_limit: PastLimit::of(project),
    }
}

/// The windows of a grouping whose rows come up to `behind_us` after the newest event.
fn windows(project: &Project, query: &Query, aggregate: &Aggregate, behind_us: i64) -> Result<Option<Kept>> {
    let Some(window) = &aggregate.window else { return Ok(None) };
    let (size_us, slide_us, session_gap_us) = match window {
        Window::Fixed(window) => (window.size_us, window.slide_us, None),
        Window::Session(window) => (window.gap_us, window.gap_us, Some(window.gap_us)),
    };
    let spanned_us = size_us.saturating_add(behind_us);
    let bytes_per_group_max = process::bytes_per_group_max(&query.name, aggregate, 0)?;
    let with_key = process::bytes_per_group_max(&query.name, aggregate, KEY_BYTES)?;
    let bytes_max = project.settings.process.state_limit.0;
    let whole = |value: i64| u64::try_from(value).unwrap_or(0);
    Ok(Some(Kept {
        keys: aggregate.keys.iter().map(|(name, _)| name.clone()).collect(),
        window_ms: whole(size_us / 1_000),
        slide_ms: whole(slide_us / 1_000),
        kept_ms: whole(spanned_us / 1_000),
        // The windows that hold a time between the watermark and the newest event.
        windows_open: whole((spanned_us + slide_us - 1) / slide_us.max(1)),
        shares_panes: is_local(project) && process::shares_panes(query),
        session_gap_ms: session_gap_us.map(|gap_us| whole(gap_us / 1_000)),
        costs: is_local(project).then(|| GroupCosts {
            bytes_per_group_max,
            bytes_max,
            groups_that_fit: bytes_max / u64::try_from(with_key.max(1)).unwrap_or(u64::MAX),
            past_limit: PastLimit::of(project),
        }),
    }))
}

impl State {
    /// For people.
    pub(super) fn write(&self, out: &mut String) -> std::fmt::Result {
        match self {
            Self::Waiting(state) => write_waiting(out, state),
            Self::Windows(state) => write_state(out, state),
            Self::Rows(state) => write_held(out, state),
        }
    }
}

/// Of state that Apache Spark keeps.
const ON_SPARK: &str = "  costs     what Apache Spark takes for it: RocksDB on its executors' disks (docs/spark.md); process.state_limit doesn't count there";

fn write_waiting(out: &mut String, state: &Waiting) -> std::fmt::Result {
    let mut title = "keeps";
    for rows in &state.rows {
        let kept = match rows.kept_ms {
            0 => "is past them".to_owned(),
            ms => format!("is {} past them", duration(ms)),
        };
        writeln!(
            out,
            "  {title:9} rows of {} that may find a partner: until the watermark of both streams {kept}",
            rows.stream
        )?;
        title = "";
    }
    let Some(costs) = state.costs else { return writeln!(out, "{ON_SPARK}") };
    writeln!(
        out,
        "  costs     the columns of a row that are read, twice its key, and {} bytes; past {} of state_limit {}",
        costs.bytes_per_row,
        size(costs.bytes_max),
        costs.past_limit.words("keys")
    )
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
        "  keeps     a group per {} and {keys}: windows of {}{}",
        if state.shares_panes { format!("pane of {}", duration(state.slide_ms)) } else { "window".to_owned() },
        duration(state.window_ms),
        if state.window_ms == state.slide_ms {
            String::new()
        } else {
            format!(" every {}, {} per row", duration(state.slide_ms), state.window_ms / state.slide_ms.max(1))
        }
    )?;
    if state.shares_panes {
        writeln!(
            out,
            "  until     the watermark has reached the end of the window that begins with the pane: {} after it by event time, so about {} panes are kept",
            duration(state.kept_ms),
            grouped(state.windows_open)
        )?;
        return write_costs(out, state);
    }
    writeln!(
        out,
        "  until     the watermark has reached the window's end: {} after its start by event time, so about {} open at once",
        duration(state.kept_ms),
        if state.windows_open == 1 { "1 window is".to_owned() } else { format!("{} windows are", state.windows_open) }
    )?;
    write_costs(out, state)
}

fn write_costs(out: &mut String, state: &Kept) -> std::fmt::Result {
    let Some(costs) = state.costs else { return writeln!(out, "{ON_SPARK}") };
    writeln!(
        out,
        "  costs     at most {} bytes per group, and one and a half times its key and texts; {} of state_limit hold {} groups with keys of {KEY_BYTES} bytes;\n            past that, {}",
        costs.bytes_per_group_max,
        size(costs.bytes_max),
        grouped(costs.groups_that_fit),
        costs.past_limit.words("groups")
    )?;
    if state.shares_panes {
        writeln!(
            out,
            "            what windows are put together from takes about as much again; where state_limit has no room for it, they are made in parts"
        )?;
    }
    Ok(())
}

fn write_held(out: &mut String, state: &Held) -> std::fmt::Result {
    let keys = state.keys.join(", ");
    writeln!(
        out,
        "  keeps     the rows of each {keys} from the first that may begin a match; a match spans at most {}\n  \
           until     no match can need a row any more: at most {} after it by event time\n  \
           costs     at most {} ways to match per {keys} and {} rows per match: past them a key gives up and it is in pattern_limits;\n            \
           past {} in a partition {}",
        duration(state.within_ms),
        duration(state.kept_ms),
        grouped(state.runs_per_key_max),
        grouped(state.rows_per_match_max),
        size(state.bytes_max),
        state.past_limit.words("keys")
    )?;
    if state.counts_matches {
        writeln!(
            out,
            "            and a few bytes for ever per {keys} that had a match, since MATCH_NUMBER() counts them"
        )?;
    }
    Ok(())
}
