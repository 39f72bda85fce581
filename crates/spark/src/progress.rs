//! What Spark reports of a micro-batch.

use std::collections::BTreeMap;

use model::TopicPartition;
use serde::Deserialize;

use crate::error::{Error, Result};

/// A micro-batch, from Spark's `StreamingQueryProgress`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Number of the batch since the checkpoint began.
    pub batch_id: i64,
    /// When it was begun: text that sorts as times do.
    #[serde(default)]
    pub timestamp: String,
    /// Milliseconds that the batch took, with what it waited for.
    #[serde(default)]
    pub batch_duration: u64,
    #[serde(default)]
    event_time: EventTime,
    /// What it has read.
    #[serde(default)]
    sources: Vec<Source>,
    #[serde(default)]
    sink: Sink,
    /// What it keeps.
    #[serde(default)]
    pub state_operators: Vec<StateOperator>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
struct EventTime {
    #[serde(default)]
    watermark: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Source {
    #[serde(default)]
    num_input_rows: u64,
    /// Topic to partition to offset; an object, or its text.
    #[serde(default)]
    end_offset: serde_json::Value,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sink {
    /// -1 for a sink that doesn't count.
    #[serde(default)]
    num_output_rows: i64,
}

/// A step of a query that keeps state.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StateOperator {
    /// Its kind, such as `stateStoreSave`.
    #[serde(default)]
    pub operator_name: String,
    /// Rows held.
    #[serde(default)]
    pub num_rows_total: u64,
    /// Bytes held in memory.
    #[serde(default)]
    pub memory_used_bytes: u64,
    /// Rows dropped because they came behind Spark's watermark.
    #[serde(default)]
    pub num_rows_dropped_by_watermark: u64,
}

impl Progress {
    /// Reads Spark's JSON.
    ///
    /// # Errors
    /// `Protocol` when it is something else.
    pub fn parse(json: &str) -> Result<Self> {
        serde_json::from_str(json).map_err(|error| Error::Protocol(format!("progress of a query: {error}")))
    }

    /// Rows that Spark dropped in this batch because they came behind its watermark: each is missing from the result.
    pub fn rows_dropped(&self) -> u64 {
        self.state_operators.iter().map(|operator| operator.num_rows_dropped_by_watermark).sum()
    }

    /// Records read.
    pub fn input_rows(&self) -> u64 {
        self.sources.iter().map(|source| source.num_input_rows).sum()
    }

    /// Records written to the sink, with those that delete a result.
    pub fn output_rows(&self) -> u64 {
        u64::try_from(self.sink.num_output_rows).unwrap_or(0)
    }

    /// Records read for each second that the batch took.
    pub fn rows_per_second(&self) -> u64 {
        self.input_rows().saturating_mul(1_000).checked_div(self.batch_duration).unwrap_or(0)
    }

    /// Next offset of each partition that was read; where a query reads a topic more than once, the least.
    pub fn positions(&self) -> BTreeMap<TopicPartition, i64> {
        let mut positions = BTreeMap::new();
        for source in &self.sources {
            let offsets: Option<BTreeMap<String, BTreeMap<i32, i64>>> = match &source.end_offset {
                serde_json::Value::String(text) => serde_json::from_str(text).ok(),
                other => serde_json::from_value(other.clone()).ok(),
            };
            for (topic, partitions) in offsets.into_iter().flatten() {
                for (number, at) in partitions {
                    let least = positions.entry(TopicPartition::new(topic.as_str(), number)).or_insert(at);
                    *least = at.min(*least);
                }
            }
        }
        positions
    }

    /// Spark's watermark in microseconds since 1970; `None` before it has moved for the first time.
    pub fn watermark_us(&self) -> Option<i64> {
        let text = self.event_time.watermark.as_deref()?;
        let us = chrono::DateTime::parse_from_rfc3339(text).ok()?.timestamp_micros();
        (us > 0).then_some(us)
    }

    /// Rows of state.
    pub fn state_rows(&self) -> u64 {
        self.state_operators.iter().map(|operator| operator.num_rows_total).sum()
    }

    /// Bytes of state.
    pub fn state_bytes(&self) -> u64 {
        self.state_operators.iter().map(|operator| operator.memory_used_bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shortened from Spark 4.1.1.
    #[test]
    fn sparks_json_is_read() {
        let json = r#"{"id":"a","runId":"b","name":"q","timestamp":"2026-11-26T16:00:00.000Z","batchId":3,"batchDuration":412,
            "durationMs":{"addBatch":300},
            "eventTime":{"watermark":"1970-01-01T00:00:00.000Z"},
            "stateOperators":[{"operatorName":"stateStoreSave","numRowsTotal":7,"numRowsUpdated":2,"memoryUsedBytes":900,
              "numRowsDroppedByWatermark":0,"customMetrics":{"x":1}},
              {"operatorName":"dedupeWithinWatermark","numRowsTotal":120,"memoryUsedBytes":100,"numRowsDroppedByWatermark":2}],
            "sources":[{"description":"KafkaV2","numInputRows":120,"inputRowsPerSecond":"NaN","processedRowsPerSecond":291.3,"endOffset":{"t":{"0":6,"1":5}}}],"sink":{"description":"x","numOutputRows":41}}"#;
        let progress = Progress::parse(json).unwrap();
        assert_eq!((progress.batch_id, progress.input_rows(), progress.batch_duration), (3, 120, 412));
        assert_eq!((progress.rows_dropped(), progress.state_rows(), progress.state_bytes()), (2, 127, 1_000));
        let expected = [(TopicPartition::new("t", 0), 6), (TopicPartition::new("t", 1), 5)];
        assert_eq!(progress.positions(), expected.into());
        let twice = json
            .replace(r#""sources":["#, r#""sources":[{"endOffset":{"t":{"0":4,"1":5}}},{"endOffset":{"u":{"0":2}}},"#);
        let positions = Progress::parse(&twice).unwrap().positions();
        let expected = [("t", 0, 4), ("t", 1, 5), ("u", 0, 2)];
        assert_eq!(positions, expected.map(|(topic, number, at)| (TopicPartition::new(topic, number), at)).into());
        assert_eq!((progress.rows_per_second(), progress.output_rows()), (291, 41));
        assert_eq!(Progress::parse(&json.replace("Rows\":41", "Rows\":-1")).unwrap().output_rows(), 0);
        assert_eq!((progress.timestamp.as_str(), progress.watermark_us()), ("2026-11-26T16:00:00.000Z", None));
        let moved = json.replace("1970-01-01T00:00:00.000Z", "2026-01-05T09:00:00.250Z");
        assert_eq!(Progress::parse(&moved).unwrap().watermark_us(), Some(1_767_603_600_250_000));
        assert!(Progress::parse("[]").is_err());
    }
}
