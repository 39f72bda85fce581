//! The sessions within one batch, before they are joined with those that are held.

use crate::window::groups::BatchGroups;

/// Rows of one key that follow one another within the gap.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    /// Group of the batch that has the key.
    pub(super) group: u32,
    pub(super) start_us: i64,
    pub(super) last_us: i64,
    pub(super) rows: u64,
    /// Its part of `order`.
    begin: usize,
    end: usize,
}

/// The runs of a batch, reused from batch to batch.
#[derive(Debug, Default)]
pub(super) struct Runs {
    pub(super) runs: Vec<Run>,
    /// Run of each row.
    pub(super) of_row: Vec<u32>,
    /// Rows by key and time.
    order: Vec<u32>,
}

impl Runs {
    /// Cuts the rows of each key where the next one comes more than the gap later.
    pub(super) fn cut(&mut self, groups: &BatchGroups, times_us: &[i64], gap_us: i64) {
        let Self { runs, of_row, order } = self;
        let place = |row: &u32| {
            let at = *row as usize;
            (groups.of_row[at], times_us[at])
        };
        order.clear();
        order.extend((0..times_us.len()).filter_map(|row| u32::try_from(row).ok()));
        if !order.is_sorted_by_key(place) {
            order.sort_unstable_by_key(place);
        }
        runs.clear();
        of_row.clear();
        of_row.resize(times_us.len(), 0);
        for (at, row) in order.iter().enumerate() {
            let (group, time_us) = place(row);
            let number = match runs.last_mut() {
                Some(run) if run.group == group && time_us <= run.last_us.saturating_add(gap_us) => {
                    run.last_us = time_us;
                    run.rows += 1;
                    run.end = at + 1;
                    runs.len() - 1
                }
                _ => {
                    let run = Run { group, start_us: time_us, last_us: time_us, rows: 1, begin: at, end: at + 1 };
                    runs.push(run);
                    runs.len() - 1
                }
            };
            // There are no more runs than rows, whose numbers fit.
            of_row[*row as usize] = u32::try_from(number).unwrap_or(u32::MAX);
        }
    }

    /// The times of a run's rows, ascending, each once.
    pub(super) fn times(&self, run: &Run, times_us: &[i64]) -> Vec<i64> {
        let rows = self.order.get(run.begin..run.end).unwrap_or_default();
        let mut times: Vec<i64> = rows.iter().map(|row| times_us[*row as usize]).collect();
        times.dedup();
        times
    }

    /// Bytes held between batches.
    pub(super) fn bytes(&self) -> usize {
        self.runs.capacity() * size_of::<Run>() + (self.of_row.capacity() + self.order.capacity()) * size_of::<u32>()
    }
}
