//! `tillstream tap`: the records of a topic, decoded.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use kafka::{Admin, Reader, ReaderOptions, Start};
use model::TopicPartition;
use project::Project;

use crate::cli::Output;
use crate::cli::client::with_context;
use crate::cli::project::{ProjectArgs, directory_and_rest};
use crate::error::{Error, Result};
use crate::run::context::Context;
use crate::run::show::Viewer;

const AFTER_HELP: &str = "\
Examples:
  tillstream tap shop orders.rejected --from beginning
  tillstream tap shop orders.validated --max 10
  tillstream tap shop sales_per_minute --output text

A record is a JSON object on a line of its own: topic, partition, offset, timestamp_ms, key, headers, value. What isn't Avro is shown as JSON or
text, and anything else as {\"hex\"}. Headers that start with ts. say where a record comes from.";

const POLL: Duration = Duration::from_millis(200);
const RECORDS_MAX: usize = 1_000;

/// Show the records of a topic, decoded.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Tap {
    /// The project's directory (the current one if left out), then the topic.
    #[arg(value_name = "[DIR] TOPIC", required = true, num_args = 1..=2)]
    words: Vec<String>,
    /// From the end until Ctrl-C, or from the beginning to the present end.
    #[arg(long, value_enum, default_value_t)]
    from: Place,
    /// End after so many records.
    #[arg(long, value_name = "N")]
    max: Option<u64>,
    /// How to write a record.
    #[arg(long, value_enum, default_value = "json")]
    pub(super) output: Output,
    #[command(flatten)]
    project: ProjectArgs,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Place {
    /// What comes from now on.
    #[default]
    End,
    /// What is there.
    Beginning,
}

impl Tap {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let (directory, rest) = directory_and_rest(&self.words);
        let [topic] = rest else {
            return Err(Error::Usage(format!("expected a project directory and one topic, found {:?}", self.words)));
        };
        let project = self.project.load(directory.as_deref(), self.output)?;
        with_context(&project, |context| self.show(context, &project, topic))?;
        Ok(ExitCode::SUCCESS)
    }

    fn show(&self, context: &Context, project: &Project, topic: &str) -> Result<()> {
        let admin = Admin::new(&context.connection)?;
        let prefixed = format!("{}{topic}", project.settings.connections.kafka.topic_prefix);
        let Some(info) = admin.topic(&prefixed)? else {
            return Err(Error::Usage(format!(
                "there is no topic {prefixed}; the project's topics are {}",
                topics(project).join(", ")
            )));
        };
        let partitions = (0..info.partitions).map(|number| TopicPartition::new(prefixed.as_str(), number));
        let options = ReaderOptions { notes_ends: true, ..ReaderOptions::default() };
        let mut reader = Reader::new(&context.connection, &options)?;
        let mut assignment = Vec::new();
        // Next offset to show and the end, of each partition.
        let mut lacking = BTreeMap::new();
        for partition in partitions {
            let (start, end) = reader.range(&partition)?;
            let from = if self.from == Place::End { end } else { start };
            assignment.push((partition.clone(), Start::Offset(from)));
            lacking.insert(partition, (from, end));
        }
        reader.assign(&assignment)?;
        let mut viewer = Viewer::new(context.schemas.clone());
        let mut shown = 0;
        let is_done = |lacking: &BTreeMap<TopicPartition, (i64, i64)>| {
            self.from == Place::Beginning && lacking.values().all(|(next, end)| next >= end)
        };
        while !context.stop.is_set() && !is_done(&lacking) {
            let blocks = reader.poll(RECORDS_MAX, POLL)?;
            // A log may end in markers and in what compaction left, which no reader is shown.
            let ended = reader.take_ended();
            for (_, (next, end)) in lacking.iter_mut().filter(|(partition, _)| ended.contains(&partition.partition)) {
                *next = *end;
            }
            for block in &blocks {
                for index in 0..block.len() {
                    if self.max.is_some_and(|max| shown >= max) {
                        return Ok(());
                    }
                    let record = viewer.record(block, index);
                    self.output.print(&record, || as_line(&record))?;
                    shown += 1;
                }
                let partition = TopicPartition::new(block.topic.clone(), block.partition);
                if let (Some(range), Some(next)) = (lacking.get_mut(&partition), block.next_offset()) {
                    range.0 = next;
                }
            }
            if self.max.is_some_and(|max| shown >= max) {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// `0 17 c1 {"order_id":…}`: partition, offset, key, value.
fn as_line(record: &serde_json::Value) -> String {
    let key = record["key"].as_str().map_or_else(|| record["key"].to_string(), str::to_owned);
    format!("{} {} {key} {}", record["partition"], record["offset"], record["value"])
}

/// The project's topics, without their prefix.
fn topics(project: &Project) -> Vec<String> {
    let prefix = &project.settings.connections.kafka.topic_prefix;
    let of_streams = project.streams.iter().flat_map(|stream| {
        [model::topics::raw, model::topics::validated, model::topics::rejected, model::topics::progress]
            .map(|name| name("", &stream.name))
    });
    let of_queries = project.queries.iter().map(|query| project.result_topic(&query.name, 1));
    of_streams.chain(of_queries.map(|name| name.strip_prefix(prefix.as_str()).unwrap_or(&name).to_owned())).collect()
}
