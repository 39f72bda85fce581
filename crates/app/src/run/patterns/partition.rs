//! The operators of one partition of a stream, with the positions that each has taken.

use std::collections::{BTreeSet, VecDeque};

use model::{Progress, TopicPartition};
use process::{PatternOperator, PatternOptions};

use super::plan::{PartitionId, PatternPlan};
use crate::error::Result;
use crate::run::positions::Stand;
use crate::run::process::input::Rows;
use crate::run::process::queries::Taken;

/// Announcements kept; past it they are thinned out evenly, which only delays what is left out.
const ANNOUNCED_MAX: usize = 8_192;

/// One pattern over one partition.
#[derive(Debug)]
pub(crate) struct PatternRun {
    pub(crate) operator: PatternOperator,
    /// Place of the pattern among the plan's results.
    pub(crate) result: usize,
    pub(crate) taken: Taken,
    /// Whether it goes on from a snapshot.
    pub(crate) is_restored: bool,
}

/// One partition while it runs.
#[derive(Debug)]
pub(crate) struct PartitionRun {
    pub(crate) id: PartitionId,
    pub(crate) patterns: Vec<PatternRun>,
    /// Whether all that was taken is in the last snapshot.
    pub(crate) is_saved: bool,
    /// Rows that were read and that not all patterns have taken: there are some only while a pattern is full.
    waiting: VecDeque<Rows>,
    /// The pattern that has no room for the first of them, in words.
    full: Option<String>,
    /// Announced and not applied: validated offset to have taken, and the watermark that then holds.
    announced: VecDeque<(i64, Option<i64>)>,
    /// Least distance of two that are kept.
    announced_gap: i64,
    /// The newest epoch of the progress taken.
    epoch: Option<i64>,
    /// Greatest validated offset whose announcement has been applied.
    settled: Option<i64>,
}

impl PartitionRun {
    /// A partition without state.
    pub(crate) fn new(plan: &PatternPlan, id: PartitionId) -> Result<Self> {
        let name = plan.streams.get(id.stream).map_or("", |stream| stream.name.as_str());
        let mut patterns = Vec::new();
        for (result, topic) in plan.results.iter().enumerate().filter(|(_, topic)| topic.query.reads(name)) {
            let options = PatternOptions {
                generation: topic.generation,
                partition: id.number,
                state_bytes_max: plan.state_bytes_max,
                parts_from_keys: plan.parts_from_keys,
                ..PatternOptions::default()
            };
            let mut operator = PatternOperator::new(topic.query.clone(), options)?;
            if let Some(spill) = &plan.spill {
                operator.spill_to(spill.clone())?;
            }
            patterns.push(PatternRun { operator, result, taken: Taken::NOTHING, is_restored: false });
        }
        Ok(Self {
            id,
            patterns,
            is_saved: true,
            waiting: VecDeque::new(),
            full: None,
            announced: VecDeque::new(),
            announced_gap: 0,
            epoch: None,
            settled: None,
        })
    }

    /// Settles where its patterns read from in a partition with these offsets: one that is new begins with the first record that is there.
    ///
    /// # Errors
    /// `Position` when one stands outside of the log.
    pub(crate) fn begin(&mut self, stand: &Stand<'_>, at: &TopicPartition, range: (i64, i64)) -> Result<()> {
        for pattern in &mut self.patterns {
            let next_offset = pattern.taken.next_offset;
            let from = if pattern.is_restored { stand.start(at, next_offset, range)? } else { range.0 };
            if from != next_offset {
                // What follows a gap doesn't follow what was taken last.
                pattern.taken = Taken { next_offset: from, last_raw_offset: -1 };
            }
        }
        Ok(())
    }

    /// Where the pattern that has taken least stands.
    pub(crate) fn first_taken(&self) -> Option<Taken> {
        self.patterns.iter().map(|pattern| pattern.taken).min_by_key(|taken| taken.next_offset)
    }

    /// Takes rows. Where a pattern has no room for them, they wait, and [`full`](Self::full) says so.
    pub(crate) fn push(&mut self, rows: Rows) -> Result<()> {
        self.waiting.push_back(rows);
        self.hand_over()
    }

    /// Gives rows to the patterns that haven't taken them yet.
    pub(crate) fn hand_over(&mut self) -> Result<()> {
        self.full = None;
        while let Some(rows) = self.waiting.front() {
            for pattern in self.patterns.iter_mut().filter(|pattern| pattern.taken.next_offset < rows.next_offset) {
                let first_new = rows.offsets.partition_point(|&offset| offset < pattern.taken.next_offset);
                let count = rows.offsets.len() - first_new;
                if count > 0 {
                    let raw_offsets = rows.raw_offsets.get(first_new..).unwrap_or_default();
                    match pattern.operator.push(&rows.batch.slice(first_new, count), raw_offsets) {
                        Err(error) if error.is_full() => {
                            self.full = Some(error.to_string());
                            return Ok(());
                        }
                        pushed => pushed?,
                    }
                }
                pattern.taken = Taken { next_offset: rows.next_offset, last_raw_offset: rows.last_raw_offset };
            }
            self.waiting.pop_front();
            self.is_saved = false;
        }
        Ok(())
    }

