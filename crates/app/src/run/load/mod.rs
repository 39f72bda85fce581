//! A file's rows into a stream's raw topic, each once.
//!
//! Every record carries its file and row. A load that was cut off looks up the last row of the file in each raw partition and goes on
//! after it: rows of one partition are written in order, and which partition a row belongs to depends on its key alone. A file that was
//! loaded to its end is remembered, so that the next start doesn't read it.
//!
//! | file | does |
//! | --- | --- |
//! | `done` | remembers files that were loaded to their end, and tells whether that still holds |
//! | `turn` | one load of a file at a time |
//! | `report` | rows that don't fit |

mod done;
mod report;
mod turn;

use std::path::{Path, PathBuf};
use std::time::Duration;

use ingest::encode::{EncodedRows, RowEncoder};
use ingest::files::{Fault, FileBatch, FileOptions, FileReader, RejectedRow};
use kafka::{OutRecord, Reader, ReaderOptions, Writer, WriterOptions, partition_of};
use model::{RecordBlock, TopicPartition, provenance};
use project::Project;

use crate::error::{Error, Result};
use crate::run::context::Context;
use crate::run::layout::PipelineStream;
use crate::run::read_range::read_range;
use crate::run::topics::StreamTopics;
use done::{Done, LastRow};
use report::Report;
use turn::Turn;

const FLUSH_TIMEOUT: Duration = Duration::from_secs(120);
/// Records looked at in one step back from the end of a raw partition.
const LOOK_BACK: i64 = 50_000;

/// A file to load.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) topics: StreamTopics,
    pub(crate) schema: avro::Schema,
    pub(crate) raw_schema_id: u32,
    pub(crate) key: String,
    pub(crate) file: PathBuf,
    /// Name under which the rows are recorded: the same file under the same name is loaded once.
    pub(crate) name: String,
    /// How the file is read.
    pub(crate) options: FileOptions,
    /// Where rows that don't fit the schema are reported.
    pub(crate) report: PathBuf,
    /// Where it is remembered that the file was loaded to its end.
    pub(crate) done: PathBuf,
    /// Who loads the file holds this.
    lock: PathBuf,
    /// Records per second; as fast as possible if `None`.
    pub(crate) rate: Option<u64>,
}

/// What a load has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Loaded {
    /// Rows written now.
    pub(crate) sent: u64,
    /// Rows that an earlier load had written.
    pub(crate) already: u64,
    /// Rows that don't fit the stream's schema.
    pub(crate) refused: u64,
    /// Bytes of the file taken, and in all.
    pub(crate) bytes: (u64, u64),
    /// Row of the file at which the load was stopped; `None` when it is through.
    pub(crate) stopped_at: Option<u64>,
}

impl Load {
    /// The load of a file into a stream of a project, under this name.
    ///
    /// # Errors
    /// `Usage` when there is no such stream.
    pub(crate) fn of(
        streams: &[PipelineStream],
        project: &Project,
        stream: &str,
        file: &Path,
        name: &str,
    ) -> Result<Self> {
        let target = streams.iter().find(|known| known.name == stream).ok_or_else(|| {
            let known: Vec<&str> = streams.iter().map(|known| known.name.as_str()).collect();
            Error::Usage(format!("there is no stream {stream}; the project has {}", known.join(", ")))
        })?;
        let directory = project.data_dir.join("load");
        let file_name = name.replace(['/', '\\'], "_");
        Ok(Self {
            topics: target.topics.clone(),
            schema: target.schema.clone(),
            raw_schema_id: target.raw_schema_id,
            key: target.key.clone(),
            file: file.to_owned(),
            name: name.to_owned(),
            options: FileOptions::default(),
            report: directory.join(format!("{file_name}.rejected.jsonl")),
            done: directory.join(format!("{file_name}.done.json")),
            lock: directory.join(format!("{file_name}.lock")),
            rate: None,
        })
    }

