//! Rows as Spark Connect carries them: Arrow's streaming format.

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;

use crate::error::{Error, Result};

/// Appends the batches of a stream.
pub(super) fn read(bytes: &[u8], batches: &mut Vec<RecordBatch>) -> Result<()> {
    let wrong = |error: &dyn std::fmt::Display| Error::Protocol(format!("rows from Spark: {error}"));
    for batch in StreamReader::try_new(bytes, None).map_err(|error| wrong(&error))? {
        batches.push(batch.map_err(|error| wrong(&error))?);
    }
    Ok(())
}

/// A batch as a stream.
pub(crate) fn to_stream(batch: &RecordBatch) -> Result<Vec<u8>> {
    let wrong = |error: &dyn std::fmt::Display| Error::Protocol(format!("rows for Spark: {error}"));
    let mut writer = StreamWriter::try_new(Vec::new(), batch.schema_ref()).map_err(|error| wrong(&error))?;
    writer.write(batch).map_err(|error| wrong(&error))?;
    writer.into_inner().map_err(|error| wrong(&error))
}
