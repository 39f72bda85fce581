//! The steps of a case.

use project::Project;
use project::testfile::{Cell, Expectation, Step, StepKind, Target, TestCase};

use crate::error::Result;
use crate::harness::compare::{Failure, compare};
use crate::harness::pipeline::TestPipeline;
use crate::harness::prepare::Prepared;
use crate::harness::rows::{self, Row};
use crate::harness::shuffle::{self, Places};
use crate::harness::{OnSpark, Options};

/// What came of a case.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What didn't come as expected, in the order of the steps.
    pub(crate) failures: Vec<Failure>,
    /// The first failure that isn't one of expected rows: an error of the pipeline itself.
    pub(crate) error: Option<String>,
    /// What was there at the end.
    pub(crate) contents: Contents,
}

/// What a pipeline holds at the end of a case.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Accepted records by stream.
    pub(crate) validated: Vec<(String, Vec<Row>)>,
    /// Rejected records.
    pub(crate) rejected: Vec<Row>,
    /// Rows of each query's result.
    pub(crate) results: Vec<(String, Vec<Row>)>,
}

/// Runs a case; then, if there is an Apache Spark, compares its tables. An error that stops the pipeline is an outcome too.
pub(crate) fn run(project: &Project, case: &TestCase, options: Options, on_spark: Option<&mut OnSpark>) -> Outcome {
    let mut outcome = Outcome { failures: Vec::new(), error: None, contents: Contents::default() };
    if let Err(error) = try_run(project, case, options, on_spark, &mut outcome) {
        outcome.error = Some(error.to_string());
    }
    outcome
}

fn try_run(
    project: &Project,
    case: &TestCase,
    options: Options,
    on_spark: Option<&mut OnSpark>,
    outcome: &mut Outcome,
) -> Result<()> {
    // The clock has to stand somewhere before the records are known: they are read by a pipeline that is thrown away.
    let reader = TestPipeline::new(project, 0, Options::default())?;
    let steps = prepare(&reader, case)?;
    let sent = || steps.iter().flat_map(|step| &step.records);
    let greatest_us = sent().filter_map(|record| record.event_time_us).max();
    let now_us = case.now_us.or(greatest_us).unwrap_or(0);
    let mut pipeline = TestPipeline::new(project, now_us, options)?;
    // Schemas that the records are written with are registered in the same order as before.
    drop(prepare(&pipeline, case)?);
    let (steps, places) = match options.shuffle {
        Some(seed) => shuffle::shuffle(project, case, steps, now_us, seed)?,
        None => (steps, Places::default()),
    };
    let followed = follow(&mut pipeline, &steps, &places, options, outcome);
    outcome.contents = contents(&mut pipeline, project)?;
    followed?;
    if let Some(spark) = on_spark {
        outcome.failures.extend(spark.compare(&mut pipeline, &case.spot)?);
    }
    Ok(())
}

/// A step with its records ready to be sent.
#[derive(Debug, Clone)]
pub(crate) struct PreparedStep<'c> {
    pub(crate) step: &'c Step,
    pub(crate) records: Vec<Prepared>,
}

fn prepare<'c>(pipeline: &TestPipeline<'_>, case: &'c TestCase) -> Result<Vec<PreparedStep<'c>>> {
    let mut steps = Vec::with_capacity(case.steps.len());
    for step in &case.steps {
        let records = match &step.kind {
            StepKind::Send(records) => records.iter().map(|record| pipeline.prepare(record)).collect::<Result<_>>()?,
            _ => Vec::new(),
        };
        steps.push(PreparedStep { step, records });
    }
    Ok(steps)
}

fn follow(
    pipeline: &mut TestPipeline<'_>,
    steps: &[PreparedStep<'_>],
    places: &Places,
    options: Options,
    outcome: &mut Outcome,
) -> Result<()> {
    for PreparedStep { step, records } in steps {
        match &step.kind {
            StepKind::Send(_) => pipeline.send(records)?,
            StepKind::Restart => pipeline.restart()?,
            StepKind::Crash => pipeline.crash()?,
            StepKind::Advance(by) => pipeline.advance(*by)?,
            StepKind::Drain => pipeline.drain()?,
            StepKind::Expect(expectations) => {
                for expectation in expectations {
                    expect(pipeline, expectation, places, options, outcome)?;
                }
                continue;
            }
        }
        if options.restart_everywhere {
            pipeline.crash()?;
        }
    }
    Ok(())
}

fn expect(
    pipeline: &mut TestPipeline<'_>,
    expectation: &Expectation,
    places: &Places,
    options: Options,
    outcome: &mut Outcome,
) -> Result<()> {
    let mut actual = match &expectation.target {
        Target::Table(query) => pipeline.table(query).map(|table| table.rows()).unwrap_or_default(),
        Target::Emitted(query) => {
            let emitted = pipeline.table(query).map(|table| table.take_emitted()).unwrap_or_default();
            if options.shuffle.is_some() {
                // The versions on the way depend on the order of arrival, and only the last ones don't.
                return Ok(());
            }
            emitted
        }
        Target::Validated(stream) => pipeline.validated(stream)?,
        Target::Rejected => pipeline.rejected()?,
    };
    for row in &mut actual {
        // What a pattern gave up is of the pattern's stream.
        let pattern = match rows::value(row, "pattern") {
            Some(Cell::Text(pattern)) => pipeline.query(pattern),
            _ => None,
        };
        match &expectation.target {
            Target::Table(name) | Target::Emitted(name) => {
                if let Some(query) = pipeline.query(name).or(pattern) {
                    places.translate_result(query, row);
                }
            }
            Target::Validated(stream) => places.translate(Some(stream), row),
            Target::Rejected => places.translate(None, row),
        }
    }
    outcome.failures.extend(compare(expectation, actual));
    Ok(())
}

fn contents(pipeline: &mut TestPipeline<'_>, project: &Project) -> Result<Contents> {
    let mut contents = Contents { rejected: pipeline.rejected()?, ..Contents::default() };
    for stream in &project.streams {
        contents.validated.push((stream.name.clone(), pipeline.validated(&stream.name)?));
    }
    for query in &project.queries {
        let rows = pipeline.table(&query.name).map(|table| table.rows()).unwrap_or_default();
        contents.results.push((query.name.clone(), rows));
    }
    Ok(contents)
}
