//! Which partition's snapshot is due: one at a time, since nothing is matched while one is made.

use std::time::Duration;

/// Of partitions with changes, each with the time of its last snapshot, the one to save now. `saved_at` is the time of the last snapshot of any
/// of all `partitions`: between two there is a pause to catch up in, and all pauses together are half of the interval.
pub(super) fn due<T>(
    unsaved: impl Iterator<Item = (T, Duration)>,
    saved_at: Duration,
    partitions: usize,
    interval: Duration,
    now: Duration,
) -> Option<T> {
    let pause = interval / 2 / u32::try_from(partitions).unwrap_or(u32::MAX).max(1);
    if now.saturating_sub(saved_at) < pause {
        return None;
    }
    let (oldest, at) = unsaved.min_by_key(|(_, at)| *at)?;
    (now.saturating_sub(at) >= interval).then_some(oldest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_saved_one_after_another_each_once_an_interval() {
        let interval = Duration::from_secs(10);
        let (mut times, mut last, mut saved) = ([Duration::ZERO; 4], Duration::ZERO, Vec::new());
        for tenth in 0..400 {
            let now = Duration::from_millis(tenth * 100);
            // The last one never changes.
            let unsaved = times.iter().copied().enumerate().take(3);
            if let Some(number) = due(unsaved, last, times.len(), interval, now) {
                (times[number], last) = (now, now);
                saved.push((number, now.as_millis()));
            }
        }
        let expected = [
            (0, 10_000),
            (1, 11_300),
            (2, 12_600),
            (0, 20_000),
            (1, 21_300),
            (2, 22_600),
            (0, 30_000),
            (1, 31_300),
            (2, 32_600),
        ];
        assert_eq!(saved, expected);
        assert_eq!(due(std::iter::empty::<(usize, Duration)>(), last, 0, interval, Duration::from_secs(90)), None);
        assert_eq!(
            due(std::iter::once((7, Duration::ZERO)), Duration::ZERO, 1, Duration::ZERO, Duration::ZERO),
            Some(7)
        );
    }
}
