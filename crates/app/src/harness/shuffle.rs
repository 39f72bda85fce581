//! Another order of arrival in which each record has the same verdict.
//!
//! Within a run of `send` steps the records of a partition are drawn anew, as far as lateness allows: an accepted record may come early, but
//! never so early that another one would be late. Records that aren't accepted stay where they are, and all that came before them still
//! does. Records with the same time keep their order, since ties are broken by it. Partitions are mixed at will.
//!
//! Offsets are then other ones; [`Places`] gives them back their names.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::clock::seeded;
use project::Project;
use project::testfile::{Cell, StepKind, TestCase};
use rand::seq::IteratorRandom as _;
use sql::Query;

use crate::error::Result;
use crate::harness::Options;
use crate::harness::pipeline::TestPipeline;
use crate::harness::prepare::Prepared;
use crate::harness::rows::{self, Row};
use crate::harness::run::PreparedStep;

/// For each record of a stream's partition, the offset that it has in the order of the file.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// By stream, partition and the offset that it was given.
    original: BTreeMap<(String, i128, i128), i128>,
}

impl Places {
    /// Gives the raw offsets of a row the numbers that they have in the order of the file. The row is about this stream, or names its own.
    pub(crate) fn translate(&self, stream: Option<&str>, row: &mut Row) {
        let named = match (stream, rows::value(row, "stream")) {
            (Some(stream), _) => stream.to_owned(),
            (None, Some(Cell::Text(stream))) => stream.clone(),
            _ => return,
        };
        self.renumber(&named, "partition", &["offset", "first_offset"], row);
        self.renumber(&named, sql::SOURCE_PARTITION, &[sql::SOURCE_OFFSET, sql::FIRST_OFFSET, sql::LAST_OFFSET], row);
    }

    /// As [`Places::translate`], for a result of a query, whose row may be of one of several streams, or of two.
    pub(crate) fn translate_result(&self, query: &Query, row: &mut Row) {
        let number = match rows::value(row, sql::SOURCE_BRANCH) {
            Some(Cell::Number { unscaled, .. }) => usize::try_from(*unscaled).unwrap_or(0),
            _ => 0,
        };
        let Some(branch) = query.branches.get(number) else { return };
        self.translate(Some(&branch.stream), row);
        if let Some(join) = &branch.stream_join {
            self.renumber(&join.stream, sql::JOINED_PARTITION, &[sql::JOINED_OFFSET], row);
        }
    }

    fn renumber(&self, stream: &str, partition: &str, offsets: &[&str], row: &mut Row) {
        let Some(Cell::Number { unscaled: partition, .. }) = rows::value(row, partition).cloned() else { return };
        for (_, value) in row.iter_mut().filter(|(name, _)| offsets.contains(&name.as_str())) {
            if let Cell::Number { unscaled, .. } = value {
                let place = (stream.to_owned(), partition, *unscaled);
                *unscaled = self.original.get(&place).copied().unwrap_or(*unscaled);
            }
        }
    }
}

/// A record with where it stood.
struct Waiting {
    record: Prepared,
    original: i128,
    is_accepted: bool,
}

