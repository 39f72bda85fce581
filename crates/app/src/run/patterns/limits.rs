//! What patterns gave up at their caps, as rows of the one topic for all patterns of a project.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use process::{Emission, LimitEvent};
use project::pattern_limits::NAME;

use crate::error::{Error, Result};
use crate::run::results::ResultTopic;

/// Events of a pattern as rows of the topic.
pub(super) fn rows(pattern: &str, events: &[LimitEvent], topic: &ResultTopic) -> Result<Emission> {
    let texts = |text: fn(&LimitEvent) -> &str| -> ArrayRef {
        Arc::new(events.iter().map(|event| Some(text(event))).collect::<StringArray>())
    };
    let numbers =
        |number: fn(&LimitEvent) -> i64| -> ArrayRef { Arc::new(events.iter().map(number).collect::<Int64Array>()) };
    let times = |time: fn(&LimitEvent) -> i64| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(events.iter().map(time)).with_timezone("UTC"))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![pattern; events.len()])),
        Arc::new(events.iter().map(|event| event.partition).collect::<Int32Array>()),
        numbers(|event| event.first_offset),
        numbers(|event| event.last_offset),
        texts(|event| &event.key),
        texts(|event| event.reason.name()),
        numbers(|event| i64::try_from(event.rows).unwrap_or(i64::MAX)),
        times(|event| event.first_time_us),
        times(|event| event.last_time_us),
    ];
    let internal = |error: arrow_schema::ArrowError| Error::Internal(format!("{NAME}: {error}"));
    let rows = RecordBatch::try_new(topic.query.schema.clone(), columns).map_err(internal)?;
    let deletes = RecordBatch::new_empty(Arc::new(topic.query.schema.project(&topic.key_columns).map_err(internal)?));
    let versions = events.iter().map(|event| event.version).collect();
    Ok(Emission { rows, versions, deletes, delete_versions: Vec::new() })
}
