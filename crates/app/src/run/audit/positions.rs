//! One raw partition against its two outputs: which raw positions have no verdict, or two.
//!
//! The three logs are merged by raw offset as they are read, so that a log of any length takes the memory of a block of each.

use std::collections::VecDeque;

use model::provenance::{Continuity, Provenance};
use model::{Progress, RecordBlock};
use serde::Serialize;

/// Findings told one by one; further ones are counted.
const FINDINGS_MAX: usize = 1_000;

/// What is wrong with a range of raw offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// Raw records without a verdict, below the position up to which validation says that it has decided all.
    Missing,
    /// Raw records that were both validated and rejected.
    Overlap,
    /// Verdicts on raw offsets at which there is no record.
    Unknown,
    /// An output that doesn't follow itself: its headers name a record before that isn't there. The range is that of the gap.
    Break,
    /// Records of an output without the headers that say where they come from; the range is of the output's own offsets.
    Headers,
}

impl Fault {
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Missing => "no verdict",
            Self::Overlap => "validated and rejected",
            Self::Unknown => "a verdict without a raw record",
            Self::Break => "an output skips from the first to the last",
            Self::Headers => "an output's record without provenance (offsets of the output)",
        }
    }
}

/// A range of raw offsets with one fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) fault: Fault,
    /// First raw offset.
    pub(crate) from: i64,
    /// Last raw offset.
    pub(crate) to: i64,
    /// Records between them that have the fault.
    pub(crate) records: u64,
}

/// What a raw partition and its outputs hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct PartitionReport {
    pub(crate) partition: i32,
    /// First raw offset of which something can be said: retention has removed raw records or verdicts below it.
    pub(crate) from: i64,
    /// Raw records from there on.
    pub(crate) raw: u64,
    pub(crate) validated: u64,
    pub(crate) rejected: u64,
    /// Raw records past validation's position, which have no verdict yet.
    pub(crate) waiting: u64,
    /// Records that an output holds more than once, each next to the first; readers drop them.
    pub(crate) repeats: u64,
    /// All faults, also those that are not in `findings`.
    pub(crate) faults: u64,
    pub(crate) findings: Vec<Finding>,
}

/// The logs of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Log {
    Raw,
    Validated,
    Rejected,
}

#[derive(Debug, Default)]
struct Input {
    raw_offsets: VecDeque<i64>,
    is_over: bool,
}

impl Input {
    fn is_open(&self) -> bool {
        self.raw_offsets.is_empty() && !self.is_over
    }

    fn take(&mut self, offset: i64) -> bool {
        let is_next = self.raw_offsets.front() == Some(&offset);
        if is_next {
            self.raw_offsets.pop_front();
        }
        is_next
    }
}

#[derive(Debug)]
struct Output {
    input: Input,
    /// Raw offset of the last record; `None` while it isn't known, since retention has removed it.
    last: Option<i64>,
}

/// Compares a raw partition with its outputs.
#[derive(Debug)]
pub(crate) struct PositionAudit {
    raw_start: i64,
    /// Below this raw offset all is decided, says validation.
    decided_to: i64,
    raw: Input,
    validated: Output,
    rejected: Output,
    report: PartitionReport,
}

impl PositionAudit {
    /// `progress` was read before the ends of the logs were asked for; `ranges` are what is there of raw, validated and rejected.
    pub(crate) fn new(progress: &Progress, ranges: [(i64, i64); 3]) -> Self {
        let [raw, validated, rejected] = ranges;
        // An output whose beginning is gone says with its first record which one came before; with nothing left, progress does.
        let output = |(start, end): (i64, i64), last| Output {
            input: Input::default(),
            last: if start == 0 {
                Some(-1)
            } else if start == end {
                Some(last)
            } else {
                None
            },
        };
        let mut audit = Self {
            raw_start: raw.0,
            decided_to: progress.raw_offset,
            raw: Input::default(),
            validated: output(validated, progress.last_validated_raw_offset),
            rejected: output(rejected, progress.last_rejected_raw_offset),
            report: PartitionReport { partition: progress.partition, from: raw.0, ..PartitionReport::default() },
        };
        for (last, start) in [(audit.validated.last, validated.0), (audit.rejected.last, rejected.0)] {
            if let Some(last) = last.filter(|_| start > 0) {
                audit.report.from = audit.report.from.max(last + 1);
            }
        }
        audit
    }

    /// The log to read on; `None` when all three are over.
    pub(crate) fn wants(&self) -> Option<Log> {
        if self.raw.is_open() {
            Some(Log::Raw)
        } else if self.validated.input.is_open() {
            Some(Log::Validated)
        } else if self.rejected.input.is_open() {
            Some(Log::Rejected)
        } else {
            None
        }
    }

