//! Positions and operator states of a partition out to a snapshot and in again.

use std::collections::BTreeMap;

use model::TopicId;
use state::{CodecError, SnapshotReader, SnapshotWriter};

use super::NAME;
use super::partition::{PartitionRun, PatternRun};
use super::plan::PatternPlan;
use crate::error::Result;
use crate::run::process::checkpoint::{TOPICS, check_topics, write_topics};
use crate::run::process::queries::Taken;

const POSITIONS_VERSION: u32 = 1;

/// Name of a pattern's section with its position.
fn section(pattern: &PatternRun) -> String {
    format!("position of {}", pattern.operator.query().name)
}

/// What makes a snapshot of a pattern usable: its generation, which changes with its text, its stream's schema and its partitions.
fn fingerprint(plan: &PatternPlan, pattern: &PatternRun) -> String {
    format!("generation {}", plan.results.get(pattern.result).map_or(0, |result| result.generation))
}

/// The bytes of a partition's snapshot.
pub(super) fn write(
    plan: &PatternPlan,
    topic_ids: &BTreeMap<String, TopicId>,
    partition: &mut PartitionRun,
) -> Result<Vec<u8>> {
    let mut writer = SnapshotWriter::new(NAME, &plan.pipeline);
    write_topics(&mut writer, topic_ids)?;
    for pattern in &mut partition.patterns {
        let (name, print) = (section(pattern), fingerprint(plan, pattern));
        writer.section(&name, POSITIONS_VERSION, &print, |inner| -> std::result::Result<(), CodecError> {
            inner.i64(pattern.taken.next_offset);
            inner.i64(pattern.taken.last_raw_offset);
            Ok(())
        })?;
        pattern.operator.snapshot(&mut writer)?;
    }
    Ok(writer.finish())
}

/// Restores a snapshot's bytes into the patterns of a partition that have no state yet; one that isn't in it starts from the beginning.
///
/// # Errors
/// `Position` when a topic isn't the one that the snapshot's positions mean; a snapshot that can't be read.
pub(super) fn restore(
    plan: &PatternPlan,
    topic_ids: &BTreeMap<String, TopicId>,
    bytes: &[u8],
    partition: &mut PartitionRun,
) -> Result<()> {
    let mut reader = SnapshotReader::open(bytes, NAME, &plan.pipeline)?;
    while let Some(name) = reader.next_section()? {
        if name == TOPICS {
            check_topics(&mut reader, NAME, topic_ids)?;
            continue;
        }
        let fresh = partition.patterns.iter_mut().filter(|pattern| !pattern.is_restored);
        let restored = match fresh.into_iter().find(|pattern| section(pattern) == name) {
            Some(pattern) => restore_pattern(plan, &mut reader, pattern)?,
            None => false,
        };
        if !restored {
            tracing::info!(section = name, "the snapshot's state of this pattern is no longer used");
            reader.skip_section()?;
            reader.skip_section()?;
        }
    }
    Ok(())
}

/// Restores one pattern; false if the snapshot is of another generation, and then nothing was taken.
fn restore_pattern(plan: &PatternPlan, reader: &mut SnapshotReader<'_>, pattern: &mut PatternRun) -> Result<bool> {
    let (name, print) = (section(pattern), fingerprint(plan, pattern));
    let found = reader.clone().section(&name, POSITIONS_VERSION, &print, |inner, _| {
        Ok::<_, CodecError>(Taken { next_offset: inner.i64()?, last_raw_offset: inner.i64()? })
    });
    let taken = match found {
        Err(CodecError::Foreign { .. }) => return Ok(false),
        found => found?,
    };
    reader.skip_section()?;
    pattern.operator.restore(reader)?;
    pattern.taken = taken;
    pattern.is_restored = true;
    Ok(true)
}
