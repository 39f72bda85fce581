//! Positions and operator states out to a snapshot and in again.

use std::collections::BTreeMap;

use model::TopicId;
use state::{CodecError, PartStore, SnapshotReader, SnapshotWriter};

use super::queries::{QueryInput, QueryRun, Taken};
use crate::error::{Error, Result};
use crate::run::parts::{PARTS, write_names};
use crate::run::positions::Stand;

/// Section with the ids of the topics that the positions mean.
pub(crate) const TOPICS: &str = "topics";
const TOPICS_VERSION: u32 = 1;
/// In the first, queries had one stream, which wasn't named.
const POSITIONS_VERSION: u32 = 2;

fn section(query: &QueryRun) -> String {
    format!("positions of {}", query.result.name())
}

/// What makes a snapshot of a query usable: its generation, which changes with what the query means.
fn fingerprint(query: &QueryRun) -> String {
    format!("generation {}", query.result.generation)
}

/// The snapshot's bytes. The state of large windows goes to `parts`.
pub(crate) fn write(
    (owner, pipeline): (&str, &str),
    topic_ids: &BTreeMap<String, TopicId>,
    parts: &dyn PartStore,
    queries: &mut [QueryRun],
) -> Result<Vec<u8>> {
    let mut writer = SnapshotWriter::new(owner, pipeline);
    write_topics(&mut writer, topic_ids)?;
    for query in queries.iter_mut() {
        let (name, print) = (section(query), fingerprint(query));
        writer.section(&name, POSITIONS_VERSION, &print, |inner| -> std::result::Result<(), CodecError> {
            inner.u64(query.inputs.len() as u64);
            for input in &query.inputs {
                inner.text(&input.stream);
                inner.optional_i64(input.watermark_us);
                inner.i64s(&input.taken.iter().map(|taken| taken.next_offset).collect::<Vec<_>>());
                inner.i64s(&input.taken.iter().map(|taken| taken.last_raw_offset).collect::<Vec<_>>());
            }
            Ok(())
        })?;
        query.operator.snapshot_in_parts(&mut writer, parts)?;
    }
    write_names(&mut writer, &queries.iter().flat_map(|query| query.operator.part_names()).collect())?;
    Ok(writer.finish())
}

/// Writes which topics the positions mean.
pub(crate) fn write_topics(writer: &mut SnapshotWriter, topic_ids: &BTreeMap<String, TopicId>) -> Result<()> {
    writer.section(TOPICS, TOPICS_VERSION, "", |inner| -> std::result::Result<(), CodecError> {
        inner.u64(topic_ids.len() as u64);
        for (topic, id) in topic_ids {
            inner.text(topic);
            inner.text(&id.0);
        }
        Ok(())
    })?;
    Ok(())
}

/// Restores a snapshot's bytes into the queries that have no state yet; one that isn't in it starts from the beginning.
///
/// # Errors
/// `Position` when a topic isn't the one that the snapshot's positions mean; a snapshot that can't be read.
pub(crate) fn restore(
    (owner, pipeline): (&str, &str),
    bytes: &[u8],
    topic_ids: &BTreeMap<String, TopicId>,
    parts: &dyn PartStore,
    queries: &mut [QueryRun],
) -> Result<()> {
    let mut reader = SnapshotReader::open(bytes, owner, pipeline)?;
    while let Some(name) = reader.next_section()? {
        if name == TOPICS {
            check_topics(&mut reader, owner, topic_ids)?;
            continue;
        }
        if name == PARTS {
            reader.skip_section()?;
            continue;
        }
        let query = queries.iter_mut().find(|query| !query.is_restored && section(query) == name);
        let restored = match query {
            Some(query) => restore_query(&mut reader, query, parts)?,
            None => false,
        };
        if !restored {
            tracing::info!(section = name, "the snapshot's state of this query is no longer used");
            reader.skip_section()?;
            reader.skip_section()?;
        }
    }
    Ok(())
}

/// Checks that the snapshot's positions mean the topics that are there now. Topics that nothing reads any more don't matter.
pub(crate) fn check_topics(
    reader: &mut SnapshotReader<'_>,
    owner: &str,
    topic_ids: &BTreeMap<String, TopicId>,
) -> Result<()> {
    let known = reader.section(TOPICS, TOPICS_VERSION, "", |inner, _| {
        let count = inner.count(2 * size_of::<u64>())?;
        let mut known = Vec::new();
        for _ in 0..count {
            known.push((inner.text()?.to_owned(), TopicId(inner.text()?.to_owned())));
        }
        Ok::<_, CodecError>(known)
    })?;
    let stand = Stand { stage: owner, done: "processed", accepts_loss: false };
    for (topic, known) in &known {
        if let Some(found) = topic_ids.get(topic) {
            stand.check_id(topic, known, found)?;
        }
    }
    Ok(())
}

/// Restores one query; false if the snapshot is of another generation, and then nothing was taken.
fn restore_query(reader: &mut SnapshotReader<'_>, query: &mut QueryRun, parts: &dyn PartStore) -> Result<bool> {
    let (name, print) = (section(query), fingerprint(query));
    let positions = reader.clone().section(&name, POSITIONS_VERSION, &print, |_, _| Ok::<(), CodecError>(()));
    if let Err(CodecError::Foreign { .. }) = positions {
        return Ok(false);
    }
    let first = query.inputs.first().map(|input| input.stream.clone()).unwrap_or_default();
    let inputs = reader.section(&name, POSITIONS_VERSION, &print, |inner, version| {
        if version == 1 {
            return Ok(vec![read_input(inner, first)?]);
        }
        let mut inputs = Vec::new();
        for _ in 0..inner.count(size_of::<u64>())? {
            let stream = inner.text()?.to_owned();
            inputs.push(read_input(inner, stream)?);
        }
        Ok::<_, CodecError>(inputs)
    })?;
    let shape = |inputs: &[QueryInput]| -> Vec<(String, usize)> {
        inputs.iter().map(|input| (input.stream.clone(), input.taken.len())).collect()
    };
    let (found, expected) = (shape(&inputs), shape(&query.inputs));
    if found != expected {
        let name = &query.result.query.name;
        return Err(Error::Internal(format!(
            "the snapshot of {name} is of the streams and partitions {found:?}, and the query reads {expected:?}"
        )));
    }
    query.operator.restore_from_parts(reader, parts)?;
    query.inputs = inputs;
    query.is_restored = true;
    Ok(true)
}

fn read_input(reader: &mut SnapshotReader<'_>, stream: String) -> std::result::Result<QueryInput, CodecError> {
    let watermark_us = reader.optional_i64()?;
    let (next, raw) = (reader.i64s()?, reader.i64s()?);
    let taken = next.into_iter().zip(raw);
    let taken = taken.map(|(next_offset, last_raw_offset)| Taken { next_offset, last_raw_offset }).collect();
    Ok(QueryInput { stream, taken, watermark_us })
}