    /// Loads the file, to its end or until the stop switch is thrown; `on_progress` is told after each batch. All rows that were sent are
    /// acknowledged when it returns.
    pub(crate) fn run(&self, context: &Context, mut on_progress: impl FnMut(Loaded)) -> Result<Loaded> {
        let refused = |error: &dyn std::fmt::Display| Error::Data(format!("{}: {error}", self.file.display()));
        let Some(_turn) = Turn::wait(&self.lock, &context.stop)? else {
            return Ok(Loaded { stopped_at: Some(0), ..Loaded::default() });
        };
        let before = Done::of(self, context)?;
        if let Some(rows) = before.as_ref().and_then(|before| before.still_holds(self, context)) {
            return Ok(Loaded { already: rows, ..Loaded::default() });
        }
        let mut last_rows = match self.last_rows(context) {
            Err(_) if context.stop.is_set() => return Ok(Loaded { stopped_at: Some(0), ..Loaded::default() }),
            found => found?,
        };
        let start_row = last_rows.iter().map(|last| last.map_or(0, |last| last.row + 1)).min().unwrap_or(0);
        let arrow = self.schema.arrow().map_err(|error| refused(&error))?;
        let options = FileOptions { start_row, ..self.options.clone() };
        let mut reader = FileReader::open(&self.file, &arrow, &options).map_err(|error| refused(&error))?;
        let writer = Writer::new(&context.connection, &WriterOptions { linger_ms: 10, ..WriterOptions::default() })?;
        let encoder = RowEncoder::new(&self.schema, self.raw_schema_id, &self.key).map_err(|error| refused(&error))?;
        let mut records = EncodedRows::default();
        let mut report = Report::new(&self.report, start_row == 0);
        let mut loaded = Loaded { already: start_row, ..Loaded::default() };
        let started = context.clock.elapsed();
        while let Some(batch) = reader.next() {
            let batch = batch.map_err(|error| refused(&error))?;
            records.clear();
            let faults = encoder.encode(&batch.batch, &mut records).map_err(|error| refused(&error))?;
            let unencodable = faults.into_iter().map(|fault| RejectedRow {
                row: batch.rows.get(fault.row).copied().unwrap_or(0),
                line: None,
                faults: vec![Fault { column: Some(fault.column), message: fault.message }],
                raw: String::new(),
            });
            let rejected: Vec<RejectedRow> = batch.rejected.iter().cloned().chain(unencodable).collect();
            report.write(&rejected)?;
            loaded.refused += rejected.len() as u64;
            self.send(&writer, &batch, &records, &mut last_rows, &mut loaded)?;
            let progress = reader.progress();
            loaded.bytes = (progress.bytes, progress.bytes_total);
            on_progress(loaded);
            if let Some(rate) = self.rate.filter(|&rate| rate > 0) {
                let due = Duration::from_secs_f64(loaded.sent as f64 / rate as f64);
                context.stop.wait(due.saturating_sub(context.clock.elapsed().saturating_sub(started)));
            }
            if context.stop.is_set() {
                loaded.stopped_at = Some(batch.next_row);
                break;
            }
        }
        let ends = writer.flush(FLUSH_TIMEOUT)?;
        if let Some(before) = before.filter(|_| loaded.stopped_at.is_none() && loaded.refused == 0) {
            before.remember(self, &last_rows, &ends, loaded.already + loaded.sent)?;
        }
        Ok(loaded)
    }

    fn send(
        &self,
        writer: &Writer,
        batch: &FileBatch,
        records: &EncodedRows,
        last_rows: &mut [Option<LastRow>],
        loaded: &mut Loaded,
    ) -> Result<()> {
        let partitions = self.topics.partitions.max(1);
        for ((key, value), &in_batch) in records.keys.iter().zip(records.values.iter()).zip(&records.rows) {
            let row = batch.rows.get(in_batch).copied().unwrap_or(0);
            let partition = match key {
                Some(key) => partition_of(key, partitions),
                None => i32::try_from(row % u64::from(partitions.unsigned_abs())).unwrap_or(0),
            };
            let last = usize::try_from(partition).ok().and_then(|partition| last_rows.get_mut(partition));
            if let Some(last) = last {
                if last.is_some_and(|last| row <= last.row) {
                    loaded.already += 1;
                    continue;
                }
                *last = Some(LastRow { row, offset: None });
            }
            let row_text = row.to_string();
            writer.send(&OutRecord {
                topic: &self.topics.raw,
                partition: Some(partition),
                key,
                value,
                headers: &[
                    (provenance::LOAD_FILE, Some(self.name.as_bytes())),
                    (provenance::LOAD_ROW, Some(row_text.as_bytes())),
                ],
                timestamp_ms: None,
            })?;
            loaded.sent += 1;
        }
        writer.poll()?;
        Ok(())
    }

    /// The last row of this file in each raw partition, found from the ends backwards.
    fn last_rows(&self, context: &Context) -> Result<Vec<Option<LastRow>>> {
        let reader = Reader::new(&context.connection, &ReaderOptions::default())?;
        let mut last_rows = Vec::new();
        for number in 0..self.topics.partitions {
            let partition = TopicPartition::new(self.topics.raw.as_str(), number);
            let (start, mut end) = reader.range(&partition)?;
            let mut found = None;
            while found.is_none() && end > start {
                let from = (end - LOOK_BACK).max(start);
                read_range(&context.connection, &partition, (from, end), &context.stop, |block| {
                    for index in 0..block.len() {
                        let row = self.row_of(block, index);
                        let offset = block.offsets.get(index).copied();
                        found = row.map(|row| LastRow { row, offset }).max(found);
                    }
                    Ok(())
                })?;
                end = from;
            }
            last_rows.push(found);
        }
        Ok(last_rows)
    }

    /// Which row of this file a raw record is, if it is one.
    fn row_of(&self, block: &RecordBlock, index: usize) -> Option<u64> {
        let is_ours = block.header(index, provenance::LOAD_FILE) == Some(self.name.as_bytes());
        let row = block.header(index, provenance::LOAD_ROW).and_then(provenance::decimal);
        row.filter(|_| is_ours).and_then(|row| u64::try_from(row).ok())
    }
}
