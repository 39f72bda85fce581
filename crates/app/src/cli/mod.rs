//! The command line: one file per command. Data goes to standard output, talk to standard error.

mod audit;
mod bench;
mod broker;
mod check;
mod client;
mod doctor;
mod explain;
mod generate;
mod init;
mod inputs;
mod load;
mod progress;
mod project;
mod registry;
mod rejects;
pub(crate) mod signals;
mod spark;
mod sql;
mod stopping;
mod tap;
mod test;
mod up;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::Value;
use tracing_subscriber::EnvFilter;

use crate::error::{Error, Result};

/// Open files that are asked for: segments of logs, runs of spilled ids and connections are many, and a shell's limit is often 1,024.
const OPEN_FILES: u64 = 65_536;

const AFTER_HELP: &str = "\
Examples:
  tillstream init shop                            make a project that runs at once
  tillstream up shop                              run it: broker, registry, PostgreSQL, stages
  tillstream up shop --drain                      load its inputs, process all, print a summary, exit
  tillstream sql shop 'SELECT * FROM bi.spend'    ask its PostgreSQL

Exit codes: 0 ok, 1 a test or audit failed, 2 usage, 3 project error, 4 a peer is unavailable, 5 data refused, 70 internal error, 130 stopped by Ctrl-C before it was done.
With --output json the last line of standard error is the error as JSON.";

/// Real-time transaction pipelines: Kafka topics with Avro in, streaming SQL, Kafka and PostgreSQL out.
#[derive(Debug, Parser)]
#[command(name = "tillstream", version, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// Say more; twice for all there is.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Write the log as JSON lines.
    #[arg(long, global = true)]
    pub(crate) log_json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Init),
    Up(up::Up),
    Run(up::Run),
    Check(check::Check),
    Test(test::TestCommand),
    Explain(explain::ExplainCommand),
    Generate(generate::Generate),
    Load(load::LoadCommand),
    Sql(sql::Sql),
    Spark(spark::SparkCommand),
    Audit(audit::Audit),
    Tap(tap::Tap),
    Rejects(rejects::Rejects),
    Doctor(doctor::Doctor),
    Bench(bench::Bench),
    Broker(broker::BrokerCommand),
    Registry(registry::RegistryCommand),
}

/// How a command writes its data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

impl Output {
    /// Writes a command's data to standard output: `value` for programs, on one line, or `text` for people.
    ///
    /// # Errors
    /// `System` when standard output can't be written to.
    pub(crate) fn print(self, value: &Value, text: impl FnOnce() -> String) -> Result<()> {
        let text = match self {
            Self::Text => text(),
            Self::Json => value.to_string(),
        };
        writeln!(std::io::stdout(), "{text}").map_err(|error| Error::system("writing to standard output", error))
    }
}

impl Cli {
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Init(command) => command.run(),
            Command::Up(command) => command.run(),
            Command::Run(command) => command.run(),
            Command::Check(command) => command.run(),
            Command::Test(command) => command.run(),
            Command::Explain(command) => command.run(),
            Command::Generate(command) => command.run(),
            Command::Load(command) => command.run(),
            Command::Sql(command) => command.run(),
            Command::Spark(command) => command.run(),
            Command::Audit(command) => command.run(),
            Command::Tap(command) => command.run(),
            Command::Rejects(command) => command.run(),
            Command::Doctor(command) => command.run(),
            Command::Bench(command) => command.run(),
            Command::Broker(command) => command.run(),
            Command::Registry(command) => command.run(),
        }
    }

    /// How the command was asked to write its data, and so its error.
    pub(crate) fn output(&self) -> Output {
        match &self.command {
            Command::Init(command) => command.output,
            Command::Up(command) => command.output,
            Command::Run(command) => command.output,
            Command::Check(command) => command.output,
            Command::Test(command) => command.output,
            Command::Explain(command) => command.output,
            Command::Generate(command) => command.output,
            Command::Load(command) => command.output,
            Command::Sql(command) => command.output(),
            Command::Spark(command) => command.output,
            Command::Audit(command) => command.output,
            Command::Tap(command) => command.output,
            Command::Rejects(command) => command.output,
            Command::Doctor(command) => command.output,
            Command::Bench(command) => command.output,
            Command::Broker(command) => command.output,
            Command::Registry(command) => command.output,
        }
    }
}

/// Tells what ended a command, on standard error.
pub(crate) fn report(error: &Error, output: Output) {
    match (output, error) {
        (Output::Json, error) => eprintln!("{}", error.to_json()),
        (Output::Text, Error::Findings(findings)) => eprintln!("{}", findings.render(project::rendering())),
        (Output::Text, Error::Interrupted(reason)) => eprintln!("{reason}"),
        (Output::Text, error) => eprintln!("error: {error}"),
    }
}

/// Raises the limit of open files as far as this user may; `doctor` tells where that is too low.
pub(crate) fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let wanted = hard.min(OPEN_FILES);
        if soft < wanted { setrlimit(Resource::RLIMIT_NOFILE, wanted, hard) } else { Ok(()) }
    });
    if let Err(error) = raised {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// Sets up the log on standard error. `RUST_LOG` overrides.
pub(crate) fn start_logging(verbose: u8, json: bool) {
    let level = match verbose {
        0 => "warn,tillstream=info,librdkafka=error,rdkafka=error",
        1 => "info,rdkafka=warn,librdkafka=warn",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| progress::LogWriter);
    if json {
        builder.json().init();
    } else {
        builder
            .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
            .with_target(false)
            .init();
    }
}

/// The runtime that the embedded systems and PostgreSQL run on.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::system("starting the asynchronous runtime", error))
}
