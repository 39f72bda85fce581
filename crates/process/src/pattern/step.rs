//! One row for the attempts of a key: conditions are computed for many keys at once, then each attempt goes on or is given up.

use arrow_cast::display::{ArrayFormatter, FormatOptions};
use model::Version;

use super::limits::{LimitEvent, LimitReason};
use super::operator::PatternOperator;
use super::values::{self, View};
use crate::error::Cause;
use crate::rows::truths;

/// What a variable's condition has to judge: views, and for each the step and the run that its verdict belongs to.
#[derive(Debug, Default)]
struct Open<'a> {
    views: Vec<View<'a>>,
    places: Vec<(usize, usize)>,
}

impl PatternOperator {
    /// For each step and each run of its attempts, in order, whether the row may be mapped to the variable of the run's state.
    pub(super) fn verdicts(&self, steps: &[(u32, u64)]) -> Result<Vec<Vec<bool>>, Cause> {
        let mut verdicts = Vec::with_capacity(steps.len());
        let mut open: Vec<Open<'_>> = Vec::new();
        open.resize_with(self.pattern.variables.len(), Open::default);
        for (step, (number, row)) in steps.iter().enumerate() {
            let mut of_step = Vec::new();
            let Some((key, may_be)) = self.keys.get(*number).and_then(|key| Some((key, key.row(*row)?.may_be))) else {
                verdicts.push(of_step);
                continue;
            };
            for attempt in &key.attempts {
                for run in &attempt.runs {
                    let state = self.pattern.automaton.states.get(usize::from(run.state));
                    let variable = state.map_or(0, |state| state.variable);
                    let passes = may_be >> variable & 1 == 1;
                    let definition = self.pattern.variables.get(usize::from(variable));
                    if passes && definition.is_some_and(|definition| definition.condition.is_some()) {
                        let (start, path) = (attempt.start, run.path.as_slice());
                        let view =
                            View { key, start, path, tested: Some(variable), whole: path, number: key.matches + 1 };
                        if let Some(open) = open.get_mut(usize::from(variable)) {
                            open.views.push(view);
                            open.places.push((step, of_step.len()));
                        }
                    }
                    of_step.push(passes);
                }
            }
            verdicts.push(of_step);
        }
        for (variable, Open { views, places }) in self.pattern.variables.iter().zip(open) {
            let (Some(condition), false) = (&variable.condition, views.is_empty()) else { continue };
            let batch = values::columns(&[condition], &self.pattern.tested, &views, &self.pattern, &self.store)?;
            let truths = truths(&condition.evaluate(&batch)?);
            for ((step, run), truth) in places.into_iter().zip(truths.values().iter()) {
                if let Some(verdict) = verdicts.get_mut(step).and_then(|verdicts| verdicts.get_mut(run)) {
                    *verdict = truth;
                }
            }
        }
        Ok(verdicts)
    }

    /// Lets the attempts of a key take a row; too many runs or rows are given up.
    pub(super) fn take_row(&mut self, number: u32, row: u64, verdicts: &[bool]) -> Result<(), Cause> {
        let Some(key) = self.keys.get_mut(number) else { return Ok(()) };
        let (mut verdicts, mut runs, mut reason) = (verdicts, 0, None);
        for attempt in &mut key.attempts {
            let (own, rest) = verdicts.split_at(attempt.runs.len().min(verdicts.len()));
            verdicts = rest;
            let taken = attempt.take(&self.pattern.automaton, own, self.observed, self.options.runs_max);
            runs += attempt.runs.len();
            if taken.is_err() || runs > self.options.runs_max {
                reason = Some(LimitReason::Runs);
                break;
            }
            if attempt.taken >= self.options.rows_max && !attempt.runs.is_empty() {
                reason = Some(LimitReason::Rows);
                break;
            }
        }
        match reason {
            Some(reason) => self.give_up(number, row, reason),
            None => Ok(()),
        }
    }

    /// Gives up what a key has under way, and records it. Matching goes on after the present row.
    fn give_up(&mut self, number: u32, row: u64, reason: LimitReason) -> Result<(), Cause> {
        let Some(key) = self.keys.get_mut(number) else { return Ok(()) };
        let start = key.attempts.iter().map(|attempt| attempt.start).min().unwrap_or(row);
        key.attempts.clear();
        key.next_start = row + 1;
        let (Some(first), Some(last)) = (key.row(start).copied(), key.row(row).copied()) else { return Ok(()) };
        let bytes = key.key.clone();
        let columns = self.codec.decode(std::iter::once(bytes.as_deref()))?;
        let options = FormatOptions::default().with_null("NULL");
        let mut parts = Vec::new();
        for column in &columns {
            parts.push(ArrayFormatter::try_new(column.as_ref(), &options)?.value(0).to_string());
        }
        self.metrics.limits_reached += 1;
        self.limits.push(LimitEvent {
            key: parts.join(", "),
            partition: self.options.partition,
            first_offset: first.offset,
            last_offset: last.offset,
            first_time_us: first.time_us,
            last_time_us: last.time_us,
            reason,
            rows: row - start + 1,
            version: Version { generation: self.options.generation, rows: row - start + 1, is_final: true },
        });
        Ok(())
    }
}