    /// Takes the next records of a log.
    pub(crate) fn take(&mut self, log: Log, block: &RecordBlock) {
        match log {
            Log::Raw => self.raw.raw_offsets.extend(&block.offsets),
            Log::Validated | Log::Rejected => {
                for index in 0..block.len() {
                    self.take_verdict(log, block, index);
                }
            }
        }
        self.merge();
    }

    /// Says that a log has no further records.
    pub(crate) fn end(&mut self, log: Log) {
        match log {
            Log::Raw => self.raw.is_over = true,
            Log::Validated => self.validated.input.is_over = true,
            Log::Rejected => self.rejected.input.is_over = true,
        }
        self.merge();
    }

    /// The report, once nothing is wanted any more.
    pub(crate) fn finish(self) -> PartitionReport {
        self.report
    }

    fn take_verdict(&mut self, log: Log, block: &RecordBlock, index: usize) {
        let output = if log == Log::Validated { &mut self.validated } else { &mut self.rejected };
        let Some(provenance) = Provenance::from_headers(block.headers(index)) else {
            let offset = block.offsets.get(index).copied().unwrap_or(-1);
            return self.find(Fault::Headers, offset, offset);
        };
        let Provenance { raw_offset, previous_raw_offset } = provenance;
        let last = *output.last.get_or_insert_with(|| {
            self.report.from = self.report.from.max(previous_raw_offset + 1);
            previous_raw_offset
        });
        match provenance.follows(last) {
            Continuity::Repeat => self.report.repeats += 1,
            continuity => {
                output.last = Some(raw_offset);
                output.input.raw_offsets.push_back(raw_offset);
                if continuity == Continuity::Break {
                    self.find(Fault::Break, last, raw_offset);
                }
            }
        }
    }

    /// Goes on as far as the next offset of all three logs is known.
    fn merge(&mut self) {
        while self.wants().is_none() {
            let fronts = [&self.raw, &self.validated.input, &self.rejected.input];
            let Some(offset) = fronts.iter().filter_map(|input| input.raw_offsets.front()).min().copied() else {
                return;
            };
            let is_raw = self.raw.take(offset);
            let is_validated = self.validated.input.take(offset);
            let is_rejected = self.rejected.input.take(offset);
            if offset < self.report.from || (!is_raw && offset < self.raw_start) {
                continue;
            }
            self.report.raw += u64::from(is_raw);
            self.report.validated += u64::from(is_validated);
            self.report.rejected += u64::from(is_rejected);
            match (is_raw, is_validated, is_rejected) {
                (true, true, false) | (true, false, true) => {}
                (true, false, false) if offset >= self.decided_to => self.report.waiting += 1,
                (true, false, false) => self.find(Fault::Missing, offset, offset),
                (_, true, true) => self.find(Fault::Overlap, offset, offset),
                (false, ..) => self.find(Fault::Unknown, offset, offset),
            }
        }
    }

