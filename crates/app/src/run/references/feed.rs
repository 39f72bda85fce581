//! The newest load of a table, handed from its watcher to the stage that joins it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use process::{LoggedVersion, ReferenceData, ReferenceError, Validity};
use project::Reference;

/// A version of a table: its rows, indexed, and their hash.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) hash: String,
    pub(crate) data: Arc<ReferenceData>,
}

impl Loaded {
    /// As the log names it.
    pub(crate) fn version(&self) -> LoggedVersion {
        LoggedVersion { number: self.data.version(), hash: self.hash.clone() }
    }
}

/// What the stage knows of a table: its shape, and where its watcher leaves each new load.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) schema: SchemaRef,
    pub(crate) key: Vec<String>,
    pub(crate) validity: Option<Validity>,
    /// Number of the newest version, which is cheap to ask for in each step.
    version: AtomicU64,
    newest: Mutex<Option<Arc<Loaded>>>,
}

impl Feed {
    pub(crate) fn new(reference: &Reference) -> Self {
        let validity = reference.validity.as_ref();
        Self {
            schema: reference.schema.clone(),
            key: reference.key.clone(),
            validity: validity.map(|validity| Validity { from: validity.from.clone(), to: validity.to.clone() }),
            version: AtomicU64::new(0),
            newest: Mutex::new(None),
        }
    }

    /// A version of the table from its rows.
    pub(crate) fn index(&self, table: &str, version: u64, rows: RecordBatch) -> Result<ReferenceData, ReferenceError> {
        ReferenceData::with_validity(table, version, rows, self.key.clone(), self.validity.as_ref())
    }

    /// Takes the place of the load before, which nobody may have seen.
    pub(crate) fn offer(&self, loaded: Loaded) {
        let version = loaded.data.version();
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(loaded));
        self.version.store(version, Ordering::Release);
    }

    /// Number of the newest version; 0 before the first.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The newest load; `None` before the first.
    pub(crate) fn newest(&self) -> Option<Arc<Loaded>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
