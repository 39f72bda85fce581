//! The record of what patterns gave up at their caps: one topic, table and view for all patterns of a project.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, TimeUnit};
use sql::{FIRST_OFFSET, LAST_OFFSET, Query, QueryOptions, SOURCE_PARTITION};

/// Name of the topic, the table and the view.
pub const NAME: &str = "pattern_limits";

const ABOUT: &str = "-- Rows that a pattern gave up since it had too many ways to match them, or none of an allowed length: matches may be missing there.";

/// The record as a result that can be published and stored. It reads no stream.
pub fn query() -> Query {
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC")));
    let fields = [
        ("pattern", DataType::Utf8),
        (SOURCE_PARTITION, DataType::Int32),
        (FIRST_OFFSET, DataType::Int64),
        (LAST_OFFSET, DataType::Int64),
        ("key", DataType::Utf8),
        ("reason", DataType::Utf8),
        ("rows", DataType::Int64),
        ("first_time", timestamp.clone()),
        ("last_time", timestamp),
    ];
    let schema = Schema::new(fields.map(|(name, data_type)| Field::new(name, data_type, false)).to_vec());
    let identity = ["pattern", SOURCE_PARTITION, FIRST_OFFSET, LAST_OFFSET];
    Query {
        name: NAME.to_owned(),
        text: ABOUT.to_owned(),
        options: QueryOptions::default(),
        branches: Vec::new(),
        inner: None,
        aggregate: None,
        having: None,
        output: Vec::new(),
        schema: Arc::new(schema),
        identity: identity.map(str::to_owned).to_vec(),
        time_column: Some("first_time".to_owned()),
        pattern: None,
        warnings: Vec::new(),
    }
}
