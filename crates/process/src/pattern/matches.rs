//! Decided matches as result rows.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch};
use model::Version;
use sql::{Expression, RowsPerMatch};

use super::attempt::is_excluded;
use super::key::Match;
use super::operator::PatternOperator;
use super::store::Place;
use super::values::{View, columns};
use crate::emission::Emission;
use crate::error::Cause;
use crate::rows::{keep, project, truths};

/// Result rows that wait for the next emission, each with the number of rows of its match.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(super) rows: RecordBatch,
    pub(super) counts: Vec<u64>,
}

impl Finished {
    pub(super) fn bytes(&self) -> usize {
        self.rows.get_array_memory_size() + self.counts.len() * size_of::<u64>()
    }
}

/// The result rows of matches, each given with the number of its key.
pub(super) fn finish(operator: &PatternOperator, ready: &[(u32, Match)]) -> Result<Option<Finished>, Cause> {
    let mut views = Vec::new();
    let mut offsets = Vec::new();
    for (number, found) in ready {
        let missing = || Cause::Internal("a match of a key that isn't kept".into());
        let key = operator.keys.get(*number).ok_or_else(missing)?;
        let length = found.path.len();
        let rows = match operator.pattern.rows {
            RowsPerMatch::One => length..length + 1,
            RowsPerMatch::All => 1..length + 1,
        };
        let row = |number: u64| key.row(number).ok_or_else(missing);
        let last = found.start + length as u64 - 1;
        for upto in rows {
            let path = found.path.get(..upto).unwrap_or_default();
            if operator.pattern.rows == RowsPerMatch::All && path.last().is_some_and(|step| is_excluded(*step)) {
                continue;
            }
            views.push(View { key, start: found.start, path, tested: None, whole: &found.path, number: found.number });
            let here = row(found.start + upto as u64 - 1)?;
            offsets.push((row(found.start)?.offset, row(last)?.offset, here.offset, here.place, length as u64));
        }
    }
    if views.is_empty() {
        return Ok(None);
    }
    let matched = matched(operator, &views, &offsets)?;
    let mut counts: Vec<u64> = offsets.iter().map(|(.., count)| *count).collect();
    let matched = match &operator.query.having {
        None => matched,
        Some(condition) => {
            let mask = truths(&condition.evaluate(&matched)?);
            counts = counts
                .into_iter()
                .zip(mask.values().iter())
                .filter(|(_, kept)| *kept)
                .map(|(count, _)| count)
                .collect();
            keep(&matched, &mask)?
        }
    };
    let rows = project(&matched, &operator.query.output, &operator.query.schema)?;
    Ok(Some(Finished { rows, counts }))
}

type Offsets = (i64, i64, i64, Place, u64);

/// What SELECT reads: carried columns, measures, identity.
fn matched(operator: &PatternOperator, views: &[View<'_>], offsets: &[Offsets]) -> Result<RecordBatch, Cause> {
    let pattern = &operator.pattern;
    let places: Vec<Option<Place>> = offsets.iter().map(|(.., place, _)| Some(*place)).collect();
    let mut out: Vec<ArrayRef> = Vec::with_capacity(pattern.matched_schema.fields().len());
    let expressions: Vec<&Expression> = pattern.measures.iter().map(|(_, measure)| measure).collect();
    let values = columns(&expressions, &pattern.measured, views, pattern, &operator.store)?;
    for field in pattern.matched_schema.fields() {
        let numbers =
            |number: fn(&Offsets) -> i64| -> ArrayRef { Arc::new(offsets.iter().map(number).collect::<Int64Array>()) };
        let column: ArrayRef = match field.name().as_str() {
            sql::SOURCE_PARTITION => Arc::new(Int32Array::from(vec![operator.options.partition; views.len()])),
            sql::FIRST_OFFSET => numbers(|offsets| offsets.0),
            sql::LAST_OFFSET => numbers(|offsets| offsets.1),
            sql::SOURCE_OFFSET => numbers(|offsets| offsets.2),
            name => match pattern.measures.iter().find(|(measure, _)| measure == name) {
                Some((_, measure)) => measure.evaluate(&values)?,
                None => operator.store.gather(operator.store.schema().index_of(name)?, &places)?,
            },
        };
        out.push(column);
    }
    Ok(RecordBatch::try_new(Arc::clone(&pattern.matched_schema), out)?)
}

/// The rows that waited as what is to be published.
pub(super) fn publish(waiting: Vec<Finished>, generation: u32, empty: Emission) -> Result<Emission, Cause> {
    if waiting.is_empty() {
        return Ok(empty);
    }
    let batches: Vec<&RecordBatch> = waiting.iter().map(|finished| &finished.rows).collect();
    let rows = arrow_select::concat::concat_batches(&empty.rows.schema(), batches)?;
    let counts = waiting.iter().flat_map(|finished| &finished.counts);
    let versions = counts.map(|rows| Version { generation, rows: *rows, is_final: true }).collect();
    Ok(Emission { rows, versions, ..empty })
}
