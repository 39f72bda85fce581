//! What the `spark` crate prints a query with.

use std::collections::BTreeMap;

use model::Schemas;
use process::ReferenceData;
use spark::print::{Input, Printed, Read, ReferenceRows, Sink, Source};

use super::written::written;
use super::{SparkStage, SparkStream, kafka_options};
use crate::error::Result;
use crate::run::layout::PipelineStream;
use crate::run::results::ResultTopic;

/// A query as Spark runs it.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) printed: Printed,
    pub(crate) sink: Sink,
    /// Tells this plan from others of the same query.
    pub(crate) digest: String,
}

/// A stream that a query reads.
pub(crate) struct PlanStream<'a> {
    pub(crate) stream: &'a PipelineStream,
    pub(crate) event_time: &'a str,
    /// What of its topic is read.
    pub(crate) input: Input,
}

/// What a query is printed with beside itself.
pub(crate) struct PlanParts<'a> {
    pub(crate) streams: Vec<PlanStream<'a>>,
    /// Options of Spark's Kafka source and sink.
    pub(crate) kafka: BTreeMap<String, String>,
    pub(crate) references: &'a BTreeMap<String, ReferenceRows>,
    pub(crate) schemas: &'a dyn Schemas,
    /// What a streaming query is started with besides.
    pub(crate) settings: &'a str,
}

/// Prints a query of the stage, which reads `input` of each of its streams and joins these rows.
pub(super) fn plan(
    stage: &SparkStage,
    result: &ResultTopic,
    references: &BTreeMap<String, ReferenceRows>,
    read: &Read,
    input: impl Fn(&SparkStream) -> Result<Input>,
) -> Result<Plan> {
    let settings = &stage.place.settings;
    let mut streams = Vec::new();
    for known in stage.streams_of(result) {
        streams.push(PlanStream { stream: &known.stream, event_time: &known.event_time, input: input(known)? });
    }
    let parts = PlanParts {
        settings: &format!("{:?}{:?}{:?}", settings.trigger, settings.real_time, settings.conf),
        streams,
        kafka: kafka_options::options(&stage.context.connection, &settings.kafka),
        references,
        schemas: &*stage.context.schemas,
    };
    print(&parts, result, read)
}

/// Prints a query; registers the schemas of its result.
pub(crate) fn print(parts: &PlanParts<'_>, result: &ResultTopic, read: &Read) -> Result<Plan> {
    let PlanParts { streams, kafka, references, schemas, settings } = parts;
    let source = |PlanStream { stream, event_time, input }: &PlanStream<'_>| {
        let source = Source {
            topic: stream.topics.validated.clone(),
            kafka: kafka.clone(),
            written: written(stream, *schemas)?,
            event_time: (*event_time).to_owned(),
            input: input.clone(),
        };
        Ok((stream.name.clone(), source))
    };
    let sources: BTreeMap<String, Source> = streams.iter().map(source).collect::<Result<_>>()?;
    let (key_id, value_id) = result.register(*schemas)?;
    let query = &result.query;
    let sink = Sink {
        topic: result.topic.clone(),
        kafka: kafka.clone(),
        generation: result.generation,
        key_columns: query.identity.clone(),
        key_id,
        key_schema: result.key_schema.canonical().to_owned(),
        value_columns: query.schema.fields().iter().map(|field| field.name().clone()).collect(),
        value_id,
        value_schema: result.value_schema.canonical().to_owned(),
    };
    let printed = spark::print::print(query, &sources, references, read, &sink)?;
    let digest = spark::print::digest(query, &sources, references, read, &sink, settings)?;
    Ok(Plan { printed, sink, digest })
}

/// A version of a table as queries are printed with it.
pub(crate) fn reference_rows(table: &ReferenceData) -> ReferenceRows {
    ReferenceRows {
        rows: table.batch().clone(),
        key: table.key().to_vec(),
        valid_us: table.valid_us().map(|(from_us, to_us)| (from_us.to_vec(), to_us.to_vec())),
    }
}
