//! `tillstream generate`: card payments at a steady rate.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use ingest::generate::PaymentsOptions;

use crate::cli::Output;
use crate::cli::client::with_streams;
use crate::cli::project::ProjectArgs;
use crate::error::{Error, Result};
use crate::run::generate::GenerateTask;

/// Generate card payments into a stream, at a rate that doesn't depend on the pipeline.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tillstream generate examples/payments --rate 3000 --for 60s
  tillstream generate examples/payments --rate 3000 --backfill 2000000      eleven minutes of payments, now
  tillstream generate examples/payments --rate 500 --late-share 0.05 --fraud-bursts-per-min 6

The stream needs the columns of examples/payments/schemas/transaction.avsc.")]
pub(crate) struct Generate {
    /// The project's directory; the current one by default.
    directory: Option<PathBuf>,
    /// The stream; the project's first by default.
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    /// Payments per second.
    #[arg(long, default_value_t = 3_000)]
    rate: u64,
    /// How long, such as 60s or 5m; until Ctrl-C by default.
    #[arg(long = "for", value_name = "DURATION")]
    duration: Option<project::settings::Duration>,
    /// So many payments at once, with the event times that they would have had at the rate until now.
    #[arg(long, value_name = "PAYMENTS", conflicts_with = "duration")]
    backfill: Option<u64>,
    /// Seed of everything random: the same one gives the same payments at other times, which are in their ids.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Share of payments that are reported late, 0 to 1.
    #[arg(long)]
    late_share: Option<f64>,
    /// Share of payments that are sent twice, 0 to 1.
    #[arg(long)]
    duplicate_share: Option<f64>,
    /// Share of invalid payments, 0 to 1.
    #[arg(long)]
    invalid_share: Option<f64>,
    /// Bursts of fraud per minute.
    #[arg(long)]
    fraud_bursts_per_min: Option<f64>,
    /// How to write the result.
    #[arg(long, value_enum, default_value_t)]
    pub(super) output: Output,
    #[command(flatten)]
    project: ProjectArgs,
}

impl Generate {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let project = self.project.load(self.directory.as_deref(), self.output)?;
        let defaults = PaymentsOptions::default();
        let options = PaymentsOptions {
            seed: self.seed,
            late_share: self.late_share.unwrap_or(defaults.late_share),
            duplicate_share: self.duplicate_share.unwrap_or(defaults.duplicate_share),
            invalid_share: self.invalid_share.unwrap_or(defaults.invalid_share),
            fraud_bursts_per_min: self.fraud_bursts_per_min.unwrap_or(defaults.fraud_bursts_per_min),
            ..defaults
        };
        let duration = self.duration.map(|duration| Duration::from_micros(duration.as_micros().unsigned_abs()));
        let generated = with_streams(&project, |context, streams| {
            let wanted = self.stream.as_deref();
            let stream = streams.into_iter().find(|stream| wanted.is_none_or(|wanted| wanted == stream.name));
            let stream =
                stream.ok_or_else(|| Error::Usage(format!("there is no stream {}", wanted.unwrap_or("at all"))))?;
            let task = GenerateTask::new(context.clone(), stream, self.rate, options)?;
            self.backfill.map_or_else(|| task.run(duration), |payments| task.backfill(payments))
        })?;
        self.output.print(&serde_json::json!({ "generated": generated }), || format!("{generated} payments"))?;
        Ok(ExitCode::SUCCESS)
    }
}