    fn find(&mut self, fault: Fault, from: i64, to: i64) {
        self.report.faults += 1;
        let findings = &mut self.report.findings;
        // A break is a range of its own; all others are single offsets, of which neighbours are told as one range.
        let grows = |last: &Finding| last.fault == fault && fault != Fault::Break && last.to + 1 == from;
        if let Some(last) = findings.last_mut().filter(|last| grows(last)) {
            last.to = to;
            last.records += 1;
        } else if findings.len() < FINDINGS_MAX {
            findings.push(Finding { fault, from, to, records: 1 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(offsets: &[i64]) -> RecordBlock {
        let mut block = RecordBlock::new("raw".into(), 0);
        offsets.iter().for_each(|&offset| block.push(offset, 0, None, None, []));
        block
    }

    fn output(records: &[(i64, i64)]) -> RecordBlock {
        let mut block = RecordBlock::new("output".into(), 0);
        for (offset, &(raw, previous)) in records.iter().enumerate() {
            let (raw, previous) = (raw.to_string(), previous.to_string());
            let headers = [
                (model::provenance::RAW_OFFSET, Some(raw.as_bytes())),
                (model::provenance::PREVIOUS_RAW_OFFSET, Some(previous.as_bytes())),
            ];
            block.push(offset as i64, 0, None, None, headers);
        }
        block
    }

    /// Follows itself.
    fn chain(raw_offsets: &[i64]) -> RecordBlock {
        let mut previous = -1;
        let link = |&raw: &i64| (raw, std::mem::replace(&mut previous, raw));
        output(&raw_offsets.iter().map(link).collect::<Vec<_>>())
    }

    fn audit(
        raw_log: &RecordBlock,
        validated: &RecordBlock,
        rejected: &RecordBlock,
        decided_to: i64,
    ) -> PartitionReport {
        let progress = Progress { raw_offset: decided_to, ..Progress::start(0) };
        let ranges = [raw_log, validated, rejected].map(|block| (0, block.next_offset().unwrap_or(0)));
        run(PositionAudit::new(&progress, ranges), raw_log, validated, rejected)
    }

    /// Gives the records one by one, as the audit asks for them.
    fn run(
        mut audit: PositionAudit,
        raw_log: &RecordBlock,
        validated: &RecordBlock,
        rejected: &RecordBlock,
    ) -> PartitionReport {
        let mut at = [0, 0, 0];
        while let Some(log) = audit.wants() {
            let (block, at) = match log {
                Log::Raw => (raw_log, &mut at[0]),
                Log::Validated => (validated, &mut at[1]),
                Log::Rejected => (rejected, &mut at[2]),
            };
            if *at == block.len() {
                audit.end(log);
                continue;
            }
            let mut one = RecordBlock::new("one".into(), 0);
            one.push(block.offsets[*at], 0, None, None, block.headers(*at));
            audit.take(log, &one);
            *at += 1;
        }
        audit.finish()
    }

    fn faults(report: &PartitionReport) -> Vec<(Fault, i64, i64)> {
        report.findings.iter().map(|finding| (finding.fault, finding.from, finding.to)).collect()
    }

    #[test]
    fn one_verdict_each_is_right_whatever_gaps_the_log_has() {
        let report = audit(&raw(&[0, 1, 2, 5, 6, 9]), &chain(&[0, 2, 6]), &chain(&[1, 5]), 9);
        assert_eq!((report.raw, report.validated, report.rejected, report.waiting), (6, 3, 2, 1));
        assert_eq!((report.faults, report.findings), (0, Vec::new()));
    }

    #[test]
    fn what_is_missing_or_there_twice_or_from_nowhere_is_named() {
        let report = audit(&raw(&[0, 1, 2, 3, 4, 5, 6, 8]), &chain(&[0, 4, 5, 8]), &chain(&[5, 6, 7]), 9);
        assert_eq!(faults(&report), [(Fault::Missing, 1, 3), (Fault::Overlap, 5, 5), (Fault::Unknown, 7, 7)]);
        assert_eq!((report.findings[0].records, report.faults), (3, 5));
    }

    #[test]
    fn a_lost_end_is_missing_below_the_position_and_waiting_above() {
        let report = audit(&raw(&[0, 1, 2, 3]), &chain(&[0]), &chain(&[]), 3);
        assert_eq!(faults(&report), [(Fault::Missing, 1, 2)]);
        assert_eq!(report.waiting, 1);
    }

    #[test]
    fn repeats_are_counted_and_breaks_found() {
        let report = audit(&raw(&[0, 1, 2, 3]), &output(&[(0, -1), (1, 0), (1, 0), (0, -1), (3, 2)]), &chain(&[]), 4);
        assert_eq!(faults(&report), [(Fault::Break, 1, 3), (Fault::Missing, 2, 2)]);
        assert_eq!(report.repeats, 2);
    }

    #[test]
    fn a_record_without_headers_is_no_verdict() {
        let mut validated = chain(&[0]);
        validated.push(1, 0, None, None, []);
        let report = audit(&raw(&[0, 1]), &validated, &chain(&[]), 2);
        assert_eq!(faults(&report), [(Fault::Headers, 1, 1), (Fault::Missing, 1, 1)]);
    }

    #[test]
    fn what_retention_removed_is_left_out() {
        let progress = Progress { raw_offset: 8, last_rejected_raw_offset: 3, ..Progress::start(0) };
        // The validated output's first records are gone, and all of the rejected one's.
        let audit = PositionAudit::new(&progress, [(2, 8), (2, 4), (3, 3)]);
        let report = run(audit, &raw(&[2, 3, 4, 5, 6, 7]), &output(&[(5, 4), (6, 5)]), &chain(&[]));
        assert_eq!((report.from, report.raw, report.validated), (5, 3, 2));
        assert_eq!(faults(&report), [(Fault::Missing, 7, 7)]);
        // The raw log's first records are gone, their verdicts not.
        let audit = PositionAudit::new(&progress, [(6, 8), (0, 4), (0, 4)]);
        let report = run(audit, &raw(&[6, 7]), &chain(&[0, 1, 2, 6]), &chain(&[3, 4, 5, 7]));
        assert_eq!((report.from, report.raw, report.validated, report.rejected, report.faults), (6, 2, 1, 1, 0));
    }

    #[test]
    fn findings_have_a_cap_and_the_count_has_none() {
        let offsets: Vec<i64> = (0..5_000).collect();
        let every_other: Vec<i64> = (0..5_000).step_by(2).collect();
        let report = audit(&raw(&offsets), &chain(&every_other), &chain(&[]), 5_000);
        assert_eq!((report.findings.len(), report.faults), (FINDINGS_MAX, 2_500));
    }
}
