//! `tillstream spark`: a project's queries on Apache Spark, started, looked at and stopped without a stage that watches them.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use model::SystemClock;
use project::Project;
use project::settings::Engine;
use serde_json::{Value, json};
use state::SnapshotStore;

use crate::cli::project::ProjectArgs;
use crate::cli::{Output, runtime};
use crate::error::{Error, Result};
use crate::run::context::Context;
use crate::run::peers::Peers;
use crate::run::spark::{Place, QueryState, Work, queries};
use crate::run::stages::spark_stage;

/// A project's queries on Apache Spark: start them, see how they are, stop them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tillstream spark submit payments --profile production
  tillstream spark status payments --profile production --output json
  tillstream spark stop payments --profile production

`tillstream run` starts the queries by itself, and stops with an error if Spark ever drops a row of one. Queries that are only submitted
run unwatched until it is started, which finds them.")]
pub(crate) struct SparkCommand {
    #[command(subcommand)]
    action: Action,
    /// How to write the result.
    #[arg(long, value_enum, default_value_t, global = true)]
    pub(super) output: Output,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start the queries that don't run yet, and leave them running. Those that run with an earlier plan go on with the present one.
    Submit(Target),
    /// Show the queries that run: micro-batches, rates, watermarks, state.
    Status(Target),
    /// Stop the queries. They go on from their checkpoints when they are started again.
    Stop(Target),
}

/// Which project.
#[derive(Debug, Args)]
struct Target {
    /// The project's directory; the current one by default.
    directory: Option<PathBuf>,
    #[command(flatten)]
    project: ProjectArgs,
}

impl Target {
    fn load(&self, output: Output) -> Result<Project> {
        let project = self.project.load(self.directory.as_deref(), output)?;
        if project.engine != Engine::Spark {
            return Err(Error::Usage(format!(
                "the queries of {} run on the local engine: write `engine: spark`, name a profile that does, or say --set engine=spark",
                project.name
            )));
        }
        Ok(project)
    }
}

impl SparkCommand {
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self.action {
            Action::Submit(target) => submit(&target.load(self.output)?, self.output)?,
            Action::Status(target) => status(&target.load(self.output)?, self.output)?,
            Action::Stop(target) => stop(&target.load(self.output)?, self.output)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn submit(project: &Project, output: Output) -> Result<()> {
    let connections = &project.settings.connections;
    if connections.kafka.is_embedded() {
        return Err(Error::Usage(
            "the embedded broker ends with this command, and Spark would lose it: name Kafka in connections.kafka.brokers".to_owned(),
        ));
    }
    let runtime = runtime()?;
    let names = Peers::with(project, runtime.handle(), |peers| {
        let context = Context::new(peers, Arc::new(SystemClock::new()));
        spark_stage(project, &context, runtime.handle(), Work::Stream)?.submit()
    })?;
    print_names(output, project, "runs", &names)
}

fn status(project: &Project, output: Output) -> Result<()> {
    let runtime = runtime()?;
    let states = queries::status(&Place::of(project, runtime.handle())?)?;
    let value: Vec<Value> = states.iter().map(state_json).collect();
    let runs = |query: &str| states.iter().any(|state| state.query == query);
    let is_on_spark = |query: &&Arc<sql::Query>| query.pattern.is_none() && query.name != project::pattern_limits::NAME;
    let of_spark = project.queries.iter().filter(is_on_spark);
    let missing: Vec<&str> = of_spark.map(|query| query.name.as_str()).filter(|query| !runs(query)).collect();
    output.print(&json!({ "project": project.name, "queries": value, "missing": missing }), || text(&states, &missing))
}

fn stop(project: &Project, output: Output) -> Result<()> {
    let runtime = runtime()?;
    let snapshots = SnapshotStore::open(&project.snapshot_dir().to_string_lossy())?;
    let place = Place::of(project, runtime.handle())?;
    let names = queries::stop(&place, &mut place.streaming_session()?, &snapshots)?;
    print_names(output, project, "stopped", &names)
}

fn print_names(output: Output, project: &Project, what: &str, names: &[String]) -> Result<()> {
    output.print(&json!({ "project": project.name, what: names }), || match names {
        [] => "no queries run".to_owned(),
        names => names.iter().map(|name| format!("{name} {what}")).collect::<Vec<_>>().join("\n"),
    })
}

fn state_json(state: &QueryState) -> Value {
    let batch = state.batch.as_ref().map(|batch| {
        json!({
            "number": batch.number, "input_per_second": batch.input_per_second, "duration_ms": batch.duration_ms,
            "watermark_us": batch.watermark_us, "state_rows": batch.state_rows,
        })
    });
    json!({ "name": state.name, "doing": state.doing, "rows_dropped": state.rows_dropped, "batch": batch })
}

/// A line for each query; `missing` are those that don't run.
fn text(states: &[QueryState], missing: &[&str]) -> String {
    let mut lines = Vec::new();
    for QueryState { query: _, name, doing, batch, rows_dropped } in states {
        let batch = batch.as_ref().map_or_else(
            || "no batch yet".to_owned(),
            |batch| {
                format!(
                    "batch {} took {} ms, {} records/s, {} rows of state",
                    batch.number, batch.duration_ms, batch.input_per_second, batch.state_rows
                )
            },
        );
        let dropped = match rows_dropped {
            0 => String::new(),
            rows => format!("; {rows} ROWS DROPPED behind Spark's watermark: `tillstream run` builds the query anew"),
        };
        lines.push(format!("{name}: {batch}; {doing}{dropped}"));
    }
    lines.extend(
        missing
            .iter()
            .map(|query| format!("{query}: DOESN'T RUN: it was stopped, or has failed; Spark's log says why")),
    );
    lines.join("\n")
}
