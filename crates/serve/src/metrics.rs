//! The inventory of metrics, in OpenMetrics text (<https://prometheus.io/docs/specs/om/open_metrics_spec/>), which Prometheus reads.
//!
//! | name | kind | says |
//! | --- | --- | --- |
//! | `tillstream_records_total{stream,outcome}` | counter | records with a verdict; outcome is `validated` or `rejected` |
//! | `tillstream_rejects_total{stream,reason}` | counter | rejected records by reason |
//! | `tillstream_lag_records{stream}` | gauge | records that wait for a verdict |
//! | `tillstream_watermark_timestamp_seconds{stream,partition}` | gauge | event time below which nothing is accepted any more |
//! | `tillstream_end_to_end_latency_seconds` | histogram | time from producing a record to its result being stored |
//! | `tillstream_query_state_bytes{query}` | gauge | bytes of a query's state in memory |
//! | `tillstream_query_spilled_bytes{query}` | gauge | bytes of a query's state on the disk |
//! | `tillstream_query_windows_open{query}`, `tillstream_query_groups_open{query}` | gauge | what the state holds |
//! | `tillstream_query_batch_input_records_per_second{query}` | gauge | of the last micro-batch of a query on Apache Spark |
//! | `tillstream_query_batch_duration_seconds{query}` | gauge | how long that took |
//! | `tillstream_query_batch_watermark_timestamp_seconds{query}` | gauge | Spark's own watermark |
//! | `tillstream_query_state_rows{query}` | gauge | rows of state that Spark keeps |
//! | `tillstream_query_rows_published_total{query}` | counter | result rows sent to the result topic |
//! | `tillstream_query_rows_stored_total{query}` | counter | result rows that PostgreSQL acknowledged |
//! | `tillstream_pattern_limits_total{query}` | counter | times that a pattern gave up rows at one of its caps |
//! | `tillstream_stage_steps_total{stage}` | counter | steps a stage has finished |
//! | `tillstream_stage_up{stage}`, `tillstream_peer_up{peer}` | gauge | 1 while the stage works or the peer answers, else 0 |
//! | `tillstream_build_info{version}` | info | 1 |

use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::live::{Live, State};
use crate::numbers::{BatchNumbers, QueryNumbers};

/// Takes a metric's value out of a query's report.
type Pick = fn(&QueryNumbers) -> u64;

