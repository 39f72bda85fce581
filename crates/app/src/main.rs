//! Tillstream: real-time transaction pipelines in one binary.
//!
//! `cli` has a file per command; `run` wires the stages and knows their order; `harness` runs a project's tests over a log in memory;
//! `bench` and `doctor` are commands with some work of their own. Everything else is in the other crates.

mod bench;
mod cli;
mod doctor;
mod error;
mod explain;
mod harness;
mod run;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    cli::start_logging(cli.verbose, cli.log_json);
    cli::raise_open_files();
    let output = cli.output();
    match cli.run() {
        Ok(code) => code,
        Err(error) => {
            cli::report(&error, output);
            ExitCode::from(error.exit_code())
        }
    }
}
