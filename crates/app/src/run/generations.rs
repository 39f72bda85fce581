//! Which generation of each query is the present one.
//!
//! A change of a query's SQL, its stream's schema or the number of partitions makes its earlier state and results those of another query:
//! the next generation starts from the first validated record that is there, under a topic and a table of its own. The record of
//! generations lies beside the snapshots, so that every process of the pipeline reads the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sql::Query;
use state::SnapshotStore;

use crate::error::{Error, Result};

const OWNER: &str = "generations";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Generation {
    number: u32,
    fingerprint: String,
}

/// What identifies a generation of a query.
pub(crate) fn fingerprint(query: &Query, stream_schema: &avro::Schema, partitions: i32) -> String {
    format!("{}\n-- schema {}\n-- partitions {partitions}", query.text.trim(), stream_schema.canonical())
}

/// The generation of each query that has run.
///
/// # Errors
/// As [`settle`].
pub(crate) fn known(store: &SnapshotStore) -> Result<BTreeMap<String, u32>> {
    let Some(snapshot) = store.load(OWNER)? else { return Ok(BTreeMap::new()) };
    let known: BTreeMap<String, Generation> = serde_json::from_slice(&snapshot.bytes)
        .map_err(|error| Error::Internal(format!("the record of generations: {error}")))?;
    Ok(known.into_iter().map(|(query, generation)| (query, generation.number)).collect())
}

/// The present generation of each query, given the fingerprint of each; a changed one gets the next number, which is recorded.
///
/// # Errors
/// Those of the snapshot store, or `Internal` when the record can't be read.
pub(crate) fn settle(store: &SnapshotStore, fingerprints: &BTreeMap<String, String>) -> Result<BTreeMap<String, u32>> {
    let internal = |error: serde_json::Error| Error::Internal(format!("the record of generations: {error}"));
    let snapshot = store.load(OWNER)?;
    let sequence = snapshot.as_ref().map_or(0, |snapshot| snapshot.sequence);
    let mut known: BTreeMap<String, Generation> = match &snapshot {
        Some(snapshot) => serde_json::from_slice(&snapshot.bytes).map_err(internal)?,
        None => BTreeMap::new(),
    };
    let before = known.clone();
    for (query, fingerprint) in fingerprints {
        match known.get_mut(query) {
            Some(generation) if generation.fingerprint == *fingerprint => {}
            Some(generation) => {
                generation.number += 1;
                generation.fingerprint.clone_from(fingerprint);
                tracing::info!(query, generation = generation.number, "the query has changed: a new generation starts");
            }
            None => {
                known.insert(query.clone(), Generation { number: 1, fingerprint: fingerprint.clone() });
            }
        }
    }
    if known != before {
        let epoch = store.claim_epoch(OWNER)?;
        let bytes = serde_json::to_vec(&known).map_err(internal)?;
        store.save(OWNER, epoch, sequence + 1, &bytes)?;
    }
    Ok(known.into_iter().map(|(query, generation)| (query, generation.number)).collect())
}
