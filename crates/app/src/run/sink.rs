//! Where records go: Kafka, or the log of a test.

use kafka::{OutRecord, Writer};

use crate::error::Result;

/// Takes records to write. Whether they have arrived is asked elsewhere.
pub(crate) trait RecordSink {
    /// Queues a record.
    ///
    /// # Errors
    /// Those of the writer behind it.
    fn send(&self, record: &OutRecord<'_>) -> Result<()>;
}

impl RecordSink for Writer {
    fn send(&self, record: &OutRecord<'_>) -> Result<()> {
        Ok(Self::send(self, record)?)
    }
}
