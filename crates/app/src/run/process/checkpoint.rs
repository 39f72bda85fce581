//! Positions and operator states out to a snapshot and in again.

use state::{CodecError, SnapshotReader, SnapshotWriter};

use super::NAME;
use super::queries::{QueryRun, Taken};
use crate::error::{Error, Result};

const POSITIONS_VERSION: u32 = 1;

fn section(query: &QueryRun) -> String {
    format!("positions of {}", query.result.query.name)
}

/// What makes a snapshot of a query usable: its generation, which changes with its text, its stream's schema and its partitions.
fn fingerprint(query: &QueryRun) -> String {
    format!("generation {}", query.result.generation)
}

/// The snapshot's bytes.
pub(crate) fn write(pipeline: &str, queries: &mut [QueryRun]) -> Result<Vec<u8>> {
    let mut writer = SnapshotWriter::new(NAME, pipeline);
    for query in queries {
        let (name, print) = (section(query), fingerprint(query));
        writer.section(&name, POSITIONS_VERSION, &print, |inner| -> std::result::Result<(), CodecError> {
            inner.optional_i64(query.watermark_us);
            let next: Vec<i64> = query.taken.iter().map(|taken| taken.next_offset).collect();
            let raw: Vec<i64> = query.taken.iter().map(|taken| taken.last_raw_offset).collect();
            inner.i64s(&next);
            inner.i64s(&raw);
            Ok(())
        })?;
        query.operator.snapshot(&mut writer)?;
    }
    Ok(writer.finish())
}

/// Restores a snapshot's bytes into the queries; one that isn't in it starts from the beginning.
pub(crate) fn restore(pipeline: &str, bytes: &[u8], queries: &mut [QueryRun]) -> Result<()> {
    let mut reader = SnapshotReader::open(bytes, NAME, pipeline)?;
    while let Some(name) = reader.next_section()? {
        let query = queries.iter_mut().find(|query| section(query) == name);
        let restored = match query {
            Some(query) => restore_query(&mut reader, query)?,
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

/// Restores one query; false if the snapshot is of another generation, and then nothing was taken.
fn restore_query(reader: &mut SnapshotReader<'_>, query: &mut QueryRun) -> Result<bool> {
    let (name, print) = (section(query), fingerprint(query));
    let positions = reader.clone().section(&name, POSITIONS_VERSION, &print, |_, _| Ok::<(), CodecError>(()));
    if let Err(CodecError::Foreign { .. }) = positions {
        return Ok(false);
    }
    let partitions = query.taken.len();
    let (watermark_us, taken) = reader.section(&name, POSITIONS_VERSION, &print, |inner, _| {
        let watermark_us = inner.optional_i64()?;
        let (next, raw) = (inner.i64s()?, inner.i64s()?);
        let taken: Vec<Taken> = next
            .into_iter()
            .zip(raw)
            .map(|(next_offset, last_raw_offset)| Taken { next_offset, last_raw_offset })
            .collect();
        Ok::<_, CodecError>((watermark_us, taken))
    })?;
    if taken.len() != partitions {
        return Err(Error::Internal(format!(
            "the snapshot of {} has {} partitions, the stream has {partitions}",
            query.result.query.name,
            taken.len()
        )));
    }
    query.operator.restore(reader)?;
    query.watermark_us = watermark_us;
    query.taken = taken;
    Ok(true)
}
