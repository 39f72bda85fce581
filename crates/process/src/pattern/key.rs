//! What is kept of one key: its rows in order, the attempts under way, the matches that wait to be published.

use std::collections::VecDeque;

use sql::{Pattern, Skip, VariableSet};

use super::attempt::{Attempt, Path, variable};
use super::store::Place;
use crate::cold::InPart;

/// A row that the watermark has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    /// Event time, microseconds since 1970.
    pub(crate) time_us: i64,
    /// Raw offset.
    pub(crate) offset: i64,
    /// Variables whose condition on the row alone is true.
    pub(crate) may_be: VariableSet,
    pub(crate) place: Place,
}

/// A match that is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Match {
    /// Number of the first row within the key.
    pub(crate) start: u64,
    pub(crate) path: Path,
    /// Number of the match within the key, from 1.
    pub(crate) number: u64,
}

/// The state of one key.
#[derive(Debug, Default)]
pub(crate) struct KeyState {
    /// The key's bytes; `None` is the NULL of a single text column.
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) hash: u64,
    /// Rows that came in and that the watermark hasn't passed yet.
    pub(crate) pending: usize,
    pub(crate) rows: VecDeque<Row>,
    /// Number of the first of `rows`.
    pub(crate) first_row: u64,
    /// Number of the row at which the next attempt may begin.
    pub(crate) next_start: u64,
    pub(crate) attempts: Vec<Attempt>,
    /// Matches whose measures wait for rows after them.
    pub(crate) decided: VecDeque<Match>,
    /// Matches so far, where somebody counts them.
    pub(crate) matches: u64,
    /// When the key is to be looked at though no row comes: once the watermark is above it.
    pub(crate) wakes_at_us: Option<i64>,
    /// Whether rows have come since keys were last moved to the disk.
    pub(crate) is_hot: bool,
    /// Whether the key waits for its turn.
    pub(crate) is_queued: bool,
    /// Bytes counted for it.
    pub(crate) bytes: usize,
    /// Where the last snapshot has it, if it hasn't changed since and is in a part.
    pub(crate) in_part: Option<InPart>,
}

/// What the next step of a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// All attempts whose next row is this one take it.
    Take(u64),
    /// The attempt at this place is over: its runs can take no further row.
    Resolve(usize),
    /// Nothing, until a row comes or the watermark moves on.
    Wait,
}

impl KeyState {
    /// Number after the last row.
    pub(crate) fn end_row(&self) -> u64 {
        self.first_row + self.rows.len() as u64
    }

    pub(crate) fn row(&self, number: u64) -> Option<&Row> {
        let index = number.checked_sub(self.first_row)?;
        self.rows.get(usize::try_from(index).ok()?)
    }

    /// Whether what `ahead` rows after a row are is known: they are there, or can't come within the pattern's time.
    pub(crate) fn sees_ahead(&self, number: u64, ahead: i32, within_us: i64, watermark_us: i64) -> bool {
        let ahead = u64::from(ahead.unsigned_abs());
        number + ahead < self.end_row()
            || self.row(number).is_some_and(|row| row.time_us.saturating_add(within_us) < watermark_us)
    }

    /// Decides on the next step.
    ///
    /// Attempts run side by side only where each is on its own (`side_by_side`); else one begins when the one before is over, since a match
    /// of it may pass over rows.
    pub(crate) fn next(&mut self, pattern: &Pattern, side_by_side: bool, watermark_us: i64) -> Next {
        let within_us = pattern.within_us;
        let ahead = pattern.reach_ahead_tested();
        if let Some(at) = self.attempts.iter().position(|attempt| attempt.runs.is_empty()) {
            return Next::Resolve(at);
        }
        let number = match self.attempts.first() {
            Some(attempt) if !side_by_side => attempt.next(),
            _ => self.next_start,
        };
        match self.row(number).copied() {
            Some(row) => {
                let is_over = |attempt: &Attempt| self.deadline_us(attempt, within_us) < row.time_us;
                if let Some(at) = self.attempts.iter().position(is_over) {
                    return Next::Resolve(at);
                }
                if ahead > 0 && !self.sees_ahead(number, ahead, within_us, watermark_us) {
                    return Next::Wait;
                }
                if self.attempts.is_empty() || side_by_side {
                    self.attempts.push(Attempt::new(number, &pattern.automaton));
                    self.next_start = number + 1;
                }
                Next::Take(number)
            }
            None => {
                let is_over = |attempt: &Attempt| self.deadline_us(attempt, within_us) < watermark_us;
                self.attempts.iter().position(is_over).map_or(Next::Wait, Next::Resolve)
            }
        }
    }

