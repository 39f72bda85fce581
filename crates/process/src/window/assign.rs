//! Which windows a row is in.
//!
//! Time is cut into panes as long as the slide. As a window's size is a multiple of its slide, all rows of a pane are in the same windows:
//! the one that starts with the pane, and those before it that reach over it.

use crate::error::Cause;

/// Tumbling or hopping windows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Windows {
    size_us: i64,
    slide_us: i64,
    offset_us: i64,
    /// Whether rows are folded into panes, from which windows are put together.
    shares_panes: bool,
}

impl Windows {
    /// Checks what the arithmetic below relies on.
    pub(super) fn new(size_us: i64, slide_us: i64, offset_us: i64) -> Result<Self, Cause> {
        let sound =
            slide_us > 0 && size_us >= slide_us && size_us % slide_us == 0 && (0..slide_us).contains(&offset_us);
        if !sound {
            return Err(Cause::Plan(format!(
                "a window of {size_us} µs every {slide_us} µs, shifted by {offset_us} µs"
            )));
        }
        Ok(Self { size_us, slide_us, offset_us, shares_panes: false })
    }

    /// The same windows, with rows folded into panes alone.
    pub(super) fn sharing_panes(self) -> Self {
        Self { shares_panes: true, ..self }
    }

    /// Whether rows are folded into panes alone.
    pub(super) fn shares_panes(&self) -> bool {
        self.shares_panes
    }

    /// Tables that a row is folded into.
    pub(super) fn tables_per_row(&self) -> usize {
        if self.shares_panes { 1 } else { usize::try_from(self.size_us / self.slide_us).unwrap_or(usize::MAX) }
    }

    /// Starts of the tables that the rows of a pane are folded into, ascending: those of the windows that hold it, or the pane's own.
    pub(super) fn tables(&self, pane_us: i64) -> impl Iterator<Item = i64> + use<> {
        let (first, slide) = (if self.shares_panes { pane_us } else { self.first_holding(pane_us) }, self.slide_us);
        let count = if self.shares_panes { 1 } else { self.size_us / slide };
        (0..count).map(move |number| first + number * slide)
    }

    /// Start of the pane of each time; `Err` is the row whose windows lie outside the range of time.
    pub(super) fn panes(&self, times_us: &[i64], panes: &mut Vec<i64>) -> Result<(), usize> {
        panes.clear();
        panes.reserve(times_us.len());
        // Rows come roughly in order of time, so most are in the pane of the row before, and a comparison saves the division.
        let (mut start, mut end) = (i64::MAX, i64::MIN);
        for (row, time) in times_us.iter().enumerate() {
            if *time < start || *time >= end {
                (start, end) = self.pane(*time).ok_or(row)?;
            }
            panes.push(start);
        }
        Ok(())
    }

    fn pane(&self, time_us: i64) -> Option<(i64, i64)> {
        let number = time_us.checked_sub(self.offset_us)?.div_euclid(self.slide_us);
        let start = number.checked_mul(self.slide_us)?.checked_add(self.offset_us)?;
        // The earliest window and the latest one exist too.
        start.checked_sub(self.size_us)?;
        start.checked_add(self.size_us)?;
        Some((start, start + self.slide_us))
    }

    /// Start of the earliest window that holds a pane.
    pub(super) fn first_holding(&self, pane_us: i64) -> i64 {
        pane_us - self.size_us + self.slide_us
    }

    /// End of the window that starts here; `None` outside the range of time.
    pub(super) fn end(&self, start_us: i64) -> Option<i64> {
        start_us.checked_add(self.size_us)
    }

    /// Distance from the start of one window to that of the next.
    pub(super) fn slide_us(&self) -> i64 {
        self.slide_us
    }

    /// The bound below which windows that start are over at this watermark.
    pub(super) fn closed_until(&self, watermark_us: i64) -> i64 {
        watermark_us.saturating_sub(self.size_us).saturating_add(1)
    }

    /// Start of the first window that holds a pane and starts at `from_us` or later.
    pub(super) fn first_holding_from(&self, pane_us: i64, from_us: i64) -> i64 {
        let first = self.first_holding(pane_us);
        let missing_us = from_us.saturating_sub(first).max(0);
        first.saturating_add(missing_us.saturating_add(self.slide_us - 1) / self.slide_us * self.slide_us)
    }

    /// Windows that hold a pane and start from `from_us` on and before `until_us`.
    pub(super) fn count_holding(&self, pane_us: i64, from_us: i64, until_us: i64) -> u64 {
        let first = self.first_holding_from(pane_us, from_us);
        let missing_us = until_us.min(pane_us.saturating_add(self.slide_us)).saturating_sub(first).max(0);
        missing_us.unsigned_abs().div_ceil(self.slide_us.unsigned_abs())
    }

    /// End of the block in which a window starts. Blocks are as long as a window, and the same whatever there is of rows.
    pub(super) fn block_end(&self, start_us: i64) -> i64 {
        let within_us = start_us.saturating_sub(self.offset_us).rem_euclid(self.size_us);
        start_us.saturating_add(self.size_us - within_us)
    }

    /// Whether the window that starts here is over at this watermark.
    pub(super) fn is_closed(&self, start_us: i64, watermark_us: Option<i64>) -> bool {
        watermark_us.is_some_and(|watermark| self.end(start_us).is_some_and(|end| end <= watermark))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The definition: a window [start, start + size) with start = offset + n * slide holds a time between its bounds.
        #[test]
        fn a_row_is_in_the_windows_whose_bounds_hold_it(slide in 1..50i64, times in 1..6i64, shift in 0..50i64, time in -500..500i64) {
            let windows = Windows::new(slide * times, slide, shift % slide).unwrap();
            let mut panes = Vec::new();
            windows.panes(&[time], &mut panes).unwrap();
            let found: Vec<i64> = windows.tables(panes[0]).collect();
            let expected: Vec<i64> = (-1000..1000)
                .filter(|start| (start - shift % slide).rem_euclid(slide) == 0)
                .filter(|start| *start <= time && time < start + slide * times)
                .collect();
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(found.len(), windows.tables_per_row());
            prop_assert_eq!(found[0], windows.first_holding(panes[0]));
            let shared = windows.sharing_panes();
            prop_assert_eq!(shared.tables(panes[0]).collect::<Vec<_>>(), panes.clone());
            let (from, until) = (time + shift - 25, time + 2 * shift);
            let within = || found.iter().filter(|start| **start >= from);
            if let Some(first) = within().next() {
                prop_assert_eq!(shared.first_holding_from(panes[0], from), *first);
            }
            prop_assert_eq!(shared.count_holding(panes[0], from, until), within().filter(|start| **start < until).count() as u64);
            for start in found {
                prop_assert_eq!(start < shared.closed_until(time), shared.is_closed(start, Some(time)));
                let end = shared.block_end(start);
                prop_assert!(start < end && end <= start + slide * times && (end - shift % slide) % (slide * times) == 0);
            }
        }
    }

    #[test]
    fn times_at_the_ends_of_the_range_are_named_and_not_wrapped() {
        let windows = Windows::new(60, 10, 5).unwrap();
        let mut panes = Vec::new();
        assert_eq!(windows.panes(&[0, i64::MAX], &mut panes), Err(1));
        assert_eq!(windows.panes(&[i64::MIN], &mut panes), Err(0));
        assert!(Windows::new(15, 10, 0).is_err());
        assert!(Windows::new(10, 10, 10).is_err());
    }
}
