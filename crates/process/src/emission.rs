//! What is to be published.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use model::Version;

/// Results to publish, in a fixed order. Each identity occurs once, among the rows or among the deletes.
#[derive(Debug, Clone)]
pub struct Emission {
    /// Result rows, in the query's schema.
    pub rows: RecordBatch,
    /// Version of each row.
    pub versions: Vec<Version>,
    /// Identity columns of results that no longer hold.
    pub deletes: RecordBatch,
    /// Version of each delete.
    pub delete_versions: Vec<Version>,
}

impl Emission {
    /// Nothing to publish.
    pub(crate) fn empty(schema: &SchemaRef, identity_schema: &SchemaRef) -> Self {
        Self {
            rows: RecordBatch::new_empty(schema.clone()),
            versions: Vec::new(),
            deletes: RecordBatch::new_empty(identity_schema.clone()),
            delete_versions: Vec::new(),
        }
    }

    /// Whether there is nothing to publish.
    pub fn is_empty(&self) -> bool {
        self.versions.is_empty() && self.delete_versions.is_empty()
    }
}