    /// Time after which an attempt can take no row.
    fn deadline_us(&self, attempt: &Attempt, within_us: i64) -> i64 {
        self.row(attempt.start).map_or(i64::MIN, |row| row.time_us.saturating_add(within_us))
    }

    /// Ends an attempt: its best match is decided, and the next attempt begins where it says.
    pub(crate) fn resolve(&mut self, at: usize, pattern: &Pattern, side_by_side: bool, counts: bool) {
        if at >= self.attempts.len() {
            return;
        }
        let attempt = self.attempts.remove(at);
        let Some(path) = attempt.best else {
            if !side_by_side {
                self.next_start = attempt.start + 1;
            }
            return;
        };
        if !side_by_side {
            self.next_start = attempt.start + next_start(&path, pattern.skip);
        }
        if counts {
            self.matches += 1;
        }
        self.decided.push_back(Match { start: attempt.start, path, number: self.matches });
    }

    /// Number of the first row that is still needed by attempts and matches, without what `PREV` reaches.
    fn needed_from(&self) -> u64 {
        let attempts = self.attempts.iter().map(|attempt| attempt.start);
        let decided = self.decided.iter().map(|decided| decided.start);
        attempts.chain(decided).chain([self.next_start]).min().unwrap_or(0)
    }

    /// Takes out the rows that nothing can reach any more, in order.
    pub(crate) fn take_unneeded(&mut self, pattern: &Pattern, watermark_us: i64, mut released: impl FnMut(Place)) {
        let back = u64::from(pattern.reach().start().unsigned_abs());
        let needed = self.needed_from();
        while let Some(row) = self.rows.front() {
            let is_out_of_reach = self.first_row.saturating_add(back) < needed
                || (needed > self.first_row && (back == 0 || self.is_out_of_time(row, needed, pattern, watermark_us)));
            if !is_out_of_reach {
                break;
            }
            released(row.place);
            self.rows.pop_front();
            self.first_row += 1;
        }
    }

    /// Whether a row before the needed ones lies too far back for them and for all that is to come.
    fn is_out_of_time(&self, row: &Row, needed: u64, pattern: &Pattern, watermark_us: i64) -> bool {
        let first_us = self.row(needed).map_or(watermark_us, |row| row.time_us.min(watermark_us));
        row.time_us.saturating_add(pattern.within_us) < first_us
    }

    /// When the key is to be looked at next though no row comes: the next time at which a row is out of reach of another.
    pub(crate) fn wakes_at(&self, pattern: &Pattern, watermark_us: i64) -> Option<i64> {
        let attempts = self.attempts.iter().flat_map(|attempt| [attempt.start, attempt.next()]);
        let decided = self.decided.iter().map(|decided| decided.start + decided.path.len() as u64 - 1);
        let rows = attempts.chain(decided).chain([self.first_row, self.next_start]);
        let times = rows.filter_map(|number| self.row(number)).map(|row| row.time_us.saturating_add(pattern.within_us));
        times.filter(|time| *time >= watermark_us).min()
    }

    /// Whether nothing is left of the key.
    pub(crate) fn is_empty(&self) -> bool {
        let holds = self.pending + self.rows.len() + self.attempts.len() + self.decided.len();
        holds == 0 && self.matches == 0
    }

    /// Bytes that it takes, without columns.
    pub(crate) fn size(&self) -> usize {
        let attempts: usize = self.attempts.iter().map(Attempt::bytes).sum();
        let decided: usize = self.decided.iter().map(|decided| decided.path.len() + size_of::<Match>()).sum();
        let key = self.key.as_ref().map_or(0, Vec::len);
        size_of::<Self>() + key + self.rows.len() * size_of::<Row>() + attempts + decided
    }
}

/// How far after the first row of a match the next attempt begins.
fn next_start(path: &[u8], skip: Skip) -> u64 {
    let is_of = |set: VariableSet, step: u8| set >> variable(step) & 1 == 1;
    let place = match skip {
        Skip::PastLastRow => None,
        Skip::ToNextRow => Some(1),
        Skip::ToFirst(set) => path.iter().position(|step| is_of(set, *step)),
        Skip::ToLast(set) => path.iter().rposition(|step| is_of(set, *step)),
    };
    // The check of the pattern has made sure that there is such a row after the first.
    place.unwrap_or(path.len()).max(1) as u64
}