/// What the text is.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of `live` as text.
pub(crate) fn text(live: &Live) -> Result<String, Error> {
    let mut registry = Registry::with_prefix("tillstream");
    registry.register_collector(Box::new(Inventory { live: live.clone() }));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

/// Writes the newest numbers at each scrape.
#[derive(Debug)]
struct Inventory {
    live: Live,
}

impl Collector for Inventory {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let info = [("version", env!("CARGO_PKG_VERSION"))];
        encoder.encode_descriptor("build", "The running version", None, MetricType::Info)?.encode_info(&info)?;
        let latency = self.live.latency_seconds();
        let help = "Time from producing a record to its result being stored";
        let metric =
            encoder.encode_descriptor("end_to_end_latency", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        latency.encode(metric)?;
        self.live.read(|state| {
            streams(&mut encoder, state)?;
            queries(&mut encoder, state)?;
            batches(&mut encoder, state)?;
            stages(&mut encoder, state)
        })
    }
}

fn streams(encoder: &mut DescriptorEncoder<'_>, state: &State) -> Result<(), Error> {
    let mut records = encoder.encode_descriptor("records", "Records with a verdict", None, MetricType::Counter)?;
    for (name, stream) in &state.streams {
        let numbers = &stream.numbers;
        for (outcome, count) in [("validated", numbers.validated), ("rejected", numbers.rejected_total())] {
            counter(&mut records, &[("stream", name.as_ref()), ("outcome", outcome)], count)?;
        }
    }
    let mut rejects = encoder.encode_descriptor("rejects", "Rejected records by reason", None, MetricType::Counter)?;
    for (name, stream) in &state.streams {
        for (reason, count) in &stream.numbers.rejected {
            counter(&mut rejects, &[("stream", name.as_ref()), ("reason", reason.as_str())], *count)?;
        }
    }
    let records_unit = Unit::Other("records".to_owned());
    let help = "Records that wait for a verdict";
    let mut lag = encoder.encode_descriptor("lag", help, Some(&records_unit), MetricType::Gauge)?;
    for (name, stream) in &state.streams {
        gauge(&mut lag, &[("stream", name.as_ref())], stream.numbers.lag())?;
    }
    let help = "Event time below which no record is accepted any more";
    let mut watermark =
        encoder.encode_descriptor("watermark_timestamp", help, Some(&Unit::Seconds), MetricType::Gauge)?;
    for (name, stream) in &state.streams {
        for partition in &stream.numbers.partitions {
            let Some(time_us) = partition.watermark_us else { continue };
            let number = partition.partition.to_string();
            let labels = [("stream", name.as_ref()), ("partition", number.as_str())];
            let seconds = ConstGauge::new(time_us as f64 / 1e6);
            seconds.encode(watermark.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn queries(encoder: &mut DescriptorEncoder<'_>, state: &State) -> Result<(), Error> {
    let gauges: [(&str, &str, Option<Unit>, Pick); 4] = [
        ("query_state", "Bytes of a query's state in memory", Some(Unit::Bytes), |numbers| numbers.state_bytes),
        ("query_spilled", "Bytes of a query's state on the disk", Some(Unit::Bytes), |numbers| numbers.spilled_bytes),
        ("query_windows_open", "Windows that are open", None, |numbers| numbers.windows_open),
        ("query_groups_open", "Groups that are open, over all windows", None, |numbers| numbers.groups_open),
    ];
    for (name, help, unit, value) in gauges {
        let mut family = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        for (query, of) in &state.queries {
            gauge(&mut family, &[("query", query.as_ref())], value(&of.numbers))?;
        }
    }
    let counters: [(&str, &str, Pick); 3] = [
        ("query_rows_published", "Result rows sent to the result topic", |numbers| numbers.rows_published),
        ("query_rows_stored", "Result rows that PostgreSQL acknowledged", |numbers| numbers.stored_rows),
        ("pattern_limits", "Times that a pattern gave up rows at one of its caps", |numbers| numbers.limits_reached),
    ];
    for (name, help, value) in counters {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (query, of) in &state.queries {
            counter(&mut family, &[("query", query.as_ref())], value(&of.numbers))?;
        }
    }
    Ok(())
}

/// Of queries that Apache Spark runs; nothing of others.
fn batches(encoder: &mut DescriptorEncoder<'_>, state: &State) -> Result<(), Error> {
    type Take = fn(&BatchNumbers) -> Option<f64>;
    let gauges: [(&str, &str, Option<&str>, Take); 4] = [
        ("query_batch_input", "Records a second of the last micro-batch", Some("records_per_second"), |batch| {
            Some(batch.input_per_second as f64)
        }),
        ("query_batch_duration", "How long the last micro-batch took", Some("seconds"), |batch| {
            Some(batch.duration_ms as f64 / 1e3)
        }),
        ("query_batch_watermark_timestamp", "Spark's own watermark", Some("seconds"), |batch| {
            batch.watermark_us.map(|us| us as f64 / 1e6)
        }),
        ("query_state_rows", "Rows of state that Spark keeps", None, |batch| Some(batch.state_rows as f64)),
    ];
    for (name, help, unit, take) in gauges {
        let unit = unit.map(|unit| Unit::Other(unit.to_owned()));
        let mut family = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        for (query, of) in &state.queries {
            if let Some(value) = of.numbers.batch.as_ref().and_then(take) {
                ConstGauge::new(value).encode(family.encode_family(&[("query", query.as_ref())])?)?;
            }
        }
    }
    Ok(())
}

fn stages(encoder: &mut DescriptorEncoder<'_>, state: &State) -> Result<(), Error> {
    let mut steps =
        encoder.encode_descriptor("stage_steps", "Steps a stage has finished", None, MetricType::Counter)?;
    for (stage, of) in &state.stages {
        counter(&mut steps, &[("stage", stage.as_ref())], of.numbers.steps)?;
    }
    let help = "1 while the stage works, 0 while it waits or has failed";
    let mut up = encoder.encode_descriptor("stage_up", help, None, MetricType::Gauge)?;
    for (stage, of) in &state.stages {
        gauge(&mut up, &[("stage", stage.as_ref())], u64::from(of.numbers.trouble.is_none()))?;
    }
    let shared = || state.stages.iter().filter_map(|(name, stage)| Some((name, stage.numbers.share.as_ref()?)));
    let help = "Partitions of the stage that this process has";
    let mut own = encoder.encode_descriptor("stage_partitions", help, None, MetricType::Gauge)?;
    for (stage, share) in shared() {
        gauge(&mut own, &[("stage", stage.as_ref())], share.partitions)?;
    }
    let help = "Partitions of the stage, over all processes";
    let mut all = encoder.encode_descriptor("stage_partitions_all", help, None, MetricType::Gauge)?;
    for (stage, share) in shared() {
        gauge(&mut all, &[("stage", stage.as_ref())], share.of)?;
    }
    let help = "1 while the peer answers, else 0";
    let mut up = encoder.encode_descriptor("peer_up", help, None, MetricType::Gauge)?;
    for (peer, of) in &state.peers {
        gauge(&mut up, &[("peer", peer.as_ref())], u64::from(of.ok))?;
    }
    Ok(())
}

fn counter<const N: usize>(
    family: &mut MetricEncoder<'_>,
    labels: &[(&str, &str); N],
    count: u64,
) -> Result<(), Error> {
    ConstCounter::new(count).encode(family.encode_family(labels)?)
}

fn gauge<const N: usize>(family: &mut MetricEncoder<'_>, labels: &[(&str, &str); N], value: u64) -> Result<(), Error> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(family.encode_family(labels)?)
}
