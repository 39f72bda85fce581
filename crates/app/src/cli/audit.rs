//! `tillstream audit`: proof that nothing is lost and nothing is there twice.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::client::with_context;
use crate::cli::project::ProjectArgs;
use crate::cli::{Output, runtime};
use crate::error::{Error, Result};
use crate::run::audit::{self, Holds, PartitionReport, Report};
use crate::run::layout::known_topics;
use crate::run::peers::Database;

/// Findings of a partition that are shown; `--output json` has more.
const SHOWN_MAX: usize = 10;

/// Prove that each raw record has exactly one verdict, and that PostgreSQL holds what they say.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tillstream audit examples/payments\n  tillstream audit shop --output json --topics-only\n\nReads the raw, validated and rejected topics from end to end, also while the pipeline runs. Tables of a pipeline that is behind hold\nless than they must: run `tillstream up --drain` first. Exit code 1 when something is missing, or there twice."
)]
pub(crate) struct Audit {
    /// The project's directory; the current one by default.
    directory: Option<PathBuf>,
    /// Leave PostgreSQL out.
    #[arg(long)]
    topics_only: bool,
    /// How to write the report.
    #[arg(long, value_enum, default_value_t)]
    pub(super) output: Output,
    #[command(flatten)]
    project: ProjectArgs,
}

impl Audit {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let project = self.project.load(self.directory.as_deref(), self.output)?;
        let known = known_topics(&project)?;
        let report = with_context(&project, |context| {
            let stream_reports = audit::positions(&context.connection, &context.stop, &known.streams)?;
            if self.topics_only {
                return Ok(Report::new(stream_reports, Vec::new()));
            }
            let runtime = runtime()?;
            let tables = Database::with(&project, runtime.handle(), |database| {
                audit::tables(&database.store, runtime.handle(), &stream_reports, &known.results)
            })?;
            Ok(Report::new(stream_reports, tables))
        })?;
        let value = serde_json::to_value(&report).map_err(|error| Error::Internal(error.to_string()))?;
        self.output.print(&value, || text(&report))?;
        Ok(ExitCode::from(u8::from(!report.ok)))
    }
}

/// The report for people.
fn text(report: &Report) -> String {
    let mut lines = Vec::new();
    for stream in &report.streams {
        lines.push(stream.stream.clone());
        lines.push("  partition         raw = validated + rejected   waiting   repeats    faults".to_owned());
        for partition in &stream.partitions {
            let PartitionReport { partition: number, raw, validated, rejected, waiting, repeats, faults, .. } =
                partition;
            lines.push(format!(
                "  {number:>9} {raw:>11} {validated:>11} {rejected:>10} {waiting:>9} {repeats:>9} {faults:>9}"
            ));
        }
        lines.extend(stream.partitions.iter().flat_map(findings));
    }
    if !report.tables.is_empty() {
        lines.push("PostgreSQL".to_owned());
    }
    for table in &report.tables {
        let numbers = match (table.expected, table.found) {
            (Some(expected), Some(found)) if expected != found => format!(": {found} found, {expected} expected"),
            (Some(expected), _) => format!(": {expected}"),
            _ => String::new(),
        };
        let verdict = match table.holds {
            Holds::Equal => "ok",
            Holds::Less => "LESS",
            Holds::More => "MORE",
            Holds::NotProven => "not proven",
        };
        lines.push(format!("  {:<40} {verdict:<10} {}{numbers}", table.table, table.what));
    }
    let end = if report.ok {
        "nothing is lost and nothing is there twice, as far as it says above"
    } else {
        "the audit FAILED"
    };
    lines.push(end.to_owned());
    lines.join("\n")
}

/// What is to be said of a partition beyond its numbers.
fn findings(partition: &PartitionReport) -> Vec<String> {
    let number = partition.partition;
    let mut lines = Vec::new();
    if partition.from > 0 {
        lines.push(format!(
            "  partition {number}: checked from raw offset {} on; retention has removed what is below",
            partition.from
        ));
    }
    for finding in partition.findings.iter().take(SHOWN_MAX) {
        let place = if finding.from == finding.to {
            format!("raw offset {}", finding.from)
        } else {
            format!("raw offsets {} to {}", finding.from, finding.to)
        };
        lines.push(format!("  partition {number}, {place}: {}", finding.fault.describe()));
    }
    let further = partition.findings.len().saturating_sub(SHOWN_MAX);
    if further > 0 {
        lines.push(format!("  partition {number}: {further} more; --output json tells them"));
    }
    lines
}
