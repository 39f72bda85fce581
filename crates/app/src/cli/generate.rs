//! `tillstream generate`: card payments at a steady rate.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use ingest::generate::PaymentsOptions;
use model::SystemClock;

use crate::cli::project::ProjectArgs;
use crate::cli::{Output, asked_to_stop, runtime};
use crate::error::{Error, Result};
use crate::run::context::Context;
use crate::run::generate::GenerateTask;
use crate::run::peers::Peers;
use crate::run::pipeline::lay_out;
use crate::run::status::Status;
use crate::run::stop::Stop;

/// Generate card payments into a stream, at a rate that doesn't depend on the pipeline.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tillstream generate examples/payments --rate 3000 --for 60s")]
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
    /// Seed of everything random.
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
    output: Output,
    #[command(flatten)]
    project: ProjectArgs,
}

impl Generate {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let project = self.project.load(self.directory.as_deref())?;
        let defaults = PaymentsOptions::default();
        let options = PaymentsOptions {
            seed: self.seed,
            late_share: self.late_share.unwrap_or(defaults.late_share),
            duplicate_share: self.duplicate_share.unwrap_or(defaults.duplicate_share),
            invalid_share: self.invalid_share.unwrap_or(defaults.invalid_share),
            fraud_bursts_per_min: self.fraud_bursts_per_min.unwrap_or(defaults.fraud_bursts_per_min),
            ..defaults
        };
        let runtime = runtime()?;
        let peers = Peers::start(&project, runtime.handle())?;
        let context = Context {
            connection: peers.connection.clone(),
            schemas: peers.schemas.clone(),
            clock: Arc::new(SystemClock::new()),
            status: Arc::new(Status::default()),
            stop: Stop::default(),
        };
        let stop = context.stop.clone();
        runtime.spawn(async move {
            asked_to_stop().await;
            stop.now();
        });
        let (streams, ..) = lay_out(&project, &context)?;
        let wanted = self.stream.as_deref();
        let stream = streams.into_iter().find(|stream| wanted.is_none_or(|wanted| wanted == stream.name));
        let stream =
            stream.ok_or_else(|| Error::Usage(format!("there is no stream {}", wanted.unwrap_or("at all"))))?;
        let task = GenerateTask::new(context, stream, self.rate, options)?;
        let generated =
            task.run(self.duration.map(|duration| Duration::from_micros(duration.as_micros().unsigned_abs())));
        peers.stop()?;
        let generated = generated?;
        match self.output {
            Output::Json => println!("{}", serde_json::json!({ "generated": generated })),
            Output::Text => println!("{generated} payments"),
        }
        Ok(ExitCode::SUCCESS)
    }
}
