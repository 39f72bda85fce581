//! The same queries on Apache Spark, over the records that a test accepted: the rows of the local engine are what is expected.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray as _;
use kafka::OutRecord;
use model::provenance;
use project::settings::SparkSettings;
use project::testfile::{Expectation, ExpectedCell, ExpectedRow, ExpectedRows, Spot, Target};
use spark::print::{Input, Read, record_rows};
use spark::{Address, Session};
use tokio::runtime::Handle;

use crate::error::{Error, Result};
use crate::harness::compare::{Failure, compare};
use crate::harness::pipeline::TestPipeline;
use crate::harness::rows::Row;
use crate::harness::tables::ResultTable;
use crate::run::references;
use crate::run::results::ResultTopic;
use crate::run::sink::RecordSink as _;
use crate::run::spark::{PlanParts, PlanStream, open_session, print, reference_rows, session_conf};

/// An Apache Spark that tests are compared with.
#[derive(Debug)]
pub(crate) struct OnSpark {
    runtime: Handle,
    session: Session,
    compared: Compared,
}

/// How much was compared.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Compared {
    /// Results of queries.
    pub(crate) results: usize,
    /// Rows of the local engine in them.
    pub(crate) rows: usize,
}

impl OnSpark {
    /// Opens a session.
    ///
    /// # Errors
    /// A URL that isn't one, or that nobody answers.
    pub(crate) fn open(url: &str, runtime: &Handle) -> Result<Self> {
        // Few rows need no more than one task.
        let settings = SparkSettings { shuffle_partitions: 1, ..SparkSettings::default() };
        let name = format!("test/{}", std::process::id());
        let session = open_session(runtime, &Address::parse(url)?, &name, &session_conf(&settings))?;
        Ok(Self { runtime: runtime.clone(), session, compared: Compared::default() })
    }

    /// Gives the session up; says how much was compared.
    ///
    /// # Errors
    /// When Spark has gone.
    pub(crate) fn close(self) -> Result<Compared> {
        self.runtime.block_on(self.session.close())?;
        Ok(self.compared)
    }

    /// What differs between the tables of a pipeline, which are drained for it, and those that Spark computes from the accepted records.
    ///
    /// # Errors
    /// What Spark says of a query.
    pub(crate) fn compare(&mut self, pipeline: &mut TestPipeline<'_>, spot: &Spot) -> Result<Vec<Failure>> {
        pipeline.drain()?;
        let tables = references::of_files(pipeline.project())?;
        let references = tables.iter().map(|(name, table)| (name.clone(), reference_rows(table))).collect();
        let mut failures = Vec::new();
        for result in pipeline.results().to_vec() {
            let name = result.query.name.clone();
            let actual = self.rows(pipeline, &result, &references)?;
            let expected = pipeline.table(&name).map(|table| table.rows()).unwrap_or_default();
            self.compared.results += 1;
            self.compared.rows += expected.len();
            let expectation = Expectation {
                spot: spot.clone(),
                target: Target::Table(format!("{name} on Apache Spark")),
                ordered: false,
                rows: ExpectedRows::Rows {
                    spot: spot.clone(),
                    rows: expected.into_iter().map(|row| expected_row(row, spot)).collect(),
                },
            };
            failures.extend(compare(&expectation, actual));
        }
        Ok(failures)
    }

    /// A result as Spark computes it.
    fn rows(
        &mut self,
        pipeline: &TestPipeline<'_>,
        result: &ResultTopic,
        references: &BTreeMap<String, spark::print::ReferenceRows>,
    ) -> Result<Vec<Row>> {
        let lost = || Error::Internal(format!("query {} reads a stream that isn't there", result.query.name));
        let mut streams = Vec::new();
        let mut watermarks = Vec::new();
        for name in result.query.streams() {
            let stream = pipeline.stream(name).ok_or_else(lost)?;
            let settings = pipeline.project().stream(name).ok_or_else(lost)?;
            let input = Input::Records(record_rows(&pipeline.accepted(stream))?);
            streams.push(PlanStream { stream, event_time: &settings.event_time, input });
            watermarks.push(pipeline.watermark_us(name));
        }
        // A query's time is the least of its streams'.
        let read = Read::Batch { watermark_us: watermarks.into_iter().min().flatten() };
        let world = pipeline.world().with_empty_log();
        let parts = PlanParts { streams, kafka: BTreeMap::new(), references, schemas: &*world.schemas, settings: "" };
        let records = spark::print::as_rows(print(&parts, result, &read)?.printed);
        for batch in self.runtime.block_on(self.session.collect(records))? {
            for row in 0..batch.num_rows() {
                let version = bytes(&batch, 2, row)?;
                world.log.send(&OutRecord {
                    topic: &result.topic,
                    key: bytes(&batch, 0, row)?,
                    value: bytes(&batch, 1, row)?,
                    headers: &[(provenance::VERSION, version)],
                    ..OutRecord::default()
                })?;
            }
        }
        let mut table = ResultTable::new(result)?;
        table.merge(&world)?;
        Ok(table.rows())
    }
}

/// A row of the local engine, with all its columns but the generation, which doesn't differ.
fn expected_row(row: Row, spot: &Spot) -> ExpectedRow {
    let cells = row.into_iter().map(|(column, value)| ExpectedCell { column, value, spot: spot.clone() });
    ExpectedRow { spot: spot.clone(), cells: cells.collect() }
}

fn bytes(batch: &RecordBatch, column: usize, row: usize) -> Result<Option<&[u8]>> {
    let array = batch.columns().get(column).and_then(|array| array.as_binary_opt::<i32>());
    let array = array.ok_or_else(|| Error::Internal("Apache Spark's records aren't bytes".to_owned()))?;
    Ok(arrow_array::Array::is_valid(array, row).then(|| array.value(row)))
}