    /// Which pattern has no room for what was read, and what to do about it.
    pub(crate) fn full(&self) -> Option<&str> {
        self.full.as_deref()
    }

    /// Next validated offset that not all patterns have taken, of a partition that has been read up to one.
    pub(crate) fn taken(&self, read: i64) -> i64 {
        let first = self.waiting.front().map(|rows| rows.offsets.first().copied().unwrap_or(rows.next_offset));
        first.unwrap_or(read)
    }

    /// Takes an announcement of the progress topic. One by a process that no longer has the partition is void.
    pub(crate) fn announce(&mut self, progress: &Progress) {
        if progress.epoch < self.epoch {
            return;
        }
        self.epoch = progress.epoch;
        let (offset, watermark_us) = (progress.validated_offset, progress.watermark_us);
        let before_last = self.announced.iter().rev().nth(1).map(|(offset, _)| *offset);
        let is_near = before_last.is_some_and(|before| offset - before < self.announced_gap);
        match self.announced.back_mut() {
            // The newest is always there: it may be the last.
            Some(last) if last.0 >= offset || is_near => *last = (last.0.max(offset), last.1.max(watermark_us)),
            _ => self.announced.push_back((offset, watermark_us)),
        }
        if self.announced.len() >= ANNOUNCED_MAX {
            self.thin_out();
        }
    }

    /// Leaves out about half of the announcements, so that the others lie evenly.
    fn thin_out(&mut self) {
        let (first, last) = (self.announced.front().map_or(0, |at| at.0), self.announced.back().map_or(0, |at| at.0));
        let gap = (last - first) / (ANNOUNCED_MAX as i64 / 2) + 1;
        let mut kept = None;
        self.announced.retain(|(offset, _)| {
            let stays = *offset == last || kept.is_none_or(|kept| offset - kept >= gap);
            if stays {
                kept = Some(*offset);
            }
            stays
        });
        self.announced_gap = gap;
    }

    /// Moves the partition's time to what has been announced for the records before `position`; true if that changed anything.
    ///
    /// A pattern that is ahead of the others has applied these watermarks before, and one that fills from the beginning has taken what they
    /// cover.
    pub(crate) fn apply_watermark(&mut self, position: i64) -> Result<bool> {
        let mut watermark_us = None;
        while let Some((offset, announced_us)) = self.announced.pop_front_if(|(offset, _)| *offset <= position) {
            watermark_us = watermark_us.max(announced_us);
            self.settled = self.settled.max(Some(offset));
        }
        if self.announced.is_empty() {
            self.announced_gap = 0;
        }
        let Some(watermark_us) = watermark_us else { return Ok(false) };
        for pattern in &mut self.patterns {
            pattern.operator.advance(watermark_us)?;
        }
        self.is_saved = false;
        Ok(true)
    }

    /// Names of the parts that its last snapshot is made of.
    pub(crate) fn part_names(&self) -> BTreeSet<String> {
        self.patterns.iter().flat_map(|pattern| pattern.operator.part_names()).collect()
    }

    /// Whether everything below a validated offset is taken and what was announced for it is applied.
    pub(crate) fn has_settled(&self, offset: i64) -> bool {
        let is_announced = offset == 0 || self.settled.is_some_and(|settled| settled >= offset);
        is_announced && self.patterns.iter().all(|pattern| pattern.taken.next_offset >= offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition() -> PartitionRun {
        PartitionRun {
            id: PartitionId { stream: 0, number: 0 },
            patterns: Vec::new(),
            is_saved: true,
            waiting: VecDeque::new(),
            full: None,
            announced: VecDeque::new(),
            announced_gap: 0,
            epoch: None,
            settled: None,
        }
    }

    #[test]
    fn a_watermark_waits_for_its_records() {
        let mut run = partition();
        let progress =
            |validated_offset, watermark_us| Progress { validated_offset, watermark_us, ..Progress::start(0) };
        run.announce(&progress(0, None));
        run.announce(&progress(10, Some(100)));
        run.announce(&progress(10, Some(110)));
        run.announce(&progress(20, Some(200)));
        assert!(!run.apply_watermark(9).unwrap(), "the first announcement has no watermark");
        assert!(run.has_settled(0) && !run.has_settled(10));
        assert!(run.apply_watermark(19).unwrap());
        assert!(run.has_settled(10) && !run.has_settled(20));
    }

    #[test]
    fn many_announcements_are_thinned_out_evenly() {
        let mut run = partition();
        for offset in 1..100_001 {
            run.announce(&Progress { validated_offset: offset, watermark_us: Some(offset), ..Progress::start(0) });
        }
        assert!(run.announced.len() < ANNOUNCED_MAX);
        assert!(run.apply_watermark(50_000).unwrap());
        assert!(run.settled.is_some_and(|settled| settled > 49_900), "{:?}", run.settled);
        assert!(run.apply_watermark(100_000).unwrap());
        assert!(run.settled.is_some_and(|settled| settled > 99_900), "{:?}", run.settled);
    }
}