/// Draws another order with a seed.
///
/// # Errors
/// Those of the plain run that finds the verdicts.
pub(crate) fn shuffle<'c>(
    project: &Project,
    case: &TestCase,
    steps: Vec<PreparedStep<'c>>,
    now_us: i64,
    seed: u64,
) -> Result<(Vec<PreparedStep<'c>>, Places)> {
    let mut random = seeded(seed);
    let accepted = accepted(project, case, &steps, now_us)?;
    let mut next: BTreeMap<(usize, i32), i128> = BTreeMap::new();
    let mut places = Places::default();
    let mut shuffled: Vec<PreparedStep<'c>> = Vec::with_capacity(steps.len());
    let mut steps = steps.into_iter().peekable();
    while let Some(step) = steps.next() {
        if !matches!(step.step.kind, StepKind::Send(_)) {
            shuffled.push(step);
            continue;
        }
        let mut run = vec![step];
        while let Some(step) = steps.next_if(|step| matches!(step.step.kind, StepKind::Send(_))) {
            run.push(step);
        }
        let mut queues: BTreeMap<(usize, i32), VecDeque<Waiting>> = BTreeMap::new();
        for record in run.iter().flat_map(|step| &step.records) {
            let place = (record.stream, record.partition);
            let original = *next.entry(place).and_modify(|offset| *offset += 1).or_insert(0);
            let is_accepted = accepted.contains(&(record.stream, record.partition, original));
            queues.entry(place).or_default().push_back(Waiting { record: record.clone(), original, is_accepted });
        }
        let mut given: BTreeMap<(usize, i32), i128> = BTreeMap::new();
        for (place, queue) in &queues {
            given.insert(*place, queue.iter().map(|waiting| waiting.original).min().unwrap_or(0));
        }
        for step in run {
            let mut records = Vec::with_capacity(step.records.len());
            for _ in 0..step.records.len() {
                let Some(place) =
                    queues.iter().filter(|(_, queue)| !queue.is_empty()).map(|(place, _)| *place).choose(&mut random)
                else {
                    break;
                };
                let Some(stream) = project.streams.get(place.0) else { break };
                let Some(queue) = queues.get_mut(&place) else { break };
                let index = draw(queue, stream.lateness.as_micros(), &mut random);
                let Some(waiting) = queue.remove(index) else { break };
                let offset = given.entry(place).or_insert(0);
                places.original.insert((stream.name.clone(), i128::from(place.1), *offset), waiting.original);
                *offset += 1;
                records.push(waiting.record);
            }
            shuffled.push(PreparedStep { step: step.step, records });
        }
    }
    Ok((shuffled, places))
}

/// Which of a partition's records may come next: one drawn among those before the first that isn't accepted.
fn draw(queue: &VecDeque<Waiting>, lateness_us: i64, random: &mut impl rand::Rng) -> usize {
    let free = queue.iter().take_while(|waiting| waiting.is_accepted).count();
    let times: Vec<i64> = queue.iter().take(free).filter_map(|waiting| waiting.record.event_time_us).collect();
    let Some(least) = times.iter().min() else { return 0 };
    let may = |index: usize| {
        let time = times.get(index).copied().unwrap_or(i64::MAX);
        let is_first_of_its_time = times.iter().take(index).all(|earlier| *earlier != time);
        time <= least.saturating_add(lateness_us) && is_first_of_its_time
    };
    let candidates: Vec<usize> = (0..times.len()).filter(|index| may(*index)).collect();
    if candidates.is_empty() {
        0
    } else {
        candidates.get(random.random_range(0..candidates.len())).copied().unwrap_or(0)
    }
}

/// Stream, partition and offset of each record that is accepted in the order of the file.
fn accepted(
    project: &Project,
    case: &TestCase,
    steps: &[PreparedStep<'_>],
    now_us: i64,
) -> Result<BTreeSet<(usize, i32, i128)>> {
    let mut pipeline = TestPipeline::new(project, now_us, Options::default())?;
    for step in &case.steps {
        if let StepKind::Send(records) = &step.kind {
            records.iter().try_for_each(|record| pipeline.prepare(record).map(drop))?;
        }
    }
    for PreparedStep { step, records } in steps {
        match &step.kind {
            StepKind::Send(_) => pipeline.send(records)?,
            StepKind::Advance(by) => pipeline.advance(*by)?,
            _ => {}
        }
    }
    let mut accepted = BTreeSet::new();
    for (index, stream) in project.streams.iter().enumerate() {
        for row in pipeline.validated(&stream.name)? {
            let number = |column| match row.iter().rev().find(|(name, _)| name == column) {
                Some((_, Cell::Number { unscaled, .. })) => *unscaled,
                _ => -1,
            };
            accepted.insert((index, i32::try_from(number("partition")).unwrap_or(-1), number("offset")));
        }
    }
    Ok(accepted)
}
