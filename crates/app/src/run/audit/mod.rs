//! Proof that nothing is lost and nothing is there twice: each raw position has one verdict, and PostgreSQL holds what they say.

mod positions;
mod tables;

use kafka::{Connection, Reader, ReaderOptions};
use model::{Progress, TopicPartition};
use serde::Serialize;

pub(crate) use self::positions::PartitionReport;
use self::positions::{Log, PositionAudit};
pub(crate) use self::tables::{Holds, TableReport, compare as tables};
use crate::error::Result;
use crate::run::progress;
use crate::run::read_range::RangeReader;
use crate::run::stop::Stop;
use crate::run::topics::StreamTopics;

/// What an audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    /// Whether nothing is wrong in what could be proven.
    pub(crate) ok: bool,
    pub(crate) streams: Vec<StreamReport>,
    /// Empty if PostgreSQL was left out.
    pub(crate) tables: Vec<TableReport>,
}

/// The positions of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct StreamReport {
    pub(crate) stream: String,
    pub(crate) partitions: Vec<PartitionReport>,
}

impl Report {
    /// Of these parts.
    pub(crate) fn new(streams: Vec<StreamReport>, tables: Vec<TableReport>) -> Self {
        let is_clean = streams.iter().flat_map(|stream| &stream.partitions).all(|partition| partition.faults == 0);
        let is_stored = tables.iter().all(|table| !matches!(table.holds, Holds::Less | Holds::More));
        Self { ok: is_clean && is_stored, streams, tables }
    }
}

/// Audits the positions of streams.
///
/// # Errors
/// Those of Kafka, and when the switch is thrown. What is wrong with the data is in the reports.
pub(crate) fn positions(
    connection: &Connection,
    stop: &Stop,
    streams: &[(String, StreamTopics)],
) -> Result<Vec<StreamReport>> {
    let mut reports = Vec::new();
    let reader = Reader::new(connection, &ReaderOptions::default())?;
    for (name, topics) in streams {
        let (progress, _) = progress::latest(connection, &reader, &topics.progress, topics.partitions, stop)?;
        let mut partitions = Vec::new();
        for number in 0..topics.partitions {
            let progress = progress.get(number).cloned().unwrap_or_else(|| Progress::start(number));
            partitions.push(audit_partition(connection, stop, topics, &progress)?);
        }
        reports.push(StreamReport { stream: name.clone(), partitions });
    }
    Ok(reports)
}

fn audit_partition(
    connection: &Connection,
    stop: &Stop,
    topics: &StreamTopics,
    progress: &Progress,
) -> Result<PartitionReport> {
    // Outputs first: a verdict that comes in between has its raw record, since that was there before it.
    let open = |topic: &str| RangeReader::whole(connection, &TopicPartition::new(topic, progress.partition), stop);
    let mut validated = open(&topics.validated)?;
    let mut rejected = open(&topics.rejected)?;
    let mut raw = open(&topics.raw)?;
    let mut audit = PositionAudit::new(progress, [raw.range(), validated.range(), rejected.range()]);
    while let Some(log) = audit.wants() {
        let reader = match log {
            Log::Raw => &mut raw,
            Log::Validated => &mut validated,
            Log::Rejected => &mut rejected,
        };
        match reader.next()? {
            Some(block) => audit.take(log, &block),
            None => audit.end(log),
        }
    }
    Ok(audit.finish())
}
