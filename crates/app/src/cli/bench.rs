//! `tillstream bench`: how fast the whole pipeline is on this machine.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::bench::{self, LatencyOptions, Plan, ThroughputOptions};
use crate::cli::Output;
use crate::error::{Error, Result};

const AFTER_HELP: &str = "\
Examples:
  tillstream bench                                  all three, as JSON
  tillstream bench --output text --assert           all three for people; exit code 1 if a floor is missed
  tillstream bench latency --rate 30000 --for 60s
  tillstream bench throughput --set store.synchronous_commit=false";

/// Measure latency, throughput and rest on a throw-away copy of the payments example, with all systems real.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Bench {
    #[command(subcommand)]
    what: Option<What>,
    /// How to write the figures.
    #[arg(long, value_enum, default_value = "json", global = true)]
    pub(super) output: Output,
    /// Exit with code 1 if a floor is missed.
    #[arg(long, global = true)]
    assert: bool,
    /// Where to put the throw-away data; the user's cache by default.
    #[arg(long, value_name = "DIR", global = true)]
    directory: Option<PathBuf>,
    /// Override a setting of the example; may be given several times.
    #[arg(long = "set", value_name = "PATH=VALUE", global = true)]
    sets: Vec<String>,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// From a payment's intended time of sending until another session sees its row, under an open-loop load.
    Latency(LatencyArgs),
    /// A preloaded raw topic through to PostgreSQL.
    Throughput(ThroughputArgs),
    /// Memory at rest, and the time from the start to the first row.
    Idle,
}

#[derive(Debug, Clone, Args)]
struct LatencyArgs {
    /// Payments per second.
    #[arg(long, default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(1..1_000_000))]
    rate: u64,
    /// How long to measure.
    #[arg(long = "for", value_name = "DURATION", default_value = "60s")]
    duration: project::settings::Duration,
    /// How long to run at the same rate before, outside the figures.
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    warm_up: project::settings::Duration,
}

#[derive(Debug, Clone, Args)]
struct ThroughputArgs {
    /// Payments to preload.
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,
}

impl From<&LatencyArgs> for LatencyOptions {
    fn from(args: &LatencyArgs) -> Self {
        Self { rate_per_s: args.rate, duration: args.duration.0, warm_up: args.warm_up.0 }
    }
}

/// What plain `bench` measures: the figures that have floors.
const LATENCY: LatencyOptions =
    LatencyOptions { rate_per_s: 3_000, duration: Duration::from_secs(60), warm_up: Duration::from_secs(5) };
const THROUGHPUT: ThroughputOptions = ThroughputOptions { records: 2_000_000 };

impl Bench {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let report = bench::run(&self.plan()?)?;
        match self.output {
            Output::Json => {
                let text = serde_json::to_string_pretty(&report).map_err(|error| Error::Internal(error.to_string()))?;
                println!("{text}");
            }
            Output::Text => print!("{}", bench::as_text(&report)),
        }
        let is_met = report.floors.iter().all(|floor| floor.is_met);
        Ok(if self.assert && !is_met { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn plan(&self) -> Result<Plan> {
        let mut plan = Plan { directory: self.directory.clone(), ..Plan::default() };
        for set in &self.sets {
            let (path, value) =
                set.split_once('=').ok_or_else(|| Error::Usage(format!("--set takes PATH=VALUE, not {set:?}")))?;
            plan.sets.push((path.to_owned(), value.to_owned()));
        }
        match &self.what {
            Some(What::Latency(args)) => plan.latency = Some(args.into()),
            Some(What::Throughput(args)) => plan.throughput = Some(ThroughputOptions { records: args.records }),
            Some(What::Idle) => plan.idle = true,
            None => {
                plan.latency = Some(LATENCY);
                plan.throughput = Some(THROUGHPUT);
                plan.idle = true;
            }
        }
        Ok(plan)
    }
}
